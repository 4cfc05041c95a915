"""What a test host does to its line that no party does: break it, and send what is no message.

Both are told to the line as messages to a link of its own, so that a host stays a party: they happen after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from network.framing import MEMBER_FRAMING, Framing
from network.live import LiveRuntime
from network.party import LinkName, Turn

LINE: Final[LinkName] = "host-line"
"""The local link over which a host breaks others: what is sent to it is the name of a link."""

BREAK_SECONDS: Final = 0.05
"""How long the line stays after the message behind which it breaks."""

_MARK: Final = b"\0no length\0"


def break_link(turn: Turn, link: LinkName) -> None:
    """Break a link when what this turn sends has left."""
    turn.send(LINE, link.encode())


def without_length(body: bytes) -> bytes:
    """The body, to be sent behind something that is no length."""
    return _MARK + body


class OutspokenFraming:
    """The framing of a member link whose owner may send what is no frame."""

    @property
    def prefix(self) -> int:
        """See `network.framing.Framing`."""
        return MEMBER_FRAMING.prefix

    def length(self, prefix: bytes) -> int:
        """See `network.framing.Framing`."""
        return MEMBER_FRAMING.length(prefix)

    def split(self, buffer: bytearray) -> list[bytes]:
        """See `network.framing.Framing`."""
        return MEMBER_FRAMING.split(buffer)

    def frame(self, body: bytes) -> bytes:
        """See `network.framing.Framing`; a body from `without_length` has letters where its length should be."""
        if body.startswith(_MARK):
            return b"XXXX" + body[len(_MARK) :]
        return MEMBER_FRAMING.frame(body)


HOST_FRAMING: Final[Framing] = OutspokenFraming()


def attach_line(runtime: LiveRuntime) -> None:
    """Let a host in this runtime break its links."""
    loop = asyncio.get_running_loop()

    def told(body: bytes, _answer: Callable[[bytes], None]) -> None:
        loop.call_later(BREAK_SECONDS, runtime.hang_up, body.decode())

    runtime.attach(LINE, told)
