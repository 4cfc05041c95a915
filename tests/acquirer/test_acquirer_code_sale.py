"""Sales by the payer's code: no card is known, and what DE59 hands on."""

from __future__ import annotations

from typing import Any

import pytest
from acquirer_bed import MERCHANT, PIN, Bed, Terminal
from further_messages import CODE, code_sale, payments, sent

from network.iso8583.additional_data import decode_objects, encode_objects
from network.keys import PinFormat
from network.member import OriginalData


def test_a_code_goes_across_and_no_card_comes_back(bed: Bed, terminal: Terminal) -> None:
    assert bed.ask(terminal, code_sale(terminal)) == []
    (request,) = payments(bed)
    stan = request.text(11)
    additional = request.text(59)
    assert {n: value for n, value in request.fields.items() if n not in (11, 43, 59, 128)} == {
        3: "000000",
        4: "000000001250",
        7: "1123100000",
        12: "100000",
        13: "1123",
        18: "5411",
        22: "032",
        25: "00",
        32: "48020000",
        33: "48020000",
        37: f"532710{stan}",
        41: terminal.terminal_id,
        42: MERCHANT,
        49: "156",
    }
    assert additional == encode_objects(
        {"A2": {"01": "11", "02": "phone-1", "03": "+31.2304,+121.4737"}, "A3": {"01": CODE}}
    )
    # the switch may put the token into its answer: it is not the terminal's business, nor are 14 and 55
    answer = bed.switch.answer(request, de2="6299001234567890", de14="3012")
    ((_, body),) = bed.answer(answer)
    reply = bed.read(terminal, body)
    assert (reply.mti, reply.fields[39], reply.fields[38]) == ("0210", "00", "A1B2C3")
    assert {2, 14, 55, 59}.isdisjoint(reply.fields)
    assert bed.balances() == {"receivable:network": 1250, f"merchant:{MERCHANT}": 1250}
    assert CODE not in repr(bed.rows()[0].card)


def test_a_copy_of_a_sale_by_code_is_answered_from_the_record(bed: Bed, terminal: Terminal) -> None:
    body = code_sale(terminal)
    first = bed.pay(terminal, body)
    (again,) = bed.ask(terminal, body)
    assert again == first
    assert len(payments(bed)) == 1


@pytest.mark.parametrize("pending", [True, False])
def test_a_sale_by_code_is_taken_back_without_a_card(bed: Bed, terminal: Terminal, pending: bool) -> None:
    body = code_sale(terminal)
    if pending:
        bed.ask(terminal, body)
    else:
        bed.pay(terminal, body)
    request = payments(bed)[0]
    none: dict[str, Any] = {"de2": None, "de14": None, "de23": None, "de22": "032"}
    (reply,) = bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", **none))
    assert reply.fields[39] == "00"
    (advice,) = sent(bed, "0420")
    assert {2, 14, 23, 35}.isdisjoint(advice.fields)
    assert advice.fields[22] == "032"
    assert advice.fields[90] == OriginalData("0200", request.text(11), request.text(7), "48020000", "48020000").pack()
    assert bed.balances() == {}


def test_no_answer_to_a_sale_by_code_reverses_it(bed: Bed, terminal: Terminal) -> None:
    bed.ask(terminal, code_sale(terminal))
    ((_, body),) = bed.wait(31)
    reply = bed.read(terminal, body)
    assert (reply.fields[39], 2 in reply.fields) == ("98", False)
    assert len(sent(bed, "0420")) == 1


def test_the_pin_of_a_code_is_not_bound_to_a_card(bed: Bed, terminal: Terminal) -> None:
    block = terminal.pin_block(PIN, "6212345678901232", PinFormat.WITHOUT_PAN)
    pin: dict[str, Any] = {"de22": "031", "de26": "12", "de52": block, "de53": "1600000000000000"}
    assert bed.pay(terminal, code_sale(terminal, **pin)).fields[39] == "00"
    request = payments(bed)[0]
    assert request.fields[53] == "1600000000000000"
    key = bed.switch.keys["1"]
    assert request.fields[52] == bed.switch.module.encrypt_pin(key, PIN, "", PinFormat.WITHOUT_PAN)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"de59": None}, "30"),
        ({"de59": "junk"}, "30"),
        ({"de59": encode_objects({"A2": {"01": "11"}})}, "30"),
        ({"de59": "A3004junk"}, "30"),
        ({"de59": encode_objects({"A3": {"02": CODE}})}, "30"),
        ({"de59": encode_objects({"A3": {"01": "x" * 591}})}, "30"),
        ({"de2": "6212345678901232"}, "30"),
        ({"de35": "6212345678901232=30122010000"}, "30"),
        ({"de55": b"\x9f\x27\x01\x80"}, "30"),
        ({"de4": None}, "30"),
        ({"de4": "000000000000"}, "13"),
        ({"de3": "310000", "de4": None, "de60": "0100000700060"}, "40"),
        ({"de52": bytes(8), "de53": "2600000000000000"}, "99"),
        ({"de52": bytes(8), "de53": "1600000000000000"}, "99"),
    ],
)
def test_refusals(bed: Bed, terminal: Terminal, changes: dict[str, Any], code: str) -> None:
    (reply,) = bed.ask(terminal, code_sale(terminal, **changes))
    assert (reply.mti, reply.fields[39]) == ("0210", code)
    assert payments(bed) == []


def test_the_longest_code_goes_across(bed: Bed, terminal: Terminal) -> None:
    code = "h" * 512
    bed.pay(terminal, code_sale(terminal, code=code))
    assert decode_objects(decode_objects(payments(bed)[0].text(59))["A3"])["01"] == code


def test_what_a_card_sale_tells_of_its_device_goes_across(bed: Bed, terminal: Terminal) -> None:
    """But nothing that only the acquirer or the switch may say, and no code."""
    said = encode_objects(
        {
            "A2": {"02": "phone-1", "05": "1.2"},
            "A3": {"01": CODE},
            "A4": {"01": "1", "02": "3"},
            "A5": {"01": "4" * 20},
            "R1": "nothing",
            "T1": "6299001234567890",
            "Z9": "kept",
        }
    )
    assert bed.pay(terminal, terminal.sale(de59=said)).fields[39] == "00"
    assert payments(bed)[0].fields[59] == encode_objects(
        {"A2": {"01": "04", "02": "phone-1", "05": "1.2"}, "Z9": "kept"}
    )


def test_a_plain_sale_loads_nothing_of_all_this(bed: Bed, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.pay(terminal, terminal.sale())
    load = bed.unit.load
    tables: list[str] = []

    def noted(row: Any, column: str, keys: Any) -> Any:
        tables.append(row.spec.name)
        return load(row, column, keys)

    monkeypatch.setattr(bed.unit, "load", noted)
    bed.pay(terminal, terminal.sale())
    request = ["card_transaction", "card_transaction", "terminal", "merchant", "ledger_account"]
    assert tables == request * 2
