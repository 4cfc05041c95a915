"""The messages of a sale and a balance enquiry: 0200, 0220 and what the answer says (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from merchant_device.kernel import OnlineRequest
from merchant_device.tables import Phone, Sale
from merchant_device.terminal import Approval, CodeRequest
from network.emv import TlvError, tlv
from network.iso8583 import Message, TerminalHeader
from network.iso8583.additional_data import encode_objects
from network.iso8583.message import Value
from network.party import local_time

SALE_CODE: Final = "000000"
BALANCE_CODE: Final = "310000"
"""DE3."""

PIN_SECURITY: Final = "2600000000000000"
PIN_SECURITY_WITHOUT_PAN: Final = "1600000000000000"
"""DE53: PIN block with or without PAN, 3DES, tracks not encrypted."""

ENTRY_WITH_PIN: Final = "071"
ENTRY_WITHOUT_PIN: Final = "072"
"""DE22: contactless chip card."""

CODE_WITH_PIN: Final = "031"
CODE_WITHOUT_PIN: Final = "032"
"""DE22: code."""

SALE_TYPE: Final = "22"
OFFLINE_TYPE: Final = "36"
"""DE60.1; that of an offline sale is general practice, not confirmed by a public text."""

_PHONE_DEVICE: Final = "11"

_ISSUER_AUTHENTICATION: Final = "91"
_AVAILABLE: Final = "02"
_BALANCE_LENGTH: Final = 20


def private_element(transaction_type: str, batch: str) -> str:
    """DE60 of a financial message: type, batch, 000, terminal capability 6 (chip and contactless), chip condition 0."""
    return f"{transaction_type}{batch}00060"


def request_message(
    header: TerminalHeader,
    terminal_id: str,
    merchant_id: str,
    stan: str,
    batch: str,
    amount: int | None,
    card: OnlineRequest,
    pin_block: bytes | None,
    currency: str,
    pin_maximum: int,
    additional: str | None = None,
) -> Message:
    """The 0200 of a sale, or of a balance enquiry where `amount` (fen) is None; DE64 is put in when it is packed.

    `additional` is DE59 (`device_object`).
    """
    fields: dict[int, Value] = {2: card.pan}
    if amount is None:
        fields[3] = BALANCE_CODE
    else:
        fields[3] = SALE_CODE
        fields[4] = f"{amount:012d}"
    fields[11] = stan
    fields[14] = card.expiry
    fields[22] = ENTRY_WITHOUT_PIN if pin_block is None else ENTRY_WITH_PIN
    if card.sequence is not None:
        fields[23] = card.sequence
    fields[25] = "00"
    if pin_block is not None:
        fields[26] = f"{pin_maximum:02d}"
    fields[35] = card.track2
    fields[41] = terminal_id
    fields[42] = merchant_id
    fields[49] = currency
    if pin_block is not None:
        fields[52] = pin_block
        fields[53] = PIN_SECURITY
    fields[55] = card.field55
    if additional is not None:
        fields[59] = additional
    fields[60] = private_element("01" if amount is None else SALE_TYPE, batch)
    return Message("0200", fields, header)


def code_request_message(
    header: TerminalHeader,
    terminal_id: str,
    merchant_id: str,
    stan: str,
    batch: str,
    amount: int,
    code: CodeRequest,
    pin_block: bytes | None,
    currency: str,
    pin_maximum: int,
    device: Mapping[str, str],
) -> Message:
    """The 0200 of a sale by the payer's code; DE64 is put in when it is packed.

    The PIN block, where there is one, is not bound to a card number, which nobody knows here; `device` is the content
    of DE59 A2, empty where the terminal has no device.
    """
    fields: dict[int, Value] = {
        3: SALE_CODE,
        4: f"{amount:012d}",
        11: stan,
        22: CODE_WITHOUT_PIN if pin_block is None else CODE_WITH_PIN,
        25: "00",
    }
    if pin_block is not None:
        fields[26] = f"{pin_maximum:02d}"
    fields[41] = terminal_id
    fields[42] = merchant_id
    fields[49] = currency
    if pin_block is not None:
        fields[52] = pin_block
        fields[53] = PIN_SECURITY_WITHOUT_PAN
    fields[59] = encode_objects({"A2": device, "A3": {"01": code.text}})
    fields[60] = private_element(SALE_TYPE, batch)
    return Message("0200", fields, header)


def offline_message(header: TerminalHeader, sale: Sale, pan: str, expiry: str, currency: str) -> Message:
    """The 0220 of a sale that the card approved, the same at every sending; DE64 is put in when it is packed."""
    began = local_time(sale.started_at)
    fields: dict[int, Value] = {
        2: pan,
        3: SALE_CODE,
        4: f"{sale.amount:012d}",
        11: sale.stan,
        12: f"{began:%H%M%S}",
        13: f"{began:%m%d}",
        14: expiry,
        22: sale.entry_mode,
    }
    if sale.card_sequence is not None:
        fields[23] = sale.card_sequence
    fields[25] = "00"
    fields[41] = sale.terminal_id
    fields[42] = sale.merchant_id
    fields[49] = currency
    fields[55] = sale.chip or b""
    if sale.additional is not None:
        fields[59] = sale.additional
    fields[60] = private_element(OFFLINE_TYPE, sale.batch)
    return Message("0220", fields, header)


def device_objects(phone: Phone, app_version: str) -> dict[str, str]:
    """What is in DE59 A2: which device it is and where; empty of a terminal that is bound to none."""
    if phone.device_id is None:
        return {}
    return _device_objects(phone.device_id, phone.place, app_version)


# A phone sends the same all day.
@lru_cache(maxsize=1024)
def device_element(device_id: str, place: str | None, app_version: str) -> str:
    """DE59 that holds nothing but A2."""
    return encode_objects({"A2": _device_objects(device_id, place, app_version)})


def _device_objects(device_id: str, place: str | None, app_version: str) -> dict[str, str]:
    return {"01": _PHONE_DEVICE, "02": device_id, "03": place or "", "05": app_version}


def approval_of(fields: dict[int, Value]) -> Approval:
    """What an approving 0210 tells the merchant."""
    return Approval(str(fields[39]), text(fields, 37), text(fields, 38), balance_of(fields.get(54)))


def text(fields: dict[int, Value], number: int) -> str | None:
    """The element where it is printable text, else None."""
    value = fields.get(number)
    return value if isinstance(value, str) else None


def balance_of(element: Value | None) -> int | None:
    """The available balance in DE54 (else the first one it holds), in fen; negative after a D.

    None where there is none, or the element is not made of balances: account type 2, amount type 2, currency 3, C or
    D, n12.
    """
    if not isinstance(element, str) or not element or len(element) % _BALANCE_LENGTH:
        return None
    found: int | None = None
    for start in range(0, len(element), _BALANCE_LENGTH):
        one = element[start : start + _BALANCE_LENGTH]
        sign, digits = one[7], one[8:]
        if sign not in "CD" or not (digits.isascii() and digits.isdigit()):
            return None
        value = int(digits) if sign == "C" else -int(digits)
        if one[2:4] == _AVAILABLE:
            return value
        if found is None:
            found = value
    return found


def issuer_authentication_of(element: Value | None) -> bytes | None:
    """Tag 91 in DE55 of an 0210; None where it is absent.

    Raises
    ------
    TlvError
        The element is not chip data.
    """
    if element is None:
        return None
    if not isinstance(element, bytes):
        raise TlvError("element 55 is not bytes", 0)
    return tlv.find(element, _ISSUER_AUTHENTICATION)
