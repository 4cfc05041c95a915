"""The charts of what a run did over time: made of its timeline, its fault windows shaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final, TypedDict

from network.durations import Summary
from network.iso8583.codes import RESPONSE_CODES
from scenarios.report.axis import Axis, latency_axis, linear_axis
from scenarios.report.chart import Chart, Series
from scenarios.report.quantities import latency, rate, span
from scenarios.report.result_file import ReportError
from scenarios.result import FaultWindow, Interval, Result

APPROVED: Final = "00"
FAULTY: Final = frozenset({"22", "30", "68", "77", "79", "90", "91", "92", "94", "95", "96", "97", "98", "99", "A0"})
"""Response codes that tell of the network, not of a card: they are drawn in reds."""
MOST_CODES: Final = 7
"""Codes with a colour of their own; the rarer ones are one series."""

_UNITS: Final = (("second", 1), ("minute", 60), ("hour", 3600))


def checked(timeline: Sequence[Interval]) -> Sequence[Interval]:
    """The timeline, if it can be drawn.

    Raises
    ------
    ReportError
        An interval begins before the run or before the one before it has begun, or has no length.
    """
    for number, (earlier, later) in enumerate(pairwise(timeline), 1):
        if later.start <= earlier.start:
            raise ReportError(
                f"timeline[{number}] at {later.start:g} s is not after the one before it at {earlier.start:g} s"
            )
    for number, interval in enumerate(timeline):
        if interval.start < 0 or interval.length <= 0:
            raise ReportError(f"timeline[{number}] begins before the run or has no length")
    return timeline


def end_of(timeline: Iterable[Interval]) -> float:
    """When the last interval ends, in seconds of the run."""
    return max((interval.start + interval.length for interval in timeline), default=0.0)


class TimeFrame(TypedDict):
    """What every chart over time has in common: arguments of `Chart`."""

    across: list[list[float]]
    length: float
    end: float
    windows: Sequence[FaultWindow]


def time_frame(timeline: Sequence[Interval], faults: Sequence[FaultWindow]) -> TimeFrame:
    """An axis across in seconds of the run; an interval's values are drawn in its middle."""
    return {
        "across": [[one.start + one.length / 2 for one in timeline]],
        "length": min(one.length for one in timeline),
        "end": end_of(timeline),
        "windows": faults,
    }


def unit_of_rates(timeline: Iterable[Interval]) -> tuple[str, int]:
    """What payments are counted by, ``second``, ``minute`` or ``hour``, so that numbers are not small; its seconds."""
    busiest = max((max(one.attempts, one.due) / one.length for one in timeline), default=0.0)
    return next((unit for unit in _UNITS if busiest * unit[1] >= 1), _UNITS[-1] if busiest else _UNITS[0])


def time_charts(result: Result) -> list[Chart]:
    """All charts over time that a result has data for, but the heat map."""
    if not result.timeline:
        return []
    timeline = checked(result.timeline)
    charts = (
        throughput_chart(timeline, result.faults),
        latency_chart(timeline, result.faults),
        lag_chart(timeline, result.faults),
        codes_chart(timeline, result.faults),
        trouble_chart(timeline, result.faults),
    )
    return [chart for chart in charts if chart is not None]


def throughput_chart(timeline: Sequence[Interval], faults: Sequence[FaultWindow] = ()) -> Chart:
    """Payments that ended, stacked: approved, declined, failed; and those that were due, where they were planned."""
    unit, seconds = unit_of_rates(timeline)
    per = _per(seconds)
    series = [
        Series("approved", "approved", [per(one.approved, one) for one in timeline]),
        Series("declined", "declined", [per(one.declined, one) for one in timeline]),
        Series("failed", "failed", [per(one.failed, one) for one in timeline]),
    ]
    planned = max((one.start for one in timeline if one.due), default=None)
    if planned is not None:
        # after the last was due, what is under way ends
        due = [per(one.due, one) if one.start <= planned else None for one in timeline]
        series.append(Series("due", "due", due, dash=(6, 4)))
    most = max(per(max(one.approved + one.declined + one.failed, one.due), one) for one in timeline)
    busiest = max(timeline, key=lambda one: one.attempts / one.length)
    return Chart(
        **time_frame(timeline, faults),
        key="throughput",
        title=f"Payments per {unit}",
        hint="What ended, by outcome; failed is what was not answered or what the phone refused. "
        + ("Where the line of what was due leaves the bars, a queue grows." if planned is not None else ""),
        description=(
            f"Stacked bars over {span(end_of(timeline))}: approved, declined and failed payments per {unit}. "
            f"The busiest moment, at {span(busiest.start)}, had {rate(per(busiest.attempts, busiest))} of them."
        ),
        unit="rate",
        up=linear_axis(most),
        series=series,
        stacked=3,
    )


def latency_chart(timeline: Sequence[Interval], faults: Sequence[FaultWindow] = ()) -> Chart | None:
    """Percentiles of each interval's latency; `None` where nothing was measured."""
    summaries = [one.latency for one in timeline]
    measured = [one for one in timeline if one.latency.count]
    if not measured:
        return None
    slowest = max(measured, key=lambda one: one.latency.p99)
    up = _axis_of(summaries)
    return Chart(
        **time_frame(timeline, faults),
        key="latency",
        title="Latency over time" + _scale(up),
        hint="Of the payments that ended in each interval, from the moment when they were due.",
        description=(
            f"Lines over {span(end_of(timeline))}: median, 95th and 99th percentile and maximum. The highest p99, "
            f"{latency(slowest.latency.p99)}, is in the interval that began at {span(slowest.start)}."
        ),
        unit="latency",
        up=up,
        series=_percentile_lines(summaries),
    )


