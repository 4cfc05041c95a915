"""Turns that are rolled back: memory holds no more than the store, and one bad event harms no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from switch_world import PAN, SWITCH_ID, World

from network.iso8583 import INTERBANK, InterbankHeader, Message
from network.party import CommandError
from network.store import Store, sqlite_url
from switch.stan import BLOCK, StanSequence
from switch.tables import Sequence


@pytest.fixture
def failing(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A switch whose store refuses the next commit, as it would a key that is there already."""
    commit = world.unit.commit

    def refuse() -> None:
        monkeypatch.setattr(world.unit, "commit", commit)
        raise ZeroDivisionError

    monkeypatch.setattr(world.unit, "commit", refuse)
    return world


def one_failure(world: World) -> bool:
    failures = list(world.failures)
    world.failures.clear()
    return len(failures) == 1


def poisoned(world: World, stan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the switch fail on the sale with this trace number, after it was decided."""
    requests = world.switch._requests
    decide = requests.request

    def fail(*arguments: Any) -> None:
        decide(*arguments)
        if arguments[4][11] == stan:
            raise ZeroDivisionError

    monkeypatch.setattr(requests, "request", fail)


def test_one_bad_event_harms_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned(world, "000013", monkeypatch)
    world.exchange(*((world.acquirer, world.acquirer.sale(stan)) for stan in (12, 13, 14)))
    assert one_failure(world)
    answers = [world.issuer.answer(request) for request in world.taken(world.issuer)]
    assert len(answers) == 2
    world.exchange(*((world.issuer, answer) for answer in answers))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00", "00"]
    assert world.positions() == (2500, -2500)


def test_a_key_made_in_a_lost_turn_is_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sale ever makes the key of the card data."""
    poisoned(world, "000002", monkeypatch)
    world.exchange((world.acquirer, world.acquirer.sale(1)), (world.acquirer, world.acquirer.sale(2)))
    assert one_failure(world)
    world.crash()
    world.sign_on()
    world.taken(world.issuer)
    world.advance(21)
    assert [(reply[2], reply[39]) for reply in world.taken(world.acquirer)] == [(PAN, "98")]


def test_a_route_that_was_not_committed_is_not_used(failing: World) -> None:
    answer = failing.command("add_route", prefix="99", member_id=failing.issuer.member_id)
    assert isinstance(answer, CommandError)
    assert one_failure(failing)
    failing.turn()
    assert failing.switch.routing.issuer_of("9900000000000000") is None
    assert failing.switch.routing.issuer_of(PAN) == failing.issuer.member_id


def test_a_sign_off_that_was_not_committed_did_not_happen(failing: World) -> None:
    header = InterbankHeader(destination=SWITCH_ID, source="03090000")
    sign_off = Message("0820", {7: "1123100000", 11: "000009", 33: "03090000", 70: "002"}, header)
    assert failing.turn((failing.issuer, INTERBANK.pack(sign_off))) == []
    assert one_failure(failing)
    failing.exchange((failing.acquirer, failing.acquirer.sale(1)))
    assert len(failing.taken(failing.issuer)) == 1


def test_advices_of_a_lost_turn_are_sent_by_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    world.taken(world.issuer)
    world.advance(19)
    world.now += 2_000_000
    due = world.deadlines.pop_due(world.now, 10)
    commit = world.unit.commit
    monkeypatch.setattr(world.unit, "commit", lambda: 1 // 0)
    assert world.turn(due=due) == []
    assert one_failure(world)
    monkeypatch.setattr(world.unit, "commit", commit)
    assert [INTERBANK.unpack(body).mti for _, body in world.turn(due=due)] == ["0210", "0420"]
    (row,) = world.advices()
    # the same turn again, with an advice that was committed but whose sending was not
    monkeypatch.setattr(world.unit, "commit", lambda: 1 // 0)
    again = [("advice", str(row.reference))]
    assert world.turn(due=again) == []
    assert one_failure(world)
    monkeypatch.setattr(world.unit, "commit", commit)
    assert [INTERBANK.unpack(body).mti for _, body in world.turn()] == ["0420"]


def test_trace_numbers_of_a_lost_turn_are_not_counted_on(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path / "switch.db"), (Sequence,), durable=False)
    unit, stans = store.unit_of_work(), StanSequence()
    assert stans.take(unit) == "000001"
    unit.rollback()
    stans.rolled_back()
    assert [stans.take(unit) for _ in range(2)] == ["000001", "000002"]
    unit.commit()
    assert StanSequence().take(store.unit_of_work()) == f"{BLOCK + 1:06d}"
    store.close()


def test_trace_numbers_go_round(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path / "switch.db"), (Sequence,), durable=False)
    unit, stans = store.unit_of_work(), StanSequence()
    unit.insert(Sequence("stan", 999_998))
    assert [stans.take(unit) for _ in range(3)] == ["999999", "000001", "000002"]
    store.close()
