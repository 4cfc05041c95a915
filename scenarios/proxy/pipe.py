"""One direction of a connection through a fault proxy: reads, does what its toxics do, writes.

What comes in becomes pieces that stand in a line and leave in its order, each not before its time. Messages that are
held back stand beside the line until they join it. Line and bench together are bounded: when they are full, the source
is not read. What a toxic holds back when it is removed goes on at once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from scenarios.proxy.dialects import Reader
from scenarios.proxy.fitted import Fitted
from scenarios.proxy.frames import Frames
from scenarios.proxy.toxics import (
    Bandwidth,
    Drop,
    Duplicate,
    Hold,
    Latency,
    LimitData,
    Reorder,
    Slicer,
    SlowClose,
    Stream,
    Timeout,
)

HELD_BYTES: Final = 1 << 20
"""Bytes that a direction may hold; beyond it the source is not read."""

READ_BYTES: Final = 65_536
_BANDWIDTH_STEP: Final = 0.05
"""Seconds: a narrow line is written as often."""

Lag = tuple[Fitted, float]
"""Seconds by which a toxic delays something while it is there."""


class Piece(NamedTuple):
    """Bytes that leave together, or an end."""

    data: bytes
    came: float
    lags: tuple[Lag, ...] = ()
    gap: Lag | None = None
    ends: str = ""
    """``stream``: the source will send no more; ``connection``: everything ends with this."""


class _Held:
    """A message on the bench, and the toxics that it has still before it."""

    __slots__ = ("ahead", "by", "frame", "overtaking", "timer")

    def __init__(self, frame: bytes, by: Fitted, ahead: Sequence[Fitted]) -> None:
        self.frame = frame
        self.by = by
        self.ahead = ahead
        self.overtaking = 0
        self.timer: asyncio.TimerHandle | None = None


Struck = Callable[[Stream, Fitted, str], None]
"""Told of a message that was struck: direction, by what, its type."""


class Pipe:
    """One direction.

    Parameters
    ----------
    stream : {"upstream", "downstream"}
    source, sink
        Where bytes come from and go to.
    reader : Reader or None
        Who understands the messages on it.
    end : callable
        Ends the whole connection.
    struck : callable
        Told of each message that a toxic strikes.
    """

    def __init__(
        self,
        stream: Stream,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        reader: Reader | None,
        end: Callable[[], None],
        struck: Struck,
    ) -> None:
        self.stream = stream
        self._source = source
        self._sink = sink
        self._reader = reader
        self._end = end
        self._struck = struck
        self._loop = asyncio.get_running_loop()
        self._frames = Frames(reader.framing if reader is not None else None)
        self._fitted: list[Fitted] = []
        self._line: deque[Piece] = deque()
        self._held: dict[int, _Held] = {}
        self._overtaken: dict[int, _Held] = {}
        self._numbers = itertools.count()
        self._bytes = 0
        self._has_ended = False
        self._free_at = 0.0
        self._has_room = asyncio.Event()
        self._has_work = asyncio.Event()
        self._has_changed = asyncio.Event()

    def fit(self, fitted: Fitted, order: Sequence[str]) -> None:
        """Have a toxic from now on, at its place in `order`."""
        self._fitted.append(fitted)
        self._fitted.sort(key=lambda one: order.index(one.toxic.name))
        self._has_changed.set()

    def unfit(self, fitted: Fitted) -> None:
        """Have it no longer; what it holds back goes on."""
        fitted.stop()
        self._fitted.remove(fitted)
        for number in [number for number, held in self._held.items() if held.by is fitted]:
            self._release(number)
        self._has_changed.set()

    def stop(self) -> None:
        """The connection has ended: what is held is lost."""
        for fitted in self._fitted:
            fitted.stop()
        for held in self._held.values():
            if held.timer is not None:
                held.timer.cancel()
        self._held.clear()
        self._line.clear()

    async def read(self) -> None:
        """Take what the source sends until it ends."""
        while True:
            while self._bytes + self._frames.kept > HELD_BYTES:
                self._has_room.clear()
                await self._has_room.wait()
            data = await self._source.read(READ_BYTES)
            if not data:
                break
            for unit in self._frames.feed(data, whole=self._wants_messages()):
                if unit.is_message:
                    self._take_message(unit.data, self._fitted)
                else:
                    self._take_bytes(unit.data)
            await self._sink.drain()
        self._take_bytes(self._frames.rest())
        self._has_ended = True
        for number in list(self._overtaken):
            self._release(number)  # nobody will come to overtake it
        self._finish()

    async def write(self) -> None:
        """Let leave what stands in the line until the stream ends."""
        while True:
            while not self._line:
                self._has_work.clear()
                await self._has_work.wait()
            piece = self._line[0]
            if piece.gap is not None:
                await self._wait_until(self._loop.time(), [piece.gap])
            await self._wait_until(piece.came, piece.lags)
            if piece.data:
                await self._send(piece.data)
            self._line.popleft()
            self._bytes -= len(piece.data)
            self._has_room.set()
            if piece.ends:
                self._close(piece.ends)
                return

    def _close(self, ends: str) -> None:
        if ends == "stream" and self._sink.can_write_eof() and not self._sink.transport.is_closing():
            self._sink.write_eof()
        else:
            self._end()

    def _wants_messages(self) -> bool:
        return any(fitted.is_active and fitted.toxic.knows_messages for fitted in self._fitted)

    # messages

    def _take_message(self, frame: bytes, toxics: Sequence[Fitted]) -> None:
        """Lead a frame past the toxics."""
        reader = self._reader
        if reader is None:
            self._take_bytes(frame)
            return
        width = reader.framing.prefix
        facts = reader.facts(frame[width:])
        for place, fitted in enumerate(toxics, 1):
            effect = fitted.effect
            other = fitted.spoilt(frame[width:], facts, reader)
            if other is not None:
                self._struck(self.stream, fitted, facts.mti)
                frame = reader.framing.frame(other)
                facts = reader.facts(other)
            elif isinstance(effect, Drop | Hold | Reorder | Duplicate) and fitted.strikes(facts):
                self._struck(self.stream, fitted, facts.mti)
                ahead = tuple(toxics[place:])
                if isinstance(effect, Duplicate):
                    self._double(frame, fitted, effect, ahead)
                    return
                if not isinstance(effect, Drop):
                    self._hold_back(frame, fitted, ahead)
                return
        self._take_bytes(frame)
        self._overtake()

    def _double(self, frame: bytes, fitted: Fitted, effect: Duplicate, ahead: Sequence[Fitted]) -> None:
        self._take_message(frame, ahead)
        for copy in range(1, effect.copies + 1):
            if effect.delay:
                self._hold(_Held(frame, fitted, ahead), copy * effect.delay)
            else:
                self._take_message(frame, ahead)

    def _hold_back(self, frame: bytes, fitted: Fitted, ahead: Sequence[Fitted]) -> None:
        held = _Held(frame, fitted, ahead)
        if isinstance(fitted.effect, Reorder):
            fitted.is_holding = True
            held.overtaking = fitted.effect.after
            self._hold(held, fitted.effect.wait)
        elif isinstance(fitted.effect, Hold):
            self._hold(held, fitted.effect.delay)

    def _hold(self, held: _Held, milliseconds: int) -> None:
        number = next(self._numbers)
        self._held[number] = held
        self._bytes += len(held.frame)
        if held.overtaking:
            self._overtaken[number] = held
        if milliseconds or held.overtaking:
            held.timer = self._loop.call_later(milliseconds / 1000, self._release, number)

    def _release(self, number: int) -> None:
        held = self._held.pop(number, None)
        self._overtaken.pop(number, None)
        if held is None:
            return
        if held.timer is not None:
            held.timer.cancel()
        held.by.is_holding = False
        self._bytes -= len(held.frame)
        self._has_room.set()
        self._take_message(held.frame, [fitted for fitted in held.ahead if fitted.is_active])
        self._finish()

    def _overtake(self) -> None:
        """A message has passed those that wait to be overtaken."""
        for number, held in list(self._overtaken.items()):
            held.overtaking -= 1
            if held.overtaking <= 0:
                self._release(number)

    def _finish(self) -> None:
        """End the stream when nothing is on its way any more; what is held without an end is lost with it."""
        if self._has_ended and all(held.timer is None for held in self._held.values()):
            self._held.clear()
            lags = tuple(
                (fitted, fitted.effect.delay / 1000) for fitted in self._fitted if isinstance(fitted.effect, SlowClose)
            )
            self._put(Piece(b"", self._loop.time(), lags, ends="stream"))

    # bytes

    def _take_bytes(self, data: bytes) -> None:
        lags: list[Lag] = []
        slicer: tuple[Fitted, Slicer] | None = None
        is_last = False
        for fitted in self._fitted:
            effect = fitted.effect
            if isinstance(effect, Timeout):
                return
            if isinstance(effect, LimitData):
                if 0 < effect.bytes <= fitted.passed:
                    return
                data = data[: effect.bytes - fitted.passed]
                fitted.passed += len(data)
                is_last = is_last or fitted.passed >= effect.bytes
            elif isinstance(effect, Latency):
                lags.append((fitted, fitted.lag(effect.latency, effect.jitter)))
            elif isinstance(effect, Slicer):
                slicer = fitted, effect
        now = self._loop.time()
        if slicer is None or len(data) <= 1:
            pieces = [data] if data else []
            gap = None
        else:
            fitted, slices = slicer
            pieces = fitted.slices(slices, data)
            gap = (fitted, slices.delay / 1_000_000) if slices.delay else None
        for place, part in enumerate(pieces):
            self._put(Piece(part, now, tuple(lags), gap if place else None))
        if is_last:
            self._put(Piece(b"", now, ends="connection"))

    def _put(self, piece: Piece) -> None:
        is_free = not (self._line or piece.lags or piece.gap or piece.ends or self._rate())
        if is_free:
            self._write(piece.data)
            return
        self._line.append(piece)
        self._bytes += len(piece.data)
        self._has_work.set()

    def _write(self, data: bytes) -> None:
        # uvloop raises where its connection is gone, asyncio does not
        if self._sink.transport.is_closing():
            self._end()
        else:
            self._sink.write(data)

    def _rate(self) -> int:
        """Bytes a second that may leave; 0 without a bound."""
        rates = [one.effect.rate for one in self._fitted if isinstance(one.effect, Bandwidth) and one.effect.rate]
        return 1000 * min(rates, default=0)

    async def _send(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            rate = self._rate()
            size = max(1, int(rate * _BANDWIDTH_STEP)) if rate else len(data)
            part = data[at : at + size]
            if rate:
                self._free_at = max(self._free_at, self._loop.time()) + len(part) / rate
                if not await self._is_undisturbed(self._free_at - self._loop.time()):
                    self._free_at = 0.0
                    continue
            self._write(part)
            await self._sink.drain()
            at += len(part)

    async def _wait_until(self, since: float, lags: Sequence[Lag]) -> None:
        """Wait as long as those of the toxics that are still there want it."""
        while True:
            late = since + sum(seconds for fitted, seconds in lags if fitted.is_active) - self._loop.time()
            if late <= 0 or await self._is_undisturbed(late):
                return

    async def _is_undisturbed(self, seconds: float) -> bool:
        """Wait; False as soon as toxics have changed meanwhile."""
        self._has_changed.clear()
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._has_changed.wait()
        except TimeoutError:
            return True
        return False
