"""Results for other readers: Markdown, JUnit, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree as Xml

import pytest
from sample_load import peak
from sample_result import broken_day, market_day, nothing
from test_report import HOSTILE, hostile_run

from scenarios.report.formats import FORMATS, as_csv, as_junit, as_markdown
from scenarios.result import Result, Threshold

SAMPLES: dict[str, Callable[[], Result]] = {
    "load": peak,
    "run": market_day,
    "broken": broken_day,
    "empty": nothing,
    "hostile": hostile_run,
    "invalid": lambda: peak(keeps_up=False, rate=40.0, seconds=10),
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_every_format_is_the_same_bytes_again(sample: Callable[[], Result]) -> None:
    for make in FORMATS.values():
        assert make(sample()) == make(sample()) != b""


def cases(result: Result) -> dict[str, str | None]:
    """The test cases of a result with their failures, and the counts checked."""
    root = Xml.fromstring(as_junit(result))
    found = {case.get("name", ""): case.findtext("failure") for case in root.iter("testcase")}
    for element in (root, root[0]):
        assert element.get("tests") == str(len(found))
        assert element.get("failures") == str(sum(failure is not None for failure in found.values()))
        assert element.get("errors") == "0"
    return found


def test_junit_has_a_case_for_the_books_the_generators_and_each_threshold() -> None:
    found = cases(peak())
    assert found.pop("p99<200ms") == "measured 1.60 s, limit 200 ms"
    assert found == dict.fromkeys(
        (
            "the books agree",
            "payments were approved",
            "the generators kept up",
            "p50<50ms",
            "approved>95%",
            "rate>250/s",
        )
    )
    assert cases(market_day()) == dict.fromkeys(("the books agree", "payments were approved"))
    assert "receipt 000417" in (cases(broken_day())["the books agree"] or "")
    assert cases(nothing())["payments were approved"] == "Nothing was attempted."
    invalid = cases(SAMPLES["invalid"]())
    assert "generator 2 sent 38 %" in (invalid["the generators kept up"] or "")


def test_junit_is_well_formed_whatever_people_named() -> None:
    odd = "]]>\x00\x1b[31m\ud800\ufffe" + HOSTILE
    result = replace(
        hostile_run(), scenario=odd, environment={odd: odd}, thresholds=[Threshold(odd, odd, 1.0, None, False)]
    )
    found = cases(result)
    assert len(found) == 4
    assert any("alert(1)" in name for name in found)
    Xml.fromstring(as_junit(result).encode())


def test_csv_is_the_timeline() -> None:
    result = peak()
    rows = list(csv.DictReader(io.StringIO(as_csv(result))))
    assert len(rows) == len(result.timeline)
    for row, one in zip(rows, result.timeline, strict=True):
        assert float(row["start_s"]) == one.start
        assert int(row["due"]) == one.due
        assert int(row["ended"]) == one.attempts
        assert row["latency_p99_us"] == (str(one.latency.p99) if one.latency.count else "")
        assert {name[5:]: int(row[name]) for name in row if name.startswith("code_") and int(row[name])} == one.codes
    assert sum(int(row["timeouts"]) for row in rows) == result.timeouts
    empty = next(csv.DictReader(io.StringIO(as_csv(market_day()))))
    assert empty["lag_p50_us"] == ""


def test_markdown_says_verdict_thresholds_and_books() -> None:
    text = as_markdown(peak())
    assert text.startswith("## ❌ A festival's peak (双十一): 1 of 4 thresholds missed, the books agree\n")
    assert "| `p99<200ms` | 200 ms | 1.60 s | ❌ |" in text
    assert "| issuer | cardholders |" in text
    assert "fourparty load festival --rate 300" in text
    assert as_markdown(market_day()).startswith("## ✅ A street market (街市): The books agree\n")


def test_markdown_lets_nothing_become_markup() -> None:
    text = as_markdown(hostile_run())
    outside_code = re.sub(r"`[^`\n]*`", "", text[: text.index("```")])
    assert "<" not in outside_code.replace("\\<", "")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").endswith("|") for line in rows)
