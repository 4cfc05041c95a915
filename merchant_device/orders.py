"""Orders: the merchant's code on the phone's display, paid by the payer's App (docs/protocol.md, 401 to 404).

The phone asks the acquirer for an order, checks the text of its code, and shows it. The acquirer says when it is paid
(403), and is asked every few seconds as well (402), since that may be lost. What is not paid in time, or is cancelled,
is withdrawn (404): the sale ends when the acquirer has said that the order is cancelled or expired, or that it was
paid after all. Where the acquirer cannot be asked the command is answered ``unknown``, and the phone asks on.

An order is a row from before its code is shown until it is known how it ended, so that a process that dies in between
is followed by one that asks: what was paid then stands in the history. An order whose code was never shown, since no
answer or no right one came, can be paid by nobody.
"""

from __future__ import annotations

from typing import Final

from merchant_device import display
from merchant_device.context import Context
from merchant_device.merchant_code import OrderError, offer_of, order_in
from merchant_device.order_requests import (
    STATE,
    WITHDRAW,
    OrderRequests,
    keep_order,
    keep_payment,
    order_row,
    paid_amount,
)
from merchant_device.order_tables import CANCELLED, EXPIRED, OPEN, PAID, WITHDRAWING, Order
from merchant_device.receipts import APPROVED, UNKNOWN
from merchant_device.rooms import Way
from merchant_device.sealed_management import WRONG_MAC
from merchant_device.tables import INSTALLED, MERCHANT_CODE, SIGNED_ON, Phone
from merchant_device.terminal import Kind, Phase, ShownOrder, Terminal
from network.iso8583 import Message
from network.party import SECOND, Turn

WATCH: Final = "order-watch"
"""Timer that asks how orders stand."""

SCAN_LIMIT: Final = 100_000
"""Orders whose end is not known that a start takes up."""

_UNKNOWN_ORDER: Final = "25"


