"""``fourparty run``: find a scenario, run it live or in virtual time, show and write its result."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from network.capture import Capture
from network.service import ConfigurationError, configure_logging
from scenarios import console as screen
from scenarios import report
from scenarios.demo_network import demo
from scenarios.demo_network.captures import captured_network, captured_process
from scenarios.demo_network.processes import read_description
from scenarios.faults import Breakage
from scenarios.load.slo import Objective, parse
from scenarios.load.table import show_faults_and_legs
from scenarios.measurement import Measurement
from scenarios.result import Result
from scenarios.stage import Scenario, ScenarioFailed, cast_of
from scenarios.stories import SCENARIOS
from scenarios.twin import calibration as calibrations
from scenarios.twin.calibration import Calibration
from scenarios.worlds import live_world, virtual_world
from scenarios.writable import make_folder

NOTHING_APPROVED: Final = 1
BOOKS_DISAGREE: Final = 4
SCENARIO_FAILED: Final = 5
INVALID: Final = 98
THRESHOLD_MISSED: Final = 99
DEFAULT_REPORTS: Final = Path("runs")


def find_scenario(name: str) -> Scenario:
    """A scenario of this package by its name, or the one in a Python file: the function named like the file.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    if name in SCENARIOS:
        module = importlib.import_module(f"scenarios.stories.{name}")
    else:
        path = Path(name)
        if path.suffix != ".py":
            raise ConfigurationError(f"no scenario {name!r}: there is {', '.join(SCENARIOS)}, or name a Python file")
        if not path.is_file():
            raise ConfigurationError(f"cannot read the scenario {name}: no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ConfigurationError(f"cannot load the scenario {name}")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ConfigurationError(f"cannot load the scenario {name}: {type(error).__name__}: {error}") from error
    scenario: Scenario | None = getattr(module, Path(name).stem, None)
    if not inspect.isgeneratorfunction(scenario):
        raise ConfigurationError(f"{name} has no scenario: a generator function {Path(name).stem}(stage)")
    return scenario


def run_scenario(
    name: str,
    *,
    live: bool,
    seed: int,
    duration: float,
    report_to: Path | None,
    directory: Path | None,
    phones: int | None,
    pcap: Path | None = None,
    as_json: bool,
    issuers: int | None = None,
    tls: bool = False,
    slo: str | None = None,
    calibration: Path | None = None,
) -> int:
    """Run a scenario; its exit code, see `run_to_exit_code`."""
    objectives = parse(slo)
    scenario = find_scenario(name)
    stem = Path(name).stem
    if directory is not None:
        refuse_faults(name, scenario)
    if directory is not None and not live:
        raise ConfigurationError("--dir: a virtual run has a network of its own")
    if directory is not None and issuers is not None:
        raise ConfigurationError("--issuers: the network of --dir has those it has")
    if tls and (not live or directory is not None):
        raise ConfigurationError("--tls: it is for a live run with a network of its own")
    if pcap is not None and not live:
        raise ConfigurationError("--pcap: a virtual run has no links to capture")
    if calibration is not None and live:
        raise ConfigurationError("--calibration: live turns cost what they cost; it goes with --virtual")
    measured = calibrations.read_or_none(calibration)
    shown, banks = phones or demo.PHONES, issuers or 1

    def play() -> Result:
        if live:
            return _live(stem, scenario, seed, duration, directory, shown, banks, pcap, objectives, tls=tls)
        return _virtual(stem, scenario, seed, duration, shown, banks, objectives, measured)

    return run_to_exit_code(play, report_to, as_json=as_json)


def run_to_exit_code(play: Callable[[], Result], report_to: Path | None, *, as_json: bool) -> int:
    """Play, show and report; `SCENARIO_FAILED` where the scenario says so, else see `exit_code`.

    Raises
    ------
    ConfigurationError
        The report cannot be written: said before anything is played.
    """
    make_folder(report_to or DEFAULT_REPORTS, "cannot write the report to")
    try:
        result = play()
    except ScenarioFailed as failed:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"FAILED: {failed}", markup=False)
        return SCENARIO_FAILED
    return finish(result, report_to, as_json=as_json)


