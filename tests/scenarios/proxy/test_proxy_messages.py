"""Toxics that know messages: which they strike, and what becomes of those and of the others."""

from __future__ import annotations

import asyncio
import json

import pytest
from messages import sale, stans, terminal_sale
from proxy_bed import Bed, bed, run, until

from network.attestation.monitoring_link import MONITORING_FRAMING
from network.framing import MEMBER_FRAMING, TERMINAL_FRAMING
from network.iso8583 import INTERBANK, TERMINAL
from scenarios.proxy import LinkDialect, Toxic

MEMBER = LinkDialect.MEMBER
HOUR = 3_600_000


async def exchange(one: Bed, count: int = 5) -> list[int]:
    """Send some sales one after the other; the traces of what comes back until a probe that ends it."""
    client = await one.client()
    for stan in range(1, count + 1):
        await client.send(sale(stan))
    client.writer.write_eof()
    answer = await client.rest()
    return stans(MEMBER_FRAMING.split(bytearray(answer)))


@pytest.mark.parametrize(
    ("kind", "attributes", "arrives"),
    [
        ("drop", {"count": 1}, [2, 3, 4, 5]),
        ("drop", {"skip": 1, "count": 2}, [1, 4, 5]),
        ("drop", {}, []),
        ("drop", {"probability": 0.0}, [1, 2, 3, 4, 5]),
        ("drop", {"mti": "0210"}, [1, 2, 3, 4, 5]),
        ("duplicate", {"count": 1, "copies": 2}, [1, 1, 1, 2, 3, 4, 5]),
        ("duplicate", {"count": 1, "delay": 50}, [1, 2, 3, 4, 5, 1]),
        ("reorder", {"count": 1}, [2, 1, 3, 4, 5]),
        ("reorder", {"count": 1, "after": 3}, [2, 3, 4, 1, 5]),
        ("reorder", {}, [2, 1, 4, 3, 5]),
        ("hold", {"count": 1, "delay": 50}, [2, 3, 4, 5, 1]),
        ("hold", {"skip": 4, "delay": 50}, [1, 2, 3, 4, 5]),
    ],
)
def test_what_arrives_and_in_which_order(kind: str, attributes: dict[str, object], arrives: list[int]) -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic(kind, attributes))
            assert await exchange(one) == arrives

    run(main)


@pytest.mark.parametrize(
    ("attributes", "struck"),
    [
        ({"mti": ["0200", "0400"]}, True),
        ({"mti": ["0210"]}, False),
        ({"terminal": "T0000001"}, True),
        ({"terminal": "T0000002"}, False),
        ({"pan_prefix": "625188"}, True),
        ({"pan_prefix": "621"}, False),
        ({"amount": 1_000}, True),
        ({"amount": 1_001}, False),
        ({"amount_min": 1_000, "amount_max": 1_000}, True),
        ({"amount_min": 1_001}, False),
        ({"amount_max": 999}, False),
        ({"code": "51"}, True),
        ({"code": "00"}, False),
        ({"mti": "0200", "terminal": "T0000001", "pan_prefix": "62", "amount_min": 1, "code": "51"}, True),
    ],
)
@pytest.mark.parametrize("link", [LinkDialect.MEMBER, LinkDialect.TERMINAL])
def test_every_condition_on_either_link(link: LinkDialect, attributes: dict[str, object], struck: bool) -> None:
    framing = MEMBER_FRAMING if link is MEMBER else TERMINAL_FRAMING
    if link is MEMBER:
        body = sale(code="51")
    else:
        message = TERMINAL.unpack(terminal_sale(track=True))
        message[39] = "51"
        body = TERMINAL.pack(message)

    async def main() -> None:
        async with bed(link) as one:
            one.proxy.add(Toxic("drop", attributes, "upstream"))
            client = await one.client(framing)
            await client.send(body)
            client.writer.write_eof()
            assert await client.rest() == (b"" if struck else framing.frame(body))
            assert one.proxy.hits("drop_upstream") == struck

    run(main)


def test_a_message_held_without_an_end_goes_on_when_the_toxic_goes() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("hold", {"mti": "0200", "amount": 1_000}))
            client = await one.client()
            await client.send(sale(1), sale(2, amount=5), sale(3))
            assert stans([await client.receive()]) == [2]
            assert one.proxy.hits("hold_downstream") == 2
            one.proxy.remove("hold_downstream")
            assert stans(await client.take(2)) == [1, 3]

    run(main)


def test_one_element_is_spoilt_and_the_mac_is_left_as_it_was() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("corrupt", {"element": "DE4", "value": "000000099999", "count": 1}, "upstream"))
            one.proxy.add(Toxic("corrupt", {"element": "DE4", "skip": 1}, "downstream"))
            client = await one.client()
            await client.send(sale(1), sale(2))
            first, second = [INTERBANK.unpack(body) for body in await client.take(2)]
            assert first.text(4) == "000000099999"
            assert first.binary(128) == INTERBANK.unpack(sale(1)).binary(128)
            other = INTERBANK.unpack(sale(2))
            assert second.text(4) != other.text(4)
            assert {n for n in second.fields if second[n] != other[n]} == {4}

    run(main)


