"""What the SDK gives back: amounts in fen, times as text in ISO 8601."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Outcome = Literal["approved", "declined", "unknown", "refused"]


class Result(BaseModel):
    """A result; what a newer trusted side adds to it is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Receipt(Result):
    """How a payment ended.

    Attributes
    ----------
    outcome : str
        ``approved`` and ``declined`` are the acquirer's word, or the card's where `offline`; ``unknown``: no answer
        that can be trusted came, the payment is being reversed, ask for another only when the customer agrees;
        ``refused``: it ended on the phone, nothing was sent.
    response_code, reason : str or None
        DE39 and, for people, why it was not approved.
    terminal, merchant, stan, batch, rrn, authorisation_code : str or None
        What identifies the payment.
    amount, balance : int or None
        Fen.
    pan : str or None
        The card's number, masked; the App never sees more of it.
    cvm : str or None
        How the cardholder was verified.
    at : str
        When.
    way : str or None
        ``card``, ``phone``, ``merchant_code`` or ``payer_code``.
    offline : bool
        Whether the card approved it without its issuer.
    order : str or None
        The order that the payer paid.
    """

    outcome: Outcome
    response_code: str | None = None
    reason: str | None = None
    terminal: str
    merchant: str | None = None
    stan: str | None = None
    batch: str | None = None
    rrn: str | None = None
    authorisation_code: str | None = None
    amount: int | None = None
    balance: int | None = None
    pan: str | None = None
    cvm: str | None = None
    at: str
    way: str | None = None
    offline: bool = False
    order: str | None = None

    @property
    def is_approved(self) -> bool:
        """Whether the goods may go."""
        return self.outcome == "approved"


class PastSale(Result):
    """A payment in the phone's journal.

    Attributes
    ----------
    status : str
        ``pending``, ``approved``, ``declined``, ``reversing``, ``reversed`` or ``offline``.

    started_at, finished_at : str, str or None
        When it left the phone, and when it or its reversal ended.

    The rest as in a `Receipt`.
    """

    status: str
    amount: int
    batch: str | None = None
    stan: str | None = None
    rrn: str | None = None
    authorisation_code: str | None = None
    response_code: str | None = None
    reason: str | None = None
    pan: str | None = None
    cvm: str | None = None
    way: str | None = None
    offline: bool = False
    order: str | None = None
    started_at: str
    finished_at: str | None = None


class History(Result):
    """The latest payments, the last one first."""

    sales: list[PastSale]


class TerminalState(Result):
    """What a terminal of this phone is doing.

    Attributes
    ----------
    link : bool
        Whether the acquirer is connected.
    status : str
        ``installed``, ``signed_on``, ``signed_off``, or ``wiped``: it must be on-boarded again.
    doing : str
        ``idle`` or what it waits for.
    reversals : int
        Payments that are to be reversed and are not yet.
    uploads : int
        Payments that cards approved offline and the acquirer has not taken note of yet.
    """

    terminal: str
    link: bool
    status: str
    doing: str
    reversals: int
    uploads: int = 0


class State(Result):
    """The terminals of this phone."""

    terminals: list[TerminalState]


class Managed(Result):
    """How a sign-on, sign-off, echo, download or the showing of a static code ended; as in a `Receipt`."""

    outcome: Outcome
    response_code: str | None = None
    reason: str | None = None
    terminal: str
    at: str


class Wiped(Result):
    """Whether the phone's keys are wiped now."""

    wiped: bool


class Cancelled(Result):
    """What was in progress when it was cancelled."""

    terminal: str
    cancelled: str
