"""The switch's side of network management: who is signed on over which link, and the zones' working keys.

A member is bound to the link over which it signed on. It is *ready* when both of its working keys have come into
force over that link. The switch makes the keys: it offers one in an 0800 and puts it in force when the member's 0810
is made with it; an offer is repeated until then, so that a lost message cannot leave the two ends with different keys.

This state is memory: links do not survive a process. Keys in force are rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from network.iso8583 import INTERBANK, InterbankHeader, Message, interbank_mac_input
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.member import (
    ECHO,
    KEY_RESET,
    KEY_RESET_SECURITY,
    MAC_KEY,
    PIN_KEY,
    SIGN_OFF,
    SIGN_ON,
    ZoneKeys,
    reset_with_mac,
)
from network.party import SECOND, LinkChange, LinkName, Turn
from network.tls import authenticated_member
from switch.configuration import Configuration
from switch.stan import StanSequence
from switch.zones import Zones

ECHO_TIMER: Final = "echo"
KEY_TIMER: Final = "key"
BOTH_KEYS: Final = (PIN_KEY, MAC_KEY)

_USAGES: Final = {PIN_KEY: KeyUsage.PIN_ENCRYPTION, MAC_KEY: KeyUsage.MAC_ALGORITHM_3}
_REPEATED: Final = (7, 11, 53, 70, 100)


@dataclass(frozen=True, slots=True)
class _Offer:
    """A working key on its way to the member, and its cryptogram under the zone master key."""

    key: KeyHandle
    cryptogram: bytes


@dataclass(slots=True)
class Session:
    """A member that is signed on: its link, which keys have come over it, which are offered."""

    link: LinkName
    header: InterbankHeader
    fresh: frozenset[str] = frozenset()
    offers: dict[str, _Offer] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """Both working keys have come into force over this link."""
        return len(self.fresh) == len(BOTH_KEYS)


class MemberLinks:
    """Sessions of members, and what network management messages do to them.

    Parameters
    ----------
    dropped : callable
        Counts a message that is dropped, by the reason.
    """

    def __init__(
        self,
        configuration: Configuration,
        module: SecurityModule,
        zones: Zones,
        stans: StanSequence,
        dropped: Callable[[str], None],
    ) -> None:
        self.sessions: dict[str, Session] = {}
        self._configuration = configuration
        self._module = module
        self._zones = zones
        self._stans = stans
        self._dropped = dropped
        self._dialled: dict[LinkName, str] = {}
        self._before: tuple[dict[str, Session], dict[LinkName, str]] | None = None
        self._echo_retry = round(configuration.echo_retry * SECOND)
        self._key_retry = round(configuration.key_reset_retry * SECOND)

    def begin(self) -> None:
        """A turn begins: what the last one left stands."""
        self._before = None

    def rolled_back(self) -> None:
        """Return to what stood before the turn."""
        if self._before is not None:
            self.sessions, self._dialled = self._before
            self._before = None

    def session(self, member_id: str, link: LinkName) -> Session | None:
        """The member's session if it is signed on over this link."""
        session = self.sessions.get(member_id)
        return session if session is not None and session.link == link else None

    def ready(self, member_id: str) -> Session | None:
        """The member's session if requests and advices can be sent to it."""
        session = self.sessions.get(member_id)
        return session if session is not None and session.ready else None

    def send(self, turn: Turn, member_id: str, message: Message, mac_input: bytes | None = None) -> bool:
        """Send a message with DE128 under the member's MAC key; False when the member has no link or no key.

        `mac_input` spares making it where the caller has it.
        """
        session = self.sessions.get(member_id)
        zone = turn.store.find(ZoneKeys, "zone", member_id)
        if session is None or not session.ready or zone is None or zone.mac_key is None:
            return False
        message.header = session.header
        turn.send(session.link, self._zones.seal(zone, message, mac_input or interbank_mac_input(message)))
        return True

    def speaker(self, link: LinkName) -> str | None:
        """The only member that may speak over a link; None where nothing says who it is.

        It is whom the certificate at the other end names, or whom the switch dials there.
        """
        return authenticated_member(link) or self._dialled_member(link)

    def changed(self, turn: Turn, change: LinkChange) -> None:
        """A link came up or went down: whoever was signed on over it no longer is."""
        self._remember()
        for member_id, session in list(self.sessions.items()):
            if session.link == change.link:
                turn.note("session lost", None, member=member_id, link=change.link)
                self._end(turn, member_id)
        self._dialled.pop(change.link, None)
        dialled = self._dialled_member(change.link)
        if dialled is not None:
            if change.up:
                self._dialled[change.link] = dialled
                self._echo(turn, change.link)
            else:
                turn.timer((ECHO_TIMER, change.link), None)

    def due(self, turn: Turn, kind: str, name: str) -> None:
        """A timer of network management is due."""
        if kind == ECHO_TIMER:
            if name in self._dialled and self.session(self._dialled[name], name) is None:
                self._echo(turn, name)
            return
        member_id, _, which = name.partition("/")
        session = self.sessions.get(member_id)
        if session is not None and (which in session.offers or which not in session.fresh):
            self._offer(turn, member_id, which)

    def reset_keys(self, turn: Turn, member_id: str) -> bool:
        """Give the member new working keys now; False when it is not signed on."""
        if member_id not in self.sessions:
            return False
        for which in BOTH_KEYS:
            self._offer(turn, member_id, which)
        return True

    def mac_refused(self, turn: Turn, member_id: str) -> None:
        """The member found a MAC of ours wrong: the two ends do not hold the same key, so make a new one."""
        session = self.sessions.get(member_id)
        if session is not None and MAC_KEY not in session.offers:
            self._offer(turn, member_id, MAC_KEY)

    def take(self, turn: Turn, link: LinkName, member_id: str, message: Message) -> None:
        """Decide a network management message (0800 to 0830) of a member."""
        mti = message.mti
        if mti == "0820":
            self._request(turn, link, member_id, message)
        elif mti == "0810":
            self._key_answered(turn, link, member_id, message)
        elif mti == "0800":
            self._reply(turn, link, message, "0810", "40")

    def _request(self, turn: Turn, link: LinkName, member_id: str, message: Message) -> None:
        code = message.get(70)
        if code == SIGN_ON:
            signed_on = self._sign_on(turn, link, member_id)
            self._reply(turn, link, message, "0830", "00" if signed_on else "94")
        elif code == SIGN_OFF:
            if self.session(member_id, link) is not None:
                self._remember()
                self._end(turn, member_id)
            self._reply(turn, link, message, "0830", "00")
        elif code == ECHO:
            # a member that takes itself for signed on learns from 77 that it is not
            self._reply(turn, link, message, "0830", "00" if self.session(member_id, link) is not None else "77")
        elif code == KEY_RESET:
            self._key_asked(turn, link, member_id, message)
        else:
            self._reply(turn, link, message, "0830", "40")

    def _sign_on(self, turn: Turn, link: LinkName, member_id: str) -> bool:
        """Sign a member on over a link; False when it is, with keys, over another link that is up.

        A sign-on proves nothing; keys do, since they come under the zone master key. So nobody who only says that
        it is the member takes its session away.
        """
        # A repeated sign-on changes nothing: it may be a copy that was long on its way, and the keys that came
        # over this link are still good. A member that lost its own asks for new ones.
        if self.session(member_id, link) is not None:
            return True
        if self.ready(member_id) is not None:
            return False
        self._remember()
        if member_id in self.sessions:
            self._end(turn, member_id)
        header = InterbankHeader(destination=member_id, source=self._configuration.switch_id)
        self.sessions[member_id] = Session(link, header)
        turn.timer((ECHO_TIMER, link), None)
        # The member asks for its keys. Should its requests be lost, it gets them all the same.
        for which in BOTH_KEYS:
            self._await_key(turn, member_id, which)
        return True

    def _end(self, turn: Turn, member_id: str) -> None:
        del self.sessions[member_id]
        for which in BOTH_KEYS:
            turn.timer((KEY_TIMER, f"{member_id}/{which}"), None)

    def _key_asked(self, turn: Turn, link: LinkName, member_id: str, message: Message) -> None:
        if self.session(member_id, link) is None:
            self._reply(turn, link, message, "0830", "77")
            return
        security = message.get(53)
        which = security[:1] if isinstance(security, str) else ""
        if which not in _USAGES:
            self._reply(turn, link, message, "0830", "30")
            return
        self._reply(turn, link, message, "0830", "00")
        self._offer(turn, member_id, which)

    def _offer(self, turn: Turn, member_id: str, which: str) -> None:
        """Send the member a new key; the same one again while it has not answered."""
        session = self.sessions[member_id]
        offer = session.offers.get(which)
        if offer is None:
            zone = turn.store.find(ZoneKeys, "zone", member_id)
            if zone is None:
                return
            self._remember()
            master_key = self._module.load(zone.master_key)
            key, cryptogram = self._module.generate_and_export(_USAGES[which], Algorithm.TDES_DOUBLE, master_key)
            offer = session.offers[which] = _Offer(key, cryptogram)
        fields: dict[int, str | bytes] = {
            7: turn.local.strftime("%m%d%H%M%S"),
            11: self._stans.take(turn.store),
            33: self._configuration.switch_id,
            48: "NK" + offer.cryptogram.hex().upper(),
            53: KEY_RESET_SECURITY[which],
            70: KEY_RESET,
            100: member_id,
        }
        turn.send(session.link, reset_with_mac(Message("0800", fields, session.header), self._module, offer.key))
        self._await_key(turn, member_id, which)

    def _await_key(self, turn: Turn, member_id: str, which: str) -> None:
        turn.timer((KEY_TIMER, f"{member_id}/{which}"), turn.now + self._key_retry)

    def _key_answered(self, turn: Turn, link: LinkName, member_id: str, message: Message) -> None:
        session = self.session(member_id, link)
        zone = turn.store.find(ZoneKeys, "zone", member_id)
        security = message.get(53)
        which = security[:1] if isinstance(security, str) else ""
        if session is None or zone is None or which not in _USAGES:
            self._dropped("unexpected 0810")
            return
        offer = session.offers.get(which)
        if message.get(39) != "00":
            # The timer makes another; at once would be a loop with a member that refuses them all.
            if offer is not None:
                self._remember()
                del session.offers[which]
                self._await_key(turn, member_id, which)
            self._dropped("key refused by the member")
            return
        if offer is not None and self._made_with(offer.key, message):
            self._remember()
            del session.offers[which]
            session.fresh |= {which}
            turn.store.change(zone)
            zone.replace(which, self._module.block(offer.key), turn.now)
            turn.timer((KEY_TIMER, f"{member_id}/{which}"), None)
            return
        in_force = zone.pin_key if which == PIN_KEY else zone.mac_key
        if in_force is not None and self._made_with(self._module.load(in_force), message):
            self._dropped("repeated 0810")
            return
        self._dropped("0810 of another key")
        if offer is None:
            # The member put a key in force that we no longer hold, from a copy that was long on its way.
            self._offer(turn, member_id, which)

    def _made_with(self, key: KeyHandle, message: Message) -> bool:
        mac = message.get(128)
        return isinstance(mac, bytes) and self._module.verify_key_reset_mac(key, interbank_mac_input(message), mac)

    def _echo(self, turn: Turn, link: LinkName) -> None:
        member_id = self._dialled[link]
        fields: dict[int, str | bytes] = {
            7: turn.local.strftime("%m%d%H%M%S"),
            11: self._stans.take(turn.store),
            33: self._configuration.switch_id,
            70: ECHO,
        }
        header = InterbankHeader(destination=member_id, source=self._configuration.switch_id)
        turn.send(link, INTERBANK.pack(Message("0820", fields, header)))
        turn.timer((ECHO_TIMER, link), turn.now + self._echo_retry)

    def _reply(self, turn: Turn, link: LinkName, request: Message, mti: str, response: str) -> None:
        fields = {n: request[n] for n in _REPEATED if n in request}
        fields[33] = self._configuration.switch_id
        fields[39] = response
        header = request.header
        if isinstance(header, InterbankHeader):
            turn.send(link, INTERBANK.pack(Message(mti, dict(sorted(fields.items())), header.reply())))

    def _dialled_member(self, link: LinkName) -> str | None:
        named = self._configuration.dialled.get(link)
        if named is not None:
            return named
        prefix, colon, member_id = link.partition(":")
        return member_id if colon and prefix == self._configuration.dialled_prefix else None

    def _remember(self) -> None:
        """Keep what stands, for `rolled_back`, before this turn's first change."""
        if self._before is None:
            kept = {one: replace(s, offers=dict(s.offers)) for one, s in self.sessions.items()}
            self._before = (kept, dict(self._dialled))
