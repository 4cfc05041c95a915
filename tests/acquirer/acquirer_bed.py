"""An acquirer driven turn by turn, with terminals and a switch that answer as the tests tell them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

import sqlalchemy as sa

from acquirer.configuration import Configuration
from acquirer.enrolment import add_merchant, add_terminal, join_network
from acquirer.party import Acquirer
from acquirer.tables import TABLES, Advice, Transaction
from network.deadlines import Deadlines
from network.iso8583 import INTERBANK, TERMINAL, InterbankHeader, Message, TerminalHeader, interbank_mac_input
from network.iso8583.message import Value
from network.keys import Algorithm, KeyHandle, KeyUsage, MacAlgorithm, PinFormat, SecurityModule, TerminalKeys
from network.ledger import trial_balance
from network.member import NO_MAC, pack_with_mac, reset_with_mac
from network.party import (
    CHINA_STANDARD_TIME,
    SECOND,
    Command,
    CommandError,
    Failure,
    Instant,
    Json,
    LinkChange,
    Received,
    Turn,
    Work,
    instant_of,
    take_turn,
)
from network.store import Store

ACQUIRER_ID = "48020000"
SWITCH_ID = "00010000"
ISSUER_ID = "03090000"
MERCHANT = "104110045110012"
OTHER_MERCHANT = "104110045110013"
PAN = "6212345678901232"
EXPIRY = "3012"
PIN = "135790"
ZMK = bytes(range(0x30, 0x40))
START = instant_of(datetime(2025, 11, 23, 10, 0, 0, tzinfo=CHINA_STANDARD_TIME))


@dataclass
class Terminal:
    """A terminal: it knows its master key, and after a sign-on its working keys."""

    terminal_id: str
    link: str
    tmk: bytes = bytes(range(0x50, 0x60))
    merchant_id: str = MERCHANT
    mac_algorithm: MacAlgorithm = MacAlgorithm.CUP_ECB
    batch: str = "000007"
    module: SecurityModule = field(default_factory=lambda: SecurityModule(bytes(32), Random(7)))
    keys: TerminalKeys | None = None
    stan: int = 0

    @property
    def master_key(self) -> KeyHandle:
        algorithm = Algorithm.TDES_DOUBLE if len(self.tmk) == 16 else Algorithm.DES
        return self.module.import_clear(KeyUsage.KEY_ENCRYPTION, algorithm, self.tmk)

    def next_stan(self) -> str:
        self.stan += 1
        return f"{self.stan:06d}"

    def management(self, mti: str, code: str, **changes: Value | None) -> bytes:
        fields: dict[int, Value] = {
            11: self.next_stan(),
            41: self.terminal_id,
            42: self.merchant_id,
            60: f"00{self.batch}{code}",
            63: "01 ",
        }
        return TERMINAL.pack(Message(mti, changed(fields, changes), TerminalHeader(bytes.fromhex("6000030017"))))

    def take_keys(self, reply: Message) -> None:
        self.keys = self.module.read_de62(self.master_key, reply.binary(62))

    def sealed(self, message: Message) -> bytes:
        """Pack with DE64 under the terminal's MAC key."""
        assert self.keys is not None
        message.fields[64] = NO_MAC
        message.fields = dict(sorted(message.fields.items()))
        if message.header is None:
            message.header = TerminalHeader(bytes.fromhex("6000030017"), "603100310100")
        packed = TERMINAL.pack(message)[:-8]
        return packed + self.module.mac(self.keys.mak, self.mac_algorithm, packed[11:])

    def pin_block(self, pin: str, pan: str, pin_format: PinFormat = PinFormat.ISO_0) -> bytes:
        assert self.keys is not None
        return self.module.encrypt_pin(self.keys.pik, pin, pan, pin_format)

    def sale_message(
        self, amount: int = 1250, *, pin: str | None = PIN, pan: str = PAN, **changes: Value | None
    ) -> Message:
        fields: dict[int, Value] = {
            2: pan,
            3: "000000",
            4: f"{amount:012d}",
            11: self.next_stan(),
            14: EXPIRY,
            22: "071" if pin else "072",
            23: "001",
            25: "00",
            35: f"{pan}={EXPIRY}2010000",
            41: self.terminal_id,
            42: self.merchant_id,
            49: "156",
            55: bytes.fromhex("9F26080102030405060708"),
            60: f"22{self.batch}00060",
        }
        if pin:
            fields |= {26: "12", 52: self.pin_block(pin, pan), 53: "2600000000000000"}
        return Message("0200", changed(fields, changes))

    def sale(self, amount: int = 1250, **changes: Value | None) -> bytes:
        return self.sealed(self.sale_message(amount, **changes))  # type: ignore[arg-type]

    def balance(self, **changes: Value | None) -> bytes:
        message = self.sale_message(**{"de3": "310000", "de4": None, "de60": f"01{self.batch}00060", **changes})  # type: ignore[arg-type]
        return self.sealed(message)

    def reversal(self, stan: str, amount: int = 1250, **changes: Value | None) -> bytes:
        fields: dict[int, Value] = {
            2: PAN,
            3: "000000",
            4: f"{amount:012d}",
            11: stan,
            14: EXPIRY,
            22: "071",
            23: "001",
            25: "00",
            39: "98",
            41: self.terminal_id,
            42: self.merchant_id,
            49: "156",
            60: f"22{self.batch}00060",
            61: f"{self.batch}{stan}1123",
        }
        return self.sealed(Message("0400", changed(fields, changes)))

    def mac_is_right(self, body: bytes) -> bool:
        assert self.keys is not None
        return self.module.verify_mac(self.keys.mak, self.mac_algorithm, body[11:-8], body[-8:])


