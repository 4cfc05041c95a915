"""When payments are due: drawn from a shape, or read from a recorded day.

Poisson arrivals of a changing rate are those of rate one on the axis of expected payments, brought back to time by the
shape's inverse integral: exact, at one logarithm a payment. Each of several generators draws its own share; shares of
Poisson arrivals are Poisson arrivals again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from random import Random
from typing import NamedTuple

from scenarios.load.shapes import Shape, constant

LEAST_WARM_UP_PART = 0.1
"""A run that begins slowly warms up with at least this part of its highest rate."""


class Arrivals(StrEnum):
    """How arrivals are spread: independent of one another, or evenly."""

    POISSON = "poisson"
    UNIFORM = "uniform"


class Due(NamedTuple):
    """A payment that is due: seconds of the run, and fen where a recording says how much."""

    at: float
    fen: int | None = None


def arrivals(shape: Shape, how: Arrivals, random: Random, *, part: int = 0, parts: int = 1) -> Iterator[Due]:
    """The payments of a shape that are the share of generator `part` of `parts`, in order of time."""
    if how is Arrivals.UNIFORM:
        expected = part + 0.5
        while (at := shape.when(expected)) is not None:
            yield Due(at)
            expected += parts
        return
    expected = random.expovariate(1.0) * parts
    while (at := shape.when(expected)) is not None:
        yield Due(at)
        expected += random.expovariate(1.0) * parts


def warm_up(
    shape: Shape, seconds: float, how: Arrivals, random: Random, *, part: int = 0, parts: int = 1
) -> Iterator[Due]:
    """Payments at the rate at which the shape begins, before the run's time zero."""
    if seconds > 0:
        rate = max(shape.first, LEAST_WARM_UP_PART * shape.peak)
        for due in arrivals(constant(rate, seconds), how, random, part=part, parts=parts):
            yield Due(due.at - seconds)


def recorded(day: Sequence[Due], *, part: int = 0, parts: int = 1) -> Iterator[Due]:
    """The share of a recorded day's payments: every `parts`-th of them."""
    yield from day[part::parts]
