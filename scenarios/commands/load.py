"""``fourparty load``: payments at a rate, on live services or in virtual time, and whether they met what was asked."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from network.service import ConfigurationError
from scenarios.stories import UNDER_LOAD

if TYPE_CHECKING:
    from scenarios.result import Result


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        short_help="Put the parts of one load together.",
        epilog="Example: fourparty gather runs/one runs/two --report runs/both",
    )(gather)
    app.command(
        short_help="Make payments at a rate; report.",
        epilog='Example: fourparty load festival --rate 300 --for 60s --slo "p99<200ms, approved>99%"',
    )(load)


def load(
    scenario: Annotated[str, typer.Argument(help=f"{', '.join(UNDER_LOAD)}; or a Python file with one.")],
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Payments a second; on average where the scenario has a shape.")
    ] = None,
    length: Annotated[
        str | None, typer.Option("--for", metavar="T", help="How long payments count: 30s, 5m. [default: 30s]")
    ] = None,
    ramp: Annotated[str | None, typer.Option(metavar="A:B", help="A rate that changes evenly: 100:900.")] = None,
    step: Annotated[str | None, typer.Option(metavar="A,B,...", help="Levels of equal length: 100,200,400.")] = None,
    spike: Annotated[
        str | None, typer.Option(metavar="A:B@S+L", help="A a second, but B for a while: 300:1500@20s+5s.")
    ] = None,
    day: Annotated[float | None, typer.Option(metavar="R", help="A market day in the run, R at its busiest.")] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A recorded day (CSV or JSON lines), in the time of --for.")
    ] = None,
    uniform: Annotated[bool, typer.Option("--uniform", help="Payments evenly spread, not at random.")] = False,
    terminals: Annotated[
        int | None,
        typer.Option(min=1, max=5000, metavar="N", help="Terminals; without a rate each pays again when answered."),
    ] = None,
    generators: Annotated[int, typer.Option(min=1, max=64, metavar="N", help="Processes that generate.")] = 1,
    warm_up: Annotated[str, typer.Option(metavar="T", help="Time before, which does not count.")] = "5s",
    slo: Annotated[
        str | None, typer.Option(metavar="TEXT", help='What it has to reach: "p99<200ms, approved>99%".')
    ] = None,
    max_lag: Annotated[
        str, typer.Option(metavar="T", help="How late 99 of 100 payments may be sent in a valid run.")
    ] = "50ms",
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Use the running network of DIR.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="HOST", help="Where DIR's network runs, if not where DIR says.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(metavar="K/N", help="Generate only this part; other machines do the rest.")
    ] = None,
    start_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When payments begin, on every machine: 23:15:00.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Let the workers of a Dask cluster do it: tcp://host:8786.")
    ] = None,
    parts: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="Of so many workers; one part each. [default: all]")
    ] = None,
    virtual: Annotated[bool, typer.Option("--virtual", help="In virtual time, without services.")] = False,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What turns cost in virtual time, from fourparty calibrate.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything random in the load.")] = 1,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record what was paid when, for --replay.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the report.")] = None,
    pcap: Annotated[
        Path | None, typer.Option("--pcap", metavar="FILE", help="Write what crosses the links, for Wireshark.")
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="TLS on links and REST of the network of its own, from a demo authority.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make payments at a rate that does not depend on the answers, and report on it.

    Every payment is timed from when it was due. With --terminals and no rate it is a closed loop.
    Exit codes: 0 good, 99 an objective missed, 98 invalid (the generators did not keep up), 4 the books do not agree.
    """
    from scenarios.load import recorded_day, session, shapes, start
    from scenarios.load import slo as objectives_of
    from scenarios.load.arrivals import Arrivals
    from scenarios.load.demand import Demand
    from scenarios.running import DEFAULT_REPORTS, run_to_exit_code
    from scenarios.spans import seconds_of
    from scenarios.writable import make_folder_of

    shaped = [ramp, step, spike, day, replay]
    _one_network(directory, at, part, start_at, pcap, virtual=virtual, tls=tls)
    _one_cluster(directory, part, scheduler, parts, pcap, virtual=virtual)
    if calibration is not None and not virtual:
        raise ConfigurationError("--calibration: live turns cost what they cost; it goes with --virtual")
    objectives = objectives_of.parse(slo)
    if replay is not None and any(one is not None for one in (rate, ramp, step, spike, day)):
        raise ConfigurationError("--replay: a load has one shape")
    if length is None and replay is not None:
        duration = recorded_day.length_of(recorded_day.read_day(replay))
    else:
        duration = seconds_of("--for", length or "30s")
    which, of = start.parse_part(part)
    if of > 1 and report is None:
        report = DEFAULT_REPORTS / f"{Path(scenario).stem}-part-{which + 1}-of-{of}"
    shape = shapes.parse(duration, rate=rate, ramp_text=ramp, step_text=step, spike_text=spike, day_peak=day)
    order = session.Order(
        scenario=scenario,
        duration=duration,
        demand=Demand(
            # a rate alone is the average of the scenario's own shape
            shape=shape if rate is None else None,
            rate=rate,
            closed=terminals is not None and rate is None and all(one is None for one in shaped),
            arrivals=Arrivals.UNIFORM if uniform else Arrivals.POISSON,
            warm_up=seconds_of("--warm-up", warm_up, least=0.0, most=600.0),
            part=which,
            parts=of,
        ),
        terminals=terminals,
        generators=generators,
        seed=seed,
        directory=directory,
        host=at,
        start_at=start.parse_start(start_at),
        longest_lag=seconds_of("--max-lag", max_lag, least=0.001, most=60.0),
        objectives=objectives,
        replay=replay,
        record=record,
        pcap=pcap,
        tls=tls,
        part_folder=report if of > 1 else None,
        calibration=calibration,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    )

    def play() -> Result:
        if record is not None:
            make_folder_of(record, "--record")
        if scheduler is not None:
            from scenarios.load import cluster

            return cluster.play(order, scheduler, parts)
        return session.play_virtual(order) if virtual else session.play_live(order)

    raise typer.Exit(run_to_exit_code(play, report, as_json=as_json))


