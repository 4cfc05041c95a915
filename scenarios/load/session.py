"""``fourparty load``: from what was asked for to a result, on live services or in virtual time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from network.party import SECOND
from network.service import ConfigurationError
from scenarios import console as screen
from scenarios.demo_network import demo
from scenarios.demo_network.captures import captured_network
from scenarios.demo_network.processes import RunningNetwork, read_description
from scenarios.load import coordinator
from scenarios.load.arrivals import Arrivals
from scenarios.load.assignment import Assignment
from scenarios.load.coordinator import Generated, Standing, Told
from scenarios.load.demand import Demand
from scenarios.load.gathering import write_part
from scenarios.load.recorded_day import Recorder, read_day, write_day
from scenarios.load.slo import Objective
from scenarios.load.tracing import Traces
from scenarios.load.validity import LONGEST_LAG, Generator, load_of
from scenarios.measurement import Measurement
from scenarios.outcome import result_of
from scenarios.report.quantities import latency, rate, span
from scenarios.result import Load, Result
from scenarios.running import find_scenario, refuse_faults
from scenarios.stage import Scenario, cast_of
from scenarios.twin import calibration as calibrations
from scenarios.worlds import live_world, virtual_world
from scenarios.worlds.live_faults import LiveBreakage

TERMINALS_PER_RATE: Final = 0.5
LEAST_TERMINALS: Final = 32
MOST_TERMINALS: Final = 1_000
"""Terminals of an open loop that is not told how many: those that so many seconds of its rate keep busy."""

SPARE_CARDS: Final = 20


@dataclass(frozen=True)
class Order:
    """A load run as it was asked for.

    Attributes
    ----------
    scenario : str
        Name, or Python file.
    duration : float
        Seconds that count.
    demand : Demand
        Of the whole; `part` and `parts` where other machines generate the rest.
    terminals : int or None
        None: as many as its rate is likely to need.
    generators : int
        Processes here.
    directory : Path or None
        Of a running network; None: a network of its own.
    host : str or None
        Where that network is, if not where it says.
    start_at : int or None
        Instant at which payments begin.
    longest_lag : float
        Seconds; see `scenarios.load.validity`.
    objectives : sequence of Objective
        What the run has to reach.
    replay, record : Path or None
        A recorded day to play, and where to record one.
    pcap : Path or None
        Where to write what crosses the links.
    tls : bool
        Whether a network of its own has TLS on links and REST.
    part_folder : Path or None
        Where to put what it takes to put this part of a load together with others.
    calibration : Path or None
        What turns cost in virtual time (`scenarios.twin.calibration`).
    command : str
        What was typed, for who wants to type it again.
    """

    scenario: str
    duration: float
    demand: Demand
    terminals: int | None = None
    generators: int = 1
    seed: int = 1
    directory: Path | None = None
    host: str | None = None
    start_at: int | None = None
    longest_lag: float = LONGEST_LAG
    objectives: Sequence[Objective] = ()
    replay: Path | None = None
    record: Path | None = None
    pcap: Path | None = None
    tls: bool = False
    part_folder: Path | None = None
    calibration: Path | None = None
    command: str = "fourparty load"

    @property
    def name(self) -> str:
        """The scenario's name."""
        return Path(self.scenario).stem


def load_scenario(name: str) -> Scenario:
    """A scenario that takes a load.

    Raises
    ------
    ConfigurationError
        There is none, or it makes its payments at times of its own.
    """
    scenario = find_scenario(name)
    if cast_of(scenario).usual is None:
        raise ConfigurationError(f"{name} makes its payments at times of its own and takes no load: use fourparty run")
    return scenario


def scenario_of(order: Order) -> Scenario:
    """The scenario of an order.

    Raises
    ------
    ConfigurationError
        There is none, or it breaks things in a network of somebody's.
    """
    scenario = load_scenario(order.scenario)
    if order.directory is not None:
        refuse_faults(order.scenario, scenario)
        read_description(order.directory / "network.json")
    return scenario


