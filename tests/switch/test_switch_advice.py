"""Store and forward: advices survive, are paced, and end with an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from switch_world import World

from network.party import LinkChange
from network.store import sqlite_url


def timed_out(world: World, *stans: int) -> None:
    """Sales that the issuer got and did not answer."""
    world.exchange(*((world.acquirer, world.acquirer.sale(stan)) for stan in stans))
    world.advance(20)
    world.taken(world.acquirer)


def sent(world: World) -> list[str]:
    """Trace numbers of the originals of the advices that the issuer received since it was last asked."""
    return [message.text(90)[4:10] for message in world.taken(world.issuer) if message.mti == "0420"]


def down(world: World) -> None:
    world.issuer.lost()
    world.exchange(links=[LinkChange(world.issuer.link, False)])


def test_an_advice_is_repeated_until_it_is_answered(world: World) -> None:
    timed_out(world, 1)
    assert sent(world) == ["000001"]
    for _ in range(3):
        world.advance(9.9)
        assert sent(world) == []
        world.advance(0.1)
        (again,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(again)))
    world.advance(60)
    assert sent(world) == []
    assert [(row.attempts, row.answer_code) for row in world.advices()] == [(4, "00")]


@pytest.mark.parametrize("code", ["96", "A0", "77"])
def test_some_answers_ask_for_the_advice_again(world: World, code: str) -> None:
    timed_out(world, 1)
    (advice,) = [message for message in world.taken(world.issuer) if message.mti == "0420"]
    world.exchange((world.issuer, world.issuer.answer(advice, code)))
    assert sent(world) == []
    world.advance(10.1)
    (again,) = world.taken(world.issuer)
    assert (again[7], again[11], again[90]) == (advice[7], advice[11], advice[90])
    world.exchange((world.issuer, world.issuer.answer(again, "25")))
    assert [(row.pending_for, row.answer_code) for row in world.advices()] == [(None, "25")]


def test_what_waits_while_the_issuer_is_down_goes_out_when_it_is_ready(world: World) -> None:
    world.exchange(*((world.acquirer, world.acquirer.sale(stan)) for stan in (1, 2, 3)))
    world.taken(world.issuer)
    down(world)
    world.advance(120)
    assert sent(world) == []
    assert [row.attempts for row in world.advices()] == [0, 0, 0]
    world.sign_on(world.issuer)
    assert sent(world) == ["000001", "000002", "000003"]


def test_what_was_on_its_way_over_a_lost_link_goes_again_over_the_next(world: World) -> None:
    timed_out(world, 1)
    sent(world)
    down(world)
    world.sign_on(world.issuer)
    assert sent(world) == ["000001"]
    world.advance(9.9)
    assert sent(world) == []
    world.advance(0.2)
    assert sent(world) == ["000001"]


def test_advices_survive_the_process(world: World) -> None:
    timed_out(world, 1)
    sent(world)
    world.crash()
    world.advance(30)
    assert sent(world) == []
    world.sign_on()
    assert sent(world) == ["000001"]
    world.advance(10.1)
    (advice,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(advice)))
    world.advance(60)
    assert sent(world) == []


def test_no_more_than_a_window_is_on_its_way(tmp_path: Path) -> None:
    world = World(sqlite_url(tmp_path / "switch.db"), advice_window=4)
    world.sign_on()
    world.exchange(*((world.acquirer, world.acquirer.sale(stan)) for stan in range(1, 12)))
    world.taken(world.issuer)
    down(world)
    world.advance(21)
    world.sign_on(world.issuer)
    seen = []
    for _ in range(12):
        messages = [message for message in world.taken(world.issuer) if message.mti == "0420"]
        assert len(messages) <= 4
        assert world.turn() == []
        seen += [message.text(90)[4:10] for message in messages]
        world.exchange(*((world.issuer, world.issuer.answer(message)) for message in messages))
    assert seen == [f"{stan:06d}" for stan in range(1, 12)]
    assert all(row.pending_for is None for row in world.advices())


def test_advices_that_are_never_answered_do_not_hold_up_the_others(tmp_path: Path) -> None:
    world = World(sqlite_url(tmp_path / "switch.db"), advice_window=2)
    world.sign_on()
    timed_out(world, 1, 2, 3, 4, 5)
    seen: set[str] = set()
    for _ in range(10):
        messages = [message for message in world.taken(world.issuer) if message.mti == "0420"]
        seen |= {message.text(90)[4:10] for message in messages}
        good = [message for message in messages if message.text(90)[4:10] > "000002"]
        world.exchange(*((world.issuer, world.issuer.answer(message)) for message in good))
        world.advance(10)
    assert seen == {"000001", "000002", "000003", "000004", "000005"}
    assert sum(row.pending_for is None for row in world.advices()) == 3


def test_own_trace_numbers_differ_and_survive_a_restart(world: World) -> None:
    timed_out(world, *range(1, 40))
    world.crash()
    world.sign_on()
    timed_out(world, *range(40, 80))
    own = [row.stan for row in world.advices()]
    assert len(set(own)) == len(own) == 79


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("0430 without an advice", {"de11": "999999"}),
        ("0430 without an advice", {"de32": None}),
        ("0430 without an advice", {"de39": None}),
    ],
)
def test_answers_without_an_advice_are_dropped(world: World, reason: str, changes: dict[str, Any]) -> None:
    timed_out(world, 1)
    (advice,) = [message for message in world.taken(world.issuer) if message.mti == "0420"]
    world.exchange((world.issuer, world.issuer.answer(advice, **changes)))
    assert world.switch.dropped == {reason: 1}
    assert world.advices()[0].pending_for == "03090000"


def test_an_answer_with_a_wrong_mac_does_not_end_an_advice(world: World) -> None:
    timed_out(world, 1)
    (advice,) = [message for message in world.taken(world.issuer) if message.mti == "0420"]
    good = world.issuer.answer(advice)
    world.exchange((world.issuer, good[:-8] + b"00000000"))
    assert world.advices()[0].pending_for == "03090000"
    world.exchange((world.issuer, good), (world.issuer, good))
    assert world.advices()[0].pending_for is None
    assert world.switch.dropped == {"0430 with a wrong MAC": 1, "repeated 0430": 1}


def test_another_member_cannot_answer_an_advice(world: World) -> None:
    other = world.member("05050000", "issuer:05050000")
    world.sign_on(other)
    timed_out(world, 1)
    (advice,) = [message for message in world.taken(world.issuer) if message.mti == "0420"]
    world.exchange((other, other.answer(advice)))
    assert world.advices()[0].pending_for == "03090000"
