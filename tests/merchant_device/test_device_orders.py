"""The merchant's code: shown, paid, withdrawn, and what becomes of it when messages or the process are lost."""

from dataclasses import replace
from random import Random

import pytest
from device_bed import TERMINAL_ID, ScriptedCard
from order_bed import ORDER_LIFE, OfficeBed, merchant_code

from merchant_device.merchant_code import OrderError, offer_of
from merchant_device.order_tables import Order
from network.emv.qr import MerchantCode
from network.iso8583 import TERMINAL, Message
from network.iso8583.additional_data import decode_objects
from network.party import SECOND


@pytest.fixture
def bed():
    return OfficeBed()


def shown(bed: OfficeBed) -> dict[str, object]:
    return bed.shown[-1]  # type: ignore[return-value]


def history(bed: OfficeBed) -> list[dict[str, object]]:
    return bed.ask("history", limit=10)["sales"]  # type: ignore[return-value]


def books(bed: OfficeBed) -> list[tuple[str, int, str | None]]:
    return [(sale.status, sale.amount, sale.order_number) for sale in bed.sales()]


def test_a_sale_by_the_merchants_code(bed):
    ticket, number = bed.order()
    request = bed.acquirer.requests[-1]
    fields = dict(request.fields)
    assert len(fields.pop(64)) == 8
    assert (request.mti, fields) == (
        "0800",
        {4: "000000001250", 11: "000002", 41: TERMINAL_ID, 42: bed.phone().merchant_id, 49: "156", 60: "00000001401"},
    )
    screen = shown(bed)
    assert (screen["request"], screen["amount"]) == ("code", 1250)
    # the order's expiry has whole seconds
    assert bed.now + (ORDER_LIFE - 2) * SECOND < screen["expires"] <= bed.now + ORDER_LIFE * SECOND
    code = MerchantCode.parse(screen["text"])
    assert (code.order, code.amount) == (number, 1250)
    assert bed.kept(number).status == "open"
    assert books(bed) == []
    bed.tell(bed.acquirer.pay(number))
    receipt = bed.answer(ticket)
    expected = {"outcome": "approved", "way": "merchant_code", "order": number, "amount": 1250, "offline": False}
    expected |= {"rrn": "600210000777", "authorisation_code": "C00777", "stan": "000002", "pan": None, "reason": None}
    assert {name: receipt[name] for name in expected} == expected
    assert books(bed) == [("approved", 1250, number)]
    assert (history(bed)[0]["order"], history(bed)[0]["way"]) == (number, "merchant_code")
    assert shown(bed) == {"request": "clear"}
    assert (bed.kept(number).status, bed.kept(number).pending_of) == ("paid", None)
    asked = len(bed.acquirer.asked)
    bed.pass_time(60)
    assert len(bed.acquirer.asked) == asked, "nothing is asked about an order that has ended"


def test_a_lost_403_is_made_good_by_asking(bed):
    ticket, number = bed.order()
    bed.acquirer.pay(number)
    bed.pass_time(4)
    assert bed.answer(ticket)["outcome"] == "approved"
    request = bed.acquirer.requests[-1]
    assert (request.mti, request.text(60)) == ("0820", "00000001402")
    assert decode_objects(decode_objects(request.binary(62).decode())["A5"]) == {"01": number}
    assert books(bed) == [("approved", 1250, number)]


@pytest.mark.parametrize("turns", [1, 2])
def test_a_doubled_403_is_one_sale(bed, turns):
    ticket, number = bed.order()
    told = bed.acquirer.pay(number)
    for _ in range(2):
        bed.receive(f"acquirer:{TERMINAL_ID}", told)
        if turns == 2:
            bed.step()
    bed.step()
    bed.pass_time(10)
    assert bed.answer(ticket)["outcome"] == "approved"
    assert books(bed) == [("approved", 1250, number)]
    assert not bed.failures


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_a_corrupted_403_counts_for_nothing(bed, at):
    ticket, number = bed.order()
    told = bytearray(bed.acquirer.pay(number))
    bed.acquirer.silent.add("402")
    told[11 + at] ^= 0x01
    bed.tell(bytes(told))
    assert ticket not in bed.answers
    assert books(bed) == []
    bed.acquirer.silent.clear()
    bed.pass_time(30)
    assert bed.answer(ticket)["outcome"] == "approved"
    assert not bed.failures


