"""The phone's screen as a page: served on the loopback interface by the trusted side, for nobody but the screen.

Who opens it must know the token in its address, which only the trusted side and the screen have; it is compared in
constant time. The Host header must be the loopback's, so that no name of another site leads here. The page has no
external part; its policy (CSP) allows none.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import lru_cache
from importlib.resources import files
from typing import Final

import segno
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from merchant_device.tee.screen import Screen

POLL_SECONDS: Final = 10.0
"""How long a question for changes waits for one."""

SLICE_SECONDS: Final = 0.03
MAX_PRESS: Final = 256
"""Longest body of a press, bytes."""

PRESS_SECONDS: Final = 5.0

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_MODULE_PIXELS: Final = 8
_QUIET_ZONE: Final = 4
_ERROR_CORRECTION: Final = "m"
"""Size of a QR code's module, its quiet zone in modules and its level of error correction (ISO/IEC 18004)."""

Handler = Callable[[Request], Awaitable[Response]]


def page_application(screen: Screen, token: str, port: int) -> Starlette:
    """The page's server.

    Parameters
    ----------
    screen : Screen
    token : str
        First part of every path, which must be kept secret.
    port : int
        Where it is served, on 127.0.0.1.
    """
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    def guarded(handler: Handler) -> Handler:
        async def guard(request: Request) -> Response:
            shown = str(request.path_params["token"]).encode("utf-8", "replace")
            if request.headers.get("host") not in hosts or not hmac.compare_digest(shown, token.encode()):
                return PlainTextResponse("not found", 404, _HEADERS)
            try:
                response = await handler(request)
            except HTTPException as error:
                response = PlainTextResponse(error.detail, error.status_code)
            response.headers.update(_HEADERS)
            return response

        return guard

    def part(name: str, media_type: str) -> Handler:
        content = files("merchant_device.tee").joinpath("page", name).read_bytes()

        async def serve(_: Request) -> Response:
            return Response(content, media_type=media_type)

        return guarded(serve)

    async def state(request: Request) -> Response:
        after = request.query_params.get("after", "")
        known = int(after) if after.isascii() and after.isdigit() and len(after) < 16 else -1
        deadline = time.monotonic() + POLL_SECONDS
        version, view = screen.state()
        while version == known and time.monotonic() < deadline and not screen.is_closed:
            await asyncio.sleep(SLICE_SECONDS)
            version, view = screen.state()
        content = asdict(view)
        if view.kind == "code":
            del content["text"]  # the code is drawn here
        return JSONResponse({"version": version, **content})

    async def code(request: Request) -> Response:
        _, view = screen.state()
        if view.kind != "code":
            raise HTTPException(404, "no code is shown")
        return Response(draw_code(view.text), media_type="image/png")

    async def press(request: Request) -> Response:
        content = await _press(request)
        entry, key, position = content.get("entry"), content.get("key"), content.get("position")
        if not isinstance(entry, str):
            raise HTTPException(400, "entry: which PIN entry is meant")
        if key is None and isinstance(position, int) and not isinstance(position, bool):
            taken = screen.press(entry, position)
        elif key == "delete":
            taken = screen.delete(entry)
        elif key == "ok":
            taken = screen.finish(entry)
        elif key == "cancel":
            taken = screen.cancel(entry)
        else:
            raise HTTPException(400, "a position, or the key delete, ok or cancel")
        return JSONResponse({"taken": taken})

    application = Starlette(
        routes=[
            Route("/{token}/", part("page.html", "text/html"), methods=["GET"]),
            Route("/{token}/page.css", part("page.css", "text/css"), methods=["GET"]),
            Route("/{token}/page.js", part("page.js", "text/javascript"), methods=["GET"]),
            Route("/{token}/icon.svg", part("icon.svg", "image/svg+xml"), methods=["GET"]),
            Route("/{token}/state", guarded(state), methods=["GET"]),
            Route("/{token}/code.png", guarded(code), methods=["GET"]),
            Route("/{token}/press", guarded(press), methods=["POST"]),
        ]
    )
    application.router.redirect_slashes = False
    return application


@lru_cache(maxsize=8)
def draw_code(text: str) -> bytes:
    """Draw a QR code as a PNG picture."""
    picture = io.BytesIO()
    segno.make_qr(text, error=_ERROR_CORRECTION).save(picture, kind="png", scale=_MODULE_PIXELS, border=_QUIET_ZONE)
    return picture.getvalue()


async def _press(request: Request) -> dict[str, object]:
    """The body of a press: small JSON, which a page of another site cannot send without being asked first."""
    if request.headers.get("content-type") != "application/json":
        raise HTTPException(415, "application/json only")
    body = b""
    try:
        async with asyncio.timeout(PRESS_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_PRESS:
                    raise HTTPException(413, f"at most {MAX_PRESS} bytes")
        content = json.loads(body)
    except TimeoutError:
        raise HTTPException(408, "too slow") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client went away") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "not JSON") from None
    if not isinstance(content, dict):
        raise HTTPException(400, "not a JSON object")
    return content
