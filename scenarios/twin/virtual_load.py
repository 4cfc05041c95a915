"""A load in a virtual world, calibrated or not: what comparisons and sweeps are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from network.durations import Summary
from scenarios.load.demand import Demand
from scenarios.load.session import load_scenario
from scenarios.measurement import Measurement
from scenarios.stage import cast_of
from scenarios.twin.calibration import Calibration
from scenarios.twin.measuring import WARM_UP, cards_for, demand_of
from scenarios.twin.pool import Pool
from scenarios.worlds import virtual_world


@dataclass(frozen=True)
class VirtualLoad:
    """What a run measured, how long it took in virtual seconds, and whether the books agree."""

    measurement: Measurement
    played: float
    books_agree: bool


@dataclass(frozen=True)
class Task:
    """A run of a scenario at a constant rate, for a pool of processes."""

    calibration: Calibration
    scenario: str
    rate: float
    seconds: float
    terminals: int
    seed: int


def play_all(tasks: Sequence[Task], told: Callable[[str], None]) -> list[Summary]:
    """Play runs on all processors; what `percentiles` says of each, in their order.

    Raises
    ------
    WorkerLost
        A run's process died again and again.
    """
    found: dict[int, Summary] = {}
    with Pool(percentiles) as pool:
        for place, one in pool.run(tasks):
            found[place] = one
            told(f"simulated {len(found)} of {len(tasks)} runs")
    return [found[place] for place in range(len(tasks))]


def percentiles(task: Task) -> Summary:
    """Play a run; how long its payments took, in microseconds."""
    demand = demand_of(task.rate, task.seconds)
    played = play(task.scenario, demand, task.seconds, task.terminals, task.seed, task.calibration)
    return played.measurement.latency.summary()


def play(
    scenario: str, demand: Demand, seconds: float, terminals: int, seed: int, calibration: Calibration | None
) -> VirtualLoad:
    """Play a scenario for load in a world of its own, and let it settle."""
    wanted = load_scenario(scenario)
    cast = replace(cast_of(wanted), phones=None, cards=cards_for(terminals))
    with virtual_world.virtual_world(seed, phones=terminals, calibration=calibration, cast=cast) as world:
        stage = world.stage(seconds, terminals)
        stage.demand = demand
        stage.started += WARM_UP
        world.env.run(until=world.env.process(wanted(stage)))
        played = world.env.now - stage.started
        world.run_until(world.is_settled, virtual_world.SETTLING_SECONDS)
        return VirtualLoad(stage.measurement, played, world.books().agree)
