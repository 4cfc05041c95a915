"""The REST interfaces as an outside client meets them."""

from __future__ import annotations

import json

import pytest
from independent_card import OutsideCard, with_luhn
from outside_rest import Rest
from running_network import PARTIES, Network

pytestmark = pytest.mark.live


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("token", [None, "", "wrong", "right and more"])
def test_books_are_for_operators_only(network: Network, party: str, token: str | None) -> None:
    shown = network.description["operator_token"] + "x" if token == "right and more" else token
    rest = Rest(network.description[party]["api"], shown)
    assert rest.request("/books")[0] == 401
    assert rest.request("/health")[0] == 200


def test_cards_are_for_operators_only(network: Network, card: OutsideCard) -> None:
    for token in (None, "wrong"):
        assert Rest(network.description["issuer"]["api"], token).request(f"/cards/{card.pan}")[0] == 401


def test_an_unknown_card_is_404(network: Network, card: OutsideCard) -> None:
    unknown = with_luhn(card.pan[:6] + "000000001")
    status, content = network.rest("issuer").request(f"/cards/{unknown}")
    assert status == 404
    assert unknown not in json.dumps(content)


@pytest.mark.parametrize("name", ["abc", "1", "1" * 40, "..%2f", "%00"])
def test_what_is_no_card_number_is_refused(network: Network, name: str) -> None:
    assert network.rest("issuer").request(f"/cards/{name}")[0] in (400, 404, 422)
