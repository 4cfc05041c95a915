"""Databases as SQLAlchemy reaches them: the URL, the engine for SQLite or PostgreSQL, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

CONNECT_SECONDS: Final = 5
"""How long a database server may take to let a connection in."""

_SERVER_GONE: Final = {
    "tcp_user_timeout": 5_000,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}
"""A server whose machine has vanished says nothing: a turn that waits for it is given up after five seconds.

Otherwise the whole service would stand still for as long as the system goes on sending, SIGTERM unheard.
"""

LOCKED_SECONDS: Final = 10
"""How long to wait for a SQLite file that another process is writing."""


class StoreError(Exception):
    """The database failed or could not be opened; what was not committed is not there."""


class StoreUnavailable(StoreError):
    """The database server cannot be reached, or lets nobody in yet: trying again later may help."""


class SchemaError(StoreError):
    """The database's tables are not those of this version of fourparty.

    Attributes
    ----------
    behind : bool
        Whether a migration would mend it.
    """

    def __init__(self, reason: str, *, behind: bool = False) -> None:
        super().__init__(reason)
        self.behind = behind


def parse_url(url: str) -> sa.URL:
    """The URL.

    Raises
    ------
    StoreError
        It is none.
    """
    try:
        return sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise StoreError("the database is not given as a URL such as sqlite:///party.db") from error


def open_engine(url: sa.URL, *, durable: bool = True, locked_seconds: int = LOCKED_SECONDS) -> sa.Engine:
    """An engine whose connections begin and end transactions only where they are told to.

    Parameters
    ----------
    durable : bool
        False lets SQLite skip waiting for the disk.
    locked_seconds : int
        How long to wait for a SQLite file that another process is writing.
    """
    options: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        if url.database in (None, "", ":memory:"):
            options["poolclass"] = sa.pool.StaticPool
        options["connect_args"] = {"check_same_thread": False, "cached_statements": 256, "timeout": locked_seconds}
    else:
        # positional parameters, so that rows travel as tuples
        options["paramstyle"] = "format"
        options["connect_args"] = {"connect_timeout": CONNECT_SECONDS, **_SERVER_GONE}
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", **options)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _sqlite_pragmas(durable))
    return engine


def opening_error(url: sa.URL, error: BaseException) -> StoreError:
    """What a failure to open a database is to those who wanted to; the URL's password is not told."""
    is_away = isinstance(error, sa.exc.OperationalError) and url.get_backend_name() != "sqlite"
    kind = StoreUnavailable if is_away else StoreError
    return kind(f"cannot open {url.render_as_string()}: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """The database's own words, in one line."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def _sqlite_pragmas(durable: bool) -> Callable[[Any, Any], None]:
    def configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        cursor.execute("PRAGMA wal_autocheckpoint=4000")
        cursor.execute("PRAGMA cache_size=-8000")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.close()

    return configure
