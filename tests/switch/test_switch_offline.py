"""Offline sales: passed on until they are answered, posted exactly once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from switch_world import PAN, World

from network.iso8583 import INTERBANK, Message
from network.party import LinkChange


def forwarded(world: World, body: bytes) -> Message:
    world.exchange((world.acquirer, body))
    assert world.taken(world.acquirer) == []
    (request,) = world.taken(world.issuer)
    return request


def test_an_offline_sale_crosses_unchanged_and_moves_the_books(world: World) -> None:
    body = world.acquirer.offline_sale(1)
    request = forwarded(world, body)
    sent = INTERBANK.unpack(body)
    assert request.mti == "0220"
    assert {n for n in request.fields if request[n] != sent.get(n)} == {15, 128}
    assert world.positions() == (0, 0)
    assert len(world.deadlines) == 0
    world.exchange((world.issuer, world.issuer.answer(request, de38="OFFL01")))
    (reply,) = world.taken(world.acquirer)
    assert (reply.mti, reply[39], reply[38], reply[2], reply[15], reply[100]) == (
        "0230",
        "00",
        "OFFL01",
        PAN,
        "1123",
        "03090000",
    )
    assert world.positions() == (1250, -1250)
    (row,) = world.transactions()
    assert (row.mti, row.status) == ("0220", "approved")


def test_a_declined_one_moves_nothing(world: World) -> None:
    request = forwarded(world, world.acquirer.offline_sale(1))
    world.exchange((world.issuer, world.issuer.answer(request, "05")))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["05"]
    assert world.positions() == (0, 0)
    assert world.ask(world.acquirer, world.acquirer.offline_sale(1))[39] == "05"


def test_no_answer_means_nothing_and_a_copy_is_passed_on(world: World) -> None:
    forwarded(world, world.acquirer.offline_sale(1))
    world.advance(3600)
    assert (world.taken(world.acquirer), world.taken(world.issuer), world.advices()) == ([], [], [])
    world.crash()
    world.sign_on()
    world.advance(60)
    again = forwarded(world, world.acquirer.offline_sale(1))
    assert len(world.transactions()) == 1
    answer = world.issuer.answer(again)
    world.exchange((world.issuer, answer), (world.issuer, answer))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]
    assert world.switch.dropped == {"repeated 0230": 1}
    assert world.positions() == (1250, -1250)
    # answered from the record, the issuer is not asked again
    reply = world.ask(world.acquirer, world.acquirer.offline_sale(1))
    assert (reply.mti, reply[39], reply[2]) == ("0230", "00", PAN)
    assert world.taken(world.issuer) == []
    assert world.positions() == (1250, -1250)


def test_a_doubled_one_in_one_turn_is_posted_once(world: World) -> None:
    body = world.acquirer.offline_sale(1)
    world.exchange((world.acquirer, body), (world.acquirer, body))
    first, second = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(first)), (world.issuer, world.issuer.answer(second)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]
    assert world.positions() == (1250, -1250)


@pytest.mark.parametrize("code", ["96", "A0", "77", "91", "98", "90", "68"])
def test_an_answer_that_decides_nothing_is_not_kept(world: World, code: str) -> None:
    request = forwarded(world, world.acquirer.offline_sale(1))
    before = world.issuer.zone.mac_key
    world.exchange((world.issuer, world.issuer.answer(request, code)))
    assert world.taken(world.acquirer) == []
    assert (world.issuer.zone.mac_key != before) == (code == "A0")
    assert [row.status for row in world.transactions()] == ["pending"]
    world.exchange((world.issuer, world.issuer.answer(forwarded(world, world.acquirer.offline_sale(1)))))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]
    assert world.positions() == (1250, -1250)


@pytest.mark.parametrize("known", [False, True])
def test_an_issuer_that_is_down_decides_nothing(world: World, known: bool) -> None:
    if known:
        forwarded(world, world.acquirer.offline_sale(1))
    world.exchange(links=[LinkChange(world.issuer.link, False)])
    assert world.ask(world.acquirer, world.acquirer.offline_sale(1))[39] == "91"
    assert len(world.transactions()) == known
    world.sign_on(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(forwarded(world, world.acquirer.offline_sale(1)))))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]


@pytest.mark.parametrize("member", ["acquirer", "issuer"])
def test_a_suspended_members_offline_sales_go_on(world: World, member: str) -> None:
    world.command("suspend_member", member_id=getattr(world, member).member_id)
    world.exchange((world.issuer, world.issuer.answer(forwarded(world, world.acquirer.offline_sale(1)))))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]
    assert world.positions() == (1250, -1250)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("92", {"pan": "4000000000000002"}),
        ("14", {"pan": "6299001234567890"}),
        ("13", {"de4": "000000000000"}),
        ("30", {"de4": None}),
        ("30", {"de52": bytes(8)}),
        ("30", {"de22": "032"}),
        ("30", {"de59": "T1"}),
        ("40", {"de3": "300000"}),
        ("12", {"de49": "840"}),
    ],
)
def test_what_is_refused_at_once(world: World, code: str, changes: dict[str, Any]) -> None:
    reply = world.ask(world.acquirer, world.acquirer.offline_sale(1, **changes))
    assert (reply.mti, reply[39]) == ("0230", code)
    assert world.taken(world.issuer) == []
    assert world.positions() == (0, 0)


def test_another_transaction_under_its_identity_is_94(world: World) -> None:
    request = forwarded(world, world.acquirer.offline_sale(1))
    for body in (
        world.acquirer.offline_sale(1, 1300),
        world.acquirer.offline_sale(1, de41="T0000002"),
        world.acquirer.sale(1),
    ):
        assert world.ask(world.acquirer, body)[39] == "94"
    assert world.taken(world.issuer) == []
    # and an online sale's answer is none to it
    message = INTERBANK.unpack(world.issuer.answer(request))
    message.mti = "0210"
    world.exchange((world.issuer, world.issuer.sealed(message)))
    assert world.switch.dropped == {"0210 that differs from its request": 1}
    assert world.positions() == (0, 0)


def test_an_offline_sale_by_a_token(world: World) -> None:
    token = world.token()
    for _ in range(2):
        request = forwarded(world, world.acquirer.offline_sale(1, pan=token))
        assert (request[2], request[35], request[59]) == (PAN, f"{PAN}=3012000", f"T1016{token}")
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert [reply[2] for reply in world.taken(world.acquirer)] == [token]


@pytest.mark.parametrize("answered", [False, True])
def test_a_reversal_names_it_as_what_it_was(world: World, answered: bool) -> None:
    request = forwarded(world, world.acquirer.offline_sale(1))
    if answered:
        world.exchange((world.issuer, world.issuer.answer(request)))
        world.taken(world.acquirer)
    assert world.ask(world.acquirer, world.acquirer.reversal(2, of=1))[39] == "00"
    (advice,) = world.taken(world.issuer)
    assert advice.text(90)[:10] == "0220000001"
    assert world.positions() == (0, 0)
    assert world.ask(world.acquirer, world.acquirer.offline_sale(1))[39] == "25"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_lost_doubled_or_crashed_each_is_posted_once(world: World, seed: int) -> None:
    random = Random(seed)
    open_ones = {stan: random.randrange(1, 1000) for stan in range(1, 21)}
    total = sum(open_ones.values())
    held: list[bytes] = []
    for _ in range(60):
        sent = []
        for stan, amount in random.sample(sorted(open_ones.items()), k=min(4, len(open_ones))):
            sent += [world.acquirer.offline_sale(stan, amount)] * random.choice((0, 1, 1, 2))
        world.exchange(*((world.acquirer, body) for body in sent))
        held += [world.issuer.answer(request) for request in world.taken(world.issuer) if random.random() < 0.7]
        random.shuffle(held)
        some = [held.pop() for _ in range(min(len(held), random.randrange(4)))]
        world.exchange(*((world.issuer, body) for body in some))
        for reply in world.taken(world.acquirer):
            if random.random() < 0.8:
                open_ones.pop(int(reply.text(11)), None)
        if random.random() < 0.15:
            world.crash()
            world.sign_on()
            held.clear()
    for stan, amount in open_ones.items():
        world.exchange((world.acquirer, world.acquirer.offline_sale(stan, amount)))
        world.exchange(*((world.issuer, world.issuer.answer(request)) for request in world.taken(world.issuer)))
    assert world.positions() == (total, -total)
    assert {row.status for row in world.transactions()} == {"approved"}


def test_a_copy_with_another_card_is_a_duplicate_trace_and_not_passed_on(world: World) -> None:
    """The record, and so a reversal, would speak of another card than the one that the issuer debits."""
    forwarded(world, world.acquirer.offline_sale(1))
    other = "6212345678901240"
    reply = world.ask(world.acquirer, world.acquirer.offline_sale(1, pan=other))
    assert (reply.mti, reply[39]) == ("0230", "94")
    assert world.taken(world.issuer) == []
    # the right copy goes on, also one that shows its card in track 2 only
    request = forwarded(world, world.acquirer.offline_sale(1, de2=None))
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]
    assert world.positions() == (1250, -1250)
