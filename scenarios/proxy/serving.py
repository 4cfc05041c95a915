"""``fourparty proxy``: fault proxies as a process, from the command line or a TOML file, until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from network.connections import allow_many_connections
from network.live import run_loop
from network.rest import RestThread
from network.service import Address, ConfigurationError, bind, configure_logging
from scenarios.proxy.api import application
from scenarios.proxy.fault_proxy import FaultProxy
from scenarios.proxy.proxies import Proxies, Refused, proxy_of
from scenarios.proxy.secured import contexts

DEFAULT_API = "127.0.0.1:8474"


def read_configuration(path: Path) -> tuple[str | None, list[FaultProxy]]:
    """The proxies of a TOML file, and the address of the interface if it gives one.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or names what is wrong in which proxy.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    unknown = sorted(set(content) - {"api", "seed", "proxy"})
    if unknown:
        raise ConfigurationError(f"{path}: there is no setting {unknown[0]}; there are api, seed and [[proxy]]")
    listed = content.get("proxy")
    if not isinstance(listed, list) or not listed:
        raise ConfigurationError(f"{path}: it needs at least one [[proxy]]")
    seed = content.get("seed", 0)
    proxies = []
    for number, one in enumerate(listed, 1):
        where = f"{path}: proxy {number}"
        if not isinstance(one, dict):
            raise ConfigurationError(f"{where} is not a table")
        fields: dict[str, Any] = {"name": f"proxy-{number}", "seed": seed, **one}
        if "toxic" in fields:
            fields["toxics"] = fields.pop("toxic")
        files = fields.pop("tls", {})
        strange = sorted(set(fields) - {"name", "listen", "upstream", "dialect", "seed", "toxics"})
        if strange:
            raise ConfigurationError(f"{where} ({fields['name']}): there is no setting {strange[0]}")
        if not fields.get("listen") or not fields.get("upstream"):
            raise ConfigurationError(f"{where} ({fields['name']}): it needs listen and upstream")
        try:
            tls = contexts(files if isinstance(files, dict) else {"": files})
            proxies.append(proxy_of(fields, tls))
        except (Refused, ConfigurationError) as error:
            raise ConfigurationError(f"{where} ({fields['name']}): {error}") from error
    api = content.get("api")
    if api is not None and not isinstance(api, str):
        raise ConfigurationError(f"{path}: api is an address such as {DEFAULT_API}")
    return api, proxies


def serve(proxies: Sequence[FaultProxy], api: str) -> int:
    """Serve proxies until SIGTERM or SIGINT; 0.

    Raises
    ------
    ConfigurationError
        A port is in use.
    """
    configure_logging("warning")
    allow_many_connections()
    listening = bind(Address.parse(api))
    try:
        return run_loop(_serve(proxies, listening, Console(stderr=True, highlight=False)))
    finally:
        listening.close()


async def _serve(proxies: Sequence[FaultProxy], listening: Any, console: Console) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    registry = Proxies()
    try:
        for proxy in proxies:
            try:
                await registry.put(proxy)
            except Refused as error:
                raise ConfigurationError(f"{proxy.name}: {error}") from error
        rest = RestThread(application(registry, loop), listening)
        host, port = listening.getsockname()[:2]
        console.print(_table(registry))
        console.print(f"controlled at http://{host}:{port}/proxies   stop with Ctrl-C", soft_wrap=True)
        await ended.wait()
        console.print(_table(registry))
        await loop.run_in_executor(None, rest.stop)
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await registry.stop()
    return 0


def _table(registry: Proxies) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("proxy", "listens on", "leads to", "dialect", "connections", "toxics (struck)"):
        table.add_column(name, justify="right" if name == "connections" else "left")
    for proxy in registry.all():
        toxics = ", ".join(f"{one.name} ({proxy.hits(one.name)})" for one in proxy.toxics) or "none"
        table.add_row(
            proxy.name, str(proxy.listen), str(proxy.upstream), str(proxy.dialect), str(proxy.accepted), toxics
        )
    return table
