"""A sale that is answered 55 for want of a PIN: the card is read again, the PIN asked for, once."""

import json

import pytest
from device_bed import PIN, TERMINAL_ID, Bed, ScriptedCard, typed
from hypothesis import given
from hypothesis import strategies as st
from scripted_kernel import ScriptedKernel, online

from merchant_device.configuration import Configuration
from merchant_device.kernel import Cvm, Declined
from network.party import Work


def bed_that_wants_a_pin(url: str = "sqlite://", code: str = "55", **more) -> Bed:
    bed = Bed(url, **more)
    bed.settle()
    for terminal in bed.terminals:
        bed.cards[terminal] = ScriptedCard(pin=False)
    bed.acquirer.code_without_pin = code
    return bed


def states(bed: Bed) -> list[tuple[str, str, str | None]]:
    return [(sale.stan, sale.status, sale.response_code) for sale in bed.sales()]


def test_the_pin_is_asked_for_and_another_request_leaves():
    bed = bed_that_wants_a_pin()
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["stan"], receipt["cvm"]) == ("approved", "000003", "online_pin")
    assert states(bed) == [("000002", "declined", "55"), ("000003", "approved", "00")]
    first, second = [request for request in bed.acquirer.requests if request.mti == "0200"]
    assert (52 in first, 52 in second) == (False, True)
    assert (first[22], second[22]) == ("072", "071")
    assert bed.acquirer.pin_of(second)
    assert first[55] != second[55]
    card = bed.cards[TERMINAL_ID]
    assert card is not None
    assert [apdu[1] for apdu in card.commands].count(0xA8) == 2
    assert bed.shown == [
        {"request": "message", "text": "enter the PIN: hold the card to the phone again"},
        {"request": "clear"},
    ]
    assert len(bed.answers) == 1


def test_it_is_done_once():
    bed = bed_that_wants_a_pin()
    bed.acquirer.code = "55"
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["response_code"], receipt["stan"]) == ("declined", "55", "000003")
    assert bed.mtis() == ["0800", "0200", "0200"]
    assert states(bed) == [("000002", "declined", "55"), ("000003", "declined", "55")]
    # and the next sale may have it again
    bed.acquirer.code = "00"
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"


def test_a_wrong_pin_is_not_asked_for_again():
    bed = Bed()
    bed.acquirer.code = "55"
    receipt = bed.ask("sale", amount=150_000)
    assert (receipt["outcome"], receipt["response_code"]) == ("declined", "55")
    assert bed.mtis() == ["0800", "0200"]


def test_a_balance_enquiry_has_its_pin_and_does_not_step_up():
    bed = bed_that_wants_a_pin()
    bed.acquirer.code = "55"
    assert bed.ask("balance")["outcome"] == "declined"
    assert bed.mtis() == ["0800", "0200"]


def test_the_kernel_is_told_and_a_cardholder_verified_elsewhere_types_the_pin_too(monkeypatch):
    bed = Bed()
    bed.settle()
    bed.acquirer.code_without_pin = "55"
    kernel = ScriptedKernel.install(
        monkeypatch,
        bed,
        lambda transaction, _: online(transaction, Cvm.ONLINE_PIN if transaction.pin_required else Cvm.CDCVM),
    )
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["cvm"]) == ("approved", "online_pin")
    assert [transaction.pin_required for transaction, _ in kernel.started] == [False, True]
    assert [sale.way for sale in bed.sales()] == ["phone", "card"]
    bed.acquirer.code_without_pin = None
    bed.ask("sale", amount=1250)
    assert not kernel.started[-1][0].pin_required


