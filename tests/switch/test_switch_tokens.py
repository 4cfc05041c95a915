"""Tokens: made, suspended, resumed and deleted once; the card's number for the issuer, the token for the acquirer."""

from __future__ import annotations

from random import Random
from typing import Any

import psec
import pytest
from switch_world import PAN, PIN, SWITCH_ID, World

from network.iso8583 import INTERBANK, Message
from network.iso8583.additional_data import decode_objects, encode_objects
from network.keys import Algorithm, KeyUsage, PinFormat, SecurityModule
from network.party import SECOND, CommandError, LinkChange, Received, Turn, Work
from switch.tables import AdministrativeRequest, Token
from switch.tokens import check_digit


def token_sale(world: World, token: str, stan: int = 1, **changes: Any) -> bytes:
    return world.acquirer.sale(stan, **{"pan": token} | changes)


def forwarded(world: World, body: bytes) -> Message:
    world.exchange((world.acquirer, body))
    assert world.taken(world.acquirer) == []
    (request,) = world.taken(world.issuer)
    return request


def code_of(world: World, body: bytes) -> object:
    reply = world.ask(world.acquirer, body)
    assert world.taken(world.issuer) == []
    return reply[39]


@pytest.mark.parametrize(("digits", "check"), [("7992739871", "3"), ("621234567890123", "2"), ("0", "0")])
def test_the_check_digit_is_that_of_the_standard(digits: str, check: str) -> None:
    assert check_digit(digits) == check


@pytest.mark.parametrize(("pan", "length"), [(PAN, 16), ("6212345678901232001", 19), ("621234567890123", 16)])
def test_a_token_is_a_number_of_the_switchs_own(world: World, pan: str, length: int) -> None:
    body = world.issuer.administrative(1, "910000", de2=pan, de14="3012", de48="contactless")
    reply = world.ask(world.issuer, body)
    token = reply.text(103)
    assert (reply.mti, reply[39], reply[2], reply[14], reply[33], reply[100]) == (
        "0610",
        "00",
        pan,
        "3012",
        SWITCH_ID,
        SWITCH_ID,
    )
    assert set(reply.fields) == {2, 3, 7, 11, 14, 33, 39, 100, 103, 128}
    assert (token[:6], len(token)) == ("629900", length)
    assert check_digit(token[:-1]) == token[-1]
    (row,) = world.rows(Token)
    assert (row.issuer, row.status, row.domains, row.expiry) == ("03090000", "active", "contactless", "3012")


def test_the_issuer_gets_the_card_and_the_acquirer_the_token(world: World) -> None:
    token = world.token()
    place = {"01": "11", "02": "phone-1", "03": "+31.2304,+121.4737"}
    objects = {"T1": "6299001111111111", "A2": place, "A4": {"01": "1", "02": "3"}, "R1": "lies", "Z9": "unknown"}
    body = token_sale(world, token, de59=encode_objects(objects), de45="B6299001111111111^X^3012", de36=f"{token}=1")
    request = forwarded(world, body)
    assert (request[2], request[14], request[35]) == (PAN, "3012", f"{PAN}=3012000")
    assert list(decode_objects(request.text(59))) == ["A2", "Z9", "T1"]
    assert decode_objects(request.text(59))["T1"] == token
    assert {36, 45} & set(request.fields) == set()
    assert world.issuer.pin_is(request, PIN)
    # nothing else of the message is another
    sent = INTERBANK.unpack(body)
    assert {n for n in sent.fields if request.get(n) != sent[n]} == {2, 35, 36, 45, 52, 59, 128}
    world.exchange((world.issuer, world.issuer.answer(request, de59=encode_objects({"T1": token, "R1": "x"}))))
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], reply[2], reply[14], 59 in reply) == ("00", token, "3012", False)
    assert world.positions() == (1250, -1250)


@pytest.mark.parametrize("pin", ["1234", "135790", "123456789012"])
@pytest.mark.parametrize("target_pan", [PAN, None])
def test_a_pin_block_changes_from_the_token_to_the_card(pin: str, target_pan: str | None) -> None:
    token = "6299001234567892"
    keys = [bytes(range(16)), bytes(range(16, 32))]
    module = SecurityModule(bytes(32), Random(1))
    source, target = (module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, key) for key in keys)
    block = psec.des.encrypt_tdes_ecb(keys[0], psec.pinblock.encode_pinblock_iso_0(pin, token))
    arguments = (source, target, block, token, PinFormat.ISO_0, PinFormat.ISO_0)
    translated = module.translate_pin(*arguments, target_pan)
    clear = psec.des.decrypt_tdes_ecb(keys[1], translated)
    assert psec.pinblock.decode_pinblock_iso_0(clear, target_pan or token) == pin


