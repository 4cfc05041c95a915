"""Reports in a browser without a network: drawn, silent, readable on a desk, on a phone and on paper."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from offline_browser import Shown, offline_browser, shown
from playwright.sync_api import Browser, Page
from sample_load import peak
from sample_result import market_day, nothing
from test_report import hostile_run

from network.durations import Summary
from scenarios import report
from scenarios.result import Result

LOOKS = 200
"""How often a page is looked at before it is given up."""

pytestmark = pytest.mark.live

PAGES: dict[str, tuple[Callable[[], Result], list[str]]] = {
    "load": (peak, ["throughput", "latency", "lag", "percentiles", "heat", "codes", "trouble"]),
    "run": (market_day, ["throughput", "latency"]),
    "empty": (nothing, []),
}
INK = """
key => {
  const canvas = document.querySelector(`#chart-${key} canvas`);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const colours = new Map();
  for (let at = 0; at < pixels.length; at += 4)
    if (pixels[at + 3] > 250) {
      const colour = [...pixels.slice(at, at + 3)].map(one => one.toString(16).padStart(2, "0")).join("");
      colours.set(colour, (colours.get(colour) || 0) + 1);
    }
  return Object.fromEntries(colours);
}
"""
"""How often each opaque colour is on a chart's canvas."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with offline_browser() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {name: report.write(sample(), folder / name) for name, (sample, _) in PAGES.items()}


def colour(seen: Shown, name: str) -> str:
    """A colour of the page as six digits."""
    value: str = seen.page.evaluate(
        "name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()", name
    )
    return value.removeprefix("#")


def ink(seen: Shown, key: str) -> dict[str, int]:
    colours: dict[str, int] = seen.page.evaluate(INK, key)
    return colours


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        *(("load", width, scheme) for width in (1280, 390) for scheme in ("light", "dark")),
        ("load", 360, "light"),
        *((name, width, scheme) for name in ("run", "empty") for width, scheme in ((1280, "dark"), (390, "light"))),
    ],
)
def test_a_browser_shows_it_without_complaint_or_request(
    name: str, width: int, scheme: str, browser: Browser, pages: dict[str, Path]
) -> None:
    with shown(browser, pages[name], width, "dark" if scheme == "dark" else "light") as seen:
        assert seen.complaints == []
        assert seen.requests == [pages[name].as_uri()]
        assert seen.page.evaluate("document.documentElement.scrollWidth") == width
        drawn = seen.page.evaluate("[...document.querySelectorAll('.chart')].map(one => one.id.replace('chart-', ''))")
        assert sorted(drawn) == sorted(PAGES[name][1])
        verdict = seen.page.locator(".verdict").bounding_box()
        assert verdict is not None
        assert verdict["y"] + verdict["height"] < 900
        background, text = seen.page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        assert (brightness(background) > brightness(text)) == (scheme == "light")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_charts_are_drawn(width: int, scheme: str, browser: Browser, pages: dict[str, Path]) -> None:
    with shown(browser, pages["load"], width, "dark" if scheme == "dark" else "light") as seen:
        assert ink(seen, "throughput")[colour(seen, "approved")] > 5_000
        for key in ("latency", "lag"):
            colours = ink(seen, key)
            assert all(colours.get(colour(seen, name), 0) > 100 for name in ("p50", "p95"))
        curves = ink(seen, "percentiles")
        assert all(curves.get(colour(seen, name), 0) > 100 for name in ("p50", "p99"))
        codes = ink(seen, "codes")
        assert codes.get(colour(seen, "fault-0"), 0) > 50
        # cells from the lightest to the darkest colour, and many between them
        heat = ink(seen, "heat")
        assert all(heat.get(colour(seen, name), 0) > 10 for name in ("heat-0", "heat-4"))
        assert len([one for one, number in heat.items() if number > 30]) > 10


@pytest.mark.parametrize("width", [1280, 390])
def test_bars_are_as_long_as_what_they_stand_for(width: int, browser: Browser, tmp_path: Path) -> None:
    lengths = (100, 200, 300, 400)
    parties = {f"party {p50}": Summary(9, p50 * 1000, p50 * 1000, p50 * 1000, p50 * 1000) for p50 in lengths}
    with shown(browser, report.write(replace(market_day(), parties=parties, legs=[]), tmp_path), width) as seen:
        for which in ("p50", "p99"):
            drawn = seen.page.eval_on_selector_all(
                f".bar.{which}", "bars => bars.map(bar => bar.getBoundingClientRect().width)"
            )
            assert len(drawn) == 4
            assert [one / drawn[-1] for one in drawn] == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=0.02)


def test_a_fault_is_shaded_in_every_chart_over_time(browser: Browser, pages: dict[str, Path]) -> None:
    with shown(browser, pages["load"]) as seen:
        for key in ("throughput", "latency", "lag", "heat", "codes", "trouble"):
            # its edge and its name, in the colour of what is bad
            assert ink(seen, key).get(colour(seen, "bad"), 0) > 60
        assert colour(seen, "bad") not in ink(seen, "percentiles")


