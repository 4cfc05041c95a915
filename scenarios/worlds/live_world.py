"""A scenario on live services: the phones and the cards held to them live in this process, the rest is out there.

Issuer, switch and acquirer are processes of their own, started here or running already; this process hosts the
phones' party on its own store and TCP links and steps the scenario's environment on the real clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, Final

import simpy

from merchant_device.configuration import Configuration
from merchant_device.installation import install_terminal
from merchant_device.party import MerchantDevice
from merchant_device.phone_rooms import all_rooms
from network.attestation.monitoring_link import MONITORING_FRAMING
from network.capture import Capture
from network.durations import Durations
from network.framing import TERMINAL_FRAMING
from network.keys import Algorithm, KeyUsage, SecurityModule
from network.live import LiveRuntime, real_now, run_loop
from network.party import SECOND, calm_collector
from network.service import Address, ConfigurationError, TraceSettings, followed
from network.store import Store, sqlite_url
from network.tracing import Tracing
from scenarios import books
from scenarios.demo_network import demo, demo_cards, embedded
from scenarios.demo_network.processes import NetworkError, Processes, RunningNetwork, free_base_port, services
from scenarios.faults import Breakage, Faults, wanted_links
from scenarios.load.demand import Demand
from scenarios.load.slo import Objective
from scenarios.measurement import Measurement
from scenarios.outcome import result_of
from scenarios.phones.wallet import read_wallet
from scenarios.result import Books, Result
from scenarios.stage import Cast, Phone, Scenario, Stage, cast_of
from scenarios.worlds.live_faults import LinkProxies, LiveBreakage
from scenarios.worlds.offices import LiveOffice, TrustedOffice
from scenarios.worlds.real_time import RealTime

SIGN_ON_SECONDS: Final = 60.0
SETTLING_SECONDS: Final = 60.0
PROGRESS_SECONDS: Final = 0.2

DEVICE: Final = Configuration().name
"""What the phones of this process are called where a collector names those whose parts it shows."""

Progress = Callable[[float, Measurement], None]


@contextlib.contextmanager
def own_network(
    *,
    phones: int,
    cards: int = demo.CARDS,
    timeouts: demo.Timeouts | None = None,
    products: Sequence[str] = (),
    issuers: int = 1,
    captures: Path | None = None,
    database: str | None = None,
    tls: bool = False,
    base_port: int | None = None,
    elsewhere: Mapping[str, str] | None = None,
) -> Iterator[Processes]:
    """A fresh network for one run: its services in processes of their own, in a folder that goes away again.

    Parameters
    ----------
    database
        URL of a PostgreSQL database; then its rows are kept on that server.
    tls
        Its links and REST interfaces are secured.
    base_port
        The first of its ports; any free ones unless given.
    elsewhere
        See `scenarios.demo_network.embedded.prepare`.
    """
    with tempfile.TemporaryDirectory(prefix="fourparty-") as folder:
        path = Path(folder)
        embedded.prepare(
            path,
            base_port or free_base_port(),
            timeouts=timeouts,
            cards=cards,
            free_terminals=phones,
            products=products,
            issuers=issuers,
            database=database,
            tls=tls,
            elsewhere=elsewhere,
        )
        processes = Processes(path, [name for name in services(issuers) if name != "device"], captures)
        processes.start()
        try:
            yield processes
        finally:
            processes.stop()


@contextlib.contextmanager
def breakable_network(
    breaks: Sequence[str],
    *,
    phones: int,
    cards: int,
    timeouts: demo.Timeouts | None = None,
    products: Sequence[str] = (),
    issuers: int = 1,
    captures: Path | None = None,
    tls: bool = False,
) -> Iterator[tuple[Processes, LiveBreakage]]:
    """A fresh network, and what breaks its parties and those of its member links that are among `breaks`."""
    base_port = free_base_port()
    links = wanted_links(breaks)
    proxies = LinkProxies(base_port, links) if links else None
    try:
        elsewhere = proxies.elsewhere() if proxies is not None else None
        with own_network(
            phones=phones,
            cards=cards,
            timeouts=timeouts,
            products=products,
            issuers=issuers,
            captures=captures,
            tls=tls,
            base_port=base_port,
            elsewhere=elsewhere,
        ) as processes:
            breakage = LiveBreakage(processes, proxies)
            try:
                yield processes, breakage
            finally:
                breakage.thaw_all()
    finally:
        if proxies is not None:
            proxies.close()


@dataclass
class PhoneHost:
    """The process's own part of the network: the phones' runtime and the stage to play on."""

    runtime: LiveRuntime
    store: Store
    stage: Stage
    time: RealTime
    network: RunningNetwork
    connected: set[str] = field(default_factory=set)

    def connect(self, terminal_id: str) -> None:
        """Dial the acquirer for a phone that has become a terminal; see `scenarios.stage.Lines`."""
        if terminal_id in self.connected:
            return
        self.connected.add(terminal_id)
        acquirer = self.network.description["acquirer"]
        terminal, monitoring = (Address.parse(acquirer[name]) for name in ("terminal_link", "monitoring_link"))
        tls = self.network.terminal_tls
        self.runtime.dial(f"acquirer:{terminal_id}", *terminal, TERMINAL_FRAMING, tls)
        self.runtime.dial(f"monitor:{terminal_id}", *monitoring, MONITORING_FRAMING, tls)

    def break_line(self, terminal_id: str, seconds: float) -> None:
        """Break a phone's link to its acquirer; the runtime dials again by itself."""
        self.runtime.hang_up(f"acquirer:{terminal_id}")

    async def wait_until_signed_on(self) -> None:
        """Wait until every phone has its keys.

        Raises
        ------
        NetworkError
            It took too long.
        """
        deadline = time.monotonic() + SIGN_ON_SECONDS
        while demo.signed_on(self.store) < len(self.stage.phones):
            if time.monotonic() > deadline:
                raise NetworkError(f"the phones could not sign on in {SIGN_ON_SECONDS:.0f} s; is the acquirer up?")
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def phone_host(
    network: RunningNetwork,
    store: Store,
    *,
    seed: int,
    duration: float,
    phones: int,
    configuration: Configuration | None = None,
    cast: Cast | None = None,
    demand: Demand | None = None,
    capture: Capture | None = None,
    tracing: Tracing | None = None,
) -> Any:
    """Install phones on free terminals of a running network, connect them and set the stage.

    Parameters
    ----------
    phones
        How many there are; a generator that serves a part of the `demand` hosts its share of them.
    cast
        What a scenario needs besides the `phones`.
    capture
        Records what crosses the phones' links.
    tracing
        Follows their payments.
    """
    cast = cast or Cast()
    free = free_terminals(network)
    if len(free) < phones:
        raise NetworkError(f"the network has {len(free)} free terminals, {phones} are wanted: choose fewer")
    part, parts = (0, 1) if demand is None else (demand.part, demand.parts)
    module = SecurityModule(os.urandom(32), SystemRandom())
    # from the list's end: outside clients are likely to begin at its beginning
    chosen = free[len(free) - phones :][part::parts]
    _install(store, module, chosen)
    configured = configuration or demo.configurations(demo.Timeouts(), till=cast.till)["merchant_device"]
    devices: list[str] = []
    if cast.devices:
        seed_of_maker = bytes.fromhex(network.description["maker"])
        devices = demo.manufacture(store, module, seed_of_maker, real_now(), cast.devices)
    failed: list[Exception] = []
    party = MerchantDevice(configured, module, all_rooms() if devices else ())
    runtime = LiveRuntime(party, store, random=SystemRandom(), failed=failed.append, capture=capture, tracing=tracing)
    env = simpy.Environment()
    clock = RealTime(env)
    stage = Stage(
        timing=clock,
        host=runtime,
        # the shoppers, not a key
        random=Random(f"scenario/{seed}" if parts == 1 else f"scenario/{seed}/{part}"),  # noqa: S311
        duration=duration,
        measurement=Measurement(duration),
        devices=devices,
        now=real_now,
        demand=demand,
        usual=cast.usual,
    )
    stage.phones = [Phone(stage, terminal["terminal_id"]) for terminal in chosen]
    stage.cards = await asyncio.to_thread(_cards, network, cast, part, parts)
    stage.offices = {name: LiveOffice(network, name) for name in ("acquirer", *network.issuers)}
    stage.offices["merchant_device"] = TrustedOffice(runtime)
    runtime.start()
    acquirer = Address.parse(network.description["acquirer"]["terminal_link"])
    for phone in stage.phones:
        runtime.dial(f"acquirer:{phone.terminal_id}", *acquirer, TERMINAL_FRAMING, network.terminal_tls)
    host = stage.lines = PhoneHost(runtime, store, stage, clock, network)
    try:
        await host.wait_until_signed_on()
        with calm_collector():
            yield host
    finally:
        clock.stop()
        await runtime.stop()


