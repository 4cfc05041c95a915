"""The report of a run: its bytes, what it says, what it refuses, and how a browser shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_load import peak
from sample_result import broken_day, many_ways, market_day, nothing

from network.durations import Summary
from scenarios import report
from scenarios.report import quantities
from scenarios.report.verdict import compare, verdict
from scenarios.result import Books, ErrorSample, FaultWindow, Leg, Result, Threshold, TraceLine

SAMPLES: dict[str, Callable[[], Result]] = {
    "good": market_day,
    "broken": broken_day,
    "ways": many_ways,
    "empty": nothing,
    "load": peak,
}


class Reader(HTMLParser):
    """What a page holds: its text without style, its elements with their attributes, and unclosed elements."""

    VOID = frozenset(("meta", "link", "path", "rect", "br", "img"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read_page(result: Result, folder: Path) -> Reader:
    return Reader(report.write(result, folder).read_text("utf-8"))


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_same_result_is_the_same_bytes_also_after_reading_it_back(
    sample: Callable[[], Result], tmp_path: Path
) -> None:
    first = report.write(sample(), tmp_path / "first" / "deeper")
    again = report.load(first.parent / "result.json")
    second = report.write(again, tmp_path / "second")
    assert again == sample()
    for name in ("result.json", "report.html"):
        assert (first.parent / name).read_bytes() == (second.parent / name).read_bytes()
    assert first.name == "report.html"


def test_the_data_is_sorted_json_in_plain_utf8(tmp_path: Path) -> None:
    report.write(market_day(), tmp_path)
    data = (tmp_path / "result.json").read_bytes()
    plain = json.loads(data)
    assert plain == market_day().as_json()
    assert list(plain) == sorted(plain)
    assert "街市".encode() in data
    assert data.endswith(b"}\n")


def test_the_page_says_what_the_result_says(tmp_path: Path) -> None:
    result = market_day()
    page = read_page(result, tmp_path)
    for expected in (
        "The books agree",
        f"{result.approved:,} of {result.attempts:,} payments approved",
        f"Unanswered {result.unanswered}",
        f"Reversals {result.reversals}",
        f"51 insufficient funds {result.declined['51']}",
        f"55 incorrect PIN {result.declined['55']}",
        "card left the field",
        f"p99 {quantities.latency(result.end_to_end.p99)}",
        "acquirer 4.98 ms 12.6 ms 2.10 s 1,275",
        "issuer 812 µs 2.95 ms 41.2 ms 1,275",
        f"cardholders {quantities.yuan(result.amount)}",
        "seed 7",
        "--live --seed 7 --duration 60s",
        "2 cores",
    ):
        assert expected in page.text
    assert "differs" not in page.text


def test_ways_of_paying_are_told_where_there_was_more_than_one(tmp_path: Path) -> None:
    result = many_ways()
    page = read_page(result, tmp_path / "two").text
    table = page[page.index("Ways of paying") :]
    assert table.index("card") < table.index("payer's code 40 30 0 31.0 ms 52.0 ms")
    assert f"{result.approved - 30:,} 1,234" in table
    for ways in ({}, {"card": result.ways["card"]}):
        assert "Ways of paying" not in read_page(replace(result, ways=ways), tmp_path / "one").text


def test_a_result_from_before_there_were_ways_is_read(tmp_path: Path) -> None:
    report.write(market_day(), tmp_path)
    file = tmp_path / "result.json"
    content = json.loads(file.read_text())
    del content["ways"]
    file.write_text(json.dumps(content))
    assert report.load(file) == market_day()


def test_answers_about_cards_are_not_shown_as_errors(tmp_path: Path) -> None:
    kinds = ("declined 51", "declined 91", "no answer", "undecided 96")
    errors = [ErrorSample(kind, 9 - number, 1.0, []) for number, kind in enumerate(kinds)]
    page = read_page(replace(peak(), errors=errors), tmp_path)
    text = page.text[page.text.index("Errors and declines") :]
    places = [text.index(kind) for kind in ("declined 91", "no answer", "undecided 96", "declined 51")]
    assert places == sorted(places)
    assert sum(attributes.get("class") == "of-network" for attributes in page.all("details")) == 3


def test_what_the_page_says_of_a_load_run(tmp_path: Path) -> None:
    result = peak()
    assert result.load is not None
    text = read_page(result, tmp_path / "open").text
    for expected in (
        "1 of 4 thresholds missed",
        "p99<200ms 200 ms 1.60 s ✗ missed",
        "approved>95% 95 %",
        "issuer stopped 24 s to 26 s",
        "Open loop",
        "coordinated omission",
        f"{quantities.latency(result.load.lag.p50)} (median)",
        "what was paid in the warm-up is in the books as well",
        "response time service time generator lag",
        "acquirer -> switch",
        "+2012.4 ms switch -> acquirer 0210",
        "622609******0017",
        "91 issuer unavailable",
        "open loop, constant 300/s",
    ):
        assert expected in text, expected
    assert "6226090000000017" not in text
    assert text.index("1 of 4 thresholds missed") < text.index("p99<200ms") < text.index("Throughput")
    closed = read_page(peak(rate=40.0, seconds=10, mode="closed"), tmp_path / "closed").text
    assert "Closed loop: each of 32 terminals" in closed
    assert "better than what an independent public would have felt" in closed
    invalid = read_page(peak(rate=40.0, seconds=10, keeps_up=False), tmp_path / "invalid").text
    assert invalid.index("The run is invalid") < invalid.index("INVALID RUN") < invalid.index("generator 2 sent")


def test_a_page_of_a_minute_is_small(tmp_path: Path) -> None:
    assert report.write(peak(), tmp_path).stat().st_size < 200_000


def test_books_that_disagree_are_said_first_and_shown_where_they_differ(tmp_path: Path) -> None:
    result = broken_day()
    page = read_page(result, tmp_path)
    assert "The books do not agree" in page.text
    assert page.text.index("receipt 000417") < page.text.index("Attempts")
    assert page.text.count("✗ differs") == 1
    assert "difference from the others -128.50" in page.text
    assert "debits less credits 128.50" in page.text
    assert any("verdict bad" in (attributes.get("class") or "") for attributes in page.all("section"))


def test_a_run_without_a_payment_has_a_page_and_is_not_good(tmp_path: Path) -> None:
    page = read_page(nothing(), tmp_path)
    assert "no payment was approved Nothing was attempted." in page.text
    assert "No book was read." in page.text
    assert not page.all("script")


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_page_is_whole_accessible_and_loads_nothing(sample: Callable[[], Result], tmp_path: Path) -> None:
    page = read_page(sample(), tmp_path)
    assert page.open == []
    assert not page.all("img")
    addresses = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("href", "src")
    ]
    assert addresses == ["data:,"]
    style = re.findall(r"<style>.*?</style>", (tmp_path / "report.html").read_text("utf-8"), re.DOTALL)
    assert not re.search(r"url\(|@import|https?://", "".join(style))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for chart in page.all("div"):
        if chart.get("role") == "img":
            assert set((chart["aria-labelledby"] or "").split()) <= set(ids)
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))


HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def hostile_run() -> Result:
    """A load run whose every text tries to become markup."""
    result = peak(rate=40.0, seconds=20)
    load = result.load
    assert load is not None
    first = replace(result.timeline[0], codes={HOSTILE: 4})
    return replace(
        result,
        title=HOSTILE,
        scenario=HOSTILE,
        declined={HOSTILE: 3},
        refused={HOSTILE: 2},
        started_at=HOSTILE,
        parties={HOSTILE: Summary(1, 1, 1, 1, 1)},
        books=Books(False, {f"{HOSTILE}: {HOSTILE}": 1}, {HOSTILE: 0}, {HOSTILE: 1}, [HOSTILE]),
        environment={HOSTILE: HOSTILE, "command": HOSTILE},
        timeline=[first, *result.timeline[1:]],
        load=replace(load, shape=HOSTILE, valid=False, problems=[HOSTILE]),
        thresholds=[Threshold(HOSTILE, HOSTILE, 1.0, 2.0, False)],
        legs=[Leg(HOSTILE, Summary(1, 1, 1, 1, 1))],
        errors=[ErrorSample(HOSTILE, 1, 1.0, [TraceLine(0.0, HOSTILE, HOSTILE, 1, HOSTILE)])],
        faults=[FaultWindow(2.0, 4.0, HOSTILE)],
    )


def test_what_people_named_cannot_become_markup(tmp_path: Path) -> None:
    page = read_page(hostile_run(), tmp_path)
    assert page.open == []
    assert len(page.all("script")) == 3
    assert not page.all("img")
    assert page.text.count("alert(1)") >= 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.pop("seed"), "seed is missing"),
        (lambda plain: plain.update(seed=True), "seed is not a whole number"),
        (lambda plain: plain.update(seed=1.0), "seed is not a whole number"),
        (lambda plain: plain.update(title=None), "title is not a text"),
        (lambda plain: plain.update(duration="60"), "duration is not a number"),
        (lambda plain: plain.update(duration=True), "duration is not a number"),
        (lambda plain: plain.update(duration=10**400), "duration is not a finite number"),
        (lambda plain: plain.update(extra=1), "extra is not known"),
        (lambda plain: plain.update(timeline={}), "timeline is not a list"),
        (lambda plain: plain["timeline"].append(3), r"timeline\[60\] is not an object"),
        (lambda plain: plain["timeline"][3]["latency"].pop("p50"), r"timeline\[3\]\.latency\.p50 is missing"),
        (lambda plain: plain["books"].update(agree=1), r"books\.agree is not true or false"),
        (lambda plain: plain["books"]["positions"].update(x=1.5), r"books\.positions\.x is not a whole number"),
        (lambda plain: plain["parties"].update(issuer=[]), r"parties\.issuer is not an object"),
        (lambda plain: plain["books"].update(other=1), r"books\.other is not known"),
    ],
)
def test_a_file_that_is_no_result_is_refused_by_name(
    change: Callable[[dict[str, object]], object], message: str, tmp_path: Path
) -> None:
    plain = json.loads(json.dumps(market_day().as_json()))
    change(plain)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(report.ReportError, match=message) as caught:
        report.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 100_000, b"{'a': 1}", b"9" * 5000], ids=range(5))
def test_a_file_that_is_not_json_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(data)
    with pytest.raises(report.ReportError, match="is not JSON"):
        report.load(path)


def test_a_file_that_is_not_there_is_the_callers_matter(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        report.load(tmp_path / "result.json")


def test_environment_may_be_left_out(tmp_path: Path) -> None:
    plain = nothing().as_json()
    del plain["environment"]
    (tmp_path / "result.json").write_text(json.dumps(plain))
    assert report.load(tmp_path / "result.json") == nothing()


def test_a_number_json_cannot_carry_leaves_the_folder_untouched(tmp_path: Path) -> None:
    with pytest.raises(report.ReportError, match="cannot be written"):
        report.write(replace(market_day(), throughput=float("nan")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0 µs"),
        (999, "999 µs"),
        (1000, "1.00 ms"),
        (9_994, "9.99 ms"),
        (9_996, "10.0 ms"),
        (99_960, "100 ms"),
        (999_400, "999 ms"),
        (999_600, "1.00 s"),
        (3_600_000_000, "3600 s"),
    ],
)
def test_latencies_have_three_digits_and_the_right_unit(microseconds: int, text: str) -> None:
    assert quantities.latency(microseconds) == text


@given(st.integers(0, 3_600_000_000))
def test_a_latency_is_told_to_half_a_percent(microseconds: int) -> None:
    number, unit = quantities.latency(microseconds).split()
    told = float(number) * {"µs": 1, "ms": 1000, "s": 1_000_000}[unit]
    assert abs(told - microseconds) <= microseconds * 0.0051


@given(st.integers(-(10**15), 10**15))
def test_yuan_are_exact(fen: int) -> None:
    assert int(quantities.yuan(fen).replace(",", "").replace(".", "")) == fen


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.5, "0.5 s"),
        (59, "59 s"),
        (119.6, "2 min"),
        (125, "2 min 5 s"),
        (3599.9, "60 min"),
        (86_400, "24 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert quantities.span(seconds) == text


def test_the_book_that_says_something_else_stands_out() -> None:
    books = Books(False, {"switch: a": 5, "issuer: b": 7, "acquirer: c": 7}, {"switch": 0}, {}, [])
    compared = compare(books)
    assert [(book.party, book.sound) for book in compared] == [("acquirer", True), ("switch", False), ("issuer", True)]
    assert [book.entries[0].difference for book in compared] == [0, -2, 0]
    assert [book.imbalance for book in compared] == [None, 0, None]


@pytest.mark.parametrize(
    "books",
    [
        Books(False, {"issuer: a": 5, "switch: a": 5}, {}, {}, []),
        Books(True, {"issuer: a": 5, "switch: a": 6}, {}, {}, []),
        Books(True, {"issuer: a": 5}, {"issuer": 1}, {}, []),
        Books(True, {"issuer: a": 5}, {"issuer": 0}, {}, ["a receipt is missing"]),
    ],
    ids=("said", "positions", "imbalance", "problems"),
)
def test_the_verdict_takes_anything_that_speaks_against_the_books(books: Books) -> None:
    assert not verdict(replace(market_day(), books=books)).good
