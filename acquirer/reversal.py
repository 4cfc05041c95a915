"""Reversals: the terminal's 0400, which the acquirer records and from then on owns."""

from __future__ import annotations

from typing import Final

from acquirer.advice import Advices
from acquirer.books import post_reversal
from acquirer.context import Context
from acquirer.mapping import batch_of, card_data
from acquirer.numbering import Moment
from acquirer.sale import NOT_FOUND, TIMER, holder_of, insert_holder
from acquirer.tables import APPROVED, PENDING, REVERSED, SALE, TIMED_OUT, TOMBSTONE, UNKNOWN, Transaction
from acquirer.terminal_link import HEADER_LENGTH, TerminalRequest, trace_of
from network.iso8583 import Message
from network.iso8583.message import Value
from network.party import Turn

_REPEATED: Final = (2, 3, 4, 11, 41, 42, 49, 60)
"""Elements of the 0400 that its answer repeats where they came."""

_NO_ANSWER: Final = "98"
"""The reason where the terminal gives none."""

_REASONS: Final = frozenset((_NO_ANSWER, "96", "A0", "06"))
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
        if row is None:
            self._bury(turn, moment, request)
        elif row.status == TOMBSTONE:
            self._answer(turn, moment, request, row, NOT_FOUND)
        elif not self._is_original(row, fields):
            if row.session == request.terminal.session:
                self._answer(turn, moment, request, row, "64")
            else:
                # the terminal has begun its numbers anew: this is another sale's, and that one has not come
                self._bury(turn, moment, request)
        else:
            self._reverse(turn, moment, row, reason)
            self._answer(turn, moment, request, row, "00")

    def _is_original(self, row: Transaction, fields: dict[int, Value]) -> bool:
        """Whether card and amount, where the 0400 tells them, are those of the transaction."""
        if not _same_amount(row, fields):
            return False
        card = card_data(fields)
        return card is None or not row.card or card.pan == self._context.card_of(row).pan

    def _reverse(self, turn: Turn, moment: Moment, row: Transaction, reason: str) -> None:
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
            self._advices.store(turn, moment, row, reason)

    def _bury(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """There is no such original: remember that it must never be paid, should it still arrive."""
        context = self._context
        terminal = request.terminal
        stan = context.numbers.take(turn.store)
        reference = moment.reference(moment.transmission, stan, context.acquirer_id)
        row = Transaction(
            reference,
            request.trace,
            None,
            TOMBSTONE,
            UNKNOWN,
            terminal.terminal_id,
            terminal.merchant_id,
            terminal.session,
            b"",
            request.link,
            request.body[:HEADER_LENGTH],
            b"",
            0,
            context.configuration.currency,
            "",
            None,
            "",
            None,
            moment.retrieval_reference(stan),
            turn.now,
            NOT_FOUND,
            None,
            None,
            None,
            None,
            None,
            turn.now,
        )
        insert_holder(turn.store, row)
        self._answer(turn, moment, request, row, NOT_FOUND)

    def _answer(self, turn: Turn, moment: Moment, request: TerminalRequest, row: Transaction, code: str) -> None:
        fields = request.message.fields
        out: dict[int, Value] = {n: fields[n] for n in _REPEATED if n in fields}
        out[12] = moment.time
        out[13] = moment.date
        if row.settlement_date is not None:
            out[15] = row.settlement_date
        out[37] = row.rrn
        out[39] = code
        header = request.body[:HEADER_LENGTH]
        self._context.terminals.answer(turn, request.link, header, request.terminal, "0410", out)


def _same_amount(row: Transaction, fields: dict[int, Value]) -> bool:
    """Whether DE4, where it came, is the original's amount; a balance inquiry has none to compare."""
    amount = fields.get(4)
    return row.kind != SALE or not isinstance(amount, str) or int(amount) == row.amount
