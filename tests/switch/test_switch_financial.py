"""Requests and answers: every response code of the switch's order of checks, and what crosses it unchanged."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from switch_world import PAN, PIN, Peer, World

from network.iso8583 import INTERBANK, Message
from network.keys import PinFormat
from network.party import CHINA_STANDARD_TIME, SECOND, LinkChange, instant_of


def approve(world: World, *stans: int, amount: int = 1250) -> list[Message]:
    """Sales that are approved; returns the forwarded requests."""
    requests = []
    for stan in stans:
        world.exchange((world.acquirer, world.acquirer.sale(stan, amount)))
        (request,) = world.taken(world.issuer)
        world.exchange((world.issuer, world.issuer.answer(request)))
        (reply,) = world.taken(world.acquirer)
        assert reply[39] == "00"
        requests.append(request)
    return requests


def code_of(world: World, body: bytes) -> object:
    """DE39 of the switch's own reply to a request that it does not forward."""
    world.exchange((world.acquirer, body))
    assert world.taken(world.issuer) == []
    (reply,) = world.taken(world.acquirer)
    return reply[39]


def test_a_sale_crosses_with_everything_but_pin_block_and_mac_unchanged(world: World) -> None:
    body = world.acquirer.sale(1)
    world.exchange((world.acquirer, body))
    (request,) = world.taken(world.issuer)
    sent = INTERBANK.unpack(body)
    assert {n for n in request.fields if request[n] != sent.get(n)} == {15, 52, 128}
    assert set(sent.fields) <= set(request.fields)
    assert request[15] == "1123"
    assert world.issuer.pin_is(request, PIN)
    world.exchange((world.issuer, world.issuer.answer(request, de62="ISSUER'S OWN", de33="03090000")))
    (reply,) = world.taken(world.acquirer)
    assert (reply.mti, reply[39], reply[38], reply[15], reply[100]) == ("0210", "00", "A1B2C3", "1123", "03090000")
    assert (reply[62], reply[33], reply[32]) == ("ISSUER'S OWN", "03090000", "01020000")
    assert world.positions() == (1250, -1250)
    (row,) = world.transactions()
    assert (row.status, row.amount, row.response_code) == ("approved", 1250, "00")
    assert len(world.deadlines) == 0


def test_nothing_at_rest_holds_the_card_number(world: World) -> None:
    approve(world, 1)
    world.exchange((world.acquirer, world.acquirer.reversal(2, of=1)))
    with world.store.read() as connection:
        for table in world.store.tables.values():
            for row in connection.execute(table.select()):
                for value in row:
                    raw = value if isinstance(value, bytes) else str(value).encode()
                    assert PAN.encode() not in raw
                    assert bytes.fromhex(PAN) not in raw


def test_a_balance_enquiry_posts_nothing(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1, 0, de3="300000")))
    (request,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(request)))
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], reply[54]) == ("00", "1001156C000000098750")
    assert world.positions() == (0, 0)


def test_a_balance_enquiry_needs_no_amount_and_no_reversal_when_it_times_out(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1, de3="300000", de4=None)))
    assert len(world.taken(world.issuer)) == 1
    world.advance(21)
    (reply,) = world.taken(world.acquirer)
    assert reply[39] == "98"
    assert world.advices() == []


def test_a_decline_is_brought_back_and_posts_nothing(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(request, "51")))
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], 38 in reply) == ("51", False)
    assert world.positions() == (0, 0)
    world.advance(60)
    assert world.advices() == []
    assert world.taken(world.acquirer) == []


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("30", {"de3": None}),
        ("30", {"de4": None}),
        ("30", {"de7": None}),
        ("30", {"de7": "1323100000"}),
        ("30", {"de11": None}),
        ("30", {"de12": None}),
        ("30", {"de13": None}),
        ("30", {"de22": None}),
        ("30", {"de25": None}),
        ("30", {"de32": None}),
        ("30", {"de32": "01030000"}),
        ("30", {"de37": None}),
        ("30", {"de41": None}),
        ("30", {"de41": b"T\x00\x01\x02\x03\x04\x05\x06"}),
        ("30", {"de42": None}),
        ("30", {"de49": None}),
        ("30", {"de2": None, "de35": None}),
        ("30", {"de2": "6212345678901240"}),
        ("30", {"de2": "6212345", "de35": None}),
        ("13", {"de4": "000000000000"}),
        ("40", {"de3": "200000"}),
        ("12", {"de49": "840"}),
        ("92", {"de2": "4000000000000002", "de35": None, "de52": None}),
        ("99", {"de52": b"\x00" * 8}),
        ("99", {"de53": "3600000000000000"}),
    ],
)
def test_requests_that_are_not_forwarded(world: World, code: str, changes: dict[str, Any]) -> None:
    assert code_of(world, world.acquirer.sale(1, **changes)) == code
    assert world.positions() == (0, 0)
    world.advance(60)
    assert world.advices() == []


