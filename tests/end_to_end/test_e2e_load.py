"""Load on live services: what waits is counted, generators that cannot keep up say so, parts on a common beginning."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from running_network import PROJECT, command, environment, typed

from network.durations import Durations
from scenarios.demo_network import demo
from scenarios.demo_network.processes import RunningNetwork
from scenarios.load import coordinator
from scenarios.load.arrivals import Arrivals
from scenarios.load.assignment import Assignment
from scenarios.load.coordinator import Generated
from scenarios.load.demand import Demand
from scenarios.load.gathering import gather
from scenarios.load.shapes import constant
from scenarios.load.slo import parse
from scenarios.load.validity import load_of
from scenarios.worlds import live_world
from scenarios.worlds.live_faults import LiveBreakage

pytestmark = pytest.mark.live

TERMINALS, CARDS = 120, 150
RATE, SECONDS, FROZEN = 50.0, 6.0, 2.0
TIMEOUTS = demo.Timeouts(issuer=4.0, switch=5.0, acquirer=6.0, advice_retry=1.0, reversal_retry=1.0)
"""Longer than anything stands still here, and not so long that a test waits for them for half a minute."""

STANDSTILL = '''
"""A standstill."""

from scenarios.load.demand import Purchase, serve
from scenarios.load.shapes import constant
from scenarios.stage import Cast, Process, Stage, cast


@cast(Cast(sound_cards=True, usual=lambda length: constant(50, length), breaks=("issuer",)))
def standstill(stage: Stage) -> Process:
    """An issuer that stands still for two seconds."""

    def stand_still() -> Process:
        yield stage.until(2.0)
        stage.faults.freeze("issuer")
        yield stage.until(4.0)
        stage.faults.thaw("issuer")

    stage.env.process(stand_still())
    yield from serve(stage, lambda card: Purchase(1_000))
'''

SLUGGISH = '''
"""A generator that has something else to do."""

import time

from scenarios.load.demand import Purchase, serve
from scenarios.load.shapes import constant
from scenarios.stage import Cast, Process, Stage, cast


@cast(Cast(sound_cards=True, usual=lambda length: constant(40, length)))
def sluggish(stage: Stage) -> Process:
    """Every payment takes the generator longer to make than there is time."""

    def buy(card):
        time.sleep(0.05)
        return Purchase(1_000)

    yield from serve(stage, buy)
'''

TALKATIVE = '''
"""A scenario that talks."""

from scenarios.load.demand import Purchase, serve
from scenarios.load.shapes import constant
from scenarios.stage import Cast, Process, Stage, cast


@cast(Cast(sound_cards=True, usual=lambda length: constant(20, length)))
def talkative(stage: Stage) -> Process:
    """Says a word with every payment."""

    def buy(card):
        print("next, please")
        return Purchase(1_000)

    yield from serve(stage, buy)
'''


class Own(NamedTuple):
    """A network of the tests' own, what breaks it, and where to write scenarios."""

    folder: Path
    breakage: LiveBreakage
    scenarios: Path

    def generate(self, program: str, demand: Demand, terminals: int = TERMINALS, seconds: float = SECONDS) -> Generated:
        name = program.partition("def ")[2].partition("(")[0]
        path = self.scenarios / f"{name}.py"
        path.write_text(program)
        return self.play(str(path), demand, terminals, seconds)

    def play(self, scenario: str, demand: Demand, terminals: int, seconds: float) -> Generated:
        assignment = Assignment(self.folder, None, scenario, 1, seconds, terminals, demand)
        return coordinator.generate(RunningNetwork(self.folder), [assignment], breakage=self.breakage)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    with live_world.breakable_network(("issuer", "switch"), phones=TERMINALS, cards=CARDS, timeouts=TIMEOUTS) as (
        processes,
        breakage,
    ):
        yield Own(processes.folder, breakage, tmp_path_factory.mktemp("scenarios"))


def slow(durations: Durations, seconds: float) -> int:
    """How many took at least so long."""
    return sum(times for us, times in durations.counts.items() if us >= seconds * 1_000_000)


