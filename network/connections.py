"""The TCP connections of a process: links that it listens for and links that it dials, bytes to bodies and back.

Links have names. An accepted link is named ``prefix:...`` with what no earlier process has used, since rows may still
hold theirs; a dialled link keeps its name and is connected again whenever it breaks. Whatever comes from outside is
bounded: frames, connections, bytes waiting for a slow reader, the time that half a frame may take, and the time that
who dials may be silent.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import structlog

from network.capture import Capture, Tap, tap
from network.framing import MAX_BODY, Framing, FramingError
from network.party import LinkName
from network.tls import HANDSHAKE_SECONDS, LinkTls, member_of, with_member

UNSENT_LIMIT: Final = 4 << 20
"""Bytes that may wait for a peer that does not read; beyond it the link is closed."""

HALF_FRAME_SECONDS: Final = 10.0
"""How long the rest of a frame may take; then the link is closed."""

STOP_SECONDS: Final = 1.0
"""How long, at the end, peers may take to read what was sent to them."""

CONNECTION_LIMIT: Final = 20_000
"""Connections of one process, where the system allows it so many files."""

SPARE_FILES: Final = 128
"""Files that are kept free of links: the database, REST, logs."""

FIRST_FRAME_SECONDS: Final = 60.0
"""How long an accepted link may be silent before its first message; then it is closed."""

RECONNECT_FIRST: Final = 0.1
RECONNECT_LONGEST: Final = 2.0

log = structlog.get_logger(__name__)


class Receiver(Protocol):
    """Who is told what happens on the connections."""

    def link_up(self, link: LinkName) -> None:
        """A link has come up."""

    def link_down(self, link: LinkName) -> None:
        """A link has gone down."""

    def arrived(self, link: LinkName, bodies: list[bytes]) -> bool:
        """Bodies have come over a link; the answer says whether it may be read on."""


def allow_many_connections() -> None:
    """Let this process open as many files as the system lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _connection_limit() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTION_LIMIT if files == resource.RLIM_INFINITY else max(1, min(CONNECTION_LIMIT, files - SPARE_FILES))


