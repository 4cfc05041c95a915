"""The messages of a sale and a balance enquiry: the 0200 and what its 0210 says (docs/protocol.md)."""

from __future__ import annotations

from typing import Final

from merchant_device.kernel import OnlineRequest
from merchant_device.terminal import Approval
from network.emv import TlvError, tlv
from network.iso8583 import Message, TerminalHeader
from network.iso8583.message import Value

SALE_CODE: Final = "000000"
BALANCE_CODE: Final = "310000"
"""DE3."""

PIN_SECURITY: Final = "2600000000000000"
"""DE53: PIN block with PAN, 3DES, tracks not encrypted."""

ENTRY_WITH_PIN: Final = "071"
ENTRY_WITHOUT_PIN: Final = "072"
"""DE22: contactless chip card."""

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
) -> Message:
    """The 0200 of a sale, or of a balance enquiry where `amount` (fen) is None; DE64 is put in when it is packed."""
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
    fields[60] = private_element("01" if amount is None else "22", batch)
    return Message("0200", fields, header)


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
