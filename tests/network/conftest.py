"""Databases for the tests of the ground floor: each runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgres import NoPostgres, PostgresServer

from network.store import Row, Store, sqlite_url

OpenStore = Callable[..., Store]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the whole run. In CI it must be there; elsewhere its absence skips what needs it."""
    try:
        server = PostgresServer()
    except NoPostgres as error:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"{error}: CI must test on PostgreSQL")
        pytest.skip(str(error))
    yield server
    server.stop()


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
