"""A switch driven turn by turn, with members that sign on with the real member side of network management."""

from __future__ import annotations

import itertools
from datetime import datetime
from random import Random

import sqlalchemy as sa

from network.deadlines import Deadlines
from network.iso8583 import INTERBANK, InterbankHeader, Message, interbank_mac_input
from network.iso8583.additional_data import encode_objects
from network.keys import Algorithm, KeyUsage, PinFormat, SecurityModule
from network.ledger import trial_balance
from network.member import MemberSession, OriginalData, ZoneKeys, mac_is_valid, pack_with_mac
from network.party import (
    CHINA_STANDARD_TIME,
    SECOND,
    Command,
    Instant,
    Json,
    LinkChange,
    Received,
    Turn,
    Work,
    instant_of,
    take_turn,
)
from network.store import Row, Store
from switch.configuration import Configuration
from switch.membership import add_member, add_route
from switch.party import Switch
from switch.tables import TABLES, Advice, Transaction

SWITCH_ID = "00010000"
PAN = "6212345678901232"
PREFIX = "621234"
PIN = "135790"


KEY_OVERLAP = 60_000_000


class Peer:
    """A member: its security module, its keys and its session; financial messages are left in `received`."""

    def __init__(self, member_id: str, link: str, master_key: bytes) -> None:
        self.member_id = member_id
        self.link = link
        self.module = SecurityModule(bytes(range(32)), Random(member_id))
        self.store = Store("sqlite://", (ZoneKeys,), durable=False)
        self.unit = self.store.unit_of_work()
        key = self.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, master_key)
        self.unit.insert(ZoneKeys(SWITCH_ID, key.block, None, None, None, None, 0))
        self.unit.commit()
        self.session = MemberSession(member_id, SWITCH_ID, self.module)
        self.header = InterbankHeader(destination=SWITCH_ID, source=member_id)
        self.received: list[Message] = []
        self.network_management: list[Message] = []

    @property
    def zone(self) -> ZoneKeys:
        zone = self.unit.find(ZoneKeys, "zone", SWITCH_ID)
        assert zone is not None
        return zone

    def take(self, now: Instant, body: bytes) -> list[bytes]:
        """What the member answers to a message by itself: network management only."""
        message = INTERBANK.unpack(body)
        turn = Turn(now, Random(1), self.unit, Work([], [], [], []))
        if message.mti == "0810":
            self.network_management.append(message)
            return []
        if self.session.handle(turn, self.link, message):
            self.network_management.append(message)
            self.unit.commit()
        else:
            # what left before a new key was taken is still on its way under the one before
            assert mac_is_valid(message, self.module, self.zone, now, KEY_OVERLAP)
            self.received.append(message)
        return [sent for _, sent in turn.sent]

    def sign_on(self, now: Instant) -> list[bytes]:
        turn = Turn(now, Random(1), self.unit, Work([], [], [], []))
        self.session.sign_on(turn, self.link)
        return [sent for _, sent in turn.sent]

    def lost(self) -> None:
        """The link is down."""
        turn = Turn(0, Random(1), self.unit, Work([], [], [], []))
        self.session.changed(turn, LinkChange(self.link, False), speaks_first=False)

    def sealed(self, message: Message) -> bytes:
        message.header = self.header
        return pack_with_mac(message, self.module, self.module.load(self.zone.mac_key or ""))

    def mac_is_right(self, message: Message) -> bool:
        key = self.module.load(self.zone.mac_key or "")
        return self.module.verify_interbank_mac(key, interbank_mac_input(message), message.binary(128))

    def sale(self, stan: int, amount: int = 1250, *, pan: str = PAN, pin: str | None = PIN, **changes: object) -> bytes:
        """An 0200; keywords ``de4=None`` and the like change or remove elements."""
        fields: dict[int, object] = {
            2: pan,
            3: "000000",
            4: f"{amount:012d}",
            7: "1123100000",
            11: f"{stan:06d}",
            12: "100000",
            13: "1123",
            14: "3012",
            18: "5411",
            22: "071",
            23: "001",
            25: "00",
            26: "12",
            32: self.member_id,
            33: self.member_id,
            35: f"{pan}=30122010000",
            37: f"{stan:012d}",
            41: "T0000001",
            42: "M00000000000001",
            43: "A STALL ON THE MARKET                   ",
            49: "156",
            53: "2600000000000000",
            55: bytes.fromhex("9F26080102030405060708"),
            57: "AN ELEMENT NOBODY KNOWS",
        }
        if pin is not None:
            key = self.module.load(self.zone.pin_key or "")
            fields[52] = self.module.encrypt_pin(key, pin, pan, PinFormat.ISO_0)
        return self.sealed(Message("0200", changed(fields, changes)))

    def offline_sale(self, stan: int, amount: int = 1250, *, pan: str = PAN, **changes: object) -> bytes:
        """An 0220 of a sale that the card has approved."""
        message = INTERBANK.unpack(self.sale(stan, amount, pan=pan, pin=None))
        without = {26, 53, 128}
        fields: dict[int, object] = {n: value for n, value in message.fields.items() if n not in without}
        return self.sealed(Message("0220", changed(fields, changes)))

    def code_sale(self, stan: int, code: str, amount: int = 1250, *, more: str = "", **changes: object) -> bytes:
        """An 0200 by the payer's code; `more` are further objects of DE59."""
        device, verdict = {"01": "11", "02": "phone-1"}, {"01": "1", "02": "1"}
        objects = encode_objects({"A2": device, "A3": {"01": code}, "A4": verdict}) + more
        without: dict[str, object] = {f"de{n}": None for n in (2, 14, 23, 26, 35, 53, 55)}
        return self.sale(stan, amount, pin=None, **(without | {"de22": "032", "de59": objects} | changes))

    def administrative(self, stan: int, function: str, **elements: object) -> bytes:
        """An 0600."""
        fields: dict[int, object] = {3: function, 7: "1123100000", 11: f"{stan:06d}", 33: self.member_id}
        return self.sealed(Message("0600", changed(fields, elements)))

    def reversal(self, stan: int, of: int, amount: int = 1250, **changes: object) -> bytes:
        """An 0420 of the sale with the trace number `of`."""
        original = OriginalData("0200", f"{of:06d}", "1123100000", self.member_id, self.member_id)
        fields: dict[int, object] = {
            2: PAN,
            3: "000000",
            4: f"{amount:012d}",
            7: "1123100030",
            11: f"{stan:06d}",
            12: "100000",
            13: "1123",
            18: "5411",
            22: "071",
            25: "00",
            32: self.member_id,
            33: self.member_id,
            37: f"{of:012d}",
            39: "98",
            41: "T0000001",
            42: "M00000000000001",
            49: "156",
            90: original.pack(),
        }
        return self.sealed(Message("0420", changed(fields, changes)))

    def answer(self, request: Message, code: str = "00", **changes: object) -> bytes:
        """An issuer's 0210 or 0230 to a forwarded 0200 or 0220, its 0430 to an advice, an acquirer's 0610."""
        fields: dict[int, object]
        if request.mti == "0600":
            fields = {n: request[n] for n in (2, 3, 4, 7, 11, 102, 103) if n in request}
            fields |= {33: self.member_id, 39: code, 100: self.member_id}
            return self.sealed(Message("0610", changed(fields, changes)))
        repeated = (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 37, 41, 42, 49)
        fields = {n: request[n] for n in repeated if n in request}
        fields |= {33: self.member_id, 39: code}
        if request.mti == "0200" and code == "00":
            fields |= {38: "A1B2C3", 54: "1001156C000000098750", 55: bytes.fromhex("910A0102030405060708") + b"00"}
        mti = {"0200": "0210", "0220": "0230", "0420": "0430"}[request.mti]
        return self.sealed(Message(mti, changed(fields, changes)))

    def pin_is(self, message: Message, pin: str) -> bool:
        key = self.module.load(self.zone.pin_key or "")
        pan = message.text(2)
        return message.binary(52) == self.module.encrypt_pin(key, pin, pan, PinFormat.ISO_0)


