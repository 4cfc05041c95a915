"""``fourparty load``: from what was asked for to a result, on live services or in virtual time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from network.service import ConfigurationError
from scenarios import console as screen
from scenarios import demo, live_world
from scenarios.captures import captured_network
from scenarios.load import coordinator
from scenarios.load.assignment import Assignment
from scenarios.load.coordinator import Standing
from scenarios.load.demand import Demand, usual_of
from scenarios.load.validity import LONGEST_LAG
from scenarios.outcome import result_of
from scenarios.processes import RunningNetwork
from scenarios.result import Result
from scenarios.running import find_scenario
from scenarios.stage import Scenario, cast_of

TERMINALS_PER_RATE = 0.5
LEAST_TERMINALS = 32
MOST_TERMINALS = 1_000
"""Terminals of an open loop that is not told how many: those that so many seconds of its rate keep busy."""

SPARE_CARDS = 20


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
    pcap : Path or None
        Where to write what crosses the links.
    """

    scenario: str
    duration: float
    demand: Demand
    terminals: int | None
    generators: int
    seed: int
    directory: Path | None = None
    host: str | None = None
    start_at: int | None = None
    longest_lag: float = LONGEST_LAG
    records: Path | None = None
    pcap: Path | None = None


def play_live(order: Order) -> Result:
    """Play on live services."""
    scenario = load_scenario(order.scenario)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with captured_network(order.pcap, console) as captures, _network(order, scenario, captures) as folder:
        network = RunningNetwork(folder)
        terminals = _terminals(order, scenario, network)
        assignments = list(_assignments(order, folder, terminals, captures))
        console.print(f"{terminals} terminals sign on ...")
        name = Path(order.scenario).stem
        with screen.Progress(name) as shown:
            generated = coordinator.generate(
                network,
                assignments,
                start_at=order.start_at,
                told=lambda standing: _show(shown, standing, order.duration),
            )
    shape = shape_text(order, scenario, terminals)
    load = coordinator.load_of(
        generated, assignments[0], shape, longest_lag=order.longest_lag, generators=len(assignments)
    )
    zero = generated.began + round(order.demand.warm_up * 1_000_000)
    return result_of(
        generated.measurement,
        name=name,
        scenario=scenario,
        runtime="live",
        seed=order.seed,
        played=generated.played,
        started_at=demo.iso_time(zero),
        reversals=generated.reversals,
        parties=generated.parties,
        books=generated.books,
        environment={"phones": str(terminals), **live_world.environment(generated.lag)},
        load=load,
    )


def load_scenario(name: str) -> Scenario:
    """A scenario that can be loaded.

    Raises
    ------
    ConfigurationError
        There is none, or it makes its payments at times of its own.
    """
    scenario = find_scenario(name)
    if cast_of(scenario).usual is None:
        raise ConfigurationError(f"{name} makes its payments at times of its own and takes no load: use fourparty run")
    return scenario


def shape_text(order: Order, scenario: Scenario, terminals: int) -> str:
    """The load for people."""
    demand = order.demand
    if demand.closed:
        return f"{terminals} terminals"
    if demand.day is not None:
        return f"recorded day of {len(demand.day):,} payments"
    text = demand.shaped(usual_of(scenario), order.duration).text
    return text if demand.arrivals.value == "poisson" else f"{text}, evenly spread"


@contextlib.contextmanager
def _network(order: Order, scenario: Scenario, captures: Path | None) -> Iterator[Path]:
    if order.directory is not None:
        yield order.directory
        return
    terminals = order.terminals or _wanted(order, scenario)
    Console(stderr=True, highlight=False).print("starting issuer, switch and acquirer with demo data ...")
    # of a hundred cards four would be declined and stay at home
    cards = max(demo.CARDS, terminals * 100 // 95 + SPARE_CARDS)
    with live_world.own_network(phones=terminals, cards=cards, captures=captures) as processes:
        yield processes.folder


def _terminals(order: Order, scenario: Scenario, network: RunningNetwork) -> int:
    wanted = order.terminals or _wanted(order, scenario)
    there_are = len(live_world.free_terminals(network))
    if order.terminals is not None and order.terminals > there_are:
        raise ConfigurationError(f"--terminals: the network has {there_are} free terminals")
    return min(wanted, there_are)


def _wanted(order: Order, scenario: Scenario) -> int:
    demand = order.demand
    if demand.day is not None:
        peak = len(demand.day) / order.duration
    else:
        peak = demand.shaped(usual_of(scenario), order.duration).peak
    return min(MOST_TERMINALS, max(LEAST_TERMINALS, round(peak * TERMINALS_PER_RATE)))


def _assignments(order: Order, folder: Path, terminals: int, captures: Path | None) -> Iterator[Assignment]:
    """The generators' parts: this machine's share, divided among its processes."""
    demand = order.demand
    for number in range(order.generators):
        part = demand.part * order.generators + number
        yield Assignment(
            folder=folder,
            host=order.host,
            scenario=order.scenario,
            seed=order.seed,
            duration=order.duration,
            terminals=terminals,
            demand=replace(demand, part=part, parts=demand.parts * order.generators),
            records=order.records,
            # the services of a network of its own capture every link themselves
            captures=captures if order.directory is not None else None,
        )


def _show(shown: screen.Progress, standing: Standing, duration: float) -> None:
    shown.update(
        max(0.0, standing.elapsed),
        max(standing.elapsed, duration),
        standing.sent,
        standing.approved,
        standing.declined,
        standing.failed,
        standing.p99,
    )
