"""Load on live services: what waits is counted, generators that cannot keep up say so, parts on a common beginning."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from running_network import PROJECT, command, environment

from network.durations import Durations
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


class Own(NamedTuple):
    """A network of the tests' own, what breaks it, and where to write scenarios."""

    folder: Path
    breakage: LiveBreakage
    scenarios: Path

    def generate(self, program: str, demand: Demand, terminals: int = TERMINALS, seconds: float = SECONDS) -> Generated:
        name = program.partition("def ")[2].partition("(")[0]
        path = self.scenarios / f"{name}.py"
        path.write_text(program)
        assignment = Assignment(self.folder, None, str(path), 1, seconds, terminals, demand)
        return coordinator.generate(RunningNetwork(self.folder), [assignment], breakage=self.breakage)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    with live_world.breakable_network(("issuer",), phones=TERMINALS, cards=CARDS) as (processes, breakage):
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


def test_a_slow_link_in_a_network_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        command(
            "load", "slow_issuer", "--rate", "15", "--for", "6s", "--warm-up", "1s", "--report", tmp_path, "--json"
        ),
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
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
