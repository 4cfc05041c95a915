"""Reversals: from the terminal's 0400 to the switch's 0430."""

from __future__ import annotations

from typing import Any

import pytest
from acquirer_bed import EXPIRY, MERCHANT, PAN, Bed, Terminal

from network.iso8583 import TERMINAL, Message
from network.member import OriginalData


def the_advice(bed: Bed) -> Message:
    advices = [message for message in bed.switch.received if message.mti == "0420"]
    assert len({message.text(11) for message in advices}) == 1
    return advices[-1]


def test_an_approved_sale_is_taken_back(bed: Bed, terminal: Terminal) -> None:
    sale = bed.pay(terminal, terminal.sale())
    stan = sale.text(11)
    (reply,) = bed.ask(terminal, terminal.reversal(stan, de39="A0", de38="A1B2C3"))
    assert reply.mti == "0410"
    assert sorted(reply.fields) == [2, 3, 4, 11, 12, 13, 15, 32, 37, 39, 41, 42, 49, 60, 64]
    assert (reply.fields[11], reply.fields[37], reply.fields[39]) == (stan, sale.fields[37], "00")
    assert bed.balances() == {}
    request, advice = bed.switch.received
    original = OriginalData("0200", request.text(11), request.text(7), "48020000", "48020000")
    assert advice.mti == "0420"
    assert {n: value for n, value in advice.fields.items() if n not in (11, 128)} == {
        2: PAN,
        3: "000000",
        4: "000000001250",
        7: "1123100000",
        12: request.fields[12],
        13: request.fields[13],
        15: "1123",
        18: "5411",
        22: "071",
        23: "001",
        25: "00",
        32: "48020000",
        33: "48020000",
        37: sale.fields[37],
        38: "A1B2C3",
        39: "A0",
        41: terminal.terminal_id,
        42: MERCHANT,
        49: "156",
        90: original.pack(),
    }
    assert advice.fields[11] != request.fields[11]
    assert EXPIRY not in advice.fields.values()
    assert bed.answer(bed.switch.answer(advice)) == []
    assert [advice.status for advice in bed.advices()] == ["answered"]


@pytest.mark.parametrize("reason", ["98", "96", "A0", "06"])
@pytest.mark.parametrize("late", ["00", "51"])
def test_a_pending_sale_is_taken_back_and_its_late_answer_is_not_forwarded(
    bed: Bed, terminal: Terminal, reason: str, late: str
) -> None:
    assert bed.ask(terminal, terminal.sale()) == []
    (reply,) = bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", de39=reason))
    assert reply.fields[39] == "00"
    assert the_advice(bed).fields[39] == reason
    assert bed.answer(bed.switch.answer(bed.switch.received[0], late)) == []
    assert bed.wait(40) == []
    assert the_advice(bed)
    assert bed.balances() == {}
    assert [row.status for row in bed.rows()] == ["reversed"]


@pytest.mark.parametrize("reason", ["00", "zz", "好", b"\0\1"])
def test_a_reason_that_is_none_is_other(bed: Bed, terminal: Terminal, reason: str | bytes) -> None:
    bed.pay(terminal, terminal.sale())
    (reply,) = bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", de39=reason))
    assert reply.fields[39] == "00"
    assert the_advice(bed).fields[39] == "06"


def test_a_timed_out_sale_is_reversed_once(bed: Bed, terminal: Terminal) -> None:
    assert bed.ask(terminal, terminal.sale()) == []
    ((_, body),) = bed.wait(31)
    assert bed.read(terminal, body).fields[39] == "98"
    stan = f"{terminal.stan:06d}"
    assert [reply.fields[39] for reply in bed.ask(terminal, terminal.reversal(stan))] == ["00"]
    assert len(bed.advices()) == 1
    assert bed.advices()[0].reason == "98"


def test_a_declined_sale_needs_no_advice(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale(), "51")
    (reply,) = bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    assert reply.fields[39] == "00"
    assert bed.advices() == []
    assert [row.status for row in bed.rows()] == ["declined"]


@pytest.mark.parametrize("pending", [False, True])
def test_a_balance_inquiry_needs_no_advice(bed: Bed, terminal: Terminal, pending: bool) -> None:
    if pending:
        bed.ask(terminal, terminal.balance())
    else:
        bed.pay(terminal, terminal.balance())
    (reply,) = bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", de3="310000", de4=None))
    assert reply.fields[39] == "00"
    assert bed.advices() == []
    assert bed.wait(40) == []


