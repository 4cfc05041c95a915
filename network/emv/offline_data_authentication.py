"""Offline data authentication: whether a card holds a key that its issuer certified (EMV 4.4 Book 2, 5 and 6).

Three signatures hang together. The certification authority signs the issuer's public key, the issuer signs the card's
with the data that must not be changed, the card signs what the terminal has just chosen. RSA signatures give their
message back, so that each step *recovers* what it checks (Book 2, A2.1).

Every step either gives what it recovered or raises `OdaError` with the rule that was broken. What a card sent may be
any bytes. Which scheme a signature is of says the algorithm indicator of the key that checks it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from network.emv import tlv
from network.emv.ca_keys import EXPONENTS, MAX_MODULUS, RSA, SHA_1, CaPublicKey
from network.emv.signature_scheme import SCHEMES, OdaError
from network.emv.tlv import TlvError

MAX_CARD_KEYS: Final = 1024
"""How many recovered card keys are kept, so that a card that comes again is checked with one signature."""

_ISSUER_FORMAT: Final = 0x02
_CARD_FORMAT: Final = 0x04
_DYNAMIC_FORMAT: Final = 0x05
_LAST_EMV_FILE: Final = 10


class MissingRemainder(OdaError):
    """A certificate has no room for the whole key, and there is no remainder (92, 9F48)."""


@dataclass(frozen=True, slots=True)
class RecoveredKey:
    """A public key that a certificate vouches for.

    Attributes
    ----------
    modulus : bytes
        Big-endian, at most 248 bytes.
    exponent : int
        3 or 65537.
    algorithm : int
        Public key algorithm indicator: which of `SCHEMES` checks what the key signed.
    expiry : str
        YYMM, the last month the certificate is good for.
    serial : bytes
        Certificate serial number, three bytes.

    """

    modulus: bytes
    exponent: int
    algorithm: int
    expiry: str
    serial: bytes


@dataclass(frozen=True, slots=True)
class DynamicData:
    """What a card signed of its own in signed dynamic application data.

    Attributes
    ----------
    number : bytes
        ICC dynamic number, 2 to 8 bytes, another in each transaction.
    data : bytes
        All ICC dynamic data, the length and the number included.

    """

    number: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says, read but not yet proved: compare with Book 2, Tables 13 and 14.

    Attributes
    ----------
    subject : str
        Of an issuer the first 3 to 8 digits of its account numbers, of a card its account number.
    key_length, exponent_length : int
        Bytes.
    digits : bytes
        The whole modulus padded with BB, or as much of its left as there is room for.
    expiry, serial, algorithm
        As of `RecoveredKey`.

    """

    subject: str
    expiry: str
    serial: bytes
    algorithm: int
    key_length: int
    exponent_length: int
    digits: bytes

    @classmethod
    def parse(cls, content: bytes, certificate_format: int, subject_length: int) -> Certificate:
        """Read recovered content.

        Raises
        ------
        OdaError
            When the format, an indicator or a number is not as it must be.

        """
        if not content or content[0] != certificate_format:
            raise OdaError(f"certificate format is not {certificate_format:02X}")
        rest = content[1 + subject_length :]
        if len(rest) < 9:
            raise OdaError("certificate too short for its format")
        subject = content[1 : 1 + subject_length].hex().upper().rstrip("F")
        month, year = rest[:2].hex()[:2], rest[:2].hex()[2:]
        if not (subject.isdigit() and year.isdigit() and "01" <= month <= "12" and month.isdigit()):
            raise OdaError("certificate names no subject or no month of expiry")
        if rest[5] != SHA_1:
            raise OdaError(f"hash algorithm indicator {rest[5]:02X} is not known")
        if rest[6] not in SCHEMES:
            raise OdaError(f"public key algorithm indicator {rest[6]:02X} is not known")
        return cls(subject, year + month, rest[2:5], rest[6], rest[7], rest[8], rest[9:])

    def need(self, remainder: bytes) -> None:
        """Raise `MissingRemainder` where there is none and the certificate does not hold the whole key."""
        if not remainder and self._left_out():
            raise MissingRemainder(f"public key remainder is missing, the certificate leaves {self._left_out()} bytes")

    def key(self, remainder: bytes, exponent: bytes) -> RecoveredKey:
        """Put the key together.

        Raises
        ------
        OdaError
            When remainder or exponent are not of the lengths the certificate says, or the exponent is not allowed.

        """
        missing = self._left_out()
        if len(remainder) != missing:
            raise OdaError(f"public key remainder of {len(remainder)} bytes, the certificate leaves {missing}")
        if len(exponent) != self.exponent_length:
            raise OdaError(f"public key exponent of {len(exponent)} bytes, the certificate says {self.exponent_length}")
        value = int.from_bytes(exponent, "big")
        if value not in EXPONENTS:
            raise OdaError("public key exponent is neither 3 nor 65537")
        modulus = self.digits[: self.key_length] + remainder
        if not (0 < len(modulus) <= MAX_MODULUS and modulus[-1] & 1):
            raise OdaError(f"public key modulus is even or not 1 to {MAX_MODULUS} bytes")
        return RecoveredKey(modulus, value, self.algorithm, self.expiry, self.serial)

    def _left_out(self) -> int:
        """How many bytes of the modulus the certificate has no room for."""
        return max(self.key_length - len(self.digits), 0)


