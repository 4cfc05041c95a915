"""Which revision a party's database is at, and which it must be at: what start-up needs to know of migrations.

A party's history is a folder of alembic revisions, ``0001_initial.py``, ``0002_...py`` and so on, in one line without
branches. Alembic itself is needed only where something is to be done (`network.migrating`): a process that finds its
database as it must be never loads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import sqlalchemy as sa

VERSION_TABLE: Final = "alembic_version"


@dataclass(frozen=True)
class History:
    """The revisions of a party's tables.

    Attributes
    ----------
    folder : Path
        Where they are.
    """

    folder: Path

    @cached_property
    def revisions(self) -> tuple[str, ...]:
        """Their names, oldest first."""
        return tuple(sorted(one.name.partition("_")[0] for one in self.folder.glob("[0-9]*_*.py")))

    @property
    def head(self) -> str:
        """The newest: the one that this version of the tables is."""
        return self.revisions[-1]


def revision_of(connection: sa.Connection) -> str | None:
    """The revision that a database says it is at; None where it says nothing."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalars().all()  # noqa: S608
    return str(found[0]) if found else None


def write_revision(connection: sa.Connection, revision: str) -> None:
    """Let a database that has no revision yet say that it is at this one, as alembic would."""
    version = sa.Table(VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    version.create(connection)
    connection.execute(version.insert().values(version_num=revision))
