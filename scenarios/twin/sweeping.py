"""``fourparty sweep``: tasks on a process pool, or on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from network.service import ConfigurationError
from scenarios.dask_scheduler import connect
from scenarios.load.session import load_scenario
from scenarios.report.quantities import latency
from scenarios.twin import calibration as calibrations
from scenarios.twin.pool import MOST_TRIES, Pool, WorkerLost
from scenarios.twin.sweep import MOST_TASKS, Row, SweepTask, numbers_of, run, summarise, tasks
from scenarios.twin.sweep_files import SweepFolder
from scenarios.twin.tables import output, table

BOOKS_DISAGREE: Final = 4
FAILED: Final = 1


def sweep(
    scenario: str,
    *,
    rates: Sequence[float],
    seeds: str,
    phones: str,
    seconds: float,
    model: bool,
    calibration: Path | None,
    scheduler: str | None,
    workers: int | None,
    out: Path,
    as_json: bool,
) -> int:
    """Run what is not there yet; 0, `FAILED` where a task killed its workers, or `BOOKS_DISAGREE`."""
    from scenarios.cli import print_json

    load_scenario(scenario)
    measured = calibrations.read(calibration) if calibration is not None else None
    if model and measured is None:
        measured = calibrations.reference()
    todo = tasks(
        rates,
        _numbers("--seeds", seeds),
        _numbers("--phones", phones, least=1, most=5_000),
        scenario=scenario if not scenario.endswith(".py") else str(Path(scenario).resolve()),
        seconds=seconds,
        fidelity="model" if model else "virtual",
        calibration=measured.model_dump_json() if measured is not None else "",
        version=version("fourparty"),
    )
    if len(todo) > MOST_TASKS:
        raise ConfigurationError(f"a sweep of {len(todo):,} runs: at most {MOST_TASKS:,} are possible")
    folder = SweepFolder(out)
    rows: dict[str, Row] = folder.known(task.key for task in todo)
    waiting = [task for task in todo if task.key not in rows]
    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    if rows:
        stderr.print(f"{len(rows)} of {len(todo)} runs are there already")
    computed = _on_pool(waiting, workers) if scheduler is None else _on_dask(waiting, scheduler)
    try:
        for row in computed:
            folder.add(row)
            rows[row["key"]] = row
            stderr.print(
                f"{len(rows)} of {len(todo)}: {row['rate']:g}/s, {row['phones']} phones, seed {row['seed']}: "
                f"p50 {latency(row['p50'])}, p99 {latency(row['p99'])}",
                markup=False,
            )
    except WorkerLost as error:
        stderr.print(f"sweep: {error}", markup=False)
        return FAILED
    ordered = [rows[task.key] for task in todo]
    summary = summarise(ordered)
    written = folder.finish(ordered, summary)
    if as_json:
        print_json([_plain(row) for row in summary])
    else:
        _show(summary, output())
    stderr.print(f"rows: {written}", markup=False)
    return 0 if all(row["books_agree"] for row in ordered) else BOOKS_DISAGREE


def _numbers(option: str, text: str, *, least: int = 0, most: int = 1 << 31) -> list[int]:
    try:
        numbers = list(numbers_of(text))
    except ValueError:
        numbers = []
    if not numbers or not all(least <= number <= most for number in numbers):
        raise ConfigurationError(f"{option}: {text!r} is no list of numbers such as 1-5 or 60,240")
    return numbers


def _on_pool(waiting: Sequence[SweepTask], workers: int | None) -> Iterator[Row]:
    if not waiting:
        return
    with Pool(run, workers) as pool:
        for _, row in pool.run(waiting):
            yield row


def _on_dask(waiting: Sequence[SweepTask], scheduler: str) -> Iterator[Row]:
    """Tasks on a cluster's workers, each a whole run: a worker that is lost is the scheduler's business."""
    if not waiting:
        return
    client = connect(scheduler)
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    with client:
        futures = [client.submit(run, task, key=f"sweep-{task.key}", retries=MOST_TRIES) for task in waiting]
        try:
            for future in as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
                try:
                    yield future.result()
                except KilledWorker as error:
                    raise WorkerLost("a run killed its workers again and again: is there enough memory?") from error
        finally:
            client.cancel(futures)  # type: ignore[no-untyped-call]


def _plain(row: Row) -> dict[str, Any]:
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}


def _show(summary: Sequence[Row], console: Console) -> None:
    rows = [
        (
            f"{row['rate']:,g}",
            f"{row['phones']:,}",
            str(row["seeds"]),
            f"{row['payments']:,}",
            f"{row['approved'] / max(1, row['payments']):.1%}",
            latency(row["p50"]),
            latency(row["p99"]),
            f"{latency(row['p99_least'])} to {latency(row['p99_most'])}",
        )
        for row in summary
    ]
    console.print(
        table((">per s", ">phones", ">seeds", ">payments", ">approved", ">p50", ">p99", ">p99 by seed"), rows)
    )
