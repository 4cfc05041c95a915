"""Answers that do not come, crashes, and advices that are repeated until they are answered."""

from __future__ import annotations

import pytest
from acquirer_bed import MERCHANT, Bed, Terminal

from acquirer.numbering import TraceNumbers
from acquirer.tables import Sequence
from network.iso8583 import Message
from network.party import Turn, Work
from network.store import Store


def advices_sent(bed: Bed) -> list[Message]:
    return [message for message in bed.switch.received if message.mti == "0420"]


def test_no_answer_in_time_is_98_and_a_reversal(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale()
    assert bed.ask(terminal, body) == []
    assert bed.wait(29.9) == []
    ((link, reply_body),) = bed.wait(0.2)
    reply = bed.read(terminal, reply_body)
    assert (link, reply.mti, reply.fields[39]) == (terminal.link, "0210", "98")
    (advice,) = advices_sent(bed)
    assert advice.fields[39] == "98"
    assert 38 not in advice.fields
    # an approval that comes now is covered by the advice
    assert bed.answer(bed.switch.answer(bed.switch.received[0])) == []
    assert bed.balances() == {}
    assert bed.ask(terminal, body)[0].fields[39] == "98"


def test_a_balance_inquiry_that_is_not_answered_is_not_reversed(bed: Bed, terminal: Terminal) -> None:
    assert bed.ask(terminal, terminal.balance()) == []
    ((_, body),) = bed.wait(31)
    assert bed.read(terminal, body).fields[39] == "98"
    assert bed.advices() == []


@pytest.mark.parametrize("code", ["96", "A0", "77"])
def test_an_advice_is_repeated_as_it_was_until_it_is_answered(bed: Bed, terminal: Terminal, code: str) -> None:
    bed.pay(terminal, terminal.sale())
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    assert bed.wait(9) == []
    assert len(advices_sent(bed)) == 1
    bed.wait(2)
    first, second = advices_sent(bed)
    assert {n: v for n, v in first.fields.items() if n != 128} == {n: v for n, v in second.fields.items() if n != 128}
    bed.answer(bed.switch.answer(second, code))
    assert bed.advices()[0].status == "pending"
    bed.wait(25)
    assert 4 <= len(advices_sent(bed)) <= 6
    bed.answer(bed.switch.answer(advices_sent(bed)[-1], "25"))
    (advice,) = bed.advices()
    assert (advice.status, advice.response_code) == ("answered", "25")
    sent = len(advices_sent(bed))
    bed.wait(60)
    assert len(advices_sent(bed)) == sent
    assert bed.answer(bed.switch.answer(advices_sent(bed)[0], "96")) == []
    assert bed.advices()[0].status == "answered"


def test_an_answer_to_an_advice_with_a_wrong_mac_is_none(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    body = bytearray(bed.switch.answer(advices_sent(bed)[0]))
    body[-1] ^= 1
    bed.answer(bytes(body))
    assert bed.advices()[0].status == "pending"
    assert bed.party.dropped == {"mac": 1}


def test_an_advice_waits_for_the_link(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    bed.disconnect()
    (reply,) = bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    assert reply.fields[39] == "00"
    bed.wait(60)
    assert advices_sent(bed) == []
    bed.connect()
    bed.wait(0.1)
    assert len(advices_sent(bed)) == 1


def test_pending_rows_survive_a_crash(bed: Bed, terminal: Terminal) -> None:
    first, second = terminal.sale(100), terminal.sale(200)
    bed.ask(terminal, first)
    bed.wait(20)
    bed.ask(terminal, second)
    bed.restart()
    bed.connect()
    # the switch's answers to what an earlier process sent are posted; the terminals have gone
    sent = bed.answer(bed.switch.answer(bed.switch.received[1]))
    assert [link for link, _ in sent] == [terminal.link]
    assert bed.balances()[f"merchant:{MERCHANT}"] == 200
    bed.wait(11)
    assert [row.status for row in bed.rows()] == ["timed_out", "approved"]
    (advice,) = advices_sent(bed)
    assert advice.fields[4] == "000000000100"
    # the terminal, which has seen no answer, reverses
    assert bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", 200))[0].fields[39] == "00"
    assert bed.balances() == {}


def test_what_is_overdue_after_a_long_outage_times_out_at_once(bed: Bed, terminal: Terminal) -> None:
    bed.ask(terminal, terminal.sale())
    bed.now += 3_600_000_000
    bed.restart()
    bed.wait(0)
    assert [row.status for row in bed.rows()] == ["timed_out"]
    assert advices_sent(bed) == []
    bed.connect()
    bed.wait(0.1)
    assert len(advices_sent(bed)) == 1


def test_stored_advices_survive_a_crash(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    (before,) = advices_sent(bed)
    bed.restart()
    bed.connect()
    bed.wait(0.1)
    first, second = advices_sent(bed)
    assert (first.fields[7], first.fields[11]) == (second.fields[7], second.fields[11]) == (before[7], before[11])
    bed.answer(bed.switch.answer(second))
    assert bed.advices()[0].status == "answered"


def test_a_backlog_goes_out_in_order_and_paced(empty: Store) -> None:
    terminal = Terminal("T0000001", "terminal:1")
    bed = Bed(empty, [terminal], advices_per_turn=3, advice_interval=0.5, backlog=10)
    bed.connect()
    bed.sign_on(terminal)
    bed.ask(terminal, *[terminal.sale(100 + k) for k in range(25)])
    bed.disconnect()
    bed.wait(31)
    assert len(bed.advices()) == 25
    bed.connect()
    bed.wait(1.2)
    assert [message.fields[4] for message in advices_sent(bed)] == [f"{100 + k:012d}" for k in range(3)]
    answered = 0
    for _ in range(60):
        sent = advices_sent(bed)
        fresh, answered = sent[answered:], len(sent)
        bed.answer(*[bed.switch.answer(message) for message in fresh])
        bed.wait(1)
    assert {message.text(4) for message in advices_sent(bed)} == {f"{100 + k:012d}" for k in range(25)}
    assert {advice.status for advice in bed.advices()} == {"answered"}
    assert all(advice.attempts == 1 for advice in bed.advices()[:3])
    assert not bed.failures


def test_no_turn_sends_more_advices_than_it_may(empty: Store) -> None:
    terminal = Terminal("T0000001", "terminal:1")
    bed = Bed(empty, [terminal], advices_per_turn=3, advice_interval=0)
    bed.connect()
    bed.sign_on(terminal)
    bed.ask(terminal, *[terminal.sale(100 + k) for k in range(10)])
    bed.disconnect()
    bed.wait(31)
    bed.connect()
    counts = []
    for _ in range(5):
        before = len(advices_sent(bed))
        due = bed.deadlines.pop_due(bed.now, 1024)
        bed.pump(bed.take(Work([], [], [], due)))
        counts.append(len(advices_sent(bed)) - before)
    assert counts == [3, 3, 3, 1, 0]


def test_numbers_go_on_after_a_restart_and_wrap(bed: Bed, terminal: Terminal) -> None:
    seen = set()
    for _ in range(3):
        bed.pay(terminal, terminal.sale())
        seen.add(bed.switch.received[-1].fields[11])
        bed.restart()
        bed.connect()
    assert len(seen) == 3
    row = bed.unit.find(Sequence, "name", "stan")
    assert row is not None
    bed.unit.change(row)
    row.reserved = 999_998
    bed.unit.commit()
    bed.restart()
    bed.connect()
    stans = []
    for _ in range(2):
        bed.pay(terminal, terminal.sale())
        stans.append(bed.switch.received[-1].fields[11])
    assert stans == ["999999", "000001"]


def test_a_row_lookup_is_never_one_by_one_on_the_way_of_a_sale(bed: Bed, terminal: Terminal) -> None:
    bed.pay(terminal, terminal.sale())
    before = bed.unit.single_loads
    bodies = [terminal.sale(100 + k) for k in range(20)]
    bed.ask(terminal, *bodies)
    bed.answer(*[bed.switch.answer(message) for message in bed.switch.received[-20:]])
    assert bed.unit.single_loads == before


def test_numbers_of_a_turn_that_was_not_committed_are_given_out_again(bed: Bed) -> None:
    numbers = TraceNumbers()
    numbers.begin()
    first = numbers.take(bed.unit)
    bed.unit.rollback()
    numbers.rolled_back()
    # the block was not committed, so it may be another's by now
    other = TraceNumbers()
    other.begin()
    assert other.take(bed.unit) == first
    bed.unit.commit()
    numbers.begin()
    assert numbers.take(bed.unit) != first
    bed.unit.rollback()


def test_a_backlog_is_released_although_the_turn_had_to_be_taken_again(
    bed: Bed, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.pay(terminal, terminal.sale())
    bed.disconnect()
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    release = bed.party._advices.release
    calls = []

    def failing(turn: Turn) -> None:
        calls.append(turn)
        if len(calls) == 1:
            raise RuntimeError("a bug")
        release(turn)

    monkeypatch.setattr(bed.party._advices, "release", failing)
    bed.connect()
    bed.wait(0.1)
    assert len(calls) == 2
    assert len(advices_sent(bed)) == 1
