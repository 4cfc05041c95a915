"""A reader at the other end of a TCP connection: a card server holds the card.

The wire is that of the vsmartcard project's virtual reader: two bytes of length, big-endian, then an APDU, or one
byte of control: 0 power off, 1 power on, 2 reset, 4 tell the answer to reset. Only the last one and APDUs are answered.
A card in the field is a connection that is up.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Final

from merchant_device.readers.interface import CardGone

POWER_OFF: Final = 0
POWER_ON: Final = 1
RESET: Final = 2
TELL_ATR: Final = 4
"""Control bytes."""

MAX_ATR: Final = 33
"""Longest answer to reset, bytes (ISO/IEC 7816-3, 8.2)."""

MAX_COMMAND: Final = 65_535
ANSWER_SECONDS: Final = 5.0
"""How long a card may take to answer: ten times what EMVCo allows a whole tap."""

CONNECT_SECONDS: Final = 2.0
POLL_SECONDS: Final = 0.1


class RemoteReader:
    """A client of a card server.

    Parameters
    ----------
    host, port
        Where the card server listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._connection: socket.socket | None = None
        self.atr = b""

    @property
    def present(self) -> bool:
        """Whether a card is in the field."""
        connection = self._connection
        if connection is None:
            return False
        # a card says nothing unasked: what can be read now is its end
        readable, _, _ = select.select([connection], [], [], 0)
        if readable:
            self._drop()
        return not readable

    def wait_for_card(self, seconds: float) -> bool:
        """See `Reader`: connect anew, power the card and ask what it is."""
        deadline = time.monotonic() + seconds
        self._drop()
        while True:
            if self._connect():
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            time.sleep(min(POLL_SECONDS, remaining))

    def wait_until_gone(self, seconds: float) -> bool:
        """See `Reader`."""
        deadline = time.monotonic() + seconds
        while self.present:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            time.sleep(min(POLL_SECONDS, remaining))
        return True

    def transmit(self, apdu: bytes) -> bytes:
        """Carry one command to the card; see `Reader`.

        Raises
        ------
        CardGone
            No connection, or it broke, or nothing whole came in `ANSWER_SECONDS`.
        ValueError
            The command is not one: its length is not 4 to 65535 bytes.
        """
        if not 4 <= len(apdu) <= MAX_COMMAND:
            raise ValueError(f"a command APDU has 4 to {MAX_COMMAND} bytes, not {len(apdu)}")
        return self._ask(apdu)

    def release(self) -> None:
        """See `Reader`."""
        self._drop()

    def close(self) -> None:
        """See `Reader`."""
        self._drop()

    def _connect(self) -> bool:
        try:
            self._connection = socket.create_connection(self._address, CONNECT_SECONDS)
        except OSError:
            return False
        try:
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._send(bytes((POWER_ON,)))
            self._send(bytes((RESET,)))
            self.atr = self._ask(bytes((TELL_ATR,)))
        except (OSError, CardGone):
            self._drop()
            return False
        if not 2 <= len(self.atr) <= MAX_ATR:
            self._drop()
            return False
        return True

    def _ask(self, content: bytes) -> bytes:
        connection = self._connection
        if connection is None:
            raise CardGone("no card in the field")
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            self._send(content)
            length = int.from_bytes(_receive(connection, 2, deadline), "big")
            answer = _receive(connection, length, deadline)
        except OSError:
            self._drop()
            raise CardGone("the card left the field before it answered") from None
        return answer

    def _send(self, content: bytes) -> None:
        if self._connection is None:
            raise CardGone("no card in the field")
        self._connection.settimeout(ANSWER_SECONDS)
        self._connection.sendall(len(content).to_bytes(2, "big") + content)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()


def _receive(connection: socket.socket, length: int, deadline: float) -> bytes:
    """Receive exactly `length` bytes; OSError when the connection ends or the deadline passes first."""
    received = bytearray()
    while len(received) < length:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in time")
        connection.settimeout(remaining)
        data = connection.recv(length - len(received))
        if not data:
            raise ConnectionResetError("the connection ended")
        received += data
    return bytes(received)