def recover_issuer_key(
    ca: CaPublicKey,
    certificate: bytes,
    remainder: bytes | None,
    exponent: bytes,
    pan: str,
    date: str,
    revoked: Collection[tuple[bytes, int, bytes]] = frozenset(),
) -> RecoveredKey:
    """Recover the issuer's public key from its certificate (Book 2, 5.3 and 6.3).

    Parameters
    ----------
    ca : CaPublicKey
        The certification authority's key that the card names (8F).
    certificate, remainder, exponent : bytes
        Tags 90, 92 (None or empty when the card has none) and 9F32.
    pan : str
        Account number, digits.
    date : str
        Today, YYMMDD.
    revoked : collection of (rid, index, serial)
        Certificates that are no longer good (Book 2, 5.1.2).

    Raises
    ------
    OdaError
        When the certificate does not prove the key: the reason names the step of 6.3 that failed. Also when the
        authority's own key has expired.

    """
    today = _full_year(date)
    if ca.expiry is not None and today > ca.expiry:
        raise OdaError("the certification authority's key has expired")
    issuer, key = _issuer_key(ca, certificate, remainder or b"", exponent)
    if not (3 <= len(issuer) <= 8 and pan.startswith(issuer)):
        raise OdaError("issuer identifier does not match the account number")
    _check_expiry("issuer", key, today)
    if revoked and (ca.rid, ca.index, key.serial) in revoked:
        raise OdaError("issuer certificate is revoked")
    return key


def recover_card_key(
    issuer_key: RecoveredKey,
    certificate: bytes,
    remainder: bytes | None,
    exponent: bytes,
    pan: str,
    static_data: bytes,
    date: str,
) -> RecoveredKey:
    """Recover the card's public key from its certificate (Book 2, 6.4).

    Parameters
    ----------
    issuer_key : RecoveredKey
        From `recover_issuer_key`.
    certificate, remainder, exponent : bytes
        Tags 9F46, 9F48 (None or empty when the card has none) and 9F47.
    pan : str
        Account number, digits.
    static_data : bytes
        What the certificate protects besides the key, see `static_data_to_authenticate`.
    date : str
        Today, YYMMDD.

    Raises
    ------
    OdaError
        When the certificate does not prove the key: the reason names the step of 6.4 that failed.

    """
    remainder = remainder or b""
    today = _full_year(date)
    # The digest stands for all that is checked, so that no account number is kept with the key.
    digest = hashlib.sha256()
    for part in (issuer_key.modulus, certificate, remainder, exponent, pan.encode(), static_data):
        digest.update(len(part).to_bytes(4, "big") + part)
    name = digest.digest()
    key = _CARD_KEYS.get(name)
    if key is None:
        key = _card_key(issuer_key, certificate, remainder, exponent, pan, static_data)
        if len(_CARD_KEYS) >= MAX_CARD_KEYS:
            _CARD_KEYS.popitem(last=False)
        _CARD_KEYS[name] = key
    else:
        _CARD_KEYS.move_to_end(name)
    _check_expiry("card", key, today)
    return key


