"""Sales and balance inquiries: the terminal's 0200, the switch's 0210, and what happens when none comes.

A sale is paid with a card or with the payer's code (DE22 03x, the code in DE59), whose card the acquirer never learns.
A 0200 that pays an order is the acquirer's own (`acquirer.claims`): nobody waits for its answer but the order.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from acquirer.advice import Advices
from acquirer.books import post_sale
from acquirer.context import Context
from acquirer.devices import attestation_objects, refusal_of_device
from acquirer.mapping import (
    CODE_ENTRY,
    LINK_CODES,
    NO_CARD,
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
from acquirer.orders import Orders
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
from acquirer.terminal_data import TerminalDataError, code_in, for_switch, objects_of
from acquirer.terminal_link import HEADER_LENGTH, TerminalRequest
from network.iso8583 import Message
from network.iso8583.message import Value
from network.keys import PinBlockError, PinFormat, PinTranslationError
from network.party import Turn
from network.store import UnitOfWork
from network.tracing import ADDITIONAL, attributes_of, context_in, with_context

TIMER: Final = "switch-answer"

NOT_FOUND: Final = "25"
DIGEST_LENGTH: Final = 16

_CARD_ELEMENTS: Final = frozenset((2, 35, 55))
"""What a sale by the payer's code must not have."""


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
        row.before = first.latest or first.reference
        first.latest = row.reference
        row.trace = f"{row.trace}|{row.reference}"
    store.insert(row)


def recorded(
    context: Context,
    turn: Turn,
    moment: Moment,
    request: TerminalRequest,
    stan: str,
    status: str,
    kind: str,
    card: CardData,
    amount: int,
    digest: bytes,
) -> Transaction:
    """The row of a terminal's request that is to go to the switch under the number `stan`; not inserted yet."""
    fields = request.message.fields
    terminal = request.terminal
    reference = moment.reference(moment.transmission, stan, context.acquirer_id)
    card_sequence, private_data = fields.get(23), fields.get(60)
    return Transaction(
        reference,
        request.trace,
        None,
        status,
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
    )


