"""A payment terminal written from the public description of the terminal link alone.

Nothing of the packages under test is used: messages come from `pyiso8583`, PIN blocks from `psec`, BER-TLV from
`pyemv`. `test_independent_terminal` proves what is written here on published vectors.
"""

from __future__ import annotations

import copy
import itertools
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import iso8583
from independent_card import CHINA, OutsideCard, Tap, check_value, cup_ecb, des
from iso8583.specs import default
from psec.pinblock import encode_pinblock_iso_0
from pyemv import tlv

ANSWER_SECONDS: Final = 15.0
HEADER_BYTES: Final = 11
"""TPDU and head, which the MAC does not cover."""


def _digits(length: int, prefix: int = 0, *, pad: str = "right_pad") -> dict[str, Any]:
    entry: dict[str, Any] = {"data_enc": "b", "len_enc": "bcd", "len_type": prefix, "max_len": length, "desc": ""}
    return {**entry, "len_count": "nibbles", pad: "0"}


def _text(length: int, prefix: int = 0, encoding: str = "ascii") -> dict[str, Any]:
    return {"data_enc": encoding, "len_enc": "bcd", "len_type": prefix, "max_len": length, "desc": ""}


def _specification() -> dict[str, dict[str, Any]]:
    specification = copy.deepcopy(default)
    specification["h"] = _text(HEADER_BYTES, encoding="b")
    specification["t"] = _digits(4)
    lengths = {3: 6, 4: 12, 11: 6, 12: 6, 13: 4, 14: 4, 15: 4, 22: 3, 25: 2, 26: 2, 53: 16}
    specification |= {str(element): _digits(length) for element, length in lengths.items()}
    specification["23"] = _digits(3, pad="left_pad")
    specification |= {"2": _digits(19, 1), "32": _digits(11, 1), "35": _digits(37, 1), "36": _digits(104, 2)}
    specification |= {"60": _digits(999, 2), "61": _digits(999, 2)}
    texts = {37: 12, 38: 6, 39: 2, 41: 8, 42: 15, 49: 3, 64: 8}
    specification |= {str(element): _text(length) for element, length in texts.items()}
    specification |= {"44": _text(25, 1, "gbk"), "48": _text(322, 2), "54": _text(999, 2), "63": _text(999, 2, "gbk")}
    specification |= {"52": _text(8, encoding="b"), "55": _text(255, 2, "b"), "62": _text(999, 2, "b")}
    return specification


SPECIFICATION: Final = _specification()
"""The terminal link's elements for pyiso8583; odd digits padded with 0."""

F_PADDED: Final = copy.deepcopy(SPECIFICATION)
"""The same with F, which occurs in the wild."""
for _entry in F_PADDED.values():
    for _side in ("left_pad", "right_pad"):
        if _side in _entry:
            _entry[_side] = "F"


@dataclass(frozen=True)
class Reply:
    """An answer from the acquirer as it came, and decoded."""

    body: bytes
    fields: dict[str, str] = field(repr=False)

    @classmethod
    def decode(cls, body: bytes) -> Reply:
        return cls(body, iso8583.decode(body, SPECIFICATION)[0])

    def __getitem__(self, element: int) -> str:
        return self.fields[str(element)]

    def __contains__(self, element: int) -> bool:
        return str(element) in self.fields

    @property
    def mti(self) -> str:
        return self.fields["t"]

    @property
    def code(self) -> str:
        return self[39]

    @property
    def chip_data(self) -> dict[str, bytes]:
        return dict(tlv.decode(bytes.fromhex(self[55]), flatten=True, convert=lambda _, value: bytes(value)))

    @property
    def balances(self) -> dict[str, int]:
        """Amount type to fen, of DE54."""
        text = self[54]
        assert text
        assert len(text) % 20 == 0
        found = {}
        for start in range(0, len(text), 20):
            part = text[start : start + 20]
            assert part[4:7] == "156"
            found[part[2:4]] = int(part[8:]) * {"C": 1, "D": -1}[part[7]]
        return found


@dataclass(frozen=True)
class Request:
    """A message as sent, and what it was made of."""

    body: bytes = field(repr=False)
    fields: dict[str, str] = field(repr=False)
    tap: Tap | None = None

    @property
    def stan(self) -> str:
        return self.fields["11"]


