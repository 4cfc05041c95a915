"""A recorded day: when payments were due and how much they were, to be played again.

One payment a line, as JSON (``{"at": 12.5, "fen": 1250}``) or as CSV with a heading (``at,fen``). ``at`` is seconds,
or a date and time in ISO 8601 of which the first payment's is time zero; ``fen`` may be missing or empty, then the
scenario says how much.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from network.service import ConfigurationError
from scenarios.load.arrivals import Due
from scenarios.measurement import Ended

MOST_PAYMENTS: Final = 5_000_000
LONGEST_LINE: Final = 1_000
LONGEST_DAY: Final = 7 * 86_400.0


class Recorder:
    """Takes down what is paid in a run; give `take` to a `Measurement`."""

    def __init__(self) -> None:
        self.payments: list[Due] = []

    def take(self, ended: Ended) -> None:
        """Take down a payment that has ended."""
        amount = ended.receipt.get("amount")
        if isinstance(amount, int) and len(self.payments) < MOST_PAYMENTS:
            self.payments.append(Due(ended.due, amount))


def write_day(path: Path, payments: Iterable[Due]) -> None:
    """Write a recorded day as lines of JSON.

    Raises
    ------
    ConfigurationError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="ascii") as file:
            for due in sorted(payments):
                file.write(json.dumps({"at": round(due.at, 6), "fen": due.fen}) + "\n")
    except OSError as error:
        raise ConfigurationError(f"--record: cannot write {path}: {error.strerror}") from error


def read_day(path: Path, length: float | None = None) -> list[Due]:
    """The payments of a recorded day, in order of time; compressed or stretched to `length` seconds where given.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or a line is no payment; the message names the line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            payments = sorted(_payments(path, file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"--replay: cannot read {path}: {reason}") from error
    if not payments:
        raise ConfigurationError(f"--replay: {path} has no payment")
    if length is not None:
        last = payments[-1].at or 1.0
        # the last payment is due just before the end
        payments = [Due(due.at / last * length * (1 - 1e-9), due.fen) for due in payments]
    return payments


def length_of(day: Sequence[Due]) -> float:
    """Whole seconds that a recorded day takes."""
    return max(1.0, float(math.ceil(day[-1].at + 1e-9)))


def _payments(path: Path, lines: Iterable[str]) -> Iterator[Due]:
    zero: float | None = None
    for number, row in _rows(path, lines):
        if number > MOST_PAYMENTS:
            raise ConfigurationError(f"--replay: {path} has more than {MOST_PAYMENTS:,} payments")
        at, is_date = _seconds(path, number, row.get("at"))
        if is_date:
            zero = at if zero is None else zero
            at -= zero
        if not 0 <= at <= LONGEST_DAY:
            raise ConfigurationError(f"--replay: {path}, line {number}: at is before the first or after 168 h")
        yield Due(at, _fen(path, number, row.get("fen")))


def _rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    heading: list[str] | None = None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if len(text) > LONGEST_LINE:
            raise ConfigurationError(f"--replay: {path}, line {number} is longer than {LONGEST_LINE} characters")
        if text.startswith("{"):
            try:
                yield number, json.loads(text)
            except (ValueError, RecursionError) as error:
                raise ConfigurationError(f"--replay: {path}, line {number} is not JSON: {error}") from error
            continue
        cells = [cell.strip() for cell in next(csv.reader([text]))]
        if heading is None:
            if "at" not in cells:
                raise ConfigurationError(f"--replay: {path} begins neither with JSON nor with a heading such as at,fen")
            heading = cells
        elif len(cells) != len(heading):
            raise ConfigurationError(f"--replay: {path}, line {number} has other columns than the heading")
        else:
            yield number, dict(zip(heading, cells, strict=True))


def _seconds(path: Path, number: int, at: object) -> tuple[float, bool]:
    """Seconds, and whether they were said as a date."""
    if isinstance(at, int | float) and not isinstance(at, bool):
        return float(at), False
    if isinstance(at, str):
        try:
            return float(at), False
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(at)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), True
        except (ValueError, OverflowError):
            pass
    raise ConfigurationError(f"--replay: {path}, line {number}: at is neither seconds nor a date and time")


def _fen(path: Path, number: int, fen: object) -> int | None:
    if fen is None or fen == "":
        return None
    try:
        amount = int(fen) if isinstance(fen, int | str) and not isinstance(fen, bool) else 0
    except ValueError:
        amount = 0
    if not 0 < amount < 10**12:
        raise ConfigurationError(f"--replay: {path}, line {number}: fen is no whole number from 1 to 999999999999")
    return amount
