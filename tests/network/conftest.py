"""Databases for the tests of the ground floor: each runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres import PostgresServer

from network.store import Row, Store, sqlite_url

OpenStore = Callable[..., Store]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once on each engine."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "party.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_schema()


@pytest.fixture
def open_store(database_url: str) -> Iterator[OpenStore]:
    """Opens stores on one database; the second one is as another process sees it."""
    opened: list[Store] = []

    def open_one(*rows: type[Row]) -> Store:
        store = Store(database_url, rows)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()
