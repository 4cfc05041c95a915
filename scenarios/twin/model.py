"""A network in model fidelity: queues that take what was measured, messages that are not packed.

A payment is one generator: it names one process after another that it must pass. A process takes turns as the real one
does: all that has arrived waits for one turn, whose time is drawn from the calibration; then all of it goes on
together. simpy has two events a turn, whatever its size, and none a message. That is what makes a national network's
peak computable; against full fidelity it is checked where both can run (`scenarios.twin.check`).
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final, NamedTuple, TypeAlias

import simpy

from network.durations import Durations
from network.turn_cost import MeasuredCost, Quantiles, between
from scenarios.twin.layout import Layout, Place
from scenarios.twin.route import Visit

SAMPLED_TURNS: Final = 16
"""One turn in so many is measured for the times at each hop."""

CHUNK: Final = 4_096
"""Payments whose ways are drawn together."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a message takes from one process to another, in microseconds: this, and up to `jitter` more."""

    latency: float = 50.0
    jitter: float = 20.0


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time to simulate: payments a second, seconds that count, seconds before that do not, and a seed."""

    rate: float
    seconds: float
    warm_up: float
    seed: int


@dataclass(slots=True)
class ProcessLoad:
    """How a process fared in a window.

    Attributes
    ----------
    kind : str
        Of `scenarios.twin.layout.KINDS`.
    utilisation : float
        What its events took without the fixed part of its turns, as a part of the time: what a process has left to
        give, since turns become larger under load.
    busy : float
        Part of the time in which it had a turn under way.
    turns, events : int
    """

    kind: str
    utilisation: float
    busy: float
    turns: int
    events: int


@dataclass(slots=True)
class Outcome:
    """What a window came to.

    Attributes
    ----------
    payments : int
        Payments that ended in the time that counts.
    simulated : int
        All that ended, those of the warm-up too.
    waiting : int
        Payments under way at the end: many where a process could not keep up.
    end_to_end : dict
        Microseconds to payments, as `Durations.counts`.
    hops : dict
        Kind of process to the same, of one message from its arrival to the end of its turn.
    processes : list of ProcessLoad
    computing : float
        Seconds of processor time that simulating took.
    """

    payments: int
    simulated: int
    waiting: int
    end_to_end: dict[int, int]
    hops: dict[str, dict[int, int]]
    processes: list[ProcessLoad]
    computing: float


class _Stop(NamedTuple):
    """A turn that a payment has to take part in: whose, what it adds to it in seconds, whether it then goes away."""

    station: _Station
    cost: float
    writes: bool
    goes_away: bool


_Payment: TypeAlias = Generator[_Stop, None, None]


class _Chance:
    """Draws from a distribution, straight lines between a thousand steps and none beyond its end."""

    def __init__(self, distribution: Quantiles, steps: int = 1_000) -> None:
        self._values = [distribution.at(step / steps) for step in range(steps + 1)]
        self._steps = steps

    def draw(self, number: float) -> float:
        place = number * self._steps
        step = int(place)
        low = self._values[step]
        return low + (self._values[step + 1] - low) * (place - step)


class _Costs:
    """A party's calibration, in seconds and ready for turns."""

    def __init__(self, cost: MeasuredCost) -> None:
        self.turn = (cost.outside.turn + cost.deciding.turn + cost.sending.turn) / 1e6
        self.write = cost.deciding.write / 1e6
        self.waiting = _Chance(Quantiles(tuple(value / 1e6 for value in cost.waiting.values)))
        self.since = [since / 1e6 for since, _ in cost.chance]
        self.factors = [_Chance(one) for _, one in cost.chance]
        self.bulk = cost.bulk
        self._cost = cost

    def of(self, visit: Visit) -> float:
        """What an event adds to its turn."""
        kind = {visit.kind: 1}
        parts = (self._cost.outside, self._cost.deciding, self._cost.sending)
        return sum(part.of(kind, False) - part.turn for part in parts) / 1e6


