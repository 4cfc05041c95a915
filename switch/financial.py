"""Requests between acquirer and issuer: 0200 and 0220 forwarded, 0210 and 0230 brought back, or 98 when none comes.

The order of checks is that of docs/protocol.md. A request is a row before it is forwarded, so that whatever happens
afterwards it ends approved and posted, declined, or reversed.

An offline sale (0220) has happened already: nothing of it is weighed by risk sensing, no time runs out for it, and what
cannot be passed on now is not recorded, since the acquirer sends it again until it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, cast

from network.iso8583 import Message, interbank_mac_input
from network.ledger import LedgerAccount, Money, post
from network.member import ZoneKeys
from network.party import SECOND, LinkName, Turn
from network.store import UnitOfWork
from network.tracing import ADDITIONAL, TAG, attributes_of, context_in, with_context
from switch import refusal
from switch.card_data import Card, CardData, pan_of
from switch.configuration import Configuration
from switch.membership import is_suspended, position_of
from switch.pin_translation import PinTranslation
from switch.presented import DETAILED, Presented, Resolved, Unresolved, is_by_code, objects_of
from switch.record import agrees, rebuilt, recorded
from switch.refusal import Clock
from switch.reversal import ANSWER_TIMER, Reversals
from switch.risk import Assessment, Device, RiskSensing, read_device
from switch.routing import RoutingTable
from switch.sign_on import MemberLinks, Session
from switch.tables import (
    APPROVED,
    BALANCE,
    BARRED,
    CANCELLED,
    DECLINED,
    OFFLINE_SALE,
    PENDING,
    REVERSED,
    SALE,
    TIMED_OUT,
    Transaction,
)
from switch.zones import Zones

_REQUIRED: Final = (3, 7, 11, 12, 13, 22, 25, 32, 37, 41, 42, 49)
_OWN_FAULT: Final = frozenset({"A0", "77"})
_NOT_FINAL: Final = frozenset({"96", "A0", "77", "91", "98", "90", "68"})
"""Answers to an 0220 that decide nothing: the acquirer sends it again."""


class Requests:
    """What the switch does with financial requests, their answers and the lack of them.

    Attributes
    ----------
    routing : RoutingTable
        The routes in force.
    draining : bool
        The process is about to end: no request is passed on any more.
    """

    def __init__(
        self,
        configuration: Configuration,
        zones: Zones,
        links: MemberLinks,
        cards: CardData,
        reversals: Reversals,
        presented: Presented,
        risk: RiskSensing,
        pins: PinTranslation,
        dropped: Callable[[str], None],
    ) -> None:
        self.routing = RoutingTable()
        self.draining = False
        self._currency = configuration.currency
        self._switch_id = configuration.switch_id
        self._zones = zones
        self._links = links
        self._cards = cards
        self._reversals = reversals
        self._presented = presented
        self._risk = risk
        self._pins = pins
        self._dropped = dropped
        self._timeout = round(configuration.issuer_timeout * SECOND)

    def request(
        self, turn: Turn, clock: Clock, link: LinkName, sender: str, message: Message, reference: str | None
    ) -> None:
        """Decide an 0200 or 0220 of a member that is signed on: forward it, or answer it."""
        store = turn.store
        zone = store.find(ZoneKeys, "zone", sender)
        mac_input = interbank_mac_input(message)
        if zone is None or not self._zones.verifies(zone, message, mac_input, turn.now):
            turn.note("wrong MAC", None, member=sender, mti=message.mti)
            self._refuse(turn, clock, link, sender, message, "A0")
            return
        by_code = is_by_code(message)
        pan = None if by_code else pan_of(message)
        objects = objects_of(message) if DETAILED in message.fields else {}
        shown = self._presented.shown_code(store, message, objects) if by_code else None
        code = self._malformed(message, sender)
        device: Device | None = None
        if code is None and objects:
            try:
                device = read_device(objects)
            except ValueError:
                code = "30"
        if code is not None or reference is None or objects is None or (pan is None and shown is None):
            self._refuse(turn, clock, link, sender, message, code or "30")
            return
        is_offline = message.mti == OFFLINE_SALE
        found = store.find(Transaction, "reference", reference)
        if found is not None:
            if is_offline and found.status == PENDING and self._is_copy(message, found):
                self._pass_on_again(turn, clock, link, sender, message, mac_input, found, objects)
            else:
                self._repeated(turn, clock, link, sender, message, found)
            return
        # a suspended member's advices go on: they mend money
        if not is_offline and is_suspended(store, sender):
            resolved: Resolved | Unresolved = Unresolved("58", None if pan is None else _plain(message, pan))
        elif shown is not None:
            resolved = self._presented.by_code(turn, message, shown, objects, reference, sender)
        elif pan is not None and self._presented.is_token(pan):
            resolved = self._presented.by_token(turn, message, pan)
        else:
            resolved = Resolved(_plain(message, pan or ""), None, None, False)
        card = resolved.card
        session, issuer, issuer_zone, block, assessment = None, None, None, None, None
        if isinstance(resolved, Unresolved):
            code = resolved.code
        else:
            issuer = self.routing.issuer_of(resolved.card.pan)
            code = "92" if issuer is None else None
            if issuer is not None:
                session, issuer_zone = self._reachable(store, issuer, is_offline)
                code = "91" if session is None else None
            if code is None and issuer_zone is not None and 52 in message.fields:
                block = self._pins.translated(message, resolved.card, zone, issuer_zone, turn.now)
                code = "99" if block is None else None
            if code is None and not is_offline:
                assessment = self._assessed(turn, message, sender, resolved, device)
                code = None if assessment is None else assessment.code
        if is_offline and code == "91":
            self._refuse(turn, clock, link, sender, message, code, issuer)
            return
        transaction = recorded(
            message,
            reference,
            acquirer=sender,
            issuer=issuer,
            card=b"" if card is None else self._cards.seal(store, reference, card),
            token_index=resolved.token_index,
            code=code,
            assessment=assessment,
            settlement_date=clock.settlement_date,
            now=turn.now,
            deadline=turn.now + self._timeout,
        )
        store.insert(transaction)
        if code is not None or session is None or issuer_zone is None or isinstance(resolved, Unresolved):
            self._refuse(turn, clock, link, sender, message, code or "91", issuer, assessment)
            return
        if not is_offline:
            turn.timer((ANSWER_TIMER, reference), transaction.deadline)
        if block is not None:
            message.fields[52] = block
        self._forward(turn, message, mac_input, transaction, session, issuer_zone, resolved, objects)

    def answer(self, turn: Turn, clock: Clock, sender: str, message: Message, reference: str | None) -> None:
        """Decide an 0210 or 0230 of an issuer: post and bring it to the acquirer, or note that it came too late."""
        store = turn.store
        zone = store.find(ZoneKeys, "zone", sender)
        mac_input = interbank_mac_input(message)
        kind = message.mti
        if zone is None or not self._zones.verifies(zone, message, mac_input, turn.now):
            self._dropped(f"{kind} with a wrong MAC")
            turn.note("wrong MAC", reference, member=sender, mti=kind)
            return
        transaction = None if reference is None else store.find(Transaction, "reference", reference)
        fields = message.fields
        code = fields.get(39)
        if transaction is None or transaction.issuer != sender:
            self._dropped(f"{kind} without a request")
            return
        if not isinstance(code, str) or kind != _ANSWERS.get(transaction.mti) or not agrees(message, transaction):
            self._dropped(f"{kind} that differs from its request")
            return
        if transaction.status != PENDING:
            self._late(turn, kind, transaction, code)
            return
        turn.count_wait(kind, turn.now - transaction.received_at)
        if code in _OWN_FAULT:
            # Between issuer and switch, and nothing that the acquirer could mend.
            if code == "A0":
                self._links.mac_refused(turn, sender)
            if transaction.mti != OFFLINE_SALE:
                # the copy that the issuer has seen was damaged: another, whole one may still come to it, and be paid
                turn.timer((ANSWER_TIMER, transaction.reference), None)
                self._give_up(turn, clock, transaction, "96", code)
                return
            code = "96"
        if transaction.mti == OFFLINE_SALE and code in _NOT_FINAL:
            self._dropped("0230 that decides nothing")
            return
        authorisation, balances, chip_reply = fields.get(38), fields.get(54), fields.get(55)
        store.change(transaction)
        transaction.response_code = code
        transaction.authorisation = authorisation if isinstance(authorisation, str) else None
        transaction.balances = balances if isinstance(balances, str) else None
        transaction.chip_reply = chip_reply if isinstance(chip_reply, bytes) else None
        transaction.answered_at = turn.now
        transaction.status = APPROVED if code == "00" else DECLINED
        self._over(turn, transaction, code)
        turn.timer((ANSWER_TIMER, transaction.reference), None)
        if code == "00":
            self._post(turn, transaction)
        fields[15] = transaction.settlement_date
        fields[100] = sender
        if transaction.token_index is not None:
            card = self._cards.unseal(store, transaction.reference, transaction.card)
            self._presented.for_acquirer(message, card, transaction.risk_rules)
            mac_input = interbank_mac_input(message)
        elif transaction.risk_rules is not None or DETAILED in fields:
            self._presented.for_acquirer(message, None, transaction.risk_rules)
        turn.count_answer(kind, code)
        self._links.send(turn, transaction.acquirer, message, mac_input)

    def timeout(self, turn: Turn, clock: Clock, reference: str) -> None:
        """The issuer did not answer in time: 98 to the acquirer, and a reversal of the switch's own."""
        transaction = turn.store.find(Transaction, "reference", reference)
        if transaction is None or transaction.status != PENDING or transaction.mti == OFFLINE_SALE:
            return
        turn.count_wait("0210", turn.now - transaction.received_at)
        self._note(turn, "no answer from the issuer", transaction)
        self._give_up(turn, clock, transaction, "98", "98")

    def _give_up(self, turn: Turn, clock: Clock, transaction: Transaction, code: str, reason: str) -> None:
        """What the issuer has made of it is not known: `code` to the acquirer, and a reversal of the switch's own."""
        turn.store.change(transaction)
        transaction.status = TIMED_OUT
        transaction.response_code = code
        transaction.answered_at = turn.now
        self._reversals.advise_own(turn, clock, transaction, reason)
        turn.count_answer("0210", code)
        self._over(turn, transaction, code)
        self._links.send(turn, transaction.acquirer, self._rebuilt(turn.store, transaction, code))

    def _reachable(self, store: UnitOfWork, issuer: str, is_offline: bool) -> tuple[Session | None, ZoneKeys | None]:
        """The issuer's session and keys where a request can be sent to it now."""
        session = self._links.ready(issuer)
        # an offline sale is money already: its advice is passed on to the last
        if session is None or (not is_offline and (self.draining or is_suspended(store, issuer))):
            return None, None
        zone = store.find(ZoneKeys, "zone", issuer)
        return (None, None) if zone is None or zone.mac_key is None else (session, zone)

    def _assessed(
        self, turn: Turn, message: Message, sender: str, resolved: Resolved, device: Device | None
    ) -> Assessment | None:
        amount = int(cast(str, message.fields.get(4, "0")))
        if device is None and amount < self._risk.least_amount:
            return None
        token_index = resolved.token_index
        return self._risk.assess(
            turn,
            message,
            sender,
            amount,
            device,
            partial(self._cards.index, turn.store, resolved.card.pan) if token_index is None else lambda: token_index,
            is_verified=resolved.is_verified,
        )

    def _forward(
        self,
        turn: Turn,
        message: Message,
        mac_input: bytes,
        transaction: Transaction,
        session: Session,
        issuer_zone: ZoneKeys,
        resolved: Resolved,
        objects: dict[str, str],
    ) -> None:
        message.fields[15] = transaction.settlement_date
        message.header = session.header
        if objects or resolved.token_index is not None:
            self._presented.for_issuer(message, resolved.card, resolved.chip, objects)
        if turn.tracing is not None:
            attributes = attributes_of(message.fields, message.mti)
            name = f"{message.mti} at the switch"
            context = turn.tracing.begin(turn, transaction.reference, name, objects.get(TAG), attributes)
            additional = with_context(message.fields.get(ADDITIONAL), context)
            if additional is not None:
                message.fields[ADDITIONAL] = additional
        if resolved.token_index is not None:
            mac_input = interbank_mac_input(message)
        # of a card that shows its own number nothing that the MAC covers was changed
        turn.send(session.link, self._zones.seal(issuer_zone, message, mac_input))

    @staticmethod
    def _note(turn: Turn, event: str, transaction: Transaction, **facts: str) -> None:
        """Have the log tell what happened to a transaction."""
        turn.note(
            event,
            transaction.reference,
            terminal=transaction.terminal,
            stan=transaction.stan,
            rrn=transaction.rrn,
            acquirer=transaction.acquirer,
            issuer=transaction.issuer,
            **facts,
        )

    @staticmethod
    def _over(turn: Turn, transaction: Transaction, code: str) -> None:
        """Tell who follows payments how this one was answered."""
        if turn.tracing is not None:
            turn.tracing.end(turn, transaction.reference, code)

    def _pass_on_again(
        self,
        turn: Turn,
        clock: Clock,
        link: LinkName,
        sender: str,
        message: Message,
        mac_input: bytes,
        found: Transaction,
        objects: dict[str, str],
    ) -> None:
        """A copy of an 0220 that is not answered: the issuer may not have got it."""
        issuer = found.issuer or ""
        card = self._cards.unseal(turn.store, found.reference, found.card)
        if pan_of(message) != card.shown_pan:
            # the record would speak of another card than the issuer
            self._refuse(turn, clock, link, sender, message, "94")
            return
        session, issuer_zone = self._reachable(turn.store, issuer, is_offline=True)
        if session is None or issuer_zone is None:
            self._refuse(turn, clock, link, sender, message, "91", issuer)
            return
        resolved = Resolved(card, found.token_index, None, False)
        self._forward(turn, message, mac_input, found, session, issuer_zone, resolved, objects)

    def _is_copy(self, message: Message, found: Transaction) -> bool:
        return message.mti == found.mti and agrees(message, found) and message.get(41) == found.terminal

    def _repeated(
        self, turn: Turn, clock: Clock, link: LinkName, sender: str, message: Message, found: Transaction
    ) -> None:
        """Answer a request whose identity is known already; leave it alone while its answer is awaited."""
        status = found.status
        if status == BARRED:
            if found.response_code is None:
                turn.store.change(found)
                found.response_code = "25"
                found.answered_at = turn.now
            self._refuse(turn, clock, link, sender, message, "25")
        elif not self._is_copy(message, found):
            self._refuse(turn, clock, link, sender, message, "94")
        elif status != PENDING:
            code = "25" if status in (CANCELLED, REVERSED) else found.response_code or "98"
            reply = self._rebuilt(turn.store, found, code)
            reply.header = refusal.header_of_reply(message)
            refusal.answer(turn, self._zones, link, sender, reply)

    def _rebuilt(self, store: UnitOfWork, transaction: Transaction, code: str) -> Message:
        return rebuilt(store, self._cards, self._presented, transaction, code, self._switch_id)

    def _late(self, turn: Turn, kind: str, transaction: Transaction, code: str) -> None:
        """An answer to what was given up already: the reversal that was stored then covers it."""
        if transaction.status in (TIMED_OUT, CANCELLED) and transaction.late_code is None:
            turn.store.change(transaction)
            transaction.late_code = code
            self._dropped(f"late {kind}")
            self._note(turn, "answer came too late", transaction, code=code)
        else:
            self._dropped(f"repeated {kind}")

    def _post(self, turn: Turn, transaction: Transaction) -> None:
        # A member that is acquirer and issuer of a sale owes itself nothing.
        if transaction.processing_code != SALE or transaction.issuer == transaction.acquirer:
            return
        store = turn.store
        debit = store.find(LedgerAccount, "account_id", position_of(transaction.issuer or ""))
        credit = store.find(LedgerAccount, "account_id", position_of(transaction.acquirer))
        if debit is None or credit is None:
            raise LookupError(f"a member of {transaction.reference} has no position in the books")
        post(
            store,
            transfer_id=f"{transaction.reference}/sale",
            reference=transaction.reference,
            debit=debit,
            credit=credit,
            amount=Money(transaction.amount, transaction.currency),
            settlement_date=transaction.settlement_date,
            posted_at=turn.now,
        )

    def _malformed(self, message: Message, sender: str) -> str | None:
        """The response code of a request that lacks what the switch needs, in what it carries or is."""
        fields = message.fields
        for number in _REQUIRED:
            if fields.get(number).__class__ is not str:
                return "30"
        if fields[32] != sender or not "01" <= cast(str, fields[7])[:2] <= "12":
            return "30"
        if fields[3] == SALE:
            amount = fields.get(4)
            if not isinstance(amount, str):
                return "30"
            if int(amount) == 0:
                return "13"
        elif fields[3] != BALANCE or message.mti == OFFLINE_SALE:
            return "40"
        if message.mti == OFFLINE_SALE and (is_by_code(message) or 52 in fields):
            return "30"
        return None if fields[49] == self._currency else "12"

    def _refuse(
        self,
        turn: Turn,
        clock: Clock,
        link: LinkName,
        sender: str,
        message: Message,
        code: str,
        issuer: str | None = None,
        assessment: Assessment | None = None,
    ) -> None:
        if turn.tracing is not None:
            fields, mti = message.fields, message.mti
            parent = context_in(fields.get(ADDITIONAL))
            turn.tracing.brief(turn, f"{mti} at the switch", parent, attributes_of(fields, mti), code)
        reply = refusal.reply(message, code, self._switch_id, clock.settlement_date)
        if issuer is not None:
            reply[100] = issuer
        if assessment is not None:
            self._presented.for_acquirer(reply, None, assessment.rules)
        refusal.answer(turn, self._zones, link, sender, reply)


_ANSWERS: Final = {"0200": "0210", "0220": "0230"}


def _plain(message: Message, pan: str) -> Card:
    expiry = message.fields.get(14)
    return Card.plain(pan, expiry if isinstance(expiry, str) else None)
