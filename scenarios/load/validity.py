"""Whether a run's generators did what they were told: if not, what it measured says nothing about the services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scenarios.load.demand import Demand
from scenarios.measurement import Measurement
from scenarios.report.quantities import latency
from scenarios.result import Load

LONGEST_LAG: Final = 0.05
"""Seconds: 99 of 100 payments that have a terminal must be sent so soon after they are due."""

BUSIEST: Final = 0.95
"""The part of a processor that a generator may use; beyond it nobody knows what waited for whom."""


@dataclass(frozen=True)
class Generator:
    """How a generator's process fared: the part of a processor that it used, and whether its phones owe nothing."""

    cpu: float
    settled: bool


def load_of(
    measured: Measurement,
    demand: Demand,
    *,
    duration: float,
    shape: str,
    terminals: int,
    generators: list[Generator],
    longest_lag: float = LONGEST_LAG,
) -> Load:
    """How the payments were generated, and whether the generators did what they were told.

    Parameters
    ----------
    duration
        Seconds that count.
    shape
        Of the load, for people.
    longest_lag
        Seconds; see `LONGEST_LAG`.
    """
    problems = problems_of(measured, generators, closed=demand.closed, longest_lag=longest_lag)
    return Load(
        mode="closed" if demand.closed else "open",
        shape=shape,
        rate=0.0 if demand.closed else round(measured.due / duration, 3),
        terminals=terminals,
        generators=len(generators),
        warm_up=demand.warm_up,
        due=measured.due,
        sent=measured.sent,
        lag=measured.lag.summary(),
        service=measured.service.summary(),
        valid=not problems,
        problems=problems,
    )


def problems_of(
    measured: Measurement, generators: list[Generator], *, closed: bool, longest_lag: float = LONGEST_LAG
) -> list[str]:
    """What speaks against the run, one line each; none where it is valid.

    Parameters
    ----------
    closed
        A closed loop sends when it can and so is never late.
    longest_lag
        Seconds; see `LONGEST_LAG`.
    """
    problems = []
    if not closed:
        if not measured.due:
            problems.append("no payment was due in the time that counts")
        late = measured.pacing.percentile(99)
        if late > longest_lag * 1_000_000:
            problems.append(
                f"the generators were late: 1 in 100 payments was sent more than {latency(late)} after it was due "
                f"and had a terminal, {latency(round(longest_lag * 1_000_000))} are allowed"
            )
        if measured.not_sent:
            problems.append(
                f"{measured.not_sent:,} payments that were due were not sent: every terminal was busy and "
                f"{measured.longest_queue:,} payments waited already"
            )
        unsent = measured.due - measured.sent - measured.not_sent
        if unsent:
            problems.append(f"{unsent:,} payments that were due were never sent")
    for number, generator in enumerate(generators, 1):
        if not closed and generator.cpu > BUSIEST:
            problems.append(
                f"generator {number} had no computing time left: it used {generator.cpu:.0%} of a processor"
            )
    return problems
