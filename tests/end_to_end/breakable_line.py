"""A line between a phone and its acquirer that goes dead when it is told to, without anybody noticing at once."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class BreakableLine:
    """Relays connections to an address until it is broken.

    Parameters
    ----------
    target : str
        ``host:port`` of the acquirer's terminal link.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.let_through = threading.Event()
        """Set when the message after which the line breaks has gone to the acquirer."""
        self._breaks_next = False
        self._is_dead = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def break_after_next(self) -> None:
        """Let one more message through to the acquirer and nothing after it, in either direction."""
        self.let_through.clear()
        self._breaks_next = True

    def mend(self) -> None:
        """Work again; the connections of before are closed."""
        self._is_dead = self._breaks_next = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def close(self) -> None:
        self._listening.close()
        self.mend()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                phone, _ = self._listening.accept()
                acquirer = socket.create_connection(self._target)
                self._ends += [phone, acquirer]
                threading.Thread(target=self._relay, args=(phone, acquirer, True), daemon=True).start()
                threading.Thread(target=self._relay, args=(acquirer, phone, False), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, is_outward: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self._is_dead:
                    continue
                if is_outward and self._breaks_next:
                    self._is_dead = True
                    sink.sendall(data)
                    self.let_through.set()
                else:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def breakable_line(target: str) -> Iterator[BreakableLine]:
    """A `BreakableLine` to `target`, closed at the end."""
    line = BreakableLine(target)
    try:
        yield line
    finally:
        line.close()
