"""The rows of a page's tables and tiles, as text: made of a result, shown by the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hdrh.histogram import HdrHistogram

from network.durations import Summary
from network.iso8583.codes import RESPONSE_CODES
from scenarios.report import quantities
from scenarios.report.histograms import percentiles
from scenarios.report.over_time import FAULTY, colours_of
from scenarios.report.quantities import latency, share
from scenarios.report.verdict import in_order, title_of, verdict
from scenarios.result import ErrorSample, Load, Result, Threshold

HISTOGRAM_NAMES = {"response": "response time", "service": "service time", "lag": "generator lag"}
"""The histograms of a result, for people."""


@dataclass(frozen=True)
class Tile:
    """A figure of the first row; `tone` is ``good``, ``bad`` or empty."""

    label: str
    figure: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Check:
    """A threshold: as it was given, its limit, what was measured."""

    text: str
    limit: str
    actual: str
    met: bool


@dataclass(frozen=True)
class Count:
    """How often something happened, and its share of all attempts: as text, and as a part of the commonest."""

    name: str
    meaning: str
    number: int
    share: str
    part: float
    colour: str


@dataclass(frozen=True)
class Bars:
    """Latencies of one thing beside its like: as text, its median and p99 as parts (%) of the longest ones."""

    name: str
    count: int
    p50: str
    p99: str
    most: str
    p50_part: float
    p99_part: float


@dataclass(frozen=True)
class Fact:
    """A line of the run's particulars; a command is set as code."""

    name: str
    value: str
    code: bool = False


def checks(result: Result) -> list[Check]:
    """The thresholds, those that are missed first."""
    return sorted(map(check_of, result.thresholds), key=lambda check: check.met)


def check_of(threshold: Threshold) -> Check:
    """A threshold in words."""
    actual = threshold.actual
    return Check(
        threshold.text,
        quantities.threshold_value(threshold.text, threshold.limit),
        "nothing measured" if actual is None else quantities.threshold_value(threshold.text, actual),
        threshold.met,
    )


def tiles(result: Result) -> list[Tile]:
    """The outcome in figures."""
    declined, refused = sum(result.declined.values()), sum(result.refused.values())

    def of_all(number: int) -> str:
        return share(number, result.attempts)

    rows = [
        Tile("Throughput", quantities.rate(result.throughput), "approved payments per second"),
        Tile("Attempts", f"{result.attempts:,}", f"in {quantities.span(result.duration)}"),
        Tile("Approved", f"{result.approved:,}", of_all(result.approved), _tone_of_approvals(result)),
        Tile("Declined", f"{declined:,}", of_all(declined)),
        Tile("Unanswered", f"{result.unanswered:,}", of_all(result.unanswered), "bad" if result.unanswered else ""),
        Tile("Refused by the phone", f"{refused:,}", of_all(refused), "bad" if refused else ""),
        Tile("Reversals", f"{result.reversals:,}", "sales taken back"),
        Tile("Approved amount", quantities.yuan(result.amount), "yuan"),
    ]
    if result.load:
        rows.append(Tile("Timeouts", f"{result.timeouts:,}", of_all(result.timeouts), "bad" if result.timeouts else ""))
        told = f"{of_all(result.stand_in)}, answered for an issuer that did not"
        rows.append(Tile("Stand-in", f"{result.stand_in:,}", told, "bad" if result.stand_in else ""))
    return rows


def _tone_of_approvals(result: Result) -> str:
    """Green only where the run is good: a third of the payments declined is nothing to be pleased with."""
    if not result.approved:
        return "bad"
    return "good" if verdict(result).good else ""


def latency_tiles(summary: Summary) -> list[Tile]:
    """The percentiles of the whole way."""
    if not summary.count:
        return []
    return [
        Tile("p50", latency(summary.p50), "half were faster"),
        Tile("p95", latency(summary.p95), "1 in 20 was slower"),
        Tile("p99", latency(summary.p99), "1 in 100 was slower"),
        Tile("max", latency(summary.max), "the slowest"),
    ]


def declines(result: Result) -> list[Count]:
    """Response codes other than 00, the commonest first, in the colours that they have in the chart."""
    return _counts(result, result.declined, RESPONSE_CODES, colours_of(_commonest(result.declined)))


