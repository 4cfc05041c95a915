"""The command channel: how the App reaches the trusted side, and the only way it does.

A Unix socket that only its owner can open, and whose peer must be the same user. A frame is four bytes of length,
big-endian, and a JSON object of at most 64 KiB: ``{"id": n, "command": name, "arguments": {...}}`` one way,
``{"id": n, "result": {...}}`` or ``{"id": n, "error": {"code": ..., "message": ...}}`` the other. Answers come in the
order in which commands end. After a frame that is none the connection is closed: nothing behind it can be trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import structlog

from merchant_device.tee.commands import CommandKind, CommandRefused, ErrorCode, admit, released
from network.party import CommandError, Json
from network.service import ConfigurationError

MAX_FRAME: Final = 65_536
"""Longest JSON text of a frame, bytes."""

MAX_NESTING: Final = 8
"""Deepest nesting of a request."""

CONNECTION_LIMIT: Final = 8
UNDER_WAY_LIMIT: Final = 8
"""Commands of one connection that may be under way; more are refused as busy."""

HALF_FRAME_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 10.0

_PEER: Final = struct.Struct("3i")
_MAX_ID: Final = 2**53
_PATH_LIMIT: Final = 107
"""Bytes of a Unix socket's path on Linux."""

log = structlog.get_logger(__name__)

Carry = Callable[[str, dict[str, Json]], Awaitable[Json]]
"""Gives the party a command and waits for its answer; raises CommandError."""


class Request(NamedTuple):
    """A command as it came: not yet checked against the list."""

    number: int
    command: str
    arguments: dict[str, object]


class ChannelError(Exception):
    """What came is no frame or no request.

    Attributes
    ----------
    number : int or None
        The request's id where that much could be read.
    """

    def __init__(self, reason: str, number: int | None = None) -> None:
        super().__init__(reason)
        self.number = number


def take_frames(buffer: bytearray) -> list[bytes]:
    """Take every whole frame's text out of the front of `buffer`; what is not whole yet stays.

    Raises
    ------
    ChannelError
        A length is 0 or above `MAX_FRAME`; frames before it are lost with it.
    """
    texts: list[bytes] = []
    while len(buffer) >= 4:
        length = int.from_bytes(buffer[:4], "big")
        if not 1 <= length <= MAX_FRAME:
            raise ChannelError(f"a frame of {length} bytes; 1 to {MAX_FRAME} are allowed")
        if len(buffer) < 4 + length:
            break
        texts.append(bytes(buffer[4 : 4 + length]))
        del buffer[: 4 + length]
    return texts


def decode_request(text: bytes) -> Request:
    """Read a frame's text.

    Raises
    ------
    ChannelError
        It is no request; the message says why and repeats nothing of it.
    """
    if _nesting(text) > MAX_NESTING:
        raise ChannelError(f"nested deeper than {MAX_NESTING}")
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ChannelError("not JSON in UTF-8") from None
    if not isinstance(content, dict):
        raise ChannelError("not a JSON object")
    number = content.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _MAX_ID:
        raise ChannelError("id: a whole number from 0 to 2^53")
    if not content.keys() <= {"id", "command", "arguments"}:
        raise ChannelError("id, command and arguments are all that a request has", number)
    command, arguments = content.get("command"), content.get("arguments", {})
    if not isinstance(command, str):
        raise ChannelError("command: a name", number)
    if not isinstance(arguments, dict):
        raise ChannelError("arguments: an object", number)
    return Request(number, command, arguments)


def encode_frame(content: dict[str, Json]) -> bytes:
    """The frame of an answer.

    Raises
    ------
    ChannelError
        It is longer than a frame may be.
    """
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()
    if len(text) > MAX_FRAME:
        raise ChannelError(f"an answer of {len(text)} bytes; at most {MAX_FRAME} are allowed")
    return len(text).to_bytes(4, "big") + text


def _nesting(text: bytes) -> int:
    """The most brackets open at once, those within strings counted too: never less than the real depth."""
    depth = deepest = 0
    for byte in text:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


