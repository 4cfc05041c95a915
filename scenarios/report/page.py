"""The page: what the template shows, made of a result; and the template, rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from network.durations import Summary
from network.iso8583.codes import RESPONSE_CODES
from scenarios.report import quantities
from scenarios.report.chart import Chart, latency_chart, payments_chart
from scenarios.report.comparison import compare, in_order, title_of, verdict
from scenarios.result import Result

_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("scenarios.report", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters.update(
    yuan=quantities.yuan,
    latency=quantities.latency,
    span=quantities.span,
    rate=quantities.rate,
    title_of=title_of,
)


@dataclass(frozen=True)
class Tile:
    """A figure of the first row; `tone` is ``good``, ``bad`` or empty."""

    label: str
    figure: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Count:
    """How often something happened, and its share of all attempts: as text, and as a part of the commonest."""

    name: str
    meaning: str
    number: int
    share: str
    part: float


@dataclass(frozen=True)
class Fact:
    """A line of the run's particulars; a command is set as code."""

    name: str
    value: str
    code: bool = False


def render(result: Result) -> bytes:
    """The page in UTF-8: one file that loads nothing."""
    template = _ENVIRONMENT.get_template("page.html.j2")
    return template.render(
        result=result,
        verdict=verdict(result),
        tiles=_tiles(result),
        latency_tiles=_latency_tiles(result.end_to_end),
        declined=_counts(result, result.declined, RESPONSE_CODES),
        refused=_counts(result, result.refused, {}),
        latencies=_latencies(result),
        ways=result.by_way(),
        charts=_charts(result),
        books=compare(result.books),
        facts=_facts(result),
    ).encode()


def _tiles(result: Result) -> list[Tile]:
    declined, refused = sum(result.declined.values()), sum(result.refused.values())

    def of_all(number: int) -> str:
        return quantities.share(number, result.attempts)

    return [
        Tile("Attempts", f"{result.attempts:,}", f"in {quantities.span(result.duration)}"),
        Tile("Approved", f"{result.approved:,}", of_all(result.approved), "good" if result.approved else "bad"),
        Tile("Declined", f"{declined:,}", of_all(declined)),
        Tile("Unanswered", f"{result.unanswered:,}", of_all(result.unanswered), "bad" if result.unanswered else ""),
        Tile("Refused by the phone", f"{refused:,}", of_all(refused), "bad" if refused else ""),
        Tile("Reversals", f"{result.reversals:,}"),
        Tile("Throughput", quantities.rate(result.throughput), "payments per second"),
        Tile("Approved amount", quantities.yuan(result.amount), "yuan"),
    ]


def _latency_tiles(summary: Summary) -> list[Tile]:
    if not summary.count:
        return []
    return [
        Tile("p50", quantities.latency(summary.p50), "half were faster"),
        Tile("p95", quantities.latency(summary.p95), "1 in 20 was slower"),
        Tile("p99", quantities.latency(summary.p99), "1 in 100 was slower"),
        Tile("max", quantities.latency(summary.max), "the slowest"),
    ]


def _counts(result: Result, numbers: dict[str, int], meanings: dict[str, str]) -> list[Count]:
    """The commonest first, equals by name."""
    most = max(numbers.values(), default=0)
    return [
        Count(
            name,
            meanings.get(name, "not a known code"),
            number,
            quantities.share(number, result.attempts),
            round(number * 100 / most, 1) if most else 0.0,
        )
        for name, number in sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    ]


def _latencies(result: Result) -> list[tuple[str, Summary]]:
    parties = [(title_of(party), result.parties[party]) for party in in_order(set(result.parties))]
    return [*parties, ("end to end", result.end_to_end)]


def _charts(result: Result) -> list[Chart]:
    if not result.timeline:
        return []
    charts = (payments_chart(result.timeline), latency_chart(result.timeline))
    return [chart for chart in charts if chart is not None]


def _facts(result: Result) -> list[Fact]:
    facts = [
        Fact("scenario", result.scenario),
        Fact("runtime", result.runtime),
        Fact("seed", str(result.seed)),
        Fact("duration", quantities.span(result.duration)),
        Fact("started at", result.started_at),
    ]
    facts += [Fact(name, value, name == "command") for name, value in sorted(result.environment.items())]
    return [fact for fact in facts if fact.value]
