"""Payment codes as EMVCo writes them: merchant-presented text and payer-presented BER-TLV (DOMAIN.md 4, QR).

A merchant-presented code (EMV QRCPS-MPM 1.1) is a sequence of objects: id (2 digits), length in characters (2 digits),
value; the last object is the CRC over all that stands before it. A payer-presented code (EMV QRCPS-CPM 1.0) is base64
of BER-TLV.

Where the network puts what it needs: object 15 is UnionPay's merchant account information, made of the acquirer's and
the forwarder's number and the merchant's; that this is its layout is general practice, unconfirmed. The number of an
order is the reference label (62.05), the terminal the terminal label (62.07).

>>> code = MerchantCode(False, "48020000", "48020000000000000001", "898290054110001", "00000001", "Stall", "Shanghai",
...                     "5411", amount=888)
>>> MerchantCode.parse(code.build()) == code
True
"""

from __future__ import annotations

import base64
import binascii
import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from network.emv import tlv

MAX_TEXT: Final = 512
"""Longest code, in characters (MPM 3.2, CPM 3)."""

MAX_FEN: Final = 999_999_999_999
UNIONPAY: Final = "15"
"""Object of UnionPay's merchant account information; 16 is its second."""

_ACCOUNT_LENGTH: Final = 31
_OBJECT: Final = re.compile(r"[0-9]{4}", re.ASCII)
_AMOUNT: Final = re.compile(r"([0-9]{1,10})(?:\.([0-9]{0,2}))?", re.ASCII)
_CRC_HEAD: Final = "6304"
_KNOWN: Final = frozenset({"00", "01", "15", "52", "53", "54", "58", "59", "60", "62", "63", "64"})
_DOMESTIC: Final = re.compile(r"62[0-9]{17}", re.ASCII)
_PRINTABLE_NAME: Final = re.compile(r"[ -~]{1,25}", re.ASCII)


class QrError(ValueError):
    """A text that is no such code, or a code that cannot be; says what is wrong with it, never with a number of it."""


def crc(text: str) -> str:
    """Checksum of a merchant-presented code: CRC-16 with polynomial 1021 and start FFFF, over UTF-8 (MPM 4.7.3).

    >>> crc("123456789")
    '29B1'
    """
    return f"{binascii.crc_hqx(text.encode(), 0xFFFF):04X}"


def is_domestic_code(text: str) -> bool:
    """Whether a payer's code is one of digits: 19 of them beginning 62; general practice, unconfirmed."""
    return _DOMESTIC.fullmatch(text) is not None


def merchant_objects(text: str) -> dict[str, str]:
    """Read a merchant-presented code of any network into its objects, in their order, the CRC checked.

    Raises
    ------
    QrError
        It is no such code, its CRC is wrong, or an object is missing or malformed that every code must have.
    """
    if len(text) > MAX_TEXT:
        raise QrError(f"longer than {MAX_TEXT} characters")
    objects = _objects(text, "the code")
    if next(iter(objects), None) != "00" or objects["00"] != "01":
        raise QrError("does not begin with payload format indicator 01")
    if next(reversed(objects)) != "63" or not text[:-4].endswith(_CRC_HEAD):
        raise QrError("does not end with its CRC")
    if text[-4:].upper() != crc(text[:-4]):
        raise QrError("the CRC is wrong")
    for tag, what, pattern in _MANDATORY:
        if re.fullmatch(pattern, objects.get(tag, ""), re.ASCII | re.DOTALL) is None:
            raise QrError(f"{what} ({tag}) is missing or malformed")
    if objects.get("01", "11") not in ("11", "12"):
        raise QrError("point of initiation (01) is neither static nor dynamic")
    if not any("02" <= tag <= "51" for tag in objects):
        raise QrError("no merchant account information")
    if "54" in objects:
        _fen(objects["54"])
    return objects