DOWNLOADS: Final = {
    24: [(0, 8, 8), (12, 8, 20)],
    40: [(0, 16, 16), (20, 8, 36)],
    60: [(0, 16, 16), (20, 8, 36), (40, 16, 56)],
}
"""By the length of DE62: where each key is, how long, and where its check value is."""


@dataclass(frozen=True)
class WorkingKeys:
    """What DE62 of an 0810 brings."""

    pik: bytes = field(repr=False)
    mak: bytes = field(repr=False)
    tdk: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_de62(cls, tmk: bytes, download: bytes) -> WorkingKeys:
        """Decrypt under the terminal master key and prove every check value."""
        assert len(download) in DOWNLOADS, f"DE62 has {len(download)} bytes, not 24, 40 or 60"
        keys = []
        for start, length, check in DOWNLOADS[len(download)]:
            key = des(tmk, download[start : start + length], decrypt=True)
            assert check_value(key) == download[check : check + 4], f"check value at byte {check} of DE62 is wrong"
            keys.append(key)
        return cls(*keys)


class OutsideTerminal:
    """A conventional terminal: one TCP link, working keys once signed on, traces counted up."""

    def __init__(self, address: str, terminal_id: str, merchant_id: str, tmk: str) -> None:
        host, _, port = address.rpartition(":")
        self.address = (host.removeprefix("tcp://"), int(port))
        self.terminal_id = terminal_id
        self.merchant_id = merchant_id
        self.tmk = bytes.fromhex(tmk)
        self.tpdu = "6000030000"
        self.head = "603100310000"
        self.specification = SPECIFICATION
        self.batch = "000001"
        self.keys: WorkingKeys | None = None
        self.traces = itertools.count(1)
        self.socket: socket.socket | None = None
        self.tls: ssl.SSLContext | None = None

    # the link

    def connect(self) -> None:
        self.close()
        self.socket = socket.create_connection(self.address, ANSWER_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname=self.address[0])

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def send(self, *bodies: bytes) -> None:
        """Send messages as one piece."""
        self.send_octets(b"".join(frame(body) for body in bodies))

    def send_octets(self, octets: bytes) -> None:
        if self.socket is None:
            self.connect()
        assert self.socket is not None
        self.socket.sendall(octets)

    def receive(self) -> Reply:
        """The next answer; its DE64 is proved where it has one."""
        length = int.from_bytes(self._exactly(2), "big")
        reply = Reply.decode(self._exactly(length))
        assert reply.body[:1] == b"\x60"
        if 64 in reply:
            assert self.keys is not None, "an answer with a MAC before any key was given"
            expected = cup_ecb(self.keys.mak, reply.body[HEADER_BYTES:-8])
            assert reply[64].encode() == expected, "DE64 of the answer is wrong"
        return reply

    def _exactly(self, count: int) -> bytes:
        assert self.socket is not None
        octets = b""
        while len(octets) < count:
            more = self.socket.recv(count - len(octets))
            if not more:
                raise ConnectionError("the acquirer closed the link")
            octets += more
        return octets

    def ask(self, request: Request) -> Reply:
        """Send and take the answer, which must be this request's."""
        self.send(request.body)
        reply = self.receive()
        assert reply.mti == f"{int(request.fields['t']) + 10:04d}"
        for element in (11, 41, 42):
            assert reply[element] == request.fields[str(element)]
        return reply

    # messages

    def trace(self) -> str:
        return f"{next(self.traces) % 1_000_000:06d}"

    def pack(self, mti: str, fields: Mapping[str, str | None], tap: Tap | None = None, *, mac: bool = True) -> Request:
        """A message with what every message has; fields that are None are left out."""
        whole: dict[str, str | None] = {"11": self.trace(), "41": self.terminal_id, "42": self.merchant_id, **fields}
        content = {name: value for name, value in whole.items() if value is not None}
        content |= {"h": self.tpdu + self.head, "t": mti}
        if mac:
            content["64"] = "0" * 8
        body = bytes(iso8583.encode(dict(content), self.specification)[0])
        if mac:
            mak = self.keys.mak if self.keys is not None else bytes(8)
            body = body[:-8] + cup_ecb(mak, body[HEADER_BYTES:-8])
        return Request(body, content, tap)

    def sign_on(self, kind: str = "003") -> Reply:
        """0800 with DE60.3 001, 003 or 004; takes the keys of the answer."""
        request = self.pack("0800", {"60": f"00{self.batch}{kind}", "63": "01 "}, mac=False)
        reply = self.ask(request)
        if reply.code == "00":
            self.keys = WorkingKeys.from_de62(self.tmk, bytes.fromhex(reply[62]))
        return reply

    def manage(self, kind: str) -> Reply:
        """0820 with DE60.3 301 (echo) or 002 (sign-off)."""
        return self.ask(self.pack("0820", {"60": f"00{self.batch}{kind}"}, mac=False))

    def pin_block(self, pin: str, pan: str | None) -> str:
        """DE52: ISO 9564 format 0, or the block without PAN, under the PIK."""
        clear = bytes.fromhex(f"{len(pin):02d}{pin}".ljust(16, "F")) if pan is None else encode_pinblock_iso_0(pin, pan)
        assert self.keys is not None
        return des(self.keys.pik, clear).hex().upper()

    def sale(
        self,
        card: OutsideCard,
        amount: int,
        *,
        pin: str | None = "right",
        pin_with_pan: bool = True,
        tap: Tap | None = None,
        change: Mapping[str, str | None] | None = None,
    ) -> Request:
        """An 0200 sale; `change` replaces elements, or leaves them out."""
        tap = tap or card.tap(amount)
        fields: dict[str, str | None] = {"3": "000000", "4": f"{amount:012d}", "60": f"22{self.batch}00060"}
        return self._financial(card, fields, tap, pin, pin_with_pan, change or {})

    def balance_inquiry(self, card: OutsideCard, *, pin: str | None = "right") -> Request:
        """An 0200 with DE3 310000."""
        fields: dict[str, str | None] = {"3": "310000", "60": f"01{self.batch}00060"}
        return self._financial(card, fields, card.tap(0, transaction_type="31"), pin, True, {})

    def _financial(
        self,
        card: OutsideCard,
        fields: dict[str, str | None],
        tap: Tap,
        pin: str | None,
        pin_with_pan: bool,
        change: Mapping[str, str | None],
    ) -> Request:
        fields |= {
            "2": card.pan,
            "14": card.expiry,
            "22": "072" if pin is None else "071",
            "23": card.sequence,
            "25": "00",
            "35": card.track2.replace("=", "D"),
            "49": "156",
            "55": tap.de55,
        }
        if pin is not None:
            typed = card.pin if pin == "right" else pin
            double = self.keys is not None and len(self.keys.pik) == 16
            fields["26"] = "12"
            if self.keys is not None:
                fields["52"] = self.pin_block(typed, card.pan if pin_with_pan else None)
            fields["53"] = ("2" if pin_with_pan else "1") + ("6" if double else "0") + "0" * 14
        return self.pack("0200", {**fields, **change}, tap)

    def reversal(
        self,
        original: Request,
        answer: Reply | None,
        *,
        reason: str = "98",
        change: Mapping[str, str | None] | None = None,
    ) -> Request:
        """An 0400 that takes `original` back; `answer` is its 0210 if one came."""
        kept = ("2", "3", "4", "11", "14", "22", "23", "25", "49", "55", "60")
        fields: dict[str, str | None] = {name: original.fields.get(name) for name in kept}
        fields["38"] = answer[38] if answer is not None and 38 in answer else None
        fields["39"] = reason
        fields["61"] = f"{self.batch}{original.stan}{datetime.now(CHINA):%m%d}"
        return self.pack("0400", {**fields, **(change or {})})

    def pay(self, card: OutsideCard, amount: int, **options: Any) -> tuple[Request, Reply]:
        """A sale and its answer; an approval's MAC and response cryptogram are proved."""
        request = self.sale(card, amount, **options)
        reply = self.ask(request)
        if reply.code == "00":
            prove_approval(request, reply)
        return request, reply


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


def prove_approval(request: Request, reply: Reply) -> None:
    """What an approval must carry: MAC, authorisation code, retrieval reference, and the issuer's ARPC."""
    assert 64 in reply, "an approval without DE64"
    assert len(reply[38].strip()) == 6
    assert len(reply[37].strip()) == 12
    assert reply[4] == request.fields["4"]
    assert request.tap is not None
    authentication = reply.chip_data["91"]
    assert authentication[8:10] == b"00"
    assert authentication[:8] == request.tap.arpc("00"), "the ARPC in tag 91 is wrong"
