"""A thousand terminals connected at once: memory per terminal, at the acquirer and in the phones' own process.

Every terminal is signed on over a TCP link of its own. Memory is the resident set; what a terminal costs is the
difference between few terminals and many, each measured in processes of their own, so that what a process needs
anyway (code, caches, the database's pages) does not count.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.live_network import Round, Till
from network.connections import allow_many_connections
from network.live import run_loop
from network.service import Address
from network.store import Store, sqlite_url
from scenarios.demo_network import demo
from scenarios.demo_network.processes import Processes, RunningNetwork
from scenarios.worlds import live_world

TERMINALS = (100, 1000)
SELLING = 10
"""So many of them sell something at the end: the links work."""

IDLE_SECONDS = 3.0
CARDS = 40
ESTABLISHED = "01"


def resident(pid: int | str) -> int:
    """Kilobytes of a process in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise RuntimeError(f"process {pid} has no resident set")


def connections_to(port: int) -> int:
    """How many connections the system knows to a port of this machine."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == ESTABLISHED for row in rows)


async def _measure(processes: Processes, store: Store, terminals: int) -> dict[str, float]:
    network = RunningNetwork(processes.folder)
    acquirer = processes.running["acquirer"].pid
    port = Address.parse(network.description["acquirer"]["terminal_link"]).port
    began = time.perf_counter()
    async with live_world.phone_host(network, store, seed=1, duration=1.0, phones=terminals) as host:
        signed_on = time.perf_counter() - began
        await asyncio.sleep(IDLE_SECONDS)
        gc.collect()
        found = {
            "terminals": terminals,
            "connected": connections_to(port),
            "signed on after": signed_on,
            "acquirer": resident(acquirer),
            "phones": resident("self"),
        }
        selling = min(SELLING, terminals)
        round_ = Round(selling)
        round_.counting, round_.is_open = True, False
        for number in range(selling):
            Till(host, number).sell(round_)
        await round_.done
        found["approved"] = round_.outcomes["approved"]
    return found


def _child(terminals: int) -> None:
    allow_many_connections()
    with live_world.own_network(phones=terminals, cards=CARDS) as processes, tempfile.TemporaryDirectory() as own:
        store = Store(sqlite_url(Path(own) / "device.db"), demo.ROWS["merchant_device"])
        try:
            found = run_loop(_measure(processes, store, terminals))
        finally:
            store.close()
    print(json.dumps(found))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--terminals", type=int, nargs="+", default=list(TERMINALS), help="few, then many")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        _child(chosen.terminals[0])
        return 0
    print("terminals connected at once, signed on, each over a link of its own")
    print("terminals  connected  signed on after  acquirer MB  phones MB  sold something")
    rows = []
    for terminals in chosen.terminals:
        command = [sys.executable, "-m", "benchmarks.connections", "--child", "--terminals", str(terminals)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if done.returncode:
            print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
            return 1
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"{terminals:9d}  {row['connected']:9.0f}  {row['signed on after']:13.1f} s  {row['acquirer'] / 1024:11.1f}"
            f"  {row['phones'] / 1024:9.1f}  {row['approved']:6.0f} of {min(SELLING, terminals)}",
            flush=True,
        )
    few, many = rows[0], rows[-1]
    if many["terminals"] > few["terminals"]:
        more = many["terminals"] - few["terminals"]
        for name in ("acquirer", "phones"):
            print(f"memory per terminal, {name}: {(many[name] - few[name]) / more:.1f} KB")
    short = [
        row for row in rows if row["connected"] < row["terminals"] or row["approved"] < min(SELLING, row["terminals"])
    ]
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