def test_a_403_for_an_order_that_nobody_knows_is_dropped(bed):
    _, number = bed.order()
    bed.acquirer.amounts["9" * 20] = 5
    bed.tell(bed.acquirer.pay("9" * 20))
    assert bed.device.dropped == {"unexpected from the acquirer": 1}
    assert bed.kept(number).status == "open"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda code: code.build()[:-1] + ("0" if code.build()[-1] != "0" else "1"), "the CRC is wrong"),
        (lambda code: "", "longer"),
        (lambda code: _changed(code, amount=1251).build(), "another amount"),
        (lambda code: _changed(code, amount=None).build(), "another amount"),
        (lambda code: _changed(code, merchant_id="104110000000002").build(), "another merchant"),
        (lambda code: _changed(code, terminal_id="10000002").build(), "another terminal"),
        (lambda code: _changed(code, order="1" * 20).build(), "another order"),
        (lambda code: _changed(code, acquirer_id="87654321").build(), "another acquirer"),
        (lambda code: _changed(code, currency="840").build(), "another currency"),
        (lambda code: _changed(code, is_static=True).build(), "another kind"),
    ],
)
def test_a_code_that_is_not_the_sales_is_never_shown(bed, change, reason):
    bed.acquirer.text_of = change
    receipt = bed.ask("sale", amount=1250, ways=["merchant_code"])
    assert receipt["outcome"] == "refused"
    assert "the acquirer's code" in receipt["reason"]
    assert reason == "longer" or reason in receipt["reason"]
    assert [screen["request"] for screen in bed.shown] == []
    assert books(bed) == []


def _changed(code: MerchantCode, **changes: object) -> MerchantCode:
    return replace(code, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("number_of", "1234"), ("number_of", "x" * 20), ("expiry_of", ""), ("expiry_of", "20261399000000")],
)
def test_an_order_without_number_or_expiry_is_not_taken(bed, attribute, value):
    setattr(bed.acquirer, attribute, lambda _: value)
    assert bed.ask("sale", amount=1250, ways=["merchant_code"])["outcome"] == "refused"
    assert not bed.shown


def test_an_order_that_has_expired_when_it_comes(bed):
    bed.acquirer.expiry_of = lambda _: "20260101000000"
    assert bed.ask("sale", amount=1250, ways=["merchant_code"])["reason"] == "the code has expired"


def test_the_order_is_refused(bed):
    bed.acquirer.codes["401"] = "03"
    receipt = bed.ask("sale", amount=1250, ways=["merchant_code"])
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the acquirer answered the order 03")
    receipt = bed.ask("sale", amount=1250, ways=["merchant_code", "tap"])
    assert (receipt["outcome"], receipt["way"]) == ("approved", "card")


@pytest.mark.parametrize("code", ["401", "402"])
def test_keys_that_the_acquirer_does_not_take_bring_a_sign_on(bed, code):
    """In the middle of a sale as well: the code stays on the display meanwhile."""
    bed.acquirer.codes[code] = "77"
    if code == "401":
        receipt = bed.ask("sale", amount=1250, ways=["merchant_code", "tap"])
        assert receipt["outcome"] == "approved"
    else:
        ticket, number = bed.order()
        bed.pass_time(4)
        assert bed.mtis().count("0800") == 3
        bed.acquirer.codes.clear()
        bed.acquirer.pay(number)
        bed.pass_time(4)
        assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.phone().status == "signed_on"


@pytest.mark.parametrize("how", ["silent", "spoiled", "link"])
def test_no_order_comes(bed, how):
    if how == "spoiled":
        bed.acquirer.spoil.add("401")
    else:
        bed.acquirer.silent.add("401")
    ticket = bed.command("sale", amount=1250, ways=["merchant_code"])
    bed.settle()
    if how == "link":
        bed.links(False)
    bed.pass_time(21)
    assert bed.answer(ticket)["outcome"] == "refused"
    assert bed.ask("status")["terminals"][0]["doing"] == "idle"
    assert not bed.shown
    assert not bed.failures


