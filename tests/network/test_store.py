"""The store and the unit of work, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from postgres import PostgresServer

from network import store as store_module
from network.store import Key, Row, Store, StoreError, UnitOfWork, sqlite_url, table


@table("holder", key="name", unique=("email",), indexed=("town", "state=open"), mutable=("town", "visits", "state"))
class Holder(Row):
    """A row with every kind of column."""

    name: str
    email: str | None
    town: str
    visits: int
    photo: bytes
    state: str


@table("tariff", key="number", mutable=("rate",), cached=True)
class Tariff(Row):
    """A row that stays in memory between turns; its key is a number."""

    number: int
    rate: int


@table("event", key="digest")
class Event(Row):
    """A row that never changes; its key is bytes."""

    digest: bytes
    holder: str | None


ROWS = (Holder, Tariff, Event)
OpenStore = Callable[..., Store]


def holder(name: str, email: str | None = None, town: str = "Xi'an", visits: int = 0, state: str = "open") -> Holder:
    return Holder(name, email, town, visits, name.encode() + b"\0\xff", state)


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    return open_store(*ROWS)


@pytest.fixture
def unit(store: Store) -> UnitOfWork:
    return store.unit_of_work()


def seeded(unit: UnitOfWork, *rows: Row) -> None:
    for row in rows:
        unit.insert(row)
    unit.commit()


def committed(store: Store, kind: type[Row]) -> list[tuple[object, ...]]:
    """What another connection sees."""
    found = store.tables[kind]
    with store.read() as connection:
        rows = connection.execute(sa.select(found).order_by(found.c[kind.spec.key])).all()
    return [tuple(row) for row in rows]


class Statements:
    """A cursor that writes down what is executed, and fails where it is told to."""

    def __init__(self, unit: UnitOfWork) -> None:
        self.seen: list[str] = []
        self.fail_at: str | None = None
        self._cursor = unit._cursor
        unit._cursor = self

    def _note(self, sql: str) -> None:
        self.seen.append(sql.split(maxsplit=1)[0])
        if self.fail_at is not None and sql.startswith(self.fail_at):
            raise sqlite3.OperationalError("disk I/O error\nsecond line")

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> object:
        self._note(sql)
        return self._cursor.execute(sql, parameters)

    def executemany(self, sql: str, parameters: list[tuple[object, ...]]) -> object:
        self._note(sql)
        return self._cursor.executemany(sql, parameters)

    def fetchall(self) -> object:
        return self._cursor.fetchall()


# rows and turns


def test_rows_come_back_as_they_were_written(store: Store, unit: UnitOfWork) -> None:
    written = Holder("王", None, "''; DROP TABLE holder; --", -(2**63), bytes(range(256)), "")
    seeded(unit, written, holder("b", "b@x", visits=2**63 - 1), Event(b"\0\xff", None))
    found = unit.find(Holder, "name", "王")
    assert found is not None
    assert found is not written
    values = [getattr(found, column) for column in Holder.spec.columns]
    assert values == ["王", None, "''; DROP TABLE holder; --", -(2**63), bytes(range(256)), ""]
    assert [type(value) for value in values] == [str, type(None), str, int, bytes, str]
    event = unit.find(Event, "digest", b"\0\xff")
    assert event is not None
    assert (type(event.digest), event.holder) == (bytes, None)


def test_one_object_per_row_and_turn(unit: UnitOfWork) -> None:
    seeded(unit, holder("a", "a@x"), holder("b"))
    by_name = unit.load(Holder, "name", ["a", "b"])["a"]
    assert by_name is unit.find(Holder, "name", "a")
    assert by_name is unit.load(Holder, "email", ["a@x"])["a@x"]
    assert by_name is unit.find(Holder, "email", "a@x")
    assert any(by_name is one for one in unit.scan(Holder, "town", "Xi'an", 10))


def test_the_next_turn_reads_again(open_store: OpenStore) -> None:
    unit, other = open_store(*ROWS).unit_of_work(), open_store(*ROWS).unit_of_work()
    seeded(unit, holder("a"))
    before = unit.find(Holder, "name", "a")
    theirs = other.find(Holder, "name", "a")
    assert theirs is not None
    theirs.visits = 7
    other.change(theirs)
    other.commit()
    assert unit.find(Holder, "name", "a") is before
    unit.commit()
    after = unit.find(Holder, "name", "a")
    assert after is not None
    assert (after is before, after.visits) == (False, 7)


def test_absent_rows_are_none_and_asked_for_once(unit: UnitOfWork) -> None:
    seeded(unit, holder("a"))
    statements = Statements(unit)
    assert unit.load(Holder, "name", ["a", "nobody"])["nobody"] is None
    assert unit.find(Holder, "name", "nobody") is None
    assert unit.load(Holder, "name", ["nobody", "a"])["nobody"] is None
    assert statements.seen == ["SELECT"]
    assert unit.single_loads == 0
    assert unit.find(Holder, "email", "nobody@x") is None
    assert unit.single_loads == 1
    assert unit.load(Holder, "name", []) is not None
    assert statements.seen == ["SELECT"] * 2


def test_inserted_rows_are_found_in_their_turn(unit: UnitOfWork) -> None:
    seeded(unit, holder("old", "old@x"))
    assert unit.load(Holder, "name", ["new", "old"])["new"] is None
    assert unit.find(Holder, "email", "new@x") is None
    new = holder("new", "new@x")
    unit.insert(new)
    assert unit.find(Holder, "name", "new") is new
    assert unit.find(Holder, "email", "new@x") is new
    assert unit.load(Holder, "name", ["new", "old"])["new"] is new


def test_an_insert_without_a_unique_value_hides_no_other(unit: UnitOfWork) -> None:
    seeded(unit, holder("a", None), holder("b", None))
    assert unit.load(Holder, "name", ["a", "b"])["b"] is not None


@pytest.mark.parametrize("column", ["town", "state"])
def test_scan_sees_what_the_turn_did(unit: UnitOfWork, column: str) -> None:
    here, away = ("Xi'an", "Lhasa") if column == "town" else ("open", "shut")
    rows = [holder(name, town="Xi'an") for name in "bdfh"]
    for row in rows:
        setattr(row, column, here)
    gone = holder("gone")
    setattr(gone, column, away)
    seeded(unit, *rows, gone)
    left = unit.find(Holder, "name", "b")
    returned = unit.find(Holder, "name", "gone")
    assert left is not None
    assert returned is not None
    setattr(left, column, away)
    unit.change(left)
    setattr(returned, column, here)
    unit.change(returned)
    added = holder("e")
    setattr(added, column, here)
    unit.insert(added)
    found = unit.scan(Holder, column, here, 100)
    assert [one.name for one in found] == ["d", "e", "f", "gone", "h"]
    assert added in found
    assert returned in found
    assert [one.name for one in unit.scan(Holder, column, here, 2)] == ["d", "e"]
    assert [one.name for one in unit.scan(Holder, column, away, 100)] == ["b"]
    assert [one.name for one in unit.latest(Holder, column, here, 100)] == ["h", "gone", "f", "e", "d"]
    assert [one.name for one in unit.latest(Holder, column, here, 2)] == ["h", "gone"]
    unit.commit()
    assert [one.name for one in unit.scan(Holder, column, here, 100)] == ["d", "e", "f", "gone", "h"]


def test_a_limited_scan_is_not_starved_by_rows_that_left(unit: UnitOfWork) -> None:
    seeded(unit, *(holder(f"{number:02}") for number in range(10)))
    for name in ("00", "01", "02"):
        row = unit.find(Holder, "name", name)
        assert row is not None
        row.state = "shut"
        unit.change(row)
    assert [one.name for one in unit.scan(Holder, "state", "open", 2)] == ["03", "04"]


def test_scan_orders_by_code_point_on_every_database(unit: UnitOfWork) -> None:
    names = ["a", "B", "_", "é", "Z", "~", "1", "-", "a b", "ab", "王"]
    seeded(unit, *(holder(name) for name in names))
    assert [one.name for one in unit.scan(Holder, "town", "Xi'an", 100)] == sorted(names)
    assert [one.name for one in unit.scan(Holder, "town", "Xi'an", 4)] == sorted(names)[:4]


@pytest.mark.parametrize("count", [1, 2, 511, 512, 513, 1025, 3000])
def test_load_of_any_number_of_keys(unit: UnitOfWork, count: int) -> None:
    seeded(unit, *(Tariff(number, number * 3) for number in range(0, count, 2)))
    unit.rollback()
    found = unit.load(Tariff, "number", range(count))
    assert {key: row.rate if row else None for key, row in found.items()} == {
        number: None if number % 2 else number * 3 for number in range(count)
    }


def test_load_is_one_query_below_the_chunk(unit: UnitOfWork) -> None:
    statements = Statements(unit)
    unit.load(Tariff, "number", range(512))
    assert statements.seen == ["SELECT"]


def test_changes_are_written_whole_and_only_the_mutable_columns(store: Store, unit: UnitOfWork) -> None:
    seeded(unit, holder("a", "a@x"), holder("b", "b@x"))
    row = unit.find(Holder, "name", "a")
    assert row is not None
    row.town, row.visits, row.state = "Harbin", 5, "shut"
    row.photo = b"not mutable"
    unit.change(row)
    unit.change(row)
    unit.commit()
    assert committed(store, Holder) == [
        ("a", "a@x", "Harbin", 5, b"a\0\xff", "shut"),
        ("b", "b@x", "Xi'an", 0, b"b\0\xff", "open"),
    ]


def test_a_new_row_that_is_changed_is_inserted_as_it_is_at_the_commit(store: Store, unit: UnitOfWork) -> None:
    statements = Statements(unit)
    row = holder("a")
    unit.insert(row)
    row.visits = 3
    unit.change(row)
    unit.commit()
    assert [one[3] for one in committed(store, Holder)] == [3]
    assert statements.seen == ["BEGIN", "INSERT", "COMMIT"]


def test_inserts_before_updates_one_statement_a_table_and_one_commit(unit: UnitOfWork) -> None:
    seeded(unit, *(holder(name) for name in "abc"), Tariff(1, 1))
    loaded = unit.load(Holder, "name", "abc")
    statements = Statements(unit)
    for row in list(loaded.values()):
        assert row is not None
        row.visits += 1
        unit.change(row)
    for number in (2, 3):
        unit.insert(Tariff(number, 0))
    unit.insert(holder("d"))
    unit.commit()
    assert statements.seen == ["BEGIN", "INSERT", "INSERT", "UPDATE", "COMMIT"]


def test_a_turn_that_wrote_nothing_commits_nothing(unit: UnitOfWork) -> None:
    statements = Statements(unit)
    unit.commit()
    unit.find(Holder, "name", "a")
    unit.commit()
    assert statements.seen == ["SELECT"]


# commit and rollback


def test_nothing_is_seen_before_the_commit(store: Store, unit: UnitOfWork) -> None:
    unit.insert(holder("a"))
    assert committed(store, Holder) == []
    unit.commit()
    assert len(committed(store, Holder)) == 1


def test_rollback_forgets(store: Store, unit: UnitOfWork) -> None:
    seeded(unit, holder("a"))
    row = unit.find(Holder, "name", "a")
    assert row is not None
    row.visits = 9
    unit.change(row)
    unit.insert(holder("b"))
    unit.rollback()
    unit.commit()
    assert [one[0] for one in committed(store, Holder)] == ["a"]
    again = unit.find(Holder, "name", "a")
    assert again is not None
    assert (again is row, again.visits) == (False, 0)
    assert unit.find(Holder, "name", "b") is None


@pytest.mark.parametrize("table_order", ["refused first", "refused last"])
def test_an_integrity_error_leaves_nothing_and_is_no_store_error(
    store: Store, unit: UnitOfWork, table_order: str
) -> None:
    seeded(unit, holder("a", "a@x"), Tariff(1, 1))
    tariff = unit.find(Tariff, "number", 1)
    assert tariff is not None
    tariff.rate = 2
    unit.change(tariff)
    rows: list[Row] = [holder("b", "a@x"), Event(b"1", None), Tariff(2, 2)]
    for row in rows if table_order == "refused first" else reversed(rows):
        unit.insert(row)
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        unit.commit()
    unit.rollback()
    assert [len(committed(store, kind)) for kind in ROWS] == [1, 1, 0]
    again = unit.find(Tariff, "number", 1)
    assert again is not None
    assert again.rate == 1
    # and the store goes on
    seeded(unit, holder("c", "c@x"))
    assert [row[0] for row in committed(store, Holder)] == ["a", "c"]


@pytest.mark.parametrize(
    "row",
    [Tariff(1, 2**63), Tariff(1, None), Event(b"1", "\ud800"), Event(b"1", {"a": 1})],  # type: ignore[arg-type]
    ids=["beyond 64 bits", "null", "surrogate", "no column type"],
)
def test_rows_the_database_refuses_fail_the_turn_not_the_store(store: Store, unit: UnitOfWork, row: Row) -> None:
    unit.insert(holder("fine"))
    unit.insert(row)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - each driver has its own
        unit.commit()
    assert not isinstance(caught.value, StoreError)
    unit.rollback()
    assert committed(store, Holder) == []
    seeded(unit, holder("after"))


@pytest.mark.parametrize("key", [{"a": 1}, 1.5j, "\ud800"], ids=["dict", "complex", "surrogate"])
def test_keys_the_database_refuses_fail_the_turn_not_the_store(unit: UnitOfWork, key: Key) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        unit.find(Holder, "name", key)
    assert not isinstance(caught.value, StoreError)
    unit.rollback()
    assert unit.find(Holder, "name", "nobody") is None


# tables that stay in memory


def test_a_cached_table_is_read_once(unit: UnitOfWork) -> None:
    seeded(unit, Tariff(1, 10))
    unit.rollback()
    first = unit.find(Tariff, "number", 1)
    assert unit.find(Tariff, "number", 2) is None
    unit.commit()
    statements = Statements(unit)
    assert unit.find(Tariff, "number", 1) is first
    assert unit.find(Tariff, "number", 2) is None
    unit.commit()
    unit.insert(Tariff(2, 20))
    unit.commit()
    second = unit.find(Tariff, "number", 2)
    assert second is not None
    assert second.rate == 20
    assert "SELECT" not in statements.seen


def test_a_cached_table_is_coherent_after_rollback(unit: UnitOfWork) -> None:
    seeded(unit, Tariff(1, 10))
    row = unit.find(Tariff, "number", 1)
    assert row is not None
    row.rate = 11
    unit.change(row)
    unit.insert(Tariff(2, 20))
    unit.rollback()
    again = unit.find(Tariff, "number", 1)
    assert again is not None
    assert again.rate == 10
    assert unit.find(Tariff, "number", 2) is None


def test_a_cached_row_that_was_changed_before_the_turn_said_so_is_forgotten_too(unit: UnitOfWork) -> None:
    seeded(unit, Tariff(1, 10))
    row = unit.find(Tariff, "number", 1)
    assert row is not None
    row.rate = 11  # the turn fails here, before change()
    unit.rollback()
    again = unit.find(Tariff, "number", 1)
    assert again is not None
    assert again.rate == 10


def test_a_cached_table_is_coherent_after_a_refused_commit(unit: UnitOfWork) -> None:
    seeded(unit, Tariff(1, 10), holder("a"))
    row = unit.find(Tariff, "number", 1)
    assert row is not None
    row.rate = 11
    unit.change(row)
    unit.insert(holder("a"))
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        unit.commit()
    unit.rollback()
    again = unit.find(Tariff, "number", 1)
    assert again is not None
    assert again.rate == 10


def test_the_cache_is_bounded(unit: UnitOfWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_CACHE_LIMIT", 100)
    for start in range(0, 1000, 50):
        unit.load(Tariff, "number", range(start, start + 50))
        unit.commit()
        assert unit._cached_rows(Tariff) <= 150


# failures of the database


@pytest.mark.parametrize("where", ["BEGIN", "INSERT", "UPDATE", "COMMIT", "SELECT"])
def test_a_failing_database_is_a_store_error_and_leaves_nothing(store: Store, unit: UnitOfWork, where: str) -> None:
    seeded(unit, Tariff(1, 1))
    unit.rollback()
    statements = Statements(unit)

    def turn() -> None:
        row = unit.find(Tariff, "number", 1)
        assert row is not None
        row.rate = 2
        unit.change(row)
        unit.insert(Event(b"1", None))
        unit.commit()

    statements.fail_at = where
    with pytest.raises(StoreError, match=r"^database failed: disk I/O error$"):
        turn()
    assert committed(store, Tariff) == [(1, 1)]
    assert committed(store, Event) == []


def test_a_closed_store_is_a_store_error(store: Store) -> None:
    unit = store.unit_of_work()
    unit._driver.close()
    with pytest.raises(StoreError):
        unit.find(Holder, "name", "a")
    unit.insert(holder("a"))
    with pytest.raises(StoreError):
        unit.commit()


def test_a_locked_file_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "party.db"
    store = Store(sqlite_url(path), ROWS)
    unit = store.unit_of_work()
    unit._cursor.execute("PRAGMA busy_timeout=50")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        unit.insert(holder("a"))
        with pytest.raises(StoreError, match="locked"):
            unit.commit()
        other.execute("ROLLBACK")
    unit.rollback()
    seeded(unit, holder("b"))
    assert [row[0] for row in committed(store, Holder)] == ["b"]
    store.close()


def test_a_read_only_file_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "party.db"
    Store(sqlite_url(path), ROWS).close()
    store = Store(f"sqlite:///file:{path}?mode=ro&uri=true", ROWS)
    unit = store.unit_of_work()
    unit.insert(holder("a"))
    with pytest.raises(StoreError, match="readonly"):
        unit.commit()
    store.close()


def test_a_damaged_file_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "party.db"
    store = Store(sqlite_url(path), ROWS)
    seeded(store.unit_of_work(), *(holder(f"{number:05}", town="T" * 200) for number in range(500)))
    store.close()
    damaged = bytearray(path.read_bytes())
    for start in range(4096 * 4, len(damaged), 4096):
        damaged[start : start + 4096] = b"\xee" * 4096
    path.write_bytes(damaged)
    store = Store(sqlite_url(path), ROWS)
    unit = store.unit_of_work()
    with pytest.raises(StoreError, match="malformed"):
        unit.load(Holder, "name", [f"{number:05}" for number in range(500)])
    store.close()


def test_a_server_that_ends_the_session_is_a_store_error(postgres_server: PostgresServer) -> None:
    store = Store(postgres_server.new_schema(), ROWS)
    unit = store.unit_of_work()
    seeded(unit, holder("a"))
    unit._cursor.execute("SELECT pg_backend_pid()")
    ((process,),) = unit._cursor.fetchall()
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (process,))
    unit.insert(holder("b"))
    with pytest.raises(StoreError):
        unit.commit()
    assert [row[0] for row in committed(store, Holder)] == ["a"]
    store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////nonexistent/folder/party.db", "cannot open sqlite:////nonexistent/folder/party.db"),
        ("party.db", "not given as a URL"),
        ("oracle+nothing://host/db", "cannot open oracle"),
        ("firebird://host/db", "cannot open firebird"),
        ("postgresql+psycopg://user:hush@127.0.0.1:1/db", "cannot open postgresql.*refused"),
    ],
)
def test_a_store_that_cannot_be_opened(url: str, words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        Store(url, ROWS)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "party.db").write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        Store(sqlite_url(tmp_path / "party.db"), ROWS)


def test_a_database_of_another_version_is_refused(open_store: OpenStore, database_url: str) -> None:
    store = open_store(*ROWS)
    with store.read() as connection:
        connection.exec_driver_sql("ALTER TABLE holder ADD COLUMN nickname TEXT")
    with pytest.raises(StoreError, match="table holder was made by another version") as caught:
        open_store(*ROWS)
    assert "\n" not in str(caught.value)
    assert open_store(Tariff, Event) is not None


# durability


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 0)])
def test_sqlite_is_set_up_for_durability(tmp_path: Path, durable: bool, level: int) -> None:
    store = Store(sqlite_url(tmp_path / "party.db"), ROWS, durable=durable)
    cursor = store.unit_of_work()._cursor
    assert cursor.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    assert cursor.execute("PRAGMA synchronous").fetchall() == [(level,)]
    store.close()


_CHILD = """
import sys
sys.path[:0] = {path!r}
from test_store import ROWS, Store, Tariff, holder
unit = Store({url!r}, ROWS).unit_of_work()
unit.insert(holder("committed"))
unit.insert(Tariff(1, 1))
unit.commit()
unit.insert(holder("not committed"))
unit._cursor.execute("BEGIN")
unit._cursor.executemany({insert!r}, [(2, 2)])
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_process_committed_is_there_and_nothing_else(open_store: OpenStore, database_url: str) -> None:
    store = open_store(*ROWS)
    script = _CHILD.format(path=sys.path, url=database_url, insert=store.statements[Tariff].insert)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
    assert [row[0] for row in committed(store, Holder)] == ["committed"]
    assert committed(store, Tariff) == [(1, 1)]
    # the dead process holds no lock
    seeded(store.unit_of_work(), holder("after"))


