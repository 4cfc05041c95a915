"""What is written into a card's application before its holder gets it, but for its keys."""

from __future__ import annotations

import json
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError

from network.emv import CRYPTOGRAM_DATA
from network.keys import RsaKey, Scheme
from network.party import Json

DEBIT_AID: Final = bytes.fromhex("A000000333010101")
CREDIT_AID: Final = bytes.fromhex("A000000333010102")
QUASI_CREDIT_AID: Final = bytes.fromhex("A000000333010103")
ELECTRONIC_CASH_AID: Final = bytes.fromhex("A000000333010106")
"""Application identifiers of UnionPay (DOMAIN.md 4.2)."""

MAX_AMOUNT: Final = 999_999_999_999
SCHEMES: Final = (Scheme.PBOC_3DES, Scheme.PBOC_SM4)
_MAX_TRACK2: Final = 37
_AS_JSON: Final = ConfigDict(ser_json_bytes="hex", val_json_bytes="hex", extra="forbid")


class CvmRule(Enum):
    """When the card demands that its holder be verified."""

    ABOVE_LIMIT = "PIN, or else signature, above the card's limit"
    ALWAYS = "PIN, or else signature, at every amount"
    NEVER = "never; the card knows no way of verification"
    ON_DEVICE = "done by the holder on their own device before each payment"


class AuthenticationFailure(Enum):
    """What a reader does that finds the card's certificates or signature wrong; the value stands in 9F6C, byte 1."""

    DECLINE = 0x00
    GO_ONLINE = 0x20
    OTHER_INTERFACE = 0x10


@dataclass(frozen=True, slots=True)
class ElectronicCash:
    """Money that the card may pay with by itself.

    Attributes
    ----------
    balance : int
        Fen on the card when it is handed out.
    balance_limit : int
        Fen, the most it may hold (9F77).
    single_limit : int
        Fen, the most it pays at once without going online (9F78).

    """

    __pydantic_config__: ClassVar = _AS_JSON

    balance: int
    balance_limit: int = 100_000
    single_limit: int = 100_000

    def __post_init__(self) -> None:
        if not 0 <= self.balance <= self.balance_limit <= MAX_AMOUNT:
            raise ValueError("electronic cash: balance 0 to balance_limit, which has 12 digits of fen at most")
        if not 0 <= self.single_limit <= MAX_AMOUNT:
            raise ValueError("electronic cash: single_limit has 12 digits of fen at most")


@dataclass(frozen=True, slots=True, repr=False)
class OfflineAuthentication:
    """What lets a terminal find out by itself that the card is genuine (EMV 4.4 Book 2, 6).

    Attributes
    ----------
    ca_index : int
        Which key of the certification authority signed the issuer's certificate (8F).
    issuer_certificate, issuer_remainder : bytes
        Tags 90 and 92; the remainder is empty where the certificate holds the whole key.
    issuer_exponent : int
        3 or 65537 (9F32).
    key : RsaKey
        The card's own, its private part sealed by the chip's module.
    remainder : bytes
        What of the card's modulus its certificate has no room for (9F48).
    certificate : bytes
        Tag 9F46; empty as long as the card is not certified.
    online_too : bool
        Whether payments that go online are signed as well, where the reader can check that.
    on_failure : AuthenticationFailure
        What the reader is to do when it finds something wrong.

    """

    __pydantic_config__: ClassVar = _AS_JSON

    ca_index: int
    issuer_certificate: bytes
    issuer_remainder: bytes
    issuer_exponent: int
    key: RsaKey
    remainder: bytes
    certificate: bytes = b""
    online_too: bool = False
    on_failure: AuthenticationFailure = AuthenticationFailure.DECLINE

    def __repr__(self) -> str:
        # anyone can recover the account number from the certificate
        return f"OfflineAuthentication(ca_index={self.ca_index:02X}, key={self.key!r})"


