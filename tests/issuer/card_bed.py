"""A test bed for chips: an authority, an issuer with a certificate, and a terminal that checks by plain arithmetic.

What a card says is checked here with `pow` and `hashlib`, not with the project's own verification.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol

from issuer.applet import ChipCard
from issuer.card_application import ELECTRONIC_CASH_AID, ElectronicCash, Personalisation
from issuer.certification import CertificationAuthority, IssuerCertificate, certify_card, enrol_issuer, found_authority
from network.emv import tlv
from network.keys import Algorithm, KeyUsage, RsaKey, SecurityModule

PAN = "6228480000000001"
IDENTIFIER = "622848"
IMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
TODAY = "260102"
UNPREDICTABLE = "1E78EEBC"
OFFLINE_TTQ, ONLINE_TTQ, BOTH_TTQ, PLAIN_TTQ = "2E004080", "26804080", "26004080", "26804000"
"""Offline only; online cryptogram demanded; either; no fDDA."""

AUTHORITY_MODULE = SecurityModule(bytes(range(32)), Random(21))
ISSUER_MODULE = SecurityModule(bytes(range(1, 33)), Random(22))
CHIP_MODULE = SecurityModule(bytes(range(2, 34)), Random(23))
AUTHORITY = found_authority(AUTHORITY_MODULE, index=0xF0, expiry="3512")
IMK_HANDLE = CHIP_MODULE.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, IMK)

_ISSUERS: dict[tuple[str, int, int], IssuerCertificate] = {}
_CARD_KEYS: dict[tuple[int, int], RsaKey] = {}


class Transmits(Protocol):
    def transmit(self, apdu: bytes) -> bytes: ...


def issuer_certificate(identifier: str = IDENTIFIER, bits: int = 1408, exponent: int = 3) -> IssuerCertificate:
    key = (identifier, bits, exponent)
    if key not in _ISSUERS:
        _ISSUERS[key] = enrol_issuer(
            ISSUER_MODULE, AUTHORITY, identifier, expiry="3412", serial=len(_ISSUERS) + 1, bits=bits, exponent=exponent
        )
    return _ISSUERS[key]


def card_rsa(bits: int = 1152, exponent: int = 3) -> RsaKey:
    if (bits, exponent) not in _CARD_KEYS:
        _CARD_KEYS[bits, exponent] = CHIP_MODULE.generate_rsa(bits, exponent)
    return _CARD_KEYS[bits, exponent]


def certified(bits: int = 1152, online_too: bool = False, **changes: object) -> Personalisation:
    values: dict[str, object] = {"pan": PAN, "expiry": "3012", "effective": "250101", "usage_control": b"\x29\x00"}
    profile = Personalisation(**(values | changes))  # type: ignore[arg-type]
    return certify_card(ISSUER_MODULE, issuer_certificate(), profile, card_rsa(bits), serial=77, online_too=online_too)


def cash_profile(balance: int = 50_000, single: int = 100_000, bits: int = 1152, **changes: object) -> Personalisation:
    profile = certified(bits, aid=ELECTRONIC_CASH_AID, label="UnionPay E-Cash", **changes)
    return replace(profile, electronic_cash=ElectronicCash(balance, 100_000, single))


def chip_of(profile: Personalisation, atc: int = 0, balance: int | None = None) -> ChipCard:
    key = CHIP_MODULE.derive_card_key(IMK_HANDLE, profile.pan, profile.sequence)
    return ChipCard(profile, CHIP_MODULE, key, atc, balance)


def select(name: bytes, occurrence: int = 0) -> bytes:
    return bytes((0x00, 0xA4, 0x04, occurrence, len(name))) + name + b"\x00"


def processing_options(
    amount: int = 1250,
    ttq: str = BOTH_TTQ,
    currency: str = "0156",
    transaction_type: str = "00",
    other: int = 0,
) -> bytes:
    data = f"{ttq}{amount:012}{other:012}0156{'00' * 5}{currency}{TODAY}{transaction_type}{UNPREDICTABLE}"
    return bytes.fromhex(f"80A80000238321{data}00")


def read_record(file: int, number: int) -> bytes:
    return bytes((0x00, 0xB2, number, file << 3 | 0x04, 0x00))


def get_data(tag: str) -> bytes:
    return bytes.fromhex(f"80CA{tag}00")


def data_of(card: Transmits, tag: str) -> int:
    """A number the card tells by GET DATA."""
    answer = good(card.transmit(get_data(tag)))
    value = tlv.flat(answer)[tag]
    return int.from_bytes(value, "big") if tag == "9F36" else int(value.hex())


def good(response: bytes) -> bytes:
    assert response[-2:] == b"\x90\x00", response[-2:].hex()
    return response[:-2]


def options_of(card: Transmits, aid: bytes, **terminal: object) -> dict[str, bytes]:
    good(card.transmit(select(aid)))
    return tlv.flat(tlv.flat(good(card.transmit(processing_options(**terminal))))["77"])  # type: ignore[arg-type]


@dataclass
class Read:
    """What the records of a file locator gave."""

    objects: dict[str, bytes]
    signed: list[bytes]
    sizes: list[int]


def read_all(card: Transmits, locator: bytes) -> Read:
    found = Read({}, [], [])
    for offset in range(0, len(locator), 4):
        file, first, last, signed = locator[offset : offset + 4]
        for number in range(first, last + 1):
            response = card.transmit(read_record(file >> 3, number))
            content = tlv.flat(good(response))["70"]
            members = tlv.flat(content)
            assert not members.keys() & found.objects.keys(), "an object stands in one record only"
            found.objects |= members
            found.sizes.append(len(response))
            if number - first < signed:
                found.signed.append(content)
    return found


def opened(modulus: bytes, exponent: int, signature: bytes) -> bytes:
    number = pow(int.from_bytes(signature, "big"), exponent, int.from_bytes(modulus, "big"))
    return number.to_bytes(len(modulus), "big")


def verified(modulus: bytes, exponent: int, signature: bytes, besides: bytes) -> bytes:
    """The content of a signed block whose frame and hash are right (EMV 4.4 Book 2, annex A2.1.2)."""
    block = opened(modulus, exponent, signature)
    assert block[0] == 0x6A
    assert block[-1] == 0xBC
    assert hashlib.sha1(block[1:-21] + besides).digest() == block[-21:-1], "hash"
    return block[1:-21]


def authenticate(
    objects: dict[str, bytes],
    signed: list[bytes],
    amount: int,
    currency: str = "0156",
    authority: CertificationAuthority = AUTHORITY,
) -> None:
    """Check the whole chain as a terminal does: issuer certificate, card certificate, signed dynamic data."""
    assert objects["8F"] == bytes((authority.index,))
    remainder, exponent = objects.get("92", b""), objects["9F32"]
    content = verified(authority.key.modulus, authority.key.exponent, objects["90"], remainder + exponent)
    assert content[0] == 0x02
    assert content[12:14] == bytes((content[12], len(exponent)))
    issuer = (content[14 : 14 + content[12]] + remainder)[: content[12]]
    static = b"".join(signed) + (objects["82"] if objects["9F4A"] == b"\x82" else b"")
    remainder, card_exponent = objects.get("9F48", b""), objects["9F47"]
    content = verified(issuer, int.from_bytes(exponent, "big"), objects["9F46"], remainder + card_exponent + static)
    assert content[0] == 0x04
    assert content[1:11].hex().rstrip("f") == objects["57"].hex().partition("d")[0]
    key = (content[20 : 20 + content[18]] + remainder)[: content[18]]
    related = objects["9F69"]
    dynamic = bytes.fromhex(f"{UNPREDICTABLE}{amount:012}{currency}") + related
    content = verified(key, int.from_bytes(card_exponent, "big"), objects["9F4B"], dynamic)
    assert content[:6] == b"\x05\x01\x03\x02" + objects["9F36"]
    assert set(content[6:]) == {0xBB}
    assert related[0] == 0x01
    assert related[5:] == objects["9F6C"]
