"""What the charts of a report are made of: axes, series, percentile curves and heat maps as data."""

from __future__ import annotations

import doctest
import importlib
import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_load import peak
from sample_result import market_day

from network.durations import Durations, Summary
from scenarios.report.axis import latency_axis, linear_axis, logarithmic_latency_axis, rarity_axis
from scenarios.report.chart import Chart
from scenarios.report.heat import heat_chart, row_bounds
from scenarios.report.histograms import added, curve, percentiles, read_histograms
from scenarios.report.over_time import (
    FAULTY,
    codes_chart,
    lag_chart,
    latency_chart,
    throughput_chart,
    time_charts,
    trouble_chart,
    unit_of_rates,
)
from scenarios.report.result_file import ReportError
from scenarios.result import FaultWindow, Interval

NONE = Summary(0, 0, 0, 0, 0)


@pytest.mark.parametrize("name", ["quantities", "axis", "heat", "folders"])
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"scenarios.report.{name}")).failed == 0


def interval(start: float, approved: int = 0, declined: int = 0, failed: int = 0, latency: Summary = NONE) -> Interval:
    return Interval(start, 10.0, approved + declined + failed, approved, declined, failed, latency)


def lines(chart: Chart) -> dict[str, list[float | None]]:
    return {one.label: list(one.values) for one in chart.series}


@given(st.floats(0, 1e9))
def test_a_linear_axis_holds_what_is_drawn_with_few_ticks(high: float) -> None:
    axis = linear_axis(high)
    assert axis.bottom == 0
    assert high <= axis.top * (1 + 1e-9)
    assert axis.top <= max(high * 2, 0.001)
    assert 2 <= len(axis.ticks) <= 6
    assert len({label for _, label in axis.ticks}) == len(axis.ticks)


@given(st.integers(0, 3_600_000_000), st.integers(0, 3_600_000_000))
def test_an_axis_of_latencies_holds_them(one: int, other: int) -> None:
    low, high = sorted((one, other))
    for axis in (latency_axis(low, high), logarithmic_latency_axis(low, high)):
        assert axis.bottom <= max(1, low)
        assert axis.top >= high
        assert 2 <= len(axis.ticks) <= 8
        assert all(axis.bottom <= place <= axis.top for place, _ in axis.ticks)
        assert len({label for _, label in axis.ticks}) == len(axis.ticks)


def test_latencies_far_apart_get_a_logarithmic_axis() -> None:
    near = latency_chart([interval(0, latency=Summary(9, 1_000, 2_000, 9_000, 9_000))])
    far = latency_chart([interval(0, latency=Summary(9, 1_000, 2_000, 9_000, 90_000))])
    assert near is not None
    assert far is not None
    assert not near.up.logarithmic
    assert near.title == "Latency over time"
    assert far.up.logarithmic
    assert "logarithmic" in far.title


def test_the_axis_of_percentiles_ends_where_the_data_do() -> None:
    assert [label for _, label in rarity_axis(1).ticks] == ["0 %", "50 %"]
    assert [label for _, label in rarity_axis(1000).ticks][-1] == "99.9 %"


def test_rates_are_told_in_a_unit_that_is_not_small() -> None:
    assert unit_of_rates([interval(0, 100)])[0] == "second"
    assert unit_of_rates([interval(0, 9)])[0] == "minute"
    assert unit_of_rates([Interval(0, 600.0, 5, 5, 0, 0, NONE)])[0] == "hour"
    chart = throughput_chart([interval(0, 6, 2, 1), interval(10), interval(20, 0, 0, 9)])
    assert chart.title == "Payments per minute"
    assert lines(chart) == {"approved": [36, 0, 0], "declined": [12, 0, 0], "failed": [6, 0, 54]}
    assert chart.up.top >= 54
    assert chart.across == [[5, 15, 25]]
    assert chart.end == 30


def test_what_was_due_is_drawn_until_the_last_was_due() -> None:
    timeline = [replace(interval(0, 10), due=20), replace(interval(10, 20), due=20), interval(20, 10)]
    assert lines(throughput_chart(timeline))["due"] == [2, 2, None]
    assert "due" not in lines(throughput_chart([interval(0, 10)]))


