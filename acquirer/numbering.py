"""The acquirer's own numbers: system trace audit numbers, orders, transmission times, retrieval references."""

from __future__ import annotations

from typing import Final

from acquirer.tables import Sequence
from network.member import reference
from network.party import Turn
from network.store import UnitOfWork

_LAST_STAN: Final = 999_999
_LAST_ORDER: Final = 999_999_999_999


class RunningNumbers:
    """Gives out 0, 1, 2 and so on, none twice in a process or after a restart.

    They are reserved in blocks in a `Sequence` row, so that a message costs no write.

    Parameters
    ----------
    name
        Of the row.
    block
        Numbers reserved by one write; what a process has not used when it ends is skipped.
    """

    def __init__(self, name: str, block: int) -> None:
        self._name = name
        self._block = block
        self._next = self._end = 0
        self._committed = (0, 0)

    def begin(self) -> None:
        """A turn begins: what was given out until now is committed."""
        self._committed = (self._next, self._end)

    def rolled_back(self) -> None:
        """The turn was not committed: its numbers, and a block that it reserved, are given out anew."""
        self._next, self._end = self._committed

    def number(self, store: UnitOfWork) -> int:
        """The next number."""
        number = self._next
        if number >= self._end:
            number = self._reserve(store)
        self._next = number + 1
        return number

    def _reserve(self, store: UnitOfWork) -> int:
        row = store.find(Sequence, "name", self._name)
        if row is None:
            row = Sequence(self._name, 0)
            store.insert(row)
        store.change(row)
        start = row.reserved
        row.reserved = self._end = start + self._block
        return start


class TraceNumbers(RunningNumbers):
    """Gives out STANs, 000001 to 999999 and round again."""

    def __init__(self) -> None:
        super().__init__("stan", 10_000)

    def take(self, store: UnitOfWork) -> str:
        """The next STAN, 6 digits."""
        return f"{self.number(store) % _LAST_STAN + 1:06d}"


class OrderNumbers(RunningNumbers):
    """Gives out the numbers of orders: the acquirer's id (8 digits) and a count of 12."""

    def __init__(self, acquirer_id: str) -> None:
        super().__init__("order", 100)
        self._acquirer_id = acquirer_id

    def take(self, store: UnitOfWork) -> str:
        """The next order's number, 20 digits."""
        return f"{self._acquirer_id}{self.number(store) % _LAST_ORDER + 1:012d}"


class Moment:
    """What the time of a turn contributes to its messages, worked out once per turn.

    Attributes
    ----------
    now : Instant
    transmission : str
        DE7, MMDDhhmmss, local time.
    date, time : str
        DE13 and DE12 of the same moment.
    """

    __slots__ = ("_month", "_month_text", "_rrn", "_year", "_year_text", "date", "now", "time", "transmission")

    def __init__(self, turn: Turn) -> None:
        local = turn.local
        self.now = turn.now
        self.transmission = local.strftime("%m%d%H%M%S")
        self.date = self.transmission[:4]
        self.time = self.transmission[4:]
        self._year = local.year
        self._month = local.month
        # nearly every message is of this month, whose year needs no thought
        self._year_text, self._month_text = f"{local.year:04d}", self.transmission[:2]
        self._rrn = f"{local.year % 10}{local.timetuple().tm_yday:03d}{local.hour:02d}"

    def retrieval_reference(self, stan: str) -> str:
        """DE37: last digit of the year, day of the year (3), hour (2), STAN (6)."""
        return self._rrn + stan

    def reference(self, transmission: str, stan: str, acquirer: str) -> str:
        """The identity of a message with this DE7, DE11 and DE32; see `network.member.reference`."""
        if transmission.startswith(self._month_text):
            return f"{self._year_text}{transmission}{stan}-{acquirer}"
        return reference(self._year, self._month, transmission, stan, acquirer)
