"""Date and time as messages, cards and receipts write them, made once a turn."""

from __future__ import annotations

from network.party import Instant, Turn


class Clock:
    """The local time of the turn it was last `set` to.

    Attributes
    ----------
    card_date : str
        YYMMDD, as tag 9A has it.
    receipt : str
        ISO 8601 with the offset of China Standard Time.
    """

    __slots__ = ("_at", "card_date", "receipt")

    def __init__(self) -> None:
        self._at: Instant | None = None
        self.card_date = ""
        self.receipt = ""

    def set(self, turn: Turn) -> None:
        """Take the time of `turn`."""
        if turn.now != self._at:
            local = turn.local
            self._at = turn.now
            self.card_date = f"{local.year % 100:02d}{local.month:02d}{local.day:02d}"
            self.receipt = local.isoformat(timespec="milliseconds")
