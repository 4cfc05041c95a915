"""The fixture of the switch's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from switch_world import World

from network.store import sqlite_url


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A switch with an acquirer and an issuer, both signed on."""
    made = World(sqlite_url(tmp_path / "switch.db"))
    made.sign_on()
    yield made
    assert not made.failures
    made.store.close()