def test_an_answer_that_comes_too_late_shows_nothing(bed):
    bed.held.add("acquirer")
    ticket = bed.command("sale", amount=1250, ways=["merchant_code"])
    bed.settle()
    late = bed.acquirer.take(bed.sent.popleft()[1])
    bed.pass_time(21)
    assert bed.answer(ticket)["outcome"] == "refused"
    bed.held.clear()
    bed.tell(late)
    assert not bed.shown


def test_the_next_way_is_offered_when_the_link_breaks_before_the_order(bed):
    bed.acquirer.silent.add("401")
    ticket = bed.command("sale", amount=1250, ways=["merchant_code", "tap"])
    bed.settle()
    bed.links(False)
    assert bed.answer(ticket)["reason"] == "the link to the acquirer broke"


def test_what_is_not_paid_in_time_is_withdrawn(bed):
    ticket, number = bed.order()
    bed.pass_time(ORDER_LIFE + 1)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the code was not paid in time")
    assert bed.acquirer.asked[-1] == "404"
    assert (bed.acquirer.orders[number], bed.kept(number).status) == ("cancelled", "cancelled")
    assert 30 < bed.acquirer.asked.count("402") < 45
    bed.cards[TERMINAL_ID] = ScriptedCard()
    ticket, _ = bed.order(ways=["merchant_code", "tap"])
    bed.pass_time(ORDER_LIFE + 1)
    assert bed.answer(ticket)["way"] == "card"


@pytest.mark.parametrize(("state", "reason"), [("expired", "the code has expired"), ("cancelled", "the order was")])
def test_the_acquirer_ends_the_order(bed, state, reason):
    ticket, number = bed.order()
    bed.acquirer.orders[number] = state
    bed.pass_time(4)
    assert bed.answer(ticket)["reason"].startswith(reason)
    assert bed.kept(number).status == state


def test_the_acquirer_has_lost_the_order(bed):
    ticket, number = bed.order()
    del bed.acquirer.orders[number]
    bed.pass_time(4)
    assert bed.answer(ticket)["reason"] == "the acquirer does not know the order"


def test_cancelled(bed):
    ticket, number = bed.order(ways=["merchant_code", "tap"])
    assert bed.ask("cancel")["cancelled"] == "waiting for the code"
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "cancelled")
    assert bed.acquirer.orders[number] == "cancelled"
    bed.acquirer.silent.add("401")
    ticket = bed.command("sale", amount=1, ways=["merchant_code"])
    bed.settle()
    bed.ask("cancel")
    assert bed.answer(ticket)["reason"] == "cancelled"
    assert bed.ask("sale", amount=1)["outcome"] == "approved", "the line is free again"


def test_a_cancelled_sale_that_was_paid_is_paid(bed):
    ticket, number = bed.order()
    bed.acquirer.pay(number)
    bed.ask("cancel")
    assert bed.answer(ticket)["outcome"] == "approved"
    assert books(bed) == [("approved", 1250, number)]


def test_a_withdrawal_whose_answer_is_lost_is_sent_again(bed):
    bed.acquirer.silent.add("404")
    ticket, number = bed.order()
    bed.ask("cancel")
    assert ticket not in bed.answers
    bed.acquirer.silent.clear()
    bed.pass_time(25)
    assert bed.answer(ticket)["reason"] == "cancelled"
    assert bed.kept(number).status == "cancelled"


@pytest.mark.parametrize("paid", [False, True])
def test_a_withdrawal_that_is_never_answered_ends_unknown_and_goes_on(bed, paid):
    bed.acquirer.silent.update(("402", "404"))
    ticket, number = bed.order()
    bed.ask("cancel")
    bed.pass_time(41)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["order"]) == ("unknown", number)
    assert bed.kept(number).status == "withdrawing"
    assert bed.ask("sale", amount=7)["outcome"] == "approved", "the phone is free meanwhile"
    if paid:
        bed.acquirer.pay(number)
    bed.acquirer.silent.clear()
    bed.pass_time(30)
    assert bed.kept(number).status == ("paid" if paid else "cancelled")
    assert books(bed)[0] == (("approved", 1250, number) if paid else ("approved", 7, None))
    assert len(books(bed)) == 1 + paid


