"""As much of DER (X.690) as key attestation needs: tags of any number, integers, octet strings, sequences and sets.

The reader takes what real phones have written: a BOOLEAN other than 00 is true, members of a SET stand in any order.
Lengths are definite and must end inside what holds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

MEMBERS_LIMIT: Final = 256
"""Most members of one sequence or set; more than that is junk."""

_CONTEXT: Final = 0xA0
_HIGH: Final = 0x1F
_INTEGER_LIMIT: Final = 64
_NUMBER_LIMIT: Final = 1 << 28


class DerError(ValueError):
    """Bytes that are no such encoding; the message says what was expected."""


class Element(NamedTuple):
    """One encoded value: its identifier octet, its tag number, its content, and all of it as it was encoded."""

    identifier: int
    number: int
    content: bytes
    encoded: bytes

    @property
    def is_explicit(self) -> bool:
        """Whether this is a constructed, context-specific element, as an explicit tag is."""
        return self.identifier & 0xE0 == _CONTEXT


def read(data: bytes, offset: int = 0) -> tuple[Element, int]:
    """Read the element at `offset`; with the offset after it.

    Raises
    ------
    DerError
        There is none.
    """
    start = offset
    try:
        identifier = data[offset]
        offset += 1
        number = identifier & _HIGH
        if number == _HIGH:
            number = 0
            while True:
                byte = data[offset]
                offset += 1
                number = number << 7 | byte & 0x7F
                if number >= _NUMBER_LIMIT:
                    raise DerError("a tag number is too large")
                if byte < 0x80:
                    break
        length = data[offset]
        offset += 1
        if length >= 0x80:
            size = length & 0x7F
            if not 1 <= size <= 3:
                raise DerError("a length is indefinite or too large")
            length = int.from_bytes(data[offset : offset + size])
            offset += size
    except IndexError:
        raise DerError("an element is cut off") from None
    end = offset + length
    if end > len(data):
        raise DerError("an element is cut off")
    return Element(identifier, number, data[offset:end], data[start:end]), end


def members(content: bytes) -> Iterator[Element]:
    """The elements that stand one after another in `content`."""
    offset = count = 0
    while offset < len(content):
        element, offset = read(content, offset)
        count += 1
        if count > MEMBERS_LIMIT:
            raise DerError(f"more than {MEMBERS_LIMIT} members")
        yield element


def only(data: bytes, identifier: int, what: str) -> bytes:
    """The content of the one element that `data` consists of.

    Raises
    ------
    DerError
        It is another, or more follows.
    """
    element, end = read(data)
    if end != len(data):
        raise DerError(f"{what}: more follows")
    return content_of(element, identifier, what)


def content_of(element: Element, identifier: int, what: str) -> bytes:
    """The content of an element that must have this identifier."""
    if element.identifier != identifier:
        raise DerError(f"{what}: identifier {element.identifier:02X} where {identifier:02X} should be")
    return element.content


def to_integer(content: bytes, what: str) -> int:
    """The number of an INTEGER's or ENUMERATED's content."""
    if not 1 <= len(content) <= _INTEGER_LIMIT:
        raise DerError(f"{what}: a number of {len(content)} bytes")
    return int.from_bytes(content, signed=True)


def write(identifier: int, content: bytes) -> bytes:
    """An element with a tag number below 31."""
    return bytes((identifier,)) + _length(len(content)) + content


def write_integer(value: int, identifier: int = INTEGER) -> bytes:
    """An INTEGER, or an ENUMERATED, in its shortest form."""
    size = (value + (value < 0)).bit_length() // 8 + 1
    return write(identifier, value.to_bytes(size, signed=True))


def write_set(encoded: Iterable[bytes]) -> bytes:
    """A SET OF, its members in the order of their encodings (X.690, 11.6)."""
    return write(SET, b"".join(sorted(encoded)))


def write_explicit(number: int, inner: bytes) -> bytes:
    """An element in an explicit context-specific tag of any number."""
    if number < _HIGH:
        return write(_CONTEXT | number, inner)
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F | 0x80)
    return bytes((_CONTEXT | _HIGH, *reversed(digits))) + _length(len(inner)) + inner


def _length(length: int) -> bytes:
    if length < 0x80:
        return bytes((length,))
    size = (length.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + length.to_bytes(size)
