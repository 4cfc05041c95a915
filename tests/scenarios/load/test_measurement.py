"""What a run counts, and that several generators' counts add up exactly."""

from __future__ import annotations

import json
from dataclasses import asdict
from random import Random

import pytest

from network.durations import Durations
from scenarios.measurement import KINDS_OF_ERRORS, Ended, Measurement, heat


def receipt(outcome: str, code: str | None = None, amount: int = 100, reason: str | None = None) -> dict[str, object]:
    return {"outcome": outcome, "response_code": code, "amount": amount, "reason": reason, "offline": False}


def ended(due: float, response: int, kind: dict[str, object], lag: int = 0) -> Ended:
    return Ended(due + response / 1e6, due, response, response - lag, lag, kind, "card")  # type: ignore[arg-type]


def a_share(dice: Random, measurements: list[Measurement], payments: int) -> None:
    """Payments that each of some measurements hears of."""
    kinds = [receipt("approved", "00"), receipt("declined", "51"), receipt("declined", "91"), receipt("unknown")]
    kinds.append(receipt("refused", reason="the phone is busy"))
    for _ in range(payments):
        due = dice.uniform(-2, 60)
        lag = round(dice.expovariate(1 / 500))
        one = ended(due, lag + round(dice.lognormvariate(9.5, 1.0)), dice.choice(kinds), lag)
        for measurement in measurements:
            measurement.planned(due)
            measurement.began(due, lag, lag // 2)
            measurement.record(one)


def test_shares_add_up_to_what_one_recorder_would_have_counted() -> None:
    dice = Random(1)
    whole, together = Measurement(60.0), Measurement(60.0)
    parts = [Measurement(60.0) for _ in range(3)]
    for part in parts:
        a_share(dice, [whole, part], 2_000)
    for part in parts:
        together.add(Measurement.from_json(json.loads(json.dumps(part.as_json()))))
    assert together.as_json() == whole.as_json()
    assert together.histograms() == whole.histograms()
    assert [asdict(one) for one in together.timeline()] == [asdict(one) for one in whole.timeline()]


def test_measurements_of_different_runs_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="runs of different lengths"):
        Measurement(60.0).add(Measurement(600.0))


def test_encoded_durations_come_back_as_they_were() -> None:
    dice, durations = Random(2), Durations()
    for _ in range(5_000):
        durations.record(round(dice.lognormvariate(9, 3)) + 1, dice.randrange(1, 4))
    assert Durations.decoded(durations.encoded()).counts == durations.counts
    assert Durations.decoded(Durations().encoded()).counts == {}


@pytest.mark.parametrize(
    "text", ["", "x", "HISTFAAA", "HISTFAAAAC54nJNpmSzMwMDAzwABzFC", "bm90aGluZyBvZiB0aGUga2luZA=="]
)
def test_what_is_no_histogram(text: str) -> None:
    with pytest.raises(ValueError, match="not an encoded HdrHistogram"):
        Durations.decoded(text)


def test_the_quick_percentile_is_near_the_histogram_s() -> None:
    dice, durations = Random(3), Durations()
    for _ in range(10_000):
        durations.record(round(dice.lognormvariate(9, 1)))
    exact = durations.summary()
    assert durations.percentile(50) == pytest.approx(exact.p50, rel=0.002)
    assert durations.percentile(99) == pytest.approx(exact.p99, rel=0.002)
    assert Durations().percentile(99) == 0


def test_what_warms_up_does_not_count() -> None:
    measurement = Measurement(10.0)
    measurement.planned(-0.5)
    measurement.began(-0.5, 10, 10)
    measurement.record(ended(-0.5, 900_000, receipt("declined", "91")))
    assert measurement.warm_up == 1
    assert (measurement.due, measurement.sent, measurement.attempts, measurement.stand_in) == (0, 0, 0, 0)
    assert measurement.timeline() == []
    assert measurement.histograms() == {}


def test_a_payment_is_due_in_one_slice_and_ends_in_another() -> None:
    measurement = Measurement(10.0)
    for due, response, kind in [
        (0.5, 1_000, receipt("approved", "00", 250)),
        (0.9, 2_200_000, receipt("unknown")),
        (1.1, 50_000, receipt("declined", "98")),
        (1.2, 60_000, receipt("unknown", "A0")),
        (1.3, 10, receipt("refused", reason="line down")),
    ]:
        measurement.planned(due)
        measurement.began(due, 40, 20)
        measurement.record(ended(due, response, kind))
    first, second, third, fourth = measurement.timeline()
    assert (first.due, first.attempts, first.codes, first.heat) == (2, 1, {"00": 1}, {"896": 1})
    assert (second.due, second.attempts, second.declined, second.failed) == (3, 3, 1, 2)
    assert (second.codes, second.stand_in, second.reversals, second.timeouts) == ({"98": 1, "A0": 1}, 1, 1, 0)
    assert (third.due, third.attempts) == (0, 0)
    assert (fourth.attempts, fourth.timeouts, fourth.reversals, fourth.failed) == (1, 1, 1, 1)
    assert first.lag is not None
    assert first.lag.max == 40
    assert (measurement.unanswered, measurement.timeouts, measurement.stand_in, measurement.amount) == (2, 1, 1, 250)
    errors = {kind: (error.count, error.first_at) for kind, error in measurement.errors.items()}
    assert errors["no answer"] == (1, pytest.approx(3.1))
    assert errors.keys() == {"no answer", "declined 98", "undecided A0", "refused: line down"}


def test_kinds_of_errors_are_limited() -> None:
    measurement = Measurement(10.0)
    for number in range(KINDS_OF_ERRORS + 20):
        measurement.record(ended(1.0, 10, receipt("refused", reason=f"reason {number}")))
    assert len(measurement.errors) == KINDS_OF_ERRORS + 1
    assert measurement.errors["other"].count == 20


def test_classes_of_a_heat_map() -> None:
    durations = Durations()
    for microseconds in (0, 1, 7, 8, 9, 15, 16, 1000, 1023, 1024, 5_000_000):
        durations.record(microseconds)
    classes = heat(durations)
    assert sum(classes.values()) == 11
    assert classes[8] == 2
    assert classes[896] == 2
    for lowest in classes:
        assert lowest == 0 or lowest >> max(0, lowest.bit_length() - 3) << max(0, lowest.bit_length() - 3) == lowest