class SwitchPeer:
    """The switch's end: gives keys at sign-on, and keeps what it was sent."""

    def __init__(self) -> None:
        self.module = SecurityModule(bytes(range(32)), Random(3))
        self.master_key = self.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, ZMK)
        self.keys: dict[str, KeyHandle] = {}
        self.received: list[Message] = []
        self.sign_ons = 0
        self.header = InterbankHeader(destination=ACQUIRER_ID, source=SWITCH_ID)
        self.stan = 0

    def take(self, body: bytes) -> list[bytes]:
        """Answer network management; keep the rest after checking its MAC."""
        message = INTERBANK.unpack(body)
        if message.mti == "0810":
            return []
        if message.mti != "0820":
            assert self.mac_is_right(message), "the acquirer sent a wrong DE128"
            self.received.append(message)
            return []
        self.sign_ons += message.fields.get(70) == "001"
        answer = {n: message.fields[n] for n in (7, 11, 53, 70) if n in message.fields} | {33: SWITCH_ID, 39: "00"}
        replies = [INTERBANK.pack(Message("0830", dict(sorted(answer.items())), self.header))]
        if message.fields.get(70) == "101":
            replies.append(self._reset(message.text(53)[:1]))
        return replies

    def _reset(self, which: str) -> bytes:
        usage = KeyUsage.PIN_ENCRYPTION if which == "1" else KeyUsage.MAC_ALGORITHM_3
        key = self.module.load(self.module.generate(usage, Algorithm.TDES_DOUBLE))
        self.keys[which] = key
        self.stan += 1
        fields: dict[int, Value] = {
            7: "1123100000",
            11: f"{self.stan:06d}",
            33: SWITCH_ID,
            48: "NK" + self.module.export_cryptogram(key, self.master_key).hex().upper(),
            53: f"{which}600000000000000",
            70: "101",
            100: ACQUIRER_ID,
        }
        return reset_with_mac(Message("0800", fields, self.header), self.module, key)

    def mac_is_right(self, message: Message) -> bool:
        return self.module.verify_interbank_mac(self.keys["2"], interbank_mac_input(message), message.binary(128))

    def pin_of(self, message: Message, pin: str) -> bool:
        """Whether DE52 holds `pin` under the zone's PIN key, in the format with PAN."""
        block = self.module.encrypt_pin(self.keys["1"], pin, message.text(2), PinFormat.ISO_0)
        return block == message.binary(52)

    def answer(self, request: Message, code: str = "00", **changes: Value | None) -> bytes:
        """An 0210, 0430 or 0230 to what the acquirer sent."""
        advice = request.mti == "0420"
        kept = (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 33, 37, 41, 42, 49)
        fields = {n: request.fields[n] for n in kept if n in request.fields}
        fields |= {15: "1123", 39: code, 100: ISSUER_ID}
        if code == "00" and not advice:
            fields |= {38: "A1B2C3", 55: bytes.fromhex("910AAABBCCDDEEFF00113030")}
        mti = {"0420": "0430", "0220": "0230"}.get(request.mti, "0210")
        message = Message(mti, dict(sorted(changed(fields, changes).items())), self.header)
        return pack_with_mac(message, self.module, self.keys["2"])


