"""Sales and balance inquiries: mapping, refusals, PIN translation, what the books say."""

from __future__ import annotations

from typing import Any

import pytest
from acquirer_bed import EXPIRY, ISSUER_ID, MERCHANT, PAN, PIN, Bed, Terminal
from further_messages import sent

from network.iso8583 import TERMINAL
from network.iso8583.message import Value
from network.keys import PinFormat
from network.member import pack_with_mac

APPROVED_CHIP = bytes.fromhex("910AAABBCCDDEEFF00113030")


def test_a_sale_goes_across_and_back(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale(1250)
    assert bed.ask(terminal, body) == []
    (request,) = bed.switch.received
    assert request.mti == "0200"
    stan = request.text(11)
    assert bed.switch.pin_of(request, PIN)
    assert {n: value for n, value in request.fields.items() if n not in (11, 52, 128)} == {
        2: PAN,
        3: "000000",
        4: "000000001250",
        7: "1123100000",
        12: "100000",
        13: "1123",
        14: EXPIRY,
        18: "5411",
        22: "071",
        23: "001",
        25: "00",
        26: "12",
        32: "48020000",
        33: "48020000",
        35: f"{PAN}={EXPIRY}2010000",
        # 23 November is day 327 of the year
        37: f"532710{stan}",
        41: terminal.terminal_id,
        42: MERCHANT,
        43: "王记水果摊" + " " * 15 + "北京 Beijing" + "CHN",
        49: "156",
        53: "2600000000000000",
        55: bytes.fromhex("9F26080102030405060708"),
    }
    ((_, reply_body),) = bed.answer(bed.switch.answer(request, de54="0002156C000000098750"))
    reply = bed.read(terminal, reply_body)
    assert reply.mti == "0210"
    assert {n: value for n, value in reply.fields.items() if n != 64} == {
        2: PAN,
        3: "000000",
        4: "000000001250",
        11: TERMINAL.unpack(body).fields[11],
        12: "100000",
        13: "1123",
        14: EXPIRY,
        15: "1123",
        23: "001",
        25: "00",
        32: "48020000",
        37: f"532710{stan}",
        38: "A1B2C3",
        39: "00",
        41: terminal.terminal_id,
        42: MERCHANT,
        44: f"{ISSUER_ID:<11}48020000   ",
        49: "156",
        54: "0002156C000000098750",
        55: APPROVED_CHIP,
        60: "2200000700060",
        63: "CUP",
    }
    assert 64 in reply.fields
    assert bed.balances() == {"receivable:network": 1250, f"merchant:{MERCHANT}": 1250}
    (row,) = bed.rows()
    assert (row.status, row.response_code, row.settlement_date) == ("approved", "00", "1123")


def test_a_balance_inquiry_moves_nothing(bed: Bed, terminal: Terminal) -> None:
    assert bed.ask(terminal, terminal.balance()) == []
    (request,) = bed.switch.received
    assert request.fields[3] == "300000"
    assert 4 not in request.fields
    ((_, body),) = bed.answer(bed.switch.answer(request, de54="0002156C000000098750"))
    reply = bed.read(terminal, body)
    assert (reply.fields[3], reply.fields[39], reply.fields[54]) == ("310000", "00", "0002156C000000098750")
    assert 4 not in reply.fields
    assert bed.balances() == {}


@pytest.mark.parametrize("code", ["51", "55", "14", "75", "91", "05"])
def test_a_decline_is_passed_on(bed: Bed, terminal: Terminal, code: str) -> None:
    reply = bed.pay(terminal, terminal.sale(), code)
    assert reply.fields[39] == code
    assert 38 not in reply.fields
    assert bed.balances() == {}
    assert bed.rows()[-1].status == "declined"


@pytest.mark.parametrize("code", ["A0", "77"])
def test_key_trouble_on_the_member_link_is_not_the_terminals(bed: Bed, terminal: Terminal, code: str) -> None:
    assert bed.switch.sign_ons == 1
    assert bed.pay(terminal, terminal.sale(), code).fields[39] == "96"
    # the acquirer has signed on anew, with other keys
    assert bed.switch.sign_ons == 2
    assert bed.party.session.ready
    # but not over and over
    assert bed.pay(terminal, terminal.sale(), code).fields[39] == "96"
    assert bed.switch.sign_ons == 2
    bed.now += 6_000_000
    assert bed.pay(terminal, terminal.sale(), code).fields[39] == "96"
    assert bed.switch.sign_ons == 3
    assert bed.pay(terminal, terminal.sale()).fields[39] == "00"


@pytest.mark.parametrize("code", ["A0", "77"])
def test_a_whole_copy_of_what_the_switch_could_not_read_is_never_paid(bed: Bed, terminal: Terminal, code: str) -> None:
    bed.ask(terminal, terminal.sale())
    (request,) = sent(bed, "0200")
    bed.answer(bed.switch.answer(request, code))
    (row,) = bed.rows()
    assert (row.status, row.response_code) == ("timed_out", "96")
    # the damaged copy was answered; another one arrives and is approved
    bed.answer(bed.switch.answer(request, "00"))
    assert bed.balances() == {}
    (advice,) = bed.advices()
    assert (advice.original, advice.reason) == (row.reference, code)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"de2": None}, {2: PAN, 14: EXPIRY, 35: f"{PAN}={EXPIRY}2010000"}),
        ({"de35": None}, {2: PAN, 14: EXPIRY, 35: None}),
        ({"de14": None}, {2: PAN, 14: EXPIRY, 35: f"{PAN}={EXPIRY}2010000"}),
        ({"de14": None, "de35": None}, {2: PAN, 14: None, 35: None}),
        ({"de26": None}, {26: "12", 53: "2600000000000000"}),
        ({"de26": "06"}, {26: "06"}),
        ({"de53": None}, {53: "2600000000000000"}),
        ({"de25": None}, {25: "00"}),
        ({"de49": None}, {49: "156"}),
        ({"de60": None}, {3: "000000"}),
        ({"de60": "22"}, {3: "000000"}),
        ({"de60": "2200000700060000123"}, {3: "000000"}),
        ({"de23": None, "de55": None}, {23: None, 55: None}),
        # the track is encrypted: the switch could not read it
        ({"de53": "2610000000000000"}, {2: PAN, 35: None, 53: "2600000000000000"}),
        ({"de63": "01 收银员"}, {63: None}),
        ({"de59": "某个字段"}, {59: None}),
    ],
)
def test_optional_elements(
    bed: Bed, terminal: Terminal, changes: dict[str, Any], expected: dict[int, Value | None]
) -> None:
    body = terminal.sale(**changes)
    reply = bed.pay(terminal, body)
    assert reply.fields[39] == "00"
    assert reply.fields.get(60) == TERMINAL.unpack(body).fields.get(60)
    request = bed.switch.received[-1]
    assert {n: request.fields.get(n) for n in expected} == expected
    assert bed.switch.pin_of(request, PIN)


