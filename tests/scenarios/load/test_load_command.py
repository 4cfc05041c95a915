"""``fourparty load`` on the command line: what it refuses before it starts anything, and its exit codes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from network.durations import Summary
from scenarios import cli, report
from scenarios.load.coordinator import message_in
from scenarios.load.recorded_day import read_day
from scenarios.result import Books, Load, Result, Threshold
from scenarios.running import exit_code


def fourparty(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["fourparty", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a network that nobody runs."""
    content = {"operator_token": "token", "terminals": [], "cards": []}
    (tmp_path / "network.json").write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["steady", "--slo", "p98<1s"], "--slo: there is no metric 'p98'"),
        (["steady", "--rate", "0"], "--rate: 0 is not above 0"),
        (["steady", "--for", "1d"], "--for: '1d' is not a span of time"),
        (["steady", "--warm-up", "11m"], "--warm-up: '11m' is not a span of time from 0s to 600s"),
        (["steady", "--ramp", "5"], "--ramp: '5' is no ramp"),
        (["steady", "--rate", "5", "--day", "5"], "--rate and --day: a load has one shape"),
        (["steady", "--part", "3/2"], "--part: goes with --dir"),
        (["steady", "--dir", "FOLDER", "--part", "3/2"], "--part: 3/2 is no part"),
        (["steady", "--dir", "FOLDER", "--part", "x"], "--part: 'x' is no part such as 2/4"),
        (["steady", "--start-at", "soon"], "--start-at: 'soon' is no time"),
        (["steady", "--start-at", "2020-01-01T00:00:00"], "--start-at: 2020-01-01T00:00:00 is over"),
        (["steady", "--start-at", "2999-01-01T00:00:00"], "is more than a day ahead"),
        (["steady", "--at", "localhost"], "--at: goes with --dir"),
        (["steady", "--scheduler", "tcp://127.0.0.1:9"], "--scheduler: goes with --dir"),
        (["steady", "--parts", "2"], "--parts: goes with --scheduler"),
        (["steady", "--virtual", "--scheduler", "tcp://127.0.0.1:9"], "--scheduler: a virtual run is played here"),
        (["steady", "--dir", "FOLDER", "--scheduler", "x", "--part", "1/2"], "--part: the workers of --scheduler play"),
        (["steady", "--dir", "FOLDER", "--scheduler", "x", "--pcap", "y"], "--pcap: the phones' links end at the"),
        (["steady", "--dir", "FOLDER", "--scheduler", "x"], "wallet.json: No such file"),
        (["steady", "--virtual", "--dir", "FOLDER"], "--dir: a virtual run has a network of its own"),
        (["steady", "--virtual", "--tls"], "--tls: it is for a live run with a network of its own"),
        (["steady", "--dir", "FOLDER", "--tls"], "--tls: it is for a live run with a network of its own"),
        (["steady", "--replay", "nothing.jsonl"], "--replay: cannot read nothing.jsonl"),
        (["steady", "--replay", "x", "--rate", "5"], "--replay: a load has one shape"),
        (["nothing"], "no scenario 'nothing'"),
        (["corner_shop"], "corner_shop makes its payments at times of its own and takes no load: use fourparty run"),
        (["steady", "--dir", "runs/nowhere"], "cannot read runs/nowhere/network.json"),
        (["issuer_outage", "--dir", "FOLDER"], "issuer_outage breaks things (issuer): only in a network of its own"),
        (["steady", "--max-lag", "0s"], "--max-lag: '0s' is not a span of time"),
        (["steady", "--max-lagg", "1s"], "No such option: --max-lagg"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_starts(
    arguments: list[str], told: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = fourparty(monkeypatch, "load", *(str(folder) if one == "FOLDER" else one for one in arguments))
    said = capsys.readouterr().err
    assert code == 2
    assert told in said
    assert len(said.splitlines()) == 1


def test_a_cluster_needs_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "wallet.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert fourparty(monkeypatch, "load", "steady", "--dir", folder, "--scheduler", "tcp://127.0.0.1:8786") == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["fourparty: --scheduler needs Dask Distributed: pip install 'fourparty[dask]'"]


def test_what_is_no_part_of_a_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fourparty(monkeypatch, "gather", tmp_path / "nothing") == 2
    assert "has no part of a load: No such file or directory" in capsys.readouterr().err
    report.write(replace(RESULT, load=LOAD), tmp_path)
    (tmp_path / "part.json").write_text("{}")
    assert fourparty(monkeypatch, "gather", tmp_path) == 2
    assert "has no part of a load: part.json or result.json is not one's" in capsys.readouterr().err


def test_the_same_of_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fourparty(monkeypatch, "run", "steady", "--virtual", "--slo", "speed>1") == 2
    assert "there is no metric 'speed'" in capsys.readouterr().err
    assert fourparty(monkeypatch, "run", "issuer_outage", "--dir", folder) == 2
    assert "only in a network of its own" in capsys.readouterr().err


@pytest.mark.slow
def test_exit_codes_of_whole_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scenarios.load.demand.LEAST_QUEUE", 30)
    monkeypatch.setattr("scenarios.load.demand.QUEUE_SECONDS", 0.1)
    usual = ["--virtual", "--for", "3s", "--warm-up", "1s", "--terminals", "8"]
    assert fourparty(monkeypatch, "load", "steady", "--rate", "30", *usual, "--slo", "p99<200ms, approved>99%") == 0
    said = capsys.readouterr()
    assert "constant 30/s" in said.out
    assert "p99<200ms" in said.out
    assert "issuer -> switch" in said.out
    assert "lag p99" in said.err
    assert fourparty(monkeypatch, "load", "steady", "--rate", "30", *usual, "--slo", "p99<1ms", "--json") == 99
    assert [one["met"] for one in json.loads(capsys.readouterr().out)["thresholds"]] == [False]
    invalid = ["--rate", "100", "--virtual", "--for", "4s", "--terminals", "2", "--slo", "p99<1ms"]
    assert fourparty(monkeypatch, "load", "steady", *invalid) == 98
    assert "invalid: " in capsys.readouterr().out
    closed = ["--virtual", "--for", "2s", "--warm-up", "0s", "--terminals", "3"]
    assert fourparty(monkeypatch, "load", "steady", *closed) == 0
    assert "closed loop, 3 terminals" in capsys.readouterr().out


NONE = Summary(0, 0, 0, 0, 0)
RESULT = Result(
    scenario="steady",
    title="",
    runtime="virtual",
    seed=1,
    duration=1.0,
    started_at="",
    attempts=1,
    approved=1,
    declined={},
    unanswered=0,
    refused={},
    reversals=0,
    amount=1,
    throughput=1.0,
    end_to_end=NONE,
    parties={},
    timeline=[],
    books=Books(True, {}, {}, {}, []),
)
LOAD = Load("open", "", 1.0, 1, 1, 0.0, 1, 1, NONE, NONE, True, [])
BROKEN = Books(False, {}, {}, {}, ["wrong"])
INVALID = replace(LOAD, valid=False, problems=["late"])
MISSED = [Threshold("p99<1s", "p99", 1e6, 2e6, False)]


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (RESULT, 0),
        (replace(RESULT, load=LOAD), 0),
        (replace(RESULT, approved=0), 1),
        (replace(RESULT, thresholds=MISSED), 99),
        (replace(RESULT, load=INVALID, thresholds=MISSED), 98),
        (replace(RESULT, load=INVALID, thresholds=MISSED, books=BROKEN), 4),
        (replace(RESULT, approved=0, thresholds=MISSED), 99),
    ],
)
def test_broken_books_before_an_invalid_run_before_an_objective(result: Result, code: int) -> None:
    assert exit_code(result) == code


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "has no payment"),
        ("hello\n", "begins neither with JSON nor with a heading such as at,fen"),
        ("at,fen\n1,2,3\n", "line 2 has other columns than the heading"),
        ("at,fen\nx,5\n", "line 2: at is neither seconds nor a date and time"),
        ("at,fen\n-1,5\n", "line 2: at is before the first"),
        ("at,fen\nnan,5\n", "line 2: at is before the first"),
        ("at,fen\n1,0\n", "line 2: fen is no whole number"),
        ('{"at": 1, "fen": 1.5}\n', "line 1: fen is no whole number"),
        ('{"at": true}\n', "line 1: at is neither seconds"),
        ('{"at": 1\n', "line 1 is not JSON"),
        ("at\n" + "1" * 1001, "line 2 is longer than 1000 characters"),
    ],
)
def test_what_is_no_recorded_day(tmp_path: Path, content: str, told: str) -> None:
    from network.service import ConfigurationError

    path = tmp_path / "day"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_day(path)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "fen,at\n100,0.5\n,2\n300,1\n",
        '{"at": 0.5, "fen": 100}\n\n{"at": 2}\n{"fen": 300, "at": 1}\n',
        '{"at": "0.5", "fen": "100"}\n{"at": 2, "fen": null}\n{"fen": 300, "at": 1}\n',
    ],
)
def test_a_recorded_day(tmp_path: Path, content: str) -> None:
    path = tmp_path / "day"
    path.write_text(content)
    assert [tuple(due) for due in read_day(path)] == [(0.5, 100), (1.0, 300), (2.0, None)]
    compressed = read_day(path, 1.0)
    assert [round(due.at, 3) for due in compressed] == [0.25, 0.5, 1.0]
    assert compressed[-1].at < 1.0


def test_a_day_by_dates(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("at,fen\n2026-11-11T00:00:00+08:00,100\n2026-11-11T00:00:01.5+08:00,200\n")
    assert [tuple(due) for due in read_day(path)] == [(0.0, 100), (1.5, 200)]


@pytest.mark.parametrize("line", ["2026-11-28 [warning] something\n", "\n", "12\n", '{"ready": 3\n'])
def test_a_generator_that_says_what_is_no_message_has_failed(line: str) -> None:
    assert message_in('{"ready": 3}\n') == {"ready": 3}
    told = message_in(line)
    assert told["kind"] == "NetworkError"
    assert told["failed"] == f"a generator says what is no message: {line.strip()}"
