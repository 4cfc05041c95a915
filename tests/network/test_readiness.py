"""Whether a process can serve, and how it ends: what is awaited, and what comes no more."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from tiny_parties import TABLES, Echo, Note

from network import readiness as readiness_module
from network.framing import TERMINAL_FRAMING
from network.live import LiveRuntime, run_loop
from network.party import CommandError, Standing, Stationed
from network.readiness import Readiness, as_json
from network.store import Store, StoreError, UnitOfWork, sqlite_url


class Stationary(Echo):
    """An echo with members, which awaits answers while a note is pending."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Standing({"00010000": False}, "the link to the switch 00010000: it is not signed on")
        self.draining = False

    def standing(self, store: Store) -> Standing:
        return self.now

    def drain(self) -> None:
        self.draining = True

    def awaits(self, store: UnitOfWork) -> bool:
        return bool(store.scan(Note, "state", "pending", 1))


@asynccontextmanager
async def running(party: Echo, folder: Path) -> AsyncIterator[LiveRuntime]:
    store = Store(sqlite_url(folder / "party.db"), TABLES)
    runtime = LiveRuntime(party, store, random=Random(1))
    runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()
        store.close()


async def command(runtime: LiveRuntime, name: str, **arguments: Mapping[str, object] | str | float) -> object:
    return await asyncio.wrap_future(runtime.ask(name, dict(arguments)))  # type: ignore[arg-type]


def test_a_party_says_how_it_stands(tmp_path: Path) -> None:
    party = Stationary()
    assert isinstance(party, Stationed)
    assert not isinstance(Echo(), Stationed)

    async def main() -> None:
        async with running(party, tmp_path) as runtime:
            readiness = Readiness(runtime.store, runtime)
            report = await readiness.report()
            assert as_json("echo", report) == {
                "party": "echo",
                "ready": False,
                "reason": "the link to the switch 00010000: it is not signed on",
                "store": "answers",
                "links": {},
                "members": {"00010000": False},
            }
            party.now = Standing({"00010000": True}, None)
            first, second = await asyncio.gather(readiness.report(), readiness.report())
            assert first == second
            assert first.ready
            await runtime.drain(1)
            assert (await readiness.report()).reason == "the process is about to end"

    run_loop(main())


def test_a_dialled_link_that_is_down_keeps_a_party_from_being_ready(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Echo(), tmp_path) as other, running(Echo(), tmp_path) as runtime:
            readiness = Readiness(runtime.store, runtime)
            assert (await readiness.report()).ready
            with socket.socket() as reserved:
                reserved.bind(("127.0.0.1", 0))
                address = reserved.getsockname()
            runtime.dial("acquirer:1", *address, TERMINAL_FRAMING)
            report = await readiness.report()
            assert (report.reason, report.links) == ("the link acquirer:1 is not up", {"acquirer:1": False})
            await other.listen("peer", *address, TERMINAL_FRAMING)
            async with asyncio.timeout(10):
                while not (report := await readiness.report()).ready:
                    await asyncio.sleep(0.005)
            assert report.links == {"acquirer:1": True}

    run_loop(main())


def test_a_store_that_fails_or_hangs_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness_module, "CHECK_SECONDS", 0.05)
    released = asyncio.Event()

    async def main() -> None:
        async with running(Echo(), tmp_path) as runtime:
            readiness = Readiness(runtime.store, runtime)

            def broken() -> None:
                raise StoreError("the database does not answer: gone")

            monkeypatch.setattr(runtime.store, "problem", broken)
            report = await readiness.report()
            assert (report.store, report.reason) == ("does not answer", "the database does not answer: gone")
            asked = 0
            loop = asyncio.get_running_loop()

            def hanging() -> None:
                nonlocal asked
                asked += 1
                asyncio.run_coroutine_threadsafe(released.wait(), loop).result(10)

            monkeypatch.setattr(runtime.store, "problem", hanging)
            for _ in range(3):
                assert (await readiness.report()).reason == "the store did not answer in 0 s"
            assert asked == 1, "those who ask a store that hangs take one thread in all"
            released.set()

    run_loop(main())


def test_a_store_without_its_database_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    store = Store(sqlite_url(folder / "party.db"), TABLES)
    assert store.problem() is None
    store.close()
    shutil.rmtree(folder)
    with pytest.raises(StoreError, match="the database does not answer: unable to open database file"):
        store.problem()


def test_a_drain_waits_for_what_is_awaited_and_takes_no_command(tmp_path: Path) -> None:
    async def main() -> None:
        party = Stationary()
        async with running(party, tmp_path) as runtime:
            await runtime.listen("peer", "127.0.0.1", 0, TERMINAL_FRAMING)
            reader, writer = await asyncio.open_connection(*runtime.addresses[0])
            waiting = asyncio.ensure_future(command(runtime, "wait", seconds=0.3))
            await command(runtime, "count")
            draining = asyncio.ensure_future(runtime.drain(10))
            await asyncio.sleep(0.02)
            assert party.draining
            with pytest.raises(CommandError, match="the party is stopping"):
                await command(runtime, "count")
            # what comes over a link that is up is still decided
            writer.write(b"\0\x05hello")
            assert await reader.readexactly(10) == b"\0\x08re:hello"
            assert not draining.done()
            assert await waiting == "waited"
            await asyncio.wait_for(draining, 5)
            writer.close()

    run_loop(main())


def test_a_drain_that_awaits_what_never_comes_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(Stationary(), tmp_path) as runtime:
            await command(runtime, "keep", text="owed")
            began = asyncio.get_running_loop().time()
            await runtime.drain(0.2)
            assert asyncio.get_running_loop().time() - began >= 0.2

    run_loop(main())
