"""How a tap ends: one type for each thing the terminal can do next (EMV Contactless Book A, 6.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from merchant_device.kernel.payment import Torn


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
        Whether the card checks the issuer's answer in EXTERNAL AUTHENTICATE (interchange profile, byte 1, 04). One that
        has left the field and come back does not.
    oda : str
        What offline data authentication found: ``not done``, ``good``, or the reason why it failed and the card's
        qualifiers say that its issuer is to decide. The card may then have approved offline: 9F27 is 40.

    """

    field55: bytes
    pan: str
    track2: str
    expiry: str
    sequence: str | None
    cvm: Cvm
    aid: bytes
    issuer_authentication: bool
    oda: str = "not done"

    def __repr__(self) -> str:
        return f"OnlineRequest(pan={_masked(self.pan)}, cvm={self.cvm.name}, aid={self.aid.hex().upper()})"


@dataclass(slots=True, repr=False)
class ApprovedOffline:
    """The card has paid: what it signed is money once the issuer has it.

    The card is proved to be genuine, and nothing of the terminal's forbids the payment.

    Attributes
    ----------
    field55 : bytes
        Chip data for element 55 of the advice, at most 255 bytes: 9F26 is the transaction certificate, 9F27 is 40.
    pan, expiry, sequence, cvm, aid
        As of `OnlineRequest`.
    balance : int or None
        What is left on the card to be spent offline, fen; None when it does not say.

    """

    field55: bytes
    pan: str
    expiry: str
    sequence: str | None
    cvm: Cvm
    aid: bytes
    balance: int | None

    def __repr__(self) -> str:
        return f"ApprovedOffline(pan={_masked(self.pan)}, cvm={self.cvm.name}, aid={self.aid.hex().upper()})"


@dataclass(frozen=True, slots=True)
class Declined:
    """Decline without asking the issuer.

    A card that had approved offline has not been debited, unless its signature over the payment was what was wrong: see
    `merchant_device.kernel.decision`.

    Attributes
    ----------
    reason : str
        Why; holds no card data.
    field55 : bytes or None
        Chip data for the record, where the card had made a cryptogram.

    """

    reason: str
    field55: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TryAnotherInterface:
    """Not over this interface: the card wants to be inserted or swiped (6984), or the amount is too large."""


@dataclass(frozen=True, slots=True)
class SeePhone:
    """The holder must confirm the payment on their phone, then hold it here once more (6986; general practice)."""


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Nothing was concluded: present the card once more.

    Attributes
    ----------
    reason : str
        Why.
    torn : Torn or None
        What the card had decided before it left, for the next tap of this payment; None when it had decided nothing.

    """

    reason: str
    torn: Torn | None = None


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


Outcome: TypeAlias = (
    OnlineRequest | ApprovedOffline | Declined | TryAnotherInterface | SeePhone | TryAgain | EndApplication
)


def _masked(pan: str) -> str:
    return pan[:6] + "*" * (len(pan) - 10) + pan[-4:] if len(pan) > 10 else "*" * len(pan)
