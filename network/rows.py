"""Row classes: what a party's table holds, declared once, and the table that it is for SQLAlchemy.

A row class is declared with `table`; its instances are plain mutable objects. Columns are ``int``, ``str``, ``bytes``
or one of them or None. Every key and index is a single column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeAlias, TypeVar, cast, dataclass_transform, get_args, get_type_hints

import sqlalchemy as sa

Key: TypeAlias = int | str | bytes
Value: TypeAlias = int | str | bytes | None

R = TypeVar("R", bound="Row")


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What a row class says of its table.

    `key` is the primary key's column, `unique` further columns to load by, `indexed` columns to scan by: each plain,
    or as ``column=value`` where only rows with that value are scanned for and stand in the index (a state that rows
    leave again: the index stays small and finished rows cost nothing). `mutable` are the columns that
    `UnitOfWork.change` writes; `cached` says whether rows stay in memory between turns (for tables that only turns
    change and that are read in nearly every turn).
    """

    name: str
    key: str
    unique: tuple[str, ...]
    indexed: tuple[str, ...]
    mutable: tuple[str, ...]
    cached: bool
    columns: tuple[str, ...]
    types: tuple[tuple[type[Any], bool], ...]
    key_position: int


class Row:
    """Base of all row classes. Its repr shows the table and key only, since a row may hold what is secret."""

    __slots__ = ()
    spec: ClassVar[TableSpec]

    def __repr__(self) -> str:
        return f"<{self.spec.name}>"


@dataclass_transform(eq_default=False)
def table(
    name: str,
    *,
    key: str,
    unique: tuple[str, ...] = (),
    indexed: tuple[str, ...] = (),
    mutable: tuple[str, ...] = (),
    cached: bool = False,
) -> Callable[[type[R]], type[R]]:
    """Make an annotated class a row class (a dataclass with slots) of the table `name`."""

    def declare(cls: type[R]) -> type[R]:
        row_class = cast(type[R], dataclass(slots=True, eq=False, repr=False)(cls))
        hints = get_type_hints(cls)
        columns = tuple(field.name for field in fields(row_class))  # type: ignore[arg-type]
        for column in (key, *unique, *(one.partition("=")[0] for one in indexed), *mutable):
            if column not in columns:
                raise TypeError(f"table {name}: no column {column}")
        for column in mutable:
            if column in (key, *unique):
                # rows are known by it: a change would leave them known by the old value
                raise TypeError(f"table {name}: column {column}, which rows are loaded by, cannot be mutable")
        row_class.spec = TableSpec(
            name=name,
            key=key,
            unique=unique,
            indexed=indexed,
            mutable=mutable,
            cached=cached,
            columns=columns,
            types=tuple(_column_type(name, column, hints[column]) for column in columns),
            key_position=columns.index(key),
        )
        return row_class

    return declare


def _column_type(name: str, column: str, hint: object) -> tuple[type[Any], bool]:
    if isinstance(hint, UnionType):
        inner = [member for member in get_args(hint) if member is not NoneType]
        if len(inner) == 1 and inner[0] in (int, str, bytes):
            return inner[0], True
    elif hint in (int, str, bytes):
        return cast(type[Any], hint), False
    raise TypeError(f"table {name}: column {column} must be int, str, bytes or one of them or None")


# PostgreSQL sorts text by the server's locale unless told otherwise: both databases and Python sort by code point
_SQL_TYPES: dict[type[Any], sa.types.TypeEngine[Any]] = {
    int: sa.BigInteger(),
    str: sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
    bytes: sa.LargeBinary(),
}


def tables_of(rows: Sequence[type[Row]]) -> tuple[sa.MetaData, Mapping[type[Row], sa.Table]]:
    """The tables of row classes, as SQLAlchemy knows them: every store of these rows has the same, unchanged."""
    return _tables_of(tuple(rows))


def creation_of(rows: Sequence[type[Row]], dialect: sa.Dialect) -> Sequence[str]:
    """The statements that make the tables of row classes, and their indexes, in an empty database."""
    known = _CREATIONS.get((tuple(rows), dialect.name))
    if known is None:
        _, tables = tables_of(rows)
        made: list[sa.schema.ExecutableDDLElement] = []
        for one in tables.values():
            made.append(sa.schema.CreateTable(one))
            made += (sa.schema.CreateIndex(index) for index in sorted(one.indexes, key=lambda index: str(index.name)))
        known = [str(one.compile(dialect=dialect)) for one in made]
        _CREATIONS[tuple(rows), dialect.name] = known
    return known


_CREATIONS: dict[tuple[tuple[type[Row], ...], str], Sequence[str]] = {}


@cache
def _tables_of(rows: tuple[type[Row], ...]) -> tuple[sa.MetaData, Mapping[type[Row], sa.Table]]:
    metadata = sa.MetaData()
    return metadata, {row: _table(row.spec, metadata) for row in rows}


def _table(spec: TableSpec, metadata: sa.MetaData) -> sa.Table:
    columns = [
        sa.Column(
            name,
            _SQL_TYPES[kind],
            primary_key=name == spec.key,
            nullable=nullable,
            autoincrement=False,
            index=name in spec.indexed or None,
            unique=name in spec.unique or None,
        )
        for name, (kind, nullable) in zip(spec.columns, spec.types, strict=True)
    ]
    table = sa.Table(spec.name, metadata, *columns, sqlite_with_rowid=False)
    for one in spec.indexed:
        name, equals, value = one.partition("=")
        if equals:
            where = table.c[name] == sa.literal_column(f"'{value}'")
            sa.Index(f"ix_{spec.name}_{name}_{value}", table.c[spec.key], sqlite_where=where, postgresql_where=where)
    return table
