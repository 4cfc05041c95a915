"""The history of every party's tables leads to just the tables that this version has, on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import PostgresServer

from network.database import open_engine
from network.migrating import differences, migrate
from network.store import Store, sqlite_url
from scenarios.demo_network import demo

PARTIES = ("issuer", "switch", "acquirer", "merchant_device")

_POSTGRES_CATALOGUE = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name"
    " FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1, 2",
    "SELECT replace(indexdef, schemaname || '.', '') FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1",
    "SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = current_schema()::regnamespace ORDER BY 1, 2, 3",
)
_SQLITE_CATALOGUE = ("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1, 2",)


def catalogue(url: str) -> list[tuple[object, ...]]:
    """What the database itself says that it holds, word for word."""
    engine = open_engine(sa.make_url(url))
    queries = _SQLITE_CATALOGUE if engine.dialect.name == "sqlite" else _POSTGRES_CATALOGUE
    with engine.connect() as connection:
        found = [tuple(row) for query in queries for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return [one for one in found if not any("alembic_version" in str(part) for part in one)]


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two empty databases."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "migrated.db"), sqlite_url(tmp_path / "created.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_schema(), server.new_schema()


@pytest.mark.parametrize("party", PARTIES)
def test_migrations_make_the_tables(urls: tuple[str, str], party: str) -> None:
    migrated, created = urls
    migrate(migrated, demo.ROWS[party], demo.HISTORIES[party])
    store = Store(created, demo.ROWS[party], revision=demo.HISTORIES[party].head)
    made = catalogue(created)
    assert len(made) > 10
    assert catalogue(migrated) == made
    for url in urls:
        engine = open_engine(sa.make_url(url))
        with engine.connect() as connection:
            assert differences(connection, store.metadata) == []
        engine.dispose()
        # either is what the other's maker takes it for
        Store(url, demo.ROWS[party], create=False, revision=demo.HISTORIES[party].head).close()
    store.close()


def test_nothing_loads_alembic_before_there_is_something_to_migrate() -> None:
    program = (
        "import sys, issuer.__main__, merchant_device.tee.serving, scenarios.cli, scenarios.demo_network.embedded\n"
    )
    program += "assert not [name for name in sys.modules if name.startswith('alembic')]"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def migrated(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "scenarios.cli", "migrate", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_brings_a_service_s_database_up_to_date(tmp_path: Path) -> None:
    config = tmp_path / "issuer.toml"
    # as a service has it: what else is in the file is the service's business
    config.write_text(f'database = "{sqlite_url(tmp_path / "issuer.db")}"\napi = "127.0.0.1:1"\n[party]\nid = 1\n')
    head = demo.HISTORIES["issuer"].head
    assert migrated("issuer", "--config", str(config)) == (0, f"issuer: no revision -> {head}\n", "")
    code, out, _ = migrated("issuer", "--config", str(config), "--json")
    assert (code, json.loads(out)) == (0, {"service": "issuer", "before": head, "after": head, "changed": False})
    code, out, err = migrated("switch", "--config", str(config))
    assert (code, out) == (2, "")
    assert "nothing was changed" in err
    assert len(err.splitlines()) == 1
    away = tmp_path / "away.toml"
    away.write_text('database = "postgresql+psycopg://u:hush@127.0.0.1:1/db"\nwait_seconds = 0.1\n')
    code, _, err = migrated("device", "--config", str(away))
    assert code == 2
    assert "cannot open postgresql+psycopg://u:***@127.0.0.1:1/db" in err.splitlines()[-1]
    assert "hush" not in err
