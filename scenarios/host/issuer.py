"""A test host in an issuer's place: signs on to the switch as a member and answers by rules."""

from __future__ import annotations

from typing import Final

from network.iso8583 import INTERBANK, DecodeError, InterbankHeader
from network.keys import KeyHandle, SecurityModule
from network.member import MemberSession, ZoneKeys
from network.party import SECOND, Command, CommandError, Json, LinkName, Turn
from network.service import ConfigurationError
from scenarios.host.cards import KnownCards
from scenarios.host.responder import REPLIES, Envelope, Responder
from scenarios.host.rules import KnownCard, Rules, parse_rules

RETRY: Final = 2 * SECOND


class IssuerHost:
    """The party.

    Parameters
    ----------
    member_id, switch_id : str
    module : SecurityModule
    master_key : KeyHandle
        The zone master key that it shares with the switch.
    rules : Rules
    cards : sequence of KnownCard
        Cards whose secrets it knows, besides those of the rules.
    dials : bool
        Whether it dials the switch, and so speaks first.
    """

    def __init__(
        self,
        member_id: str,
        switch_id: str,
        module: SecurityModule,
        master_key: KeyHandle,
        rules: Rules,
        cards: tuple[KnownCard, ...] = (),
        *,
        dials: bool = False,
    ) -> None:
        self.name = "issuer_host"
        self.session = MemberSession(member_id, switch_id, module, retry=RETRY)
        self.responder = Responder(module, rules, KnownCards(module, (*cards, *rules.card)))
        self._master_key = module.block(master_key)
        self._switch_id = switch_id
        self._dials = dials
        self._links: dict[LinkName, None] = {}
        self._sign_on_again = False

    def start(self, turn: Turn) -> None:
        """Set down the zone that it shares with the switch."""
        if turn.store.find(ZoneKeys, "zone", self._switch_id) is None:
            turn.store.insert(ZoneKeys(self._switch_id, self._master_key, None, None, None, None, turn.now))

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived."""
        self.responder.begin()
        if self._sign_on_again:
            self._sign_on_again = False
            if self.session.link in self._links and self.session.link is not None:
                self.session.sign_on(turn, self.session.link)
        for change in turn.link_changes:
            if change.up:
                self._links[change.link] = None
            else:
                self._links.pop(change.link, None)
            self.session.changed(turn, change, speaks_first=self._dials)
        for link, body in turn.inbox:
            self._take(turn, link, body)
        for command in turn.commands:
            try:
                turn.answer(command.ticket, self._obey(turn, command))
            except CommandError as error:
                turn.answer(command.ticket, error)
        for kind, name in turn.due:
            if kind == MemberSession.TIMER:
                self.session.due(turn)
            elif kind == Responder.TIMER:
                self.responder.due(turn, name)

    def rolled_back(self) -> None:
        """What the session took for granted in the lost turn it asks for again."""
        self._sign_on_again = True
        self.responder.rolled_back()

    def _take(self, turn: Turn, link: LinkName, body: bytes) -> None:
        seen = self.responder.seen
        try:
            message = INTERBANK.unpack(body)
        except DecodeError:
            seen["dropped: undecodable"] += 1
            return
        header = message.header
        if not isinstance(header, InterbankHeader) or header.source != self._switch_id:
            seen["dropped: not from the switch"] += 1
        elif message.mti in REPLIES:
            zone = turn.store.find(ZoneKeys, "zone", self._switch_id)
            if zone is not None:
                envelope = Envelope(link, self.session.header, self.session.member_id, zone)
                self.responder.take(turn, envelope, message)
        elif self.session.handle(turn, link, message):
            seen[message.mti] += 1
        else:
            seen["dropped: unexpected message type"] += 1

    def _obey(self, turn: Turn, command: Command) -> Json:
        if command.name == "use_rules":
            try:
                self.responder.use(parse_rules(str(command.arguments.get("rules", ""))))
            except ConfigurationError as error:
                raise CommandError(str(error)) from error
            return self.told()
        if command.name == "tell":
            return self.told()
        if command.name in ("sign_on", "sign_off", "echo"):
            link = self.session.link or next(reversed(self._links), None)
            if link is None:
                raise CommandError("there is no link to the switch")
            if command.name == "sign_on":
                self.session.sign_on(turn, link)
            else:
                self.session.link = link
                (self.session.sign_off if command.name == "sign_off" else self.session.echo)(turn)
            return {"sent": command.name}
        raise CommandError(f"there is no command {command.name}")

    def told(self) -> dict[str, Json]:
        """What it is doing, for people."""
        return {"ready": self.session.ready, **self.responder.told()}
