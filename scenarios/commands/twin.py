"""``fourparty calibrate | twin | plan | sweep``: what turns take here, and what networks that cannot run here would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from network.service import ConfigurationError
from scenarios.stories import UNDER_LOAD

DEFAULT_CALIBRATION = Path("runs/calibration.json")

CalibrationFile = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="What turns cost; that of the reference machine if not given."),
]
Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="Processes that compute; all processors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        short_help="Measure what turns take on this machine.",
        epilog="Example: fourparty calibrate --out runs/calibration.json",
    )(calibrate)
    app.command(
        short_help="Run one load live and in virtual time, and compare.", epilog="Example: fourparty twin --rates auto"
    )(twin)
    app.command(
        short_help="Say how many processes a network takes at its peak.",
        epilog="Example: fourparty plan --peak 92000 --members 50 --target 'p99<200ms'",
    )(plan)
    app.command(
        short_help="Run a scenario at many rates, sizes and seeds.",
        epilog="Example: fourparty sweep steady --rates 100,200,400 --seeds 1-5 --phones 60,240",
    )(sweep)


def rates_of(option: str, text: str) -> list[float]:
    """Payments a second, such as ``100,200,400``.

    Raises
    ------
    ConfigurationError
        The text is no such list.
    """
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not 1 <= len(rates) <= 100 or not all(0.1 <= rate <= 100_000 for rate in rates):
        raise ConfigurationError(f"{option}: {text!r} is no list of payments a second such as 100,200,400")
    return rates


def calibrate(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")] = DEFAULT_CALIBRATION,
    seconds: Annotated[float, typer.Option("--for", min=2, max=600, metavar="S", help="Seconds at each rate.")] = 6.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the load.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Measure on this machine what the turns of each party take, live and from light load to heavy.

    Starts a network of its own. Nothing else should run meanwhile: what was disturbed is measured again, and told.
    """
    from scenarios.twin.calibrating import calibrate as measure

    raise typer.Exit(measure(out, seconds=seconds, seed=seed, as_json=as_json))


def twin(
    scenario: Annotated[str, typer.Argument(help=f"{', '.join(UNDER_LOAD)}; or a Python file with one.")] = "steady",
    rates: Annotated[
        str, typer.Option(metavar="A,B,...", help="Payments a second; auto: 20, 50 and 80 % of what it takes at most.")
    ] = "auto",
    seconds: Annotated[float, typer.Option("--for", min=2, max=600, metavar="S", help="Seconds of each run.")] = 10.0,
    repeats: Annotated[int, typer.Option(min=1, max=20, help="Runs at each rate; their medians count.")] = 5,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", metavar="FILE", help="What turns cost; measured if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the load, live and virtual.")] = 1,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for twin.json and calibration.json.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the same load live and in virtual time at several rates, and say how far the twin is off.

    Exit code 0 when p50 and p99 are within 25 % at every rate, else 1. Nothing else should run meanwhile.
    """
    from scenarios.twin.comparing import compare

    code = compare(
        scenario,
        rates=None if rates == "auto" else rates_of("--rates", rates),
        seconds=seconds,
        repeats=repeats,
        seed=seed,
        calibration=calibration,
        folder=report,
        as_json=as_json,
    )
    raise typer.Exit(code)


def plan(
    peak: Annotated[
        float | None, typer.Option(metavar="N", help="Payments in the busiest second.", show_default=False)
    ] = None,
    members: Annotated[int, typer.Option(min=1, max=2_000, help="Members; each accepts and issues.")] = 50,
    skew: Annotated[
        float, typer.Option(min=0, max=3, help="How unequal they are: the n-th has 1/n^SKEW of the first's payments.")
    ] = 1.0,
    target: Annotated[str, typer.Option(help="What payments must keep, end to end.")] = "p99<200ms",
    utilisation: Annotated[float, typer.Option(min=0.05, max=0.95, help="The most that a process may be used.")] = 0.7,
    minute: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="The minute around the peak, in equal parts of it; none: no minute."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare the model with full fidelity, too or only.")] = False,
    rates: Annotated[str, typer.Option(metavar="A,B,...", help="Payments a second of --check.")] = "200,500,1000",
    calibration: CalibrationFile = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 1,
    workers: Workers = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for plan.md and plan.json.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how many processes of each kind a network takes, by simulating its peak second and minute.

    Queues take the time that was calibrated, messages are not packed. The smallest number is found by search; the
    answer shows what happens with one process less.
    """
    from scenarios.twin.planning import plan_capacity

    code = plan_capacity(
        peak=peak,
        members=members,
        skew=skew,
        target=target,
        utilisation=utilisation,
        minute=minute,
        rates=rates_of("--rates", rates) if check else None,
        calibration=calibration,
        seed=seed,
        workers=workers,
        folder=report,
        as_json=as_json,
    )
    raise typer.Exit(code)


def sweep(
    scenario: Annotated[str, typer.Argument(help=f"{', '.join(UNDER_LOAD)}; or a Python file with one.")],
    rates: Annotated[str, typer.Option(metavar="A,B,...", help="Payments a second.", show_default=False)],
    seeds: Annotated[str, typer.Option(metavar="A-B,...", help="Seeds, each a run of its own.")] = "1-5",
    phones: Annotated[str, typer.Option(metavar="A,B,...", help="How many terminals.")] = "240",
    seconds: Annotated[
        float, typer.Option("--for", min=0.5, max=86_400, metavar="S", help="Seconds of each run that count.")
    ] = 10.0,
    model: Annotated[bool, typer.Option("--model", help="Calibrated queues only, no messages: much faster.")] = False,
    calibration: Annotated[Path | None, typer.Option("--calibration", metavar="FILE", help="What turns cost.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a Dask cluster, such as tcp://host:8786.")
    ] = None,
    workers: Workers = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the rows.")] = Path("runs/sweep"),
    as_json: AsJson = False,
) -> None:
    """Run a scenario in virtual time at many rates, sizes and seeds, on all processors or a Dask cluster.

    Rows are Parquet, one a run, with percentiles and an encoded HdrHistogram. Runs that DIR has already are not run
    again; a lost worker's run is.
    """
    from scenarios.twin.sweeping import sweep as sweep_all

    code = sweep_all(
        scenario,
        rates=rates_of("--rates", rates),
        seeds=seeds,
        phones=phones,
        seconds=seconds,
        model=model,
        calibration=calibration,
        scheduler=scheduler,
        workers=workers,
        out=out,
        as_json=as_json,
    )
    raise typer.Exit(code)
