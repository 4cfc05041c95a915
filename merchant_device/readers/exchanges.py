"""What crosses a reader's field, and how it is written down: the APDU log.

The log is JSON lines. The first says what the file is; each of the others is a card's coming or going, or one command
with its answer. A log is masked unless it was asked for in clear: then it holds all that the card said, PAN and track
included, can be replayed, and must be kept as the card itself. Either kind is readable by its owner only.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple

from network.emv import describe_tlv

LOG_VERSION: Final = 1
MAX_LOG_LINE: Final = 262_144
"""Longest line of a log, bytes: two APDUs of extended length in hexadecimal."""

MAX_LOG_LINES: Final = 10_000


class ApduLogError(ValueError):
    """A file is no APDU log, or one that cannot be replayed; the message says which line and why."""


@dataclass(frozen=True, slots=True, repr=False)
class Exchange:
    """One command and its answer, as they crossed the field: card data in clear inside, masked when shown."""

    command: bytes
    response: bytes

    def __repr__(self) -> str:
        header, status = self.command[:4].hex().upper(), self.response[-2:].hex().upper()
        return f"Exchange({header}, {len(self.command)} bytes -> {status}, {len(self.response)} bytes)"

    def describe(self) -> list[str]:
        """Describe the exchange for people, card data masked: header, objects of the answer, status word."""
        lines = [f"> {self.command[:4].hex().upper()} ({len(self.command)} bytes)"]
        lines += [f"  {line}" for line in describe_tlv(self.response[:-2])]
        lines.append(f"< {self.response[-2:].hex().upper()}")
        return lines


class CardMoved(NamedTuple):
    """A card came into the field, or was found to have left it."""

    present: bool


class ApduLog:
    """Writes an APDU log; one file a tap, or several taps in one.

    Parameters
    ----------
    path : Path
        The file; one that is there is replaced.
    clear : bool
        Whether to write card data in clear, so that the log can be replayed.

    Raises
    ------
    OSError
        The file cannot be written.
    """

    def __init__(self, path: Path, *, clear: bool = False) -> None:
        self.clear = clear
        # mode 0600 also where the file was there before with another
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(descriptor, 0o600)
        self._file: IO[str] = open(descriptor, "w", encoding="ascii")  # noqa: SIM115 - it is closed by close()
        self._write({"apdu_log": LOG_VERSION, "clear": clear})

    def moved(self, *, present: bool) -> None:
        """Write that a card came or went."""
        self._write({"card": "present" if present else "gone"})

    def exchanged(self, exchange: Exchange, milliseconds: float) -> None:
        """Write a command and its answer, and how long the card took."""
        if self.clear:
            content: dict[str, object] = {
                "command": exchange.command.hex().upper(),
                "response": exchange.response.hex().upper(),
            }
        else:
            content = {"exchange": exchange.describe()}
        self._write({**content, "ms": round(milliseconds, 3)})

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def __enter__(self) -> ApduLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, content: dict[str, object]) -> None:
        json.dump(content, self._file)
        self._file.write("\n")
        self._file.flush()


def read_log(path: Path) -> list[Exchange | CardMoved]:
    """Read an APDU log written in clear, to replay it.

    Raises
    ------
    ApduLogError
        The file is no APDU log, is masked, or is longer than a log may be.
    OSError
        The file cannot be read.
    """
    steps: list[Exchange | CardMoved] = []
    with path.open(encoding="ascii", errors="replace") as file:
        for number in range(1, MAX_LOG_LINES + 2):
            line = file.readline(MAX_LOG_LINE + 1)
            if not line:
                break
            if number > MAX_LOG_LINES or len(line) > MAX_LOG_LINE:
                raise ApduLogError(f"{path}: line {number}: longer than an APDU log may be")
            steps += _read_line(path, number, line)
    if not any(isinstance(step, Exchange) for step in steps):
        raise ApduLogError(f"{path} holds no exchange")
    return steps


def _read_line(path: Path, number: int, line: str) -> list[Exchange | CardMoved]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ApduLogError(f"{path}: line {number}: not a JSON object")
    if number == 1:
        if content.get("apdu_log") != LOG_VERSION:
            raise ApduLogError(f"{path} is no APDU log of version {LOG_VERSION}")
        if content.get("clear") is not True:
            raise ApduLogError(f"{path} is masked: only a log written in clear can be replayed")
        return []
    moved = content.get("card")
    if moved in ("present", "gone"):
        return [CardMoved(moved == "present")]
    try:
        exchange = Exchange(bytes.fromhex(content["command"]), bytes.fromhex(content["response"]))
    except (KeyError, TypeError, ValueError):
        raise ApduLogError(f"{path}: line {number}: neither a card's coming or going nor an exchange") from None
    if len(exchange.command) < 4 or len(exchange.response) < 2:
        raise ApduLogError(f"{path}: line {number}: a command has 4 bytes at least, an answer 2")
    return [exchange]
