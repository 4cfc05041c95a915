"""The trace numbers of the switch's own messages: a sequence whose blocks are taken from a row."""

from __future__ import annotations

from typing import Final

from network.store import UnitOfWork
from switch.tables import Sequence

BLOCK: Final = 64
"""Numbers taken from the row at once: one write in so many messages. A crash loses what is left of a block."""

_NAME: Final = "stan"
_LAST: Final = 999_999


class StanSequence:
    """DE11 of the switch's own messages, 000001 to 999999 and round again; none twice before all were used."""

    def __init__(self) -> None:
        self._next = 0
        self._end = 0

    def take(self, store: UnitOfWork) -> str:
        """The next number, six digits."""
        if self._next == self._end:
            row = store.find(Sequence, "name", _NAME)
            if row is None:
                row = Sequence(_NAME, 0)
                store.insert(row)
            self._next = row.next_value
            self._end = self._next + BLOCK
            store.change(row)
            row.next_value = self._end
        value = self._next % _LAST + 1
        self._next += 1
        return f"{value:06d}"

    def rolled_back(self) -> None:
        """Forget the block, which may not be in the store."""
        self._next = self._end = 0
