"""Charts of several sides over one another: percentile curves, throughput and latency over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from scenarios.report.axis import latency_axis, linear_axis
from scenarios.report.chart import Chart, Series
from scenarios.report.contrast import Side
from scenarios.report.curves import Curve, percentile_chart
from scenarios.report.histograms import added, read_histograms
from scenarios.report.over_time import checked, end_of, unit_of_rates
from scenarios.report.quantities import span
from scenarios.result import Interval, Result


def overlays(sides: Sequence[Side]) -> list[Chart]:
    """All charts that the sides have data for.

    Raises
    ------
    ReportError
        A run's histograms or timeline are not what they should be.
    """
    charts = (percentile_overlay(sides), throughput_overlay(sides), latency_overlay(sides))
    return [chart for chart in charts if chart is not None]


def percentile_overlay(sides: Sequence[Side]) -> Chart | None:
    """The percentile curve of each side, of all its runs together; `None` where no side has histograms."""
    curves = []
    for number, side in enumerate(sides):
        if all("response" in run.histograms for run in side.runs):
            histograms = [read_histograms(run.histograms).get("response") for run in side.runs]
            whole = added(histogram for histogram in histograms if histogram is not None)
            if whole.get_total_count():
                longest = max(run.end_to_end.max for run in side.runs)
                curves.append(Curve(side.name, f"side-{number}", whole, longest))
    return percentile_chart(
        curves,
        "Response time by percentile",
        "How long the slowest of so many took: each step to the right is ten times rarer. Runs of one side are counted "
        "together.",
    )


def throughput_overlay(sides: Sequence[Side]) -> Chart | None:
    """Payments that ended, over time."""
    timelines = [one for side in sides for run in side.runs for one in run.timeline]
    if not timelines:
        return None
    unit, seconds = unit_of_rates(timelines)
    lines = [_line(side, lambda one: one.attempts * seconds / one.length) for side in sides]
    return Chart(
        key="throughput",
        title=f"Payments per {unit}",
        hint="What ended, whatever its outcome." + _medians(sides),
        description=f"A line a side over {span(end_of(timelines))}: payments per {unit}.",
        unit="rate",
        across=[places for places, _ in lines],
        length=min(one.length for one in timelines),
        end=end_of(timelines),
        up=linear_axis(max((value or 0 for _, values in lines for value in values), default=0)),
        series=[
            Series(side.name, f"side-{number}", values, across=number)
            for number, (side, (_, values)) in enumerate(zip(sides, lines, strict=True))
        ],
    )


def latency_overlay(sides: Sequence[Side]) -> Chart | None:
    """Median and 99th percentile over time."""
    timelines = [one for side in sides for run in side.runs for one in run.timeline]
    measured = [one.latency for one in timelines if one.latency.count]
    if not measured:
        return None
    lines = [(_line(side, _p50), _line(side, _p99)) for side in sides]
    up = latency_axis(min(one.p50 for one in measured), max(one.p99 for one in measured))
    series = []
    for number, (side, (p50, p99)) in enumerate(zip(sides, lines, strict=True)):
        series.append(Series(f"{side.name} p99", f"side-{number}", p99[1], across=number))
        series.append(Series(f"{side.name} p50", f"side-{number}", p50[1], across=number, dash=(2, 3)))
    return Chart(
        key="latency",
        title="Latency over time" + (", logarithmic" if up.logarithmic else ""),
        hint="Of the payments that ended in each interval, from when they were due; p50 is dotted." + _medians(sides),
        description=f"Two lines a side over {span(end_of(timelines))}: median and 99th percentile.",
        unit="latency",
        across=[p50[0] for p50, _ in lines],
        length=min(one.length for one in timelines),
        end=end_of(timelines),
        up=up,
        series=series,
    )


def _p50(one: Interval) -> float | None:
    return one.latency.p50 if one.latency.count else None


def _p99(one: Interval) -> float | None:
    return one.latency.p99 if one.latency.count else None


def _medians(sides: Sequence[Side]) -> str:
    return (
        " Of repeated runs the median of each interval is drawn." if any(len(side.runs) > 1 for side in sides) else ""
    )


def _line(side: Side, of: Callable[[Interval], float | None]) -> tuple[list[float], list[float | None]]:
    """The middles of a side's intervals, and the median over its runs in each of them; None where none has a value."""
    found: dict[float, list[float]] = {}
    for run in side.runs:
        for one in _timeline(run):
            values = found.setdefault(one.start + one.length / 2, [])
            value = of(one)
            if value is not None:
                values.append(value)
    return sorted(found), [median(found[place]) if found[place] else None for place in sorted(found)]


def _timeline(run: Result) -> Sequence[Interval]:
    return checked(run.timeline)
