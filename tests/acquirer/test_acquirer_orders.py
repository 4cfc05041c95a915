"""Orders as terminals see them: made, watched, withdrawn, told of payment."""

from __future__ import annotations

from typing import Any

import pytest
from acquirer_bed import MERCHANT, Bed, Terminal
from further_messages import asked, claim, claimed, described, managed, new_order, order, payments, sent, state

from acquirer.tables import PaymentOrder
from network.emv.qr import MerchantCode
from network.iso8583 import TERMINAL
from network.iso8583.additional_data import encode_objects
from network.store import Store


def test_an_order_is_a_merchant_presented_code(bed: Bed, terminal: Terminal) -> None:
    (reply,) = bed.ask(terminal, order(terminal, 888))
    assert reply.mti == "0810"
    assert sorted(reply.fields) == [11, 12, 13, 32, 37, 39, 41, 42, 60, 62, 64]
    objects = described(reply)
    assert (objects["01"], objects["02"]) == ("48020000000000000001", "20251123100200")
    code = MerchantCode.parse(objects["03"])
    assert code == MerchantCode(
        False,
        "48020000",
        "48020000000000000001",
        MERCHANT,
        terminal.terminal_id,
        "王记水果摊",
        "北京 Beijing",
        "5411",
        amount=888,
    )
    assert new_order(bed, terminal) == "48020000000000000002"


def test_a_static_order_has_neither_amount_nor_expiry(bed: Bed, terminal: Terminal) -> None:
    (reply,) = bed.ask(terminal, order(terminal, None))
    objects = described(reply)
    assert set(objects) == {"01", "03"}
    code = MerchantCode.parse(objects["03"])
    assert (code.is_static, code.amount) == (True, None)
    bed.wait(100_000)
    assert state(bed, terminal, objects["01"]) == "open"


@pytest.mark.parametrize("apart", ["one turn", "two turns", "a restart"])
def test_a_copy_of_the_request_is_answered_with_the_same_order(bed: Bed, terminal: Terminal, apart: str) -> None:
    body = order(terminal)
    replies = bed.ask(terminal, body, body) if apart == "one turn" else bed.ask(terminal, body)
    if apart == "a restart":
        bed.restart()
    if apart != "one turn":
        replies += bed.ask(terminal, body)
    first, second = replies
    assert first.fields[62] == second.fields[62]
    assert bed.ask(terminal, order(terminal, 900, de11=f"{terminal.stan:06d}"))[0].fields[39] == "94"
    # another session may use the number again
    bed.sign_on(terminal)
    assert new_order(bed, terminal, de11=body_stan(body)) != described(first)["01"]


def body_stan(body: bytes) -> str:
    return TERMINAL.unpack(body).text(11)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lambda t: order(t, 0), "13"),
        (lambda t: order(t, de49="840"), "30"),
        (lambda t: order(t, de11=None), "30"),
        (lambda t: managed(t, "0820", "401"), "40"),
        (lambda t: managed(t, "0800", "402"), "40"),
        (lambda t: managed(t, "0820", "402"), "30"),
        (lambda t: managed(t, "0820", "402", de62=b"\xff"), "30"),
        (lambda t: managed(t, "0820", "402", de62=b"A5003xyz"), "30"),
        (lambda t: asked(t, "48020000000000000009"), "25"),
        (lambda t: asked(t, "48020000000000000009", "404"), "25"),
        (lambda t: order(t, de42="104110045119999"), "03"),
    ],
)
def test_refusals(bed: Bed, terminal: Terminal, body: Any, code: str) -> None:
    (reply,) = bed.ask(terminal, body(terminal))
    assert (reply.fields[39], 64 in reply.fields, 62 in reply.fields) == (code, True, False)


