"""The member link as both of its ends need it: identities, MACs, the zone's keys, and the member's sign-on.

Acquirer and issuer are members of the network; the switch is its centre. What either end must agree on stands
here: how a request is known, how DE128 is made and checked (DOMAIN.md section 3), how a zone's working keys are
kept and replaced, and the member's side of network management, which is the same for every member. The switch's
side of it is the switch's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from network.iso8583 import INTERBANK, InterbankHeader, Message, interbank_mac_input
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule, SecurityModuleError
from network.party import SECOND, Instant, LinkChange, LinkName, Standing, Turn
from network.store import Row, table

NO_MAC: Final = b"\0" * 8
"""What stands in DE128 (or DE64) while a message is packed; the MAC replaces it."""

PIN_KEY: Final = "1"
MAC_KEY: Final = "2"
"""First digit of DE53 in a key reset."""

KEY_RESET_SECURITY: Final = {PIN_KEY: "1600000000000000", MAC_KEY: "2600000000000000"}
"""DE53 of a key reset: which key, and that it is a double-length 3DES key."""

KEY_OVERLAP: Final[Instant] = 60 * SECOND
"""How long a key that was replaced may still be met in messages on their way."""

ECHO_INTERVAL: Final[Instant] = 60 * SECOND
"""How often a member that is ready asks whether the switch still knows it."""

SIGN_ON: Final = "001"
SIGN_OFF: Final = "002"
KEY_RESET: Final = "101"
ECHO: Final = "301"


@table("zone_keys", key="zone", mutable=("pin_key", "mac_key", "old_pin_key", "old_mac_key", "changed_at"), cached=True)
class ZoneKeys(Row):
    """The keys that the two ends of a member link share, as key blocks under the own module's storage key.

    `zone` is the other end's id. The old keys are accepted for messages on their way until `changed_at` and the
    overlap have passed.
    """

    zone: str
    master_key: str
    pin_key: str | None
    mac_key: str | None
    old_pin_key: str | None
    old_mac_key: str | None
    changed_at: int

    def replace(self, which: str, block: str, now: Instant) -> None:
        """Put a new PIN or MAC key in force and keep the one before it; what was kept longer is dropped."""
        if now > self.changed_at + KEY_OVERLAP:
            self.old_pin_key = self.old_mac_key = None
        if which == PIN_KEY:
            self.pin_key, self.old_pin_key = block, self.pin_key
        else:
            self.mac_key, self.old_mac_key = block, self.mac_key
        self.changed_at = now


def reference(year: int, month: int, transmission: str, stan: str, acquirer: str) -> str:
    """A request's identity as a key that grows with time: year, DE7, DE11, DE32.

    Parameters
    ----------
    year, month
        Of now. DE7 has no year: one that lies months ahead is last year's.
    """
    try:
        message_month = int(transmission[:2])
    except ValueError:
        message_month = month
    if message_month > month + 1:
        year -= 1
    elif month == 12 and message_month == 1:
        year += 1
    # DE90 pads ids with zeros on the left, and some begin with one
    return f"{year:04d}{transmission}{stan}-{acquirer.lstrip('0')}"


@dataclass(frozen=True, slots=True)
class OriginalData:
    """DE90: what an advice is about. MTI 4, STAN 6, DE7 10, acquirer 11, forwarder 11, ids zero-padded on the left."""

    mti: str
    stan: str
    transmission: str
    acquirer: str
    forwarder: str

    def pack(self) -> str:
        """The 42 digits of DE90."""
        return f"{self.mti}{self.stan}{self.transmission}{self.acquirer:>011}{self.forwarder:>011}"

    @classmethod
    def parse(cls, element: str) -> OriginalData:
        """Read DE90.

        Raises
        ------
        ValueError
            It is not 42 digits.
        """
        if len(element) != 42 or not (element.isascii() and element.isdigit()):
            raise ValueError("DE90 is not 42 digits")
        return cls(
            element[:4],
            element[4:10],
            element[10:20],
            element[20:31].lstrip("0"),
            element[31:].lstrip("0"),
        )


def pack_with_mac(message: Message, module: SecurityModule, key: KeyHandle, mac_input: bytes | None = None) -> bytes:
    """Pack an interbank message and put its MAC into DE128, which need not be set.

    Parameters
    ----------
    mac_input : bytes, optional
        What `interbank_mac_input` gives for this message, where the caller has it already: a message that is passed
        on has the same as it had when it came.
    """
    message.fields[128] = NO_MAC
    packed = INTERBANK.pack(message)
    return packed[:-8] + module.interbank_mac(key, mac_input or interbank_mac_input(message))


def mac_is_valid(
    message: Message,
    module: SecurityModule,
    zone: ZoneKeys,
    now: Instant,
    overlap: Instant,
    mac_input: bytes | None = None,
) -> bool:
    """Whether DE128 is right under the zone's MAC key, or under the one before it while that is still accepted.

    Parameters
    ----------
    overlap : Instant
        How long after a change of keys the one before is accepted.
    mac_input : bytes, optional
        What `interbank_mac_input` gives for this message, where the caller has it already.
    """
    received = message.fields.get(128)
    if zone.mac_key is None or not isinstance(received, bytes):
        return False
    data = mac_input or interbank_mac_input(message)
    if module.verify_interbank_mac(module.load(zone.mac_key), data, received):
        return True
    if zone.old_mac_key is None or now > zone.changed_at + overlap:
        return False
    return module.verify_interbank_mac(module.load(zone.old_mac_key), data, received)


def reset_with_mac(message: Message, module: SecurityModule, key: KeyHandle) -> bytes:
    """Pack a key reset (0800/0810 with DE70 101), whose DE128 is made with the new key, also when it is a PIN key."""
    message[128] = NO_MAC
    packed = INTERBANK.pack(message)
    return packed[:-8] + module.key_reset_mac(key, interbank_mac_input(message))


class MemberSession:
    """A member's network management over its link to the switch.

    It signs on when the link is up, asks for both working keys, takes key resets, answers echoes, and tries again
    while it is not ready. When it is, it sends an echo now and then: a switch that has lost its session answers 77,
    as it does when it is asked for keys, and the member signs on anew. What it remembers is only the state of the
    link; keys live in the `ZoneKeys` row.

    Parameters
    ----------
    member_id, switch_id : str
        Ids in the header and DE33.
    module : SecurityModule
    retry : Instant
        Between tries to sign on.
    """

    TIMER: Final = "member-sign-on"

    def __init__(self, member_id: str, switch_id: str, module: SecurityModule, retry: Instant = 5 * SECOND) -> None:
        self.member_id = member_id
        self.switch_id = switch_id
        self.header = InterbankHeader(destination=switch_id, source=member_id)
        self.wanted = True
        self.link: LinkName | None = None
        self.is_signed_on = False
        self._module = module
        self._retry = retry
        self._fresh: set[str] = set()
        self._stan = 0

    @property
    def ready(self) -> bool:
        """Signed on, and both keys have come over this link."""
        return self.is_signed_on and len(self._fresh) == 2

    def standing(self) -> Standing:
        """How a party stands whose only member link this is."""
        missing = "its keys have not come" if self.is_signed_on else "it is not signed on"
        reason = None if self.ready else f"the link to the switch {self.switch_id}: {missing}"
        return Standing({self.switch_id: self.ready}, reason)

    def changed(self, turn: Turn, change: LinkChange, *, speaks_first: bool) -> None:
        """The link came up or went down. `speaks_first` is true where this member dialled."""
        if change.up:
            if speaks_first:
                self.sign_on(turn, change.link)
        elif change.link == self.link:
            turn.note("session lost", None, member=self.switch_id, link=change.link)
            self._lost()

    def _lost(self) -> None:
        self.link = None
        self.is_signed_on = False
        self._fresh.clear()

    def sign_on(self, turn: Turn, link: LinkName) -> None:
        """Sign on over `link`, which is from now on the link to the switch."""
        self._lost()
        self.link = link
        self.wanted = True
        self._request(turn, SIGN_ON)
        turn.timer((self.TIMER, self.switch_id), turn.now + self._retry)

    def sign_off(self, turn: Turn) -> None:
        """Sign off; no sign-on follows until `sign_on`."""
        self.wanted = False
        self.is_signed_on = False
        self._fresh.clear()
        self._request(turn, SIGN_OFF)
        turn.timer((self.TIMER, self.switch_id), None)

    def echo(self, turn: Turn) -> None:
        """Send an echo test."""
        self._request(turn, ECHO)

    def due(self, turn: Turn) -> None:
        """The sign-on timer is due: try again what is still missing."""
        if self.link is None or not self.wanted:
            return
        if self.ready:
            self._request(turn, ECHO)
            turn.timer((self.TIMER, self.switch_id), turn.now + ECHO_INTERVAL)
            return
        if not self.is_signed_on:
            self._request(turn, SIGN_ON)
        else:
            self._ask_for_keys(turn)
        turn.timer((self.TIMER, self.switch_id), turn.now + self._retry)

    def handle(self, turn: Turn, link: LinkName, message: Message) -> bool:
        """Take a message if it is network management from the switch; tell whether it was.

        The caller finds `ready` changed when the last key has come.
        """
        mti = message.mti
        if mti not in ("0800", "0820", "0830"):
            return False
        header = message.header
        if not isinstance(header, InterbankHeader) or header.source != self.switch_id:
            return True
        code = message.get(70)
        if mti == "0830":
            self._answered(turn, link, message)
        elif mti == "0800" and code == KEY_RESET:
            self._take_key(turn, link, message)
        elif mti == "0820" and code == ECHO:
            turn.send(link, INTERBANK.pack(self._reply(message, "0830", "00")))
            # who only says that it is the switch does not take a session that has keys away from who has proved it
            if self.wanted and not (self.is_signed_on if self.link == link else self.ready):
                self.sign_on(turn, link)
        elif mti == "0820":
            turn.send(link, INTERBANK.pack(self._reply(message, "0830", "40")))
        return True

    def _answered(self, turn: Turn, link: LinkName, message: Message) -> None:
        if link != self.link or not self.wanted:
            return
        if message.get(39) == "77":
            self.is_signed_on = False
            self._fresh.clear()
            turn.timer((self.TIMER, self.switch_id), turn.now + self._retry)
        elif message.get(70) == SIGN_ON and message.get(39) == "00" and not self.is_signed_on:
            self.is_signed_on = True
            self._ask_for_keys(turn)

    def _ask_for_keys(self, turn: Turn) -> None:
        for which in (PIN_KEY, MAC_KEY):
            if which not in self._fresh:
                self._request(turn, KEY_RESET, KEY_RESET_SECURITY[which])

    def _take_key(self, turn: Turn, link: LinkName, message: Message) -> None:
        security = message.get(53)
        which = security[:1] if isinstance(security, str) else ""
        zone = turn.store.find(ZoneKeys, "zone", self.switch_id)
        if zone is None or which not in KEY_RESET_SECURITY or link != self.link:
            turn.send(link, INTERBANK.pack(self._reply(message, "0810", "30")))
            return
        key = self._import(message, zone, which)
        mac = message.get(128)
        if (
            key is None
            or not isinstance(mac, bytes)
            or not self._module.verify_key_reset_mac(key, interbank_mac_input(message), mac)
        ):
            turn.send(link, INTERBANK.pack(self._reply(message, "0810", "A0")))
            return
        turn.store.change(zone)
        zone.replace(which, self._module.block(key), turn.now)
        self._fresh.add(which)
        turn.send(link, reset_with_mac(self._reply(message, "0810", "00"), self._module, key))
        if self.ready:
            turn.note("session ready", None, member=self.switch_id, link=link)
            turn.timer((self.TIMER, self.switch_id), turn.now + ECHO_INTERVAL)

    def _import(self, message: Message, zone: ZoneKeys, which: str) -> KeyHandle | None:
        cryptogram = key_in_reset(message)
        if cryptogram is None:
            return None
        is_double = len(cryptogram) == 16
        algorithm = Algorithm.TDES_DOUBLE if is_double else Algorithm.DES
        mac_usage = KeyUsage.MAC_ALGORITHM_3 if is_double else KeyUsage.MAC_ALGORITHM_1
        usage = KeyUsage.PIN_ENCRYPTION if which == PIN_KEY else mac_usage
        try:
            return self._module.import_cryptogram(
                usage, algorithm, cryptogram, self._module.load(zone.master_key), check_value=None
            )
        except SecurityModuleError:
            return None

    def _request(self, turn: Turn, code: str, security: str | None = None) -> None:
        if self.link is None:
            return
        self._stan = self._stan % 999_999 + 1
        fields: dict[int, str | bytes] = {
            7: turn.local.strftime("%m%d%H%M%S"),
            11: f"{self._stan:06d}",
            33: self.member_id,
            70: code,
        }
        if security is not None:
            fields[53] = security
        turn.send(self.link, INTERBANK.pack(Message("0820", fields, self.header)))

    def _reply(self, request: Message, mti: str, response: str) -> Message:
        fields = {n: request[n] for n in (7, 11, 53, 70, 100) if n in request}
        fields[33] = self.member_id
        fields[39] = response
        return Message(mti, dict(sorted(fields.items())), self.header)


def key_in_reset(message: Message) -> bytes | None:
    """The encrypted key of a key reset: DE48 usage ``NK`` (32 hex digits, double length) or DE96 (single length).

    How DE48 writes the key is not confirmed by a public text [G].
    """
    element = message.get(48)
    if isinstance(element, str) and element.startswith("NK") and len(element) == 34:
        try:
            return bytes.fromhex(element[2:])
        except ValueError:
            return None
    single = message.get(96)
    return single if isinstance(single, bytes) and len(single) == 8 else None