class _Simulation:
    """The clock, the chance and what is measured."""

    def __init__(self, window: Window, wire: Wire) -> None:
        self.env = simpy.Environment()
        self.random = Random(f"model/{window.seed}").random  # noqa: S311 - a simulation must be repeatable
        self.latency, self.jitter = wire.latency / 1e6, wire.jitter / 1e6
        self.counts_from = window.warm_up


class _Station:
    """A process: who waits for its next turn, and who is in the present one.

    A turn has no limit here: where more than `network.party.TURN_LIMIT` wait, the process cannot keep up anyway.
    """

    __slots__ = (
        "arrivals",
        "away",
        "busy",
        "cost",
        "costs",
        "events",
        "here",
        "hops",
        "is_busy",
        "kind",
        "last_end",
        "turns",
        "work",
        "world",
        "writes",
    )

    def __init__(self, world: _Simulation, kind: str, costs: _Costs, hops: Durations) -> None:
        self.world = world
        self.kind = kind
        self.costs = costs
        self.hops = hops
        self.away: list[_Payment] = []
        self.here: list[_Payment] = []
        self.arrivals: list[float] = []
        self.cost = 0.0
        self.writes = False
        self.is_busy = False
        self.last_end = 0.0
        self.busy = self.work = 0.0
        self.turns = self.events = 0

    def begin(self) -> None:
        """Take a turn with all that waits."""
        world, costs = self.world, self.costs
        env, random = world.env, world.random
        now = env.now
        away, here, arrivals, events = self.away, self.here, self.arrivals, self.cost
        factor = costs.factors[bisect_right(costs.since, now - self.last_end) - 1].draw(random())
        factor *= between(costs.bulk, len(arrivals))
        took = factor * (costs.turn + events)
        if self.writes:
            took += factor * costs.write + costs.waiting.draw(random())
        self.away, self.here, self.arrivals = [], [], []
        self.cost, self.writes, self.is_busy = 0.0, False, True
        if now >= world.counts_from:
            self.turns += 1
            self.events += len(arrivals)
            self.busy += took
            self.work += factor * events
        env.timeout(took).callbacks.append(lambda _: self._end(away, here, arrivals))

    def _end(self, away: list[_Payment], here: list[_Payment], arrivals: list[float]) -> None:
        world = self.world
        env = world.env
        now = self.last_end = env.now
        if not self.turns % SAMPLED_TURNS and now >= world.counts_from:
            for arrival in arrivals:
                self.hops.record(int((now - arrival) * 1e6))
        if away:
            delay = world.latency + world.jitter * world.random()
            env.timeout(delay).callbacks.append(lambda _: _go_on(away, env.now))
        if here:
            _go_on(here, now)
        if self.arrivals:
            self.begin()
        else:
            self.is_busy = False


def _go_on(payments: Iterable[_Payment], now: float) -> None:
    """Let payments arrive where they go next: those for one process arrive together."""
    woken = []
    for payment in payments:
        for station, cost, writes, goes_away in payment:
            if not station.arrivals and not station.is_busy:
                woken.append(station)
            station.arrivals.append(now)
            station.cost += cost
            if writes:
                station.writes = True
            if goes_away:
                station.away.append(payment)
            else:
                station.here.append(payment)
            break
    for station in woken:
        station.begin()


