"""The model: its queues against theory, its payments against full fidelity, its seeds."""

from __future__ import annotations

from math import exp

import pytest

from network.durations import Durations
from network.turn_cost import Linear, MeasuredCost, Quantiles
from scenarios.twin import calibration
from scenarios.twin.check import check
from scenarios.twin.layout import KINDS, deal, lay_out, shares_of
from scenarios.twin.model import Outcome, Window, Wire, simulate
from scenarios.twin.route import Visit, route_of_a_sale

NOTHING = Quantiles.of([0.0])
ONCE = Quantiles.of([1.0])
FREE = Linear(0.0)
ONE_OF_EACH = lay_out(dict.fromkeys(KINDS, 1), [1.0])


def cost(turn: float, event: float = 0.0) -> MeasuredCost:
    return MeasuredCost(FREE, Linear(turn, 0.0, {"switch": event}), FREE, NOTHING, ((0.0, ONCE),))


def only_issuer(service: MeasuredCost, window: Window) -> Outcome:
    """Payments that visit the issuer alone."""
    costs = dict.fromkeys(("merchant_device", "acquirer", "switch"), cost(0.0)) | {"issuer": service}
    return simulate(ONE_OF_EACH, costs, [Visit("issuer", "switch", False, False)], window, Wire(0, 0))


@pytest.mark.parametrize("load", [0.2, 1.0, 3.0])
def test_a_turn_for_all_that_waits_takes_what_theory_says(load: float) -> None:
    """Unlimited bulk service of constant length D, Poisson arrivals of rate l.

    Services follow one another until none arrives in one, which has probability exp(-lD): the part of the time that is
    busy is B = lD / (lD + exp(-lD)). Who comes to an idle server stays D, who comes to a busy one a rest that is
    uniform in (0, D), and D.
    """
    length = 0.010
    outcome = only_issuer(cost(length * 1e6), Window(load / length, 200.0 / load, 5.0, 3))
    busy = load / (load + exp(-load))
    [issuer] = [one for one in outcome.processes if one.kind == "issuer"]
    assert issuer.busy == pytest.approx(busy, rel=0.02)
    taken = Durations(outcome.end_to_end)
    mean = sum(us * times for us, times in taken.counts.items()) / outcome.payments / 1e6
    assert mean == pytest.approx(length * (1 + busy / 2), rel=0.02)
    assert taken.summary().p99 / 1e6 == pytest.approx(length * (1 + max(0.0, 1 - 0.01 / busy)), rel=0.02)
    assert outcome.payments == pytest.approx(load / length * 200 / load, rel=0.03)


def test_what_events_alone_take_is_the_utilisation() -> None:
    """Work arrives at l times the cost of an event, however it is batched."""
    outcome = only_issuer(cost(200.0, 1_000.0), Window(600.0, 100.0, 2.0, 5))
    [issuer] = [one for one in outcome.processes if one.kind == "issuer"]
    assert issuer.utilisation == pytest.approx(0.6, rel=0.03)
    assert issuer.busy > issuer.utilisation
    assert issuer.events == pytest.approx(outcome.payments, abs=20)


def test_a_sale_passes_the_parties_as_it_does_in_the_protocol() -> None:
    route = route_of_a_sale()
    passed = [visit.party for visit in route]
    away = [one for place, one in enumerate(passed) if not place or passed[place - 1] != one]
    assert away == ["merchant_device", "acquirer", "switch", "issuer", "switch", "acquirer", "merchant_device"]
    assert all(visit.writes for visit in route if visit.party != "merchant_device")


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    costs = calibration.reference().costs()
    layout = lay_out({"gateway": 3, "acquirer": 3, "switch": 2, "issuer": 3}, shares_of(3, 1.0))
    found = [
        simulate(layout, costs, route_of_a_sale(), Window(1_500, 0.5, 0.1, seed), Wire()).end_to_end
        for seed in (4, 4, 5)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_the_model_agrees_with_full_fidelity() -> None:
    measured = calibration.reference()
    wire = Wire(measured.wire.latency, measured.wire.jitter)
    # for so long that two dozen payments are beyond p99
    [compared] = check(measured.costs(), wire, [300.0], seconds=8.0, model_seconds=30.0)
    assert compared.full.count > 2_000
    p50, p99 = compared.differences
    assert abs(p50) < 0.06
    assert abs(p99) < 0.2


def test_a_network_that_cannot_keep_up_shows_it() -> None:
    outcome = only_issuer(cost(100.0, 1_000.0), Window(1_500.0, 2.0, 0.0, 1))
    assert outcome.waiting > 500


def test_processes_go_to_the_members_that_have_most_to_do() -> None:
    shares = shares_of(3, 1.0)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(2 * shares[1])
    assert deal(3, shares) == [1, 1, 1]
    assert deal(6, shares) == [3, 2, 1]
    with pytest.raises(ValueError, match="3 members need at least as many processes, not 2"):
        deal(2, shares)


def test_every_process_gets_its_part() -> None:
    shares = shares_of(7, 1.2)
    layout = lay_out({"gateway": 11, "acquirer": 9, "switch": 5, "issuer": 13}, shares)
    for places, kinds in ((layout.accepting, ("gateway", "acquirer")), (layout.issuing, ("switch", "issuer"))):
        assert sum(place.share for place in places) == pytest.approx(1)
        for kind in kinds:
            assert {place.processes[kind] for place in places} == set(range(layout.counts[kind]))
    loads = [sum(one.share for one in layout.issuing if one.processes["switch"] == number) for number in range(5)]
    assert max(loads) < 1.1 / 5
