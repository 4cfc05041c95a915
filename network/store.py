"""A party's rows: typed rows over SQLAlchemy Core, and the unit of work of a turn.

One database per party, SQLite (WAL, ``synchronous=FULL``) or PostgreSQL, the same code on both. Statements are
built and compiled by SQLAlchemy once and then run as driver SQL with tuples, many rows at a time: that takes a
third of the time of executing SQLAlchemy constructs (docs/architecture.md).

Row classes are declared with `table` (`network.rows`). Within a turn there is one object per row: `UnitOfWork.load`
reads all the rows that a turn needs with one query per table and index, `UnitOfWork.find` then looks them up,
`insert` and `change` register what must be written, and `commit` writes with one ``executemany`` per table and
commits once, inserts before updates.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from network.database import SchemaError, StoreError, StoreUnavailable, open_engine, opening_error, parse_url, reason_of
from network.durations import Durations
from network.history import revision_of, write_revision
from network.rows import Key, Row, TableSpec, Value, creation_of, table, tables_of

__all__ = [
    "Key",
    "Row",
    "SchemaError",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "TableSpec",
    "UnitOfWork",
    "Value",
    "sqlite_url",
    "table",
    "tables_of",
]

R = TypeVar("R", bound=Row)

_LOAD_CHUNK = 512
"""Keys in one SELECT on SQLite, whose limit on bound variables is 32 766 and was 999 in old builds."""

_CACHE_LIMIT = 200_000
"""Rows of `cached` tables kept between turns; beyond it they are forgotten and loaded again."""


_COMPILED: dict[tuple[type[Row], str], _Statements] = {}


class _Statements:
    """The driver SQL of one table, compiled once by SQLAlchemy."""

    __slots__ = ("any_array", "insert", "insert_values", "key_of", "select", "update", "update_values")

    def __init__(self, spec: TableSpec, table: sa.Table, dialect: sa.Dialect) -> None:
        self.any_array = dialect.name == "postgresql"
        self.key_of = attrgetter(spec.key)
        self.insert = str(sa.insert(table).compile(dialect=dialect))
        self.insert_values = _tuple_getter(spec.columns)
        self.update = ""
        self.update_values = self.insert_values
        if spec.mutable:
            key_parameter = sa.bindparam("row_key", type_=table.c[spec.key].type)
            update = (
                sa.update(table)
                .where(table.c[spec.key] == key_parameter)
                .values({column: sa.bindparam(column) for column in spec.mutable})
            )
            compiled = update.compile(dialect=dialect)
            order = [spec.key if n == "row_key" else n for n in compiled.positiontup or ()]
            self.update = str(compiled)
            self.update_values = _tuple_getter(tuple(order))
        quote = dialect.identifier_preparer.quote
        self.select = f"SELECT {', '.join(map(quote, spec.columns))} FROM {quote(spec.name)} WHERE "  # noqa: S608


def _statements(row: type[Row], table: sa.Table, dialect: sa.Dialect) -> _Statements:
    """The statements of a table, compiled once in a process: virtual worlds open many stores of the same rows."""
    known = _COMPILED.get((row, dialect.name))
    if known is None:
        known = _COMPILED[row, dialect.name] = _Statements(row.spec, table, dialect)
    return known


def _tuple_getter(columns: tuple[str, ...]) -> Callable[[Row], tuple[Value, ...]]:
    if len(columns) == 1:
        single = attrgetter(columns[0])
        return lambda row: (single(row),)
    return attrgetter(*columns)


class Store:
    """A party's database.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: ``sqlite:///path``, ``sqlite://`` (in memory) or ``postgresql+psycopg://...``.
    rows : sequence of row classes
        The tables.
    durable : bool
        False lets SQLite skip waiting for the disk: for virtual time, where no process can die.
    create : bool
        Whether tables that are missing are made; otherwise `network.migrating` makes them.
    revision : str or None
        Where the database must stand in the history of its tables; a database made here is put there. None: nobody
        asks.

    Raises
    ------
    StoreError
        The database cannot be opened: StoreUnavailable where the server cannot be reached, SchemaError where it holds
        other tables.
    """

    def __init__(
        self,
        url: str,
        rows: Sequence[type[Row]],
        *,
        durable: bool = True,
        create: bool = True,
        revision: str | None = None,
    ) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.metadata, self.tables = tables_of(rows)
        self._revision = revision
        try:
            self.engine = open_engine(self.url, durable=durable)
            with self.engine.connect() as connection:
                if create and not sa.inspect(connection).get_table_names():
                    self._create(connection, rows)
                else:
                    problem = self._problem(connection)
                    if problem is not None:
                        raise problem
                    if create:
                        self.metadata.create_all(connection)
                    self._check_schema(connection)
            self._connection = self.engine.connect()
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise opening_error(self.url, error) from error
        self.statements = {row: _statements(row, table, self.engine.dialect) for row, table in self.tables.items()}

    def _create(self, connection: sa.Connection, rows: Sequence[type[Row]]) -> None:
        """All or nothing: tables without a revision would be taken for older than their history."""
        connection.exec_driver_sql("BEGIN")
        for statement in creation_of(rows, self.engine.dialect):
            connection.exec_driver_sql(statement)
        if self._revision is not None:
            write_revision(connection, self._revision)
        connection.exec_driver_sql("COMMIT")

    def _problem(self, connection: sa.Connection) -> SchemaError | None:
        """Whether the database is where it must be in the history of its tables, or why not."""
        if self._revision is None:
            return None
        found = revision_of(connection)
        if found == self._revision:
            return None
        name = self.url.render_as_string()
        if found is not None and found > self._revision:
            return SchemaError(f"{name} is at revision {found}: a newer version of fourparty has used it")
        where = "has no tables of this version yet" if found is None else f"is at revision {found}"
        return SchemaError(f"{name} {where}, {self._revision} is needed", behind=True)

    def _check_schema(self, connection: sa.Connection) -> None:
        inspector = sa.inspect(connection)
        present = set(inspector.get_table_names())
        name = self.url.render_as_string()
        for one in self.tables.values():
            if one.name not in present:
                raise SchemaError(f"{name} has no table {one.name}", behind=True)
            found = {column["name"] for column in inspector.get_columns(one.name)}
            if found != set(one.c.keys()):
                raise SchemaError(f"{name}: table {one.name} was made by another version of fourparty; use a new one")

    def unit_of_work(self) -> UnitOfWork:
        """The unit of work of the party's turns. There is one per process; it is not shared by threads."""
        driver = self._connection.connection.driver_connection
        return UnitOfWork(self, driver)

    def read(self) -> sa.Connection:
        """A connection of its own for queries, as the REST interface makes; it sees what is committed."""
        return self.engine.connect()

    def problem(self) -> str | None:
        """Why the database is of no use to this process now, found out by asking it; None where it is.

        Raises
        ------
        StoreError
            It does not answer.
        """
        try:
            with self.read() as connection:
                connection.exec_driver_sql("SELECT 1")
                problem = self._problem(connection)
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(f"the database does not answer: {reason_of(error)}") from error
        return None if problem is None else str(problem)

    def close(self) -> None:
        """Close every connection. SQLite's log is folded into its file."""
        self._connection.close()
        self.engine.dispose()


