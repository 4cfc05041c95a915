"""Payers' codes: short-lived, good for one sale, whatever is doubled or lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from switch_world import PAN, PIN, World

from network.emv import tlv
from network.emv.qr import PayerCode as EmvCode
from network.iso8583 import Message
from network.iso8583.additional_data import decode_objects
from network.keys import PinFormat
from network.party import SECOND
from switch.routing import RoutingTable
from switch.tables import PayerCode

AID = bytes.fromhex("A000000333010102")


def emv_code(world: World, token: str, atc: int = 1, age: int = 0) -> EmvCode:
    """A code that the payer's phone has made `age` seconds ago."""
    made_at = (world.now // SECOND - age).to_bytes(4)
    return EmvCode(AID, token, "3012", "000", b"\x07\x01\x01\x03\x20\0\0\x01", b"CRYPTGRM", atc.to_bytes(2), made_at)


def forwarded(world: World, body: bytes) -> Message:
    world.exchange((world.acquirer, body))
    assert world.taken(world.acquirer) == []
    (request,) = world.taken(world.issuer)
    return request


def code_of(world: World, body: bytes) -> object:
    reply = world.ask(world.acquirer, body)
    assert world.taken(world.issuer) == []
    return reply[39]


def test_a_code_is_19_digits_that_are_no_cards(world: World) -> None:
    token = world.token()
    codes = [world.code(token, stan) for stan in range(1, 101)]
    assert len(set(codes)) == 100
    for code in codes:
        assert (len(code), code[:2], code.isdigit()) == (19, "62", True)
        assert world.switch.routing.issuer_of(code) is None
        assert not code.startswith("629900")


def test_a_code_avoids_every_route(world: World) -> None:
    for digit in "012345678":
        world.command("add_route", prefix=f"62{digit}", member_id=world.issuer.member_id)
    token = world.token()
    assert {world.code(token, stan)[:3] for stan in range(1, 20)} == {"629"}
    world.command("add_route", prefix="629", member_id=world.issuer.member_id)
    reply = world.ask(world.issuer, world.issuer.administrative(50, "930000", de103=token))
    assert (reply[39], 102 in reply) == ("96", False)
    world.switch._requests.routing = RoutingTable([("62123", "03090000")])
    # it was not recorded: the same request is decided anew
    assert world.ask(world.issuer, world.issuer.administrative(50, "930000", de103=token))[39] == "00"


def test_a_sale_by_digits(world: World) -> None:
    token = world.token()
    code = world.code(token, 5)
    request = forwarded(world, world.acquirer.code_sale(1, code))
    assert (request[2], request[14], request[22]) == (PAN, "3012", "032")
    assert not {35, 52, 55} & set(request.fields)
    objects = decode_objects(request.text(59))
    assert (list(objects), objects["T1"]) == (["A2", "T1"], token)
    world.exchange((world.issuer, world.issuer.answer(request, de59="T1016" + token)))
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], reply[38]) == ("00", "A1B2C3")
    assert not {2, 14, 35, 59} & set(reply.fields)
    assert world.positions() == (1250, -1250)


def test_a_sale_by_an_emvco_code(world: World) -> None:
    token = world.token()
    code = emv_code(world, token)
    request = forwarded(world, world.acquirer.code_sale(1, code.build(), de55=b"\x9f\x26\x01\x00"))
    assert (request[2], request[14]) == (PAN, "3012")
    assert tlv.objects(request.binary(55)) == [
        ("9F26", code.cryptogram),
        ("9F10", code.iad),
        ("9F36", code.atc),
        ("9F37", code.unpredictable_number),
        ("9F02", bytes(6)),
    ]
    assert decode_objects(request.text(59))["T1"] == token
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]


