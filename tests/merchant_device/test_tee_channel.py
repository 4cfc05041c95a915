"""The command channel: what crosses it, what does not, and that nothing which comes over it can break it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from merchant_device.tee import channel as channel_module
from merchant_device.tee.channel import (
    MAX_FRAME,
    UNDER_WAY_LIMIT,
    Channel,
    ChannelError,
    decode_request,
    encode_frame,
    take_frames,
)
from merchant_device.tee.commands import COMMANDS, CommandKind, CommandRefused, ErrorCode, admit, released
from network.party import CommandError, Json
from network.service import ConfigurationError

TERMINAL = "00000129"
RECEIPT: dict[str, Json] = {"outcome": "approved", "terminal": TERMINAL, "amount": 888, "at": "2026-11-23T11:45:00"}
PAN = "6228480000000001855"

GOOD: dict[str, dict[str, object]] = {
    "sale": {"terminal": TERMINAL, "amount": 888, "ways": ["tap", "payer_code"]},
    "balance": {"terminal": TERMINAL},
    "cancel": {"terminal": TERMINAL},
    "static_code": {"terminal": "10000001", "show": False},
    "history": {"terminal": TERMINAL, "limit": 5},
    "status": {},
    "sign_on": {"terminal": TERMINAL},
    "sign_off": {"terminal": TERMINAL},
    "echo": {"terminal": TERMINAL},
    "download": {"terminal": TERMINAL},
    "attest": {"device": "phone-1", "challenge": "00" * 32},
    "install": {"device": "phone-1", "terminal": TERMINAL, "merchant": "898290054110001", "wrapped_tmk": "00AA"},
    "signal": {"device": "phone-1", "signals": ["debugger"]},
    "kill": {"device": "phone-1"},
}


def request(number: object, command: object, arguments: object) -> bytes:
    return json.dumps({"id": number, "command": command, "arguments": arguments}).encode()


def frame(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


# frames


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(min_value=1, max_value=50))
def test_frames_come_out_as_they_went_in_however_they_are_cut(texts: list[bytes], step: int) -> None:
    stream = b"".join(map(frame, texts))
    buffer, found = bytearray(), []
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        found += take_frames(buffer)
    assert found == texts
    assert not buffer


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 2**31, 2**32 - 1])
def test_a_length_that_cannot_be_is_refused_at_once(length: int) -> None:
    with pytest.raises(ChannelError, match=f"a frame of {length} bytes"):
        take_frames(bytearray(length.to_bytes(4, "big")))


@pytest.mark.parametrize(
    ("text", "said", "number"),
    [
        (b"", "not JSON", None),
        (b"{", "not JSON", None),
        (b"\xff{}", "not JSON", None),
        (b"[]", "not a JSON object", None),
        (b"7", "not a JSON object", None),
        (b"{}", "id: a whole number", None),
        (b'{"id":true,"command":"status"}', "id: a whole number", None),
        (b'{"id":-1,"command":"status"}', "id: a whole number", None),
        (b'{"id":1.0,"command":"status"}', "id: a whole number", None),
        (b'{"id":' + b"9" * 5000 + b"}", "not JSON", None),
        (b'{"id":99999999999999999999}', "id: a whole number", None),
        (b'{"id":NaN}', "not JSON", None),
        (b'{"id":1}', "command: a name", 1),
        (b'{"id":1,"command":7}', "command: a name", 1),
        (b'{"id":1,"command":"status","arguments":[]}', "arguments: an object", 1),
        (b'{"id":1,"command":"status","as":"root"}', "all that a request has", 1),
        (b'{"id":1,"command":"status","arguments":' + b'{"a":' * 9 + b"1" + b"}" * 9 + b"}", "nested deeper", None),
        (b"[" * 60_000, "nested deeper", None),
    ],
)
def test_what_is_no_request_is_told_so(text: bytes, said: str, number: int | None) -> None:
    with pytest.raises(ChannelError, match=said) as refused:
        decode_request(text)
    assert refused.value.number == number


def test_an_answer_too_long_for_a_frame_is_refused() -> None:
    with pytest.raises(ChannelError, match="at most"):
        encode_frame({"id": 1, "result": {"text": "x" * MAX_FRAME}})


def test_ten_thousand_mutated_frames_raise_nothing_unforeseen() -> None:
    random = Random(11)  # a fixed series: what fails once fails again
    texts = [request(number, name, arguments) for number, (name, arguments) in enumerate(GOOD.items())]
    reached = {"bad frame": 0, "bad request": 0, "refused": 0, "admitted": 0, "incomplete": 0}
    for _ in range(10_000):
        mutated = bytearray(frame(random.choice(texts)))
        for _ in range(random.choice((0, 1, 1, 2, 4))):
            place = random.randrange(len(mutated))
            how = random.randrange(4)
            if how == 0:
                mutated[place] = random.randrange(256)
            elif how == 1:
                mutated[place] ^= 1 << random.randrange(8)
            elif how == 2:
                del mutated[place : place + random.randrange(1, 9)]
            else:
                mutated[place:place] = random.choice(
                    (b'"', b"{", b"[", b"\\ud800", b"\x00", b"1e999", b"null", b"\xf0")
                )
            if not mutated:
                mutated += b"\x00"
        try:
            found = take_frames(mutated)
        except ChannelError:
            reached["bad frame"] += 1
            continue
        if not found:
            reached["incomplete"] += 1
        for text in found:
            try:
                one = decode_request(text)
            except ChannelError:
                reached["bad request"] += 1
                continue
            try:
                admit(one.command, one.arguments)
            except CommandRefused as refused:
                reached["refused"] += 1
                encode_frame({"id": one.number, "error": {"code": refused.code, "message": str(refused)}})
            else:
                reached["admitted"] += 1
    assert all(count > 100 for count in reached.values()), reached


# the list


def test_every_command_is_admitted_as_the_list_says() -> None:
    assert GOOD.keys() == COMMANDS.keys()
    for name, arguments in GOOD.items():
        kind, checked = admit(name, arguments)
        assert kind.name == name
        assert arguments.items() <= checked.items()
        assert kind.about


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("sale", {"amount": 0}, "amount: Input should be greater"),
        ("sale", {"amount": "888"}, "amount: Input should be a valid integer"),
        ("sale", {"amount": True}, "amount: Input should be a valid integer"),
        ("sale", {"amount": 8.0}, "amount: Input should be a valid integer"),
        ("sale", {"amount": 10**12}, "amount: Input should be less"),
        ("sale", {"ways": []}, "ways: List should have at least 1"),
        ("sale", {"ways": ["swipe"]}, "ways.0: Input should be 'tap'"),
        ("sale", {"pan": PAN}, "pan: Extra inputs are not permitted"),
        ("sale", {"terminal": "1"}, "terminal: String should match"),
        ("sale", {"terminal": "\ud800" * 8}, "terminal: "),
        ("history", {"limit": 101}, "limit: Input should be less"),
        ("attest", {"challenge": "0" * 31}, "challenge: String should match"),
        ("install", {"wrapped_tmk": "A" * 5_000}, "wrapped_tmk: String should have at most"),
        ("install", {"tmk": "00"}, "tmk: Extra inputs"),
        ("signal", {"signals": ["Robert'); DROP"]}, "signals.0: String should match"),
    ],
)
def test_arguments_that_the_list_has_not_are_refused(name: str, change: dict[str, object], said: str) -> None:
    with pytest.raises(CommandRefused, match=said) as refused:
        admit(name, {**GOOD[name], **change})
    assert refused.value.code is ErrorCode.BAD_ARGUMENTS
    assert PAN not in str(refused.value)


def test_commands_not_in_the_list_are_refused() -> None:
    for name in ("", "SALE", "eval", "read_keys", "__class__"):
        with pytest.raises(CommandRefused) as refused:
            admit(name, {})
        assert refused.value.code is ErrorCode.UNKNOWN_COMMAND


def test_only_what_the_list_names_leaves() -> None:
    kind = COMMANDS["sale"]
    answer = {**RECEIPT, "pan": "622848******1855", "track2": f"{PAN}=3012", "card": {"pan": PAN}}
    left = released(kind, answer)
    assert PAN not in json.dumps(left)
    assert left["pan"] == "622848******1855"
    for change in ({"pan": PAN}, {"pan": f"{PAN[:6]}*{PAN}"}, {"outcome": "maybe"}, {"terminal": None}):
        with pytest.raises(CommandRefused) as refused:
            released(kind, {**RECEIPT, **change})
        assert refused.value.code is ErrorCode.FAILED
        assert PAN not in str(refused.value)
    with pytest.raises(CommandRefused):
        released(kind, [PAN])


# the server


class Party:
    """Answers commands as told, and remembers what was carried out."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Json]]] = []
        self.done: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()

    async def carry(self, name: str, arguments: dict[str, Json]) -> Json:
        self.asked.append((name, arguments))
        await self.hold.wait()
        if name == "balance":
            raise CommandError("the terminal is busy")
        if name == "cancel":
            return {"terminal": TERMINAL, "cancelled": "waiting for the card"}
        return {**RECEIPT, "track2": PAN}

    def finished(self, kind: CommandKind, _: Json) -> None:
        self.done.append(kind.name)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            length = int.from_bytes(await self.reader.readexactly(4), "big")
            content: dict[str, Any] = json.loads(await self.reader.readexactly(length))
        return content

    async def ask(self, number: object, command: object, arguments: object) -> dict[str, Any]:
        self.writer.write(frame(request(number, command, arguments)))
        return await self.answer()

    async def is_closed(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read(1) == b""


Connect = Callable[[], Awaitable[Client]]


def serve(tmp_path: Path, play: Callable[[Party, Connect], Awaitable[None]]) -> None:
    async def run() -> None:
        party = Party()
        channel = Channel(party.carry, party.finished)
        path = tmp_path / "channel"
        await channel.listen(path)
        clients: list[Client] = []

        async def connect() -> Client:
            clients.append(Client(*await asyncio.open_unix_connection(str(path))))
            return clients[-1]

        try:
            await play(party, connect)
        finally:
            for client in clients:
                client.writer.close()
            await channel.close()

    asyncio.run(run())


def test_a_command_is_carried_out_and_its_answer_cut_to_the_list(tmp_path: Path) -> None:
    async def play(party: Party, connect: Connect) -> None:
        client = await connect()
        answer = await client.ask(7, "sale", {"terminal": TERMINAL, "amount": 888})
        assert answer["id"] == 7
        assert answer["result"]["outcome"] == "approved"
        assert PAN not in json.dumps(answer)
        assert party.asked == [("sale", {"terminal": TERMINAL, "amount": 888, "ways": ["tap"]})]
        assert party.done == ["sale"]

    serve(tmp_path, play)


@pytest.mark.parametrize(
    ("command", "arguments", "code"),
    [
        ("read_keys", {}, "unknown_command"),
        ("sale", {"terminal": TERMINAL}, "bad_arguments"),
        ("balance", {"terminal": TERMINAL}, "refused"),
        ("status", {}, "failed"),
    ],
)
def test_a_refusal_has_its_code_and_the_connection_stays(
    tmp_path: Path, command: str, arguments: object, code: str
) -> None:
    async def play(party: Party, connect: Connect) -> None:
        client = await connect()
        assert (await client.ask(1, command, arguments))["error"]["code"] == code
        assert (await client.ask(2, "sale", {"terminal": TERMINAL, "amount": 1}))["result"]["amount"] == 888

    serve(tmp_path, play)


@pytest.mark.parametrize("sent", [b"\0\0\0\0", b"\xff\xff\xff\xff", frame(b"not JSON"), frame(b'{"id":3}')])
def test_after_what_is_no_request_the_connection_is_closed(tmp_path: Path, sent: bytes) -> None:
    async def play(party: Party, connect: Connect) -> None:
        client = await connect()
        client.writer.write(sent)
        assert (await client.answer())["error"]["code"] == "bad_request"
        assert await client.is_closed()
        assert party.asked == []

    serve(tmp_path, play)


def test_commands_overtake_one_another_and_are_bounded(tmp_path: Path) -> None:
    async def play(party: Party, connect: Connect) -> None:
        client = await connect()
        party.hold.clear()
        for number in range(UNDER_WAY_LIMIT):
            client.writer.write(frame(request(number, "sale", {"terminal": TERMINAL, "amount": 1})))
        busy = await client.ask(99, "cancel", {"terminal": TERMINAL})
        assert busy == {"id": 99, "error": {"code": "busy", "message": f"{UNDER_WAY_LIMIT} commands are under way"}}
        party.hold.set()
        assert {(await client.answer())["id"] for _ in range(UNDER_WAY_LIMIT)} == set(range(UNDER_WAY_LIMIT))
        assert (await client.ask(100, "cancel", {"terminal": TERMINAL}))["id"] == 100

    serve(tmp_path, play)


def test_an_app_that_goes_away_stops_nobody(tmp_path: Path) -> None:
    async def play(party: Party, connect: Connect) -> None:
        first = await connect()
        party.hold.clear()
        first.writer.write(frame(request(1, "sale", {"terminal": TERMINAL, "amount": 1})))
        while not party.asked:
            await asyncio.sleep(0.01)
        first.writer.close()
        party.hold.set()
        second = await connect()
        assert (await second.ask(1, "cancel", {"terminal": TERMINAL}))["result"]["cancelled"] == "waiting for the card"

    serve(tmp_path, play)


def test_half_a_frame_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "HALF_FRAME_SECONDS", 0.05)

    async def play(party: Party, connect: Connect) -> None:
        client = await connect()
        client.writer.write(b"\0\0\0\x10{")
        assert await client.is_closed()

    serve(tmp_path, play)


