"""A sweep: one scenario at many rates, sizes and seeds, each run a task for whatever processor is free.

A task is one run from beginning to end and depends on nothing but its parameters, so that one whose worker was lost is
run again with the same result, and a sweep that was stopped goes on where it was. What a task returns is a row with an
encoded HdrHistogram; rows of one rate and size and many seeds are merged into a line of the summary.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from network.durations import LONGEST_US, Durations
from scenarios.twin import virtual_load
from scenarios.twin.calibration import Calibration
from scenarios.twin.layout import KINDS, lay_out
from scenarios.twin.measuring import WARM_UP, demand_of
from scenarios.twin.model import Window, Wire, simulate
from scenarios.twin.route import route_of_a_sale

PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
MOST_TASKS: Final = 100_000

Row = dict[str, Any]


@dataclass(frozen=True)
class SweepTask:
    """A run.

    Attributes
    ----------
    scenario : str
        For load.
    rate : float
        Payments a second.
    seed, phones : int
    seconds : float
        That count.
    fidelity : str
        ``virtual``: the real parties in virtual time; ``model``: calibrated queues only, one process a party, for which
        phones have no meaning.
    calibration : str
        As JSON; empty: the costs that virtual runs have by themselves.
    version : str
        Of the program: another one's rows are not taken for this one's.
    """

    scenario: str
    rate: float
    seed: int
    phones: int
    seconds: float
    fidelity: str
    calibration: str
    version: str

    @property
    def key(self) -> str:
        """The same for the same run."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:24]


def tasks(rates: Sequence[float], seeds: Sequence[int], phones: Sequence[int], **common: Any) -> list[SweepTask]:
    """A task for each combination, the longest-running (the highest rates) first."""
    combinations = itertools.product(sorted(set(rates), reverse=True), sorted(set(phones)), sorted(set(seeds)))
    return [SweepTask(rate=rate, seed=seed, phones=size, **common) for rate, size, seed in combinations]


def run(task: SweepTask) -> Row:
    """Run a task; its row."""
    calibration = Calibration.model_validate_json(task.calibration) if task.calibration else None
    counted = _model(task, calibration) if task.fidelity == "model" else _virtual(task, calibration)
    durations: Durations = counted.pop("durations")
    histogram = durations.histogram()
    parameters = {name: value for name, value in asdict(task).items() if name != "calibration"}
    return {
        "key": task.key,
        **parameters,
        "calibrated": bool(task.calibration),
        **counted,
        **percentiles(histogram, counted["payments"]),
        "histogram": bytes(histogram.encode()),
    }


def _virtual(task: SweepTask, calibration: Calibration | None) -> Row:
    demand = demand_of(task.rate, task.seconds)
    played = virtual_load.play(task.scenario, demand, task.seconds, task.phones, task.seed, calibration)
    measured = played.measurement
    return {
        "payments": measured.latency.summary().count,
        "approved": measured.approved,
        "declined": sum(measured.declined.values()),
        "unanswered": measured.unanswered,
        "throughput": round(measured.approved / max(played.played, task.seconds), 3),
        "books_agree": played.books_agree,
        "durations": Durations(measured.latency.counts),
    }


def _model(task: SweepTask, calibration: Calibration | None) -> Row:
    if calibration is None:
        raise ValueError("a model has no costs but those of a calibration")
    layout = lay_out(dict.fromkeys(KINDS, 1), [1.0])
    wire = Wire(calibration.wire.latency, calibration.wire.jitter)
    window = Window(task.rate, task.seconds, WARM_UP, task.seed)
    outcome = simulate(layout, calibration.costs(), route_of_a_sale(), window, wire)
    return {
        "payments": outcome.payments,
        "approved": outcome.payments,
        "declined": 0,
        "unanswered": 0,
        "throughput": round(outcome.payments / task.seconds, 3),
        "books_agree": True,
        "durations": Durations(outcome.end_to_end),
    }


def percentiles(histogram: HdrHistogram, count: int) -> dict[str, int]:
    """Percentiles of a histogram in microseconds; zero where nothing was counted."""
    if not count:
        return dict.fromkeys((*PERCENTILES, "max"), 0)
    found = {name: int(histogram.get_value_at_percentile(percent)) for name, percent in PERCENTILES.items()}
    return {**found, "max": int(histogram.get_max_value())}


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """A line for each scenario, rate and size: its seeds together, with the spread of their p99."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("scenario", "fidelity", "rate", "phones", "seconds"))
        groups.setdefault(key, []).append(row)
    return [_together(key, groups[key]) for key in sorted(groups)]


def _together(key: tuple[Any, ...], group: Sequence[Mapping[str, Any]]) -> Row:
    merged = HdrHistogram(1, LONGEST_US, 3)
    counts: Counter[str] = Counter()
    for row in sorted(group, key=lambda one: int(one["seed"])):
        merged.decode_and_add(row["histogram"])
        counts.update({name: row[name] for name in ("payments", "approved", "declined", "unanswered")})
    return {
        **dict(zip(("scenario", "fidelity", "rate", "phones", "seconds"), key, strict=True)),
        "seeds": len(group),
        **counts,
        "throughput": round(sum(row["throughput"] for row in group) / len(group), 3),
        "books_agree": all(row["books_agree"] for row in group),
        **percentiles(merged, counts["payments"]),
        "p99_least": min(row["p99"] for row in group),
        "p99_most": max(row["p99"] for row in group),
        "histogram": bytes(merged.encode()),
    }


def numbers_of(text: str) -> Iterator[int]:
    """The numbers of such as ``1-5,9``.

    Raises
    ------
    ValueError
        The text is no such list.
    """
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < 1 << 31 or high - low >= MOST_TASKS:
            raise ValueError(text)
        yield from range(low, high + 1)