def test_a_pointer_reads_values_and_lines_can_be_hidden(browser: Browser, pages: dict[str, Path]) -> None:
    with shown(browser, pages["load"]) as seen:
        over = seen.page.locator("#chart-latency .u-over")
        over.scroll_into_view_if_needed()
        over.hover(position={"x": 40, "y": 60})
        tip = seen.page.locator("#chart-latency .tip")
        words = " ".join((tip.inner_text()).split())
        assert re.fullmatch(r"\d+ s to \d+ s p50 [\d.]+ ms p95 [\d.]+ ms p99 [\d.]+ ms max [\d.]+ ms", words)
        place = int(words.split()[0])
        row = seen.page.locator("#latency tbody tr").nth(place).text_content() or ""
        assert all(value in row for value in re.findall(r"[\d.]+ ms", words))

        before = ink(seen, "latency")[colour(seen, "p95")]
        button = seen.page.get_by_role("button", name="p95").first
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        seen.page.evaluate("new Promise(done => requestAnimationFrame(() => done(true)))")
        assert ink(seen, "latency").get(colour(seen, "p95"), 0) < before / 10

        heat = seen.page.locator("#chart-heat .u-over")
        heat.scroll_into_view_if_needed()
        box = heat.bounding_box()
        assert box is not None
        heat.hover(position={"x": 100, "y": box["height"] - 12})
        assert re.search(r"ms to [\d.]+ ms\s*[\d,]+ payments", seen.page.locator("#chart-heat .tip").inner_text())


def test_a_part_of_the_time_can_be_looked_at_in_every_chart(browser: Browser, pages: dict[str, Path]) -> None:
    with shown(browser, pages["load"]) as seen:
        over = seen.page.locator("#chart-latency .u-over")
        over.scroll_into_view_if_needed()
        box = over.bounding_box()
        assert box is not None
        red = colour(seen, "bad")
        seen.page.mouse.move(box["x"] + 20, box["y"] + 50)
        seen.page.mouse.down()
        seen.page.mouse.move(box["x"] + box["width"] * 0.35, box["y"] + 60, steps=4)
        seen.page.mouse.up()
        # the first fault was after 24 of 61 seconds
        for key in ("latency", "throughput", "heat"):
            until(seen.page, f"!({INK})('{key}')['{red}']")
        over.dblclick(position={"x": 30, "y": 30})
        for key in ("latency", "throughput", "heat"):
            until(seen.page, f"({INK})('{key}')['{red}'] > 60")


def until(page: Page, expression: str) -> None:
    """Wait for what the page comes to; asked from outside, since its policy lets nothing be evaluated within."""
    for _ in range(LOOKS):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression[-80:]}")


def test_its_charts_follow_the_width_the_scheme_and_the_paper(browser: Browser, pages: dict[str, Path]) -> None:
    def width() -> float:
        found: float = seen.page.evaluate(
            "document.querySelector('#chart-latency canvas').getBoundingClientRect().width"
        )
        return found

    with shown(browser, pages["load"]) as seen:
        wide = width()
        light = colour(seen, "approved")
        seen.page.set_viewport_size({"width": 400, "height": 800})
        until(seen.page, "document.querySelector('#chart-latency canvas').getBoundingClientRect().width < 400")
        assert width() < wide
        seen.page.emulate_media(color_scheme="dark")
        # the page hears of the scheme when it gets to it, and draws its charts anew
        dark = colour(seen, "approved")
        assert dark != light
        until(seen.page, f"({INK})('throughput')['{dark}'] > 0")
        seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert width() == 680
        seen.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert width() < 400
        seen.page.emulate_media(media="print")
        assert colour(seen, "approved") == light
        assert len(seen.page.pdf()) > 50_000
        assert seen.complaints == []


def test_what_people_named_does_not_run(browser: Browser, tmp_path: Path) -> None:
    file = report.write(hostile_run(), tmp_path)
    with shown(browser, file, 390) as seen:
        seen.page.on("dialog", lambda dialog: seen.complaints.append(f"dialog: {dialog.message}"))
        seen.page.reload()
        seen.page.locator("#chart-codes .u-over").hover(position={"x": 20, "y": 20})
        assert seen.page.locator("#chart-codes .tip").is_visible()
        assert seen.complaints == []
        assert set(seen.requests) == {file.as_uri()}
        assert seen.page.locator("script").count() == 3
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_script_that_got_in_would_not_run(browser: Browser, tmp_path: Path) -> None:
    file = report.write(market_day(), tmp_path)
    text = file.read_text("utf-8").replace("</main>", "<script>document.title = 'taken'</script></main>", 1)
    file.write_text(text, "utf-8")
    with shown(browser, file) as seen:
        assert seen.page.title() != "taken"
        assert any("Content Security Policy" in complaint for complaint in seen.complaints)


def test_the_browser_would_have_told(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('x'); nosuch()</script>")
    with shown(browser, page) as seen:
        assert "http://127.0.0.1:9/x.png" in seen.requests
        assert len(seen.complaints) >= 2


def brightness(colour: str) -> int:
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])
