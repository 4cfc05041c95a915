"""The result of a run, made of what either runtime has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from network.durations import Summary
from scenarios.load.slo import Objective, judge
from scenarios.measurement import Measurement
from scenarios.result import Books, ErrorSample, FaultWindow, Leg, Load, Result
from scenarios.stage import Scenario


def result_of(
    measurement: Measurement,
    *,
    name: str,
    scenario: Scenario,
    runtime: str,
    seed: int,
    played: float,
    started_at: str,
    reversals: int,
    parties: Mapping[str, Summary],
    books: Books,
    environment: Mapping[str, str],
    load: Load | None = None,
    objectives: Sequence[Objective] = (),
    legs: Sequence[Leg] = (),
    errors: Sequence[ErrorSample] = (),
    faults: Sequence[FaultWindow] = (),
) -> Result:
    """Put a result together.

    Parameters
    ----------
    played : float
        Seconds from the run's time zero to the end of its last payment.
    objectives
        What it had to reach.
    errors
        With a trace; kinds of errors that are missing here are added without one.
    """
    throughput = round(measurement.approved / played, 3) if played > 0 else 0.0
    traced = {sample.kind: sample.trace for sample in errors}
    return Result(
        scenario=name,
        title=title(scenario),
        runtime=runtime,
        seed=seed,
        duration=round(played, 3),
        started_at=started_at,
        attempts=measurement.attempts,
        approved=measurement.approved,
        declined=dict(sorted(measurement.declined.items())),
        unanswered=measurement.unanswered,
        refused=dict(sorted(measurement.refused.items())),
        reversals=reversals,
        amount=measurement.amount,
        throughput=throughput,
        end_to_end=measurement.latency.summary(),
        parties=dict(parties),
        timeline=measurement.timeline(),
        ways=measurement.ways(),
        books=books,
        environment=dict(environment),
        load=load,
        thresholds=judge(objectives, measurement, reversals=reversals, throughput=throughput),
        histograms=measurement.histograms(),
        legs=list(legs),
        errors=[
            ErrorSample(kind, error.count, round(error.first_at, 3), traced.get(kind, []))
            for kind, error in sorted(measurement.errors.items(), key=lambda item: (-item[1].count, item[0]))
        ],
        faults=list(faults),
        timeouts=measurement.timeouts,
        stand_in=measurement.stand_in,
    )


def title(scenario: Scenario) -> str:
    """A scenario's title: the first line of its docstring."""
    return (scenario.__doc__ or scenario.__name__).strip().splitlines()[0].rstrip(".")