def test_a_pin_that_belongs_to_the_token_reaches_the_issuer_with_the_card(world: World) -> None:
    token = world.token()
    assert world.issuer.pin_is(forwarded(world, token_sale(world, token)), PIN)
    # a block that was made with the card's number is none of the token's
    acquirer = world.acquirer
    block = acquirer.module.encrypt_pin(acquirer.module.load(acquirer.zone.pin_key or ""), PIN, PAN, PinFormat.ISO_0)
    assert code_of(world, token_sale(world, token, 2, de52=block)) == "99"


def test_a_token_in_track_2_alone(world: World) -> None:
    token = world.token()
    request = forwarded(world, token_sale(world, token, de2=None, de14=None))
    assert (request[2], request[14], request[35]) == (PAN, "3012", f"{PAN}=3012000")
    world.exchange((world.issuer, world.issuer.answer(request)))
    (reply,) = world.taken(world.acquirer)
    assert (reply[2], 14 in reply) == (token, False)


@pytest.mark.parametrize("element", ["T1", "R1", "A3", "A4"])
def test_what_is_not_for_issuers_is_taken_out_of_any_sale(world: World, element: str) -> None:
    value: Any = {"01": "0", "02": "1"} if element == "A4" else "1234567890123456"
    request = forwarded(world, world.acquirer.sale(1, de59=encode_objects({element: value})))
    assert 59 not in request
    request = forwarded(world, world.acquirer.sale(2, de59=encode_objects({"A2": {"01": "04"}, element: value})))
    assert request[59] == "A20070100204"
    assert request[2] == PAN


@pytest.mark.parametrize(
    "text", [b"A2007020002x\x00", "X", "T1", "T1999", "A2003011", "A20070200311", "A4006010012", "T1T1"]
)
def test_a_malformed_element_59_is_30(world: World, text: str | bytes) -> None:
    assert code_of(world, world.acquirer.sale(1, de59=text)) == "30"
    assert world.transactions() == []


def test_element_59_may_hold_chinese(world: World) -> None:
    objects = {"A2": {"01": "11", "02": "手机-1"}, "A4": {"01": "1", "02": "7"}}
    request = forwarded(world, token_sale(world, token := world.token(), de59=encode_objects(objects)))
    assert decode_objects(request.text(59)) == {"A2": encode_objects(objects["A2"]), "T1": token}


def test_an_element_59_without_room_for_a_token_is_30(world: World) -> None:
    token = world.token()
    assert code_of(world, token_sale(world, token, 1, de59=encode_objects({"Z9": "x" * 566}))) == "30"
    request = forwarded(world, token_sale(world, token, 2, de59=encode_objects({"Z9": "x" * 565})))
    assert len(request.text(59)) == 570 + 5 + 16


@pytest.mark.parametrize(
    ("function", "code", "after"),
    [("920000", "62", "00"), ("922000", "14", "14"), (None, "14", None)],
)
def test_tokens_that_may_not_be_used(world: World, function: str | None, code: str, after: str | None) -> None:
    token = world.token()
    if function is None:
        token = "6299009999999995"
    else:
        assert world.ask(world.issuer, world.issuer.administrative(1, function, de103=token))[39] == "00"
    assert code_of(world, token_sale(world, token, 1)) == code
    (row,) = world.transactions()
    assert (row.status, row.response_code, row.issuer) == ("refused", code, None)
    # whoever looks into why a token was refused finds it, as far as there is one
    assert row.token_index == (None if function is None else world.rows(Token)[0].token_index)
    # a copy is answered from the record, with what the acquirer sent
    reply = world.ask(world.acquirer, token_sale(world, token, 1))
    assert (reply[39], reply[2], reply[14]) == (code, token, "3012")
    # the card itself is not touched
    assert forwarded(world, world.acquirer.sale(2))[2] == PAN
    if after is not None:
        assert world.ask(world.issuer, world.issuer.administrative(2, "921000", de103=token))[39] == after
        if after == "00":
            assert forwarded(world, token_sale(world, token, 3))[2] == PAN


@pytest.mark.parametrize(
    ("domains", "mode", "code"),
    [
        ("contactless", "071", None),
        ("code", "071", "57"),
        ("contactless,code", "071", None),
        ("contactless,code", "051", "57"),
        ("contactless,code", "021", "57"),
        ("contactless,code", "011", "57"),
    ],
)
def test_a_token_is_good_in_its_domains(world: World, domains: str, mode: str, code: str | None) -> None:
    token = world.token(domains=domains)
    body = token_sale(world, token, de22=mode)
    if code is None:
        assert forwarded(world, body)[2] == PAN
    else:
        assert code_of(world, body) == code


