"""A terminal written from the public description of the link signs on and pays at a running network.

All codes, balances, MACs and cryptograms are judged by the client, which `test_independent_terminal` proves.
"""

from __future__ import annotations

import pytest
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal
from running_network import Network, Supply

pytestmark = pytest.mark.live


@pytest.mark.parametrize(("kind", "pik_length", "has_tdk"), [("003", 16, False), ("001", 8, False), ("004", 16, True)])
def test_sign_on_gives_keys_that_pay(
    network: Network, supply: Supply, kind: str, pik_length: int, has_tdk: bool
) -> None:
    terminal, card = supply.terminal(), supply.card()
    reply = terminal.sign_on(kind)
    assert reply.code == "00"
    assert len(reply[37]) == 12
    assert terminal.keys is not None
    assert len(terminal.keys.pik) == pik_length
    assert (terminal.keys.tdk is not None) == has_tdk
    before = network.available(card)
    _, answer = terminal.pay(card, 1234)
    assert answer.code == "00"
    assert network.available(card) == before - 1234


def test_signing_on_again_gives_other_keys_and_the_old_are_dead(terminal: OutsideTerminal, card: OutsideCard) -> None:
    old = terminal.keys
    assert terminal.sign_on().code == "00"
    new, terminal.keys = terminal.keys, old
    assert new != old
    request = terminal.sale(card, 100)
    terminal.send(request.body)
    terminal.keys = new
    assert terminal.receive().code == "A0"
    assert terminal.pay(card, 100)[1].code == "00"


def test_echo_and_sign_off(terminal: OutsideTerminal, card: OutsideCard) -> None:
    assert terminal.manage("301").code == "00"
    assert terminal.manage("002").code == "00"
    assert terminal.ask(terminal.sale(card, 100)).code == "77"
    assert terminal.sign_on().code == "00"
    assert terminal.pay(card, 100)[1].code == "00"


def test_not_signed_on_is_77(network: Network, supply: Supply, card: OutsideCard) -> None:
    before = network.available(card)
    terminal = supply.terminal()
    assert terminal.ask(terminal.sale(card, 100)).code == "77"
    assert network.available(card) == before


