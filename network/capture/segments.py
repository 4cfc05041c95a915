"""A TCP connection as the packets that would carry it: SYN, segments with their sequence numbers, FIN or RST.

A process sees bytes, not packets. The packets are made here from the connection's real addresses and from the
bytes in the order in which they were read and written; how the system cut them up is not known, so they are cut at
the size that Ethernet allows.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

MTU: Final = 1500
"""Longest IP packet, in bytes."""

_FIN: Final = 0x01
_SYN: Final = 0x02
_RST: Final = 0x04
_PSH: Final = 0x08
_ACK: Final = 0x10
_TCP: Final = 6
_WINDOW: Final = 65_535
_HOPS: Final = 64
_TCP_HEADER: Final = 20
_WRAP: Final = 1 << 32


class Peer(NamedTuple):
    """One end of a connection."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int

    @classmethod
    def of(cls, name: object) -> Peer | None:
        """The end that a socket's name says; None where it is no address of IP."""
        if not isinstance(name, tuple) or len(name) < 2:
            return None
        try:
            return cls(ipaddress.ip_address(str(name[0]).partition("%")[0]), int(name[1]))
        except ValueError:
            return None


class Segment(NamedTuple):
    """A packet and whether this process sent it."""

    outgoing: bool
    packet: bytes


class Seen(NamedTuple):
    """What of a packet says to which connection it belongs, and whether it opens that."""

    ends: frozenset[bytes]
    opens: bool

    @classmethod
    def of(cls, packet: bytes) -> Seen:
        """Read a packet that `Segments` has made."""
        start, length, tcp = (8, 16, 40) if packet[0] >> 4 == 6 else (12, 4, 20)
        source = packet[start : start + length] + packet[tcp : tcp + 2]
        target = packet[start + length : start + 2 * length] + packet[tcp + 2 : tcp + 4]
        return cls(frozenset((source, target)), packet[tcp + 13] & (_SYN | _ACK) == _SYN)


class Segments:
    """Makes the packets of one connection, in order.

    Parameters
    ----------
    local, remote : Peer
        This process's end and the other one, both of the same version of IP.
    accepted : bool
        Whether the other end dialled.
    first : int
        Where sequence numbers begin. Two connections of the same addresses need different ones, or they would be
        taken for one.
    """

    def __init__(self, local: Peer, remote: Peer, *, accepted: bool, first: int) -> None:
        self._accepted = accepted
        # by direction, incoming first: who sends, who receives, the next sequence number
        self._peers = ((remote, local), (local, remote))
        self._next = [first % _WRAP, (first + (1 << 31)) % _WRAP]
        self._ports = tuple(struct.pack(">HH", source.port, target.port) for source, target in self._peers)
        self._addresses = tuple(source.address.packed + target.address.packed for source, target in self._peers)
        self._is_v6 = local.address.version == 6
        self._room = MTU - _TCP_HEADER - (40 if self._is_v6 else 20)
        self._packets = 0

    def opening(self) -> Iterator[Segment]:
        """The three packets that open the connection."""
        dialled = not self._accepted
        size = struct.pack(">BBH", 2, 4, self._room)
        yield self._segment(dialled, _SYN, options=size)
        yield self._segment(not dialled, _SYN | _ACK, options=size)
        yield self._segment(dialled, _ACK)

    def data(self, outgoing: bool, payload: bytes) -> Iterator[Segment]:
        """The packets that carry bytes in one direction."""
        room = self._room
        for at in range(0, len(payload), room):
            part = payload[at : at + room]
            yield self._segment(outgoing, _ACK | (_PSH if at + room >= len(payload) else 0), part)

    def skip(self, outgoing: bool, length: int) -> None:
        """Leave out bytes that were lost, so that their place in the stream stays empty."""
        self._next[outgoing] = (self._next[outgoing] + length) % _WRAP

    def closing(self, *, reset: bool) -> Iterator[Segment]:
        """The packets that end the connection.

        Parameters
        ----------
        reset
            Whether it broke, rather than being closed in order.
        """
        if reset:
            yield self._segment(not self._accepted, _RST | _ACK)
            return
        yield self._segment(False, _FIN | _ACK)
        yield self._segment(True, _FIN | _ACK)
        yield self._segment(False, _ACK)

    def _segment(self, outgoing: bool, flags: int, payload: bytes = b"", options: bytes = b"") -> Segment:
        number = self._next[outgoing]
        acknowledged = self._next[not outgoing] if flags & _ACK else 0
        words = (_TCP_HEADER + len(options)) // 4
        head = self._ports[outgoing] + struct.pack(">IIBBH", number, acknowledged, words << 4, flags, _WINDOW)
        length = _TCP_HEADER + len(options) + len(payload)
        addresses = self._addresses[outgoing]
        checked = b"".join((addresses, struct.pack(">HH", _TCP, length), head, bytes(4), options, payload))
        tcp = b"".join((head, struct.pack(">HH", _checksum(checked), 0), options, payload))
        self._next[outgoing] = (number + len(payload) + bool(flags & (_SYN | _FIN))) % _WRAP
        self._packets += 1
        return Segment(outgoing, self._ip(addresses, length) + tcp)

    def _ip(self, addresses: bytes, length: int) -> bytes:
        if self._is_v6:
            return struct.pack(">IHBB", 6 << 28, length, _TCP, _HOPS) + addresses
        head = struct.pack(">BBHHHBB", 0x45, 0, 20 + length, self._packets & 0xFFFF, 0x4000, _HOPS, _TCP)
        return head + struct.pack(">H", _checksum(head + addresses)) + addresses


def _checksum(data: bytes) -> int:
    """RFC 1071: the complement of the sum in ones' complement, which is the remainder by 65535."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF
    # a sum of all ones and of all zeros have the same remainder; no header that is checked sums up to zero
    return 0xFFFF - total if total else 0
