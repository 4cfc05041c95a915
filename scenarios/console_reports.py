"""What lists and comparisons of results look like on a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console, RenderableType

from scenarios.console import aligned, print_parts, safe_text, safe_texts
from scenarios.report.contrast import Contrast, Row
from scenarios.report.folders import Found
from scenarios.report.quantities import latency, rate, share, span
from scenarios.report.verdict import verdict

ROOMY: Final = 180
"""Columns of what is written to a file or a pipe, where no terminal says how many there are."""
WIDE_FROM: Final = 130
"""Columns from which on a list has all of its columns."""


def roomy_console() -> Console:
    """Standard output; where it is no terminal and nothing says how wide it is, tables have room."""
    console = Console(highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, width=ROOMY)


def show_list(results: Sequence[Found], console: Console) -> None:
    """Print results, a line each; a narrow terminal is told the most important."""
    wide = console.width >= WIDE_FROM
    heads = [
        "run",
        *(["scenario"] if wide else []),
        "runtime",
        "started at",
        *([">lasted", ">attempts"] if wide else []),
    ]
    heads += [">approved", *([">rate/s"] if wide else []), ">p99", "verdict"]
    table = aligned(console, heads, [])
    for found in results:
        result, judged = found.result, verdict(found.result)
        cells = [
            str(found.place),
            *([result.scenario] if wide else []),
            result.runtime,
            result.started_at[: 16 if wide else 10].replace("T", " "),
            *([span(result.duration), f"{result.attempts:,}"] if wide else []),
            share(result.approved, result.attempts),
            *([rate(result.throughput)] if wide else []),
            latency(result.end_to_end.p99) if result.end_to_end.count else "-",
        ]
        table.add_row(
            *safe_texts(console, *cells), safe_text(judged.headline, console, "green" if judged.good else "red")
        )
    # where there is no room, folder and verdict take several lines, and no other cell does
    for column in table.columns[1:-1]:
        column.no_wrap = True
    table.columns[0].overflow = "fold"
    table.columns[0].min_width = min(14, max(len(str(found.place)) for found in results))
    table.columns[-1].min_width = 15
    print_parts([table], console)


def list_as_json(results: Sequence[Found]) -> list[dict[str, Any]]:
    """The same as plain data; latencies in microseconds."""
    rows = []
    for found in results:
        result, judged = found.result, verdict(found.result)
        rows.append(
            {
                "place": str(found.place),
                "scenario": result.scenario,
                "runtime": result.runtime,
                "started_at": result.started_at,
                "seed": result.seed,
                "duration": result.duration,
                "attempts": result.attempts,
                "approved": result.approved,
                "throughput": result.throughput,
                "p50": result.end_to_end.p50,
                "p99": result.end_to_end.p99,
                "good": judged.good,
                "verdict": judged.headline,
            }
        )
    return rows


def show_comparison(contrast: Contrast, console: Console) -> None:
    """Print what each side measured and how it differs from the first."""
    first, *others = contrast.sides
    parts: list[RenderableType] = []
    for side in contrast.sides:
        runs = "1 run" if len(side.runs) == 1 else f"{len(side.runs)} runs"
        parts.append(safe_text(f"{side.name}: {runs}", console, "bold"))
        parts += [safe_text(f"  {one.text}", console, "green" if one.good else "red") for one in side.verdicts]
    styles = {"good": "bold green", "bad": "bold red"}
    parts += [safe_text(text, console, styles.get(tone, "bold")) for text, tone in contrast.findings]
    heads = ["", f">{first.name}"]
    for other in others:
        heads += [f">{other.name}", ">difference", ">%", ""]
    table = aligned(console, [str(safe_text(head, console)) for head in heads], [])
    section = None
    for row in contrast.rows:
        if row.section != section:
            section = row.section
            table.add_row(safe_text(section, console, "bold"))
        table.add_row(*_cells(row, console))
    parts += [table, safe_text(contrast.noise, console, "dim")]
    print_parts(parts, console)


def _cells(row: Row, console: Console) -> list[RenderableType]:
    cells: list[RenderableType] = [*safe_texts(console, f"  {row.name}", row.told(row.sides[0].middle))]
    for number, (side, found) in enumerate(zip(row.sides[1:], row.differences, strict=True)):
        style = {"good": "bold green", "bad": "bold red"}.get(row.tone(number), "")
        shift = row.told_shift(found.shift) if found else "-"
        cells.append(safe_text(row.told(side.middle), console))
        cells += [safe_text(value, console, style) for value in (shift, row.told_percent(number), row.finding(number))]
    return cells


def comparison_as_markdown(contrast: Contrast) -> str:
    """The same as a table in Markdown."""
    from scenarios.report.formats import markdown_table, plain

    first, *others = contrast.sides
    heads = ["", f">{plain(first.name)}"]
    for other in others:
        heads += [f">{plain(other.name)}", ">difference", ">%", ""]
    rows = []
    for row in contrast.rows:
        cells = [plain(f"{row.section}: {row.name}"), row.told(row.sides[0].middle)]
        for number, (side, found) in enumerate(zip(row.sides[1:], row.differences, strict=True)):
            cells += [row.told(side.middle), row.told_shift(found.shift) if found else "-", row.told_percent(number)]
            finding = row.finding(number)
            cells.append(f"**{finding}**" if row.tone(number) else finding)
        rows.append(cells)
    title = " against ".join([" and ".join(side.name for side in others), first.name])
    return f"## {plain(title)}\n\n{plain(contrast.noise)}\n\n{markdown_table(heads, rows)}\n"
