import json

import pytest
from device_bed import ARPC, MERCHANT_ID, PAN, PIN, TERMINAL_ID, TRACK2, Bed, ScriptedCard, typed

from merchant_device.configuration import Configuration
from merchant_device.tables import Sale
from network.emv import tlv
from network.iso8583 import TERMINAL


def last(bed: Bed, mti: str):
    return [request for request in bed.acquirer.requests if request.mti == mti][-1]


def test_a_sale_with_a_pin_is_approved_and_stored():
    bed = Bed()
    bed.settle()
    receipt = bed.ask("sale", amount=150_000)
    assert receipt == {
        "outcome": "approved",
        "response_code": "00",
        "reason": None,
        "terminal": TERMINAL_ID,
        "merchant": MERCHANT_ID,
        "stan": "000002",
        "batch": "000001",
        "rrn": "600210000002",
        "authorisation_code": "A00002",
        "amount": 150_000,
        "balance": 19_876,
        "pan": "622800******1000",
        "cvm": "online_pin",
        "at": receipt["at"],
        "way": "card",
        "offline": False,
        "order": None,
    }
    assert str(receipt["at"]).startswith("2026-01-02T10:00:00.")
    (sale,) = bed.sales()
    assert (sale.status, sale.response_code, sale.rrn, sale.authorisation_code) == (
        "approved",
        "00",
        "600210000002",
        "A00002",
    )
    assert bed.mtis() == ["0800", "0200"]
    assert not bed.failures
    assert not bed.device.dropped


def test_the_0200_has_the_elements_of_the_protocol():
    bed = Bed()
    bed.settle()
    bed.ask("sale", amount=150_000)
    request = last(bed, "0200")
    fields = dict(request.fields)
    chip, mac = fields.pop(55), fields.pop(64)
    assert bed.acquirer.pin_of(request)
    assert len(fields.pop(52)) == 8
    assert fields == {
        2: PAN,
        3: "000000",
        4: "000000150000",
        11: "000002",
        14: "3012",
        22: "071",
        23: "001",
        25: "00",
        26: "12",
        35: TRACK2,
        41: TERMINAL_ID,
        42: MERCHANT_ID,
        49: "156",
        53: "2600000000000000",
        60: "2200000100060",
    }
    assert len(mac) == 8
    data = tlv.flat(chip)
    assert data["9F26"] == bytes.fromhex("A1A2A3A4A5A6A7A8")
    assert data["9F02"] == bytes.fromhex("000000150000")
    assert data["9F41"] == bytes.fromhex("00000002")
    assert len(data["9F37"]) == 4


def test_without_a_pin_there_is_none_of_its_elements():
    bed = Bed()
    bed.cards[TERMINAL_ID] = ScriptedCard(pin=False)
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["cvm"]) == ("approved", "no_cvm")
    request = last(bed, "0200")
    assert request[22] == "072"
    assert not {26, 52, 53} & set(request.fields)
    assert not bed.pad_requests


def test_the_pin_pad_gets_amount_and_lengths_only():
    bed = Bed()
    bed.ask("sale", amount=150_000)
    (asked,) = bed.pad_requests
    request = json.loads(asked)
    assert sorted(request.pop("layout")) == list("0123456789")
    assert len(bytes.fromhex(request.pop("entry"))) == 4
    assert request == {"request": "pin", "amount": 150_000, "minimum": 4, "maximum": 12}


def test_unpredictable_numbers_differ():
    bed = Bed()
    bed.ask("sale", amount=1)
    bed.ask("sale", amount=1)
    numbers = [tlv.flat(m.binary(55))["9F37"] for m in bed.acquirer.requests if m.mti == "0200"]
    assert len(set(numbers)) == 2


@pytest.mark.parametrize("code", ["51", "55", "14", "05", "91", "98", "61"])
def test_a_decline_is_final(code):
    bed = Bed()
    bed.acquirer.code = code
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["response_code"], receipt["authorisation_code"]) == ("declined", code, None)
    assert [(sale.status, sale.response_code) for sale in bed.sales()] == [("declined", code)]
    bed.pass_time(300)
    assert bed.mtis() == ["0800", "0200"]
    # no external authenticate after a decline
    card = bed.cards[TERMINAL_ID]
    assert card is not None
    assert [apdu[1] for apdu in card.commands] == [0xA4, 0xA4, 0xA8]


