"""TLS for links and REST: contexts made from files, in one place, and who a certificate says is at the other end.

A member's certificate names it in a URI among its subject alternative names, ``urn:fourparty:member:48020000``. On a
member link both ends show certificates. The end that accepts adds whom the certificate names to the link's name, so
that a party, which does no I/O, can hold what is said over the link against it (`authenticated_member`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

MEMBER_URN: Final = "urn:fourparty:member:"
"""What stands before a member's id in its certificate."""

HANDSHAKE_SECONDS: Final = 10.0
"""How long a handshake may take; then the connection is closed."""

_MARK: Final = "@"

log = structlog.get_logger(__name__)


class TlsError(Exception):
    """The files do not make a TLS context; the message says which, and why."""


@dataclass(frozen=True)
class LinkTls:
    """How a link is secured.

    Attributes
    ----------
    context : ssl.SSLContext
    mutual : bool
        Whether the other end must show the certificate of a member.
    member : str or None
        The only member that it may be; None: any.
    """

    context: ssl.SSLContext
    mutual: bool = False
    member: str | None = None

    def refusal(self, certificate: Mapping[str, object] | None) -> str | None:
        """Why the other end, which shows this certificate, is not whom the link is for; None where it is."""
        if not self.mutual:
            return None
        named = member_of(certificate)
        if named is None:
            return "the certificate names no member"
        if self.member is not None and named != self.member:
            return f"the certificate names member {named}, not {self.member}"
        return None


class Tls:
    """The TLS of a process.

    Parameters
    ----------
    ca : Path
        Certificates of the authorities that are trusted, PEM.
    certificate, key : Path or None
        The process's own chain and its private key, PEM; None for one that only dials and is nobody.

    Raises
    ------
    TlsError
        A file cannot be read or does not hold what it should.
    """

    def __init__(self, ca: Path, certificate: Path | None = None, key: Path | None = None) -> None:
        self._ca = ca
        self._own = None if certificate is None or key is None else (certificate, key)
        self._dialling = self._context(ssl.PROTOCOL_TLS_CLIENT)

    @property
    def may_listen(self) -> bool:
        """Whether the process has a certificate of its own."""
        return self._own is not None

    @property
    def client(self) -> ssl.SSLContext:
        """For whoever dials: the server's certificate must be of the authority and name the host."""
        return self._dialling

    def server(self, *, mutual: bool = False) -> ssl.SSLContext:
        """For whoever listens; `mutual` asks the other end for a certificate of the authority."""
        if self._own is None:
            raise TlsError("a process that listens needs a certificate and a key of its own")
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        if mutual:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def accepts_anyone(self) -> LinkTls:
        """For links that terminals dial: they know us by our certificate, we know them by their keys."""
        return LinkTls(self.server())

    def accepts_member(self, member: str | None = None) -> LinkTls:
        """For links that members dial, or only this one."""
        return LinkTls(self.server(mutual=True), mutual=True, member=member)

    def dials_anyone(self) -> LinkTls:
        """For links to a host, whoever it is that runs it."""
        return LinkTls(self._dialling)

    def dials_member(self, member: str) -> LinkTls:
        """For links to a host that must be this member's."""
        return LinkTls(self._dialling, mutual=True, member=member)

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.sslobject_class = _Handshake
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_SINGLE_ECDH_USE
        try:
            context.load_verify_locations(cafile=self._ca)
        except OSError as error:  # SSLError among them
            raise TlsError(f"{self._ca} does not hold the authority's certificate: {_reason(error)}") from error
        if self._own is not None:
            certificate, key = self._own
            for path in self._own:
                try:
                    path.open("rb").close()
                except OSError as error:
                    raise TlsError(f"cannot read {path}: {error.strerror}") from error
            try:
                # a key with a passphrase would ask for it on the terminal
                context.load_cert_chain(certificate, key, password=lambda: "")
            except OSError as error:
                raise TlsError(f"{certificate} and {key} are no certificate and its key: {_reason(error)}") from error
        return context


class _Handshake(ssl.SSLObject):
    """The accepting end of a connection, which says in one line of the log when it comes to nothing.

    An event loop closes such a connection without a word, and nobody who uses it has seen it.
    """

    _timer: asyncio.TimerHandle | None = None
    _is_over = False

    def do_handshake(self) -> None:
        """See `ssl.SSLObject`."""
        if self._timer is None and not self._is_over:
            self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self._too_late)
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._end()
            log.warning("connection refused", reason=f"TLS handshake: {getattr(error, 'verify_message', error.reason)}")
            raise
        self._end()

    def _end(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _too_late(self) -> None:
        self._is_over = True
        log.warning("connection refused", reason="TLS handshake: not finished in time, or broken off")


def member_of(certificate: Mapping[str, object] | None) -> str | None:
    """The member that a certificate names, as `ssl.SSLSocket.getpeercert` gives it; None where it names none or two."""
    names = (certificate or {}).get("subjectAltName", ())
    assert isinstance(names, tuple)  # noqa: S101 - the library's word
    found = [value.removeprefix(MEMBER_URN) for kind, value in names if kind == "URI" and value.startswith(MEMBER_URN)]
    is_one = len(found) == 1 and len(found[0]) == 8 and found[0].isascii() and found[0].isdigit()
    return found[0] if is_one else None


def with_member(link: str, member: str) -> str:
    """The name of a link whose other end has shown the certificate of `member`."""
    return f"{link}{_MARK}{member}"


def authenticated_member(link: str) -> str | None:
    """The member whose certificate the other end of an accepted link has shown; None where it had to show none."""
    return link.rpartition(_MARK)[2] if _MARK in link else None


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or type(error).__name__