def test_lines_break_where_nothing_was_measured() -> None:
    seen = Summary(3, 5_000, 8_000, 10_000, 12_000)
    chart = latency_chart([interval(0, latency=seen), interval(10), interval(20, latency=seen)])
    assert chart is not None
    assert lines(chart) == {
        "p50": [5_000, None, 5_000],
        "p95": [8_000, None, 8_000],
        "p99": [10_000, None, 10_000],
        "max": [12_000, None, 12_000],
    }
    assert [row[1] for row in chart.table()] == ["5.00 ms", "-", "5.00 ms"]


def test_what_has_no_data_is_no_chart() -> None:
    plain = [interval(0, 5)]
    assert latency_chart(plain) is None
    assert lag_chart(plain) is None
    assert codes_chart([replace(plain[0], codes={"00": 5})]) is None
    assert trouble_chart(plain) is None
    assert heat_chart(plain) is None
    assert [chart.key for chart in time_charts(market_day())] == ["throughput", "latency"]
    assert [chart.key for chart in time_charts(peak())] == ["throughput", "latency", "lag", "codes", "trouble"]


def test_rare_codes_are_drawn_as_one_and_faults_lie_at_the_bottom() -> None:
    codes = {"00": 900, **{f"{number:02d}": number for number in range(40, 50)}, "91": 3, "Z9": 50}
    chart = codes_chart([replace(interval(0, 10), codes=codes)])
    assert chart is not None
    labels = [one.label for one in chart.series]
    assert len(labels) == 8
    assert labels[0] == "Z9 not a known code"
    assert labels[-1] == "5 others"
    assert lines(chart)["5 others"] == [pytest.approx((40 + 41 + 42 + 43 + 3) / 10)]
    few = codes_chart([replace(interval(0, 10), codes={"51": 9, "91": 3, "98": 5})])
    assert few is not None
    assert [one.label[:2] for one in few.series] == ["98", "91", "51"]
    assert len({one.colour for one in few.series}) == 3
    assert "51" not in FAULTY


def test_fault_windows_are_in_every_chart_over_time() -> None:
    windows = [FaultWindow(1.0, 2.0, "the switch is gone")]
    result = replace(peak(), faults=windows)
    charts = [*time_charts(result), heat_chart(result.timeline, result.faults)]
    assert len(charts) == 6
    assert all(chart is not None and chart.drawing()["windows"] == [[1.0, 2.0, windows[0].what]] for chart in charts)


@pytest.mark.parametrize(
    ("timeline", "place"),
    [([interval(10), interval(0)], r"timeline\[1\]"), ([interval(-10)], r"timeline\[0\]")],
    ids=("back", "before"),
)
def test_a_timeline_out_of_order_is_refused(timeline: list[Interval], place: str) -> None:
    with pytest.raises(ReportError, match=place):
        time_charts(replace(market_day(), timeline=timeline))


# histograms


def recorded(count: int, seed: int = 1) -> list[int]:
    dice = random.Random(seed)
    return [round(dice.lognormvariate(9, 0.8)) for _ in range(count)]


def histogram_of(values: list[int]) -> Durations:
    durations = Durations()
    for value in values:
        durations.record(value)
    return durations


@pytest.mark.parametrize("count", [1, 2, 3, 10, 999, 20_000])
def test_a_curve_says_how_long_the_slowest_of_so_many_took(count: int) -> None:
    values = sorted(recorded(count))
    durations = histogram_of(values)
    points = curve(durations.histogram(), durations.summary().max)
    assert points[-1] == (count, durations.summary().max)
    assert [place for place, _ in points] == sorted({place for place, _ in points})
    assert [value for _, value in points] == sorted(value for _, value in points)
    for one_in, value in points:
        # one in so many is at least this long, to the histogram's three digits and one place of rounding
        rank = count - count / one_in
        low, high = values[max(0, math.floor(rank) - 2)], values[min(count - 1, math.ceil(rank) + 1)]
        assert low * 0.997 <= value <= high * 1.003


def test_percentiles_are_told_as_far_as_something_lies_beyond_them() -> None:
    values = recorded(1000)
    durations = histogram_of(values)
    told = dict(percentiles(durations.histogram(), durations.summary().max))
    assert list(told) == [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0]
    assert told[100.0] == durations.summary().max
    assert told[50.0] == pytest.approx(sorted(values)[499], rel=0.005)


