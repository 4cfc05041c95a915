"""The monitoring link's frames and objects: what both of its ends must agree on (docs/protocol.md, *own*).

Frame: two bytes of length, body. Body: 8 ASCII characters of MAC, CUP ECB under the terminal's MAC key, and the JSON
object that they cover, in UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from network.framing import Framing, TerminalFraming
from network.keys import KeyHandle, MacAlgorithm, SecurityModule
from network.party import Json

MONITORING_LIMIT: Final = 16_384
"""Longest body, in bytes."""

TRANSACTION: Final = "transaction"
PIN: Final = "pin"
"""What an attestation is for."""

_MAC: Final = 8


class MonitoringError(ValueError):
    """A body that holds no object; the message says why."""


class Arrived(NamedTuple):
    """A body of the monitoring link: the object, not to be believed before the MAC over `text` is checked."""

    content: Mapping[str, Json]
    mac: bytes
    text: bytes

    def is_genuine(self, module: SecurityModule, key: KeyHandle) -> bool:
        """Whether the MAC is right under the terminal's MAC key."""
        return module.verify_mac(key, MacAlgorithm.CUP_ECB, self.text, self.mac)


MONITORING_FRAMING: Final[Framing] = TerminalFraming(MONITORING_LIMIT)
"""Frames as on the terminal link, with bodies of at most `MONITORING_LIMIT` bytes."""


def pack_monitoring(module: SecurityModule, key: KeyHandle, content: Mapping[str, Json]) -> bytes:
    """Write an object with its MAC under the terminal's MAC key.

    Raises
    ------
    MonitoringError
        It is too long for the link.
    """
    text = monitoring_text(content)
    if len(text) > MONITORING_LIMIT - _MAC:
        raise MonitoringError(f"an object of {len(text)} bytes is too long for the monitoring link")
    return module.mac(key, MacAlgorithm.CUP_ECB, text) + text


def monitoring_text(content: Mapping[str, Json]) -> bytes:
    """An object as the link carries it, and as a farewell is signed: JSON without spaces, UTF-8."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def unpack_monitoring(body: bytes) -> Arrived:
    """Read a body; nothing of it is proved yet.

    Raises
    ------
    MonitoringError
        It holds no JSON object.
    """
    if not _MAC < len(body) <= MONITORING_LIMIT:
        raise MonitoringError(f"a body of {len(body)} bytes")
    mac, text = body[:_MAC], body[_MAC:]
    try:
        content = json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MonitoringError("no JSON") from None
    if not isinstance(content, dict):
        raise MonitoringError("no JSON object")
    if b"\\u" in text:
        try:
            monitoring_text(content)
        except UnicodeEncodeError:
            # JSON lets half of a surrogate pair pass; no store and no log can write it
            raise MonitoringError("no text") from None
    return Arrived(content, mac, text)


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON")
