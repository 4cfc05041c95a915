"""The live runtime over real sockets, on uvloop and on asyncio's own loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from tiny_parties import TABLES, Echo, Note

from network import connections, live
from network.framing import MAX_BODY, MEMBER_FRAMING, TERMINAL_FRAMING, Framing
from network.live import LiveRuntime, run_loop
from network.party import CommandError, LinkChange
from network.store import Store, StoreError
from network.turn_profile import samples_from_json, samples_to_json

pytestmark = pytest.mark.live

Main = Callable[[], Coroutine[Any, Any, None]]
WAIT = 5.0


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Run a test's coroutine on either loop."""

    def run_main(main: Main) -> None:
        async def limited() -> None:
            async with asyncio.timeout(30):
                await main()

        if request.param == "uvloop":
            pytest.importorskip("uvloop")
            run_loop(limited())
        else:
            asyncio.run(limited())

    return run_main


@pytest.fixture(autouse=True)
def _unconfigured_logging() -> None:
    structlog.reset_defaults()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.002)


class Bed:
    """An echo party that runs live and listens."""

    def __init__(self, runtime: LiveRuntime, store: Store, party: Echo, errors: list[Exception]) -> None:
        self.runtime = runtime
        self.store = store
        self.party = party
        self.errors = errors
        self.port = 0

    async def listen(self, framing: Framing = TERMINAL_FRAMING) -> None:
        await self.runtime.listen("peer", "127.0.0.1", 0, framing)
        self.port = self.runtime.addresses[-1][1]

    async def client(self, framing: Framing = TERMINAL_FRAMING, *, small: bool = False) -> Client:
        """A connection to the party; a `small` one has next to no receive buffer and does not read by itself."""
        made = socket.socket()
        made.setblocking(False)
        if small:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        return Client(made, framing)

    async def command(self, name: str, **arguments: str | float) -> object:
        return await asyncio.wait_for(asyncio.wrap_future(self.runtime.ask(name, dict(arguments))), WAIT)

    def notes(self) -> list[bytes]:
        notes = self.store.tables[Note]
        with self.store.read() as connection:
            return [row.subject for row in connection.execute(notes.select().order_by(notes.c.number))]


class Client:
    """The other end, on a plain socket."""

    def __init__(self, made: socket.socket, framing: Framing) -> None:
        self.socket = made
        self.framing = framing
        self.bodies: list[bytes] = []
        self._buffer = bytearray()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def tell(self, *bodies: bytes) -> None:
        await self.send(b"".join(map(self.framing.frame, bodies)))

    async def hear(self, count: int) -> list[bytes]:
        """The next so many bodies."""
        while len(self.bodies) < count:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65536), WAIT)
            assert data, f"closed after {len(self.bodies)} bodies"
            self._buffer += data
            self.bodies += self.framing.split(self._buffer)
        heard, self.bodies = self.bodies[:count], self.bodies[count:]
        return heard

    async def is_closed(self) -> bool:
        """Read to the end, which must come."""
        try:
            while await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.socket, 65536), WAIT):
                pass
        except ConnectionError:
            return True
        return True

    def close(self) -> None:
        self.socket.close()


@asynccontextmanager
async def echo_bed(framing: Framing | None = TERMINAL_FRAMING) -> AsyncIterator[Bed]:
    store = Store("sqlite://", TABLES, durable=False)
    party = Echo()
    errors: list[Exception] = []
    runtime = LiveRuntime(party, store, random=Random(1), failed=errors.append)
    runtime.start()
    bed = Bed(runtime, store, party, errors)
    if framing is not None:
        await bed.listen(framing)
    try:
        yield bed
    finally:
        await runtime.stop()
        store.close()


Run = Callable[[Main], None]


# bytes to bodies


@pytest.mark.parametrize("framing", [TERMINAL_FRAMING, MEMBER_FRAMING], ids=["terminal", "member"])
def test_many_frames_in_one_segment(run: Run, framing: Framing) -> None:
    async def main() -> None:
        async with echo_bed(framing) as bed:
            client = await bed.client(framing)
            bodies = [f"{number}".encode() for number in range(500)]
            await client.tell(*bodies, b"", bodies[0] + b"!")
            assert await client.hear(501) == [b"re:" + body for body in [*bodies, b"0!"]]
            assert bed.notes() == [*bodies, b"0!"]
            assert max(bed.party.batches) > 100
            assert bed.runtime.service.summary().count == 501

    run(main)


