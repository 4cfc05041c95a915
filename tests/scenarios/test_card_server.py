"""The card server: the wire to virtual readers, taking the card away, and what a chip remembers."""

from __future__ import annotations

import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from merchant_device.readers import CardGone, RemoteReader
from network.service import ConfigurationError
from scenarios.phones.card_server import (
    ATR,
    CardInField,
    ChipState,
    End,
    Pull,
    connections_at,
    connections_to,
    hold,
    keep_state,
    read_state,
)

COMMAND = bytes.fromhex("00B2010C00")


class Chip:
    def __init__(self) -> None:
        self.commands = 0
        self.resets = 0

    def transmit(self, apdu: bytes) -> bytes:
        self.commands += 1
        return bytes((self.commands,)) + b"\x90\x00"

    def reset(self) -> None:
        self.resets += 1


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


def served(pull: Pull, talk: Callable[[socket.socket], None], chip: Chip | None = None) -> End:
    """How a card's stay in the field ends when the reader does as `talk` says and then goes."""
    ends: list[End] = []
    card = CardInField(chip or Chip(), pull, threading.Event(), lambda *_: None)
    listening = socket.create_server(("127.0.0.1", 0))
    reader = socket.create_connection(listening.getsockname())
    connection, _ = listening.accept()

    def run() -> None:
        with connection:
            ends.append(card.serve(connection))

    thread = threading.Thread(target=run)
    thread.start()
    with reader:
        reader.settimeout(5)
        talk(reader)
    thread.join(10)
    listening.close()
    return ends[0]


def test_controls_and_commands() -> None:
    chip = Chip()

    def talk(reader: socket.socket) -> None:
        reader.sendall(framed(b"\x01") + framed(b"\x04"))
        assert reader.recv(64) == framed(ATR)
        reader.sendall(framed(COMMAND))
        assert reader.recv(64) == framed(b"\x01\x90\x00")
        before = chip.resets
        reader.sendall(framed(b"\x02") + framed(b"\x00") + framed(b"\x07") + b"\0\0" + framed(b"\x04"))
        assert reader.recv(64) == framed(ATR)
        assert chip.resets == before + 2

    assert served(Pull(), talk, chip) is End.READER_GONE
    assert chip.commands == 1


def test_the_answer_to_reset_is_well_formed() -> None:
    """ISO/IEC 7816-3, 8.2: TS, T0 with TD1, TD1 (T=0) with TD2, TD2 (T=1), check byte over all but TS."""
    assert ATR[0] == 0x3B
    check = 0
    for byte in ATR[1:]:
        check ^= byte
    assert check == 0


@pytest.mark.parametrize(
    ("pull", "answered", "carried_out"),
    [(Pull(0), 0, 0), (Pull(1), 1, 1), (Pull(2), 2, 2), (Pull(1, True), 0, 1), (Pull(3, True), 2, 3)],
)
def test_the_card_is_taken_away(pull: Pull, answered: int, carried_out: int) -> None:
    chip = Chip()
    got: list[bytes] = []

    def talk(reader: socket.socket) -> None:
        try:
            for _ in range(5):
                reader.sendall(framed(COMMAND))
                answer = reader.recv(64)
                if not answer:
                    return
                got.append(answer)
        except OSError:
            pass

    assert served(pull, talk, chip) is End.PULLED
    assert len(got) == answered
    assert chip.commands == carried_out


def test_a_card_that_comes_back_stays() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    ends: list[End] = []
    chip = Chip()
    pull = Pull(1, back_after=0.05)
    thread = threading.Thread(
        target=lambda: hold(chip, connections_at("127.0.0.1", port, stop), pull, stop, ended=ends.append)
    )
    thread.start()
    reader = RemoteReader("127.0.0.1", port)
    assert reader.wait_for_card(5)
    reader.transmit(COMMAND)
    assert reader.wait_until_gone(5)
    with pytest.raises(CardGone):
        reader.transmit(COMMAND)
    assert reader.wait_for_card(5)
    for _ in range(3):
        reader.transmit(COMMAND)
    reader.close()
    stop.set()
    thread.join(5)
    assert ends[0] is End.PULLED
    assert End.PULLED not in ends[1:]


def test_a_card_dials_a_reader_that_waits() -> None:
    stop = threading.Event()
    chip = Chip()
    with socket.create_server(("127.0.0.1", 0)) as reader:
        port = reader.getsockname()[1]
        thread = threading.Thread(target=lambda: hold(chip, connections_to("127.0.0.1", port, stop), Pull(1), stop))
        thread.start()
        connection, _ = reader.accept()
        with connection:
            connection.sendall(framed(COMMAND))
            assert connection.recv(64) == framed(b"\x01\x90\x00")
            assert connection.recv(64) == b""
        thread.join(5)
        assert not thread.is_alive()


def test_no_reader_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"no virtual reader at 127\.0\.0\.1:1"):
        next(connections_to("127.0.0.1", 1, threading.Event()))


def test_stop_ends_a_card_that_nobody_speaks_to() -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as reader:
        ends: list[End] = []
        connections = connections_to("127.0.0.1", reader.getsockname()[1], stop)
        thread = threading.Thread(target=lambda: hold(Chip(), connections, Pull(), stop, ended=ends.append))
        thread.start()
        connection, _ = reader.accept()
        with connection:
            stop.set()
            thread.join(10)
        assert ends == [End.STOPPED]


def test_a_chip_remembers(tmp_path: Path) -> None:
    file = tmp_path / "chips" / "one.json"
    assert read_state(file) is None
    keep_state(file, ChipState(7, 12_345))
    assert read_state(file) == ChipState(7, 12_345)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for broken in ("", "[]", "{}", '{"atc":"7","cash":null}', '{"atc":7}'):
        file.write_text(broken)
        with pytest.raises(ConfigurationError, match="does not hold the state of a chip"):
            read_state(file)