@pytest.mark.parametrize("make", [order, lambda t: managed(t, "0820", "372"), lambda t: managed(t, "0800", "360")])
def test_this_management_is_believed_only_with_its_mac(bed: Bed, terminal: Terminal, make: Any) -> None:
    body = bytearray(make(terminal))
    body[-1] ^= 1
    (reply,) = bed.ask(terminal, bytes(body))
    assert (reply.fields[39], 64 in reply.fields) == ("A0", True)
    # a wrong MAC counts before anything else
    bed.command("suspend_terminal", terminal_id=terminal.terminal_id)
    assert bed.ask(terminal, bytes(body))[0].fields[39] == "A0"
    assert bed.ask(terminal, make(terminal))[0].fields[39] == "58"
    bed.command("activate_terminal", terminal_id=terminal.terminal_id)
    bed.ask(terminal, terminal.management("0820", "002"))
    (reply,) = bed.ask(terminal, make(terminal))
    assert (reply.fields[39], 64 in reply.fields) == ("77", False)


def test_another_terminals_order_is_none(empty: Store) -> None:
    terminals = [Terminal("T0000001", "terminal:1"), Terminal("T0000002", "terminal:2")]
    bed = Bed(empty, terminals)
    bed.connect()
    for terminal in terminals:
        bed.sign_on(terminal)
    number = new_order(bed, terminals[0])
    for code in ("402", "404"):
        assert bed.ask(terminals[1], asked(terminals[1], number, code))[0].fields[39] == "25"
    assert state(bed, terminals[0], number) == "open"


