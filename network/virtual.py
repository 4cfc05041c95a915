"""The virtual runtime: the same parties under simpy, on simulated wires, with a simulated clock.

Everything is drawn from one seed, so a run can be repeated exactly. A turn takes virtual time: what arrives while
a party is busy waits and is taken together in its next turn, so that batches form as they do live. Wires have
latency and, when asked, lose, double, reorder and corrupt messages; links can be cut and parties can crash: a
crash loses whatever was not committed, and everything on its way to the party.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import simpy

from network.deadlines import Deadlines
from network.durations import Durations
from network.host import Host
from network.message_trace import TRACE_LENGTH, Traced
from network.party import (
    TURN_LIMIT,
    Command,
    CommandError,
    Endpoint,
    Failure,
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
from network.store import Store, UnitOfWork
from network.turn_cost import Charge, MeasuredCost
from network.turn_profile import kinds_of


@dataclass(frozen=True, slots=True)
class Wire:
    """How a simulated link behaves. Times in microseconds, the rest probabilities of each message.

    A reordered message is held back by up to ten times the latency; a corrupted one has one byte changed.
    """

    latency: int = 2_000
    jitter: int = 500
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    corruption: float = 0.0

    @property
    def is_perfect(self) -> bool:
        """Whether messages arrive once, whole and in order."""
        return not (self.loss or self.duplication or self.reordering or self.corruption)


@dataclass(frozen=True, slots=True)
class TurnCost:
    """Virtual time a turn takes: a part for the turn and a part for each event in it, in microseconds."""

    turn: int = 400
    event: int = 100


class _Link:
    __slots__ = ("cuts", "is_up", "last_arrival", "peer", "peer_link", "wire")

    def __init__(self, peer: Node, peer_link: LinkName, wire: Wire) -> None:
        self.peer = peer
        self.peer_link = peer_link
        self.wire = wire
        self.is_up = True
        self.cuts = 0
        self.last_arrival = 0.0


class VirtualNetwork:
    """The simulated world's clock, randomness and parties.

    Parameters
    ----------
    env : simpy.Environment
        One unit of its time is a second; scenario processes share it.
    seed : int
    epoch : Instant
        The instant at which `env` is at zero.
    """

    def __init__(self, env: simpy.Environment, seed: int, epoch: Instant) -> None:
        self.env = env
        self.epoch = epoch
        self.seed = seed
        self.random = Random(f"wires/{seed}")  # noqa: S311 - a simulation must be repeatable
        self.nodes: dict[str, Node] = {}

    @property
    def now(self) -> Instant:
        """The simulated instant."""
        return self.epoch + round(self.env.now * 1_000_000)

    def add(
        self,
        make: Callable[[], Party],
        store: Store,
        cost: TurnCost | MeasuredCost | None = None,
        host: Host | None = None,
    ) -> Node:
        """Put a party into the network.

        Parameters
        ----------
        make
            Makes it, again after a crash.
        cost
            What its turns take.
        host : Host or None
            The machine that it shares with others, where its costs are measured ones; else it has one for itself.
        """
        node = Node(self, make, store, cost or TurnCost(), host)
        self.nodes[node.party.name] = node
        return node

    def connect(self, one: Node, one_link: LinkName, other: Node, other_link: LinkName, wire: Wire) -> None:
        """Join two parties: what one sends over `one_link` the other receives over `other_link`, and back.

        A link made after the start comes up at once, where both ends run.
        """
        one.links[one_link] = _Link(other, other_link, wire)
        other.links[other_link] = _Link(one, one_link, wire)
        if one.is_running and other.is_running:
            one.link_changed(one_link, True)
            other.link_changed(other_link, True)

    def set_wire(self, node: Node, link: LinkName, **changes: float) -> None:
        """Change how a link behaves, in both directions."""
        forth = node.links[link]
        back = forth.peer.links[forth.peer_link]
        forth.wire = replace(forth.wire, **changes)  # type: ignore[arg-type]
        back.wire = forth.wire

    def set_link(self, node: Node, link: LinkName, *, up: bool) -> None:
        """Cut or restore a link; both ends are told, unless one of them is dead: then the other knows it as down."""
        forth = node.links[link]
        back = forth.peer.links[forth.peer_link]
        if forth.is_up == up:
            return
        forth.is_up = back.is_up = up
        if not up:
            forth.cuts += 1
            back.cuts += 1
        if node.is_running and forth.peer.is_running:
            node.link_changed(link, up)
            forth.peer.link_changed(forth.peer_link, up)

    def start(self) -> None:
        """Give every party its first turn and bring the links up."""
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            for name, link in node.links.items():
                if link.is_up:
                    node.link_changed(name, True)


class Node:
    """A party in the virtual network: its queue, its clock of turns, its links."""

    def __init__(
        self,
        network: VirtualNetwork,
        make: Callable[[], Party],
        store: Store,
        cost: TurnCost | MeasuredCost,
        host: Host | None = None,
    ) -> None:
        self.network = network
        self.env = network.env
        self.make = make
        self.party = make()
        self.store = store
        self.cost = cost
        self.host = host or Host(network.env, 1)
        self.links: dict[LinkName, _Link] = {}
        self.endpoints: dict[LinkName, Endpoint] = {}
        self.failures: deque[Failure] = deque(maxlen=100)
        self.failure_count = 0
        self.service = Durations()
        self.trace: deque[Traced] | None = None
        self.turns = 0
        self.events = 0
        self.is_running = False
        self._random = Random(f"{self.party.name}/{network.seed}")  # noqa: S311
        self._chance = Random(f"{self.party.name}/cost/{network.seed}")  # noqa: S311
        self._last_end = 0.0
        self._unit: UnitOfWork = store.unit_of_work()
        self._work = Work([], [], [], [])
        self._arrivals: list[float] = []
        self._deadlines = Deadlines()
        self._busy = False
        self._is_frozen = False
        self._held: list[Callable[[], None]] = []
        self._life = 0
        self._wake_at: Instant | None = None
        self._tickets = 0
        self._waiting: dict[int, Callable[[Json | CommandError], None]] = {}

    def remember_messages(self) -> None:
        """From now on keep the last messages that cross the links; those of local links are kept nowhere."""
        self.trace = deque(maxlen=TRACE_LENGTH)

    def start(self) -> None:
        """The first turn of the party's process."""
        self.is_running = True
        turn = Turn(self.network.now, self._random, self._unit, Work([], [], [], []))
        self.party.start(turn)
        self._unit.commit()
        self._deliver(turn)
        self._next()

    def crash(self) -> None:
        """Kill the process: its memory, its queue and its links are gone; what was committed stays."""
        if not self.is_running:
            return
        self.is_running = False
        self._life += 1
        self._busy = self._is_frozen = False
        self._held.clear()
        self._unit.rollback()
        self._work = Work([], [], [], [])
        self._arrivals.clear()
        self._deadlines = Deadlines()
        self._wake_at = None
        self._waiting.clear()
        for link in self.links.values():
            if link.is_up:
                link.peer.link_changed(link.peer_link, False)

    def restart(self) -> None:
        """Start the process again on the same store."""
        if self.is_running:
            return
        self.party = self.make()
        self._unit = self.store.unit_of_work()
        self.start()
        for name, link in self.links.items():
            if link.is_up and link.peer.is_running:
                self.link_changed(name, True)
                link.peer.link_changed(link.peer_link, True)

    def freeze(self) -> None:
        """Stop the process: it does nothing, its links stay up, and what arrives waits."""
        self._is_frozen = True

    def thaw(self) -> None:
        """Let it go on where it was stopped."""
        if self._is_frozen:
            self._is_frozen = False
            held, self._held = self._held, []
            for go_on in held:
                go_on()
            self._next()

    def attach(self, link: LinkName, endpoint: Endpoint) -> None:
        """Put something local (a card, a PIN pad) at the end of a link."""
        self.endpoints[link] = endpoint

    def detach(self, link: LinkName) -> None:
        """Take it away again; what is sent there is lost."""
        self.endpoints.pop(link, None)

    def command(self, name: str, arguments: dict[str, Json], answered: Callable[[Json | CommandError], None]) -> None:
        """Give the party a command; `answered` is called with its answer. A crash loses it, as does a dead party."""
        if not self.is_running:
            return
        self._tickets += 1
        self._waiting[self._tickets] = answered
        self._work.commands.append(Command(name, arguments, self._tickets))
        self._next()

    def link_changed(self, link: LinkName, up: bool) -> None:
        """Tell the party about one of its links."""
        if self.is_running:
            self._work.link_changes.append(LinkChange(link, up))
            self._next()

    def receive(self, link: LinkName, bodies: list[bytes]) -> None:
        """Bodies arrive over a link."""
        self._take_in(link, bodies)
        self._next()

    def _take_in(self, link: LinkName, bodies: list[bytes]) -> None:
        if self.is_running:
            now = self.env.now
            for body in bodies:
                self._work.inbox.append(Received(link, body))
                self._arrivals.append(now)

    def _next(self) -> None:
        """Begin a turn when there is something to do and the last one is over."""
        if self._busy or self._is_frozen or not self.is_running:
            return
        if isinstance(self.cost, MeasuredCost):
            self._next_measured(self.cost)
            return
        now = self.network.now
        work = self._work.take(TURN_LIMIT)
        work.due = self._deadlines.pop_due(now, TURN_LIMIT)
        if not len(work):
            self._sleep(now)
            return
        self._busy = True
        arrivals, committed = self._arrived(), self._decide(now, work)
        duration = (self.cost.turn + self.cost.event * len(work)) / 1_000_000
        life = self._life
        # what was committed leaves when the turn is over; a crash in between loses it, as it would live
        self.env.timeout(duration).callbacks.append(lambda _: self._finish(committed, arrivals, life))

    def _next_measured(self, cost: MeasuredCost) -> None:
        """As `_next`, where the turn's time is a measured one: what arrives before a processor is free is in it."""
        now = self.network.now
        due = self._deadlines.next()
        if not len(self._work) and (due is None or due > now):
            self._sleep(now)
            return
        self._busy = True
        life = self._life
        arrivals: list[float] = []
        committed: list[Turn] = []
        charge = Charge(0.0, 0.0, 0.0)

        def begin() -> float:
            nonlocal arrivals, committed, charge
            if life != self._life:
                return 0.0
            now = self.network.now
            work = self._work.take(TURN_LIMIT)
            work.due = self._deadlines.pop_due(now, TURN_LIMIT)
            idle = (self.env.now - self._last_end) * 1_000_000
            commits = self._unit.commits
            arrivals, committed = self._arrived(), self._decide(now, work)
            charge = cost.charge(
                kinds_of(work),
                self._unit.commits != commits,
                idle,
                self._chance,
                moment=self.host.moment,
            )
            # who does not wait for the disk sends without giving the processor back
            return (charge.computing + (0.0 if charge.waiting else charge.sending)) / 1_000_000

        def decided() -> None:
            if charge.waiting:
                self.env.timeout(charge.waiting / 1_000_000).callbacks.append(
                    lambda _: self.host.compute(lambda: charge.sending / 1_000_000, end)
                )
            else:
                end()

        def end() -> None:
            self._last_end = self.env.now
            self._finish(committed, arrivals, life)

        self.host.compute(begin, decided)

    def _arrived(self) -> list[float]:
        arrivals, self._arrivals = self._arrivals[:TURN_LIMIT], self._arrivals[TURN_LIMIT:]
        return arrivals

    def _decide(self, now: Instant, work: Work) -> list[Turn]:
        """Take the turn."""
        self.turns += 1
        self.events += len(work)
        committed: list[Turn] = []
        failures = take_turn(self.party, now, self._random, self._unit, work, committed.append)
        self._deadlines.set_again(failures, now)
        self.failures.extend(failures)
        self.failure_count += len(failures)
        return committed

    def _finish(self, committed: list[Turn], arrivals: list[float], life: int) -> None:
        if life != self._life:
            return
        if self._is_frozen:
            self._held.append(lambda: self._finish(committed, arrivals, life))
            return
        now = self.env.now
        for arrival in arrivals:
            self.service.record(round((now - arrival) * 1_000_000))
        for turn in committed:
            self._deliver(turn)
        if life == self._life:
            # what local links have answered at once is taken together
            self._busy = False
            self._next()

    def _deliver(self, turn: Turn) -> None:
        for key, at in turn.timers:
            self._deadlines.set(key, at)
        outgoing: dict[LinkName, list[bytes]] = {}
        for link, body in turn.sent:
            endpoint = self.endpoints.get(link)
            if endpoint is not None:
                endpoint(body, self._answer_from(link))
            else:
                outgoing.setdefault(link, []).append(body)
        self._transmit(outgoing)
        for ticket, result in turn.answers:
            answered = self._waiting.pop(ticket, None)
            if answered is not None:
                answered(result)

    def _answer_from(self, link: LinkName) -> Callable[[bytes], None]:
        life = self._life

        def answer(body: bytes) -> None:
            if life == self._life:
                self.receive(link, [body])

        return answer

    def _transmit(self, outgoing: dict[LinkName, list[bytes]]) -> None:
        """Send a turn's messages. On perfect wires those to one peer travel together, as one event."""
        together: dict[tuple[int, Node], list[tuple[_Link, list[bytes]]]] = {}
        for name, bodies in outgoing.items():
            link = self.links.get(name)
            if link is None or not link.is_up or not link.peer.is_running:
                continue
            if self.trace is not None:
                now = self.network.now
                self.trace.extend([Traced(now, name, False, body) for body in bodies])
            if link.wire.is_perfect:
                together.setdefault((id(link.wire), link.peer), []).append((link, bodies))
            else:
                self._transmit_badly(link, bodies)
        for group in together.values():
            wire = group[0][0].wire
            at = self.env.now + (wire.latency + self.network.random.randrange(wire.jitter + 1)) / 1_000_000
            at = max(at, *(link.last_arrival for link, _ in group))
            for link, _ in group:
                link.last_arrival = at
            self._arrive(group, at)

    def _transmit_badly(self, link: _Link, bodies: list[bytes]) -> None:
        wire, random = link.wire, self.network.random
        for body in bodies:
            if random.random() < wire.loss:
                continue
            carried = _corrupted(body, random) if random.random() < wire.corruption else body
            delay = wire.latency + random.randrange(wire.jitter + 1)
            copies = 2 if random.random() < wire.duplication else 1
            for copy in range(copies):
                if copy or random.random() < wire.reordering:
                    held = delay + random.randrange(10 * wire.latency + 1)
                    self._arrive([(link, [carried])], self.env.now + held / 1_000_000)
                else:
                    link.last_arrival = max(self.env.now + delay / 1_000_000, link.last_arrival)
                    self._arrive([(link, [carried])], link.last_arrival)

    def _arrive(self, group: list[tuple[_Link, list[bytes]]], at: float) -> None:
        """Let bodies arrive at a peer over one or more links."""
        peer = group[0][0].peer
        life = peer._life
        cuts = [link.cuts for link, _ in group]

        def arrive(_: simpy.Event) -> None:
            # a link that was cut, or a peer that died, since the sending loses what was on the wire
            if peer._life == life:
                for (link, bodies), seen in zip(group, cuts, strict=True):
                    if link.cuts == seen:
                        peer._take_in(link.peer_link, bodies)
                        if peer.trace is not None:
                            now = peer.network.now
                            peer.trace.extend([Traced(now, link.peer_link, True, body) for body in bodies])
                peer._next()

        self.env.timeout(max(0.0, at - self.env.now)).callbacks.append(arrive)

    def _sleep(self, now: Instant) -> None:
        """Wake for the next timer."""
        at = self._deadlines.next()
        if at is None or (self._wake_at is not None and now < self._wake_at <= at):
            return
        self._wake_at = at
        # from the exact instant, so that rounding cannot wake us a microsecond early, and then never again
        delay = (at - self.network.epoch) / 1_000_000 - self.env.now
        self.env.timeout(max(0.0, delay)).callbacks.append(lambda _: self._next())


def _corrupted(body: bytes, random: Random) -> bytes:
    if not body:
        return body
    position = random.randrange(len(body))
    return body[:position] + bytes([body[position] ^ random.randrange(1, 256)]) + body[position + 1 :]
