"""One connection through a fault proxy: a client, the upstream it is joined to, and a pipe for each direction."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, NamedTuple

import structlog

from scenarios.proxy.dialects import Reader
from scenarios.proxy.fitted import Fitted, Tally
from scenarios.proxy.pipe import HELD_BYTES, Pipe, Struck
from scenarios.proxy.toxics import ResetPeer, Stream, Timeout, Toxic

log = structlog.get_logger(__name__)

CLOSE_SECONDS: Final = 2.0
"""How long, at the end, a peer may take to read what it is owed."""

_WRITE_BUFFER: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)


class End(NamedTuple):
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Connection:
    """Two ends joined.

    Parameters
    ----------
    client, upstream : End
    reader : Reader or None
        Who understands the messages on it.
    struck : callable
        Told of each message that a toxic strikes.
    seed : str
        Of everything that toxics draw on this connection.
    """

    def __init__(self, client: End, upstream: End, reader: Reader | None, struck: Struck, seed: str) -> None:
        self._ends = (client, upstream)
        self._seed = seed
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[bool] = self._loop.create_future()
        self._fitted: dict[str, Fitted] = {}
        self._pipes: dict[Stream, Pipe] = {
            "upstream": Pipe("upstream", client.reader, upstream.writer, reader, self.end, struck),
            "downstream": Pipe("downstream", upstream.reader, client.writer, reader, self.end, struck),
        }
        for end in self._ends:
            end.writer.transport.set_write_buffer_limits(high=_WRITE_BUFFER)

    def fit(self, toxic: Toxic, tally: Tally, order: Sequence[str]) -> None:
        """Have a toxic from now on, if the draw of its toxicity says so.

        Parameters
        ----------
        order : sequence of str
            Names of the proxy's toxics in the order in which they work.
        """
        random = Random(f"{self._seed}/{toxic.stream}/{toxic.name}")  # noqa: S311 - a fault must be repeatable
        if random.random() >= toxic.toxicity:
            return
        fitted = self._fitted[toxic.name] = Fitted(toxic, tally, random)
        self._pipes[toxic.stream].fit(fitted, order)
        effect = toxic.effect
        if isinstance(effect, ResetPeer):
            fitted.timer = self._loop.call_later(effect.timeout / 1000, self.reset)
        elif isinstance(effect, Timeout) and effect.timeout:
            fitted.timer = self._loop.call_later(effect.timeout / 1000, self.end)

    def unfit(self, name: str) -> None:
        """Have it no longer."""
        fitted = self._fitted.pop(name, None)
        if fitted is not None:
            self._pipes[fitted.toxic.stream].unfit(fitted)

    def end(self) -> None:
        """Close both ends; what has left the line still arrives."""
        if not self._over.done():
            self._over.set_result(False)

    def reset(self) -> None:
        """Reset both ends: what is on its way is lost, and the peers are told so."""
        if not self._over.done():
            self._over.set_result(True)

    async def run(self) -> None:
        """Pass on what comes until both directions have ended, or the connection has."""
        work = [self._loop.create_task(half) for pipe in self._pipes.values() for half in (pipe.read(), pipe.write())]
        both = asyncio.gather(*work)
        try:
            await asyncio.wait((both, self._over), return_when=asyncio.FIRST_COMPLETED)
            is_reset = self._over.done() and self._over.result()
            failure = both.exception() if both.done() and not both.cancelled() else None
            if failure is not None:
                # one end was reset or is gone: the other is told in the same way
                is_reset = True
                if not isinstance(failure, OSError):
                    log.error("connection failed", error=type(failure).__name__)
        except asyncio.CancelledError:
            is_reset = True
            raise
        finally:
            for pipe in self._pipes.values():
                pipe.stop()
            both.cancel()
            for task in work:
                task.cancel()
            await asyncio.gather(both, *work, return_exceptions=True)
            await close(self._ends, is_reset=is_reset)


async def close(ends: Iterable[End], *, is_reset: bool) -> None:
    """Close connections and give their descriptors back."""
    writers = [end.writer for end in ends]
    for writer in writers:
        if is_reset:
            made = writer.get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        else:
            writer.close()
    closing = asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await closing
    except TimeoutError:
        for writer in writers:
            writer.transport.abort()


READ_LIMIT: Final = HELD_BYTES // 16
"""Bytes that the system's side of a stream may hold before they are taken."""
