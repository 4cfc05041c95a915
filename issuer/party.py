"""The issuer as a party: its turn.

A turn takes the network's management messages as they come, checks the MAC of every financial message and reads it,
loads all the rows that these need, and then decides message by message over the shared rows: a duplicate, a
reversal and its original, or two sales on one account may stand in one turn. After a crash there is the sign-on to
resume and what was asked of the switch (`issuer.questions`); of the rest what it answered is on record.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from issuer.authorisation import authorise
from issuer.case import Case
from issuer.commands import CardDesk
from issuer.configuration import Configuration
from issuer.installation import INDEX_KEY, install, storage_key
from issuer.offline_sale import authorise_offline
from issuer.questions import Questions
from issuer.replies import REPLIES, Replies
from issuer.requests import OFFLINE, Calendar, Request, Reversal, read_request, read_reversal
from issuer.reversal import reverse
from issuer.tables import SETTLEMENT_ACCOUNT, TOMBSTONE, Account, Authorisation, Card, KeySet
from issuer.token_authorisation import TokenCase, authorise_token
from issuer.token_tables import Token
from issuer.wallet import WalletDesk
from network.iso8583 import INTERBANK, DecodeError, Message
from network.iso8583.header import Header
from network.keys import KeyHandle, SecurityModule
from network.ledger import LedgerAccount
from network.member import MemberSession, ZoneKeys, mac_is_valid
from network.party import SECOND, Command, CommandError, Json, LinkName, Standing, Turn
from network.store import Key, Store, UnitOfWork
from network.tracing import ADDITIONAL, attributes_of, context_in

_REVERSAL: Final = "0420"
_MANAGEMENT: Final = frozenset({"0800", "0810", "0820", "0830"})


class _Financial(NamedTuple):
    """A message whose MAC was right, as it was read; `content` is None where the format is wrong."""

    link: LinkName
    message: Message
    content: Request | Reversal | None


class Issuer:
    """The issuer.

    Parameters
    ----------
    configuration : Configuration
    module : SecurityModule
        Its own, which holds the storage keys of its rows.

    Attributes
    ----------
    name : str
    session : MemberSession
        Its side of the network management.
    dropped : Counter
        Messages that were not answered, by reason.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        self.name = configuration.name
        self.configuration = configuration
        self.session = MemberSession(
            configuration.issuer_id,
            configuration.switch_id,
            module,
            retry=round(configuration.sign_on_retry * SECOND),
        )
        self.dropped: Counter[str] = Counter()
        self._module = module
        self._replies = Replies(configuration.issuer_id, self.session.header, module)
        self._desk = CardDesk(configuration, module)
        self._wallets = WalletDesk(configuration, module, self.session)
        self._overlap = round(configuration.key_overlap * SECOND)
        # destination and source as they stand in the header of what the switch sends
        self._envelope = self.session.header.reply().raw[6:28]
        self._links: dict[LinkName, None] = {}  # in the order in which they came up
        self._session_changed = False
        self._sign_on_again = False

    def start(self, turn: Turn) -> None:
        """First turn of a process: what every issuer needs is set down where it is missing."""
        install(turn.store, self._module, self.configuration.currency)
        self._wallets.questions.start(turn)

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived."""
        self._wallets.begin()
        zone = turn.store.load(ZoneKeys, "zone", (self.configuration.switch_id,))[self.configuration.switch_id]
        self._session_changed = bool(turn.link_changes or turn.due)
        if self._sign_on_again:
            self._recover_session(turn)
        for change in turn.link_changes:
            if change.up:
                self._links[change.link] = None
            else:
                self._links.pop(change.link, None)
            self.session.changed(turn, change, speaks_first=self.configuration.dials)
        if turn.inbox:
            self._take_messages(turn, zone)
        for command in turn.commands:
            try:
                answer = self._obey(turn, command)
            except CommandError as error:
                turn.answer(command.ticket, error)
            else:
                if answer is not None:
                    turn.answer(command.ticket, answer)
        for kind, name in turn.due:
            if kind == MemberSession.TIMER:
                self.session.due(turn)
            elif kind == Questions.TIMER:
                self._wallets.questions.due(turn, name)
        if self._session_changed:
            self._wallets.questions.link_may_be_ready(turn)

    def rolled_back(self) -> None:
        """What the session took for granted in the lost turn (a key, an answer sent) it asks for again."""
        self._sign_on_again = self._sign_on_again or self._session_changed
        self._wallets.rolled_back()

    def standing(self, store: Store) -> Standing:
        """See `Stationed`: without the switch there is nothing to authorise."""
        return self.session.standing()

    def drain(self) -> None:
        """See `Stationed`: it is the switch that stops sending when the link closes."""

    def awaits(self, store: UnitOfWork) -> bool:
        """See `Stationed`: who asked for something that needs the switch waits for his command's answer."""
        return False

    def _recover_session(self, turn: Turn) -> None:
        self._sign_on_again = False
        link = self.session.link
        if link is not None and link in self._links and self.session.wanted:
            self._session_changed = True
            self.session.sign_on(turn, link)

    # messages

    def _take_messages(self, turn: Turn, zone: ZoneKeys | None) -> None:
        local = turn.local
        calendar = Calendar(
            local.year,
            local.month,
            f"{local.month:02d}{local.day:02d}",
            f"{local.year % 100:02d}{local.month:02d}",
            local.year * 10_000 + local.month * 100 + local.day,
        )
        index_key, index = storage_key(turn.store, self._module, INDEX_KEY), self._module.index

        def card_index(pan: str) -> str:
            return index(index_key, pan.encode("ascii")).hex()

        accepted: list[_Financial] = []
        for link, body in turn.inbox:
            try:
                message = INTERBANK.unpack(body)
            except DecodeError:
                self.dropped["undecodable"] += 1
                continue
            if self._is_financial(turn, link, message, zone):
                read = read_reversal if message.mti == _REVERSAL else read_request
                accepted.append(_Financial(link, message, read(message, calendar, card_index)))
        if accepted and zone is not None and zone.mac_key is not None:
            self._load(turn, accepted)
            settlement = turn.store.find(LedgerAccount, "account_id", SETTLEMENT_ACCOUNT)
            if settlement is None:
                raise LookupError("the issuer's own accounts are not there")
            mac_key = self._module.load(zone.mac_key)
            for one in accepted:
                turn.send(one.link, self._decide(turn, one, calendar, zone, settlement, mac_key))
                if turn.tracing is not None:
                    self._tell(turn, one.message)

    @staticmethod
    def _tell(turn: Turn, message: Message) -> None:
        """Tell who follows payments of the request that was answered last."""
        if turn.tracing is not None:
            _, code = turn.counted_answers[-1]
            fields, mti = message.fields, message.mti
            parent = context_in(fields.get(ADDITIONAL))
            if parent is None and mti == _REVERSAL:
                return  # of what is not followed, or not any more
            turn.tracing.brief(turn, f"{mti} at the issuer", parent, attributes_of(fields, mti), code)

    def _is_financial(self, turn: Turn, link: LinkName, message: Message, zone: ZoneKeys | None) -> bool:
        """Deal with whatever is no financial message from the switch with a right MAC; True where it is one."""
        refusal = self._envelope_refusal(message.header)
        if refusal is not None:
            self.dropped[refusal] += 1
            return False
        mti, fields = message.mti, message.fields
        if mti in _MANAGEMENT:
            self._session_changed = True
            if not self.session.handle(turn, link, message):
                self.dropped["unexpected message type"] += 1
            return False
        if mti == "0610":
            self._take_answer(turn, message, zone)
            return False
        if mti not in REPLIES:
            self.dropped["unexpected message type"] += 1
            return False
        if 7 not in fields or 11 not in fields:
            self.dropped["no DE7 or DE11 to answer to"] += 1
            return False
        if zone is None or zone.mac_key is None:
            self.dropped["no MAC key yet"] += 1
            return False
        if mac_is_valid(message, self._module, zone, turn.now, self._overlap):
            return True
        turn.note("wrong MAC", None, member=self.configuration.switch_id, mti=mti)
        turn.send(link, self._replies.of_code(turn, fields, mti, "A0", self._module.load(zone.mac_key)))
        return False

    def _take_answer(self, turn: Turn, message: Message, zone: ZoneKeys | None) -> None:
        if zone is None or not mac_is_valid(message, self._module, zone, turn.now, self._overlap):
            self.dropped["an answer with a wrong MAC"] += 1
            return
        self._session_changed = True
        refusal = self._wallets.questions.received(turn, message)
        if refusal is not None:
            self.dropped[refusal] += 1

    def _envelope_refusal(self, header: Header | None) -> str | None:
        """Why a message with this header is not for the issuer to answer; None where it is."""
        raw = header.raw if header is not None else b""
        if raw[6:28] == self._envelope and raw[41:46] == b"00000":
            return None
        if raw[17:28] != self._envelope[11:]:
            return "not from the switch"
        return "for another institution" if raw[6:17] != self._envelope[:11] else "rejected by the switch"

    def _load(self, turn: Turn, accepted: list[_Financial]) -> None:
        """Load the rows that all these messages need, one query a table."""
        store = turn.store
        references: list[Key] = []
        cards: list[Key] = []
        tokens: list[Key] = []
        for one in accepted:
            content = one.content
            if content is not None:
                references.append(content.reference)
                cards.append(content.pan_index)
                if content.token is not None:
                    tokens.append(content.token.token_index)
        if tokens:
            store.load(Token, "token_index", tokens)
        known = store.load(Authorisation, "reference", references)
        known_cards = store.load(Card, "pan_index", cards)
        accounts: set[Key] = {SETTLEMENT_ACCOUNT}
        key_sets: set[Key] = set()
        for index in cards:
            card = known_cards[index]
            if card is not None:
                accounts.add(card.account_id)
                key_sets.add(card.key_set_id)
        for reference in references:
            row = known[reference]
            if row is not None and row.account_id is not None:
                accounts.add(row.account_id)
        store.load(LedgerAccount, "account_id", accounts)
        store.load(Account, "account_id", accounts - {SETTLEMENT_ACCOUNT})
        store.load(KeySet, "key_set_id", key_sets)

    def _decide(
        self,
        turn: Turn,
        one: _Financial,
        calendar: Calendar,
        zone: ZoneKeys,
        settlement: LedgerAccount,
        mac_key: KeyHandle,
    ) -> bytes:
        """Decide a message and make its reply."""
        content, message = one.content, one.message
        fields, mti = message.fields, message.mti
        if content is None:
            return self._replies.of_code(turn, fields, mti, "30", mac_key)
        if isinstance(content, Reversal):
            code = reverse(content, turn, calendar, settlement, self.configuration)
            return self._replies.of_code(turn, fields, mti, code, mac_key)
        row = turn.store.find(Authorisation, "reference", content.reference)
        if row is None:
            if content.token is None and mti != OFFLINE:
                row = authorise(Case(content, turn, calendar, zone, self.configuration, self._module), settlement)
            else:
                row = self._decide_without_card(content, turn, calendar, zone, settlement)
        elif row.status != TOMBSTONE and (row.mti, row.pan_index, row.processing_code, row.amount) != (
            mti,
            content.pan_index,
            content.processing_code,
            content.amount,
        ):
            return self._replies.of_code(turn, fields, mti, "94", mac_key)
        return self._replies.of_authorisation(turn, fields, mti, row, mac_key)

    def _decide_without_card(
        self, request: Request, turn: Turn, calendar: Calendar, zone: ZoneKeys, settlement: LedgerAccount
    ) -> Authorisation:
        """Decide a new request that was not made by a card online: an offline sale, or one by token."""
        configuration, module = self.configuration, self._module
        if request.mti == OFFLINE or request.token is None:
            return authorise_offline(Case(request, turn, calendar, zone, configuration, module), settlement)
        case = TokenCase(request, turn, calendar, zone, configuration, module)
        case.used = request.token
        return authorise_token(case, settlement)

    # commands

    def _obey(self, turn: Turn, command: Command) -> Json | None:
        """The command's answer; None where it comes in a later turn."""
        if command.name in ("sign_on", "sign_off", "echo"):
            return self._manage_session(turn, command.name)
        order = self._wallets.orders.get(command.name)
        if order is not None:
            return order(turn, command)
        return self._desk.obey(turn, command)

    def _manage_session(self, turn: Turn, name: str) -> Json:
        link = self.session.link or next(reversed(self._links), None)
        if link is None:
            raise CommandError("there is no link to the switch")
        self._session_changed = True
        if name == "sign_on":
            self.session.sign_on(turn, link)
        elif name == "sign_off":
            if not self.session.is_signed_on:
                raise CommandError("the issuer is not signed on")
            self.session.sign_off(turn)
        else:
            self.session.link = link
            self.session.echo(turn)
        return {"sent": name, "link": link}
