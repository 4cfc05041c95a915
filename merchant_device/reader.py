"""The reader seam: something that carries command APDUs to a card and its answers back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from network.emv import describe_tlv


class CardGone(Exception):
    """The card left the field before it answered."""


class Reader(Protocol):
    """A contactless reader with at most one card in its field."""

    @property
    def present(self) -> bool:
        """Whether a card is in the field."""
        ...

    def transmit(self, apdu: bytes) -> bytes:
        """Send a command APDU and give the response APDU, status word included.

        Raises
        ------
        CardGone
            When no card is there, or it leaves before it has answered.

        """
        ...


class Card(Protocol):
    """Anything that answers APDUs."""

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU, status word included."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Exchange:
    """One command and its answer, as they crossed the field: card data in clear inside, masked when shown."""

    command: bytes
    response: bytes

    def __repr__(self) -> str:
        header, status = self.command[:4].hex().upper(), self.response[-2:].hex().upper()
        return f"Exchange({header}, {len(self.command)} bytes -> {status}, {len(self.response)} bytes)"

    def describe(self) -> list[str]:
        """Describe the exchange for people, card data masked: header, objects of the answer, status word."""
        lines = [f"> {self.command[:4].hex().upper()} ({len(self.command)} bytes)"]
        lines += [f"  {line}" for line in describe_tlv(self.response[:-2])]
        lines.append(f"< {self.response[-2:].hex().upper()}")
        return lines


class VirtualReader:
    """A reader in this process, for virtual cards.

    Parameters
    ----------
    card : Card or None
        The card held to it, if there is one already.
    log : list of Exchange or None
        Where to record what crosses the field, when anyone wants to know.

    """

    __slots__ = ("_card", "log")

    def __init__(self, card: Card | None = None, log: list[Exchange] | None = None) -> None:
        self._card = card
        self.log = log

    @property
    def present(self) -> bool:
        """Whether a card is in the field."""
        return self._card is not None

    def hold(self, card: Card) -> None:
        """Bring a card into the field, in place of any other."""
        self._card = card

    def remove(self) -> None:
        """Take the card away."""
        self._card = None

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
