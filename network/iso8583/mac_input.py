"""The string over which DE128 of the interbank dialect is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from network.iso8583.message import Message, Value

_ORDER = (2, 3, 4, 7, 11, 18, 25, 28, 32, 33, 38, 39, 41, 42, 90, 102, 103)
_KEY_RESET_ORDER = (7, 11, 39, 53, 70, 100)
_WITH_LENGTH = frozenset((2, 32, 33, 100, 102, 103))
_NETWORK_MANAGEMENT = frozenset(("0800", "0810", "0820", "0830"))
_KEPT = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz ,."
_DROPPED = bytes(set(range(256)) - set(_KEPT))
_UPPER = bytes(range(256)).upper()
_LENGTHS = tuple(f" {length:02d}" for length in range(1000))
_MOST_SHAPES = 256

_Join: TypeAlias = Callable[[str, Mapping[int, Value]], str]
_joins: dict[tuple[int, ...], _Join] = {}


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
    is_reset = fields.get(70) == "101" and message.mti in _NETWORK_MANAGEMENT
    shape = (is_reset, *fields)
    join = _joins.get(shape) or _compile(shape)
    try:
        text = join(message.mti, fields)
    except TypeError:
        text = ""
    if not (text and text.isascii()):
        # Every element here is ASCII in a regular message; bytes and Chinese count by their bytes.
        text = join(message.mti, {n: _bytewise(fields[n]) for n in fields})
    data = text.encode("latin-1").translate(_UPPER, _DROPPED)
    return b" ".join(data.split()) if b"  " in data or data[-1:] == b" " else data


def _compile(shape: tuple[int, ...]) -> _Join:
    """One expression that joins what takes part of the elements in `shape`; bytes among them are a TypeError."""
    is_reset, *present = shape
    parts = ["mti"]
    for number in _KEY_RESET_ORDER if is_reset else _ORDER:
        if number in present:
            element = f"fields[{number}]" if number != 90 else "fields[90][:20]"
            parts.append(f"LENGTHS[len(fields[{number}])]" if number in _WITH_LENGTH else "' '")
            parts.append(element)
    source = f"lambda mti, fields: ''.join(({', '.join(parts)},))"
    join: _Join = eval(source, {"LENGTHS": _LENGTHS})  # noqa: S307 - made of the numbers of elements only
    # bytes from the wire choose the shape: what is kept is bounded
    if len(_joins) >= _MOST_SHAPES:
        _joins.clear()
    _joins[shape] = join
    return join


def _bytewise(value: Value) -> str:
    return (value.encode("gbk", "replace") if isinstance(value, str) else value).decode("latin-1")
