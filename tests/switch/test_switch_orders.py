"""Orders: claimed at their acquirer with a one-use code, asked again while it does not answer, given up in time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from switch_world import PAN, SWITCH_ID, Peer, World

from network.iso8583 import Message
from network.iso8583.additional_data import decode_objects, encode_objects
from network.party import LinkChange, Received, Turn, Work
from switch.tables import AdministrativeRequest, Claim, PayerCode

ORDER = "01020000" + "000000000007"


def pay(world: World, token: str, stan: int = 1, amount: int = 1250, order: str = ORDER, **changes: Any) -> bytes:
    elements: dict[str, Any] = {"de4": f"{amount:012d}", "de102": order, "de103": token}
    return world.issuer.administrative(stan, "940000", **(elements | changes))


def claimed(world: World, token: str, stan: int = 1, **changes: Any) -> Message:
    """What the acquirer is asked."""
    world.exchange((world.issuer, pay(world, token, stan, **changes)))
    assert world.taken(world.issuer) == []
    (claim,) = world.taken(world.acquirer)
    return claim


def sale(world: World, stan: int, code: str, amount: int = 1250, order: str = ORDER, **changes: Any) -> bytes:
    return world.acquirer.code_sale(stan, code, amount, more=encode_objects({"A5": {"01": order}}), **changes)


def answered(world: World, claim: Message, code: str = "00") -> Message:
    """The issuer's answer once the acquirer has answered."""
    world.exchange((world.acquirer, world.acquirer.answer(claim, code)))
    (reply,) = world.taken(world.issuer)
    return reply


def test_a_payer_pays_an_order(world: World) -> None:
    token = world.token()
    claim = claimed(world, token)
    assert (claim.mti, claim[3], claim[4], claim[102], claim[33]) == (
        "0600",
        "950000",
        "000000001250",
        ORDER,
        SWITCH_ID,
    )
    assert set(claim.fields) == {3, 4, 7, 11, 33, 102, 103, 128}
    code = claim.text(103)
    assert (len(code), code[:2]) == (19, "62")
    reply = answered(world, claim)
    assert (reply.mti, reply[3], reply[7], reply[11], reply[39]) == ("0610", "940000", "1123100000", "000001", "00")
    assert (reply[4], reply[102], reply[103], reply[33], reply[100]) == (
        "000000001250",
        ORDER,
        token,
        SWITCH_ID,
        SWITCH_ID,
    )
    world.exchange((world.acquirer, sale(world, 5, code)))
    (request,) = world.taken(world.issuer)
    assert request[2] == PAN
    assert decode_objects(decode_objects(request.text(59))["A5"]) == {"01": ORDER}
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert [one[39] for one in world.taken(world.acquirer)] == ["00"]
    assert world.positions() == (1250, -1250)
    assert len(world.deadlines) == 0


@pytest.mark.parametrize("code", ["25", "54", "13", "94", "91"])
def test_what_the_acquirer_says_is_what_the_issuer_hears(world: World, code: str) -> None:
    token = world.token()
    claim = claimed(world, token)
    assert answered(world, claim, code)[39] == code
    # the code is good for nothing
    assert world.ask(world.acquirer, sale(world, 5, claim.text(103)))[39] == "54"
    assert world.taken(world.issuer) == []
    # a copy is answered from the record
    assert world.ask(world.issuer, pay(world, token))[39] == code
    assert world.taken(world.acquirer) == []


def test_a_code_of_an_order_is_good_for_that_order_only(world: World) -> None:
    other = world.member("05050000", "member:5")
    world.sign_on(other)
    claim = claimed(world, world.token())
    code = claim.text(103)
    answered(world, claim)
    order = encode_objects({"A5": {"01": ORDER}})
    assert world.ask(other, other.code_sale(1, code, more=order))[39] == "14"
    assert world.ask(world.acquirer, sale(world, 2, code, 1251))[39] == "13"
    assert world.ask(world.acquirer, sale(world, 3, code, order=ORDER[:-1] + "8"))[39] == "25"
    assert world.ask(world.acquirer, world.acquirer.code_sale(4, code))[39] == "25"
    assert world.taken(world.issuer) == []
    world.exchange((world.acquirer, sale(world, 5, code)))
    assert len(world.taken(world.issuer)) == 1


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("30", {"order": "0102000000000000007"}),
        ("30", {"order": "01020000" + "00000000000x"}),
        ("30", {"de4": None}),
        ("30", {"de103": None}),
        ("30", {"de102": None}),
        ("13", {"amount": 0}),
        ("14", {"token": "6299001234567890"}),
        ("25", {"order": "09990000000000000007"}),
        ("91", {"order": "05050000000000000007"}),
    ],
)
def test_orders_that_cannot_be_asked_about(world: World, code: str, changes: dict[str, Any]) -> None:
    world.member("05050000", "member:5")
    arguments = {"token": world.token()} | changes
    assert world.ask(world.issuer, pay(world, **arguments))[39] == code
    assert world.taken(world.acquirer) == []
    assert (world.rows(Claim), world.rows(PayerCode)) == ([], [])


