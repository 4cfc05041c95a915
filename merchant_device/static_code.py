"""The static code: one text that stands for any number of sales, of which the payers say the amount.

It is asked for once (401 without an amount) and shown again from its row. Its payments are noted in the history as the
acquirer tells of them (403); while it is on the display the latest is asked for as well (402). What was lost otherwise
is not told again: the acquirer's books are the complete ones.
"""

from __future__ import annotations

from typing import Final

from merchant_device import display
from merchant_device.context import Context
from merchant_device.merchant_code import OrderError, offer_of, order_in
from merchant_device.order_requests import (
    STATE,
    OrderRequests,
    keep_order,
    keep_payment,
    order_row,
    paid_amount,
)
from merchant_device.order_tables import (
    CANCELLED,
    STATIC,
    Order,
    StaticCode,
    StaticPayment,
    payment_identifier,
    static_identifier,
)
from merchant_device.receipts import APPROVED, DECLINED, REFUSED, UNKNOWN, ManagementResult
from merchant_device.rooms import Room
from merchant_device.sale import text
from merchant_device.sealed_management import WRONG_MAC
from merchant_device.tables import SIGNED_ON, Phone
from merchant_device.terminal import Kind, Phase, Terminal
from network.iso8583 import Message
from network.party import SECOND, Command, CommandError, Json, Turn

STATIC_CODE: Final = "static_code"
"""Name of the command."""

WATCH: Final = "static-watch"
"""Timer that asks what has been paid to the static code on the display."""

_UNKNOWN_ORDER: Final = "25"


class StaticCodes(Room):
    """Takes the command ``static_code {terminal, show?}``, and notes what is paid."""

    timers = (WATCH,)
    commands = (STATIC_CODE,)
    kinds = (Kind.STATIC_CODE, Kind.STATIC_STATE)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._configuration = context.configuration
        self._requests = OrderRequests(context)

    def command(self, turn: Turn, terminal: Terminal, phone: Phone, command: Command) -> None:
        """Show the static code, or with `show` false clear the display."""
        show = command.arguments.get("show", True)
        ticket = command.ticket
        if not isinstance(show, bool):
            turn.answer(ticket, CommandError("show: true or false"))
        elif terminal.phase is not Phase.IDLE:
            turn.answer(ticket, self._result(terminal, REFUSED, None, "the terminal is busy"))
        elif not show:
            display.clear(turn, terminal)
            turn.answer(ticket, self._result(terminal, APPROVED, None, None))
        elif (row := _static_row(turn, phone)) is not None:
            turn.answer(ticket, self._show(turn, terminal, row))
        elif not terminal.is_up:
            turn.answer(ticket, self._result(terminal, REFUSED, None, "the link to the acquirer is down"))
        else:
            terminal.begin(Kind.STATIC_CODE, ticket, 0)

    def send(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        """The line is free: ask for the code."""
        self._requests.new(turn, terminal, phone, Kind.STATIC_CODE, None)

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        """Ask what has been paid, for as long as the code is shown."""
        row = _static_row(turn, phone)
        if row is None or not terminal.shows:
            return
        turn.timer((WATCH, terminal.terminal_id), turn.now + round(self._configuration.static_poll * SECOND))
        is_free = terminal.phase is Phase.IDLE and terminal.exchange is None
        if is_free and terminal.is_up and phone.status == SIGNED_ON:
            self._requests.about(turn, terminal, phone, Kind.STATIC_STATE, STATE, row.number)

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        """The code that was asked for, or its latest payment."""
        exchange = terminal.exchange
        if exchange is None:
            raise LookupError("nothing was asked about a static code")
        code = self._requests.code_of(turn, terminal, phone, message, body)
        if code is None:
            return WRONG_MAC
        terminal.close()
        if exchange.kind is Kind.STATIC_STATE:
            self._told_state(turn, terminal, phone, message, code, order_row(turn, exchange.reference))
        elif terminal.phase is Phase.ANSWER and terminal.kind is Kind.STATIC_CODE:
            self._offered(turn, terminal, phone, message, code)
        return None

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, reason: str) -> None:
        """The code has not come; of its payments it is asked again."""
        if kind is Kind.STATIC_CODE and terminal.phase is Phase.ANSWER and terminal.kind is kind:
            self._end(turn, terminal, UNKNOWN, None, reason)

    def told(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> bool:
        """403 of a static code: one payment more."""
        row = self._requests.paid(turn, terminal, phone, message, body)
        if row is None or row.amount is not None:
            return False
        self._note(turn, terminal, phone, row, message)
        return True

    def _offered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, code: str) -> None:
        if code != "00":
            self._end(turn, terminal, DECLINED, code, f"the acquirer answered the order {code}")
            return
        try:
            offer = offer_of(message, phone, None, self._configuration.currency)
        except OrderError as error:
            self._end(turn, terminal, DECLINED, code, str(error))
            return
        row = keep_order(turn, terminal, offer, None, STATIC)
        identifier = static_identifier(phone.terminal_id, phone.merchant_id)
        known = turn.store.find(StaticCode, "identifier", identifier)
        if known is None:
            turn.store.insert(StaticCode(identifier, row.number))
        else:
            turn.store.change(known)
            known.number = row.number
        turn.answer(terminal.ticket, self._show(turn, terminal, row))
        terminal.end()

    def _show(self, turn: Turn, terminal: Terminal, row: Order) -> dict[str, Json]:
        """Show the code until something else is, and give the command's answer."""
        display.code(turn, terminal, row.text, None, None)
        turn.timer((WATCH, terminal.terminal_id), turn.now)
        return self._result(terminal, APPROVED, "00", None) | {"order": row.number, "text": row.text}

    def _told_state(
        self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, code: str, row: Order
    ) -> None:
        if code == _UNKNOWN_ORDER:
            turn.store.change(row)
            row.status, row.finished_at = CANCELLED, turn.now
            if terminal.phase is Phase.IDLE:
                display.clear(turn, terminal)
        elif code == "00" and order_in(message.get(62)).get("01") == row.number:
            self._note(turn, terminal, phone, row, message)

    def _note(self, turn: Turn, terminal: Terminal, phone: Phone, row: Order, message: Message) -> None:
        """Note a payment, once however often it is told."""
        amount, rrn = paid_amount(message), text(message.fields, 37)
        if not amount or rrn is None:
            # DE37 of an answer that tells of no payment is its own: only DE4 shows that there is one
            return
        identifier = payment_identifier(row.number, rrn)
        if turn.store.find(StaticPayment, "identifier", identifier) is not None:
            return
        stan = terminal.next_stan(turn, phone, self._configuration.stan_block)
        sale = keep_payment(turn, phone, row, message, amount, turn.now, f"{phone.batch:06d}", stan)
        turn.store.insert(StaticPayment(identifier, sale.reference))

    def _end(self, turn: Turn, terminal: Terminal, outcome: str, code: str | None, reason: str | None) -> None:
        turn.answer(terminal.ticket, self._result(terminal, outcome, code, reason))
        terminal.end()

    def _result(self, terminal: Terminal, outcome: str, code: str | None, reason: str | None) -> dict[str, Json]:
        return ManagementResult(outcome, code, reason, terminal.terminal_id, self._context.clock.receipt).as_json()


def _static_row(turn: Turn, phone: Phone) -> Order | None:
    """The order of the static code that the phone has for its merchant, where the acquirer still knows it."""
    known = turn.store.find(StaticCode, "identifier", static_identifier(phone.terminal_id, phone.merchant_id))
    row = None if known is None else order_row(turn, known.number)
    return row if row is not None and row.status == STATIC else None
