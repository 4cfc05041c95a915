"""What the acquirer's answer to the request for an order must hold before its code is shown (docs/protocol.md, DE59).

A code that says something else than what was asked for would take the payer's money for another sale: it is compared
with the sale, whoever sent it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from merchant_device.tables import Phone
from network.emv.qr import MerchantCode, QrError
from network.iso8583 import Message
from network.iso8583.additional_data import AdditionalDataError, decode_objects
from network.iso8583.message import Value
from network.party import CHINA_STANDARD_TIME, Instant, instant_of

_NUMBER_LENGTH: Final = 20
_ACQUIRER_LENGTH: Final = 8
_TIME_LENGTH: Final = 14


class OrderError(ValueError):
    """An order that is not the one asked for; says what is wrong with it."""


class OrderOffer(NamedTuple):
    """An order whose code may be shown.

    Attributes
    ----------
    number : str
        20 digits.
    text : str
        What the code holds.
    expires_at : Instant or None
        None of a static code.
    """

    number: str
    text: str
    expires_at: Instant | None


def order_in(element: Value | None) -> dict[str, str]:
    """The objects of A5 in DE62; none where it cannot be read."""
    if not isinstance(element, bytes):
        return {}
    try:
        return decode_objects(decode_objects(element.decode()).get("A5", ""))
    except (UnicodeDecodeError, AdditionalDataError):
        return {}


def offer_of(message: Message, phone: Phone, amount: int | None, currency: str) -> OrderOffer:
    """Read an order from its 0810.

    Parameters
    ----------
    message : Message
        With a right DE64 and 00.
    amount : int or None
        Fen that were asked for; None of a static code.
    currency : str
        ISO 4217 numeric.

    Raises
    ------
    OrderError
        Its code is unreadable (CRC), or of another order, acquirer, merchant, terminal, amount or currency.
    """
    told = order_in(message.get(62))
    number, text = told.get("01", ""), told.get("03", "")
    if len(number) != _NUMBER_LENGTH or not (number.isascii() and number.isdigit()):
        raise OrderError("the acquirer's order has no number")
    try:
        code = MerchantCode.parse(text)
    except QrError as error:
        raise OrderError(f"the acquirer's code cannot be used: {error}") from None
    for what, given, expected in (
        ("order", code.order, number),
        ("acquirer", code.acquirer_id, number[:_ACQUIRER_LENGTH]),
        ("acquirer", code.acquirer_id, message.get(32)),
        ("merchant", code.merchant_id, phone.merchant_id),
        ("terminal", code.terminal_id, phone.terminal_id),
        ("amount", code.amount, amount),
        ("currency", code.currency, currency),
        ("kind", code.is_static, amount is None),
    ):
        if given != expected:
            raise OrderError(f"the acquirer's code is for another {what}")
    return OrderOffer(number, text, None if amount is None else _expiry(told.get("02", "")))


def _expiry(text: str) -> Instant:
    if len(text) != _TIME_LENGTH or not (text.isascii() and text.isdigit()):
        raise OrderError("the acquirer's order has no expiry")
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=CHINA_STANDARD_TIME)
    except ValueError:
        raise OrderError("the acquirer's order has no expiry") from None
    return instant_of(moment)
