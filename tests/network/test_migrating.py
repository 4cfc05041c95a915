"""Migrations of a small party, on both databases: all or nothing, once, and never backwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from network.history import History
from network.migrating import Migrated, migrate
from network.service import ConfigurationError, ProcessSettings, open_store
from network.store import Row, SchemaError, Store, StoreError, sqlite_url, table


@table("parcel", key="number", indexed=("state=waiting", "town"), mutable=("state",))
class OldParcel(Row):
    """As it was at first."""

    number: int
    town: str
    state: str


@table("parcel", key="number", indexed=("state=waiting", "town"), mutable=("state", "weight"))
class Parcel(Row):
    """As it is now."""

    number: int
    town: str
    state: str
    weight: int


@table("depot", key="name")
class Depot(Row):
    """New."""

    name: str
    plan: bytes | None


HEAD = """
import sqlalchemy as sa
from alembic import op
revision = "{number}"
down_revision = {before!r}
INTEGER = sa.BigInteger()
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""
FIRST = """
def upgrade():
    op.create_table(
        "parcel",
        sa.Column("number", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("town", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    where = sa.text("state = 'waiting'")
    op.create_index("ix_parcel_state_waiting", "parcel", ["number"], sqlite_where=where, postgresql_where=where)
    op.create_index("ix_parcel_town", "parcel", ["town"])
"""
SECOND = """
def upgrade():
    op.add_column("parcel", sa.Column("weight", INTEGER, nullable=True))
    op.execute("UPDATE parcel SET weight = 7 WHERE town = 'Wuhan'")
    op.execute("UPDATE parcel SET weight = 1 WHERE weight IS NULL")
    with op.batch_alter_table("parcel", table_kwargs={"sqlite_with_rowid": False}) as parcel:
        parcel.alter_column("weight", nullable=False)
    op.create_table(
        "depot",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("plan", sa.LargeBinary(), nullable=True),
        sqlite_with_rowid=False,
    )
"""
NOW = (Parcel, Depot)


@pytest.fixture
def history(tmp_path: Path) -> Callable[..., History]:
    """Writes a history of these revisions."""

    def write(*upgrades: str) -> History:
        folder = tmp_path / f"history-{len(list(tmp_path.glob('history-*')))}" / "versions"
        folder.mkdir(parents=True)
        for place, upgrade in enumerate(upgrades, 1):
            before = f"{place - 1:04d}" if place > 1 else None
            content = HEAD.format(number=f"{place:04d}", before=before) + upgrade
            (folder / f"{place:04d}_step.py").write_text(content)
        return History(folder)

    return write


def filled(url: str, history: History) -> None:
    """A database at the first revision, with parcels in it."""
    store = Store(url, (OldParcel,), revision=history.revisions[0])
    unit = store.unit_of_work()
    for number, town in enumerate(("Wuhan", "Yichang", "Wuhan")):
        unit.insert(OldParcel(number, town, "waiting" if number else "sent"))
    unit.commit()
    store.close()


def parcels(url: str, history: History) -> list[tuple[int, str, int]]:
    store = Store(url, NOW, create=False, revision=history.head)
    with store.read() as connection:
        rows = connection.execute(sa.select(store.tables[Parcel]).order_by(sa.text("number"))).all()
    store.close()
    return [(row.number, row.state, row.weight) for row in rows]


def test_a_history_is_what_is_in_its_folder(history: Callable[..., History]) -> None:
    one = history(FIRST, SECOND)
    (one.folder / "__init__.py").touch()
    assert (one.revisions, one.head) == (("0001", "0002"), "0002")


def test_an_empty_database_gets_everything_and_a_second_time_nothing(
    database_url: str, history: Callable[..., History]
) -> None:
    one = history(FIRST, SECOND)
    with pytest.raises(SchemaError, match="has no tables of this version yet, 0002 is needed") as caught:
        Store(database_url, NOW, create=False, revision="0002")
    assert caught.value.behind
    assert migrate(database_url, NOW, one) == Migrated(None, "0002")
    assert parcels(database_url, one) == []
    assert migrate(database_url, NOW, one) == Migrated("0002", "0002")
    assert not migrate(database_url, NOW, one).changed


def test_an_upgrade_keeps_the_data(database_url: str, history: Callable[..., History]) -> None:
    one = history(FIRST, SECOND)
    filled(database_url, one)
    with pytest.raises(SchemaError, match="is at revision 0001, 0002 is needed"):
        Store(database_url, NOW, create=False, revision="0002")
    assert migrate(database_url, NOW, one) == Migrated("0001", "0002")
    assert parcels(database_url, one) == [(0, "sent", 7), (1, "waiting", 1), (2, "waiting", 7)]
    # the rows that stand in the partial index are found as before
    store = Store(database_url, NOW, create=False, revision="0002")
    assert [one.number for one in store.unit_of_work().scan(Parcel, "state", "waiting", 9)] == [1, 2]
    store.close()


