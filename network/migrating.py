"""Migrations: bring a party's database to the revision that this version of its tables is, with alembic.

All of it happens in one transaction under a lock: who comes second finds the work done, and a migration that fails, or
that makes something else than the tables are, leaves the database as it was. Databases only go forward: what a
newer version has written, an older one may not understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from network.database import SchemaError, StoreError, open_engine, opening_error, parse_url, reason_of
from network.history import History, revision_of
from network.store import Row, tables_of

LOCK_SECONDS: Final = 60
"""How long to wait for another who migrates the same database."""

_LOCK: Final = 0x666F7572
"""The advisory lock's key on PostgreSQL: the letters "four"."""


class Migrated(NamedTuple):
    """What was done: the revision before, None where the database had none, and the one after."""

    before: str | None
    after: str

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.before != self.after


def migrate(url: str, rows: Sequence[type[Row]], history: History) -> Migrated:
    """Bring a database to the newest revision.

    An empty one gets all its tables. One that was made before it had a history begins with the newest revision if it
    has just its tables, else with the first.

    Raises
    ------
    SchemaError
        The database is at a revision that this version does not know, or what it holds fits no revision.
    StoreError
        The database cannot be opened (StoreUnavailable: not now), or refuses a change.
    """
    parsed = parse_url(url)
    name = parsed.render_as_string()
    metadata, _ = tables_of(rows)
    try:
        engine = open_engine(parsed, locked_seconds=LOCK_SECONDS)
        connection = engine.connect()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise opening_error(parsed, error) from error
    try:
        with connection, _transaction(connection):
            before = _bring(connection, metadata, history, name)
    except sa.exc.SQLAlchemyError as error:
        raise StoreError(f"cannot migrate {name}: {reason_of(error)}; nothing was changed") from error
    except CommandError as error:
        raise SchemaError(f"cannot migrate {name}: {error}; nothing was changed") from error
    finally:
        engine.dispose()
    return Migrated(before, history.head)


def differences(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    """What a database's tables lack, have besides or have otherwise than `metadata` says, for people."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": _is_ours(metadata)})
    found = [_told(one) for one in compare_metadata(context, metadata)]
    inspector = sa.inspect(connection)
    for table in metadata.sorted_tables:
        if not inspector.has_table(table.name):
            continue
        partial = f"{connection.dialect.name}_where"
        actual = {
            one["name"]: one.get("dialect_options", {}).get(partial) is not None
            for one in inspector.get_indexes(table.name)
        }
        for index in table.indexes:
            # which rows stand in an index, alembic does not compare
            wanted = index.dialect_options[connection.dialect.name]["where"] is not None
            if actual.get(str(index.name), wanted) != wanted:
                found.append(f"index {index.name} holds other rows")
    return found


def _is_ours(metadata: sa.MetaData) -> Any:
    """Only our tables count: a database may hold others."""

    def include(thing: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        return kind != "table" or name in metadata.tables

    return include


def _told(difference: Any) -> str:
    if isinstance(difference, list):
        return "; ".join(map(_told, difference))
    what = str(difference[0])
    names = [str(getattr(one, "name", one)) for one in difference[1:] if isinstance(one, (str, sa.schema.SchemaItem))]
    return f"{what.replace('_', ' ')} {' '.join(names)}"


def _bring(connection: sa.Connection, metadata: sa.MetaData, history: History, name: str) -> str | None:
    context = MigrationContext.configure(connection)
    scripts = ScriptDirectory(str(history.folder.parent), version_locations=[str(history.folder)])
    before = revision_of(connection)
    revisions = history.revisions
    if before is not None:
        if before not in revisions:
            raise SchemaError(f"{name} is at revision {before}, which this version of fourparty does not know")
        begin = revisions.index(before) + 1
    elif set(sa.inspect(connection).get_table_names()) & set(metadata.tables):
        begin = 1 if differences(connection, metadata) else len(revisions)
        context.stamp(scripts, revisions[begin - 1])
    else:
        begin = 0
    _run(context, scripts, revisions[begin:])
    left = differences(connection, metadata)
    if left:
        reason = "it was made by another version of fourparty" if before is None else "its tables were changed"
        raise SchemaError(f"cannot migrate {name}: {reason} ({left[0]}); nothing was changed")
    return before


def _run(context: MigrationContext, scripts: ScriptDirectory, revisions: Iterable[str]) -> None:
    with Operations.context(context):
        for revision in revisions:
            script = scripts.get_revision(revision)
            assert isinstance(script, Script)  # noqa: S101 - the folder was listed a moment ago
            script.module.upgrade()
            context.stamp(scripts, revision)


@contextmanager
def _transaction(connection: sa.Connection) -> Iterator[None]:
    """All or nothing, and nobody else meanwhile: the connection itself begins no transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")
