"""The live runtime: one party in one process, on asyncio, TCP links and the real clock.

Everything that arrives while the loop is busy is taken together in the next turn, so batches grow as load grows.
The turn and its commit run inline on the loop (DESIGN.md measured it so); what a turn sends is written after its
commit, one write a link. The queue is bounded: reading stops while it is full (`network.connections` bounds the rest).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import time
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final, TypeVar

import structlog

from network.capture import Capture
from network.connections import Connections
from network.deadlines import Deadlines
from network.durations import Durations
from network.framing import Framing
from network.incident import Notes, facts_of
from network.message_trace import TRACE_LENGTH, Traced
from network.meter import Meter
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
    Stationed,
    Turn,
    Work,
    take_turn,
)
from network.store import Store, StoreError
from network.tls import LinkTls
from network.tracing import Tracing
from network.turn_profile import TurnProfile, TurnSample

QUEUE_LIMIT: Final = 20_000
"""Messages waiting for a turn; beyond it the links are not read."""

QUIET_SECONDS: Final = 0.05
"""How long nothing may have come before a process that awaits nothing ends."""

LONGEST_QUIET: Final = 0.5
"""How long a process that awaits nothing waits at most for things to become quiet."""

log = structlog.get_logger(__name__)

T = TypeVar("T")


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
        runner.get_loop().set_exception_handler(_complain)
        return runner.run(main)


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # uvloop leaves the look-up of a host's name to itself when who dials is stopped meanwhile: nobody misses its answer
    if not isinstance(context.get("exception"), socket.gaierror):
        loop.default_exception_handler(context)


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
    capture : Capture or None
        Records what crosses its links.
    tracing : Tracing or None
        Takes what the party says of its part in payments.
    """

    def __init__(
        self,
        party: Party,
        store: Store,
        *,
        random: Random,
        now: Callable[[], Instant] = real_now,
        failed: Callable[[Exception], None] | None = None,
        capture: Capture | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.party = party
        self.store = store
        self.service = Durations()
        self.meter = Meter()
        self.trace: deque[Traced] = deque(maxlen=TRACE_LENGTH)
        self.turns = 0
        self.events = 0
        self.failures = 0
        self.profile: TurnProfile | None = None
        self.draining = False
        self._now = now
        self._tracing = tracing
        self._notes = Notes(party.name, time.monotonic)
        self._random = random
        self._failed = failed
        self._unit = store.unit_of_work()
        self._loop = asyncio.get_running_loop()
        self._work = Work([], [], [], [])
        self._arrivals: list[float] = []
        self._deadlines = Deadlines()
        self._endpoints: dict[LinkName, Endpoint] = {}
        self._waiting: dict[int, Callable[[Json | CommandError], None]] = {}
        self._tickets = 0
        self._connections = Connections(self, party.name, life=f"{now():x}", capture=capture)
        self._scheduled = False
        self._is_full = False
        self._stopping = False
        self._wake: asyncio.TimerHandle | None = None
        self._wake_at: Instant | None = None

    def start(self) -> None:
        """Give the party its first turn."""
        turn = Turn(self._now(), self._random, self._unit, Work([], [], [], []))
        self.party.start(turn)
        self._unit.commit()
        self._deliver(turn)
        self._arm()
        self._connections.sweep()

    async def listen(self, prefix: str, host: str, port: int, framing: Framing, tls: LinkTls | None = None) -> None:
        """Accept links, named ``prefix:...``.

        Raises
        ------
        OSError
            The address cannot be listened on.
        """
        await self._connections.listen(prefix, host, port, framing, tls)

    def dial(self, link: LinkName, host: str, port: int, framing: Framing, tls: LinkTls | None = None) -> None:
        """Keep the link `link` to an address up: connect, and connect again when it breaks."""
        self.meter.dials(link)
        self._connections.dial(link, host, port, framing, tls)

    def hang_up(self, link: LinkName) -> None:
        """Break a link as a fault of the line would: what is on its way is lost. A dialled one is connected again."""
        self._connections.hang_up(link)

    def attach(self, link: LinkName, endpoint: Endpoint) -> None:
        """Put something local (a card, a PIN pad) at the end of a link."""
        self._endpoints[link] = endpoint

    def detach(self, link: LinkName) -> None:
        """Take it away again; what is sent there is lost."""
        self._endpoints.pop(link, None)

    def command(self, name: str, arguments: dict[str, Json], answered: Callable[[Json | CommandError], None]) -> None:
        """Give the party a command; `answered` is called on the loop with its answer."""
        if self.draining:
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

    def profile_turns(self, on: bool) -> concurrent.futures.Future[list[TurnSample]]:
        """Begin or end, from any thread, a profile of the turns; the future has what the last one took."""
        future: concurrent.futures.Future[list[TurnSample]] = concurrent.futures.Future()

        def switch() -> None:
            last, self.profile = self.profile, TurnProfile(self._unit) if on else None
            if last is not None:
                last.close()
            future.set_result(last.samples if last is not None else [])

        self._loop.call_soon_threadsafe(switch)
        return future

    @property
    def links(self) -> list[LinkName]:
        """The links that are up."""
        return self._connections.up

    @property
    def dialled(self) -> dict[LinkName, bool]:
        """The links that this process dials, and whether they are up."""
        return self._connections.dialled

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every address that links are accepted on."""
        return self._connections.addresses

    @property
    def commit_times(self) -> Durations:
        """How long turns took to write and commit what they changed."""
        return self._unit.commit_times

    @property
    def refused_links(self) -> int:
        """Connections that were refused since there were too many."""
        return self._connections.refused

    @property
    def queued(self) -> int:
        """Events waiting for the next turn."""
        return len(self._work)

    async def drain(self, seconds: float) -> None:
        """Before `stop`: take no new links and commands, and let what is awaited come, for `seconds` at most.

        Links that are up stay so, since answers come over them. What is still awaited at the end is in rows, or was
        never answered: the next process, or the other end, mends it.
        """
        self.draining = True
        self._connections.stop_connecting()
        party = self.party
        stationed = party if isinstance(party, Stationed) else None
        if stationed is not None:
            stationed.drain()
        began = quiet_since = self._loop.time()
        events = self.events
        while not self._stopping and self._loop.time() < began + seconds:
            now = self._loop.time()
            if self.events != events or len(self._work):
                events, quiet_since = self.events, now
            # what its peers sent before they could know gets the time to come
            is_quiet = now >= quiet_since + QUIET_SECONDS or now >= began + LONGEST_QUIET
            if is_quiet and not self._waiting and not (stationed is not None and self._awaits(stationed)):
                return
            await asyncio.sleep(QUIET_SECONDS / 2)

    def _awaits(self, party: Stationed) -> bool:
        try:
            found = party.awaits(self._unit)
            self._unit.commit()  # which wrote nothing: the rows that were read are forgotten
        except StoreError:
            return False  # the next turn finds it out
        return found

    async def stop(self) -> None:
        """Take no more, finish what has arrived, close every link when its peer has read what was sent.

        Commands that have no answer yet are refused.
        """
        self.draining = True
        self._connections.stop_reading()
        await asyncio.sleep(0)
        while len(self._work) and not self._stopping:
            self._turn()
        self._stopping = True
        if self._wake is not None:
            self._wake.cancel()
        for answered in list(self._waiting.values()):
            self._call(answered, CommandError("the party is stopping"))
        self._waiting.clear()
        await self._connections.close()

    # what the connections call

    def link_up(self, link: LinkName) -> None:
        """See `Receiver`."""
        self.meter.link_up(link)
        self._work.link_changes.append(LinkChange(link, True))
        self._schedule()

    def link_down(self, link: LinkName) -> None:
        """See `Receiver`."""
        self.meter.link_down(link)
        self._work.link_changes.append(LinkChange(link, False))
        self._schedule()

    def arrived(self, link: LinkName, bodies: list[bytes]) -> bool:
        """See `Receiver`."""
        now = time.perf_counter()
        instant = self._now()
        inbox = self._work.inbox
        for body in bodies:
            inbox.append(Received(link, body))
            self._arrivals.append(now)
            # only what crossed a network: what a card or a PIN pad says is remembered nowhere
            self.trace.append(Traced(instant, link, True, body))
        self.meter.came(link, bodies)
        self._schedule()
        if len(inbox) < QUEUE_LIMIT:
            return True
        self._is_full = True
        return False

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
        if self.profile is not None:
            self.profile.begin(work)
        began = time.perf_counter_ns()
        try:
            failures = take_turn(self.party, now, self._random, self._unit, work, self._deliver, self._tracing)
        except StoreError as error:
            self._stopping = self._connections.closing = True
            log.error("store failed", party=self.party.name, reason=str(error))
            if self._failed is not None:
                self._failed(error)
            return
        for failure in failures:
            self._failure("event dropped", failure.error, **facts_of(failure.work))
        self._deadlines.set_again(failures, now)
        self.meter.turn_over(len(work), (time.perf_counter_ns() - began) // 1000)
        if arrivals:
            end = time.perf_counter()
            record = self.service.record
            for arrival in arrivals:
                record(int((end - arrival) * 1_000_000))
        self._resume_reading()
        if self.profile is not None:
            self.profile.end()
        if len(self._work):
            self._schedule()
        else:
            self._arm()

    def _failure(self, what: str, error: Exception, **facts: str) -> None:
        self.failures += 1
        # the place and the kind of error only: its text may hold what must not be logged
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
        log.error(what, party=self.party.name, error=type(error).__name__, at=place, **facts)

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
        if self.profile is not None:
            self.profile.committed()
        self.meter.committed(turn)
        for key, at in turn.timers:
            self._deadlines.set(key, at)
        outgoing: dict[LinkName, list[bytes]] = {}
        endpoints = self._endpoints
        for link, body in turn.sent:
            endpoint = endpoints.get(link)
            if endpoint is not None:
                self.meter.went_locally(link)
                self._call(endpoint, body, self._answer_from(link))
            else:
                outgoing.setdefault(link, []).append(body)
        left = self._now()  # when the turn began it was not decided yet
        for link, bodies in outgoing.items():
            if self._connections.send(link, bodies):
                self.meter.went(link, bodies)
                self.trace.extend([Traced(left, link, False, body) for body in bodies])
        for ticket, result in turn.answers:
            answered = self._waiting.pop(ticket, None)
            if answered is not None:
                self._call(answered, result)
        for event, part, facts in turn.notes:
            self._note(event, part, facts)
        if turn.parts and self._tracing is not None:
            self._call(self._tracing.committed, turn, self._now())

    def _note(self, event: str, part: str | None, facts: dict[str, Json]) -> None:
        trace = self._tracing.trace_of(part) if self._tracing is not None and part is not None else None
        self._notes.write(event, facts if trace is None else {**facts, "trace": trace})

    def _answer_from(self, link: LinkName) -> Callable[[bytes], None]:
        def answer(body: bytes) -> None:
            self.meter.came_locally(link)
            self._work.inbox.append(Received(link, body))
            self._arrivals.append(time.perf_counter())
            self._schedule()

        return answer

    def _resume_reading(self) -> None:
        if self._is_full and len(self._work.inbox) < QUEUE_LIMIT // 2:
            self._is_full = False
            self._connections.resume_reading()

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