def test_unknown_terminal_is_97(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    before = network.available(card)
    stranger = OutsideTerminal(
        network.description["acquirer"]["terminal_link"], "99999999", terminal.merchant_id, "00" * 16
    )
    assert stranger.sign_on().code == "97"
    stranger.keys = terminal.keys
    stranger.send(stranger.sale(card, 100).body)
    assert stranger.receive().code == "97"
    stranger.close()
    assert network.available(card) == before


def test_another_merchants_number_is_03(supply: Supply, card: OutsideCard) -> None:
    terminal = supply.terminal()
    terminal.merchant_id = "111111111111111"
    assert terminal.sign_on().code == "03"


def test_a_sale_moves_exactly_the_amount_at_every_party(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    merchant = f"/merchants/{terminal.merchant_id}"
    before, earned = network.available(card), network.rest("acquirer").get(merchant)["balance"]
    request, reply = terminal.pay(card, 1250)
    assert reply.code == "00"
    assert network.available(card) == before - 1250
    assert network.rest("acquirer").get(merchant)["balance"] == earned + 1250
    assert reply.balances == {"01": before - 1250, "02": before - 1250}
    assert reply[15].isdigit()
    assert reply[63].startswith("CUP")
    assert reply[60].startswith(f"22{terminal.batch}")
    assert terminal.ask(terminal.balance_inquiry(card)).balances["02"] == before - 1250
    assert request.fields["11"] == reply[11]


def test_a_balance_inquiry_tells_the_balance_and_moves_nothing(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request = terminal.balance_inquiry(card)
    reply = terminal.ask(request)
    assert reply.code == "00"
    assert reply[3] == "310000"
    assert reply.balances == {"01": before, "02": before}
    assert request.tap is not None
    assert reply.chip_data["91"] == request.tap.arpc("00") + b"00"
    assert network.available(card) == before


def test_retrieval_references_are_all_different(terminal: OutsideTerminal, card: OutsideCard) -> None:
    replies = [terminal.pay(card, 1)[1] for _ in range(8)]
    assert len({reply[37] for reply in replies}) == len(replies)


def test_a_sale_of_nothing_is_13(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    before = network.available(card)
    assert terminal.pay(card, 0)[1].code == "13"
    assert network.available(card) == before


@pytest.mark.parametrize("place", range(6))
def test_one_wrong_digit_of_the_pin_is_55_and_moves_no_money(
    network: Network, supply: Supply, terminal: OutsideTerminal, place: int
) -> None:
    """Every place in turn, the first, the middle ones and the last: no digit may be left unlooked at."""
    card = supply.card()
    if place >= len(card.pin):
        pytest.skip(f"the demo PIN has {len(card.pin)} digits")
    before = network.available(card)
    for shift in (1, 5):
        code = terminal.pay(card, 100, pin=card.wrong_pin(place, shift))[1].code
        assert code == "55", f"digit {place + 1} of {len(card.pin)} is not looked at"
    assert network.available(card) == before
    assert terminal.pay(card, 100)[1].code == "00"


@pytest.mark.parametrize("change", ["one digit short", "one digit long", "all digits"])
def test_other_wrong_pins_are_55(network: Network, terminal: OutsideTerminal, card: OutsideCard, change: str) -> None:
    wrong = {
        "one digit short": card.pin[:-1],
        "one digit long": card.pin + "0",
        "all digits": "".join(str((int(digit) + 5) % 10) for digit in card.pin),
    }[change]
    before = network.available(card)
    assert terminal.pay(card, 100, pin=wrong)[1].code == "55"
    assert network.available(card) == before
    assert terminal.pay(card, 100)[1].code == "00"


def test_three_wrong_pins_spend_the_tries(network: Network, supply: Supply, terminal: OutsideTerminal) -> None:
    card = supply.own_card()
    before = network.available(card)
    wrong = card.wrong_pin(0)
    assert [terminal.pay(card, 100, pin=wrong)[1].code for _ in range(3)] == ["55"] * 3
    assert terminal.pay(card, 100, pin=wrong)[1].code == "75"
    assert terminal.pay(card, 100)[1].code == "75"
    assert network.available(card) == before
    assert network.rest("issuer").request(f"/cards/{card.pan}/pin-tries", {}, method="POST")[0] == 200
    assert terminal.pay(card, 100)[1].code == "00"
    assert network.available(card) == before - 100


def test_a_right_pin_gives_the_tries_back(terminal: OutsideTerminal, card: OutsideCard) -> None:
    wrong = card.wrong_pin(0)
    for _ in range(3):
        assert [terminal.pay(card, 1, pin=wrong)[1].code for _ in range(2)] == ["55", "55"]
        assert terminal.pay(card, 1)[1].code == "00"


@pytest.mark.parametrize(("amount", "approved"), [(100_000, True), (100_001, False)])
def test_without_a_pin_only_small_amounts_pass(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, amount: int, approved: bool
) -> None:
    before = network.available(card)
    _, reply = terminal.pay(card, amount, pin=None)
    assert (reply.code == "00") == approved
    assert network.available(card) == before - amount * approved


def test_beyond_the_balance_is_51_and_all_of_it_is_approved(
    network: Network, supply: Supply, terminal: OutsideTerminal
) -> None:
    poor = supply.poor
    assert network.available(poor) == 100
    assert terminal.pay(poor, 101)[1].code == "51"
    assert network.available(poor) == 100
    request, reply = terminal.pay(poor, 100)
    assert reply.code == "00"
    assert reply.balances["02"] == 0
    assert network.available(poor) == 0
    assert terminal.pay(poor, 1)[1].code == "51"
    assert terminal.ask(terminal.reversal(request, reply)).code == "00"
    assert network.settles(poor, 100)


def test_beyond_a_rich_cards_balance_is_51(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    before = network.available(card)
    assert terminal.pay(card, before + 1)[1].code == "51"
    assert network.available(card) == before
