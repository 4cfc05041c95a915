"""The live runtime: one party in one process, on asyncio, TCP links and the real clock.

Everything that arrives while the loop is busy is taken together in the next turn, so batches grow as load grows.
The turn and its commit run inline on the loop (DESIGN.md measured it so); what a turn sends is written after its
commit, one write a link. Whatever comes from outside is bounded: frames, connections, the queue (reading stops
while it is full), bytes waiting for a slow reader, and the time that half a frame may take.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import resource
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final, NamedTuple, TypeVar, cast

import structlog

from network.deadlines import Deadlines
from network.durations import Durations
from network.framing import MAX_BODY, Framing, FramingError
from network.party import (
    TURN_LIMIT,
    Command,
    CommandError,
    Endpoint,
    Instant,
    Json,
    LinkChange,
    LinkName,
    Party,
    Received,
    Turn,
    Work,
    take_turn,
)
from network.store import Store, StoreError

QUEUE_LIMIT: Final = 20_000
"""Messages waiting for a turn; beyond it the links are not read."""

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

TRACE_LENGTH: Final = 2_000
"""Messages that the process remembers, for people who ask what happened."""

RECONNECT_FIRST: Final = 0.1
RECONNECT_LONGEST: Final = 2.0

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Traced(NamedTuple):
    """A message that crossed a link: when, which link, whether it came in, and its body."""

    at: Instant
    link: LinkName
    incoming: bool
    body: bytes


def real_now() -> Instant:
    """The real clock."""
    return time.time_ns() // 1000


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on uvloop, or on asyncio's own loop where that is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def allow_many_connections() -> None:
    """Let this process open as many files as the system lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _connection_limit() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTION_LIMIT if files == resource.RLIM_INFINITY else max(1, min(CONNECTION_LIMIT, files - SPARE_FILES))


