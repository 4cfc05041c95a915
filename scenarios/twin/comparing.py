"""``fourparty twin``: the same load on live services and in virtual time, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from network.durations import Summary
from network.service import ConfigurationError
from scenarios.load.session import load_scenario
from scenarios.report.quantities import latency
from scenarios.twin import calibration as calibrations
from scenarios.twin.calibrating import calibrated, measure
from scenarios.twin.calibration import Calibration
from scenarios.twin.measuring import (
    MOST_OTHERS,
    LiveBed,
    LiveRun,
    Told,
    live_bed,
)
from scenarios.twin.pool import WorkerLost
from scenarios.twin.regression import CalibrationError, slowness
from scenarios.twin.tables import output, table
from scenarios.twin.virtual_load import Task, play_all

RATE_PARTS: Final = (0.2, 0.5, 0.8)
"""Of what the network takes at most: the rates that are compared unless others are asked for."""

TERMINALS: Final = 256
SECONDS: Final = 10.0
REPEATS: Final = 5
CLOSE: Final = 0.25
"""How far p50 and p99 of the twin may be from the live run's."""

TOO_FAR: Final = 1
DEFAULT_FOLDER: Final = Path("runs/twin")


@dataclass(frozen=True)
class Side:
    """Live and virtual at one rate: medians of the repeated runs, in microseconds."""

    rate: float
    live: Summary
    virtual: Summary
    live_runs: tuple[LiveRun, ...]
    slowness: tuple[float, ...]

    @property
    def differences(self) -> tuple[float, float]:
        """How far the twin's p50 and p99 are from the live run's, as parts of the latter."""
        return self.virtual.p50 / max(1, self.live.p50) - 1, self.virtual.p99 / max(1, self.live.p99) - 1

    @property
    def is_close(self) -> bool:
        """Whether both are within `CLOSE`."""
        return all(abs(difference) <= CLOSE for difference in self.differences)

    @property
    def others(self) -> float:
        """The most that other programs used of the machine in any of the live runs."""
        return max(run.others for run in self.live_runs)


