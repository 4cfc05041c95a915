"""A stopped card from end to end, all four parties in virtual time: stopped at the acquirer, declined at the till."""

from __future__ import annotations

import pytest

from issuer.applet import ChipCard
from network.party import CommandError, Json
from network.virtual import Wire
from scenarios.stage import Card, Cast, Process, Receipt, Stage, cast
from scenarios.worlds import virtual_world

TILL = {"pin_always": False, "offline": True, "fdda": True, "floor_limit": 20_000}
STOPPED = "the card is on the list of stopped cards"
FEN = 1_250


def balance(card: Card) -> int | None:
    assert isinstance(card.chip, ChipCard)
    return card.chip.balance


@cast(Cast(phones=1, devices=1, cards=2, products=("ecash", "ecash"), till=TILL))
def stopped_cards(stage: Stage) -> Process:
    """Cards pay, are stopped, pay no more, are let go, and pay again."""
    (till,) = stage.phones
    purses = [card for card in stage.cards if card.name.startswith("ecash")]
    debit = next(card for card in stage.cards if not card.name.startswith("ecash"))
    cards = [debit, *purses]

    def download(stopped: int) -> Process:
        for _ in range(10):
            answer = yield stage.ask("merchant_device", "download", {"terminal": till.terminal_id})
            if not isinstance(answer, CommandError) and answer["outcome"] == "approved":
                break
        assert not isinstance(answer, CommandError), answer
        assert answer["stopped"] == stopped

    def round_of_payments() -> Process:
        receipts: list[Receipt] = []
        for card in cards:
            receipts.append((yield till.collect(FEN, card)))
        return receipts

    def acquirer(operation: str, **arguments: Json) -> Process:
        answer = yield stage.ask("acquirer", operation, arguments)
        assert not isinstance(answer, CommandError), answer
        return answer

    yield from download(0)
    before = yield from round_of_payments()
    assert [one["outcome"] for one in before] == ["approved"] * 3
    assert [one["offline"] for one in before] == [False, True, True]
    stopped = []
    for card in (debit, purses[0]):
        stopped.append((yield from acquirer("add_hot_card", pan=card.pan, reason="reported stolen")))
    assert [one["outcome"] for one in (yield from round_of_payments())] == ["approved"] * 3, "not downloaded yet"
    money = [balance(card) for card in purses]
    yield from download(2)
    after = yield from round_of_payments()
    assert [(one["outcome"], one["reason"]) for one in after[:2]] == [("refused", STOPPED)] * 2
    assert (after[2]["outcome"], after[2]["offline"]) == ("approved", True)
    assert [balance(card) for card in purses] == [money[0], (money[1] or 0) - FEN]
    for row in stopped:
        yield from acquirer("remove_hot_card", id=row["id"])
    yield from download(0)
    assert [one["outcome"] for one in (yield from round_of_payments())] == ["approved"] * 3


@pytest.mark.parametrize(
    "wire", [Wire(), Wire(duplication=0.3, reordering=0.2)], ids=["sound", "doubling and reordering"]
)
def test_a_stopped_card_pays_nowhere_until_it_is_let_go(wire: Wire) -> None:
    with virtual_world.virtual_world(5, cast=stopped_cards.__dict__["cast"], wire=wire) as world:
        result = virtual_world.play(world, "stopped_cards", stopped_cards, duration=60.0, phones=1)
        assert result.approved == 10
        assert sum(result.refused.values()) == 2
        assert world.is_settled()
        assert world.books().agree
