import pytest
from device_bed import MERCHANT_ID, PAN, TERMINAL_ID, Bed, ScriptedCard

from network.emv import tlv
from network.iso8583 import TERMINAL, Message
from network.keys import MacAlgorithm

IDENTITY = (TERMINAL_ID, "000001", "000002")


def unanswered_sale(bed: Bed, amount: int = 1250) -> int:
    """A sale whose 0200 has left and whose answer does not come."""
    bed.acquirer.silent.add("0200")
    ticket = bed.command("sale", amount=amount)
    bed.settle()
    assert "pending" in [sale.status for sale in bed.sales()]
    return ticket


def test_no_answer_in_time_is_reversed():
    bed = Bed()
    ticket = unanswered_sale(bed)
    bed.pass_time(59)
    assert ticket not in bed.answers
    bed.pass_time(2)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("unknown", "no answer from the acquirer")
    (sale,) = bed.sales()
    assert (sale.status, sale.reversal_reason, sale.reversal_code) == ("reversed", "98", "25")
    assert bed.mtis() == ["0800", "0200", "0400"]


def test_the_timers_of_a_sale_do_nothing_once_it_is_over():
    bed = Bed()
    bed.settle()
    first = bed.ask("sale", amount=150_000)
    bed.pass_time(50)
    ticket = unanswered_sale(bed, amount=1250)
    bed.pass_time(59)
    assert ticket not in bed.answers
    bed.acquirer.silent.clear()
    bed.pass_time(2)
    assert bed.answer(ticket)["outcome"] == "unknown"
    bed.pass_time(300)
    assert first["outcome"] == "approved"
    assert [sale.status for sale in bed.sales()] == ["approved", "reversed"]
    assert bed.mtis() == ["0800", "0200", "0200", "0400"]
    assert bed.deadlines.next() is None


def test_the_0400_has_the_elements_of_the_protocol():
    bed = Bed()
    unanswered_sale(bed)
    bed.pass_time(61)
    fields = dict(bed.acquirer.requests[-1].fields)
    mac, chip = fields.pop(64), fields.pop(55)
    assert fields == {
        2: PAN,
        3: "000000",
        4: "000000001250",
        11: "000002",
        14: "3012",
        22: "071",
        23: "001",
        25: "00",
        39: "98",
        41: TERMINAL_ID,
        42: MERCHANT_ID,
        49: "156",
        60: "2200000100060",
        61: "0000010000020102",
    }
    assert len(mac) == 8
    assert list(tlv.flat(chip)) == ["95", "9F1E", "9F10", "9F36"]


def test_a_broken_link_reverses_at_once_when_it_is_back():
    bed = Bed()
    ticket = unanswered_sale(bed)
    bed.links(False)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("unknown", "the link to the acquirer broke")
    assert [sale.status for sale in bed.sales()] == ["reversing"]
    bed.pass_time(120)
    assert bed.mtis() == ["0800", "0200"]
    bed.links(True)
    bed.settle()
    assert bed.mtis() == ["0800", "0200", "0400"]
    assert [sale.status for sale in bed.sales()] == ["reversed"]


def test_a_reversal_is_repeated_until_it_is_answered():
    bed = Bed()
    unanswered_sale(bed)
    bed.acquirer.silent.add("0400")
    bed.pass_time(61)
    bed.pass_time(35)
    assert bed.mtis().count("0400") == 4
    bed.acquirer.silent.clear()
    bed.pass_time(10)
    assert bed.mtis().count("0400") == 5
    assert [sale.status for sale in bed.sales()] == ["reversed"]
    bed.pass_time(120)
    assert bed.mtis().count("0400") == 5
    first, *others = [TERMINAL.pack(m) for m in bed.acquirer.requests if m.mti == "0400"]
    assert set(others) == {first}