@pytest.mark.parametrize(("checks", "leaves_after"), [(b"\x90\x00", 99), (b"\x90\x00", 3)])
def test_the_card_accepts_the_answer_or_is_gone(checks, leaves_after):
    bed = Bed()
    card = bed.cards[TERMINAL_ID] = ScriptedCard(checks=checks, leaves_after=leaves_after)
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert card.commands[-1] == b"\x00\x82\x00\x00\x0a" + ARPC
    bed.pass_time(300)
    assert bed.acquirer.paid == {(TERMINAL_ID, "000001", "000002"): "paid"}


def test_a_card_that_says_nothing_counts_as_gone():
    bed = Bed()
    bed.held.add("reader")
    ticket = bed.command("sale", amount=1250)
    bed.step()
    bed.settle()
    card = bed.cards[TERMINAL_ID]
    assert card is not None
    for _ in range(3):
        link, apdu = bed.sent.popleft()
        bed.receive(link, card.transmit(apdu))
        bed.step()
        bed.settle()
    assert [sale.status for sale in bed.sales()] == ["pending"]
    assert ticket not in bed.answers
    bed.pass_time(2.1)
    assert bed.answer(ticket)["outcome"] == "approved"
    # its late answer changes nothing
    bed.receive(f"reader:{TERMINAL_ID}", b"\x63\x00")
    bed.step()
    assert [sale.status for sale in bed.sales()] == ["approved"]
    assert bed.device.dropped == {"unexpected from the reader": 1}


@pytest.mark.parametrize("status", [b"\x63\x00", b"\x69\x85", b"\x6f\x00"])
def test_a_card_that_refuses_the_answer_has_the_sale_reversed(status):
    bed = Bed()
    bed.cards[TERMINAL_ID] = ScriptedCard(checks=status)
    receipt = bed.ask("sale", amount=1250)
    assert receipt["outcome"] == "declined"
    assert receipt["reason"] == "the card did not accept the issuer's answer"
    (sale,) = bed.sales()
    assert (sale.status, sale.reversal_reason, sale.reversal_code) == ("reversed", "06", "00")
    reversal = last(bed, "0400")
    assert (reversal[38], reversal[39]) == ("A00002", "06")
    assert bed.acquirer.paid == {(TERMINAL_ID, "000001", "000002"): "reversed"}


def test_a_card_that_does_not_check_answers_is_not_asked():
    bed = Bed()
    card = bed.cards[TERMINAL_ID] = ScriptedCard(checks=b"\x63\x00")
    card.options["82"] = b"\x18\x00"
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert [apdu[1] for apdu in card.commands] == [0xA4, 0xA4, 0xA8]


def drop(number):
    return lambda message: message.mti == "0210" and message.fields.pop(number, None)


def put(number, value):
    return lambda message: message.mti == "0210" and message.fields.__setitem__(number, value)


@pytest.mark.parametrize(
    ("change", "outcome", "reversed_with"),
    [
        (drop(55), "approved", None),
        (drop(54), "approved", None),
        (drop(38), "approved", None),
        (put(54, "rubbish"), "approved", None),
        (put(55, tlv.encode("72", b"\x01")), "approved", None),
        (put(55, b"\x91\x20\x01"), "declined", "06"),
        (put(55, tlv.encode("91", b"\x01\x02")), "declined", "06"),
        (put(4, "000000001251"), "declined", "06"),
        (put(39, "10"), "declined", "06"),
        (drop(39), "unknown", "06"),
    ],
)
def test_approvals_that_differ_from_what_was_asked(change, outcome, reversed_with):
    bed = Bed()
    bed.acquirer.change = change
    receipt = bed.ask("sale", amount=1250)
    assert receipt["outcome"] == outcome
    (sale,) = bed.sales()
    assert sale.status == ("approved" if reversed_with is None else "reversed")
    assert sale.reversal_reason == reversed_with
    assert bed.acquirer.paid == {
        (TERMINAL_ID, "000001", "000002"): "paid" if reversed_with is None else "reversed",
    }


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        (ScriptedCard(leaves_after=0), "the card left the field"),
        (ScriptedCard(leaves_after=2), "the card left the field"),
    ],
)
def test_a_card_taken_away_too_early(card, reason):
    bed = Bed()
    bed.cards[TERMINAL_ID] = card
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["reason"], receipt["pan"]) == ("refused", reason, None)
    assert bed.sales() == []
    assert bed.mtis() == ["0800"]


