"""Runs held against one another: what was measured on each side, and which differences exceed the noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final, Literal

from network.durations import Summary
from scenarios.report.histograms import read_histograms
from scenarios.report.noise import LEVEL, Difference, Finding, difference, runs_needed
from scenarios.report.quantities import latency, rate
from scenarios.report.result_file import ReportError
from scenarios.report.verdict import in_order, title_of, verdict
from scenarios.result import Result

_LISTED: Final = 60
"""Characters up to which the different values of a side's runs are all told."""
MOST_SIDES: Final = 6
"""Sides of a comparison: as many as there are colours that can be told apart."""

Kind = Literal["latency", "share", "rate"]
Better = Literal["less", "more", "neither"]


@dataclass(frozen=True)
class Side:
    """Runs that are one side of a comparison: one run, or repeated ones."""

    name: str
    runs: Sequence[Result]

    @property
    def verdicts(self) -> list[SideVerdict]:
        """What its runs came to: each verdict once, with how many runs have it, those that are not good first."""
        counts: Counter[tuple[bool, str]] = Counter()
        for run in self.runs:
            judged = verdict(run)
            counts[judged.good, judged.headline] += 1
        return [
            SideVerdict(good, headline if len(self.runs) == 1 else f"{number} of {len(self.runs)}: {headline}")
            for (good, headline), number in sorted(counts.items())
        ]


@dataclass(frozen=True)
class SideVerdict:
    """What runs of a side came to, in words."""

    good: bool
    text: str


@dataclass(frozen=True)
class Measured:
    """A quantity on one side: its value in each run; none where a run has not measured it."""

    values: list[float]

    @property
    def middle(self) -> float | None:
        """The median over the runs."""
        return median(self.values) if self.values else None


@dataclass(frozen=True)
class Row:
    """A quantity: what each side measured, and how the sides after the first differ from the first.

    Attributes
    ----------
    section, name : str
        Where it belongs, and what it is.
    kind : str
        ``latency`` in microseconds, ``share`` as a part of one, ``rate`` in payments a second.
    better : str
        Whether ``less`` or ``more`` of it is better, or ``neither``.
    differences : list of Difference or None
        One for each side after the first; None where one of the two has not measured it.
    """

    section: str
    name: str
    kind: Kind
    better: Better
    sides: list[Measured]
    differences: list[Difference | None]

    def told(self, value: float | None) -> str:
        """A value of it as people read it."""
        if value is None:
            return "-"
        if self.kind == "latency":
            return latency(round(value))
        return f"{value * 100:.2f} %" if self.kind == "share" else rate(value)

    def told_shift(self, value: float) -> str:
        """A difference of it as people read it, with its sign; shares in points."""
        sign = "+" if value > 0 else "-" if value < 0 else ""
        if self.kind == "latency":
            return sign + latency(round(abs(value)))
        return f"{sign}{abs(value) * 100:.2f} points" if self.kind == "share" else sign + rate(abs(value))

    def told_percent(self, number: int) -> str:
        """The shift of a side as a part of what the first side measured; empty of shares, which are percents."""
        first, found = self.sides[0].middle, self.differences[number]
        if found is None or not first or self.kind == "share":
            return ""
        percent = found.shift / first * 100
        return f"{percent:+.1f} %" if abs(percent) < 1000 else f"{percent:+,.0f} %"

    def finding(self, number: int) -> str:
        """What can be said of a side's difference; empty where nothing differs."""
        found = self.differences[number]
        if found is None or found.finding is Finding.UNKNOWN or not (found.shift or found.low or found.high):
            return ""
        if found.chance is None or found.finding is Finding.FEW:
            return found.finding.value
        return f"{found.finding.value} (p {found.chance:.2g})"

    def tone(self, number: int) -> str:
        """``good`` or ``bad`` where a difference exceeds the noise and one way is better, else empty."""
        found = self.differences[number]
        if found is None or found.finding is not Finding.BEYOND or self.better == "neither":
            return ""
        return "good" if (found.shift < 0) == (self.better == "less") else "bad"


@dataclass(frozen=True)
class Fact:
    """A particular of the runs, for each side; `differs` where the sides do not say the same."""

    name: str
    values: list[str]
    differs: bool


