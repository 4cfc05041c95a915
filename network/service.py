"""A party as a process: its store, its links, its log, its end."""

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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final, NamedTuple

import structlog

from network.capture import Capture
from network.connections import allow_many_connections
from network.framing import Framing
from network.history import History
from network.keys import SecurityModule
from network.live import LiveRuntime, run_loop
from network.metrics import Metrics
from network.observation import Observation
from network.party import Party, calm_collector
from network.rest import RestThread, Routes, Service, application
from network.settings import (
    Address,
    ConfigurationError,
    ProcessSettings,
    ServiceSettings,
    TraceSettings,
    await_files,
    database_url,
    load_settings,
    open_module,
    open_tls,
    read_secret,
)
from network.store import Row, SchemaError, Store, StoreError, StoreUnavailable
from network.tls import LinkTls, Tls
from network.trace_export import TraceError, open_tracing
from network.tracing import Tracing
from network.waiting import wait_for

__all__ = [
    "PCAP_VARIABLE",
    "Address",
    "ConfigurationError",
    "Dialled",
    "Listening",
    "ProcessSettings",
    "ServiceSettings",
    "TraceSettings",
    "await_files",
    "bind",
    "configure_logging",
    "database_url",
    "end_with_parent",
    "ends_at_once",
    "followed",
    "load_settings",
    "main",
    "open_capture",
    "open_module",
    "open_store",
    "open_tls",
    "read_secret",
    "run",
]

PARENT_VARIABLE: Final = "FOURPARTY_PARENT"
"""Environment variable with the process id of who started this one and wants it to end with itself."""

PCAP_VARIABLE: Final = "FOURPARTY_PCAP"
"""Environment variable of the setting `pcap`."""

PARENT_SECONDS: Final = 1.0

CAPTURE_HOLDS: Final = "card numbers in clear, PIN blocks, keys under keys and the secrets of TLS, as the wire has them"
"""What whoever opens a capture has to know."""

log = structlog.get_logger(__name__)


def open_store(settings: ProcessSettings, rows: Sequence[type[Row]], history: History | None = None) -> Store:
    """The party's database, waited for while its server is not up, and brought up to date where the settings say so.

    Parameters
    ----------
    history : History or None
        Of the tables; None for those that have none, which are made where they are missing.

    Raises
    ------
    ConfigurationError
        It cannot be opened, or is behind.
    """
    url = database_url(settings)
    revision = None if history is None else history.head

    def opened() -> Store:
        return Store(url, rows, create=history is None, revision=revision)

    try:
        try:
            return wait_for("the database", opened, settings.wait_seconds, StoreUnavailable)
        except SchemaError as error:
            if history is None or not error.behind:
                raise
            if not settings.migrate:
                raise ConfigurationError(f"{error}: run fourparty migrate") from error
        from network.migrating import migrate

        done = migrate(url, rows, history)
        if done.before is not None:
            log.info("migrated", before=done.before, after=done.after)
        return opened()
    except StoreError as error:
        raise ConfigurationError(str(error)) from error


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
    """A port that the process accepts links on; they are named ``prefix:...``.

    Attributes
    ----------
    members : bool
        Whether members dial it, who with TLS show certificates.
    member : str or None
        The only member that may dial it.
    """

    prefix: str
    address: Address
    framing: Framing
    members: bool = False
    member: str | None = None

    def secured(self, tls: Tls | None) -> LinkTls | None:
        """How its links are secured in a process with this TLS."""
        if tls is None:
            return None
        return tls.accepts_member(self.member) if self.members else tls.accepts_anyone()


@dataclass(frozen=True)
class Dialled:
    """A link that the process keeps up.

    Attributes
    ----------
    member : str or None
        The member whose certificate the other end must show with TLS; None: any of the authority for the host.
    """

    link: str
    address: Address
    framing: Framing
    member: str | None = None

    def secured(self, tls: Tls | None) -> LinkTls | None:
        """How it is secured in a process with this TLS."""
        if tls is None:
            return None
        return tls.dials_anyone() if self.member is None else tls.dials_member(self.member)


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


@contextmanager
def followed(settings: TraceSettings, process: str) -> Iterator[Tracing | None]:
    """Tracing of what `process` does, as the settings ask for it; what has not left at the end is given a moment.

    Raises
    ------
    ConfigurationError
        The endpoint is no address, or OpenTelemetry is not installed.
    """
    try:
        opened = open_tracing(process, settings.traces_endpoint, settings.traces_sample)
    except TraceError as error:
        raise ConfigurationError(str(error)) from error
    if opened is None:
        yield None
        return
    tracing, exporter = opened
    try:
        yield tracing
    finally:
        exporter.close()


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
    history: History | None = None,
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
        tls = open_tls(settings)
        if tls is not None and not tls.may_listen:
            raise ConfigurationError("tls_certificate_file: a service needs it for its own REST interface and links")
        store = open_store(settings, rows, history)
    capture: Capture | None = None
    try:
        party = make_party(module)
        listening = bind(Address.parse(settings.api))
        allow_many_connections()
        capture = open_capture(settings, party.name)
        watched = observation or Observation()
        with followed(settings, party.name) as tracing:
            live = _Live(capture, tracing)
            return run_loop(
                _serve(
                    party, store, module, settings, token, tls, listening, listen, dial, routes, watched, prepare, live
                )
            )
    finally:
        store.close()
        if capture is not None:
            capture.close()


class _Live(NamedTuple):
    """What watches the runtime."""

    capture: Capture | None
    tracing: Tracing | None


async def _serve(
    party: Party,
    store: Store,
    module: SecurityModule,
    settings: ServiceSettings,
    token: str,
    tls: Tls | None,
    listening: socket.socket,
    listen: Sequence[Listening],
    dial: Sequence[Dialled],
    routes: Sequence[Routes],
    observation: Observation,
    prepare: Callable[[LiveRuntime], None] | None,
    live: _Live,
) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    runtime = LiveRuntime(
        party, store, random=SystemRandom(), failed=lambda _: end(3), capture=live.capture, tracing=live.tracing
    )
    if prepare is not None:
        prepare(runtime)
    try:
        runtime.start()
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    for one in listen:
        try:
            await runtime.listen(one.prefix, *one.address, one.framing, one.secured(tls))
        except OSError as error:
            raise _cannot_listen(one.address, error) from error
        except UnicodeError as error:
            raise ConfigurationError(f"cannot listen on {one.address}: no such host name") from error
    for other in dial:
        runtime.dial(other.link, *other.address, other.framing, other.secured(tls))
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
    rest = RestThread(application(service, routes), listening, None if tls is None else tls.server())
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
