"""What DE59 tells of a payment: the device, the payer's code, the attestation, the order (docs/protocol.md).

Of what a terminal sends the switch gets the device and tags that nobody knows; what only the acquirer or the switch
may say is taken out. The layout is this network's own usage, after general practice [G].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from acquirer.tables import Terminal
from network.iso8583.additional_data import AdditionalDataError, decode_objects, encode_objects
from network.iso8583.message import Value

DEVICE: Final = "A2"
PAYER_CODE: Final = "A3"
ATTESTATION: Final = "A4"
ORDER: Final = "A5"

_NOT_THE_TERMINALS: Final = (PAYER_CODE, ATTESTATION, ORDER, "T1", "R1")
"""Of these the code is handed on by itself, the others are not for terminals to say."""

_TERMINAL_TYPE, _PHONE_TYPE = "04", "11"
_LONGEST: Final = 570
"""Bytes of DE59 that the switch takes; it keeps room for a token in the 600 that the element has."""

_LONGEST_DEVICE: Final = 40
"""Characters of a device's id."""

_ORDER_LENGTH: Final = 20


class TerminalDataError(ValueError):
    """DE59 that cannot be handed on; the message says why, never with a value."""


def objects_of(element: Value | None) -> dict[str, str]:
    """The objects of a terminal's DE59; none where it is missing or nothing that can be read."""
    if not isinstance(element, str):
        return {}
    try:
        return decode_objects(element)
    except AdditionalDataError:
        return {}


def code_in(objects: Mapping[str, str]) -> str | None:
    """The payer's code (A3, 01); None where there is none."""
    return _inner(objects, PAYER_CODE).get("01")


def order_number_in(element: Value | None) -> str | None:
    """The number of an order in DE62 (A5, 01); None where there is none, or one that no order can have."""
    if not isinstance(element, bytes):
        return None
    try:
        number = _inner(decode_objects(element.decode()), ORDER).get("01")
    except (UnicodeDecodeError, AdditionalDataError):
        return None
    # DE62 may hold anything, and its sender is not known yet: only digits may reach the store
    return number if number is not None and is_order_number(number) else None


def is_order_number(text: str) -> bool:
    """Whether a text has the form of an order's number: 20 digits."""
    return len(text) == _ORDER_LENGTH and text.isascii() and text.isdigit()


def device_in(objects: Mapping[str, str]) -> str | None:
    """What the terminal tells of its device (A2), as it stands; None where there is nothing that can be read."""
    return objects.get(DEVICE) if _inner(objects, DEVICE) else None


def for_switch(
    terminal: Terminal,
    objects: Mapping[str, str],
    attestation: Mapping[str, str],
    *,
    code: str | None = None,
    order: str | None = None,
) -> str | None:
    """DE59 of a request to the switch; None where there is nothing to say.

    Parameters
    ----------
    objects
        What the terminal said. Where a device is bound to it, that device's id and the type of a phone stand in A2,
        whatever it said.
    attestation
        What A4 holds; empty where no device is bound to the terminal.
    code
        The payer's code.
    order
        The number of the order that is paid.

    Raises
    ------
    TerminalDataError
        It is too long for the switch, or the device's id is.
    """
    device = _inner(objects, DEVICE)
    if terminal.device_id is not None:
        device = {**device, "01": _PHONE_TYPE, "02": terminal.device_id}
    elif device:
        device = {"01": _TERMINAL_TYPE, **device}
        if not 1 <= len(device.get("02", "-")) <= _LONGEST_DEVICE:
            raise TerminalDataError(f"A2 02 is not 1 to {_LONGEST_DEVICE} characters")
    out: dict[str, str | Mapping[str, str]] = {DEVICE: dict(sorted(device.items()))}
    if code is not None:
        out[PAYER_CODE] = {"01": code}
    if attestation:
        out[ATTESTATION] = attestation
    if order is not None:
        out[ORDER] = {"01": order}
    out |= {tag: value for tag, value in objects.items() if tag not in _NOT_THE_TERMINALS and tag != DEVICE}
    try:
        text = encode_objects(out)
    except AdditionalDataError as error:
        raise TerminalDataError(f"DE59: {error}") from None
    if len(text.encode()) > _LONGEST:
        raise TerminalDataError(f"DE59 is longer than {_LONGEST} bytes")
    return text or None


def _inner(objects: Mapping[str, str], tag: str) -> dict[str, str]:
    return objects_of(objects.get(tag))
