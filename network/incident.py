"""What a log line says of an event, so that an incident can be followed: where it came from and which payment it was.

Only what names a payment is taken out of a message (type, terminal, trace number, retrieval reference, trace), never
what pays it. It is decoded here anew, since what gets here is rare and may be what could not be decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from network.iso8583 import INTERBANK, TERMINAL, DecodeError
from network.party import Json, Work
from network.tracing import ADDITIONAL, NOT_CHOSEN, context_in

LINES_A_SECOND: Final = 20
"""Lines of one event in a second; further ones are counted in the next second's first."""

_NAMES: Final = ((41, "terminal"), (11, "stan"), (37, "rrn"))

_GOOD: Final = frozenset({"session ready"})

log = structlog.get_logger(__name__)


def facts_of(work: Work) -> dict[str, str]:
    """What a single event was: its link and the payment it names, its command or its timer."""
    if work.inbox:
        return {"link": work.inbox[0].link, **payment_in(work.inbox[0].body)}
    if work.commands:
        return {"command": work.commands[0].name}
    if work.due:
        return {"timer": work.due[0][0], "of": work.due[0][1]}
    return {"link": work.link_changes[0].link} if work.link_changes else {}


def payment_in(body: bytes) -> dict[str, str]:
    """Which payment a message names, as far as it can be decoded."""
    dialect = TERMINAL if body[:1] == b"\x60" else INTERBANK
    try:
        message = dialect.unpack(body)
    except DecodeError as error:
        if error.partial is None:
            return {"message": "undecodable"}
        message = error.partial
    found = {"mti": message.mti}
    for element, name in _NAMES:
        value = message.fields.get(element)
        if isinstance(value, str):
            found[name] = value
    context = context_in(message.fields.get(ADDITIONAL))
    if context is not None and context != NOT_CHOSEN:
        found["trace"] = context[:32]
    return found


class Notes:
    """Writes what parties note, at most `LINES_A_SECOND` of one kind.

    Parameters
    ----------
    party : str
    clock : callable
        Seconds, for the limit.
    """

    def __init__(self, party: str, clock: Callable[[], float]) -> None:
        self._party = party
        self._clock = clock
        self._second = -1
        self._written: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def write(self, event: str, facts: dict[str, Json]) -> None:
        """Write a line, or count it."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._written.clear()
        written = self._written[event] = self._written.get(event, 0) + 1
        if written > LINES_A_SECOND:
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        left_out = self._left_out.pop(event, 0)
        if left_out:
            facts = {**facts, "left_out": left_out}
        tell = log.info if event in _GOOD else log.warning
        tell(event, party=self._party, **facts)