def test_a_service_that_stops_shows_as_long_as_it_stopped(own: Own) -> None:
    """Show 5: in open loop all that was due meanwhile has waited, in proportion; in closed loop each terminal once."""
    demand = Demand(shape=constant(RATE, SECONDS), arrivals=Arrivals.UNIFORM, warm_up=1.0)
    opened = own.generate(STANDSTILL, demand)
    measured = opened.measurement
    assert opened.books.agree, opened.books.problems
    assert measured.due == measured.sent == measured.approved == RATE * SECONDS
    (window,) = opened.faults
    assert window.what == "issuer stopped"
    assert window.end - window.start == pytest.approx(FROZEN, abs=0.2)
    # half of what was due in the two seconds waited for more than one
    assert slow(measured.latency, 1.0) >= RATE * (FROZEN - 1.0) - 3
    assert slow(measured.latency, 0.5) >= RATE * (FROZEN - 0.5) - 3
    assert measured.latency.summary().max >= 1_900_000
    assert measured.latency.percentile(99) >= 1_700_000

    closed = own.generate(STANDSTILL, Demand(closed=True), terminals=4, seconds=5.0)
    assert closed.books.agree, closed.books.problems
    assert closed.measurement.attempts > 100
    assert 1 <= slow(closed.measurement.latency, 0.5) <= 8
    of_closed = slow(closed.measurement.latency, 1.0) / closed.measurement.attempts
    assert slow(measured.latency, 1.0) / measured.attempts > 2 * of_closed


def test_a_generator_that_cannot_keep_up_makes_the_run_invalid(own: Own) -> None:
    demand = Demand(shape=constant(40, 2.0), arrivals=Arrivals.UNIFORM)
    generated = own.generate(SLUGGISH, demand, terminals=40, seconds=2.0)
    load = load_of(generated.measurement, demand, duration=2.0, shape="", terminals=40, generators=generated.generators)
    assert not load.valid
    assert "the generators were late: 1 in 100 payments was sent more than" in load.problems[0]
    assert load.lag.p99 > 500_000
    assert generated.books.agree