class Sales:
    """Requests to the switch on behalf of terminals, and their answers."""

    def __init__(self, context: Context, advices: Advices, orders: Orders) -> None:
        self._context = context
        self._advices = advices
        self._orders = orders

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
        entry_mode = fields.get(22)
        by_code = isinstance(entry_mode, str) and entry_mode.startswith(CODE_ENTRY)
        if by_code and kind != SALE:
            self._refuse(turn, moment, request, "40")
            return
        card = (NO_CARD if fields.keys().isdisjoint(_CARD_ELEMENTS) else None) if by_code else card_data(fields)
        amount = fields.get(4)
        if (
            card is None
            or entry_mode is None
            or fields.get(49, context.configuration.currency) != context.configuration.currency
            or (kind == SALE and amount is None)
        ):
            self._refuse(turn, moment, request, "30")
            return
        additional = None
        if by_code or 59 in fields or request.terminal.device_id is not None:
            try:
                additional = self._additional(turn, request.terminal, fields, by_code=by_code)
            except TerminalDataError:
                self._refuse(turn, moment, request, "30")
                return
        fen = int(amount) if kind == SALE and isinstance(amount, str) else 0
        if kind == SALE and fen <= 0:
            self._refuse(turn, moment, request, "13")
            return
        digest = blake2b(request.body[HEADER_LENGTH:], digest_size=DIGEST_LENGTH).digest()
        holder = holder_of(turn.store, request.trace)
        if holder is not None and holder.session == request.terminal.session:
            self._repeated(turn, moment, request, holder, digest)
            return
        self._forward(turn, moment, request, kind, card, fen, digest, additional)

    def _additional(self, turn: Turn, terminal: Terminal, fields: dict[int, Value], *, by_code: bool) -> str | None:
        """DE59 for the switch.

        Raises
        ------
        TerminalDataError
            A code is wanted and there is none, or it is all too long.
        """
        objects = objects_of(fields.get(59))
        code = code_in(objects) if by_code else None
        if by_code and code is None:
            raise TerminalDataError("DE59 holds no payer's code")
        attestation = attestation_objects(turn.store, terminal, turn.now, self._context.configuration)
        return for_switch(terminal, objects, attestation, code=code)

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
        additional: str | None,
    ) -> None:
        """Record a request and send it to the switch, or record it declined where that cannot be done."""
        context = self._context
        store = turn.store
        fields = request.message.fields
        terminal = request.terminal
        refusal, pin_block = self._pin(turn, fields, card.pan, terminal)
        if terminal.device_id is not None and refusal != "77":
            refusal = refusal_of_device(store, terminal, 52 in fields, turn.now, context.configuration) or refusal
        if refusal == "77":
            self._refuse(turn, moment, request, refusal)
            return
        stan = context.numbers.take(store)
        row = recorded(context, turn, moment, request, stan, PENDING, kind, card, amount, digest)
        insert_holder(store, row)
        if refusal is not None:
            row.status = DECLINED
            row.response_code = refusal
            row.answered_at = turn.now
            self._answer(turn, row, terminal, card)
            return
        if turn.tracing is not None:
            additional = self._follow(turn, row, fields, additional)
        header = context.switch.header
        acquirer_id = context.acquirer_id
        message = interbank_request(row, fields, card, request.merchant, acquirer_id, pin_block, header, additional)
        context.switch.send(turn, message)
        turn.timer((TIMER, row.reference), turn.now + context.switch_timeout)

    @staticmethod
    def _follow(turn: Turn, row: Transaction, fields: dict[int, Value], additional: str | None) -> str | None:
        """DE59 for the switch with this party's part of the trace, where the payment is followed."""
        if turn.tracing is None:
            return additional
        attributes = {**attributes_of(fields, "0200"), "fourparty.rrn": row.rrn}
        parent = context_in(fields.get(ADDITIONAL))
        context = turn.tracing.begin(turn, row.reference, "0200 at the acquirer", parent, attributes)
        element = with_context(additional, context)
        return element if isinstance(element, str) else additional

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
        switch = context.switch
        zone = switch.zone(turn.store) if switch.ready and not switch.draining else None
        if zone is None or zone.pin_key is None:
            return "91", None
        if not isinstance(block, bytes) or terminal.pin_key is None:
            return None, None
        source = pin_format(fields)
        # of a code the card is not known: neither end can bind the block to it
        target = ZONE_PIN_FORMAT if pan else PinFormat.WITHOUT_PAN
        if source is None or (source is not PinFormat.WITHOUT_PAN and not pan):
            return "99", None
        module = context.module
        try:
            return None, module.translate_pin(
                module.load(terminal.pin_key), module.load(zone.pin_key), block, pan, source, target
            )
        except (PinBlockError, PinTranslationError):
            return "99", None

    def answered(self, turn: Turn, moment: Moment, message: Message, reference: str) -> None:
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
            turn.note(
                "answer came too late", reference, terminal=row.terminal_id, stan=row.stan, rrn=row.rrn, code=code
            )
            return
        turn.count_wait("0210", turn.now - row.created_at)
        if fields.get(39) in LINK_CODES:
            # the copy that the switch has seen was damaged: another, whole one may still come to it, and be paid
            turn.timer((TIMER, reference), None)
            self._given_up(turn, moment, row, code, str(fields[39]))
            return
        turn.store.change(row)
        take_answer(row, fields, code, turn.now)
        row.status = APPROVED if code == "00" else DECLINED
        if row.status == APPROVED and row.kind == SALE:
            post_sale(turn, row)
        turn.timer((TIMER, reference), None)
        if row.order_number is not None:
            self._orders.settled(turn, row)
            return
        pan, expiry = fields.get(2), fields.get(14)
        if row.card and isinstance(pan, str) and isinstance(expiry, str):
            card = CardData(pan, expiry, None)
        else:
            card = self._context.card_of(row)
        self._answer(turn, row, turn.store.find(Terminal, "terminal_id", row.terminal_id), card)

    def timed_out(self, turn: Turn, moment: Moment, reference: str) -> None:
        """The switch has not answered in time: the terminal is answered 98, and a sale is reversed."""
        row = turn.store.find(Transaction, "reference", reference)
        if row is not None and row.status == PENDING:
            turn.count_wait("0210", turn.now - row.created_at)
            turn.note("no answer from the switch", reference, terminal=row.terminal_id, stan=row.stan, rrn=row.rrn)
            self._given_up(turn, moment, row, "98", "98")

    def _given_up(self, turn: Turn, moment: Moment, row: Transaction, code: str, reason: str) -> None:
        """What the switch has made of it is not known: it is answered `code`, and a sale is reversed."""
        turn.store.change(row)
        row.status = TIMED_OUT
        row.response_code = code
        row.answered_at = turn.now
        if row.kind == SALE:
            self._advices.store(turn, moment, row, reason)
        if row.order_number is not None:
            self._orders.settled(turn, row)
            return
        terminal = turn.store.find(Terminal, "terminal_id", row.terminal_id)
        self._answer(turn, row, terminal, self._context.card_of(row))

    def _answer(self, turn: Turn, row: Transaction, terminal: Terminal | None, card: CardData) -> None:
        """Send the 0210 that the record holds, to where the terminal waits for it.

        A sale that was reversed is answered 25, whatever it was answered before: it is no sale any more.
        """
        code = NOT_FOUND if row.status == REVERSED or row.response_code is None else row.response_code
        fields = terminal_answer(row, card, code)
        if turn.tracing is not None:
            turn.tracing.end(turn, row.reference, code)
        self._context.terminals.answer(turn, row.link, row.header, terminal, "0210", fields)

    def _refuse(self, turn: Turn, moment: Moment, request: TerminalRequest, code: str) -> None:
        context = self._context
        rrn = context.new_retrieval_reference(turn.store, moment)
        context.terminals.refuse(turn, moment, request.link, request.message, request.terminal, code, rrn)
