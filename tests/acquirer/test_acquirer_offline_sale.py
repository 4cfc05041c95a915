"""Offline sales: recorded at once, sent until the switch answers, credited once."""

from __future__ import annotations

from typing import Any

import pytest
from acquirer_bed import EXPIRY, MERCHANT, PAN, Bed, Terminal
from further_messages import CHIP, offline_sale, repacked, sent

from network.iso8583 import TERMINAL
from network.iso8583.additional_data import encode_objects


def content(message: Any) -> dict[int, Any]:
    return {n: value for n, value in message.fields.items() if n != 128}


def test_an_offline_sale_is_taken_and_told(bed: Bed, terminal: Terminal) -> None:
    body = offline_sale(terminal)
    (reply,) = bed.ask(terminal, body)
    assert reply.mti == "0230"
    assert sorted(reply.fields) == [3, 4, 11, 12, 13, 32, 37, 39, 41, 42, 49, 60, 64]
    assert (reply.fields[39], reply.fields[11]) == ("00", TERMINAL.unpack(body).fields[11])
    (advice,) = sent(bed, "0220")
    stan = advice.text(11)
    assert {n: value for n, value in content(advice).items() if n not in (11, 43)} == {
        2: PAN,
        3: "000000",
        4: "000000001250",
        7: "1123100000",
        12: "095930",
        13: "1123",
        14: EXPIRY,
        18: "5411",
        22: "072",
        23: "001",
        25: "00",
        32: "48020000",
        33: "48020000",
        37: f"532710{stan}",
        41: terminal.terminal_id,
        42: MERCHANT,
        49: "156",
        55: CHIP,
        59: encode_objects({"A2": {"01": "11", "02": "phone-1"}}),
    }
    # the merchant has his money when the issuer has accepted the TC
    assert bed.balances() == {}
    assert [row.status for row in bed.rows()] == ["accepted"]
    assert bed.answer(bed.switch.answer(advice)) == []
    assert bed.balances() == {"receivable:network": 1250, f"merchant:{MERCHANT}": 1250}
    (row,) = bed.rows()
    assert (row.kind, row.status, row.settlement_date) == ("offline", "approved", "1123")
    assert PAN not in repr([(one.message, one.reason) for one in bed.advices()])


@pytest.mark.parametrize("code", ["05", "14", "94", "25"])
def test_what_the_issuer_refuses_is_the_merchants_loss(bed: Bed, terminal: Terminal, code: str) -> None:
    body = offline_sale(terminal)
    bed.ask(terminal, body)
    bed.answer(bed.switch.answer(sent(bed, "0220")[0], code))
    assert bed.balances() == {}
    (row,) = bed.rows()
    assert (row.status, row.response_code) == ("declined", code)
    assert bed.ask(terminal, body)[0].fields[39] == "00"
    bed.wait(60)
    assert len(sent(bed, "0220")) == 1


@pytest.mark.parametrize("refusals", [1, 2, 3])
def test_one_that_could_not_be_read_is_sent_three_times(bed: Bed, terminal: Terminal, refusals: int) -> None:
    """What is outside of a message's MAC may come garbled; the third time it is the message itself."""
    bed.ask(terminal, offline_sale(terminal))
    for place in range(refusals):
        bed.answer(bed.switch.answer(sent(bed, "0220")[place], "30"))
        bed.wait(10.5)
    if refusals < 3:
        bed.answer(bed.switch.answer(sent(bed, "0220")[refusals]))
    bed.wait(60)
    copies = sent(bed, "0220")
    assert len(copies) == min(3, refusals + 1)
    assert all(content(copy) == content(copies[0]) for copy in copies)
    (row,) = bed.rows()
    assert (row.status, row.response_code) == (("approved", "00") if refusals < 3 else ("declined", "30"))
    assert bed.balances() == ({"receivable:network": 1250, f"merchant:{MERCHANT}": 1250} if refusals < 3 else {})


@pytest.mark.parametrize("code", ["96", "A0", "77", "91", "98", "90", "68"])
def test_it_is_sent_as_it_was_until_the_issuer_has_been_asked(bed: Bed, terminal: Terminal, code: str) -> None:
    bed.ask(terminal, offline_sale(terminal))
    bed.answer(bed.switch.answer(sent(bed, "0220")[0], code))
    assert [advice.status for advice in bed.advices()] == ["pending"]
    bed.wait(10.5)
    # A0 and 77 make the acquirer sign on anew, after which it sends what is pending at once
    first, *copies = sent(bed, "0220")
    assert len(copies) == (2 if code in ("A0", "77") else 1)
    assert all(content(first) == content(copy) for copy in copies)
    second = copies[-1]
    bed.answer(bed.switch.answer(second))
    # a late copy of the refusal changes nothing
    bed.answer(bed.switch.answer(first, code), bed.switch.answer(first, "05"), bed.switch.answer(first))
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250
    bed.wait(60)
    assert len(sent(bed, "0220")) == 1 + len(copies)


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("apart", ["one turn", "two turns", "a restart", "a sign-on", "another link"])
def test_a_copy_is_answered_and_not_sent_again(bed: Bed, terminal: Terminal, apart: str, answered: bool) -> None:
    body = offline_sale(terminal)
    replies = bed.ask(terminal, body, body) if apart == "one turn" else bed.ask(terminal, body)
    if answered:
        bed.answer(bed.switch.answer(sent(bed, "0220")[0]))
    if apart == "a restart":
        bed.restart()
        bed.connect()
    elif apart == "a sign-on":
        bed.sign_on(terminal)
        body = repacked(terminal, body)
    elif apart == "another link":
        terminal.link = "terminal:8"
    if apart != "one turn":
        replies += bed.ask(terminal, body)
    assert [reply.fields[39] for reply in replies] == ["00", "00"]
    assert replies[0].fields[37] == replies[1].fields[37]
    assert len(bed.rows()) == len(bed.advices()) == 1
    bed.wait(0.1)
    bed.answer(bed.switch.answer(sent(bed, "0220")[-1]))
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


