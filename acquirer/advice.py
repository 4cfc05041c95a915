"""Store and forward: reversal advices, sent to the switch until it answers them.

An advice is a row. It is sent when it is made, if the switch can be reached; else, and for all that are pending
after a start, when the acquirer has signed on; and again every `advice_retry` until an 0430 comes with any code but
96, A0 and 77.
"""

from __future__ import annotations

from typing import Final

from acquirer.context import Context
from acquirer.mapping import reversal_advice
from acquirer.numbering import Moment
from acquirer.tables import ANSWERED, PENDING, Advice, Merchant, Transaction
from network.iso8583 import Message
from network.party import TimerKey, Turn

TIMER: Final = "advice"
_BACKLOG: Final[TimerKey] = ("advice-backlog", "")

_SEND_AGAIN: Final = frozenset(("96", "A0", "77"))


class Advices:
    """The advices on their way to the switch."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def store(self, turn: Turn, moment: Moment, row: Transaction, reason: str) -> None:
        """Record the reversal of `row` for the reason `reason` (DE39), and send it if that can be done now."""
        context = self._context
        reference = context.new_reference(turn.store, moment)
        advice = Advice(reference, row.reference, PENDING, reason, turn.now, 0, None, None)
        turn.store.insert(advice)
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

    def answered(self, turn: Turn, message: Message, reference: str) -> None:
        """An 0430 that is to be believed came for the advice `reference`."""
        advice = turn.store.find(Advice, "reference", reference)
        code = message.fields.get(39)
        if advice is None or advice.status != PENDING or not isinstance(code, str):
            self._context.dropped["unmatched"] += 1
            return
        turn.store.change(advice)
        advice.response_code = code
        if code not in _SEND_AGAIN:
            advice.status = ANSWERED
            advice.answered_at = turn.now
            turn.timer((TIMER, reference), None)

    def _send(self, turn: Turn, advice: Advice) -> None:
        context = self._context
        store = turn.store
        row = store.find(Transaction, "reference", advice.original)
        merchant = None if row is None else store.find(Merchant, "merchant_id", row.merchant_id)
        if row is None or merchant is None:
            raise LookupError(f"advice {advice.reference} has lost its original")
        pan = context.card_of(row).pan
        message = reversal_advice(
            row, pan, advice.reference, advice.reason, merchant, context.acquirer_id, context.switch.header
        )
        context.switch.send(turn, message)
        store.change(advice)
        advice.attempts += 1
        turn.timer((TIMER, advice.reference), turn.now + context.advice_retry)
