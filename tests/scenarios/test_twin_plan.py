"""Planning: the search finds the smallest network, its pool outlives its workers, bad arguments are told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pool_tasks import die_always, die_once, square

from network.service import ConfigurationError
from network.turn_cost import Linear, MeasuredCost, Quantiles
from scenarios.twin import plan as planning
from scenarios.twin.model import Outcome, Wire
from scenarios.twin.plan import Demand, Planner, Target, Task, run_task
from scenarios.twin.planning import minute_of, plan_capacity
from scenarios.twin.pool import Pool, WorkerLost

ONCE = Quantiles.of([1.0])
NOTHING = Quantiles.of([0.0])

pytestmark = pytest.mark.slow


def cost(event: float, turn: float = 100.0) -> MeasuredCost:
    """Every event of a party takes `event` microseconds, none waits for a disk, nothing is left to chance."""
    return MeasuredCost(Linear(0.0), Linear(turn, 0.0, {}, event), Linear(0.0), NOTHING, ((0.0, ONCE),))


class HerePool(Pool[Task, Outcome]):
    """Computes in this process."""

    def __init__(self) -> None:
        self.workers = 1

    def run(self, arguments: object) -> Iterator[tuple[int, Outcome]]:
        for place, argument in enumerate(arguments):  # type: ignore[var-annotated,arg-type]
            yield place, run_task(argument)

    def stop(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "TRIAL_PAYMENTS", 2_000)


def planner(demand: Demand, **events: float) -> Planner:
    costs = {party: cost(events.get(party, 50.0)) for party in ("merchant_device", "acquirer", "switch", "issuer")}
    return Planner(demand, costs, Wire(), HerePool(), lambda _: None)


def test_the_smallest_network_is_what_the_load_asks_for_when_nothing_else_does() -> None:
    """1000/s, two messages at the switch of 1 ms each: two processors' work, at 70 % three processes."""
    demand = Demand(1_000, 1, Target.parse("p99<1s"))
    found = planner(demand, switch=1_000.0, issuer=1_000.0).plan(None)
    assert found.trial.counts == {"gateway": 1, "acquirer": 1, "switch": 3, "issuer": 2}
    assert found.trial.good
    assert found.trial.kinds["switch"].mean == pytest.approx(2 / 3, rel=0.05)
    assert found.one_less["gateway"] is None
    assert found.one_less["acquirer"] is None
    for kind in ("switch", "issuer"):
        less = found.one_less[kind]
        assert less is not None
        assert any(reason.startswith(kind) for reason in less.failing)


def test_a_tighter_target_takes_more_processes() -> None:
    demand = Demand(1_500, 1, Target.parse("p99<9ms"), utilisation=0.9)
    tight = planner(demand, switch=1_000.0, issuer=20.0)
    found = tight.plan(None)
    assert found.trial.reached < 9_000
    assert found.trial.counts["switch"] > tight.fewest_for_utilisation()["switch"]
    less = found.one_less["switch"]
    assert less is not None
    assert less.failing[0].startswith("p99 ")


def test_a_target_below_what_turns_take_is_out_of_reach() -> None:
    with pytest.raises(ConfigurationError, match="p99<1ms is out of reach"):
        planner(Demand(100, 1, Target.parse("p99<1ms"))).plan(None)


def test_the_minute_has_its_payments_and_no_more_trouble_than_the_peak() -> None:
    demand = Demand(200, 2, Target.parse("p99<100ms"))
    found = planner(demand).plan((0.5, 1.0))
    assert found.minute is not None
    assert found.minute.payments == pytest.approx(60 * 150, rel=0.05)
    assert found.minute.good


def test_a_plan_is_the_same_again() -> None:
    demand = Demand(900, 3, Target.parse("p99<100ms"))
    one, two = (planner(demand, issuer=900.0).plan(None) for _ in range(2))
    assert one.trial.counts == two.trial.counts
    assert one.trial.end_to_end == two.trial.end_to_end


@pytest.mark.parametrize("text", ["", "p99", "p98<1s", "p99<0ms", "p99<200", "99<200ms"])
def test_a_target_that_is_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--target"):
        Target.parse(text)


@pytest.mark.parametrize("text", ["", "a", "0.5,2", "0", ",".join(["1"] * 61)])
def test_a_minute_that_is_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--minute"):
        minute_of(text)


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = plan_capacity(
        peak=300.0,
        members=2,
        skew=1.0,
        target="p99<200ms",
        utilisation=0.7,
        minute="none",
        rates=None,
        calibration=None,
        seed=1,
        workers=2,
        folder=tmp_path,
        as_json=True,
    )
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "plan.json").read_text())
    assert sum(printed["processes"]["issuer"]) == printed["trial"]["counts"]["issuer"]
    assert "| issuers |" in (tmp_path / "plan.md").read_text()


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_its_task_run_again(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a", "bb.bad", "ccc", "dddd.bad", "eeeee", "ffffff")]
    with Pool(die_once, 2) as pool:
        assert pool.map(names) == [len(Path(name).name) for name in names]
        assert pool.restarts >= 1


@pytest.mark.slow
def test_a_task_that_kills_its_workers_is_given_up() -> None:
    with Pool(die_always, 1) as pool, pytest.raises(WorkerLost, match="a worker died 3 times at task 1 of 1"):
        list(pool.run([1]))
    with Pool(square, 2) as pool:
        assert pool.map(list(range(10))) == [number * number for number in range(10)]
