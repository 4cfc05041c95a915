"""Orders: what a merchant-presented code stands for, as its terminal makes, watches and withdraws it.

An order with an amount is paid at most once, within `order_seconds`; a static one, without, stands for any number of
sales. How payers come to pay it is the business of `acquirer.claims`. An order is open, claimed while a 0200 is on its
way that is to pay it, then paid, or open again where that came to nothing; to the terminal a claimed one is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from acquirer.advice import Advices
from acquirer.context import Context
from acquirer.devices import is_in_service, refusal_of_device
from acquirer.numbering import Moment
from acquirer.tables import (
    APPROVED,
    CANCELLED,
    CLAIMED,
    OPEN,
    PAID,
    PENDING,
    REVERSED,
    Merchant,
    PaymentOrder,
    Terminal,
    Transaction,
)
from acquirer.terminal_data import ORDER, device_in, objects_of, order_number_in
from acquirer.terminal_link import HEADER_LENGTH, ORDER_PAID, TerminalRequest, management_code
from network.emv.qr import MerchantCode
from network.iso8583.additional_data import encode_objects
from network.iso8583.message import Value
from network.party import Instant, LinkName, Turn, local_time

NEW_ORDER: Final = "401"
ORDER_STATE: Final = "402"
WITHDRAW_ORDER: Final = "404"
"""DE60.3 of what terminals ask."""

ANSWER_TIMER: Final = "switch-answer"
"""Kind of the timers that end the wait for the switch's 0210."""

EXPIRED: Final = "expired"
_WITHDRAWN: Final = "06"
"""DE39 of the reversal of a payment whose order is withdrawn: none of the other reasons [G]."""


def state_of(order: PaymentOrder, now: Instant) -> str:
    """What becomes of an order: ``open``, ``claimed``, ``paid``, ``cancelled``, or ``expired``.

    An expiry that passes while a payment is on its way does not count until that has come to nothing.
    """
    if order.status == OPEN and order.expires_at is not None and now >= order.expires_at:
        return EXPIRED
    return order.status


def order_trace(trace: str, session: int) -> str:
    """The identity of a terminal's request for an order, which its next session may use again for another."""
    return f"{trace}|{session}"


