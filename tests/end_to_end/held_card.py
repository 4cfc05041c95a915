"""A card of the network's wallet, held where a phone's reader looks for one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scenarios.phones.card_server import Pull, card_of_wallet, connections_at, hold


@contextlib.contextmanager
def card_in_field(folder: Path, place: int = 0) -> Iterator[str]:
    """Hold the card at `place` of the wallet to whatever reader comes; the reader's name for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = threading.Event()
    chip = card_of_wallet(folder, place).chip
    connections = connections_at("127.0.0.1", port, stop)
    thread = threading.Thread(target=hold, args=(chip, connections, Pull(), stop), daemon=True)
    thread.start()
    yield f"remote:127.0.0.1:{port}"
    stop.set()
    thread.join(5)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
