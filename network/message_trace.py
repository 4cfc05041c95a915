"""What a process remembers of the messages that crossed its links, and how it tells of them: described and masked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from network.iso8583 import INTERBANK, TERMINAL, DecodeError, describe
from network.party import Instant, Json, LinkName, local_time

TRACE_LENGTH: Final = 2_000
"""Messages that a process remembers, for people who ask what happened."""


class Traced(NamedTuple):
    """A message that crossed a link: when, which link, whether it came in, and its body."""

    at: Instant
    link: LinkName
    incoming: bool
    body: bytes


def described(one: Traced, terminal: str | None = None) -> dict[str, Json] | None:
    """A message for people: ``at``, ``time``, ``link``, ``incoming``, ``mti``, ``length`` and ``description``.

    A message that cannot be read has ``error`` in place of the last four. With `terminal`, None of messages that are
    not about it.
    """
    # DE41 is ASCII in both dialects: most messages need not be read to know that they are about another terminal
    if terminal is not None and terminal.encode("ascii", "replace") not in one.body:
        return None
    dialect = TERMINAL if one.body[:1] == b"\x60" else INTERBANK
    try:
        message = dialect.unpack(one.body)
    except DecodeError as error:
        if terminal is not None:
            return None
        return {"at": one.at, "link": one.link, "incoming": one.incoming, "error": str(error)}
    if terminal is not None and message.get(41) != terminal:
        return None
    return {
        "at": one.at,
        "time": local_time(one.at).isoformat(timespec="milliseconds"),
        "link": one.link,
        "incoming": one.incoming,
        "mti": message.mti,
        "length": len(one.body),
        "description": describe(message, dialect),
    }


def messages_of(trace: Iterable[Traced], since: Instant, terminal: str | None, limit: int) -> list[dict[str, Json]]:
    """The last messages of a trace since an instant, at most `limit`, the oldest first; see `described`."""
    found: list[dict[str, Json]] = []
    for one in reversed(list(trace)):
        if one.at < since or len(found) >= limit:
            break
        told = described(one, terminal)
        if told is not None:
            found.append(told)
    return found[::-1]
