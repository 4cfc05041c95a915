"""The databases of a demo network on a PostgreSQL server: made, emptied while they are being filled, and claimed.

A database that a network has been prepared in says so in its comment, with the network's number. So a preparation that
was cut short can begin again on what it left behind, and no network ever empties the database of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
import sqlalchemy as sa
from psycopg import sql

from network.service import ConfigurationError
from network.store import Store

CONNECT_SECONDS: Final = 10

_CLAIM: Final = re.compile(r"fourparty network ([0-9a-f]{16})")


def siblings(url: str, names: Mapping[str, str]) -> dict[str, str]:
    """The URLs of databases on the server of `url`, named after its database: ``.../demo`` gives ``.../demo_switch``.

    Parameters
    ----------
    url
        SQLAlchemy URL of a PostgreSQL database.
    names
        What is added to the database's name, by whatever the URLs are to be known by.

    Raises
    ------
    ConfigurationError
        It is no such URL.
    """
    parsed = _parsed(url)
    return {
        key: parsed.set(database=f"{parsed.database}_{name}").render_as_string(hide_password=False)
        for key, name in names.items()
    }


def create(url: str, names: Mapping[str, str]) -> dict[str, str]:
    """Make those of the `siblings` of `url` that are missing; gives the URLs of all.

    Raises
    ------
    ConfigurationError
        The server cannot be reached, or does not let this user make databases.
    """
    urls = siblings(url, names)
    with _connected(url) as connection:
        for one in urls.values():
            name = _parsed(one).database or ""
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return urls


def create_owned(url: str, name: str, password: str) -> None:
    """Make a database and a user of the same name who owns it and whom alone it lets in, where they are missing.

    Parameters
    ----------
    url
        How a superuser reaches the server.
    password
        The user's; set anew where there is one already.

    Raises
    ------
    ConfigurationError
        The server cannot be reached, or refuses.
    """
    user = sql.Identifier(name)
    with _connected(url) as connection:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone()
        verb = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}" if known else "CREATE ROLE {} LOGIN PASSWORD {}")
        connection.execute(verb.format(user, sql.Literal(password)))
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(user, user))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(user))


def claimed_by(url: str) -> str | None:
    """The number of the network that a database belongs to; None where none has been prepared in it."""
    with _connected(url) as connection:
        row = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    match = _CLAIM.fullmatch(str(row[0])) if row else None
    return match[1] if match else None


def claim(url: str, network: str) -> None:
    """Have a database say that it belongs to the network with this number.

    Raises
    ------
    ConfigurationError
        It belongs to another.
    """
    holder = claimed_by(url)
    if holder not in (None, network):
        raise ConfigurationError(f"{_shown(url)} belongs to another network; name another database")
    if holder is None:
        comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
        name = sql.Identifier(_parsed(url).database or "")
        with _connected(url) as connection:
            connection.execute(comment.format(name, sql.Literal(f"fourparty network {network}")))


def empty(store: Store) -> None:
    """Take all rows out of a store that belongs to no network: a preparation that was cut short has left them.

    Raises
    ------
    ConfigurationError
        It belongs to one.
    """
    url = store.url.render_as_string(hide_password=False)
    if claimed_by(url) is not None:
        raise ConfigurationError(
            f"{_shown(url)} holds a network whose network.json is not here; name another database, or drop this one"
        )
    with store.engine.connect() as connection:
        names = ", ".join(store.engine.dialect.identifier_preparer.quote(one.name) for one in store.tables.values())
        connection.execute(sa.text(f"TRUNCATE {names}"))


def is_postgres(url: str) -> bool:
    """Whether a SQLAlchemy URL is of a PostgreSQL database."""
    return url.startswith("postgresql+psycopg:")


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(
            "the database is not given as a URL such as postgresql+psycopg://user@host/demo"
        ) from error
    if not is_postgres(url) or not parsed.database:
        raise ConfigurationError(f"{parsed.render_as_string()} is not like postgresql+psycopg://user@host/demo")
    return parsed


def _shown(url: str) -> str:
    return sa.make_url(url).render_as_string()


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    # as libpq reads it, whatever the query says (a socket's folder, a certificate)
    conninfo = _parsed(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(conninfo, connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
            yield connection
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()
        raise ConfigurationError(f"{_shown(url)}: {reason[0] if reason else type(error).__name__}") from error