def test_histograms_are_read_and_added() -> None:
    first, second = recorded(500, 1), recorded(700, 2)
    encoded = {
        name: histogram_of(values).histogram().encode().decode() for name, values in (("a", first), ("b", second))
    }
    encoded["none"] = Durations().histogram().encode().decode()
    read = read_histograms(encoded)
    assert list(read) == ["a", "b"]
    both = added(read.values())
    assert both.get_total_count() == 1200
    whole = histogram_of(first + second).histogram()
    for percentile in (1, 50, 99, 100):
        assert both.get_value_at_percentile(percentile) == whole.get_value_at_percentile(percentile)


BOMB = "HISTFAAAAAB42u3BMQEAAADCIPuntsROYAAAAAAAAAAAAAAAAAAAAAAAAA=="


@pytest.mark.parametrize("text", ["", "abc", "AAAA" * 20, "HISTFAAAAA", "ÿ", BOMB, "A" * (1 << 21)], ids=range(7))
def test_what_is_no_histogram_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(ReportError, match=r"histograms\.response"):
        read_histograms({"response": text})


# heat maps


def test_cells_of_the_heat_map_hold_every_payment_in_its_row() -> None:
    result = peak()
    chart = heat_chart(result.timeline)
    assert chart is not None
    assert chart.heat is not None
    rows = chart.heat.rows
    assert rows == sorted(set(rows))
    for one, column in zip(result.timeline, chart.heat.columns, strict=True):
        assert Counter({rows[row]: payments for row, payments in column}) == Counter(
            {int(low): payments for low, payments in one.heat.items()}
        )
    assert chart.heat.most == max(payments for one in result.timeline for payments in one.heat.values())
    told = sum(int(row[1].replace(",", "")) for row in chart.table())
    assert told == sum(payments for one in result.timeline for payments in one.heat.values())


def test_a_heat_map_of_few_classes_has_labels_too() -> None:
    chart = heat_chart([replace(interval(0, 1), heat={"65536": 5, "81920": 2})])
    assert chart is not None
    assert [label for _, label in chart.up.ticks] == ["65.5 ms", "81.9 ms", "98.3 ms"]


def test_places_in_time_are_not_rounded_away() -> None:
    chart = throughput_chart([Interval(start, 5.0, 9, 9, 0, 0, NONE) for start in (0.0, 995.0, 1000.0)])
    assert chart.drawing()["x"] == [[2.5, 997.5, 1002.5]]


@pytest.mark.parametrize(
    ("lows", "bounds"),
    [
        ([640], [640, 768]),
        ([0], [1, 2]),
        ([0, 1], [1, 2]),
        ([1024, 1280, 1536, 1792, 2048], [1024, 1280, 1536, 1792, 2048, 2560]),
        ([1024, 2048], [1024, 1280, 2048, 2560]),
        ([100, 105], [100, 105, 121]),
    ],
)
def test_rows_are_as_wide_as_their_class_and_end_at_the_next(lows: list[int], bounds: list[int]) -> None:
    assert row_bounds(lows) == bounds


@given(st.sets(st.integers(0, 10**10), min_size=1, max_size=60))
def test_every_class_begins_a_row(lows: set[int]) -> None:
    bounds = row_bounds(sorted(lows))
    assert {max(low, 1) for low in lows} <= set(bounds[:-1])


@pytest.mark.parametrize(
    ("heat", "message"),
    [
        ({"1.5": 1}, r"timeline\[1\]\.heat: '1.5' is not a whole number of microseconds"),
        ({"-5": 1}, r"timeline\[1\]\.heat: '-5'"),
        ({"²": 1}, r"timeline\[1\]\.heat"),
        ({"9" * 5000: 1}, r"timeline\[1\]\.heat"),
        ({"100": -1}, r"timeline\[1\]\.heat\.100 is negative"),
        ({str(low): 1 for low in range(1, 500)}, "499 classes of latency"),
    ],
)
def test_a_heat_map_that_is_none_is_refused_by_its_place(heat: dict[str, int], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        heat_chart([interval(0, 1), replace(interval(10, 1), heat=heat)])
