"""The books of issuer, switch and acquirer, after all that the other tests here have done."""

from __future__ import annotations

import pytest
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal
from running_network import PARTIES, Network

pytestmark = pytest.mark.live


def test_the_three_books_agree_in_the_end(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    """What left the cards is what the issuer owes, the switch clears, the acquirer claims and the merchants have."""
    assert terminal.pay(card, 4321)[1].code == "00"
    request, reply = terminal.pay(card, 1234)
    assert terminal.ask(terminal.reversal(request, reply)).code == "00"
    total = network.spent() + network.paid_elsewhere
    assert network.agrees(total), f"expected {total}, found {network.positions()}"


def test_every_party_has_proved_its_own_books(network: Network) -> None:
    for party in PARTIES:
        books = network.rest(party).get("/books")
        assert books["imbalance"] == 0
        assert books["transfers"] > 0
        assert all(one["debits"] >= 0 and one["credits"] >= 0 for one in books["accounts"])


def test_nothing_is_left_pending(network: Network) -> None:
    assert network.rest("acquirer").get("/advices?status=pending") == []
    assert network.rest("switch").get("/advices?pending=true") == []