def verify_dynamic_data(card_key: RecoveredKey, signed: bytes, terminal_dynamic_data: bytes) -> DynamicData:
    """Verify signed dynamic application data, format 05 (Book 2, 6.5.2).

    Parameters
    ----------
    card_key : RecoveredKey
        From `recover_card_key`.
    signed : bytes
        Tag 9F4B.
    terminal_dynamic_data : bytes
        What the card was to sign: for fDDA version 01 of QuickPass 9F37, 9F02, 5F2A and 9F69 (DOMAIN.md 4.5), for DDA
        the data that the card's list 9F49 asks for.

    Raises
    ------
    OdaError
        When the card did not sign that; names the step of 6.5.2 that failed.

    """
    scheme = SCHEMES[card_key.algorithm]
    content, proof = scheme.recover(card_key.modulus, card_key.exponent, signed)
    if len(content) < 3 or content[0] != _DYNAMIC_FORMAT:
        raise OdaError(f"signed data format is not {_DYNAMIC_FORMAT:02X}")
    if content[1] != SHA_1:
        raise OdaError(f"hash algorithm indicator {content[1]:02X} is not known")
    data = content[3 : 3 + content[2]]
    if len(data) != content[2]:
        raise OdaError("dynamic data are longer than the signature")
    if not scheme.proves(proof, content, terminal_dynamic_data):
        raise OdaError("hash of the signed dynamic data is wrong")
    if not (data and 2 <= data[0] <= 8 and data[0] < len(data)):
        raise OdaError("dynamic number is not 2 to 8 bytes")
    return DynamicData(data[1 : 1 + data[0]], data)


def static_data_to_authenticate(
    records: Iterable[tuple[int, bytes]], tag_list: bytes | None, interchange_profile: bytes
) -> bytes:
    """Put together what a card certificate protects besides the key (EMV 4.4 Book 3, 10.3).

    Parameters
    ----------
    records : iterable of (file, record)
        The records that the application file locator says are signed, in its order, with their short file
        identifiers and as the card gave them, template 70 included.
    tag_list : bytes or None
        Static data authentication tag list, 9F4A, when the card has one. It may name 82 and nothing else.
    interchange_profile : bytes
        Tag 82.

    Raises
    ------
    OdaError
        When a record is not a template 70, or 9F4A names anything but 82.

    """
    parts = []
    for file, record in records:
        try:
            # Of the files that EMV governs (1 to 10) what is in the template counts, of others the whole record.
            inside = tlv.flat(record).get("70")
        except TlvError:
            inside = None
        if inside is None:
            raise OdaError("a signed record is not a template 70")
        parts.append(inside if file <= _LAST_EMV_FILE else record)
    if tag_list is not None:
        if tag_list != b"\x82":
            raise OdaError("static data authentication tag list 9F4A names other than 82")
        parts.append(interchange_profile)
    return b"".join(parts)


# An issuer has one certificate, or a few, for all its cards.
@lru_cache(maxsize=256)
def _issuer_key(ca: CaPublicKey, certificate: bytes, remainder: bytes, exponent: bytes) -> tuple[str, RecoveredKey]:
    """Do what is the same for all cards of an issuer; give the issuer identifier too."""
    scheme = SCHEMES[RSA]
    content, proof = scheme.recover(ca.modulus, ca.exponent, certificate)
    read = Certificate.parse(content, _ISSUER_FORMAT, 4)
    read.need(remainder)
    if not scheme.proves(proof, content, remainder + exponent):
        raise OdaError("hash of the issuer certificate is wrong")
    return read.subject, read.key(remainder, exponent)


_CARD_KEYS: Final[OrderedDict[bytes, RecoveredKey]] = OrderedDict()


def _card_key(
    issuer_key: RecoveredKey, certificate: bytes, remainder: bytes, exponent: bytes, pan: str, static_data: bytes
) -> RecoveredKey:
    scheme = SCHEMES[issuer_key.algorithm]
    content, proof = scheme.recover(issuer_key.modulus, issuer_key.exponent, certificate)
    read = Certificate.parse(content, _CARD_FORMAT, 10)
    read.need(remainder)
    if not scheme.proves(proof, content, remainder + exponent + static_data):
        raise OdaError("hash of the card certificate is wrong")
    if read.subject != pan:
        raise OdaError("card certificate is of another account number")
    return read.key(remainder, exponent)


def _check_expiry(whose: str, key: RecoveredKey, today: str) -> None:
    # Good to the last day of its month, so the month decides (Book 2, 6.3 step 9).
    if today[:6] > _full_year(key.expiry):
        raise OdaError(f"{whose} certificate has expired")


def _full_year(date: str) -> str:
    """Write YYMM.. with its century: years 50 to 99 are of the last one (EMV 4.4 Book 4, 6.7.3)."""
    return ("19" if date[:2] >= "50" else "20") + date
