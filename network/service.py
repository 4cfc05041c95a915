"""A party as a process: its settings, its links, its log, its end.

Settings come from defaults, then a TOML file, then the environment (``FOURPARTY_...``); secrets are files.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Final, NamedTuple, TypeVar

import sqlalchemy as sa
import structlog
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from network.capture import Capture
from network.connections import allow_many_connections
from network.framing import Framing
from network.keys import SecurityModule, SecurityModuleError
from network.live import LiveRuntime, run_loop
from network.metrics import Metrics
from network.observation import Observation
from network.party import Party, calm_collector
from network.rest import RestThread, Routes, Service, application
from network.store import Row, Store, StoreError, StoreUnavailable
from network.waiting import wait_for, wait_for_files

PARENT_VARIABLE: Final = "FOURPARTY_PARENT"
"""Environment variable with the process id of who started this one and wants it to end with itself."""

PCAP_VARIABLE: Final = "FOURPARTY_PCAP"
"""Environment variable of the setting `pcap`."""

PARENT_SECONDS: Final = 1.0

CAPTURE_HOLDS: Final = "card numbers in clear, PIN blocks, keys under keys and the secrets of TLS, as the wire has them"
"""What whoever opens a capture has to know."""

log = structlog.get_logger(__name__)


class ConfigurationError(Exception):
    """The process cannot start as it is configured; the message says what to change."""


class Address(NamedTuple):
    """A host and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``.

        Raises
        ------
        ConfigurationError
            The text is no such address.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= 65535:
            raise ConfigurationError(f"{text!r} is not an address such as 127.0.0.1:7001")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class ProcessSettings(BaseSettings):
    """What every process that runs a party needs to know.

    Attributes
    ----------
    database : str
        SQLAlchemy URL of the party's own database.
    database_password_file : Path or None
        The database's password, which the URL then need not hold.
    wait_seconds : float
        How long to wait for a database server that does not let anybody in yet.
    wait_for_files : bool
        Whether to wait as long for files that the settings name and that another writes.
    drain_seconds : float
        How long, once told to end, to wait for answers that others still owe.
    storage_key_file : Path
        Hex file with the security module's storage key.
    log_level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    pcap : Path or None
        File to which what crosses the links is written.
    pcap_links : str
        ``all`` of them, or ``accepted``, those that others dial, where the other ends are captured too.
    """

    model_config = SettingsConfigDict(env_prefix="FOURPARTY_", env_nested_delimiter="__", extra="forbid")

    database: str
    database_password_file: Path | None = None
    storage_key_file: Path
    wait_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    wait_for_files: bool = False
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 3.0
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"
    pcap: Path | None = None
    pcap_links: Annotated[str, Field(pattern="^(all|accepted)$")] = "all"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content comes as the initial values."""
        return env_settings, init_settings


class ServiceSettings(ProcessSettings):
    """What every service's process needs to know besides.

    Attributes
    ----------
    operator_token_file : Path
        The bearer token that REST callers must show.
    api : str
        Address of the REST interface.
    metrics_open : bool
        Whether ``/metrics`` is answered without the token: for scrapers in a closed network.
    """

    operator_token_file: Path
    api: str
    metrics_open: bool = False

    @field_validator("api")
    @classmethod
    def _is_address(cls, text: str) -> str:
        try:
            Address.parse(text)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return text


S = TypeVar("S", bound=ProcessSettings)


def load_settings(settings: type[S], path: Path) -> S:
    """Settings from the TOML file and the environment.

    Raises
    ------
    ConfigurationError
        The file is missing or wrong; the message names the setting.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    try:
        return settings(**content)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: setting {name}: {first['msg']}") from error
    except SettingsError as error:
        raise ConfigurationError(f"the environment: {error}") from error


def read_secret(path: Path) -> str:
    """A secret kept in a file of its own.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is empty.
    """
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not text") from error
    if not secret:
        raise ConfigurationError(f"{path} is empty")
    return secret


def open_module(storage_key_file: Path) -> SecurityModule:
    """The security module of a process.

    Raises
    ------
    ConfigurationError
        The storage key is missing or no key.
    """
    try:
        key = bytes.fromhex(read_secret(storage_key_file))
        return SecurityModule(key, SystemRandom())
    except (ValueError, SecurityModuleError) as error:
        raise ConfigurationError(f"{storage_key_file} does not hold a storage key: 32, 48 or 64 hex digits") from error


def open_capture(settings: ProcessSettings, process: str) -> Capture | None:
    """The capture that the settings ask for, of what crosses the links of `process`.

    Raises
    ------
    ConfigurationError
        The file cannot be written.
    """
    if settings.pcap is None:
        return None
    try:
        capture = Capture(settings.pcap, process, accepted_only=settings.pcap_links == "accepted")
    except OSError as error:
        raise ConfigurationError(f"cannot write the capture {settings.pcap}: {error.strerror}") from error
    log.warning("capturing", file=str(settings.pcap), holds=CAPTURE_HOLDS)
    return capture


def database_url(settings: ProcessSettings) -> str:
    """The database's URL with its password, where that has a file of its own.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or the setting is no URL.
    """
    if settings.database_password_file is None:
        return settings.database
    password = read_secret(settings.database_password_file)
    try:
        url = sa.make_url(settings.database)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError("database: it is not given as a URL such as postgresql+psycopg://db/party") from error
    return url.set(password=password).render_as_string(hide_password=False)


def open_store(settings: ProcessSettings, rows: Sequence[type[Row]]) -> Store:
    """The party's database, waited for while its server is not up.

    Raises
    ------
    ConfigurationError
        It cannot be opened.
    """
    url = database_url(settings)
    try:
        return wait_for("the database", lambda: Store(url, rows), settings.wait_seconds, StoreUnavailable)
    except StoreError as error:
        raise ConfigurationError(str(error)) from error