def compare(
    scenario: str,
    *,
    rates: Sequence[float] | None,
    seconds: float,
    repeats: int,
    seed: int,
    calibration: Path | None,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Calibrate unless a calibration is given, run live and virtual at each rate; 0, or `TOO_FAR`."""
    from scenarios.cli import print_json

    measured = calibrations.read(calibration) if calibration is not None else None
    find(scenario)
    console, stderr = output(), Console(stderr=True, highlight=False, soft_wrap=True)

    def told(text: str) -> None:
        stderr.print(text, markup=False)

    told("starting issuer, switch and acquirer with demo data ...")
    try:
        with live_bed(TERMINALS, scenario) as bed:
            if measured is None:
                runs = measure(bed, seconds, seed, told)
                measured = calibrated(runs, bed, seconds, seed, told)
                most = runs[0].throughput
            else:
                most = _most(measured)
            chosen = list(rates) if rates is not None else [round(most * part) for part in RATE_PARTS]
            told(f"at most {most:,.0f} payments/s; comparing at {', '.join(f'{rate:,.0f}' for rate in chosen)}")
            sides = _sides(bed, measured, scenario, chosen, seconds, repeats, seed, told)
    except (CalibrationError, WorkerLost) as error:
        told(f"twin: {error}")
        return TOO_FAR
    target = folder or DEFAULT_FOLDER
    written = write(sides, measured, most, target)
    if as_json:
        print_json(as_plain(sides, measured, most))
    else:
        show(sides, most, console)
    disturbed = [f"{side.rate:,.0f}/s" for side in sides if side.others > MOST_OTHERS]
    if disturbed:
        told(f"other programs used the machine at {', '.join(disturbed)}: the live runs there say little")
    told(f"written: {written}")
    return 0 if all(side.is_close for side in sides) else TOO_FAR


def find(scenario: str) -> None:
    """Refuse a scenario that takes no load, before anything is started."""
    load_scenario(scenario)


def _most(measured: Calibration) -> float:
    if not measured.runs:
        raise ConfigurationError("the calibration does not tell what the network takes at most: give --rates")
    return max(run.rate for run in measured.runs)


def _sides(
    bed: LiveBed,
    measured: Calibration,
    scenario: str,
    rates: Sequence[float],
    seconds: float,
    repeats: int,
    seed: int,
    told: Told,
) -> list[Side]:
    """All rates in turn, again and again, so that the machine's drift is in all of them; then the same in virtual time.

    The twin of a run has its seed and the machine's speed in it, which is read off the run's turns.
    """
    live: list[list[LiveRun]] = [[] for _ in rates]
    for number in range(repeats):
        for rate, runs in zip(rates, live, strict=True):
            told(f"live at {rate:,.0f} payments/s, {number + 1} of {repeats} ...")
            runs.append(bed.run(rate, seconds, seed=seed + number, told=told))
    costs = measured.costs()
    slow = [[slowness(costs, run.turns) for run in runs] for runs in live]
    tasks = [
        Task(measured.slower(times), scenario, rate, seconds, bed.terminals, seed + number)
        for rate, one in zip(rates, slow, strict=True)
        for number, times in enumerate(one)
    ]
    told(f"the same {len(tasks)} runs in virtual time ...")
    virtual = play_all(tasks, told)
    return [
        Side(
            rate,
            middle([run.latency for run in runs]),
            middle(virtual[place * repeats : (place + 1) * repeats]),
            tuple(runs),
            tuple(times),
        )
        for place, (rate, runs, times) in enumerate(zip(rates, live, slow, strict=True))
    ]


def middle(summaries: Sequence[Summary]) -> Summary:
    """The medians of repeated runs' percentiles."""
    return Summary(
        sum(one.count for one in summaries),
        *(
            round(median(values))
            for values in zip(*((one.p50, one.p95, one.p99, one.max) for one in summaries), strict=True)
        ),
    )


def show(sides: Sequence[Side], most: float, console: Console) -> None:
    """Print live and virtual side by side."""
    good = all(side.is_close for side in sides)
    far = max(abs(difference) for side in sides for difference in side.differences)
    verdict = f"the twin is {'within' if good else 'not within'} {CLOSE:.0%} of the live runs: {far:.0%} at most"
    console.print(Text(verdict, "bold green" if good else "bold red"))
    console.print(table(_COLUMNS, rows(sides, most)))


_COLUMNS = (">per s", ">of most", ">live p50", ">twin p50", ">differs", ">live p99", ">twin p99", ">differs", ">others")


def rows(sides: Sequence[Side], most: float) -> list[Sequence[str]]:
    """The table's lines."""
    return [
        (
            f"{side.rate:,.0f}",
            f"{side.rate / most:.0%}",
            latency(side.live.p50),
            latency(side.virtual.p50),
            f"{side.differences[0]:+.0%}",
            latency(side.live.p99),
            latency(side.virtual.p99),
            f"{side.differences[1]:+.0%}",
            f"{side.others:.1%}",
        )
        for side in sides
    ]


def as_plain(sides: Sequence[Side], measured: Calibration, most: float) -> dict[str, Any]:
    """The comparison as plain data; latencies in microseconds."""
    return {
        "calibration": measured.title,
        "most": most,
        "close": all(side.is_close for side in sides),
        "rates": [
            {
                "rate": side.rate,
                "live": asdict(side.live),
                "virtual": asdict(side.virtual),
                "difference": dict(zip(("p50", "p99"), side.differences, strict=True)),
                "live_runs": [
                    {"p50": run.latency.p50, "p99": run.latency.p99, "others": run.others, "slowness": round(times, 4)}
                    for run, times in zip(side.live_runs, side.slowness, strict=True)
                ],
            }
            for side in sides
        ],
    }


def write(sides: Sequence[Side], measured: Calibration, most: float, folder: Path) -> Path:
    """Write twin.json and the calibration that it rests on; the path of the former."""
    calibrations.write(measured, folder / "calibration.json")
    path = folder / "twin.json"
    try:
        path.write_text(json.dumps(as_plain(sides, measured, most), indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    return path