def test_messages_without_the_element_are_not_struck_nor_counted() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("corrupt", {"element": "39", "value": "00", "count": 1}))
            client = await one.client()
            await client.send(sale(1), sale(2, mti="0210", code="51"), sale(3, mti="0210", code="51"))
            codes = [INTERBANK.unpack(body).get(39) for body in await client.take(3)]
            assert codes == [None, "00", "51"]

    run(main)


def test_one_byte_is_spoilt_at_a_place_or_at_any() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("corrupt", {"offset": 46, "count": 1}))
            one.proxy.add(Toxic("corrupt", {"skip": 1}, name="anywhere"))
            client = await one.client()
            await client.send(sale(1), sale(2))
            first, second = await client.take(2)
            assert [at for at, byte in enumerate(first) if byte != sale(1)[at]] == [46]
            assert sum(one != other for one, other in zip(second, sale(2), strict=True)) == 1

    run(main)


def test_toxics_work_one_after_the_other_in_the_order_in_which_they_were_added() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("duplicate", {"count": 1}))
            one.proxy.add(Toxic("drop", {"count": 1}))
            one.proxy.add(Toxic("latency", {"latency": 5}))
            assert await exchange(one, 3) == [1, 2, 3]
            one.proxy.change(Toxic("duplicate", {"skip": 2}))
            one.proxy.change(Toxic("drop", {"mti": "0999"}))
            assert [toxic.type for toxic in one.proxy.toxics] == ["duplicate", "drop", "latency"]
            assert await exchange(one, 3) == [1, 2, 3, 3]

    run(main)


def test_what_is_chosen_by_chance_repeats_with_the_seed() -> None:
    seen = []

    async def main() -> None:
        async with bed(MEMBER, seed=11) as one:
            one.proxy.add(Toxic("drop", {"probability": 0.5}, "upstream"))
            seen.append(await exchange(one, 40))

    run(main)
    run(main)
    assert seen[0] == seen[1]
    assert 5 < len(seen[0]) < 35


def test_messages_of_a_monitoring_link_are_known_by_their_type() -> None:
    def body(kind: str) -> bytes:
        return b"0" * 8 + json.dumps({"type": kind, "terminal": "T0000001", "accepted": True}).encode()

    async def main() -> None:
        async with bed(LinkDialect.MONITORING) as one:
            one.proxy.add(Toxic("corrupt", {"mti": "verdict", "element": "accepted"}))
            one.proxy.add(Toxic("drop", {"mti": "challenge"}))
            client = await one.client(MONITORING_FRAMING)
            await client.send(body("challenge"), body("verdict"), b"0" * 8 + b"no object")
            spoilt, other = await client.take(2)
            assert json.loads(spoilt[8:]) == {"type": "verdict", "terminal": "T0000001", "accepted": False}
            assert spoilt[:8] == b"0" * 8
            assert other.endswith(b"no object")

    run(main)


def test_a_toxic_that_comes_in_the_middle_of_a_message_strikes_the_next() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            client = await one.joined()
            frame = MEMBER_FRAMING.frame(sale(1))
            client.writer.write(frame[:50])
            assert await client.reader.readexactly(50) == frame[:50]
            one.proxy.add(Toxic("drop", {"count": 1}))
            client.writer.write(frame[50:])
            assert await client.reader.readexactly(len(frame) - 50) == frame[50:]
            await client.send(sale(2), sale(3))
            assert stans([await client.receive()]) == [3]

    run(main)


def test_probes_junk_and_what_cannot_be_read_pass_as_they_are() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("drop", {"mti": "0200"}))
            client = await one.client()
            stream = (
                b"0000" + MEMBER_FRAMING.frame(b"no message") + b"0000GET / HTTP/1.1" + MEMBER_FRAMING.frame(sale(1))
            )
            client.writer.write(stream)
            client.writer.write_eof()
            assert await client.rest() == stream

    run(main)


def test_a_bench_that_is_full_stops_the_sender() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("hold", {}, "upstream"))
            client = await one.joined()
            client.writer.transport.set_write_buffer_limits(high=0)
            client.writer.write(MEMBER_FRAMING.frame(sale(1)) * 200_000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.writer.drain()
            connection = next(iter(one.proxy._connections.values()))
            assert connection._pipes["upstream"]._bytes <= 2 << 20
            one.proxy.remove("hold_upstream")
            await until(lambda: len(one.peer.received) > 4 << 20)
            client.writer.transport.abort()

    run(main)


def test_what_is_remembered_of_a_strike_is_its_type_and_no_more() -> None:
    async def main() -> None:
        async with bed(MEMBER) as one:
            one.proxy.add(Toxic("hold", {"delay": 1}))
            assert await exchange(one, 1) == [1]
            (strike,) = one.proxy.strikes
            assert strike[1:] == (1, "downstream", "hold_downstream", "0200")

    run(main)
