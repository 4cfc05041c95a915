"""Several fault proxies in one process, by name, and what may be done to them from outside.

All of it happens on the loop that the proxies run in. Descriptions are those of Toxiproxy's clients; what cannot be
done is a `Refused`, with the status that they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from network.service import Address, ConfigurationError
from scenarios.proxy.dialects import LinkDialect
from scenarios.proxy.fault_proxy import FaultProxy
from scenarios.proxy.secured import Contexts
from scenarios.proxy.toxics import Toxic, ToxicError

PROXIES: Final = 200
NO_TLS: Final = Contexts()
_FIELDS: Final = frozenset(("name", "listen", "upstream", "enabled", "dialect", "seed", "toxics"))
_SHOWN: Final = frozenset(("connections", "accepted", "Logger"))
"""What descriptions contain that clients may send back, and that is not theirs to say."""


class Refused(Exception):
    """What cannot be done, and the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Proxies:
    """The proxies of a process."""

    def __init__(self) -> None:
        self._proxies: dict[str, FaultProxy] = {}

    def all(self) -> tuple[FaultProxy, ...]:
        """Every proxy, in the order in which they were made."""
        return tuple(self._proxies.values())

    def proxy(self, name: str) -> FaultProxy:
        """The proxy of that name; Refused with 404 where there is none."""
        if name not in self._proxies:
            raise Refused(404, f"there is no proxy {name}")
        return self._proxies[name]

    async def put(self, proxy: FaultProxy, *, enabled: bool = True) -> FaultProxy:
        """Take a proxy in and start it, if it is to be enabled.

        Raises
        ------
        Refused
            There is one of that name, or it cannot listen.
        """
        if proxy.name in self._proxies:
            raise Refused(409, f"there is a proxy {proxy.name} already")
        if len(self._proxies) >= PROXIES:
            raise Refused(409, f"there are at most {PROXIES} proxies")
        if enabled:
            await _start(proxy)
        self._proxies[proxy.name] = proxy
        return proxy

    async def create(self, content: object) -> FaultProxy:
        """Make the proxy that is described."""
        wanted = _checked(content)
        for name in ("name", "upstream"):
            if not wanted.get(name):
                raise Refused(400, f"missing required field: {name}")
        return await self.put(proxy_of(wanted), enabled=wanted.get("enabled", True))

    async def populate(self, content: object) -> list[FaultProxy]:
        """Make the proxies described, and again those that are described otherwise; others stay as they are."""
        if not isinstance(content, list):
            raise Refused(400, "a list of proxies is expected")
        found = []
        for one in content:
            wanted = _checked(one)
            old = self._proxies.get(str(wanted.get("name")))
            if old is not None and _is_described(old, wanted):
                await old.set_enabled(wanted.get("enabled", True))
                found.append(old)
                continue
            if old is not None:
                await self.delete(old.name)
            found.append(await self.create(one))
        return found

    async def update(self, name: str, content: object) -> FaultProxy:
        """Change where a proxy listens, where it leads, or whether it is enabled."""
        proxy = self.proxy(name)
        wanted = _checked(content)
        if wanted.get("name", name) != name:
            raise Refused(400, "a proxy's name cannot be changed")
        listen = _address("listen", wanted.get("listen", str(proxy.listen)))
        upstream = _address("upstream", wanted.get("upstream", str(proxy.upstream)))
        enabled = wanted.get("enabled", proxy.enabled)
        if (listen, upstream) != (proxy.listen, proxy.upstream):
            await proxy.stop()
            proxy.listen, proxy.upstream = listen, upstream
        if enabled:
            await _start(proxy)
        else:
            await proxy.stop()
        return proxy

    async def delete(self, name: str) -> None:
        """Stop a proxy and forget it."""
        await self.proxy(name).stop()
        del self._proxies[name]

    async def reset(self) -> None:
        """Enable every proxy and remove every toxic."""
        for proxy in self.all():
            proxy.clear()
            await _start(proxy)

    async def stop(self) -> None:
        """Stop every proxy."""
        for proxy in self.all():
            await proxy.stop()

    # toxics

    def add_toxic(self, name: str, content: object) -> dict[str, Any]:
        """Give a proxy the toxic that is described."""
        proxy = self.proxy(name)
        toxic = _toxic(content)
        if any(one.name == toxic.name for one in proxy.toxics):
            raise Refused(409, f"there is a toxic {toxic.name} already")
        try:
            proxy.add(toxic)
        except ToxicError as error:
            raise Refused(400, str(error)) from None
        return self.shown_toxic(name, toxic.name)

    def change_toxic(self, name: str, toxic: str, content: object) -> dict[str, Any]:
        """Change attributes or the toxicity of a toxic; what is not said stays."""
        proxy, old = self._found(name, toxic)
        if not isinstance(content, dict):
            raise Refused(400, "a toxic is an object")
        try:
            proxy.change(old.changed(content.get("attributes"), content.get("toxicity")))
        except ToxicError as error:
            raise Refused(400, str(error)) from None
        return self.shown_toxic(name, toxic)

    def remove_toxic(self, name: str, toxic: str) -> None:
        """Take a toxic from a proxy."""
        proxy, _ = self._found(name, toxic)
        proxy.remove(toxic)

    def shown_toxic(self, name: str, toxic: str) -> dict[str, Any]:
        """A toxic as Toxiproxy's clients know it, and how often it has struck."""
        proxy, found = self._found(name, toxic)
        return {**found.described(), "hits": proxy.hits(toxic)}

    def _found(self, name: str, toxic: str) -> tuple[FaultProxy, Toxic]:
        proxy = self.proxy(name)
        try:
            return proxy, proxy.toxic(toxic)
        except ToxicError as error:
            raise Refused(404, str(error)) from None


