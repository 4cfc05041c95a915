"""The string over which DE128 of the interbank dialect is computed."""

from __future__ import annotations

from collections.abc import Mapping

from network.iso8583.message import Message, Value

_ORDER = (2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103)
_KEY_RESET_ORDER = (7, 11, 39, 53, 70, 100)
_WITH_LENGTH = frozenset((2, 32, 33, 100, 102, 103))
_NETWORK_MANAGEMENT = frozenset(("0800", "0810", "0820", "0830"))
_KEPT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz ,."
_DROPPED = bytes(set(range(256)) - set(_KEPT))
_UPPER = bytes(range(256)).upper()


def interbank_mac_input(message: Message) -> bytes:
    """What DE128 is the MAC of [unconfirmed; after JR/T 0055.4].

    Parameters
    ----------
    message : Message
        Of the interbank dialect; DE128 itself plays no part.

    Returns
    -------
    bytes
        MTI and the elements that take part, where present, in their order, joined by one space; variable ones with
        their two digits of length, of DE90 the first 20 characters; upper case, only letters, digits, space, comma
        and full stop, runs of spaces collapsed. A key reset (0800 to 0830 with DE70 101) has an order of its own.
    """
    fields = message.fields
    order: tuple[int, ...] = _ORDER
    if fields.get(70) == "101" and message.mti in _NETWORK_MANAGEMENT:
        order = _KEY_RESET_ORDER
    try:
        text = _joined(message.mti, fields, order)
    except TypeError:
        text = ""
    if not (text and text.isascii()):
        # Every element here is ASCII in a regular message; bytes and Chinese count by their bytes.
        text = _joined(message.mti, {n: _bytewise(fields[n]) for n in order if n in fields}, order)
    data = text.encode("latin-1").translate(_UPPER, _DROPPED)
    return b" ".join(data.split()) if b"  " in data or data[-1:] == b" " else data


def _joined(mti: str, fields: Mapping[int, Value], order: tuple[int, ...]) -> str:
    parts: list[Value] = [mti]
    for number in order:
        if number in fields:
            value = fields[number]
            if number in _WITH_LENGTH:
                parts.append(f" {len(value):02d}")
                parts.append(value)
            else:
                parts.append(" ")
                parts.append(value if number != 90 else value[:20])
    return "".join(parts)  # type: ignore[arg-type] # bytes among them are the TypeError that the caller expects


def _bytewise(value: Value) -> str:
    return (value.encode("gbk", "replace") if isinstance(value, str) else value).decode("latin-1")
