"""Percentile curves: how long the slowest of so many payments took, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

from scenarios.report.axis import latency_axis, rarity_axis
from scenarios.report.chart import Chart, Series
from scenarios.report.histograms import curve
from scenarios.report.quantities import latency


@dataclass(frozen=True)
class Curve:
    """A histogram with its label, its colour, and its longest duration exactly, where that is known."""

    label: str
    colour: str
    histogram: HdrHistogram
    longest: int | None = None
    dash: tuple[int, ...] = ()


def percentile_chart(curves: Sequence[Curve], title: str, hint: str) -> Chart | None:
    """Curves over one another; `None` where there is none."""
    if not curves:
        return None
    points = [curve(one.histogram, one.longest) for one in curves]
    values = [value for line in points for _, value in line]
    up = latency_axis(min(values), max(values))
    ends = "; ".join(
        f"{one.label} {latency(_at(line, 2))} at 50 %, {latency(_at(line, 100))} at 99 %, most {latency(line[-1][1])}"
        for one, line in zip(curves, points, strict=True)
    )
    return Chart(
        key="percentiles",
        title=title,
        hint=hint,
        description=f"Curves of latency against percentile: {ends}.",
        unit="latency",
        across=[[one_in for one_in, _ in line] for line in points],
        across_axis=rarity_axis(max(line[-1][0] for line in points)),
        up=up,
        series=[
            Series(one.label, one.colour, [value for _, value in line], across=number, dash=one.dash)
            for number, (one, line) in enumerate(zip(curves, points, strict=True))
        ],
        table_head="percentile",
    )


def _at(line: Sequence[tuple[float, int]], one_in: float) -> int:
    """The value of the first point that is at least so rare, or of the last one."""
    return next((value for place, value in line if place >= one_in), line[-1][1])
