"""What a run measured: attempts and their outcomes, durations, and whether the books agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from network.durations import Summary

PARTIES = ("merchant_device", "acquirer", "switch", "issuer")
"""In the order in which a payment passes them."""

WAYS = {
    "card": "card",
    "phone": "payer's phone",
    "merchant_code": "merchant's code",
    "payer_code": "payer's code",
}
"""The ways of paying, for people, in the order in which they are shown."""


@dataclass(frozen=True)
class Books:
    """The three books side by side, in fen.

    Attributes
    ----------
    agree : bool
        Every positions' amount is the same, no book is out of balance, and `problems` is empty.
    positions : dict
        Name of a position (such as ``switch: member acquirer``) to the net amount that it says moved.
    imbalance : dict
        Party to the sum of its debits less its credits: zero.
    transfers : dict
        Party to the number of its transfers.
    problems : list of str
        What does not agree, in words.
    """

    agree: bool
    positions: dict[str, int]
    imbalance: dict[str, int]
    transfers: dict[str, int]
    problems: list[str]


@dataclass(frozen=True)
class Interval:
    """A slice of the run: when it began (seconds of the run), what ended in it, and its latency.

    Attributes
    ----------
    due : int
        Payments that were due in it, whether they have ended or not; zero where nobody planned them.
    codes : dict
        Response codes (DE39) to how many payments ended with them, 00 among them.
    reversals, timeouts, stand_in : int
        Reversals that began in it, payments that nobody answered in time, and payments that were answered for an
        issuer who could not be reached or did not answer (91, 98).
    lag : Summary or None
        How late the generators were, in microseconds from a payment's due time to its sending.
    heat : dict
        Lower bound of a class of latencies, in microseconds (as text, since JSON's keys are), to its payments.
    """

    start: float
    length: float
    attempts: int
    approved: int
    declined: int
    failed: int
    latency: Summary
    due: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    reversals: int = 0
    timeouts: int = 0
    stand_in: int = 0
    lag: Summary | None = None
    heat: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class WayFigures:
    """How payments in one way went; `offline` are those among the approved that the card itself approved."""

    attempts: int
    approved: int
    offline: int
    latency: Summary


@dataclass(frozen=True)
class Threshold:
    """A service-level objective and whether it was met.

    Attributes
    ----------
    text : str
        As it was given, such as ``p99<200ms``.
    metric : str
        What it is about, such as ``p99``.
    limit : float
        In the metric's unit: microseconds of latencies, a part of one of shares, payments a second of rates.
    actual : float or None
        What was measured; None where nothing was, and then it is not met.
    """

    text: str
    metric: str
    limit: float
    actual: float | None
    met: bool


@dataclass(frozen=True)
class Load:
    """How payments were generated, and whether the generators did what they were told.

    Attributes
    ----------
    mode : str
        ``open``: payments are due at times that do not depend on the answers; ``closed``: each terminal pays again
        when it has its answer.
    shape : str
        For people: ``constant 300/s``, ``step 100/s, 200/s, 300/s``, ``32 terminals``.
    rate : float
        Payments a second that were due on average in the time that counts; zero in closed loop.
    terminals, generators : int
        Terminals that took payments and processes that hosted them.
    warm_up : float
        Seconds at the beginning that do not count.
    due, sent : int
        Payments that were due in the time that counts, and those of them that were sent.
    lag : Summary
        Microseconds from a payment's due time to its sending.
    service : Summary
        Microseconds from a payment's sending to its end: what a closed loop would have called its latency.
    valid : bool
        The generators kept up.
    problems : list of str
        Why the run is not valid.
    """

    mode: str
    shape: str
    rate: float
    terminals: int
    generators: int
    warm_up: float
    due: int
    sent: int
    lag: Summary
    service: Summary
    valid: bool
    problems: list[str]


@dataclass(frozen=True)
class FaultWindow:
    """A time in which something was broken on purpose, in seconds of the run."""

    start: float
    end: float
    what: str


@dataclass(frozen=True)
class Leg:
    """A part of a payment's way, in the order in which it is passed: a party's work or what is between two parties.

    `name` is such as ``acquirer: request`` or ``acquirer -> switch``; its latency comes from sampled payments.
    """

    name: str
    latency: Summary


@dataclass(frozen=True)
class TraceLine:
    """A message of a traced payment: `at` in seconds since the payment's first, its description masked."""

    at: float
    hop: str
    mti: str
    length: int
    description: str


@dataclass(frozen=True)
class ErrorSample:
    """A kind of error, how often it happened, and one payment that ended so, message by message.

    `kind` is such as ``declined 91`` or ``no answer``; `first_at` in seconds of the run; `trace` is empty where no
    message of the payment was still remembered.
    """

    kind: str
    count: int
    first_at: float
    trace: list[TraceLine]


@dataclass(frozen=True)
class Result:
    """The result of one run of a scenario. Times in seconds, latencies in microseconds, amounts in fen.

    `duration` is how long the run took until its last payment ended, `parties` the time from a message's arrival at a
    party to the end of the turn that decided it (several messages a payment). `environment` tells phones, command and
    version, of live runs machine and clock too: the result of a virtual run depends on nothing but the scenario, its
    settings and the seed. `ways` holds those of `WAYS` that somebody paid in.

    Of a load run `load` tells how payments were generated, and everything counts only what was due after the warm-up.
    `histograms` are HdrHistograms (version 2, compressed, base64) of microseconds by name: ``response`` from when a
    payment was due, ``service`` from when it was sent, ``lag`` between the two. `timeouts` are payments that nobody
    answered in time, `stand_in` those that were answered for an issuer who could not be reached or did not answer.
    """

    scenario: str
    title: str
    runtime: str
    seed: int
    duration: float
    started_at: str
    attempts: int
    approved: int
    declined: dict[str, int]
    unanswered: int
    refused: dict[str, int]
    reversals: int
    amount: int
    throughput: float
    end_to_end: Summary
    parties: dict[str, Summary]
    timeline: list[Interval]
    books: Books
    environment: dict[str, str] = field(default_factory=dict)
    ways: dict[str, WayFigures] = field(default_factory=dict)
    load: Load | None = None
    thresholds: list[Threshold] = field(default_factory=list)
    histograms: dict[str, str] = field(default_factory=dict)
    legs: list[Leg] = field(default_factory=list)
    errors: list[ErrorSample] = field(default_factory=list)
    faults: list[FaultWindow] = field(default_factory=list)
    timeouts: int = 0
    stand_in: int = 0

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)

    def by_way(self) -> list[tuple[str, WayFigures]]:
        """The ways of paying by their names for people, in the order of `WAYS`; empty where there was only one."""
        if len(self.ways) < 2:
            return []
        known = [way for way in WAYS if way in self.ways]
        return [(WAYS.get(way, way), self.ways[way]) for way in [*known, *sorted(self.ways.keys() - WAYS.keys())]]