def _install(store: Store, module: SecurityModule, terminals: list[dict[str, Any]]) -> None:
    unit = store.unit_of_work()
    # a batch that no earlier run on these terminals has used: their trace numbers begin again at one
    batch = real_now() // SECOND % 999_999 + 1
    for terminal in terminals:
        tmk = module.import_clear(
            KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, bytes.fromhex(terminal["tmk"]), "terminal master key"
        )
        install_terminal(unit, module, terminal["terminal_id"], terminal["merchant_id"], tmk, batch=batch)
    unit.commit()


def free_terminals(network: RunningNetwork) -> list[dict[str, Any]]:
    """The terminals that are free for outside clients and scenarios."""
    return [terminal for terminal in network.description["terminals"] if terminal["free"]]


def _cards(network: RunningNetwork, cast: Cast, part: int, parts: int) -> list[Any]:
    """A share of the wallet's cards, their counters where the issuer has seen them last.

    Raises
    ------
    ConfigurationError
        A scenario's cast needs others.
    """
    held = read_wallet(network.folder / "wallet.json")
    plain = sum(card.product == "debit" for card in held)
    if plain < (cast.cards or 0):
        raise ConfigurationError(f"{network.folder} has {plain} debit cards, the scenario needs {cast.cards}")
    missing = sorted(set(cast.products) - {card.product for card in held})
    if missing:
        raise ConfigurationError(f"{network.folder} has no cards of {', '.join(missing)}, which the scenario needs")
    chips = demo_cards.chips_for(held)
    held = (demo.sound(held) if cast.sound_cards else held)[part::parts]
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda card: network.get(card.issuer, f"/cards/{card.pan}")["highest_atc"] or 0, held))
    return [demo_cards.hold(demo_cards.at_counter(card, atc), chips) for card, atc in zip(held, seen, strict=True)]


