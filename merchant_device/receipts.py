"""What a command is answered with: the receipt of a sale or balance enquiry, the result of a sign-on or echo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from network.party import Json

APPROVED: Final = "approved"
DECLINED: Final = "declined"
UNKNOWN: Final = "unknown"
REFUSED: Final = "refused"
"""How a command ended.

``approved`` and ``declined`` are the acquirer's word; ``approved`` is the card's where it says so offline. ``unknown``:
the request left and no answer that can be trusted came; a sale is being reversed. ``refused``: it ended on the phone
before anything was sent.
"""


@dataclass(slots=True)
class Receipt:
    """The result of a sale or a balance enquiry.

    Attributes
    ----------
    outcome : str
        `APPROVED`, `DECLINED`, `UNKNOWN` or `REFUSED`.
    response_code : str or None
        DE39 of the answer.
    reason : str or None
        Why it was not approved, for people.
    terminal, merchant : str
        DE41 and DE42.
    stan, batch : str or None
        DE11 and DE60.2 of the request; None when it never came to one.
    rrn, authorisation_code : str or None
        DE37 and DE38.
    amount : int or None
        Fen; None of a balance enquiry.
    balance : int or None
        Fen, the available balance where the answer tells it.
    pan : str or None
        Masked.
    cvm : str or None
        How the cardholder was verified.
    at : str
        Local time, ISO 8601.
    way : str or None
        ``card``, ``phone``, ``merchant_code`` or ``payer_code``; None when it never came to one.
    offline : bool
        Whether the card approved it, without the issuer.
    order : str or None
        Number of the order that the payer paid.
    """

    outcome: str
    response_code: str | None
    reason: str | None
    terminal: str
    merchant: str
    stan: str | None
    batch: str | None
    rrn: str | None
    authorisation_code: str | None
    amount: int | None
    balance: int | None
    pan: str | None
    cvm: str | None
    at: str
    way: str | None = None
    offline: bool = False
    order: str | None = None

    def as_json(self) -> dict[str, Json]:
        """The same as a JSON object."""
        return {
            "outcome": self.outcome,
            "response_code": self.response_code,
            "reason": self.reason,
            "terminal": self.terminal,
            "merchant": self.merchant,
            "stan": self.stan,
            "batch": self.batch,
            "rrn": self.rrn,
            "authorisation_code": self.authorisation_code,
            "amount": self.amount,
            "balance": self.balance,
            "pan": self.pan,
            "cvm": self.cvm,
            "at": self.at,
            "way": self.way,
            "offline": self.offline,
            "order": self.order,
        }


def refused_receipt(terminal: str, merchant: str, amount: int | None, reason: str, at: str) -> Receipt:
    """The receipt of a command that was not taken up."""
    return Receipt(REFUSED, None, reason, terminal, merchant, None, None, None, None, amount, None, None, None, at)


@dataclass(slots=True)
class ManagementResult:
    """The result of a sign-on, sign-off or echo; `outcome` as in a `Receipt`."""

    outcome: str
    response_code: str | None
    reason: str | None
    terminal: str
    at: str

    def as_json(self) -> dict[str, Json]:
        """The same as a JSON object."""
        return {
            "outcome": self.outcome,
            "response_code": self.response_code,
            "reason": self.reason,
            "terminal": self.terminal,
            "at": self.at,
        }
