"""A contactless chip card, and the ciphers of card and terminal, written from the public description alone.

Nothing of the packages under test is used: ciphers come from `cryptography`, BER-TLV from `pyemv`; the rest (the PBOC
session key, CVN 01, CUP ECB) is short enough to be written out. `test_independent_terminal` proves it on published
vectors.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from pyemv import tlv

CHINA: Final = timezone(timedelta(hours=8))


def des(key: bytes, data: bytes, *, decrypt: bool = False) -> bytes:
    """DES or TDES in ECB mode under a key of 8 or 16 bytes."""
    cipher = Cipher(TripleDES(key * 3 if len(key) == 8 else key + key[:8]), modes.ECB())
    context = cipher.decryptor() if decrypt else cipher.encryptor()
    return context.update(data) + context.finalize()


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def check_value(key: bytes) -> bytes:
    return des(key, bytes(8))[:4]


def cup_ecb(mak: bytes, data: bytes) -> bytes:
    """DE64: the blocks XORed, written in hex, each half encrypted in turn; the first 8 hex digits of that."""
    folded = bytes(8)
    for start in range(0, len(data), 8):
        folded = xor(folded, data[start : start + 8].ljust(8, b"\0"))
    text = folded.hex().upper().encode()
    return des(mak, xor(des(mak, text[:8]), text[8:])).hex().upper()[:8].encode()


def retail_mac(key: bytes, data: bytes) -> bytes:
    """ISO 9797-1 algorithm 3 with padding method 2, 8 bytes."""
    padded = data + b"\x80"
    padded += bytes(-len(padded) % 8)
    state = bytes(8)
    for start in range(0, len(padded), 8):
        state = des(key[:8], xor(state, padded[start : start + 8]))
    return des(key[:8], des(key[8:], state, decrypt=True))


def card_key(imk: bytes, pan: str, sequence: str) -> bytes:
    """The card's cryptogram key: right 16 digits of PAN and sequence number, and their complement, under the IMK."""
    data = bytes.fromhex((pan + sequence[-2:])[-16:].rjust(16, "0"))
    return des(imk, data) + des(imk, xor(data, b"\xff" * 8))


def pboc_session_key(udk: bytes, counter: int) -> bytes:
    left = counter.to_bytes(8, "big")
    right = (counter ^ 0xFFFF).to_bytes(8, "big")
    return des(udk, left) + des(udk, right)


CVN_01: Final = ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36")
"""What the cryptogram covers, the CVR after it."""


def covered_by(data: Mapping[str, bytes]) -> bytes:
    """What a cryptogram of version 01, or of the short version 17, is over."""
    issuer_data = data["9F10"]
    if issuer_data[2] == 0x17:
        return data["9F02"] + data["9F37"] + data["9F36"] + issuer_data[4:5]
    return b"".join(data[tag] for tag in CVN_01) + issuer_data[3:7]


@dataclass(frozen=True)
class Tap:
    """What one approach of the card to the reader gave, and what proves the issuer's answer."""

    data: dict[str, bytes]
    session_key: bytes = field(repr=False)

    @property
    def de55(self) -> str:
        return tlv.encode({tag: value.hex().upper() for tag, value in self.data.items()}).hex().upper()

    def arpc(self, code: str) -> bytes:
        """The response cryptogram over this tap's ARQC for an authorisation response code."""
        return des(self.session_key, xor(self.data["9F26"], code.encode().ljust(8, b"\0")))


@dataclass
class OutsideCard:
    """A contactless debit card: a counter, and a key derived from the issuer's demo master key."""

    pan: str = field(repr=False)
    sequence: str
    expiry: str
    track2: str = field(repr=False)
    pin: str = field(repr=False)
    imk_ac: bytes = field(repr=False)
    balance: int
    counter: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def published(cls, entry: Mapping[str, Any]) -> OutsideCard:
        """A card of ``network.json``."""
        return cls(
            pan=entry["pan"],
            sequence=entry["sequence"],
            expiry=entry["expiry"],
            track2=entry["track2"],
            pin=entry["pin"],
            imk_ac=bytes.fromhex(entry["imk_ac"]),
            balance=entry["balance"],
        )

    def wrong_pin(self, position: int, shift: int = 1) -> str:
        """The PIN with one digit changed."""
        digits = list(self.pin)
        digits[position] = str((int(digits[position]) + shift) % 10)
        return "".join(digits)

    def tap(
        self,
        amount: int,
        *,
        transaction_type: str = "00",
        counter: int | None = None,
        issuer_data: str = "07010103A0200001",
    ) -> Tap:
        """Answer the reader: an ARQC over the amount in fen, of the version that the issuer data (9F10) names."""
        if counter is None:
            with self.lock:
                self.counter += 1
                counter = self.counter
        data = {
            "9F27": b"\x80",
            "9F10": bytes.fromhex(issuer_data),
            "9F37": secrets.token_bytes(4),
            "9F36": counter.to_bytes(2, "big"),
            "95": bytes(5),
            "9A": bytes.fromhex(datetime.now(CHINA).strftime("%y%m%d")),
            "9C": bytes.fromhex(transaction_type),
            "9F02": bytes.fromhex(f"{amount:012d}"),
            "5F2A": bytes.fromhex("0156"),
            "82": bytes.fromhex("7C00"),
            "9F1A": bytes.fromhex("0156"),
            "9F03": bytes(6),
            "9F33": bytes.fromhex("E0E1C8"),
            "9F34": bytes.fromhex("020300"),
            "9F35": b"\x22",
            "9F1E": b"OUTSIDE1",
            "84": bytes.fromhex("A000000333010101"),
            "9F09": bytes.fromhex("0030"),
            "9F41": counter.to_bytes(4, "big"),
        }
        session_key = pboc_session_key(card_key(self.imk_ac, self.pan, self.sequence), counter)
        arqc = retail_mac(session_key, covered_by(data))
        return Tap({"9F26": arqc, **data}, session_key)


def with_luhn(digits: str) -> str:
    """A card number: the digits and their check digit."""
    doubled = [int(digit) * 2 if place % 2 == 0 else int(digit) for place, digit in enumerate(reversed(digits))]
    return digits + str(-sum(value - 9 * (value > 9) for value in doubled) % 10)
