"""The switch: joins acquirers and issuers, and answers for what lies between them.

A turn takes what has arrived, loads the rows it needs with one query per table, decides each message in arrival order
over those rows, then commands and timers, and last sends what is stored for members that are ready.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import sqlalchemy as sa

from network.iso8583 import INTERBANK, DecodeError, InterbankHeader, Message
from network.keys import SecurityModule
from network.party import LinkName, Standing, TimerKey, Turn
from network.store import Store, UnitOfWork
from switch import commands, refusal
from switch.administrative import Administration, identity_of
from switch.advice import ADVICE_TIMER, StoreAndForward, identity
from switch.card_data import CardData
from switch.claims import CLAIM_TIMER, Claims
from switch.codes import Codes
from switch.configuration import Configuration
from switch.financial import Requests
from switch.pin_translation import PinTranslation
from switch.presented import Presented
from switch.refusal import Clock
from switch.reversal import ANSWER_TIMER, Reversals, original_of
from switch.risk import RiskSensing
from switch.routing import RoutingTable
from switch.sign_on import ECHO_TIMER, KEY_TIMER, MemberLinks
from switch.stan import StanSequence
from switch.tables import OFFLINE_SALE, PENDING, AdministrativeRequest, Advice, Claim, Member, Transaction
from switch.tokens import Tokens
from switch.zones import Zones

PENDING_LIMIT: Final = 1_000_000
"""Requests whose timers are set again at the start: far more than any timeout leaves pending."""

AWAITED_LIMIT: Final = 1000
"""Pending rows that are looked at to find one that is awaited."""

_NETWORK_MANAGEMENT: Final = frozenset({"0800", "0810", "0820", "0830"})
_FINANCIAL: Final = frozenset({"0200", "0220"})
_FINANCIAL_ANSWERS: Final = frozenset({"0210", "0230"})
_ADMINISTRATIVE: Final = frozenset({"0600", "0610"})
_NO_REJECT: Final = "00000"


class _Arrived(NamedTuple):
    """A message of a member, and the key of the row that it is about."""

    link: LinkName
    sender: str
    message: Message
    key: str | None


class Switch:
    """The switch as a party. See `network.party.Party`.

    Attributes
    ----------
    name : str
    links : MemberLinks
        Which members are signed on.
    risk : RiskSensing
        The rules in force.
    dropped : dict of str to int
        Messages that were dropped, by reason.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        self.name = configuration.name
        self.configuration = configuration
        self.module = module
        self.dropped: dict[str, int] = {}
        self._stans = StanSequence()
        self._cards = CardData(module)
        self._zones = zones = Zones(configuration, module)
        self.links = MemberLinks(configuration, module, zones, self._stans, self._drop)
        self._advices = StoreAndForward(configuration, zones, self.links, self._cards, self._drop)
        self._reversals = Reversals(configuration, zones, self._cards, self._advices, self._stans)
        self.risk = RiskSensing(configuration)
        self.token_prefix = configuration.token_prefix
        tokens = Tokens(configuration, self._cards)
        codes = Codes(configuration, self._cards, tokens)
        self._presented = Presented(tokens, codes)
        self._requests = Requests(
            configuration,
            zones,
            self.links,
            self._cards,
            self._reversals,
            self._presented,
            self.risk,
            PinTranslation(module, zones),
            self._drop,
        )
        self._claims = Claims(configuration, zones, self.links, self._cards, codes, self._stans, self._drop)
        self._administration = Administration(
            configuration, zones, self.links, self._cards, tokens, codes, self._claims, lambda: self.routing
        )
        self._own_id = configuration.switch_id.ljust(11).encode("ascii")
        self._is_stale = True

    @property
    def routing(self) -> RoutingTable:
        """The routes in force."""
        return self._requests.routing

    def start(self, turn: Turn) -> None:
        """Set the timers of what was pending when the last process ended; what is overdue falls due at once.

        Advices need none: they are read when their member is ready.
        """
        self._load_rules(turn.store)
        for transaction in turn.store.scan(Transaction, "status", PENDING, PENDING_LIMIT):
            # an offline sale is sent again by its acquirer, however late
            if transaction.mti != OFFLINE_SALE:
                turn.timer((ANSWER_TIMER, transaction.reference), max(transaction.deadline, turn.now))
        self._claims.start(turn)

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived."""
        self.links.begin()
        self.risk.begin()
        if self._is_stale:
            self._load_rules(turn.store)
        clock = Clock.of(turn)
        for change in turn.link_changes:
            self.links.changed(turn, change)
        arrived = self._unpack(turn, clock)
        self._load(turn, arrived)
        for one in arrived:
            self._decide(turn, clock, one)
        for command in turn.commands:
            turn.answer(command.ticket, commands.decide(self, turn, command))
        for key in turn.due:
            self._due(turn, clock, key)
        self._advices.send(turn)

    def rolled_back(self) -> None:
        """Forget what memory holds of the turn that was not committed."""
        self.links.rolled_back()
        self._advices.rolled_back()
        self._stans.rolled_back()
        self._cards.rolled_back()
        self.risk.rolled_back()
        self._is_stale = True

    def standing(self, store: Store) -> Standing:
        """See `Stationed`: it serves whoever is there, so no member's absence keeps it from serving."""
        members = store.tables[Member]
        with store.read() as connection:
            ids = connection.execute(sa.select(members.c.member_id).order_by(members.c.member_id)).scalars().all()
        return Standing({one: self.links.ready(one) is not None for one in ids}, None)

    def drain(self) -> None:
        """See `Stationed`: what is new is answered as if its issuer could not be reached."""
        self._requests.draining = True

    def awaits(self, store: UnitOfWork) -> bool:
        """See `Stationed`: requests that issuers have not answered. Offline sales are sent again, however late."""
        pending = store.scan(Transaction, "status", PENDING, AWAITED_LIMIT)
        return any(transaction.mti != OFFLINE_SALE for transaction in pending)

    def _load_rules(self, store: UnitOfWork) -> None:
        self._requests.routing = RoutingTable.load(store)
        self.risk.load(store)
        self._is_stale = False

    def _unpack(self, turn: Turn, clock: Clock) -> list[_Arrived]:
        arrived = []
        unpack = INTERBANK.unpack
        for link, body in turn.inbox:
            try:
                message = unpack(body)
            except DecodeError:
                self._undecodable(turn, link, body)
                continue
            header = message.header
            if not isinstance(header, InterbankHeader):
                self._drop("no header")
                continue
            sender = header.source
            if self.links.speaker(link) not in (None, sender):
                self._impostor(turn, link, header, body)
                continue
            if sender not in self.links.sessions and not self._may_send(turn, link, header, body):
                continue
            raw = header.raw
            if raw[6:17] != self._own_id or raw[41:46] != b"00000":
                self._misdirected(turn, link, header, body)
                continue
            if message.mti in _ADMINISTRATIVE:
                key = identity_of(message, sender, clock)
            else:
                key = original_of(message, clock) if message.mti == "0420" else identity(message, clock)
            arrived.append(_Arrived(link, sender, message, key))
        return arrived

    def _load(self, turn: Turn, arrived: list[_Arrived]) -> None:
        transactions: list[str] = []
        advices: list[str] = []
        asked: list[str] = []
        claims: list[str] = []
        presented: list[Message] = []
        rows = {"0430": advices, "0600": asked, "0610": claims}
        for one in arrived:
            mti = one.message.mti
            if one.key is not None:
                rows.get(mti, transactions).append(one.key)
            if mti in _FINANCIAL and self._presented.concerns(one.message):
                presented.append(one.message)
        transactions += [name for kind, name in turn.due if kind == ANSWER_TIMER]
        if transactions:
            turn.store.load(Transaction, "reference", transactions)
        advices += [name for kind, name in turn.due if kind == ADVICE_TIMER]
        claims += [name for kind, name in turn.due if kind == CLAIM_TIMER]
        if advices:
            turn.store.load(Advice, "reference", advices)
        if claims:
            turn.store.load(Claim, "reference", claims)
        if asked:
            turn.store.load(AdministrativeRequest, "reference", asked)
        if presented:
            self._presented.load(turn.store, presented)

    def _decide(self, turn: Turn, clock: Clock, one: _Arrived) -> None:
        link, sender, message, key = one
        mti = message.mti
        if mti in _NETWORK_MANAGEMENT:
            self.links.take(turn, link, sender, message)
        elif mti[2] in "13579":
            if self.links.session(sender, link) is None:
                self._drop("answer of a member that is not signed on")
            elif mti in _FINANCIAL_ANSWERS:
                self._requests.answer(turn, clock, sender, message, key)
            elif mti == "0430":
                self._advices.answer(turn, sender, message, key)
            elif mti == "0610":
                self._settle(turn, self._claims.answer(turn, sender, message, key))
            else:
                self._drop("answer to nothing")
        elif self.links.session(sender, link) is None:
            self._refuse(turn, clock, one, "77")
        elif mti in _FINANCIAL:
            self._requests.request(turn, clock, link, sender, message, key)
        elif mti == "0420":
            self._reversals.request(turn, clock, link, sender, message, key)
        elif mti == "0600":
            self._administration.request(turn, clock, link, sender, message, key)
        else:
            self._refuse(turn, clock, one, "40")

    def _due(self, turn: Turn, clock: Clock, key: TimerKey) -> None:
        kind, name = key
        if kind == ANSWER_TIMER:
            self._requests.timeout(turn, clock, name)
        elif kind == ADVICE_TIMER:
            self._advices.due(turn, name)
        elif kind == CLAIM_TIMER:
            self._settle(turn, self._claims.due(turn, name))
        elif kind in (ECHO_TIMER, KEY_TIMER):
            self.links.due(turn, kind, name)

    def _settle(self, turn: Turn, settled: tuple[str, str] | None) -> None:
        """Answer the issuer whose order an acquirer has decided on."""
        if settled is not None:
            self._administration.settle(turn, *settled)

    def _refuse(self, turn: Turn, clock: Clock, one: _Arrived, code: str) -> None:
        if one.message.mti == "0600":
            self._administration.refuse(turn, one.link, one.sender, one.message, code)
            return
        reply = refusal.reply(one.message, code, self.configuration.switch_id, clock.settlement_date)
        refusal.answer(turn, self._zones, one.link, one.sender, reply)

    def _undecodable(self, turn: Turn, link: LinkName, body: bytes) -> None:
        header = refusal.header_of(body)
        if header is None or header.reject_code != _NO_REJECT:
            self._drop("undecodable")
        else:
            refusal.send_back(turn, link, header, body, refusal.REJECT_FORMAT)

    def _impostor(self, turn: Turn, link: LinkName, header: InterbankHeader, body: bytes) -> None:
        """A member speaks over its own link as if it were another: nothing that it says is looked at."""
        self._drop("not from whom the link belongs to")
        if header.reject_code == _NO_REJECT:
            refusal.send_back(turn, link, header, body, refusal.REJECT_SENDER)

    def _may_send(self, turn: Turn, link: LinkName, header: InterbankHeader, body: bytes) -> bool:
        """Whether a sender that is not signed on is a member at all; if not the message goes back."""
        sender = header.source
        # only digits may reach the store: text with a NUL, say, PostgreSQL refuses
        if sender.isascii() and sender.isdigit() and turn.store.find(Member, "member_id", sender) is not None:
            return True
        if header.reject_code == _NO_REJECT:
            refusal.send_back(turn, link, header, body, refusal.REJECT_SENDER)
        else:
            self._drop("rejected message of no member")
        return False

    def _misdirected(self, turn: Turn, link: LinkName, header: InterbankHeader, body: bytes) -> None:
        if header.reject_code != _NO_REJECT:
            # One of ours, which the member could not take. Timers see to what it was about.
            self._drop("rejected by a member")
        else:
            refusal.send_back(turn, link, header, body, refusal.REJECT_DESTINATION)

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
