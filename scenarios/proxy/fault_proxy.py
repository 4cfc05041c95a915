"""A fault proxy: stands on a link and does to it what its toxics say.

It lives in the event loop of whoever starts it, so a scenario or a load generator may have one of its own::

    proxy = FaultProxy("127.0.0.1:0", "127.0.0.1:7001", LinkDialect.MEMBER, seed=7)
    await proxy.start()
    proxy.add(Toxic("hold", {"mti": "0210", "delay": 40_000, "count": 1}))
    ...
    await proxy.stop()
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from typing import Any, Final, NamedTuple

import structlog

from network.live import real_now
from network.party import Instant
from network.service import Address
from scenarios.proxy.connection import READ_LIMIT, Connection, End, close
from scenarios.proxy.dialects import LinkDialect, reader_of
from scenarios.proxy.fitted import Fitted, Tally
from scenarios.proxy.toxics import Stream, Toxic, ToxicError

CONNECTIONS: Final = 4_096
"""Connections of one proxy; more are closed at once."""

TOXICS: Final = 100
DIAL_SECONDS: Final = 10.0
EVENTS: Final = 1_000
"""Strikes that a proxy remembers."""

log = structlog.get_logger(__name__)


class Strike(NamedTuple):
    """What was done to a message: never what the message said."""

    at: Instant
    connection: int
    stream: Stream
    toxic: str
    mti: str


class FaultProxy:
    """Listens, joins each client to the upstream, and does what its toxics say.

    Parameters
    ----------
    listen, upstream : Address or str
        ``host:port``; port 0 for any free one, which `listen` names once it is started.
    dialect : LinkDialect
        What travels on the link; toxics that know messages need it.
    name : str
    seed : int
        Of everything that toxics draw: the same connections in the same order meet the same faults.
    listen_tls, upstream_tls : ssl.SSLContext, optional
        With both the proxy ends TLS on either side and sees the messages of a secured link. Without them TLS passes
        through untouched, as bytes.

    Attributes
    ----------
    accepted : int
        Connections so far.
    strikes : deque of Strike
        The last messages that toxics have struck.
    """

    def __init__(
        self,
        listen: Address | str,
        upstream: Address | str,
        dialect: LinkDialect = LinkDialect.RAW,
        *,
        name: str = "proxy",
        seed: int = 0,
        listen_tls: ssl.SSLContext | None = None,
        upstream_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.listen = Address.parse(listen) if isinstance(listen, str) else listen
        self.upstream = Address.parse(upstream) if isinstance(upstream, str) else upstream
        self.dialect = dialect
        self.seed = seed
        self.accepted = 0
        self.strikes: deque[Strike] = deque(maxlen=EVENTS)
        self._tls = (listen_tls, upstream_tls)
        self._toxics: dict[str, Toxic] = {}
        self._tallies: dict[str, Tally] = {}
        self._connections: dict[int, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def enabled(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    @property
    def connections(self) -> int:
        """Connections that are joined now."""
        return len(self._connections)

    @property
    def toxics(self) -> tuple[Toxic, ...]:
        """Its toxics, in the order in which they work."""
        return tuple(self._toxics.values())

    async def start(self) -> None:
        """Listen; again after `stop`, at the same port.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        if self._server is not None:
            return
        self._server = await asyncio.start_server(
            self._accepted, *self.listen, limit=READ_LIMIT, backlog=1024, reuse_address=True, ssl=self._tls[0]
        )
        self.listen = Address(self.listen.host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take the link down: listen no more and close every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in self._connections.values():
            connection.end()
        joined = {task for task in self._tasks if task.get_name() == "joined"}
        for task in self._tasks - joined:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if server is not None:
            await server.wait_closed()

    async def set_enabled(self, enabled: bool) -> None:
        """Bring the link up or take it down; its toxics stay."""
        await (self.start() if enabled else self.stop())

    def reset_connections(self) -> None:
        """Reset every connection once; clients may come again at once."""
        for connection in self._connections.values():
            connection.reset()

    def add(self, toxic: Toxic) -> Toxic:
        """Have a toxic from now on, on connections that stand too.

        Raises
        ------
        ToxicError
            There is one of that name, or it needs to know messages and the link's dialect is raw.
        """
        if toxic.name in self._toxics:
            raise ToxicError(f"there is a toxic {toxic.name} already")
        if len(self._toxics) >= TOXICS:
            raise ToxicError(f"a proxy has at most {TOXICS} toxics")
        if toxic.knows_messages and self.dialect is LinkDialect.RAW:
            raise ToxicError(f"{toxic.type} needs the link's dialect: member, terminal or monitoring")
        self._put(toxic)
        return toxic

    def _put(self, toxic: Toxic) -> None:
        self._toxics[toxic.name] = toxic
        tally = self._tallies[toxic.name] = Tally()
        for connection in self._connections.values():
            connection.fit(toxic, tally, list(self._toxics))

    def remove(self, name: str) -> Toxic:
        """Have it no longer; what it held back goes on at once.

        Raises
        ------
        ToxicError
            There is none of that name.
        """
        toxic = self.toxic(name)
        del self._toxics[name], self._tallies[name]
        for connection in self._connections.values():
            connection.unfit(name)
        return toxic

    def change(self, toxic: Toxic) -> Toxic:
        """Have `toxic` in the place of the one of its name; its counts begin anew."""
        old = self.toxic(toxic.name)
        if old.stream != toxic.stream or old.type != toxic.type:
            raise ToxicError(f"{toxic.name}: only attributes and toxicity of a toxic can be changed")
        for connection in self._connections.values():
            connection.unfit(toxic.name)
        self._put(toxic)
        return toxic

    def clear(self) -> None:
        """Remove every toxic."""
        for name in list(self._toxics):
            self.remove(name)

    def toxic(self, name: str) -> Toxic:
        """The toxic of that name; ToxicError when there is none."""
        if name not in self._toxics:
            raise ToxicError(f"there is no toxic {name}")
        return self._toxics[name]

    def hits(self, name: str) -> int:
        """How many messages a toxic has struck, or how many connections have had it; ToxicError when there is none."""
        self.toxic(name)
        return self._tallies[name].hits

    def described(self) -> dict[str, Any]:
        """As Toxiproxy's clients know it, and what is ours."""
        return {
            "name": self.name,
            "listen": str(self.listen),
            "upstream": str(self.upstream),
            "enabled": self.enabled,
            "toxics": [{**toxic.described(), "hits": self.hits(toxic.name)} for toxic in self.toxics],
            "dialect": str(self.dialect),
            "seed": self.seed,
            "connections": self.connections,
            "accepted": self.accepted,
        }

    # connections

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None or len(self._tasks) >= CONNECTIONS:
            writer.transport.abort()
            return
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._serve(self.accepted, End(reader, writer)), name="dialling")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: int, client: End) -> None:
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                upstream = End(*await asyncio.open_connection(*self.upstream, limit=READ_LIMIT, ssl=self._tls[1]))
        except (OSError, UnicodeError, TimeoutError) as error:
            log.warning("upstream does not answer", proxy=self.name, upstream=str(self.upstream), error=str(error))
            await close((client,), is_reset=True)
            return
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await close((client,), is_reset=False)
            raise

        def struck(stream: Stream, fitted: Fitted, mti: str) -> None:
            self.strikes.append(Strike(real_now(), number, stream, fitted.toxic.name, mti))

        connection = Connection(client, upstream, reader_of(self.dialect), struck, f"{self.seed}/{self.name}/{number}")
        self._connections[number] = connection
        task = asyncio.current_task()
        if task is not None:
            task.set_name("joined")
        for toxic in self.toxics:
            connection.fit(toxic, self._tallies[toxic.name], list(self._toxics))
        try:
            await connection.run()
        finally:
            del self._connections[number]