def test_a_card_that_declines_itself():
    bed = Bed()
    card = bed.cards[TERMINAL_ID] = ScriptedCard()
    card.decision = 0x00
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the card declined")
    assert bed.sales() == []


def test_nobody_comes_with_a_card_or_types_a_pin():
    bed = Bed()
    bed.cards[TERMINAL_ID] = None
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.pass_time(61)
    assert bed.answer(ticket)["reason"] == "no card was read in time"
    bed.cards[TERMINAL_ID] = ScriptedCard()
    bed.pins[TERMINAL_ID] = None
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    bed.pass_time(61)
    assert bed.answer(ticket)["reason"] == "no PIN was entered in time"
    asked, closed = map(json.loads, bed.pad_requests)
    assert closed == {"request": "close", "entry": asked["entry"]}
    assert bed.sales() == []
    # a PIN typed too late is nobody's
    bed.receive(f"pinpad:{TERMINAL_ID}", typed(bed.pad_requests[0], PIN))
    bed.step()
    assert bed.device.dropped == {"unexpected from the pinpad": 1}


def test_a_balance_enquiry_has_a_pin_and_moves_no_money():
    bed = Bed()
    bed.cards[TERMINAL_ID] = ScriptedCard(pin=False)
    receipt = bed.ask("balance")
    assert (receipt["outcome"], receipt["balance"], receipt["amount"]) == ("approved", 19_876, None)
    request = last(bed, "0200")
    assert (request[3], request[60], request[22]) == ("310000", "0100000100060", "071")
    assert 4 not in request
    assert tlv.flat(request.binary(55))["9C"] == b"\x31"
    assert bed.sales() == []
    bed.acquirer.silent.add("0200")
    ticket = bed.command("balance")
    bed.settle()
    bed.pass_time(61)
    assert bed.answer(ticket)["outcome"] == "unknown"
    assert "0400" not in bed.mtis()


def test_many_phones_share_turns():
    terminals = [f"1000{n:04d}" for n in range(40)]
    bed = Bed(terminals=terminals)
    bed.settle()
    tickets = [bed.command("sale", terminal, amount=100 + n) for n, terminal in enumerate(terminals)]
    bed.settle()
    receipts = [bed.answer(ticket) for ticket in tickets]
    assert {receipt["outcome"] for receipt in receipts} == {"approved"}
    assert [receipt["amount"] for receipt in receipts] == [100 + n for n in range(40)]
    assert len(bed.sales()) == 40
    assert not bed.failures


@pytest.mark.parametrize("code", ["00", "51"])
def test_a_sale_that_ends_with_its_answer_does_not_read_its_row(code, monkeypatch):
    bed = Bed()
    bed.settle()
    bed.acquirer.code = code
    load, read = bed.unit.load, []

    def watched(row, column, keys):
        keys = list(keys)
        read.extend(keys if row is Sale else ())
        return load(row, column, keys)

    monkeypatch.setattr(bed.unit, "load", watched)
    bed.ask("sale", amount=150_000)
    assert not read
    (sale,) = bed.sales()
    assert (sale.status, sale.rrn) == ("approved" if code == "00" else "declined", "600210000002")


def test_nothing_clear_is_stored(tmp_path):
    path = tmp_path / "device.db"
    bed = Bed(f"sqlite:///{path}")
    bed.ask("sale", amount=150_000)
    bed.acquirer.silent.add("0200")
    bed.command("sale", amount=150_000)
    bed.settle()
    bed.pass_time(61)
    bed.store.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    (pik, mak) = bed.acquirer.keys[TERMINAL_ID]
    for secret in (PAN.encode(), TRACK2.encode(), bytes.fromhex(PAN), PIN, pik.block.encode(), mak.block.encode()):
        assert secret not in stored
    for _, body in bed.trace:
        assert PIN not in body


def test_messages_have_the_configured_header():
    bed = Bed(configuration=Configuration(tpdu="6000020000", head="603100310100"))
    bed.settle()
    (link, body) = bed.trace[0]
    assert link == f"acquirer:{TERMINAL_ID}"
    assert body[:11].hex() == "6000020000603100310100"
    assert TERMINAL.unpack(body).mti == "0800"