def test_the_identity_rules_are_those_of_a_sale(bed: Bed, terminal: Terminal) -> None:
    bed.ask(terminal, offline_sale(terminal))
    stan = f"{terminal.stan:06d}"
    assert bed.ask(terminal, offline_sale(terminal, 900, de11=stan))[0].fields[39] == "94"
    assert bed.ask(terminal, offline_sale(terminal, de11=stan, de55=CHIP[:-1] + b"\x0b"))[0].fields[39] == "94"
    assert bed.ask(terminal, terminal.sale(de11=stan))[0].fields[39] == "94"
    # another place, the same payment
    moved = encode_objects({"A2": {"01": "11", "02": "phone-1", "03": "+31.0000,+121.0000"}})
    assert bed.ask(terminal, offline_sale(terminal, de11=stan, de59=moved))[0].fields[39] == "00"
    # a terminal that has begun its numbers anew
    bed.sign_on(terminal)
    assert bed.ask(terminal, offline_sale(terminal, 900, de11=stan))[0].fields[39] == "00"
    assert sorted(row.amount for row in bed.rows()) == [900, 1250]
    sale = terminal.sale(700)
    bed.pay(terminal, sale)
    assert bed.ask(terminal, offline_sale(terminal, 700, de11=f"{terminal.stan:06d}"))[0].fields[39] == "94"


def test_an_offline_sale_is_not_taken_back(bed: Bed, terminal: Terminal) -> None:
    bed.ask(terminal, offline_sale(terminal))
    stan = f"{terminal.stan:06d}"
    assert bed.ask(terminal, terminal.reversal(stan))[0].fields[39] == "40"
    bed.answer(bed.switch.answer(sent(bed, "0220")[0]))
    assert bed.ask(terminal, terminal.reversal(stan))[0].fields[39] == "40"
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250
    assert sent(bed, "0420") == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"de2": None}, "30"),
        ({"de4": None}, "30"),
        ({"de4": "000000000000"}, "13"),
        ({"de11": None}, "30"),
        ({"de22": None}, "30"),
        ({"de49": "840"}, "30"),
        ({"de55": None}, "30"),
        ({"de22": "032"}, "30"),
        ({"de60": None}, "40"),
        ({"de60": "2200000700060"}, "40"),
        ({"de3": "200000", "de25": "00"}, "40"),
        ({"de25": "06"}, "40"),
        ({"de41": "T9999999"}, "97"),
    ],
)
def test_refusals(bed: Bed, terminal: Terminal, changes: dict[str, Any], code: str) -> None:
    ((_, body),) = bed.messages((terminal.link, offline_sale(terminal, **changes)))
    reply = TERMINAL.unpack(body)
    assert (reply.mti, reply.fields[39]) == ("0230", code)
    assert bed.rows() == []
    assert bed.advices() == []


def test_the_optional_elements_may_be_missing(bed: Bed, terminal: Terminal) -> None:
    left_out: dict[str, Any] = {f"de{n}": None for n in (12, 13, 14, 23, 25, 49, 59)}
    assert bed.ask(terminal, offline_sale(terminal, **left_out))[0].fields[39] == "00"
    (advice,) = sent(bed, "0220")
    assert (advice.fields[12], advice.fields[13], advice.fields[25]) == ("100000", "1123", "00")


@pytest.mark.parametrize("suspended", ["terminal", "merchant"])
def test_the_goods_are_gone_whoever_is_suspended(bed: Bed, terminal: Terminal, suspended: str) -> None:
    arguments = {"terminal": {"terminal_id": terminal.terminal_id}, "merchant": {"merchant_id": MERCHANT}}[suspended]
    bed.command(f"suspend_{suspended}", **arguments)
    assert bed.ask(terminal, offline_sale(terminal))[0].fields[39] == "00"
    wrong = bytearray(offline_sale(terminal))
    wrong[-1] ^= 1
    assert bed.ask(terminal, bytes(wrong))[0].fields[39] == "A0"
    assert len(bed.rows()) == 1


