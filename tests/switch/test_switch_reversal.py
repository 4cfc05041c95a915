"""Reversals of acquirers: every state the original can be in, in every order of arrival."""

from __future__ import annotations

from typing import Any

import pytest
from switch_world import PAN, World

from network.iso8583 import INTERBANK, Message
from network.party import SECOND, LinkChange


def sale(world: World, stan: int = 1, amount: int = 1250) -> Message:
    """A sale that the issuer has received."""
    world.exchange((world.acquirer, world.acquirer.sale(stan, amount)))
    (request,) = world.taken(world.issuer)
    return request


def approved(world: World, stan: int = 1) -> Message:
    request = sale(world, stan)
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]
    return request


def reverse(world: World, body: bytes) -> tuple[object, list[Message]]:
    """The response code of a reversal, and what the issuer then received."""
    world.exchange((world.acquirer, body))
    (reply,) = world.taken(world.acquirer)
    assert reply.mti == "0430"
    return reply[39], world.taken(world.issuer)


def status(world: World) -> list[object]:
    return [(row.status, row.reversal_code) for row in world.transactions()]


def test_an_approved_sale_is_posted_back_and_the_issuer_advised(world: World) -> None:
    approved(world)
    body = world.acquirer.reversal(2, of=1, de38="A1B2C3")
    code, (advice,) = reverse(world, body)
    assert code == "00"
    assert world.positions() == (0, 0)
    assert status(world) == [("reversed", "00")]
    # its identity is the acquirer's own
    assert (advice.mti, advice[7], advice[11], advice[32], advice[33]) == (
        "0420",
        "1123100030",
        "000002",
        "01020000",
        "01020000",
    )
    assert (advice[2], advice[4], advice[15], advice[38], advice[39]) == (PAN, "000000001250", "1123", "A1B2C3", "98")
    assert advice[90] == INTERBANK.unpack(body)[90]
    world.exchange((world.issuer, world.issuer.answer(advice)))
    (row,) = world.advices()
    assert (row.pending_for, row.answer_code, row.attempts) == (None, "00", 1)
    world.advance(60)
    assert world.taken(world.issuer) == []


def test_the_reply_repeats_what_a_reply_repeats(world: World) -> None:
    approved(world)
    world.exchange((world.acquirer, world.acquirer.reversal(2, of=1)))
    (reply,) = world.taken(world.acquirer)
    assert set(reply.fields) == {2, 3, 4, 7, 11, 15, 25, 32, 33, 37, 39, 41, 42, 49, 100, 128}


def test_a_second_reversal_is_answered_like_the_first(world: World) -> None:
    approved(world)
    body = world.acquirer.reversal(2, of=1)
    assert reverse(world, body)[0] == "00"
    assert reverse(world, body) == ("00", [])
    assert reverse(world, world.acquirer.reversal(3, of=1)) == ("00", [])
    assert len(world.advices()) == 1
    assert world.positions() == (0, 0)


def test_a_pending_sale_is_cancelled(world: World) -> None:
    request = sale(world)
    code, advices = reverse(world, world.acquirer.reversal(2, of=1))
    assert (code, [advice.mti for advice in advices]) == ("00", ["0420"])
    assert status(world) == [("cancelled", "00")]
    assert {kind for kind, _ in world.deadlines.pop_due(world.now + 1000 * SECOND, 100)} == {"advice"}
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert world.taken(world.acquirer) == []
    world.advance(9)
    assert world.transactions()[0].late_code == "00"
    assert world.positions() == (0, 0)
    world.advance(30)
    assert world.taken(world.acquirer) == []
    assert len(world.advices()) == 1


def test_a_declined_sale_needs_no_advice(world: World) -> None:
    request = sale(world)
    world.exchange((world.issuer, world.issuer.answer(request, "51")))
    world.taken(world.acquirer)
    assert reverse(world, world.acquirer.reversal(2, of=1)) == ("00", [])
    assert status(world) == [("declined", "00")]
    assert world.advices() == []


def test_a_sale_that_was_never_forwarded_needs_no_advice(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1, pan="4000000000000002")))
    world.taken(world.acquirer)
    assert reverse(world, world.acquirer.reversal(2, of=1)) == ("00", [])
    assert status(world) == [("refused", "00")]
    assert world.advices() == []