@pytest.mark.parametrize("changes", [{"de14": None}, {"de18": None}, {"de23": None}, {"de33": None}, {"de55": None}])
def test_what_may_be_missing_is_missing_in_the_reply_too(world: World, changes: dict[str, Any]) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1, **changes)))
    (request,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(request)))
    (reply,) = world.taken(world.acquirer)
    missing = int(next(iter(changes)).removeprefix("de"))
    assert reply[39] == "00"
    assert missing not in request
    assert missing in (33, 55) or missing not in reply


def test_the_card_number_may_stand_in_track_2_alone(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1, de2=None)))
    (request,) = world.taken(world.issuer)
    assert 2 not in request
    world.advance(21)
    (reply,) = world.taken(world.acquirer)
    assert (reply[2], reply[39]) == (PAN, "98")


@pytest.mark.parametrize(
    ("security", "pin_format"), [("1600000000000000", PinFormat.WITHOUT_PAN), (None, PinFormat.ISO_0)]
)
def test_the_pin_block_keeps_its_format(world: World, security: str | None, pin_format: PinFormat) -> None:
    acquirer, issuer = world.acquirer, world.issuer
    block = acquirer.module.encrypt_pin(acquirer.module.load(acquirer.zone.pin_key or ""), PIN, PAN, pin_format)
    world.exchange((acquirer, acquirer.sale(1, de52=block, de53=security)))
    (request,) = world.taken(issuer)
    key = issuer.module.load(issuer.zone.pin_key or "")
    assert request[52] == issuer.module.encrypt_pin(key, PIN, PAN, pin_format)


def test_a_wrong_mac_is_answered_a0_and_leaves_nothing(world: World) -> None:
    body = bytearray(world.acquirer.sale(1))
    body[-1] ^= 1
    assert code_of(world, bytes(body)) == "A0"
    assert code_of(world, world.acquirer.sale(2)[:-8] + b"\0" * 8) == "A0"
    assert world.transactions() == []


def test_an_amount_changed_on_the_way_is_a_wrong_mac(world: World) -> None:
    assert code_of(world, world.acquirer.sale(1).replace(b"000000001250", b"000000000050")) == "A0"


def test_other_requests_are_not_supported(world: World) -> None:
    message = INTERBANK.unpack(world.acquirer.sale(1))
    message.mti = "0100"
    world.exchange((world.acquirer, world.acquirer.sealed(message)))
    (reply,) = world.taken(world.acquirer)
    assert (reply.mti, reply[39]) == ("0110", "40")


def test_a_member_that_is_not_signed_on_is_answered_77(world: World) -> None:
    body = world.acquirer.sale(1)
    world.exchange(links=[LinkChange(world.acquirer.link, False)])
    assert code_of(world, body) == "77"
    world.sign_on(world.acquirer)
    assert code_of(world, world.acquirer.sale(1, 0)) == "13"


def test_a_member_is_bound_to_the_link_it_signed_on_over(world: World) -> None:
    world.peers["member:9"] = world.acquirer
    other = Peer(world.acquirer.member_id, "member:9", bytes(16))
    (sent,) = world.turn((other, world.acquirer.sale(1)))
    assert sent[0] == "member:9"
    world.hand(*sent)
    (reply,) = world.taken(world.acquirer)
    assert reply[39] == "77"


def test_an_issuer_that_is_down_is_answered_91(world: World) -> None:
    world.exchange(links=[LinkChange(world.issuer.link, False)])
    assert code_of(world, world.acquirer.sale(1)) == "91"
    # a turn with the link up, before the member has signed on and its keys have come
    world.turn(links=[LinkChange(world.issuer.link, True)])
    assert code_of(world, world.acquirer.sale(2)) == "91"
    world.sign_on(world.issuer)
    approve(world, 3)
    assert world.positions() == (1250, -1250)
    assert [row.response_code for row in world.transactions()] == ["91", "91", "00"]