@pytest.mark.parametrize("pan", ["6212345678903", "62123456789012345", "6212345678901234567"])
def test_pans_of_13_to_19_digits(bed: Bed, terminal: Terminal, pan: str) -> None:
    assert bed.pay(terminal, terminal.sale(pan=pan)).fields[2] == pan
    assert bed.switch.pin_of(bed.switch.received[-1], PIN)


def test_odd_digits_filled_up_with_f(bed: Bed, terminal: Terminal) -> None:
    message = terminal.sale_message(pan="62123456789012345")
    message.padding = {2: 15, 35: 15, 22: 15}
    assert bed.pay(terminal, terminal.sealed(message)).fields[2] == "62123456789012345"


def test_without_a_pin_there_is_no_pin_data(bed: Bed, terminal: Terminal) -> None:
    assert bed.pay(terminal, terminal.sale(pin=None)).fields[39] == "00"
    assert {26, 52, 53}.isdisjoint(bed.switch.received[-1].fields)


def test_the_pin_block_without_pan_is_translated_to_that_with_pan(bed: Bed, terminal: Terminal) -> None:
    block = terminal.pin_block(PIN, PAN, PinFormat.WITHOUT_PAN)
    assert bed.pay(terminal, terminal.sale(de52=block, de53="1600000000000000")).fields[39] == "00"
    request = bed.switch.received[-1]
    assert bed.switch.pin_of(request, PIN)
    assert request.fields[53] == "2600000000000000"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"de42": "104110045119999"}, "03"),
        ({"de3": None}, "30"),
        ({"de4": None}, "30"),
        ({"de11": None}, "30"),
        ({"de22": None}, "30"),
        ({"de2": None, "de35": None}, "30"),
        ({"de2": "621234567890", "de35": None}, "30"),
        ({"de2": "6212345678901233"}, "30"),
        ({"de35": PAN}, "30"),
        ({"de35": f"{PAN}=30=12"}, "30"),
        ({"de49": "840"}, "30"),
        ({"de3": "200000", "de25": "00", "de60": "2300000700060"}, "40"),
        ({"de25": "06", "de60": "2000000700060"}, "40"),
        ({"de60": "2600000700060"}, "40"),
        ({"de3": "310000"}, "40"),
        ({"de3": "990000"}, "12"),
        ({"de4": "000000000000"}, "13"),
        ({"de52": b"\1\2\3\4\5\6\7\0"}, "99"),
        ({"de53": "0600000000000000"}, "99"),
        ({"de53": "1600000000000000"}, "99"),
    ],
)
def test_refusals(bed: Bed, terminal: Terminal, changes: dict[str, Any], code: str) -> None:
    body = terminal.sale(**changes)
    (reply,) = bed.ask(terminal, body)
    assert (reply.mti, reply.fields[39]) == ("0210", code)
    assert 64 in reply.fields
    sent = TERMINAL.unpack(body).fields
    assert [reply.fields.get(n) for n in (11, 41, 42)] == [sent.get(n) for n in (11, 41, 42)]
    assert len(reply.text(37)) == 12
    assert bed.switch.received == []
    assert bed.balances() == {}


