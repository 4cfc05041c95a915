"""A party as a process: its settings, its links, its REST interface, its end.

Settings come from defaults, then a TOML file, then the environment (``FOURPARTY_...``); secrets are files. REST has
a thread and a loop of its own, so that queries do not stop payments: queries read the store, commands enter the
party's queue and are decided in a turn.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import fastapi
import structlog
import uvicorn
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from network import ledger
from network.framing import Framing
from network.iso8583 import INTERBANK, TERMINAL, DecodeError, describe
from network.keys import SecurityModule, SecurityModuleError
from network.live import LiveRuntime, Traced, allow_many_connections, run_loop
from network.party import CommandError, Json, Party, calm_collector, local_time
from network.store import Row, Store, StoreError

COMMAND_SECONDS: Final = 90.0
"""How long a REST command may wait for its answer: longer than the longest message timeout."""

MESSAGES_LIMIT: Final = 500

REST_CONNECTIONS: Final = 200
"""HTTP connections served at a time; more are answered 503."""

PARENT_VARIABLE: Final = "FOURPARTY_PARENT"
"""Environment variable with the process id of who started this one and wants it to end with itself."""

PARENT_SECONDS: Final = 1.0

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


class ServiceSettings(BaseSettings):
    """What every service's process needs to know.

    Attributes
    ----------
    database : str
        SQLAlchemy URL of the party's own database.
    storage_key_file : Path
        Hex file with the security module's storage key.
    operator_token_file : Path
        The bearer token that REST callers must show.
    api : str
        Address of the REST interface.
    """

    model_config = SettingsConfigDict(env_prefix="FOURPARTY_", env_nested_delimiter="__", extra="forbid")

    database: str
    storage_key_file: Path
    operator_token_file: Path
    api: str
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @field_validator("api")
    @classmethod
    def _is_address(cls, text: str) -> str:
        try:
            Address.parse(text)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return text

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


S = TypeVar("S", bound=ServiceSettings)


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


@dataclass
class Service:
    """What REST routes may use of the process."""

    name: str
    store: Store
    module: SecurityModule
    token: str = field(repr=False)
    ask: Callable[[str, dict[str, Json]], Any] = field(repr=False)
    runtime: LiveRuntime = field(repr=False)

    async def command(self, name: str, arguments: dict[str, Json]) -> Json:
        """Give the party a command and wait for its answer.

        Raises
        ------
        CommandError
            The party refused it, or did not answer in time.
        """
        try:
            future = asyncio.wrap_future(self.ask(name, arguments))
            answer: Json = await asyncio.wait_for(future, COMMAND_SECONDS)
        except TimeoutError as error:
            raise CommandError(f"{name}: no answer in {COMMAND_SECONDS:.0f} s") from error
        return answer

    def operator(
        self, shown: Annotated[HTTPAuthorizationCredentials | None, fastapi.Depends(HTTPBearer(auto_error=False))]
    ) -> None:
        """A dependency: the caller shows the operator's token."""
        if shown is None or not hmac.compare_digest(shown.credentials.encode(), self.token.encode()):
            raise fastapi.HTTPException(401, "show the operator token as a bearer token")


Routes = Callable[[Service], fastapi.APIRouter]


