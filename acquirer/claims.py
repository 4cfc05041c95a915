"""Claims: the switch says that a payer's code is to pay an order (0600, 950000), and the acquirer makes the 0200.

Every answer is kept under order and code and given again to each copy of the question, a refusal too: a payer who was
refused is never charged by a copy that comes late. A claim and its 0200 are recorded in one commit; the 0200 is an
ordinary sale, and all that ends sales ends it (`acquirer.sale`).
"""

from __future__ import annotations

from typing import Final

from acquirer.context import Context
from acquirer.devices import refusal_of_order, standing_objects
from acquirer.mapping import CODE_ENTRY, NO_CARD, interbank_request
from acquirer.numbering import Moment
from acquirer.orders import ANSWER_TIMER, EXPIRED, state_of
from acquirer.tables import (
    ACTIVE,
    CANCELLED,
    CLAIMED,
    OPEN,
    PENDING,
    SALE,
    Claim,
    Merchant,
    PaymentOrder,
    Terminal,
    Transaction,
)
from acquirer.terminal_data import DEVICE, TerminalDataError, for_switch, is_order_number
from network.iso8583 import Message
from network.iso8583.message import Value
from network.party import Turn

CLAIM: Final = "950000"
"""DE3 of the question; the only administrative one that an acquirer answers."""

ENTRY_MODE: Final = CODE_ENTRY + "2"
"""DE22 of an order's payment: a code, and no PIN."""

_REPEATED: Final = (2, 3, 4, 7, 11, 102, 103)
_LONGEST_CODE: Final = 28
"""Characters of DE103."""

_BATCH: Final = "000000"


class Claims:
    """Decides the switch's administrative questions about orders."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def request(self, turn: Turn, moment: Moment, message: Message, fault: str | None) -> None:
        """Decide an 0600 of the switch; `fault` is what is wrong with its DE128, where it is not to be believed."""
        fields = message.fields
        if not (isinstance(fields.get(7), str) and isinstance(fields.get(11), str)):
            self._context.dropped["unmatched"] += 1
        elif fault is not None:
            self._answer(turn, message, "A0")
        elif fields.get(3) != CLAIM:
            self._answer(turn, message, "12")
        else:
            self._answer(turn, message, self._claim(turn, moment, fields))

    def _claim(self, turn: Turn, moment: Moment, fields: dict[int, Value]) -> str:
        """The code that the claim is answered with, from the record where there is one."""
        wanted = claim_of(fields)
        amount = fields.get(4)
        if wanted is None or not isinstance(amount, str):
            return "30"
        number, code = wanted
        store = turn.store
        fen = int(amount)
        index = self._context.code_index(number, code)
        known = store.find(Claim, "code_index", index)
        if known is not None:
            return known.response_code if known.amount == fen else "13"
        order = store.find(PaymentOrder, "number", number)
        if order is None:
            return "25"
        refusal, reference = self._refusal(turn, order, fen), None
        if refusal is None:
            refusal, reference = self._pay(turn, moment, order, code, fen)
        store.insert(Claim(index, number, fen, refusal or "00", reference, turn.now))
        return refusal or "00"

    def _refusal(self, turn: Turn, order: PaymentOrder, amount: int) -> str | None:
        state = state_of(order, turn.now)
        if state in (EXPIRED, CANCELLED):
            return "54"
        if state != OPEN:
            return "94"
        if amount <= 0 or (order.amount is not None and amount != order.amount):
            return "13"
        merchant, terminal = self._whose(turn, order)
        if terminal.status != ACTIVE:
            return "58"
        if merchant.status != ACTIVE:
            return "03"
        if terminal.device_id is not None:
            refused = refusal_of_order(turn.store, terminal, is_static=order.amount is None)
            if refused is not None:
                return refused
        return None if self._context.switch.ready else "91"

    @staticmethod
    def _whose(turn: Turn, order: PaymentOrder) -> tuple[Merchant, Terminal]:
        merchant = turn.store.find(Merchant, "merchant_id", order.merchant_id)
        terminal = turn.store.find(Terminal, "terminal_id", order.terminal_id)
        if merchant is None or terminal is None:
            raise LookupError(f"order {order.number} has lost its merchant or terminal")
        return merchant, terminal

    def _pay(
        self, turn: Turn, moment: Moment, order: PaymentOrder, code: str, amount: int
    ) -> tuple[str | None, str | None]:
        """Record and send the 0200; a refusal where that cannot be done, else the 0200's reference."""
        context = self._context
        store = turn.store
        merchant, terminal = self._whose(turn, order)
        said = {} if order.device is None else {DEVICE: order.device}
        attestation = standing_objects(store, terminal, turn.now)
        try:
            additional = for_switch(terminal, said, attestation, code=code, order=order.number)
        except TerminalDataError:
            return "30", None
        stan = context.numbers.take(store)
        reference = moment.reference(moment.transmission, stan, context.acquirer_id)
        row = Transaction(
            reference,
            f"{order.terminal_id}|{_BATCH}|{stan}|{reference}",
            None,
            PENDING,
            SALE,
            order.terminal_id,
            order.merchant_id,
            terminal.session,
            b"",
            "",
            b"",
            b"",
            amount,
            order.currency,
            ENTRY_MODE,
            None,
            "00",
            None,
            moment.retrieval_reference(stan),
            turn.now,
            order_number=order.number,
        )
        store.insert(row)
        store.change(order)
        order.payment = reference
        if order.amount is not None:
            order.status = CLAIMED
        message = interbank_request(
            row, {22: ENTRY_MODE}, NO_CARD, merchant, context.acquirer_id, None, context.switch.header, additional
        )
        context.switch.send(turn, message)
        turn.timer((ANSWER_TIMER, reference), turn.now + context.switch_timeout)
        return None, reference

    def _answer(self, turn: Turn, message: Message, code: str) -> None:
        context = self._context
        fields: dict[int, Value] = {n: message.fields[n] for n in _REPEATED if n in message.fields}
        fields |= {33: context.acquirer_id, 39: code, 100: context.acquirer_id}
        turn.count_answer("0610", code)
        context.switch.send(turn, Message("0610", fields, context.switch.header))


def claim_of(fields: dict[int, Value]) -> tuple[str, str] | None:
    """Order and code of an 0600; None where they are missing or malformed."""
    number, code = fields.get(102), fields.get(103)
    if not isinstance(number, str) or not isinstance(code, str):
        return None
    is_code = 1 <= len(code) <= _LONGEST_CODE and code.isascii() and code.isdigit()
    return (number, code) if is_order_number(number) and is_code else None
