"""``fourparty card serve``: hold a demo card to a reader that is out of this process.

The reader is the system's virtual PC/SC reader (vsmartcard's vpcd: the card dials it), or a
`merchant_device.readers.RemoteReader` (which dials the card). Either way a frame is two bytes of length, big-endian,
and an APDU, or one byte of control: 0 power off, 1 power on, 2 reset, 4 tell the answer to reset. A card in the field
is a connection that is up; taking it away is closing it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from issuer.applet import ChipCard
from issuer.multi_application_card import MultiApplicationCard
from network.service import ConfigurationError
from scenarios.demo_network import demo_cards
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.phones.wallet import read_wallet
from scenarios.stage import Card, Chip

READER_PORT: Final = 35_963
"""Where vsmartcard's virtual reader waits for a card."""

ATR: Final = bytes.fromhex("3B80800101")
"""Answer to reset of a contactless card without historical bytes, T=0 and T=1 (PC/SC part 3, 3.1.3.2.3.1)."""

SLICE_SECONDS: Final = 0.2
"""How soon a stop is seen."""

HALF_FRAME_SECONDS: Final = 5.0

RECONNECT_SECONDS: Final = 10.0
"""How long a reader that went away may take to come back."""

_OFF, _ON, _RESET, _TELL_ATR = 0, 1, 2, 4
_MAX_FRAME: Final = 65_535


class End(Enum):
    """Why a card is in the field no more."""

    READER_GONE = "the reader closed the connection"
    PULLED = "the card was taken away"
    STOPPED = "told to stop"


@dataclass(frozen=True)
class Pull:
    """When a card is taken away.

    Attributes
    ----------
    after : int or None
        After how many commands; None: it stays.
    loses_answer : bool
        Whether the last of them is carried out without its answer getting through.
    back_after : float or None
        Seconds until the card is held to the reader again, to stay; None: it does not come back.
    """

    after: int | None = None
    loses_answer: bool = False
    back_after: float | None = None


class CardInField:
    """Answers one reader for a card.

    Parameters
    ----------
    chip : Chip
    pull : Pull
    stop : threading.Event
        Set when the card is to be withdrawn.
    told : callable
        Told of every command: its number, the command and the answer's status word.
    """

    def __init__(
        self, chip: Chip, pull: Pull, stop: threading.Event, told: Callable[[int, bytes, bytes], None]
    ) -> None:
        self._chip = chip
        self._left = pull.after
        self._pull = pull
        self._stop = stop
        self._told = told
        self._commands = 0

    def serve(self, connection: socket.socket) -> End:
        """Answer what comes over `connection` until the card or the reader is gone; the caller closes it."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._chip.reset()
        try:
            while not self._is_over():
                frame = self._frame(connection)
                if frame is None:
                    return End.STOPPED
                answer = self._answer(frame)
                if answer is None:
                    break
                if answer:
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)
        except OSError:
            return End.READER_GONE
        finally:
            self._chip.reset()
        self._left = None  # it is taken away once
        return End.PULLED

    def _is_over(self) -> bool:
        return self._left is not None and self._left <= 0

    def _answer(self, frame: bytes) -> bytes | None:
        """The answer to a frame; empty where there is none to give, None when the card is gone instead."""
        if len(frame) <= 1:
            control = frame[0] if frame else None
            if control in (_OFF, _ON, _RESET):
                self._chip.reset()
            return ATR if control == _TELL_ATR else b""
        self._commands += 1
        response = self._chip.transmit(frame)
        self._told(self._commands, frame, response)
        if self._left is not None:
            self._left -= 1
            if self._left <= 0 and self._pull.loses_answer:
                return None
        return response

    def _frame(self, connection: socket.socket) -> bytes | None:
        """The next frame; None when told to stop. OSError when the reader is gone."""
        while True:
            if self._stop.is_set():
                return None
            readable, _, _ = select.select([connection], [], [], SLICE_SECONDS)
            if readable:
                break
        deadline = time.monotonic() + HALF_FRAME_SECONDS
        length = int.from_bytes(_receive(connection, 2, deadline), "big")
        return _receive(connection, length, deadline)


def _receive(connection: socket.socket, length: int, deadline: float) -> bytes:
    received = bytearray()
    while len(received) < length:
        # the virtual reader writes length and command apart: with a delayed acknowledgement that takes 40 ms
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        data = connection.recv(length - len(received))
        if not data:
            raise ConnectionResetError("the reader closed the connection")
        received += data
    return bytes(received)


def connections_to(host: str, port: int, stop: threading.Event) -> Iterator[socket.socket]:
    """Hold the card to a virtual reader: connections to it, one after the other.

    Raises
    ------
    ConfigurationError
        There is no reader at first.
    NetworkError
        It went away and did not come back.
    """
    first = True
    while not stop.is_set():
        deadline = time.monotonic() + (0 if first else RECONNECT_SECONDS)
        connection = _dial(host, port, deadline, stop)
        if connection is None:
            if stop.is_set():
                return
            place = f"no virtual reader at {host}:{port}"
            if first:
                raise ConfigurationError(f"{place}: is pcscd running, with vsmartcard-vpcd installed?")
            raise NetworkError(f"{place} any more")
        first = False
        yield connection


def _dial(host: str, port: int, deadline: float, stop: threading.Event) -> socket.socket | None:
    while True:
        try:
            return socket.create_connection((host, port), timeout=2.0)
        except OSError:
            if time.monotonic() >= deadline or stop.wait(SLICE_SECONDS):
                return None


def connections_at(host: str, port: int, stop: threading.Event) -> Iterator[socket.socket]:
    """Wait for readers to dial the card: their connections, one after the other.

    Raises
    ------
    ConfigurationError
        The port is in use.
    """
    try:
        listening = socket.create_server((host, port), backlog=1)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    with listening:
        while not stop.is_set():
            readable, _, _ = select.select([listening], [], [], SLICE_SECONDS)
            if readable:
                yield listening.accept()[0]


def hold(
    chip: Chip,
    connections: Iterator[socket.socket],
    pull: Pull,
    stop: threading.Event,
    told: Callable[[int, bytes, bytes], None] = lambda *_: None,
    ended: Callable[[End], None] = lambda _: None,
) -> None:
    """Hold a card to readers until it is taken away for good, or `stop` is set."""
    card = CardInField(chip, pull, stop, told)
    for connection in connections:
        with contextlib.closing(connection):
            end = card.serve(connection)
        ended(end)
        if end is End.STOPPED or (end is End.PULLED and (pull.back_after is None or stop.wait(pull.back_after))):
            return


class KeptChip:
    """A chip whose counter and cash outlive this process, as those of a real one do.

    They are in a file before the answer to a command that has changed them leaves.

    Parameters
    ----------
    chip : ChipCard or MultiApplicationCard
    file : Path
        Readable by its owner only.
    """

    def __init__(self, chip: ChipCard | MultiApplicationCard, file: Path) -> None:
        self._chip = chip
        self._file = file
        self._kept = self._state()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer a command."""
        response = self._chip.transmit(apdu)
        state = self._state()
        if state != self._kept:
            keep_state(self._file, state)
            self._kept = state
        return response

    def reset(self) -> None:
        """Be out of the field."""
        self._chip.reset()

    def _state(self) -> ChipState:
        # the applications of a chip that has several count together, and one of them holds the cash
        applications = self._chip.applications if isinstance(self._chip, MultiApplicationCard) else (self._chip,)
        held = [one.balance for one in applications if one.balance is not None]
        return ChipState(max(one.atc for one in applications), held[0] if held else None)


