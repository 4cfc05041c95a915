"""Sweeps: rows as they should be, gone on with where they stopped, and the same when workers are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hdrh.histogram import HdrHistogram

from network.service import ConfigurationError
from scenarios import dask_scheduler
from scenarios.twin import sweeping
from scenarios.twin.sweep import SweepTask, numbers_of, run, summarise, tasks
from scenarios.twin.sweep_files import SweepFolder

RATES = (200.0, 400.0, 700.0)

pytestmark = pytest.mark.slow


def sweep(out: Path, **changes: Any) -> int:
    given: dict[str, Any] = {
        "rates": RATES,
        "seeds": "1-3",
        "phones": "1",
        "seconds": 4.0,
        "model": True,
        "calibration": None,
        "scheduler": None,
        "workers": 2,
        "as_json": False,
    }
    return sweeping.sweep("steady", out=out, **{**given, **changes})


def rows(out: Path, name: str = "results.parquet") -> list[dict[str, Any]]:
    return pq.read_table(out / name).to_pylist()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a sweep comes to when nothing happens, computed in this process."""
    out = tmp_path_factory.mktemp("undisturbed")
    patch = pytest.MonkeyPatch()
    patch.setattr(sweeping, "_on_pool", lambda waiting, _: map(run, waiting))
    try:
        assert sweep(out) == 0
    finally:
        patch.undo()
    return rows(out)


def test_a_row_for_each_run_and_a_line_for_its_seeds(undisturbed: list[dict[str, Any]]) -> None:
    assert len(undisturbed) == 9
    for row in undisturbed:
        histogram = HdrHistogram.decode(row["histogram"])
        assert histogram.get_total_count() == row["payments"]
        assert histogram.get_value_at_percentile(99) == row["p99"]
        assert row["payments"] == pytest.approx(row["rate"] * 4, rel=0.15)
        assert row["p50"] <= row["p90"] <= row["p95"] <= row["p99"] <= row["p999"] <= row["max"]
    lines = summarise(undisturbed)
    assert [line["rate"] for line in lines] == sorted(RATES)
    for line in lines:
        group = [row for row in undisturbed if row["rate"] == line["rate"]]
        assert line["seeds"] == 3
        assert line["payments"] == sum(row["payments"] for row in group)
        assert HdrHistogram.decode(line["histogram"]).get_total_count() == line["payments"]
        assert line["p99_least"] <= line["p99"] <= line["p99_most"]
        assert line["max"] == max(row["max"] for row in group)


def test_full_fidelity_keeps_its_books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "_on_pool", lambda waiting, _: map(run, waiting))
    assert sweep(tmp_path, model=False, rates=[20.0], seeds="4", phones="8", seconds=3.0) == 0
    [row] = rows(tmp_path)
    assert row["books_agree"]
    assert row["approved"] == row["payments"] > 30
    assert (row["phones"], row["seed"], row["fidelity"], row["calibrated"]) == (8, 4, "virtual", False)


def test_what_is_there_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[dict[str, Any]]
) -> None:
    ran: list[SweepTask] = []

    def compute(waiting: Sequence[SweepTask], _: object) -> Any:
        for task in waiting:
            ran.append(task)
            yield run(task)
            if len(ran) == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "_on_pool", compute)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path)
    # the fourth is there and whole, or it would be run again; one that was damaged is
    [first, *_] = (tmp_path / "tasks").iterdir()
    first.write_bytes(first.read_bytes()[:-20])
    monkeypatch.setattr(sweeping, "_on_pool", lambda waiting, _: (ran.append(one) or run(one) for one in waiting))  # type: ignore[func-returns-value]
    assert sweep(tmp_path) == 0
    assert len(ran) == 4 + 5 + 1
    assert rows(tmp_path) == undisturbed


def killing(out: Path, victims: Callable[[], list[int]], killed: list[int]) -> threading.Thread:
    """Kill a worker as soon as the first row is there."""

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not list((out / "tasks").glob("*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        victim = victims()[0]
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def pool_workers() -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.slow
def test_a_killed_worker_of_the_pool_changes_nothing(tmp_path: Path, undisturbed: list[dict[str, Any]]) -> None:
    killed: list[int] = []
    thread = killing(tmp_path, pool_workers, killed)
    assert sweep(tmp_path) == 0
    thread.join()
    assert killed
    assert rows(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_killed_worker_of_a_cluster_changes_nothing(tmp_path: Path, undisturbed: list[dict[str, Any]]) -> None:
    from distributed import Client, LocalCluster

    killed: list[int] = []
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        local_directory=str(tmp_path / "dask"),
    ) as cluster:
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            pids = list(client.run(os.getpid).values())
        thread = killing(tmp_path, lambda: pids, killed)
        assert sweep(tmp_path, scheduler=cluster.scheduler_address) == 0
        thread.join()
    assert killed
    assert rows(tmp_path) == undisturbed


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_scheduler, "CONNECT_SECONDS", 0.3)
    with pytest.raises(ConfigurationError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        sweep(tmp_path, scheduler="tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": "5-1"}, "--seeds: '5-1' is no list"),
        ({"seeds": ""}, "--seeds: '' is no list"),
        ({"phones": "0"}, "--phones: '0' is no list"),
        ({"phones": "a"}, "--phones: 'a' is no list"),
        ({"calibration": Path("nowhere.json")}, "cannot read the calibration nowhere.json: No such file"),
    ],
)
def test_arguments_that_mean_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        sweep(tmp_path, **changes)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot write to"):
        SweepFolder(tmp_path / "file" / "sweep")


def test_numbers_and_tasks() -> None:
    assert list(numbers_of("1-3, 9")) == [1, 2, 3, 9]
    common = {"scenario": "steady", "seconds": 1.0, "fidelity": "model", "calibration": "", "version": "1"}
    made = tasks([1.0, 2.0, 2.0], [1, 2], [10], **common)
    assert [(task.rate, task.seed) for task in made] == [(2.0, 1), (2.0, 2), (1.0, 1), (1.0, 2)]
    assert len({task.key for task in made}) == 4
    assert made[0].key == tasks([2.0], [1], [10], **common)[0].key
