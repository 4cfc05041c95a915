"""A party's REST interface: what every party has, and what guards it.

It has a thread and a loop of its own, so that queries do not stop payments: queries read the store, commands enter the
party's queue and are decided in a turn.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import fastapi
import uvicorn
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from network import ledger
from network.keys import SecurityModule
from network.live import LiveRuntime
from network.message_trace import messages_of
from network.metrics import Metrics
from network.party import CommandError, Json
from network.readiness import Readiness, as_json
from network.store import Store
from network.turn_profile import samples_to_json

COMMAND_SECONDS: Final = 90.0
"""How long a REST command may wait for its answer: longer than the longest message timeout."""

MESSAGES_LIMIT: Final = 500

REST_CONNECTIONS: Final = 200
"""HTTP connections served at a time; more are answered 503."""


@dataclass
class Service:
    """What REST routes may use of the process."""

    name: str
    store: Store
    module: SecurityModule
    token: str = field(repr=False)
    ask: Callable[[str, dict[str, Json]], Any] = field(repr=False)
    runtime: LiveRuntime = field(repr=False)
    public: list[str] = field(default_factory=list)
    """Prefixes of paths that are open to whoever calls; their routes know callers by other means."""
    metrics: Metrics | None = field(default=None, repr=False)
    metrics_open: bool = False
    """Whether ``/metrics`` is answered to whoever calls, and not only to who shows the token."""

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
    app = fastapi.FastAPI(title=f"fourparty {service.name}")

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

    readiness = Readiness(service.store, service.runtime)

    @app.get("/ready", responses={503: {"description": "It cannot serve now; `reason` says why."}})
    async def ready() -> JSONResponse:
        """Whether the process can serve now: 200, or 503 with the reason."""
        report = await readiness.report()
        return JSONResponse(as_json(service.name, report), 200 if report.ready else 503)

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

    @app.post("/turns", dependencies=operator)
    async def turns(on: bool) -> list[dict[str, Any]]:
        """Begin or end a profile of the party's turns; what the last one took, each in microseconds."""
        taken = await asyncio.wrap_future(service.runtime.profile_turns(on))
        return samples_to_json(taken)

    @app.get("/messages", dependencies=operator)
    async def messages(
        since: int = 0, terminal: str | None = None, limit: Annotated[int, fastapi.Query(ge=1, le=MESSAGES_LIMIT)] = 100
    ) -> list[dict[str, Json]]:
        """The messages that crossed this process's links last, described and masked."""
        return messages_of(service.runtime.trace, since, terminal, limit)

    @app.get("/metrics")
    def metrics(accept: Annotated[str, fastapi.Header()] = "") -> fastapi.Response:
        """The party's figures for Prometheus."""
        if service.metrics is None:
            raise fastapi.HTTPException(404, "this process keeps no figures")
        found = service.metrics.exposition(accept)
        return fastapi.Response(found.content, media_type=found.content_type)

    for make in routes:
        app.include_router(make(service))
    is_open = frozenset(("/metrics",) if service.metrics_open else ())
    app.add_middleware(Guard, token=service.token, public=tuple(service.public), more_open=is_open)
    return app


class Guard:
    """Stands before everything: who shows no token is told so before a byte of the body is read.

    What the token's holder sends is bounded in length and time, and what comes on public paths more narrowly.
    """

    OPEN: Final = frozenset(("/health", "/ready", "/docs", "/openapi.json"))
    LONGEST: Final = 65_536
    LONGEST_PUBLIC: Final = 16_384
    SECONDS: Final = 10.0

    def __init__(
        self, app: ASGIApp, token: str, public: tuple[str, ...] = (), more_open: frozenset[str] = frozenset()
    ) -> None:
        self.app = app
        self._open = self.OPEN | more_open
        self._expected = f"Bearer {token}".encode()
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        refusal: tuple[int, str] | None = None
        shown = headers.get(b"authorization", b"")
        is_public = scope["path"].startswith(self._public)
        longest = self.LONGEST_PUBLIC if is_public else self.LONGEST
        if scope["path"] not in self._open and not is_public and not hmac.compare_digest(shown, self._expected):
            refusal = 401, "show the operator token as a bearer token"
        elif not length.isdigit() or int(length) > longest:
            refusal = 413, f"a request has at most {longest} bytes"
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
            if taken > longest:
                raise fastapi.HTTPException(413, f"a request has at most {longest} bytes")
            if not message.get("more_body"):
                taken = -1
            return message

        await self.app(scope, bounded, send)


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
    """The REST interface on a thread and a loop of its own; with `tls` it is HTTPS."""

    def __init__(self, app: ASGIApp, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        configuration = uvicorn.Config(
            app,
            http=_ImpatientHttp,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
            limit_concurrency=REST_CONNECTIONS,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
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
