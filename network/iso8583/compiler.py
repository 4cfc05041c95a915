"""Code made for one list of elements: straight-line Python that packs or unpacks exactly that list.

Generated code (`unpack_compiler`, `pack_compiler`) covers what is regular and gives up, by returning None or by raising
one of `GIVES_UP`, wherever it meets anything else; the caller then asks `interpreter`, which decides. So nothing there
defines what a message means, and nothing there produces an error message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from network.iso8583.interpreter import TRACK_CHARACTERS

GIVES_UP: Final = (IndexError, KeyError, TypeError, AttributeError, ValueError)

Unpacker = Callable[[bytes], "dict[int, str | bytes] | None"]
Packer = Callable[["dict[int, str | bytes]", bytes], "bytes | None"]

PRINTABLE: Final = "({0}.isascii() and {0}.isprintable())"
"""The expression that tells whether a str is printable ASCII."""


def alphabet(allowed: Iterable[int]) -> bytes:
    """A translation that makes digits of the bytes allowed and letters of all others.

    Checking `bytes.isdigit` after it is several times faster than any method of str that asks the same of characters.
    """
    members = frozenset(allowed)
    return bytes(ord("0") if byte in members else ord("x") for byte in range(256))


TRACK_TEXT: Final = alphabet(TRACK_CHARACTERS.encode("ascii"))
"""The alphabet of track data written as characters."""


def compiled(source: str, names: dict[str, object]) -> object:
    """The function ``f`` that `source` defines, with `names` as its globals."""
    exec(source, names)  # noqa: S102 - the source is made from the dialect's table alone, never from a message
    return names["f"]
