"""Reversals: the acquirer's 0420, answered at once and passed on as an advice, and the switch's own.

What is reversed here is owned here: the acquirer has its answer, and the issuer gets an advice until it answers. An
advice is stored in the same commit as the change of the transaction that makes it due, so there is none for a
transaction exactly as long as none is due.
"""

from __future__ import annotations

from typing import Final

from network.iso8583 import Message, interbank_mac_input
from network.ledger import LedgerAccount, Money, post
from network.member import OriginalData, ZoneKeys, reference
from network.party import LinkName, Turn
from network.tracing import ADDITIONAL, attributes_of, attributes_of_row, context_in
from switch import refusal
from switch.advice import StoreAndForward, advice_part
from switch.card_data import Card, CardData, pan_of
from switch.configuration import Configuration
from switch.membership import position_of
from switch.refusal import Clock
from switch.stan import StanSequence
from switch.tables import APPROVED, BARRED, CANCELLED, PENDING, REQUEST, REVERSED, SALE, Advice, Transaction
from switch.zones import Zones

ANSWER_TIMER: Final = "answer"
"""Until when a forwarded request's answer is awaited; the timer's name is the reference."""

OTHER_REASON: Final = "06"
"""DE39 of a reversal that gives no reason [G]."""

_REQUIRED: Final = (3, 4, 7, 11, 32, 90)
_TRIES: Final = 10_000


