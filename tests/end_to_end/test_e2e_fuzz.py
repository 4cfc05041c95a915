"""Whatever bytes come: a Message or a DecodeError from the dialects, and services that go on answering."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from network.iso8583 import INTERBANK, TERMINAL, DecodeError, Dialect, Message, describe, detect
from network.service import Address
from scenarios.demo_network import embedded
from scenarios.demo_network.processes import Processes, RunningNetwork, free_base_port

VECTORS = Path(__file__).parent.parent / "vectors" / "messages.json"
SAMPLES = [bytes.fromhex(one["hex"]) for one in json.loads(VECTORS.read_text())]
BATCH = 100
BATCHES = 100
"""Ten thousand byte strings in all, for each test."""


def mutated(sample: bytes, edits: list[tuple[int, int, int]]) -> bytes:
    """A sample with bytes replaced, removed and inserted."""
    data = bytearray(sample)
    for kind, place, value in edits:
        at = place % (len(data) + 1)
        if kind == 0 and at < len(data):
            data[at] = value
        elif kind == 1:
            del data[at : at + 1 + value % 4]
        else:
            data[at:at] = bytes([value]) * (1 + value % 3)
    return bytes(data)


EDITS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6)
JUNK = st.one_of(st.binary(max_size=300), st.builds(mutated, st.sampled_from(SAMPLES), EDITS))
STRINGS = st.lists(JUNK, min_size=BATCH, max_size=BATCH)
EXAMPLES = settings(
    max_examples=BATCHES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


def taken(dialect: Dialect, data: bytes) -> None:
    for read in (dialect.unpack, dialect.unpack_body):
        try:
            message = read(data)
        except DecodeError as error:
            assert error.reason
            assert error.partial is None or isinstance(error.partial, Message)
        else:
            assert describe(message, dialect)


@pytest.mark.slow
@EXAMPLES
@given(STRINGS)
def test_any_bytes_are_a_message_or_a_decode_error(strings: list[bytes]) -> None:
    for data in strings:
        taken(TERMINAL, data)
        taken(INTERBANK, data)
        try:
            detect(data)
        except DecodeError as error:
            assert str(error)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Processes, RunningNetwork]]:
    folder = tmp_path_factory.mktemp("fuzz")
    embedded.prepare(folder, free_base_port(), cards=12, free_terminals=2)
    processes = Processes(folder)
    processes.start()
    yield processes, RunningNetwork(folder)
    processes.stop()


def frame(link: str, body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body if link == "terminal" else b"%04d" % len(body) + body


class Wire:
    """A connection to a live port that is opened anew whenever the service closes it."""

    def __init__(self, link: str, address: Address) -> None:
        self.link = link
        self.address = address
        self.socket: socket.socket | None = None

    def send(self, data: bytes) -> None:
        for _ in range(2):
            if self.socket is None:
                self.socket = socket.create_connection(tuple(self.address), timeout=5)
            try:
                self.socket.sendall(data)
                self._drain()
            except OSError:
                self.close()
            else:
                return

    def _drain(self) -> None:
        assert self.socket is not None
        self.socket.setblocking(False)
        try:
            while True:
                if not self.socket.recv(65536):
                    raise ConnectionError("closed by the service")
        except BlockingIOError:
            pass
        finally:
            self.socket.settimeout(5)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def head(link: str, data: bytes) -> bytes:
    """Junk in a right envelope, so that it gets as far as the party."""
    if link == "terminal":
        return bytes.fromhex("6000030000600000000000") + data
    total = b"%04d" % min(9999, 46 + len(data))
    return b"\x2e\x02" + total + b"00010000   48020000   000" + b"0" + b"00000000" + b"0" + b"00000" + data


@pytest.mark.live
def test_the_live_ports_take_anything_and_go_on(network: tuple[Processes, RunningNetwork]) -> None:
    processes, running = network
    addresses = {
        "terminal": Address.parse(running.description["acquirer"]["terminal_link"]),
        "member": Address.parse(running.description["switch"]["member_link"]),
        "issuer": Address.parse(running.description["issuer"]["member_link"]),
    }
    wires = [Wire(link, address) for link, address in addresses.items()]
    batches = 0

    @EXAMPLES
    @given(STRINGS)
    def send(strings: list[bytes]) -> None:
        nonlocal batches
        batches += 1
        for place, data in enumerate(strings):
            for wire in wires:
                if place == 0:
                    wire.send(data)  # not even framed
                    wire.close()
                else:
                    body = head(wire.link, data) if place % 2 else data
                    wire.send(frame(wire.link, body[:8000]))
        if batches % 20 == 0:
            processes.check()
            assert pays(running)

    send()
    assert batches >= BATCHES
    for wire in wires:
        wire.close()
    processes.check()
    assert pays(running)
    for party in ("issuer", "switch", "acquirer", "device"):
        health = running.get(party, "/health")
        assert health["failures"] == 0, f"{party}: an event raised an exception"
        log = (processes.folder / f"{party}.log").read_text()
        assert "Traceback" not in log
        assert "event dropped" not in log


@pytest.mark.live
def test_a_connection_that_goes_quiet_in_mid_frame_is_closed(network: tuple[Processes, RunningNetwork]) -> None:
    _, running = network
    with socket.create_connection(tuple(Address.parse(running.description["acquirer"]["terminal_link"]))) as quiet:
        quiet.sendall(b"\x00\x50\x60\x00")
        quiet.settimeout(20)
        assert quiet.recv(1) == b""
    assert pays(running)


PAID = iter(range(60_000))


def pays(running: RunningNetwork) -> bool:
    """Whether a payment still crosses the network."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        receipt = running.post("device", "/payments", {"amount": 100, "card": 0, "atc": next(PAID)})
        if receipt["outcome"] == "approved":
            return True
    return False
