"""Service-level objectives: what a run has to reach, as text such as ``p99<200ms, approved>99%``.

An objective is a metric, a comparison (``<``, ``<=``, ``>``, ``>=``) and a limit. All are read before a run begins, so
that a metric that does not exist is an error and no silent pass.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from network.service import ConfigurationError
from scenarios.measurement import Measurement
from scenarios.result import Threshold

LATENCIES: Final[Mapping[str, float]] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99.9": 99.9, "max": 100}
"""Metrics that are percentiles of the response time."""

NUMBERS: Final = ("approved", "declined", "errors", "unanswered", "timeouts", "stand_in", "reversals")
"""Metrics that are a part of all payments, or a number of them."""

METRICS: Final = (*LATENCIES, "mean", *NUMBERS, "rate")
UNITS: Final[Mapping[str, float]] = {"us": 1.0, "ms": 1_000.0, "s": 1_000_000.0}
MOST_OBJECTIVES: Final = 20

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OBJECTIVE: Final = re.compile(r"([a-z_0-9.]*)\s*(<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z/%]*)", re.IGNORECASE)


@dataclass(frozen=True)
class Objective:
    """What one metric has to be.

    Attributes
    ----------
    text : str
        As it was given.
    metric : str
        One of `METRICS`.
    comparison : str
        How it has to compare with the limit.
    limit : float
        Microseconds, a part of one, a number of payments, or payments a second.
    is_share : bool
        The limit is a part of all payments.
    """

    text: str
    metric: str
    comparison: str
    limit: float
    is_share: bool = False


def parse(text: str | None) -> list[Objective]:
    """The objectives that are named in a text, separated by commas.

    Raises
    ------
    ConfigurationError
        One of them is none; the message names it, and what there is.

    Examples
    --------
    >>> [one.metric for one in parse("p99<200ms, approved>99%")]
    ['p99', 'approved']
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MOST_OBJECTIVES:
        raise ConfigurationError(f"--slo: at most {MOST_OBJECTIVES} objectives")
    return [_objective(part) for part in parts]


def _objective(text: str) -> Objective:
    found = _OBJECTIVE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"--slo: {text!r} is no objective such as p99<200ms or approved>99%")
    metric, comparison, number, unit = found.groups()
    if metric not in METRICS:
        raise ConfigurationError(f"--slo: there is no metric {metric!r} in {text!r}: there is {', '.join(METRICS)}")
    limit = float(number)
    if metric in LATENCIES or metric == "mean":
        if unit not in UNITS:
            raise ConfigurationError(f"--slo: {metric} in {text!r} is a time and needs a unit: {', '.join(UNITS)}")
        return Objective(text, metric, comparison, limit * UNITS[unit])
    if metric == "rate":
        if unit not in ("", "/s"):
            raise ConfigurationError(f"--slo: rate in {text!r} is payments a second: a number, or a number and /s")
        return Objective(text, metric, comparison, limit)
    if unit not in ("", "%"):
        raise ConfigurationError(f"--slo: {metric} in {text!r} is a part in % or a number of payments without a unit")
    if unit == "%" and limit > 100:
        raise ConfigurationError(f"--slo: {metric} in {text!r} is more than 100 %")
    return Objective(text, metric, comparison, limit / 100 if unit else limit, is_share=bool(unit))


def judge(
    objectives: Sequence[Objective], measured: Measurement, *, reversals: int, throughput: float
) -> list[Threshold]:
    """Hold a run against objectives; what was not measured is not met.

    Parameters
    ----------
    reversals
        Of the whole run.
    throughput
        Approved payments a second.
    """
    if not objectives:
        return []
    histogram = measured.latency.histogram()
    longest = max(measured.latency.counts, default=0)
    numbers = {
        "approved": measured.approved,
        "declined": sum(measured.declined.values()),
        "errors": measured.unanswered + sum(measured.refused.values()),
        "unanswered": measured.unanswered,
        "timeouts": measured.timeouts,
        "stand_in": measured.stand_in,
        "reversals": reversals,
    }

    def actual(objective: Objective) -> float | None:
        metric = objective.metric
        if metric == "rate":
            return throughput
        if metric in numbers:
            if not objective.is_share:
                return float(numbers[metric])
            return numbers[metric] / measured.attempts if measured.attempts else None
        if not measured.latency.counts:
            return None
        if metric == "mean":
            return float(histogram.get_mean_value())
        # HdrHistogram answers with the upper end of a bucket, which may lie beyond the longest that was seen
        return float(min(histogram.get_value_at_percentile(LATENCIES[metric]), longest))

    return [_judged(one, actual(one)) for one in objectives]


def _judged(objective: Objective, actual: float | None) -> Threshold:
    met = actual is not None and math.isfinite(actual) and _COMPARISONS[objective.comparison](actual, objective.limit)
    return Threshold(objective.text, objective.metric, objective.limit, actual, met)