def refusals(result: Result) -> list[Count]:
    """Why phones did not send payments, the commonest first."""
    return _counts(result, result.refused, {}, {})


def _counts(
    result: Result, numbers: Mapping[str, int], meanings: Mapping[str, str], colours: Mapping[str, str]
) -> list[Count]:
    most = max(numbers.values(), default=0)
    return [
        Count(
            name,
            meanings.get(name, "not a known code"),
            numbers[name],
            share(numbers[name], result.attempts),
            round(numbers[name] * 100 / most, 1) if most else 0.0,
            colours.get(name, "failed"),
        )
        for name in _commonest(numbers)
    ]


def _commonest(numbers: Mapping[str, int]) -> list[str]:
    """The commonest first, equals by name."""
    return sorted(numbers, key=lambda name: (-numbers[name], name))


def party_bars(result: Result) -> list[Bars]:
    """The time from a message's arrival at a party to the end of its turn, in the order in which a payment passes."""
    return _bars((title_of(party), result.parties[party]) for party in in_order(set(result.parties)))


def leg_bars(result: Result) -> list[Bars]:
    """The parts of a payment's way, in the order in which they are passed."""
    return _bars((title_of(leg.name), leg.latency) for leg in result.legs)


def _bars(rows: Iterable[tuple[str, Summary]]) -> list[Bars]:
    listed = list(rows)
    most_p50 = max((seen.p50 for _, seen in listed), default=0) or 1
    most_p99 = max((seen.p99 for _, seen in listed), default=0) or 1
    return [
        Bars(
            name,
            seen.count,
            latency(seen.p50) if seen.count else "-",
            latency(seen.p99) if seen.count else "-",
            latency(seen.max) if seen.count else "-",
            round(seen.p50 * 100 / most_p50, 1),
            round(seen.p99 * 100 / most_p99, 1),
        )
        for name, seen in listed
    ]


def percentile_table(
    histograms: Mapping[str, HdrHistogram], longest: Mapping[str, int]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Columns and rows of the table of percentiles: a column a histogram, a dash where too little was measured."""
    columns = [name for name in HISTOGRAM_NAMES if name in histograms]
    values = [dict(percentiles(histograms[name], longest.get(name))) for name in columns]
    rows = []
    for percentile in sorted({percentile for column in values for percentile in column}):
        name = "max" if percentile == 100 else f"p{percentile:g}"
        told = [latency(column[percentile]) if percentile in column else "-" for column in values]
        rows.append((name, told))
    return [HISTOGRAM_NAMES[name] for name in columns], rows


def errors(result: Result) -> list[tuple[ErrorSample, bool]]:
    """The kinds of error, what tells of the network before answers about cards (False), the commonest first."""

    def of_network(error: ErrorSample) -> bool:
        outcome, _, code = error.kind.partition(" ")
        return outcome != "declined" or code in FAULTY

    rows = [(error, of_network(error)) for error in result.errors]
    return sorted(rows, key=lambda row: (not row[1], -row[0].count, row[0].kind))


def facts(result: Result) -> list[Fact]:
    """The particulars of the run: what it was, how it was loaded, where it ran."""
    rows = [
        Fact("scenario", result.scenario),
        Fact("runtime", result.runtime),
        Fact("seed", str(result.seed)),
        Fact("duration", quantities.span(result.duration)),
        Fact("started at", result.started_at),
        *(_load_facts(result.load) if result.load else []),
    ]
    rows += [Fact(name, value, name == "command") for name, value in sorted(result.environment.items())]
    return [fact for fact in rows if fact.value]


def _load_facts(load: Load) -> Sequence[Fact]:
    generators = "1 process" if load.generators == 1 else f"{load.generators:,} processes"
    return [
        Fact("load", f"{load.mode} loop, {load.shape}"),
        Fact("terminals", f"{load.terminals:,} in {generators}"),
        Fact("warm-up", quantities.span(load.warm_up) if load.warm_up else "none"),
        Fact("due and sent", f"{load.due:,} and {load.sent:,} ({share(load.sent, load.due)})" if load.due else ""),
    ]