@dataclass(frozen=True)
class Contrast:
    """Sides, named so that they can be told apart, the rows of what they measured, and what else differs."""

    sides: list[Side]
    rows: list[Row]
    facts: list[Fact]

    @property
    def findings(self) -> list[tuple[str, str]]:
        """What to say first of each side after the first, and its tone: how many differences exceed the noise."""
        told = []
        for number, side in enumerate(self.sides[1:]):
            tones = [row.tone(number) for row in self.rows]
            beyond = [
                row.name for row in self.rows if (one := row.differences[number]) and one.finding is Finding.BEYOND
            ]
            known = [
                one
                for row in self.rows
                if (one := row.differences[number]) and one.finding not in (Finding.UNKNOWN, Finding.FEW)
            ]
            if not known:
                text = f"{side.name}: too few runs to tell differences from noise"
            elif not beyond:
                text = f"{side.name}: no difference exceeds the noise"
            else:
                text = (
                    f"{side.name}: {len(beyond)} of {len(known)} differences exceed the noise, "
                    f"{tones.count('bad')} for the worse, {tones.count('good')} for the better"
                )
            told.append((text, "bad" if "bad" in tones else "good" if "good" in tones else ""))
        return told

    @property
    def noise(self) -> str:
        """In plain sentences: how it was found out which differences exceed the noise."""
        runs = [len(side.runs) for side in self.sides]
        if min(runs) == 1:
            return (
                "At least one side is a single run, so that nobody knows how much two runs of one side would differ: "
                f"the noise is unknown, and only differences are given. With {runs_needed()} runs or more on each side "
                "it could be told which of them mean something."
            )
        text = (
            "Each side is repeated runs; a value is the median over them, a difference the median of all differences "
            "between a run of one side and a run of the other (Hodges and Lehmann). It exceeds the noise where dealing "
            f"the same values to the sides at random would give ranks as far apart in at most {LEVEL * 100:g} % of all "
            "cases (Mann and Whitney, two-sided, p). Every row is tested by itself: of twenty rows without a "
            "difference about one will look like one."
        )
        few = any(found is not None and found.finding is Finding.FEW for row in self.rows for found in row.differences)
        return text + (f" Here are too few runs for that: {runs_needed()} on each side are enough." if few else "")

    def as_json(self) -> dict[str, Any]:
        """The same as plain data; latencies in microseconds."""
        return {
            "sides": [
                {
                    "name": side.name,
                    "runs": len(side.runs),
                    "scenarios": sorted({run.scenario for run in side.runs}),
                    "runtimes": sorted({run.runtime for run in side.runs}),
                    "good": sum(verdict(run).good for run in side.runs),
                }
                for side in self.sides
            ],
            "level": LEVEL,
            "noise": self.noise,
            "rows": [
                {
                    "section": row.section,
                    "name": row.name,
                    "kind": row.kind,
                    "better": row.better,
                    "values": [measured.values for measured in row.sides],
                    "medians": [measured.middle for measured in row.sides],
                    "differences": [found and asdict(found) for found in row.differences],
                }
                for row in self.rows
            ],
            "facts": [asdict(fact) for fact in self.facts],
        }


def contrast(sides: Sequence[Side]) -> Contrast:
    """Hold runs against one another; the first side is what the others are measured by.

    Raises
    ------
    ReportError
        There are fewer than two sides or more than `MOST_SIDES`, one has no run, or a run's histograms cannot be read.
    """
    if not 2 <= len(sides) <= MOST_SIDES:
        raise ReportError(f"a comparison has 2 to {MOST_SIDES} sides, not {len(sides)}")
    for side in sides:
        if not side.runs:
            raise ReportError(f"{side.name} has no run")
    named = _told_apart(sides)
    return Contrast(named, list(_rows(named)), _facts(named))


def _told_apart(sides: Sequence[Side]) -> list[Side]:
    """Sides by names of their own, which say the runtime where there are several."""
    runtimes = [" and ".join(sorted({run.runtime for run in side.runs})) for side in sides]
    names = [
        f"{side.name} ({runtime})" if len(set(runtimes)) > 1 and runtime not in side.name else side.name
        for side, runtime in zip(sides, runtimes, strict=True)
    ]
    return [
        Side(name if names.count(name) == 1 else f"{name} [{number}]", side.runs)
        for number, (name, side) in enumerate(zip(names, sides, strict=True), 1)
    ]


Quantity = tuple[str, str, Kind, Better, Callable[[Result], float | None]]


def _rows(sides: Sequence[Side]) -> Iterator[Row]:
    for section, name, kind, better, of in _quantities(sides):
        measured = [_measured(side, of) for side in sides]
        if not any(one.values for one in measured):
            continue
        first = measured[0].values
        yield Row(
            section,
            name,
            kind,
            better,
            measured,
            [difference(first, one.values) if first and one.values else None for one in measured[1:]],
        )


