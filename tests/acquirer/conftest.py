"""Fixtures of the acquirer's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from acquirer_bed import Bed, Terminal

from network.store import sqlite_url


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """An acquirer signed on at its switch, with one terminal that is signed on."""
    made = Bed(sqlite_url(tmp_path / "acquirer.db"))
    made.connect()
    made.sign_on(made.terminals[0])
    yield made
    assert not made.failures
    made.store.close()


@pytest.fixture
def terminal(bed: Bed) -> Terminal:
    """The terminal of the bed."""
    return bed.terminals[0]
