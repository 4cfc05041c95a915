"""``fourparty load``: payments at a rate, on live services or in virtual time, and whether they met what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scenarios.commands.network_folder import RunningFolder


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog='Example: fourparty load festival --rate 300 --for 60s --slo "p99<200ms, approved>99%"')(load)


def load(
    scenario: Annotated[str, typer.Argument(help="Name of a scenario for load, or a Python file with one.")],
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Payments a second; on average where the scenario has a shape.")
    ] = None,
    length: Annotated[str, typer.Option("--for", metavar="T", help="How long payments count: 30s, 5m.")] = "30s",
    ramp: Annotated[str | None, typer.Option(metavar="A:B", help="A rate that changes evenly: 100:900.")] = None,
    step: Annotated[str | None, typer.Option(metavar="A,B,...", help="Levels of equal length.")] = None,
    spike: Annotated[
        str | None, typer.Option(metavar="A:B@S+L", help="B a second for a while: 300:1500@20s+5s.")
    ] = None,
    day: Annotated[float | None, typer.Option(metavar="R", help="A market day in the run, R at its busiest.")] = None,
    terminals: Annotated[
        int | None,
        typer.Option(min=1, max=5000, metavar="N", help="Terminals; without a rate each pays again when answered."),
    ] = None,
    generators: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Processes that generate.")] = 1,
    warm_up: Annotated[str, typer.Option(metavar="T", help="Time before, which does not count.")] = "5s",
    directory: RunningFolder = None,
    seed: Annotated[int, typer.Option(help="Of everything random in the load.")] = 1,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the report.")] = None,
    pcap: Annotated[
        Path | None, typer.Option("--pcap", metavar="FILE", help="Write what crosses the links, for Wireshark.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make payments at a rate that does not depend on the answers, and report on it.

    Every payment is timed from when it was due. With --terminals and no rate it is a closed loop.
    """
    from scenarios.load import session, shapes
    from scenarios.load.demand import Demand
    from scenarios.running import finish
    from scenarios.spans import seconds_of

    duration = seconds_of("--for", length)
    shape = shapes.parse(duration, ramp_text=ramp, step_text=step, spike_text=spike, day_peak=day)
    order = session.Order(
        scenario=scenario,
        duration=duration,
        demand=Demand(
            shape=shape,
            rate=rate,
            closed=terminals is not None and rate is None and shape is None,
            warm_up=seconds_of("--warm-up", warm_up, least=0.0, most=600.0),
        ),
        terminals=terminals,
        generators=generators,
        seed=seed,
        directory=directory,
        pcap=pcap,
    )
    raise typer.Exit(finish(session.play_live(order), report, as_json=as_json))