class Connections:
    """Every connection of a process, by the name of its link.

    Parameters
    ----------
    receiver : Receiver
        Who is told what happens on them.
    owner : str
        Whose they are, for the log.
    life : str
        What sets the names of this process's accepted links apart from those of every other.
    capture : Capture or None
        Records what crosses them.

    Attributes
    ----------
    refused : int
        Connections that were refused since there were too many.
    """

    def __init__(self, receiver: Receiver, owner: str, life: str, capture: Capture | None = None) -> None:
        self.closing = False
        self.refused = 0
        self._receiver = receiver
        self._owner = owner
        self._life = life
        self._capture = capture
        self._loop = asyncio.get_running_loop()
        self._up: dict[LinkName, Connection] = {}
        self._servers: list[asyncio.Server] = []
        self._dialling: dict[LinkName, asyncio.Task[None]] = {}
        self._paused: set[Connection] = set()
        self._accepted = 0
        self._limit = _connection_limit()
        self._refused = 0
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def up(self) -> list[LinkName]:
        """The links that are up."""
        return sorted(self._up)

    @property
    def dialled(self) -> dict[LinkName, bool]:
        """The links that are dialled, and whether they are up."""
        return {link: link in self._up for link in sorted(self._dialling)}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every address that is listened on."""
        return [one.getsockname()[:2] for server in self._servers for one in server.sockets]

    async def listen(self, prefix: str, host: str, port: int, framing: Framing, tls: LinkTls | None = None) -> None:
        """Accept links, named ``prefix:...``, and after whom their certificate names where `tls` asks for one.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        server = await self._loop.create_server(
            lambda: self._wired(
                Connection(self, self._accepted_name(prefix), framing, accepted=True, tls=tls), accepted=True, tls=tls
            ),
            host,
            port,
            backlog=1024,
            reuse_address=True,
            **self._secured(tls),
        )
        self._servers.append(server)

    def dial(self, link: LinkName, host: str, port: int, framing: Framing, tls: LinkTls | None = None) -> None:
        """Keep the link `link` to an address up: connect, and connect again when it breaks."""
        self._dialling[link] = self._loop.create_task(self._keep_up(link, host, port, framing, tls))

    def hang_up(self, link: LinkName) -> None:
        """Break a link as a fault of the line would: what is on its way is lost. A dialled one is connected again."""
        connection = self._up.get(link)
        if connection is not None:
            connection.abort()

    def send(self, link: LinkName, bodies: Sequence[bytes]) -> bool:
        """Write bodies to a link in one piece; whether the link is up, since one that is down drops them."""
        connection = self._up.get(link)
        if connection is None:
            return False
        connection.send(bodies)
        return True

    def resume_reading(self) -> None:
        """Read on where reading was stopped because the receiver had enough."""
        for connection in self._paused:
            connection.resume()
        self._paused.clear()

    def sweep(self) -> None:
        """Close what is stuck, now and then again at a steady pace until `close`."""
        now = time.monotonic()
        for connection in list(self._up.values()):
            connection.close_if_stuck(now - HALF_FRAME_SECONDS, now - FIRST_FRAME_SECONDS)
        if self._refused:
            log.warning("links refused", party=self._owner, refused=self._refused, limit=self._limit)
            self._refused = 0
        self._sweeper = self._loop.call_later(HALF_FRAME_SECONDS / 4, self.sweep)

    def stop_connecting(self) -> None:
        """Accept and dial no link any more; those that are up stay."""
        for server in self._servers:
            server.close()
        for task in self._dialling.values():
            task.cancel()

    def stop_reading(self) -> None:
        """Take no more: accept and dial no link, read nothing from those that are up."""
        self.stop_connecting()
        for connection in list(self._up.values()):
            connection.pause()

    async def close(self) -> None:
        """Close every link when its peer has read what was sent, at the latest after `STOP_SECONDS`."""
        self.closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        connections = list(self._up.values())
        for connection in connections:
            connection.close()
        await asyncio.gather(*self._dialling.values(), return_exceptions=True)
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=STOP_SECONDS)
        for connection in connections:
            connection.abort()

    # what a connection tells

    def has_room(self) -> bool:
        """Whether one more may come up."""
        if len(self._up) < self._limit:
            return not self.closing
        self._refused += 1
        self.refused += 1
        return False

    def came_up(self, connection: Connection) -> None:
        """It can be written to."""
        self._up[connection.name] = connection
        self._receiver.link_up(connection.name)

    def went_down(self, connection: Connection) -> None:
        """It is gone; also told of one that never came up."""
        if self._up.get(connection.name) is connection:
            del self._up[connection.name]
            self._paused.discard(connection)
            self._receiver.link_down(connection.name)

    def arrived(self, connection: Connection, bodies: list[bytes]) -> None:
        """It was read."""
        if not self._receiver.arrived(connection.name, bodies):
            connection.pause()
            self._paused.add(connection)

    def _accepted_name(self, prefix: str) -> LinkName:
        self._accepted += 1
        return f"{prefix}:{self._life}-{self._accepted}"

    def _wired(
        self, connection: Connection, *, accepted: bool, tls: LinkTls | None, host: str | None = None
    ) -> Connection | Tap:
        if self._capture is None:
            return connection
        context = None if tls is None else tls.context
        return tap(
            connection, self._capture, link=connection.name, accepted=accepted, tls=context, server_hostname=host
        )

    def _secured(self, tls: LinkTls | None) -> dict[str, Any]:
        """What the event loop is told of TLS; a capture does it itself, to see the wire as it is."""
        if tls is None or self._capture is not None:
            return {}
        return {"ssl": tls.context, "ssl_handshake_timeout": HANDSHAKE_SECONDS}

    async def _connect(self, connection: Connection, host: str, port: int, tls: LinkTls | None) -> Connection:
        wired = self._wired(connection, accepted=False, tls=tls, host=host)
        await self._loop.create_connection(lambda: wired, host, port, **self._secured(tls))
        if isinstance(wired, Tap):
            await wired.ready
        return connection

    async def _keep_up(self, link: LinkName, host: str, port: int, framing: Framing, tls: LinkTls | None) -> None:
        pause = RECONNECT_FIRST
        told = ""
        while True:
            began = self._loop.time()
            try:
                connection = await self._connect(Connection(self, link, framing, tls=tls), host, port, tls)
            except (OSError, UnicodeError) as error:  # the latter from host names that cannot be
                if isinstance(error, ssl.SSLError) and str(error) != told:
                    told = str(error)
                    reason = getattr(error, "verify_message", error.reason)
                    log.warning("link not made", link=link, reason=f"TLS handshake: {reason}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, RECONNECT_LONGEST)
                continue
            await asyncio.shield(connection.closed)  # others wait for it too
            # the other end refuses our certificate only once the handshake is over for us
            is_short = tls is not None and self._loop.time() < began + RECONNECT_LONGEST
            pause = min(2 * pause, RECONNECT_LONGEST) if is_short else RECONNECT_FIRST
            await asyncio.sleep(pause)


class Connection(asyncio.Protocol):
    """One TCP connection: bytes to bodies and back."""

    def __init__(
        self,
        keeper: Connections,
        name: LinkName,
        framing: Framing,
        *,
        accepted: bool = False,
        tls: LinkTls | None = None,
    ) -> None:
        self.name = name
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeper = keeper
        self._framing = framing
        self._tls = tls
        self._accepted = accepted
        self._buffer = bytearray()
        self._half_since = 0.0
        # who dials us has to speak first, whom we dial may be silent
        self._silent_since = time.monotonic() if accepted else 0.0
        self._closing_since = 0.0
        self._is_paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Come up, if there is room."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._keeper.has_room() or not self._is_known():
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=UNSENT_LIMIT)
        self._keeper.came_up(self)

    def _is_known(self) -> bool:
        """Whether the other end is whom the link is for; an accepted link is named after whom it is."""
        if self._tls is None or self._transport is None:
            return True
        certificate = self._transport.get_extra_info("peercert")
        refusal = self._tls.refusal(certificate)
        if refusal is not None:
            log.warning("link refused", link=self.name, reason=refusal)
            return False
        member = member_of(certificate)
        if self._accepted and self._tls.mutual and member is not None:
            self.name = with_member(self.name, member)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Go down."""
        self._transport = None
        self._keeper.went_down(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take every whole body out of what has come."""
        buffer = self._buffer
        buffer += data
        try:
            bodies = self._framing.split(buffer)
        except FramingError as error:
            log.warning("link closed", link=self.name, reason=str(error))
            buffer.clear()
            self._half_since = 0.0
            if error.bodies:
                self._keeper.arrived(self, error.bodies)
            self.close()
            return
        if not buffer:
            self._half_since = 0.0
        elif bodies or not self._half_since:
            self._half_since = time.monotonic()
        if bodies:
            self._silent_since = 0.0
            self._keeper.arrived(self, bodies)

    def send(self, bodies: Sequence[bytes]) -> None:
        """Write bodies in one piece."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        frame = self._framing.frame
        try:
            data = frame(bodies[0]) if len(bodies) == 1 else b"".join(map(frame, bodies))
        except FramingError as error:
            log.error("message not sent", link=self.name, reason=str(error))
            fitting = [body for body in bodies if len(body) <= MAX_BODY]
            if fitting:
                self.send(fitting)
            return
        transport.write(data)
        if transport.get_write_buffer_size() > UNSENT_LIMIT:
            log.warning("link closed", link=self.name, reason="the peer does not read")
            transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._is_paused = False
            # the rest of a frame may have waited for us
            self._half_since = self._half_since and time.monotonic()
            self._transport.resume_reading()

    def close(self) -> None:
        """Go down when the peer has read what was sent."""
        if self._transport is not None:
            self._closing_since = self._closing_since or time.monotonic()
            self._transport.close()

    def abort(self) -> None:
        """Go down at once."""
        if self._transport is not None:
            self._transport.abort()

    def close_if_stuck(self, oldest: float, oldest_silent: float) -> None:
        """Close if half a frame came before `oldest` and no more, or nothing at all since before `oldest_silent`."""
        if self._closing_since:
            # closed here, but the peer does not read the rest of what it is owed
            if self._closing_since < oldest:
                self.abort()
        elif self._half_since and self._half_since < oldest and not self._is_paused:
            log.warning("link closed", link=self.name, reason="half a frame and no more")
            self.close()
        elif self._silent_since and self._silent_since < oldest_silent:
            log.warning("link closed", link=self.name, reason="not a word since it came up")
            self.close()
