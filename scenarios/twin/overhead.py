"""What parties that share a machine's processors lose of them, found by simulating the runs that were measured.

Turns are measured in the processor time of their own thread. That is not all that a machine computes for them: the
kernel moves packets and blocks in nobody's thread, and one processor may idle for a moment beside the queue of the
other. Near saturation a few per cent of that decide every latency, and no counter tells them; so one number is
fitted: what computing on shared processors is multiplied by for the simulation to have the median latencies that were
measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Final

from scenarios.twin.calibration import Calibration, MeasuredRun
from scenarios.twin.virtual_load import Task, play_all

CANDIDATES: Final = (1.0, 1.06, 1.12, 1.18)
"""Growing; what is fitted is none below the first and none above the last."""

PARTS: Final = (0.2, 0.7)
"""Runs between these parts of what the network takes at most count: the processors are shared, nothing is full."""


def telling(runs: Sequence[MeasuredRun]) -> list[MeasuredRun]:
    """The runs that say something of it; the first one is what the network takes at most."""
    low, high = (part * runs[0].rate for part in PARTS)
    return [run for run in runs[1:] if low <= run.rate <= high and run.p50]


def fit_overhead(
    calibration: Calibration,
    scenario: str,
    seconds: float,
    terminals: int,
    seed: int,
    told: Callable[[str], None],
) -> float:
    """What computing on shared processors is multiplied by; the first of `CANDIDATES` where no run says anything."""
    runs = telling(calibration.runs)
    if not runs:
        return CANDIDATES[0]
    tasks = [
        Task(calibration.slower(run.slowness).with_overhead(overhead), scenario, run.rate, seconds, terminals, seed)
        for overhead in CANDIDATES
        for run in runs
    ]
    found = play_all(tasks, told)
    errors = []
    for place in range(len(CANDIDATES)):
        simulated = found[place * len(runs) : (place + 1) * len(runs)]
        ratios = [math.log(max(1, one.p50) / run.p50) for one, run in zip(simulated, runs, strict=True)]
        # the median alone jumps between few runs, the mean follows one that was disturbed
        errors.append((median(ratios) + mean(ratios)) / 2)
    return round(crossing(CANDIDATES, errors), 4)


def crossing(places: Sequence[float], values: Sequence[float]) -> float:
    """Where growing values pass zero, by straight lines between them; the first or last place where they do not."""
    if values[0] >= 0:
        return places[0]
    for before, (low, below) in enumerate(zip(places, values, strict=True)):
        if before + 1 < len(places) and values[before + 1] >= 0:
            high, above = places[before + 1], values[before + 1]
            return low + (high - low) * -below / (above - below)
    return places[-1]
