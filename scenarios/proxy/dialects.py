"""What a proxy understands of the messages on a link: enough to choose some of them and to spoil them.

Nothing here is ever logged or kept: what people see of a message is its type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import Final, Protocol

from network.attestation.monitoring_link import MONITORING_FRAMING
from network.framing import MEMBER_FRAMING, TERMINAL_FRAMING, Framing, FramingError
from network.iso8583 import INTERBANK, TERMINAL, DecodeError, Dialect, EncodeError, Message
from network.party import Json
from scenarios.proxy.toxics import Corrupt, Selection

_MAC: Final = 8
"""Bytes of MAC before the object of a monitoring message."""


class LinkDialect(StrEnum):
    """What travels on a link."""

    MEMBER = "member"
    TERMINAL = "terminal"
    MONITORING = "monitoring"
    RAW = "raw"


@dataclass(frozen=True)
class Facts:
    """What conditions look at. Empty where the message does not have it."""

    mti: str = ""
    terminal: str = ""
    pan: str = ""
    code: str = ""
    amount: int | None = None

    def __repr__(self) -> str:
        return f"Facts(mti={self.mti!r})"

    def meet(self, selection: Selection) -> bool:
        """Whether a message with these facts meets the conditions (skip, count and probability are the caller's)."""
        if selection.mti and self.mti not in selection.mti:
            return False
        if selection.terminal and self.terminal != selection.terminal:
            return False
        if selection.pan_prefix and not self.pan.startswith(selection.pan_prefix):
            return False
        if selection.code and self.code != selection.code:
            return False
        low, high = selection.amount_min, selection.amount_max
        if selection.amount is None and low is None and high is None:
            return True
        if self.amount is None or selection.amount not in (None, self.amount):
            return False
        return (low is None or self.amount >= low) and (high is None or self.amount <= high)


class Reader(Protocol):
    """Understands the bodies of a link."""

    framing: Framing

    def facts(self, body: bytes) -> Facts:
        """What the body is; a body that cannot be read has no facts."""

    def with_other_element(self, body: bytes, corrupt: Corrupt, random: Random) -> bytes | None:
        """The body with the named element changed; None where it has none or the value does not fit."""


class Iso8583Reader:
    """Bodies of a terminal or member link."""

    def __init__(self, dialect: Dialect, framing: Framing) -> None:
        self.framing = framing
        self._dialect = dialect

    def facts(self, body: bytes) -> Facts:
        """See `Reader`."""
        try:
            message = self._dialect.unpack(body)
        except DecodeError:
            return Facts()
        amount = _text(message, 4)
        return Facts(
            mti=message.mti,
            terminal=_text(message, 41).rstrip(" "),
            pan=_text(message, 2) or _text(message, 35).partition("=")[0],
            code=_text(message, 39),
            amount=int(amount) if amount.isdigit() else None,
        )

    def with_other_element(self, body: bytes, corrupt: Corrupt, random: Random) -> bytes | None:
        """See `Reader`."""
        number = element_number(corrupt.element)
        try:
            message = self._dialect.unpack(body)
        except DecodeError:
            return None
        value = message.get(number) if number is not None else None
        if number is None or value is None:
            return None
        try:
            if corrupt.value is None:
                message[number] = (
                    _other_bytes(value, random) if isinstance(value, bytes) else _other_text(value, random)
                )
            else:
                message[number] = bytes.fromhex(corrupt.value) if isinstance(value, bytes) else corrupt.value
            return self._dialect.pack(message)
        except (EncodeError, ValueError):
            return None


class MonitoringReader:
    """Bodies of a monitoring link: MAC and a JSON object."""

    framing: Framing = MONITORING_FRAMING

    def facts(self, body: bytes) -> Facts:
        """See `Reader`."""
        content = self._content(body)
        return Facts(mti=str(content.get("type", "")), terminal=str(content.get("terminal", "")))

    def with_other_element(self, body: bytes, corrupt: Corrupt, random: Random) -> bytes | None:
        """See `Reader`."""
        content = dict(self._content(body))
        value = content.get(corrupt.element)
        if value is None:
            return None
        if corrupt.value is not None:
            content[corrupt.element] = _as_json(corrupt.value)
        elif isinstance(value, bool):
            content[corrupt.element] = not value
        elif isinstance(value, int):
            content[corrupt.element] = value + random.randint(1, 1000)
        elif isinstance(value, str):
            content[corrupt.element] = _other_text(value, random)
        else:
            return None
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return body[:_MAC] + text.encode()

    @staticmethod
    def _content(body: bytes) -> Mapping[str, Json]:
        try:
            content = json.loads(body[_MAC:])
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


_READERS: Final[dict[LinkDialect, Reader]] = {
    LinkDialect.MEMBER: Iso8583Reader(INTERBANK, MEMBER_FRAMING),
    LinkDialect.TERMINAL: Iso8583Reader(TERMINAL, TERMINAL_FRAMING),
    LinkDialect.MONITORING: MonitoringReader(),
}


def reader_of(dialect: LinkDialect) -> Reader | None:
    """Who understands the link; None for bytes of which nothing is known."""
    return _READERS.get(dialect)


def element_number(name: str) -> int | None:
    """The number of ``DE4`` or ``4``; None where it names no element."""
    digits = name.upper().removeprefix("DE")
    return int(digits) if digits.isascii() and digits.isdigit() and 2 <= int(digits) <= 128 else None


def corrupted(body: bytes, corrupt: Corrupt, reader: Reader, random: Random) -> bytes | None:
    """The body with one byte or one element changed; None where there is nothing of that kind to change."""
    if corrupt.element:
        other = reader.with_other_element(body, corrupt, random)
        try:
            return other if other is None or reader.framing.frame(other) else None
        except FramingError:
            return None
    at = random.randrange(len(body)) if corrupt.offset is None else corrupt.offset
    if at >= len(body):
        return None
    return body[:at] + bytes((body[at] ^ random.randint(1, 255),)) + body[at + 1 :]


def _text(message: Message, element: int) -> str:
    value = message.get(element)
    return value if isinstance(value, str) else ""


def _other_text(value: str, random: Random) -> str:
    """The text with one character changed into another of its kind."""
    at = random.randrange(len(value)) if value else 0
    now = value[at : at + 1]
    alphabet = "0123456789" if now.isdigit() or now == "=" else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return value[:at] + random.choice([one for one in alphabet if one != now]) + value[at + 1 :]


def _other_bytes(value: bytes, random: Random) -> bytes:
    at = random.randrange(len(value)) if value else 0
    return value[:at] + bytes(((value[at] if value else 0) ^ random.randint(1, 255),)) + value[at + 1 :]


def _as_json(text: str) -> Json:
    try:
        content: Json = json.loads(text)
    except ValueError:
        return text
    return content
