"""A merchant device driven turn by turn, between scripted cards, PIN pads and an acquirer that keeps its own books.

The acquirer's end stands on the terminal dialect and a security module of its own; it shares nothing with the package
`acquirer`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random

from merchant_device.configuration import Configuration
from merchant_device.context import MakeRoom
from merchant_device.installation import install_terminal
from merchant_device.party import MerchantDevice
from merchant_device.tables import TABLES, Phone, Sale
from network.deadlines import Deadlines
from network.emv import tlv
from network.iso8583 import TERMINAL, Message
from network.keys import Algorithm, KeyHandle, KeyUsage, MacAlgorithm, PinFormat, SecurityModule
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
from network.store import Store, UnitOfWork

TERMINAL_ID = "10000001"
MERCHANT_ID = "104110000000001"
TMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
PAN = "6228000100001000"
TRACK2 = f"{PAN}=30122200000000"
PIN = b"135790"
ARPC = bytes.fromhex("1122334455667788") + b"00"
START = instant_of(datetime(2026, 1, 2, 10, 0, tzinfo=CHINA_STANDARD_TIME))

_PDOL = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")
_AID = bytes.fromhex("A000000333010101")


class ScriptedCard:
    """A QuickPass card with a fixed cryptogram; what it does is set by its attributes."""

    def __init__(
        self, pan: str = PAN, *, pin: bool = True, checks: bytes = b"\x90\x00", leaves_after: int = 99
    ) -> None:
        track2 = f"{pan}=30122200000000"
        self.checks = checks
        self.leaves_after = leaves_after
        self.decision = 0x20
        self.commands: list[bytes] = []
        self.options = {
            "82": b"\x1c\x00",
            "9F36": b"\x00\x05",
            "57": bytes.fromhex(track2.replace("=", "D") + ("F" if len(track2) % 2 else "")),
            "9F26": bytes.fromhex("A1A2A3A4A5A6A7A8"),
            "5F34": b"\x01",
            "9F6C": b"\x80\x00" if pin else b"\x00\x00",
        }

    def transmit(self, apdu: bytes) -> bytes:
        """Answer a command; empty when the card has left the field."""
        self.commands.append(apdu)
        if len(self.commands) > self.leaves_after:
            return b""
        if apdu[1] == 0xA4 and apdu[5 : 5 + apdu[4]] == b"2PAY.SYS.DDF01":
            entry = tlv.encode("61", tlv.encode("4F", _AID) + tlv.encode("87", b"\x01"))
            return _fci(b"2PAY.SYS.DDF01", tlv.encode("BF0C", entry))
        if apdu[1] == 0xA4:
            return _fci(_AID, tlv.encode("9F38", _PDOL))
        if apdu[1] == 0xA8:
            iad = bytes((0x07, 0x01, 0x01, 0x03, 0x80 | self.decision, 0x00, 0x00, 0x01))
            return tlv.encode("77", tlv.encode_all({**self.options, "9F10": iad})) + b"\x90\x00"
        if apdu[1] == 0x82:
            return self.checks
        return b"\x6d\x00"


def _fci(name: bytes, proprietary: bytes) -> bytes:
    return tlv.encode("6F", tlv.encode("84", name) + tlv.encode("A5", proprietary)) + b"\x90\x00"


def typed(request: bytes, pin: bytes) -> bytes:
    """What a PIN pad answers to `request` when `pin` is typed on it, or the entry cancelled (empty)."""
    asked = json.loads(request)
    if not pin:
        return json.dumps({"entry": asked["entry"], "cancelled": True}).encode()
    positions = [asked["layout"].index(digit) for digit in pin.decode()]
    return json.dumps({"entry": asked["entry"], "positions": positions}).encode()


class ScriptedAcquirer:
    """Signs terminals on, answers sales with `code`, and keeps what it has been asked to pay and to reverse.

    `paid` holds the state of each sale by (terminal, batch, STAN): ``paid``, ``declined``, ``reversed`` or, where
    the reversal came first, ``dead``. `told` holds the offline sales it knows of: their chip data by identity.
    `code_without_pin` is the answer to sales without a PIN, where that is another.
    """

    def __init__(self, tmk: bytes = TMK, seed: int = 1) -> None:
        self.module = SecurityModule(bytes(range(32)), Random(seed))
        self.tmk = self.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, tmk)
        self.keys: dict[str, tuple[KeyHandle, KeyHandle]] = {}
        self.requests: list[Message] = []
        self.paid: dict[tuple[str, str, str], str] = {}
        self.answers: dict[bytes, bytes] = {}
        self.told: dict[tuple[str, str, str], bytes] = {}
        self.code = "00"
        self.code_without_pin: str | None = None
        self.upload_code = "00"
        self.reversal_code: str | None = None
        self.sign_on_code = "00"
        self.silent: set[str] = set()
        self.change: Callable[[Message], None] = lambda message: None
        self.spoil_mac = False

    def take(self, body: bytes) -> bytes | None:
        """The answer to a message, None when there is none."""
        request = TERMINAL.unpack(body)
        self.requests.append(request)
        if request.mti in self.silent:
            return None
        if request.mti == "0800":
            return self._sign_on(request)
        if request.mti == "0820":
            return TERMINAL.pack(self._reply(request, "0830", "00"))
        return self._financial(request, body)

    def pin_of(self, request: Message) -> bool:
        """Whether the request carries the PIN that was typed."""
        block = self.module.encrypt_pin(self.keys[request.text(41)][0], PIN.decode(), PAN, PinFormat.ISO_0)
        return request.binary(52) == block

    def _sign_on(self, request: Message) -> bytes:
        reply = self._reply(request, "0810", self.sign_on_code)
        if self.sign_on_code == "00":
            generate, load = self.module.generate, self.module.load
            pik = load(generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE))
            mak = load(generate(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES))
            self.keys[request.text(41)] = (pik, mak)
            reply[62] = self.module.make_de62(self.tmk, pik, mak)
        self.change(reply)
        return TERMINAL.pack(reply)

    def _financial(self, request: Message, body: bytes) -> bytes | None:
        keys = self.keys.get(request.text(41))
        reply_mti = {"0200": "0210", "0400": "0410", "0220": "0230"}[request.mti]
        if keys is None:
            return TERMINAL.pack(self._reply(request, reply_mti, "77"))
        if not self.module.verify_mac(keys[1], MacAlgorithm.CUP_ECB, body[11:-8], body[-8:]):
            return self._sealed(self._reply(request, reply_mti, "A0"), keys[1])
        if body in self.answers:
            return self.answers[body]
        identity = (request.text(41), request.text(60)[2:8], request.text(11))
        state = self.paid.get(identity)
        if reply_mti == "0210":
            code = self._decide_sale(request, identity, state)
        elif reply_mti == "0410":
            code = self._reverse(identity, state)
        else:
            code = self._record(request, identity)
        reply = self._reply(request, reply_mti, code)
        if reply_mti == "0210" and code == "00":
            reply[38] = "A" + request.text(11)[1:]
            reply[54] = "1001156C0000000200001002156C000000019876"
            reply[55] = tlv.encode("91", ARPC)
        self.change(reply)
        answer = self._sealed(reply, keys[1])
        if code != "96" and reply_mti != "0230":
            self.answers[body] = answer
        return answer

    def _decide_sale(self, request: Message, identity: tuple[str, str, str], state: str | None) -> str:
        if state is not None:
            return "25" if state == "dead" else "94"
        code = self.code
        if self.code_without_pin is not None and 52 not in request:
            code = self.code_without_pin
        if request.text(3) == "000000":
            self.paid[identity] = "paid" if code == "00" else "declined"
        return code

    def _record(self, request: Message, identity: tuple[str, str, str]) -> str:
        """An offline sale: known by what the card signed, however often it is told."""
        if self.upload_code == "00":
            assert self.told.setdefault(identity, request.binary(55)) == request.binary(55)
        return self.upload_code

    def _reverse(self, identity: tuple[str, str, str], state: str | None) -> str:
        if self.reversal_code is not None:
            return self.reversal_code
        self.paid[identity] = "dead" if state in (None, "dead") else "reversed"
        return "25" if state in (None, "dead") else "00"

    def _reply(self, request: Message, mti: str, code: str) -> Message:
        fields = {n: request[n] for n in (2, 3, 4, 11, 23, 25, 41, 42, 49, 60) if n in request}
        fields |= {12: "100000", 13: "0102", 32: "12345678", 37: "600210" + request.text(11), 39: code}
        assert request.header is not None
        return Message(mti, fields, request.header.reply("0"))  # type: ignore[attr-defined]

    def _sealed(self, message: Message, mak: KeyHandle) -> bytes:
        fields = message.fields
        fields[64] = bytes(8)
        message.fields = dict(sorted(fields.items()))
        packed = TERMINAL.pack(message)
        mac = self.module.mac(mak, MacAlgorithm.CUP_ECB, packed[11:-8])
        return packed[:-8] + (b"00000000" if self.spoil_mac else mac)


class Bed:
    """The device with everything at the ends of its links; `settle` lets messages travel until all is quiet."""

    def __init__(
        self,
        url: str = "sqlite://",
        *,
        terminals: Sequence[str] = (TERMINAL_ID,),
        configuration: Configuration | None = None,
        seed: int = 7,
        up: bool = True,
        rooms: Sequence[MakeRoom] = (),
    ) -> None:
        self.rooms = rooms
        self.configuration = configuration or Configuration()
        self.random = Random(seed)
        self.module = SecurityModule(bytes(range(1, 33)), Random(seed))
        self.store = Store(url, TABLES, durable=False)
        self.unit: UnitOfWork = self.store.unit_of_work()
        self.now: Instant = START
        tmk = self.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, TMK)
        for terminal_id in terminals:
            install_terminal(self.unit, self.module, terminal_id, MERCHANT_ID, tmk)
        self.unit.commit()
        self.terminals = terminals
        self.acquirer = ScriptedAcquirer()
        self.cards: dict[str, ScriptedCard | None] = {one: ScriptedCard() for one in terminals}
        self.pins: dict[str, bytes | None] = dict.fromkeys(terminals, PIN)
        self.pad_requests: list[bytes] = []
        self.shown: list[dict[str, Json]] = []
        self.held: set[str] = set()
        self.sent: deque[tuple[str, bytes]] = deque()
        self.trace: list[tuple[str, bytes]] = []
        self.answers: dict[int, Json | CommandError] = {}
        self.failures: list[Failure] = []
        self.tickets = 0
        self.restart(up=up)

    def restart(self, *, up: bool = True) -> None:
        """A new process on the same store: what was under way is lost."""
        self.unit = self.store.unit_of_work()
        self.work = Work([], [], [], [])
        self.sent.clear()
        self.deadlines = Deadlines()
        self.device = MerchantDevice(self.configuration, self.module, self.rooms)
        turn = Turn(self.now, self.random, self.unit, self.work)
        self.device.start(turn)
        self.unit.commit()
        self._deliver(turn)
        if up:
            self.links(True)

    def links(self, up: bool) -> None:
        """The links to the acquirer come up or break."""
        self.work.link_changes += [LinkChange(f"acquirer:{one}", up) for one in self.terminals]
        self.step()

    def command(self, name: str, terminal: str = TERMINAL_ID, **arguments: Json) -> int:
        """Give a command; it is decided in the next turn."""
        self.tickets += 1
        self.work.commands.append(Command(name, {"terminal": terminal, **arguments}, self.tickets))
        return self.tickets

    def receive(self, link: str, body: bytes) -> None:
        """Something arrives; it is decided in the next turn."""
        self.work.inbox.append(Received(link, body))

    def step(self) -> None:
        """One turn over what has arrived and is due."""
        work, self.work = self.work, Work([], [], [], [])
        work.due += self.deadlines.pop_due(self.now, 1024)
        if len(work):
            self.failures += take_turn(self.device, self.now, self.random, self.unit, work, self._deliver)

    def settle(self) -> None:
        """Let messages travel, a millisecond each way, until nothing moves but what is held."""
        for _ in range(200):
            waiting = list(self.sent)
            self.sent.clear()
            for link, body in waiting:
                kind, _, terminal = link.partition(":")
                if kind in self.held:
                    self.sent.append((link, body))
                    continue
                answer = self.answer_of(kind, terminal, body)
                if answer is not None:
                    self.receive(link, answer)
            self.now += 1000
            due = self.deadlines.next()
            if not len(self.work) and (due is None or due > self.now):
                return
            self.step()
        raise AssertionError("the device and its surroundings do not come to rest")

    def answer_of(self, kind: str, terminal: str, body: bytes) -> bytes | None:
        """What stands at the end of the link answers."""
        if kind == "acquirer":
            return self.acquirer.take(body)
        if kind == "pinpad":
            self.pad_requests.append(body)
            pin = self.pins[terminal]
            return None if pin is None or b'"close"' in body else typed(body, pin)
        if kind == "display":
            self.shown.append(json.loads(body))
            return None
        card = self.cards[terminal]
        return None if card is None else card.transmit(body)

    def pass_time(self, seconds: float) -> None:
        """Time passes, timer by timer."""
        until = self.now + round(seconds * SECOND)
        while (at := self.deadlines.next()) is not None and at <= until:
            self.now = max(self.now, at)
            self.step()
            self.settle()
        self.now = max(self.now, until)

    def ask(self, name: str, terminal: str = TERMINAL_ID, **arguments: Json) -> dict[str, Json]:
        """Give a command, settle, and give its answer."""
        ticket = self.command(name, terminal, **arguments)
        self.step()
        self.settle()
        return self.answer(ticket)

    def answer(self, ticket: int) -> dict[str, Json]:
        """The answer to a command, which must be there and no error."""
        answer = self.answers[ticket]
        assert isinstance(answer, dict), answer
        return answer

    def sales(self) -> list[Sale]:
        """All sales as committed, in the order of their keys."""
        unit = self.store.unit_of_work()
        found: list[Sale] = []
        for status in ("pending", "approved", "declined", "reversing", "reversed", "offline"):
            found += unit.scan(Sale, "status", status, 100_000)
        return sorted(found, key=lambda sale: sale.reference)

    def phone(self, terminal: str = TERMINAL_ID) -> Phone:
        """A phone as committed."""
        phone = self.store.unit_of_work().find(Phone, "terminal_id", terminal)
        assert phone is not None
        return phone

    def mtis(self) -> list[str]:
        """The types of the messages the acquirer has got, in order."""
        return [request.mti for request in self.acquirer.requests]

    def _deliver(self, turn: Turn) -> None:
        for key, at in turn.timers:
            self.deadlines.set(key, at)
        self.sent.extend(turn.sent)
        self.trace.extend(turn.sent)
        for ticket, result in turn.answers:
            assert ticket not in self.answers, "a command was answered twice"
            self.answers[ticket] = result
