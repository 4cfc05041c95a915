"""``fourparty proxy``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from network.service import ConfigurationError


class Dialect(StrEnum):
    """What travels on the link."""

    MEMBER = "member"
    TERMINAL = "terminal"
    MONITORING = "monitoring"
    RAW = "raw"


PemFile = Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file, to see into a link with TLS.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Stand on a link and do faults to it.",
        epilog="Example: fourparty proxy --listen 127.0.0.1:7101 --upstream 127.0.0.1:7001 --dialect member "
        "--toxic hold,mti=0210,delay=40000,count=1",
    )(proxy)


def proxy(
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where it listens.", show_default=False)
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where it leads.", show_default=False)
    ] = None,
    dialect: Annotated[Dialect, typer.Option(help="What travels on the link.")] = Dialect.RAW,
    toxic: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE,NAME=VALUE...", help="A fault that is there from the start; may be repeated."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the proxy.")] = "proxy",
    seed: Annotated[int, typer.Option(help="Of everything that toxics draw.")] = 0,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Several proxies, from a TOML file.", show_default=False)
    ] = None,
    tls_ca: PemFile = None,
    listen_certificate: PemFile = None,
    listen_key: PemFile = None,
    dial_certificate: PemFile = None,
    dial_key: PemFile = None,
    api: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where it is controlled; 127.0.0.1:8474 unless given.")
    ] = None,
) -> None:
    """Stand on a link and do faults to it: Toxiproxy's toxics on bytes, and others that know messages.

    Toxics: latency, bandwidth, timeout, reset_peer, slicer, limit_data, slow_close; with a dialect also duplicate,
    reorder, drop, corrupt, hold, for which a link with TLS needs its files, since else it passes as bytes. They are
    changed while it runs over REST, by any client of Toxiproxy.
    """
    from scenarios.proxy.proxies import Refused, proxy_of
    from scenarios.proxy.secured import FILES, contexts
    from scenarios.proxy.serving import DEFAULT_API, read_configuration, serve
    from scenarios.proxy.toxics import ToxicError, parse_toxic

    if config is not None:
        if listen or upstream or toxic:
            raise ConfigurationError("--config: it takes the place of --listen, --upstream and --toxic")
        configured, proxies = read_configuration(config)
        raise typer.Exit(serve(proxies, api or configured or DEFAULT_API))
    if not listen or not upstream:
        raise ConfigurationError("proxy: give --listen and --upstream, or --config")
    try:
        toxics = [parse_toxic(one) for one in toxic or ()]
        fields = {"name": name, "listen": listen, "upstream": upstream, "dialect": str(dialect), "seed": seed}
        files = (tls_ca, listen_certificate, listen_key, dial_certificate, dial_key)
        tls = contexts(dict(zip(FILES, files, strict=True)))
        made = proxy_of({**fields, "toxics": toxics}, tls)
    except ToxicError as error:
        raise ConfigurationError(f"--toxic: {error}") from error
    except Refused as error:
        raise ConfigurationError(f"proxy: {error}") from error
    raise typer.Exit(serve([made], api or DEFAULT_API))
