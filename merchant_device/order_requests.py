"""What the merchant's codes have in common: the requests about their orders, and what is kept of the answers."""

from __future__ import annotations

from typing import Final

from merchant_device.configuration import Configuration
from merchant_device.context import Context
from merchant_device.merchant_code import OrderOffer, order_in
from merchant_device.order_tables import PAID, Order
from merchant_device.sale import CODE_WITHOUT_PIN, device_element, text
from merchant_device.sealed_management import SealedManagement
from merchant_device.tables import APPROVED, MERCHANT_CODE, Phone, Sale, sale_reference
from merchant_device.terminal import Kind, Terminal
from network.iso8583 import Message
from network.iso8583.additional_data import encode_objects
from network.iso8583.message import Value
from network.party import Instant, Turn

NEW: Final = "401"
STATE: Final = "402"
IS_PAID: Final = "403"
WITHDRAW: Final = "404"
"""DE60.3 of what is said about orders."""

_MANAGEMENT_CODE: Final = slice(8, 11)


class OrderRequests:
    """Asks the acquirer about orders.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self._configuration: Configuration = context.configuration
        self._management = SealedManagement(context.configuration, context.keystore, context.header)

    def new(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, amount: int | None) -> None:
        """Ask for an order of `amount` fen, or where that is None for a static code; sets the terminal's trace."""
        more: dict[int, Value] = {49: self._configuration.currency}
        if amount is not None:
            more[4] = f"{amount:012d}"
        if phone.device_id is not None:
            more[59] = device_element(phone.device_id, phone.place, self._configuration.app_version)
        terminal.batch = f"{phone.batch:06d}"
        terminal.stan = self._management.send(turn, terminal, phone, kind, "0800", NEW, more)

    def about(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, code: str, number: str) -> None:
        """Ask for an order's state, or withdraw it; its number is kept with the exchange."""
        named: dict[int, Value] = {62: encode_objects({"A5": {"01": number}}).encode()}
        self._management.send(turn, terminal, phone, kind, "0820", code, named, number)

    def code_of(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        """DE39 of an answer, None where it counts as none (`SealedManagement.code_of`)."""
        return self._management.code_of(turn, terminal, phone, message, body)

    def paid(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> Order | None:
        """The order of which the acquirer says, unasked, that it is paid (403); None where it says no such thing."""
        fields = message.fields
        code = (text(fields, 60) or "")[_MANAGEMENT_CODE]
        if message.mti != "0820" or code != IS_PAID or fields.get(41) != terminal.terminal_id:
            return None
        named = order_in(fields.get(62))
        row = turn.store.find(Order, "number", named.get("01", ""))
        if row is None or row.terminal_id != terminal.terminal_id or named.get("04") != PAID:
            return None
        return row if self._management.is_genuine(phone, message, body) else None


def order_row(turn: Turn, number: str | None) -> Order:
    """The row of an order that has been shown.

    Raises
    ------
    LookupError
        It is not there.
    """
    row = None if number is None else turn.store.find(Order, "number", number)
    if row is None:
        raise LookupError(f"order {number} was shown and is not there")
    return row


def keep_order(turn: Turn, terminal: Terminal, offer: OrderOffer, amount: int | None, status: str) -> Order:
    """Write an order down before its code is shown; the request for it is the terminal's."""
    row = Order(
        offer.number,
        terminal.terminal_id,
        amount,
        offer.text,
        terminal.batch,
        terminal.stan,
        turn.now,
        offer.expires_at,
        status,
        None if amount is None else terminal.terminal_id,
    )
    turn.store.insert(row)
    return row


def paid_amount(message: Message) -> int | None:
    """Fen that were paid (DE4); None where the message does not say it."""
    said = text(message.fields, 4)
    return int(said) if said is not None and said.isdigit() else None


def keep_payment(
    turn: Turn, phone: Phone, order: Order, message: Message, amount: int, started_at: Instant, batch: str, stan: str
) -> Sale:
    """Write down the payment of an order that the acquirer has told of."""
    sale = Sale(
        reference=sale_reference(started_at, phone.terminal_id, batch, stan),
        terminal_id=phone.terminal_id,
        merchant_id=phone.merchant_id,
        batch=batch,
        stan=stan,
        amount=amount,
        pan_masked=None,
        card=None,
        entry_mode=CODE_WITHOUT_PIN,
        card_sequence=None,
        chip=None,
        cvm=None,
        started_at=started_at,
        status=APPROVED,
        response_code="00",
        rrn=text(message.fields, 37),
        authorisation_code=text(message.fields, 38),
        finished_at=turn.now,
        way=MERCHANT_CODE,
        order_number=order.number,
    )
    turn.store.insert(sale)
    return sale
