"""The page: what the template shows, made of a result; and the template, rendered."""

from __future__ import annotations

from typing import Final

from hdrh.histogram import HdrHistogram
from jinja2 import Environment, PackageLoader, StrictUndefined

from scenarios.report import quantities, sections
from scenarios.report.assets import assets, embedded
from scenarios.report.chart import Chart
from scenarios.report.curves import Curve, percentile_chart
from scenarios.report.heat import heat_chart
from scenarios.report.histograms import read_histograms
from scenarios.report.measured import statement
from scenarios.report.over_time import time_charts
from scenarios.report.verdict import compare, title_of, verdict
from scenarios.result import Result

ENVIRONMENT: Final = Environment(
    loader=PackageLoader("scenarios.report", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters.update(
    yuan=quantities.yuan,
    latency=quantities.latency,
    span=quantities.span,
    rate=quantities.rate,
    title_of=title_of,
)
_CURVES: Final = (("response", "p50", ()), ("service", "p99", (7, 4)))
"""Histograms that are drawn, with their colours and strokes."""


def render(result: Result) -> bytes:
    """The page in UTF-8: one file that loads nothing.

    Raises
    ------
    ReportError
        A histogram, the timeline or its heat map is not what it should be; the message names the place.
    """
    histograms = read_histograms(result.histograms)
    longest = _longest(result)
    charts = {chart.key: chart for chart in _charts(result, histograms, longest)}
    heads, percentile_rows = sections.percentile_table(histograms, longest)
    template = ENVIRONMENT.get_template("page.html.j2")
    return template.render(
        assets=assets(),
        drawings=embedded(list(charts.values())),
        charts=charts,
        result=result,
        verdict=verdict(result),
        checks=sections.checks(result),
        tiles=sections.tiles(result),
        latency_tiles=sections.latency_tiles(result.end_to_end),
        percentile_heads=heads,
        percentile_rows=percentile_rows,
        statement=statement(result),
        declined=sections.declines(result),
        refused=sections.refusals(result),
        parties=sections.party_bars(result),
        legs=sections.leg_bars(result),
        ways=result.by_way(),
        errors=sections.errors(result),
        books=compare(result.books),
        facts=sections.facts(result),
    ).encode()


def _longest(result: Result) -> dict[str, int]:
    """The longest duration of each histogram, exactly."""
    longest = {"response": result.end_to_end.max}
    if result.load:
        longest |= {"service": result.load.service.max, "lag": result.load.lag.max}
    return {name: most for name, most in longest.items() if most}


def _charts(result: Result, histograms: dict[str, HdrHistogram], longest: dict[str, int]) -> list[Chart]:
    curves = [
        Curve(sections.HISTOGRAM_NAMES[name], colour, histograms[name], longest.get(name), dash)
        for name, colour, dash in _CURVES
        if name in histograms
    ]
    percentile = percentile_chart(
        curves,
        "Latency by percentile",
        "How long the slowest of so many took: each step to the right is ten times rarer. Response time counts from "
        "when a payment was due, service time from when it was sent.",
    )
    heat = heat_chart(result.timeline, result.faults)
    return [*time_charts(result), *(chart for chart in (percentile, heat) if chart is not None)]