@pytest.mark.parametrize("how", ["signed off", "suspended"])
def test_an_acquirer_that_cannot_be_asked_is_91(world: World, how: str) -> None:
    token = world.token()
    if how == "suspended":
        world.command("suspend_member", member_id=world.acquirer.member_id)
    else:
        world.exchange(links=[LinkChange(world.acquirer.link, False)])
    assert world.ask(world.issuer, pay(world, token))[39] == "91"


@pytest.mark.parametrize(("function", "code"), [("920000", "62"), ("922000", "14")])
def test_only_a_good_token_pays(world: World, function: str, code: str) -> None:
    token = world.token()
    world.ask(world.issuer, world.issuer.administrative(50, function, de103=token))
    assert world.ask(world.issuer, pay(world, token))[39] == code


def test_a_claim_is_asked_three_times_and_then_given_up(world: World) -> None:
    token = world.token()
    first = claimed(world, token)
    world.advance(29.9)
    again = world.taken(world.acquirer)
    # the same message each time
    assert [one.fields for one in again] == [first.fields] * 2
    assert world.taken(world.issuer) == []
    # a copy of what is pending is left alone
    world.exchange((world.issuer, pay(world, token)))
    assert (world.taken(world.issuer), world.taken(world.acquirer)) == ([], [])
    world.advance(0.2)
    assert [one[39] for one in world.taken(world.issuer)] == ["98"]
    assert world.ask(world.issuer, pay(world, token))[39] == "98"
    # what comes late changes nothing, and the code is void
    world.exchange((world.acquirer, world.acquirer.answer(first)), (world.acquirer, world.acquirer.answer(first, "94")))
    assert world.taken(world.issuer) == []
    assert [row.late_code for row in world.rows(Claim)] == ["00"]
    assert world.ask(world.acquirer, sale(world, 5, first.text(103)))[39] == "54"
    world.advance(100)
    assert world.taken(world.acquirer) == []


def test_a_claim_whose_answer_is_lost_but_whose_code_is_used_was_accepted(world: World) -> None:
    token = world.token()
    claim = claimed(world, token)
    world.exchange((world.acquirer, sale(world, 5, claim.text(103))))
    (request,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(request)))
    world.advance(31)
    assert [one[39] for one in world.taken(world.issuer) if one.mti == "0610"] == ["00"]
    assert world.positions() == (1250, -1250)


@pytest.mark.parametrize("code", ["96", "A0", "77"])
def test_an_answer_that_decides_nothing_is_asked_for_again(world: World, code: str) -> None:
    claim = claimed(world, world.token())
    before = world.acquirer.zone.mac_key
    world.exchange((world.acquirer, world.acquirer.answer(claim, code)))
    assert world.taken(world.issuer) == []
    assert (world.acquirer.zone.mac_key != before) == (code == "A0")
    world.advance(10)
    (again,) = world.taken(world.acquirer)
    assert answered(world, again)[39] == "00"


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("0610 without a request", {"de11": "999999"}),
        ("0610 without a request", {"de39": None}),
        ("0610 without a request", {"de102": "0" * 20}),
        ("0610 with a wrong MAC", None),
    ],
)
def test_answers_that_do_not_fit_are_dropped(world: World, reason: str, changes: dict[str, Any] | None) -> None:
    claim = claimed(world, world.token())
    body = world.acquirer.answer(claim, **(changes or {}))
    world.exchange((world.acquirer, body[:-8] + b"00000000" if changes is None else body))
    assert world.taken(world.issuer) == []
    assert world.switch.dropped == {reason: 1}
    assert answered(world, claim)[39] == "00"


def test_only_the_acquirer_that_was_asked_can_answer(world: World) -> None:
    other = world.member("05050000", "member:5")
    world.sign_on(other)
    claim = claimed(world, world.token())
    world.exchange((other, other.answer(claim)))
    assert world.switch.dropped == {"0610 without a request": 1}
    assert [row.status for row in world.rows(Claim)] == ["pending"]


def test_a_claim_survives_a_crash_between_commit_and_sending(world: World) -> None:
    token = world.token()
    world.turn((world.issuer, pay(world, token)))
    world.crash()
    world.sign_on()
    world.advance(10)
    (claim,) = world.taken(world.acquirer)
    assert [row.attempts for row in world.rows(Claim)] == [2]
    # the answer is recorded, and lost on its way to the issuer
    world.turn((world.acquirer, world.acquirer.answer(claim)))
    world.crash()
    world.sign_on()
    assert world.taken(world.issuer) == []
    assert world.ask(world.issuer, pay(world, token))[39] == "00"
    assert len(world.rows(Claim)) == 1


