"""Readers: what reaches a card and what comes back, also when the card, the reader or the wire fails."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from merchant_device.readers import (
    ApduLog,
    ApduLogError,
    CardGone,
    CardMoved,
    Exchange,
    PcscReader,
    Reader,
    ReaderEndpoint,
    ReaderError,
    RecordingReader,
    RemoteReader,
    ReplayMismatch,
    ReplayReader,
    VirtualReader,
    list_readers,
    open_reader,
    pcsc,
    read_log,
    remote,
)

SELECT = bytes.fromhex("00A404000E325041592E5359532E444446303100")
GPO = bytes.fromhex("80A80000028300")
PAN = "6228480000000001855"


class EchoCard:
    """Answers a command with itself and 9000."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def transmit(self, apdu: bytes) -> bytes:
        self.commands.append(apdu)
        return apdu + b"\x90\x00"


class CardServer(threading.Thread):
    """A card behind TCP that follows a script: what to do with the n-th frame."""

    def __init__(self, script: Callable[[int, bytes], bytes | None]) -> None:
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.frames: list[bytes] = []
        self._script = script
        self.start()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection:
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        number = 0
        while head := connection.recv(2, socket.MSG_WAITALL):
            frame = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
            self.frames.append(frame)
            if len(frame) == 1:
                if frame[0] == remote.TELL_ATR:
                    connection.sendall(b"\x00\x05\x3b\x80\x80\x01\x01")
                continue
            number += 1
            answer = self._script(number, frame)
            if answer is None:
                return
            connection.sendall(answer)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


@pytest.fixture
def card_server() -> Iterator[Callable[[Callable[[int, bytes], bytes | None]], CardServer]]:
    servers: list[CardServer] = []

    def start(script: Callable[[int, bytes], bytes | None]) -> CardServer:
        servers.append(CardServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.listening.close()


# virtual


def test_virtual_reader_waits_for_cards_from_another_thread() -> None:
    reader = VirtualReader()
    assert not reader.present
    assert not reader.wait_for_card(0.01)
    with pytest.raises(CardGone):
        reader.transmit(SELECT)
    timer = threading.Timer(0.05, reader.hold, [EchoCard()])
    timer.start()
    assert reader.wait_for_card(5)
    assert reader.transmit(GPO) == GPO + b"\x90\x00"
    threading.Timer(0.05, reader.remove).start()
    assert reader.wait_until_gone(5)


# remote


def test_remote_reader_powers_a_card_and_carries_commands(card_server: Any) -> None:
    server = card_server(lambda _, apdu: framed(apdu[:4] + b"\x90\x00"))
    reader = RemoteReader("127.0.0.1", server.port)
    assert not reader.present
    assert reader.wait_for_card(2)
    assert reader.present
    assert reader.atr == bytes.fromhex("3B80800101")
    assert reader.transmit(SELECT) == SELECT[:4] + b"\x90\x00"
    assert server.frames == [b"\x01", b"\x02", b"\x04", SELECT]
    reader.close()
    assert not reader.present


@pytest.mark.parametrize(
    ("what", "script"),
    [
        ("the connection ends", lambda number, _: None),
        ("it ends within the length", lambda number, _: b"\x00" if number == 1 else None),
        ("it ends within the answer", lambda number, _: b"\x00\x10\x90" if number == 1 else None),
    ],
)
def test_a_remote_card_that_is_pulled_is_gone(
    card_server: Any, monkeypatch: pytest.MonkeyPatch, what: str, script: Any
) -> None:
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.3)
    reader = RemoteReader("127.0.0.1", card_server(script).port)
    assert reader.wait_for_card(2)
    with pytest.raises(CardGone):
        reader.transmit(SELECT)
    with pytest.raises(CardGone):
        reader.transmit(SELECT)
    assert reader.wait_until_gone(1), what
    assert reader.wait_for_card(2), "a card that comes back is a new session"


def test_a_silent_remote_card_is_given_up(card_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.1)
    reader = RemoteReader("127.0.0.1", card_server(lambda number, apdu: b"").port)
    assert reader.wait_for_card(2)
    began = time.monotonic()
    with pytest.raises(CardGone):
        reader.transmit(SELECT)
    assert time.monotonic() - began < 1
    assert not reader.present


def test_no_card_server_is_no_card() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert not RemoteReader("127.0.0.1", port).wait_for_card(0.05)


