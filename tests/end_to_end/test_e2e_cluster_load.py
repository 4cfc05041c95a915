"""A load shared by the workers of a Dask cluster: the parts add up, and one that is lost makes the run invalid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from running_network import PROJECT, command, environment

from network.service import ConfigurationError
from scenarios import dask_scheduler
from scenarios.demo_network.processes import RunningNetwork
from scenarios.load import cluster, gathering
from scenarios.load.demand import Demand
from scenarios.load.recorded_day import read_day
from scenarios.load.session import Order
from scenarios.load.slo import parse
from scenarios.worlds import live_world

pytestmark = pytest.mark.live

TERMINALS = 40

KIOSK = '''
"""A kiosk."""

from scenarios.load.demand import Purchase, serve
from scenarios.load.shapes import constant
from scenarios.stage import Cast, Process, Stage, cast


@cast(Cast(sound_cards=True, usual=lambda length: constant(30, length)))
def kiosk(stage: Stage) -> Process:
    """A kiosk whose day was recorded."""
    yield from serve(stage, lambda card: Purchase(1))
'''
DAY = [(place / 30, 1_000 + place) for place in range(60)]
"""What was paid there: seconds and fen."""

START_SECONDS = 20.0


class Cluster(NamedTuple):
    """A scheduler and two workers in processes of their own, and a network to load."""

    scheduler: str
    workers: list[str]
    folder: Path
    scratch: Path
    logs: list[Path]

    def pid(self, worker: str) -> int:
        from distributed import Client

        with Client(self.scheduler, set_as_default=False) as client:
            return int(client.run(os.getpid, workers=[worker])[worker])


def wait_for(told: Any) -> Any:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = told()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    from distributed import Client

    scratch = tmp_path_factory.mktemp("dask")
    running: list[subprocess.Popen[bytes]] = []
    logs: list[Path] = []

    def start(module: str, *arguments: object) -> None:
        logs.append(scratch / f"{len(logs)}.log")
        with logs[-1].open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments), "--no-dashboard"],
                    cwd=scratch,
                    env=environment(),
                    stdout=log,
                    stderr=log,
                )
            )

    try:
        told = scratch / "scheduler.json"
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", told)
        with live_world.own_network(phones=TERMINALS, cards=80) as processes:
            scheduler = wait_for(lambda: told.exists() and told.read_text() and json.loads(told.read_text())["address"])
            for number in range(2):
                own = ["--nthreads", "1", "--no-nanny", "--local-directory", scratch / str(number)]
                start("dask_worker", scheduler, "--host", "127.0.0.1", *own)
            with Client(scheduler, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=START_SECONDS)
                workers = sorted(client.nthreads())
            yield Cluster(scheduler, workers, processes.folder, scratch, logs)
    finally:
        for process in running[::-1]:
            process.kill()
            process.wait()


def order(folder: Path, **changes: Any) -> Order:
    usual: dict[str, Any] = {
        "scenario": "steady",
        "duration": 2.0,
        "demand": Demand(warm_up=0.5),
        "terminals": TERMINALS,
        "host": "127.0.0.1",
        "longest_lag": 10.0,
    }
    return Order(directory=folder, **{**usual, **changes})


def test_parts_on_two_workers_are_one_load(dask: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[gathering.Part] = []
    together = gathering.together
    monkeypatch.setattr(
        gathering, "together", lambda parts, *rest, **more: seen.extend(parts) or together(parts, *rest, **more)
    )
    monkeypatch.setattr(cluster, "LEAD_SECONDS", 3.0)
    (tmp_path / "kiosk.py").write_text(KIOSK)
    (tmp_path / "day.csv").write_text("\n".join(["at,fen", *(f"{at},{fen}" for at, fen in DAY)]))
    files = {"scenario": str(tmp_path / "kiosk.py"), "replay": tmp_path / "day.csv"}
    again = tmp_path / "again.jsonl"
    result = cluster.play(
        order(dask.folder, **files, record=again, objectives=parse("approved>=99%"), command="fourparty load ..."),
        dask.scheduler,
        None,
    )
    assert [part.name for part in seen] == [
        f"part {number} of 2 on {worker}" for number, worker in enumerate(dask.workers, 1)
    ]
    assert len({part.result.started_at for part in seen}) == 1
    assert all(part.load.due > 10 for part in seen)
    # every payment of the day was made by one of them
    assert sorted(due.fen for due in read_day(again)) == [fen for _, fen in DAY]
    load = result.load
    assert load is not None
    assert load.valid, load.problems
    assert load.due == sum(part.load.due for part in seen) == result.attempts == result.approved == len(DAY)
    assert (load.shape, load.generators, load.terminals) == ("recorded day of 60 payments, 2 parts", 2, TERMINALS)
    assert result.thresholds[0].met
    # what the parties have booked, warm-up included, is at least what the phones were told, and the same to all
    assert result.books.agree, result.books.problems
    (moved,) = set(result.books.positions.values())
    assert moved >= result.amount == sum(fen for _, fen in DAY)
    assert result.environment["command"] == "fourparty load ..."
    assert dask.workers[1] in result.environment["cluster"]
    # what was sent to the workers is gone, and nobody has told of it
    assert not list(dask.scratch.rglob("wallet.json"))
    token = RunningNetwork(dask.folder).description["operator_token"]
    assert all(token not in log.read_text() for log in dask.logs)


def test_what_a_cluster_cannot_do(dask: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="--parts: 3 parts need as many workers, the cluster has 2"):
        cluster.play(order(dask.folder), dask.scheduler, 3)
    with pytest.raises(ConfigurationError, match=r"--scheduler: at .* is a Dask Worker, no scheduler"):
        cluster.play(order(dask.folder), dask.workers[0], None)
    with pytest.raises(ConfigurationError, match="--start-at: it was over"):
        cluster.play(order(dask.folder, start_at=1), dask.scheduler, 1)
    monkeypatch.setattr(dask_scheduler, "CONNECT_SECONDS", 0.3)
    for address in ("tcp://127.0.0.1:9", "nowhere", "tls://127.0.0.1:9"):
        with pytest.raises(ConfigurationError, match=f"no Dask scheduler answers at {address}"):
            cluster.play(order(dask.folder), address, None)


def test_a_part_lost_with_its_worker_makes_the_run_invalid(dask: Cluster, tmp_path: Path) -> None:
    victim = dask.workers[1]
    pid = dask.pid(victim)
    network = RunningNetwork(dask.folder)
    before = network.books()["acquirer"].transfers
    usual = ["--rate", "30", "--for", "4s", "--warm-up", "0s", "--terminals", TERMINALS, "--max-lag", "10s", "--json"]
    running = subprocess.Popen(
        command("load", "steady", *usual, "--dir", dask.folder, "--scheduler", dask.scheduler, "--report", tmp_path),
        cwd=PROJECT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: network.books()["acquirer"].transfers > before + 25)
    os.kill(pid, signal.SIGKILL)
    out, told = running.communicate(timeout=120)
    assert running.returncode == 98, told
    result = json.loads(out)
    assert result["load"]["problems"] == [f"part 2 of 2 was lost with its worker {victim}"]
    assert result["load"]["shape"] == "constant 30/s, 1 of 2 parts"
    assert 30 < result["approved"] == result["load"]["due"] < 90
    assert result["books"]["agree"], result["books"]["problems"]
    assert "2 parts begin in 5 s, 40 terminals sign on" in told
    assert "putting the parts together" in told
    assert (tmp_path / "report.html").exists()
