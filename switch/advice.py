"""Store and forward: reversal advices are rows, sent to the issuer until it answers.

Of each member's pending advices the switch keeps in memory which are waiting to be sent and which are on their way;
what memory does not hold (after a start, a rollback, or when there are very many) is read again when the rest is
sent. At most a window of advices is on its way to a member at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from network.iso8583 import Message, interbank_mac_input
from network.member import OriginalData, ZoneKeys, reference
from network.party import SECOND, Turn
from network.tracing import ADDITIONAL, with_context
from switch.card_data import CardData
from switch.configuration import Configuration
from switch.refusal import Clock
from switch.sign_on import MemberLinks, Session
from switch.tables import Advice, Transaction
from switch.zones import Zones

ADVICE_TIMER: Final = "advice"

READ_LIMIT: Final = 2_000
"""Pending advices of a member read at once."""

_TRY_AGAIN: Final = frozenset({"96", "A0", "77"})


@dataclass(slots=True)
class _Queue:
    """A session's advices by reference, in order; `complete` when memory holds all that are pending."""

    session: Session
    waiting: dict[str, None] = field(default_factory=dict)
    on_the_way: set[str] = field(default_factory=set)
    complete: bool = False


class StoreAndForward:
    """Sends what is stored, paced, and takes the answers."""

    def __init__(
        self,
        configuration: Configuration,
        zones: Zones,
        links: MemberLinks,
        cards: CardData,
        dropped: Callable[[str], None],
    ) -> None:
        self._zones = zones
        self._links = links
        self._cards = cards
        self._dropped = dropped
        self._window = configuration.advice_window
        self._retry = round(configuration.advice_retry * SECOND)
        self._queues: dict[str, _Queue] = {}

    def rolled_back(self) -> None:
        """Forget what memory holds; the rows are read again."""
        self._queues.clear()

    def stored(self, advice: Advice) -> None:
        """An advice was stored in this turn; it is sent at its end if the member is ready."""
        queue = self._queues.get(advice.issuer)
        # where memory is not complete the row is found when the rest is read
        if queue is not None and queue.complete:
            queue.waiting[advice.reference] = None

    def due(self, turn: Turn, key: str) -> None:
        """An advice was not answered in time, or answered that it should be sent again: it waits for its turn."""
        advice = turn.store.find(Advice, "reference", key)
        if advice is None or advice.pending_for is None:
            return
        queue = self._queues.get(advice.issuer)
        if queue is not None:
            queue.on_the_way.discard(key)
            queue.waiting[key] = None

    def answer(self, turn: Turn, sender: str, message: Message, key: str | None) -> None:
        """Decide an 0430 of an issuer."""
        zone = turn.store.find(ZoneKeys, "zone", sender)
        if zone is None or not self._zones.verifies(zone, message, interbank_mac_input(message), turn.now):
            self._dropped("0430 with a wrong MAC")
            return
        advice = None if key is None else turn.store.find(Advice, "reference", key)
        code = message.get(39)
        if advice is None or advice.issuer != sender or not isinstance(code, str):
            self._dropped("0430 without an advice")
            return
        if advice.pending_for is None:
            self._dropped("repeated 0430")
            return
        turn.store.change(advice)
        advice.answer_code = code
        if code in _TRY_AGAIN:
            if code == "A0":
                self._links.mac_refused(turn, sender)
            return
        advice.pending_for = None
        advice.answered_at = turn.now
        turn.timer((ADVICE_TIMER, advice.reference), None)
        if turn.tracing is not None:
            turn.tracing.end(turn, advice_part(advice.reference), code)
        queue = self._queues.get(sender)
        if queue is not None:
            queue.on_the_way.discard(advice.reference)
            queue.waiting.pop(advice.reference, None)

    def send(self, turn: Turn) -> None:
        """Send what waits for members that are ready, as far as the window allows. Called at the end of a turn."""
        for member_id, session in self._links.sessions.items():
            if not session.ready:
                continue
            queue = self._queues.get(member_id)
            if queue is None or queue.session is not session:
                # What was on its way over another link is lost, as far as anyone knows: send it again.
                queue = self._queues[member_id] = _Queue(session)
            room = self._window - len(queue.on_the_way)
            if room > 0 and (queue.waiting or not queue.complete):
                self._send_some(turn, member_id, queue, room)

    def _send_some(self, turn: Turn, member_id: str, queue: _Queue, room: int) -> None:
        if not queue.waiting:
            limit = READ_LIMIT + self._window
            pending = turn.store.scan(Advice, "pending_for", member_id, limit)
            queue.waiting = {row.reference: None for row in pending if row.reference not in queue.on_the_way}
            queue.complete = len(pending) < limit
        keys = [key for key, _ in zip(queue.waiting, range(room), strict=False)]
        if not keys:
            return
        advices = turn.store.load(Advice, "reference", keys)
        originals = [advice.original for key in keys if (advice := advices[key]) is not None]
        transactions = turn.store.load(Transaction, "reference", originals)
        for key in keys:
            del queue.waiting[key]
            advice = advices[key]
            transaction = None if advice is None else transactions[advice.original]
            if advice is None or advice.pending_for is None or transaction is None:
                continue
            turn.store.change(advice)
            advice.attempts += 1
            if self._links.send(turn, member_id, self._message(turn, advice, transaction)):
                queue.on_the_way.add(key)
                turn.timer((ADVICE_TIMER, key), turn.now + self._retry)
            else:
                queue.complete = False

    def _message(self, turn: Turn, advice: Advice, original: Transaction) -> Message:
        card = self._cards.unseal(turn.store, original.reference, original.card)
        data = OriginalData(
            original.mti, original.stan, original.transmission, original.acquirer, original.forwarder or ""
        )
        fields: dict[int, str | None] = {
            2: card.pan,
            3: original.processing_code,
            4: f"{original.amount:012d}",
            7: advice.transmission,
            11: advice.stan,
            12: original.local_time,
            13: original.local_date,
            15: original.settlement_date,
            18: original.merchant_type,
            22: original.entry_mode,
            23: original.card_sequence,
            25: original.condition,
            32: original.acquirer,
            33: advice.forwarder,
            37: original.rrn,
            38: original.authorisation,
            39: advice.reason,
            41: original.terminal,
            42: original.merchant,
            49: original.currency,
            90: data.pack(),
        }
        if turn.tracing is not None:
            additional = with_context(None, turn.tracing.context_of(turn, advice_part(advice.reference)))
            fields[ADDITIONAL] = additional if isinstance(additional, str) else None
        return Message("0420", {n: value for n, value in fields.items() if value is not None})


def advice_part(key: str) -> str:
    """By which this party's part in an advice is known to who follows payments, from when it is stored."""
    return f"advice|{key}"


def identity(message: Message, clock: Clock) -> str | None:
    """A message's own identity as a key (DE7, DE11, DE32); None when it lacks one of them."""
    transmission, stan, acquirer = message.get(7), message.get(11), message.get(32)
    if not (isinstance(transmission, str) and isinstance(stan, str) and isinstance(acquirer, str)):
        return None
    return reference(clock.year, clock.month, transmission, stan, acquirer)