class LiveRuntime:
    """Runs one party.

    Parameters
    ----------
    party : Party
    store : Store
    random : Random
        `random.SystemRandom` outside of tests.
    now : callable
        The clock.
    failed : callable
        Called with the error when the store fails: the process must end, what was committed is resumed by the
        next one.
    """

    def __init__(
        self,
        party: Party,
        store: Store,
        *,
        random: Random,
        now: Callable[[], Instant] = real_now,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self.party = party
        self.store = store
        self.service = Durations()
        self.trace: deque[Traced] = deque(maxlen=TRACE_LENGTH)
        self.turns = 0
        self.events = 0
        self.failures = 0
        self._now = now
        self._random = random
        self._failed = failed
        self._unit = store.unit_of_work()
        self._loop = asyncio.get_running_loop()
        self._work = Work([], [], [], [])
        self._arrivals: list[float] = []
        self._deadlines = Deadlines()
        self._links: dict[LinkName, _Connection] = {}
        self._endpoints: dict[LinkName, Endpoint] = {}
        self._servers: list[asyncio.Server] = []
        self._dialling: list[asyncio.Task[None]] = []
        self._waiting: dict[int, Callable[[Json | CommandError], None]] = {}
        self._tickets = 0
        self._accepted = 0
        # accepted links have names that no earlier process has used, since rows may still hold theirs
        self._life = f"{now():x}"
        self._scheduled = False
        self._stopping = False
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at: Instant | None = None
        self._paused: set[_Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._limit = _connection_limit()
        self._refused = 0

    def start(self) -> None:
        """Give the party its first turn."""
        turn = Turn(self._now(), self._random, self._unit, Work([], [], [], []))
        self.party.start(turn)
        self._unit.commit()
        self._deliver(turn)
        self._arm()
        self._sweep()

    async def listen(self, prefix: str, host: str, port: int, framing: Framing) -> None:
        """Accept links, named ``prefix:...``.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        server = await self._loop.create_server(
            lambda: _Connection(self, self._accepted_name(prefix), framing, accepted=True),
            host,
            port,
            backlog=1024,
            reuse_address=True,
        )
        self._servers.append(server)

    def dial(self, link: LinkName, host: str, port: int, framing: Framing) -> None:
        """Keep the link `link` to an address up: connect, and connect again when it breaks."""
        self._dialling.append(self._loop.create_task(self._keep_up(link, host, port, framing)))

    def hang_up(self, link: LinkName) -> None:
        """Break a link as a fault of the line would: what is on its way is lost. A dialled one is connected again."""
        connection = self._links.get(link)
        if connection is not None:
            connection.abort()

    def attach(self, link: LinkName, endpoint: Endpoint) -> None:
        """Put something local (a card, a PIN pad) at the end of a link."""
        self._endpoints[link] = endpoint

    def detach(self, link: LinkName) -> None:
        """Take it away again; what is sent there is lost."""
        self._endpoints.pop(link, None)

    def command(self, name: str, arguments: dict[str, Json], answered: Callable[[Json | CommandError], None]) -> None:
        """Give the party a command; `answered` is called on the loop with its answer."""
        if self._stopping:
            self._loop.call_soon(answered, CommandError(f"{name}: the party is stopping"))
            return
        self._tickets += 1
        self._waiting[self._tickets] = answered
        self._work.commands.append(Command(name, arguments, self._tickets))
        self._schedule()

    def ask(self, name: str, arguments: dict[str, Json]) -> concurrent.futures.Future[Json]:
        """Give the party a command from any thread; the future has its answer or its CommandError."""
        future: concurrent.futures.Future[Json] = concurrent.futures.Future()

        def answered(result: Json | CommandError) -> None:
            # who asked may have given up, and may do so at any moment on its own thread
            if not future.set_running_or_notify_cancel():
                return
            if isinstance(result, CommandError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self._loop.call_soon_threadsafe(self.command, name, arguments, answered)
        return future

    @property
    def links(self) -> list[LinkName]:
        """The links that are up."""
        return sorted(self._links)

    @property
    def queued(self) -> int:
        """Events waiting for the next turn."""
        return len(self._work)

    async def stop(self) -> None:
        """Take no more, finish what has arrived, close every link when its peer has read what was sent.

        Commands that have no answer yet are refused.
        """
        for server in self._servers:
            server.close()
        for task in self._dialling:
            task.cancel()
        for connection in list(self._links.values()):
            connection.pause()
        await asyncio.sleep(0)
        while len(self._work) and not self._stopping:
            self._turn()
        self._stopping = True
        for handle in (self._wake, self._sweeper):
            if handle is not None:
                handle.cancel()
        for answered in list(self._waiting.values()):
            self._call(answered, CommandError("the party is stopping"))
        self._waiting.clear()
        connections = list(self._links.values())
        for connection in connections:
            connection.close()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=STOP_SECONDS)
        for connection in connections:
            connection.abort()

    # what the connections call

    def _accepted_name(self, prefix: str) -> LinkName:
        self._accepted += 1
        return f"{prefix}:{self._life}-{self._accepted}"

    def _has_room(self) -> bool:
        if len(self._links) < self._limit:
            return not self._stopping
        self._refused += 1
        return False

    def _link_up(self, connection: _Connection) -> None:
        self._links[connection.name] = connection
        self._work.link_changes.append(LinkChange(connection.name, True))
        self._schedule()

    def _link_down(self, connection: _Connection) -> None:
        if self._links.get(connection.name) is connection:
            del self._links[connection.name]
            self._paused.discard(connection)
            self._work.link_changes.append(LinkChange(connection.name, False))
            self._schedule()

    def _arrived(self, connection: _Connection, bodies: list[bytes]) -> None:
        link = connection.name
        now = time.perf_counter()
        instant = self._now()
        inbox = self._work.inbox
        for body in bodies:
            inbox.append(Received(link, body))
            self._arrivals.append(now)
            # only what crossed a network: what a card or a PIN pad says is remembered nowhere
            self.trace.append(Traced(instant, link, True, body))
        if len(inbox) >= QUEUE_LIMIT:
            connection.pause()
            self._paused.add(connection)
        self._schedule()

    # turns

    def _schedule(self) -> None:
        if not self._scheduled and not self._stopping:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._stopping:
            return
        now = self._now()
        work, arrivals = self._take(now)
        if not len(work):
            self._arm()
            return
        self.turns += 1
        self.events += len(work)
        try:
            failures = take_turn(self.party, now, self._random, self._unit, work, self._deliver)
        except StoreError as error:
            self._stopping = True
            log.error("store failed", party=self.party.name, reason=str(error))
            if self._failed is not None:
                self._failed(error)
            return
        for failure in failures:
            self._failure("event dropped", failure.error)
        self._deadlines.set_again(failures, now)
        if arrivals:
            end = time.perf_counter()
            record = self.service.record
            for arrival in arrivals:
                record(int((end - arrival) * 1_000_000))
        self._resume_reading()
        if len(self._work):
            self._schedule()
        else:
            self._arm()

    def _failure(self, what: str, error: Exception) -> None:
        self.failures += 1
        # the place and the kind of error only: its text may hold what must not be logged
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
        log.error(what, party=self.party.name, error=type(error).__name__, at=place)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        """Call what is not ours; its failure must not keep the rest of the turn from being delivered."""
        try:
            function(*arguments)
        except Exception as error:
            self._failure("delivery failed", error)

    def _take(self, now: Instant) -> tuple[Work, list[float]]:
        work = self._work
        if len(work.inbox) <= TURN_LIMIT and len(work.commands) <= TURN_LIMIT:
            arrivals = self._arrivals
            self._work, self._arrivals = Work([], [], [], []), []
        else:
            arrivals, self._arrivals = self._arrivals[:TURN_LIMIT], self._arrivals[TURN_LIMIT:]
            work = self._work.take(TURN_LIMIT)
        work.due = self._deadlines.pop_due(now, TURN_LIMIT)
        return work, arrivals

    def _deliver(self, turn: Turn) -> None:
        for key, at in turn.timers:
            self._deadlines.set(key, at)
        outgoing: dict[LinkName, list[bytes]] = {}
        endpoints = self._endpoints
        for link, body in turn.sent:
            endpoint = endpoints.get(link)
            if endpoint is not None:
                self._call(endpoint, body, self._answer_from(link))
            else:
                outgoing.setdefault(link, []).append(body)
        for link, bodies in outgoing.items():
            connection = self._links.get(link)
            if connection is not None:
                connection.send(bodies)
                self.trace.extend([Traced(turn.now, link, False, body) for body in bodies])
        for ticket, result in turn.answers:
            answered = self._waiting.pop(ticket, None)
            if answered is not None:
                self._call(answered, result)

    def _answer_from(self, link: LinkName) -> Callable[[bytes], None]:
        def answer(body: bytes) -> None:
            self._work.inbox.append(Received(link, body))
            self._arrivals.append(time.perf_counter())
            self._schedule()

        return answer

    def _resume_reading(self) -> None:
        if self._paused and len(self._work.inbox) < QUEUE_LIMIT // 2:
            for connection in self._paused:
                connection.resume()
            self._paused.clear()

    # time

    def _arm(self) -> None:
        at = self._deadlines.next()
        if at is None or self._stopping or (self._wake_at is not None and self._wake_at <= at):
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake_at = at
        self._wake = self._loop.call_later(max(0, at - self._now()) / 1_000_000, self._woken)

    def _woken(self) -> None:
        self._wake = self._wake_at = None
        self._schedule()

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self._links.values()):
            connection.close_if_stuck(now - HALF_FRAME_SECONDS, now - FIRST_FRAME_SECONDS)
        if self._refused:
            log.warning("links refused", party=self.party.name, refused=self._refused, limit=self._limit)
            self._refused = 0
        self._sweeper = self._loop.call_later(HALF_FRAME_SECONDS / 4, self._sweep)

    async def _keep_up(self, link: LinkName, host: str, port: int, framing: Framing) -> None:
        pause = RECONNECT_FIRST
        while True:
            try:
                _, connection = await self._loop.create_connection(lambda: _Connection(self, link, framing), host, port)
            except (OSError, UnicodeError):  # the latter from host names that cannot be
                await asyncio.sleep(pause)
                pause = min(2 * pause, RECONNECT_LONGEST)
                continue
            pause = RECONNECT_FIRST
            await asyncio.shield(connection.closed)  # others wait for it too
            await asyncio.sleep(pause)


class _Connection(asyncio.Protocol):
    """One TCP connection: bytes to bodies and back."""

    def __init__(self, runtime: LiveRuntime, name: LinkName, framing: Framing, *, accepted: bool = False) -> None:
        self.name = name
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._runtime = runtime
        self._framing = framing
        self._buffer = bytearray()
        self._half_since = 0.0
        # who dials us has to speak first, whom we dial may be silent
        self._silent_since = time.monotonic() if accepted else 0.0
        self._closing_since = 0.0
        self._is_paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._runtime._has_room():
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=UNSENT_LIMIT)
        self._runtime._link_up(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._runtime._link_down(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        try:
            bodies = self._framing.split(buffer)
        except FramingError as error:
            log.warning("link closed", link=self.name, reason=str(error))
            buffer.clear()
            self._half_since = 0.0
            if error.bodies:
                self._runtime._arrived(self, error.bodies)
            self.close()
            return
        if not buffer:
            self._half_since = 0.0
        elif bodies or not self._half_since:
            self._half_since = time.monotonic()
        if bodies:
            self._silent_since = 0.0
            self._runtime._arrived(self, bodies)

    def send(self, bodies: list[bytes]) -> None:
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
        if self._transport is not None and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._is_paused = False
            # the rest of a frame may have waited for us
            self._half_since = self._half_since and time.monotonic()
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._closing_since = self._closing_since or time.monotonic()
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def close_if_stuck(self, oldest: float, oldest_silent: float) -> None:
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
