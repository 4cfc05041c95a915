"""A test host in the switch's place: lets its members sign on, gives them keys, and answers their requests by rules.

Network management is the switch's own (`switch.sign_on`), so that a member meets exactly what the real one does; behind
it there is no issuer, only rules.
"""

from __future__ import annotations

from collections.abc import Mapping

from network.iso8583 import INTERBANK, DecodeError, InterbankHeader, Message
from network.keys import KeyHandle, SecurityModule
from network.member import ZoneKeys
from network.party import Command, CommandError, Json, LinkName, Turn
from network.service import ConfigurationError
from scenarios.host.cards import KnownCards
from scenarios.host.responder import REPLIES, Envelope, Responder
from scenarios.host.rules import KnownCard, Rules, parse_rules
from switch.configuration import Configuration
from switch.sign_on import MemberLinks
from switch.stan import StanSequence
from switch.tables import Sequence
from switch.zones import Zones

SWITCH_TABLES = (Sequence,)
"""Rows of the switch's network management, besides the host's own."""

_MANAGEMENT = frozenset(("0800", "0810", "0820", "0830"))


class SwitchHost:
    """The party.

    Parameters
    ----------
    switch_id : str
    module : SecurityModule
    master_keys : mapping of str to KeyHandle
        Zone master keys by member.
    rules : Rules
    cards : tuple of KnownCard
        Cards whose secrets it knows, besides those of the rules.
    """

    def __init__(
        self,
        switch_id: str,
        module: SecurityModule,
        master_keys: Mapping[str, KeyHandle],
        rules: Rules,
        cards: tuple[KnownCard, ...] = (),
    ) -> None:
        self.name = "switch_host"
        configuration = Configuration(switch_id=switch_id)
        self.responder = Responder(module, rules, KnownCards(module, (*cards, *rules.card)))
        self._switch_id = switch_id
        self._stans = StanSequence()
        zones = Zones(configuration, module)
        self.members = MemberLinks(configuration, module, zones, self._stans, self._dropped)
        self._master_keys = {member_id: module.block(key) for member_id, key in master_keys.items()}

    def _dropped(self, reason: str) -> None:
        self.responder.seen[f"dropped: {reason}"] += 1

    def start(self, turn: Turn) -> None:
        """Set down the zones that it shares with its members."""
        for member_id, key in self._master_keys.items():
            if turn.store.find(ZoneKeys, "zone", member_id) is None:
                turn.store.insert(ZoneKeys(member_id, key, None, None, None, None, turn.now))

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived."""
        self.responder.begin()
        self.members.begin()
        for change in turn.link_changes:
            self.members.changed(turn, change)
        for link, body in turn.inbox:
            self._take(turn, link, body)
        for command in turn.commands:
            try:
                turn.answer(command.ticket, self._obey(turn, command))
            except CommandError as error:
                turn.answer(command.ticket, error)
        for kind, name in turn.due:
            if kind == Responder.TIMER:
                self.responder.due(turn, name)
            else:
                self.members.due(turn, kind, name)

    def rolled_back(self) -> None:
        """Return to what stood before the turn."""
        self.responder.rolled_back()
        self.members.rolled_back()
        self._stans.rolled_back()

    def _take(self, turn: Turn, link: LinkName, body: bytes) -> None:
        try:
            message = INTERBANK.unpack(body)
        except DecodeError:
            self._dropped("undecodable")
            return
        header = message.header
        member_id = header.source if isinstance(header, InterbankHeader) else ""
        zone = turn.store.find(ZoneKeys, "zone", member_id) if member_id in self._master_keys else None
        if zone is None or not isinstance(header, InterbankHeader):
            self._dropped("not from a member")
        elif message.mti in _MANAGEMENT:
            self.responder.seen[message.mti] += 1
            self.members.take(turn, link, member_id, message)
        elif message.mti not in REPLIES:
            self._dropped("unexpected message type")
        elif self.members.session(member_id, link) is None or self.members.ready(member_id) is None:
            turn.send(link, self._not_signed_on(message, header))
        else:
            self.responder.take(turn, Envelope(link, header.reply(), self._switch_id, zone), message)

    def _not_signed_on(self, message: Message, header: InterbankHeader) -> bytes:
        """77, without a MAC: there is no key for one."""
        mti, echoed = REPLIES[message.mti]
        fields = {number: message[number] for number in echoed if number in message}
        fields |= {33: self._switch_id, 39: "77", 100: self._switch_id}
        self._dropped("not signed on")
        return INTERBANK.pack(Message(mti, dict(sorted(fields.items())), header.reply()))

    def _obey(self, turn: Turn, command: Command) -> Json:
        if command.name == "use_rules":
            try:
                self.responder.use(parse_rules(str(command.arguments.get("rules", ""))))
            except ConfigurationError as error:
                raise CommandError(str(error)) from error
        elif command.name == "reset_keys":
            reset = [member_id for member_id in self._master_keys if self.members.reset_keys(turn, member_id)]
            if not reset:
                raise CommandError("no member is signed on")
        elif command.name != "tell":
            raise CommandError(f"there is no command {command.name}")
        return self.told()

    def told(self) -> dict[str, Json]:
        """What it is doing, for people."""
        members: list[Json] = [
            {"member_id": member_id, "ready": self.members.ready(member_id) is not None}
            for member_id in self._master_keys
        ]
        return {"members": members, **self.responder.told()}
