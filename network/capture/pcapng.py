"""The blocks of a pcapng file (draft-ietf-opsawg-pcapng), written little-endian, one section a file.

Packets are IP packets without a link layer, times are nanoseconds since 1970.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
STATISTICS: Final = 5
PACKET: Final = 6
SECRETS: Final = 0x0A
"""Block types."""

LINKTYPE_RAW: Final = 101
"""IPv4 or IPv6 packets, as their first half-byte says."""

TLS_KEY_LOG: Final = 0x544C534B
"""Type of secrets: a key log in NSS's format."""

MAX_BLOCK: Final = 16 << 20
"""Longest block that is read, in bytes; ours are far shorter."""

_MAGIC: Final = 0x1A2B3C4D
_COMMENT: Final = 1
_NANOSECONDS: Final = 9
_INBOUND: Final = 1
_OUTBOUND: Final = 2
_PACKET_HEAD: Final = 20
_FLAGS_FROM_END: Final = 8


class Block(NamedTuple):
    """A block as it stands in a file: its type and what is between its two lengths."""

    kind: int
    body: bytes


class NotPcapng(ValueError):
    """A file that is none of ours; the message says why."""


def section(application: str, system: str) -> bytes:
    """The block that begins a file."""
    options = _options((3, system.encode()), (4, application.encode()))
    return block(SECTION, struct.pack("<IHHq", _MAGIC, 1, 0, -1) + options)


def interface(name: str, description: str, system: str) -> bytes:
    """The block that describes where packets were seen: one process."""
    options = _options(
        (2, name.encode()), (3, description.encode()), (9, bytes((_NANOSECONDS,))), (12, system.encode())
    )
    return block(INTERFACE, struct.pack("<HHI", LINKTYPE_RAW, 0, 0) + options)


def packet(at: int, data: bytes, *, outgoing: bool, comment: str = "", number: int = 0) -> bytes:
    """A packet's block.

    Parameters
    ----------
    at : int
        Nanoseconds since 1970.
    data : bytes
        The IP packet.
    outgoing : bool
        Whether the process sent it.
    comment : str
        For people.
    number : int
        Of the interface, counted from 0 in the order of the interfaces' blocks.
    """
    length = len(data)
    head = struct.pack("<IIIII", number, at >> 32, at & 0xFFFFFFFF, length, length)
    flags = struct.pack("<I", _OUTBOUND if outgoing else _INBOUND)
    comments = [(_COMMENT, comment.encode())] if comment else []
    return block(PACKET, head + _padded(data) + _options(*comments, (2, flags)))


def secrets(key_log: bytes) -> bytes:
    """The block that holds lines of a TLS key log; it stands before the packets that they decrypt."""
    return block(SECRETS, struct.pack("<II", TLS_KEY_LOG, len(key_log)) + _padded(key_log))


def statistics(since: int, until: int, *, seen: int, dropped: int, number: int = 0) -> bytes:
    """The block that says how many packets an interface has seen, and how many of them are not in the file."""
    times = ((2, _time(since)), (3, _time(until)))
    counts = ((4, struct.pack("<Q", seen)), (5, struct.pack("<Q", dropped)))
    return block(STATISTICS, struct.pack("<I", number) + _time(until) + _options(*times, *counts))


def block(kind: int, body: bytes) -> bytes:
    """A block of any type; its body must be a multiple of four bytes."""
    length = struct.pack("<I", len(body) + 12)
    return b"".join((struct.pack("<I", kind), length, body, length))


def read_blocks(file: BinaryIO) -> Iterator[Block]:
    """The blocks of a file that this module has written, up to where it ends, be it in the middle of a block.

    Raises
    ------
    NotPcapng
        It does not begin as such a file, or a block's lengths are wrong.
    """
    first = True
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<II", head)
        if first and kind != SECTION:
            raise NotPcapng("it does not begin with a section")
        if not 12 <= length <= MAX_BLOCK or length % 4:
            raise NotPcapng(f"a block of {length} bytes")
        rest = file.read(length - 8)
        if len(rest) < length - 8:
            return
        if rest[-4:] != head[4:]:
            raise NotPcapng("a block whose two lengths differ")
        if first and rest[:4] != struct.pack("<I", _MAGIC):
            raise NotPcapng("its bytes are in another order")
        first = False
        yield Block(kind, rest[:-4])


def time_of(body: bytes) -> int:
    """When a packet was seen, from its block's body."""
    high, low = struct.unpack_from("<II", body, 4)
    return int(high) << 32 | int(low)


def content_of(body: bytes) -> bytes:
    """The IP packet of a packet's block, from the block's body."""
    return body[_PACKET_HEAD : _PACKET_HEAD + int.from_bytes(body[12:16], "little")]


def is_outgoing(body: bytes) -> bool:
    """Whether the process sent it, from the body of a block that `packet` has made: its flags stand last."""
    return body[-_FLAGS_FROM_END] & 3 == _OUTBOUND


def renumbered(one: Block, number: int) -> bytes:
    """A packet's or statistics' block for the interface `number` of another file."""
    return block(one.kind, struct.pack("<I", number) + one.body[4:])


def _time(at: int) -> bytes:
    return struct.pack("<II", at >> 32, at & 0xFFFFFFFF)


def _options(*options: tuple[int, bytes]) -> bytes:
    written = [struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options]
    return b"".join(written) + b"\0\0\0\0"


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