def test_suspended_members_neither_acquire_nor_issue(world: World) -> None:
    world.command("suspend_member", member_id=world.issuer.member_id)
    assert code_of(world, world.acquirer.sale(1)) == "91"
    world.command("resume_member", member_id=world.issuer.member_id)
    world.command("suspend_member", member_id=world.acquirer.member_id)
    assert code_of(world, world.acquirer.sale(2)) == "58"
    world.command("resume_member", member_id=world.acquirer.member_id)
    approve(world, 3)


def test_a_suspended_acquirer_can_still_reverse(world: World) -> None:
    approve(world, 1)
    world.command("suspend_member", member_id=world.acquirer.member_id)
    world.exchange((world.acquirer, world.acquirer.reversal(2, of=1)))
    (reply,) = world.taken(world.acquirer)
    assert reply[39] == "00"
    assert world.positions() == (0, 0)


def test_no_answer_is_98_and_a_reversal_of_the_switchs_own(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.advance(19.9)
    assert world.taken(world.acquirer) == []
    world.advance(0.2)
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], reply[2], reply[4], reply[37]) == ("98", PAN, "000000001250", "000000000001")
    (advice,) = world.taken(world.issuer)
    assert (advice.mti, advice[39], advice[33], advice[32]) == ("0420", "98", "00010000", "01020000")
    assert advice[90] == "0200" + "000001" + "1123100000" + "00001020000" + "00001020000"
    assert advice[7] != request[7]
    world.exchange((world.issuer, world.issuer.answer(advice)))
    assert [row.pending_for for row in world.advices()] == [None]
    assert world.positions() == (0, 0)


@pytest.mark.parametrize("code", ["00", "51"])
def test_a_late_answer_is_noted_and_covered_by_the_reversal(world: World, code: str) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.advance(21)
    (advice,) = world.taken(world.issuer)
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["98"]
    for _ in range(2):
        world.exchange((world.issuer, world.issuer.answer(request, code)))
        assert world.taken(world.acquirer) == []
    (row,) = world.transactions()
    assert (row.status, row.late_code, row.response_code) == ("timed out", code, "98")
    assert world.positions() == (0, 0)
    assert len(world.advices()) == 1
    assert world.switch.dropped == {"late 0210": 1, "repeated 0210": 1}
    world.exchange((world.issuer, world.issuer.answer(advice)))
    world.advance(60)
    assert world.taken(world.issuer) == []


def test_an_answer_and_its_timeout_in_one_turn_are_an_approval(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.now += 25 * SECOND
    due = world.deadlines.pop_due(world.now, 10)
    sent = world.turn((world.issuer, world.issuer.answer(request)), due=due)
    assert [world.hand(*one) for one in sent] == [[]]
    (reply,) = world.taken(world.acquirer)
    assert reply[39] == "00"
    assert world.positions() == (1250, -1250)


def test_a_wrong_mac_of_the_issuer_is_dropped_and_ends_in_98(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    body = bytearray(world.issuer.answer(request))
    body[-1] ^= 1
    world.exchange((world.issuer, bytes(body)))
    assert world.taken(world.acquirer) == []
    assert world.switch.dropped == {"0210 with a wrong MAC": 1}
    world.advance(21)
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["98"]
    assert len(world.advices()) == 1


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("0210 that differs from its request", {"de4": "000000009999"}),
        ("0210 that differs from its request", {"de4": None}),
        ("0210 that differs from its request", {"de3": "300000"}),
        ("0210 that differs from its request", {"de39": None}),
        ("0210 without a request", {"de11": "000777"}),
        ("0210 without a request", {"de32": None}),
    ],
)
def test_answers_that_do_not_fit_are_dropped(world: World, reason: str, changes: dict[str, Any]) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(request, **changes)))
    assert world.taken(world.acquirer) == []
    assert world.switch.dropped == {reason: 1}
    assert world.positions() == (0, 0)


def test_only_the_issuer_that_was_asked_can_answer(world: World) -> None:
    other = world.member("05050000", "issuer:05050000")
    world.sign_on(other)
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.exchange((other, other.answer(request)))
    assert world.switch.dropped == {"0210 without a request": 1}
    assert world.positions() == (0, 0)