class UnitOfWork:
    """The rows of a turn. See the module's text; made by `Store.unit_of_work`.

    Attributes
    ----------
    commit_times : Durations
        How long writing and committing took, of turns that wrote anything; microseconds of the real clock.
    """

    def __init__(self, store: Store, driver: Any) -> None:
        self._store = store
        self._driver = driver
        self._cursor = driver.cursor()
        self._by: dict[type[Row], dict[str, dict[Key, Row | None]]] = {row: {} for row in store.tables}
        self._inserted: dict[type[Row], list[Row]] = {}
        self._new: set[int] = set()
        self._changed: dict[type[Row], dict[int, Row]] = {}
        self._touched: set[type[Row]] = set()
        self.commit_times = Durations()
        self.single_loads = 0
        """How often `find` had to query because `load` had not been asked: zero on a hot path."""
        self.commits = 0
        """How often something was written."""

    def load(self, row: type[R], column: str, keys: Iterable[Key]) -> Mapping[Key, R | None]:
        """Read the rows whose `column` (the key or a unique column) is one of `keys`, with one query.

        Returns
        -------
        mapping
            From every key asked for (and any known before) to its row, None where there is none.
        """
        known = self._by[row].setdefault(column, {})
        missing = {key for key in keys if key not in known}
        if missing:
            self._touched.add(row)
            for key in missing:
                known[key] = None
            position = row.spec.columns.index(column)
            for record in self._select(row, column, list(missing)):
                known[cast(Key, record[position])] = self._identify(row, record)
        return cast("Mapping[Key, R | None]", known)

    def find(self, row: type[R], column: str, key: Key) -> R | None:
        """The row with this key: of what was loaded, else by a query of its own."""
        try:
            return self._by[row][column][key]  # type: ignore[return-value]
        except KeyError:
            self.single_loads += 1
            return self.load(row, column, (key,))[key]

    def scan(self, row: type[R], column: str, value: Key, limit: int) -> list[R]:
        """Rows whose `column` is `value` now, at most `limit`, ordered by key: for start-up and timers.

        Rows changed or inserted in this turn count with what they hold in memory.
        """
        return self._scan(row, column, value, limit, latest=False)

    def latest(self, row: type[R], column: str, value: Key, limit: int) -> list[R]:
        """As `scan`, but from the greatest key down: what people want of keys that grow with time.

        Where `column` is not indexed, the table is walked from its end until `limit` rows are found.
        """
        return self._scan(row, column, value, limit, latest=True)

    def _scan(self, row: type[R], column: str, value: Key, limit: int, *, latest: bool) -> list[R]:
        self._touched.add(row)
        spec = row.spec
        statement = self._store.statements[row]
        if f"{column}={value!s}" in spec.indexed:
            # the value as the index has it: no database uses a partial index for a parameter
            mark, parameters = f"'{value!s}'", cast("tuple[object, ...]", ())
        else:
            mark, parameters = "%s" if statement.any_array else "?", (value,)
        # rows that this turn changed may no longer count: without more in reserve they would hide others
        most = limit + len(self._changed.get(row, ()))
        order = f"{self._quoted(spec.key)} DESC" if latest else self._quoted(spec.key)
        sql = f"{statement.select}{self._quoted(column)} = {mark} ORDER BY {order} LIMIT {most:d}"
        found = [self._identify(row, record) for record in self._execute(sql, parameters)]
        fresh = itertools.chain(self._inserted.get(row, ()), self._changed.get(row, {}).values())
        candidates = {statement.key_of(one): one for one in (*found, *cast("Iterable[R]", fresh))}
        keys = sorted(candidates, reverse=latest)
        kept = [candidates[key] for key in keys if getattr(candidates[key], column) == value]
        return kept[:limit]

    def insert(self, row: Row) -> None:
        """Write a new row at the commit; it is found from now on."""
        kind = type(row)
        self._touched.add(kind)
        self._inserted.setdefault(kind, []).append(row)
        self._new.add(id(row))
        known = self._by[kind]
        spec = kind.spec
        known.setdefault(spec.key, {})[getattr(row, spec.key)] = row
        for column in spec.unique:
            value = getattr(row, column)
            if value is not None:
                known.setdefault(column, {})[value] = row

    def change(self, row: Row) -> None:
        """Write the row's mutable columns at the commit."""
        if id(row) not in self._new:
            kind = type(row)
            self._touched.add(kind)
            self._changed.setdefault(kind, {})[id(row)] = row

    def commit(self) -> None:
        """Write what was inserted and changed, and commit once. A turn that wrote nothing costs nothing.

        Raises
        ------
        StoreError
            The database failed: nothing was committed.
        Exception
            The driver's own, when it refuses the rows (a key that is there already): nothing was committed.
        """
        if self._inserted or self._changed:
            statements = self._store.statements
            cursor = self._cursor
            began = time.perf_counter_ns()
            try:
                cursor.execute("BEGIN")
                for kind, rows in self._inserted.items():
                    statement = statements[kind]
                    cursor.executemany(statement.insert, list(map(statement.insert_values, rows)))
                for kind, changed in self._changed.items():
                    statement = statements[kind]
                    cursor.executemany(statement.update, list(map(statement.update_values, changed.values())))
                cursor.execute("COMMIT")
            except Exception as error:
                self._abandon()
                raise self._translated(error) from error
            self.commits += 1
            self.commit_times.record((time.perf_counter_ns() - began) // 1000)
        self._forget(everything=False)

    def rollback(self) -> None:
        """Drop what was inserted and changed, and forget every row, since any may have been changed in memory."""
        self._touched.update(self._by)
        self._forget(everything=True)

    def _forget(self, *, everything: bool) -> None:
        for kind in self._touched:
            if everything or not kind.spec.cached or self._cached_rows(kind) > _CACHE_LIMIT:
                self._by[kind] = {}
        self._touched.clear()
        self._inserted.clear()
        self._changed.clear()
        self._new.clear()

    def _cached_rows(self, kind: type[Row]) -> int:
        return sum(map(len, self._by[kind].values()))

    def _abandon(self) -> None:
        try:
            self._cursor.execute("ROLLBACK")
        except Exception:  # the transaction is already gone, or the connection is: both leave nothing committed
            return

    def _identify(self, row: type[R], record: Sequence[Value]) -> R:
        """The one object of this row, made from the record when it is not known yet."""
        spec = row.spec
        key = cast(Key, record[spec.key_position])
        known = self._by[row].setdefault(spec.key, {})
        found = known.get(key)
        if found is None:
            found = known[key] = row(*record)
        return cast(R, found)

    def _quoted(self, column: str) -> str:
        return self._store.engine.dialect.identifier_preparer.quote(column)

    def _select(self, row: type[Row], column: str, keys: list[Key]) -> Iterable[Sequence[Value]]:
        statement = self._store.statements[row]
        name = self._quoted(column)
        if statement.any_array:
            return self._execute(f"{statement.select}{name} = ANY(%s)", (keys,))
        records: list[Sequence[Value]] = []
        for start in range(0, len(keys), _LOAD_CHUNK):
            chunk = keys[start : start + _LOAD_CHUNK]
            # a power of two of marks, so that the driver's cache of prepared statements is hit
            size = 1 << (len(chunk) - 1).bit_length()
            chunk += [chunk[-1]] * (size - len(chunk))
            sql = f"{statement.select}{name} IN ({','.join('?' * size)})"
            records += self._execute(sql, tuple(chunk))
        return records

    def _execute(self, sql: str, parameters: tuple[object, ...]) -> list[Sequence[Value]]:
        try:
            self._cursor.execute(sql, parameters)
            return cast("list[Sequence[Value]]", self._cursor.fetchall())
        except Exception as error:
            raise self._translated(error) from error

    @staticmethod
    def _translated(error: Exception) -> Exception:
        """The database's own failures as StoreError; a statement that it refuses is the turn's failure."""
        kinds = {kind.__name__ for kind in type(error).__mro__}
        # a plain DatabaseError is SQLite's word for a file that is damaged or no database
        is_broken = kinds & {"OperationalError", "InterfaceError"} or type(error).__name__ == "DatabaseError"
        if is_broken or "closed database" in str(error):
            return StoreError(f"database failed: {reason_of(error)}")
        return error


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"