def changed(fields: dict[int, object], changes: dict[str, object]) -> dict[int, str | bytes]:
    """`fields` in order, with ``deN`` replaced, or removed where it is None."""
    fields |= {int(name.removeprefix("de")): value for name, value in changes.items()}
    return {n: v for n, v in sorted(fields.items()) if isinstance(v, str | bytes)}


class World:
    """A switch, its store, its clock and its members."""

    def __init__(self, url: str, **configuration: object) -> None:
        self.configuration = Configuration.model_validate(configuration)
        self.module = SecurityModule(bytes(32), Random(7))
        self.store = Store(url, TABLES, durable=False)
        self.unit = self.store.unit_of_work()
        self.now = instant_of(datetime(2026, 11, 23, 10, 0, 0, tzinfo=CHINA_STANDARD_TIME))
        self.random = Random(3)
        self.deadlines = Deadlines()
        self.peers: dict[str, Peer] = {}
        self.tickets = itertools.count(1)
        self.answers: dict[int, object] = {}
        self.failures: list[object] = []
        self.sent: list[tuple[str, bytes]] = []
        self.switch = Switch(self.configuration, self.module)
        self.acquirer = self.member("01020000", "member:1")
        self.issuer = self.member("03090000", "issuer:03090000")
        add_route(self.unit, prefix=PREFIX, member_id=self.issuer.member_id, now=self.now)
        self.unit.commit()
        self.start()

    def member(self, member_id: str, link: str) -> Peer:
        master_key = bytes.fromhex(f"{member_id}C1C2C4C70123456789ABCDEF")
        key = self.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, master_key)
        add_member(self.unit, self.module, member_id=member_id, name=f"Bank {member_id}", master_key=key, now=self.now)
        self.unit.commit()
        peer = self.peers[link] = Peer(member_id, link, master_key)
        return peer

    def start(self) -> None:
        turn = Turn(self.now, self.random, self.unit, Work([], [], [], []))
        self.switch.start(turn)
        self.unit.commit()
        self.deliver(turn)

    def crash(self) -> None:
        """Kill the process and start another on the same store; links are down until `sign_on`."""
        self.unit.rollback()
        self.unit = self.store.unit_of_work()
        self.deadlines = Deadlines()
        self.switch = Switch(self.configuration, self.module)
        self.start()

    def deliver(self, turn: Turn) -> None:
        for key, at in turn.timers:
            self.deadlines.set(key, at)
        for ticket, answer in turn.answers:
            self.answers[ticket] = answer
        self.sent += turn.sent

    def turn(
        self,
        *bodies: tuple[Peer, bytes],
        links: list[LinkChange] | None = None,
        commands: list[Command] | None = None,
        due: list[tuple[str, str]] | None = None,
    ) -> list[tuple[str, bytes]]:
        """One turn; returns what left the switch, undelivered."""
        inbox = [Received(peer.link, body) for peer, body in bodies]
        self.sent = []
        work = Work(links or [], inbox, commands or [], due or [])
        self.failures += take_turn(self.switch, self.now, self.random, self.unit, work, self.deliver)
        return self.sent

    def exchange(self, *bodies: tuple[Peer, bytes], links: list[LinkChange] | None = None) -> None:
        """A turn, and further ones as long as members answer network management. Financial messages stay with them."""
        sent = self.turn(*bodies, links=links)
        for _ in range(20):
            replies = [(self.peers[link], reply) for link, body in sent for reply in self.hand(link, body)]
            if not replies:
                return
            sent = self.turn(*replies)
        raise AssertionError("network management does not come to an end")

    def hand(self, link: str, body: bytes) -> list[bytes]:
        peer = self.peers.get(link)
        return [] if peer is None else peer.take(self.now, body)

    def sign_on(self, *peers: Peer) -> None:
        for peer in peers or tuple(self.peers.values()):
            peer.lost()
            if peer.link.startswith("issuer:"):
                self.exchange(links=[LinkChange(peer.link, True)])
            else:
                self.exchange(*((peer, body) for body in peer.sign_on(self.now)))
            assert peer.session.ready

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fall due in order of time."""
        end = self.now + round(seconds * SECOND)
        while (at := self.deadlines.next()) is not None and at <= end:
            self.now = max(self.now, at)
            sent = self.turn(due=self.deadlines.pop_due(self.now, 1024))
            replies = [(self.peers[link], reply) for link, body in sent for reply in self.hand(link, body)]
            self.exchange(*replies)
        self.now = end

    def command(self, name: str, /, **arguments: Json) -> object:
        ticket = next(self.tickets)
        sent = self.turn(commands=[Command(name, arguments, ticket)])
        replies = [(self.peers[link], reply) for link, body in sent for reply in self.hand(link, body)]
        self.exchange(*replies)
        return self.answers[ticket]

    def taken(self, peer: Peer) -> list[Message]:
        """What the member received since it was last asked; its MACs were right when it came."""
        messages, peer.received = peer.received, []
        for message in messages:
            assert isinstance(message.header, InterbankHeader)
            assert (message.header.source, message.header.destination) == (SWITCH_ID, peer.member_id)
        return messages

    def ask(self, peer: Peer, body: bytes) -> Message:
        """The switch's only answer to a member's request, at once."""
        self.exchange((peer, body))
        (reply,) = self.taken(peer)
        return reply

    def token(self, stan: int = 900_001, domains: str = "contactless,code", pan: str = PAN) -> str:
        """A token made for the issuer."""
        body = self.issuer.administrative(stan, "910000", de2=pan, de14="3012", de48=domains)
        reply = self.ask(self.issuer, body)
        assert reply[39] == "00"
        return reply.text(103)

    def code(self, token: str, stan: int) -> str:
        """A payer's code of digits made for the issuer."""
        reply = self.ask(self.issuer, self.issuer.administrative(stan, "930000", de103=token))
        assert reply[39] == "00"
        return reply.text(102)

    def rows(self, row: type[Row]) -> list[sa.Row[tuple[object, ...]]]:
        """All rows of a table."""
        with self.store.read() as connection:
            return list(connection.execute(sa.select(self.store.tables[row])))

    def transactions(self) -> list[sa.Row[tuple[object, ...]]]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(self.store.tables[Transaction])))

    def advices(self) -> list[sa.Row[tuple[object, ...]]]:
        with self.store.read() as connection:
            return list(connection.execute(sa.select(self.store.tables[Advice])))

    def positions(self) -> tuple[int, int]:
        """What the network owes the acquirer and the issuer, in fen, from books that are proved."""
        balance = trial_balance(self.store)
        assert balance.imbalance == 0
        found = {position.account_id: position.balance for position in balance.positions}
        return found[f"member:{self.acquirer.member_id}"], found[f"member:{self.issuer.member_id}"]