@pytest.mark.parametrize(
    ("mti", "code"), [("0100", "40"), ("0220", "40"), ("0320", "40"), ("0500", "40"), ("0620", "40"), ("0600", "12")]
)
def test_other_message_types_are_refused(bed: Bed, terminal: Terminal, mti: str, code: str) -> None:
    message = terminal.sale_message()
    message.mti = mti
    (reply,) = bed.ask(terminal, terminal.sealed(message))
    assert (reply.mti, reply.fields[39]) == (f"{mti[:2]}{int(mti[2]) + 1}0", code)


def test_a_wrong_or_missing_mac_is_a0_and_nothing_else_is_done(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale()
    wrong = body[:-1] + (b"0" if body[-1:] != b"0" else b"1")
    (reply,) = bed.ask(terminal, wrong)
    assert reply.fields[39] == "A0"
    assert 64 in reply.fields
    altered = body.replace(bytes.fromhex("000000001250"), bytes.fromhex("000000001251"))
    assert altered != body
    assert bed.ask(terminal, altered)[0].fields[39] == "A0"
    message = TERMINAL.unpack(body)
    del message.fields[64]
    assert bed.ask(terminal, TERMINAL.pack(message))[0].fields[39] == "A0"
    assert bed.rows() == []
    assert bed.switch.received == []
    # the right one goes through: nothing was remembered of the others
    assert bed.pay(terminal, body).fields[39] == "00"


def test_the_order_of_checks(bed: Bed, terminal: Terminal) -> None:
    """Each step puts one fault right; the code is that of the first one left."""
    body = terminal.sale(de4="000000000000", de3="990000", de22=None)
    wrong = bytearray(body)
    wrong[-1] ^= 1
    bed.command("suspend_terminal", terminal_id=terminal.terminal_id)
    bed.command("suspend_merchant", merchant_id=MERCHANT)
    assert bed.ask(terminal, bytes(wrong))[0].fields[39] == "A0"
    assert bed.ask(terminal, body)[0].fields[39] == "58"
    bed.command("activate_terminal", terminal_id=terminal.terminal_id)
    assert bed.ask(terminal, body)[0].fields[39] == "03"
    bed.command("activate_merchant", merchant_id=MERCHANT)
    assert bed.ask(terminal, body)[0].fields[39] == "12"
    assert bed.ask(terminal, terminal.sale(de4="000000000000", de22=None))[0].fields[39] == "30"
    assert bed.ask(terminal, terminal.sale(de4="000000000000"))[0].fields[39] == "13"
    bed.disconnect()
    assert bed.ask(terminal, terminal.sale(de53="0600000000000000"))[0].fields[39] == "91"
    bed.connect()
    assert bed.ask(terminal, terminal.sale(de53="0600000000000000"))[0].fields[39] == "99"


def test_while_the_switch_cannot_be_reached_sales_are_91_and_stay_so(bed: Bed, terminal: Terminal) -> None:
    bed.disconnect()
    body = terminal.sale()
    assert bed.ask(terminal, body)[0].fields[39] == "91"
    bed.connect()
    # a copy of the request that was late on its way must not be paid after the terminal has seen a decline
    assert bed.ask(terminal, body)[0].fields[39] == "91"
    assert bed.switch.received == []
    assert bed.pay(terminal, terminal.sale()).fields[39] == "00"


def test_a_pin_without_a_pin_key_is_77(bed: Bed, terminal: Terminal) -> None:
    from acquirer.tables import Terminal as Row

    row = bed.unit.find(Row, "terminal_id", terminal.terminal_id)
    assert row is not None
    bed.unit.change(row)
    row.pin_key = None
    bed.unit.commit()
    (reply,) = bed.ask(terminal, terminal.sale())
    assert reply.fields[39] == "77"
    assert 64 not in reply.fields
    assert bed.pay(terminal, terminal.sale(pin=None)).fields[39] == "00"


def test_answers_that_are_not_to_be_believed_are_dropped(bed: Bed, terminal: Terminal) -> None:
    assert bed.ask(terminal, terminal.sale()) == []
    request = bed.switch.received[-1]
    right = bed.switch.answer(request)
    wrong = bytearray(right)
    wrong[-1] ^= 1
    stranger = bytearray(right)
    stranger[17:28] = b"00099999   "
    rejected = bytearray(right)
    rejected[41:46] = b"00030"
    unmatched = bed.switch.answer(request, de11="999999")
    without_code = bed.switch.answer(request, de39=None)
    assert bed.answer(bytes(wrong), bytes(stranger), bytes(rejected), unmatched, without_code, right[:-3]) == []
    assert bed.party.dropped == {"mac": 1, "stranger": 1, "rejected": 1, "unmatched": 2, "undecodable": 1}
    request.header = bed.switch.header
    unexpected = pack_with_mac(request, bed.switch.module, bed.switch.keys["2"])
    assert bed.answer(unexpected) == []
    assert bed.party.dropped["unexpected from the switch"] == 1
    ((_, body),) = bed.answer(right)
    assert bed.read(terminal, body).fields[39] == "00"


def test_a_doubled_answer_posts_once(bed: Bed, terminal: Terminal) -> None:
    assert bed.ask(terminal, terminal.sale()) == []
    answer = bed.switch.answer(bed.switch.received[-1])
    assert len(bed.answer(answer, answer)) == 1
    assert bed.answer(answer) == []
    assert bed.party.dropped == {"late": 2}
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


def test_card_data_is_not_stored_in_clear(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    with bed.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM card_transaction").all()
    text = repr(rows)
    assert PAN not in text
    assert PAN not in repr(bed.rows())
    assert bytes(PAN, "ascii") not in b"".join(value for row in rows for value in row if isinstance(value, bytes))


def test_a_message_that_ends_too_early_is_30_where_its_terminal_is_known(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale()
    (reply,) = bed.ask(terminal, body[:-4])
    assert (reply.mti, reply.fields[39]) == ("0210", "30")
    assert bed.ask(terminal, body[:40]) == []
    assert bed.party.dropped == {"undecodable": 1}
    assert bed.rows() == []


def test_the_same_stan_in_two_batches_is_two_sales(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale(de11="000500"))
    terminal.batch = "000008"
    bed.pay(terminal, terminal.sale(de11="000500"))
    assert bed.balances()[f"merchant:{MERCHANT}"] == 2500
