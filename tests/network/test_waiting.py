"""Waiting, bounded, for what others bring."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
import sqlalchemy as sa
from postgres import PostgresServer
from pydantic_settings import BaseSettings
from structlog.testing import capture_logs

from network.service import ConfigurationError, ProcessSettings, await_files, database_url, open_store
from network.store import Row, table
from network.waiting import NotYet, wait_for, wait_for_files


@table("parcel", key="number")
class Parcel(Row):
    """A row."""

    number: int


def test_what_comes_late_is_awaited_and_the_log_says_what_for() -> None:
    tries = iter(["not up", "not up", None])

    def attempt() -> str:
        reason = next(tries)
        if reason is not None:
            raise NotYet(reason)
        return "there"

    with capture_logs() as logged:
        assert wait_for("the database", attempt, 10) == "there"
    # one line for several tries
    assert [(one["event"], one["awaited"], one["reason"]) for one in logged] == [("waiting", "the database", "not up")]


def test_a_wait_ends() -> None:
    tries = 0

    def attempt() -> None:
        nonlocal tries
        tries += 1
        raise NotYet(f"try {tries}")

    with pytest.raises(NotYet, match=r"try [2-9]"):
        wait_for("godot", attempt, 0.12)
    before = tries
    with pytest.raises(NotYet):
        wait_for("godot", attempt, 0)
    assert tries == before + 1


def test_other_errors_are_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_for("nothing", lambda: 1 // 0, 10)


def test_files_that_another_writes_are_awaited(tmp_path: Path) -> None:
    first, second = tmp_path / "ca.crt", tmp_path / "folder" / "tls.key"
    first.touch()

    def write() -> None:
        time.sleep(0.1)
        first.write_text("x")
        second.parent.mkdir()
        second.write_text("y")

    writer = threading.Thread(target=write)
    writer.start()
    wait_for_files([first, second], 10)
    assert second.read_text() == "y"
    writer.join()
    began = time.monotonic()
    # whoever reads the one that never comes says so
    wait_for_files([tmp_path / "never", tmp_path / "neither"], 0.1)
    assert time.monotonic() - began < 5


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., ProcessSettings]:
    (tmp_path / "party.key").write_text("5a" * 32)

    def made(**changes: object) -> ProcessSettings:
        usual = {"database": "sqlite://", "storage_key_file": tmp_path / "party.key", "wait_seconds": 5}
        return ProcessSettings(**{**usual, **changes})  # type: ignore[arg-type]

    return made


def test_only_settings_that_say_so_wait_for_files(tmp_path: Path, settings: Callable[..., ProcessSettings]) -> None:
    late = tmp_path / "late.key"
    await_files(settings(storage_key_file=late))
    writer = threading.Timer(0.1, lambda: late.write_text("5a" * 32))
    writer.start()
    await_files(settings(storage_key_file=late, wait_for_files=True))
    assert late.exists()
    writer.join()


def test_the_database_s_password_has_a_file_of_its_own(
    tmp_path: Path, settings: Callable[..., ProcessSettings]
) -> None:
    secret = tmp_path / "password"
    secret.write_text("h:u/s@h\n")
    url = "postgresql+psycopg://party@127.0.0.1:1/party"
    made = settings(database=url, database_password_file=secret, wait_seconds=0)
    assert database_url(made) == "postgresql+psycopg://party:h%3Au%2Fs%40h@127.0.0.1:1/party"
    assert database_url(settings(database=url)) == url
    with pytest.raises(ConfigurationError, match="cannot open postgresql") as caught:
        open_store(made, ())
    assert "h:u" not in str(caught.value)
    assert "h%3A" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="database: it is not given as a URL"):
        database_url(settings(database="party", database_password_file=secret))
    with pytest.raises(ConfigurationError, match="No such file"):
        database_url(settings(database_password_file=tmp_path / "none"))


def test_the_password_in_its_file_opens_the_database(
    tmp_path: Path, postgres_server: PostgresServer, settings: Callable[..., ProcessSettings]
) -> None:
    database = sa.make_url(postgres_server.new_database()).database
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'it''s:a/secret'")
    secret = tmp_path / "password"
    url = f"postgresql+psycopg://keeper@127.0.0.1:{postgres_server.port}/{database}"
    for password, words in (("it's:a/secret", None), ("it's another", "password authentication failed")):
        secret.write_text(f"{password}\n")
        made = settings(database=url, database_password_file=secret, wait_seconds=0)
        if words is None:
            open_store(made, (Parcel,)).close()
        else:
            with pytest.raises(ConfigurationError, match=words) as caught:
                open_store(made, (Parcel,))
            assert password not in str(caught.value)


def test_a_setting_out_of_bounds_is_refused() -> None:
    assert issubclass(ProcessSettings, BaseSettings)
    for name, value in (("wait_seconds", -1), ("wait_seconds", 1e9), ("drain_seconds", 601)):
        with pytest.raises(ValueError, match=name):
            ProcessSettings(database="x", storage_key_file=Path("x"), **{name: value})  # type: ignore[arg-type]


def test_a_database_server_that_comes_late_is_awaited(
    postgres_server: PostgresServer, settings: Callable[..., ProcessSettings]
) -> None:
    """The port is there from the beginning, the server behind it only later: as when a container starts."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    listening.close()
    schema = postgres_server.new_schema()
    folder = unquote(str(sa.make_url(schema).query["host"]))
    late = threading.Timer(0.3, lambda: forward(port, f"{folder}/.s.PGSQL.{postgres_server.port}"))
    late.daemon = True
    late.start()
    url = sa.make_url(schema).set(host="127.0.0.1", port=port)
    query = {name: value for name, value in url.query.items() if name not in ("host", "port")}
    given = url.set(query=query).render_as_string(hide_password=False)
    with capture_logs() as logged:
        store = open_store(settings(database=given, wait_seconds=20), (Parcel,))
    assert store.problem() is None
    store.close()
    assert {one["awaited"] for one in logged} == {"the database"}
    assert "refused" in logged[0]["reason"]


def forward(port: int, path: str) -> None:
    """Carry the connections of a port to a Unix socket, for as long as the process lives."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            near, _ = listening.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(path)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=carry, args=(source, target), daemon=True).start()


def carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