@pytest.mark.parametrize("length", [0, 3, 65_536])
def test_remote_reader_refuses_what_is_no_command(length: int) -> None:
    with pytest.raises(ValueError, match="a command APDU has 4 to 65535 bytes"):
        RemoteReader("127.0.0.1", 1).transmit(bytes(length))


# PC/SC, over a service that is played


class PlayedService(ModuleType):
    """The functions of smartcard.scard that the reader uses, with a card that follows a script."""

    SCARD_S_SUCCESS, SCARD_E_TIMEOUT, SCARD_E_NO_READERS_AVAILABLE, SCARD_E_SHARING_VIOLATION = 0, 1, 2, 3
    SCARD_W_REMOVED_CARD, SCARD_E_NO_SERVICE = 4, 5
    SCARD_SCOPE_USER, SCARD_SHARE_EXCLUSIVE, SCARD_RESET_CARD = 0, 1, 1
    SCARD_LEAVE_CARD = 0
    SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_PCI_T0, SCARD_PCI_T1 = 1, 2, 10, 11
    SCARD_STATE_UNAWARE, SCARD_STATE_CHANGED, SCARD_STATE_UNKNOWN, SCARD_STATE_UNAVAILABLE = 0, 2, 4, 8
    SCARD_STATE_EMPTY, SCARD_STATE_PRESENT, SCARD_STATE_MUTE = 16, 32, 512

    def __init__(self, answers: list[tuple[bytes, bytes | int]], *, protocol: int = 2, names: Any = ("R 00",)) -> None:
        super().__init__("played")
        self.answers = answers
        self.names = list(names)
        self.protocol = protocol
        self.state = self.SCARD_STATE_PRESENT
        self.connects = 0
        self.released = 0

    def SCardEstablishContext(self, scope: int) -> tuple[int, str]:
        return 0, "context"

    def SCardReleaseContext(self, context: str) -> int:
        self.released += 1
        return 0

    def SCardListReaders(self, context: str, groups: list[str]) -> tuple[int, list[str]]:
        return (0, self.names) if self.names else (2, [])

    def SCardGetStatusChange(self, context: str, ms: int, states: Any) -> tuple[int, Any]:
        if self.state < 0:
            return -self.state, []
        return 0, [(states[0][0], self.state | self.SCARD_STATE_CHANGED, [])]

    def SCardConnect(self, context: str, name: str, mode: int, protocols: int) -> tuple[int, str, int]:
        self.connects += 1
        return 0, "card", self.protocol

    def SCardDisconnect(self, card: str, how: int) -> int:
        return 0

    def SCardTransmit(self, card: str, pci: int, apdu: list[int]) -> tuple[int, list[int]]:
        assert pci == (self.SCARD_PCI_T0 if self.protocol == 1 else self.SCARD_PCI_T1)
        wanted, answer = self.answers.pop(0)
        assert bytes(apdu) == wanted
        return (answer, []) if isinstance(answer, int) else (0, list(answer))

    def SCardGetErrorMessage(self, result: int) -> str:
        return f"error {result}."


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PlayedService]:
    def play(*answers: tuple[bytes, bytes | int], **more: Any) -> PlayedService:
        played = PlayedService(list(answers), **more)
        monkeypatch.setattr(pcsc, "_scard", lambda: played)
        return played

    return play


READ = bytes.fromhex("00B2010C00")
WITHOUT_LE = SELECT[:-1]


