"""Measured costs: distributions keep their shape, and turns cost what their content says."""

from __future__ import annotations

from random import Random

import pytest

from network.turn_cost import PROBABILITIES, Linear, MeasuredCost, Quantiles

ONE = Quantiles.of([1.0])


def test_a_distribution_is_kept_with_its_tail() -> None:
    random = Random(1)
    sample = [random.expovariate(0.01) for _ in range(20_000)]
    kept = Quantiles.of(sample)
    ordered = sorted(sample)
    for probability in (0.1, 0.5, 0.9, 0.99, 0.999):
        assert kept.at(probability) == pytest.approx(ordered[int(probability * len(ordered))], rel=0.03)
    assert kept.at(0.0) == ordered[0]
    assert kept.at(0.9999) < kept.at(1.0) <= ordered[-1]
    drawn = [kept.at(random.random()) for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(kept.mean, rel=0.03)
    assert kept.mean == pytest.approx(100, rel=0.05)


def test_one_value_far_out_is_not_taken_for_a_tail() -> None:
    kept = Quantiles.of([100.0] * 9_999 + [1e6])
    assert kept.mean == pytest.approx(200, rel=0.1)


def test_probabilities_grow_from_nothing_to_certainty() -> None:
    assert PROBABILITIES[0] == 0
    assert PROBABILITIES[-1] == 1
    assert list(PROBABILITIES) == sorted(set(PROBABILITIES))


def test_a_turn_is_dearer_as_the_machine_is_at_this_moment() -> None:
    cost = MeasuredCost(
        outside=Linear(0),
        deciding=Linear(100),
        sending=Linear(0),
        waiting=Quantiles.of([0.0]),
        chance=((0.0, Quantiles.of([1.0, 2.0, 3.0])),),
        bulk=((1.0, 1.0), (3.0, 0.5)),
        together=1.0,
    )
    random = Random(1)
    assert [cost.charge({"x": number}, False, 0.0, random, moment=0.0).computing for number in (1, 2, 3, 9)] == [
        *(100, 75, 50, 50)
    ]
    assert cost.charge({}, False, 0.0, random, moment=1.0).computing == 300
    alone = {cost.charge({}, False, 0.0, random).computing for _ in range(20)}
    assert alone == {100.0, 200.0, 300.0}


def test_a_turn_costs_what_is_in_it() -> None:
    cost = MeasuredCost(
        outside=Linear(50, 0, {"terminal": 5}, 4),
        deciding=Linear(300, 100, {"terminal": 80, "switch": 60}, 70),
        sending=Linear(40, 0, {"terminal": 6}, 1),
        waiting=Quantiles.of([150.0]),
        chance=((0.0, ONE), (1_000.0, Quantiles.of([2.0]))),
    )
    random = Random(1)
    assert cost.charge({"terminal": 2}, True, 0.0, random) == (50 + 10 + 300 + 100 + 160, 150, 52)
    assert cost.charge({"terminal": 2}, False, 999.0, random) == (520, 0, 52)
    assert cost.charge({"timer x": 1}, False, 1_000.0, random) == (2 * (54 + 370), 0, 2 * 41)