def play(
    folder: Path,
    name: str,
    scenario: Scenario,
    *,
    seed: int,
    duration: float,
    phones: int,
    progress: Progress,
    capture: Capture | None = None,
    breakage: Breakage | None = None,
    objectives: Sequence[Objective] = (),
) -> Result:
    """Play a scenario on the network in `folder`, and measure.

    Parameters
    ----------
    breakage
        Breaks what the scenario says, where the network is the run's own.
    objectives
        What the run has to reach.
    """
    with tempfile.TemporaryDirectory(prefix="fourparty-phones-") as own:
        store = Store(sqlite_url(Path(own) / "device.db"), demo.ROWS["merchant_device"])
        try:
            network = RunningNetwork(folder)
            with followed(TraceSettings.of_environment(), DEVICE) as tracing:
                return run_loop(
                    _play(
                        network,
                        store,
                        name,
                        scenario,
                        seed,
                        duration,
                        phones,
                        progress,
                        capture,
                        tracing,
                        breakage,
                        objectives,
                    )
                )
        finally:
            store.close()


async def _play(
    network: RunningNetwork,
    store: Store,
    name: str,
    scenario: Scenario,
    seed: int,
    duration: float,
    phones: int,
    progress: Progress,
    capture: Capture | None,
    tracing: Tracing | None,
    breakage: Breakage | None,
    objectives: Sequence[Objective],
) -> Result:
    parties = ("acquirer", "switch", *network.issuers)
    needs = cast_of(scenario)
    phones = phones if needs.phones is None else needs.phones
    async with phone_host(
        network, store, seed=seed, duration=duration, phones=phones, cast=needs, capture=capture, tracing=tracing
    ) as host:
        stage: Stage = host.stage
        if breakage is not None:
            stage.breaker = Faults(breakage, lambda: stage.timing.clock() - stage.started)
        books_before = await asyncio.to_thread(network.books)
        before = {party: await asyncio.to_thread(network.latency_counts, party) for party in parties}
        host.runtime.service = Durations()
        started_at = demo.iso_time(real_now())
        began = time.monotonic()
        finished = stage.env.process(scenario(stage))
        host.time.start()
        while not finished.triggered:
            if host.time.error is not None:
                raise host.time.error
            await asyncio.sleep(PROGRESS_SECONDS)
            progress(min(stage.env.now, time.monotonic() - began), stage.measurement)
        if host.time.error is not None:
            raise host.time.error
        played = stage.env.now - stage.started
        if stage.breaker is not None:
            stage.breaker.mend_all()
        host.time.stop()
        agreed = await _settled(network, store, books_before)
        service = {"merchant_device": host.runtime.service.summary()}
        for party in parties:
            counts = await asyncio.to_thread(network.latency_counts, party)
            taken = {us: times - before[party].get(us, 0) for us, times in counts.items()}
            service[party] = Durations({us: times for us, times in taken.items() if times > 0}).summary()
        reversals = demo.reversals(store)
    return result_of(
        stage.measurement,
        name=name,
        scenario=scenario,
        runtime="live",
        seed=seed,
        played=played,
        started_at=started_at,
        reversals=reversals,
        parties=service,
        books=agreed,
        environment={"phones": str(phones), **environment(host.time.lag)},
        objectives=objectives,
        faults=[] if stage.breaker is None else stage.breaker.windows(),
    )


async def _settled(network: RunningNetwork, store: Store, before: dict[str, books.PartyBooks]) -> Books:
    """The books once nothing is pending at the phones and they agree, or as they are when that takes too long."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        found = books.compare(await asyncio.to_thread(network.books), before)
        if (found.agree and demo.is_settled("merchant_device", store)) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


def environment(lag: float) -> dict[str, str]:
    """The machine, versions and command of a live run."""
    model = "unknown processor"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "machine": f"{os.cpu_count()} processors, {model}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "fourparty": version("fourparty"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "scenario clock's longest lag": f"{lag * 1000:.1f} ms",
    }
