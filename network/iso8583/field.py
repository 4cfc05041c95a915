"""How one data element is written: the row of a dialect's table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["n", "z", "text", "x", "b"]
Coding = Literal["bcd", "ascii", "ebcdic", "binary", "hex", "ebcdic-hex"]
Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Field:
    """The format of one data element.

    Parameters
    ----------
    number : int
        Element number, 2 to 128.
    name : str
        Name for people.
    kind : {"n", "z", "text", "x", "b"}
        Digits; track data; text; a sign (C or D) and digits; bytes.
    maximum : int
        Longest content (the only one, where `prefix` is 0): digits for n, z and x, bytes for the others. The sign
        of an x element counts.
    coding : {"bcd", "ascii", "ebcdic", "binary", "hex", "ebcdic-hex"}
        How the content is written. The hexadecimal codings and "binary" are for kind b.
    prefix : int
        Digits of the length that precedes the content (its bytes, where `prefix_coding` is "binary"); 0 for a
        fixed length.
    prefix_coding : {"bcd", "ascii", "ebcdic", "binary"}
        How the length is written.
    pad : {"left", "right"}
        Where an odd number of BCD digits is filled up with a half-byte.
    half : int
        That half-byte, 0 to 15.
    filled : bool
        A variable element that always takes the room of its maximum, spaces (or zero digits in BCD) after its content.
    """

    number: int
    name: str
    kind: Kind
    maximum: int
    coding: Coding
    prefix: int = 0
    prefix_coding: Coding = "ascii"
    pad: Side = "left"
    half: int = 0
    filled: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.number <= 128:
            raise ValueError(f"element {self.number} is not between 2 and 128")
        allowed = ("binary", "hex", "ebcdic-hex") if self.kind == "b" else ("bcd", "ascii", "ebcdic")
        if self.coding not in allowed or (self.kind == "text" and self.coding == "bcd"):
            raise ValueError(f"DE{self.number}: kind {self.kind} cannot be coded as {self.coding}")
        if self.prefix_coding not in ("bcd", "ascii", "ebcdic", "binary"):
            raise ValueError(f"DE{self.number}: a length cannot be coded as {self.prefix_coding}")
        if self.maximum < (2 if self.kind == "x" else 1):
            raise ValueError(f"DE{self.number}: a length of {self.maximum} holds nothing")
        if self.kind == "x" and self.prefix:
            raise ValueError(f"DE{self.number}: a signed amount has a fixed length")
        if not 0 <= self.half <= 15:
            raise ValueError(f"DE{self.number}: {self.half} is not a half-byte")
        if not 0 <= self.prefix <= 6:
            raise ValueError(f"DE{self.number}: a length of {self.prefix} digits is not supported")

    @property
    def prefix_width(self) -> int:
        """Bytes the length takes."""
        return (self.prefix + 1) // 2 if self.prefix_coding == "bcd" else self.prefix

    def width(self, length: int) -> int:
        """Bytes that `length` units of content take."""
        if self.coding == "bcd":
            return 1 + length // 2 if self.kind == "x" else (length + 1) // 2
        return 2 * length if self.coding in ("hex", "ebcdic-hex") else length


def parse_format(text: str) -> tuple[Kind, int, int]:
    """Kind, prefix digits and maximum of a format in the standard's notation.

    Examples
    --------
    >>> parse_format("n..19 LL"), parse_format("ans15"), parse_format("b8")
    (('n', 2, 19), ('text', 0, 15), ('b', 0, 8))
    """
    head, _, var = text.partition(" ")
    letters = head.rstrip("0123456789.")
    number = head[len(letters) :].lstrip(".")
    kinds: dict[str, Kind] = {"n": "n", "z": "z", "x": "x", "b": "b"}
    return kinds.get(letters, "text"), len(var), int(number)


def table(
    formats: Iterable[tuple[int, str, str]],
    coding: Coding,
    prefix_coding: Coding,
    right_padded: frozenset[int] = frozenset(),
) -> dict[int, Field]:
    """A dialect's table from ``(number, name, format)`` rows; BCD applies to n, x and z elements only."""
    fields = {}
    for number, name, text in formats:
        kind, prefix, maximum = parse_format(text)
        own: Coding = coding
        if kind == "b":
            own = "binary"
        elif kind == "text":
            own = "ascii"
        side: Side = "right" if number in right_padded or prefix else "left"
        fields[number] = Field(number, name, kind, maximum, own, prefix, prefix_coding, side)
    return fields
