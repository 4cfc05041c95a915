"""A reader in this process, for virtual cards."""

from __future__ import annotations

import threading

from merchant_device.readers.exchanges import Exchange
from merchant_device.readers.interface import Card, CardGone


class VirtualReader:
    """A reader in this process; cards may be held to it and taken away from any thread.

    Parameters
    ----------
    card : Card or None
        The card held to it, if there is one already.
    log : list of Exchange or None
        Where to record what crosses the field, when anyone wants to know.

    """

    __slots__ = ("_card", "_changed", "log")

    def __init__(self, card: Card | None = None, log: list[Exchange] | None = None) -> None:
        self._card = card
        self._changed = threading.Condition()
        self.log = log

    @property
    def present(self) -> bool:
        """Whether a card is in the field."""
        return self._card is not None

    def hold(self, card: Card) -> None:
        """Bring a card into the field, in place of any other."""
        with self._changed:
            self._card = card
            self._changed.notify_all()

    def remove(self) -> None:
        """Take the card away."""
        with self._changed:
            self._card = None
            self._changed.notify_all()

    def wait_for_card(self, seconds: float) -> bool:
        """See `Reader`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._card is not None, seconds)

    def wait_until_gone(self, seconds: float) -> bool:
        """See `Reader`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._card is None, seconds)

    def transmit(self, apdu: bytes) -> bytes:
        """Carry one command to the card; see `Reader`.

        Raises
        ------
        CardGone
            When no card is in the field.

        """
        card = self._card
        if card is None:
            raise CardGone("no card in the field")
        response = card.transmit(apdu)
        if self.log is not None:
            self.log.append(Exchange(apdu, response))
        return response

    def release(self) -> None:
        """See `Reader`; nobody else uses its cards."""

    def close(self) -> None:
        """See `Reader`."""
        self.remove()
