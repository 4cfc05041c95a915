"""Electronic cash on a card: when the card pays with it by itself, and when what it pays is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from issuer.card_application import ElectronicCash

# Bits of the terminal transaction qualifiers 9F66 (DOMAIN.md 4.1): byte 2 and byte 4
_ONLINE_CRYPTOGRAM_REQUIRED: Final = 0x80
_FDDA: Final = 0x80

_PIN_CHOSEN: Final = 0x80
"""Online PIN in byte 1 of the card transaction qualifiers 9F6C."""

_GOODS: Final = b"\x00"
_NO_OTHER_AMOUNT: Final = bytes(6)


class Purse:
    """A card's electronic cash.

    What a payment costs is due from when the card has approved it and is taken when the terminal has read all of it;
    the next payment forgets what is still due [G].

    Parameters
    ----------
    cash : ElectronicCash
        What is written in the card.
    balance : int or None
        Fen on it now, where it has been used since it was handed out.

    Attributes
    ----------
    balance : int
        Fen on it now.

    """

    __slots__ = ("_cash", "_due", "balance")

    def __init__(self, cash: ElectronicCash, balance: int | None = None) -> None:
        if balance is not None and not 0 <= balance <= cash.balance_limit:
            raise ValueError("balance: electronic cash of 0 to the card's limit")
        self._cash = cash
        self._due = 0
        self.balance = cash.balance if balance is None else balance

    def pays(self, values: Mapping[str, bytes], amount: int, currency: bytes, card_qualifiers: bytes | None) -> bool:
        """Tell whether the card approves offline: goods in its own currency, within its limit and what it holds.

        Not where the reader wants to go online, cannot check the card's signature, or the holder's PIN is due, which
        only the issuer can check.

        Parameters
        ----------
        values : mapping of str to bytes
            What the reader said, tag to value.
        amount : int
            Of it, fen.
        currency : bytes
            The card's, as 5F2A has it.
        card_qualifiers : bytes or None
            9F6C as the card means to answer; None where it cannot have its holder verified.

        """
        qualifiers = values["9F66"]
        return (
            card_qualifiers is not None
            and not card_qualifiers[0] & _PIN_CHOSEN
            and not qualifiers[1] & _ONLINE_CRYPTOGRAM_REQUIRED
            and bool(qualifiers[3] & _FDDA)
            and values["9C"] == _GOODS
            and values["9F03"] == _NO_OTHER_AMOUNT
            and values["5F2A"] == currency
            and 0 < amount <= min(self._cash.single_limit, self.balance)
        )

    def begin(self, due: int) -> bytes:
        """Begin a payment: forget what the one before still owes, and give 9F5D, what will be left of the balance.

        Parameters
        ----------
        due : int
            Fen, what `pays` allowed; 0 when the card does not pay by itself.

        """
        self._due = due
        return _digits(self.balance - due)

    def take(self) -> None:
        """Take what is due; once, however often it is asked."""
        self.balance -= self._due
        self._due = 0

    def load(self, amount: int) -> None:
        """Add `amount` fen.

        Raises
        ------
        ValueError
            The amount is not positive, or the purse would hold more than it may.

        """
        if amount <= 0 or self.balance + amount > self._cash.balance_limit:
            raise ValueError("what is loaded is positive and stays within the card's balance limit")
        self.balance += amount

    def told(self, tag: str) -> bytes | None:
        """Give what GET DATA tells: balance (9F79, 9F5D) and limits (9F77, 9F78); None of other tags."""
        if tag in ("9F79", "9F5D"):
            return _digits(self.balance)
        if tag == "9F77":
            return _digits(self._cash.balance_limit)
        return _digits(self._cash.single_limit) if tag == "9F78" else None


def _digits(fen: int) -> bytes:
    """Write an amount as n12."""
    return bytes.fromhex(f"{fen:012}")
