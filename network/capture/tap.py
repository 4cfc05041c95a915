"""Between a connection's protocol and its socket: passes everything on, and has it recorded.

With TLS on, an event loop's own TLS shows the plain text only. So the tap does TLS itself, over memory, and records
the records that really cross the wire; their secrets go into the capture beside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import structlog

from network.capture.recording import Capture, Line

HANDSHAKE_SECONDS: Final = 10.0
_READ: Final = 1 << 18

log = structlog.get_logger(__name__)


def tap(
    inner: asyncio.Protocol,
    capture: Capture,
    *,
    link: str,
    accepted: bool,
    tls: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
) -> Tap:
    """A protocol for a plain TCP transport which stands before `inner`.

    Parameters
    ----------
    inner : asyncio.Protocol
        Sees what it would see without the tap, and with TLS from the end of the handshake on.
    capture : Capture
    link : str
        Name of the link, for people.
    accepted : bool
        Whether the other end dialled.
    tls : ssl.SSLContext or None
        Speak TLS, as the server where `accepted`.
    server_hostname : str or None
        Whom the dialled server's certificate must name.
    """
    if tls is None:
        return Tap(inner, capture, link, accepted)
    capture.keep_secrets_of(tls)
    return TlsTap(inner, capture, link, accepted, tls, server_hostname)


class Tap(asyncio.Protocol):
    """Records a plain connection.

    Attributes
    ----------
    ready : asyncio.Future
        Done when `inner` has its connection; with the error when there will be none.
    """

    def __init__(self, inner: asyncio.Protocol, capture: Capture, link: str, accepted: bool) -> None:
        self.inner = inner
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._capture = capture
        self._link = link
        self._accepted = accepted
        self._line: Line = Line(capture, None)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`, as all below."""
        self._transport = cast(asyncio.Transport, transport)
        if self._accepted or not self._capture.accepted_only:
            ends = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
            self._line = self._capture.line(*ends, accepted=self._accepted)
        self._line.opened(f"link {self._link}, {'accepted' if self._accepted else 'dialled'}")
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Bytes from the wire."""
        self._line.crossed(False, data)
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The peer writes no more."""
        return self.inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._line.closed(reset=exc is not None)
        self.inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Too much waits."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """Little waits."""
        self.inner.resume_writing()

    def send(self, data: bytes) -> None:
        """Bytes to the wire."""
        if not self._transport.is_closing():
            self._line.crossed(True, data)
        self._transport.write(data)

    def close(self) -> None:
        """Close when all is written."""
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if not self._transport.is_closing():
            self._line.closed(reset=True)
            self._line = Line(self._capture, None)
        self._transport.abort()

    def known(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)

    def _begin(self) -> None:
        self.ready.set_result(None)
        self.inner.connection_made(_TappedTransport(self, self._transport))


class TlsTap(Tap):
    """Speaks TLS on a connection and records its records."""

    def __init__(
        self,
        inner: asyncio.Protocol,
        capture: Capture,
        link: str,
        accepted: bool,
        context: ssl.SSLContext,
        server_hostname: str | None,
    ) -> None:
        super().__init__(inner, capture, link, accepted)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=accepted, server_hostname=server_hostname
        )
        self._context = context
        self._is_up = False
        self._is_over = False
        self._busy = False
        self._timeout: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Records from the wire."""
        self._incoming.write(data)
        self._busy = True
        try:
            self._go_on()
        finally:
            self._busy = False
            # only now, when the secrets that it needs are in the log
            self._line.crossed(False, data)
            self._flush()
            if self._is_over:
                self._transport.close()

    def eof_received(self) -> bool | None:
        """The peer writes no more, with or without having said so."""
        return self.inner.eof_received() if self._is_up else None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._timeout is not None:
            self._timeout.cancel()
        self._line.closed(reset=exc is not None)
        if self._is_up:
            self.inner.connection_lost(exc)
        else:
            self._not_ready(exc or ConnectionResetError("closed during the TLS handshake"))

    def send(self, data: bytes) -> None:
        """Plain text to be sent."""
        if self._is_over or self._transport.is_closing():
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest) :]
        self._flush()

    def close(self) -> None:
        """Say goodbye, and close when all is written."""
        if self._is_up and not self._is_over:
            self._is_over = True
            self._goodbye()
        if not self._busy:
            self._flush()
            self._transport.close()

    def known(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        own: dict[str, Callable[[], object]] = {
            "ssl_object": lambda: self._tls,
            "sslcontext": lambda: self._context,
            "peercert": self._tls.getpeercert,
            "cipher": self._tls.cipher,
        }
        return own[name]() if name in own else super().known(name, default)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._timeout = loop.call_later(HANDSHAKE_SECONDS, self._transport.abort)
        self._go_on()
        self._flush()

    def _go_on(self) -> None:
        try:
            if not self._is_up:
                self._tls.do_handshake()
                self._is_up = True
                if self._timeout is not None:
                    self._timeout.cancel()
                super()._begin()
            self._read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            # what OpenSSL has to say to the peer leaves before the connection is closed
            self._is_over = True
            if self._is_up:
                log.warning("link closed", link=self._link, reason=f"TLS: {error.reason}")
            else:
                self._not_ready(error)

    def _read(self) -> None:
        # who refuses the other end as soon as it is known must see nothing of what it says
        while not self._is_over and not self._transport.is_closing():
            data = self._tls.read(_READ)
            if not data:  # the peer said goodbye
                self.inner.eof_received()
                self.close()
                return
            self.inner.data_received(data)

    def _not_ready(self, error: Exception) -> None:
        if self.ready.done():
            return
        if self._accepted:
            reason = getattr(error, "reason", None) or type(error).__name__
            log.warning("link refused", link=self._link, reason=f"TLS handshake: {reason}")
            self.ready.cancel()  # nobody waits for it
        else:
            self.ready.set_exception(error)

    def _goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # the peer need not answer
            self._tls.unwrap()

    def _flush(self) -> None:
        if not self._busy and (data := self._outgoing.read()):
            super().send(data)


class _TappedTransport(asyncio.Transport):
    """What the inner protocol writes to."""

    def __init__(self, tapped: Tap, transport: asyncio.Transport) -> None:
        super().__init__()
        self._tapped = tapped
        self._transport = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tapped.known(name, default)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._tapped.close()

    def abort(self) -> None:
        self._tapped.abort()

    def is_reading(self) -> bool:
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._tapped.send(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._tapped.send(b"".join(list_of_data))
