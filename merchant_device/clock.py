"""Date and time as messages, cards and receipts write them, made once a turn where they are wanted."""

from __future__ import annotations

from network.party import Turn


class Clock:
    """The local time of the turn it was last `set` to.

    A sale takes many turns, and few of them write a date: it is made when it is first asked for.
    """

    __slots__ = ("_card_date", "_receipt", "_turn")

    _turn: Turn

    def __init__(self) -> None:
        self._card_date: str | None = None
        self._receipt: str | None = None

    def set(self, turn: Turn) -> None:
        """Take the time of `turn`."""
        self._turn = turn
        self._card_date = self._receipt = None

    @property
    def card_date(self) -> str:
        """YYMMDD, as tag 9A has it."""
        date = self._card_date
        if date is None:
            local = self._turn.local
            self._card_date = date = f"{local.year % 100:02d}{local.month:02d}{local.day:02d}"
        return date

    @property
    def receipt(self) -> str:
        """ISO 8601 with the offset of China Standard Time."""
        receipt = self._receipt
        if receipt is None:
            self._receipt = receipt = self._turn.local.isoformat(timespec="milliseconds")
        return receipt