def await_files(settings: ProcessSettings) -> None:
    """Wait for the files that settings called ``..._file`` name, where the settings say so."""
    if settings.wait_for_files:
        named = ((name, getattr(settings, name)) for name in type(settings).model_fields)
        paths = [path for name, path in named if name.endswith("_file") and isinstance(path, Path)]
        wait_for_files(paths, settings.wait_seconds)


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """Let SIGTERM and SIGINT end a process that does not serve yet: as a container's first one it would ignore them."""

    def end(_number: int, _frame: object) -> None:
        sys.exit(0)

    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Listening:
    """A port that the process accepts links on; they are named ``prefix:...``."""

    prefix: str
    address: Address
    framing: Framing


@dataclass(frozen=True)
class Dialled:
    """A link that the process keeps up."""

    link: str
    address: Address
    framing: Framing


def configure_logging(level: str) -> None:
    """One line an event on stderr: JSON, or for people on a terminal."""
    renderer = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    logging.basicConfig(handlers=[_OneLine()], level=logging.WARNING, force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


class _OneLine(logging.Handler):
    """What libraries log, as an event of one line: of an exception its kind only, as its text may hold secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it."""
        kind = record.exc_info[0] if record.exc_info else None
        log.warning(
            "library", source=record.name, said=record.getMessage().strip(), error=kind.__name__ if kind else None
        )


def bind(address: Address) -> socket.socket:
    """A listening socket.

    Raises
    ------
    ConfigurationError
        The address is in use or not ours.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(tuple(address))
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise _cannot_listen(address, error) from error
    return listening


def _cannot_listen(address: Address, error: OSError) -> ConfigurationError:
    # a failed look-up of the name has an errno of its own kind, and its words
    is_lookup = isinstance(error, socket.gaierror) or not error.errno
    reason = error.strerror or str(error) if is_lookup else os.strerror(error.errno or 0)
    return ConfigurationError(f"cannot listen on {address}: {reason}")


def run(
    make_party: Callable[[SecurityModule], Party],
    settings: ServiceSettings,
    *,
    rows: Sequence[type[Row]],
    listen: Sequence[Listening] = (),
    dial: Sequence[Dialled] = (),
    routes: Sequence[Routes] = (),
    observation: Observation | None = None,
    prepare: Callable[[LiveRuntime], None] | None = None,
) -> int:
    """Serve a party until SIGTERM or SIGINT.

    Returns
    -------
    int
        Exit code: 0 after a signal, 3 when the store failed.

    Raises
    ------
    ConfigurationError
        A port is in use, a file is missing, the database cannot be opened.
    """
    configure_logging(settings.log_level)
    with ends_at_once():
        await_files(settings)
        module = open_module(settings.storage_key_file)
        token = read_secret(settings.operator_token_file)
        store = open_store(settings, rows)
    capture: Capture | None = None
    try:
        party = make_party(module)
        listening = bind(Address.parse(settings.api))
        allow_many_connections()
        capture = open_capture(settings, party.name)
        watched = observation or Observation()
        return run_loop(
            _serve(party, store, module, settings, token, listening, listen, dial, routes, watched, prepare, capture)
        )
    finally:
        store.close()
        if capture is not None:
            capture.close()


async def _serve(
    party: Party,
    store: Store,
    module: SecurityModule,
    settings: ServiceSettings,
    token: str,
    listening: socket.socket,
    listen: Sequence[Listening],
    dial: Sequence[Dialled],
    routes: Sequence[Routes],
    observation: Observation,
    prepare: Callable[[LiveRuntime], None] | None,
    capture: Capture | None,
) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    runtime = LiveRuntime(party, store, random=SystemRandom(), failed=lambda _: end(3), capture=capture)
    if prepare is not None:
        prepare(runtime)
    try:
        runtime.start()
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    for one in listen:
        try:
            await runtime.listen(one.prefix, *one.address, one.framing)
        except OSError as error:
            raise _cannot_listen(one.address, error) from error
        except UnicodeError as error:
            raise ConfigurationError(f"cannot listen on {one.address}: no such host name") from error
    for other in dial:
        runtime.dial(other.link, *other.address, other.framing)
    service = Service(
        party.name,
        store,
        module,
        token,
        runtime.ask,
        runtime,
        metrics=Metrics(runtime, observation),
        metrics_open=settings.metrics_open,
    )
    rest = RestThread(application(service, routes), listening)
    orphaned = loop.create_task(end_with_parent(end))
    log.info("serving", party=party.name, links=[str(one.address) for one in listen])
    with calm_collector():
        code = await ended
    orphaned.cancel()
    log.info("stopping", party=party.name)
    if code == 0:
        await runtime.drain(settings.drain_seconds)
    await runtime.stop()
    await loop.run_in_executor(None, rest.stop)
    return code


async def end_with_parent(end: Callable[[int], None]) -> None:
    """End when the process that started this one is gone, killed perhaps, where it asked for that."""
    parent = os.environ.get(PARENT_VARIABLE)
    while parent is not None and str(os.getppid()) == parent:
        await asyncio.sleep(PARENT_SECONDS)
    if parent is not None:
        end(0)


def main(name: str, serve: Callable[[Path], int]) -> None:
    """The command line of a party's own process: ``--config FILE``. Exit code 2 says that it cannot start so."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=f"Serve the {name.replace('_', ' ')}.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file with its settings")
    arguments = parser.parse_args()
    try:
        code = serve(arguments.config)
    except ConfigurationError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        code = 2
    sys.exit(code)