def test_a_claim_that_is_overdue_at_the_start_is_asked_at_once(world: World) -> None:
    token = world.token()
    claimed(world, token)
    world.now += 3600 * 1_000_000
    world.crash()
    world.sign_on()
    world.advance(0)
    assert len(world.taken(world.acquirer)) == 1
    world.advance(20)
    assert [one[39] for one in world.taken(world.issuer)] == ["98"]


def test_a_claim_that_was_not_committed_never_was(world: World) -> None:
    token = world.token()
    work = Work([], [Received(world.issuer.link, pay(world, token))], [], [])
    world.switch.turn(Turn(world.now, world.random, world.unit, work))
    world.crash()
    world.sign_on()
    assert world.rows(Claim) == []
    assert len(world.rows(AdministrativeRequest)) == 1
    assert answered(world, claimed(world, token))[39] == "00"


def test_two_payers_of_one_order_get_two_codes(world: World) -> None:
    tokens = [world.token(stan) for stan in (901, 902)]
    world.exchange(*((world.issuer, pay(world, token, stan)) for stan, token in enumerate(tokens, 1)))
    first, second = world.taken(world.acquirer)
    assert first[103] != second[103]
    assert first[11] != second[11]
    assert answered(world, first)[39] == "00"
    assert answered(world, second, "94")[39] == "94"


class PlayedAcquirer:
    """Pays each order once, with the code of the first claim, and remembers what it has answered."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.codes: dict[str, str] = {}

    def take(self, claim: Message) -> tuple[bytes, str | None]:
        order, code = claim.text(102), claim.text(103)
        is_new = order not in self.codes
        accepted = self.codes.setdefault(order, code) == code
        return self.peer.answer(claim, "00" if accepted else "94"), code if is_new else None


@pytest.mark.parametrize("seed", range(6))
def test_each_order_is_paid_at_most_once_whatever_happens(world: World, seed: int) -> None:
    """What the issuer hears agrees with what it is debited: never 00 twice, and no debit after any other answer."""
    random = Random(seed)
    acquirer = PlayedAcquirer(world.acquirer)
    tokens = [world.token(stan) for stan in (901, 902, 903)]
    orders = [f"01020000{number:012d}" for number in range(1, 13)]
    asked: dict[str, tuple[str, str]] = {}
    heard: dict[str, str] = {}
    debited: set[str] = set()
    stan, sale_stan = 0, 500
    wire: list[tuple[Peer, bytes]] = []

    def put(peer: Peer, body: bytes) -> None:
        for _ in range(random.choice((0, 1, 1, 1, 2))):
            wire.insert(random.randrange(len(wire) + 1), (peer, body))

    def take() -> None:
        nonlocal sale_stan
        for message in world.taken(world.acquirer):
            if message.mti == "0600":
                answer, code = acquirer.take(message)
                put(world.acquirer, answer)
                if code is not None:
                    sale_stan += 1
                    put(world.acquirer, sale(world, sale_stan, code, order=message.text(102)))
        for message in world.taken(world.issuer):
            if message.mti == "0610":
                assert heard.setdefault(message.text(11), message.text(39)) == message.text(39)
            elif message.mti == "0200":
                debited.add(message.text(11))
                put(world.issuer, world.issuer.answer(message))

    for step in range(400):
        if step < 200 and random.random() < 0.2:
            stan += 1
            asked[f"{stan:06d}"] = (random.choice(tokens), random.choice(orders))
        for number, (token, order) in asked.items():
            if number not in heard and random.random() < 0.1:
                put(world.issuer, pay(world, token, int(number), order=order))
        bodies = [wire.pop(0) for _ in range(min(len(wire), random.randrange(4)))]
        world.exchange(*bodies)
        take()
        if random.random() < 0.3:
            world.advance(random.randrange(8))
            take()
        if random.random() < 0.02:
            wire.clear()
            world.crash()
            world.sign_on()
    for _ in range(10):
        for number, (token, order) in asked.items():
            if number not in heard:
                world.exchange((world.issuer, pay(world, token, int(number), order=order)))
                take()
        world.exchange(*wire)
        wire.clear()
        take()
        world.advance(10)
        take()
    assert heard.keys() == asked.keys()
    paid = [asked[number][1] for number, code in heard.items() if code == "00"]
    assert len(paid) == len(set(paid))
    assert world.failures == []
    used = [row for row in world.rows(PayerCode) if row.used_by is not None]
    assert {row.order_number for row in used} <= set(paid)
    assert len({row.order_number for row in used}) == len(used)
    assert len(debited) == len(used)
    assert all(row.status == "answered" for row in world.rows(Claim))
