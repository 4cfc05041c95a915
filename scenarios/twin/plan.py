"""How many processes of each kind a network takes: found by simulating candidates, not by a formula.

For every kind the fewest processes are searched that keep each of them below the utilisation asked for; together they
must meet the target, else the kind whose messages wait longest gets more. Then each kind is tried with one less, so
that the answer shows what it rests on.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from network.durations import Durations, Summary
from network.service import ConfigurationError
from network.turn_cost import MeasuredCost
from scenarios.twin.layout import KINDS, deal, lay_out, shares_of
from scenarios.twin.model import Outcome, Window, Wire, simulate
from scenarios.twin.pool import Pool
from scenarios.twin.route import Visit, route_of_a_sale

TRIAL_PAYMENTS: Final = 120_000
"""Payments of each simulation of a candidate, warm-up besides."""

WARM_UP: Final = 0.25
"""Seconds that a window runs before it counts: queues of milliseconds have long found their length."""

MINUTE: Final = (0.84, 0.9, 0.96, 1.0, 0.97, 0.9)
"""A minute around the peak second, ten seconds each, as parts of the peak."""

WINDOW_PAYMENTS: Final = 230_000
"""Payments of each window of the peak minute, at most."""

MOST_RAISES: Final = 40
"""How often a kind may get more processes for the target, before it is held to be out of reach."""

_TARGET: Final = re.compile(r"p(50|90|95|99|99\.9)\s*<\s*(\d+(?:\.\d+)?)\s*(ms|s)")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """A percentile of the payments and the microseconds below which it must be."""

    text: str
    percentile: float
    limit: float

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read such as ``p99<200ms``.

        Raises
        ------
        ConfigurationError
            It is none.
        """
        match = _TARGET.fullmatch(text.strip().lower())
        if match is None or float(match[2]) <= 0:
            raise ConfigurationError(f"--target: {text!r} is no target such as p99<200ms, p50<20ms or p99.9<1s")
        return cls(text.strip(), float(match[1]), float(match[2]) * (1_000_000 if match[3] == "s" else 1_000))

    def of(self, durations: Durations) -> float:
        """What was reached, in microseconds."""
        return float(durations.histogram().get_value_at_percentile(self.percentile))


@dataclass(frozen=True)
class Demand:
    """What the network must do.

    Attributes
    ----------
    peak : float
        Payments in its busiest second.
    members : int
        Members, each of which both accepts and issues.
    skew : float
        How unequal they are (`scenarios.twin.layout.shares_of`).
    utilisation : float
        The most that a process may be used (`scenarios.twin.model.ProcessLoad`), 0 to 1.
    target : Target
    seed : int
    """

    peak: float
    members: int
    target: Target
    skew: float = 1.0
    utilisation: float = 0.7
    seed: int = 1


@dataclass(frozen=True)
class KindLoad:
    """How the processes of a kind fared: their number, the most and the mean utilisation, the mean of busy time."""

    count: int
    most: float
    mean: float
    busy: float
    events_a_turn: float
    latency: Summary


@dataclass(frozen=True)
class Trial:
    """A network that was simulated, and how it fared.

    Attributes
    ----------
    failing : list of str
        What it does not keep, in words; empty where it keeps all.
    computed : int
        Payments that were simulated, warm-up included.
    computing : float
        Seconds of processor time for that.
    """

    counts: dict[str, int]
    payments: int
    end_to_end: Summary
    reached: float
    kinds: dict[str, KindLoad]
    failing: list[str]
    computed: int
    computing: float

    @property
    def good(self) -> bool:
        """Whether it keeps all."""
        return not self.failing


@dataclass
class Plan:
    """The answer.

    Attributes
    ----------
    trial : Trial
        The smallest network that was found, in its busiest second.
    one_less : dict
        Kind to what happens with one process less of it; None where there is one for each member and no less.
    minute : Trial or None
        The same network in the minute around that second.
    tried : int
        Networks that were simulated.
    elapsed : float
        Seconds that simulating took on all processors.
    """

    demand: Demand
    trial: Trial
    one_less: dict[str, Trial | None] = field(default_factory=dict)
    minute: Trial | None = None
    tried: int = 0
    minute_elapsed: float = 0.0
    workers: int = 1