class Orders(Way):
    """The way of paying ``merchant_code``."""

    name = MERCHANT_CODE
    timers = (WATCH,)
    kinds = (Kind.ORDER, Kind.ORDER_STATE, Kind.WITHDRAWAL)

    def __init__(self, context: Context) -> None:
        self._configuration = context.configuration
        self._payments = context.payments
        self._endings = context.endings
        self._requests = OrderRequests(context)
        self._poll = round(context.configuration.order_poll * SECOND)

    def start(self, turn: Turn) -> None:
        """Ask how the orders stand that the process before this one has left."""
        left = [row for status in (OPEN, WITHDRAWING) for row in turn.store.scan(Order, "status", status, SCAN_LIMIT)]
        for terminal_id in dict.fromkeys(row.terminal_id for row in left):
            turn.timer((WATCH, terminal_id), turn.now)

    def signed_on(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Orders that a command has left can be asked for again; not at once, lest that brings the next sign-on."""
        if terminal.order is None and turn.store.scan(Order, "pending_of", terminal.terminal_id, 1):
            turn.timer((WATCH, terminal.terminal_id), turn.now + self._poll)

    # the way of paying

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Ask for an order."""
        self._requests.new(turn, terminal, phone, Kind.ORDER, terminal.amount)
        # the exchange ends sooner: this is for the code, of which nothing is known yet
        terminal.wait(turn, Phase.CODE, self._configuration.order_timeout + self._configuration.management_timeout)

    def timed_out(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The code was not paid in time, or it could not be withdrawn in time."""
        order = terminal.order
        if order is None:
            self._release(terminal)
            self._payments.refuse(turn, terminal, phone, "no answer from the acquirer")
        elif order.ending is None:
            self._withdraw(turn, terminal, phone, order, "the code was not paid in time", final=False)
        else:
            self._give_up(turn, terminal, phone, order, order.ending)

    def cancel(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """Withdraw the order: the sale ends when it is certain that nobody has paid."""
        order = terminal.order
        if order is None:
            # its code was never shown
            self._release(terminal)
            self._payments.refuse(turn, terminal, phone, reason, final=True)
        elif order.ending is None:
            self._withdraw(turn, terminal, phone, order, reason, final=True)
        else:
            terminal.order = order._replace(is_final=True)

    def _withdraw(
        self, turn: Turn, terminal: Terminal, phone: Phone, order: ShownOrder, ending: str, *, final: bool
    ) -> None:
        row = order_row(turn, order.number)
        turn.store.change(row)
        row.status = WITHDRAWING
        terminal.order = order._replace(ending=ending, is_final=final)
        display.clear(turn, terminal)
        self._release(terminal)
        # long enough for a second try where the first is lost
        terminal.wait(turn, Phase.CODE, 2 * self._configuration.management_timeout)
        self._ask(turn, terminal, phone, row)

    def _give_up(self, turn: Turn, terminal: Terminal, phone: Phone, order: ShownOrder, reason: str) -> None:
        """It is not known whether the order is paid: say so, and ask on."""
        self._release(terminal)
        turn.timer((WATCH, terminal.terminal_id), turn.now + self._poll)
        reason = f"{reason}, and the acquirer has not said that nobody has paid"
        self._endings.finish(turn, terminal, phone, UNKNOWN, None, reason, way=MERCHANT_CODE, order=order.number)

    def _release(self, terminal: Terminal) -> None:
        """Wait no longer for an answer about orders."""
        if terminal.exchange is not None and terminal.exchange.kind in self.kinds:
            terminal.close()

    # asking how orders stand

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        """It is time to ask, of the order on the display or of one that a command has left."""
        order = terminal.order
        if order is None:
            row = next(iter(turn.store.scan(Order, "pending_of", terminal.terminal_id, 1)), None)
            if row is None:
                return
        else:
            row = order_row(turn, order.number)
        if order is None and phone.status not in (SIGNED_ON, INSTALLED):
            # signed off, or without keys: the next sign-on goes on with it
            return
        turn.timer((WATCH, terminal.terminal_id), turn.now + self._poll)
        if order is not None or terminal.phase is Phase.IDLE:
            if phone.status == INSTALLED and terminal.sign_on_at is None and terminal.exchange is None:
                terminal.sign_on_at = turn.now
            self._ask(turn, terminal, phone, row)

    def _ask(self, turn: Turn, terminal: Terminal, phone: Phone, row: Order) -> None:
        """Ask for an order's state, or withdraw it; where the line is not free, another time."""
        if terminal.exchange is not None or not terminal.is_up or phone.status != SIGNED_ON:
            return
        if row.status == WITHDRAWING:
            self._requests.about(turn, terminal, phone, Kind.WITHDRAWAL, WITHDRAW, row.number)
        else:
            self._requests.about(turn, terminal, phone, Kind.ORDER_STATE, STATE, row.number)

    # what the acquirer says

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        """An order, or how one stands."""
        exchange = terminal.exchange
        if exchange is None:
            raise LookupError("nothing was asked about orders")
        code = self._requests.code_of(turn, terminal, phone, message, body)
        if code is None:
            return WRONG_MAC
        terminal.close()
        if exchange.kind is not Kind.ORDER:
            self._told_state(turn, terminal, phone, message, code, order_row(turn, exchange.reference))
        elif terminal.phase is Phase.CODE and terminal.order is None:
            self._offered(turn, terminal, phone, message, code)
        return None

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, reason: str) -> None:
        """No answer: of an order's state it is asked again; an order that did not come is not there."""
        if kind is Kind.ORDER and terminal.phase is Phase.CODE and terminal.order is None:
            self._payments.refuse(turn, terminal, phone, reason)

    def told(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> bool:
        """403: an order is paid."""
        row = self._requests.paid(turn, terminal, phone, message, body)
        if row is None or row.amount is None:
            return False
        self._paid(turn, terminal, phone, row, row.amount, message)
        return True

    def _offered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, code: str) -> None:
        """The order that was asked for, or why there is none."""
        if code != "00":
            self._payments.refuse(turn, terminal, phone, f"the acquirer answered the order {code}")
            return
        try:
            offer = offer_of(message, phone, terminal.amount, self._configuration.currency)
        except OrderError as error:
            self._payments.refuse(turn, terminal, phone, str(error))
            return
        shown_until = turn.now + round(self._configuration.order_timeout * SECOND)
        if offer.expires_at is not None:
            shown_until = min(shown_until, offer.expires_at)
        if shown_until <= turn.now:
            self._payments.refuse(turn, terminal, phone, "the code has expired")
            return
        keep_order(turn, terminal, offer, terminal.amount, OPEN)
        terminal.order = ShownOrder(offer.number)
        display.code(turn, terminal, offer.text, terminal.amount, shown_until)
        terminal.wait(turn, Phase.CODE, (shown_until - turn.now) / SECOND)
        turn.timer((WATCH, terminal.terminal_id), turn.now + self._poll)

    def _told_state(
        self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, code: str, row: Order
    ) -> None:
        named = order_in(message.get(62))
        state = named.get("04")
        if code == _UNKNOWN_ORDER:
            self._over(turn, terminal, phone, row, CANCELLED, "the acquirer does not know the order")
        elif code != "00" or named.get("01") != row.number:
            # it is asked again
            return
        elif state == PAID and row.amount is not None:
            self._paid(turn, terminal, phone, row, row.amount, message)
        elif state == EXPIRED:
            self._over(turn, terminal, phone, row, EXPIRED, "the code has expired")
        elif state == CANCELLED:
            self._over(turn, terminal, phone, row, CANCELLED, "the order was cancelled")
        elif row.status == OPEN and not _waits_for(terminal, row):
            # the process that showed it is gone
            turn.store.change(row)
            row.status = WITHDRAWING
            self._ask(turn, terminal, phone, row)

    def _over(self, turn: Turn, terminal: Terminal, phone: Phone, row: Order, status: str, reason: str) -> None:
        """The order has ended and nobody has paid it."""
        if row.status not in (OPEN, WITHDRAWING):
            return
        turn.store.change(row)
        row.status, row.pending_of, row.finished_at = status, None, turn.now
        order = terminal.order
        if order is not None and _waits_for(terminal, row):
            self._payments.refuse(turn, terminal, phone, order.ending or reason, final=order.is_final)

    def _paid(self, turn: Turn, terminal: Terminal, phone: Phone, row: Order, amount: int, message: Message) -> None:
        """The order is paid, which is noted once however often it is told; the command that waits for it ends."""
        if row.status == PAID:
            return
        turn.store.change(row)
        row.status, row.pending_of, row.finished_at = PAID, None, turn.now
        paid = paid_amount(message) or amount
        sale = keep_payment(turn, phone, row, message, paid, row.started_at, row.batch, row.stan)
        if not _waits_for(terminal, row):
            return
        self._release(terminal)
        is_right = paid == amount
        self._endings.finish(
            turn,
            terminal,
            phone,
            APPROVED if is_right else UNKNOWN,
            "00",
            None if is_right else "another amount was paid than that of the order",
            sale.rrn,
            sale.authorisation_code,
            way=MERCHANT_CODE,
            order=row.number,
        )


def _waits_for(terminal: Terminal, row: Order) -> bool:
    """Whether the command in progress waits for this order."""
    return terminal.order is not None and terminal.order.number == row.number
