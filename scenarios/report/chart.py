"""A chart as plain data: what `charts.js` draws with uPlot, and the table that says the same in numbers.

Colours are names of custom properties of `page.css`, so that one chart fits a light page, a dark one and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Literal

from scenarios.report import quantities
from scenarios.report.axis import Axis
from scenarios.result import FaultWindow

Unit = Literal["latency", "rate"]
Value = float | None

_WHOLE_FROM: Final = 100
"""Values from here on are drawn and told without decimals: the page stays small, and no eye sees more."""


@dataclass(frozen=True)
class Series:
    """A line or the bars of one thing.

    Attributes
    ----------
    label, colour : str
        What it is called, and which colour it has.
    values : list of float or None
        One a place on the axis across; None where nothing was measured.
    across : int
        Which of the chart's axes across it lies on: runs that are compared have their own each.
    dash : list of int
        Lengths of strokes and gaps, so that lines differ on paper too.
    """

    label: str
    colour: str
    values: Sequence[Value]
    across: int = 0
    dash: Sequence[int] = ()

    @property
    def stroke(self) -> str:
        """What the line looks like, for its key: ``solid``, ``dashed`` or ``dotted``."""
        return "solid" if not self.dash else "dotted" if self.dash[0] < 4 else "dashed"


@dataclass(frozen=True)
class Heat:
    """The cells of a heat map: for each column its (row, payments) pairs; `rows` are the bounds of the rows."""

    rows: list[int]
    columns: list[list[tuple[int, int]]]
    most: int


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes
    ----------
    key : str
        Unique in the page.
    title, hint, description : str
        Its heading, what to read from it, and what somebody hears who does not see it.
    across : list of list of float
        Places on the axis across: seconds of the run, or one in so many; see `Series.across`.
    across_axis : Axis or None
        None for seconds, whose ticks depend on the width.
    length : float
        Seconds that an interval lasts; zero where the axis across is not time.
    end : float
        Where the axis of time ends.
    series : list of Series
        Those of a stack first, from the ground up.
    stacked : int
        How many of the series are stacked bars.
    """

    key: str
    title: str
    hint: str
    description: str
    unit: Unit
    across: list[list[float]]
    up: Axis
    series: list[Series] = field(default_factory=list)
    across_axis: Axis | None = None
    length: float = 0.0
    end: float = 0.0
    stacked: int = 0
    heat: Heat | None = None
    windows: Sequence[FaultWindow] = ()
    table_head: str = "from"

    @property
    def toggles(self) -> bool:
        """Its series can be hidden one by one."""
        return not self.stacked and len(self.series) > 1

    def drawing(self) -> dict[str, Any]:
        """What `charts.js` reads."""
        return {
            "key": self.key,
            "unit": self.unit,
            "x": [[round(place, 3) for place in places] for places in self.across],
            "xAxis": _axis(self.across_axis) if self.across_axis else None,
            "length": self.length,
            "end": self.end,
            "y": _axis(self.up),
            "stacked": self.stacked,
            "series": [
                {
                    "label": one.label,
                    "colour": one.colour,
                    "on": one.across,
                    "dash": list(one.dash),
                    "y": [_short(value) for value in one.values],
                }
                for one in self.series
            ],
            "heat": self.heat and {"rows": self.heat.rows, "columns": self.heat.columns, "most": self.heat.most},
            "windows": [[window.start, window.end, window.what] for window in self.windows],
        }

    def table(self) -> list[list[str]]:
        """The same in numbers, a row an interval; the first cell of a row says where it is."""
        if self.heat:
            return _heat_table(self.heat)
        rows: dict[float, dict[int, Value]] = {}
        for number, one in enumerate(self.series):
            for place, value in zip(self.across[one.across], one.values, strict=True):
                rows.setdefault(place, {})[number] = value
        return [
            [self._place(place), *(self._told(rows[place].get(number)) for number in range(len(self.series)))]
            for place in sorted(rows)
        ]

    def table_heads(self) -> list[str]:
        """The heads of the table's columns."""
        if self.heat:
            return [self.table_head, "payments", "of all"]
        return [self.table_head, *(one.label for one in self.series)]

    def _place(self, place: float) -> str:
        return quantities.span(place - self.length / 2) if self.length else quantities.rarity(place)

    def _told(self, value: Value) -> str:
        if value is None:
            return "-"
        return quantities.latency(round(value)) if self.unit == "latency" else f"{value:,.4g}"


def _heat_table(heat: Heat) -> list[list[str]]:
    totals = [0] * (len(heat.rows) - 1)
    for column in heat.columns:
        for row, payments in column:
            totals[row] += payments
    return [
        [
            f"{quantities.latency(low)} to {quantities.latency(high)}",
            f"{payments:,}",
            quantities.share(payments, sum(totals)),
        ]
        for (low, high), payments in zip(pairwise(heat.rows), totals, strict=True)
        if payments
    ]


def _axis(axis: Axis) -> dict[str, Any]:
    return {
        "min": _short(axis.bottom),
        "max": _short(axis.top),
        "log": axis.logarithmic,
        "ticks": [[_short(place), label] for place, label in axis.ticks],
    }


def _short(value: Value) -> Value:
    if value is None:
        return None
    rounded = round(value) if abs(value) >= _WHOLE_FROM else round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded
