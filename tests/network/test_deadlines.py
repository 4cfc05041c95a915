"""Deadlines against the simplest thing that could be right."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.deadlines import RETRY_FAILED, Deadlines
from network.party import Failure, TimerKey, Work

KEYS = st.tuples(st.sampled_from(["answer", "advice", "echo"]), st.sampled_from("abcdef"))
TIMES = st.integers(0, 40)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, TIMES),
        st.tuples(st.just("stop"), KEYS),
        st.tuples(st.just("pop"), TIMES, st.integers(0, 8)),
    ),
    max_size=60,
)


@settings(max_examples=400)
@given(STEPS)
def test_deadlines_are_a_table_of_times(steps: list[tuple[object, ...]]) -> None:
    deadlines = Deadlines()
    model: dict[TimerKey, int] = {}
    for step in steps:
        match step:
            case ("set", (kind, name), int(at)):
                deadlines.set((str(kind), str(name)), at)
                model[(str(kind), str(name))] = at
            case ("stop", (kind, name)):
                deadlines.set((str(kind), str(name)), None)
                model.pop((str(kind), str(name)), None)
            case ("pop", int(now), int(limit)):
                due = deadlines.pop_due(now, limit)
                times = [model[key] for key in due]
                assert len(set(due)) == len(due)
                assert times == sorted(at for at in model.values() if at <= now)[:limit]
                for key in due:
                    del model[key]
        assert len(deadlines) == len(model)
        assert deadlines.next() == min(model.values(), default=None)
    assert sorted(deadlines.pop_due(10**9, 10**6)) == sorted(model)
    assert (len(deadlines), deadlines.next()) == (0, None)


def test_an_earlier_timer_of_a_kind_comes_first() -> None:
    deadlines = Deadlines()
    deadlines.set(("advice", "long"), 100)
    deadlines.set(("advice", "short"), 50)
    assert deadlines.next() == 50
    assert deadlines.pop_due(100, 10) == [("advice", "short"), ("advice", "long")]


def test_no_kind_starves_another() -> None:
    deadlines = Deadlines()
    for number in range(100):
        deadlines.set(("busy", str(number)), 10 + number)
    deadlines.set(("rare", "x"), 10)
    assert ("rare", "x") in deadlines.pop_due(1_000, 2)


@pytest.mark.parametrize("pattern", ["rising", "falling", "moved back and forth"])
def test_memory_does_not_grow_with_timers_that_were_stopped(pattern: str) -> None:
    deadlines = Deadlines()
    deadlines.set(("answer", "stays"), 10**9)
    for number in range(20_000):
        if pattern == "rising":
            deadlines.set(("answer", "x"), 2 * 10**9 + number)
        elif pattern == "falling":
            deadlines.set(("answer", "x"), 10**8 - number)
        else:
            deadlines.set(("answer", "x"), 10**8 + number % 2)
        if number % 2:
            deadlines.set(("answer", "x"), None)
    assert len(deadlines) == 1
    assert len(deadlines._early) <= 100


def test_timers_whose_turn_failed_fall_due_again() -> None:
    deadlines = Deadlines()
    keys = [("answer", "a"), ("retry", "b")]
    deadlines.set_again([Failure(Work([], [], [], [key]), ValueError()) for key in keys], 5)
    assert deadlines.next() == 5 + RETRY_FAILED
    assert deadlines.pop_due(4 + RETRY_FAILED, 10) == []
    assert sorted(deadlines.pop_due(5 + RETRY_FAILED, 10)) == keys
