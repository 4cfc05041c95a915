"""Sales through four live processes: throughput, latency and computing time at 1, 8, 32 and 128 in flight.

Everything is real: TCP, PINs, cryptograms, MACs, a durable commit before anything leaves a party. Computing time is
the processor time of all four processes, this one with the phones and the cards held to them included; it is the
figure to watch where the disk is noisy. The same is measured on SQLite and on a PostgreSQL server of its own, whose
processor time is told apart.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import os
import pstats
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from network.durations import Durations
from network.live import run_loop
from network.party import CommandError
from network.store import Store, sqlite_url
from scenarios import books
from scenarios.demo_network import demo
from scenarios.demo_network.processes import Processes, RunningNetwork
from scenarios.stage import pin_pad_answer
from scenarios.worlds import live_world
from tests.postgres import PostgresServer

IN_FLIGHT = (1, 8, 32, 128)
AMOUNT = 100
PROCESSES = ("device", "acquirer", "switch", "issuer", "database")


class Till:
    """A phone that sells one thing after another to the same card."""

    def __init__(self, host: live_world.PhoneHost, number: int) -> None:
        self.host = host
        self.terminal = host.stage.phones[number].terminal_id
        good = [card for place, card in enumerate(host.stage.cards) if place % 100 not in demo.DISTINGUISHED]
        card = good[number]
        transmit = card.chip.transmit
        host.runtime.attach(f"reader:{self.terminal}", lambda apdu, reply: reply(transmit(apdu)))
        host.runtime.attach(
            f"pinpad:{self.terminal}", lambda request, reply: reply(pin_pad_answer(request, card.pin) or b"")
        )

    def sell(self, round_: Round) -> None:
        """Take a payment, and the next when it is answered, until the round is over."""
        began = time.perf_counter()

        def answered(receipt: object) -> None:
            outcome = "refused" if isinstance(receipt, CommandError) else receipt["outcome"]  # type: ignore[index]
            round_.ended(outcome, time.perf_counter() - began)
            if round_.is_open:
                self.sell(round_)
            else:
                round_.left()

        self.host.runtime.command("sale", {"terminal": self.terminal, "amount": AMOUNT}, answered)


class Round:
    """A stretch of time with a fixed number of sales in flight."""

    def __init__(self, in_flight: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.latency = Durations()
        self.is_open = True
        self.counting = False
        self.done = asyncio.get_running_loop().create_future()
        self._selling = in_flight

    def ended(self, outcome: str, seconds: float) -> None:
        if self.counting:
            self.outcomes[outcome] += 1
            self.latency.record(int(seconds * 1_000_000))

    def left(self) -> None:
        self._selling -= 1
        if not self._selling:
            self.done.set_result(None)


def _cpu(processes: Processes, server: PostgresServer | None) -> dict[str, float]:
    own = os.times()
    used = {**processes.cpu_seconds(), "device": own.user + own.system}
    if server is not None:
        used["database"] = _with_children(server.process_id)
    return used


def _with_children(parent: int) -> float:
    """Processor time of a process and of its living children."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            fields = stat.read_text().rpartition(")")[2].split()
            if parent in (int(stat.parts[2]), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _measure(
    host: live_world.PhoneHost, processes: Processes, server: PostgresServer | None, in_flight: int, seconds: float
) -> None:
    tills = [Till(host, number) for number in range(in_flight)]
    round_ = Round(in_flight)
    for till in tills:
        till.sell(round_)
    await asyncio.sleep(min(2.0, seconds / 2))
    before, turns, began = _cpu(processes, server), (host.runtime.turns, host.runtime.events), time.perf_counter()
    round_.counting = True
    await asyncio.sleep(seconds)
    round_.counting = False
    elapsed = time.perf_counter() - began
    after = _cpu(processes, server)
    batch = (host.runtime.events - turns[1]) / max(1, host.runtime.turns - turns[0])
    round_.is_open = False
    await round_.done
    sales = round_.outcomes["approved"]
    used = {name: (after[name] - before[name]) / max(1, sales) * 1e6 for name in after}
    summary = round_.latency.summary()
    other = sum(round_.outcomes.values()) - sales
    parts = "  ".join(f"{name} {used[name]:4.0f}" for name in PROCESSES if name in used)
    print(
        f"{in_flight:9d}  {sales / elapsed:8.0f}  {summary.p50 / 1000:7.1f}  {summary.p99 / 1000:7.1f}  "
        f"{sum(used.values()):9.0f}  {other:5d}  {batch:6.1f}   {parts}",
        flush=True,
    )


async def _run(
    processes: Processes, server: PostgresServer | None, store: Store, rounds: list[int], seconds: float
) -> bool:
    network = RunningNetwork(processes.folder)
    phones = max(rounds)
    async with live_world.phone_host(network, store, seed=1, duration=seconds, phones=phones) as host:
        for in_flight in rounds:
            await _measure(host, processes, server, in_flight, seconds)
        deadline = time.monotonic() + 30
        while True:
            found = books.compare(await asyncio.to_thread(network.books))
            if found.agree or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
    amount = next(iter(found.positions.values())) / 100
    print(f"books: {'agree' if found.agree else 'DISAGREE'}, {amount:,.2f} yuan in {found.transfers['switch']:,} sales")
    for problem in found.problems:
        print(f"  {problem}")
    return found.agree


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in-flight", type=int, nargs="+", default=list(IN_FLIGHT))
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--database", nargs="+", choices=("sqlite", "postgresql"), default=["sqlite", "postgresql"])
    parser.add_argument("--profile", action="store_true", help="profile the phones' process")
    chosen = parser.parse_args(arguments)
    agree = True
    for database in chosen.database:
        server = PostgresServer(durable=True) if database == "postgresql" else None
        try:
            agree &= _on_database(server, chosen.in_flight, chosen.seconds, profile=chosen.profile)
        finally:
            if server is not None:
                server.stop()
    return 0 if agree else 1


def _on_database(server: PostgresServer | None, rounds: list[int], seconds: float, *, profile: bool) -> bool:
    name = "PostgreSQL" if server is not None else "SQLite FULL"
    print(f"sales through four live processes, every commit durable ({name})")
    print("in flight   sales/s   p50 ms   p99 ms  CPU us/sale  other  events/turn   CPU us a sale by process")
    phones = max(rounds)
    url = server.new_database() if server is not None else None
    with (
        live_world.own_network(phones=phones, cards=phones + 20, database=url) as processes,
        tempfile.TemporaryDirectory() as own,
    ):
        store = Store(sqlite_url(Path(own) / "device.db"), demo.ROWS["merchant_device"])
        profiler = cProfile.Profile() if profile else None
        try:
            if profiler:
                profiler.enable()
            return run_loop(_run(processes, server, store, rounds, seconds))
        finally:
            if profiler:
                profiler.disable()
                pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(35)
            store.close()


if __name__ == "__main__":
    sys.exit(main())