class ChipState(NamedTuple):
    """What a chip remembers: its transaction counter, and its electronic cash in fen where it holds any."""

    atc: int
    cash: int | None


def keep_state(file: Path, state: ChipState) -> None:
    """Write a chip's state, whole or not at all."""
    file.parent.mkdir(mode=0o700, exist_ok=True)
    draft = file.with_name(file.name + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as written:
        json.dump(state._asdict(), written)
    draft.replace(file)


def read_state(file: Path) -> ChipState | None:
    """A chip's state; None where none was kept.

    Raises
    ------
    ConfigurationError
        The file does not hold one.
    """
    try:
        content = json.loads(file.read_text())
        atc, cash = content["atc"], content["cash"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{file} does not hold the state of a chip") from error
    if type(atc) is not int or not (cash is None or type(cash) is int):
        raise ConfigurationError(f"{file} does not hold the state of a chip")
    return ChipState(atc, cash)


def card_of_wallet(folder: Path, number: int) -> Card:
    """A card of the demo wallet of `folder`, its counter where the issuer or its own chip has seen it last.

    Raises
    ------
    ConfigurationError
        The folder has no wallet, or the wallet no such card.
    NetworkError
        The network does not run.
    """
    held = read_wallet(folder / "wallet.json")
    if not 0 <= number < len(held):
        raise ConfigurationError(f"--card: the wallet has {len(held)} cards, 0 to {len(held) - 1}")
    card = held[number]
    file = folder / "chips" / f"{card.name}.json"
    seen = RunningNetwork(folder).get(card.issuer, f"/cards/{card.pan}")["highest_atc"] or 0
    state = read_state(file) or ChipState(0, card.cash)
    card = replace(card, atc=max(seen, state.atc), cash=state.cash)
    in_hand = demo_cards.hold(card, demo_cards.chips_for([card]))
    if not isinstance(in_hand.chip, ChipCard | MultiApplicationCard):
        raise ConfigurationError(f"--card: {card.name} is no chip card")
    return replace(in_hand, chip=KeptChip(in_hand.chip, file))


def serve_card(folder: Path, number: int, *, host: str, port: int, listens: bool, pull: Pull, verbose: bool) -> int:
    """``fourparty card serve``: 0 when the card was taken away or the command was stopped."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    card = card_of_wallet(folder, number)
    stop = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stop.set())

    def announced(connections: Iterator[socket.socket]) -> Iterator[socket.socket]:
        if listens:
            console.print(f"{card.name} waits for readers at remote:{host}:{port}")
        for connection in connections:
            console.print(f"{card.name} is in the field of {'a reader' if listens else f'the reader {host}:{port}'}")
            yield connection

    def told(count: int, command: bytes, response: bytes) -> None:
        if verbose:
            header, status = command[:4].hex().upper(), response[-2:].hex().upper()
            console.print(f"  {count}: {header} -> {len(response)} bytes, {status}")

    make = connections_at if listens else connections_to
    hold(card.chip, announced(make(host, port, stop)), pull, stop, told, lambda end: console.print(f"  {end.value}"))
    return 0
