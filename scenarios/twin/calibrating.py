"""``fourparty calibrate``: run the embedded network from light load to heavy, and fit what its turns cost."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from rich.console import Console

from network.turn_cost import Quantiles
from scenarios.report.quantities import latency
from scenarios.twin import calibration as calibrations
from scenarios.twin.calibration import Calibration, MeasuredRun, WireCosts
from scenarios.twin.measuring import MOST_OTHERS, LiveBed, LiveRun, Told, live_bed, store_of
from scenarios.twin.overhead import fit_overhead
from scenarios.twin.pool import WorkerLost
from scenarios.twin.regression import CalibrationError, fit_parties
from scenarios.twin.tables import output, table

PARTS: Final = (0.03, 0.1, 0.25, 0.45, 0.65, 0.8, 0.9)
"""Rates that are measured, as parts of what the network takes at most."""

TERMINALS: Final = 128
SECONDS: Final = 6.0
WIRE_MESSAGES: Final = 2_000
FAILED: Final = 1


def calibrate(out: Path, *, seconds: float, seed: int, as_json: bool) -> int:
    """Measure, fit, write; 0, or `FAILED` where too little was seen."""
    from scenarios.cli import print_json

    console, stderr = output(), Console(stderr=True, highlight=False, soft_wrap=True)

    def told(text: str) -> None:
        stderr.print(text, markup=False)

    told("starting issuer, switch and acquirer with demo data ...")
    with live_bed(TERMINALS) as bed:
        runs = measure(bed, seconds, seed, told)
        try:
            made = calibrated(runs, bed, seconds, seed, told)
        except (CalibrationError, WorkerLost) as error:
            told(f"calibrate: {error}")
            return FAILED
    calibrations.write(made, out)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        _show(made, runs, console)
    disturbed = [run.title for run in runs if run.others > MOST_OTHERS]
    if disturbed:
        told(f"other programs used the machine at {', '.join(disturbed)}: what was measured is theirs too")
    told(f"calibration: {out}")
    return 0


def measure(bed: LiveBed, seconds: float, seed: int, told: Told) -> list[LiveRun]:
    """What the network takes at most, and its turns at parts of that."""
    told(f"measuring what it takes at most, {bed.terminals} terminals paying without pause ...")
    most = bed.run(None, seconds, seed=seed, told=told)
    told(f"{most.throughput:,.0f} payments/s")
    runs = [most]
    for part in PARTS:
        rate = round(most.throughput * part, 1)
        told(f"measuring turns at {rate:,.0f} payments/s ...")
        runs.append(bed.run(rate, seconds, seed=seed, told=told))
    return runs


def calibrated(runs: list[LiveRun], bed: LiveBed, seconds: float, seed: int, told: Told) -> Calibration:
    """What runs of a bed come to, with what its parties lose of the processors that they share.

    Raises
    ------
    CalibrationError
        They say too little of a party.
    WorkerLost
        A simulation's process died again and again.
    """
    told("fitting, and simulating what was measured ...")
    made = fitted(runs, store_of(bed.processes.folder))
    return made.with_overhead(fit_overhead(made, bed.scenario, seconds, bed.terminals, seed, told))


def fitted(runs: list[LiveRun], store: str) -> Calibration:
    """The calibration that runs come to.

    Raises
    ------
    CalibrationError
        They say too little of a party.
    """
    costs, slowness = fit_parties([run.turns for run in runs])
    return calibrations.make(
        costs,
        wire=measure_wire(),
        lag=_lag(runs),
        store=store,
        time_slice=measure_time_slice(),
        runs=tuple(
            MeasuredRun(
                rate=run.throughput if run.rate is None else run.rate,
                payments=run.latency.count,
                p50=run.latency.p50,
                p99=run.latency.p99,
                turns={party: len(samples) for party, samples in run.turns.items()},
                others=round(run.others, 4),
                slowness=round(slow, 4),
            )
            for run, slow in zip(runs, slowness, strict=True)
        ),
    )


def _lag(runs: list[LiveRun]) -> Quantiles:
    """How late payments began at the lowest rate, where they waited for the timer and for nothing else."""
    lightest = min((run for run in runs if run.rate is not None), key=lambda run: run.rate or 0.0)
    lags = [float(us) for us, times in sorted(lightest.lag.counts.items()) for _ in range(times)]
    return Quantiles.of(lags or [0.0])


def measure_wire() -> WireCosts:
    """What a message takes between two processes of this machine besides what they compute: sent back and forth."""
    listening = socket.create_server(("127.0.0.1", 0))
    context = multiprocessing.get_context("spawn")
    port: int = listening.getsockname()[1]
    other = context.Process(target=_echo, args=(port,), daemon=True)
    other.start()
    connection, _ = listening.accept()
    with listening, connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        taken = []
        for _ in range(WIRE_MESSAGES):
            computed, began = time.thread_time(), time.perf_counter()
            connection.sendall(b"?" * 200)
            connection.recv(4096)
            # both sides compute as much; the rest is on the way
            taken.append((time.perf_counter() - began) / 2 - (time.thread_time() - computed))
    other.join(5.0)
    taken.sort()
    low, high = (max(0.0, taken[round(part * (len(taken) - 1))] * 1e6) for part in (0.1, 0.9))
    return WireCosts(latency=round(low, 1), jitter=round(high - low, 1))


def _echo(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(4096):
            connection.sendall(data)


def measure_time_slice() -> float:
    """Microseconds for which a process computes while others wait, from more of them than there are processors."""
    context = multiprocessing.get_context("spawn")
    count = (os.cpu_count() or 1) * 2
    pipes = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [context.Process(target=_spin, args=(writer,), daemon=True) for _, writer in pipes]
    for process in processes:
        process.start()
    lengths: list[float] = []
    for reader, _ in pipes:
        if reader.poll(20.0):
            lengths += reader.recv()
    for process in processes:
        process.join(5.0)
    lengths.sort()
    return round(lengths[len(lengths) // 2] * 1e6, -2) if lengths else 4_000.0


def _spin(writer: Connection) -> None:
    """Compute for a while, and tell for how long at a time."""
    lengths, began = [], time.perf_counter()
    last = first = began
    while last - began < 1.0:
        now = time.perf_counter()
        if now - last > 0.0005:
            lengths.append(last - first)
            first = now
        last = now
    writer.send(lengths[1:])


def _show(made: Calibration, runs: list[LiveRun], console: Console) -> None:
    console.print(f"turns on {made.title}", markup=False)
    rows = []
    for party, costs in made.parties.items():
        parts = (costs.outside, costs.deciding, costs.sending)
        turn = sum(part.turn for part in parts)
        rows.append((party.replace("_", " "), "a turn", f"{turn:.0f} us", ""))
        rows.append(("", "writing, and the disk", f"{costs.deciding.write:.0f} us", f"{costs.waiting[25]:.0f} us"))
        for kind in costs.deciding.events:
            events = sum(part.events.get(kind, 0.0) for part in parts)
            rows.append(("", kind, f"{events:.0f} us", ""))
        cold = costs.cost().chance[-1]
        rows.append(("", f"after {cold[0] / 1000:g} ms without one", f"x {cold[1].mean:.2f}", ""))
    console.print(table(("party", "what", ">computing", ">waiting"), rows))
    console.print(
        f"computing on shared processors takes {made.machine.overhead:.2f} times as much of them", markup=False
    )
    console.print(
        table(
            (">payments/s", ">p50", ">p99", ">slowness", ">others' part"),
            [
                (
                    f"{run.throughput:,.0f} (most)" if run.rate is None else f"{run.rate:,.0f}",
                    latency(run.latency.p50),
                    latency(run.latency.p99),
                    f"{one.slowness:.2f}",
                    f"{run.others:.1%}",
                )
                for run, one in zip(runs, made.runs, strict=True)
            ],
        )
    )
