"""Reversals: the terminal's 0400, which the acquirer records and from then on owns."""

from __future__ import annotations

from typing import Final, NamedTuple

from acquirer.advice import Advices
from acquirer.books import post_reversal
from acquirer.context import Context
from acquirer.mapping import batch_of, card_data
from acquirer.numbering import Moment
from acquirer.sale import NOT_FOUND, TIMER, holder_of, insert_holder
from acquirer.tables import (
    APPROVED,
    OFFLINE,
    PENDING,
    REVERSED,
    SALE,
    TIMED_OUT,
    TOMBSTONE,
    UNKNOWN,
    Terminal,
    Transaction,
)
from acquirer.terminal_link import HEADER_LENGTH, TerminalRequest, trace_of
from network.iso8583 import Message
from network.iso8583.message import Value
from network.party import LinkName, Turn
from network.tracing import ADDITIONAL, attributes_of, context_in

_REPEATED: Final = (2, 3, 4, 11, 41, 42, 49, 60)
"""Elements of the 0400 that its answer repeats where they came."""

_NO_ANSWER: Final = "98"
"""The reason where the terminal gives none."""

_TERMINAL_FAULT: Final = "96"
"""The reason where the terminal cannot say one any more."""

_REASONS: Final = frozenset((_NO_ANSWER, _TERMINAL_FAULT, "A0", "06"))
_OTHER_REASON: Final = "06"
"""What stands for a reason that is none of these [G]."""


def original_trace(terminal_id: str, message: Message) -> str:
    """The identity of what an 0400 is about: batch and STAN of DE61, else its own; empty where there is no STAN."""
    fields = message.fields
    original = fields.get(61)
    if isinstance(original, str) and len(original) >= 12 and original[6:12] != "000000":
        return trace_of(terminal_id, original[:6], original[6:12])
    stan = fields.get(11)
    return trace_of(terminal_id, batch_of(fields), stan) if isinstance(stan, str) else ""


class Owed(NamedTuple):
    """A reversal that a phone has handed over: DE60.2 and DE11 of the sale, and its amount in fen."""

    batch: str
    stan: str
    amount: int


