"""SIGTERM, and what a network still knows when it comes up again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal, Request
from running_network import STOP_SECONDS, Network

pytestmark = pytest.mark.live


@pytest.fixture
def own_network(tmp_path: Path) -> Iterator[Network]:
    one = Network(tmp_path / "network")
    one.start()
    yield one
    one.kill()


def test_a_network_stops_on_sigterm_loses_nothing_and_goes_on(own_network: Network) -> None:
    cards, terminals = own_network.cards()[:6], own_network.terminals()[:6]
    for terminal in terminals:
        assert terminal.sign_on().code == "00"
    before = own_network.available(cards[0])
    sale, answer = terminals[0].pay(cards[0], 500)
    assert answer.code == "00", "a sale right after every /health answers"
    in_flight: list[tuple[OutsideTerminal, OutsideCard, Request]] = []
    for terminal, card in zip(terminals[1:], cards[1:], strict=True):
        request = terminal.sale(card, 321)
        terminal.send(request.body)
        in_flight.append((terminal, card, request))
    code, seconds = own_network.stop()
    assert (code, seconds <= STOP_SECONDS) == (0, True), f"code {code} after {seconds:.1f} s"

    own_network.start()
    assert own_network.available(cards[0]) == before - 500
    links = own_network.terminals()[:6]
    for terminal, fresh in zip(terminals, links, strict=True):
        terminal.close()
        terminal.address = fresh.address
    again = terminals[0].ask(sale)
    assert (again[37], again[38], again.code) == (answer[37], answer[38], "00")
    for terminal, card, request in in_flight:
        reversal = terminal.ask(terminal.reversal(request, None))
        assert reversal.code in ("00", "25")
        assert own_network.settles(card, card.balance)
    assert own_network.settles(cards[0], before - 500)
    assert terminals[0].pay(cards[0], 1)[1].code == "00"
    assert own_network.agrees(501), own_network.positions()
    code, seconds = own_network.stop()
    assert (code, seconds <= STOP_SECONDS) == (0, True), f"code {code} after {seconds:.1f} s"
