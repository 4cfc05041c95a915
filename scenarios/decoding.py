"""``fourparty decode``: a message in hex, described for people or as data."""

from __future__ import annotations

import re
from typing import Final

from rich.console import Console

from network.iso8583 import TERMINAL, DecodeError, Dialect, Message, describe, detect
from network.iso8583.masking import mask_element
from network.service import ConfigurationError

_IGNORED: Final = re.compile(r"(?:0[xX](?=[0-9A-Fa-f]{2}))|[\s:,]")
MAX_MESSAGE: Final = 16_384


def bytes_of_hex(text: str) -> bytes:
    """The bytes written in `text`.

    Raises
    ------
    ConfigurationError
        It is empty, too long, or not hex; the message says where.
    """
    digits = _IGNORED.sub("", text)
    if not digits:
        raise ConfigurationError("no message: give it in hex, or on stdin with -")
    if len(digits) > 2 * MAX_MESSAGE:
        raise ConfigurationError(f"the message is longer than {MAX_MESSAGE} bytes")
    wrong = re.search(r"[^0-9A-Fa-f]", digits)
    if wrong is not None:
        raise ConfigurationError(f"{wrong.group()!r} at digit {wrong.start() + 1} is not hex")
    if len(digits) % 2:
        raise ConfigurationError(f"{len(digits)} hex digits are not whole bytes: one is missing")
    return bytes.fromhex(digits)


def decode_hex(text: str, *, unmask: bool, as_json: bool) -> int:
    """Describe the message in `text`; exit code 0, or 1 when it cannot be decoded (what could be is shown)."""
    from scenarios.cli import print_json

    data = bytes_of_hex(text)
    console = Console(soft_wrap=True, highlight=False)
    try:
        dialect, message = detect(data)
    except DecodeError as error:
        if as_json:
            print_json({"error": str(error), "element": error.element, "offset": error.offset})
        else:
            if error.partial is not None:
                console.print(describe(error.partial, unmask=unmask), markup=False)
            Console(stderr=True, soft_wrap=True, highlight=False).print(f"cannot decode: {error}", markup=False)
        return 1
    if as_json:
        print_json({"dialect": _name(dialect), "mti": message.mti, "fields": _fields(message, unmask)})
    else:
        console.print(f"{_name(dialect)} message, {len(data)} bytes", markup=False)
        console.print(describe(message, dialect, unmask=unmask), markup=False)
    return 0


def _name(dialect: Dialect) -> str:
    return "terminal" if dialect is TERMINAL else "interbank"


def _fields(message: Message, unmask: bool) -> dict[str, str]:
    fields = {}
    for number, value in sorted(message.fields.items()):
        masked = mask_element(number, value)
        plain = value.hex().upper() if isinstance(value, bytes) else value
        fields[str(number)] = plain if unmask or masked == repr(value) else masked
    return fields