@pytest.mark.parametrize(
    ("what", "protocol", "command", "answers", "response"),
    [
        ("T=1 carries a command as it is", 2, SELECT, [(SELECT, b"\x6f\x00\x90\x00")], b"\x6f\x00\x90\x00"),
        ("T=0 leaves the expected length out", 1, SELECT, [(WITHOUT_LE, b"\x90\x00")], b"\x90\x00"),
        ("T=0 leaves a command without data alone", 1, READ, [(READ, b"\x90\x00")], b"\x90\x00"),
        (
            "61 fetches the data",
            1,
            SELECT,
            [(WITHOUT_LE, b"\x61\x03"), (bytes.fromhex("00C0000003"), b"abc\x90\x00")],
            b"abc\x90\x00",
        ),
        (
            "61 goes on as long as there are more",
            1,
            READ,
            [
                (READ, b"\x61\x00"),
                (bytes.fromhex("00C0000000"), b"ab\x61\x02"),
                (bytes.fromhex("00C0000002"), b"\x6c\x01"),
                (bytes.fromhex("00C0000001"), b"c\x90\x00"),
            ],
            b"abc\x90\x00",
        ),
        (
            "6C asks again with the right length",
            1,
            READ,
            [(READ, b"\x6c\x05"), (READ[:4] + b"\x05", b"abcde\x90\x00")],
            b"abcde\x90\x00",
        ),
        (
            "6C twice is the answer",
            1,
            READ,
            [(READ, b"\x6c\x05"), (READ[:4] + b"\x05", b"\x6c\x06")],
            b"\x6c\x06",
        ),
        ("a refusal is an answer", 2, READ, [(READ, b"\x6a\x82")], b"\x6a\x82"),
    ],
)
def test_pcsc_exchange(service: Any, what: str, protocol: int, command: bytes, answers: Any, response: bytes) -> None:
    played = service(*answers, protocol=protocol)
    reader = PcscReader("R")
    assert reader.wait_for_card(0)
    assert reader.transmit(command) == response, what
    assert played.answers == []


def test_pcsc_more_data_without_end_stops(service: Any) -> None:
    endless = [(READ, b"\x61\x01"), *[(bytes.fromhex("00C0000001"), b"a\x61\x01")] * pcsc.GET_RESPONSE_LIMIT]
    played = service(*endless)
    reader = PcscReader("R 00")
    assert reader.wait_for_card(0)
    assert reader.transmit(READ) == b"a" * pcsc.GET_RESPONSE_LIMIT + b"\x61\x01"
    assert played.answers == []


def test_pcsc_any_failure_of_a_command_is_a_card_gone(service: Any) -> None:
    played = service((READ, PlayedService.SCARD_W_REMOVED_CARD), (READ, b"\x90\x00"))
    reader = PcscReader("R 00")
    with pytest.raises(CardGone, match="no card in the field"):
        reader.transmit(READ)
    assert reader.wait_for_card(0)
    with pytest.raises(CardGone, match="error 4"):
        reader.transmit(READ)
    with pytest.raises(CardGone, match="no card in the field"):
        reader.transmit(READ)
    assert reader.wait_for_card(0)
    assert reader.transmit(READ) == b"\x90\x00"
    assert played.connects == 2


def test_pcsc_waiting(service: Any) -> None:
    played = service()
    reader = PcscReader("R 00")
    played.state = PlayedService.SCARD_STATE_EMPTY
    assert not reader.present
    assert not reader.wait_for_card(0.01)
    assert reader.wait_until_gone(0)
    played.state = PlayedService.SCARD_STATE_PRESENT | PlayedService.SCARD_STATE_MUTE
    assert not reader.wait_for_card(0.01), "a card that does not answer to reset is none"
    played.state = -PlayedService.SCARD_E_NO_SERVICE
    with pytest.raises(ReaderError, match="error 5"):
        reader.wait_for_card(0)
    played.state = PlayedService.SCARD_STATE_UNAVAILABLE
    with pytest.raises(ReaderError, match="taken away"):
        reader.wait_for_card(0)
    played.state = PlayedService.SCARD_STATE_PRESENT
    assert reader.wait_for_card(0), "the service is asked anew after it was gone"


@pytest.mark.parametrize(
    ("names", "wanted", "said"),
    [
        ((), "R", "no reader named 'R'; there are: none"),
        (("A 00", "B 00"), "C", "no reader named 'C'; there are: A 00, B 00"),
        (("A 00", "A 01", "B"), "a", "several readers named 'a'; there are: A 00, A 01"),
    ],
)
def test_pcsc_names_the_readers_there_are(service: Any, names: Any, wanted: str, said: str) -> None:
    played = service(names=names)
    with pytest.raises(ReaderError) as refused:
        PcscReader(wanted)
    assert str(refused.value) == said
    assert played.released == 1


def test_pcsc_prefers_the_whole_name(service: Any) -> None:
    service(names=("Reader", "Reader 2"))
    assert PcscReader("Reader").name == "Reader"
    assert PcscReader("r 2").name == "Reader 2"
    assert [(one.name, one.card) for one in list_readers()] == [("Reader", True), ("Reader 2", True)]