def simulate(
    layout: Layout, costs: dict[str, MeasuredCost], route: Sequence[Visit], window: Window, wire: Wire
) -> Outcome:
    """Simulate a window of a network's time.

    Parameters
    ----------
    layout
        Its processes and who uses which.
    costs
        Of each party by its name, as calibrated.
    route
        The turns that a payment takes part in.
    """
    began = time.process_time()
    world = _Simulation(window, wire)
    prepared = {party: _Costs(cost) for party, cost in costs.items()}
    hops = {kind: Durations() for kind in layout.counts}
    stations = {
        kind: [_Station(world, kind, prepared[layout.party_of(kind)], hops[kind]) for _ in range(count)]
        for kind, count in layout.counts.items()
    }
    end_to_end = Durations()
    state = _Arrivals(world, layout, stations, route, window, end_to_end)
    world.env.timeout(0).callbacks.append(state.arrive)
    end = window.warm_up + window.seconds
    world.env.run(until=end)
    processes = [
        ProcessLoad(kind, one.work / window.seconds, one.busy / window.seconds, one.turns, one.events)
        for kind, group in stations.items()
        for one in group
    ]
    return Outcome(
        payments=state.counted,
        simulated=state.ended,
        waiting=state.begun - state.ended,
        end_to_end=end_to_end.counts,
        hops={kind: one.counts for kind, one in hops.items()},
        processes=processes,
        computing=time.process_time() - began,
    )


class _Arrivals:
    """Payments come at random times and take ways that are drawn many at a time."""

    def __init__(
        self,
        world: _Simulation,
        layout: Layout,
        stations: dict[str, list[_Station]],
        route: Sequence[Visit],
        window: Window,
        end_to_end: Durations,
    ) -> None:
        self._world = world
        self._random = Random(f"arrivals/{window.seed}")  # noqa: S311
        self._rate = window.rate
        self._counts_from = window.warm_up
        self._end_to_end = end_to_end
        sections = _sections(route, set(layout.accepting[0].processes))
        self._accepting = [_stops(place, stations, sections[0::2]) for place in layout.accepting]
        self._issuing = [_stops(place, stations, sections[1::2]) for place in layout.issuing]
        self._accepting_weights = list(accumulate(place.share for place in layout.accepting))
        self._issuing_weights = list(accumulate(place.share for place in layout.issuing))
        self._drawn: list[tuple[list[list[_Stop]], list[list[_Stop]]]] = []
        self.begun = self.ended = self.counted = 0

    def arrive(self, _: object) -> None:
        """A payment begins; the next one comes at a time that knows nothing of it."""
        if not self._drawn:
            ones = self._random.choices(self._accepting, cum_weights=self._accepting_weights, k=CHUNK)
            others = self._random.choices(self._issuing, cum_weights=self._issuing_weights, k=CHUNK)
            self._drawn = list(zip(ones, others, strict=True))
        env = self._world.env
        self.begun += 1
        _go_on((self._pay(*self._drawn.pop()),), env.now)
        env.timeout(self._random.expovariate(self._rate)).callbacks.append(self.arrive)

    def _pay(self, accepting: list[list[_Stop]], issuing: list[list[_Stop]]) -> _Payment:
        env = self._world.env
        began = env.now
        for one, other in zip(accepting, issuing, strict=True):
            yield from one
            yield from other
        self.ended += 1
        if env.now >= self._counts_from:
            self.counted += 1
            self._end_to_end.record(int((env.now - began) * 1e6))


def _sections(route: Sequence[Visit], accepting: set[str]) -> list[list[Visit]]:
    """The way in sections, in turn on the accepting and on the issuing side, as many of one as of the other."""
    sections: list[list[Visit]] = [[]]
    for visit in route:
        if (visit.kind_of_process in accepting) != bool(len(sections) % 2):
            sections.append([])
        sections[-1].append(visit)
    return sections + [[]] * (len(sections) % 2)


def _stops(place: Place, stations: dict[str, list[_Station]], sections: Sequence[Sequence[Visit]]) -> list[list[_Stop]]:
    """The sections that are passed at a place's processes."""

    def stop(visit: Visit) -> _Stop:
        station = stations[visit.kind_of_process][place.processes[visit.kind_of_process]]
        return _Stop(station, station.costs.of(visit), visit.writes, visit.goes_away)

    return [[stop(visit) for visit in section] for section in sections]