@dataclass(frozen=True)
class Task:
    """A window of a network's time for a worker."""

    counts: dict[str, int]
    shares: tuple[float, ...]
    costs: dict[str, MeasuredCost]
    route: tuple[Visit, ...]
    window: Window
    wire: Wire


def run_task(task: Task) -> Outcome:
    """Simulate a task's window."""
    return simulate(lay_out(task.counts, task.shares), task.costs, task.route, task.window, task.wire)


class Planner:
    """Simulates networks for a demand.

    Parameters
    ----------
    costs
        Of each party by its name, as calibrated.
    """

    def __init__(
        self,
        demand: Demand,
        costs: dict[str, MeasuredCost],
        wire: Wire,
        pool: Pool[Task, Outcome],
        progress: Progress,
    ) -> None:
        self.demand = demand
        self.shares = tuple(shares_of(demand.members, demand.skew))
        self.costs = costs
        self.wire = wire
        self.route = route_of_a_sale()
        self.pool = pool
        self.tried = 0
        self._progress = progress
        self._known: dict[tuple[int, ...], Trial] = {}

    def plan(self, minute: Sequence[float] | None) -> Plan:
        """Find the smallest network, show what one less does, and simulate the peak minute."""
        trial = self.meet_target(self.fewest_for_utilisation())
        trial, one_less = self.with_one_less(trial)
        plan = Plan(self.demand, trial, one_less, tried=self.tried, workers=self.pool.workers)
        if minute is not None:
            began = time.monotonic()
            plan.minute = self.minute(trial.counts, minute)
            plan.minute_elapsed = time.monotonic() - began
        return plan

    def floor(self, kind: str) -> int:
        """The fewest processes of a kind that there can be: what all its events take, and one for each member."""
        party = KINDS[kind]
        work = sum(self._cost_of(visit) * self.demand.peak for visit in self.route if visit.party == party)
        return max(math.ceil(work), 1 if kind == "switch" else self.demand.members)

    def _cost_of(self, visit: Visit) -> float:
        cost = self.costs[visit.party]
        kind = {visit.kind: 1}
        return sum(part.of(kind, False) - part.turn for part in (cost.outside, cost.deciding, cost.sending)) / 1e6

    def fewest_for_utilisation(self) -> dict[str, int]:
        """The fewest of each kind whose utilisation stays below the limit: all kinds halved at once.

        The kinds hardly touch one another in this, as each must take the same payments a second.
        """
        low = {kind: self.floor(kind) for kind in KINDS}
        high = dict(low)
        while True:
            trial = self.trial(high)
            small = [kind for kind in KINDS if trial.kinds[kind].most > self.demand.utilisation]
            if not small:
                break
            for kind in small:
                low[kind] = high[kind] + 1
                high[kind] = math.ceil(high[kind] * max(1.1, trial.kinds[kind].most / self.demand.utilisation))
        while any(low[kind] < high[kind] for kind in KINDS):
            middle = {kind: (low[kind] + high[kind]) // 2 for kind in KINDS}
            trial = self.trial(middle)
            for kind in KINDS:
                if trial.kinds[kind].most > self.demand.utilisation:
                    low[kind] = middle[kind] + 1
                else:
                    high[kind] = middle[kind]
        return high

    def meet_target(self, counts: Mapping[str, int]) -> Trial:
        """Give more processes to the kind whose messages wait longest, until the target is met.

        Raises
        ------
        ConfigurationError
            No number of processes meets it.
        """
        counts = dict(counts)
        trial = self.trial(counts)
        for _ in range(MOST_RAISES):
            if trial.good:
                return trial
            slow = max(KINDS, key=lambda kind: trial.kinds[kind].latency.p99)
            over = [kind for kind in KINDS if trial.kinds[kind].most > self.demand.utilisation]
            for kind in over or [slow]:
                counts[kind] += max(1, counts[kind] // 12)
            before, trial = trial, self.trial(counts)
            if not over and trial.reached > 0.98 * before.reached and trial.kinds[slow].most < 0.05:
                break
        if trial.good:
            return trial
        reached = trial.reached / 1_000
        raise ConfigurationError(
            f"--target: {self.demand.target.text} is out of reach: {reached:.1f} ms with "
            f"{sum(counts.values())} processes, most of it in turns that wait for nobody"
        )

    def with_one_less(self, trial: Trial) -> tuple[Trial, dict[str, Trial | None]]:
        """What one process less of each kind does; where it does no harm, it is left out and all tried again."""
        while True:
            results: dict[str, Trial | None] = {}
            for kind in KINDS:
                if trial.counts[kind] <= (1 if kind == "switch" else self.demand.members):
                    results[kind] = None
                    continue
                results[kind] = less = self.trial({**trial.counts, kind: trial.counts[kind] - 1})
                if less.good:
                    trial = less
                    break
            else:
                return trial, results

    def trial(self, counts: Mapping[str, int]) -> Trial:
        """Simulate the peak second of a network, in parts on all processors."""
        key = tuple(counts[kind] for kind in KINDS)
        if key not in self._known:
            self.tried += 1
            named = ", ".join(f"{count} {kind}s" for kind, count in counts.items())
            self._progress(f"trying {named}".replace("switchs", "switches"))
            parts = self.pool.workers
            seconds = max(TRIAL_PAYMENTS / self.demand.peak / parts, 0.2)
            windows = [
                Window(self.demand.peak, seconds, WARM_UP, self.demand.seed * 1_000 + part) for part in range(parts)
            ]
            self._known[key] = self._merged(counts, self.pool.map(list(self._tasks(counts, windows))))
        return self._known[key]

    def minute(self, counts: Mapping[str, int], profile: Sequence[float]) -> Trial:
        """Simulate a minute whose parts are of equal length, in windows on all processors."""
        windows: list[Window] = []
        for part in profile:
            rate = self.demand.peak * part
            pieces = math.ceil(rate * 60 / len(profile) / WINDOW_PAYMENTS)
            windows += [
                Window(rate, 60 / len(profile) / pieces, WARM_UP, self.demand.seed * 1_000 + 500 + len(windows) + piece)
                for piece in range(pieces)
            ]
        outcomes, seconds = [], 0.0
        for place, outcome in self.pool.run(list(self._tasks(counts, windows))):
            outcomes.append(outcome)
            seconds += windows[place].seconds
            self._progress(f"the peak minute: {seconds:.0f} of 60 s")
        return self._merged(counts, outcomes)

    def _tasks(self, counts: Mapping[str, int], windows: Sequence[Window]) -> Iterator[Task]:
        for window in windows:
            yield Task(dict(counts), self.shares, self.costs, self.route, window, self.wire)

    def _merged(self, counts: Mapping[str, int], outcomes: Sequence[Outcome]) -> Trial:
        end_to_end = Durations()
        for outcome in outcomes:
            end_to_end.add(outcome.end_to_end)
        kinds = {kind: _kind_load(kind, outcomes, self.shares) for kind in KINDS}
        target = self.demand.target
        reached = target.of(end_to_end)
        failing = [
            f"{kind} {load.most:.0%} used" for kind, load in kinds.items() if load.most > self.demand.utilisation
        ]
        if reached >= target.limit:
            failing.append(f"p{target.percentile:g} {reached / 1_000:.1f} ms")
        return Trial(
            counts=dict(counts),
            payments=sum(outcome.payments for outcome in outcomes),
            end_to_end=end_to_end.summary(),
            reached=reached,
            kinds=kinds,
            failing=failing,
            computed=sum(outcome.simulated for outcome in outcomes),
            computing=sum(outcome.computing for outcome in outcomes),
        )


def _kind_load(kind: str, outcomes: Sequence[Outcome], shares: Sequence[float]) -> KindLoad:
    durations = Durations()
    groups = []
    for outcome in outcomes:
        durations.add(outcome.hops[kind])
        groups.append([load for load in outcome.processes if load.kind == kind])
    used = [sum(load.utilisation for load in one) / len(one) for one in zip(*groups, strict=True)]
    if kind != "switch":
        # the processes of a member share its payments evenly: what they differ in is the luck of a window
        used = _member_means(used, deal(len(used), shares))
    every = [load for group in groups for load in group]
    return KindLoad(
        count=len(groups[0]),
        most=max(used),
        mean=sum(load.utilisation for load in every) / len(every),
        busy=sum(load.busy for load in every) / len(every),
        events_a_turn=sum(load.events for load in every) / max(1, sum(load.turns for load in every)),
        latency=durations.summary(),
    )


def _member_means(used: Sequence[float], dealt: Sequence[int]) -> list[float]:
    means, first = [], 0
    for count in dealt:
        means.append(sum(used[first : first + count]) / count)
        first += count
    return means