def test_a_sale_that_timed_out_has_its_advice_already(world: World) -> None:
    sale(world)
    world.advance(21)
    world.taken(world.acquirer)
    assert [message[33] for message in world.taken(world.issuer)] == ["00010000"]
    assert reverse(world, world.acquirer.reversal(2, of=1)) == ("00", [])
    assert status(world) == [("timed out", "00")]
    assert len(world.advices()) == 1


def test_a_balance_enquiry_is_reversed_without_an_advice(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1, 0, de3="300000")))
    (request,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(request)))
    world.taken(world.acquirer)
    assert reverse(world, world.acquirer.reversal(2, of=1, de3="300000")) == ("00", [])
    assert world.positions() == (0, 0)


@pytest.mark.parametrize("between", ["the same turn", "a later turn", "a restart"])
def test_a_reversal_before_its_original_bars_it(world: World, between: str) -> None:
    reversal, original = world.acquirer.reversal(2, of=1), world.acquirer.sale(1)
    if between == "the same turn":
        world.exchange((world.acquirer, reversal), (world.acquirer, original))
    else:
        world.exchange((world.acquirer, reversal))
        if between == "a restart":
            world.crash()
            world.sign_on()
            original = world.acquirer.sale(1)
        world.exchange((world.acquirer, original))
    assert [(reply.mti, reply[39]) for reply in world.taken(world.acquirer)] == [("0430", "25"), ("0210", "25")]
    assert world.taken(world.issuer) == []
    assert reverse(world, world.acquirer.reversal(2, of=1))[0] == "25"
    assert status(world) == [("barred", "25")]
    assert world.positions() == (0, 0)


def test_original_and_reversal_in_one_turn(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)), (world.acquirer, world.acquirer.reversal(2, of=1)))
    assert [message.mti for message in world.taken(world.issuer)] == ["0200", "0420"]
    assert [(reply.mti, reply[39]) for reply in world.taken(world.acquirer)] == [("0430", "00")]


def test_a_copy_of_the_original_after_its_reversal_is_declined(world: World) -> None:
    approved(world)
    reverse(world, world.acquirer.reversal(2, of=1))
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    assert [(reply.mti, reply[39]) for reply in world.taken(world.acquirer)] == [("0210", "25")]
    assert world.taken(world.issuer) == []


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("30", {"de90": None}),
        ("30", {"de3": None}),
        ("30", {"de4": None}),
        ("30", {"de7": None}),
        ("30", {"de11": None}),
        ("30", {"de32": None}),
        ("30", {"de32": "05050000"}),
        ("30", {"de90": "0200" + "000001" + "1123100000" + "00005050000" + "00005050000"}),
        ("64", {"de4": "000000001249"}),
        ("A0", {}),
    ],
)
def test_reversals_that_are_refused_change_nothing(world: World, code: str, changes: dict[str, Any]) -> None:
    approved(world)
    body = world.acquirer.reversal(2, of=1, **changes)
    if code == "A0":
        body = body[:-8] + b"00000000"
    assert reverse(world, body) == (code, [])
    assert status(world) == [("approved", None)]
    assert world.positions() == (1250, -1250)
    assert reverse(world, world.acquirer.reversal(3, of=1))[0] == "00"
    assert world.positions() == (0, 0)


def test_a_member_cannot_reverse_what_another_acquired(world: World) -> None:
    other = world.member("05050000", "member:5")
    world.sign_on(other)
    approved(world)
    named = {"de90": INTERBANK.unpack(world.acquirer.reversal(2, of=1))[90]}
    for code, changes in (("25", {}), ("30", named), ("30", {"de32": "01020000"} | named)):
        world.exchange((other, other.reversal(2, of=1, **changes)))
        assert [reply[39] for reply in world.taken(other)] == [code]
    assert ("approved", None) in status(world)
    assert world.positions() == (1250, -1250)


def test_two_reversals_under_one_identity_both_reach_the_issuer(world: World) -> None:
    approved(world, 1)
    approved(world, 2)
    assert reverse(world, world.acquirer.reversal(9, of=1))[0] == "00"
    code, (advice,) = reverse(world, world.acquirer.reversal(9, of=2))
    assert code == "00"
    assert (advice[33], advice.text(90)[4:10]) == ("00010000", "000002")
    assert world.positions() == (0, 0)


def test_an_advice_goes_on_while_the_acquirer_is_gone(world: World) -> None:
    sale(world)
    world.acquirer.lost()
    world.exchange(links=[LinkChange(world.acquirer.link, False)])
    world.advance(21)
    assert world.taken(world.acquirer) == []
    assert [message.mti for message in world.taken(world.issuer)] == ["0420"]