def proxy_of(content: Mapping[str, Any], tls: Contexts = NO_TLS) -> FaultProxy:
    """The proxy that is described, not started.

    Raises
    ------
    Refused
        Names the field that is wrong.
    """
    name = content.get("name", "proxy")
    if not isinstance(name, str) or not 0 < len(name) <= 100 or "/" in name or not name.isprintable():
        raise Refused(400, "name: 1 to 100 characters without a slash")
    try:
        dialect = LinkDialect(content.get("dialect", "raw"))
    except ValueError:
        raise Refused(400, f"dialect: one of {', '.join(LinkDialect)}") from None
    seed = content.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise Refused(400, "seed: a whole number")
    listen = _address("listen", content.get("listen") or "127.0.0.1:0")
    upstream = _address("upstream", content.get("upstream"))
    secured = {"listen_tls": tls.listen, "upstream_tls": tls.dial}
    proxy = FaultProxy(listen, upstream, dialect, name=name, seed=seed, **secured)
    toxics = content.get("toxics") or ()
    if not isinstance(toxics, Iterable):
        raise Refused(400, "toxics: a list")
    for one in toxics:
        try:
            proxy.add(one if isinstance(one, Toxic) else _toxic(one))
        except ToxicError as error:
            raise Refused(400, str(error)) from None
    return proxy


def _checked(content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise Refused(400, "a proxy is an object")
    unknown = sorted(set(content) - _FIELDS - _SHOWN)
    if unknown:
        raise Refused(400, f"a proxy has no {unknown[0]}")
    if not isinstance(content.get("enabled", True), bool):
        raise Refused(400, "enabled: true or false")
    return {name: value for name, value in content.items() if name in _FIELDS}


def _is_described(proxy: FaultProxy, wanted: Mapping[str, Any]) -> bool:
    return (str(proxy.listen), str(proxy.upstream)) == (wanted.get("listen"), wanted.get("upstream"))


def _address(name: str, text: object) -> Address:
    if isinstance(text, str) and text.startswith((":", "[::]:")):
        # as listeners on every address are written in Go
        text = "0.0.0.0:" + text.rpartition(":")[2]
    try:
        return Address.parse(text if isinstance(text, str) else "")
    except ConfigurationError as error:
        raise Refused(400, f"{name}: {error}") from None


def _toxic(content: object) -> Toxic:
    try:
        return Toxic.from_description(content)
    except ToxicError as error:
        raise Refused(400, str(error)) from None


async def _start(proxy: FaultProxy) -> None:
    try:
        await proxy.start()
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such host name"
        raise Refused(409, f"cannot listen on {proxy.listen}: {reason}") from error
