"""Durations against percentiles of the sorted list."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.durations import LONGEST_US, Durations, Summary

MICROSECONDS = st.one_of(st.integers(0, 5_000), st.integers(0, LONGEST_US))


def exact(values: list[int], percentile: int) -> int:
    """The value of that rank, rounded to the nearest as HdrHistogram does."""
    return sorted(values)[max(1, math.floor(len(values) * percentile / 100 + 0.5)) - 1]


@given(st.lists(MICROSECONDS, min_size=1, max_size=200))
def test_percentiles_are_exact_to_two_parts_in_a_thousand(values: list[int]) -> None:
    durations = Durations()
    for value in values:
        durations.record(value)
    summary = durations.summary()
    assert summary.count == len(values)
    measured = (summary.p50, summary.p95, summary.p99, summary.max)
    assert list(measured) == sorted(measured)
    for percentile, found in zip((50, 95, 99, 100), measured, strict=True):
        assert found == pytest.approx(exact(values, percentile), rel=0.003, abs=1)


@given(st.lists(st.integers(0, 1023), min_size=1, max_size=100))
def test_short_durations_are_kept_as_they_are(values: list[int]) -> None:
    durations = Durations()
    for value in values:
        durations.record(value)
    assert durations.summary().max == max(values)
    assert durations.counts == {value: values.count(value) for value in values}


@given(st.lists(MICROSECONDS, max_size=50), st.lists(MICROSECONDS, max_size=50))
def test_adding_is_recording_both(one: list[int], other: list[int]) -> None:
    added, together = Durations(), Durations()
    second = Durations()
    for value in one:
        added.record(value)
        together.record(value)
    for value in other:
        second.record(value)
        together.record(value)
    added.add(second.counts)
    assert added.counts == together.counts
    assert added.summary() == together.summary()


def test_nothing_recorded() -> None:
    assert Durations().summary() == Summary(0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("microseconds", "shown"),
    [(-5, 0), (0, 0), (1, 1), (1023, 1023), (1024, 1024), (1025, 1024), (1_000_001, 999_424), (10**15, LONGEST_US)],
)
def test_a_single_duration(microseconds: int, shown: int) -> None:
    durations = Durations()
    durations.record(microseconds)
    summary = durations.summary()
    assert summary == Summary(1, summary.max, summary.max, summary.max, summary.max)
    assert summary.max == pytest.approx(shown, rel=0.002)


def test_the_number_of_buckets_is_bounded() -> None:
    durations = Durations()
    for exponent in range(60):
        for step in range(0, 1024, 3):
            durations.record((1 << exponent) + (step << exponent >> 10))
    assert len(durations.counts) < 1024 + 512 * 23


def test_several_at_once() -> None:
    durations = Durations()
    durations.record(10, 99)
    durations.record(5_000)
    assert durations.summary().p95 == 10
    assert durations.summary().count == 100
    assert Durations(durations.counts).counts == durations.counts
