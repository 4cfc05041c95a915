"""The App's end of the command channel: frames of four bytes of length and JSON over a Unix socket."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from merchant_device.sdk.errors import ERRORS, PhoneError

MAX_FRAME: Final = 65_536
"""Longest JSON text of a frame, bytes."""

CONNECT_SECONDS: Final = 5.0

JsonObject: TypeAlias = dict[str, object]


class ChannelClient:
    """A connection to the trusted side; commands may be given from several threads.

    Parameters
    ----------
    path : Path
        The channel's socket.

    Raises
    ------
    PhoneError
        ``not_running``: nobody listens there.
    """

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(CONNECT_SECONDS)
        try:
            self._connection.connect(str(path))
        except OSError as error:
            self._connection.close()
            raise PhoneError("not_running", f"nothing answers at {path}: {error.strerror or error}") from None
        self._connection.settimeout(None)
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: dict[int, concurrent.futures.Future[JsonObject]] = {}
        self._lost = False
        self._thread = threading.Thread(target=self._listen, name="channel", daemon=True)
        self._thread.start()

    def ask(self, command: str, arguments: Mapping[str, object], seconds: float) -> JsonObject:
        """Give a command and wait for its result.

        Raises
        ------
        PhoneError
            The trusted side refuses, does not answer in time, or is gone.
        """
        future: concurrent.futures.Future[JsonObject] = concurrent.futures.Future()
        with self._lock:
            if self._lost:
                raise PhoneError("connection_lost")
            self._number += 1
            number = self._number
            text = json.dumps({"id": number, "command": command, "arguments": dict(arguments)}).encode()
            if len(text) > MAX_FRAME:
                raise PhoneError("bad_arguments", f"the command is longer than {MAX_FRAME} bytes")
            self._waiting[number] = future
            try:
                self._connection.sendall(len(text).to_bytes(4, "big") + text)
            except OSError:
                del self._waiting[number]
                raise PhoneError("connection_lost") from None
        try:
            return future.result(seconds)
        except TimeoutError:
            with self._lock:
                self._waiting.pop(number, None)
            raise PhoneError("no_answer", f"{command}: no answer in {seconds:.0f} s") from None

    def close(self) -> None:
        """End the connection; what is under way on the trusted side goes on there."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=CONNECT_SECONDS)
        self._connection.close()

    def _listen(self) -> None:
        try:
            while (text := self._frame()) is not None:
                self._answered(json.loads(text))
        except (OSError, ValueError, RecursionError):
            pass  # whatever it is: from here on the stream is of no use
        with self._lock:
            self._lost = True
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(PhoneError("connection_lost"))

    def _frame(self) -> bytes | None:
        head = self._receive(4)
        if head is None:
            return None
        length = int.from_bytes(head, "big")
        return self._receive(length) if 1 <= length <= MAX_FRAME else None

    def _receive(self, length: int) -> bytes | None:
        received = bytearray()
        while len(received) < length:
            data = self._connection.recv(length - len(received))
            if not data:
                return None
            received += data
        return bytes(received)

    def _answered(self, content: object) -> None:
        if not isinstance(content, dict):
            raise ValueError("an answer is an object")
        number = content.get("id")
        with self._lock:
            future = self._waiting.pop(number, None) if isinstance(number, int) else None
        if future is None:
            return  # given up, or of nobody
        result, error = content.get("result"), content.get("error")
        if isinstance(result, dict):
            future.set_result(result)
        elif isinstance(error, dict) and error.get("code") in ERRORS:
            future.set_exception(PhoneError(str(error["code"]), str(error.get("message", ""))))
        else:
            future.set_exception(PhoneError("failed", "the trusted side's answer is not understood"))