def demand_of(order: Order) -> Demand:
    """The demand of an order, with its recorded day where it has one."""
    if order.replay is None:
        return order.demand
    return replace(order.demand, day=read_day(order.replay, order.duration))


def play_virtual(order: Order) -> Result:
    """Play in virtual time."""
    scenario = scenario_of(order)
    demand = demand_of(order)
    terminals = order.terminals or _wanted(order, scenario, demand)
    calibration = calibrations.read_or_none(order.calibration)
    recorder = Recorder()

    def load(measured: Measurement) -> Load:
        shape = _shape_text(demand, scenario, order.duration, terminals)
        return load_of(
            measured,
            demand,
            duration=order.duration,
            shape=shape,
            terminals=terminals,
            generators=[Generator(0.0, True)],
            longest_lag=order.longest_lag,
        )

    cast = replace(cast_of(scenario), phones=None, cards=_cards_for(terminals, least=0))
    with (
        screen.Progress(order.name) as shown,
        virtual_world.virtual_world(order.seed, phones=terminals, calibration=calibration, cast=cast) as world,
    ):
        result = virtual_world.play(
            world,
            order.name,
            scenario,
            duration=order.duration,
            phones=terminals,
            progress=lambda elapsed, measured: show(shown, _standing(elapsed, measured), order.duration),
            demand=demand,
            objectives=order.objectives,
            load_of=load,
            command=order.command,
            told=[recorder.take] if order.record is not None else [],
            traces=Traces(),
        )
    if order.record is not None:
        write_day(order.record, recorder.payments)
    return result


