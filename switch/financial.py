"""Requests between acquirer and issuer: 0200 forwarded and 0210 brought back, or 98 when none comes.

The order of checks is that of docs/protocol.md. A request is a row before it is forwarded, so that whatever happens
afterwards it ends approved and posted, declined, or reversed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

from network.iso8583 import Message, interbank_mac_input
from network.keys import PinFormat, SecurityModule, SecurityModuleError
from network.ledger import LedgerAccount, Money, post
from network.member import ZoneKeys
from network.party import SECOND, LinkName, Turn
from network.store import UnitOfWork
from switch import refusal
from switch.card_data import CardData, pan_of
from switch.configuration import Configuration
from switch.membership import position_of
from switch.refusal import Clock
from switch.reversal import ANSWER_TIMER, Reversals
from switch.routing import RoutingTable
from switch.sign_on import MemberLinks
from switch.tables import (
    APPROVED,
    BALANCE,
    BARRED,
    CANCELLED,
    DECLINED,
    PENDING,
    REFUSED,
    REVERSED,
    SALE,
    SUSPENDED,
    TIMED_OUT,
    Member,
    Transaction,
)
from switch.zones import Zones

_REQUIRED: Final = (3, 7, 11, 12, 13, 22, 25, 32, 37, 41, 42, 49)
_OWN_FAULT: Final = frozenset({"A0", "77"})


class Requests:
    """What the switch does with financial requests, their answers and the lack of them."""

    def __init__(
        self,
        configuration: Configuration,
        module: SecurityModule,
        zones: Zones,
        links: MemberLinks,
        cards: CardData,
        reversals: Reversals,
        dropped: Callable[[str], None],
    ) -> None:
        self.routing = RoutingTable()
        self._currency = configuration.currency
        self._switch_id = configuration.switch_id
        self._module = module
        self._zones = zones
        self._links = links
        self._cards = cards
        self._reversals = reversals
        self._dropped = dropped
        self._timeout = round(configuration.issuer_timeout * SECOND)

    def request(
        self, turn: Turn, clock: Clock, link: LinkName, sender: str, message: Message, reference: str | None
    ) -> None:
        """Decide an 0200 of a member that is signed on: forward it, or answer it."""
        store = turn.store
        zone = store.find(ZoneKeys, "zone", sender)
        mac_input = interbank_mac_input(message)
        if zone is None or not self._zones.verifies(zone, message, mac_input, turn.now):
            self._refuse(turn, clock, link, sender, message, "A0")
            return
        pan = pan_of(message)
        code = self._malformed(message, sender)
        if code is not None or pan is None or reference is None:
            self._refuse(turn, clock, link, sender, message, code or "30")
            return
        found = store.find(Transaction, "reference", reference)
        if found is not None:
            self._repeated(turn, clock, link, sender, message, found)
            return
        # whether it is well formed was checked above
        fields = cast("dict[int, str]", message.fields)
        issuer = self.routing.issuer_of(pan)
        session = self._links.ready(issuer) if issuer is not None else None
        code, issuer_zone, block = None, None, None
        if _is_suspended(store, sender):
            code = "58"
        elif issuer is None:
            code = "92"
        elif session is None or _is_suspended(store, issuer):
            code = "91"
        else:
            issuer_zone = store.find(ZoneKeys, "zone", issuer)
            if issuer_zone is None or issuer_zone.mac_key is None:
                code = "91"
            elif 52 in fields:
                block = self._translated(turn, message, pan, zone, issuer_zone)
                code = "99" if block is None else None
        get = fields.get
        transaction = Transaction(
            reference=reference,
            status=PENDING if code is None else REFUSED,
            acquirer=sender,
            issuer=issuer,
            forwarder=get(33),
            card=self._cards.seal(store, reference, pan, get(14)),
            processing_code=fields[3],
            amount=int(get(4, "0")),
            local_time=fields[12],
            local_date=fields[13],
            settlement_date=clock.settlement_date,
            merchant_type=get(18),
            entry_mode=fields[22],
            card_sequence=get(23),
            condition=fields[25],
            rrn=fields[37],
            terminal=fields[41],
            merchant=fields[42],
            currency=fields[49],
            received_at=turn.now,
            deadline=turn.now + self._timeout,
            response_code=code,
            authorisation=None,
            balances=None,
            chip_reply=None,
            answered_at=None if code is None else turn.now,
            reversal_code=None,
            reversed_at=None,
            late_code=None,
        )
        store.insert(transaction)
        if code is not None or session is None or issuer_zone is None or issuer_zone.mac_key is None:
            self._refuse(turn, clock, link, sender, message, code or "91", issuer)
            return
        turn.timer((ANSWER_TIMER, reference), transaction.deadline)
        message.fields[15] = clock.settlement_date
        if block is not None:
            message.fields[52] = block
        message.header = session.header
        # nothing that the MAC covers was changed
        turn.send(session.link, self._zones.seal(issuer_zone, message, mac_input))

    def answer(self, turn: Turn, clock: Clock, sender: str, message: Message, reference: str | None) -> None:
        """Decide an 0210 of an issuer: post and bring it to the acquirer, or note that it came too late."""
        store = turn.store
        zone = store.find(ZoneKeys, "zone", sender)
        mac_input = interbank_mac_input(message)
        if zone is None or not self._zones.verifies(zone, message, mac_input, turn.now):
            self._dropped("0210 with a wrong MAC")
            return
        transaction = None if reference is None else store.find(Transaction, "reference", reference)
        fields = message.fields
        code = fields.get(39)
        if transaction is None or transaction.issuer != sender:
            self._dropped("0210 without a request")
            return
        if not isinstance(code, str) or not _agrees(message, transaction):
            self._dropped("0210 that differs from its request")
            return
        if transaction.status != PENDING:
            self._late(turn, transaction, code)
            return
        if code in _OWN_FAULT:
            # Between issuer and switch, and nothing that the acquirer could mend.
            if code == "A0":
                self._links.mac_refused(turn, sender)
            code = fields[39] = "96"
            mac_input = interbank_mac_input(message)
        authorisation, balances, chip_reply = fields.get(38), fields.get(54), fields.get(55)
        store.change(transaction)
        transaction.response_code = code
        transaction.authorisation = authorisation if isinstance(authorisation, str) else None
        transaction.balances = balances if isinstance(balances, str) else None
        transaction.chip_reply = chip_reply if isinstance(chip_reply, bytes) else None
        transaction.answered_at = turn.now
        transaction.status = APPROVED if code == "00" else DECLINED
        turn.timer((ANSWER_TIMER, transaction.reference), None)
        if code == "00":
            self._post(turn, clock, transaction)
        fields[15] = transaction.settlement_date
        fields[100] = sender
        self._links.send(turn, transaction.acquirer, message, mac_input)

    def timeout(self, turn: Turn, clock: Clock, reference: str) -> None:
        """The issuer did not answer in time: 98 to the acquirer, and a reversal of the switch's own."""
        transaction = turn.store.find(Transaction, "reference", reference)
        if transaction is None or transaction.status != PENDING:
            return
        turn.store.change(transaction)
        transaction.status = TIMED_OUT
        transaction.response_code = "98"
        transaction.answered_at = turn.now
        self._reversals.advise_own(turn, clock, transaction, "98")
        self._links.send(turn, transaction.acquirer, self._rebuilt(turn.store, transaction, "98"))

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
        elif not _agrees(message, found) or message.get(41) != found.terminal:
            self._refuse(turn, clock, link, sender, message, "94")
        elif status != PENDING:
            code = "25" if status in (CANCELLED, REVERSED) else found.response_code or "98"
            refusal.answer(turn, self._zones, link, sender, self._with_header(message, found, turn.store, code))

    def _with_header(self, request: Message, found: Transaction, store: UnitOfWork, code: str) -> Message:
        rebuilt = self._rebuilt(store, found, code)
        rebuilt.header = refusal.header_of_reply(request)
        return rebuilt

    def _late(self, turn: Turn, transaction: Transaction, code: str) -> None:
        """An answer to what was given up already: the reversal that was stored then covers it."""
        if transaction.status in (TIMED_OUT, CANCELLED) and transaction.late_code is None:
            turn.store.change(transaction)
            transaction.late_code = code
            self._dropped("late 0210")
        else:
            self._dropped("repeated 0210")

    def _post(self, turn: Turn, clock: Clock, transaction: Transaction) -> None:
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
        elif fields[3] != BALANCE:
            return "40"
        return None if fields[49] == self._currency else "12"

    def _translated(
        self, turn: Turn, message: Message, pan: str, zone: ZoneKeys, issuer_zone: ZoneKeys
    ) -> bytes | None:
        """The PIN block under the issuer's key; None when it cannot be one under the acquirer's."""
        block, security = message.get(52), message.get(53)
        pin_format = _PIN_FORMATS.get(security[:1]) if isinstance(security, str) else PinFormat.ISO_0
        if not isinstance(block, bytes) or pin_format is None or issuer_zone.pin_key is None:
            return None
        module = self._module
        target = module.load(issuer_zone.pin_key)
        keys = [zone.pin_key]
        if self._zones.accepts_old(zone, turn.now):
            keys.append(zone.old_pin_key)
        for key in keys:
            if key is not None:
                try:
                    return module.translate_pin(module.load(key), target, block, pan, pin_format, pin_format)
                except SecurityModuleError:
                    continue
        return None

    def _rebuilt(self, store: UnitOfWork, transaction: Transaction, code: str) -> Message:
        """The reply to a recorded request, from its row alone."""
        one = transaction
        pan, expiry = self._cards.unseal(store, one.reference, one.card)
        # otherwise it is the switch's own word
        answered = one.status in (APPROVED, DECLINED)
        fields: dict[int, str | bytes | None] = {
            2: pan,
            3: one.processing_code,
            4: f"{one.amount:012d}" if one.amount or one.processing_code == SALE else None,
            7: one.transmission,
            11: one.stan,
            12: one.local_time,
            13: one.local_date,
            14: expiry,
            15: one.settlement_date,
            18: one.merchant_type,
            23: one.card_sequence,
            25: one.condition,
            32: one.acquirer,
            33: one.issuer if answered else self._switch_id,
            37: one.rrn,
            38: one.authorisation if answered else None,
            39: code,
            41: one.terminal,
            42: one.merchant,
            49: one.currency,
            54: one.balances if answered else None,
            55: one.chip_reply if answered else None,
            100: one.issuer,
        }
        return Message("0210", {n: value for n, value in fields.items() if value is not None})

    def _refuse(
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
        refusal.answer(turn, self._zones, link, sender, reply)


_PIN_FORMATS: Final = {"1": PinFormat.WITHOUT_PAN, "2": PinFormat.ISO_0}


def _agrees(message: Message, transaction: Transaction) -> bool:
    """Whether a message has the processing code and the amount of the recorded request."""
    amount = message.get(4, "0")
    return (
        message.get(3) == transaction.processing_code
        and isinstance(amount, str)
        and (int(amount) == transaction.amount or (4 not in message and transaction.processing_code == BALANCE))
    )


def _is_suspended(store: UnitOfWork, member_id: str) -> bool:
    member = store.find(Member, "member_id", member_id)
    return member is None or member.state == SUSPENDED
