"""How a tap ends: one type for each thing the terminal can do next (EMV Contactless Book A, 6.2)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class Cvm(StrEnum):
    """How the cardholder is verified."""

    NO_CVM = "no cardholder verification"
    SIGNATURE = "signature"
    ONLINE_PIN = "online PIN"
    CDCVM = "verified on the cardholder's own device"


# Not frozen like the others: one is made in every sale, and freezing doubles the price of that.
@dataclass(slots=True, repr=False)
class OnlineRequest:
    """Ask the issuer.

    Attributes
    ----------
    field55 : bytes
        Chip data for element 55, at most 255 bytes.
    pan : str
        Account number, 8 to 19 digits.
    track2 : str
        Track 2 equivalent data, at most 37 characters, separator ``=``.
    expiry : str
        YYMM.
    sequence : str or None
        Card sequence number for element 23, three digits; None when the card gave none.
    cvm : Cvm
        How to verify the cardholder before sending.
    aid : bytes
        The application selected (dedicated file name 84).
    issuer_authentication : bool
        Whether the card checks the issuer's answer in EXTERNAL AUTHENTICATE (interchange profile, byte 1, 04).

    """

    field55: bytes
    pan: str
    track2: str
    expiry: str
    sequence: str | None
    cvm: Cvm
    aid: bytes
    issuer_authentication: bool

    def __repr__(self) -> str:
        pan = self.pan[:6] + "*" * (len(self.pan) - 10) + self.pan[-4:] if len(self.pan) > 10 else "*" * len(self.pan)
        return f"OnlineRequest(pan={pan}, cvm={self.cvm.name}, aid={self.aid.hex().upper()})"


@dataclass(frozen=True, slots=True)
class Declined:
    """Decline without asking the issuer."""

    reason: str


@dataclass(frozen=True, slots=True)
class TryAnotherInterface:
    """The card wants to be inserted or swiped (6984)."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Nothing was decided: present the card once more."""

    reason: str


@dataclass(frozen=True, slots=True)
class EndApplication:
    """End here: with this card no payment is possible.

    Attributes
    ----------
    reason : str
        What went wrong; holds no card data.
    status_word : str or None
        The card's status word when that was the reason, four hexadecimal characters.

    """

    reason: str
    status_word: str | None = None


Outcome: TypeAlias = OnlineRequest | Declined | TryAnotherInterface | TryAgain | EndApplication