def play_live(order: Order) -> Result:
    """Play on live services, with generators of their own."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with screen.Progress(order.name) as shown:
        result, generated = measure(order, lambda standing: show(shown, standing, order.duration), console)
    if order.record is not None:
        write_day(order.record, generated.recorded)
    if order.part_folder is not None:
        write_part(order.part_folder, generated.measurement, generated.traces)
    return result


def measure(order: Order, told: Told, console: Console) -> tuple[Result, Generated]:
    """Play on live services; the result, and all that the generators measured.

    Parameters
    ----------
    told
        Told now and then how far it is.
    console
        For what is done before payments begin.
    """
    scenario = scenario_of(order)
    demand = demand_of(order)
    with (
        captured_network(order.pcap, console) as captures,
        _network(order, scenario, demand, captures) as (folder, breakage),
    ):
        network = RunningNetwork(folder, order.host)
        terminals = terminals_of(order, scenario, demand, network)
        assignments = list(assignments_of(order, folder, terminals, captures))
        console.print(f"{terminals} terminals sign on ...")
        generated = coordinator.generate(network, assignments, start_at=order.start_at, told=told, breakage=breakage)
    zero = generated.began + round(demand.warm_up * SECOND)
    result = result_of(
        generated.measurement,
        name=order.name,
        scenario=scenario,
        runtime="live",
        seed=order.seed,
        played=generated.played,
        started_at=demo.iso_time(zero),
        reversals=generated.reversals,
        parties=generated.parties,
        books=generated.books,
        environment={"phones": str(terminals), **live_world.environment(generated.lag)},
        load=load_of(
            generated.measurement,
            demand,
            duration=order.duration,
            shape=_shape_text(demand, scenario, order.duration, terminals),
            terminals=terminals,
            generators=generated.generators,
            longest_lag=order.longest_lag,
        ),
        objectives=order.objectives,
        legs=generated.traces.in_order(),
        errors=generated.traces.samples(),
        faults=generated.faults,
    )
    return result, generated


def _shape_text(demand: Demand, scenario: Scenario, duration: float, terminals: int) -> str:
    """The load for people."""
    if demand.closed:
        return f"{terminals} terminals"
    if demand.day is not None:
        text = f"recorded day of {len(demand.day):,} payments"
    else:
        text = demand.shaped(cast_of(scenario).usual, duration).text
        text += ", evenly spread" if demand.arrivals is Arrivals.UNIFORM else ""
    return text if demand.parts == 1 else f"{text}, part {demand.part + 1} of {demand.parts}"


@contextlib.contextmanager
def _network(
    order: Order, scenario: Scenario, demand: Demand, captures: Path | None
) -> Iterator[tuple[Path, LiveBreakage | None]]:
    if order.directory is not None:
        yield order.directory, None
        return
    terminals = order.terminals or _wanted(order, scenario, demand)
    Console(stderr=True, highlight=False).print("starting issuer, switch and acquirer with demo data ...")
    breaks = cast_of(scenario).breaks
    with live_world.breakable_network(
        breaks, phones=terminals, cards=_cards_for(terminals), captures=captures, tls=order.tls
    ) as (processes, breakage):
        yield processes.folder, breakage


def _cards_for(terminals: int, *, least: int = demo.CARDS) -> int:
    """Cards that a network needs so that every terminal can have a sound one: four of a hundred are not."""
    return max(least, terminals * 100 // 95 + SPARE_CARDS)


def terminals_of(order: Order, scenario: Scenario, demand: Demand, network: RunningNetwork) -> int:
    """How many of a network's free terminals a load uses, all parts together.

    Raises
    ------
    ConfigurationError
        There are not enough: not as many as asked for, or not one for each generator.
    """
    there_are = len(live_world.free_terminals(network))
    if order.terminals is not None and order.terminals > there_are:
        raise ConfigurationError(f"--terminals: the network has {there_are} free terminals")
    terminals = min(order.terminals or _wanted(order, scenario, demand), there_are)
    if terminals < order.generators * demand.parts:
        raise ConfigurationError(f"--generators: there are {terminals} terminals for them, not one for each")
    return terminals


def _wanted(order: Order, scenario: Scenario, demand: Demand) -> int:
    if demand.day is not None:
        peak = len(demand.day) / order.duration
    else:
        peak = demand.shaped(cast_of(scenario).usual, order.duration).peak
    return min(MOST_TERMINALS, max(LEAST_TERMINALS, round(peak * TERMINALS_PER_RATE)))


def assignments_of(order: Order, folder: Path, terminals: int, captures: Path | None) -> Iterator[Assignment]:
    """The generators' parts: this machine's share, divided among its processes."""
    demand = order.demand
    for number in range(order.generators):
        # every parts-th of this machine's own: other machines may have another number of generators
        part = demand.part + number * demand.parts
        yield Assignment(
            folder=folder,
            host=order.host,
            scenario=order.scenario,
            seed=order.seed,
            duration=order.duration,
            terminals=terminals,
            demand=replace(demand, day=None, part=part, parts=demand.parts * order.generators),
            replay=order.replay,
            records=order.record is not None,
            # the services of a network of its own capture every link themselves
            captures=captures if order.directory is not None else None,
        )


def _standing(elapsed: float, measured: Measurement) -> Standing:
    return Standing(
        elapsed=elapsed,
        due=measured.due,
        sent=measured.sent,
        approved=measured.approved,
        declined=sum(measured.declined.values()),
        failed=measured.unanswered + sum(measured.refused.values()),
        p99=measured.latency.percentile(99),
        lag_p99=measured.lag.percentile(99),
    )


def show(shown: screen.Progress, standing: Standing, duration: float) -> None:
    """Show how far a run of `duration` seconds is."""
    if standing.elapsed < 0:
        shown.tell(0.0, duration, f"counting begins in {span(round(-standing.elapsed))}")
        return
    per_second = f" ({rate(standing.due / standing.elapsed)}/s)" if standing.elapsed > 0 else ""
    shown.tell(
        standing.elapsed,
        max(standing.elapsed, duration),
        f"{standing.due:,} due{per_second}, {standing.sent:,} sent, {standing.approved:,} approved, "
        f"{standing.declined:,} declined, {standing.failed:,} failed, p99 {latency(standing.p99)}, "
        f"lag p99 {latency(standing.lag_p99)}",
    )
