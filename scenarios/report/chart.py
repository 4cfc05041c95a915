"""Geometry of the charts: numbers in, places on a plot of 1000 by 1000 out; the template draws them.

The plot is stretched to the page's width and its labels are text beside it, so that a label is as legible on a
phone as on a desk. Places run from 0 (left, top) to 1000 (right, bottom).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from scenarios.report.quantities import latency, round_latency, span
from scenarios.result import Interval

SIZE: Final = 1000
_LOGARITHMIC_FROM: Final = 20
"""Ratio of the largest to the smallest value beyond which small ones would lie flat on a linear axis."""
_MOST_TICKS: Final = 6
_MOST_LOGARITHMIC_TICKS: Final = 8
_TIME_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A part of a stack: which series it belongs to, and its place."""

    series: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Slice:
    """An interval's column over the plot's whole height, with what a pointer on it reads and its bars."""

    x: float
    width: float
    text: str
    bars: list[Bar]


@dataclass(frozen=True)
class Line:
    """A series as SVG path data, broken where there is no value."""

    series: str
    path: str


@dataclass(frozen=True)
class Chart:
    """A chart: its texts, its axes, its columns and its lines."""

    key: str
    title: str
    description: str
    series: list[tuple[str, str]]
    across: list[Tick]
    up: list[Tick]
    slices: list[Slice]
    lines: list[Line]


def payments_chart(timeline: Sequence[Interval]) -> Chart:
    """Payments that ended in each interval, stacked: approved, declined, failed.

    Raises
    ------
    ValueError
        The timeline is empty or its intervals are not in order.
    """
    end = _end(timeline)
    most = max(interval.approved + interval.declined + interval.failed for interval in timeline)
    top, up = _linear(max(most, 1))
    slices = []
    for interval in timeline:
        x, width = interval.start / end * SIZE, interval.length / end * SIZE
        bars: list[Bar] = []
        base = 0
        for series, number in (
            ("approved", interval.approved),
            ("declined", interval.declined),
            ("failed", interval.failed),
        ):
            if number:
                base += number
                bars.append(
                    Bar(
                        series,
                        _r(x + width * 0.08),
                        _r(SIZE - base / top * SIZE),
                        _r(width * 0.84),
                        _r(number / top * SIZE),
                    )
                )
        counts = f"{interval.approved:,} approved, {interval.declined:,} declined, {interval.failed:,} failed"
        slices.append(Slice(_r(x), _r(width), f"{_when(interval)}: {counts}", bars))
    each = "second" if timeline[0].length == 1 else span(timeline[0].length)
    busiest = max(timeline, key=lambda interval: interval.attempts)
    return Chart(
        key="payments",
        title=f"Payments per {each}",
        description=(
            f"Stacked bars over {span(end)}: approved, declined and failed payments that ended in each {each}. "
            f"The busiest began at {span(busiest.start)} with {busiest.attempts:,} payments."
        ),
        series=[("approved", "approved"), ("declined", "declined"), ("failed", "failed: unanswered or refused")],
        across=_time_ticks(end),
        up=[Tick(_r(SIZE - value / top * SIZE), f"{value:,}") for value in up],
        slices=slices,
        lines=[],
    )


