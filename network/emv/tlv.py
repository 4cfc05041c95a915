"""BER-TLV as chip cards use it: objects of tag, length and value (EMV 4.4 Book 3, Annex B).

Tags are upper-case hexadecimal strings, ``"9F26"``. Tags nobody knows are kept like any other, and a length that was
written longer than necessary is written that way again, so what was parsed is built to the same bytes. Only the
filler bytes 00 and FF that may stand between objects are dropped (Book 3 Annex B1; ISO/IEC 7816-4 5.2.2.1).

Three views of the same bytes, cheapest first: `find` looks for one object, `flat` gives the top-level objects as a
dictionary (element 55 on the hot path), `parse` gives the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_DEPTH: Final = 8
"""Deepest nesting of constructed objects that `parse` and `build` follow."""

MAX_OBJECTS: Final = 512
"""Most objects, at all depths together, that one call reads."""

MAX_LENGTH: Final = 65535
"""Longest data, in bytes, that one call reads; also the longest value a three-byte length field can announce."""

_FILLERS: Final = (0x00, 0xFF)
_ONE_BYTE: Final = tuple(f"{first:02X}" for first in range(256))
_TWO_BYTES: Final = tuple(f"{both:04X}" for both in range(65536))


class TlvError(ValueError):
    """Bytes that are not BER-TLV, or objects that cannot be written as it.

    Parameters
    ----------
    reason : str
        What is wrong. Never holds a value of the data, which may be a card number.
    offset : int
        Where, in bytes from the start of the data given.

    Attributes
    ----------
    reason, offset
        As given.
    parsed : tuple of Node
        The whole top-level objects that `parse` read before the fault.

    """

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(f"TLV, offset {offset}: {reason}")
        self.reason = reason
        self.offset = offset
        self.parsed: tuple[Node, ...] = ()

    def __reduce__(self) -> tuple[type[TlvError], tuple[str, int]]:
        return (TlvError, (self.reason, self.offset))


@dataclass(frozen=True, slots=True)
class Node:
    """One data object.

    Attributes
    ----------
    tag : str
        Upper-case hexadecimal, 2, 4 or 6 characters.
    value : bytes
        The value field as it stands; of a constructed object, the bytes of its members.
    children : tuple of Node
        The members of a constructed object, in order. When they are given, `build` writes them and not `value`.
    length_octets : int
        Size of the length field as read, 1 to 3; 0 for the shortest that serves.

    """

    tag: str
    value: bytes = b""
    children: tuple[Node, ...] = ()
    length_octets: int = 0

    @property
    def constructed(self) -> bool:
        """Whether the tag announces members (bit 6 of its first byte) rather than a value."""
        return is_constructed(self.tag)

    def __repr__(self) -> str:
        # Values may be card data: a repr gives their size only.
        inside = f", {len(self.children)} members" if self.children else ""
        return f"Node({self.tag}, {len(self.value)} bytes{inside})"


def is_constructed(tag: str) -> bool:
    """Tell whether `tag`, a hexadecimal string, is that of a constructed object (Book 3 Annex B1)."""
    return bool(int(tag[:2], 16) & 0x20)


def parse(data: bytes) -> list[Node]:
    """Read `data` as a sequence of objects, constructed ones down to their last member.

    Raises
    ------
    TlvError
        When an object is cut short, has a tag of more than three bytes, a length field of more than three or an
        indefinite length, or when a limit of this module is passed. The offset counts from the start of `data`.

    """
    _check_size(data)
    nodes: list[Node] = []
    try:
        _parse_level(data, 0, len(data), 1, [MAX_OBJECTS], nodes)
    except TlvError as error:
        error.parsed = tuple(nodes)
        raise
    return nodes


def build(nodes: Iterable[Node]) -> bytes:
    """Write objects; the reverse of `parse`, byte for byte but for fillers.

    Raises
    ------
    TlvError
        When a tag is not one, or a value or the nesting is too large.

    """
    data = b"".join([_build_node(node, 1) for node in nodes])
    _check_size(data)
    return data


def encode(tag: str, value: bytes) -> bytes:
    """Write one object with the shortest length field.

    Raises
    ------
    TlvError
        When `tag` is not a tag of one to three bytes or `value` is longer than `MAX_LENGTH`.

    """
    return _header(tag, len(value)) + value


def encode_all(values: Mapping[str, bytes]) -> bytes:
    """Write a dictionary of tag to value, in its order; the reverse of `flat`.

    Raises
    ------
    TlvError
        As `encode`.

    """
    return b"".join([_header(tag, len(value)) + value for tag, value in values.items()])


def objects(data: bytes) -> list[tuple[str, bytes]]:
    """List the top-level objects of `data` as (tag, value), in order, repeated tags included.

    Constructed objects are not opened: their value is the bytes of their members.

    Raises
    ------
    TlvError
        As `parse`, for the top level only.

    """
    size = len(data)
    _check_size(data)
    found: list[tuple[str, bytes]] = []
    offset = 0
    while offset < size:
        first = data[offset]
        if first in _FILLERS:
            offset += 1
            continue
        tag, start, end, _ = _read_header(data, offset, size)
        if len(found) >= MAX_OBJECTS:
            raise TlvError(f"more than {MAX_OBJECTS} objects", offset)
        found.append((tag, data[start:end]))
        offset = end
    return found


def flat(data: bytes) -> dict[str, bytes]:
    """Read the top-level objects of `data` into a dictionary that keeps their order.

    The hot path for element 55 and for the templates of card answers. Constructed objects are not opened: a script
    template 72 is kept whole under its own tag.

    Raises
    ------
    TlvError
        As `parse`, and when a tag occurs twice: which of two values counts is nothing to guess about in a payment.
        Data that may rightly repeat a tag (two script templates, directory entries) are for `objects` or `parse`.

    """
    size = len(data)
    if size > MAX_LENGTH:
        _check_size(data)
    found: dict[str, bytes] = {}
    offset = count = 0
    try:
        while offset < size:
            start = offset
            first = data[offset]
            if first & 0x1F != 0x1F:
                if first == 0:
                    offset += 1
                    continue
                tag = _ONE_BYTE[first]
                offset += 1
            elif first == 0xFF:
                offset += 1
                continue
            else:
                second = data[offset + 1]
                if second < 0x80:
                    tag = _TWO_BYTES[first << 8 | second]
                    offset += 2
                else:
                    tag, offset = _read_tag(data, offset, size)
            length = data[offset]
            if length < 0x80:
                offset += 1
            else:
                length, offset = _read_length(data, offset, size)
            end = offset + length
            found[tag] = data[offset:end]
            count += 1
            if count != len(found):
                raise TlvError(f"tag {tag} occurs twice", start)
            offset = end
    except IndexError:
        raise TlvError("object cut short", start) from None
    if offset != size:
        raise TlvError(f"{tag} cut short: {length} bytes announced, {size - (end - length)} there", start)
    if count > MAX_OBJECTS:
        raise TlvError(f"more than {MAX_OBJECTS} objects", size)
    return found


def find(data: bytes, tag: str) -> bytes | None:
    """Give the value of the first top-level object with `tag`, or None when there is none.

    Objects after the one found are not looked at.

    Raises
    ------
    TlvError
        As `parse`, for what stands before the object sought.

    """
    size = len(data)
    _check_size(data)
    offset = 0
    while offset < size:
        if data[offset] in _FILLERS:
            offset += 1
            continue
        here, start, end, _ = _read_header(data, offset, size)
        if here == tag:
            return data[start:end]
        offset = end
    return None


def _check_size(data: bytes) -> None:
    if len(data) > MAX_LENGTH:
        raise TlvError(f"{len(data)} bytes, at most {MAX_LENGTH} are read", MAX_LENGTH)


def _parse_level(data: bytes, offset: int, limit: int, depth: int, budget: list[int], nodes: list[Node]) -> None:
    """Append the objects between `offset` and `limit` to `nodes`; `budget` counts down over all levels."""
    while offset < limit:
        if data[offset] in _FILLERS:
            offset += 1
            continue
        if depth > MAX_DEPTH:
            raise TlvError(f"objects nested deeper than {MAX_DEPTH} levels", offset)
        if budget[0] == 0:
            raise TlvError(f"more than {MAX_OBJECTS} objects", offset)
        budget[0] -= 1
        tag, start, end, length_octets = _read_header(data, offset, limit)
        children: list[Node] = []
        if data[offset] & 0x20:
            _parse_level(data, start, end, depth + 1, budget, children)
        nodes.append(Node(tag, data[start:end], tuple(children), length_octets))
        offset = end


def _read_header(data: bytes, offset: int, limit: int) -> tuple[str, int, int, int]:
    """Give tag, start and end of the value, and the size of the length field of the object at `offset`."""
    tag, after_tag = _read_tag(data, offset, limit)
    length, start = _read_length(data, after_tag, limit)
    if start + length > limit:
        raise TlvError(f"{tag} cut short: {length} bytes announced, {limit - start} there", offset)
    return tag, start, start + length, start - after_tag


def _read_tag(data: bytes, offset: int, limit: int) -> tuple[str, int]:
    end = offset + 1
    if data[offset] & 0x1F == 0x1F:
        while True:
            if end == limit:
                raise TlvError("tag cut short", offset)
            more = data[end] & 0x80
            end += 1
            if not more:
                break
            if end - offset == 3:
                raise TlvError("tag of more than three bytes", offset)
    return data[offset:end].hex().upper(), end


def _read_length(data: bytes, offset: int, limit: int) -> tuple[int, int]:
    if offset >= limit:
        raise TlvError("length missing", offset)
    first = data[offset]
    if first < 0x80:
        return first, offset + 1
    octets = first & 0x7F
    if octets == 0:
        raise TlvError("indefinite length", offset)
    if octets > 2:
        raise TlvError(f"length field of {octets + 1} bytes, at most 3 are read", offset)
    end = offset + 1 + octets
    if end > limit:
        raise TlvError("length cut short", offset)
    return int.from_bytes(data[offset + 1 : end], "big"), end


def _build_node(node: Node, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise TlvError(f"objects nested deeper than {MAX_DEPTH} levels")
    value = node.value
    if node.children:
        if not node.constructed:
            raise TlvError(f"{node.tag} is a primitive tag and has members")
        value = b"".join([_build_node(child, depth + 1) for child in node.children])
    return _tag_bytes(node.tag) + _length_bytes(len(value), node.length_octets) + value


# A party writes the same few objects in the same few sizes all day.
@lru_cache(maxsize=4096)
def _header(tag: str, length: int) -> bytes:
    return _tag_bytes(tag) + _length_bytes(length, 0)


def _tag_bytes(tag: str) -> bytes:
    try:
        raw = bytes.fromhex(tag)
        if raw.hex().upper() != tag or raw[0] in _FILLERS or _read_tag(raw, 0, len(raw))[1] != len(raw):
            raise ValueError
    except (ValueError, IndexError):
        raise TlvError(f"{tag!r} is not a tag of one to three bytes in upper-case hexadecimal") from None
    return raw


def _length_bytes(length: int, octets: int) -> bytes:
    if length > MAX_LENGTH:
        raise TlvError(f"value of {length} bytes, at most {MAX_LENGTH} are written")
    shortest = 1 if length < 0x80 else 2 if length < 0x100 else 3
    octets = max(octets, shortest)
    if octets == 1:
        return bytes((length,))
    return bytes((0x7F + octets,)) + length.to_bytes(octets - 1, "big")
