"""Taps that decide nothing: the card taken away, the payer's phone that wants a look, what is kept of a torn tap."""

import pytest
from device_bed import TERMINAL_ID, Bed, ScriptedCard
from scripted_kernel import ScriptedKernel, offline, online

from merchant_device.configuration import Configuration
from merchant_device.kernel import Declined, EndApplication, SeePhone, TryAgain, TryAnotherInterface

TORN = object()


def scripted(monkeypatch, *outcomes, **configured):
    """A bed whose taps end one after another like this; the last one as often as it takes."""
    bed = Bed(configuration=Configuration(**configured))
    bed.settle()
    left = list(outcomes)

    def script(transaction, torn):
        outcome = left.pop(0) if len(left) > 1 else left[0]
        return outcome(transaction) if callable(outcome) else outcome

    return bed, ScriptedKernel.install(monkeypatch, bed, script)


def test_a_card_that_comes_back_is_read_in_the_same_sale(monkeypatch):
    bed, kernel = scripted(monkeypatch, TryAgain("the card left the field", None), TryAgain("again", None), online)
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["way"]) == ("approved", "card")
    assert len(kernel.started) == 3
    # each conversation has its own unpredictable number; the sale keeps its trace number
    assert len({transaction.unpredictable_number for transaction, _ in kernel.started}) == 3
    assert {transaction.sequence_counter for transaction, _ in kernel.started} == {2}
    assert [sale.stan for sale in bed.sales()] == ["000002"]
    assert bed.shown == [
        {"request": "message", "text": "hold the card to the phone again"},
        {"request": "message", "text": "hold the card to the phone again"},
        {"request": "clear"},
    ]


def test_taps_that_decide_nothing_are_limited(monkeypatch):
    bed, kernel = scripted(monkeypatch, TryAgain("the card left the field", None), tap_tries=4)
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the card left the field")
    assert len(kernel.started) == 4
    assert bed.sales() == []
    assert bed.shown[-1] == {"request": "clear"}


def test_each_tap_may_take_its_time_and_no_more(monkeypatch):
    bed, _ = scripted(monkeypatch, TryAgain("the card left the field", None))
    bed.held.add("reader")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.pass_time(50)
    bed.receive(f"reader:{TERMINAL_ID}", b"")
    bed.step()
    bed.pass_time(50)
    assert ticket not in bed.answers
    bed.pass_time(11)
    assert bed.answer(ticket)["reason"] == "no card was read in time"


def test_the_payers_phone_is_waited_for(monkeypatch):
    bed, kernel = scripted(monkeypatch, SeePhone(), SeePhone(), SeePhone(), online)
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    assert bed.shown == [{"request": "message", "text": "see the payer's phone, then hold it here again"}]
    bed.pass_time(1)
    assert len(kernel.started) == 1, "the field is off"
    bed.pass_time(10)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["way"]) == ("approved", "phone")
    assert len(kernel.started) == 4
    assert [sale.way for sale in bed.sales()] == ["phone"]
    assert bed.shown[1:] == [{"request": "clear"}]
    bed.pass_time(300)
    assert bed.mtis() == ["0800", "0200"]


def test_a_payer_who_does_not_confirm(monkeypatch):
    bed, kernel = scripted(monkeypatch, SeePhone())
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.pass_time(59)
    assert ticket not in bed.answers
    bed.pass_time(4)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the payer did not confirm on their phone in time")
    assert 40 < len(kernel.started) < 50
    assert bed.sales() == []


def test_a_payer_whose_phone_never_comes_back(monkeypatch):
    bed, _ = scripted(monkeypatch, SeePhone())
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.held.add("reader")
    bed.pass_time(59)
    assert ticket not in bed.answers
    bed.pass_time(2)
    assert bed.answer(ticket)["reason"] == "no card was read in time"
    bed.pass_time(300)
    assert bed.deadlines.next() is None


def test_cancel_while_the_payer_looks_at_the_phone(monkeypatch):
    bed, kernel = scripted(monkeypatch, SeePhone())
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    assert bed.ask("cancel")["cancelled"] == "waiting for the payer to look at their phone"
    assert bed.answer(ticket)["reason"] == "cancelled"
    bed.pass_time(100)
    assert len(kernel.started) == 1


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Declined("the card declined"), "the card declined"),
        (Declined("the card declined", b"\x9f\x26\x00"), "the card declined"),
        (EndApplication("processing options refused", "6A81"), "processing options refused (6A81)"),
        (EndApplication("9F36 is missing"), "9F36 is missing"),
        (TryAnotherInterface(), "the card wants to be inserted or swiped"),
    ],
)
def test_outcomes_that_end_the_sale_on_the_phone(monkeypatch, outcome, reason):
    bed, kernel = scripted(monkeypatch, outcome)
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["reason"], receipt["response_code"]) == ("refused", reason, None)
    assert len(kernel.started) == 1
    assert bed.sales() == []
    assert bed.mtis() == ["0800"]


