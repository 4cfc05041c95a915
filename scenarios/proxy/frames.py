"""Keeps track of where messages begin and end on a stream that passes through.

While nobody wants whole messages, bytes pass as they come and only their lengths are counted; the moment somebody
does, the next frame that begins is kept until it is whole. Nothing is added, lost or changed, whatever the bytes are: a
stream that holds no frames passes on as it is.
"""

from __future__ import annotations

from typing import NamedTuple

from network.framing import Framing, FramingError


class Unit(NamedTuple):
    """Bytes in the order in which they came; where `is_message`, one whole frame with a body."""

    data: bytes
    is_message: bool


class Frames:
    """One direction of one connection.

    Parameters
    ----------
    framing : Framing or None
        None for a stream of which nothing is known.

    Attributes
    ----------
    is_broken : bool
        No frame begins where one should; everything since passes as bytes.
    """

    def __init__(self, framing: Framing | None) -> None:
        self._framing = framing
        self.is_broken = framing is None
        self._prefix = bytearray()
        self._left = 0
        self._kept = bytearray()
        self._has_passed = False

    @property
    def kept(self) -> int:
        """Bytes of a frame that is not whole yet and has not passed."""
        return len(self._kept)

    def feed(self, data: bytes, *, whole: bool) -> list[Unit]:
        """What passes now that `data` has come.

        Parameters
        ----------
        whole : bool
            Whether frames are to be kept until they are whole.
        """
        if self._framing is None or self.is_broken:
            return [Unit(data, False)] if data else []
        units: list[Unit] = []
        at, end = 0, len(data)
        while at < end:
            missing = self._framing.prefix - len(self._prefix)
            size = min(missing or self._left, end - at)
            part = data[at : at + size]
            at += size
            self._kept += part
            if missing:
                self._prefix += part
                if size < missing:
                    break
                try:
                    self._left = self._framing.length(bytes(self._prefix))
                except FramingError:
                    self.is_broken = True
                    self._pass(units, bytes(self._kept) + data[at:], False)
                    self._kept.clear()
                    return units
            else:
                self._left -= size
            if not self._left:
                # a length of zero is a probe: it carries nothing to strike
                is_message = whole and not self._has_passed and len(self._kept) > self._framing.prefix
                self._pass(units, bytes(self._kept), is_message)
                self._kept.clear()
                self._prefix.clear()
                self._has_passed = False
        if self._kept and (not whole or self._has_passed):
            self._pass(units, self.rest(), False)
            self._has_passed = True
        return units

    def rest(self) -> bytes:
        """Take what was kept of a frame that will not be whole."""
        rest = bytes(self._kept)
        self._kept.clear()
        return rest

    @staticmethod
    def _pass(units: list[Unit], data: bytes, is_message: bool) -> None:
        if units and not is_message and not units[-1].is_message:
            units[-1] = Unit(units[-1].data + data, False)
        elif data:
            units.append(Unit(data, is_message))