@pytest.mark.parametrize("paid", [False, True])
def test_the_link_is_down_while_the_code_is_shown(bed, paid):
    ticket, number = bed.order()
    bed.links(False)
    bed.pass_time(20)
    if paid:
        bed.acquirer.pay(number)
    bed.links(True)
    bed.pass_time(5)
    if paid:
        assert bed.answer(ticket)["outcome"] == "approved"
    else:
        assert ticket not in bed.answers
        bed.links(False)
        bed.pass_time(ORDER_LIFE + 50)
        assert bed.answer(ticket)["outcome"] == "unknown"
        bed.links(True)
        bed.pass_time(5)
        assert bed.kept(number).status == "cancelled"


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize("withdrawing", [False, True])
def test_a_crash_while_an_order_is_open(bed, paid, withdrawing):
    _, number = bed.order()
    if withdrawing:
        bed.acquirer.silent.add("404")
        bed.ask("cancel")
        bed.acquirer.silent.clear()
    if paid:
        bed.acquirer.pay(number)
    bed.restart()
    bed.settle()
    bed.pass_time(5)
    assert bed.kept(number).status == ("paid" if paid else "cancelled")
    assert [(sale["order"], sale["amount"]) for sale in history(bed)] == ([(number, 1250)] if paid else [])
    if not withdrawing:
        assert "402" in bed.acquirer.asked
    bed.restart()
    bed.pass_time(30)
    assert len(books(bed)) == paid
    assert not bed.failures


def test_a_crash_before_the_order_is_known(bed):
    bed.held.add("acquirer")
    bed.command("sale", amount=1250, ways=["merchant_code"])
    bed.settle()
    bed.acquirer.take(bed.sent.popleft()[1])
    bed.held.clear()
    bed.restart()
    bed.pass_time(10)
    assert bed.acquirer.asked == ["401"], "its code was never shown"
    assert not bed.failures


def test_a_turn_that_is_not_committed_leaves_the_order_shown(bed):
    ticket, number = bed.order()
    told = bed.acquirer.pay(number)
    bed.device._rooms[2]._payments = None  # whatever comes next cannot be decided
    bed.acquirer.orders[number] = "expired"
    bed.pass_time(4)
    assert bed.failures
    assert bed.kept(number).status == "open"
    assert ticket not in bed.answers
    bed.tell(told)
    assert bed.answer(ticket)["outcome"] == "approved"


def test_another_amount_than_the_orders_is_not_called_approved(bed):
    ticket, number = bed.order()
    bed.tell(bed.acquirer.pay(number, amount=1))
    assert bed.answer(ticket)["outcome"] == "unknown"
    assert books(bed) == [("approved", 1, number)]


def test_the_order_of_a_phone_with_a_device_tells_which_it_is(bed):
    phone = bed.unit.find(type(bed.phone()), "terminal_id", TERMINAL_ID)
    bed.unit.change(phone)
    phone.device_id, phone.place = "phone-7", "+31.2304,+121.4737"
    bed.unit.commit()
    bed.order()
    device = decode_objects(decode_objects(bed.acquirer.requests[-1].text(59))["A2"])
    assert (device["02"], device["03"]) == ("phone-7", "+31.2304,+121.4737")


# the static code


