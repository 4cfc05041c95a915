"""Claims of orders: an order is never paid twice, a static code any number of times, each once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from acquirer_bed import MERCHANT, Bed, Terminal
from further_messages import CODE, OTHER_CODE, claim, claimed, new_order, payments, sent, state

from acquirer.tables import Claim
from network.iso8583 import Message
from network.iso8583.additional_data import encode_objects
from network.member import OriginalData
from network.party import LinkChange, Work
from network.store import Store


def test_a_claim_becomes_an_ordinary_sale(bed: Bed, terminal: Terminal) -> None:
    said = encode_objects({"A2": {"01": "11", "02": "phone-1"}})
    number = new_order(bed, terminal, de59=said)
    body = claim(bed.switch, number)
    assert claimed(bed, body) == ["00"]
    (answer,), (request,) = sent(bed, "0610"), payments(bed)
    assert {n: value for n, value in answer.fields.items() if n != 128} == {
        3: "950000",
        4: "000000001250",
        7: "1123100000",
        11: f"{bed.switch.stan:06d}",
        33: "48020000",
        39: "00",
        100: "48020000",
        102: number,
        103: CODE,
    }
    assert {n: value for n, value in request.fields.items() if n not in (11, 37, 43, 128)} == {
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
        41: terminal.terminal_id,
        42: MERCHANT,
        49: "156",
        59: encode_objects({"A2": {"01": "11", "02": "phone-1"}, "A3": {"01": CODE}, "A5": {"01": number}}),
    }
    bed.answer(bed.switch.answer(request))
    assert bed.balances() == {"receivable:network": 1250, f"merchant:{MERCHANT}": 1250}
    assert state(bed, terminal, number) == "paid"


@pytest.mark.parametrize("apart", ["one turn", "two turns", "a restart", "after it is paid"])
def test_a_copy_of_a_claim_pays_nothing(bed: Bed, terminal: Terminal, apart: str) -> None:
    number = new_order(bed, terminal)
    body = claim(bed.switch, number)
    if apart == "one turn":
        assert claimed(bed, body, body) == ["00", "00"]
    else:
        assert claimed(bed, body) == ["00"]
        if apart == "a restart":
            bed.restart()
            bed.connect()
        elif apart == "after it is paid":
            bed.answer(bed.switch.answer(payments(bed)[0]))
        # the same bytes, and the same claim in a message of its own
        if apart != "a restart":
            assert claimed(bed, body) == ["00"]
        assert claimed(bed, claim(bed.switch, number)) == ["00"]
    assert len(payments(bed)) == 1
    assert claimed(bed, claim(bed.switch, number, amount=1251)) == ["13"]


@pytest.mark.parametrize("apart", [False, True])
def test_of_two_payers_one_pays(bed: Bed, terminal: Terminal, apart: bool) -> None:
    number = new_order(bed, terminal)
    bodies = [claim(bed.switch, number), claim(bed.switch, number, OTHER_CODE)]
    codes = claimed(bed, bodies[0]) + claimed(bed, bodies[1]) if apart else claimed(bed, *bodies)
    assert codes == ["00", "94"]
    assert len(payments(bed)) == 1
    bed.answer(bed.switch.answer(payments(bed)[0]))
    assert claimed(bed, claim(bed.switch, number, "6200000000000000009")) == ["94"]
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


def test_who_was_refused_is_not_charged_by_a_late_copy(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    other = claim(bed.switch, number, OTHER_CODE)
    assert claimed(bed, claim(bed.switch, number)) == ["00"]
    assert claimed(bed, other) == ["94"]
    bed.answer(bed.switch.answer(payments(bed)[0], "51"))
    assert state(bed, terminal, number) == "open"
    # the order is open again, but this payer has been told no
    assert claimed(bed, other) == ["94"]
    assert len(payments(bed)) == 1
    assert claimed(bed, claim(bed.switch, number, "6200000000000000009")) == ["00"]


@pytest.mark.parametrize("failure", ["51", "timeout", "restart and timeout"])
def test_after_a_payment_that_failed_another_may_pay(bed: Bed, terminal: Terminal, failure: str) -> None:
    number = new_order(bed, terminal)
    assert claimed(bed, claim(bed.switch, number)) == ["00"]
    first = payments(bed)[0]
    if failure == "51":
        assert bed.answer(bed.switch.answer(first, "51")) == []
    else:
        if failure != "timeout":
            bed.restart()
            bed.connect()
        assert bed.wait(30.5) == []
        # the reversal is stored before the order is open
        assert [advice.reason for advice in bed.advices()] == ["98"]
        assert len(sent(bed, "0420")) == 1
    assert state(bed, terminal, number) == "open"
    assert claimed(bed, claim(bed.switch, number, OTHER_CODE)) == ["00"]
    # a late approval of the first is covered by its reversal
    bed.answer(bed.switch.answer(first))
    assert bed.balances() == {}
    bed.answer(bed.switch.answer(payments(bed)[1]))
    assert state(bed, terminal, number) == "paid"
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


@pytest.mark.parametrize(("code", "after"), [("00", "paid"), ("51", "expired"), (None, "expired")])
def test_an_order_that_expires_while_its_payment_is_on_its_way(
    bed: Bed, terminal: Terminal, code: str | None, after: str
) -> None:
    number = new_order(bed, terminal)
    bed.wait(110)
    assert claimed(bed, claim(bed.switch, number)) == ["00"]
    bed.wait(15)
    assert state(bed, terminal, number) == "open"
    assert claimed(bed, claim(bed.switch, number, OTHER_CODE)) == ["94"]
    request = payments(bed)[0]
    if code is None:
        bed.wait(16)
    else:
        bed.answer(bed.switch.answer(request, code))
    assert state(bed, terminal, number) == after
    assert bed.balances().get(f"merchant:{MERCHANT}", 0) == (1250 if code == "00" else 0)
    assert len(bed.advices()) == (code is None)
    # an approval that comes after the timeout is reversed, not booked
    bed.answer(bed.switch.answer(request))
    assert bed.balances().get(f"merchant:{MERCHANT}", 0) == (1250 if code == "00" else 0)


def test_a_doubled_answer_pays_once_and_is_told_once(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    claimed(bed, claim(bed.switch, number))
    answer = bed.switch.answer(payments(bed)[0])
    assert len(bed.answer(answer, answer)) == 1
    assert bed.answer(answer) == []
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"de3": "940000"}, "12"),
        ({"de3": None}, "12"),
        ({"de4": None}, "30"),
        ({"de102": None}, "30"),
        ({"de103": None}, "30"),
        ({"de102": "4802000000000000000"}, "30"),
        ({"de103": "not digits"}, "30"),
        ({"de102": "48020000000000000099"}, "25"),
        ({"de4": "000000001251"}, "13"),
        ({"de4": "000000000000"}, "13"),
    ],
)
def test_refusals(bed: Bed, terminal: Terminal, changes: dict[str, Any], code: str) -> None:
    number = new_order(bed, terminal)
    assert claimed(bed, claim(bed.switch, number, **changes)) == [code]
    assert payments(bed) == []
    assert state(bed, terminal, number) == "open"
    assert claimed(bed, claim(bed.switch, number, OTHER_CODE)) == ["00"]


@pytest.mark.parametrize(
    ("command", "back", "arguments", "code"),
    [
        ("suspend_terminal", "activate_terminal", {"terminal_id": "T0000001"}, "58"),
        ("suspend_merchant", "activate_merchant", {"merchant_id": MERCHANT}, "03"),
    ],
)
def test_a_suspended_merchants_order_is_not_paid(
    bed: Bed, terminal: Terminal, command: str, back: str, arguments: dict[str, Any], code: str
) -> None:
    number = new_order(bed, terminal)
    bed.command(command, **arguments)
    body = claim(bed.switch, number)
    assert claimed(bed, body) == [code]
    bed.command(back, **arguments)
    assert claimed(bed, body) == [code]
    assert claimed(bed, claim(bed.switch, number, OTHER_CODE)) == ["00"]


def test_while_not_signed_on_a_claim_is_91_and_stays_so(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    bed.take(Work([LinkChange("switch", False)], [], [], []))
    body = claim(bed.switch, number)
    assert claimed(bed, body) == ["91"]
    again = claim(bed.switch, number)
    bed.connect()
    assert claimed(bed, claim(bed.switch, number)) == ["91"]
    assert payments(bed) == []
    assert bed.messages(("switch", again)) is not None


def test_a_claim_with_a_wrong_mac_is_a0_and_nothing_else(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    body = claim(bed.switch, number)
    wrong = body[:-1] + bytes((body[-1] ^ 1,))
    stranger = body[:17] + b"00099999   " + body[28:]
    assert claimed(bed, wrong) == ["A0"]
    assert claimed(bed, stranger) == []
    assert claimed(bed, claim(bed.switch, number, de11=None)) == []
    assert payments(bed) == []
    assert claimed(bed, body) == ["00"]


def test_a_static_code_is_paid_by_many_each_once(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal, None)
    bodies = [claim(bed.switch, number, f"62{k:017d}", amount=100 + k) for k in range(4)]
    assert claimed(bed, *bodies, *bodies) == ["00"] * 8
    requests = payments(bed)
    assert [request.fields[4] for request in requests] == [f"{100 + k:012d}" for k in range(4)]
    told = bed.answer(bed.switch.answer(requests[2]), bed.switch.answer(requests[0]))
    assert [bed.read(terminal, body).fields[4] for _, body in told] == ["000000000102", "000000000100"]
    bed.answer(bed.switch.answer(requests[1], "51"))
    bed.wait(31)
    assert bed.balances()[f"merchant:{MERCHANT}"] == 202
    assert [advice.original for advice in bed.advices()] == [row.reference for row in bed.rows() if row.amount == 103]
    assert state(bed, terminal, number) == "open"
    assert claimed(bed, claim(bed.switch, number, CODE, amount=0)) == ["13"]


@pytest.mark.parametrize("crash_after", range(4))
def test_a_crash_at_each_commit_pays_once(bed: Bed, terminal: Terminal, crash_after: int) -> None:
    """What a turn sends is lost after its commit; the switch asks again, and answers what it got."""
    number = new_order(bed, terminal)
    lose = crash_after

    def turn(*received: tuple[str, bytes]) -> None:
        nonlocal lose
        sent_now = bed.messages(*received)
        lose -= 1
        if lose == 0:
            bed.restart()
            bed.connect()
        else:
            bed.pump(sent_now)

    turn(("switch", claim(bed.switch, number)))
    if not payments(bed):
        assert claimed(bed, claim(bed.switch, number)) == ["00"]
    for request in payments(bed):
        turn(("switch", bed.switch.answer(request)))
    bed.wait(40)
    for advice in sent(bed, "0420"):
        turn(("switch", bed.switch.answer(advice)))
    paid = state(bed, terminal, number) == "paid"
    # the 0200 that was lost with the process is reversed, and the order is open again
    assert paid == (crash_after != 1)
    assert bed.balances().get(f"merchant:{MERCHANT}", 0) == (1250 if paid else 0)
    assert len({advice.text(11) for advice in sent(bed, "0420")}) == len(bed.advices()) == (not paid)
    if not paid:
        assert state(bed, terminal, number) == "open"


class Issuer:
    """Behind the switch: approves or not, each 0200 once, and takes back what is reversed."""

    def __init__(self, bed: Bed, random: Random) -> None:
        self.bed = bed
        self.random = random
        self.approved: dict[str, int] = {}
        self.reversed: set[str] = set()
        self.answers: dict[str, bytes] = {}

    def decide(self, message: Message) -> bytes:
        key = message.text(7) + message.text(11)
        if message.mti == "0420":
            original = OriginalData.parse(message.text(90))
            self.reversed.add(original.transmission + original.stan)
            return self.bed.switch.answer(message, "00")
        if key not in self.answers:
            code = "25" if key in self.reversed else self.random.choice(("00", "00", "51"))
            if code == "00":
                self.approved[key] = int(message.text(4))
            self.answers[key] = self.bed.switch.answer(message, code)
        return self.answers[key]


@pytest.mark.parametrize("seed", range(6))
def test_no_order_is_paid_twice_on_a_random_day(empty: Store, seed: int) -> None:
    random = Random(seed)
    terminal = Terminal("T0000001", "terminal:1")
    bed = Bed(empty, [terminal], order_seconds=60)
    bed.connect()
    bed.sign_on(terminal)
    issuer = Issuer(bed, random)
    numbers: list[str] = []
    waiting: list[bytes] = []
    claims: list[bytes] = []
    seen = 0
    for step in range(300):
        dice = random.random() if step < 250 else 1.0
        if dice < 0.2:
            numbers.append(new_order(bed, terminal, 100))
        elif dice < 0.6 and numbers:
            waiting.append(claim(bed.switch, random.choice(numbers[-3:]), f"62{random.randrange(40):017d}", amount=100))
            claims.append(waiting[-1])
        elif dice < 0.7 and claims:
            waiting.append(random.choice(claims[-10:]))
        elif dice < 0.75 and numbers:
            state(bed, terminal, random.choice(numbers[-3:]), "404")
        elif dice < 0.77:
            bed.restart()
            waiting.clear()
            claims.clear()
            bed.connect()
        random.shuffle(waiting)
        count = random.randrange(len(waiting) + 1)
        now, waiting = waiting[:count], waiting[count:]
        now = [one for one in now if random.random() < 0.9 or step >= 250]
        now += [one for one in now if random.random() < 0.1]
        bed.pump(bed.messages(*[("switch", one) for one in now]))
        bed.wait(random.choice((0.01, 0.5, 5)) if step < 290 else 11)
        fresh, seen = bed.switch.received[seen:], len(bed.switch.received)
        waiting += [
            issuer.decide(one) for one in fresh if one.mti != "0610" and (random.random() < 0.85 or step >= 250)
        ]
    assert not bed.failures
    assert {advice.status for advice in bed.advices()} <= {"answered"}
    approved = [row for row in bed.rows() if row.status == "approved"]
    paid = [row.order_number for row in approved]
    assert len(paid) == len(set(paid)) > 5
    for number in numbers:
        assert (state(bed, terminal, number) == "paid") == (number in paid)
    total = sum(amount for key, amount in issuer.approved.items() if key not in issuer.reversed)
    assert bed.balances().get(f"merchant:{MERCHANT}", 0) == total == 100 * len(paid)


def test_codes_are_not_stored_in_clear(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    claimed(bed, claim(bed.switch, number))
    with bed.store.read() as connection:
        for table in bed.store.tables.values():
            for row in connection.execute(table.select()):
                assert CODE not in repr(tuple(row))
        assert len(connection.execute(bed.store.tables[Claim].select()).all()) == 1
