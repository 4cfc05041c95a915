"""What only some runs have to show on a terminal: what was broken when, and where a payment's time went."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.report.quantities import latency
from scenarios.report.verdict import title_of
from scenarios.result import Result


def show_faults_and_legs(result: Result, console: Console) -> None:
    """Print the windows of faults, and the legs of sampled payments."""
    for window in result.faults:
        text = Text(f"fault: {window.what}, from {window.start:.1f} s to {window.end:.1f} s", "yellow")
        console.print(text, soft_wrap=not console.is_terminal)
    if result.legs:
        table = Table(box=SIMPLE_HEAD, pad_edge=True)
        table.add_column("leg of a payment")
        for heading in ("samples", "p50", "p95", "p99"):
            table.add_column(heading, justify="right")
        for leg in result.legs:
            seen = leg.latency
            table.add_row(
                title_of(leg.name), f"{seen.count:,}", *(latency(value) for value in (seen.p50, seen.p95, seen.p99))
            )
        console.print(table)
