"""A fault proxy between a client and a peer that echoes, counts or stays silent, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from network.framing import MEMBER_FRAMING, Framing
from network.live import run_loop
from scenarios.proxy import FaultProxy, LinkDialect

WAIT = 5.0


def run(main: Callable[[], Coroutine[Any, Any, None]], *, plain: bool = False) -> None:
    """Run a test's coroutine on uvloop, or on asyncio's own loop; no task may be left behind."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await main()
        for _ in range(20):
            left = asyncio.all_tasks() - {asyncio.current_task()}
            if not left:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"tasks are left: {left}")

    if plain:
        asyncio.run(limited())
    else:
        run_loop(limited())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WAIT):
        while not condition():
            await asyncio.sleep(0.002)


class Peer:
    """What the proxy stands before: remembers what it gets, and answers as told."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.received = bytearray()
        self.ended = 0
        self.lost = 0
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.close()
        await self._server.wait_closed()

    def kill(self) -> None:
        """What a killed process leaves: no port, connections reset."""
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(65_536):
                self.received += data
                writer.write(self._answer(data))
                await writer.drain()
            self.ended += 1
        except ConnectionError:
            self.lost += 1
        finally:
            writer.close()


def echo(data: bytes) -> bytes:
    return data


def silence(_: bytes) -> bytes:
    return b""


class Client:
    """A client of the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: Framing) -> None:
        self.reader = reader
        self.writer = writer
        self._framing = framing
        self._buffer = bytearray()
        self._bodies: list[bytes] = []

    async def send(self, *bodies: bytes) -> None:
        self.writer.write(b"".join(map(self._framing.frame, bodies)))
        await self.writer.drain()

    async def receive(self) -> bytes:
        """The next message."""
        async with asyncio.timeout(WAIT):
            while not self._bodies:
                data = await self.reader.read(65_536)
                if not data:
                    raise EOFError("the connection was closed")
                self._buffer += data
                self._bodies += self._framing.split(self._buffer)
        return self._bodies.pop(0)

    async def take(self, count: int) -> list[bytes]:
        return [await self.receive() for _ in range(count)]

    async def rest(self) -> bytes:
        """Everything until the connection is closed."""
        async with asyncio.timeout(WAIT):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.close()


class Bed:
    """A proxy, its peer, and clients."""

    def __init__(self, proxy: FaultProxy, peer: Peer) -> None:
        self.proxy = proxy
        self.peer = peer
        self._clients: list[Client] = []

    async def client(self, framing: Framing = MEMBER_FRAMING) -> Client:
        client = Client(*await asyncio.open_connection(*self.proxy.listen), framing)
        self._clients.append(client)
        return client

    async def joined(self, framing: Framing = MEMBER_FRAMING) -> Client:
        """A client whose connection to the peer stands."""
        before = self.proxy.connections
        client = await self.client(framing)
        await until(lambda: self.proxy.connections > before)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()


@asynccontextmanager
async def bed(
    dialect: LinkDialect = LinkDialect.RAW, answer: Callable[[bytes], bytes] = echo, *, seed: int = 1
) -> AsyncIterator[Bed]:
    peer = Peer(answer)
    await peer.start()
    proxy = FaultProxy("127.0.0.1:0", f"127.0.0.1:{peer.port}", dialect, seed=seed)
    await proxy.start()
    made = Bed(proxy, peer)
    try:
        yield made
    finally:
        made.close()
        await proxy.stop()
        await peer.stop()


Test = Callable[[], Awaitable[None]]
