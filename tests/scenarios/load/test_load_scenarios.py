"""The scenarios for load, each in virtual time: what they do to the network, and that its money is right afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from network.service import ConfigurationError
from scenarios import report
from scenarios.load.arrivals import Arrivals
from scenarios.load.demand import Demand, Purchase, serve
from scenarios.load.session import Order, load_scenario, play_virtual
from scenarios.load.shapes import constant
from scenarios.load.validity import Generator, load_of
from scenarios.measurement import Measurement
from scenarios.result import Load, Result
from scenarios.stage import Cast, Process, ScenarioFailed, Stage, cast
from scenarios.stories import UNDER_LOAD
from scenarios.worlds.virtual_world import play, virtual_world

pytestmark = pytest.mark.slow


def played(name: str, rate: float = 20.0, duration: float = 20.0, **more: object) -> Result:
    order = Order(name, duration, Demand(rate=rate), terminals=48, seed=3, **more)  # type: ignore[arg-type]
    return play_virtual(order)


def outage(result: Result) -> None:
    (window,) = result.faults
    assert (window.what, window.start, window.end) == ("issuer crashed", 7.0, 12.0)
    assert set(result.declined) <= {"91", "98"}
    assert result.stand_in == sum(result.declined.values()) > 60
    codes = [set(part.codes) for part in result.timeline]
    assert codes[2] == {"00"} == codes[16]
    assert codes[9] == {"91"}


def failover(result: Result) -> None:
    (window,) = result.faults
    assert window.what == "switch crashed"
    assert window.end - window.start == pytest.approx(2.0)
    assert 20 < result.declined["91"] < 70
    assert result.declined.keys() <= {"91", "98"}
    assert set(result.timeline[18].codes) == {"00"}


def slowness(result: Result) -> None:
    assert [window.what for window in result.faults] == [
        "switch-issuer slow by 0.2 s each way",
        "switch-issuer slow by 0.8 s each way",
    ]
    assert result.approved == result.attempts
    assert result.timeline[2].latency.max < 100_000 < 400_000 < result.timeline[7].latency.p50
    assert result.timeline[11].latency.p50 > 1_000_000
    assert result.timeline[18].latency.max < 100_000


def storm(result: Result) -> None:
    assert result.unanswered > 8
    assert result.reversals == result.unanswered == result.timeouts
    assert sum(part.reversals for part in result.timeline) == result.reversals
    assert not any(part.reversals for part in result.timeline if part.start < 5 or part.start > 15)


def midnight(result: Result) -> None:
    due = [part.due for part in result.timeline]
    assert max(due) == max(due[3:8]) > 2 * 20
    assert max(due[:4]) < 20


def wages(result: Result) -> None:
    assert result.approved == result.attempts
    # of 0200s that the issuer saw, some were no sales
    assert result.parties["issuer"].count > 1.2 * result.attempts
    assert result.amount / result.approved > 5_000


def plain(result: Result) -> None:
    assert result.approved == result.attempts
    assert result.load is not None
    assert result.load.shape == "constant 20/s"
    assert result.load.service.max <= result.end_to_end.max < 100_000


CHECKS: dict[str, Callable[[Result], None]] = {
    "steady": plain,
    "festival": midnight,
    "payday": wages,
    "issuer_outage": outage,
    "switch_failover": failover,
    "slow_issuer": slowness,
    "reversal_storm": storm,
}


@pytest.mark.parametrize("name", UNDER_LOAD)
def test_scenarios(name: str) -> None:
    result = played(name)
    assert result.books.agree, result.books.problems
    # who was told yes has paid, who was not has not
    assert set(result.books.positions.values()) == {result.amount}
    load = result.load
    assert load is not None
    assert load.valid, load.problems
    assert load.due == load.sent == result.attempts == sum(part.due for part in result.timeline)
    assert load.rate == pytest.approx(20.0, rel=0.15)
    assert result.histograms.keys() == {"response", "service", "lag"}
    CHECKS[name](result)


def test_the_same_seed_gives_the_same_load_byte_for_byte(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        report.write(played("issuer_outage", duration=8.0), tmp_path / folder)
    for file in ("result.json", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.parametrize("name", ["street_market", "corner_shop"])
def test_scenarios_that_make_their_own_payments_take_no_load(name: str) -> None:
    with pytest.raises(ConfigurationError, match="makes its payments at times of its own and takes no load"):
        load_scenario(name)


def test_a_recorded_day_is_played_again(tmp_path: Path) -> None:
    day = tmp_path / "day.jsonl"
    first = played("festival", duration=10.0, record=day)
    again = played("steady", duration=10.0, replay=day)
    assert again.load is not None
    assert again.load.shape == f"recorded day of {first.attempts} payments"
    assert again.amount == first.amount
    assert again.attempts == first.attempts
    # in ten seconds again, give or take what was left of them when the last payment was due
    assert abs(max(part.due for part in again.timeline) - max(part.due for part in first.timeline)) < 15


RATE, FROZEN, FROZEN_FROM, LENGTH = 50, 2.0, 4.0, 10.0


def standing_still(demand: Demand, terminals: int, load: Callable[[Measurement], Load]) -> Result:
    """Sales at a steady rate, and an issuer that stands still for two seconds."""

    @cast(Cast(sound_cards=True, usual=lambda length: constant(RATE, length), breaks=("issuer",)))
    def standstill(stage: Stage) -> Process:
        """A standstill."""

        def stand_still() -> Process:
            yield stage.until(FROZEN_FROM)
            stage.faults.freeze("issuer")
            yield stage.until(FROZEN_FROM + FROZEN)
            stage.faults.thaw("issuer")

        stage.env.process(stand_still())
        yield from serve(stage, lambda card: Purchase(1_000))

    needs = Cast(sound_cards=True, usual=lambda length: constant(RATE, length), breaks=("issuer",), cards=250)
    with virtual_world(1, phones=terminals, cast=needs) as world:
        return play(world, "standstill", standstill, duration=LENGTH, phones=terminals, demand=demand, load_of=load)


@pytest.mark.parametrize(("terminals", "waiting"), [(160, 50), (20, 75)])
def test_what_waited_while_a_party_stood_still_is_counted(terminals: int, waiting: int) -> None:
    """All that was due in these two seconds waited, at a terminal or for one, and is timed from when it was due."""
    demand = Demand(arrivals=Arrivals.UNIFORM)
    result = standing_still(demand, terminals, judged(demand, terminals))
    assert result.approved == result.attempts == RATE * LENGTH
    assert result.load is not None
    assert result.load.valid
    assert [(window.start, window.end) for window in result.faults] == [(4.0, 6.0)]
    # 100 of 500 payments were due while nothing was answered: they waited up to two seconds, evenly spread, and where
    # terminals were few for a while behind one another
    frozen = result.timeline[4:7]
    waited = {int(lowest): times for part in frozen for lowest, times in part.heat.items() if int(lowest) >= 917_504}
    assert sum(waited.values()) == pytest.approx(waiting, abs=12)
    assert result.end_to_end.p95 == pytest.approx(1_500_000, rel=0.2)
    assert result.end_to_end.p99 == pytest.approx(1_900_000, rel=0.1)
    assert result.end_to_end.max == pytest.approx(2_000_000, rel=0.15)
    # with few terminals most of them waited before they were sent, which the service time does not know
    assert (result.load.service.p95 < 1_000_000) is (terminals == 20)


def test_a_closed_loop_hides_it() -> None:
    """Each terminal waits once: 5 slow payments among hundreds, and the 99th percentile does not show them."""
    demand = Demand(closed=True)
    result = standing_still(demand, 5, judged(demand, 5))
    assert result.attempts > 500 > RATE * LENGTH / 2
    assert result.load is not None
    assert (result.load.mode, result.load.rate, result.load.valid) == ("closed", 0.0, True)
    assert result.end_to_end.max > 1_900_000
    assert result.end_to_end.p99 < 200_000
    assert result.load.service == result.end_to_end


def judged(demand: Demand, terminals: int) -> Callable[[Measurement], Load]:
    return lambda measured: load_of(
        measured, demand, duration=LENGTH, shape="", terminals=terminals, generators=[Generator(0.1, True)]
    )


def test_a_full_queue_makes_a_run_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.load.demand.LEAST_QUEUE", 30)
    monkeypatch.setattr("scenarios.load.demand.QUEUE_SECONDS", 0.1)
    result = play_virtual(Order("steady", 4.0, Demand(rate=100.0), terminals=2))
    assert result.load is not None
    assert not result.load.valid
    (problem,) = result.load.problems
    assert "payments that were due were not sent: every terminal was busy and 30 payments waited already" in problem
    assert result.load.due > result.load.sent == result.attempts


def test_a_load_of_a_scenario_without_a_shape_says_so() -> None:
    def shapeless(stage: Stage) -> Process:
        """Nothing."""
        yield from serve(stage, lambda card: Purchase(1_000))

    with virtual_world(1, phones=2, cards=4) as world, pytest.raises(ValueError, match="its cast has no usual shape"):
        play(world, "shapeless", shapeless, duration=5.0, phones=2)


def test_only_what_a_scenario_has_said_may_be_broken() -> None:
    def vandal(stage: Stage) -> Process:
        """Breaks what is not its own."""
        yield stage.until(1.0)
        stage.faults.crash("issuer")

    with (
        virtual_world(1, phones=1, cards=4) as world,
        pytest.raises(ScenarioFailed, match="say in the scenario's cast what it breaks"),
    ):
        play(world, "vandal", vandal, duration=5.0, phones=1)