def test_the_static_code(bed):
    first = bed.ask("static_code")
    assert first["outcome"] == "approved"
    code = MerchantCode.parse(first["text"])
    assert (code.is_static, code.amount, code.order) == (True, None, first["order"])
    assert shown(bed)["text"] == first["text"]
    assert 4 not in bed.acquirer.requests[1]
    assert bed.ask("static_code")["order"] == first["order"]
    assert bed.acquirer.asked.count("401") == 1
    number = first["order"]
    bed.tell(bed.acquirer.pay(number, 300, "600210000001"))
    told = bed.acquirer.pay(number, 500, "600210000002")
    bed.tell(told)
    bed.tell(told)
    bed.pass_time(40)
    assert books(bed) == [("approved", 300, number), ("approved", 500, number)]
    bed.acquirer.pay(number, 700, "600210000003")
    bed.pass_time(31)
    assert [sale["amount"] for sale in history(bed)] == [700, 500, 300]
    assert bed.ask("static_code", show=False)["outcome"] == "approved"
    assert shown(bed) == {"request": "clear"}
    asked = len(bed.acquirer.asked)
    bed.pass_time(100)
    assert len(bed.acquirer.asked) == asked
    bed.tell(bed.acquirer.pay(number, 900, "600210000004"))
    assert len(books(bed)) == 4
    bed.restart()
    bed.settle()
    assert bed.ask("static_code")["order"] == number
    bed.pass_time(1)
    assert len(books(bed)) == 4, "what was noted is not noted again after a crash"


def test_two_payments_of_a_static_code_in_one_turn(bed):
    number = bed.ask("static_code")["order"]
    for index in range(2):
        bed.receive(f"acquirer:{TERMINAL_ID}", bed.acquirer.pay(number, 100 + index, f"60021000000{index}"))
    bed.step()
    assert [amount for _, amount, _ in books(bed)] == [100, 101]


def test_a_static_code_that_the_acquirer_has_lost_is_asked_for_anew(bed):
    number = bed.ask("static_code")["order"]
    bed.acquirer.orders["pad"] = "open"
    del bed.acquirer.orders[number]
    bed.pass_time(31)
    assert shown(bed) == {"request": "clear"}
    other = bed.ask("static_code")
    assert other["outcome"] == "approved"
    assert bed.acquirer.asked.count("401") == 2


def test_a_static_code_that_does_not_come(bed):
    bed.acquirer.silent.add("401")
    ticket = bed.command("static_code")
    bed.settle()
    assert bed.ask("sale", amount=1)["reason"] == "the terminal is busy"
    bed.pass_time(21)
    assert bed.answer(ticket)["outcome"] == "unknown"
    bed.acquirer.silent.clear()
    bed.acquirer.codes["401"] = "58"
    assert bed.ask("static_code")["response_code"] == "58"
    bed.acquirer.codes.clear()
    bed.acquirer.text_of = lambda code: "nonsense"
    assert bed.ask("static_code")["outcome"] == "declined"
    bed.links(False)
    assert bed.ask("static_code")["reason"] == "the link to the acquirer is down"
    assert not bed.shown


def test_a_sale_beside_a_static_code(bed):
    number = bed.ask("static_code")["order"]
    ticket, other = bed.order()
    assert other != number
    bed.tell(bed.acquirer.pay(number, 300, "600210000001"))
    assert ticket not in bed.answers
    bed.tell(bed.acquirer.pay(other))
    assert bed.answer(ticket)["order"] == other
    assert len(books(bed)) == 2


def test_whatever_the_acquirer_says_unasked_harms_nothing(bed):
    bed.order()
    good = TERMINAL.unpack(bed.acquirer.pay(next(iter(bed.acquirer.orders))))
    for change in ({62: b"\xff\xfe"}, {62: b"A5"}, {62: b""}, {60: "00"}, {4: "000000000000"}):
        message = TERMINAL.unpack(TERMINAL.pack(good))
        message.fields |= change
        bed.tell(bed.acquirer._sealed(message, bed.acquirer.keys[TERMINAL_ID][1]))
    assert not bed.failures


def test_a_payment_that_says_no_amount_is_the_orders(bed):
    ticket, number = bed.order()
    message = TERMINAL.unpack(bed.acquirer.pay(number))
    message.fields[4] = "000000000000"
    bed.tell(bed.acquirer._sealed(message, bed.acquirer.keys[TERMINAL_ID][1]))
    assert bed.answer(ticket)["outcome"] == "approved"
    assert books(bed) == [("approved", 1250, number)]