def finish(result: Result, report_to: Path | None, *, as_json: bool) -> int:
    """Show a result and write its report; the exit code that it deserves.

    Raises
    ------
    ConfigurationError
        The report cannot be written.
    """
    from scenarios.cli import print_json

    folder = report_to or DEFAULT_REPORTS / f"{result.scenario}-{result.runtime}"
    try:
        written = report.write(result, folder)
    except OSError as error:
        raise ConfigurationError(f"cannot write the report to {folder}: {error.strerror}") from error
    if as_json:
        print_json(result.as_json())
    else:
        console = Console(highlight=False)
        screen.show(result, console)
        show_faults_and_legs(result, console)
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"report: {written}", markup=False)
    return exit_code(result)


def exit_code(result: Result) -> int:
    """What a run ends with: broken books before an invalid run, that before a threshold missed."""
    if not result.books.agree:
        return BOOKS_DISAGREE
    if result.load is not None and not result.load.valid:
        return INVALID
    if not all(threshold.met for threshold in result.thresholds):
        return THRESHOLD_MISSED
    return 0 if result.approved else NOTHING_APPROVED


def refuse_faults(name: str, scenario: Scenario) -> None:
    """Refuse a scenario that breaks things, where the network is somebody's.

    Raises
    ------
    ConfigurationError
        The scenario breaks things.
    """
    breaks = cast_of(scenario).breaks
    if breaks:
        raise ConfigurationError(
            f"{name} breaks things ({', '.join(breaks)}): only in a network of its own, without --dir"
        )


def _live(
    name: str,
    scenario: Scenario,
    seed: int,
    duration: float,
    directory: Path | None,
    phones: int,
    issuers: int,
    pcap: Path | None,
    objectives: Sequence[Objective],
    *,
    tls: bool,
) -> Result:
    # on stderr, since the result may go to stdout; what phones warn of, their reversals, is in it
    configure_logging("error")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if directory is not None:
        read_description(directory / "network.json")  # before anything is said
        with captured_process(pcap, "merchant_device", console) as capture:
            return _play_live(name, scenario, seed, duration, directory, phones, capture, None, objectives)
    console.print(
        "starting issuers, switch and acquirer with demo data ..."
        if issuers > 1
        else "starting issuer, switch and acquirer with demo data ..."
    )
    cast = cast_of(scenario)
    cards = demo.CARDS if cast.cards is None else cast.cards
    with (
        captured_network(pcap, console) as captures,
        live_world.breakable_network(
            cast.breaks,
            phones=phones,
            cards=cards,
            products=cast.products,
            issuers=issuers,
            captures=captures,
            tls=tls,
        ) as (processes, breakage),
    ):
        breaks = breakage if cast.breaks else None
        return _play_live(name, scenario, seed, duration, processes.folder, phones, None, breaks, objectives)


def _play_live(
    name: str,
    scenario: Scenario,
    seed: int,
    duration: float,
    folder: Path,
    phones: int,
    capture: Capture | None,
    breakage: Breakage | None,
    objectives: Sequence[Objective],
) -> Result:
    cast = cast_of(scenario)
    phones = phones if cast.phones is None else cast.phones
    if phones:
        Console(stderr=True, highlight=False).print(f"{phones} phones sign on ...")
    with screen.Progress(name) as shown:
        return live_world.play(
            folder,
            name,
            scenario,
            seed=seed,
            duration=duration,
            phones=phones,
            capture=capture,
            progress=lambda elapsed, measured: _update(shown, elapsed, duration, measured),
            breakage=breakage,
            objectives=objectives,
        )


def _virtual(
    name: str,
    scenario: Scenario,
    seed: int,
    duration: float,
    phones: int,
    issuers: int,
    objectives: Sequence[Objective],
    calibration: Calibration | None,
) -> Result:
    cast = cast_of(scenario)
    with (
        screen.Progress(name) as shown,
        virtual_world.virtual_world(seed, phones=phones, calibration=calibration, cast=cast, issuers=issuers) as world,
    ):
        return virtual_world.play(
            world,
            name,
            scenario,
            duration=duration,
            phones=phones,
            progress=lambda elapsed, measured: _update(shown, elapsed, duration, measured),
            objectives=objectives,
        )


def _update(shown: screen.Progress, elapsed: float, duration: float, measured: Measurement) -> None:
    shown.update(
        elapsed,
        max(elapsed, duration),  # who is being served at the end finishes
        measured.attempts,
        measured.approved,
        sum(measured.declined.values()),
        measured.unanswered,
        measured.latency.percentile(99),
    )