def test_two_machines_begin_together(own: Own, tmp_path: Path) -> None:
    """Two commands, as on two machines: one with two generators, each with its share, from one instant on."""
    start = (datetime.now().astimezone() + timedelta(seconds=13)).replace(microsecond=0)
    usual = ["--rate", "40", "--for", "3s", "--warm-up", "1s", "--dir", str(own.folder), "--at", "127.0.0.1", "--json"]
    day = tmp_path / "day.jsonl"
    parts = [
        [
            "--part",
            "1/2",
            "--generators",
            "2",
            "--max-lag",
            "10s",
            "--record",
            str(day),
            "--slo",
            "p99<30s, approved>=99%, max<1us",
        ],
        ["--part", "2/2", "--max-lag", "10s", "--slo", "approved>=99%"],
    ]
    running = [
        subprocess.Popen(
            command(
                "load", "steady", *usual, *more, "--start-at", start.isoformat(), "--report", tmp_path / str(place)
            ),
            cwd=PROJECT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place, more in enumerate(parts)
    ]
    said = [process.communicate(timeout=90) for process in running]
    assert [process.returncode for process in running] == [99, 0], said
    one, two = (json.loads(out) for out, _ in said)
    assert [datetime.fromisoformat(each["started_at"]) for each in (one, two)] == [start + timedelta(seconds=1)] * 2
    assert [each["load"]["generators"] for each in (one, two)] == [2, 1]
    assert one["load"]["shape"] == "constant 40/s, part 1 of 2"
    assert one["load"]["due"] + two["load"]["due"] == pytest.approx(120, abs=45)
    assert [threshold["met"] for threshold in one["thresholds"]] == [True, True, False]
    for each in (one, two):
        check_result(each)
    assert len(day.read_text().splitlines()) == one["attempts"]
    whole = gather([tmp_path / "0", tmp_path / "1"], parse("approved>=99%"))
    assert whole.attempts == one["attempts"] + two["attempts"]
    assert whole.amount == one["amount"] + two["amount"]
    assert whole.end_to_end.max == max(one["end_to_end"]["max"], two["end_to_end"]["max"])
    assert whole.load is not None
    assert (whole.load.generators, whole.load.shape, whole.load.valid) == (3, "constant 40/s, 2 parts", True)
    assert whole.thresholds[0].met
    assert whole.books.agree


def check_result(result: dict[str, Any]) -> None:
    assert result["load"]["valid"], result["load"]["problems"]
    assert result["approved"] == result["attempts"] == result["load"]["due"]
    response = Durations.decoded(result["histograms"]["response"])
    assert sum(response.counts.values()) == result["attempts"]
    names = [leg["name"] for leg in result["legs"]]
    assert names[1:5] == ["merchant_device -> acquirer", "acquirer: request", "acquirer -> switch", "switch: request"]
    assert len(names) == 13
    # the legs' medians add up to about what a payment takes: nothing is counted twice or left out
    total = sum(leg["latency"]["p50"] for leg in result["legs"])
    assert 0.3 * result["load"]["service"]["p50"] < total < 2 * result["load"]["service"]["p50"]


def loaded(own: Own, name: str, *more: object) -> dict[str, Any]:
    """What ``fourparty load`` finds on the tests' network: 30 payments a second for ten seconds."""
    usual = ("--rate", 30, "--for", "10s", "--warm-up", "0s", "--max-lag", "10s", "--dir", own.folder, "--json")
    done = typed("load", name, *usual, *more, "--report", own.scenarios / f"{name} report")
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["load"]["valid"], result["load"]["problems"]
    assert result["books"]["agree"], result["books"]["problems"]
    # who was told yes has paid, who was not has not
    assert set(result["books"]["positions"].values()) == {result["amount"]}
    assert result["attempts"] == result["load"]["due"] == pytest.approx(300, abs=70)
    return result


def test_lines_that_break_cost_nobody_anything(own: Own) -> None:
    result = loaded(own, "reversal_storm")
    assert result["reversals"] == result["unanswered"] > 5
    # a line that breaks before anything was sent leaves nothing to take back
    assert result["refused"].keys() <= {"the link to the acquirer is down"}
    never_sent = sum(result["refused"].values())
    assert result["approved"] + result["unanswered"] + never_sent == result["attempts"]
    assert result["reversals"] == sum(part["reversals"] for part in result["timeline"])
    # lines break from 3 to 6 s
    troubled = [part["start"] for part in result["timeline"] if part["reversals"]]
    assert min(troubled) >= 3
    assert max(troubled) <= 7
    assert all(part["codes"].keys() <= {"00"} for part in result["timeline"])
    assert sum(part["approved"] for part in result["timeline"] if part["start"] >= 8) > 20


def test_on_payday_many_look_before_they_buy(own: Own) -> None:
    result = loaded(own, "payday")
    assert result["approved"] == result["attempts"]
    # of what the issuer was asked, some were no sales
    assert result["parties"]["issuer"]["count"] > 1.15 * result["attempts"]
    assert result["amount"] / result["approved"] > 5_000
    due = [part["due"] for part in result["timeline"][:10]]
    assert sum(due[3:8]) > 2 * sum(due[:3])


def test_a_switch_that_dies_is_taken_over(own: Own) -> None:
    """It is away from 6 to 8 s: 91 meanwhile, and approved again when members have signed on to the next process."""
    demand = Demand(rate=30.0, arrivals=Arrivals.UNIFORM)
    generated = own.play("switch_failover", demand, terminals=TERMINALS, seconds=15.0)
    measured = generated.measurement
    (window,) = generated.faults
    assert window.what == "switch crashed"
    assert window.start == pytest.approx(6.0, abs=0.3)
    assert window.end - window.start == pytest.approx(2.0, abs=0.3)
    assert generated.books.agree, generated.books.problems
    assert set(generated.books.positions.values()) == {measured.amount}
    # 91 where it could not be reached, 98 or nothing for what it had on its way
    assert measured.declined["91"] > 40
    assert measured.declined.keys() <= {"91", "98"}
    assert (
        measured.due == measured.attempts == measured.approved + sum(measured.declined.values()) + measured.unanswered
    )
    codes = {part.start: part.codes for part in measured.timeline()}
    assert all(set(codes[second]) == {"00"} for second in range(5))
    assert set(codes[7]) == {"91"}
    assert codes[14]["00"] >= 25


def test_what_a_scenario_prints_is_for_people(own: Own, capfd: pytest.CaptureFixture[str]) -> None:
    """A generator's standard output is its line to who started it."""
    generated = own.generate(TALKATIVE, Demand(), terminals=4, seconds=1.0)
    assert generated.measurement.approved == generated.measurement.due > 5
    assert "next, please" in capfd.readouterr().err


def test_a_slow_link_in_a_network_of_its_own(tmp_path: Path) -> None:
    done = typed(
        "load", "slow_issuer", "--rate", "15", "--for", "6s", "--warm-up", "1s", "--report", tmp_path, "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [window["what"] for window in result["faults"]] == [
        "switch-issuer slow by 0.2 s each way",
        "switch-issuer slow by 0.8 s each way",
    ]
    assert result["approved"] == result["attempts"] == result["load"]["due"]
    assert result["end_to_end"]["max"] > 600_000
    assert result["timeline"][0]["latency"]["p50"] < 400_000
    assert set(result["books"]["positions"].values()) != {0}
    assert "due" in done.stderr
    assert "lag p99" in done.stderr