@pytest.mark.parametrize("framing", [TERMINAL_FRAMING, MEMBER_FRAMING], ids=["terminal", "member"])
def test_byte_by_byte(run: Run, framing: Framing) -> None:
    async def main() -> None:
        async with echo_bed(framing) as bed:
            client = await bed.client(framing)
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in framing.frame(b"slow") + framing.frame(b"steady"):
                await client.send(bytes([byte]))
                await asyncio.sleep(0.001)
            assert await client.hear(2) == [b"re:slow", b"re:steady"]

    run(main)


def test_half_a_frame_is_closed_and_a_whole_one_is_not(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HALF_FRAME_SECONDS", 0.2)

    async def main() -> None:
        async with echo_bed() as bed:
            stuck, trickling, idle = [await bed.client() for _ in range(3)]
            await idle.tell(b"idle")
            await stuck.send(b"\0\x09half")
            began = time.monotonic()

            async def trickle() -> None:
                for byte in TERMINAL_FRAMING.frame(b"x" * 1000):
                    await trickling.send(bytes([byte]))
                    await asyncio.sleep(0.02)

            trickler = asyncio.create_task(trickle())
            assert await stuck.is_closed()
            assert 0.19 <= time.monotonic() - began < 2
            with pytest.raises(ConnectionError):
                await trickler
            assert time.monotonic() - began < 3
            assert await idle.hear(1) == [b"re:idle"]
            await asyncio.sleep(0.3)
            await idle.tell(b"still here")
            assert await idle.hear(1) == [b"re:still here"]
            assert len(bed.runtime.links) == 1

    run(main)


@pytest.mark.parametrize("framing", [TERMINAL_FRAMING, MEMBER_FRAMING], ids=["terminal", "member"])
def test_junk_closes_its_connection_and_the_others_go_on(run: Run, framing: Framing) -> None:
    async def main() -> None:
        async with echo_bed(framing) as bed:
            good, junk = await bed.client(framing), await bed.client(framing)
            await junk.send(framing.frame(b"before") + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
            assert await junk.is_closed()
            await good.tell(b"a")
            assert await good.hear(1) == [b"re:a"]
            assert bed.notes() == [b"before", b"a"]
            await until(lambda: len(bed.runtime.links) == 1)
            ups = [change.up for change in bed.party.changes]
            assert sorted(ups) == [False, True, True]

    run(main)


# limits


def test_a_reader_that_does_not_read_is_dropped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNSENT_LIMIT", 100_000)

    async def main() -> None:
        async with echo_bed() as bed:
            slow, good = await bed.client(small=True), await bed.client()
            await slow.tell(b"slow")
            await until(lambda: bed.notes() == [b"slow"])
            slow_link, _ = sorted(bed.runtime.links, key=lambda link: int(link.rpartition("-")[2]))
            for _ in range(40):
                await bed.command("flood", link=slow_link, times=50, size=8000)
                if slow_link not in bed.runtime.links:
                    break
            await until(lambda: slow_link not in bed.runtime.links)
            assert LinkChange(slow_link, False) in bed.party.changes
            await good.tell(b"good")
            assert await good.hear(1) == [b"re:good"]
            slow.close()

    run(main)


def test_reading_stops_while_the_queue_is_full(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUEUE_LIMIT", 50)
    monkeypatch.setattr(live, "TURN_LIMIT", 10)
    paused: list[str] = []
    pause = connections.Connection.pause

    def noted(connection: connections.Connection) -> None:
        paused.append(connection.name)
        pause(connection)

    monkeypatch.setattr(connections.Connection, "pause", noted)

    async def main() -> None:
        async with echo_bed() as bed:
            clients = [await bed.client() for _ in range(3)]
            longest = 0
            turn = bed.party.turn

            def watched(given: live.Turn) -> None:
                nonlocal longest
                longest = max(longest, bed.runtime.queued)
                turn(given)

            bed.party.turn = watched  # type: ignore[method-assign]
            wanted = [[f"{number}/{n}".encode() * 20 for n in range(6000)] for number in range(3)]
            tellers = [asyncio.create_task(c.tell(*bodies)) for c, bodies in zip(clients, wanted, strict=True)]
            heard = await asyncio.gather(*(client.hear(6000) for client in clients))
            await asyncio.gather(*tellers)
            assert heard == [[b"re:" + body for body in bodies] for bodies in wanted]
            assert max(bed.party.batches) == 10
            assert len(set(paused)) == 3
            # one read of each link beyond the limit is the most that can wait
            assert longest < 18_000 / 2
            assert bed.runtime.service.summary().count == 18_000

    run(main)


def test_connections_beyond_the_limit_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "CONNECTION_LIMIT", 2)

    async def main() -> None:
        async with echo_bed() as bed:
            first, second = await bed.client(), await bed.client()
            await until(lambda: len(bed.runtime.links) == 2)
            third = await bed.client()
            assert await third.is_closed()
            first.close()
            await until(lambda: len(bed.runtime.links) == 1)
            fourth = await bed.client()
            for client in (second, fourth):
                await client.tell(str(id(client)).encode())
                assert await client.hear(1) == [f"re:{id(client)}".encode()]

    run(main)


def test_a_body_that_no_frame_carries_is_dropped_alone(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            client = await bed.client()
            await until(lambda: len(bed.runtime.links) == 1)
            with capture_logs() as logs:
                await bed.command("huge", link=bed.runtime.links[0])
            assert await client.hear(2) == [b"before", b"after"]
            assert [(one["event"], one["reason"]) for one in logs] == [
                ("message not sent", f"a body of {MAX_BODY + 1} bytes exceeds {MAX_BODY}")
            ]

    run(main)


# what fails


def test_a_bad_message_is_dropped_alone_and_its_text_is_not_logged(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            client = await bed.client()
            with capture_logs() as logs:
                await client.tell(b"a", b"bad", b"b")
                assert await client.hear(2) == [b"re:a", b"re:b"]
            assert bed.runtime.failures == 1
            assert [one["event"] for one in logs] == ["event dropped"]
            assert logs[0]["error"] == "Undecidable"
            assert "tiny_parties.py" in logs[0]["at"]
            assert "6212" not in str(logs)

    run(main)


@pytest.mark.parametrize("where", ["reading", "committing"])
def test_a_store_that_fails_ends_with_the_failed_callback(
    run: Run, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            client = await bed.client()
            await client.tell(b"a")
            await client.hear(1)

            def broken(*_: object) -> None:
                raise StoreError("disk full")

            monkeypatch.setattr(bed.runtime._unit, "find" if where == "reading" else "commit", broken, raising=False)
            unanswered = bed.runtime.ask("wait", {"seconds": 60})
            await client.tell(b"b", b"c")
            await until(lambda: bool(bed.errors))
            assert [str(error) for error in bed.errors] == ["disk full"]
            late = bed.runtime.ask("count", {})
            await client.tell(b"d")
            await bed.runtime.stop()
            assert await client.is_closed()
            assert client.bodies == []
            assert len(bed.errors) == 1
            for future in (unanswered, late):
                with pytest.raises(CommandError, match="the party is stopping"):
                    await asyncio.wait_for(asyncio.wrap_future(future), WAIT)
        assert bed.party.fired == []

    run(main)


# links that this side dials


def has_notes(bed: Bed, count: int) -> Callable[[], bool]:
    return lambda: len(bed.notes()) == count


@asynccontextmanager
async def server_at(
    port: int, heard: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[int]:
    writers: list[asyncio.StreamWriter] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await heard(reader, writer)

    server = await asyncio.start_server(accepted, "127.0.0.1", port)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for writer in writers:
        writer.transport.abort()


def test_a_dialled_link_comes_up_and_again_after_the_server_went_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "RECONNECT_FIRST", 0.01)
    monkeypatch.setattr(connections, "RECONNECT_LONGEST", 0.05)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(TERMINAL_FRAMING.frame(b"welcome %d" % id(writer)))
        frame = await reader.read(100)
        writer.write(frame)

    async def main() -> None:
        async with echo_bed(None) as bed:
            bed.runtime.dial("server", "127.0.0.1", port, TERMINAL_FRAMING)
            await asyncio.sleep(0.1)
            assert bed.runtime.links == []
            assert await bed.command("send", link="server", text="dropped: the link is down") == "sent"
            for lives in range(1, 4):
                async with server_at(port, answers):
                    await until(has_notes(bed, 2 * lives))
                    assert bed.runtime.links == ["server"]
                await until(lambda: bed.runtime.links == [])
            welcomes = bed.notes()[::2]
            assert [note.startswith(b"welcome") for note in welcomes] == [True] * 3
            assert bed.notes()[1::2] == [b"re:" + note for note in welcomes]
            assert bed.party.changes == [LinkChange("server", up) for _ in range(3) for up in (True, False)]

    run(main)


def test_a_link_that_is_hung_up_comes_again(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as far, echo_bed(None) as bed:
            bed.runtime.dial("server", "127.0.0.1", far.port, TERMINAL_FRAMING)
            await until(lambda: bed.runtime.links == ["server"])
            bed.runtime.hang_up("server")
            bed.runtime.hang_up("no such link")
            await until(lambda: len(bed.party.changes) == 3 and bed.runtime.links == ["server"])
            assert [change.up for change in bed.party.changes] == [True, False, True]

    run(main)


# the end


def test_stop_finishes_what_has_arrived(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TURN_LIMIT", 7)

    async def main() -> None:
        async with echo_bed() as bed:
            client = await bed.client()
            await client.tell(*(str(number).encode() for number in range(100)))
            await until(lambda: bed.runtime.queued > 0 or bed.runtime.turns > 0)
            await until(lambda: len(bed.runtime.trace) > 0)
            arrived = bed.runtime.queued + bed.runtime.service.summary().count
            await bed.runtime.stop()
            answered = len(await client.hear(arrived))
            assert answered == arrived
            assert await client.is_closed()
            assert len(bed.notes()) == arrived
            assert bed.runtime.queued <= 1
            assert bed.runtime.links == []
            with pytest.raises(OSError, match=r"refused|reset|Connect"):
                await bed.client()

    run(main)


def test_stop_gives_peers_time_to_read_and_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STOP_SECONDS", 0.3)

    async def main() -> None:
        async with echo_bed() as bed:
            slow, quick = await bed.client(small=True), await bed.client(small=True)
            await until(lambda: len(bed.runtime.links) == 2)
            for link in bed.runtime.links:
                await bed.command("flood", link=link, times=400, size=8000)
            began = time.monotonic()
            stopping = asyncio.create_task(bed.runtime.stop())
            assert await quick.hear(400) == [b"x" * 8000] * 400
            await stopping
            assert 0.25 < time.monotonic() - began < 2
            assert bed.runtime.links == [] or await slow.is_closed()

    run(main)


def test_stop_ends_dialling_and_timers(run: Run) -> None:
    async def main() -> None:
        async with echo_bed(None) as bed:
            bed.runtime.dial("nowhere", "127.0.0.1", 1, TERMINAL_FRAMING)
            waiting = bed.runtime.ask("wait", {"seconds": 0.1})
            await until(lambda: bed.runtime.turns > 0)
            await bed.runtime.stop()
            await asyncio.sleep(0.2)
            assert bed.party.fired == []
            with pytest.raises(CommandError, match="stopping"):
                waiting.result(0)
            assert len(asyncio.all_tasks()) == 1

    run(main)


# commands, timers, local links


def test_commands_from_another_thread(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            results: list[object] = []

            def outside() -> None:
                results.append(bed.runtime.ask("count", {}).result(WAIT))
                for name in ("boom", "refuse"):
                    try:
                        bed.runtime.ask(name, {}).result(WAIT)
                    except CommandError as error:
                        results.append(str(error))
                results.append(bed.runtime.ask("wait", {"seconds": 0.05}).result(WAIT))

            with capture_logs():
                thread = threading.Thread(target=outside)
                thread.start()
                await asyncio.to_thread(thread.join, WAIT)
            assert results == [0, "boom failed: Undecidable", "not today", "waited"]

    run(main)


def test_a_profile_tells_what_turns_cost_while_it_is_on(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            client = await bed.client()
            await bed.command("count")
            assert await asyncio.wrap_future(bed.runtime.profile_turns(True)) == []
            await bed.command("count")  # what the first turn was waited for is not known: it does not count
            await asyncio.sleep(0.02)
            await client.tell(*(f"{number}".encode() for number in range(200)))
            await client.hear(200)
            await bed.command("count")
            samples = await asyncio.wrap_future(bed.runtime.profile_turns(False))
            await bed.command("count")
            assert await asyncio.wrap_future(bed.runtime.profile_turns(True)) == []
            *told, counted = samples
            assert sum(one.kinds.pop("peer") for one in told) == 200
            assert not any(one.kinds for one in told)
            assert all(one.wrote for one in told)
            assert told[0].idle > 10_000
            assert sum(one.deciding for one in told) > 500  # a note takes more than 2.5 us
            assert (counted.kinds, counted.wrote) == ({"command count": 1}, False)
            assert samples_from_json(json.loads(json.dumps(samples_to_json(samples)))) == samples

    run(main)


def test_who_gives_up_on_a_command_harms_nobody(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            given_up = [bed.runtime.ask("wait", {"seconds": 0.05}) for _ in range(3)]
            kept = bed.runtime.ask("wait", {"seconds": 0.05})
            await asyncio.sleep(0.01)
            assert [future.cancel() for future in given_up] == [True] * 3
            assert await asyncio.wrap_future(kept) == "waited"
            assert bed.runtime.failures == 0
            silent = bed.runtime.ask("silent", {})
            with pytest.raises(concurrent.futures.TimeoutError):
                await asyncio.to_thread(silent.result, 0.05)

    run(main)


def test_a_callback_or_an_endpoint_that_fails_keeps_nothing_from_being_delivered(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            client = await bed.client()
            await until(lambda: len(bed.runtime.links) == 1)

            def broken(*_: object) -> None:
                raise RuntimeError("secret 6212345678901232")

            bed.runtime.attach("card", broken)
            with capture_logs() as logs:
                bed.runtime.command("count", {}, broken)
                bed.runtime.command("send", {"link": "card", "text": "select"}, lambda _: None)
                bed.runtime.command("send", {"link": bed.runtime.links[0], "text": "delivered"}, lambda _: None)
                assert await client.hear(1) == [b"delivered"]
            await client.tell(b"and goes on")
            assert await client.hear(1) == [b"re:and goes on"]
            assert [one["event"] for one in logs] == ["delivery failed"] * 2
            assert "6212" not in str(logs)
            assert bed.runtime.failures == 2

    run(main)


def test_timers_fire_no_earlier_than_due_and_in_order(run: Run) -> None:
    async def main() -> None:
        async with echo_bed(None) as bed:
            began = live.real_now()
            delays = [0.09, 0.01, 0.05, 0.0005, 0.07, 0.03]
            futures = [asyncio.wrap_future(bed.runtime.ask("wait", {"seconds": delay})) for delay in delays]
            await asyncio.wait_for(asyncio.gather(*futures), WAIT)
            order = [int(name) - 1 for _, name in bed.party.fired]
            assert [delays[index] for index in order] == sorted(delays)
            for at, name in bed.party.fired:
                late = (at - began) / 1_000_000 - delays[int(name) - 1]
                assert 0 <= late < 1

    run(main)


def test_local_endpoints(run: Run) -> None:
    async def main() -> None:
        async with echo_bed(None) as bed:
            replies: list[Callable[[bytes], None]] = []
            asked: list[bytes] = []

            def card(body: bytes, reply: Callable[[bytes], None]) -> None:
                asked.append(body)
                replies.append(reply)

            bed.runtime.attach("reader", card)
            await bed.command("send", link="reader", text="select")
            assert asked == [b"select"]
            replies[0](b"file control information")
            await until(lambda: bed.notes() == [b"file control information"])
            assert asked[1:] == [b"re:file control information"]
            bed.runtime.detach("reader")
            await bed.command("send", link="reader", text="gone")
            assert len(asked) == 2
            # what passes between the party and a card or a PIN pad is not remembered
            assert list(bed.runtime.trace) == []

    run(main)


def test_accepted_links_have_names_of_their_own_process(run: Run) -> None:
    async def main() -> None:
        names: set[str] = set()
        for _ in range(2):
            async with echo_bed() as bed:
                clients = [await bed.client() for _ in range(2)]
                await until(lambda: len(bed.runtime.links) == 2)
                assert all(link.startswith("peer:") for link in bed.runtime.links)
                names |= set(bed.runtime.links)
                assert len(clients) == 2
            await asyncio.sleep(0.002)
        assert len(names) == 4

    run(main)


def test_what_was_pending_is_resumed_by_the_next_process(run: Run, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path / 'echo.db'}"

    async def main() -> None:
        sent: list[bytes] = []
        for _ in range(2):
            store = Store(url, TABLES)
            runtime = LiveRuntime(Echo(), store, random=Random(1), now=live.real_now)
            runtime.attach("peer", lambda body, _: sent.append(body))
            runtime.start()
            if not sent:
                await asyncio.wrap_future(runtime.ask("keep", {"text": "kept"}))
                sent.append(b"first process")
            else:
                await until(lambda: len(sent) > 1)
            await runtime.stop()
            store.close()
        assert sent == [b"first process", b"again:1"]

    run(main)


def test_a_port_in_use(run: Run) -> None:
    async def main() -> None:
        async with echo_bed() as bed:
            with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
                await bed.runtime.listen("peer", "127.0.0.1", bed.port, TERMINAL_FRAMING)

    run(main)


def test_a_look_up_that_nobody_waits_for_any_more_is_not_complained_of(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("uvloop")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        dialling = loop.create_task(loop.create_connection(asyncio.Protocol, "no-such-host.invalid", 7000))
        await asyncio.sleep(0)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        with pytest.raises(OSError, match=r"."):
            await loop.getaddrinfo("no-such-host.invalid", 7000)  # by then the first one has ended too
        await asyncio.sleep(0.05)
        gc.collect()
        loop.call_exception_handler({"message": "something else", "exception": ValueError("heard")})

    run_loop(main())
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == ["something else"]