def test_a_torn_card_is_recovered_in_the_same_sale(monkeypatch):
    bed, kernel = scripted(monkeypatch, TryAgain("torn", TORN), TryAgain("the card left the field", None), offline)
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["offline"]) == ("approved", True)
    assert [torn for _, torn in kernel.started] == [None, TORN, TORN]
    bed.ask("sale", amount=1250)
    assert kernel.started[-1][1] is None, "what was recovered is not recovered twice"


def test_a_torn_card_is_recovered_by_the_next_sale_of_the_same_amount(monkeypatch):
    bed, kernel = scripted(monkeypatch, TryAgain("torn", TORN), tap_tries=2)
    assert bed.ask("sale", amount=1250)["outcome"] == "refused"
    kernel.script = lambda transaction, _: offline(transaction)
    kernel.started.clear()
    assert bed.ask("balance")["outcome"] in ("approved", "refused")
    assert kernel.started[0][1] is None, "a balance enquiry takes no money"


@pytest.mark.parametrize(("amount", "later", "kept"), [(1250, 0, True), (1251, 0, False), (1250, 400, False)])
def test_what_is_kept_of_a_torn_card(monkeypatch, amount, later, kept):
    bed, kernel = scripted(monkeypatch, TryAgain("torn", TORN), tap_tries=2)
    assert bed.ask("sale", amount=1250)["outcome"] == "refused"
    bed.pass_time(later)
    kernel.script = lambda transaction, _: online(transaction)
    kernel.started.clear()
    assert bed.ask("sale", amount=amount)["outcome"] == "approved"
    assert [torn for _, torn in kernel.started] == [TORN if kept else None]


@pytest.mark.parametrize("after", range(5))
def test_the_card_pulled_out_at_each_command_and_held_there_again(after):
    """Before the 0200 the sale starts over with the card; after it the card is not needed."""
    bed = Bed()
    bed.settle()
    card = bed.cards[TERMINAL_ID] = ScriptedCard(pin=False)
    gone = 0

    def transmit(apdu: bytes) -> bytes:
        nonlocal gone
        card.commands.append(apdu)
        if len(card.commands) == after + 1:
            gone += 1
            return b""
        return ScriptedCard.transmit(card, apdu)

    card.transmit = transmit  # type: ignore[method-assign]
    receipt = bed.ask("sale", amount=1250)
    assert receipt["outcome"] == "approved"
    assert [sale.status for sale in bed.sales()] == ["approved"]
    assert list(bed.acquirer.paid.values()) == ["paid"]
    assert not bed.failures


def test_turns_that_fail_while_cards_are_read_again_are_undone(monkeypatch):
    """Two phones share their turns; every turn fails at first, and its events are taken again one by one."""
    bed = Bed(terminals=("10000001", "10000002"))
    bed.settle()
    kernel = ScriptedKernel.install(
        monkeypatch,
        bed,
        lambda transaction, torn: TryAgain("torn", TORN) if torn is None else offline(transaction),
    )
    commit, failing = bed.unit.commit, [False]

    def fail_once() -> None:
        if failing[0]:
            failing[0] = False
            raise ValueError("the rows were refused")
        commit()

    monkeypatch.setattr(bed.unit, "commit", fail_once)
    tickets = [bed.command("sale", terminal, amount=1250) for terminal in bed.terminals]
    for _ in range(8):
        failing[0] = len(bed.work) > 1
        bed.step()
        waiting = list(bed.sent)
        bed.sent.clear()
        for link, body in waiting:
            kind, _, terminal = link.partition(":")
            answer = bed.answer_of(kind, terminal, body)
            if answer is not None:
                bed.receive(link, answer)
    assert [bed.answer(ticket)["offline"] for ticket in tickets] == [True, True]
    assert not bed.failures
    assert [sale.status for sale in bed.sales()] == ["approved", "approved"]
    assert len(bed.acquirer.told) == 2
    # a turn that was undone begins its taps anew, with what was torn before it
    assert [torn for _, torn in kernel.started].count(None) >= 2