def gather(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="The reports of all parts of one load.")],
    slo: Annotated[
        str | None, typer.Option(metavar="TEXT", help='What all of it has to reach: "p99<200ms, approved>99%".')
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the report.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Put the parts of a load that several machines made together, and report on the whole."""
    from scenarios.load import gathering
    from scenarios.load import slo as objectives_of
    from scenarios.running import finish

    objectives = objectives_of.parse(slo)
    raise typer.Exit(finish(gathering.gather(folders, objectives), report, as_json=as_json))


def _one_network(
    directory: Path | None,
    at: str | None,
    part: str | None,
    start_at: str | None,
    pcap: Path | None,
    *,
    virtual: bool,
    tls: bool,
) -> None:
    """Refuse options that do not go together."""
    if tls and (virtual or directory is not None):
        raise ConfigurationError("--tls: it is for a live run with a network of its own")
    if virtual:
        for name, value in {"--dir": directory, "--at": at, "--part": part, "--start-at": start_at}.items():
            if value is not None:
                raise ConfigurationError(f"{name}: a virtual run has a network of its own")
        if pcap is not None:
            raise ConfigurationError("--pcap: a virtual run has no links to capture")
    for name, value in {"--at": at, "--part": part}.items():
        if value is not None and directory is None:
            raise ConfigurationError(f"{name}: goes with --dir, the folder of a running network")


def _one_cluster(
    directory: Path | None,
    part: str | None,
    scheduler: str | None,
    parts: int | None,
    pcap: Path | None,
    *,
    virtual: bool,
) -> None:
    """Refuse options that do not go with a cluster, or need one."""
    if scheduler is None:
        if parts is not None:
            raise ConfigurationError("--parts: goes with --scheduler, whose workers play them")
        return
    if virtual:
        raise ConfigurationError("--scheduler: a virtual run is played here; fourparty sweep plays many on a cluster")
    if directory is None:
        raise ConfigurationError("--scheduler: goes with --dir, the folder of a running network")
    if part is not None:
        raise ConfigurationError("--part: the workers of --scheduler play all parts; use --parts to say how many")
    if pcap is not None:
        raise ConfigurationError("--pcap: the phones' links end at the workers, nothing can be captured here")