@pytest.mark.parametrize("is_emv", [False, True])
def test_a_code_is_used_once(world: World, is_emv: bool) -> None:
    token = world.token()
    code = emv_code(world, token).build() if is_emv else world.code(token, 5)
    sales = [world.acquirer.code_sale(stan, code) for stan in (1, 2)]
    # both in one turn, and the first of them doubled
    world.exchange(*((world.acquirer, body) for body in (sales[0], sales[1], sales[0])))
    (request,) = world.taken(world.issuer)
    assert request[11] == "000001"
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["54"]
    world.exchange((world.issuer, world.issuer.answer(request)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00"]
    # copies are answered from the record, also after a restart
    world.crash()
    world.sign_on()
    assert code_of(world, world.acquirer.code_sale(1, code)) == "00"
    assert code_of(world, world.acquirer.code_sale(2, code)) == "54"
    assert code_of(world, world.acquirer.code_sale(3, code)) == "54"
    assert world.positions() == (1250, -1250)
    (row,) = world.rows(PayerCode)
    assert row.used_by == "20261123100000000001-1020000"


@pytest.mark.parametrize("is_emv", [False, True])
@pytest.mark.parametrize("end", ["declined", "timed out", "reversed", "issuer down", "wrong PIN block"])
def test_a_code_stays_used_however_its_sale_ended(world: World, is_emv: bool, end: str) -> None:
    token = world.token()
    code = emv_code(world, token).build() if is_emv else world.code(token, 5)
    changes: dict[str, Any] = {}
    if end == "issuer down":
        world.command("suspend_member", member_id=world.issuer.member_id)
    elif end == "wrong PIN block":
        changes = {"de52": bytes(8), "de53": "1600000000000000"}
    world.exchange((world.acquirer, world.acquirer.code_sale(1, code, **changes)))
    for request in world.taken(world.issuer):
        if end == "declined":
            world.exchange((world.issuer, world.issuer.answer(request, "51")))
        elif end == "timed out":
            world.advance(21)
        else:
            world.exchange((world.acquirer, world.acquirer.reversal(9, of=1, de2=None)))
    (advice,) = world.taken(world.issuer) if end in ("timed out", "reversed") else (None,)
    assert advice is None or (advice.mti, advice[2]) == ("0420", PAN)
    world.taken(world.acquirer)
    world.command("resume_member", member_id=world.issuer.member_id)
    assert code_of(world, world.acquirer.code_sale(2, code)) == "54"
    assert world.positions() == (0, 0)


@pytest.mark.parametrize(("age", "code"), [(0, None), (60, None), (61, "54"), (3600, "54"), (-10, None), (-11, "54")])
def test_an_emvco_code_is_good_for_a_minute(world: World, age: int, code: str | None) -> None:
    body = world.acquirer.code_sale(1, emv_code(world, world.token(), age=age).build())
    if code is None:
        forwarded(world, body)
    else:
        assert code_of(world, body) == code


def test_digits_are_good_for_a_minute(world: World) -> None:
    token = world.token()
    codes = [world.code(token, stan) for stan in (5, 6)]
    world.now += 60 * SECOND
    forwarded(world, world.acquirer.code_sale(1, codes[0]))
    world.now += 1
    assert code_of(world, world.acquirer.code_sale(2, codes[1])) == "54"
    # what was refused is a row, so a late copy is never paid
    assert [(row.status, row.response_code) for row in world.transactions()] == [("pending", None), ("refused", "54")]


def test_each_atc_of_a_token_is_a_code(world: World) -> None:
    token = world.token()
    code = emv_code(world, token)
    forwarded(world, world.acquirer.code_sale(1, code.build()))
    # the same counter under another cryptogram or time is the same code
    again = replace(code, cryptogram=b"ANOTHER1", unpredictable_number=(world.now // SECOND - 1).to_bytes(4))
    assert code_of(world, world.acquirer.code_sale(2, again.build())) == "54"
    forwarded(world, world.acquirer.code_sale(3, emv_code(world, token, atc=2).build()))
    other = world.token(stan=7)
    forwarded(world, world.acquirer.code_sale(4, emv_code(world, other).build()))


@pytest.mark.parametrize(("function", "code"), [("920000", "62"), ("922000", "14")])
@pytest.mark.parametrize("is_emv", [False, True])
def test_a_code_is_as_good_as_its_token(world: World, is_emv: bool, function: str, code: str) -> None:
    token = world.token()
    text = emv_code(world, token).build() if is_emv else world.code(token, 5)
    assert world.ask(world.issuer, world.issuer.administrative(6, function, de103=token))[39] == "00"
    assert code_of(world, world.acquirer.code_sale(1, text)) == code
    reply = world.ask(world.issuer, world.issuer.administrative(7, "930000", de103=token))
    assert (reply[39], 102 in reply) == (code, False)


def test_a_token_of_the_other_domain_shows_no_code(world: World) -> None:
    token = world.token(domains="contactless")
    assert world.ask(world.issuer, world.issuer.administrative(7, "930000", de103=token))[39] == "57"
    assert code_of(world, world.acquirer.code_sale(1, emv_code(world, token).build())) == "57"


@pytest.mark.parametrize(
    ("code", "text", "changes"),
    [
        ("14", "6212345678901234567", {}),
        ("14", "emv of no token", {}),
        ("30", "621234567890123456", {}),
        ("30", "not base64!", {}),
        ("30", "AAAA", {}),
        ("30", "6212345678901234567", {"de59": None}),
        ("30", "6212345678901234567", {"de59": "A2003011"}),
        ("30", "6212345678901234567", {"de2": PAN}),
        ("30", "6212345678901234567", {"de35": f"{PAN}=3012"}),
        ("13", "6212345678901234567", {"de4": "000000000000"}),
        ("14", PAN + "000", {}),
    ],
)
def test_codes_that_are_none(world: World, code: str, text: str, changes: dict[str, Any]) -> None:
    if text.startswith("emv"):
        text = emv_code(world, "6299001234567890").build()
    assert code_of(world, world.acquirer.code_sale(1, text, **changes)) == code
    assert world.rows(PayerCode) == []


def test_a_suspended_acquirer_uses_up_no_code(world: World) -> None:
    code = world.code(world.token(), 5)
    world.command("suspend_member", member_id=world.acquirer.member_id)
    assert code_of(world, world.acquirer.code_sale(1, code)) == "58"
    world.command("resume_member", member_id=world.acquirer.member_id)
    forwarded(world, world.acquirer.code_sale(2, code))


@pytest.mark.parametrize(
    ("pin_format", "security", "code"),
    [
        (PinFormat.WITHOUT_PAN, "1600000000000000", None),
        (PinFormat.ISO_0, "2600000000000000", "99"),
    ],
)
def test_a_pin_with_a_code_is_a_block_without_the_number(
    world: World, pin_format: PinFormat, security: str, code: str | None
) -> None:
    acquirer, issuer = world.acquirer, world.issuer
    text = world.code(world.token(), 5)
    block = acquirer.module.encrypt_pin(acquirer.module.load(acquirer.zone.pin_key or ""), PIN, PAN, pin_format)
    body = acquirer.code_sale(1, text, de22="031", de26="12", de52=block, de53=security)
    if code is None:
        key = issuer.module.load(issuer.zone.pin_key or "")
        assert forwarded(world, body)[52] == issuer.module.encrypt_pin(key, PIN, PAN, pin_format)
    else:
        assert code_of(world, body) == code


def test_a_code_that_was_not_committed_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = world.token()
    codes = [world.code(token, 5), emv_code(world, token).build()]
    for stan, code in enumerate(codes, 1):
        with monkeypatch.context() as patch:
            patch.setattr(world.unit, "commit", lambda: 1 // 0)
            assert world.turn((world.acquirer, world.acquirer.code_sale(stan, code))) == []
        world.failures.clear()
        forwarded(world, world.acquirer.code_sale(stan + 10, code))


def test_many_codes_in_one_turn_need_one_query_a_table(world: World) -> None:
    token = world.token()
    codes = [world.code(token, stan) for stan in range(1, 9)]
    codes += [emv_code(world, token, atc=atc).build() for atc in range(1, 9)]
    forwarded(world, world.acquirer.sale(99))
    before = world.unit.single_loads
    world.exchange(*((world.acquirer, world.acquirer.code_sale(stan, code)) for stan, code in enumerate(codes, 1)))
    assert len(world.taken(world.issuer)) == 16
    # the device of these sales, which nobody has asked for before
    assert world.unit.single_loads <= before + 1
