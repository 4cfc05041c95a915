"""Text elements: str where the bytes are printable text that can be sent again as it came, else bytes."""

from __future__ import annotations

import re
from functools import lru_cache

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ufeff]")
_NO_CONTROL = bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
# IBM 1047, the code page of EBCDIC card links, is code page 037 with three pairs of characters exchanged (037 is the
# nearest that Python has).
_EXCHANGED = bytes.maketrans(bytes((0x5F, 0xB0, 0xAD, 0xBA, 0xBB, 0xBD)), bytes((0xB0, 0x5F, 0xBA, 0xAD, 0xBD, 0xBB)))


def decode_text(raw: bytes, charset: str) -> str | bytes:
    """`raw` as str if it is printable text of `charset` and encodes to the same bytes, else `raw` itself."""
    # No byte of a character outside ASCII is an ASCII control in GBK, UTF-8 or a single-byte code page.
    if raw.translate(None, _NO_CONTROL):
        return raw
    if raw.isascii():
        return raw.decode("ascii")
    return _decode_foreign(raw, charset)


def encode_text(value: str, charset: str) -> bytes | None:
    """`value` in `charset`, or None if it has characters that the charset lacks or that are not printable."""
    if not value.isprintable() and _CONTROL.search(value):
        return None
    try:
        return value.encode(charset)
    except UnicodeEncodeError:
        return None


def widen(value: str | bytes, charset: str) -> str:
    """`value` with one character for each byte of its encoding, so that lengths count bytes (latin-1 gives the bytes).

    Raises
    ------
    ValueError
        A str is not printable, or cannot be encoded.
    """
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("not printable text")
    return value if value.isascii() else _widen_foreign(value, charset)


def from_ebcdic(raw: bytes) -> str:
    """IBM 1047 to str, one character a byte."""
    return raw.translate(_EXCHANGED).decode("cp037")


def to_ebcdic(value: str) -> bytes:
    """Str to IBM 1047.

    Raises
    ------
    UnicodeEncodeError
        A character has no place in the code page.
    """
    return value.encode("cp037").translate(_EXCHANGED)


# Text beyond ASCII is the names and places of merchants and replies in fixed words, which come again and again.
@lru_cache(maxsize=1024)
def _decode_foreign(raw: bytes, charset: str) -> str | bytes:
    try:
        value = raw.decode(charset)
        if (value.isprintable() or not _CONTROL.search(value)) and value.encode(charset) == raw:
            return value
    except UnicodeError:
        pass
    return raw


@lru_cache(maxsize=1024)
def _widen_foreign(value: str, charset: str) -> str:
    return value.encode(charset).decode("latin-1")