@pytest.mark.parametrize("apart", ["one turn", "two turns", "a restart"])
def test_a_second_reversal_is_answered_like_the_first(bed: Bed, terminal: Terminal, apart: str) -> None:
    bed.pay(terminal, terminal.sale())
    body = terminal.reversal(f"{terminal.stan:06d}")
    if apart == "one turn":
        replies = bed.ask(terminal, body, body)
    else:
        replies = bed.ask(terminal, body)
        if apart == "a restart":
            bed.restart()
            bed.connect()
        replies += bed.ask(terminal, body)
    assert len(replies) == 2
    assert replies[0] == replies[1]
    assert len(bed.advices()) == 1
    assert bed.balances() == {}


def test_a_reversal_without_an_original_bars_it(bed: Bed, terminal: Terminal) -> None:
    sale = terminal.sale()
    body = terminal.reversal(f"{terminal.stan:06d}")
    first, second = bed.ask(terminal, body, body)
    assert first.fields[39] == "25"
    assert first == second
    assert bed.ask(terminal, sale)[0].fields[39] == "25"
    bed.restart()
    bed.connect()
    assert bed.ask(terminal, sale)[0].fields[39] == "25"
    assert bed.ask(terminal, body)[0].fields[39] == "25"
    assert bed.switch.received == []
    assert [row.status for row in bed.rows()] == ["tombstone"]
    assert bed.balances() == {}
    # after a sign-on the trace number may be used again
    stan = f"{terminal.stan:06d}"
    bed.sign_on(terminal)
    assert bed.pay(terminal, terminal.sale(de11=stan)).fields[39] == "00"


def test_what_a_reversal_may_leave_out(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    left_out: dict[str, Any] = {f"de{n}": None for n in (2, 3, 4, 14, 22, 23, 25, 39, 49, 61)}
    (reply,) = bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", **left_out))
    assert reply.fields[39] == "00"
    assert the_advice(bed).fields[39] == "98"
    assert bed.balances() == {}


def test_the_original_is_that_of_de61(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    stan = f"{terminal.stan:06d}"
    body = terminal.reversal("000777", de60="2200099900060", de61=f"{terminal.batch}{stan}1123")
    (reply,) = bed.ask(terminal, body)
    assert (reply.fields[11], reply.fields[39]) == ("000777", "00")
    assert bed.balances() == {}


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"de11": None, "de61": None}, "30"), ({"de4": "000000001251"}, "64"), ({"de41": "T9999999"}, "97")],
)
def test_refusals(bed: Bed, terminal: Terminal, changes: dict[str, Any], code: str) -> None:
    bed.pay(terminal, terminal.sale())
    body = terminal.reversal(f"{terminal.stan:06d}", **changes)
    ((_, reply),) = bed.messages((terminal.link, body))
    assert TERMINAL.unpack(reply).fields[39] == code
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250
    assert bed.advices() == []


def test_a_reversal_with_a_wrong_mac_does_nothing(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    body = bytearray(terminal.reversal(f"{terminal.stan:06d}"))
    body[-1] ^= 1
    assert bed.ask(terminal, bytes(body))[0].fields[39] == "A0"
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


def test_a_reversal_after_a_sign_on_finds_the_original_of_the_session_before(bed: Bed, terminal: Terminal) -> None:
    stan = bed.pay(terminal, terminal.sale()).text(11)
    bed.sign_on(terminal)
    bed.sign_on(terminal)
    assert bed.ask(terminal, terminal.reversal(stan))[0].fields[39] == "00"
    assert bed.balances() == {}


def test_a_suspended_terminal_may_still_take_back(bed: Bed, terminal: Terminal) -> None:
    sale = bed.pay(terminal, terminal.sale())
    bed.command("suspend_terminal", terminal_id=terminal.terminal_id)
    bed.command("suspend_merchant", merchant_id=MERCHANT)
    assert bed.ask(terminal, terminal.reversal(sale.text(11)))[0].fields[39] == "00"
    assert bed.balances() == {}


def test_after_a_new_sign_on_a_number_may_be_another_sales(bed: Bed, terminal: Terminal) -> None:
    """The old sale of that number stays; the one that is meant, which has not come, is barred."""
    stan = bed.pay(terminal, terminal.sale()).text(11)
    bed.sign_on(terminal)
    before = bed.balances()
    late = terminal.sale(amount=1200, de11=stan)
    assert bed.ask(terminal, terminal.reversal(stan, amount=1200))[0].fields[39] == "25"
    assert bed.balances() == before
    assert bed.ask(terminal, late)[0].fields[39] == "25"
    assert bed.balances() == before
    # of the same number and amount, but another card
    other = "6222020000000000005"
    assert bed.ask(terminal, terminal.reversal(stan, de2=other))[0].fields[39] == "25"
    assert bed.balances() == before
