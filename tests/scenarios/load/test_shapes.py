"""Shapes of load: what they stand for, and that payments become due as they say."""

from __future__ import annotations

import math
from itertools import chain, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.service import ConfigurationError
from scenarios.load.arrivals import Arrivals, Due, arrivals, recorded, warm_up
from scenarios.load.demand import Demand
from scenarios.load.session import Order, assignments_of
from scenarios.load.shapes import MARKET_DAY, Point, Shape, constant, day, parse, ramp, spike, steps
from scenarios.spans import seconds_of

SHAPES = [
    (constant(500, 60), 30_000.0, 500.0),
    (ramp(100, 900, 60), 30_000.0, 900.0),
    (ramp(0, 100, 10), 500.0, 100.0),
    (steps([100, 200, 400], 30), 7_000.0, 400.0),
    (steps([0, 10, 0, 10], 4), 20.0, 10.0),
    (spike(300, 1500, 20, 5, 60), 24_000.0, 1500.0),
    (spike(10, 100, 8, 2, 10), 280.0, 100.0),
]


@pytest.mark.parametrize(("shape", "payments", "peak"), SHAPES, ids=lambda one: getattr(one, "text", ""))
def test_what_a_shape_stands_for(shape: Shape, payments: float, peak: float) -> None:
    assert shape.payments == pytest.approx(payments)
    assert shape.peak == peak
    assert shape.mean == pytest.approx(payments / shape.length)
    assert shape.expected(shape.length / 2) < shape.expected(shape.length) == pytest.approx(payments)
    assert shape.expected(-1) == 0
    assert shape.expected(shape.length + 1) == payments


def test_the_day_is_the_market_s() -> None:
    shape = day(800, 240)
    assert shape.peak == 800
    assert shape.expected(160) - shape.expected(60) > 0.6 * shape.payments  # from six in the morning to four
    # the trapezia of the table, by hand
    table = pairwise(MARKET_DAY)
    assert shape.payments == pytest.approx(sum(8000 * (b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in table))


POINTS = st.lists(st.tuples(st.floats(0, 50), st.floats(0, 2000)), min_size=1, max_size=8)


@given(POINTS, st.floats(0, 1))
def test_when_is_the_inverse_of_expected(pieces: list[tuple[float, float]], part: float) -> None:
    at, points = 0.0, [Point(0.0, 1.0)]
    for length, rate in pieces:
        at += length
        points.append(Point(at, rate))
    shape = Shape("", (*points, Point(at + 1.0, 5.0)))
    wanted = shape.payments * part
    found = shape.when(wanted)
    if found is None:
        assert wanted >= shape.payments
    else:
        assert shape.expected(found) == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shape", [shape for shape, _, _ in SHAPES], ids=lambda shape: shape.text)
def test_evenly_spread_payments_are_as_many_as_the_integral(shape: Shape) -> None:
    due = [one.at for one in arrivals(shape, Arrivals.UNIFORM, Random(1))]
    assert due == sorted(due)
    for until in (shape.length / 3, shape.length / 2, shape.length):
        assert abs(sum(at <= until for at in due) - shape.expected(until)) <= 1


@pytest.mark.parametrize("shape", [shape for shape, _, _ in SHAPES], ids=lambda shape: shape.text)
def test_poisson_arrivals_are_as_many_as_the_integral_within_chance(shape: Shape) -> None:
    due = [one.at for one in arrivals(shape, Arrivals.POISSON, Random(7))]
    assert due == sorted(due)
    for until in (shape.length / 3, shape.length / 2, shape.length):
        expected = shape.expected(until)
        assert abs(sum(at <= until for at in due) - expected) < 4 * math.sqrt(expected) + 1


def test_poisson_gaps_are_exponential() -> None:
    due = [one.at for one in arrivals(constant(100, 200), Arrivals.POISSON, Random(3))]
    gaps = [later - earlier for earlier, later in pairwise(due)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.01, rel=0.03)
    # an exponential's standard deviation is its mean, and 1/e of its values are longer than that
    assert math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) == pytest.approx(mean, rel=0.05)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(1 / math.e, rel=0.05)


@pytest.mark.parametrize("how", Arrivals)
def test_parts_together_are_the_whole(how: Arrivals) -> None:
    shape = ramp(50, 150, 20)
    parts = [[one.at for one in arrivals(shape, how, Random(part), part=part, parts=4)] for part in range(4)]
    for part in parts:
        assert abs(len(part) - 500) < 90
    assert sum(map(len, parts)) == pytest.approx(2000, abs=180)
    if how is Arrivals.UNIFORM:
        whole = [one.at for one in arrivals(shape, how, Random(1))]
        assert sorted(chain.from_iterable(parts)) == pytest.approx(whole)