def _measured(side: Side, of: Callable[[Result], float | None]) -> Measured:
    values = [of(run) for run in side.runs]
    return Measured([value for value in values if value is not None] if None not in values else [])


def _quantities(sides: Sequence[Side]) -> Iterator[Quantity]:
    runs = [run for side in sides for run in side.runs]
    yield "outcome", "throughput (approved/s)", "rate", "more", lambda run: run.throughput
    yield "outcome", "approved", "share", "more", _share(lambda run: run.approved)
    yield "outcome", "declined", "share", "neither", _share(lambda run: sum(run.declined.values()))
    yield "outcome", "unanswered", "share", "less", _share(lambda run: run.unanswered)
    yield "outcome", "refused by the phone", "share", "less", _share(lambda run: sum(run.refused.values()))
    yield "outcome", "reversals", "share", "less", _share(lambda run: run.reversals)
    if any(run.load for run in runs):
        yield "outcome", "timeouts", "share", "less", _share(lambda run: run.timeouts if run.load else None)
        yield "outcome", "stand-in", "share", "less", _share(lambda run: run.stand_in if run.load else None)
    yield from _summaries("response time", lambda run: run.end_to_end, ("p50", "p95", "p99"))
    if all("response" in run.histograms for run in runs):
        yield "response time", "p99.9", "latency", "less", _far_percentile
    yield from _summaries("response time", lambda run: run.end_to_end, ("max",))
    yield from _summaries("service time", lambda run: run.load.service if run.load else None, ("p50", "p99"))
    yield from _summaries("generator lag", lambda run: run.load.lag if run.load else None, ("p99",))
    for party in in_order({party for run in runs for party in run.parties}):
        yield from _summaries("by party", _party(party), ("p50", "p99"), title_of(party))
    legs = list(dict.fromkeys(leg.name for run in runs for leg in run.legs))
    for leg in legs:
        yield from _summaries("parts of the way", _leg(leg), ("p50", "p99"), title_of(leg))


def _share(of: Callable[[Result], int | None]) -> Callable[[Result], float | None]:
    def share(run: Result) -> float | None:
        number = of(run)
        return number / run.attempts if run.attempts and number is not None else None

    return share


def _summaries(
    section: str, of: Callable[[Result], Summary | None], percentiles: Sequence[str], whose: str = ""
) -> Iterator[Quantity]:
    for name in percentiles:
        yield section, f"{whose} {name}".lstrip(), "latency", "less", _percentile(of, name)


def _percentile(of: Callable[[Result], Summary | None], name: str) -> Callable[[Result], float | None]:
    def percentile(run: Result) -> float | None:
        summary = of(run)
        return float(getattr(summary, name)) if summary is not None and summary.count else None

    return percentile


def _far_percentile(run: Result) -> float | None:
    histogram = read_histograms(run.histograms).get("response")
    return None if histogram is None else float(histogram.get_value_at_percentile(99.9))


def _party(party: str) -> Callable[[Result], Summary | None]:
    return lambda run: run.parties.get(party)


def _leg(name: str) -> Callable[[Result], Summary | None]:
    return lambda run: next((leg.latency for leg in run.legs if leg.name == name), None)


def _facts(sides: Sequence[Side]) -> list[Fact]:
    """What the runs were, each side's different values in one cell."""
    names = list(dict.fromkeys(name for side in sides for run in side.runs for name in _particulars(run)))
    facts = []
    for name in names:
        cells = []
        for side in sides:
            values = list(dict.fromkeys(_particulars(run).get(name, "-") for run in side.runs))
            listed = ", ".join(values)
            cells.append(
                listed if len(listed) <= _LISTED or len(values) == 1 else f"{values[0]} and {len(values) - 1} more"
            )
        facts.append(Fact(name, cells, len(set(cells)) > 1))
    return facts


def _particulars(run: Result) -> dict[str, str]:
    about = {
        "scenario": run.scenario,
        "runtime": run.runtime,
        "load": f"{run.load.mode} loop, {run.load.shape}" if run.load else "",
        "terminals": f"{run.load.terminals:,}" if run.load else "",
        "seed": str(run.seed),
        "duration": f"{run.duration:g} s",
        "faults": "; ".join(f"{fault.what} ({fault.start:g} to {fault.end:g} s)" for fault in run.faults),
        "started at": run.started_at,
        **run.environment,
    }
    return {name: value for name, value in about.items() if value}
