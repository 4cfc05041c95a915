"""Duplicates, reversals, crashes: money moves once, or not at all, in whatever order messages come."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from issuer_bed import ACQUIRER, Bed, TestCard

from issuer.tables import Authorisation, Card
from network.iso8583 import INTERBANK
from network.party import Received, Turn, Work, take_turn


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def used(card: TestCard) -> tuple[int, int]:
    row = card.bed.unit.find(Card, "pan_index", card.issued.pan_index)
    assert row is not None
    return row.used_amount, row.used_count


def test_a_duplicate_is_answered_from_the_record(bed: Bed) -> None:
    card = bed.new_card(1_000)
    body = card.sale(400)
    first, second = bed.ask(body, body)
    (third,) = bed.ask(body)
    bed.restart()
    bed.later(5)
    (fourth,) = bed.ask(body)
    assert first[39] == "00"
    assert first.fields == second.fields == third.fields == fourth.fields
    assert (card.balance, used(card)) == (600, (400, 1))


def test_a_duplicate_of_a_decline_is_declined_again_without_counting_the_pin_again(bed: Bed) -> None:
    card = bed.new_card(1_000)
    body = card.sale(400, "000000")
    first, second = bed.ask(body, body)
    assert (first[39], first.fields) == ("55", second.fields)
    row = bed.unit.find(Card, "pan_index", card.issued.pan_index)
    assert row is not None
    assert row.pin_tries_left == 2


def test_another_request_under_the_same_identity_is_refused(bed: Bed) -> None:
    card = bed.new_card(1_000)
    fields = card.fields(400)
    assert bed.code(bed.seal("0200", dict(fields))) == "00"
    assert bed.code(bed.seal("0200", {**fields, 4: "000000000500", 55: card.tap(500)})) == "94"
    assert bed.code(bed.seal("0200", {**fields, 3: "300000"})) == "94"
    assert card.balance == 600


def test_a_reversal_undoes_a_sale_once(bed: Bed) -> None:
    card = bed.new_card(1_000)
    sale = card.sale(400)
    assert bed.code(sale) == "00"
    (reply,) = bed.ask(bed.reversal_of(sale))
    assert (reply.mti, reply[39]) == ("0430", "00")
    assert set(reply.fields) == {2, 3, 4, 7, 11, 15, 25, 32, 33, 37, 39, 41, 42, 49, 100, 128}
    assert (card.balance, bed.owed, used(card)) == (1_000, 0, (0, 0))
    bed.restart()
    again = bed.reversal_of(sale)  # the acquirer's own, after the switch's
    assert [reply[39] for reply in bed.ask(again, again)] == ["00", "00"]
    assert (card.balance, bed.owed, used(card)) == (1_000, 0, (0, 0))
    assert bed.code(sale) == "25", "a late copy of what was reversed is not approved again"


def test_a_sale_and_its_reversal_in_one_turn(bed: Bed) -> None:
    card = bed.new_card(1_000)
    sale = card.sale(400)
    assert [(r.mti, r[39]) for r in bed.ask(sale, bed.reversal_of(sale), sale)] == [
        ("0210", "00"),
        ("0430", "00"),
        ("0210", "25"),
    ]
    assert (card.balance, bed.owed) == (1_000, 0)


@pytest.mark.parametrize("together", [True, False])
def test_a_reversal_before_its_original_declines_it(bed: Bed, together: bool) -> None:
    card = bed.new_card(1_000)
    sale = card.sale(400)
    reversal = bed.reversal_of(sale)
    if together:
        codes = [reply[39] for reply in bed.ask(reversal, sale, sale, bed.reversal_of(sale))]
    else:
        codes = []
        for body in (reversal, sale, sale, bed.reversal_of(sale)):
            bed.restart()
            codes.append(bed.code(body))
    assert codes == ["25", "25", "25", "25"]
    assert (card.balance, bed.owed) == (1_000, 0)


def test_a_reversal_of_a_decline_changes_nothing(bed: Bed) -> None:
    card = bed.new_card(100)
    sale = card.sale(400)
    assert bed.code(sale) == "51"
    assert bed.code(bed.reversal_of(sale)) == "00"
    assert bed.code(sale) == "51"
    assert (card.balance, bed.owed) == (100, 0)


def test_a_reversal_of_a_balance_enquiry(bed: Bed) -> None:
    card = bed.new_card(100)
    enquiry = card.enquiry()
    assert bed.code(enquiry) == "00"
    assert bed.code(bed.reversal_of(enquiry)) == "00"
    assert card.balance == 100


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"de4": "000000000399"}, "64"),
        ({"de2": "6251880000051688"}, "25"),
        ({"de90": None}, "30"),
        ({"de2": None}, "30"),
        ({"de4": None}, "30"),
        ({"de90": "0100" + "0" * 38}, "30"),
    ],
)
def test_a_reversal_that_does_not_fit_its_original(bed: Bed, changes: dict[str, str | None], code: str) -> None:
    card = bed.new_card(1_000)
    sale = card.sale(400)
    assert bed.code(sale) == "00"
    assert bed.code(bed.reversal_of(sale, **changes)) == code
    assert (card.balance, bed.owed) == (600, 400)
    assert bed.code(bed.reversal_of(sale)) == "00", "the right one still undoes it"
    assert (card.balance, bed.owed) == (1_000, 0)


def test_a_reversal_after_midnight_gives_back_money_but_no_limits(bed: Bed) -> None:
    card = bed.new_card(1_000)
    sale = card.sale(400)
    assert bed.code(sale) == "00"
    bed.later(13 * 3600)
    assert bed.code(card.sale(100)) == "00"
    assert bed.code(bed.reversal_of(sale)) == "00"
    assert (card.balance, used(card)) == (900, (100, 1))


def test_a_reversal_in_the_next_year_finds_its_original(bed: Bed) -> None:
    bed.later((275 * 24 + 11) * 3600)  # 31 December, 23:00
    card = bed.new_card(1_000)
    sale = card.sale(400)
    assert bed.code(sale) == "00"
    bed.later(2 * 3600)
    assert bed.code(bed.reversal_of(sale)) == "00"
    assert card.balance == 1_000


def test_leading_zeros_of_the_acquirers_id_do_not_hide_the_original(bed: Bed) -> None:
    card = bed.new_card(1_000)
    sale = card.sale(400, de32="01020000")
    assert bed.code(sale) == "00"
    assert bed.code(bed.reversal_of(sale)) == "00"
    assert card.balance == 1_000


def test_a_crash_before_the_commit_leaves_nothing_and_one_after_it_everything(bed: Bed) -> None:
    card = bed.new_card(1_000)
    body = card.sale(400)
    turn = Turn(bed.now, bed.random, bed.unit, Work([], [Received("switch", body)], [], []))
    bed.party.turn(turn)
    assert turn.sent
    bed.restart()  # the process died before the commit
    assert (card.balance, bed.owed) == (1_000, 0)
    assert bed.code(body) == "00"
    bed.restart()  # it died after the commit, before the reply left
    (reply,) = bed.ask(body)
    assert (reply[39], card.balance, bed.owed) == ("00", 600, 400)


def test_a_turn_that_cannot_be_committed_is_taken_again_singly(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    card = bed.new_card(1_000)
    bodies = [card.sale(100, pin) for pin in ("000000", "123456", "123456")]
    commit, failing = bed.unit.commit, [True]

    def once() -> None:
        if failing.pop():
            failing.append(False)
            raise RuntimeError("refused")
        failing.append(False)
        commit()

    monkeypatch.setattr(bed.unit, "commit", once)
    turns: list[Turn] = []
    work = Work([], [Received("switch", body) for body in bodies], [], [])
    assert take_turn(bed.party, bed.now, bed.random, bed.unit, work, turns.append) == []
    replies = [INTERBANK.unpack(body) for turn in turns for _, body in turn.sent]
    assert [reply[39] for reply in replies] == ["55", "00", "00"]
    assert (card.balance, used(card)) == (800, (200, 2))


@pytest.mark.parametrize("seed", range(8))
def test_shuffled_doubled_and_lost_messages_move_money_once_or_not_at_all(bed: Bed, seed: int) -> None:
    """Whatever a bad network does, balances are opening less what is approved and not reversed."""
    random = Random(seed)
    cards = [bed.new_card(3_000) for _ in range(3)]
    queue: list[bytes] = []
    owners: dict[bytes, TestCard] = {}
    for _ in range(40):
        card = random.choice(cards)
        pin = "123456" if random.random() < 0.9 else "999999"
        body = card.sale(random.randrange(1, 700), pin)
        owners[body] = card
        queue += [body] * random.choice((0, 1, 1, 1, 2, 3))
        if random.random() < 0.4:
            queue += [bed.reversal_of(body)] * random.choice((1, 1, 2))
    displaced = [(position + random.random() * 12, body) for position, body in enumerate(queue)]
    queue = [body for _, body in sorted(displaced)]
    answers: dict[str, list[str]] = {}
    while queue:
        size = random.randrange(1, 9)
        batch, queue = queue[:size], queue[size:]
        for reply in bed.ask(*batch):
            answers.setdefault(reply.mti + reply.text(37), []).append(reply.text(39))
        if random.random() < 0.2:
            bed.restart()
    owed = 0
    spent = dict.fromkeys((card.issued.account_id for card in cards), 0)
    with bed.store.read() as connection:
        rows = connection.execute(bed.store.tables[Authorisation].select()).all()
    for row in rows:
        sales = answers.get(f"0210{row.rrn}", [])
        reversals = answers.get(f"0430{row.rrn}", [])
        assert len(set(reversals)) <= 1, "further reversals are answered like the first"
        if row.status == "approved":
            assert set(sales) == {"00"}
            assert not reversals
            owed += row.amount
            spent[row.account_id] += row.amount
        elif row.status == "reversed":
            assert "00" in sales
            assert reversals[0] == "00"
        elif row.status == "tombstone":
            assert set(sales) <= {"25"}
            assert reversals[0] == "25"
        else:
            assert "00" not in sales
    assert bed.owed == owed
    for card in cards:
        assert card.balance == 3_000 - spent[card.issued.account_id]
        assert used(card)[0] == spent[card.issued.account_id]
    assert {row.status for row in rows} == {"approved", "declined", "reversed", "tombstone"}
    assert all(str(row.reference).endswith(ACQUIRER) for row in rows)