def test_pcsc_without_pyscard_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(pcsc.importlib, "import_module", missing)
    with pytest.raises(ReaderError, match=r"fourparty\[pcsc\]"):
        PcscReader("any")


# names


@pytest.mark.parametrize("name", ["remote:", "remote:127.0.0.1", "remote::1", "remote:host:0", "remote:host:65536"])
def test_a_wrong_remote_address_is_told(name: str) -> None:
    with pytest.raises(ReaderError, match="is not a card server's address"):
        open_reader(name)


def test_names_choose_the_reader(tmp_path: Path) -> None:
    assert isinstance(open_reader("remote:127.0.0.1:9"), RemoteReader)
    log = tmp_path / "log"
    with ApduLog(log, clear=True) as written:
        written.exchanged(Exchange(SELECT, b"\x90\x00"), 1.0)
    assert isinstance(open_reader(f"replay:{log}"), ReplayReader)
    with pytest.raises(ReaderError, match="cannot read"):
        open_reader(f"replay:{tmp_path / 'none'}")


# logs


class PanCard:
    """Answers with track 2 in clear, and is gone at the third command."""

    def __init__(self) -> None:
        self.count = 0

    def transmit(self, apdu: bytes) -> bytes:
        self.count += 1
        if self.count == 3:
            raise CardGone
        return bytes.fromhex("7710570E" + PAN + "D3012220F") + b"\x90\x00"


@pytest.mark.parametrize("clear", [False, True])
def test_a_log_is_masked_unless_asked_for_in_clear(tmp_path: Path, clear: bool) -> None:
    path = tmp_path / "log"
    path.write_text("of another day")
    path.chmod(0o644)
    reader: Reader = RecordingReader(VirtualReader(PanCard()), ApduLog(path, clear=clear))
    assert reader.wait_for_card(0)
    reader.transmit(SELECT)
    reader.transmit(GPO)
    with pytest.raises(CardGone):
        reader.transmit(GPO)
    assert reader.present
    reader.close()
    content = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (PAN in content) is clear
    lines = [json.loads(line) for line in content.splitlines()]
    assert lines[0] == {"apdu_log": 1, "clear": clear}
    assert lines[1] == {"card": "present"}
    assert lines[-1] == {"card": "gone"}
    assert len(lines) == 5
    assert all(line["ms"] >= 0 for line in lines[2:4])
    if clear:
        assert read_log(path)[1] == Exchange(SELECT, bytes.fromhex("7710570E" + PAN + "D3012220F9000"))
    else:
        with pytest.raises(ApduLogError, match="is masked"):
            read_log(path)