@dataclass(frozen=True)
class MerchantCode:
    """A merchant-presented code of this network.

    Attributes
    ----------
    is_static : bool
        Whether it stands for any number of payments (01 is 11) or for one (12).
    acquirer_id : str
        8 digits.
    order : str or None
        Number of the order, 1 to 25 characters.
    merchant_id : str
        DE42, 15 letters and digits.
    terminal_id : str or None
        DE41, 8 characters.
    merchant_name, city : str
        For people. A name that is not of ASCII, or longer than 25 characters, stands in the language template (64), and
        the merchant's number in its place.
    category, currency, country : str
        Merchant category code, ISO 4217 number, ISO 3166 letters (2).
    amount : int or None
        Fen; None where the payer says it.
    others : mapping
        Objects that the network knows nothing of: id to text; written again before the CRC.
    """

    is_static: bool
    acquirer_id: str
    order: str | None
    merchant_id: str
    terminal_id: str | None
    merchant_name: str
    city: str
    category: str
    country: str = "CN"
    currency: str = "156"
    amount: int | None = None
    others: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        for name, value, pattern in (
            ("acquirer_id", self.acquirer_id, r"[0-9]{8}"),
            ("merchant_id", self.merchant_id, r"[0-9A-Za-z]{15}"),
            ("terminal_id", self.terminal_id or "00000000", r"[0-9A-Za-z]{8}"),
            ("order", self.order or "0", r"[ -~]{1,25}"),
            ("category", self.category, r"[0-9]{4}"),
            ("country", self.country, r"[A-Z]{2}"),
            ("currency", self.currency, r"[0-9]{3}"),
            ("merchant_name", self.merchant_name, r"[^\x00-\x1f]{1,60}"),
            ("city", self.city, r"[^\x00-\x1f]{1,60}"),
        ):
            if re.fullmatch(pattern, value) is None:
                raise QrError(f"{name} is malformed")
        if self.amount is not None and not 1 <= self.amount <= MAX_FEN:
            raise QrError("amount is not from 1 to 999999999999 fen")
        if any(tag in _KNOWN or _OBJECT.fullmatch(tag + "00") is None for tag in self.others):
            raise QrError("others: an object that has a place of its own")

    def build(self) -> str:
        """Write the code.

        Raises
        ------
        QrError
            It would be longer than a code may be.
        """
        objects = {"00": "01", "01": "11" if self.is_static else "12"}
        objects[UNIONPAY] = self.acquirer_id * 2 + self.merchant_id
        objects |= {"52": self.category, "53": self.currency}
        if self.amount is not None:
            objects["54"] = f"{self.amount // 100}.{self.amount % 100:02d}"
        plain = _PRINTABLE_NAME.fullmatch(self.merchant_name) and re.fullmatch(r"[ -~]{1,15}", self.city)
        objects["58"] = self.country
        objects["59"] = self.merchant_name if plain else self.merchant_id
        objects["60"] = self.city if plain else self.acquirer_id
        labels = {"05": self.order or "", "07": self.terminal_id or ""}
        if any(labels.values()):
            objects["62"] = _written(labels)
        if not plain:
            objects["64"] = _written({"00": "ZH", "01": self.merchant_name[:25], "02": self.city[:15]})
        text = _written(objects | dict(self.others)) + _CRC_HEAD
        if len(text) + 4 > MAX_TEXT:
            raise QrError(f"longer than {MAX_TEXT} characters")
        return text + crc(text)

    @classmethod
    def parse(cls, text: str) -> MerchantCode:
        """Read a code.

        Raises
        ------
        QrError
            As `merchant_objects`, and when it is another network's.
        """
        objects = merchant_objects(text)
        account = objects.get(UNIONPAY, "")
        if len(account) != _ACCOUNT_LENGTH:
            raise QrError("no merchant of this network (15)")
        labels = _objects(objects.get("62", ""), "62")
        language = _objects(objects.get("64", ""), "64")
        return cls(
            is_static=objects.get("01", "11") == "11",
            acquirer_id=account[:8],
            order=labels.get("05"),
            merchant_id=account[16:],
            terminal_id=labels.get("07"),
            merchant_name=language.get("01", objects["59"]),
            city=language.get("02", objects["60"]),
            category=objects["52"],
            country=objects["58"],
            currency=objects["53"],
            amount=_fen(objects["54"]) if "54" in objects else None,
            others={tag: value for tag, value in objects.items() if tag not in _KNOWN},
        )


_MANDATORY: Final = (
    ("52", "merchant category code", r"[0-9]{4}"),
    ("53", "currency", r"[0-9]{3}"),
    ("58", "country", r"[A-Z]{2}"),
    ("59", "merchant's name", r".{1,25}"),
    ("60", "merchant's city", r".{1,15}"),
)