def latency_chart(timeline: Sequence[Interval]) -> Chart | None:
    """Median and 99th percentile of the end-to-end latency of each interval; `None` where nothing was measured.

    The axis is logarithmic when the values are far apart, and its title says so.

    Raises
    ------
    ValueError
        The timeline is empty or its intervals are not in order.
    """
    end = _end(timeline)
    measured = [interval for interval in timeline if interval.latency.count]
    if not measured:
        return None
    low = max(1, min(interval.latency.p50 for interval in measured))
    high = max(1, *(max(interval.latency.p50, interval.latency.p99) for interval in measured))
    logarithmic = high / low >= _LOGARITHMIC_FROM
    if logarithmic:
        bottom, top, up = _logarithmic(low, high)
        spread = math.log(top / bottom)
    else:
        top, up = _linear(high)

    def place(value: int) -> float:
        part = math.log(max(value, bottom) / bottom) / spread if logarithmic else value / top
        return _r(SIZE - part * SIZE)

    paths: dict[str, list[str]] = {"p50": [], "p99": []}
    slices = []
    joined = False
    for interval in timeline:
        x, width = interval.start / end * SIZE, interval.length / end * SIZE
        seen = interval.latency
        if seen.count:
            middle = _r(x + width / 2)
            for series, value in (("p50", seen.p50), ("p99", seen.p99)):
                # A lone point is a line of no length, which round caps make a dot of.
                paths[series].append(f"{'L' if joined else 'M'}{middle:g} {place(value):g}" + ("" if joined else "h0"))
            text = f"{_when(interval)}: p50 {latency(seen.p50)}, p99 {latency(seen.p99)}"
        else:
            text = f"{_when(interval)}: nothing measured"
        joined = bool(seen.count)
        slices.append(Slice(_r(x), _r(width), text, []))
    slowest = max(measured, key=lambda interval: interval.latency.p99)
    return Chart(
        key="latency",
        title="Latency over time" + (", logarithmic" if logarithmic else ""),
        description=(
            f"Lines over {span(end)}: median (p50) and 99th percentile (p99). The highest p99, "
            f"{latency(slowest.latency.p99)}, is in the interval that began at {span(slowest.start)}."
        ),
        series=[("p99", "p99"), ("p50", "p50, the median")],
        across=_time_ticks(end),
        up=[Tick(place(value), round_latency(value)) for value in up],
        slices=slices,
        lines=[Line(series, "".join(path)) for series, path in paths.items()],
    )


def _end(timeline: Sequence[Interval]) -> float:
    if not timeline:
        raise ValueError("a timeline without an interval cannot be drawn")
    for earlier, later in pairwise(timeline):
        if later.start <= earlier.start:
            raise ValueError(
                f"the timeline's interval at {later.start:g} s is not after the one at {earlier.start:g} s"
            )
    if timeline[0].start < 0 or min(interval.length for interval in timeline) <= 0:
        raise ValueError("the timeline has an interval before the run or without length")
    return max(interval.start + interval.length for interval in timeline)


def _linear(high: int) -> tuple[int, list[int]]:
    """The top of an axis from zero that holds `high`, and its round ticks."""
    step = 1
    while step * (_MOST_TICKS - 1) < high:
        # 1, 2, 5, 10, 20, 50, ...
        step = step * 5 // 2 if str(step).startswith("2") else step * 2
    count = max(1, -(-high // step))
    return count * step, [step * index for index in range(count + 1)]


def _logarithmic(low: int, high: int) -> tuple[int, int, list[int]]:
    """Bottom and top of a logarithmic axis, both of 1, 2 or 5 times a power of ten, and its ticks."""
    rounds = [factor * 10**power for power in range(len(str(high)) + 1) for factor in (1, 2, 5)]
    bottom = max(value for value in rounds if value <= low)
    top = min(value for value in rounds if value >= high)
    ticks = [value for value in rounds if bottom <= value <= top]
    if len(ticks) > _MOST_LOGARITHMIC_TICKS:
        ticks = [value for value in ticks if str(value).startswith("1")]
    if len(ticks) > _MOST_LOGARITHMIC_TICKS:
        ticks = ticks[::2]
    return bottom, top, ticks


def _time_ticks(end: float) -> list[Tick]:
    step: float = next((step for step in _TIME_STEPS if end / step <= _MOST_TICKS), 0)
    if not step:
        step = 86400 * math.ceil(end / 86400 / _MOST_TICKS)
    return [Tick(_r(index * step / end * SIZE), span(index * step)) for index in range(int(end // step) + 1)]


def _when(interval: Interval) -> str:
    return f"{span(interval.start)} to {span(interval.start + interval.length)}"


def _r(place: float) -> float:
    """Rounded: no eye sees more, and the page stays small."""
    return round(place, 2)