# declarations


def test_the_repr_of_a_row_shows_no_value() -> None:
    assert repr(holder("secret", "secret@x")) == "<holder>"


def _wrong(**options: object) -> Callable[[], object]:
    def declare() -> object:
        class Wrong(Row):
            a: str
            b: int

        return table("wrong", **{"key": "a", **options})(Wrong)  # type: ignore[arg-type]

    return declare


def _typed(hint: object) -> Callable[[], object]:
    def declare() -> object:
        wrong = type("Wrong", (Row,), {"__annotations__": {"a": str, "b": hint}})
        return table("wrong", key="a")(wrong)

    return declare


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (_wrong(key="c"), "table wrong: no column c"),
        (_wrong(unique=("c",)), "table wrong: no column c"),
        (_wrong(indexed=("c",)), "table wrong: no column c"),
        (_wrong(indexed=("c=open",)), "table wrong: no column c"),
        (_wrong(mutable=("c",)), "table wrong: no column c"),
        (_wrong(mutable=("a",)), "table wrong: column a, which rows are loaded by"),
        (_wrong(unique=("b",), mutable=("b",)), "table wrong: column b, which rows are loaded by"),
        (_typed(float), "table wrong: column b must be int, str, bytes"),
        (_typed(int | str), "table wrong: column b must be int, str, bytes"),
        (_typed(float | None), "table wrong: column b must be int, str, bytes"),
        (_typed(bool), "table wrong: column b must be int, str, bytes"),
    ],
)
def test_a_wrong_declaration_names_the_column(declare: Callable[[], object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        declare()


def test_a_partial_index_serves_the_scan(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path / "party.db"), ROWS)
    unit = store.unit_of_work()
    seen: list[str] = []
    unit._driver.set_trace_callback(seen.append)
    unit.scan(Holder, "state", "open", 5)
    unit._driver.set_trace_callback(None)
    plan = unit._cursor.execute("EXPLAIN QUERY PLAN " + seen[-1]).fetchall()
    assert "ix_holder_state_open" in str(plan)
    store.close()


def test_rows_in_memory(tmp_path: Path) -> None:
    store = Store("sqlite://", ROWS)
    seeded(store.unit_of_work(), holder("a"))
    assert [row[0] for row in committed(store, Holder)] == ["a"]
    store.close()
