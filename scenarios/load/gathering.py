"""The parts of a load that several machines made, put together: one result of what all of them measured."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from network.service import ConfigurationError
from scenarios.load.slo import Objective
from scenarios.load.tracing import Traces
from scenarios.measurement import Measurement
from scenarios.outcome import result_of
from scenarios.report import DATA_FILE, ReportError
from scenarios.report import load as read_result
from scenarios.result import Books, Load, Result
from scenarios.running import find_scenario
from scenarios.stage import Scenario

PART_FILE: Final = "part.json"
LARGEST_PART: Final = 64 * 1024 * 1024
_PLACE: Final = re.compile(r", part (\d{1,4}) of (\d{1,4})$", re.ASCII)


@dataclass(frozen=True)
class Part:
    """What one machine measured: its result, and all that it counted; `name` says whose it is, for people."""

    name: str
    result: Result
    load: Load
    measurement: Measurement
    traces: dict[str, Any]


def write_part(folder: Path, measurement: Measurement, traces: Traces) -> None:
    """Put beside a part's result what it takes to put it together with others.

    Raises
    ------
    ConfigurationError
        The folder cannot be written.
    """
    content = {"measurement": measurement.as_json(), "traces": traces.as_json()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PART_FILE).write_text(json.dumps(content, sort_keys=True))
    except OSError as error:
        raise ConfigurationError(f"cannot write the report to {folder}: {error.strerror}") from error


def gather(folders: Sequence[Path], objectives: Sequence[Objective]) -> Result:
    """Put parts together. A part of the load that is missing makes the whole not valid.

    The books are those of the part that saw most transfers: it ended last.

    Raises
    ------
    ConfigurationError
        A folder has no part, they are not parts of one load, or two are the same part.
    """
    parts = [_read(folder) for folder in folders]
    first = parts[0]
    for other in parts[1:]:
        if _common(other) != _common(first):
            raise ConfigurationError(f"{other.name} and {first.name} are not parts of one load")
    seen: dict[int, Part] = {}
    for part in parts:
        number, number_of_parts = _place(part)
        if number in seen:
            raise ConfigurationError(
                f"{seen[number].name} and {part.name} are both part {number}: it would count twice"
            )
        seen[number] = part
    missing = sorted(set(range(1, number_of_parts + 1)).difference(seen))
    return together(
        parts,
        find_scenario(first.result.scenario),
        objectives,
        environment={"gathered": ", ".join(map(str, folders))},
        lost=[f"part {number} of {number_of_parts} is missing" for number in missing],
    )


def together(
    parts: Sequence[Part],
    scenario: Scenario,
    objectives: Sequence[Objective],
    *,
    environment: Mapping[str, str],
    books: Books | None = None,
    lost: Sequence[str] = (),
) -> Result:
    """One result of the parts of one load.

    Parameters
    ----------
    environment
        What to tell besides what the first part tells of its machine.
    books
        Of the whole run; those of the part that ended last unless given.
    lost
        What is said of parts that are missing, a line each; the whole is not valid then.
    """
    first = parts[0]
    measurement, traces = Measurement(1.0), Traces()
    measurement.length = first.measurement.length
    for part in parts:
        measurement.add(part.measurement)
        traces.add(part.traces)
    last = max(parts, key=lambda part: sum(part.result.books.transfers.values())).result
    played = max(part.result.duration for part in parts)
    return replace(
        result_of(
            measurement,
            name=first.result.scenario,
            scenario=scenario,
            runtime=first.result.runtime,
            seed=first.result.seed,
            played=played,
            started_at=min(part.result.started_at for part in parts),
            reversals=sum(part.result.reversals for part in parts),
            parties=last.parties,
            books=books or last.books,
            environment={**first.result.environment, **environment},
            load=_load(parts, measurement, lost),
            objectives=objectives,
            legs=traces.in_order(),
            errors=traces.samples(),
        ),
        title=first.result.title,
    )


def _common(part: Part) -> tuple[object, ...]:
    """What the parts of one load have in common."""
    result = part.result
    shape = part.load.shape.partition(", part")[0]
    return result.scenario, result.seed, part.measurement.length, part.load.mode, shape, _place(part)[1]


def _place(part: Part) -> tuple[int, int]:
    """Which part of how many it is, the first being 1."""
    found = _PLACE.search(part.load.shape)
    if found is None:
        raise ConfigurationError(f"{part.name} has no part of a load, but all of one")
    return int(found[1]), int(found[2])


def _load(parts: Sequence[Part], measurement: Measurement, lost: Sequence[str]) -> Load:
    first = parts[0].load
    problems = [*lost, *(f"{part.name}: {problem}" for part in parts for problem in part.load.problems)]
    number = f"{len(parts)} of {len(parts) + len(lost)}" if lost else f"{len(parts)}"
    return replace(
        first,
        shape=f"{first.shape.partition(', part')[0]}, {number} parts",
        rate=round(sum(part.load.rate for part in parts), 3),
        generators=sum(part.load.generators for part in parts),
        due=measurement.due,
        sent=measurement.sent,
        lag=measurement.lag.summary(),
        service=measurement.service.summary(),
        valid=not problems,
        problems=problems,
    )


def _read(folder: Path) -> Part:
    path = folder / PART_FILE
    try:
        result = read_result(folder / DATA_FILE)
        with path.open("rb") as file:
            content = json.loads(file.read(LARGEST_PART))
        measurement = Measurement.from_json(content["measurement"])
        traces = content["traces"]
        Traces().add(traces)
    except OSError as error:
        raise ConfigurationError(f"{folder} has no part of a load: {error.strerror}: {error.filename}") from error
    except (ReportError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{folder} has no part of a load: {path.name} or {DATA_FILE} is not one's") from error
    if result.load is None:
        raise ConfigurationError(f"{folder} has no part of a load, but another run")
    return Part(str(folder), result, result.load, measurement, traces)
