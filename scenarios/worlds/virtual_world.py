"""The whole network in virtual time: its parties, simulated wires, one seed, one process.

The parties are the ones that run live, their messages really packed, their cryptography really computed; their
stores are SQLite files that need not survive the run and so do not wait for the disk.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any, Final

import simpy

from network.host import Host as Processors
from network.keys import SecurityModule
from network.message_trace import messages_of
from network.party import SECOND, Endpoint, Instant, Json, calm_collector
from network.store import Store, sqlite_url
from network.turn_cost import Quantiles
from network.virtual import Node, TurnCost, VirtualNetwork, Wire
from scenarios import books
from scenarios.demo_network import demo, demo_cards
from scenarios.demo_network.members import issuers_among
from scenarios.faults import Faults
from scenarios.load.demand import Demand
from scenarios.load.slo import Objective
from scenarios.load.tracing import Asked, Followed, Sampler, Traces, follow
from scenarios.measurement import Ended, Measurement
from scenarios.outcome import result_of
from scenarios.result import Books, Load, Result
from scenarios.stage import TAP_SECONDS, Answered, Cast, Host, Phone, Process, Scenario, Stage
from scenarios.twin.calibration import Calibration, measured_as
from scenarios.worlds.offices import VirtualOffice
from scenarios.worlds.virtual_faults import VirtualBreakage

EPOCH: Final[Instant] = 1_790_125_200 * SECOND
"""When virtual runs begin: 23 September 2026, 09:00 China Standard Time."""

SETTLING_SECONDS: Final = 300.0
"""How long after the scenario's end timeouts and advices may take to settle."""

TICKS: Final = 200
"""How often a run's progress is told."""