def test_an_issuer_that_finds_our_mac_wrong_gets_a_new_key_and_the_acquirer_96(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    before = world.issuer.zone.mac_key
    world.exchange((world.issuer, world.issuer.answer(request, "A0")))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["96"]
    assert world.issuer.zone.mac_key != before
    (advice,) = world.taken(world.issuer)
    assert (advice.mti, advice[39]) == ("0420", "A0")
    world.exchange((world.issuer, world.issuer.answer(advice)))
    approve(world, 2)


@pytest.mark.parametrize("code", ["A0", "77"])
def test_a_whole_copy_of_what_the_issuer_could_not_read_is_reversed(world: World, code: str) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = [message for message in world.taken(world.issuer) if message.mti == "0200"]
    world.exchange((world.issuer, world.issuer.answer(request, code)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["96"]
    # the damaged copy was answered; another one arrives and is approved
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert world.positions() == (0, 0)
    assert world.taken(world.acquirer) == []
    world.advance(15)
    advices = [message for message in world.taken(world.issuer) if message.mti == "0420"]
    assert advices
    assert {message[39] for message in advices} == {code}


def test_a_duplicate_is_answered_from_the_record(world: World) -> None:
    sale = world.acquirer.sale(1)
    world.exchange((world.acquirer, sale))
    (request,) = world.taken(world.issuer)
    world.exchange((world.acquirer, sale))
    assert world.taken(world.issuer) == []
    assert world.taken(world.acquirer) == []
    world.exchange((world.issuer, world.issuer.answer(request)))
    (first,) = world.taken(world.acquirer)
    world.exchange((world.acquirer, sale))
    (again,) = world.taken(world.acquirer)
    assert again.fields == first.fields
    world.crash()
    world.sign_on()
    # a MAC under the new key
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (after,) = world.taken(world.acquirer)
    assert {n: v for n, v in after.fields.items() if n != 128} == {n: v for n, v in first.fields.items() if n != 128}
    assert world.taken(world.issuer) == []
    assert world.positions() == (1250, -1250)


def test_duplicates_in_one_turn(world: World) -> None:
    sale = world.acquirer.sale(1)
    world.exchange((world.acquirer, sale), (world.acquirer, sale))
    (request,) = world.taken(world.issuer)
    answer = world.issuer.answer(request)
    world.exchange((world.issuer, answer), (world.acquirer, sale), (world.issuer, answer))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00", "00"]
    assert world.positions() == (1250, -1250)


@pytest.mark.parametrize("changes", [{"de4": "000000009900"}, {"de3": "300000"}, {"de41": "T0000002"}])
def test_another_request_under_the_same_identity_is_94(world: World, changes: dict[str, Any]) -> None:
    approve(world, 1)
    assert code_of(world, world.acquirer.sale(1, **changes)) == "94"
    assert world.positions() == (1250, -1250)


def test_a_declined_request_is_declined_again(world: World) -> None:
    pan = "4000000000000002"
    assert code_of(world, world.acquirer.sale(1, pan=pan)) == "92"
    assert code_of(world, world.acquirer.sale(1, pan=pan)) == "92"
    assert len(world.transactions()) == 1


def test_many_sales_in_one_turn_need_one_query_a_table(world: World) -> None:
    approve(world, 1)
    before = world.unit.single_loads
    world.exchange(*((world.acquirer, world.acquirer.sale(stan)) for stan in range(2, 102)))
    requests = world.taken(world.issuer)
    world.exchange(*((world.issuer, world.issuer.answer(request)) for request in requests))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"] * 100
    assert world.unit.single_loads == before
    assert world.positions() == (101 * 1250, -101 * 1250)


def test_a_member_owes_itself_nothing(world: World) -> None:
    world.command("add_route", prefix="62999", member_id=world.acquirer.member_id)
    pan = "6299900000000007"
    world.exchange((world.acquirer, world.acquirer.sale(1, pan=pan)))
    (request,) = world.taken(world.acquirer)
    world.exchange((world.acquirer, world.acquirer.answer(request)))
    (reply,) = world.taken(world.acquirer)
    assert (request.mti, reply.mti, reply[39]) == ("0200", "0210", "00")
    world.exchange((world.acquirer, world.acquirer.reversal(2, of=1, de2=pan)))
    assert [message.mti for message in world.taken(world.acquirer)] == ["0430", "0420"]
    assert world.positions() == (0, 0)


def test_a_sale_of_new_years_eve_is_answered_in_the_new_year(world: World) -> None:
    world.now = instant_of(datetime(2026, 12, 31, 23, 59, 59, tzinfo=CHINA_STANDARD_TIME))
    world.exchange((world.acquirer, world.acquirer.sale(1, de7="1231235959")))
    (request,) = world.taken(world.issuer)
    world.now += 3 * SECOND
    world.exchange((world.issuer, world.issuer.answer(request)))
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], reply[15]) == ("00", "1231")