def application(service: Service, routes: Sequence[Routes]) -> fastapi.FastAPI:
    """The REST interface: what every party has, and the party's own routes."""

    @asynccontextmanager
    async def lifespan(_: fastapi.FastAPI) -> AsyncIterator[None]:
        yield

    app = fastapi.FastAPI(title=f"fourparty {service.name}", lifespan=lifespan)

    @app.exception_handler(fastapi.exceptions.RequestValidationError)
    async def _malformed(_: fastapi.Request, error: fastapi.exceptions.RequestValidationError) -> JSONResponse:
        # what was sent is not repeated: it may hold a PIN, a PAN or a key
        detail = [{"loc": one["loc"], "msg": one["msg"], "type": one["type"]} for one in error.errors()]
        return JSONResponse({"detail": detail}, 422)

    @app.exception_handler(CommandError)
    async def _refused(_: fastapi.Request, error: CommandError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    @app.get("/health")
    async def health() -> dict[str, Json]:
        """Whether the process answers, and how busy it is."""
        runtime = service.runtime
        return {
            "party": service.name,
            "status": "ok",
            "links": len(runtime.links),
            "queued": runtime.queued,
            "turns": runtime.turns,
            "events": runtime.events,
            "failures": runtime.failures,
        }

    operator = [fastapi.Depends(service.operator)]

    @app.get("/books", dependencies=operator)
    def books() -> dict[str, Any]:
        """The trial balance, proved against the transfers."""
        if ledger.LedgerAccount not in service.store.tables:
            raise fastapi.HTTPException(404, "this party keeps no books")
        try:
            balance = ledger.trial_balance(service.store)
        except ledger.UnbalancedBooks as error:
            raise fastapi.HTTPException(500, str(error)) from error
        return {
            "accounts": [position._asdict() for position in balance.positions],
            "imbalance": balance.imbalance,
            "transfers": balance.transfers,
        }

    @app.get("/latency", dependencies=operator)
    async def latency() -> dict[str, Any]:
        """Time from a message's arrival to the end of the turn that decided it, in microseconds."""
        counts = dict(service.runtime.service.counts)
        return {"counts": {str(us): times for us, times in counts.items()}}

    @app.get("/messages", dependencies=operator)
    async def messages(
        since: int = 0, terminal: str | None = None, limit: Annotated[int, fastapi.Query(ge=1, le=MESSAGES_LIMIT)] = 100
    ) -> list[dict[str, Json]]:
        """The messages that crossed this process's links last, described and masked."""
        recent = [one for one in list(service.runtime.trace) if one.at >= since]
        described = (found for one in reversed(recent) if (found := _described(one, terminal)) is not None)
        return list(itertools.islice(described, limit))[::-1]

    for make in routes:
        app.include_router(make(service))
    app.add_middleware(Guard, token=service.token)
    return app


class Guard:
    """Stands before everything: who shows no token is told so before a byte of the body is read.

    What the token's holder sends is bounded in length and time.
    """

    OPEN: Final = frozenset(("/health", "/docs", "/openapi.json"))
    LONGEST: Final = 65_536
    SECONDS: Final = 10.0

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        refusal: tuple[int, str] | None = None
        shown = headers.get(b"authorization", b"")
        if scope["path"] not in self.OPEN and not hmac.compare_digest(shown, self._expected):
            refusal = 401, "show the operator token as a bearer token"
        elif not length.isdigit() or int(length) > self.LONGEST:
            refusal = 413, f"a request has at most {self.LONGEST} bytes"
        if refusal is not None:
            headers_sent = {"Connection": "close", "WWW-Authenticate": "Bearer"}
            await JSONResponse({"detail": refusal[1]}, refusal[0], headers_sent)(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            if taken < 0:  # the body has come: what follows is only the client's going
                return await receive()
            message = await asyncio.wait_for(receive(), self.SECONDS)
            taken += len(message.get("body", b""))
            if taken > self.LONGEST:
                raise fastapi.HTTPException(413, f"a request has at most {self.LONGEST} bytes")
            if not message.get("more_body"):
                taken = -1
            return message

        await self.app(scope, bounded, send)


def _described(one: Traced, terminal: str | None) -> dict[str, Json] | None:
    dialect = TERMINAL if one.body[:1] == b"\x60" else INTERBANK
    try:
        message = dialect.unpack(one.body)
    except DecodeError as error:
        if terminal is not None:
            return None
        return {"at": one.at, "link": one.link, "incoming": one.incoming, "error": str(error)}
    if terminal is not None and message.get(41) != terminal:
        return None
    return {
        "at": one.at,
        "time": local_time(one.at).isoformat(timespec="milliseconds"),
        "link": one.link,
        "incoming": one.incoming,
        "mti": message.mti,
        "length": len(one.body),
        "description": describe(message, dialect),
    }


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


class _ImpatientHttp(H11Protocol):
    """HTTP whose requests must have come whole, head and all, within `Guard.SECONDS`."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_a_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_a_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._patience is not None:
            self._patience.cancel()

    def _wait_for_a_request(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(Guard.SECONDS, self._lose_patience)

    def _lose_patience(self) -> None:
        self._patience = None
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()


class RestThread:
    """The REST interface on a thread and a loop of its own."""

    def __init__(self, app: fastapi.FastAPI, listening: socket.socket) -> None:
        configuration = uvicorn.Config(
            app,
            http=_ImpatientHttp,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            limit_concurrency=REST_CONNECTIONS,
        )
        self._server = uvicorn.Server(configuration)
        self._listening = listening
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._server.run(sockets=[self._listening])

    def stop(self) -> None:
        """Answer what is being answered and end."""
        self._server.should_exit = True
        self._thread.join(timeout=3)


def run(
    make_party: Callable[[SecurityModule], Party],
    settings: ServiceSettings,
    *,
    rows: Sequence[type[Row]],
    listen: Sequence[Listening] = (),
    dial: Sequence[Dialled] = (),
    routes: Sequence[Routes] = (),
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
    module = open_module(settings.storage_key_file)
    token = read_secret(settings.operator_token_file)
    try:
        store = Store(settings.database, rows)
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    try:
        party = make_party(module)
        listening = bind(Address.parse(settings.api))
        allow_many_connections()
        return run_loop(_serve(party, store, module, token, listening, listen, dial, routes, prepare))
    finally:
        store.close()


async def _serve(
    party: Party,
    store: Store,
    module: SecurityModule,
    token: str,
    listening: socket.socket,
    listen: Sequence[Listening],
    dial: Sequence[Dialled],
    routes: Sequence[Routes],
    prepare: Callable[[LiveRuntime], None] | None,
) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    runtime = LiveRuntime(party, store, random=SystemRandom(), failed=lambda _: end(3))
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
    service = Service(party.name, store, module, token, runtime.ask, runtime)
    rest = RestThread(application(service, routes), listening)
    orphaned = loop.create_task(_end_with_parent(end))
    log.info("serving", party=party.name, links=[str(one.address) for one in listen])
    with calm_collector():
        code = await ended
    orphaned.cancel()
    log.info("stopping", party=party.name)
    await runtime.stop()
    await loop.run_in_executor(None, rest.stop)
    return code


async def _end_with_parent(end: Callable[[int], None]) -> None:
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
