"""The merchant device's rows of orders: what the codes stand for that its phones have shown."""

from __future__ import annotations

from typing import Final

from network.party import Instant
from network.store import Row, table

OPEN: Final = "open"
WITHDRAWING: Final = "withdrawing"
STATIC: Final = "static"
PAID: Final = "paid"
CANCELLED: Final = "cancelled"
EXPIRED: Final = "expired"
"""An order's states: may be paid, is being taken back, stands for any number of sales, and how it has ended."""


@table(
    "shown_order",
    key="number",
    indexed=("status=open", "status=withdrawing", "pending_of"),
    mutable=("status", "pending_of", "finished_at"),
)
class Order(Row):
    """An order of the acquirer's, written before its code is shown.

    Attributes
    ----------
    number : str
        DE59 A5 01, 20 digits.
    terminal_id : str
        Whose it is.
    amount : int or None
        Fen; None of a static code, where the payer says it.
    text : str
        What the code holds.
    batch, stan : str
        DE60.2 and DE11 of the request for it, which are those of its receipt.
    started_at, expires_at, finished_at : int, int or None, int or None
        Instants.
    status : str
        `OPEN`, `WITHDRAWING`, `STATIC`, `PAID`, `CANCELLED` or `EXPIRED`.
    pending_of : str or None
        `terminal_id` while it is not known how the order ends.
    """

    number: str
    terminal_id: str
    amount: int | None
    text: str
    batch: str
    stan: str
    started_at: Instant
    expires_at: int | None
    status: str
    pending_of: str | None
    finished_at: int | None = None


@table("static_code", key="identifier", mutable=("number",))
class StaticCode(Row):
    """Which order is the static code of a terminal and merchant (`static_identifier`)."""

    identifier: str
    number: str


@table("static_payment", key="identifier")
class StaticPayment(Row):
    """A payment to a static code that has been noted, so that one that is told twice is not noted twice.

    Attributes
    ----------
    identifier : str
        `payment_identifier`.
    reference : str
        Of its `merchant_device.tables.Sale`.
    """

    identifier: str
    reference: str


def static_identifier(terminal_id: str, merchant_id: str) -> str:
    """The key of a `StaticCode`."""
    return f"{terminal_id}|{merchant_id}"


def payment_identifier(number: str, rrn: str) -> str:
    """The key of a `StaticPayment`: order, and retrieval reference of the payment."""
    return f"{number}|{rrn}"


ORDER_TABLES: Final[tuple[type[Row], ...]] = (Order, StaticCode, StaticPayment)
