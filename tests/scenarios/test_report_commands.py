"""``fourparty report``: what its commands print and write, and how they refuse what is none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from sample_load import peak
from sample_result import broken_day, market_day

from scenarios import cli, report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs of two sides each, one of another kind, one whose books disagree."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(4):
        report.write(peak(seed=1 + seed, rate=40.0, seconds=12, stops=False), root / f"before-{seed}")
        report.write(peak(seed=20 + seed, rate=40.0, seconds=12, slow=1.3, stops=False), root / "after" / str(seed))
    report.write(market_day(), root / "market")
    report.write(broken_day(), root / "broken")
    return root


class Ran:
    """What a command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def fourparty(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> object:
    """Run a command in a folder where `runs` is the one with results."""
    (tmp_path / "runs").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["fourparty", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return Ran(ended.value.code if isinstance(ended.value.code, int) else 0, out, err)

    return run


def words(text: str) -> str:
    return " ".join(text.split())


def test_list_shows_every_result_in_aligned_columns(fourparty) -> None:
    ran = fourparty("report", "list")
    assert ran.code == 0
    lines = [line for line in ran.out.splitlines() if "runs/" in line]
    assert len(lines) == 10
    assert len({line.index("live") for line in lines}) == 1
    assert words(lines[-1]) == (
        "runs/market street_market live 2024-11-23 00:51 1 min 1,275 91.5 % 21.2 344 ms The books agree"
    )
    rows = json.loads(fourparty("report", "list", "runs/after", "--json").out)
    assert [row["place"] for row in rows] == [f"runs/after/{seed}" for seed in range(4)]
    assert all(row["scenario"] == "festival" and row["p99"] > row["p50"] > 0 for row in rows)


def test_list_fits_a_narrow_terminal(fourparty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = fourparty("report", "list").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("runs/market" in line and "91.5 %" in line for line in lines)


def test_list_names_the_files_that_are_none_and_lists_the_others(fourparty, tmp_path: Path) -> None:
    report.write(market_day(), tmp_path / "mixed" / "good")
    (tmp_path / "mixed" / "bad").mkdir()
    (tmp_path / "mixed" / "bad" / "result.json").write_text('{"seed": 1}')
    ran = fourparty("report", "list", "mixed")
    assert ran.code == 1
    assert "mixed/good" in ran.out
    assert ran.err == "fourparty: mixed/bad/result.json is not the result of a run: scenario is missing\n"


def test_list_of_nothing_says_what_to_do(fourparty, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    ran = fourparty("report", "list", "none")
    assert (ran.code, ran.out) == (0, "")
    assert "no results below none" in ran.err


def test_show_prints_what_the_run_printed(fourparty) -> None:
    text = words(fourparty("report", "show", "runs/before-0").out)
    for expected in ("1 of 4 thresholds missed", "rate>250/s 250", "met", "open loop, 250 terminals", "service time"):
        assert expected in text
    assert "receipt 000417" in fourparty("report", "show", "runs/broken").out


def test_show_and_export_make_the_other_formats(fourparty, tmp_path: Path, folder: Path) -> None:
    stored = (folder / "market" / "result.json").read_text()
    assert fourparty("report", "show", "runs/market", "--json").out == stored
    assert fourparty("report", "show", "runs/market/result.json", "--format", "json").out == stored
    assert fourparty("report", "show", "runs/market", "--format", "md").out.startswith("## ✅")
    ran = fourparty("report", "export", "runs/broken", "--format", "junit", "--to", "out/junit.xml")
    assert (ran.code, ran.out) == (0, "")
    assert Xml.parse(tmp_path / "out" / "junit.xml").getroot().get("failures") == "1"
    page = fourparty("report", "export", "runs/market", "--format", "html").out
    assert page == (folder / "market" / "report.html").read_text("utf-8")
    assert fourparty("report", "export", "runs/market", "--format", "csv").out.count("\n") == 61


def test_compare_takes_repeated_runs_as_a_shell_expands_them(fourparty, tmp_path: Path) -> None:
    before = [f"runs/before-{seed}" for seed in range(4)]
    after = [f"runs/after/{seed}" for seed in range(4)]
    ran = fourparty("report", "compare", *before, "--against", *after, "--report", "out")
    assert ran.code == 0
    assert "before: 4 runs" in ran.out
    assert re.search(r"p50 +10\.\d ms +1[23]\.\d ms +\+\d\.\d\d ms +\+\d+\.\d % +exceeds noise \(p 0\.029\)", ran.out)
    assert "Mann and Whitney" in ran.out
    assert words(ran.err) == "comparison: out/comparison.html"
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [side["name"] for side in data["sides"]] == ["before", "after"]


def test_compare_takes_a_folder_of_runs_and_a_pattern_as_one_side(fourparty) -> None:
    by_folder = json.loads(fourparty("report", "compare", "runs/after", "runs/market", "--json").out)
    assert [side["runs"] for side in by_folder["sides"]] == [4, 1]
    by_pattern = json.loads(fourparty("report", "compare", "runs/after", "--against", "runs/before-*", "--json").out)
    assert [side["runs"] for side in by_pattern["sides"]] == [4, 4]
    assert by_pattern["sides"][1]["name"] == "before"
    assert fourparty("report", "compare", "runs/after", "runs/market", "--format", "md").out.startswith("## market")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "runs/nothing"], "runs/nothing: no such file or folder"),
        (["show", "runs"], "runs has no result.json: not the folder of a run"),
        (
            ["export", "runs/market", "--format", "junit", "--to", "runs/market/result.json/x"],
            "cannot write runs/market",
        ),
        (["compare", "runs/market"], "name two runs or more, or give --against"),
        (["compare", "runs/market", "--against"], "requires an argument"),
        (["compare", "runs/market", "--against", "runs/z*"], "--against: nothing is called runs/z*"),
        (["compare", *["runs/market"] * 7], "a comparison has 2 to 6 sides, not 7"),
        (["compare", "runs/market", "runs/none"], "runs/none: no such file or folder"),
        (["list", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_is_none_is_refused_in_one_line(fourparty, arguments: list[str], message: str) -> None:
    ran = fourparty("report", *arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert message in ran.err


def test_a_histogram_that_is_none_is_named(fourparty, tmp_path: Path, folder: Path) -> None:
    plain = json.loads((folder / "before-0" / "result.json").read_text())
    plain["histograms"]["response"] = "HISTF"
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "result.json").write_text(json.dumps(plain))
    ran = fourparty("report", "export", "odd", "--format", "html")
    assert ran.code == 2
    assert ran.err.startswith("fourparty: odd: histograms.response is not an HdrHistogram")


def test_a_reader_that_goes_away_ends_it_quietly(folder: Path) -> None:
    command = [sys.executable, "-m", "scenarios.cli", "report", "export", str(folder / "market"), "--format", "html"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