@pytest.mark.parametrize("how", ["no card", "no pin", "cancelled pin", "cancel", "declined by the card", "link"])
def test_what_ends_the_second_request_before_it_leaves_makes_the_receipt_of_the_first(monkeypatch, how):
    bed = bed_that_wants_a_pin()
    bed.pins[TERMINAL_ID] = None if how in ("no pin", "link") else b""
    if how == "declined by the card":
        ScriptedKernel.install(
            monkeypatch,
            bed,
            lambda transaction, _: Declined("the card declined") if transaction.pin_required else online(transaction),
        )
    if how in ("no card", "cancel"):
        held = ScriptedCard(pin=False)
        transmit = held.transmit

        def once(apdu: bytes) -> bytes | None:
            return transmit(apdu) if len(held.commands) < 3 else None

        held.transmit = once  # type: ignore[method-assign, assignment]
        bed.cards[TERMINAL_ID] = held
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    if how == "cancel":
        assert bed.ask("cancel")["cancelled"] == "waiting for the card"
    elif how == "link":
        bed.links(False)
        bed.receive(f"pinpad:{TERMINAL_ID}", typed(bed.pad_requests[-1], PIN))
        bed.step()
    elif how != "declined by the card":
        bed.pass_time(61)
    receipt = bed.answer(ticket)
    expected = {
        "no card": "no card was read in time",
        "no pin": "no PIN was entered in time",
        "cancelled pin": "the PIN entry was cancelled",
        "cancel": "cancelled",
        "declined by the card": "the card declined",
        "link": "the link to the acquirer is down",
    }
    assert receipt["reason"] == expected[how]
    assert (receipt["outcome"], receipt["response_code"], receipt["stan"], receipt["rrn"]) == (
        "declined",
        "55",
        "000002",
        "600210000002",
    )
    assert states(bed) == [("000002", "declined", "55")]
    assert "paid" not in bed.acquirer.paid.values()


def test_a_lost_answer_to_the_second_request_reverses_that_one_alone():
    bed = bed_that_wants_a_pin()
    bed.pins[TERMINAL_ID] = None
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.acquirer.silent.add("0200")
    bed.receive(f"pinpad:{TERMINAL_ID}", typed(bed.pad_requests[-1], PIN))
    bed.step()
    bed.settle()
    bed.pass_time(61)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["stan"]) == ("unknown", "000003")
    assert states(bed) == [("000002", "declined", "55"), ("000003", "reversed", None)]
    assert [m.text(11) for m in bed.acquirer.requests if m.mti == "0400"] == ["000003"]


def test_the_sign_on_that_the_answer_asks_for_goes_between():
    bed = bed_that_wants_a_pin()

    def ask(message):
        if message.mti == "0210":
            message.header = message.header.reply("3")

    bed.acquirer.change = ask
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.mtis() == ["0800", "0200", "0800", "0200", "0800"]


def test_a_forged_55_is_reversed_not_stepped_up():
    bed = bed_that_wants_a_pin()
    bed.acquirer.spoil_mac = True
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["reason"]) == ("declined", "the answer's MAC is not right")
    assert [state[1] for state in states(bed)] == ["reversing"]
    assert not bed.pad_requests


@given(turns=st.integers(0, 16), after_commit=st.booleans())
def test_a_crash_at_each_turn_of_a_step_up(tmp_path_factory, turns, after_commit):
    path = tmp_path_factory.mktemp("step-up") / "device.db"
    bed = bed_that_wants_a_pin(f"sqlite:///{path}")
    ticket = bed.command("sale", amount=1250)
    for _ in range(turns):
        bed.step()
        waiting = list(bed.sent)
        bed.sent.clear()
        bed.now += 1000
        for link, body in waiting:
            kind, _, terminal = link.partition(":")
            answer = bed.answer_of(kind, terminal, body)
            if answer is not None:
                bed.receive(link, answer)
    if after_commit:
        bed.step()
    receipt = bed.answers.get(ticket)
    bed.work = Work([], [], [], [])
    bed.restart()
    bed.settle()
    bed.pass_time(60)
    rows = {sale.stan: sale.status for sale in bed.sales()}
    assert not bed.failures
    for (_, _, stan), paid in bed.acquirer.paid.items():
        assert (rows[stan] == "approved") == (paid == "paid")
    if receipt is None:
        assert "approved" not in rows.values()
    else:
        assert isinstance(receipt, dict)
        assert receipt["outcome"] == "approved"
        assert rows == {"000002": "declined", "000003": "approved"}
    bed.store.close()


def test_pads_are_told_the_amount_at_the_second_try():
    bed = bed_that_wants_a_pin(configuration=Configuration(pin_minimum=6))
    bed.ask("sale", amount=1250)
    (asked,) = bed.pad_requests
    assert json.loads(asked)["amount"] == 1250
