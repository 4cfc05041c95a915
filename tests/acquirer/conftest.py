"""Fixtures of the acquirer's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from acquirer_bed import Bed, Terminal

from acquirer.tables import TABLES
from network.store import Store, sqlite_url


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One database for all tests: making its tables takes longer than most of them."""
    store = Store(sqlite_url(tmp_path_factory.mktemp("acquirer") / "acquirer.db"), TABLES, durable=False)
    yield store
    store.close()


@pytest.fixture
def empty(database: Store) -> Store:
    """The database without a row."""
    with database.engine.connect() as connection:
        for table in database.tables.values():
            connection.execute(table.delete())
    return database


@pytest.fixture
def bed(empty: Store) -> Iterator[Bed]:
    """An acquirer signed on at its switch, with one terminal that is signed on."""
    made = Bed(empty)
    made.connect()
    made.sign_on(made.terminals[0])
    yield made
    made.unit.rollback()
    assert not made.failures


@pytest.fixture
def terminal(bed: Bed) -> Terminal:
    """The terminal of the bed."""
    return bed.terminals[0]