def test_before_a_sign_on_it_is_77(bed: Bed, terminal: Terminal) -> None:
    body = offline_sale(terminal)
    bed.ask(terminal, terminal.management("0820", "002"))
    assert bed.ask(terminal, body)[0].fields[39] == "77"
    bed.sign_on(terminal)
    assert bed.ask(terminal, repacked(terminal, body))[0].fields[39] == "00"


@pytest.mark.parametrize("restart", [False, True])
def test_it_waits_for_the_link_to_the_switch(bed: Bed, terminal: Terminal, restart: bool) -> None:
    bed.disconnect()
    assert bed.ask(terminal, offline_sale(terminal))[0].fields[39] == "00"
    bed.wait(60)
    assert sent(bed, "0220") == []
    if restart:
        bed.restart()
    bed.connect()
    bed.wait(0.1)
    (advice,) = sent(bed, "0220")
    bed.answer(bed.switch.answer(advice), bed.switch.answer(advice))
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250
    assert bed.party.dropped["unmatched"] == 1


def test_a_crash_after_the_commit_loses_nothing(bed: Bed, terminal: Terminal) -> None:
    body = offline_sale(terminal)
    bed.messages((terminal.link, body))  # what the turn sent is lost with the process
    bed.restart()
    bed.connect()
    bed.wait(0.1)
    (advice,) = sent(bed, "0220")
    bed.messages(("switch", bed.switch.answer(advice)))
    bed.restart()
    bed.connect()
    bed.wait(30)
    assert len(sent(bed, "0220")) == 1
    assert bed.ask(terminal, body)[0].fields[39] == "00"
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


def test_answers_of_another_kind_are_none(bed: Bed, terminal: Terminal) -> None:
    """An 0430 does not end an offline sale, an 0230 no reversal, an 0210 neither."""
    bed.ask(terminal, offline_sale(terminal))
    bed.pay(terminal, terminal.sale(300))
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", 300))
    (offline,), (reversal,) = sent(bed, "0220"), sent(bed, "0420")
    for request, mti in ((offline, "0420"), (offline, "0200"), (reversal, "0220"), (reversal, "0200")):
        changed = request.copy()
        changed.mti = mti
        bed.answer(bed.switch.answer(changed))
    assert {advice.status for advice in bed.advices()} == {"pending"}
    assert bed.balances() == {}
    assert not bed.failures


@pytest.mark.parametrize(
    "objects",
    [
        {"Z9": "x" * 596},
        {"Z9": "x" * 566},
        {"A2": {"01": "11", "02": "x" * 41}},
        {"A2": {"02": "phone-1"}, "Z9": "x" * 550},
    ],
)
def test_what_cannot_be_handed_on_of_the_device_costs_no_sale(bed: Bed, terminal: Terminal, objects: Any) -> None:
    """The switch would answer such a DE59 with 30, and that is the end of an offline sale."""
    text = encode_objects(objects)
    assert bed.ask(terminal, terminal.sale(de59=text))[0].fields[39] == "30"
    assert bed.ask(terminal, offline_sale(terminal, de59=text))[0].fields[39] == "00"
    assert 59 not in sent(bed, "0220")[0].fields


@pytest.mark.parametrize("later", ["reversal", "sale", "sale and reversal", "two sessions"])
@pytest.mark.parametrize("sessions", [1, 2])
def test_a_number_that_is_used_again_does_not_hide_an_offline_sale(
    bed: Bed, terminal: Terminal, later: str, sessions: int
) -> None:
    """The 0230 was lost; the terminal has begun its numbers anew before it tells the sale again."""
    if sessions == 2:
        # nor does it matter who had the number before
        stan = terminal.next_stan()
        bed.pay(terminal, terminal.sale(300, de11=stan))
        bed.sign_on(terminal)
        body = offline_sale(terminal, de11=stan)
    else:
        body = offline_sale(terminal)
        stan = f"{terminal.stan:06d}"
    bed.ask(terminal, body)
    bed.answer(bed.switch.answer(sent(bed, "0220")[0]))
    before = bed.balances()
    bed.sign_on(terminal)
    if later in ("sale", "sale and reversal", "two sessions"):
        bed.pay(terminal, terminal.sale(700, de11=stan), "51")
    if later == "two sessions":
        bed.sign_on(terminal)
        bed.pay(terminal, terminal.sale(800, de11=stan), "51")
    if later != "sale":
        bed.ask(terminal, terminal.reversal(stan, 700))
    (reply,) = bed.ask(terminal, repacked(terminal, body))
    assert (reply.mti, reply.fields[39]) == ("0230", "00")
    assert [row.kind for row in bed.rows()].count("offline") == 1
    assert len(sent(bed, "0220")) == 1
    assert bed.balances() == before
    # a number that is barred stays barred, for all but what was sold before
    if later == "reversal":
        assert bed.ask(terminal, terminal.sale(700, de11=stan))[0].fields[39] == "25"
        assert bed.ask(terminal, offline_sale(terminal, 700, de11=stan))[0].fields[39] == "25"
