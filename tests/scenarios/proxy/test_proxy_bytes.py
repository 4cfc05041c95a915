"""Toxics that work on bytes, over real sockets: what arrives, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_bed import bed, echo, run, silence, until

from scenarios.proxy import FaultProxy, LinkDialect, Toxic, ToxicError

BULK = Random(3).randbytes(3_000_000)
LOOPS = pytest.mark.parametrize("plain", [False, True], ids=["uvloop", "asyncio"])


@LOOPS
@pytest.mark.parametrize("dialect", [LinkDialect.RAW, LinkDialect.MEMBER, LinkDialect.TERMINAL])
def test_without_toxics_a_flood_passes_both_ways_unchanged(dialect: LinkDialect, plain: bool) -> None:
    async def main() -> None:
        async with bed(dialect) as one:
            client = await one.client()
            reading = asyncio.create_task(client.rest())
            client.writer.write(BULK)
            client.writer.write_eof()
            assert await reading == BULK
            assert bytes(one.peer.received) == BULK

    run(main, plain=plain)


@settings(max_examples=25)
@given(st.lists(st.binary(min_size=1, max_size=700), min_size=1, max_size=8), st.sampled_from(list(LinkDialect)))
def test_any_bytes_in_any_chunks_pass_unchanged(chunks: list[bytes], dialect: LinkDialect) -> None:
    async def main() -> None:
        async with bed(dialect) as one:
            client = await one.client()
            for chunk in chunks:
                client.writer.write(chunk)
                await asyncio.sleep(0)
            client.writer.write_eof()
            assert await client.rest() == b"".join(chunks)

    run(main)


@LOOPS
def test_a_half_closed_client_still_gets_its_answer(plain: bool) -> None:
    async def main() -> None:
        async with bed(answer=silence) as one:
            client = await one.joined()
            client.writer.write(b"question")
            client.writer.write_eof()
            await until(lambda: one.peer.received == b"question")
            await until(lambda: one.peer.ended == 1)
            assert one.proxy.connections in (0, 1)

    run(main, plain=plain)


@LOOPS
def test_what_the_peer_says_after_the_client_has_ended_arrives(plain: bool) -> None:
    async def main() -> None:
        async def answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            question = await reader.read()
            writer.write(question[::-1])
            writer.close()

        server = await asyncio.start_server(answer_late, "127.0.0.1", 0)
        proxy = FaultProxy("127.0.0.1:0", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await proxy.start()
        reader, writer = await asyncio.open_connection(*proxy.listen)
        writer.write(b"abc")
        writer.write_eof()
        assert await reader.read() == b"cba"
        writer.close()
        await until(lambda: proxy.connections == 0)
        await proxy.stop()
        server.close()

    run(main, plain=plain)


def test_latency_delays_but_keeps_the_order() -> None:
    async def main() -> None:
        async with bed() as one:
            one.proxy.add(Toxic("latency", {"latency": 60, "jitter": 50}))
            client = await one.client()
            began = asyncio.get_running_loop().time()
            for number in range(20):
                await client.send(b"%02d" % number)
                await asyncio.sleep(0.001)
            assert await client.take(20) == [b"%02d" % number for number in range(20)]
            assert asyncio.get_running_loop().time() - began >= 0.010  # the least that can be drawn

    run(main)


def test_a_latency_that_is_removed_lets_go_what_it_held() -> None:
    async def main() -> None:
        async with bed() as one:
            client = await one.joined()
            one.proxy.add(Toxic("latency", {"latency": 3_600_000}))
            await client.send(b"one", b"two")
            await until(lambda: len(one.peer.received) == 14)
            one.proxy.remove("latency_downstream")
            assert await client.take(2) == [b"one", b"two"]

    run(main)


def test_a_slicer_cuts_without_changing_anything() -> None:
    async def main() -> None:
        async with bed(answer=silence) as one:
            sizes: list[int] = []
            one.peer._answer = lambda data: sizes.append(len(data)) or b""  # type: ignore[func-returns-value]
            one.proxy.add(Toxic("slicer", {"average_size": 7, "size_variation": 3, "delay": 300}, "upstream"))
            client = await one.client()
            client.writer.write(BULK[:500])
            await until(lambda: len(one.peer.received) == 500)
            assert bytes(one.peer.received) == BULK[:500]
            assert len(sizes) > 20  # pieces that fell together are read together

    run(main)


def test_bandwidth_takes_its_time_and_loses_nothing() -> None:
    async def main() -> None:
        async with bed() as one:
            one.proxy.add(Toxic("bandwidth", {"rate": 100}))
            client = await one.client()
            began = asyncio.get_running_loop().time()
            client.writer.write(BULK[:30_000])
            client.writer.write_eof()
            assert await client.rest() == BULK[:30_000]
            assert asyncio.get_running_loop().time() - began >= 0.29

    run(main)


def test_a_narrow_line_stops_the_sender_and_holds_little() -> None:
    async def main() -> None:
        async with bed(answer=silence) as one:
            client = await one.joined()
            one.proxy.add(Toxic("bandwidth", {"rate": 1}, "upstream"))
            client.writer.transport.set_write_buffer_limits(high=0)
            client.writer.write(b"x" * 30_000_000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await client.writer.drain()
            connection = next(iter(one.proxy._connections.values()))
            assert connection._pipes["upstream"]._bytes <= 2 << 20
            client.writer.transport.abort()

    run(main)


def test_limit_data_lets_so_many_bytes_pass_and_closes() -> None:
    async def main() -> None:
        async with bed() as one:
            one.proxy.add(Toxic("limit_data", {"bytes": 100}))
            client = await one.client()
            client.writer.write(BULK[:60])
            assert await client.reader.readexactly(60) == BULK[:60]
            client.writer.write(BULK[60:1000])
            assert await client.rest() == BULK[60:100]

    run(main)


@LOOPS
def test_timeout_swallows_and_then_closes(plain: bool) -> None:
    async def main() -> None:
        async with bed() as one:
            one.proxy.add(Toxic("timeout", {"timeout": 80}))
            client = await one.client()
            await client.send(b"lost")
            assert await client.rest() == b""
            assert one.peer.received == b"0004lost"

    run(main, plain=plain)


def test_timeout_of_zero_swallows_until_it_is_removed() -> None:
    async def main() -> None:
        async with bed() as one:
            client = await one.joined()
            one.proxy.add(Toxic("timeout", {"timeout": 0}, "upstream"))
            await client.send(b"lost")
            await asyncio.sleep(0.05)
            one.proxy.remove("timeout_upstream")
            await client.send(b"kept")
            assert await client.receive() == b"kept"
            assert one.peer.received == b"0004kept"

    run(main)


@LOOPS
@pytest.mark.parametrize("after", [0, 50])
def test_reset_peer_resets_both_ends(plain: bool, after: int) -> None:
    async def main() -> None:
        async with bed(answer=silence) as one:
            client = await one.joined()
            one.proxy.add(Toxic("reset_peer", {"timeout": after}))
            with pytest.raises(ConnectionResetError):
                await client.rest()
            await until(lambda: one.peer.lost == 1)

    run(main, plain=plain)


def test_slow_close_delays_the_end_and_not_the_data() -> None:
    async def main() -> None:
        async with bed() as one:
            one.proxy.add(Toxic("slow_close", {"delay": 100}))
            client = await one.client()
            began = asyncio.get_running_loop().time()
            await client.send(b"data")
            client.writer.write_eof()
            assert await client.receive() == b"data"
            assert one.proxy.connections == 1
            assert await client.rest() == b""
            assert asyncio.get_running_loop().time() - began >= 0.099

    run(main)


@LOOPS
def test_a_reset_of_one_end_is_a_reset_of_the_other(plain: bool) -> None:
    async def main() -> None:
        async with bed(answer=silence) as one:
            client = await one.joined()
            made = client.writer.get_extra_info("socket")
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.writer.transport.abort()
            await until(lambda: one.peer.lost == 1)

    run(main, plain=plain)


def test_toxicity_is_drawn_for_each_connection_and_repeats_with_the_seed() -> None:
    drawn: list[list[bool]] = []

    async def main() -> None:
        async with bed(answer=silence, seed=5) as one:
            one.proxy.add(Toxic("limit_data", {"bytes": 0}, "upstream", toxicity=0.5))
            met = []
            for _ in range(20):
                client = await one.client()
                client.writer.write(b"x")
                client.writer.write_eof()
                assert await client.rest() == b""
                met.append(one.proxy.hits("limit_data_upstream"))
            drawn.append([after > before for before, after in pairwise([0, *met])])

    run(main)
    run(main)
    assert drawn[0] == drawn[1]
    assert 0 < sum(drawn[0]) < 20


def test_down_refuses_and_up_again_serves_at_the_same_port() -> None:
    async def main() -> None:
        async with bed() as one:
            client = await one.joined()
            await one.proxy.set_enabled(False)
            assert await client.rest() == b""
            with pytest.raises(ConnectionRefusedError):
                await one.client()
            port = one.proxy.listen.port
            await one.proxy.set_enabled(True)
            assert one.proxy.listen.port == port
            again = await one.client()
            await again.send(b"back")
            assert await again.receive() == b"back"

    run(main)


@LOOPS
def test_an_upstream_that_is_killed_resets_the_client_and_can_come_back(plain: bool) -> None:
    async def main() -> None:
        async with bed() as one:
            client = await one.joined()
            one.peer.kill()
            with pytest.raises((ConnectionError, EOFError)):
                await client.receive()
            refused = await one.client()
            with pytest.raises((ConnectionError, EOFError)):
                await refused.receive()
            await one.peer.start()
            again = await one.client()
            await again.send(b"back")
            assert await again.receive() == b"back"

    run(main, plain=plain)


@LOOPS
def test_two_hundred_connections_leave_no_task_and_no_descriptor(plain: bool) -> None:
    async def main() -> None:
        async with bed(LinkDialect.MEMBER) as one:
            one.proxy.add(Toxic("hold", {"probability": 0.2}))
            one.proxy.add(Toxic("latency", {"latency": 5}))
            one.proxy.add(Toxic("reset_peer", {"timeout": 20}, toxicity=0.3))
            descriptors = len(os.listdir("/proc/self/fd"))
            for _ in range(8):
                clients = [await one.client() for _ in range(25)]
                for number, client in enumerate(clients):
                    with contextlib.suppress(RuntimeError):  # it is reset already
                        client.writer.write(b"0004ping")
                        if number % 3 == 0:
                            client.writer.write_eof()
                await asyncio.sleep(0.03)
                for client in clients:
                    client.close()
            await until(lambda: one.proxy.connections == 0 and not one.proxy._tasks)
            assert one.proxy.accepted == 200
            await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)

    run(main, plain=plain)


def test_an_address_that_is_in_use_is_an_error() -> None:
    async def main() -> None:
        async with bed() as one:
            other = FaultProxy(one.proxy.listen, one.proxy.upstream)
            with pytest.raises(OSError, match="in use"):
                await other.start()
            await other.stop()

    run(main)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"type": "latencie"}, "there is no toxic 'latencie'"),
        ({"type": "latency", "stream": "sideways"}, "upstream or downstream"),
        ({"type": "latency", "toxicity": 1.5}, "toxicity is a number from 0 to 1"),
        ({"type": "latency", "attributes": {"latency": -1}}, "latency attribute latency"),
        ({"type": "latency", "attributes": {"latecy": 1}}, "latency has no attribute latecy"),
        ({"type": "latency", "latency": 5}, "a toxic has no latency; attributes of its kind stand under attributes"),
        ({"type": "slicer", "attributes": {"average_size": 5, "size_variation": 5}}, "size_variation must be less"),
        ({"type": "corrupt", "attributes": {"element": "DE4", "offset": 3}}, "give either element or offset"),
        ({"type": "drop", "name": "a/b"}, "a name has 1 to 100"),
        ({"type": "hold", "attributes": {"pan_prefix": "62x"}}, "hold attribute pan_prefix"),
    ],
)
def test_what_is_no_toxic_is_refused_by_name(content: dict[str, object], reason: str) -> None:
    with pytest.raises(ToxicError) as caught:
        Toxic.from_description(content)
    assert reason in str(caught.value)


def test_toxics_that_know_messages_need_a_dialect_and_names_are_used_once() -> None:
    async def main() -> None:
        async with bed() as one:
            with pytest.raises(ToxicError, match="needs the link's dialect"):
                one.proxy.add(Toxic("drop"))
            one.proxy.add(Toxic("latency"))
            with pytest.raises(ToxicError, match="already"):
                one.proxy.add(Toxic("latency"))
            with pytest.raises(ToxicError, match="there is no toxic gone"):
                one.proxy.remove("gone")
            assert one.peer._answer is echo

    run(main)
