"""Service-level objectives: what can be said, what cannot, and who has met them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from network.service import ConfigurationError
from scenarios.load.slo import METRICS, judge, parse
from scenarios.measurement import Ended, Measurement
from scenarios.stories import UNDER_LOAD


def receipt(outcome: str, code: str | None) -> dict[str, object]:
    return {"outcome": outcome, "response_code": code, "amount": 100, "reason": "busy", "offline": False}


@pytest.fixture
def measured() -> Measurement:
    """A thousand payments of 1 to 1000 ms: 980 approved, 10 declined, 5 without an answer, 5 refused."""
    measurement = Measurement(10.0)
    for number in range(1, 1001):
        kind = receipt("approved", "00")
        if number % 100 == 0:
            kind = receipt("declined", "91")
        elif number % 200 == 50:
            kind = receipt("unknown", None)
        elif number % 200 == 150:
            kind = receipt("refused", None)
        measurement.record(Ended(1.0, 0.5, number * 1_000, number * 1_000, 0, kind, "card"))  # type: ignore[arg-type]
    return measurement


@pytest.mark.parametrize(
    ("text", "met", "actual"),
    [
        ("p50<510ms", True, 500_000),
        ("p50<490ms", False, 500_000),
        ("p90 < 0.91 s", True, 900_000),
        ("p95<=960000us", True, 950_000),
        ("p99<1s", True, 990_000),
        ("p99.9<980ms", False, 999_000),
        ("max<=1s", True, 1_000_000),
        ("max<999ms", False, 1_000_000),
        ("mean>400ms", True, 500_000),
        ("approved>97%", True, 0.98),
        ("approved>=98%", True, 0.98),
        ("approved>98%", False, 0.98),
        ("approved>979", True, 980),
        ("declined<1%", False, 0.01),
        ("declined<=10", True, 10),
        ("errors<1.5%", True, 0.01),
        ("unanswered<5", False, 5),
        ("timeouts<=5", True, 5),
        ("stand_in>0", True, 10),
        ("reversals<=7", True, 7),
        ("rate>95", True, 98.0),
        ("rate>99/s", False, 98.0),
    ],
)
def test_objectives(measured: Measurement, text: str, met: bool, actual: float) -> None:
    (threshold,) = judge(parse(text), measured, reversals=7, throughput=98.0)
    assert threshold.text == text
    assert threshold.met is met
    assert threshold.actual == pytest.approx(actual, rel=0.01)


def test_several_at_once_and_none(measured: Measurement) -> None:
    thresholds = judge(parse("p99<200ms, approved>97%"), measured, reversals=0, throughput=98.0)
    assert [(one.metric, one.met) for one in thresholds] == [("p99", False), ("approved", True)]
    assert thresholds[0].limit == 200_000
    assert judge(parse(None), measured, reversals=0, throughput=98.0) == []


def test_what_was_not_measured_is_not_met() -> None:
    for text in ("p99<200ms", "max<1s", "mean<1s", "approved>0%", "errors<1%"):
        (threshold,) = judge(parse(text), Measurement(10.0), reversals=0, throughput=0.0)
        assert threshold.actual is None
        assert not threshold.met


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("p98<200ms", "there is no metric 'p98' in 'p98<200ms': there is p50, p90, p95, p99, p99.9, max, mean"),
        ("aproved>99%", "there is no metric 'aproved'"),
        ("P99<200ms", "there is no metric 'P99'"),
        ("<200ms", "there is no metric ''"),
        ("p99<200", "p99 in 'p99<200' is a time and needs a unit: us, ms, s"),
        ("p99<200m", "needs a unit: us, ms, s"),
        ("p99<200%", "needs a unit"),
        ("approved>99ms", "approved in 'approved>99ms' is a part in % or a number of payments without a unit"),
        ("approved>101%", "is more than 100 %"),
        ("rate>10%", "is payments a second"),
        ("p99", "'p99' is no objective such as p99<200ms or approved>99%"),
        ("p99=200ms", "is no objective"),
        ("p99<-5ms", "is no objective"),
        ("p99<200ms,", "'' is no objective"),
        ("", "'' is no objective"),
        ("p99<nanms", "is no objective"),
        (",".join(["max<1s"] * 21), "at most 20 objectives"),
    ],
)
def test_what_is_no_objective(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        parse(text)


def test_the_message_names_every_metric() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse("speed>1")
    assert all(metric in str(caught.value) for metric in METRICS)


def test_the_document_lists_every_metric_and_scenario() -> None:
    text = (Path(__file__).parents[3] / "docs" / "load.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named >= {*METRICS, *UNDER_LOAD}