class SimulatedTime:
    """A stage's time that is simpy's own."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env

    def clock(self) -> float:
        """What time it is now."""
        return self.env.now

    def trigger(self, event: simpy.Event, value: Any) -> None:
        """Let an event happen now."""
        if not event.triggered:
            event.succeed(value)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""
        self.env.timeout(seconds).callbacks.append(lambda _: action())

    def spawn(self, process: Process) -> simpy.Process:
        """Start a process now."""
        return self.env.process(process)


class LateHost:
    """The phones' party, given its commands as late as a live generator's timer wakes it to give them."""

    def __init__(self, office: VirtualOffice, env: simpy.Environment, lag: Quantiles, random: Random) -> None:
        self._office = office
        self._env = env
        self._lag = lag
        self._random = random

    def command(self, name: str, arguments: dict[str, Json], answered: Answered) -> None:
        """See `scenarios.stage.Host`."""
        late = self._lag.at(self._random.random()) / SECOND
        self._env.timeout(late).callbacks.append(lambda _: self._office.command(name, arguments, answered))

    def attach(self, link: str, endpoint: Endpoint) -> None:
        """See `scenarios.stage.Host`."""
        self._office.attach(link, endpoint)

    def detach(self, link: str) -> None:
        """See `scenarios.stage.Host`."""
        self._office.detach(link)


@dataclass
class VirtualWorld:
    """A network in virtual time, ready to be played on."""

    env: simpy.Environment
    network: VirtualNetwork
    nodes: dict[str, Node]
    stores: dict[str, Store]
    data: demo.DemoData
    seed: int
    wire: Wire
    offices: dict[str, VirtualOffice]
    modules: dict[str, SecurityModule]
    cast: Cast = field(default_factory=Cast)
    tap_seconds: float = TAP_SECONDS
    lag: Quantiles | None = None

    @property
    def issuers(self) -> list[str]:
        """The issuers' parties."""
        return [one.party for one in issuers_among(self.nodes)]

    def stage(self, duration: float, phones: int) -> Stage:
        """The stage for a scenario with the first `phones` of the world's phones, and all of its cards and devices."""
        measurement = Measurement(duration)
        stage = Stage(
            timing=SimulatedTime(self.env),
            host=self._host(),
            random=Random(f"scenario/{self.seed}"),  # noqa: S311 - a simulation must be repeatable
            duration=duration,
            measurement=measurement,
            tap_seconds=self.tap_seconds,
            started=self.env.now,
            offices=self.offices,
            lines=self,
            devices=self.data.devices,
            secrets=Random(f"secrets/{self.seed}"),  # noqa: S311
            now=lambda: self.network.now,
            usual=self.cast.usual,
        )
        held = demo.sound(self.data.wallet) if self.cast.sound_cards else self.data.wallet
        stage.cards = [demo_cards.hold(card, self.data.chips) for card in held]
        stage.phones = [Phone(stage, terminal.terminal_id) for terminal in self.data.terminals[:phones]]
        return stage

    def _host(self) -> Host:
        office = self.offices["merchant_device"]
        if self.lag is None:
            return office
        return LateHost(office, self.env, self.lag, Random(f"lag/{self.seed}"))  # noqa: S311

    def connect(self, terminal_id: str) -> None:
        """Join a phone that has become a terminal to its acquirer; see `scenarios.stage.Lines`."""
        device, acquirer = self.nodes["merchant_device"], self.nodes["acquirer"]
        if f"acquirer:{terminal_id}" in device.links:
            return
        self.network.connect(device, f"acquirer:{terminal_id}", acquirer, f"terminal:{terminal_id}", self.wire)
        self.network.connect(device, f"monitor:{terminal_id}", acquirer, f"monitor:{terminal_id}", self.wire)

    def break_line(self, terminal_id: str, seconds: float) -> None:
        """Break a phone's link to its acquirer for a while; see `scenarios.stage.Lines`."""
        device, link = self.nodes["merchant_device"], f"acquirer:{terminal_id}"
        self.network.set_link(device, link, up=False)
        self.env.timeout(seconds).callbacks.append(lambda _: self.network.set_link(device, link, up=True))

    def party_books(self) -> dict[str, books.PartyBooks]:
        """The trial balances of the parties that keep books."""
        return {party: books.of_store(self.stores[party]) for party in (*self.issuers, "switch", "acquirer")}

    def books(self, before: Mapping[str, books.PartyBooks] | None = None) -> Books:
        """The three books side by side; with `before`, what has moved since then."""
        return books.compare(self.party_books(), before)

    def run_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Go on until `condition` holds, at most `limit` seconds of virtual time; tell whether it does."""
        end = self.env.now + limit
        while not condition() and self.env.now < end:
            self.env.run(until=min(self.env.now + 0.25, end))
        return condition()

    def is_settled(self) -> bool:
        """Nothing is pending anywhere: no request, no advice, no reversal."""
        return all(demo.is_settled(party, store) for party, store in self.stores.items())


@contextlib.contextmanager
def virtual_world(
    seed: int,
    *,
    phones: int = demo.PHONES,
    cards: int = demo.CARDS,
    wire: Wire | None = None,
    cost: TurnCost | None = None,
    calibration: Calibration | None = None,
    timeouts: demo.Timeouts | None = None,
    cast: Cast | None = None,
    issuers: int = 1,
) -> Iterator[VirtualWorld]:
    """Build a network in virtual time and let its members and phones sign on.

    Parameters
    ----------
    wire
        How the links behave, by default without faults.
    calibration
        Live measurements: all parties are on a machine such as the measured one, whose processors they share, turns
        take what they took there, links (unless `wire` is given) too, and cards answer at once, as live ones do.
    cast
        What a scenario needs besides; its numbers of phones and cards count before those given.
    issuers
        How many issuers there are.
    """
    cast = cast or Cast()
    phones = phones if cast.phones is None else cast.phones
    cards = cards if cast.cards is None else cast.cards
    env = simpy.Environment()
    network = VirtualNetwork(env, seed, EPOCH)
    wire = wire or (calibration.link() if calibration is not None else Wire())
    with tempfile.TemporaryDirectory(prefix="fourparty-") as folder:
        parties = demo.build(Random(f"keys/{seed}"), timeouts or demo.Timeouts(), cast, issuers)  # noqa: S311
        stores = {
            name: Store(sqlite_url(Path(folder) / f"{name}.db"), party.rows, durable=False)
            for name, party in parties.items()
        }
        data = demo.seed(
            parties,
            stores,
            Random(f"demo/{seed}"),  # noqa: S311
            network.now,
            phones=phones,
            cards=cards,
            products=cast.products,
        )
        data.devices.extend(
            demo.manufacture(
                stores["merchant_device"],
                parties["merchant_device"].module,
                demo.VIRTUAL_MAKER,
                network.now,
                cast.devices,
            )
        )
        if calibration is None:
            nodes = {name: network.add(party.make, stores[name], cost) for name, party in parties.items()}
        else:
            machine = calibration.machine
            moments = Random(f"machine/{seed}")  # noqa: S311
            shared = Processors(env, machine.processors, machine.time_slice / SECOND, moments, machine.overhead)
            costs = calibration.costs()
            nodes = {
                name: network.add(party.make, stores[name], costs[measured_as(name)], shared)
                for name, party in parties.items()
            }
        network.connect(nodes["acquirer"], "switch", nodes["switch"], "member:acquirer", wire)
        for one in issuers_among(nodes):
            network.connect(nodes["switch"], f"issuer:{one.member_id}", nodes[one.party], "switch", wire)
        for terminal in data.terminals:
            link = terminal.terminal_id
            network.connect(nodes["merchant_device"], f"acquirer:{link}", nodes["acquirer"], f"terminal:{link}", wire)
        network.start()
        offices = {name: VirtualOffice(node) for name, node in nodes.items()}
        modules = {name: party.module for name, party in parties.items()}
        tap_seconds = TAP_SECONDS if calibration is None else 0.0
        lag = None if calibration is None else Quantiles(calibration.lag)
        world = VirtualWorld(env, network, nodes, stores, data, seed, wire, offices, modules, cast, tap_seconds, lag)
        world.env.run(until=5.0)
        try:
            with calm_collector():
                yield world
        finally:
            for store in stores.values():
                store.close()


def _sampler(world: VirtualWorld, duration: float, traces: Traces) -> Sampler:
    """Follow payments over the nodes, which remember their messages from now on."""
    asked = {}
    for party, node in world.nodes.items():
        node.remember_messages()
        asked[party] = _asked(node)

    def take(payment: Followed) -> bool:
        follow(payment, asked, traces)
        return True

    return Sampler(duration, 1, lambda: world.network.now, take)


def _asked(node: Node) -> Asked:
    return lambda since, terminal, limit: messages_of(node.trace or (), since, terminal, limit)


def play(
    world: VirtualWorld,
    name: str,
    scenario: Scenario,
    *,
    duration: float,
    phones: int,
    progress: Callable[[float, Measurement], None] | None = None,
    demand: Demand | None = None,
    objectives: Sequence[Objective] = (),
    load_of: Callable[[Measurement], Load] | None = None,
    command: str | None = None,
    told: Sequence[Callable[[Ended], None]] = (),
    traces: Traces | None = None,
) -> Result:
    """Play a scenario to its end, let everything settle, and measure.

    Parameters
    ----------
    demand
        How payments are to come to be due, of a scenario that takes a load.
    objectives
        What the run has to reach.
    load_of
        Tells how payments were generated, once they have been.
    command
        What was typed, where that was not ``fourparty run``.
    told
        Are told of every payment that counts.
    traces
        Takes what following some of the payments tells.
    """
    env = world.env
    stage = world.stage(duration, phones)
    if demand is not None:
        stage.demand = demand
        stage.started = env.now + demand.warm_up
    stage.measurement.told.extend(told)
    if traces is not None:
        stage.measurement.told.append(_sampler(world, duration, traces).take)
    breaker = Faults(VirtualBreakage(world.network, world.nodes, world.wire), lambda: env.now - stage.started)
    stage.breaker = breaker if world.cast.breaks else None
    before = world.party_books()
    reversals = demo.reversals(world.stores["merchant_device"])
    finished = env.process(scenario(stage))
    while not finished.processed:
        next_stop = env.now + max(0.25, duration / TICKS)
        env.run(until=next_stop)
        if progress is not None:
            progress(env.now - stage.started, stage.measurement)
    played = env.now - stage.started
    breaker.mend_all()
    world.run_until(world.is_settled, SETTLING_SECONDS)
    measured = ("merchant_device", "acquirer", "switch", *world.issuers)
    return result_of(
        stage.measurement,
        name=name,
        scenario=scenario,
        runtime="virtual",
        seed=world.seed,
        played=played,
        started_at=demo.iso_time(EPOCH + round(stage.started * SECOND)),
        reversals=demo.reversals(world.stores["merchant_device"]) - reversals,
        parties={party: world.nodes[party].service.summary() for party in measured},
        books=world.books(before),
        environment={
            "phones": str(phones),
            "command": command
            or f"fourparty run {name} --virtual --seed {world.seed} --duration {duration:g} --phones {phones}",
            "fourparty": version("fourparty"),
        },
        load=None if load_of is None else load_of(stage.measurement),
        objectives=objectives,
        legs=[] if traces is None else traces.in_order(),
        errors=[] if traces is None else traces.samples(),
        faults=breaker.windows(),
    )
