"""A payment followed across the parties: which part of a trace each party adds, and how the next one learns of it.

A trace's context travels in DE59, in an object of this network's own, `TAG` (docs/protocol.md): 32 hexadecimal digits
of the trace and 16 of the sender's part, or `NOT_CHOSEN` where the payment is not followed, lest a party further on
chooses it. A party that traces nothing hands the object on as it does every one that it does not know. Nothing here
touches a payment's outcome, and where no tracing is configured `Turn.tracing` is None and no message has the object.

What a party says in a turn counts once that turn is committed (`Tracing.committed`); what has begun is remembered in
memory only, as it is safe to forget.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from network.iso8583.additional_data import AdditionalDataError, decode_objects, encode_objects
from network.iso8583.message import Value
from network.party import Instant

if TYPE_CHECKING:
    from network.party import Turn

TAG: Final = "TC"
"""The object of DE59 that holds the context."""

NOT_CHOSEN: Final = "0"

ADDITIONAL: Final = 59
"""The element with the objects."""

OPEN_LIMIT: Final = 50_000
"""Parts that have begun and not ended, and as many contexts of ended ones; beyond it the oldest are forgotten."""

LONGEST_ELEMENT: Final = 570
"""Bytes of DE59 that acquirer and switch take: a context that would make it longer stays out."""

_CONTEXT: Final = re.compile(r"(?!0{32})[0-9a-f]{32}(?!0{16})[0-9a-f]{16}")

Attributes: TypeAlias = Mapping[str, str | int]


class Part(NamedTuple):
    """What one party does for a payment: a span.

    Attributes
    ----------
    name : str
    trace, span, parent : str
        Hexadecimal; `parent` is empty for the first part of a trace.
    began : Instant
    attributes : mapping
        Never what must not be logged.
    """

    name: str
    trace: str
    span: str
    parent: str
    began: Instant
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Ended:
    """A part that is over; `response_code` is DE39 of the answer, None where it has none."""

    part: Part
    ended: Instant
    response_code: str | None


class Beginning(NamedTuple):
    """A part began in a turn, under the party's own `key`."""

    key: str
    part: Part


class Ending(NamedTuple):
    """The part under `key` ended in a turn, with more `attributes`."""

    key: str
    response_code: str | None
    attributes: Attributes


