"""Comparisons of runs: rows and findings, the page in a browser, and live beside virtual."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from offline_browser import offline_browser, shown
from playwright.sync_api import Browser
from sample_load import peak
from sample_result import market_day
from test_report import HOSTILE, hostile_run

from scenarios import report
from scenarios.report import ReportError
from scenarios.report.contrast import Contrast, Row, Side, contrast
from scenarios.report.noise import Finding
from scenarios.report.overlays import overlays
from scenarios.result import Result


def runs(first_seed: int, number: int = 4, slow: float = 1.0) -> list[Result]:
    return [peak(seed=first_seed + run, rate=40.0, seconds=12, slow=slow, stops=False) for run in range(number)]


def before_and_after() -> Contrast:
    return contrast([Side("before", runs(1)), Side("after", runs(20, slow=1.3))])


def row(found: Contrast, section: str, name: str) -> Row:
    return next(one for one in found.rows if (one.section, one.name) == (section, name))


def test_what_differs_by_more_than_noise_is_found_and_what_does_not_is_not() -> None:
    found = before_and_after()
    p50 = row(found, "response time", "p50")
    assert p50.tone(0) == "bad"
    assert p50.finding(0) == "exceeds noise (p 0.029)"
    difference = p50.differences[0]
    assert difference is not None
    assert 0.25 < difference.shift / (p50.sides[0].middle or 1) < 0.35
    assert p50.told_percent(0).startswith("+")
    lag = row(found, "generator lag", "p99")
    assert lag.finding(0).startswith("within noise")
    assert lag.tone(0) == ""
    back = contrast([Side("after", runs(20, slow=1.3)), Side("before", runs(1))])
    assert row(back, "response time", "p50").tone(0) == "good"
    assert "median" in found.noise
    assert "5 %" in found.noise
    [(text, tone)] = found.findings
    told = re.fullmatch(
        r"after: (\d+) of (\d+) differences exceed the noise, (\d+) for the worse, (\d+) for the better", text
    )
    assert told is not None
    beyond, known, worse, better = map(int, told.groups())
    assert known > beyond >= worse + better
    assert worse == [one.tone(0) for one in found.rows].count("bad") > 3
    assert tone == "bad"
    assert back.findings[0][1] == "good"


def test_the_same_on_both_sides_is_said_first() -> None:
    same = contrast([Side("a", runs(1)), Side("b", runs(1))])
    assert same.findings == [("b: no difference exceeds the noise", "")]


def test_a_difference_of_many_times_is_told_in_whole_percents() -> None:
    slower = contrast([Side("a", runs(1, 1)), Side("b", runs(1, 1, slow=30.0))])
    assert re.fullmatch(r"\+\d,\d{3} %", row(slower, "response time", "p50").told_percent(0))


def test_single_runs_give_differences_and_no_finding() -> None:
    found = contrast([Side("a", runs(1, 1)), Side("b", runs(20, 4, slow=1.3))])
    assert "the noise is unknown" in found.noise
    differences = [one for each in found.rows for one in each.differences if one is not None]
    assert len(differences) > 30
    assert {one.finding for one in differences} == {Finding.UNKNOWN}
    assert found.findings == [("b: too few runs to tell differences from noise", "")]
    assert not any(each.tone(0) or each.finding(0) for each in found.rows)


def test_three_runs_a_side_are_too_few_and_it_says_so() -> None:
    found = contrast([Side("a", runs(1, 3)), Side("b", runs(20, 3, slow=2.0))])
    assert row(found, "response time", "p50").finding(0) == "too few runs"
    assert "4 on each side are enough" in found.noise


def test_what_one_side_has_not_measured_is_not_compared() -> None:
    found = contrast([Side("load", runs(1, 1)), Side("plain", [market_day()])])
    service = row(found, "service time", "p50")
    assert [one.middle is None for one in service.sides] == [False, True]
    assert service.differences == [None]
    assert row(found, "response time", "p50").differences[0] is not None
    assert "p99.9" not in {one.name for one in found.rows}


def test_live_beside_virtual_says_which_is_which(tmp_path: Path) -> None:
    live, virtual = runs(1, 1)[0], replace(runs(20, 1)[0], runtime="virtual")
    found = contrast([Side("festival", [live]), Side("festival", [virtual])])
    assert [side.name for side in found.sides] == ["festival (live)", "festival (virtual)"]
    runtime = next(fact for fact in found.facts if fact.name == "runtime")
    assert runtime.values == ["live", "virtual"]
    assert runtime.differs
    page = report.write_comparison(found, tmp_path / "both").read_text("utf-8")
    assert "festival (virtual) against festival (live)" in page
    # a curve that stands alone is named as well
    alone = contrast([Side("plain", [market_day()]), Side("load", [live])])
    page = report.write_comparison(alone, tmp_path / "alone").read_text("utf-8")
    curve = page[page.index('<section id="percentiles"') : page.index('id="chart-percentiles"')]
    assert "</i>load" in curve
    assert "</i>plain" not in curve
    same = contrast([Side("x", [live]), Side("x", [live])])
    assert [side.name for side in same.sides] == ["x [1]", "x [2]"]


def test_curves_of_repeated_runs_are_of_all_their_payments() -> None:
    sides = [Side("before", runs(1)), Side("plain", [market_day()])]
    charts = {chart.key: chart for chart in overlays(sides)}
    curve = charts["percentiles"]
    assert [one.label for one in curve.series] == ["before"]
    assert curve.across[0][-1] == sum(run.end_to_end.count for run in sides[0].runs)
    assert curve.series[0].values[-1] == max(run.end_to_end.max for run in sides[0].runs)
    assert [one.label for one in charts["throughput"].series] == ["before", "plain"]
    assert [len(places) for places in charts["throughput"].across] == [
        max(len(run.timeline) for run in sides[0].runs),
        60,
    ]


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        report.write_comparison(before_and_after(), tmp_path / name)
    for file in ("comparison.html", "comparison.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    plain = json.loads((tmp_path / "one" / "comparison.json").read_text())
    assert [side["runs"] for side in plain["sides"]] == [4, 4]
    p50 = next(one for one in plain["rows"] if (one["section"], one["name"]) == ("response time", "p50"))
    assert p50["differences"][0]["finding"] == "exceeds noise"
    assert len(p50["values"][0]) == 4


@pytest.mark.parametrize("sides", [[], [Side("a", [market_day()])], [Side("a", [market_day()])] * 7], ids=len)
def test_too_few_or_too_many_sides_are_refused(sides: Sequence[Side]) -> None:
    with pytest.raises(ReportError, match="2 to 6 sides"):
        contrast(sides)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with offline_browser() as found:
        yield found


@pytest.mark.live
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_sides_over_one_another(width: int, browser: Browser, tmp_path: Path) -> None:
    page = report.write_comparison(before_and_after(), tmp_path)
    assert page.stat().st_size < 300_000
    with shown(browser, page, width) as seen:
        assert seen.complaints == []
        assert seen.requests == [page.as_uri()]
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        for key in ("percentiles", "throughput", "latency"):
            colours = seen.page.evaluate(
                """key => {
                  const canvas = document.querySelector(`#chart-${key} canvas`);
                  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                  const found = new Set();
                  for (let at = 0; at < pixels.length; at += 4)
                    if (pixels[at + 3] > 250)
                      found.add([...pixels.slice(at, at + 3)].map(one => one.toString(16).padStart(2, "0")).join(""));
                  return ["side-0", "side-1"].map(name => getComputedStyle(document.documentElement)
                    .getPropertyValue("--" + name).trim().slice(1)).map(colour => found.has(colour));
                }""",
                key,
            )
            assert colours == [True, True], key


@pytest.mark.live
def test_hostile_names_do_not_run_in_a_comparison(browser: Browser, tmp_path: Path) -> None:
    found = contrast([Side(HOSTILE, [hostile_run()]), Side(HOSTILE, [hostile_run()])])
    with shown(browser, report.write_comparison(found, tmp_path), 390) as seen:
        assert seen.complaints == []
        assert seen.page.locator("script").count() == 3
        assert seen.page.locator("img").count() == 0
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
