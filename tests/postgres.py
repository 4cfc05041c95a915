"""A PostgreSQL server of the tests' own: made in a temporary folder, gone afterwards.

It is reached over a Unix socket without a password, and on 127.0.0.1 with one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

START_SECONDS = 30.0


class NoPostgres(Exception):
    """There is no PostgreSQL to start on this machine."""


def binaries() -> Path:
    """The folder with the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise NoPostgres("PostgreSQL's server programs are not installed (looked for initdb)")
    return Path(on_path).resolve().parent


def _account() -> str | None:
    """Whom to run the server as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise NoPostgres("no system user to run PostgreSQL as")


class PostgresServer:
    """A running server; every test takes a schema of its own in it.

    Parameters
    ----------
    durable : bool
        Whether commits wait for the disk: for those who measure.
    """

    def __init__(self, *, durable: bool = False) -> None:
        programs = binaries()
        account = _account()
        self._folder = Path(tempfile.mkdtemp(prefix="fourparty-pg-"))
        self._schemas = 0
        self._as: dict[str, object] = {}
        if account is not None:
            entry = pwd.getpwnam(account)
            os.chown(self._folder, entry.pw_uid, entry.pw_gid)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        data = self._folder / "data"
        # a locale that does not sort by code point, so that code which relies on that is found out
        options = ["--encoding=UTF8", "--locale=C.UTF-8", "--username=tests", "--no-sync"]
        options += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        if "--icu-locale" in self._output(programs / "initdb", "--help"):
            options += ["--locale-provider=icu", "--icu-locale=en-US"]
        try:
            self._output(programs / "initdb", "--pgdata", str(data), *options)
            self._process = subprocess.Popen(
                [
                    *(str(programs / "postgres"), "-D", str(data), "-k", str(self._folder)),
                    *("-c", "listen_addresses=127.0.0.1", "-c", f"port={self.port}"),
                    *("-c", f"fsync={'on' if durable else 'off'}"),
                    *("-c", f"shared_buffers={'128MB' if durable else '16MB'}"),
                    *("-c", "max_connections=40", "-c", "autovacuum=off", "-c", "log_min_messages=panic"),
                ],
                cwd=self._folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **self._as,  # type: ignore[call-overload]
            )
            self._await()
        except BaseException:
            self.stop()
            raise

    def _output(self, program: Path, *arguments: str) -> str:
        done = subprocess.run(
            [str(program), *arguments],
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **self._as,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise RuntimeError(f"{program.name} failed: {done.stderr.strip()}")
        return str(done.stdout)

    @property
    def process_id(self) -> int:
        """The server's first process, parent of all others."""
        return self._process.pid

    @property
    def conninfo(self) -> str:
        """How libpq reaches the server."""
        return f"host={self._folder} port={self.port} user=tests dbname=postgres"

    @property
    def _socket(self) -> str:
        return f"host={quote(str(self._folder))}&port={self.port}"

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.conninfo, connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the PostgreSQL server did not come up") from None
                time.sleep(0.05)
            else:
                return

    def new_schema(self) -> str:
        """The SQLAlchemy URL of an empty schema."""
        self._schemas += 1
        name = f"test_{self._schemas}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        options = quote(f"-csearch_path={name}")
        return f"postgresql+psycopg://tests@/postgres?{self._socket}&options={options}"

    def new_database(self) -> str:
        """The SQLAlchemy URL of an empty database."""
        self._schemas += 1
        name = f"test_{self._schemas}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://tests@/{name}?{self._socket}"

    def stop(self) -> None:
        """End the server and take its folder away."""
        process = getattr(self, "_process", None)
        if process is not None:
            process.send_signal(signal.SIGINT)  # disconnects everyone and shuts down cleanly
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        shutil.rmtree(self._folder, ignore_errors=True)