class Bed:
    """The acquirer with its store, its clock and its timers."""

    def __init__(self, store: Store | str, terminals: Iterable[Terminal] = (), **configuration: object) -> None:
        self.configuration = Configuration(**configuration)  # type: ignore[arg-type]
        self.now: Instant = START
        self.switch = SwitchPeer()
        self.failures: list[Failure] = []
        self.answers: dict[int, Json | CommandError] = {}
        self.store = Store(store, TABLES, durable=False) if isinstance(store, str) else store
        self.unit = self.store.unit_of_work()
        self.tickets = 0
        self.terminals = list(terminals) or [Terminal("T0000001", "terminal:1")]
        module = self._module()
        master_key = module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, ZMK)
        join_network(self.unit, module, switch_id=SWITCH_ID, master_key=master_key, now=self.now)
        for merchant_id, name in ((MERCHANT, "王记水果摊"), (OTHER_MERCHANT, "Tea House")):
            add_merchant(
                self.unit, merchant_id=merchant_id, name=name, city="北京 Beijing", category="5411", now=self.now
            )
        for terminal in self.terminals:
            algorithm = Algorithm.TDES_DOUBLE if len(terminal.tmk) == 16 else Algorithm.DES
            add_terminal(
                self.unit,
                module,
                terminal_id=terminal.terminal_id,
                merchant_id=terminal.merchant_id,
                master_key=module.import_clear(KeyUsage.KEY_ENCRYPTION, algorithm, terminal.tmk),
                mac_algorithm=terminal.mac_algorithm,
                now=self.now,
            )
        self.unit.commit()
        self.restart()

    @staticmethod
    def _module() -> SecurityModule:
        return SecurityModule(bytes(range(100, 132)), Random(11))

    def restart(self) -> None:
        """The process dies and a new one starts on what was committed; every link is down."""
        self.unit.rollback()
        self.party = Acquirer(self.configuration, self._module())
        self.unit = self.store.unit_of_work()
        self.deadlines = Deadlines()
        turn = Turn(self.now, Random(1), self.unit, Work([], [], [], []))
        self.party.start(turn)
        self.unit.commit()
        self._deliver(turn)

    def _deliver(self, turn: Turn) -> list[tuple[str, bytes]]:
        for key, at in turn.timers:
            self.deadlines.set(key, at)
        self.answers.update(turn.answers)
        return turn.sent

    def take(self, work: Work) -> list[tuple[str, bytes]]:
        """One turn; what it sent."""
        sent: list[tuple[str, bytes]] = []
        self.failures += take_turn(
            self.party, self.now, Random(1), self.unit, work, lambda turn: sent.extend(self._deliver(turn))
        )
        return sent

    def messages(self, *received: tuple[str, bytes]) -> list[tuple[str, bytes]]:
        return self.take(Work([], [Received(*one) for one in received], [], []))

    def connect(self) -> None:
        """Bring the link to the switch up and let the member session finish."""
        sent = self.take(Work([LinkChange("switch", True)], [], [], []))
        self.pump(sent)
        assert self.party.session.ready

    def disconnect(self) -> None:
        self.take(Work([LinkChange("switch", False)], [], [], []))

    def pump(self, sent: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Carry messages to the switch and its own answers back until nothing moves; what else was sent."""
        others: list[tuple[str, bytes]] = []
        while sent:
            replies: list[bytes] = []
            for link, body in sent:
                if link == "switch":
                    replies += self.switch.take(body)
                else:
                    others.append((link, body))
            sent = self.messages(*[("switch", body) for body in replies]) if replies else []
        return others

    def ask(self, terminal: Terminal, *bodies: bytes) -> list[Message]:
        """Send from a terminal in one turn; what came back to it, unpacked, with DE64 checked where it has one."""
        replies = self.pump(self.messages(*[(terminal.link, body) for body in bodies]))
        return [self.read(terminal, body) for link, body in replies if link == terminal.link]

    def answer(self, *bodies: bytes) -> list[tuple[str, bytes]]:
        """The switch sends; what went to terminals."""
        return self.pump(self.messages(*[("switch", body) for body in bodies]))

    def read(self, terminal: Terminal, body: bytes) -> Message:
        message = TERMINAL.unpack(body)
        if 64 in message.fields:
            assert terminal.mac_is_right(body), "the acquirer sent a wrong DE64"
        return message

    def sign_on(self, terminal: Terminal, code: str = "003") -> Message:
        (reply,) = self.ask(terminal, terminal.management("0800", code))
        if reply.fields[39] == "00":
            terminal.take_keys(reply)
        return reply

    def pay(self, terminal: Terminal, body: bytes, code: str = "00") -> Message:
        """A sale from end to end."""
        assert self.ask(terminal, body) == []
        ((link, reply),) = self.answer(self.switch.answer(self.switch.received[-1], code))
        assert link == terminal.link
        return self.read(terminal, reply)

    def wait(self, seconds: float) -> list[tuple[str, bytes]]:
        """Time passes; what went to terminals. Timers fall due one turn at a time."""
        end = self.now + round(seconds * SECOND)
        others: list[tuple[str, bytes]] = []
        while (at := self.deadlines.next()) is not None and at <= end:
            self.now = max(self.now, at)
            others += self.pump(self.take(Work([], [], [], self.deadlines.pop_due(self.now, 1024))))
        self.now = end
        return others

    def command(self, name: str, /, **arguments: Json) -> Json | CommandError | None:
        """Give a command and let the switch answer; None while it is not answered."""
        self.tickets += 1
        self.pump(self.take(Work([], [], [Command(name, arguments, self.tickets)], [])))
        return self.answers.get(self.tickets)

    def rows(self) -> list[Transaction]:
        with self.store.read() as connection:
            table = self.store.tables[Transaction]
            return [Transaction(**row._mapping) for row in connection.execute(sa.select(table).order_by("reference"))]

    def advices(self) -> list[Advice]:
        with self.store.read() as connection:
            table = self.store.tables[Advice]
            return [Advice(**row._mapping) for row in connection.execute(sa.select(table).order_by("reference"))]

    def balances(self) -> dict[str, int]:
        """Accounts that are not zero; the books are proved on the way."""
        books = trial_balance(self.store)
        assert books.imbalance == 0
        return {position.account_id: position.balance for position in books.positions if position.balance}


def changed(fields: dict[int, Value], changes: dict[str, Value | None]) -> dict[int, Value]:
    """`fields` with ``de4="..."`` put in and ``de4=None`` taken out."""
    for name, value in changes.items():
        element = int(name.removeprefix("de"))
        if value is None:
            fields.pop(element, None)
        else:
            fields[element] = value
    return fields
