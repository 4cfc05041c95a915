"""``fourparty calibrate | twin | plan | sweep``: what turns take here, and what networks that cannot run here would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from network.service import ConfigurationError

CalibrationFile = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="What turns cost; that of the reference machine if not given."),
]
Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="Processes that compute; all processors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: fourparty plan --peak 92000 --members 50 --target 'p99<200ms'")(plan)


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