def test_connections_are_bounded(tmp_path: Path) -> None:
    async def play(party: Party, connect: Connect) -> None:
        clients = [await connect() for _ in range(channel_module.CONNECTION_LIMIT)]
        for client in clients:
            assert "result" in await client.ask(1, "cancel", {"terminal": TERMINAL})
        assert await (await connect()).is_closed()

    serve(tmp_path, play)


def test_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module.os, "geteuid", lambda: os.getuid() + 1)

    async def play(party: Party, connect: Connect) -> None:
        assert await (await connect()).is_closed()

    serve(tmp_path, play)


def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    async def play(party: Party, connect: Connect) -> None:
        assert stat.S_IMODE((tmp_path / "channel").stat().st_mode) == 0o600
        with pytest.raises(ConfigurationError, match="another trusted side serves"):
            await Channel(party.carry, party.finished).listen(tmp_path / "channel")

    serve(tmp_path, play)


def test_a_socket_left_behind_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "channel"))

    async def play(party: Party, connect: Connect) -> None:
        assert "result" in await (await connect()).ask(1, "cancel", {"terminal": TERMINAL})
        (tmp_path / "file").write_text("precious")
        with pytest.raises(ConfigurationError, match="cannot listen at"):
            await Channel(party.carry, party.finished).listen(tmp_path / "file")
        with pytest.raises(ConfigurationError, match="longer than the 107 bytes"):
            await Channel(party.carry, party.finished).listen(tmp_path / ("x" * 120))

    serve(tmp_path, play)
    assert (tmp_path / "file").read_text() == "precious"