class Channel:
    """Serves the command channel on a runtime's loop.

    Parameters
    ----------
    carry : callable
        Gives the party a command.
    done : callable
        Told of every command that was carried out, with what the party answered, before the App is.
    """

    def __init__(self, carry: Carry, done: Callable[[CommandKind, Json], None]) -> None:
        self._carry = carry
        self._done = done
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, path: Path) -> None:
        """Listen at `path`, a socket that nobody else can open.

        Raises
        ------
        ConfigurationError
            The path is too long, in use, or cannot be written.
        """
        listening = _bind(path)
        self._server = await asyncio.start_unix_server(self._connected, sock=listening, limit=MAX_FRAME + 4)

    async def close(self) -> None:
        """Take no more connections and end those that are there."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= CONNECTION_LIMIT or not _is_own(writer.get_extra_info("socket")):
            log.warning("channel refused", connections=len(self._connections))
            writer.close()
            return
        self._connections.add(task)
        answers = _Answers(writer)
        try:
            await self._converse(reader, answers)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the App is gone or stuck, or the process ends: what it asked for goes on in the party
        finally:
            self._connections.discard(task)
            answers.abandon()
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, answers: _Answers) -> None:
        buffer = bytearray()
        while True:
            async with asyncio.timeout(HALF_FRAME_SECONDS if buffer else None):
                data = await reader.read(MAX_FRAME)
            if not data:
                return
            buffer += data
            try:
                requests = [decode_request(text) for text in take_frames(buffer)]
            except ChannelError as error:
                await answers.refuse(error.number, ErrorCode.BAD_REQUEST, str(error))
                return
            for request in requests:
                await self._take(request, answers)

    async def _take(self, request: Request, answers: _Answers) -> None:
        try:
            kind, arguments = admit(request.command, request.arguments)
            if len(answers.under_way) >= UNDER_WAY_LIMIT:
                raise CommandRefused(ErrorCode.BUSY, f"{UNDER_WAY_LIMIT} commands are under way")
        except CommandRefused as refused:
            await answers.refuse(request.number, refused.code, str(refused))
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(request.number, kind, arguments, answers))
        answers.under_way.add(task)
        task.add_done_callback(answers.under_way.discard)

    async def _carry_out(self, number: int, kind: CommandKind, arguments: dict[str, Json], answers: _Answers) -> None:
        try:
            async with asyncio.timeout(kind.seconds):
                answer = await self._carry(kind.name, arguments)
            self._done(kind, answer)
            await answers.give(number, released(kind, answer))
        except CommandRefused as refused:
            await answers.refuse(number, refused.code, str(refused))
        except CommandError as error:
            await answers.refuse(number, ErrorCode.REFUSED, str(error))
        except TimeoutError:
            await answers.refuse(number, ErrorCode.NO_ANSWER, f"no answer in {kind.seconds:.0f} s")


class _Answers:
    """Writes answers to one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.under_way: set[asyncio.Task[None]] = set()

    async def give(self, number: int, result: dict[str, Json]) -> None:
        try:
            frame = encode_frame({"id": number, "result": result})
        except ChannelError as error:
            await self.refuse(number, ErrorCode.FAILED, str(error))
            return
        await self._write(frame)

    async def refuse(self, number: int | None, code: ErrorCode, message: str) -> None:
        await self._write(encode_frame({"id": number, "error": {"code": code.value, "message": message[:1_000]}}))

    def abandon(self) -> None:
        for task in self.under_way:
            task.cancel()

    async def _write(self, frame: bytes) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.write(frame)
            async with asyncio.timeout(WRITE_SECONDS):
                await self._writer.drain()
            return
        self._writer.close()


def _is_own(connection: socket.socket) -> bool:
    """Whether the other end of a Unix socket is a process of this one's user (SO_PEERCRED, unix(7))."""
    _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return bool(user == os.geteuid())


def _bind(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise ConfigurationError(
            f"channel: {path} is longer than the {_PATH_LIMIT} bytes that a socket's path may have"
        )
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # the mode must be right from the first moment: chmod after bind would leave a gap
    before = os.umask(0o177)
    try:
        _remove_stale(path)
        listening.bind(str(path))
        listening.listen(CONNECTION_LIMIT)
    except OSError as error:
        listening.close()
        raise ConfigurationError(f"cannot listen at {path}: {error.strerror}") from error
    except ConfigurationError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


def _remove_stale(path: Path) -> None:
    """Remove a socket that a process before this one has left; not one that somebody serves."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise ConfigurationError(f"another trusted side serves {path}")
