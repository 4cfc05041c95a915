"""Data object lists: what a card asks for and how it is given (EMV 4.4 Book 3, 5.4).

A list is a sequence of tag and one-byte length; the answer is the values in that order, nothing between them, each
cut or padded to the length asked. A value that is not known, or is asked for by the tag of a template, is zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from network.emv.tags import TAGS, Format
from network.emv.tlv import TlvError, is_constructed

MAX_ENTRIES: Final = 64
"""Most entries a list may have."""

MAX_DATA: Final = 252
"""Most bytes a list may ask for: what fits a short command together with the header of template 83."""


def parse(dol: bytes) -> list[tuple[str, int]]:
    """Read a list into (tag, length in bytes), in order.

    Raises
    ------
    TlvError
        When an entry is cut short, or the list has more than `MAX_ENTRIES` entries or asks for more than `MAX_DATA`
        bytes in all.

    """
    return list(_parsed(dol))


def build(dol: bytes, values: Mapping[str, bytes]) -> bytes:
    """Give the data that `dol` asks for, from `values` (tag to value).

    Numeric values are cut and padded on the left, with zeros; compressed numeric ones are cut on the right and padded
    there with F nibbles; all others, and tags the dictionary does not know, are cut and padded on the right, with
    zeros.

    Raises
    ------
    TlvError
        As `parse`.

    """
    parts: list[bytes] = []
    for tag, length in _wanted(dol):
        value = values.get(tag, b"")
        parts.append(value if len(value) == length else _fitted(tag, value, length))
    return b"".join(parts)


def encode(entries: list[tuple[str, int]]) -> bytes:
    """Write a list; the reverse of `parse`.

    Raises
    ------
    TlvError
        When an entry is not a tag, a length does not fit one byte, or a limit of this module is passed.

    """
    try:
        dol = b"".join([bytes.fromhex(tag) + bytes((length,)) for tag, length in entries])
    except ValueError:
        raise TlvError("an entry needs a tag in hexadecimal and a length of 0 to 255") from None
    if list(_parsed(dol)) != entries:
        raise TlvError("an entry is not a tag of one to three bytes in upper-case hexadecimal")
    return dol


# Cards of one product carry the same list, so that reading it is nearly always a look-up.
@lru_cache(maxsize=256)
def _parsed(dol: bytes) -> tuple[tuple[str, int], ...]:
    entries: list[tuple[str, int]] = []
    offset = total = 0
    while offset < len(dol):
        end = offset + 1
        if dol[offset] & 0x1F == 0x1F:
            while end < len(dol) and dol[end] & 0x80 and end - offset < 2:
                end += 1
            if end < len(dol) and dol[end] & 0x80:
                raise TlvError("tag of more than three bytes", offset)
            end += 1
        if end >= len(dol):
            raise TlvError("entry cut short", offset)
        if len(entries) == MAX_ENTRIES:
            raise TlvError(f"more than {MAX_ENTRIES} entries", offset)
        total += dol[end]
        if total > MAX_DATA:
            raise TlvError(f"more than {MAX_DATA} bytes asked for", offset)
        entries.append((dol[offset:end].hex().upper(), dol[end]))
        offset = end + 1
    return tuple(entries)


# A template may not be asked for; the empty name makes sure that no value is found for it.
@lru_cache(maxsize=256)
def _wanted(dol: bytes) -> tuple[tuple[str, int], ...]:
    return tuple(("" if is_constructed(tag) else tag, length) for tag, length in _parsed(dol))


def _fitted(tag: str, value: bytes, length: int) -> bytes:
    if not value:
        return bytes(length)
    known = TAGS.get(tag)
    form = known.format if known else Format.BINARY
    if form is Format.NUMERIC:
        return value[-length:].rjust(length, b"\x00") if length else b""
    return value[:length].ljust(length, b"\xff" if form is Format.COMPRESSED_NUMERIC else b"\x00")