def test_an_order_expires(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    bed.wait(119.9)
    assert state(bed, terminal, number) == "open"
    bed.wait(0.1)
    assert state(bed, terminal, number) == "expired"
    assert state(bed, terminal, number, "404") == "expired"
    assert claimed(bed, claim(bed.switch, number)) == ["54"]


def test_the_terminal_is_told_where_it_was_heard_of_last(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    claimed(bed, claim(bed.switch, number))
    terminal.link = "terminal:9"
    (reply,) = bed.ask(terminal, asked(terminal, number))
    assert (described(reply)["04"], reply.fields[4], 38 in reply.fields) == ("open", "000000001250", False)
    request = payments(bed)[0]
    ((link, body),) = bed.answer(bed.switch.answer(request))
    told = bed.read(terminal, body)
    assert link == "terminal:9"
    assert told.mti == "0820"
    assert {n: value for n, value in told.fields.items() if n not in (11, 64)} == {
        4: "000000001250",
        37: request.fields[37],
        38: "A1B2C3",
        41: terminal.terminal_id,
        42: MERCHANT,
        60: f"00{terminal.batch}403",
        62: encode_objects({"A5": {"01": number, "04": "paid"}}).encode(),
    }
    (reply,) = bed.ask(terminal, asked(terminal, number))
    assert sorted(reply.fields) == [4, 11, 12, 13, 32, 37, 38, 39, 41, 42, 60, 62, 64]
    assert (described(reply)["04"], reply.fields[37], reply.fields[38]) == ("paid", request.fields[37], "A1B2C3")
    # an answer of the terminal's to what it was told is none that is waited for
    assert bed.messages((terminal.link, managed(terminal, "0830", "403"))) == []


def test_a_terminal_without_keys_is_not_told(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    claimed(bed, claim(bed.switch, number))
    bed.ask(terminal, terminal.management("0820", "002"))
    assert bed.answer(bed.switch.answer(payments(bed)[0])) == []
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250
    bed.sign_on(terminal)
    assert state(bed, terminal, number) == "paid"


def test_an_open_order_is_withdrawn(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    assert state(bed, terminal, number, "404") == "cancelled"
    assert state(bed, terminal, number, "404") == "cancelled"
    assert claimed(bed, claim(bed.switch, number)) == ["54"]
    assert payments(bed) == []


@pytest.mark.parametrize("late", ["00", "51"])
@pytest.mark.parametrize("restart", [False, True])
def test_withdrawing_takes_back_a_payment_that_is_on_its_way(
    bed: Bed, terminal: Terminal, late: str, restart: bool
) -> None:
    number = new_order(bed, terminal)
    assert claimed(bed, claim(bed.switch, number)) == ["00"]
    assert state(bed, terminal, number, "404") == "cancelled"
    (advice,) = sent(bed, "0420")
    assert (advice.fields[39], 2 in advice.fields) == ("06", False)
    if restart:
        bed.restart()
        bed.connect()
    assert bed.answer(bed.switch.answer(payments(bed)[0], late)) == []
    assert bed.balances() == {}
    assert state(bed, terminal, number) == "cancelled"


def test_withdrawing_a_paid_order_is_too_late(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    claimed(bed, claim(bed.switch, number))
    bed.answer(bed.switch.answer(payments(bed)[0]))
    assert state(bed, terminal, number, "404") == "paid"
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250
    assert sent(bed, "0420") == []


def test_withdrawing_a_static_order_ends_it(bed: Bed, terminal: Terminal) -> None:
    """A payment under way is a sale of its own and goes on."""
    number = new_order(bed, terminal, None)
    claimed(bed, claim(bed.switch, number, amount=300))
    assert state(bed, terminal, number, "404") == "cancelled"
    assert claimed(bed, claim(bed.switch, number, "6200000000000000001")) == ["54"]
    ((_, body),) = bed.answer(bed.switch.answer(payments(bed)[0]))
    assert described(bed.read(terminal, body))["04"] == "paid"
    assert bed.balances()[f"merchant:{MERCHANT}"] == 300
    assert state(bed, terminal, number) == "cancelled"


def test_numbers_of_orders_go_on_after_a_restart_and_a_turn_that_failed(
    bed: Bed, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = new_order(bed, terminal)
    bed.restart()
    second = new_order(bed, terminal)
    assert int(second) > int(first)
    store = bed.store.tables[PaymentOrder]
    with bed.store.read() as connection:
        assert [row.number for row in connection.execute(store.select().order_by(store.c.number))] == [first, second]
    with monkeypatch.context() as broken:
        broken.setattr(bed.party._orders, "_answer", lambda *_: 1 / 0)
        assert bed.ask(terminal, order(terminal)) == []
    assert len(bed.failures) == 1
    bed.failures.clear()
    assert int(new_order(bed, terminal)) == int(second) + 1


def test_management_of_orders_in_one_turn_is_loaded_at_once(bed: Bed, terminal: Terminal) -> None:
    numbers = [new_order(bed, terminal) for _ in range(5)]
    before = bed.unit.single_loads
    bed.ask(terminal, *[asked(terminal, number) for number in numbers], *[order(terminal) for _ in range(5)])
    assert bed.unit.single_loads == before
    bed.pump(bed.messages(*[("switch", claim(bed.switch, number, f"62{k:017d}")) for k, number in enumerate(numbers)]))
    bed.answer(*[bed.switch.answer(request) for request in payments(bed)])
    assert bed.unit.single_loads == before
    assert [state(bed, terminal, number) for number in numbers] == ["paid"] * 5


def test_a_terminal_that_only_asks_learns_how_often_a_static_code_was_paid(bed: Bed, terminal: Terminal) -> None:
    """Each 403 may be lost, and 402 tells the latest payment only: the count says how many there were."""
    number = new_order(bed, terminal, None)
    bodies = [claim(bed.switch, number, f"62{k:017d}", amount=100 + k) for k in range(3)]
    assert claimed(bed, *bodies) == ["00"] * 3
    (reply,) = bed.ask(terminal, asked(terminal, number))
    assert described(reply) == {"01": number, "04": "open", "05": "0", "06": "0"}
    first, second, third = payments(bed)
    answers = [bed.switch.answer(first), bed.switch.answer(second, "51"), bed.switch.answer(third)]
    bed.answer(*answers, *answers)
    (reply,) = bed.ask(terminal, asked(terminal, number))
    assert described(reply) == {"01": number, "04": "open", "05": "2", "06": "202"}
    assert reply.fields[4] == "000000000102"
    # one with an amount is paid once, which its state says
    (reply,) = bed.ask(terminal, asked(terminal, new_order(bed, terminal)))
    assert set(described(reply)) == {"01", "04"}