class Reversals:
    """What the switch does with reversals of acquirers, and how it makes its own."""

    def __init__(
        self,
        configuration: Configuration,
        zones: Zones,
        cards: CardData,
        advices: StoreAndForward,
        stans: StanSequence,
    ) -> None:
        self._switch_id = configuration.switch_id
        self._zones = zones
        self._cards = cards
        self._advices = advices
        self._stans = stans

    def request(
        self, turn: Turn, clock: Clock, link: LinkName, sender: str, message: Message, original: str | None
    ) -> None:
        """Decide an 0420 of a member that is signed on. `original` is the reference of what DE90 names."""
        store = turn.store
        zone = store.find(ZoneKeys, "zone", sender)
        if zone is None or not self._zones.verifies(zone, message, interbank_mac_input(message), turn.now):
            self._answer(turn, clock, link, sender, message, "A0")
            return
        if original is None or _malformed(message, sender):
            self._answer(turn, clock, link, sender, message, "30")
            return
        transaction = store.find(Transaction, "reference", original)
        followed = _followed(turn, message, original)
        if transaction is None:
            self._bar(turn, clock, message, sender, original)
            self._answer(turn, clock, link, sender, message, "25")
            return
        if transaction.reversal_code is None:
            if int(message.text(4)) != transaction.amount and transaction.processing_code == SALE:
                self._answer(turn, clock, link, sender, message, "64", transaction.issuer)
                return
            self._reverse(turn, clock, message, transaction, followed)
        self._answer(turn, clock, link, sender, message, transaction.reversal_code or "00", transaction.issuer)

    def advise_own(self, turn: Turn, clock: Clock, transaction: Transaction, reason: str) -> None:
        """Store a reversal advice of the switch's own for a request that was forwarded and not answered in time.

        A balance enquiry moves nothing and needs none.
        """
        if transaction.processing_code == SALE and transaction.issuer is not None:
            stan, key = self._free_identity(turn, clock, transaction.acquirer)
            self._store(turn, transaction, key, clock.transmission, stan, self._switch_id, reason, None)

    def _reverse(
        self, turn: Turn, clock: Clock, message: Message, transaction: Transaction, followed: str | None
    ) -> None:
        turn.store.change(transaction)
        transaction.reversal_code = "00"
        transaction.reversed_at = turn.now
        if transaction.status == PENDING:
            transaction.status = CANCELLED
            turn.timer((ANSWER_TIMER, transaction.reference), None)
        elif transaction.status == APPROVED:
            transaction.status = REVERSED
            self._post_back(turn, clock, transaction)
        else:
            # Declined or refused: there is nothing to reverse. Timed out: the switch's own advice is on its way.
            return
        if transaction.processing_code == SALE:
            self._pass_on(turn, clock, message, transaction, followed)

    def _pass_on(
        self, turn: Turn, clock: Clock, message: Message, transaction: Transaction, followed: str | None
    ) -> None:
        """Store the acquirer's advice for the issuer, under its own identity where that is free."""
        transmission, stan = message.text(7), message.text(11)
        forwarder = message.get(33)
        reason = message.get(39)
        key = reference(clock.year, clock.month, transmission, stan, transaction.acquirer)
        if turn.store.find(Advice, "reference", key) is not None:
            transmission = clock.transmission
            stan, key = self._free_identity(turn, clock, transaction.acquirer)
            forwarder = self._switch_id
        self._store(
            turn,
            transaction,
            key,
            transmission,
            stan,
            forwarder if isinstance(forwarder, str) else self._switch_id,
            reason if isinstance(reason, str) else OTHER_REASON,
            followed,
        )

    def _free_identity(self, turn: Turn, clock: Clock, acquirer: str) -> tuple[str, str]:
        """A trace number of our own with which no advice of this acquirer's originals is known in this second."""
        for _ in range(_TRIES):
            stan = self._stans.take(turn.store)
            key = reference(clock.year, clock.month, clock.transmission, stan, acquirer)
            if turn.store.find(Advice, "reference", key) is None:
                return stan, key
        raise LookupError(f"{_TRIES} trace numbers in a row are taken by advices of this second")

    def _store(
        self,
        turn: Turn,
        transaction: Transaction,
        key: str,
        transmission: str,
        stan: str,
        forwarder: str,
        reason: str,
        followed: str | None,
    ) -> None:
        issuer = transaction.issuer or ""
        advice = Advice(
            reference=key,
            original=transaction.reference,
            issuer=issuer,
            pending_for=issuer,
            transmission=transmission,
            stan=stan,
            forwarder=forwarder,
            reason=reason,
            created_at=turn.now,
            attempts=0,
            answer_code=None,
            answered_at=None,
        )
        turn.store.insert(advice)
        if turn.tracing is not None:
            parent = followed or turn.tracing.context_of(turn, transaction.reference)
            told = attributes_of_row(
                "0420",
                stan=stan,
                terminal=transaction.terminal or "",
                amount=transaction.amount,
                rrn=transaction.rrn or "",
            )
            turn.tracing.go_on(turn, advice_part(key), "0420 to the issuer", parent, told)
        self._advices.stored(advice)

    def _bar(self, turn: Turn, clock: Clock, message: Message, sender: str, original: str) -> None:
        """Remember a reversal whose original is unknown, so that the original is declined should it come."""
        pan = pan_of(message)
        texts = {n: value if isinstance(value := message.get(n), str) else None for n in _KEPT_OF_REVERSAL}
        turn.store.insert(
            Transaction(
                reference=original,
                mti=REQUEST,
                status=BARRED,
                acquirer=sender,
                issuer=None,
                forwarder=texts[33],
                card=b"" if pan is None else self._cards.seal(turn.store, original, Card.plain(pan, None)),
                token_index=None,
                processing_code=message.text(3),
                amount=int(message.text(4)),
                local_time=texts[12],
                local_date=texts[13],
                settlement_date=clock.settlement_date,
                merchant_type=texts[18],
                entry_mode=texts[22],
                card_sequence=texts[23],
                condition=texts[25],
                rrn=texts[37],
                terminal=texts[41],
                merchant=texts[42],
                currency=texts[49] or "",
                received_at=turn.now,
                deadline=turn.now,
                response_code=None,
                authorisation=None,
                balances=None,
                chip_reply=None,
                answered_at=None,
                reversal_code="25",
                reversed_at=turn.now,
                late_code=None,
                risk_score=None,
                risk_rules=None,
            )
        )

    def _post_back(self, turn: Turn, clock: Clock, transaction: Transaction) -> None:
        if transaction.processing_code != SALE or transaction.issuer == transaction.acquirer:
            return
        debit = turn.store.find(LedgerAccount, "account_id", position_of(transaction.acquirer))
        credit = turn.store.find(LedgerAccount, "account_id", position_of(transaction.issuer or ""))
        if debit is None or credit is None:
            raise LookupError(f"a member of {transaction.reference} has no position in the books")
        post(
            turn.store,
            transfer_id=f"{transaction.reference}/reversal",
            reference=transaction.reference,
            debit=debit,
            credit=credit,
            amount=Money(transaction.amount, transaction.currency),
            settlement_date=clock.settlement_date,
            posted_at=turn.now,
        )

    def _answer(
        self,
        turn: Turn,
        clock: Clock,
        link: LinkName,
        sender: str,
        message: Message,
        code: str,
        issuer: str | None = None,
    ) -> None:
        reply = refusal.reply(message, code, self._switch_id, clock.settlement_date)
        if issuer is not None:
            reply[100] = issuer
        if turn.tracing is not None:
            turn.tracing.end(turn, _REVERSAL, code)
        refusal.answer(turn, self._zones, link, sender, reply)


_REVERSAL: Final = "0420"
"""By which this party's part in an 0420 is known to who follows payments: it begins and ends in one turn."""


def _followed(turn: Turn, message: Message, original: str) -> str | None:
    """Begin the part of the 0420 about a request that is followed, whether its acquirer knows of that or not."""
    if turn.tracing is None:
        return None
    fields = message.fields
    parent = context_in(fields.get(ADDITIONAL)) or turn.tracing.context_of(turn, original)
    return turn.tracing.go_on(turn, _REVERSAL, "0420 at the switch", parent, attributes_of(fields, "0420"))


_KEPT_OF_REVERSAL: Final = (12, 13, 18, 22, 23, 25, 33, 37, 41, 42, 49)


def original_of(message: Message, clock: Clock) -> str | None:
    """The reference of the request that DE90 names; None when it names none of the acquirer in DE32."""
    element, acquirer = message.get(90), message.get(32)
    if not isinstance(element, str) or not isinstance(acquirer, str):
        return None
    data = OriginalData.parse(element)
    if data.acquirer != acquirer.lstrip("0"):
        return None
    return reference(clock.year, clock.month, data.transmission, data.stan, acquirer)


def _malformed(message: Message, sender: str) -> bool:
    fields = message.fields
    return fields.get(32) != sender or any(fields.get(number).__class__ is not str for number in _REQUIRED)
