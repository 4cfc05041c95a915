"""The statistics of comparisons: against published tables, against dealing all values out, and what they never do."""

from __future__ import annotations

import doctest
import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.report import noise
from scenarios.report.noise import Finding, difference, least_chance, mann_whitney, runs_needed, shifts_outside


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(noise).failed == 0


# critical values of U, two-sided, 5 %: Mann and Whitney's table as statistics books reprint it
CRITICAL_U = {
    (4, 4): 0,
    (4, 5): 1,
    (5, 5): 2,
    (5, 8): 6,
    (6, 6): 5,
    (7, 9): 12,
    (8, 8): 13,
    (10, 10): 23,
    (12, 15): 49,
    (20, 20): 127,
}


@pytest.mark.parametrize(("sizes", "critical"), CRITICAL_U.items(), ids=str)
def test_intervals_and_tests_change_where_the_tables_say(sizes: tuple[int, int], critical: int) -> None:
    assert shifts_outside(*sizes) == critical
    assert mann_whitney(*with_u(*sizes, critical)) <= 0.05
    assert mann_whitney(*with_u(*sizes, critical + 1)) > 0.05


def with_u(first: int, second: int, u: int) -> tuple[list[float], list[float]]:
    """Values without ties of which so many pairs have the larger one on the first side."""
    values: list[float] = []
    for number in range(first):
        above = min(second, max(0, u - number * second))
        values.append(above + 0.5 + number / (10 * first))
    return values, [float(number + 1) - 0.2 for number in range(second)]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3, 4], [5, 6, 7, 8], 2 / 70),
        ([1, 2, 3], [4, 5, 6], 2 / 20),
        ([1, 3, 5, 7], [2, 4, 6, 8], 48 / 70),
        ([1, 1, 1], [1, 1, 1], 1.0),
        ([1, 2], [2, 3], 4 / 6),
        ([0, 0, 0, 0, 9], [0, 0, 0, 0, 0], 1.0),
    ],
)
def test_chances_of_small_cases(first: list[float], second: list[float], expected: float) -> None:
    assert mann_whitney(first, second) == pytest.approx(expected)


def dealt(first: Sequence[float], second: Sequence[float]) -> float:
    """The same by brute force: every way to deal the values to the sides."""
    values = [*first, *second]
    ranks = [sum(other < value for other in values) + sum(other == value for other in values) / 2 for value in values]
    middle = sum(ranks) * len(first) / len(values)
    seen = abs(sum(ranks[: len(first)]) - middle)
    deals = list(itertools.combinations(ranks, len(first)))
    return sum(abs(sum(deal) - middle) >= seen - 1e-9 for deal in deals) / len(deals)


SIDES = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=6)


@given(SIDES, SIDES)
@settings(max_examples=60)
def test_the_exact_distribution_is_that_of_all_deals(first: list[float], second: list[float]) -> None:
    assert mann_whitney(first, second) == pytest.approx(dealt(first, second))


@given(SIDES, SIDES)
@settings(max_examples=60)
def test_both_ways_round_it_is_the_same_with_the_sign_changed(first: list[float], second: list[float]) -> None:
    there, back = difference(first, second), difference(second, first)
    assert there.finding is back.finding
    assert there.shift == -back.shift
    assert (there.low, there.high) == (back.high and -back.high, back.low and -back.low)
    assert there.chance == pytest.approx(back.chance)


def test_beyond_the_exact_distribution_the_normal_one_takes_over_smoothly() -> None:
    dice = random.Random(5)
    for shift in (0.0, 0.3, 0.6):
        first = [dice.gauss(0, 1) for _ in range(20)]
        second = [dice.gauss(shift, 1) for _ in range(20)]
        exact = mann_whitney(first, second)
        first.append(sorted(first)[10])
        assert mann_whitney(first, second) == pytest.approx(exact, abs=0.06)
    assert shifts_outside(21, 20) == pytest.approx(shifts_outside(20, 20), abs=10)


def test_noise_is_taken_for_more_in_a_twentieth_of_all_cases_at_most() -> None:
    dice = random.Random(9)
    findings = [
        difference([dice.lognormvariate(9, 0.3) for _ in range(5)], [dice.lognormvariate(9, 0.3) for _ in range(5)])
        for _ in range(1000)
    ]
    beyond = sum(one.finding is Finding.BEYOND for one in findings) / 1000
    assert 0.01 < beyond <= 0.055
    holds = sum(one.low is not None and one.high is not None and one.low <= 0 <= one.high for one in findings) / 1000
    assert holds >= 0.94


def test_a_true_shift_is_found_and_lies_in_its_interval() -> None:
    dice = random.Random(3)
    found = difference([dice.gauss(100, 2) for _ in range(6)], [dice.gauss(110, 2) for _ in range(6)])
    assert found.finding is Finding.BEYOND
    assert found.low is not None
    assert found.high is not None
    assert found.low < 10 < found.high
    assert found.low < found.shift < found.high


def test_few_runs_never_tell_anything() -> None:
    assert difference([1], [100]).finding is Finding.UNKNOWN
    assert difference([1], [100, 101, 102, 103, 104]).finding is Finding.UNKNOWN
    for runs in (2, 3):
        few = difference(range(runs), range(100, 100 + runs))
        assert few.finding is Finding.FEW
        assert few.low is None
        assert few.chance == pytest.approx(least_chance(runs, runs))
    assert difference(range(3), range(100, 105)).finding is Finding.BEYOND
    assert runs_needed() == 4


@pytest.mark.parametrize(("first", "second"), [([], [1.0]), ([1.0], []), ([1.0] * 201, [1.0])])
def test_sides_without_runs_or_with_too_many_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="1 to 200 runs"):
        difference(first, second)
