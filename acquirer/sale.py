"""Sales and balance inquiries: the terminal's 0200, the switch's 0210, and what happens when none comes."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from acquirer.advice import Advices
from acquirer.books import post_sale
from acquirer.context import Context
from acquirer.mapping import (
    ZONE_PIN_FORMAT,
    CardData,
    card_data,
    interbank_request,
    kind_of,
    pin_format,
    refusal_of_kind,
    response_code,
    take_answer,
    terminal_answer,
)
from acquirer.numbering import Moment
from acquirer.tables import (
    APPROVED,
    DECLINED,
    PENDING,
    REVERSED,
    SALE,
    TIMED_OUT,
    TOMBSTONE,
    Terminal,
    Transaction,
)
from acquirer.terminal_link import HEADER_LENGTH, TerminalRequest
from network.iso8583 import Message
from network.iso8583.message import Value
from network.keys import PinBlockError, PinTranslationError
from network.party import Turn
from network.store import UnitOfWork

TIMER: Final = "switch-answer"

NOT_FOUND: Final = "25"
_DIGEST_LENGTH: Final = 16


def holder_of(store: UnitOfWork, trace: str) -> Transaction | None:
    """The latest transaction with this identity at the terminal."""
    first = store.find(Transaction, "trace", trace)
    if first is None or first.latest is None:
        return first
    return store.find(Transaction, "reference", first.latest)


def insert_holder(store: UnitOfWork, row: Transaction) -> None:
    """Insert a transaction as the latest with its trace, which the first row with that trace will point to."""
    first = store.find(Transaction, "trace", row.trace)
    if first is not None:
        store.change(first)
        first.latest = row.reference
        row.trace = f"{row.trace}|{row.reference}"
    store.insert(row)


class Sales:
    """Requests to the switch on behalf of terminals, and their answers."""

    def __init__(self, context: Context, advices: Advices) -> None:
        self._context = context
        self._advices = advices

    def request(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """Decide an 0200 whose sender and MAC are right."""
        context = self._context
        fields = request.message.fields
        if 3 not in fields or not request.trace:
            self._refuse(turn, moment, request, "30")
            return
        kind = kind_of(fields)
        if kind is None:
            self._refuse(turn, moment, request, refusal_of_kind("0200", fields))
            return
        card = card_data(fields)
        amount = fields.get(4)
        if (
            card is None
            or 22 not in fields
            or fields.get(49, context.configuration.currency) != context.configuration.currency
            or (kind == SALE and amount is None)
        ):
            self._refuse(turn, moment, request, "30")
            return
        fen = int(amount) if kind == SALE and isinstance(amount, str) else 0
        if kind == SALE and fen <= 0:
            self._refuse(turn, moment, request, "13")
            return
        digest = blake2b(request.body[HEADER_LENGTH:], digest_size=_DIGEST_LENGTH).digest()
        holder = holder_of(turn.store, request.trace)
        if holder is not None and holder.session == request.terminal.session:
            self._repeated(turn, moment, request, holder, digest)
            return
        self._forward(turn, moment, request, kind, card, fen, digest)

    def _repeated(
        self, turn: Turn, moment: Moment, request: TerminalRequest, holder: Transaction, digest: bytes
    ) -> None:
        """A request under an identity that is taken: answer it from the record, or leave it to the answer to come."""
        if holder.status == TOMBSTONE:
            self._refuse(turn, moment, request, NOT_FOUND)
        elif holder.digest != digest:
            self._refuse(turn, moment, request, "94")
        else:
            turn.store.change(holder)
            holder.link = request.link
            holder.header = request.body[:HEADER_LENGTH]
            if holder.status != PENDING:
                self._answer(turn, holder, request.terminal, self._context.card_of(holder))

    def _forward(
        self,
        turn: Turn,
        moment: Moment,
        request: TerminalRequest,
        kind: str,
        card: CardData,
        amount: int,
        digest: bytes,
    ) -> None:
        """Record a request and send it to the switch, or record it declined where that cannot be done."""
        context = self._context
        store = turn.store
        fields = request.message.fields
        terminal = request.terminal
        refusal, pin_block = self._pin(turn, fields, card.pan, terminal)
        if refusal == "77":
            self._refuse(turn, moment, request, refusal)
            return
        stan = context.numbers.take(store)
        reference = moment.reference(moment.transmission, stan, context.acquirer_id)
        card_sequence, private_data = fields.get(23), fields.get(60)
        row = Transaction(
            reference,
            request.trace,
            None,
            PENDING,
            kind,
            terminal.terminal_id,
            terminal.merchant_id,
            terminal.session,
            digest,
            request.link,
            request.body[:HEADER_LENGTH],
            context.seal(reference, card),
            amount,
            context.configuration.currency,
            str(fields[22]),
            card_sequence if isinstance(card_sequence, str) else None,
            str(fields.get(25, "00")),
            private_data if isinstance(private_data, str) else None,
            moment.retrieval_reference(stan),
            turn.now,
            None,
            None,
            None,
            None,
            None,
            None,
            None,
        )
        insert_holder(store, row)
        if refusal is not None:
            row.status = DECLINED
            row.response_code = refusal
            row.answered_at = turn.now
            self._answer(turn, row, terminal, card)
            return
        header = context.switch.header
        message = interbank_request(row, fields, card, request.merchant, context.acquirer_id, pin_block, header)
        context.switch.send(turn, message)
        turn.timer((TIMER, reference), turn.now + context.switch_timeout)

    def _pin(
        self, turn: Turn, fields: dict[int, Value], pan: str, terminal: Terminal
    ) -> tuple[str | None, bytes | None]:
        """The PIN under the zone's key, where there is one, or the code with which the request is refused.

        77 without a PIN key of the terminal, 91 while the switch cannot be reached, 99 for a block that cannot be
        translated.
        """
        context = self._context
        block = fields.get(52)
        if block is not None and terminal.pin_key is None:
            return "77", None
        zone = context.switch.zone(turn.store) if context.switch.ready else None
        if zone is None or zone.pin_key is None:
            return "91", None
        if not isinstance(block, bytes) or terminal.pin_key is None:
            return None, None
        source = pin_format(fields)
        if source is None:
            return "99", None
        module = context.module
        try:
            return None, module.translate_pin(
                module.load(terminal.pin_key), module.load(zone.pin_key), block, pan, source, ZONE_PIN_FORMAT
            )
        except (PinBlockError, PinTranslationError):
            return "99", None

    def answered(self, turn: Turn, message: Message, reference: str) -> None:
        """Decide an 0210 that is to be believed."""
        fields = message.fields
        row = turn.store.find(Transaction, "reference", reference)
        code = response_code(fields)
        if row is None or code is None:
            self._context.dropped["unmatched"] += 1
            return
        if row.status != PENDING:
            # timed out or reversed meanwhile: the advice that was made then covers an approval
            self._context.dropped["late"] += 1
            return
        turn.store.change(row)
        take_answer(row, fields, code, turn.now)
        row.status = APPROVED if code == "00" else DECLINED
        if row.status == APPROVED and row.kind == SALE:
            post_sale(turn, row)
        turn.timer((TIMER, reference), None)
        pan, expiry = fields.get(2), fields.get(14)
        if isinstance(pan, str) and isinstance(expiry, str):
            card = CardData(pan, expiry, None)
        else:
            card = self._context.card_of(row)
        self._answer(turn, row, turn.store.find(Terminal, "terminal_id", row.terminal_id), card)

    def timed_out(self, turn: Turn, moment: Moment, reference: str) -> None:
        """The switch has not answered in time: the terminal is answered 98, and a sale is reversed."""
        row = turn.store.find(Transaction, "reference", reference)
        if row is None or row.status != PENDING:
            return
        turn.store.change(row)
        row.status = TIMED_OUT
        row.response_code = "98"
        row.answered_at = turn.now
        terminal = turn.store.find(Terminal, "terminal_id", row.terminal_id)
        self._answer(turn, row, terminal, self._context.card_of(row))
        if row.kind == SALE:
            self._advices.store(turn, moment, row, "98")

    def _answer(self, turn: Turn, row: Transaction, terminal: Terminal | None, card: CardData) -> None:
        """Send the 0210 that the record holds, to where the terminal waits for it.

        A sale that was reversed is answered 25, whatever it was answered before: it is no sale any more.
        """
        code = NOT_FOUND if row.status == REVERSED or row.response_code is None else row.response_code
        fields = terminal_answer(row, card, code)
        self._context.terminals.answer(turn, row.link, row.header, terminal, "0210", fields)

    def _refuse(self, turn: Turn, moment: Moment, request: TerminalRequest, code: str) -> None:
        context = self._context
        rrn = context.new_retrieval_reference(turn.store, moment)
        context.terminals.refuse(turn, moment, request.link, request.message, request.terminal, code, rrn)
