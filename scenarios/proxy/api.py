"""The REST interface of a process of fault proxies, in the shape that Toxiproxy's clients know.

It needs no token, as theirs do not send one: listen where only testers are. A browser is refused, so that no page can
reach a proxy on its reader's machine.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import fastapi
from fastapi.responses import JSONResponse, Response

from network.party import local_time
from scenarios.proxy.proxies import Proxies, Refused

VERSION: Final = "2.9.0"
"""Of Toxiproxy, whose interface this is."""

LONGEST: Final = 262_144
"""Bytes of a request's body."""

T = TypeVar("T")


def application(proxies: Proxies, loop: asyncio.AbstractEventLoop) -> fastapi.FastAPI:
    """The interface, to be served in another thread than the proxies' loop."""
    app = fastapi.FastAPI(title="fourparty proxy")

    async def order(what: Coroutine[Any, Any, T]) -> T:
        """Have something done in the proxies' own loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(what, loop))

    async def ask(what: Callable[[], T]) -> T:
        """Ask something in the proxies' own loop."""

        async def asked() -> T:
            return what()

        return await order(asked())

    @app.exception_handler(Refused)
    async def _refused(_: fastapi.Request, error: Refused) -> JSONResponse:
        return JSONResponse({"error": str(error), "status": error.status}, error.status)

    @app.middleware("http")
    async def _no_browser(
        request: fastapi.Request, serve: Callable[[fastapi.Request], Awaitable[Response]]
    ) -> Response:
        if request.headers.get("user-agent", "").startswith("Mozilla/"):
            return JSONResponse({"error": "browsers are not served", "status": 403}, 403)
        return await serve(request)

    @app.get("/version")
    async def version() -> dict[str, str]:
        """Of the interface."""
        return {"version": VERSION, "server": "fourparty"}

    @app.get("/proxies")
    async def all_proxies() -> dict[str, Any]:
        """Every proxy and its toxics."""
        return await ask(lambda: {proxy.name: proxy.described() for proxy in proxies.all()})

    @app.post("/proxies", status_code=201)
    async def create(request: fastapi.Request) -> dict[str, Any]:
        """Make a proxy."""
        content = await _content(request)
        return (await order(proxies.create(content))).described()

    @app.post("/populate", status_code=201)
    async def populate(request: fastapi.Request) -> dict[str, Any]:
        """Make several, or leave those that are there already."""
        content = await _content(request)
        found = await order(proxies.populate(content))
        return {"proxies": [proxy.described() for proxy in found]}

    @app.post("/reset", status_code=204, response_class=Response)
    async def reset() -> None:
        """Enable every proxy and remove every toxic."""
        await order(proxies.reset())

    @app.get("/proxies/{name}")
    async def show(name: str) -> dict[str, Any]:
        """A proxy and its toxics."""
        return await ask(lambda: proxies.proxy(name).described())

    @app.post("/proxies/{name}")
    @app.patch("/proxies/{name}")
    async def update(name: str, request: fastapi.Request) -> dict[str, Any]:
        """Change a proxy; `enabled` false takes it down."""
        content = await _content(request)
        return (await order(proxies.update(name, content))).described()

    @app.delete("/proxies/{name}", status_code=204, response_class=Response)
    async def delete(name: str) -> None:
        """Stop a proxy and forget it."""
        await order(proxies.delete(name))

    @app.post("/proxies/{name}/reset_connections", status_code=204, response_class=Response)
    async def reset_connections(name: str) -> None:
        """Reset a proxy's connections once."""
        await ask(lambda: proxies.proxy(name).reset_connections())

    @app.get("/proxies/{name}/strikes")
    async def strikes(name: str) -> list[dict[str, Any]]:
        """The last messages that toxics have struck: when, on which connection, by what, of which type."""
        found = await ask(lambda: list(proxies.proxy(name).strikes))
        return [{**one._asdict(), "time": local_time(one.at).isoformat(timespec="milliseconds")} for one in found]

    @app.get("/proxies/{name}/toxics")
    async def toxics(name: str) -> list[dict[str, Any]]:
        """A proxy's toxics."""
        return await ask(lambda: list(proxies.proxy(name).described()["toxics"]))

    @app.post("/proxies/{name}/toxics")
    async def add_toxic(name: str, request: fastapi.Request) -> dict[str, Any]:
        """Add a toxic."""
        content = await _content(request)
        return await ask(lambda: proxies.add_toxic(name, content))

    @app.get("/proxies/{name}/toxics/{toxic}")
    async def show_toxic(name: str, toxic: str) -> dict[str, Any]:
        """A toxic."""
        return await ask(lambda: proxies.shown_toxic(name, toxic))

    @app.post("/proxies/{name}/toxics/{toxic}")
    @app.patch("/proxies/{name}/toxics/{toxic}")
    async def change_toxic(name: str, toxic: str, request: fastapi.Request) -> dict[str, Any]:
        """Change a toxic's attributes or toxicity."""
        content = await _content(request)
        return await ask(lambda: proxies.change_toxic(name, toxic, content))

    @app.delete("/proxies/{name}/toxics/{toxic}", status_code=204, response_class=Response)
    async def remove_toxic(name: str, toxic: str) -> None:
        """Remove a toxic; what it held back goes on."""
        await ask(lambda: proxies.remove_toxic(name, toxic))

    return app


async def _content(request: fastapi.Request) -> object:
    """The body as JSON, whatever type its sender says it has: so do Toxiproxy's clients."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST:
            raise Refused(413, f"a request has at most {LONGEST} bytes")
    try:
        content: object = json.loads(bytes(body) or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "bad request body: it is not JSON") from None
    return content
