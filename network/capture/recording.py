"""Records what crosses the links of this process, and writes it to a file from a thread of its own.

On the event loop a piece of bytes costs a tuple in a queue; packets are made and written by the thread, whole blocks
at a time, so that the file can be read up to its last block when the process is killed. The queue is bounded: what
does not fit is left out, and the file's statistics say how many pieces that were.
"""

from __future__ import annotations

import os
import platform
import ssl
import threading
import time
from collections import deque
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from network.capture import pcapng
from network.capture.segments import Peer, Segments

QUEUE_LIMIT: Final = 64 << 20
"""Bytes that may wait to be written; beyond it pieces are dropped and counted."""

FILE_LIMIT: Final = 4 << 30
"""Bytes of a file; then it ends, the process goes on."""

WRITE_SECONDS: Final = 0.05
CLOSE_SECONDS: Final = 10.0

_PIECE: Final = 64
"""What an event counts in the queue besides its bytes."""

_BATCH: Final = 1 << 20

log = structlog.get_logger(__name__)


def own_file(path: Path) -> int:
    """An empty file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


class _Event(NamedTuple):
    """Something that happened to a connection: it opened (`data` empty, `comment` set), bytes crossed, it closed."""

    at: int
    line: Segments
    outgoing: bool
    data: bytes
    lost: tuple[int, int]
    comment: str = ""
    closed: bool = False
    reset: bool = False


class Line:
    """One recorded connection."""

    def __init__(self, capture: Capture, segments: Segments | None) -> None:
        self._capture = capture
        self._segments = segments
        self._lost = [0, 0]

    def opened(self, comment: str) -> None:
        """It came up."""
        self._put(True, b"", comment=comment)

    def crossed(self, outgoing: bool, data: bytes) -> None:
        """Bytes were read or written."""
        if data:
            self._put(outgoing, data)

    def closed(self, *, reset: bool) -> None:
        """It came down."""
        self._put(True, b"", closed=True, reset=reset)

    def _put(
        self, outgoing: bool, data: bytes, *, comment: str = "", closed: bool = False, reset: bool = False
    ) -> None:
        if self._segments is None:
            return
        lost = (self._lost[0], self._lost[1])
        event = _Event(time.time_ns(), self._segments, outgoing, data, lost, comment, closed, reset)
        if self._capture.put(event):
            self._lost = [0, 0]
        else:
            self._lost[outgoing] += len(data)


class Capture:
    """A capture file that is being written.

    Parameters
    ----------
    path : Path
        Written anew, readable by its owner only.
    process : str
        Name of the process, for people.
    accepted_only : bool
        Leave out links that this process dials, since their other end records them.

    Raises
    ------
    OSError
        The file cannot be written.
    """

    def __init__(self, path: Path, process: str, *, accepted_only: bool = False) -> None:
        self.path = path
        self.accepted_only = accepted_only
        self.failure = ""
        self.dropped = 0
        self._process = process
        self._file = own_file(path)
        self._keys = path.with_name(path.name + ".keys")
        self._keys_read = 0
        self._has_keys = False
        self._queue: deque[_Event] = deque()
        # each is changed by one thread only: the loop puts, the writer takes
        self._put = 0
        self._taken = 0
        self._written = 0
        self._pieces = 0
        self._size = 0
        self._last = 0
        self._since = time.time_ns()
        self._stopping = threading.Event()
        system = f"{platform.system()} {platform.release()}"
        self._write(
            pcapng.section(f"fourparty {version('fourparty')}", system)
            + pcapng.interface(process, f"links of the {process}, process {os.getpid()}", system)
        )
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def line(self, local: object, remote: object, *, accepted: bool) -> Line:
        """A connection between two socket names; what is no TCP over IP is not recorded."""
        ends = Peer.of(local), Peer.of(remote)
        if ends[0] is None or ends[1] is None or ends[0].address.version != ends[1].address.version:
            return Line(self, None)
        # as RFC 9293 has it: a clock that goes around in a few hours
        return Line(self, Segments(ends[0], ends[1], accepted=accepted, first=time.time_ns() >> 12))

    def keep_secrets_of(self, context: ssl.SSLContext) -> None:
        """Have a TLS context tell its sessions' secrets to the capture: whoever has the file can decrypt it."""
        if not self._has_keys:
            os.close(own_file(self._keys))
            self._has_keys = True
        context.keylog_filename = str(self._keys)

    def put(self, event: _Event) -> bool:
        """Take an event, on the loop; False when there is no room for it."""
        self._pieces += 1
        if self._put - self._taken > QUEUE_LIMIT or self.failure:
            self.dropped += 1
            return False
        self._put += len(event.data) + _PIECE
        self._queue.append(event)
        return True

    @property
    def waiting(self) -> bool:
        """Whether something is not in the file yet."""
        return self._written < self._put

    def close(self) -> None:
        """Write the rest and end the file. The loop must not put any more."""
        self._stopping.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(WRITE_SECONDS):
            self._drain()
        self._drain()
        if not self.failure:
            until = max(time.time_ns(), self._last)
            self._write(pcapng.statistics(self._since, until, seen=self._pieces, dropped=self.dropped))
        os.close(self._file)
        self._keys.unlink(missing_ok=True)
        if self.dropped:
            log.warning("capture incomplete", party=self._process, dropped=self.dropped, of=self._pieces)

    def _drain(self) -> None:
        queue = self._queue
        for _ in range(len(queue)):
            blocks: list[bytes] = []
            size = 0
            while queue and size < _BATCH:
                event = queue.popleft()
                self._taken += len(event.data) + _PIECE
                made = self._blocks(event)
                blocks += made
                size += len(event.data) + _PIECE
            if not blocks:
                return
            # a secret is logged before the bytes that need it are put, so it is there by now
            self._write(self._new_secrets() + b"".join(blocks))
            self._written = self._taken

    def _blocks(self, event: _Event) -> list[bytes]:
        # a clock that is set back must not make a file whose packets are out of order
        self._last = at = max(event.at, self._last)
        line = event.line
        for outgoing, lost in enumerate(event.lost):
            if lost:
                line.skip(bool(outgoing), lost)
        if event.closed:
            segments = line.closing(reset=event.reset)
        elif event.data:
            segments = line.data(event.outgoing, event.data)
        else:
            segments = line.opening()
        comment = event.comment
        blocks = []
        for outgoing, data in segments:
            blocks.append(pcapng.packet(at, data, outgoing=outgoing, comment=comment))
            comment = ""
        return blocks

    def _new_secrets(self) -> bytes:
        if not self._has_keys:
            return b""
        try:
            with self._keys.open("rb") as file:
                file.seek(self._keys_read)
                lines = file.read()
        except OSError:
            return b""
        lines = lines[: lines.rfind(b"\n") + 1]
        self._keys_read += len(lines)
        return pcapng.secrets(lines) if lines else b""

    def _write(self, data: bytes) -> None:
        if self.failure:
            return
        self._size += len(data)
        if self._size > FILE_LIMIT:
            self._fail(f"it has {FILE_LIMIT >> 30} GiB")
            return
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._fail(error.strerror or type(error).__name__)

    def _fail(self, reason: str) -> None:
        self.failure = reason
        log.error("capture ended", party=self._process, file=str(self.path), reason=reason)
