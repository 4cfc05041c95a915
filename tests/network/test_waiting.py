"""Waiting, bounded, for what others bring."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings
from structlog.testing import capture_logs

from network.service import ConfigurationError, ProcessSettings, await_files, database_url, open_store
from network.waiting import NotYet, wait_for, wait_for_files


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


def test_a_setting_out_of_bounds_is_refused() -> None:
    assert issubclass(ProcessSettings, BaseSettings)
    for name, value in (("wait_seconds", -1), ("wait_seconds", 1e9), ("drain_seconds", 601)):
        with pytest.raises(ValueError, match=name):
            ProcessSettings(database="x", storage_key_file=Path("x"), **{name: value})  # type: ignore[arg-type]