def test_two_who_migrate_at_once_do_it_once(database_url: str, history: Callable[..., History]) -> None:
    one = history(FIRST, SECOND)
    filled(database_url, one)
    start = threading.Barrier(4)
    done: list[Migrated] = []

    def work() -> None:
        start.wait()
        done.append(migrate(database_url, NOW, one))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [Migrated("0001", "0002")] + [Migrated("0002", "0002")] * 3
    assert len(parcels(database_url, one)) == 3


@pytest.mark.parametrize(
    ("second", "words"),
    [
        # fails half way
        ("\ndef upgrade():\n    op.execute('DELETE FROM parcel')\n    op.execute('DROP TABLE nothing')\n", "nothing"),
        # makes something else than the tables are
        ("\ndef upgrade():\n    op.execute('DELETE FROM parcel')\n", "its tables were changed"),
        # leaves out what a partial index is for
        (
            SECOND + "    op.drop_index('ix_parcel_state_waiting', 'parcel')\n"
            "    op.create_index('ix_parcel_state_waiting', 'parcel', ['number'])\n",
            "index ix_parcel_state_waiting holds other rows",
        ),
    ],
)
def test_a_migration_that_goes_wrong_changes_nothing(
    database_url: str, history: Callable[..., History], second: str, words: str
) -> None:
    wrong = history(FIRST, second)
    filled(database_url, wrong)
    with pytest.raises(StoreError, match=f"{words}.*nothing was changed") as caught:
        migrate(database_url, NOW, wrong)
    assert "\n" not in str(caught.value)
    assert migrate(database_url, NOW, history(FIRST, SECOND)) == Migrated("0001", "0002")
    assert len(parcels(database_url, wrong)) == 3


@pytest.mark.parametrize("rows", [NOW, (OldParcel,)])
def test_a_database_from_before_its_history_is_taken_in(
    database_url: str, history: Callable[..., History], rows: tuple[type[Row], ...]
) -> None:
    one = history(FIRST, SECOND)
    Store(database_url, rows).close()
    assert migrate(database_url, NOW, one) == Migrated(None, "0002")
    assert parcels(database_url, one) == []


def test_a_database_that_fits_no_revision_is_refused(database_url: str, history: Callable[..., History]) -> None:
    store = Store(database_url, NOW)
    with store.read() as connection:
        connection.exec_driver_sql("DROP INDEX ix_parcel_town")
        connection.exec_driver_sql("CREATE TABLE somebody_s_notes (text TEXT)")
    store.close()
    with pytest.raises(StoreError, match="nothing was changed"):
        migrate(database_url, NOW, history(FIRST, SECOND))
    store = Store(database_url, NOW)
    with store.read() as connection:
        assert not sa.inspect(connection).has_table("alembic_version")
    store.close()


def test_a_database_of_a_newer_version_is_refused(database_url: str, history: Callable[..., History]) -> None:
    migrate(database_url, NOW, history(FIRST, SECOND))
    with pytest.raises(SchemaError, match="is at revision 0002, which this version of fourparty does not know"):
        migrate(database_url, (OldParcel,), history(FIRST))
    with pytest.raises(SchemaError, match="is at revision 0002: a newer version of fourparty has used it") as caught:
        Store(database_url, (OldParcel,), create=False, revision="0001")
    assert not caught.value.behind


def test_a_store_notices_that_its_database_was_migrated_under_it(
    database_url: str, history: Callable[..., History]
) -> None:
    one = history(FIRST, SECOND)
    filled(database_url, one)
    old = Store(database_url, (OldParcel,), create=False, revision="0001")
    assert old.problem() is None
    migrate(database_url, NOW, one)
    assert "a newer version of fourparty" in str(old.problem())
    old.close()


def test_a_process_migrates_or_refuses_as_it_is_set(tmp_path: Path, history: Callable[..., History]) -> None:
    one = history(FIRST, SECOND)
    url = sqlite_url(tmp_path / "party.db")
    filled(url, one)
    settings = ProcessSettings(database=url, storage_key_file=tmp_path / "key", migrate=False)
    with pytest.raises(ConfigurationError, match="is at revision 0001, 0002 is needed: run fourparty migrate"):
        open_store(settings, NOW, one)
    open_store(settings.model_copy(update={"migrate": True}), NOW, one).close()
    open_store(settings, NOW, one).close()
    with pytest.raises(ConfigurationError, match="a newer version") as caught:
        open_store(settings, (OldParcel,), history(FIRST))
    assert "run fourparty migrate" not in str(caught.value)
