"""TLS of a fault proxy that is to see the messages of a secured link: it ends TLS on both sides.

To the client it is the upstream, to the upstream it is the client, so it needs a certificate of either. Without them
TLS passes through a proxy untouched, and only toxics that work on bytes make sense.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from network.service import ConfigurationError
from network.tls import Tls, TlsError

FILES: Final = ("ca", "listen_certificate", "listen_key", "dial_certificate", "dial_key")
"""What names the files, in TOML as on the command line: the authority's certificate, and certificate and key that are
shown to clients and, where it asks for one, to the upstream."""


class Contexts(NamedTuple):
    """For the side that listens and for the one that dials."""

    listen: ssl.SSLContext | None = None
    dial: ssl.SSLContext | None = None


def contexts(files: Mapping[str, object]) -> Contexts:
    """The contexts that files make; none of them without files.

    Parameters
    ----------
    files : mapping of str to path
        By the names of `FILES`.

    Raises
    ------
    ConfigurationError
        A file is missing or wrong, or one is given without the others that it needs.
    """
    given = {name: Path(str(path)) for name, path in files.items() if path is not None}
    unknown = sorted(set(given) - set(FILES))
    if unknown:
        raise ConfigurationError(f"tls: there is no {unknown[0]}; there are {', '.join(FILES)}")
    if not given:
        return Contexts()
    for name in FILES[:3]:
        if name not in given:
            raise ConfigurationError(f"tls: {name} is missing")
    if ("dial_certificate" in given) != ("dial_key" in given):
        raise ConfigurationError("tls: give dial_certificate and dial_key, or neither")
    try:
        listen = Tls(given["ca"], given["listen_certificate"], given["listen_key"]).server()
        dial = Tls(given["ca"], given.get("dial_certificate"), given.get("dial_key")).client
    except TlsError as error:
        raise ConfigurationError(f"tls: {error}") from error
    return Contexts(listen, dial)