def test_a_late_answer_finds_the_sale_reversed():
    bed = Bed()
    bed.held.add("acquirer")
    bed.settle()
    bed.held.clear()
    bed.settle()
    bed.held.add("acquirer")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    (link, request) = bed.sent.popleft()
    late = bed.acquirer.take(request)
    assert late is not None
    bed.pass_time(61)
    bed.receive(link, late)
    bed.receive(link, late)
    bed.step()
    assert bed.answer(ticket)["outcome"] == "unknown"
    bed.held.clear()
    bed.settle()
    assert bed.acquirer.paid == {IDENTITY: "reversed"}
    assert [sale.status for sale in bed.sales()] == ["reversed"]
    assert bed.device.dropped == {"unexpected from the acquirer": 2}


def test_a_doubled_answer_counts_once():
    bed = Bed()
    bed.settle()
    bed.held.add("acquirer")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    (link, request) = bed.sent.popleft()
    answer = bed.acquirer.take(request)
    assert answer is not None
    bed.receive(link, answer)
    bed.receive(link, answer)
    bed.step()
    bed.held.clear()
    bed.settle()
    assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.device.dropped == {"unexpected from the acquirer": 1}
    assert bed.acquirer.paid == {IDENTITY: "paid"}


@pytest.mark.parametrize("code", ["00", "25"])
def test_done_and_not_found_end_a_reversal(code):
    bed = Bed()
    bed.acquirer.reversal_code = code
    unanswered_sale(bed)
    bed.pass_time(61)
    assert [(sale.status, sale.reversal_code) for sale in bed.sales()] == [("reversed", code)]


@pytest.mark.parametrize("code", ["96", "03", "12", "30", "58", "64", "94", "98"])
def test_a_refusal_repeats_the_reversal_after_a_pause(code):
    bed = Bed()
    bed.acquirer.reversal_code = code
    unanswered_sale(bed)
    bed.pass_time(61)
    assert bed.mtis().count("0400") == 1
    bed.pass_time(31)
    assert bed.mtis().count("0400") == 3
    assert [(sale.status, sale.reversal_code) for sale in bed.sales()] == [("reversing", code)]


@pytest.mark.parametrize("code", ["A0", "77"])
def test_sign_on_codes_repeat_the_reversal_after_a_sign_on_and_then_paced(code):
    bed = Bed()
    bed.acquirer.reversal_code = code
    unanswered_sale(bed)
    bed.pass_time(60)
    bed.settle()
    # once at once with new keys, then not before the pause is over
    assert bed.mtis() == ["0800", "0200", "0400", "0800", "0400", "0800"]
    bed.pass_time(9)
    assert len(bed.mtis()) == 6
    bed.pass_time(2)
    assert bed.mtis()[6:] == ["0400", "0800"]
    bed.acquirer.reversal_code = None
    bed.pass_time(21)
    assert [sale.status for sale in bed.sales()] == ["reversed"]


def test_an_0410_whose_mac_is_wrong_is_none():
    bed = Bed()
    bed.acquirer.spoil_mac = True
    unanswered_sale(bed)
    bed.pass_time(75)
    assert [sale.status for sale in bed.sales()] == ["reversing"]
    assert bed.device.dropped == {"wrong MAC": 2}
    bed.acquirer.spoil_mac = False
    bed.acquirer.answers.clear()
    bed.pass_time(11)
    assert [sale.status for sale in bed.sales()] == ["reversed"]


def test_the_next_sale_sends_the_reversal_first():
    bed = Bed()
    unanswered_sale(bed)
    bed.acquirer.silent.add("0400")
    bed.pass_time(65)
    before = len(bed.mtis())
    ticket = bed.command("sale", amount=99)
    bed.settle()
    assert ticket not in bed.answers
    bed.acquirer.silent.clear()
    bed.pass_time(6)
    # the reversal on the line was not answered: the sale is refused, and no card was read
    assert bed.answer(ticket)["reason"] == "a reversal is pending and was not answered"
    assert bed.answer(ticket)["outcome"] == "refused"
    assert bed.mtis()[before:] == ["0400"]
    assert bed.ask("sale", amount=99)["outcome"] == "approved"
    assert [sale.status for sale in bed.sales()] == ["reversed", "approved"]


