"""Calibration: known costs are found again, its file is read or refused, and a calibrated world does what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from network.service import ConfigurationError
from network.turn_cost import Linear, MeasuredCost, Quantiles
from network.turn_profile import TurnSample
from scenarios.measurement import Measurement
from scenarios.result import PARTIES
from scenarios.twin import calibration as calibrations
from scenarios.twin import virtual_load
from scenarios.twin.calibrating import fitted
from scenarios.twin.calibration import Calibration, PartyCosts
from scenarios.twin.measuring import LiveRun, demand_of
from scenarios.twin.overhead import crossing, telling
from scenarios.twin.regression import CalibrationError, fit, fit_parties, fit_runs, linear, slowness

KNOWN = MeasuredCost(
    outside=Linear(60, 0, {"terminal": 6, "switch": 4}),
    deciding=Linear(250, 130, {"terminal": 95, "switch": 70}),
    sending=Linear(40, 0, {"terminal": 7, "switch": 14}),
    waiting=Quantiles.of([150.0]),
    chance=((0.0, Quantiles.of([1.0])),),
)
COLD = 1.8
ONCE = Quantiles.of([1.0])


def turns(count: int, *, noise: float = 0.2, seed: int = 1) -> list[TurnSample]:
    """Turns as a party with `KNOWN` costs would take them: batches of any size, cold after idleness, noisy."""
    random = Random(seed)
    made = []
    for _ in range(count):
        size = round(random.expovariate(0.15)) + 1
        terminal = random.randrange(size + 1)
        kinds = {kind: n for kind, n in (("terminal", terminal), ("switch", size - terminal)) if n}
        wrote = random.random() < 0.8
        idle = random.choice((0, 8_000))
        factor = (COLD if idle else 1.0) * random.lognormvariate(0, noise)
        parts = [factor * part.of(kinds, wrote) for part in (KNOWN.outside, KNOWN.deciding, KNOWN.sending)]
        waiting = random.lognormvariate(5, 0.4) if wrote else 1.0
        made.append(TurnSample(kinds, wrote, idle, *map(round, (parts[0], parts[1], waiting, parts[2])), 0))
    return made


def test_known_costs_are_found_again() -> None:
    found = fit(turns(20_000))
    warm, cold = found.chance[0][1], found.chance[-1][1]
    assert cold.mean / warm.mean == pytest.approx(COLD, rel=0.05)
    for part, known in (
        (found.outside, KNOWN.outside),
        (found.deciding, KNOWN.deciding),
        (found.sending, KNOWN.sending),
    ):
        # the parts of a turn and of an event as warm turns have them
        scale = warm.mean
        assert part.turn * scale == pytest.approx(known.turn, rel=0.12, abs=4)
        for kind, cost in known.events.items():
            assert part.events[kind] * scale == pytest.approx(cost, rel=0.08, abs=1)
    assert found.deciding.write * warm.mean == pytest.approx(KNOWN.deciding.write, rel=0.12)
    assert found.waiting.at(0.5) == pytest.approx(148, rel=0.05)
    assert found.waiting.at(0.99) == pytest.approx(148 * 2.54, rel=0.1)
    # the spread that was put in comes out: a fifth, log-normal
    assert warm.at(0.9) / warm.at(0.5) == pytest.approx(1.29, rel=0.05)


def test_what_is_charged_is_what_was_measured() -> None:
    samples = turns(8_000, seed=3)
    found = fit(samples)
    random = Random(5)
    charged = [found.charge(one.kinds, one.wrote, one.idle, random) for one in samples]
    for ours, theirs in (
        (sum(one.computing for one in charged), sum(one.outside + one.deciding for one in samples)),
        (sum(one.sending for one in charged), sum(one.sending for one in samples)),
        (sum(one.waiting for one in charged), sum(one.waiting for one in samples if one.wrote)),
    ):
        assert ours == pytest.approx(theirs, rel=0.03)


def test_a_stall_of_the_machine_is_no_property_of_turns() -> None:
    samples = turns(2_000)
    stalled = TurnSample({"switch": 1}, True, 0, 70, 400, 1_800_000, 50, 0)
    assert fit([*samples, stalled]).waiting == fit(samples).waiting


def in_moments(samples: list[TurnSample], part: float) -> list[TurnSample]:
    """The same turns, so many of them at the mercy of the machine, whose slow and fast moments last fifty turns."""
    random = Random(11)
    made = []
    moment = 1.0
    for place, sample in enumerate(samples):
        if place % 50 == 0:
            moment = random.lognormvariate(0, 0.2)
        chance = moment if random.random() < part else random.lognormvariate(0, 0.2)
        outside, deciding, sending = (round(chance * one) for one in (sample.outside, sample.deciding, sample.sending))
        made.append(replace(sample, outside=outside, deciding=deciding, sending=sending))
    return made


def test_what_the_machine_did_to_all_turns_of_a_moment_is_found() -> None:
    samples = turns(16_000, noise=0.0, seed=7)
    assert fit_runs([in_moments(samples, 0.7)]).together == pytest.approx(0.7, abs=0.06)
    assert fit_runs([in_moments(samples, 0.0)]).together < 0.15


def test_turns_of_many_events_that_are_cheaper_for_it_are_found() -> None:
    samples = [
        replace(one, deciding=one.deciding // 2, outside=one.outside // 2, sending=one.sending // 2)
        if sum(one.kinds.values()) >= 16
        else one
        for one in turns(16_000, noise=0.0, seed=9)
    ]
    bulk = fit_runs([samples]).bulk
    assert [events for events, _ in bulk] == sorted(events for events, _ in bulk)
    assert bulk[-1][1] < 0.8 * max(factor for _, factor in bulk)


def test_a_calibration_is_taken_to_the_speed_of_another_moment() -> None:
    costs = dict.fromkeys(PARTIES, KNOWN)
    wire = calibrations.WireCosts(latency=100.0, jitter=50.0)
    made = calibrations.make(costs, wire=wire, lag=ONCE, store="SQLite", time_slice=4_000.0, runs=())
    assert made.slower(1.5).costs()["issuer"].chance[0][1].mean == pytest.approx(1.5)
    assert made.slower(1.0).costs() == made.costs()


def test_how_slow_the_machine_was_in_a_run_is_told_apart_from_what_turns_cost() -> None:
    """Three runs of the same turns, the second on a machine of half the speed: costs are the same in all."""
    speeds = (1.0, 2.0, 1.0)
    runs = [
        {party: at_speed(turns(6_000, seed=seed), times) for party in ("issuer", "switch")}
        for seed, times in enumerate(speeds)
    ]
    costs, slow = fit_parties(runs)
    assert slow[1] / slow[0] == pytest.approx(2.0, rel=0.03)
    assert slow[2] / slow[0] == pytest.approx(1.0, rel=0.03)
    assert slowness(costs, runs[1]) == pytest.approx(slow[1])
    assert slowness(costs, {"issuer": at_speed(runs[0]["issuer"], 3.0)}) == pytest.approx(3 * slow[0], rel=0.03)


def at_speed(samples: list[TurnSample], times: float) -> list[TurnSample]:
    """The same turns on a machine that takes so many times as long."""
    return [
        replace(
            one,
            outside=round(one.outside * times),
            deciding=round(one.deciding * times),
            sending=round(one.sending * times),
        )
        for one in samples
    ]


def test_what_shared_processors_lose_is_where_simulated_latencies_meet_the_measured() -> None:
    assert crossing((1.0, 1.1, 1.2), (-0.2, -0.1, 0.1)) == pytest.approx(1.15)
    assert crossing((1.0, 1.1), (0.1, 0.3)) == 1.0
    assert crossing((1.0, 1.1), (-0.3, -0.1)) == 1.1


def test_runs_with_idle_processors_and_full_ones_say_nothing_of_what_is_lost() -> None:
    rates = (1_000.0, 30.0, 100.0, 250.0, 650.0, 800.0)
    runs = [calibrations.MeasuredRun(rate=rate, payments=10, p50=1.0, p99=2.0, turns={}, others=0.0) for rate in rates]
    assert [run.rate for run in telling(runs)] == [250.0, 650.0]


def test_a_cost_is_not_below_zero() -> None:
    lines = [({"turn": 1.0, "event": float(n)}, 100.0 - n, 1.0) for n in range(1, 20)]
    assert linear(lines)["event"] == 0.0


def test_too_few_turns_say_nothing() -> None:
    with pytest.raises(CalibrationError, match="49 turns were measured, 50 are needed"):
        fit(turns(49))
    short = LiveRun(10.0, Measurement(1.0).latency.summary(), 1.0, 0.0, True, {"issuer": turns(3)})
    with pytest.raises(CalibrationError, match="issuer: 3 turns"):
        fitted([short], "SQLite")


# the file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = calibrations.reference()
    calibrations.write(made, tmp_path / "a" / "calibration.json")
    assert calibrations.read(tmp_path / "a" / "calibration.json") == made
    assert PartyCosts.of(made.costs()["switch"]) == made.parties["switch"]


def changed(**changes: Any) -> dict[str, Any]:
    plain = calibrations.reference().model_dump(mode="json")
    for path, value in changes.items():
        *way, last = path.split("__")
        place: Any = plain
        for step in way:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return plain


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is not JSON"),
        ("[]", "it has no fourparty_calibration"),
        (json.dumps({"fourparty_calibration": 7}), "has the calibration format 7, this version reads 2"),
        (json.dumps(changed(parties__issuer=None)), "it has no costs of issuer"),
        (json.dumps(changed(parties__issuer__deciding__turn=-1)), r"parties\.issuer\.deciding\.turn: Input should be"),
        (json.dumps(changed(parties__issuer__deciding__turn="x")), r"parties\.issuer\.deciding\.turn"),
        (json.dumps(changed(parties__switch__waiting=[1.0])), r"parties\.switch\.waiting: Tuple should have at least"),
        (json.dumps(changed(parties__switch__chance=[])), r"parties\.switch\.chance"),
        (json.dumps(changed(machine__processors=0)), r"machine\.processors"),
        (json.dumps(changed(surprise=1)), "surprise: Extra inputs"),
    ],
)
def test_what_is_no_calibration_is_told_in_a_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as raised:
        calibrations.read(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_coldness_begins_at_nothing(tmp_path: Path) -> None:
    plain = changed()
    plain["parties"]["switch"]["chance"][0]["idle_from"] = 5
    (tmp_path / "c.json").write_text(json.dumps(plain))
    with pytest.raises(ConfigurationError, match="chance does not begin at 0 and grow"):
        calibrations.read(tmp_path / "c.json")


# a calibrated world


def played(calibration: Calibration | None, rate: float = 40.0, seed: int = 3) -> dict[int, int]:
    found = virtual_load.play("steady", demand_of(rate, 1.0), 1.0, 24, seed, calibration)
    assert found.books_agree
    assert found.measurement.approved > rate / 2
    return dict(found.measurement.latency.counts)


@pytest.mark.slow
def test_a_calibrated_world_is_repeatable_and_its_machine_matters() -> None:
    measured = calibrations.reference()
    one, again = played(measured), played(measured)
    assert one == again
    assert one != played(None)
    busy = measured.model_copy(update={"machine": measured.machine.model_copy(update={"processors": 1})})
    assert middle(played(busy, 120.0)) > 1.1 * middle(played(measured, 120.0))


def middle(counts: dict[int, int]) -> float:
    return sum(us * times for us, times in counts.items()) / sum(counts.values())
