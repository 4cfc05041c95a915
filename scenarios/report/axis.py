"""Axes: round bottoms and tops that hold what is drawn, with few ticks and their labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scenarios.report.quantities import round_latency

_LOGARITHMIC_FROM: Final = 20
"""Ratio of the largest to the smallest value beyond which small ones would lie flat on a linear axis."""
_LEAST: Final = 1e-3
"""An axis for less would have no labels to tell places apart."""
_MOST_STEPS: Final = 5
_MOST_LOGARITHMIC_TICKS: Final = 8


@dataclass(frozen=True)
class Axis:
    """From where to where an axis goes, and its ticks as places and labels."""

    bottom: float
    top: float
    logarithmic: bool
    ticks: list[tuple[float, str]]


def latency_axis(low: float, high: float) -> Axis:
    """An axis for durations in microseconds, logarithmic when they are far apart.

    Examples
    --------
    >>> latency_axis(900, 9_000).ticks
    [(0.0, '0'), (2000.0, '2 ms'), (4000.0, '4 ms'), (6000.0, '6 ms'), (8000.0, '8 ms'), (10000.0, '10 ms')]
    >>> latency_axis(900, 90_000).ticks[:3]
    [(500, '500 µs'), (1000, '1 ms'), (2000, '2 ms')]
    """
    low, high = max(1.0, low), max(1.0, high)
    if high / low < _LOGARITHMIC_FROM:
        return linear_axis(max(high, 5), lambda value: round_latency(round(value)))
    return logarithmic_latency_axis(low, high)


def logarithmic_latency_axis(low: float, high: float) -> Axis:
    """A logarithmic axis for durations in microseconds; it begins and ends at 1, 2 or 5 times a power of ten."""
    low = max(1.0, low)
    rounds = [factor * 10**power for power in range(len(str(math.ceil(high))) + 1) for factor in (1, 2, 5)]
    bottom = max(value for value in rounds if value <= low)
    top = min(value for value in rounds if value >= max(high, 2 * bottom))
    ticks = [value for value in rounds if bottom <= value <= top]
    if len(ticks) > _MOST_LOGARITHMIC_TICKS:
        ticks = [value for value in ticks if str(value).startswith("1")]
    if len(ticks) > _MOST_LOGARITHMIC_TICKS:
        ticks = ticks[::2]
    return Axis(bottom, top, True, [(value, round_latency(value)) for value in ticks])


def linear_axis(high: float, label: Callable[[float], str] | None = None) -> Axis:
    """An axis from zero that holds `high`, with at most six round ticks.

    Examples
    --------
    >>> linear_axis(7).ticks
    [(0.0, '0'), (2.0, '2'), (4.0, '4'), (6.0, '6'), (8.0, '8')]
    >>> linear_axis(0.3).top
    0.3
    """
    high = max(high, _LEAST)
    step = _step(high / _MOST_STEPS)
    count = max(1, math.ceil(round(high / step, 9)))
    places = [round(step * index, 12) for index in range(count + 1)]
    return Axis(0, places[-1], False, [(place, label(place) if label else f"{place:,g}") for place in places])


def rarity_axis(most: float) -> Axis:
    """The logarithmic axis of a percentile curve, from 1 (0 %) to `most`, the number of durations.

    Examples
    --------
    >>> [label for _, label in rarity_axis(18_000).ticks]
    ['0 %', '50 %', '90 %', '99 %', '99.9 %', '99.99 %']
    """
    ticks = [(1.0, "0 %"), (2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %")]
    ticks += [(10.0**power, f"99.{'9' * (power - 2)} %") for power in range(3, 10)]
    return Axis(1, max(most, 2), True, [tick for tick in ticks if tick[0] <= max(most, 2)])


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    factor = next(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    return float(round(factor * power, 12))