def test_a_sale_behind_a_reversal_that_is_answered():
    bed = Bed()
    bed.acquirer.reversal_code = "96"
    unanswered_sale(bed)
    bed.pass_time(61)
    bed.acquirer.silent.clear()
    bed.acquirer.reversal_code = None
    before = len(bed.mtis())
    assert bed.ask("sale", amount=99)["outcome"] == "approved"
    assert bed.mtis()[before:] == ["0400", "0200"]
    bed.pass_time(30)
    assert bed.mtis()[before:] == ["0400", "0200"]


def test_a_reversal_refused_by_96_or_the_mac_refuses_the_sale():
    for code in ("96", "A0"):
        bed = Bed()
        bed.acquirer.reversal_code = code
        unanswered_sale(bed)
        bed.pass_time(60)
        receipt = bed.ask("sale", amount=99)
        assert (receipt["outcome"], receipt["reason"]) == ("refused", "a reversal is pending")


@pytest.mark.parametrize("when", ["sent", "answered"])
@pytest.mark.parametrize("again", [False, True])
def test_a_crash_reverses_what_was_pending(tmp_path, when, again):
    bed = Bed(f"sqlite:///{tmp_path / 'device.db'}")
    bed.settle()
    bed.held.add("acquirer" if when == "sent" else "reader")
    bed.command("sale", amount=1250)
    bed.settle()
    if when == "answered":
        card = bed.cards[TERMINAL_ID]
        assert card is not None
        while card.commands[-1:] == [] or card.commands[-1][1] != 0xA8:
            link, apdu = bed.sent.popleft()
            bed.receive(link, card.transmit(apdu))
            bed.step()
            bed.settle()
        assert bed.acquirer.paid == {IDENTITY: "paid"}
    assert [sale.status for sale in bed.sales()] == ["pending"]
    bed.held.clear()
    bed.restart(up=not again)
    if again:
        bed.restart()
    bed.settle()
    (sale,) = bed.sales()
    assert (sale.status, sale.reversal_reason) == ("reversed", "96")
    assert bed.acquirer.paid == {IDENTITY: "dead" if when == "sent" else "reversed"}
    # trace numbers are not used twice
    assert bed.ask("sale", amount=1)["stan"] > "000002"


def test_a_crash_keeps_reversals():
    bed = Bed()
    unanswered_sale(bed)
    bed.acquirer.silent.add("0400")
    bed.pass_time(61)
    bed.restart()
    bed.settle()
    bed.acquirer.silent.clear()
    bed.pass_time(11)
    assert [sale.status for sale in bed.sales()] == ["reversed"]


def test_cancel_after_the_0200_reverses():
    bed = Bed()
    ticket = unanswered_sale(bed)
    cancelled = bed.ask("cancel")
    assert cancelled == {"terminal": TERMINAL_ID, "cancelled": "waiting for the acquirer"}
    assert bed.answer(ticket)["outcome"] == "unknown"
    (sale,) = bed.sales()
    assert (sale.status, sale.reversal_reason, sale.reason) == ("reversed", "06", "cancelled")


def test_cancel_while_the_card_checks_the_answer_reverses():
    bed = Bed()
    bed.cards[TERMINAL_ID] = ScriptedCard(leaves_after=99)
    bed.held.add("reader")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    card = bed.cards[TERMINAL_ID]
    assert card is not None
    for _ in range(3):
        link, apdu = bed.sent.popleft()
        bed.receive(link, card.transmit(apdu))
        bed.step()
        bed.settle()
    assert bed.ask("cancel")["cancelled"] == "waiting for the card to check the answer"
    assert bed.answer(ticket)["outcome"] == "unknown"
    assert bed.acquirer.paid == {IDENTITY: "reversed"}
    bed.receive(f"reader:{TERMINAL_ID}", b"\x90\x00")
    bed.step()
    assert [sale.status for sale in bed.sales()] == ["reversed"]


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("00", "unknown"), ("10", "unknown"), ("51", "declined"), ("A0", "declined"), ("77", "declined")],
)
def test_an_0210_whose_mac_is_wrong_is_reversed_after_a_new_sign_on(code, outcome):
    bed = Bed()
    bed.settle()
    bed.acquirer.spoil_mac = True
    bed.acquirer.code = code

    def heal(message: Message) -> None:
        if message.mti == "0810":
            bed.acquirer.spoil_mac = False

    bed.acquirer.change = heal
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["response_code"]) == (outcome, code)
    assert receipt["reason"] == "the answer's MAC is not right"
    (sale,) = bed.sales()
    assert (sale.status, sale.reversal_reason) == ("reversed", "A0")
    assert bed.mtis() == ["0800", "0200", "0800", "0400"]
    assert bed.phone().status == "signed_on"


