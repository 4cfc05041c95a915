"""A plan as people and scripts read it: on the console, as plain data, as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.text import Text

from network.service import ConfigurationError
from scenarios.report.quantities import latency
from scenarios.twin.calibration import Calibration
from scenarios.twin.check import Compared
from scenarios.twin.layout import KINDS, deal, shares_of
from scenarios.twin.plan import Plan, Trial
from scenarios.twin.tables import table

Rows: TypeAlias = Sequence[Sequence[str]]
Tables: TypeAlias = list[tuple[str, Sequence[str], Rows]]

PLURALS = {"gateway": "device gateways", "acquirer": "acquirers", "switch": "switches", "issuer": "issuers"}


def show(plan: Plan, compared: Sequence[Compared], calibration: Calibration, console: Console) -> None:
    """Print a plan."""
    good = plan.trial.good and (plan.minute is None or plan.minute.good)
    console.print(Text(_headline(plan), "bold green" if good else "bold red"), soft_wrap=not console.is_terminal)
    for title, columns, rows in _tables(plan, compared):
        console.print(Text(title, "bold"))
        console.print(table(columns, rows))
    for line in _notes(plan, calibration):
        console.print(Text(f"- {line}", "dim"), soft_wrap=not console.is_terminal)


def show_check(compared: Sequence[Compared], console: Console) -> None:
    """Print how the model compares with full fidelity."""
    console.print(Text("the model against full fidelity, one process of each kind", "bold"))
    console.print(table(_CHECK_COLUMNS, _check_rows(compared)))


def as_json(plan: Plan | None, compared: Sequence[Compared], calibration: Calibration) -> dict[str, Any]:
    """A plan, its check or both as plain data; latencies in microseconds."""
    found: dict[str, Any] = {"calibration": calibration.title}
    if plan is not None:
        found.update(asdict(plan))
        shares = shares_of(plan.demand.members, plan.demand.skew)
        found["processes"] = {
            kind: count if kind == "switch" else deal(count, shares) for kind, count in plan.trial.counts.items()
        }
    found["check"] = [
        {**asdict(one), "difference": dict(zip(("p50", "p99"), one.differences, strict=True))} for one in compared
    ]
    return found


def write(plan: Plan | None, compared: Sequence[Compared], calibration: Calibration, folder: Path) -> Path:
    """Write plan.md and plan.json; the path of the former.

    Raises
    ------
    ConfigurationError
        The folder cannot be written.
    """
    path = folder / "plan.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.json").write_text(
            json.dumps(as_json(plan, compared, calibration), ensure_ascii=False, indent=1) + "\n"
        )
        path.write_text(_markdown(plan, compared, calibration))
    except OSError as error:
        raise ConfigurationError(f"cannot write the plan to {folder}: {error.strerror}") from error
    return path


def _headline(plan: Plan) -> str:
    demand, trial = plan.demand, plan.trial
    parts = ", ".join(f"{trial.counts[kind]} {PLURALS[kind]}" for kind in KINDS)
    return (
        f"{demand.peak:,.0f} payments/s, {demand.members} members: {sum(trial.counts.values())} processes "
        f"({parts}); {demand.target.text} {'met' if trial.good else 'missed'} with {latency(round(trial.reached))}"
    )


def _tables(plan: Plan, compared: Sequence[Compared]) -> Tables:
    found: Tables = [("the peak second", _KIND_COLUMNS, _kind_rows(plan.trial))]
    if plan.minute is not None:
        found.append(("the peak minute", _KIND_COLUMNS, _kind_rows(plan.minute)))
    found.append(("with one less", _LESS_COLUMNS, _less_rows(plan)))
    if compared:
        found.append(
            ("the model against full fidelity, one process of each kind", _CHECK_COLUMNS, _check_rows(compared))
        )
    return found


_KIND_COLUMNS = ("", ">number", ">most used", ">mean", ">busy", ">batch", ">p50", ">p99")
_LESS_COLUMNS = ("one less", ">p50", ">p99", "fails")
_CHECK_COLUMNS = (">per s", ">model p50", ">full p50", ">differs", ">model p99", ">full p99", ">differs")


def _kind_rows(trial: Trial) -> Rows:
    rows = [
        (
            PLURALS[kind],
            f"{load.count:,}",
            f"{load.most:.0%}",
            f"{load.mean:.0%}",
            f"{load.busy:.0%}",
            f"{load.events_a_turn:.1f}",
            latency(load.latency.p50),
            latency(load.latency.p99),
        )
        for kind, load in trial.kinds.items()
    ]
    ends = latency(trial.end_to_end.p50), latency(trial.end_to_end.p99)
    return [*rows, ("end to end", f"{sum(trial.counts.values()):,}", "", "", "", "", *ends)]


def _less_rows(plan: Plan) -> Rows:
    rows = []
    for kind, less in plan.one_less.items():
        if less is None:
            why = "there must be one" if kind == "switch" else "every member has one"
            rows.append((PLURALS[kind], "", "", why))
        else:
            ends = latency(less.end_to_end.p50), latency(less.end_to_end.p99)
            # what a kind lost is its own; what else is at its limit may be over it by the luck of one simulation
            own = [reason for reason in less.failing if reason.startswith((kind, "p"))]
            rows.append((f"{less.counts[kind]} {PLURALS[kind]}", *ends, ", ".join(own or less.failing)))
    return rows


def _check_rows(compared: Sequence[Compared]) -> Rows:
    return [
        (
            f"{one.rate:,.0f}",
            latency(one.model.p50),
            latency(one.full.p50),
            f"{one.differences[0]:+.1%}",
            latency(one.model.p99),
            latency(one.full.p99),
            f"{one.differences[1]:+.1%}",
        )
        for one in compared
    ]


def _notes(plan: Plan, calibration: Calibration) -> list[str]:
    notes = [f"turns cost what was measured on {calibration.title}; every process has a processor for itself"]
    if plan.minute is not None:
        rate = plan.minute.computed / max(plan.minute_elapsed, 1e-9)
        notes.append(
            f"{plan.minute.computed:,} payments of the minute in {plan.minute_elapsed:.0f} s on {plan.workers} "
            f"processors: {rate:,.0f} payments/s of computing"
        )
    notes.append(
        f"{plan.tried} networks tried; used: what messages alone take of a process; busy: in a turn of any size"
    )
    return notes


def _markdown(plan: Plan | None, compared: Sequence[Compared], calibration: Calibration) -> str:
    lines: list[str] = ["# Capacity plan" if plan is not None else "# Model and full fidelity", ""]
    if plan is None:
        tables: Tables = [("One process of each kind", _CHECK_COLUMNS, _check_rows(compared))]
        notes = [f"Turns cost what was measured on {calibration.title}."]
    else:
        lines += [f"{_headline(plan)}.", ""]
        tables = _tables(plan, compared)
        notes = _notes(plan, calibration)
    for title, columns, rows in tables:
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        lines.append("| " + " | ".join(column.removeprefix(">") for column in columns) + " |")
        lines.append("|" + "|".join("---:" if column.startswith(">") else "---" for column in columns) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in notes), ""])