def test_a_replay_says_what_was_recorded_in_its_order() -> None:
    first, second = Exchange(SELECT, b"\x01\x90\x00"), Exchange(GPO, b"\x02\x90\x00")
    reader = ReplayReader([CardMoved(True), first, CardMoved(False), CardMoved(True), first, second])
    assert reader.wait_for_card(0)
    assert reader.transmit(SELECT) == first.response
    assert reader.wait_until_gone(0)
    with pytest.raises(CardGone):
        reader.transmit(GPO)
    assert reader.wait_for_card(0)
    with pytest.raises(ReplayMismatch, match="step 5 of the log: 00A40400 was recorded, 00A40400 is sent"):
        reader.transmit(SELECT[:-2] + b"X\x00")
    assert reader.transmit(SELECT) == first.response
    assert reader.transmit(GPO[:4] + b"\x05other") == second.response, "data of others than SELECT may differ"
    assert not reader.wait_for_card(0)
    with pytest.raises(CardGone):
        reader.transmit(GPO)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no exchange"),
        ("{}", "is no APDU log of version 1"),
        ("[]", "line 1: not a JSON object"),
        ('{"apdu_log":1,"clear":true}\n', "holds no exchange"),
        ('{"apdu_log":1,"clear":true}\n{"command":"00A40400"}', "line 2: neither"),
        ('{"apdu_log":1,"clear":true}\n{"command":"00A4","response":"9000"}', "line 2: a command has 4 bytes"),
        ('{"apdu_log":1,"clear":true}\n{"command":"XX","response":"9000"}', "line 2: neither"),
        ('{"apdu_log":1,"clear":true}\n' + "[" * 100_000, "line 2: not a JSON object"),
        ('{"apdu_log":1,"clear":true}\n' + '{"card":"gone"}\n' * 10_001, "longer than an APDU log"),
        ('{"apdu_log":1,"clear":true}\n"' + "a" * 300_000 + '"', "longer than an APDU log"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "log"
    path.write_text(content)
    with pytest.raises(ApduLogError, match=said):
        read_log(path)


def test_an_exchange_shows_no_card_data() -> None:
    exchange = Exchange(GPO, bytes.fromhex("7710570E" + PAN + "D3012220F9000"))
    assert PAN not in repr(exchange) + "".join(exchange.describe())


# the end of a reader link


class Answers:
    """What an endpoint has replied, in order."""

    def __init__(self) -> None:
        self.given: list[tuple[str, bytes]] = []

    def to(self, name: str) -> Callable[[bytes], None]:
        return lambda answer: self.given.append((name, answer))

    async def wait(self, count: int) -> list[tuple[str, bytes]]:
        async with asyncio.timeout(5):
            while len(self.given) < count:
                await asyncio.sleep(0.005)
        return self.given


def test_endpoint_waits_for_a_card_only_at_the_beginning() -> None:
    async def play() -> None:
        reader, answers = VirtualReader(), Answers()
        endpoint = ReaderEndpoint(reader, 5)
        endpoint(GPO, answers.to("without a card"))
        assert await answers.wait(1) == [("without a card", b"")]
        endpoint(SELECT, answers.to("select"))
        await asyncio.sleep(0.05)
        assert len(answers.given) == 1
        reader.hold(EchoCard())
        assert (await answers.wait(2))[1] == ("select", SELECT + b"\x90\x00")
        endpoint(GPO, answers.to("gpo"))
        assert (await answers.wait(3))[2] == ("gpo", GPO + b"\x90\x00")
        reader.remove()
        endpoint(GPO, answers.to("gone"))
        assert (await answers.wait(4))[3] == ("gone", b"")
        endpoint.close()

    asyncio.run(play())


def test_endpoint_goes_on_waiting_when_a_card_only_passes_by() -> None:
    class Shy(EchoCard):
        def transmit(self, apdu: bytes) -> bytes:
            if len(self.commands) < 3:
                self.commands.append(apdu)
                raise CardGone
            return super().transmit(apdu)

    async def play() -> None:
        answers = Answers()
        endpoint = ReaderEndpoint(VirtualReader(Shy()), 5)
        endpoint(SELECT, answers.to("select"))
        assert await answers.wait(1) == [("select", SELECT + b"\x90\x00")]
        endpoint.close()

    asyncio.run(play())


def test_endpoint_answers_the_newest_command_only() -> None:
    async def play() -> None:
        reader, answers, card = VirtualReader(), Answers(), EchoCard()
        endpoint = ReaderEndpoint(reader, 5)
        endpoint(SELECT, answers.to("given up"))
        await asyncio.sleep(0.02)
        endpoint(SELECT, answers.to("newest"))
        await asyncio.sleep(0.02)
        reader.hold(card)
        assert await answers.wait(1) == [("newest", SELECT + b"\x90\x00")]
        await asyncio.sleep(0.3)
        assert len(answers.given) == 1
        assert card.commands == [SELECT]
        endpoint.close()

    asyncio.run(play())


def test_endpoint_answers_empty_when_no_card_comes_or_the_reader_fails() -> None:
    class Broken(VirtualReader):
        def wait_for_card(self, seconds: float) -> bool:
            raise ReaderError("unplugged")

    async def play() -> None:
        answers = Answers()
        patient, broken = ReaderEndpoint(VirtualReader(), 0.05), ReaderEndpoint(Broken(), 0.05)
        patient(SELECT, answers.to("no card"))
        broken(SELECT, answers.to("no reader"))
        assert sorted(await answers.wait(2)) == [("no card", b""), ("no reader", b"")]
        patient.close()
        broken.close()

    asyncio.run(play())


def test_endpoint_gives_nothing_after_it_is_closed() -> None:
    async def play() -> None:
        reader, answers = VirtualReader(), Answers()
        endpoint = ReaderEndpoint(reader, 5)
        endpoint(SELECT, answers.to("late"))
        endpoint.close()
        reader.hold(EchoCard())
        await asyncio.sleep(0.05)
        assert answers.given == []

    asyncio.run(play())