@pytest.mark.parametrize("code", ["A0", "77"])
def test_a_genuine_sign_on_code_decides_nothing(code):
    bed = Bed()
    bed.acquirer.code = code
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["response_code"]) == ("declined", code)
    assert [(sale.status, sale.reversal_reason) for sale in bed.sales()] == [("reversed", "A0")]
    assert bed.mtis() == ["0800", "0200", "0800", "0400"]


def test_a_whole_copy_that_comes_after_a_damaged_one_is_not_paid_behind_the_phones_back():
    bed = Bed()
    bed.settle()
    bed.held.add("acquirer")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    link, request = bed.sent.popleft()
    damaged = TERMINAL.unpack(request)
    damaged[4] = "000000001350"
    answer = bed.acquirer.take(TERMINAL.pack(damaged))
    assert answer is not None
    bed.receive(link, answer)
    bed.step()
    assert bed.answer(ticket)["outcome"] == "declined"
    assert bed.acquirer.take(request) is not None
    assert bed.acquirer.paid == {IDENTITY: "paid"}
    bed.held.clear()
    bed.settle()
    assert bed.acquirer.paid == {IDENTITY: "reversed"}
    assert [sale.status for sale in bed.sales()] == ["reversed"]


def test_an_acquirer_that_lost_the_session_answers_77():
    bed = Bed()
    bed.settle()
    del bed.acquirer.keys[TERMINAL_ID]
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["response_code"]) == ("declined", "77")
    assert bed.mtis() == ["0800", "0200", "0800", "0400"]
    assert [(sale.status, sale.reversal_code) for sale in bed.sales()] == [("reversed", "25")]
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"


def test_reversals_of_many_phones_are_all_sent():
    terminals = [f"1000{n:04d}" for n in range(30)]
    bed = Bed(terminals=terminals)
    bed.settle()
    bed.acquirer.silent.add("0200")
    for terminal in terminals:
        bed.command("sale", terminal, amount=1)
    bed.settle()
    bed.restart()
    bed.settle()
    assert [sale.status for sale in bed.sales()] == ["reversed"] * 30
    assert bed.mtis().count("0400") == 30


def test_the_reversal_is_authenticated_with_the_keys_in_force():
    bed = Bed()
    unanswered_sale(bed)
    bed.acquirer.silent.add("0400")
    bed.pass_time(61)
    first_mak = bed.acquirer.keys[TERMINAL_ID][1]
    ticket = bed.command("sign_on")
    bed.pass_time(10)
    assert bed.answer(ticket)["outcome"] == "approved"
    bed.acquirer.silent.clear()
    bed.pass_time(10)
    sent = [body for link, body in bed.trace if link.startswith("acquirer") and TERMINAL.unpack(body).mti == "0400"]
    module, second_mak = bed.acquirer.module, bed.acquirer.keys[TERMINAL_ID][1]
    for body, key in ((sent[0], first_mak), (sent[-1], second_mak)):
        assert module.verify_mac(key, MacAlgorithm.CUP_ECB, body[11:-8], body[-8:])
    assert first_mak is not second_mak
    assert [sale.status for sale in bed.sales()] == ["reversed"]