def test_warming_up_is_before_time_zero_and_at_the_first_rate() -> None:
    due = [one.at for one in warm_up(steps([100, 400], 20), 5, Arrivals.UNIFORM, Random(1))]
    assert len(due) == 500
    assert -5 <= due[0] < due[-1] < 0
    assert len(list(warm_up(ramp(0, 100, 10), 5, Arrivals.UNIFORM, Random(1)))) == 50
    assert not list(warm_up(constant(100, 20), 0, Arrivals.UNIFORM, Random(1)))


def test_a_recorded_day_is_dealt_out() -> None:
    day = [Due(number / 10, 100 + number) for number in range(10)]
    assert list(recorded(day, part=1, parts=3)) == [day[1], day[4], day[7]]


@pytest.mark.parametrize(
    ("asked", "text", "payments"),
    [
        ({"rate": 20}, "constant 20/s", 1200),
        ({"ramp_text": "10:30"}, "ramp 10/s to 30/s", 1200),
        ({"step_text": "10,20,30"}, "step 10/s, 20/s, 30/s", 1200),
        ({"spike_text": "10:100@20s+6s"}, "spike 10/s to 100/s at 20 s for 6 s", 1140),
        ({"spike_text": "10:100@0.5m+500ms"}, "spike 10/s to 100/s at 30 s for 0.5 s", 645),
        ({"day_peak": 10}, "day, busiest 10/s", 230),
    ],
)
def test_shapes_of_the_command_line(asked: dict[str, object], text: str, payments: float) -> None:
    shape = parse(60.0, **asked)  # type: ignore[arg-type]
    assert shape is not None
    assert shape.text == text
    assert shape.payments == pytest.approx(payments, rel=0.1)
    assert Shape.from_json(shape.as_json()) == shape


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"rate": 0.0}, "--rate: 0 is not above 0"),
        ({"rate": math.nan}, "--rate: nan"),
        ({"rate": 1e9}, "at most 200,000 payments a second"),
        ({"ramp_text": "10"}, "--ramp: '10' is no ramp such as 100:900"),
        ({"ramp_text": "0:0"}, "--ramp: '0:0' is no ramp"),
        ({"ramp_text": "a:9"}, "--ramp: 'a' is no rate"),
        ({"step_text": "10,-1"}, "--step: '-1' is no rate"),
        ({"step_text": ""}, "--step: '' is no rate"),
        ({"step_text": ",".join(["1"] * 101)}, "at most 100 levels"),
        ({"spike_text": "10:100"}, "--spike: '10:100' is no spike such as 300:1500@20s+5s"),
        ({"spike_text": "10:100@50s+20s"}, "ends after the run, which takes 60 s"),
        ({"spike_text": "10:100@x+20s"}, "--spike: 'x' is not a span of time"),
        ({"spike_text": "0:0@1s+1s"}, "one of the two rates is above zero"),
        ({"rate": 5, "day_peak": 5}, "--rate and --day: a load has one shape"),
    ],
)
def test_what_is_no_shape_is_refused(asked: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told.replace("+", r"\+")):
        parse(60.0, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("1500ms", 1.5), ("2000000us", 2), (" 5s ", 5), (".5m", 30)],
)
def test_spans_of_time(text: str, seconds: float) -> None:
    assert seconds_of("--for", text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 s", "1d", "0.5s", "169h", "nan", "inf", "1e3", "١s"])
def test_what_is_no_span_of_time(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--for: .* is not a span of time from 1s to 604800s"):
        seconds_of("--for", text)


def test_machines_with_different_numbers_of_generators_share_without_overlap() -> None:
    """Of two machines one has three generators, the other one: each payment, terminal and card is somebody's, once."""
    parts = [
        (one.demand.part, one.demand.parts)
        for order in (
            Order("steady", 10.0, Demand(rate=10.0, part=0, parts=2), generators=3),
            Order("steady", 10.0, Demand(rate=10.0, part=1, parts=2), generators=1),
        )
        for one in assignments_of(order, Path(), 10, None)
    ]
    dealt = sorted(chain.from_iterable(list(range(60))[part::among] for part, among in parts))
    assert dealt == list(range(60))
