"""What a terminal, a pipe and a log see of a run and of a payment."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from sample_load import peak
from sample_result import broken_day, many_ways, market_day, nothing

from scenarios.console import Progress, message_trace, show
from scenarios.result import Books, Result

HOPS = [
    {"time": 1700000000.25, "hop": "phone -> acquirer", "mti": "0200", "length": 312, "description": "DE2 a\nDE4 b"},
    {"time": 1700000000.2623, "hop": "acquirer -> phone", "mti": "0210", "length": 118, "description": "DE39 00"},
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and of which encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


class Pipe(Terminal):
    def isatty(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def shown(result: Result, stream: Terminal, width: int = 100) -> str:
    show(result, Console(file=stream, width=width))
    return stream.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_load_run_shows_its_thresholds_and_why_it_is_not_valid() -> None:
    text = words(shown(peak(rate=40.0, seconds=10, keeps_up=False), Pipe()))
    for expected in (
        "FAILED: The run is invalid, 4 of 4 thresholds missed",
        "- invalid: generator 2 sent 38 %",
        "p99<200ms 200 ms",
        "open loop, 250 terminals",
        "100 % sent",
    ):
        assert expected in text, expected


def test_a_result_in_a_pipe_is_plain_and_complete() -> None:
    result = market_day()
    text = shown(result, Pipe())
    assert "\x1b" not in text
    for expected in (
        "OK: The books agree. 1,166 of 1,275 payments approved (91.5 %).",
        "unanswered 17 1.3 %",
        "reversals 18",
        "throughput 21.2 payments/s",
        f"51 insufficient funds {result.declined['51']}",
        "card left the field 4",
        "issuer 1,275 812 µs 1.73 ms 2.95 ms 41.2 ms",
        "end to end 1,271",
        "issuer cardholders 71,353.55 agrees",
    ):
        assert expected in words(text)
    assert "differs" not in text


def test_ways_of_paying_are_told_where_there_was_more_than_one() -> None:
    text = words(shown(many_ways(), Pipe()))
    assert "payer's code 40 30 0 31.0 ms 52.0 ms" in text
    table = text[text.index("paid by") :]
    assert table.index(" card ") < table.index("payer's code")
    assert "paid by" not in shown(market_day(), Pipe())


def test_columns_are_aligned() -> None:
    lines = shown(market_day(), Pipe()).splitlines()
    table = [line for line in lines if re.match(r" *(merchant device|acquirer|switch|issuer|end to end) +1,2", line)]
    assert len(table) == 5
    assert len({line.rstrip().rindex(" ") + len(line) - len(line.rstrip()) for line in table}) <= 2
    assert {len(line.rstrip()) for line in table} == {len(table[0].rstrip())}


def test_books_that_disagree_are_red_on_a_terminal() -> None:
    text = shown(broken_day(), Terminal())
    assert re.search(r"\x1b\[1;31mFAILED: The books do not agree", text)
    assert re.search(r"\x1b\[31m *-128\.50", text)
    assert re.search(r"\x1b\[31m  - receipt 000417", text)


def test_a_book_whose_position_is_told_for_several_together_shows_its_balance() -> None:
    """As of two issuers: what they owe is one position of both."""
    positions = {"switch: due from issuers": 500, "issuers: owed to the network": 500}
    books = Books(True, positions, {"switch": 0, "issuer": 0, "issuer_b": 0}, {}, [])
    text = words(shown(replace(market_day(), books=books), Terminal()))
    assert "issuer b debits less credits 0.00" in text
    assert " - - " not in text


def test_no_color_leaves_colour_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = shown(broken_day(), Terminal())
    assert "The books do not agree" in text
    assert not re.search(r"\x1b\[[\d;]*3\dm", text)


def test_a_run_without_a_payment_is_not_called_good() -> None:
    text = shown(nothing(), Pipe())
    assert "FAILED: The books agree, but no payment was approved. Nothing was attempted." in text


def test_an_output_of_few_characters_gets_what_it_can_show() -> None:
    text = shown(market_day(), Pipe("ascii"))
    assert text.isascii()
    assert "812 us" in text
    assert r"\u8857" in text


def test_names_drive_no_terminal_and_are_no_markup() -> None:
    hostile = "[bold]x[/nosuch]\x1b]0;owned\x07\x9b31m"
    books = Books(False, {f"{hostile}: {hostile}": 1}, {}, {}, [hostile])
    result = replace(market_day(), title=hostile, declined={hostile: 1}, refused={hostile: 1}, books=books)
    text = shown(result, Pipe(), width=200)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert text.count(r"[bold]x[/nosuch]\x1b]0;owned\x07\x9b31m") == 6


@pytest.mark.parametrize(
    "times",
    [
        (1700000000.25, 1700000000.2623),
        (0, 0.0123),
        ("2024-11-23T09:00:00.250+08:00", "2024-11-23T09:00:00.262300+08:00"),
        ("2024-11-23T23:59:59.990", "2024-11-24T00:00:00.002300"),
    ],
)
def test_a_trace_tells_each_hop_with_its_time_since_the_first(times: tuple[object, object]) -> None:
    stream = Pipe()
    hops = [{**hop, "time": moment} for hop, moment in zip(HOPS, times, strict=True)]
    message_trace(hops, Console(file=stream, width=100))
    assert stream.getvalue().splitlines() == [
        "      +0.0 ms  phone -> acquirer  0200  312 bytes",
        "    DE2 a",
        "    DE4 b",
        "     +12.3 ms  acquirer -> phone  0210  118 bytes",
        "    DE39 00",
    ]


def test_a_trace_goes_to_standard_output_and_keeps_long_lines_whole(capsys: pytest.CaptureFixture[str]) -> None:
    message_trace([{**HOPS[0], "description": "x" * 300}])
    captured = capsys.readouterr()
    assert f"    {'x' * 300}\n" in captured.out
    assert captured.err == ""


def test_a_long_description_keeps_its_indent_on_a_terminal() -> None:
    stream = Terminal()
    message_trace([{**HOPS[0], "description": "word " * 30}], Console(file=stream, width=50))
    lines = stream.getvalue().splitlines()[1:]
    assert len(lines) > 3
    assert all(line.startswith("    word") for line in lines)


def test_a_long_reason_is_not_cut_off_in_a_narrow_pipe() -> None:
    reason = "the card left the field before the reader had finished with it and did not come back"
    text = shown(replace(market_day(), refused={reason: 4}), Pipe(), width=60)
    told = re.findall("[a-z]+", text.partition("refused because")[2])
    assert told[1 : 1 + len(reason.split())] == reason.split()


def test_requests_and_answers_are_told_apart_on_a_terminal() -> None:
    stream = Terminal()
    message_trace(HOPS, Console(file=stream, width=100))
    assert "\x1b[1;36m  0200" in stream.getvalue()
    assert "\x1b[1;32m  0210" in stream.getvalue()


@pytest.mark.parametrize("key", ["time", "hop", "mti", "length", "description"])
def test_a_hop_that_lacks_something_is_named(key: str) -> None:
    lacking = {name: value for name, value in HOPS[1].items() if name != key}
    with pytest.raises(ValueError, match=f"hop 2 of the trace has no '{key}'"):
        message_trace([HOPS[0], lacking], Console(file=Pipe()))


@pytest.mark.parametrize("moment", ["noon", "", None, True, float("nan"), [1]])
def test_a_time_that_is_none_is_refused(moment: object) -> None:
    with pytest.raises(ValueError, match="time of hop 1"):
        message_trace([{**HOPS[0], "time": moment}], Console(file=Pipe()))  # type: ignore[dict-item]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def drive(progress: Progress, clock: Clock, seconds: float, every: float = 0.01) -> None:
    """A run of that many seconds with a hundred attempts a second."""
    start = clock.now
    for step in range(1, round(seconds / every) + 1):
        clock.now = start + step * every
        elapsed = step * every
        attempts = round(elapsed * 100)
        progress.update(elapsed, 60.0, attempts, attempts - 2, 1, 1, 14_200)


def test_a_pipe_gets_one_line_every_five_seconds_and_the_last_state() -> None:
    stream, clock = Pipe(), Clock()
    with Progress("street_market", Console(file=stream, width=40), clock) as progress:
        drive(progress, clock, 12.0)
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[1] for line in lines] == [" 5 s of 1 min", " 10 s of 1 min", " 12 s of 1 min"]
    assert lines[0] == (
        "street_market: 5 s of 1 min: 500 attempts, 100/s, 498 approved, 1 declined, 1 unanswered, p99 14.2 ms"
    )
    assert "\x1b" not in stream.getvalue()


def test_a_state_is_not_told_twice_and_no_state_not_at_all() -> None:
    stream, clock = Pipe(), Clock()
    with Progress("market", Console(file=stream), clock) as progress:
        clock.now += 5
        progress.update(0.0, 60.0, 0, 0, 0, 0, 0)
    assert stream.getvalue() == "market: 0 s of 1 min: 0 attempts, 0 approved, 0 declined, 0 unanswered, p99 -\n"
    with Progress("market", Console(file=stream), clock):
        pass
    assert stream.getvalue().count("\n") == 1


def test_a_terminal_gets_a_line_that_moves_and_is_gone_at_the_end() -> None:
    stream, clock = Terminal(), Clock()
    with Progress("street_market", Console(file=stream, width=100), clock) as progress:
        drive(progress, clock, 1.0)
        text = stream.getvalue()
        assert 4 <= text.count("unanswered") <= 6
        assert "━" in text
        assert "1 s of 1 min" in text
    tail = stream.getvalue()[len(text) :]
    assert "\x1b[2K" in tail
    assert "\x1b[?25h" in tail


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream, clock = Terminal(), Clock()
    with Progress("market", Console(file=stream, width=100), clock) as progress:
        drive(progress, clock, 6.0)
    assert stream.getvalue().count("\n") == 2
    assert "\x1b" not in stream.getvalue()


def test_progress_keeps_standard_output_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("market") as progress:
        progress.update(1.0, 2.0, 3, 3, 0, 0, 900)
        print('{"attempts": 3}')
    captured = capsys.readouterr()
    assert captured.out == '{"attempts": 3}\n'
    assert "3 attempts" in captured.err


def test_standard_output_is_clean_beside_a_live_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    with Progress("market", Console(file=stream, width=100)) as progress:
        progress.update(1.0, 2.0, 3, 3, 0, 0, 900)
        print('{"attempts": 3}')
    assert capsys.readouterr().out == '{"attempts": 3}\n'
    assert "attempts" in stream.getvalue()