class Tracing:
    """What turns say of parts, and the parts that are open.

    Parameters
    ----------
    sample : float
        Share of payments that are followed, of those that this party is the first to see; 0 to 1.
    export : callable
        Takes parts that are over; it must neither wait nor fail.
    """

    def __init__(self, sample: float, export: Callable[[Ended], None]) -> None:
        self._sample = sample
        self._export = export
        self._open: dict[str, Part] = {}
        self._ended: dict[str, str] = {}

    def begin(self, turn: Turn, key: str, name: str, parent: str | None, attributes: Attributes) -> str | None:
        """Begin this party's part of a payment.

        Parameters
        ----------
        key
            By which `end` will know it.
        parent
            What stood in `TAG`; None where there was none: then this party is the first.

        Returns
        -------
        str or None
            What is to stand in `TAG` of what is sent on; None leaves it as it is.
        """
        if parent is None:
            if turn.random.random() >= self._sample:
                return NOT_CHOSEN
            trace, above = f"{turn.random.getrandbits(128) or 1:032x}", ""
        elif _CONTEXT.fullmatch(parent) is None:
            return None
        else:
            trace, above = parent[:32], parent[32:]
        span = f"{turn.random.getrandbits(64) or 1:016x}"
        turn.parts.append(Beginning(key, Part(name, trace, span, above, turn.now, attributes)))
        return trace + span

    def go_on(self, turn: Turn, key: str, name: str, parent: str | None, attributes: Attributes) -> str | None:
        """Begin a part that comes after a payment's request, such as its reversal; as `begin`, but it is never first.

        Of a payment of which no trace is known, since nobody follows it or a process has forgotten it, there is none.
        """
        return None if parent is None else self.begin(turn, key, name, parent, attributes)

    def end(self, turn: Turn, key: str, response_code: str | None, attributes: Attributes | None = None) -> None:
        """End the part under `key`, if there is one."""
        turn.parts.append(Ending(key, response_code, attributes or {}))

    def brief(
        self, turn: Turn, name: str, parent: str | None, attributes: Attributes, response_code: str | None
    ) -> None:
        """A part that begins and ends in this turn: nothing is sent on."""
        self.begin(turn, "", name, parent, attributes)
        self.end(turn, "", response_code)

    def context_of(self, turn: Turn, key: str) -> str | None:
        """What belongs in `TAG` of all that comes after the part under `key`, which may be over.

        None where there was none, or it has been forgotten: `OPEN_LIMIT` are remembered, and none by the next process.
        """
        for one in reversed(turn.parts):
            if isinstance(one, Beginning) and one.key == key:
                return one.part.trace + one.part.span
        part = self._open.get(key)
        return self._ended.get(key) if part is None else part.trace + part.span

    def trace_of(self, key: str) -> str | None:
        """The trace of the part that is open under `key`."""
        part = self._open.get(key)
        return None if part is None else part.trace

    def committed(self, turn: Turn, now: Instant) -> None:
        """Take over what a turn said: it is committed, and what it sends leaves at `now`."""
        for one in turn.parts:
            if isinstance(one, Beginning):
                self._open[one.key] = one.part
                if len(self._open) > OPEN_LIMIT:
                    del self._open[next(iter(self._open))]
            elif (part := self._open.pop(one.key, None)) is not None:
                self._ended[one.key] = part.trace + part.span
                if len(self._ended) > OPEN_LIMIT:
                    del self._ended[next(iter(self._ended))]
                part = part._replace(attributes={**part.attributes, **one.attributes})
                self._export(Ended(part, now, one.response_code))


def context_in(element: Value | None) -> str | None:
    """What stands in `TAG` of DE59; None where there is none, or the element is malformed."""
    if not isinstance(element, str) or TAG not in element:
        return None
    try:
        return decode_objects(element).get(TAG)
    except AdditionalDataError:
        return None


def with_context(element: Value | None, context: str | None) -> Value | None:
    """DE59 with `context` in `TAG`, all else as it was; unchanged where that cannot be, or `context` is None."""
    if context is None or isinstance(element, bytes):
        return element
    try:
        objects = decode_objects(element or "")
        text = encode_objects({**objects, TAG: context})
    except AdditionalDataError:
        return element
    return text if len(text.encode()) <= LONGEST_ELEMENT else element


def attributes_of_row(mti: str, *, stan: str, terminal: str, amount: int, **others: str) -> dict[str, str | int]:
    """As `attributes_of`, of a payment that is known from its row; `others` by their names, such as ``rrn``."""
    told: dict[str, str | int] = {
        "fourparty.mti": mti,
        "fourparty.stan": stan,
        "fourparty.terminal": terminal,
        "fourparty.amount_fen": amount,
    }
    return {**told, **{f"fourparty.{name}": value for name, value in others.items()}}


def attributes_of(fields: Mapping[int, Value], mti: str) -> dict[str, str | int]:
    """What a request says of itself that may be shown: its type, terminal, merchant, numbers and amount."""
    found: dict[str, str | int] = {"fourparty.mti": mti}
    for element, name in ((11, "stan"), (37, "rrn"), (41, "terminal"), (42, "merchant"), (22, "entry_mode")):
        value = fields.get(element)
        if isinstance(value, str):
            found[f"fourparty.{name}"] = value
    amount = fields.get(4)
    if isinstance(amount, str) and amount.isascii() and amount.isdigit():
        found["fourparty.amount_fen"] = int(amount)
    return found