def test_a_token_expires_with_its_card(world: World) -> None:
    for stan, (expiry, code) in enumerate((("2610", "14"), ("2611", None)), 1):
        reply = world.ask(
            world.issuer, world.issuer.administrative(stan, "910000", de2=PAN, de14=expiry, de48="contactless")
        )
        body = token_sale(world, reply.text(103), stan)
        if code is None:
            assert forwarded(world, body)[14] == expiry
        else:
            assert code_of(world, body) == code


@pytest.mark.parametrize(
    ("code", "function", "elements"),
    [
        ("14", "910000", {"de2": "4000000000000002", "de14": "3012", "de48": "code"}),
        ("14", "910000", {"de2": "6299001234567890", "de14": "3012", "de48": "code"}),
        ("30", "910000", {"de14": "3012", "de48": "code"}),
        ("30", "910000", {"de2": PAN, "de48": "code"}),
        ("30", "910000", {"de2": PAN, "de14": "3013", "de48": "code"}),
        ("30", "910000", {"de2": PAN, "de14": "3012"}),
        ("30", "910000", {"de2": PAN, "de14": "3012", "de48": "magnetic"}),
        ("30", "910000", {"de2": PAN, "de14": "3012", "de48": "code,code"}),
        ("30", "910000", {"de2": "1234", "de14": "3012", "de48": "code"}),
        ("30", "920000", {}),
        ("14", "920000", {"de103": "6299001234567890"}),
        ("14", "921000", {"de103": "6299001234567890"}),
        ("14", "922000", {"de103": "x"}),
        ("14", "930000", {"de103": "6299001234567890"}),
        ("12", "990000", {"de103": "6299001234567890"}),
        ("12", "950000", {"de4": "000000000001", "de102": "0" * 20, "de103": "6299001234567890"}),
        ("30", "930000", {"de33": "01020000", "de103": "6299001234567890"}),
        ("30", "930000", {"de7": None, "de103": "6299001234567890"}),
        ("30", "930000", {"de7": "1323100000", "de103": "6299001234567890"}),
        ("30", None, {}),
    ],
)
def test_administrative_requests_that_are_refused(
    world: World, code: str, function: str | None, elements: dict[str, Any]
) -> None:
    body = world.issuer.administrative(
        1, function or "910000", **({"de3": None} if function is None else {}) | elements
    )
    reply = world.ask(world.issuer, body)
    assert (reply.mti, reply[39], reply[100]) == ("0610", code, SWITCH_ID)
    assert world.rows(Token) == []


def test_only_its_issuer_may_say_what_becomes_of_a_token(world: World) -> None:
    other = world.member("05050000", "issuer:05050000")
    world.sign_on(other)
    token = world.token()
    for stan, function in enumerate(("920000", "922000", "930000"), 1):
        assert world.ask(other, other.administrative(stan, function, de103=token))[39] == "14"
    body = other.administrative(9, "910000", de2=PAN, de14="3012", de48="code")
    assert world.ask(other, body)[39] == "14"
    assert forwarded(world, token_sale(world, token))[2] == PAN


def test_a_wrong_mac_or_no_sign_on_changes_nothing(world: World) -> None:
    token = world.token()
    body = bytearray(world.issuer.administrative(1, "922000", de103=token))
    body[-1] ^= 1
    assert world.ask(world.issuer, bytes(body))[39] == "A0"
    # one token in place of another under the first one's MAC
    changed = world.issuer.administrative(2, "922000", de103="6299001234567890")
    assert world.ask(world.issuer, changed.replace(b"6299001234567890", token.encode()))[39] == "A0"
    body = bytearray(world.issuer.administrative(3, "922000", de103=token))
    world.exchange(links=[LinkChange(world.issuer.link, False)])
    assert world.ask(world.issuer, bytes(body))[39] == "77"
    assert [row.status for row in world.rows(Token)] == ["active"]


def test_a_suspended_member_may_suspend_but_not_make(world: World) -> None:
    token = world.token()
    world.command("suspend_member", member_id=world.issuer.member_id)
    body = world.issuer.administrative(1, "910000", de2=PAN, de14="3012", de48="code")
    assert world.ask(world.issuer, body)[39] == "58"
    assert world.ask(world.issuer, world.issuer.administrative(2, "930000", de103=token))[39] == "58"
    assert world.ask(world.issuer, world.issuer.administrative(3, "920000", de103=token))[39] == "00"


def test_a_copy_is_answered_from_the_record(world: World) -> None:
    body = world.issuer.administrative(1, "910000", de2=PAN, de14="3012", de48="code")
    world.exchange((world.issuer, body), (world.issuer, body))
    first, second = world.taken(world.issuer)
    assert first.fields == second.fields
    world.crash()
    world.sign_on()
    again = world.ask(world.issuer, world.issuer.administrative(1, "910000", de2=PAN, de14="3012", de48="code"))
    assert again[103] == first[103]
    assert len(world.rows(Token)) == 1
    # the same trace number for something else
    other = world.issuer.administrative(1, "910000", de2=PAN, de14="3012", de48="contactless")
    assert world.ask(world.issuer, other)[39] == "94"
    # another request for the same card is another token
    assert world.token(stan=2) != first[103]


