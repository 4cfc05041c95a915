"""Where a message begins and ends on a byte stream: the two link framings (DOMAIN.md sections 2 and 3).

Pure functions of bytes: a `Framing` splits what has arrived into bodies and frames a body to send. A length that
cannot be right is a `FramingError`; the link is then closed, since nothing after it can be trusted.
"""

from __future__ import annotations

from typing import Final, Protocol

MAX_BODY: Final = 8192
"""Longest message body accepted, in bytes. The longest that either dialect can carry is below it."""


class FramingError(Exception):
    """The stream does not hold a frame; the message says what was wrong with its length.

    Attributes
    ----------
    bodies : list of bytes
        What stood whole before it in the stream, in order.
    """

    def __init__(self, reason: str, bodies: list[bytes] | None = None) -> None:
        super().__init__(reason)
        self.bodies = bodies or []


class Framing(Protocol):
    """How bodies travel on a stream."""

    @property
    def prefix(self) -> int:
        """Bytes of the length that stands before each body."""

    def length(self, prefix: bytes) -> int:
        """How many bytes of body follow a length of `prefix` bytes; FramingError when it cannot be one."""

    def frame(self, body: bytes) -> bytes:
        """The bytes that carry `body`; FramingError when it is too long for the framing."""

    def split(self, buffer: bytearray) -> list[bytes]:
        """Take every whole body out of the front of `buffer`; what is not whole yet stays there.

        Raises
        ------
        FramingError
            No frame begins after the bodies that the error carries; `buffer` is of no use any more.
        """


class TerminalFraming:
    """Two bytes of length, big-endian, then the body. A length of zero is an idle probe and carries nothing.

    Parameters
    ----------
    limit : int
        Longest body.
    """

    prefix: Final = 2

    def __init__(self, limit: int = MAX_BODY) -> None:
        self._limit = limit

    def length(self, prefix: bytes) -> int:
        """See `Framing`."""
        length = int.from_bytes(prefix, "big")
        if length > self._limit:
            raise FramingError(f"length {length} exceeds {self._limit}")
        return length

    def frame(self, body: bytes) -> bytes:
        """See `Framing`."""
        if len(body) > self._limit:
            raise FramingError(f"a body of {len(body)} bytes exceeds {self._limit}")
        return len(body).to_bytes(2, "big") + body

    def split(self, buffer: bytearray) -> list[bytes]:
        """See `Framing`."""
        bodies: list[bytes] = []
        position, end, limit = 0, len(buffer), self._limit
        while end - position >= 2:
            length = buffer[position] << 8 | buffer[position + 1]
            if length > limit:
                raise FramingError(f"length {length} exceeds {limit}", bodies)
            if end - position - 2 < length:
                break
            position += 2
            if length:
                bodies.append(bytes(buffer[position : position + length]))
                position += length
        del buffer[:position]
        return bodies


class MemberFraming:
    """Four ASCII digits of length, then the body. ``0000`` is an idle probe [G: not confirmed in a public text]."""

    prefix: Final = 4

    def length(self, prefix: bytes) -> int:
        """See `Framing`."""
        if not prefix.isdigit():
            raise FramingError("the length prefix is not four digits")
        length = int(prefix)
        if length > MAX_BODY:
            raise FramingError(f"length {length} exceeds {MAX_BODY}")
        return length

    def frame(self, body: bytes) -> bytes:
        """See `Framing`."""
        if len(body) > MAX_BODY:
            raise FramingError(f"a body of {len(body)} bytes exceeds {MAX_BODY}")
        return b"%04d" % len(body) + body

    def split(self, buffer: bytearray) -> list[bytes]:
        """See `Framing`."""
        bodies: list[bytes] = []
        position, end = 0, len(buffer)
        while end - position >= 4:
            prefix = buffer[position : position + 4]
            if not prefix.isdigit():
                raise FramingError("the length prefix is not four digits", bodies)
            length = int(prefix)
            if length > MAX_BODY:
                raise FramingError(f"length {length} exceeds {MAX_BODY}", bodies)
            if end - position - 4 < length:
                break
            position += 4
            if length:
                bodies.append(bytes(buffer[position : position + length]))
                position += length
        del buffer[:position]
        return bodies


TERMINAL_FRAMING: Final[Framing] = TerminalFraming()
MEMBER_FRAMING: Final[Framing] = MemberFraming()