class Orders:
    """See the module's text."""

    def __init__(self, context: Context, advices: Advices) -> None:
        self._context = context
        self._advices = advices

    def request(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """Decide network management about orders, of a terminal that may send and whose MAC is right."""
        message = request.message
        code = management_code(message.fields)
        if 11 not in message.fields:
            self._answer(turn, moment, request, "30")
        elif message.mti == "0800" and code == NEW_ORDER:
            self._create(turn, moment, request)
        elif message.mti == "0820" and code in (ORDER_STATE, WITHDRAW_ORDER):
            self._known(turn, moment, request, withdraw=code == WITHDRAW_ORDER)
        else:
            self._answer(turn, moment, request, "40")

    def _create(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """Make an order; the same request again is answered with the same order."""
        context = self._context
        fields = request.message.fields
        currency = context.configuration.currency
        if fields.get(49, currency) != currency:
            self._answer(turn, moment, request, "30")
            return
        element = fields.get(4)
        amount = int(element) if isinstance(element, str) else None
        if amount is not None and amount <= 0:
            self._answer(turn, moment, request, "13")
            return
        trace = order_trace(request.trace, request.terminal.session)
        order = turn.store.find(PaymentOrder, "trace", trace)
        if order is not None and order.amount != amount:
            self._answer(turn, moment, request, "94")
            return
        if order is None and not self._may_sell(turn, request.terminal, is_static=amount is None):
            self._answer(turn, moment, request, "58")
            return
        if order is None:
            order = PaymentOrder(
                context.order_numbers.take(turn.store),
                trace,
                request.merchant.merchant_id,
                request.terminal.terminal_id,
                amount,
                currency,
                turn.now,
                None if amount is None else turn.now + context.order_life,
                device_in(objects_of(fields.get(59))),
                OPEN,
                request.link,
                request.body[:HEADER_LENGTH],
                None,
                None,
                None,
                None,
                None,
            )
            turn.store.insert(order)
        described = {"01": order.number, "02": _expiry(order), "03": self._code_of(order, request.merchant)}
        self._answer(turn, moment, request, "00", described)

    def _may_sell(self, turn: Turn, terminal: Terminal, *, is_static: bool) -> bool:
        """Whether a terminal may have an order: one with a device while that is attested, as for a sale.

        A static code is for later, when no phone need be there: its device must be in service.
        """
        if terminal.device_id is None:
            return True
        if is_static:
            return is_in_service(turn.store, terminal)
        return refusal_of_device(turn.store, terminal, False, turn.now, self._context.configuration) is None

    def _code_of(self, order: PaymentOrder, merchant: Merchant) -> str:
        """The text of the merchant-presented code."""
        context = self._context
        return MerchantCode(
            is_static=order.amount is None,
            acquirer_id=context.acquirer_id,
            order=order.number,
            merchant_id=merchant.merchant_id,
            terminal_id=order.terminal_id,
            merchant_name=merchant.name,
            city=merchant.city,
            category=merchant.category,
            country=context.configuration.country,
            currency=order.currency,
            amount=order.amount,
        ).build()

    def _known(self, turn: Turn, moment: Moment, request: TerminalRequest, *, withdraw: bool) -> None:
        """Tell the state of an order, after it is withdrawn where that is wanted and not too late."""
        store = turn.store
        number = order_number_in(request.message.fields.get(62))
        if number is None:
            self._answer(turn, moment, request, "30")
            return
        order = store.find(PaymentOrder, "number", number)
        if order is None or order.terminal_id != request.terminal.terminal_id:
            self._answer(turn, moment, request, "25")
            return
        header = request.body[:HEADER_LENGTH]
        if (order.link, order.header) != (request.link, header):
            store.change(order)
            order.link, order.header = request.link, header
        if withdraw:
            self._withdraw(turn, moment, order)
        state = state_of(order, turn.now)
        more: dict[int, Value] = {}
        amount = order.amount if order.paid_amount is None else order.paid_amount
        if amount is not None:
            more[4] = f"{amount:012d}"
        if order.paid_rrn is not None:
            more[37] = order.paid_rrn
        if order.paid_code is not None:
            more[38] = order.paid_code
        shown = OPEN if state == CLAIMED else state
        described = {"01": order.number, "04": shown}
        if order.amount is None:
            # a terminal that was not told of some (403) finds out that it was not
            described |= {"05": str(order.payments), "06": str(order.payments_total)}
        self._answer(turn, moment, request, "00", described, more)

    def _withdraw(self, turn: Turn, moment: Moment, order: PaymentOrder) -> None:
        """Take an order back. A payment of it that is on its way is reversed, as a sale is by an 0400.

        Payments of a static code are sales of their own: those on their way go on.
        """
        state = state_of(order, turn.now)
        if state not in (OPEN, CLAIMED):
            return
        store = turn.store
        if state == CLAIMED and order.payment is not None:
            row = store.find(Transaction, "reference", order.payment)
            if row is not None and row.status == PENDING:
                store.change(row)
                row.status = REVERSED
                turn.timer((ANSWER_TIMER, row.reference), None)
                self._advices.store(turn, moment, row, _WITHDRAWN)
        store.change(order)
        order.status = CANCELLED

    def settled(self, turn: Turn, row: Transaction) -> None:
        """The payment `row` of an order has ended: with money, and the terminal is told, or the order is open again."""
        store = turn.store
        order = None if row.order_number is None else store.find(PaymentOrder, "number", row.order_number)
        if order is None:
            raise LookupError(f"payment {row.reference} has lost its order")
        if row.status != APPROVED:
            if order.status == CLAIMED and order.payment == row.reference:
                store.change(order)
                order.status = OPEN
            return
        store.change(order)
        if order.amount is not None:
            order.status = PAID
        order.payment = row.reference
        order.paid_amount = row.amount
        order.paid_rrn = row.rrn
        order.paid_code = row.authorisation_code
        order.paid_at = turn.now
        order.payments += 1
        order.payments_total += row.amount
        self._tell(turn, order, order.link, row)

    def _tell(self, turn: Turn, order: PaymentOrder, link: LinkName, row: Transaction) -> None:
        """Tell the terminal that the order is paid: lost where it is not there; it asks as well."""
        context = self._context
        terminal = turn.store.find(Terminal, "terminal_id", order.terminal_id)
        if terminal is None:
            return
        fields: dict[int, Value] = {
            4: f"{row.amount:012d}",
            11: context.numbers.take(turn.store),
            37: row.rrn,
            41: order.terminal_id,
            42: order.merchant_id,
            60: f"00{order.trace[9:15]}{ORDER_PAID}",
            62: encode_objects({ORDER: {"01": order.number, "04": PAID}}).encode(),
        }
        if row.authorisation_code is not None:
            fields[38] = row.authorisation_code
        context.terminals.tell(turn, link, order.header, terminal, fields)

    def _answer(
        self,
        turn: Turn,
        moment: Moment,
        request: TerminalRequest,
        code: str,
        described: Mapping[str, str] | None = None,
        more: Mapping[int, Value] | None = None,
    ) -> None:
        context = self._context
        fields: dict[int, Value] = dict(more or {})
        if described is not None:
            fields[62] = encode_objects({ORDER: described}).encode()
        rrn = context.new_retrieval_reference(turn.store, moment)
        context.terminals.manage(turn, moment, request, rrn, code, fields)


def needed_order(fields: Mapping[int, Value], code: str) -> str | None:
    """The number of the order that a terminal's network management with this DE60.3 is about."""
    return order_number_in(fields.get(62)) if code in (ORDER_STATE, WITHDRAW_ORDER) else None


def _expiry(order: PaymentOrder) -> str:
    """YYYYMMDDhhmmss, local time; empty where there is none."""
    return "" if order.expires_at is None else f"{local_time(order.expires_at):%Y%m%d%H%M%S}"
