"""The network that stays up for the end-to-end tests, its cards and its terminals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal
from running_network import STOP_SECONDS, Network, Supply


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network that stays up for all tests here."""
    running = Network(tmp_path_factory.mktemp("end_to_end") / "network")
    running.start()
    yield running
    code, seconds = running.stop()
    assert code == 0
    assert seconds <= STOP_SECONDS


@pytest.fixture(scope="session")
def supply(network: Network) -> Supply:
    """Its cards and terminals."""
    return Supply(network)


@pytest.fixture
def card(supply: Supply) -> OutsideCard:
    """A card with money that nobody else uses now."""
    return supply.card()


@pytest.fixture
def terminal(supply: Supply) -> Iterator[OutsideTerminal]:
    """A terminal of the test's own, signed on."""
    (one,) = supply.signed_on(1)
    yield one
    one.close()
