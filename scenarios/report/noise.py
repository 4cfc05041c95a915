"""Whether a difference between repeated runs is more than their noise.

The test is that of Mann and Whitney (1947), with the exact distribution of the rank sum over all ways to deal the runs
to the two sides, ties included: it assumes nothing of how values are distributed, and is honest with few runs. The
shift is that of Hodges and Lehmann (1963): the median of all differences between a run of one side and one of the
other; its interval holds the shifts that the test would not refuse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from statistics import NormalDist, median
from typing import Final

LEVEL: Final = 0.05
"""Of a hundred differences that are noise, so many hundredths are taken for more."""
EXACT_UP_TO: Final = 40
"""Runs of both sides together for which the exact distribution is computed; beyond it is as good as normal."""
MOST_RUNS: Final = 200
"""Runs a side."""


class Finding(StrEnum):
    """What can be said of a difference."""

    UNKNOWN = "noise unknown"
    """A side has one run only, so that nobody knows how much two of its runs would differ."""
    FEW = "too few runs"
    """No difference, however large, could be told from chance with so few."""
    WITHIN = "within noise"
    BEYOND = "exceeds noise"


@dataclass(frozen=True)
class Difference:
    """How the second side differs from the first.

    Attributes
    ----------
    shift : float
        By how much; of single runs simply their difference.
    low, high : float or None
        The interval of the shift (95 %), where enough runs are there to tell one.
    chance : float or None
        How often chance alone would make so large a difference (p-value); None where it is unknown.
    """

    finding: Finding
    shift: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """How the values of one side's runs differ from the other's.

    Raises
    ------
    ValueError
        A side has no value or more than `MOST_RUNS`.

    Examples
    --------
    >>> difference([10, 11, 12, 13], [20, 21, 22, 23])
    Difference(finding=<Finding.BEYOND: 'exceeds noise'>, shift=10.0, low=7, high=13, chance=0.02857142857142857)
    >>> difference([10, 11], [20, 21]).finding, difference([10], [20]).finding
    (<Finding.FEW: 'too few runs'>, <Finding.UNKNOWN: 'noise unknown'>)
    """
    for side in (first, second):
        if not 1 <= len(side) <= MOST_RUNS:
            raise ValueError(f"a side of a comparison has 1 to {MOST_RUNS} runs, not {len(side)}")
    shifts = sorted(other - one for one in first for other in second)
    shift = median(shifts)
    if min(len(first), len(second)) == 1:
        return Difference(Finding.UNKNOWN, shift)
    chance = mann_whitney(first, second)
    if least_chance(len(first), len(second)) > LEVEL:
        return Difference(Finding.FEW, shift, chance=chance)
    outside = shifts_outside(len(first), len(second))
    finding = Finding.BEYOND if chance <= LEVEL else Finding.WITHIN
    return Difference(finding, shift, shifts[outside], shifts[-1 - outside], chance)


def least_chance(first: int, second: int) -> float:
    """The smallest p-value that so many runs a side can give: that of two sides which do not overlap."""
    return 2 / math.comb(first + second, first)


def runs_needed() -> int:
    """How many runs a side, as many on both, it takes for a difference to be told from chance."""
    return next(runs for runs in range(2, MOST_RUNS) if least_chance(runs, runs) <= LEVEL)


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p-value: how often chance deals rank sums at least as far from the middle."""
    ranks = _doubled_ranks([*first, *second])
    total = sum(ranks)
    size, number = len(first), len(ranks)
    # all doubled again by the size, so that the mean is whole and nothing is rounded
    away = abs(sum(ranks[:size]) * number - total * size)
    if away == 0:
        return 1.0
    if number <= EXACT_UP_TO:
        sums = _rank_sums(tuple(sorted(ranks)), size)
        extreme = sum(ways for value, ways in sums.items() if abs(value * number - total * size) >= away)
        return extreme / math.comb(number, size)
    mean_rank = total / number
    variance = size * (number - size) / (number * (number - 1)) * sum((rank - mean_rank) ** 2 for rank in ranks)
    # a rank sum is a step of 2 from the next where there are no ties
    distance = max(0.0, away / number - 1) / math.sqrt(variance)
    return 2 * (1 - NormalDist().cdf(distance))


@lru_cache
def shifts_outside(first: int, second: int) -> int:
    """How many of the sorted shifts lie outside their interval, on either side.

    It is the largest value for which chance makes a U statistic so low, or lower, in at most half of `LEVEL`.
    """
    pairs = first * second
    if first + second > EXACT_UP_TO:
        spread = math.sqrt(pairs * (first + second + 1) / 12)
        return max(0, math.floor(pairs / 2 - NormalDist().inv_cdf(1 - LEVEL / 2) * spread - 0.5))
    lowest = first * (first + 1)
    sums = _rank_sums(tuple(2 * rank for rank in range(1, first + second + 1)), first)
    most = LEVEL / 2 * math.comb(first + second, first)
    below = 0
    for outside in range(pairs):
        below += sums.get(lowest + 2 * outside, 0)
        if below > most:
            return max(0, outside - 1)
    return 0


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value; equal values share the mean of their ranks, which doubled is whole."""
    order = sorted(values)
    return [2 * order.index(value) + order.count(value) + 1 for value in values]


@lru_cache(maxsize=256)
def _rank_sums(ranks: tuple[int, ...], size: int) -> dict[int, int]:
    """In how many ways `size` of the ranks have each sum."""
    ways: list[dict[int, int]] = [{0: 1}, *({} for _ in range(size))]
    for rank in ranks:
        for chosen in range(size, 0, -1):
            target = ways[chosen]
            for value, number in ways[chosen - 1].items():
                target[value + rank] = target.get(value + rank, 0) + number
    return ways[size]