def test_a_late_copy_undoes_nothing(world: World) -> None:
    token = world.token()
    suspend = world.issuer.administrative(1, "920000", de103=token)
    assert world.ask(world.issuer, suspend)[39] == "00"
    assert world.ask(world.issuer, world.issuer.administrative(2, "921000", de103=token))[39] == "00"
    assert world.ask(world.issuer, suspend)[39] == "00"
    assert [row.status for row in world.rows(Token)] == ["active"]


def test_a_card_has_so_many_tokens(world: World) -> None:
    tokens = [world.token(stan) for stan in range(1, 21)]
    assert len(set(tokens)) == 20
    body = world.issuer.administrative(21, "910000", de2=PAN, de14="3012", de48="code")
    assert world.ask(world.issuer, body)[39] == "65"
    assert world.ask(world.issuer, world.issuer.administrative(22, "922000", de103=tokens[0]))[39] == "00"
    assert world.token(23) not in tokens


@pytest.mark.parametrize("with_number", [True, False])
def test_reversals_bring_the_issuer_the_card(world: World, with_number: bool) -> None:
    token = world.token()
    request = forwarded(world, token_sale(world, token))
    world.exchange((world.issuer, world.issuer.answer(request)))
    world.taken(world.acquirer)
    reply = world.ask(world.acquirer, world.acquirer.reversal(2, of=1, de2=token if with_number else None))
    assert (reply[39], reply.get(2)) == ("00", token if with_number else None)
    (advice,) = world.taken(world.issuer)
    assert (advice.mti, advice[2], 59 in advice) == ("0420", PAN, False)
    assert world.positions() == (0, 0)
    # a copy of the original after it
    assert world.ask(world.acquirer, token_sale(world, token))[39] == "25"


def test_no_answer_is_98_under_the_token_and_a_reversal_of_the_card(world: World) -> None:
    token = world.token()
    forwarded(world, token_sale(world, token))
    world.advance(21)
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], reply[2], reply[14]) == ("98", token, "3012")
    assert [message[2] for message in world.taken(world.issuer)] == [PAN]


def test_a_crash_between_commit_and_sending_loses_no_token_sale(world: World) -> None:
    token = world.token()
    request = forwarded(world, token_sale(world, token))
    world.turn((world.issuer, world.issuer.answer(request)))
    world.crash()
    world.sign_on()
    reply = world.ask(world.acquirer, token_sale(world, token))
    assert (reply[39], reply[2], reply[38]) == ("00", token, "A1B2C3")
    assert world.positions() == (1250, -1250)


def test_a_token_that_was_not_committed_is_none(world: World) -> None:
    body = world.issuer.administrative(1, "910000", de2=PAN, de14="3012", de48="code")
    world.switch.turn(Turn(world.now, world.random, world.unit, Work([], [Received(world.issuer.link, body)], [], [])))
    world.crash()
    world.sign_on()
    assert (world.rows(Token), world.rows(AdministrativeRequest)) == ([], [])
    assert world.token(stan=1)


def test_nothing_at_rest_holds_token_or_card(world: World) -> None:
    token = world.token()
    code = world.code(token, 5)
    request = forwarded(world, token_sale(world, token))
    world.exchange((world.issuer, world.issuer.answer(request)))
    with world.store.read() as connection:
        for table in world.store.tables.values():
            for row in connection.execute(table.select()):
                for value in row:
                    raw = value if isinstance(value, bytes) else str(value).encode()
                    for secret in (PAN, token, code):
                        assert secret.encode() not in raw
                        assert secret[:15].encode() not in raw


def test_many_token_sales_in_one_turn_need_one_query_a_table(world: World) -> None:
    tokens = [world.token(stan) for stan in range(1, 11)]
    forwarded(world, token_sale(world, tokens[0], 99))
    before = world.unit.single_loads
    world.exchange(*((world.acquirer, token_sale(world, token, stan)) for stan, token in enumerate(tokens, 1)))
    requests = world.taken(world.issuer)
    world.exchange(*((world.issuer, world.issuer.answer(request)) for request in requests))
    assert [reply[2] for reply in world.taken(world.acquirer)] == tokens
    assert world.unit.single_loads == before


def test_no_route_may_begin_as_tokens_do(world: World) -> None:
    answer = world.command("add_route", prefix="6299001", member_id=world.issuer.member_id)
    assert isinstance(answer, CommandError)
    assert "tokens" in str(answer)
    # a wider one leaves them to the token service
    world.command("add_route", prefix="6299", member_id=world.issuer.member_id)
    world.now += SECOND
    assert code_of(world, token_sale(world, "6299009999999995")) == "14"