def lag_chart(timeline: Sequence[Interval], faults: Sequence[FaultWindow] = ()) -> Chart | None:
    """How late the generators sent; `None` where nobody measured it."""
    summaries = [one.lag or Summary(0, 0, 0, 0, 0) for one in timeline]
    if not any(one.count for one in summaries):
        return None
    latest = max(zip(summaries, timeline, strict=True), key=lambda pair: pair[0].max)
    up = _axis_of(summaries)
    return Chart(
        **time_frame(timeline, faults),
        key="lag",
        title="Generator lag" + _scale(up),
        hint="From when a payment was due to when it was sent: how late the generator was, and how long the payment "
        "waited for a free terminal, which is the network's doing where answers are slow.",
        description=(
            f"Lines over {span(end_of(timeline))}: how late the generators sent. The most, {latency(latest[0].max)}, "
            f"was in the interval that began at {span(latest[1].start)}."
        ),
        unit="latency",
        up=up,
        series=_percentile_lines(summaries),
    )


def codes_chart(timeline: Sequence[Interval], faults: Sequence[FaultWindow] = ()) -> Chart | None:
    """Response codes other than 00, stacked, those of faults in reds; `None` where there was none."""
    totals: Counter[str] = Counter()
    for one in timeline:
        totals.update({code: number for code, number in one.codes.items() if code != APPROVED and number})
    if not totals:
        return None
    unit, seconds = unit_of_rates(timeline)
    per = _per(seconds)
    commonest = sorted(totals, key=lambda code: (-totals[code], code))
    shown = commonest if len(commonest) <= MOST_CODES + 1 else commonest[:MOST_CODES]
    colours = colours_of(shown)
    series = [
        Series(
            f"{code} {RESPONSE_CODES.get(code, 'not a known code')}",
            colours[code],
            [per(one.codes.get(code, 0), one) for one in timeline],
        )
        # faults at the bottom of the stack, where they are read best
        for code in sorted(shown, key=lambda code: (code not in FAULTY, commonest.index(code)))
    ]
    others = [code for code in commonest if code not in shown]
    if others:
        values = [per(sum(one.codes.get(code, 0) for code in others), one) for one in timeline]
        series.append(Series(f"{len(others)} others", "other", values))
    sums = [sum(value or 0 for value in column) for column in zip(*(one.values for one in series), strict=True)]
    return Chart(
        **time_frame(timeline, faults),
        key="codes",
        title=f"Response codes other than 00 per {unit}",
        hint="In reds what tells of the network; the other colours are answers about cards and accounts.",
        description=(
            f"Stacked bars over {span(end_of(timeline))}. The commonest is {commonest[0]}, "
            f"{RESPONSE_CODES.get(commonest[0], 'not a known code')}, with {totals[commonest[0]]:,} payments."
        ),
        unit="rate",
        up=linear_axis(max(sums)),
        series=series,
        stacked=len(series),
    )


def trouble_chart(timeline: Sequence[Interval], faults: Sequence[FaultWindow] = ()) -> Chart | None:
    """Reversals, timeouts and stand-in; `None` where nothing of it happened."""
    unit, seconds = unit_of_rates(timeline)
    per = _per(seconds)
    series = [
        Series(name, colour, [per(number(one), one) for one in timeline], dash=dash)
        for name, colour, dash, number in _TROUBLES
        if any(number(one) for one in timeline)
    ]
    if not series:
        return None
    numbers = ", ".join(
        f"{name} {sum(number(one) for one in timeline):,}"
        for name, _, _, number in _TROUBLES
        if any(number(one) for one in timeline)
    )
    return Chart(
        **time_frame(timeline, faults),
        key="trouble",
        title=f"Reversals, timeouts and stand-in per {unit}",
        hint="Reversals where they began, payments that nobody answered in time, and payments that were "
        "answered for an issuer that did not.",
        description=f"Lines over {span(end_of(timeline))}. In all: {numbers}.",
        unit="rate",
        up=linear_axis(max(value or 0 for one in series for value in one.values)),
        series=series,
    )


_TROUBLES: Final[tuple[tuple[str, str, tuple[int, ...], Callable[[Interval], int]], ...]] = (
    ("timeouts", "failed", (), lambda one: one.timeouts),
    ("reversals", "p99", (8, 4), lambda one: one.reversals),
    ("stand-in", "p50", (2, 3), lambda one: one.stand_in),
)


def colours_of(codes: Iterable[str]) -> dict[str, str]:
    """A colour for each code: reds for faults, others for the rest, each kind's last one shared by what is left."""
    colours: dict[str, str] = {}
    faulty = quiet = 0
    for code in codes:
        if code in FAULTY:
            colours[code] = f"fault-{min(faulty, 2)}"
            faulty += 1
        else:
            colours[code] = f"code-{min(quiet, 5)}"
            quiet += 1
    return colours


def _percentile_lines(summaries: Sequence[Summary]) -> list[Series]:
    def values(of: Callable[[Summary], int]) -> list[float | None]:
        return [of(one) if one.count else None for one in summaries]

    return [
        Series("p50", "p50", values(lambda one: one.p50)),
        Series("p95", "p95", values(lambda one: one.p95)),
        Series("p99", "p99", values(lambda one: one.p99), dash=(6, 3)),
        Series("max", "max", values(lambda one: one.max), dash=(2, 3)),
    ]


def _axis_of(summaries: Sequence[Summary]) -> Axis:
    measured = [one for one in summaries if one.count]
    return latency_axis(min(one.p50 for one in measured), max(one.max for one in measured))


def _scale(axis: Axis) -> str:
    return ", logarithmic" if axis.logarithmic else ""


def _per(seconds: int) -> Callable[[int, Interval], float]:
    return lambda number, one: number * seconds / one.length