def test_mutated_orders_are_taken_only_as_they_were():
    """Whatever DE62 is, it is an order for this sale or an error with a reason."""
    bed = OfficeBed()
    replies: list[Message] = []
    bed.acquirer.change = replies.append
    _, number = bed.order()
    good = replies[-1]
    phone, content, random = bed.phone(), good.binary(62), Random(9)
    taken = 0
    for _ in range(5_000):
        mutated = bytearray(content)
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(mutated))
            mutated[at : at + random.randint(0, 2)] = random.randbytes(random.randint(0, 2))
        good.fields[62] = bytes(mutated)
        try:
            offer = offer_of(good, phone, 1250, "156")
        except OrderError:
            continue
        taken += 1
        assert offer.number == number
        assert MerchantCode.parse(offer.text) == merchant_code(number, 1250)
    assert taken < 500, "only what was left alone, or has another expiry"
    good.fields[62] = content
    assert offer_of(good, phone, 1250, "156").number == number


class StormyBed(OfficeBed):
    """Messages to and from the acquirer are lost, doubled, damaged, or late, until `calm`."""

    def __init__(self, random: Random) -> None:
        self.chance: Random | None = None
        super().__init__()
        self.chance = random

    def answer_of(self, kind: str, terminal: str, body: bytes) -> bytes | None:
        if kind != "acquirer" or self.chance is None:
            return super().answer_of(kind, terminal, body)
        fate = self.chance.random()
        if fate < 0.15:
            return None
        answer = super().answer_of(kind, terminal, body)
        if answer is None or fate < 0.3:
            return None
        if fate < 0.4:
            self.receive(f"acquirer:{terminal}", answer)
        if fate < 0.5:
            at = self.chance.randrange(11, len(answer))
            return answer[:at] + bytes([answer[at] ^ 0x10]) + answer[at + 1 :]
        return answer


@pytest.mark.parametrize("seed", range(25))
def test_in_any_weather_what_was_paid_is_noted_once_and_nothing_else(seed):
    random = Random(seed)
    bed = StormyBed(random)
    tickets: list[int] = []
    for _ in range(12):
        deed = random.choice(["sale", "sale", "pay", "pay", "told", "cancel", "crash", "link", "wait"])
        waiting = [
            number for number, state in bed.acquirer.orders.items() if state == "open" and _is_shown(bed, number)
        ]
        if deed == "sale":
            tickets.append(bed.command("sale", amount=1250, ways=["merchant_code"]))
        elif deed in ("pay", "told") and waiting and bed.acquirer.keys:
            told = bed.acquirer.pay(waiting[-1])
            if deed == "told":
                bed.receive(f"acquirer:{TERMINAL_ID}", told)
        elif deed == "cancel":
            bed.command("cancel")
        elif deed == "crash":
            bed.restart(up=random.random() < 0.7)
        elif deed == "link":
            bed.links(random.random() < 0.5)
        bed.settle()
        bed.pass_time(random.choice([0.1, 4, 30, 130]))
    bed.chance = None
    bed.links(True)
    bed.pass_time(400)
    paid = sorted(number for number, state in bed.acquirer.orders.items() if state == "paid")
    assert sorted(str(sale.order_number) for sale in bed.sales()) == paid
    assert {sale.status for sale in bed.sales()} <= {"approved"}
    answered = [bed.answers[ticket] for ticket in tickets if ticket in bed.answers]
    for receipt in answered:
        assert isinstance(receipt, dict)
        if receipt["outcome"] == "approved":
            assert receipt["order"] in paid
        if receipt["outcome"] == "refused" and receipt["stan"] is not None:
            assert (receipt["stan"], receipt["batch"]) not in {(sale.stan, sale.batch) for sale in bed.sales()}
    assert {row.status for row in map(bed.kept, _known(bed))} <= {"paid", "cancelled", "expired"}
    assert not bed.failures


def _is_shown(bed: OfficeBed, number: str) -> bool:
    return bed.store.unit_of_work().find(Order, "number", number) is not None


def _known(bed: OfficeBed) -> list[str]:
    return [number for number in bed.acquirer.orders if _is_shown(bed, number)]