@dataclass(frozen=True, repr=False)
class PayerCode:
    """A payer-presented code with a cryptogram.

    Attributes
    ----------
    aid : bytes
        The application, 5 to 16 bytes.
    token : str
        What stands for the card: 13 to 19 digits.
    expiry : str or None
        YYMM.
    sequence : str or None
        Three digits.
    iad, cryptogram, atc, unpredictable_number : bytes
        9F10 (up to 32), 9F26 (8), 9F36 (2), 9F37 (4).
    name : str or None
        The payer's, as they want it shown.
    """

    aid: bytes
    token: str
    expiry: str | None
    sequence: str | None
    iad: bytes
    cryptogram: bytes
    atc: bytes
    unpredictable_number: bytes
    name: str | None = None

    def __post_init__(self) -> None:
        if not 5 <= len(self.aid) <= 16:
            raise QrError("4F is not 5 to 16 bytes")
        if not (13 <= len(self.token) <= 19 and self.token.isascii() and self.token.isdigit()):
            raise QrError("5A is not 13 to 19 digits")
        if self.expiry is not None and re.fullmatch(r"[0-9]{2}(0[1-9]|1[0-2])", self.expiry, re.ASCII) is None:
            raise QrError("5F24 is no date")
        if self.sequence is not None and re.fullmatch(r"0[0-9]{2}", self.sequence, re.ASCII) is None:
            raise QrError("5F34 is not two digits")
        if not 1 <= len(self.iad) <= 32:
            raise QrError("9F10 is not 1 to 32 bytes")
        for tag, value, size in (
            ("9F26", self.cryptogram, 8),
            ("9F36", self.atc, 2),
            ("9F37", self.unpredictable_number, 4),
        ):
            if len(value) != size:
                raise QrError(f"{tag} is not {size} bytes")

    def __repr__(self) -> str:
        return f"PayerCode(aid={self.aid.hex().upper()}, token={self.token[:6]}...)"

    def build(self) -> str:
        """Write the code: base64 of its BER-TLV."""
        account = tlv.encode("5A", bytes.fromhex(self.token + "F" * (len(self.token) % 2)))
        if self.name is not None:
            account += tlv.encode("5F20", self.name.encode())
        if self.expiry is not None:
            account += tlv.encode("5F24", bytes.fromhex(f"{self.expiry}{_last_day(self.expiry)}"))
        if self.sequence is not None:
            account += tlv.encode("5F34", bytes.fromhex(self.sequence[1:]))
        chip = {"9F10": self.iad, "9F26": self.cryptogram, "9F36": self.atc, "9F37": self.unpredictable_number}
        account += tlv.encode("64", tlv.encode_all(chip))
        data = tlv.encode("85", b"CPV01") + tlv.encode("61", tlv.encode("4F", self.aid)) + tlv.encode("62", account)
        text = base64.b64encode(data).decode("ascii")
        if len(text) > MAX_TEXT:
            raise QrError(f"longer than {MAX_TEXT} characters")
        return text

    @classmethod
    def parse(cls, text: str) -> PayerCode:
        """Read a code.

        Raises
        ------
        QrError
            It is no such code, or one without a cryptogram.
        """
        if len(text) > MAX_TEXT:
            raise QrError(f"longer than {MAX_TEXT} characters")
        try:
            data = base64.b64decode(text.encode("ascii"), validate=True)
            objects = tlv.objects(data)
        except (UnicodeEncodeError, binascii.Error):
            raise QrError("is not base64") from None
        except tlv.TlvError as error:
            raise QrError(f"malformed: {error.reason}") from None
        if not objects or objects[0] != ("85", b"CPV01"):
            raise QrError("does not begin with payload format indicator CPV01")
        application = next((value for tag, value in objects if tag == "61"), b"")
        common = [value for tag, value in objects if tag == "62"]
        if len(common) != 1:
            raise QrError("not exactly one common data template (62)")
        try:
            names = tlv.flat(application)
            account = tlv.flat(common[0])
            chip = tlv.flat(account.get("64", b""))
        except tlv.TlvError as error:
            raise QrError(f"malformed: {error.reason}") from None
        account = account | names  # a network's own template counts before the common one (CPM 4.2)
        expiry, sequence, name = account.get("5F24"), account.get("5F34"), account.get("5F20")
        return cls(
            aid=account.get("4F", b""),
            token=account.get("5A", b"").hex().upper().removesuffix("F"),
            expiry=None if expiry is None else expiry.hex()[:4],
            sequence=None if sequence is None else f"0{sequence.hex()}",
            iad=chip.get("9F10", b""),
            cryptogram=chip.get("9F26", b""),
            atc=chip.get("9F36", b""),
            unpredictable_number=chip.get("9F37", b""),
            name=None if name is None else name.decode("utf-8", "replace"),
        )


def _objects(text: str, where: str) -> dict[str, str]:
    """Read objects, each with an id of its own, lengths in characters."""
    found: dict[str, str] = {}
    offset = 0
    while offset < len(text):
        head = text[offset : offset + 4]
        if _OBJECT.fullmatch(head) is None:
            raise QrError(f"{where}: no id and length at character {offset}")
        tag, length = head[:2], int(head[2:])
        value = text[offset + 4 : offset + 4 + length]
        if len(value) < length or not length:
            raise QrError(f"{where}: object {tag} is cut off or empty")
        if tag in found:
            raise QrError(f"{where}: object {tag} stands twice")
        found[tag] = value
        offset += 4 + length
    return found


def _written(objects: Mapping[str, str]) -> str:
    for tag, value in objects.items():
        if len(value) > 99:
            raise QrError(f"object {tag} is longer than 99 characters")
    return "".join(f"{tag}{len(value):02d}{value}" for tag, value in objects.items() if value)


def _fen(text: str) -> int:
    matched = _AMOUNT.fullmatch(text)
    fen = 0 if matched is None else int(matched[1]) * 100 + int((matched[2] or "").ljust(2, "0"))
    if not 1 <= fen <= MAX_FEN:
        raise QrError("amount (54) is malformed")
    return fen


def _last_day(expiry: str) -> str:
    return f"{monthrange(2000 + int(expiry[:2]), int(expiry[2:]))[1]:02d}"
