"""``fourparty report``: show, export, compare and list the results of runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer.core import TyperCommand

from network.service import ConfigurationError

if TYPE_CHECKING:
    from scenarios.report.contrast import Contrast, Side
    from scenarios.report.folders import Found
    from scenarios.result import Result

DEFAULT_ROOT: Final = Path("runs")
DEFAULT_COMPARISON: Final = Path("runs/comparison")

report_app = typer.Typer(
    help="Results of runs: show, export, compare, list.", no_args_is_help=True, rich_markup_mode=None
)

Run = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run, or its result.json.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ShowFormat(StrEnum):
    """What `show` prints."""

    TEXT = "text"
    MD = "md"
    JSON = "json"
    CSV = "csv"
    JUNIT = "junit"
    HTML = "html"


class ExportFormat(StrEnum):
    """What `export` makes."""

    MD = "md"
    JSON = "json"
    CSV = "csv"
    JUNIT = "junit"
    HTML = "html"


class CompareFormat(StrEnum):
    """What `compare` prints."""

    TEXT = "text"
    MD = "md"
    JSON = "json"


class Against(TyperCommand):
    """A command whose ``--against`` takes what follows it up to the next option, as a shell expands ``runs/b*``."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]  # click is private to typer
        """Say the option before each of its values."""
        said: list[str] = []
        within = False
        for word in args:
            if word.startswith("-") and word != "-":
                within = word == "--against"
                if not within:
                    said.append(word)
            else:
                said += ["--against", word] if within else [word]
        if args[-1:] == ["--against"]:
            said.append("--against")
        return super().parse_args(ctx, said)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    app.add_typer(report_app, name="report")


@report_app.command(epilog="Example: fourparty report show runs/street_market-live --format md")
def show(
    run: Run,
    to: Annotated[ShowFormat, typer.Option("--format", help="What to print.")] = ShowFormat.TEXT,
    as_json: AsJson = False,
) -> None:
    """Print the result of a run: verdict, figures, latencies, books."""
    result = _result(run)
    if as_json:
        to = ShowFormat.JSON
    if to is not ShowFormat.TEXT:
        _put(_made(result, run, to.value), None)
        return
    from rich.console import Console

    from scenarios import console

    console.show(result, Console(highlight=False))


@report_app.command(
    short_help="Make Markdown, JUnit, CSV, HTML of a result.",
    epilog="Example: fourparty report export runs/festival-live --format junit --to junit.xml",
)
def export(
    run: Run,
    to_format: Annotated[ExportFormat, typer.Option("--format", help="What to make of it.", show_default=False)],
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="Where to; else standard output.")] = None,
) -> None:
    """Make something else of a result: Markdown for a pull request, JUnit for a build server, CSV of its timeline.

    With html the page is made anew from result.json: results of older versions get what this version shows.
    """
    _put(_made(_result(run), run, to_format.value), to)


@report_app.command(
    cls=Against,
    short_help="Compare runs, and tell differences from noise.",
    epilog="Example: fourparty report compare runs/before* --against runs/after*",
)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Folders of runs, or folders with several runs each.", show_default=False
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="RUN...", help="Runs of the other side; then all before it are one side."),
    ] = None,
    to: Annotated[
        Path, typer.Option("--report", metavar="DIR", help="Folder for comparison.html and comparison.json.")
    ] = DEFAULT_COMPARISON,
    to_format: Annotated[CompareFormat, typer.Option("--format", help="What to print.")] = CompareFormat.TEXT,
    as_json: AsJson = False,
) -> None:
    """Compare runs: tables, overlaid curves, and which differences exceed the noise of repeated runs.

    Each RUN is a side of its own, the first what the others are measured by. A side of repeated runs is a folder
    that holds their folders; or, with --against, all runs before it are one side and all after it the other.
    """
    from rich.console import Console

    from scenarios import report
    from scenarios.report.contrast import contrast

    sides = _sides(runs, against)
    try:
        found = contrast(sides)
        page = report.write_comparison(found, to)
    except report.ReportError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        raise ConfigurationError(f"cannot write the comparison to {to}: {error.strerror}") from error
    _print_comparison(found, CompareFormat.JSON if as_json else to_format)
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"comparison: {page}", markup=False)


def _print_comparison(found: Contrast, to: CompareFormat) -> None:
    from scenarios import console_reports
    from scenarios.cli import print_json

    if to is CompareFormat.JSON:
        print_json(found.as_json())
    elif to is CompareFormat.MD:
        _put(console_reports.comparison_as_markdown(found).encode(), None)
    else:
        console_reports.show_comparison(found, console_reports.roomy_console())


def _sides(runs: list[Path], against: list[str] | None) -> list[Side]:
    from scenarios.report.contrast import Side
    from scenarios.report.folders import name_of

    def side(places: list[Path]) -> Side:
        found = [one for place in places for one in _runs(place)]
        return Side(name_of(places), [one.result for one in found])

    if against is None:
        if len(runs) < 2:
            raise ConfigurationError("report compare: name two runs or more, or give --against")
        return [side([run]) for run in runs]
    return [side(runs), side([place for pattern in against for place in _matching(pattern)])]


def _matching(pattern: str) -> list[Path]:
    """What a pattern in quotes means, as a shell would have expanded it."""
    found = sorted(map(Path, glob(pattern))) if not Path(pattern).exists() else [Path(pattern)]
    if not found:
        raise ConfigurationError(f"--against: nothing is called {pattern}")
    return found


@report_app.command("list", epilog="Example: fourparty report list runs --json")
def list_results(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Where to look, folders below included.")] = DEFAULT_ROOT,
    as_json: AsJson = False,
) -> None:
    """List the results below a folder, oldest first. Exit code 1 where a file is none that can be read."""
    from rich.console import Console

    from scenarios import console_reports
    from scenarios.cli import print_json
    from scenarios.report import ReportError
    from scenarios.report.folders import results_below

    try:
        found, bad = results_below(root)
    except ReportError as error:
        raise ConfigurationError(str(error)) from error
    stderr = Console(stderr=True, highlight=False, soft_wrap=True)
    if as_json:
        print_json(console_reports.list_as_json(found))
    elif found:
        console_reports.show_list(found, console_reports.roomy_console())
    else:
        stderr.print(f"no results below {root}: make one with fourparty run street_market", markup=False)
    for line in bad:
        stderr.print(f"fourparty: {line}", markup=False)
    raise typer.Exit(1 if bad else 0)


def _result(run: Path) -> Result:
    from scenarios.report import ReportError
    from scenarios.report.folders import result_at

    try:
        return result_at(run).result
    except ReportError as error:
        raise ConfigurationError(str(error)) from error


def _runs(place: Path) -> list[Found]:
    from scenarios.report import ReportError
    from scenarios.report.folders import runs_at

    try:
        return runs_at(place)
    except ReportError as error:
        raise ConfigurationError(str(error)) from error


def _made(result: Result, run: Path, to: str) -> bytes:
    from scenarios.report import ReportError
    from scenarios.report.formats import FORMATS

    try:
        return FORMATS[to](result)
    except ReportError as error:
        raise ConfigurationError(f"{run}: {error}") from error


def _put(content: bytes, file: Path | None) -> None:
    if file is None:
        sys.stdout.write(content.decode())
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from error