class Reversals:
    """What terminals take back."""

    def __init__(self, context: Context, advices: Advices) -> None:
        self._context = context
        self._advices = advices

    def request(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """Decide an 0400 whose sender and MAC are right; `request.trace` is that of its original."""
        context = self._context
        fields = request.message.fields
        given = fields.get(39, _NO_ANSWER)
        reason = given if isinstance(given, str) and given in _REASONS else _OTHER_REASON
        if not request.trace:
            rrn = context.new_retrieval_reference(turn.store, moment)
            context.terminals.refuse(turn, moment, request.link, request.message, request.terminal, "30", rrn)
            return
        row = holder_of(turn.store, request.trace)
        followed = self._follow(turn, request, row)
        if row is None:
            self._bury(turn, moment, request)
        elif row.status == TOMBSTONE:
            self._answer(turn, moment, request, row, NOT_FOUND)
        elif row.kind == OFFLINE and row.session == request.terminal.session:
            # the card has approved and will not take it back
            self._answer(turn, moment, request, row, "40")
        elif row.kind == OFFLINE or not self._is_original(row, fields):
            if row.session == request.terminal.session:
                self._answer(turn, moment, request, row, "64")
            else:
                # the terminal has begun its numbers anew: this is another sale's, and that one has not come
                self._bury(turn, moment, request)
        else:
            self._reverse(turn, moment, row, reason, followed)
            self._answer(turn, moment, request, row, "00")

    @staticmethod
    def _follow(turn: Turn, request: TerminalRequest, row: Transaction | None) -> str | None:
        """Begin the part of the 0400 of a sale that is followed, whether its terminal knows of that or not."""
        if turn.tracing is None:
            return None
        fields = request.message.fields
        parent = context_in(fields.get(ADDITIONAL))
        if parent is None and row is not None:
            parent = turn.tracing.context_of(turn, row.reference)
        told = attributes_of(fields, "0400")
        return turn.tracing.go_on(turn, _part(request), "0400 at the acquirer", parent, told)

    def take_back(self, turn: Turn, moment: Moment, terminal: Terminal, owed: Owed, link: LinkName) -> bool:
        """Reverse a sale that a phone was going to reverse when it wiped its keys; nobody is to be answered.

        Returns
        -------
        bool
            False where the sale of that number is another one, of which the phone can have owed nothing.
        """
        trace = trace_of(terminal.terminal_id, owed.batch, owed.stan)
        row = holder_of(turn.store, trace)
        if row is not None and (row.kind != SALE or row.status == TOMBSTONE or row.amount != owed.amount):
            if row.status == TOMBSTONE or row.session == terminal.session:
                return row.status == TOMBSTONE
            row = None
        if row is None:
            # it may still arrive, and must not be paid then
            self._tombstone(turn, moment, terminal, trace, link, b"")
        else:
            self._reverse(turn, moment, row, _TERMINAL_FAULT)
        return True

    def _is_original(self, row: Transaction, fields: dict[int, Value]) -> bool:
        """Whether card and amount, where the 0400 tells them, are those of the transaction."""
        if not _same_amount(row, fields):
            return False
        card = card_data(fields)
        return card is None or not row.card or card.pan == self._context.card_of(row).pan

    def _reverse(self, turn: Turn, moment: Moment, row: Transaction, reason: str, followed: str | None = None) -> None:
        """Take the original back as far as its state asks for it: a declined or reversed one has nothing to it."""
        before = row.status
        if before not in (PENDING, APPROVED, TIMED_OUT):
            return
        turn.store.change(row)
        row.status = REVERSED
        if before == PENDING:
            turn.timer((TIMER, row.reference), None)
        if row.kind != SALE:
            return
        if before == APPROVED:
            post_reversal(turn, row)
        if before != TIMED_OUT:  # at the timeout the advice was made
            self._advices.store(turn, moment, row, reason, followed)

    def _bury(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """There is no such original: remember that it must never be paid, should it still arrive."""
        header = request.body[:HEADER_LENGTH]
        row = self._tombstone(turn, moment, request.terminal, request.trace, request.link, header)
        self._answer(turn, moment, request, row, NOT_FOUND)

    def _tombstone(
        self, turn: Turn, moment: Moment, terminal: Terminal, trace: str, link: LinkName, header: bytes
    ) -> Transaction:
        context = self._context
        stan = context.numbers.take(turn.store)
        reference = moment.reference(moment.transmission, stan, context.acquirer_id)
        row = Transaction(
            reference,
            trace,
            None,
            TOMBSTONE,
            UNKNOWN,
            terminal.terminal_id,
            terminal.merchant_id,
            terminal.session,
            b"",
            link,
            header,
            b"",
            0,
            context.configuration.currency,
            "",
            None,
            "",
            None,
            moment.retrieval_reference(stan),
            turn.now,
            response_code=NOT_FOUND,
            answered_at=turn.now,
        )
        insert_holder(turn.store, row)
        return row

    def _answer(self, turn: Turn, moment: Moment, request: TerminalRequest, row: Transaction, code: str) -> None:
        fields = request.message.fields
        out: dict[int, Value] = {n: fields[n] for n in _REPEATED if n in fields}
        out[12] = moment.time
        out[13] = moment.date
        if row.settlement_date is not None:
            out[15] = row.settlement_date
        out[37] = row.rrn
        out[39] = code
        if turn.tracing is not None:
            turn.tracing.end(turn, _part(request), code)
        header = request.body[:HEADER_LENGTH]
        self._context.terminals.answer(turn, request.link, header, request.terminal, "0410", out)


def _part(request: TerminalRequest) -> str:
    """By which this party's part in an 0400 is known to who follows payments."""
    return f"0400|{request.trace}"


def _same_amount(row: Transaction, fields: dict[int, Value]) -> bool:
    """Whether DE4, where it came, is the original's amount; a balance inquiry has none to compare."""
    amount = fields.get(4)
    return row.kind != SALE or not isinstance(amount, str) or int(amount) == row.amount
