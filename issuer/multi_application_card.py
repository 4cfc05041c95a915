"""A card with several applications, such as debit and electronic cash: one directory, one selected at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from issuer.applet import PPSE, ChipCard
from issuer.card_file import directory, directory_entry

MAX_APPLICATIONS: Final = 8
"""Most applications of a card; more would not fit the answer that lists them."""

_OK: Final = b"\x90\x00"
_FILE_NOT_FOUND: Final = b"\x6a\x82"
_SELECT: Final = 0xA4
_FIRST: Final = 0x00
_NEXT: Final = 0x02


class MultiApplicationCard:
    """Applications on one chip.

    A name selects the first application that it is the beginning of, in order of priority; the same name again with
    "next occurrence" selects the one after it (EMV 4.4 Book 1, 11.3 and 12.3.5). What is no SELECT goes to the
    application that is selected.

    Parameters
    ----------
    applications : sequence of ChipCard
        Two or more, each with an identifier of its own. Those of one account share a `TransactionCounter`.

    """

    __slots__ = ("_chosen", "_directory", "_name", "applications")

    def __init__(self, applications: Sequence[ChipCard]) -> None:
        if not 2 <= len(applications) <= MAX_APPLICATIONS:
            raise ValueError(f"applications: 2 to {MAX_APPLICATIONS}")
        if len({one.personalisation.aid for one in applications}) != len(applications):
            raise ValueError("applications: two have the same identifier")
        self.applications = tuple(sorted(applications, key=lambda one: one.personalisation.priority))
        self._directory = directory(directory_entry(one.personalisation) for one in self.applications) + _OK
        self._chosen = 0
        self._name = b""

    def reset(self) -> None:
        """Take the card out of the field; see `ChipCard.reset`."""
        for application in self.applications:
            application.reset()
        self._chosen, self._name = 0, b""

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command; see `ChipCard.transmit`."""
        if apdu[1:2] != bytes((_SELECT,)):
            return self.applications[self._chosen].transmit(apdu)
        return self._select(apdu)

    def __repr__(self) -> str:
        return f"MultiApplicationCard({', '.join(map(repr, self.applications))})"

    def _select(self, apdu: bytes) -> bytes:
        name = apdu[5 : 5 + apdu[4]] if len(apdu) > 5 else b""
        is_next = apdu[3:4] == bytes((_NEXT,))
        start = self._chosen + 1 if is_next and name == self._name else 0
        if is_next:
            if not start:
                return _FILE_NOT_FOUND
            apdu = apdu[:3] + bytes((_FIRST,)) + apdu[4:]
        answer = _FILE_NOT_FOUND
        for place in range(start, len(self.applications)):
            answer = self.applications[place].transmit(apdu)
            if answer[-2:] == _OK:
                return self._selected(place, name, answer)
            if answer != _FILE_NOT_FOUND:
                # The command itself is wrong: every application would say so.
                break
        return answer

    def _selected(self, place: int, name: bytes, answer: bytes) -> bytes:
        is_directory = name == PPSE
        for other, application in enumerate(self.applications):
            if is_directory or other != place:
                application.reset()
        self._chosen, self._name = place, b"" if is_directory else name
        return self._directory if is_directory else answer