@dataclass(frozen=True, slots=True, repr=False)
class Personalisation:
    """What is written into a card before its holder gets it, but for the key that makes cryptograms.

    Attributes
    ----------
    pan : str
        Account number, 13 to 19 digits.
    expiry : str
        YYMM, the last month the card is good for.
    sequence : str
        Card sequence number, three digits, the first of them 0.
    service_code : str
        Three digits beginning 2 or 6, which announce a chip: 201, 220.
    track2 : str
        Track 2 equivalent data with separator ``=``, at most 37 characters; must agree with the attributes above. When
        empty it is made of them.
    aid : bytes
        Application identifier, 5 to 16 bytes.
    label : str
        Application label, 1 to 16 ASCII characters.
    scheme : Scheme
        How the card key makes cryptograms: triple DES or SM4.
    cryptogram_version : int
        0x01 or 0x17, see `network.emv.CRYPTOGRAM_DATA`.
    key_index : int
        Which issuer master key the card key comes from, 0 to 255.
    cvm_rule : CvmRule
        When the holder must be verified. The reader may demand it too.
    cvm_limit : int
        Fen; for `CvmRule.ABOVE_LIMIT`.
    currency, country : str
        Of the account, ISO number of three digits. In another currency the limit does not count as small.
    priority : int
        Place among the applications of the card, 1 (first) to 15.
    online_pin : bool
        Whether a PIN is a way of verification; else it is the signature only.
    effective : str
        YYMMDD, the first day the card is good for (5F25); empty when nothing is said.
    usage_control : bytes
        Where and for what the card may be used (9F07; EMV 4.4 Book 3, annex C2), two bytes, or none.
    electronic_cash : ElectronicCash or None
        Money on the card. Such a card is one with `offline_authentication`.
    offline_authentication : OfflineAuthentication or None
        Certificates, where the card has them.

    """

    __pydantic_config__: ClassVar = _AS_JSON

    pan: str
    expiry: str
    sequence: str = "001"
    service_code: str = "220"
    track2: str = ""
    aid: bytes = DEBIT_AID
    label: str = "UnionPay Debit"
    scheme: Scheme = Scheme.PBOC_3DES
    cryptogram_version: int = 0x01
    key_index: int = 1
    cvm_rule: CvmRule = CvmRule.ABOVE_LIMIT
    cvm_limit: int = 100_000
    currency: str = "156"
    country: str = "156"
    priority: int = 1
    online_pin: bool = True
    effective: str = ""
    usage_control: bytes = b""
    electronic_cash: ElectronicCash | None = None
    offline_authentication: OfflineAuthentication | None = None

    def __post_init__(self) -> None:
        for name, digits, least, most in (
            ("pan", self.pan, 13, 19),
            ("expiry", self.expiry, 4, 4),
            ("sequence", self.sequence, 3, 3),
            ("service_code", self.service_code, 3, 3),
            ("currency", self.currency, 3, 3),
            ("country", self.country, 3, 3),
        ):
            if not (least <= len(digits) <= most and digits.isascii() and digits.isdigit()):
                raise ValueError(f"{name}: {least} to {most} digits" if least != most else f"{name}: {most} digits")
        if not 1 <= int(self.expiry[2:]) <= 12:
            raise ValueError("expiry: YYMM with a month of 01 to 12")
        if self.sequence[0] != "0":
            raise ValueError("sequence: begins with 0, the chip holds two digits")
        if self.service_code[0] not in "26":
            raise ValueError("service_code: begins with 2 or 6 on a chip card")
        self._check_track2()
        if not 5 <= len(self.aid) <= 16:
            raise ValueError("aid: 5 to 16 bytes")
        if not (1 <= len(self.label) <= 16 and self.label.isascii()):
            raise ValueError("label: 1 to 16 ASCII characters")
        if self.scheme not in SCHEMES:
            raise ValueError("scheme: one of the PBOC schemes")
        if self.cryptogram_version not in CRYPTOGRAM_DATA:
            raise ValueError("cryptogram_version: not known")
        if not 0 <= self.key_index <= 0xFF:
            raise ValueError("key_index: 0 to 255")
        if self.cvm_limit < 0:
            raise ValueError("cvm_limit: not negative, in fen")
        if not 1 <= self.priority <= 15:
            raise ValueError("priority: 1 to 15")
        if self.effective and not _is_day(self.effective):
            raise ValueError("effective: YYMMDD, or empty")
        if len(self.usage_control) not in (0, 2):
            raise ValueError("usage_control: two bytes, or none")
        if self.electronic_cash is not None and self.offline_authentication is None:
            raise ValueError("electronic_cash: only on a card with offline_authentication")

    def _check_track2(self) -> None:
        start = f"{self.pan}={self.expiry}{self.service_code}"
        if not self.track2:
            object.__setattr__(self, "track2", start)
        rest = self.track2.removeprefix(start)
        if (
            not self.track2.startswith(start)
            or len(self.track2) > _MAX_TRACK2
            or not (rest + "0").isdigit()
            or not rest.isascii()
        ):
            raise ValueError("track2: pan, '=', expiry, service code and further digits, 37 characters at most")

    def __repr__(self) -> str:
        return f"Personalisation(pan={self.pan[:6]}...{self.pan[-4:]}, aid={self.aid.hex().upper()})"

    def as_json(self) -> dict[str, Json]:
        """Write it down, card data in clear, for the file of a virtual card; `from_json` reads it."""
        written: dict[str, Json] = _JSON.dump_python(self, mode="json")
        return written

    @classmethod
    def from_json(cls, content: Mapping[str, Json]) -> Personalisation:
        """Read what `as_json` wrote.

        Raises
        ------
        ValueError
            Something is missing, unknown or malformed; the message names it and shows no value.
        """
        try:
            return _JSON.validate_json(json.dumps(content))
        except ValidationError as error:
            # its own text shows what was given
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            reasons = (f"{'.'.join(map(str, fault['loc']))} {fault['msg']}".strip() for fault in faults)
            raise ValueError(f"personalisation: {'; '.join(reasons)}") from None


def _is_day(text: str) -> bool:
    if len(text) != 6 or not (text.isascii() and text.isdigit()):
        return False
    year, month, day = int(text[:2]), int(text[2:4]), int(text[4:])
    return 1 <= month <= 12 and 1 <= day <= monthrange(2000 + year, month)[1]


_JSON: Final = TypeAdapter(Personalisation)
