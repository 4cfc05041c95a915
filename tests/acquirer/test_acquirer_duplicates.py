"""Requests that come twice: answered from the record, refused, or taken as new after a sign-on."""

from __future__ import annotations

from random import Random

import pytest
from acquirer_bed import MERCHANT, Bed, Terminal

from acquirer.mapping import CardData
from network.party import LinkChange, Received, Turn, Work


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("code", ["00", "51"])
def test_the_same_bytes_again_are_answered_from_the_record(
    bed: Bed, terminal: Terminal, code: str, restart: bool
) -> None:
    body = terminal.sale()
    first = bed.pay(terminal, body, code)
    if restart:
        bed.restart()
        bed.connect()
    bed.now += 3_600_000_000
    (second,) = bed.ask(terminal, body)
    assert second == first
    assert len(bed.switch.received) == 1
    assert bed.balances().get(f"merchant:{MERCHANT}", 0) == (1250 if code == "00" else 0)


def test_a_copy_of_a_pending_request_is_left_alone_and_the_answer_goes_to_where_it_came_from(
    bed: Bed, terminal: Terminal
) -> None:
    body = terminal.sale()
    assert bed.ask(terminal, body, body) == []
    assert bed.messages(("terminal:later", body)) == []
    assert len(bed.switch.received) == 1
    ((link, reply),) = bed.answer(bed.switch.answer(bed.switch.received[0]))
    assert link == "terminal:later"
    assert bed.read(terminal, reply).fields[39] == "00"


@pytest.mark.parametrize("decided", [False, True])
def test_other_bytes_under_the_same_identity_are_94(bed: Bed, terminal: Terminal, decided: bool) -> None:
    first = terminal.sale(1250)
    if decided:
        bed.pay(terminal, first)
    else:
        bed.ask(terminal, first)
    (reply,) = bed.ask(terminal, terminal.sale(1300, de11=f"{terminal.stan:06d}"))
    assert reply.fields[39] == "94"
    assert len(bed.switch.received) == 1


def test_after_a_sign_on_the_identity_is_new(bed: Bed, terminal: Terminal) -> None:
    stan = "000900"
    references = []
    for amount in (100, 200, 300):
        bed.pay(terminal, terminal.sale(amount, de11=stan))
        references.append(bed.rows()[-1].reference)
        bed.restart()
        bed.connect()
        bed.sign_on(terminal)
    assert len(set(references)) == 3
    assert bed.balances()[f"merchant:{MERCHANT}"] == 600
    # a reversal speaks of the latest
    (reply,) = bed.ask(terminal, terminal.reversal(stan, 300))
    assert reply.fields[39] == "00"
    assert bed.balances()[f"merchant:{MERCHANT}"] == 300
    assert [row.status for row in bed.rows()] == ["approved", "approved", "reversed"]
    assert [row.stan for row in bed.rows()] == [stan] * 3
    # and the same identity in one session after the sign-on is a duplicate again
    bed.pay(terminal, terminal.sale(400, de11=stan))
    assert [r.fields[39] for r in bed.ask(terminal, terminal.sale(500, de11=stan))] == ["94"]


def test_an_old_request_cannot_be_replayed_after_a_sign_on(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale()
    bed.pay(terminal, body)
    bed.sign_on(terminal)
    assert bed.ask(terminal, body)[0].fields[39] == "A0"


def test_original_and_reversal_in_one_turn(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale()
    (reply,) = bed.ask(terminal, body, terminal.reversal(f"{terminal.stan:06d}"), body)[:1]
    assert (reply.mti, reply.fields[39]) == ("0410", "00")
    assert [message.mti for message in bed.switch.received] == ["0200", "0420"]
    assert bed.answer(bed.switch.answer(bed.switch.received[0])) == []
    assert bed.balances() == {}


def test_a_reversed_sale_that_comes_again_is_25(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale()
    bed.pay(terminal, body)
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    (reply,) = bed.ask(terminal, body)
    assert reply.fields[39] == "25"
    assert {38, 54, 55}.isdisjoint(reply.fields)


def test_a_crash_before_the_commit_leaves_nothing(bed: Bed, terminal: Terminal) -> None:
    body = terminal.sale()
    sent = bed.messages(("terminal:1", body))
    bed.pump(sent)
    other = terminal.sale()
    # the turn ends without its commit
    turn = Turn(bed.now, Random(1), bed.unit, Work([], [Received("terminal:1", other)], [], []))
    bed.party.turn(turn)
    assert [link for link, _ in turn.sent] == ["switch"]
    bed.restart()
    bed.connect()
    assert [row.status for row in bed.rows()] == ["pending"]
    assert bed.pay(terminal, other).fields[39] == "00"
    assert len({row.reference for row in bed.rows()}) == 2


def test_an_unexpected_error_in_a_turn_harms_only_its_own_message(
    bed: Bed, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = terminal.sale(100), terminal.sale(666)
    context = bed.party._context
    seal = context.seal
    sealed: list[str] = []

    def failing(reference: str, card: CardData) -> bytes:
        """The second call of the common turn fails, and the one of the message alone."""
        sealed.append(reference)
        if len(sealed) in (2, 4):
            raise RuntimeError("a bug")
        return seal(reference, card)

    monkeypatch.setattr(context, "seal", failing)
    assert bed.pump(bed.messages(("terminal:1", good), ("terminal:1", bad))) == []
    assert [message.fields[4] for message in bed.switch.received] == ["000000000100"]
    assert len(bed.failures) == 1
    bed.failures.clear()
    monkeypatch.undo()
    assert bed.pay(terminal, bad).fields[39] == "00"
    assert [row.status for row in bed.rows()] == ["pending", "approved"]


def test_a_link_change_of_a_terminal_changes_nothing(bed: Bed, terminal: Terminal) -> None:
    assert bed.take(Work([LinkChange("terminal:1", False), LinkChange("terminal:2", True)], [], [], [])) == []
    assert bed.party.session.ready
