"""Store and forward: reversals (0420) and offline sales (0220), sent to the switch until it answers them.

An advice is a row. It is sent when it is made, if the switch can be reached; else, and for all that are pending
after a start, when the acquirer has signed on; and again every `advice_retry` until an 0430 comes with any code but
96, A0 and 77, or an 0230 with any code but these and those that say that the issuer has not been asked; 30 must come
to an 0220 three times.
"""

from __future__ import annotations

from typing import Final

from acquirer.context import Context
from acquirer.mapping import reversal_advice
from acquirer.numbering import Moment
from acquirer.tables import ANSWERED, PENDING, Advice, Merchant, Transaction
from network.iso8583 import INTERBANK, Message
from network.party import TimerKey, Turn
from network.tracing import ADDITIONAL, attributes_of_row, context_in, with_context

TIMER: Final = "advice"
_BACKLOG: Final[TimerKey] = ("advice-backlog", "")

_SEND_AGAIN: Final = frozenset(("96", "A0", "77"))
_ISSUER_NOT_ASKED: Final = _SEND_AGAIN | {"68", "90", "91", "98"}
"""What does not end an offline sale: the money of goods that are gone must not hang on an issuer's bad hour."""

_NOT_READ: Final = "30"
_TIMES_NOT_READ: Final = 3
"""How often an offline sale is sent that is answered so: much of a message is outside of its MAC, and what was garbled
on the wire is read when it comes again. Then it is the message itself."""


class Advices:
    """The advices on their way to the switch."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def store(self, turn: Turn, moment: Moment, row: Transaction, reason: str, terminals: str | None = None) -> None:
        """Record the reversal of `row` for the reason `reason` (DE39), and send it if that can be done now.

        Where the sale is followed this party's part in the reversal goes on until the switch has answered. `terminals`
        is the context of the terminal's 0400; without it the part stands below the sale's own.
        """
        context = self._context
        reference = context.new_reference(turn.store, moment)
        advice = Advice(reference, row.reference, PENDING, reason, turn.now, 0, None, None, None)
        turn.store.insert(advice)
        if turn.tracing is not None:
            self._follow(turn, row, reference, "0420", terminals or turn.tracing.context_of(turn, row.reference))
        if context.switch.ready:
            self._send(turn, advice)

    def store_message(self, turn: Turn, row: Transaction, message: Message) -> None:
        """Record the 0220 about the offline sale `row`, whose identity it has, and send it if that can be done now."""
        context = self._context
        reference = row.reference
        sealed = context.seal_text(reference, INTERBANK.pack(message))
        advice = Advice(reference, reference, PENDING, "", turn.now, 0, None, None, sealed)
        turn.store.insert(advice)
        if turn.tracing is not None:
            self._follow(turn, row, reference, "0220", context_in(message.fields.get(ADDITIONAL)))
        if context.switch.ready:
            self._send(turn, advice)

    def release(self, turn: Turn) -> None:
        """The switch can be reached again: send what is pending, oldest first, spread over time."""
        context = self._context
        limit = context.configuration.backlog
        pending = turn.store.scan(Advice, "status", PENDING, limit)
        at = turn.now
        for advice in pending:
            turn.timer((TIMER, advice.reference), at)
            at += context.advice_interval
        if len(pending) == limit:
            turn.timer(_BACKLOG, at + context.advice_retry)

    def due(self, turn: Turn, keys: list[TimerKey]) -> None:
        """Timers of this room are due: send these advices again, at most `advices_per_turn` in one turn."""
        context = self._context
        if not context.switch.ready:
            return
        if _BACKLOG in keys:
            self.release(turn)
        references = [name for kind, name in keys if kind == TIMER]
        limit = context.configuration.advices_per_turn
        for reference in references[limit:]:
            turn.timer((TIMER, reference), turn.now + context.advice_interval)
        store = turn.store
        known = store.load(Advice, "reference", references[:limit])
        advices = [advice for name in references[:limit] if (advice := known[name]) is not None]
        store.load(Transaction, "reference", [advice.original for advice in advices])
        for advice in advices:
            if advice.status == PENDING:
                self._send(turn, advice)

    def answered(self, turn: Turn, message: Message, reference: str) -> str | None:
        """An 0430 or 0230 that is to be believed came for the advice `reference`.

        Returns
        -------
        str or None
            DE39, where the advice has ended with it.
        """
        advice = turn.store.find(Advice, "reference", reference)
        code = message.fields.get(39)
        is_offline_sale = message.mti == "0230"
        if (
            advice is None
            or advice.status != PENDING
            or (advice.message is not None) != is_offline_sale
            or not isinstance(code, str)
        ):
            self._context.dropped["unmatched"] += 1
            return None
        turn.store.change(advice)
        advice.response_code = code
        if code in (_ISSUER_NOT_ASKED if is_offline_sale else _SEND_AGAIN):
            return None
        if is_offline_sale and code == _NOT_READ and advice.attempts < _TIMES_NOT_READ:
            return None
        advice.status = ANSWERED
        advice.answered_at = turn.now
        turn.timer((TIMER, reference), None)
        if turn.tracing is not None:
            turn.tracing.end(turn, _part(reference), code)
        return code

    @staticmethod
    def _follow(turn: Turn, row: Transaction, reference: str, mti: str, parent: str | None) -> None:
        if turn.tracing is not None:
            told = attributes_of_row(
                mti, stan=row.stan, terminal=row.terminal_id, amount=row.amount, rrn=row.rrn, merchant=row.merchant_id
            )
            turn.tracing.go_on(turn, _part(reference), f"{mti} to the switch", parent, told)

    def _send(self, turn: Turn, advice: Advice) -> None:
        context = self._context
        if advice.message is None:
            message = self._reversal(turn, advice)
        else:
            message = INTERBANK.unpack(context.unseal_text(advice.reference, advice.message))
            message.header = context.switch.header
        if turn.tracing is not None:
            element = message.fields.get(ADDITIONAL)
            additional = with_context(element, turn.tracing.context_of(turn, _part(advice.reference)))
            if additional is not None:
                message.fields[ADDITIONAL] = additional
        context.switch.send(turn, message)
        turn.store.change(advice)
        advice.attempts += 1
        turn.timer((TIMER, advice.reference), turn.now + context.advice_retry)

    def _reversal(self, turn: Turn, advice: Advice) -> Message:
        context = self._context
        store = turn.store
        row = store.find(Transaction, "reference", advice.original)
        merchant = None if row is None else store.find(Merchant, "merchant_id", row.merchant_id)
        if row is None or merchant is None:
            raise LookupError(f"advice {advice.reference} has lost its original")
        pan = context.card_of(row).pan
        return reversal_advice(
            row, pan, advice.reference, advice.reason, merchant, context.acquirer_id, context.switch.header
        )


def _part(reference: str) -> str:
    """By which this party's part in the advice `reference` is known to who follows payments."""
    return f"advice|{reference}"
