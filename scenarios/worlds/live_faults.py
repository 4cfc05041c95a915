"""Faults in a live network of one's own: processes that are killed or stopped, and proxies on its member links."""

from __future__ import annotations

import asyncio
import concurrent.futures
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from scenarios.demo_network.processes import NetworkError, Processes, address
from scenarios.proxy import FaultProxy, Toxic

PORT_OF_LINK: Final[Mapping[str, str]] = {"acquirer-switch": "member_link", "switch-issuer": "issuer_link"}
"""Whose port (`scenarios.demo_network.processes.PORTS`) stands at the end of a link that is dialled."""

ANSWER_SECONDS: Final = 10.0
JOIN_SECONDS: Final = 0.05
VERBS: Final = ("crash", "restart", "freeze", "thaw", "slow", "cut", "mend")


class LinkProxies:
    """Fault proxies on member links, on a thread and an event loop of their own.

    Parameters
    ----------
    base_port : int
        Of the network.
    links : sequence of str
        Which links they stand on.
    """

    def __init__(self, base_port: int, links: Sequence[str]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link proxies", daemon=True)
        self._thread.start()
        self._proxies = {
            link: FaultProxy("127.0.0.1:0", address(base_port, PORT_OF_LINK[link]), name=link) for link in links
        }
        self._waiting: list[concurrent.futures.Future[None]] = []
        for proxy in self._proxies.values():
            self._do(self._take_port(proxy))
            self._waiting.append(asyncio.run_coroutine_threadsafe(self._join_in(proxy), self._loop))

    @staticmethod
    async def _take_port(proxy: FaultProxy) -> None:
        await proxy.start()
        await proxy.stop()

    @staticmethod
    async def _join_in(proxy: FaultProxy) -> None:
        """Listen from when there is somebody to hand on to, so that who dials too early is told so by the system."""
        while True:
            try:
                _, writer = await asyncio.open_connection(*proxy.upstream)
            except OSError:
                await asyncio.sleep(JOIN_SECONDS)
                continue
            writer.close()
            await proxy.start()
            return

    def elsewhere(self) -> dict[str, str]:
        """By the name of a port: where others reach it, so that the proxy is in between."""
        return {PORT_OF_LINK[link]: str(proxy.listen) for link, proxy in self._proxies.items()}

    def slow(self, link: str, seconds: float, jitter: float) -> None:
        """Delay both directions."""
        proxy = self._proxies[link]

        async def poison() -> None:
            proxy.clear()
            attributes = {"latency": round(seconds * 1000), "jitter": round(jitter * 1000)}
            proxy.add(Toxic("latency", attributes, name="forth", stream="upstream"))
            proxy.add(Toxic("latency", attributes, name="back", stream="downstream"))

        self._do(poison())

    def cut(self, link: str) -> None:
        """Take a link down."""
        self._do(self._proxies[link].stop())

    def mend(self, link: str) -> None:
        """Bring it up without toxics."""
        proxy = self._proxies[link]

        async def heal() -> None:
            proxy.clear()
            await proxy.start()

        self._do(heal())

    def close(self) -> None:
        """End the proxies."""
        for waiting in self._waiting:
            waiting.cancel()
        for proxy in self._proxies.values():
            self._do(proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_SECONDS)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(ANSWER_SECONDS)


class LiveBreakage:
    """Breaks a network's processes and, where there are proxies, its member links; see `scenarios.faults.Breakage`."""

    def __init__(self, processes: Processes, proxies: LinkProxies | None) -> None:
        self._processes = processes
        self._proxies = proxies

    def crash(self, party: str) -> None:
        """Kill the process as ``kill -9`` does."""
        if party in self._processes.running:
            self._processes.kill(party)

    def restart(self, party: str) -> None:
        """Start it again on the same store and port."""
        if party not in self._processes.running:
            self._processes.start_one(party)

    def freeze(self, party: str) -> None:
        """Stop the process (SIGSTOP)."""
        self._signal(party, signal.SIGSTOP)

    def thaw(self, party: str) -> None:
        """Let it go on (SIGCONT)."""
        self._signal(party, signal.SIGCONT)

    def thaw_all(self) -> None:
        """Let every process go on, so that it can be told to end."""
        for party in self._processes.running:
            self.thaw(party)

    def slow(self, link: str, seconds: float, jitter: float) -> None:
        """Delay a link."""
        self._proxied(link).slow(link, seconds, jitter)

    def cut(self, link: str) -> None:
        """Take a link down."""
        self._proxied(link).cut(link)

    def mend(self, link: str) -> None:
        """Bring a link up."""
        self._proxied(link).mend(link)

    def _signal(self, party: str, number: signal.Signals) -> None:
        process = self._processes.running.get(party)
        if process is not None and process.poll() is None:
            process.send_signal(number)

    def _proxied(self, link: str) -> LinkProxies:
        if self._proxies is None:
            raise NetworkError(f"no fault proxy stands on {link}: the scenario must say that it breaks it")
        return self._proxies


class ToldBreakage:
    """Breaks nothing itself but says what to break: a generator's, whose coordinator owns the network."""

    def __init__(self, say: Callable[[list[Any]], None]) -> None:
        self._say = say

    def crash(self, party: str) -> None:
        """Say so."""
        self._say(["crash", party])

    def restart(self, party: str) -> None:
        """Say so."""
        self._say(["restart", party])

    def freeze(self, party: str) -> None:
        """Say so."""
        self._say(["freeze", party])

    def thaw(self, party: str) -> None:
        """Say so."""
        self._say(["thaw", party])

    def slow(self, link: str, seconds: float, jitter: float) -> None:
        """Say so."""
        self._say(["slow", link, seconds, jitter])

    def cut(self, link: str) -> None:
        """Say so."""
        self._say(["cut", link])

    def mend(self, link: str) -> None:
        """Say so."""
        self._say(["mend", link])


def carry_out(breakage: LiveBreakage, told: Sequence[Any]) -> None:
    """Do what a `ToldBreakage` has said."""
    verb, *arguments = told
    if verb not in VERBS:
        raise ValueError(f"a scenario cannot {verb}")
    getattr(breakage, verb)(*arguments)
