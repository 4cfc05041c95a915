"""A result for other readers: Markdown for a pull request, JUnit's XML for a build server, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final
from xml.etree import ElementTree as Xml

from network.durations import Summary
from scenarios.report import sections
from scenarios.report.page import render
from scenarios.report.quantities import latency, span, yuan
from scenarios.report.result_file import dump
from scenarios.report.verdict import compare, title_of, verdict
from scenarios.result import Interval, Result

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write."""
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>#|~&])")


def as_markdown(result: Result) -> str:
    """A summary: verdict, thresholds, figures, latencies, declines and books."""
    judged = verdict(result)
    parts = [
        f"## {'✅' if judged.good else '❌'} {plain(result.title)}: {plain(judged.headline)}",
        f"{plain(judged.detail)} {plain(_about(result))}",
    ]
    problems = [*(result.load.problems if result.load else []), *result.books.problems]
    parts += ["\n".join(f"- ❌ {plain(problem)}" for problem in problems)] if problems else []
    if result.thresholds:
        checks = [
            (f"`{_code(check.text)}`", check.limit, check.actual, "✅" if check.met else "❌")
            for check in sections.checks(result)
        ]
        parts.append(markdown_table(["threshold", ">limit", ">measured", "met"], checks))
    figures = [(tile.label, tile.figure, tile.note) for tile in sections.tiles(result)]
    parts.append(markdown_table(["", ">", ""], [tuple(map(plain, row)) for row in figures]))
    summaries = [*((title_of(name), seen) for name, seen in result.parties.items()), ("end to end", result.end_to_end)]
    parts.append(
        markdown_table(
            ["latency", ">p50", ">p95", ">p99", ">max"],
            [
                (plain(name), *(latency(value) for value in (seen.p50, seen.p95, seen.p99, seen.max)))
                for name, seen in summaries
                if seen.count
            ],
        )
    )
    if result.declined:
        parts.append(
            markdown_table(
                ["declined", "", ">payments", ">of attempts"],
                [
                    (plain(count.name), count.meaning, f"{count.number:,}", count.share)
                    for count in sections.declines(result)
                ],
            )
        )
    books = [
        (plain(title_of(book.party)), plain(entry.label), yuan(entry.amount), "❌" if entry.difference else "✅")
        for book in compare(result.books)
        for entry in book.entries
    ]
    parts += [markdown_table(["book", "position", ">yuan", "agrees"], books)] if books else []
    command = result.environment.get("command")
    parts += [f"```\n{_NOT_XML.sub('', command).replace('```', '')}\n```"] if command else []
    return "\n\n".join(parts) + "\n"


def _about(result: Result) -> str:
    load = f"{result.load.mode} loop, {result.load.shape}, " if result.load else ""
    return f"{result.scenario}, {result.runtime}, {load}seed {result.seed}, {span(result.duration)}."


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a head that begins with ``>`` is that of figures, set to the right."""
    lines = [
        "| " + " | ".join(head.removeprefix(">") for head in heads) + " |",
        "|" + "|".join("--:" if head.startswith(">") else "---" for head in heads) + "|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def plain(text: str) -> str:
    """Text no character of which is Markdown or HTML."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'").replace("|", "\\|")


def as_junit(result: Result) -> str:
    """JUnit's XML: the books, the generators and each threshold are test cases."""
    judged = verdict(result)
    cases: list[tuple[str, str, str | None]] = [
        ("books", "the books agree", None if judged.books_agree else _problems(result)),
        ("payments", "payments were approved", None if result.approved else judged.detail),
    ]
    if result.load:
        problems = "\n".join(result.load.problems) or "the generators did not keep up"
        cases.append(("generators", "the generators kept up", None if judged.valid else problems))
    for check in map(sections.check_of, result.thresholds):
        missed = f"measured {check.actual}, limit {check.limit}"
        cases.append(("thresholds", check.text, None if check.met else missed))
    failures = sum(failure is not None for _, _, failure in cases)
    about = {"tests": str(len(cases)), "failures": str(failures), "errors": "0", "time": f"{result.duration:g}"}
    root = Xml.Element("testsuites", _xml({"name": "fourparty", **about}))
    suite = Xml.SubElement(root, "testsuite", _xml({"name": result.scenario, "timestamp": result.started_at, **about}))
    properties = Xml.SubElement(suite, "properties")
    for name, value in (("runtime", result.runtime), ("seed", str(result.seed)), *sorted(result.environment.items())):
        Xml.SubElement(properties, "property", _xml({"name": name, "value": value}))
    for group, name, failure in cases:
        case = Xml.SubElement(
            suite, "testcase", _xml({"classname": f"{result.scenario}.{group}", "name": name, "time": "0"})
        )
        if failure is not None:
            told = _NOT_XML.sub("\ufffd", failure)
            Xml.SubElement(case, "failure", {"message": told.splitlines()[0], "type": group}).text = told
    Xml.SubElement(suite, "system-out").text = _NOT_XML.sub("\ufffd", f"{judged.headline}. {judged.detail}")
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _problems(result: Result) -> str:
    return "\n".join(result.books.problems) or "a book says what the others do not"


def _xml(attributes: Mapping[str, str]) -> dict[str, str]:
    return {name: _NOT_XML.sub("\ufffd", value) for name, value in attributes.items()}


def as_csv(result: Result) -> str:
    """The timeline, a line an interval: seconds, counts, microseconds; a column for each response code."""
    codes = sorted({code for one in result.timeline for code in one.codes})
    heads = [*_COUNTS, *(f"{name}_{part}_us" for name in ("latency", "lag") for part in _PERCENTILES)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*heads, *(f"code_{code}" for code in codes)])
    for one in result.timeline:
        writer.writerow(
            [
                *(of(one) for of in _COUNTS.values()),
                *_percentiles(one.latency),
                *_percentiles(one.lag),
                *(one.codes.get(code, 0) for code in codes),
            ]
        )
    return text.getvalue()


_COUNTS: Final[Mapping[str, Callable[[Interval], float]]] = {
    "start_s": lambda one: one.start,
    "length_s": lambda one: one.length,
    "due": lambda one: one.due,
    "ended": lambda one: one.attempts,
    "approved": lambda one: one.approved,
    "declined": lambda one: one.declined,
    "failed": lambda one: one.failed,
    "reversals": lambda one: one.reversals,
    "timeouts": lambda one: one.timeouts,
    "stand_in": lambda one: one.stand_in,
}
_PERCENTILES: Final = ("p50", "p95", "p99", "max")


def _percentiles(summary: Summary | None) -> list[int | str]:
    """Empty where nothing was measured."""
    if summary is None or not summary.count:
        return [""] * len(_PERCENTILES)
    return [summary.p50, summary.p95, summary.p99, summary.max]


FORMATS: Final[Mapping[str, Callable[[Result], bytes]]] = {
    "md": lambda result: as_markdown(result).encode(),
    "json": dump,
    "csv": lambda result: as_csv(result).encode(),
    "junit": lambda result: as_junit(result).encode(),
    "html": render,
}
"""What a result can be made into: UTF-8 by the format's name."""
