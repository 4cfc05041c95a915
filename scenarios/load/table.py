"""What a load run looks like on a terminal, below the figures that every run has."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.report.quantities import latency, rate, share
from scenarios.result import Load, Result, Threshold


def show_load(result: Result, console: Console) -> None:
    """Print how payments were generated, whether that is valid, and which objectives were met."""
    if result.load is not None:
        console.print(_load_table(result, result.load))
        for problem in result.load.problems:
            console.print(Text(f"INVALID: {problem}", "bold red"), soft_wrap=not console.is_terminal)
    for window in result.faults:
        console.print(Text(f"fault: {window.what}, {window.start:g} s to {window.end:g} s", "yellow"))
    if result.thresholds:
        console.print(_threshold_table(result.thresholds))


def _load_table(result: Result, load: Load) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=True)
    table.add_column("load")
    table.add_column(load.shape if load.mode == "open" else f"{load.shape}, closed loop", justify="right")
    table.add_column("")
    rows = [
        ("terminals, generators", f"{load.terminals}, {load.generators}", ""),
        ("warm-up", f"{load.warm_up:g} s", "not counted"),
        ("due", f"{load.due:,}", f"{rate(load.rate)}/s" if load.rate else ""),
        ("sent", f"{load.sent:,}", share(load.sent, load.due)),
        ("response p50, p99", f"{latency(result.end_to_end.p50)}, {latency(result.end_to_end.p99)}", "from being due"),
        ("service p50, p99", f"{latency(load.service.p50)}, {latency(load.service.p99)}", "from being sent"),
        ("lag p50, p99", f"{latency(load.lag.p50)}, {latency(load.lag.p99)}", "from being due to being sent"),
    ]
    for name, figure, note in rows:
        table.add_row(name, figure, Text(note, "dim"))
    return table


def _threshold_table(thresholds: list[Threshold]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=True)
    table.add_column("objective")
    table.add_column("measured", justify="right")
    table.add_column("")
    for one in thresholds:
        table.add_row(one.text, actual_text(one), Text("met", "green") if one.met else Text("MISSED", "bold red"))
    return table


def actual_text(threshold: Threshold) -> str:
    """What was measured, in the metric's unit."""
    actual = threshold.actual
    if actual is None:
        return "nothing"
    if threshold.metric[:1] == "p" or threshold.metric in ("max", "mean"):
        return latency(round(actual))
    if threshold.text.endswith("%"):
        return f"{actual * 100:.2f} %"
    return rate(actual) + "/s" if threshold.metric == "rate" else f"{actual:,.0f}"
