"""The heat map: payments by when they ended and how long they took, as cells on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scenarios.measurement import HEAT_BITS
from scenarios.report.axis import Axis, logarithmic_latency_axis
from scenarios.report.chart import Chart, Heat
from scenarios.report.over_time import checked, end_of, time_frame
from scenarios.report.quantities import latency, span
from scenarios.report.result_file import ReportError
from scenarios.result import FaultWindow, Interval

MOST_ROWS: Final = 400
"""Classes of latency; with more of them cells are thinner than a pixel."""


def heat_chart(timeline: Sequence[Interval], faults: Sequence[FaultWindow] = ()) -> Chart | None:
    """The heat map of a timeline; `None` where it has no classes of latency.

    Raises
    ------
    ReportError
        A class is not a whole number of microseconds, or there are too many; the message names the place.
    """
    columns = [_classes(interval, f"timeline[{number}].heat") for number, interval in enumerate(timeline)]
    lows = sorted({low for column in columns for low in column})
    if not lows:
        return None
    if len(lows) > MOST_ROWS:
        raise ReportError(f"timeline has {len(lows)} classes of latency in heat, more than {MOST_ROWS}")
    checked(timeline)
    bounds = row_bounds(lows)
    row_of = {low: bounds.index(max(low, 1)) for low in lows}
    most, at, class_ = max(
        (payments, interval.start, low)
        for interval, column in zip(timeline, columns, strict=True)
        for low, payments in column.items()
    )
    return Chart(
        **time_frame(timeline, faults),
        key="heat",
        title="Heat map of latency, logarithmic",
        hint="How many payments took how long: what averages and percentiles hide, such as two groups of payments.",
        description=(
            f"A map over {span(end_of(timeline))}: the stronger a cell's colour, the more payments ended then with "
            f"that latency. Most, {most:,}, are at {span(at)} from {latency(class_)}."
        ),
        unit="latency",
        up=_axis(bounds),
        heat=Heat(bounds, [[(row_of[low], column[low]) for low in sorted(column)] for column in columns], most),
        table_head="latency",
    )


def row_bounds(lows: Sequence[int]) -> list[int]:
    """Bounds of rows from the lower bounds of classes (`scenarios.measurement.heat`), of which many may be empty.

    What is between a class's end and the next class is an empty row.

    Examples
    --------
    >>> row_bounds([112, 128, 640])
    [112, 128, 160, 640, 768]
    """
    places = [max(low, 1) for low in lows]
    bounds = {*places}
    for low, following in zip(places, [*places[1:], None], strict=True):
        end = low + (1 << max(0, low.bit_length() - HEAT_BITS))
        if following is None or end < following:
            bounds.add(end)
    return sorted(bounds)


def _classes(interval: Interval, place: str) -> dict[int, int]:
    classes = {}
    for low, payments in interval.heat.items():
        if not (low.isascii() and low.isdigit() and len(low) <= 12):
            raise ReportError(f"{place}: {low!r} is not a whole number of microseconds")
        if payments < 0:
            raise ReportError(f"{place}.{low} is negative")
        if payments:
            classes[int(low)] = payments
    return classes


def _axis(bounds: Sequence[int]) -> Axis:
    """From the lowest bound to the highest, without the empty space that round ends would leave."""
    bottom, top = bounds[0], bounds[-1]
    ticks = [tick for tick in logarithmic_latency_axis(bottom, top).ticks if bottom <= tick[0] <= top]
    if len(ticks) < 2:
        ticks = [(bound, latency(bound)) for bound in bounds[:: max(1, len(bounds) // 4)]]
    return Axis(bottom, top, True, ticks)
