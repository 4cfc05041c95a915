"""Captures of real connections, read back by Wireshark's own tools."""

import asyncio
import datetime
import ipaddress
import json
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import tshark
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from network.capture import Capture, CaptureError, merge, recording, tap
from network.capture.pcapng import read_blocks
from network.capture.segments import MTU, Peer, Segments
from network.framing import TERMINAL_FRAMING
from network.iso8583 import TERMINAL

LONG = bytes(range(256)) * 64
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
FIELDS = ("tcp.stream", "tcp.flags.str", "tcp.len", "tcp.checksum.status", "tcp.analysis.flags")


class Talker(asyncio.Protocol):
    """Collects what comes and, where it is told to, sends it back."""

    def __init__(self, echo: bool = False) -> None:
        self.got = bytearray()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._echo = echo

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self._echo:
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def run(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of a client that trusts it, fresh."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a link")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "cert.pem").write_bytes(pem + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def rows(file: Path, *fields: str) -> list[list[str]]:
    arguments = [part for name in fields for part in ("-e", name)]
    lines = tshark.run(file, "-o", "tcp.check_checksum:TRUE", "-T", "fields", *arguments).splitlines()
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
def test_packets_are_those_of_a_real_connection(tmp_path: Path, address: str) -> None:
    file = tmp_path / "segments.pcapng"
    capture = Capture(file, "somebody")
    end, other = (address, 7000), (address[:-1] + "9", 40_000)
    line = capture.line(end, other, accepted=True)
    line.opened("link x")
    line.crossed(False, LONG)
    line.crossed(True, b"short")
    line.closed(reset=False)
    capture.close()
    found = rows(file, *FIELDS, "frame.len", "frame.interface_name", "frame.comment")
    assert [row[1].strip("·") for row in found[:3]] == ["S", "A··S", "A"]
    assert [row[1].strip("·") for row in found[-3:]] == ["A···F", "A···F", "A"]
    assert sum(int(row[2]) for row in found) == len(LONG) + 5
    assert {row[0] for row in found} == {"0"}
    assert {row[3] for row in found} == {"1"}, "checksums"
    assert {row[4] for row in found} == {""}, "gaps, retransmissions and the like"
    assert max(int(row[5]) for row in found) == MTU
    assert found[0][6:] == ["somebody", "link x"]
    said = subprocess.run(["capinfos", "-M", file], capture_output=True, text=True, check=True).stdout
    assert "pcapng" in said
    assert "Strict time order:   True" in said
    assert "Raw IP" in said


@pytest.mark.parametrize(
    ("loop", "tls", "accepted"),
    [
        ("asyncio", False, True),
        ("uvloop", False, False),
        ("asyncio", True, False),
        ("asyncio", True, True),
        ("uvloop", True, False),
        ("uvloop", True, True),
    ],
)
def test_a_connection_is_captured_as_it_crossed_the_wire(
    tmp_path: Path, loop: str, tls: bool, accepted: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """The other end is the event loop's own, TLS included; with TLS the capture decrypts to what was said."""
    server, client = contexts if tls else (None, None)
    file = tmp_path / "link.pcapng"

    async def main() -> None:
        running = asyncio.get_running_loop()
        capture = Capture(file, "tested")
        tested, outside = Talker(echo=True), Talker()
        name = "127.0.0.1" if tls else None
        tapped = tap(
            tested, capture, link="x", accepted=accepted, tls=server if accepted else client, server_hostname=name
        )
        if accepted:
            listening = await running.create_server(lambda: tapped, "127.0.0.1", 0)
            port = listening.sockets[0].getsockname()[1]
            await running.create_connection(lambda: outside, "127.0.0.1", port, ssl=client)
        else:
            listening = await running.create_server(lambda: outside, "127.0.0.1", 0, ssl=server)
            port = listening.sockets[0].getsockname()[1]
            await running.create_connection(lambda: tapped, "127.0.0.1", port)
        await tapped.ready
        await until(lambda: hasattr(outside, "transport") and hasattr(tested, "transport"))
        assert tested.transport.get_extra_info("peername")[0] == "127.0.0.1"
        assert (tested.transport.get_extra_info("ssl_object") is not None) == tls
        outside.transport.write(b"hello" + LONG)
        await until(lambda: len(outside.got) == 5 + len(LONG))
        assert tested.got == outside.got == b"hello" + LONG
        tested.transport.write(b"bye")
        tested.transport.close()
        await asyncio.wait_for(asyncio.gather(tested.lost, outside.lost), 5)
        assert outside.got == b"hello" + LONG + b"bye"
        listening.close()
        capture.close()

    run(loop, main)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.pcapng"], "the key log went into it"
    found = rows(file, *FIELDS)
    assert {row[4] if len(row) > 4 else "" for row in found} == {""}
    assert (b"hello" in file.read_bytes()) == (not tls)
    follow = tshark.run(file, "-q", "-z", f"follow,{'tls' if tls else 'tcp'},raw,0")
    sent = "".join(line.strip() for line in follow.splitlines()[6:-1])
    assert bytes.fromhex(sent).count(b"hello" + LONG) == 2
    assert bytes.fromhex(sent).endswith(b"bye")


def test_messages_inside_tls_are_decrypted_and_dissected(
    tmp_path: Path, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """On any port, a message over several records and several in one; the file holds all that this needs."""
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "messages.json").read_text())
    bodies = [bytes.fromhex(one["hex"]) for one in vectors if one["framing"] == "TPDU5+head6 (no length)"]
    frames = [TERMINAL_FRAMING.frame(body) for body in bodies]
    file = tmp_path / "tls.pcapng"

    async def main() -> None:
        running = asyncio.get_running_loop()
        capture = Capture(file, "tested")
        tested, outside = Talker(), Talker()
        tapped = tap(tested, capture, link="x", accepted=True, tls=contexts[0])
        listening = await running.create_server(lambda: tapped, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        await running.create_connection(lambda: outside, "127.0.0.1", port, ssl=contexts[1])
        outside.transport.write(frames[0])
        await until(lambda: tested.got == frames[0])
        tested.transport.write(frames[1] + frames[2])
        outside.transport.write(frames[3][:40])
        outside.transport.write(frames[3][40:])
        await until(lambda: len(tested.got) == len(frames[0] + frames[3]))
        await until(lambda: outside.got == frames[1] + frames[2])
        outside.transport.close()
        await asyncio.wait_for(tested.lost, 5)
        listening.close()
        capture.close()

    run("uvloop", main)
    found = tshark.messages(file)
    tshark.no_fault(found)
    assert len(found) == 4
    for seen, number in zip(
        sorted(found, key=lambda one: one.ports[0] == found[0].ports[0]), (1, 2, 0, 3), strict=True
    ):
        message = TERMINAL.unpack(bodies[number])
        assert seen.elements == {place: tshark.expected(value) for place, value in message.fields.items()}


@pytest.mark.parametrize("accepted", [False, True], ids=["dialled", "accepted"])
def test_a_handshake_that_fails_leaves_no_link(
    tmp_path: Path, accepted: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    strange = ssl.create_default_context()

    async def main() -> None:
        running = asyncio.get_running_loop()
        capture = Capture(tmp_path / "refused.pcapng", "tested")
        tested = Talker()
        tapped = tap(
            tested,
            capture,
            link="x",
            accepted=accepted,
            tls=contexts[0] if accepted else strange,
            server_hostname="127.0.0.1",
        )
        if accepted:
            listening = await running.create_server(lambda: tapped, "127.0.0.1", 0)
            port = listening.sockets[0].getsockname()[1]
            with pytest.raises(ssl.SSLCertVerificationError):
                await running.create_connection(Talker, "127.0.0.1", port, ssl=strange)
            await until(tapped.ready.done)
            assert tapped.ready.cancelled()
        else:
            listening = await running.create_server(Talker, "127.0.0.1", 0, ssl=contexts[0])
            port = listening.sockets[0].getsockname()[1]
            await running.create_connection(lambda: tapped, "127.0.0.1", port)
            with pytest.raises(ssl.SSLCertVerificationError):
                await tapped.ready
        assert not hasattr(tested, "transport")
        listening.close()
        await asyncio.sleep(0.05)
        capture.close()

    run("asyncio", main)
    alerts = tshark.run(
        tmp_path / "refused.pcapng", "-Y", "tls.alert_message.desc", "-T", "fields", "-e", "frame.number"
    )
    assert alerts.count("\n") == (0 if accepted else 1), "what was wrong is told to the other end"


def test_what_does_not_fit_is_left_out_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "QUEUE_LIMIT", 1 << 20)
    monkeypatch.setattr(recording, "WRITE_SECONDS", 0.5)
    file = tmp_path / "full.pcapng"
    capture = Capture(file, "busy")
    line = capture.line(("127.0.0.1", 7000), ("127.0.0.1", 40_000), accepted=True)
    line.opened("x")
    for _ in range(100):
        line.crossed(False, LONG)
    assert 0 < capture.dropped < 100
    assert capture.dropped * len(LONG) > 100 * len(LONG) - (2 << 20)
    deadline = time.monotonic() + 20
    while capture.waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    line.crossed(False, b"again")
    capture.close()
    with file.open("rb") as read:
        statistics = [block.body for block in read_blocks(read) if block.kind == 5]
    assert statistics[0].count(capture.dropped.to_bytes(8, "little")) == 1
    gaps = rows(file, "tcp.len", "tcp.analysis.lost_segment")
    assert gaps[-1] == ["5", "1"], "the stream goes on where it would be"


def test_a_full_disk_ends_the_capture_only() -> None:
    capture = Capture(Path("/dev/full"), "unlucky")
    line = capture.line(("127.0.0.1", 7000), ("127.0.0.1", 40_000), accepted=True)
    line.opened("x")
    line.crossed(True, LONG)
    capture.close()
    assert capture.failure == "No space left on device"
    line.crossed(True, LONG)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from network.capture import Capture
capture = Capture(Path(sys.argv[1]), "killed")
line = capture.line(("127.0.0.1", 7001), ("127.0.0.1", 40000), accepted=True)
line.opened("x")
for number in range(200):
    line.crossed(number % 2 == 0, b"%08d" % number)
while capture.waiting:
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_captures_are_merged_in_time_also_of_a_killed_process(tmp_path: Path) -> None:
    killed, cut, other, merged = (tmp_path / f"{name}.pcapng" for name in ("killed", "cut", "other", "merged"))
    capture = Capture(other, "other")
    line = capture.line(("127.0.0.1", 7000), ("127.0.0.1", 50_000), accepted=True)
    line.opened("y")
    assert subprocess.run([sys.executable, "-c", KILLED, killed], check=False).returncode == -9
    line.crossed(True, b"after")
    capture.close()
    assert len(rows(killed, "frame.number")) == 203
    cut.write_bytes(killed.read_bytes()[:-30])
    assert merge([killed, other], merged) == 207
    found = rows(merged, "frame.interface_name", "tcp.stream", "tcp.analysis.flags")
    assert [row[0] for row in found] == ["other"] * 3 + ["killed"] * 203 + ["other"]
    assert subprocess.run(["capinfos", merged], capture_output=True, check=False).returncode == 0
    assert merge([cut], merged) == 202
    assert len(rows(merged, "frame.number")) == 202
    (tmp_path / "strange").write_bytes(b"no capture at all, but long enough")
    with pytest.raises(CaptureError, match="does not begin with a section"):
        merge([tmp_path / "strange"], merged)


def test_a_connection_that_both_ends_captured_stands_once(tmp_path: Path) -> None:
    ends = ("127.0.0.1", 7001), ("127.0.0.1", 40_000)
    outside = ("127.0.0.1", 9), ("127.0.0.1", 40_001)
    files = [tmp_path / "switch.pcapng", tmp_path / "acquirer.pcapng"]
    switch, acquirer = (Capture(file, file.stem) for file in files)
    lines = [switch.line(*ends, accepted=True), acquirer.line(*reversed(ends), accepted=False)]
    lines.append(acquirer.line(*reversed(outside), accepted=False))
    for line in lines:
        line.opened("x")
        line.crossed(False, b"said")
    switch.close()
    acquirer.close()
    assert merge(files, tmp_path / "merged") == 8
    found = rows(tmp_path / "merged", "frame.interface_name", "tcp.port")
    assert sorted(map(tuple, found)) == [("acquirer", "40001,9")] * 2 + [("acquirer", "9,40001")] * 2 + [
        ("switch", "40000,7001")
    ] * 3 + [("switch", "7001,40000")]


def test_who_is_refused_when_it_is_known_says_nothing(
    tmp_path: Path, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """Also where its words come in one piece with the end of the handshake."""

    class Refusing(Talker):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.abort()

    async def main() -> None:
        running = asyncio.get_running_loop()
        capture = Capture(tmp_path / "refused.pcapng", "tested")
        tested = Refusing()
        tapped = tap(tested, capture, link="x", accepted=True, tls=contexts[0])
        listening = await running.create_server(lambda: tapped, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.sockets[0].getsockname()[1])
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = contexts[1].wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        writer.write(outgoing.read())
        while True:
            incoming.write(await reader.read(1 << 16))
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        client.write(b"a payment")
        writer.write(outgoing.read())
        await asyncio.wait_for(tested.lost, 5)
        assert not tested.got
        writer.close()
        listening.close()
        capture.close()

    run("asyncio", main)


def test_peers_that_are_no_tcp_are_not_recorded() -> None:
    assert Peer.of("/run/socket") is None
    assert Peer.of(None) is None
    assert Peer.of(("fe80::1%eth0", 1, 0, 2)) == Peer(ipaddress.ip_address("fe80::1"), 1)


def test_checksums_of_odd_lengths_and_of_zero() -> None:
    """RFC 1071, summed word by word."""
    line = Segments(Peer.of(("10.0.0.1", 1)), Peer.of(("10.0.0.2", 2)), accepted=False, first=0)  # type: ignore[arg-type]
    for payload in (b"\0", b"\xff\xff\xff", bytes(1000)):
        (segment,) = line.data(True, payload)
        ip, tcp = segment.packet[:20], segment.packet[20:]
        pseudo = ip[12:20] + bytes((0, 6)) + len(tcp).to_bytes(2, "big") + tcp
        for data in (ip, pseudo):
            padded = data + bytes(len(data) % 2)
            total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            assert total == 0xFFFF
