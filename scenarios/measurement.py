"""What a run counts while it lasts: payments, their outcomes and durations, slice by slice.

Recording is a few increments a payment; percentiles and histograms are made when asked. What several generators
counted is added up exactly: counters as numbers, durations as encoded HdrHistograms.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from network.durations import Durations
from network.party import Json
from scenarios.result import Interval, WayFigures

SLICES: Final = 120
"""A timeline has at most so many slices, unless the run takes longer than planned."""

NOBODY_TO_ASK: Final = frozenset(("91", "98"))
"""Response codes that are given for an issuer who cannot be reached, or does not answer."""

KINDS_OF_ERRORS: Final = 50
"""Kinds of errors that are told apart; the rest are one kind."""

HEAT_BITS: Final = 3
"""Latencies of a heat map's class have so many leading bits in common: four classes an octave."""

Receipt: TypeAlias = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Ended:
    """A payment that has ended. Times in seconds of the run, durations in microseconds without human time.

    Attributes
    ----------
    at, due : float
        When it ended and when it was due.
    response, service, lag : int
        From when it was due to its end, from when it was sent to its end, and between being due and sent.
    """

    at: float
    due: float
    response: int
    service: int
    lag: int
    receipt: Receipt
    way: str


@dataclass(slots=True)
class Slice:
    """A slice of the run."""

    due: int = 0
    attempts: int = 0
    approved: int = 0
    declined: int = 0
    failed: int = 0
    reversals: int = 0
    timeouts: int = 0
    stand_in: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latency: Durations = field(default_factory=Durations)
    lag: Durations = field(default_factory=Durations)


_SLICE_NUMBERS: Final = ("due", "attempts", "approved", "declined", "failed", "reversals", "timeouts", "stand_in")
_NUMBERS: Final = (
    *("attempts", "approved", "amount", "unanswered", "timeouts", "stand_in", "warm_up"),
    *("due", "sent", "not_sent", "longest_queue"),
)
_HISTOGRAMS: Final = ("latency", "service", "lag", "pacing")


@dataclass(slots=True)
class ErrorKind:
    """A kind of error: how often, and when first, in seconds of the run."""

    count: int
    first_at: float


class Measurement:
    """Takes what happens in a run.

    Parameters
    ----------
    duration : float
        Planned length of the run, in seconds.

    Attributes
    ----------
    attempts, approved, amount, unanswered, declined, refused
        Payments by their outcomes, amounts in fen.
    due, sent, not_sent : int
        Payments that were planned, sent, and given up because too many waited already.
    longest_queue : int
        Most payments that were due and waited for a free terminal.
    warm_up : int
        Payments that ended and do not count, because they were due before the run's time zero.
    latency, service, lag : Durations
        Of payments from due to end, from sending to end, and from due to sending.
    told : list
        Who is told of every payment that counts, when it has ended.
    pacing : Durations
        How late payments were sent that had a free terminal: the generator's own lateness.
    """

    def __init__(self, duration: float) -> None:
        self.attempts = 0
        self.approved = 0
        self.amount = 0
        self.unanswered = 0
        self.timeouts = 0
        self.stand_in = 0
        self.warm_up = 0
        self.due = 0
        self.sent = 0
        self.not_sent = 0
        self.longest_queue = 0
        self.declined: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.errors: dict[str, ErrorKind] = {}
        self.latency = Durations()
        self.service = Durations()
        self.lag = Durations()
        self.pacing = Durations()
        self.length = max(1.0, float(math.ceil(duration / SLICES)))
        self.told: list[Callable[[Ended], None]] = []
        self._slices: dict[int, Slice] = {}
        self._ways: dict[str, tuple[Counter[str], Durations]] = {}

    def planned(self, due: float) -> None:
        """Count a payment that is due at `due` seconds of the run."""
        if due >= 0:
            self.due += 1
            self._slice(due).due += 1

    def gave_up(self, due: float) -> None:
        """Count a payment that was due and is not sent."""
        if due >= 0:
            self.not_sent += 1

    def waiting(self, payments: int) -> None:
        """Take note of how many payments wait for a terminal."""
        self.longest_queue = max(self.longest_queue, payments)

    def began(self, due: float, lag: int, pacing: int) -> None:
        """Count a planned payment that is sent `lag` us after it was due, `pacing` us after that was possible."""
        if due >= 0:
            self.sent += 1
            self.lag.record(lag)
            self.pacing.record(pacing)
            self._slice(due).lag.record(lag)

    def record(self, ended: Ended) -> None:
        """Count a payment that has ended."""
        if ended.due < 0:
            self.warm_up += 1
            return
        receipt, response = ended.receipt, ended.response
        outcome, code = receipt["outcome"], receipt.get("response_code")
        self.attempts += 1
        self._record_way(ended)
        part = self._slice(ended.at)
        part.attempts += 1
        if outcome == "refused":
            reason = str(receipt.get("reason"))
            self.refused[reason] += 1
            part.failed += 1
            self._error(f"refused: {reason}", ended.at)
        else:
            self.latency.record(response)
            self.service.record(ended.service)
            part.latency.record(response)
            if code is not None:
                part.codes[str(code)] += 1
            self._decided(ended, part, outcome, code)
        for told in self.told:
            told(ended)

    def _decided(self, ended: Ended, part: Slice, outcome: Json, code: Json) -> None:
        if code in NOBODY_TO_ASK:
            self.stand_in += 1
            part.stand_in += 1
        if outcome == "approved":
            self.approved += 1
            part.approved += 1
            amount = ended.receipt["amount"]
            self.amount += amount if isinstance(amount, int) else 0
        elif outcome == "declined":
            self.declined[str(code)] += 1
            part.declined += 1
            self._error(f"declined {code}", ended.at)
        else:
            self.unanswered += 1
            part.failed += 1
            part.reversals += 1
            if code is None:
                self.timeouts += 1
                part.timeouts += 1
            self._error("no answer" if code is None else f"undecided {code}", ended.at)

    def _error(self, kind: str, at: float) -> None:
        known = self.errors.get(kind)
        if known is None:
            if len(self.errors) >= KINDS_OF_ERRORS:
                kind = "other"
            known = self.errors.setdefault(kind, ErrorKind(0, at))
        known.count += 1
        known.first_at = min(known.first_at, at)

    def _record_way(self, ended: Ended) -> None:
        counts, latencies = self._ways.setdefault(ended.way, (Counter(), Durations()))
        counts["attempts"] += 1
        if ended.receipt["outcome"] == "approved":
            counts["approved"] += 1
            counts["offline"] += ended.receipt["offline"] is True
        if ended.receipt["outcome"] != "refused":
            latencies.record(ended.response)

    def _slice(self, at: float) -> Slice:
        index = int(at // self.length)
        part = self._slices.get(index)
        if part is None:
            part = self._slices[index] = Slice()
        return part

    def ways(self) -> dict[str, WayFigures]:
        """How it went in each way that somebody paid in."""
        return {
            way: WayFigures(counts["attempts"], counts["approved"], counts["offline"], latencies.summary())
            for way, (counts, latencies) in self._ways.items()
        }

    def timeline(self) -> list[Interval]:
        """The run in slices, those without an event too."""
        if not self._slices:
            return []
        return [self._interval(index) for index in range(max(self._slices) + 1)]

    def _interval(self, index: int) -> Interval:
        part = self._slices.get(index) or Slice()
        return Interval(
            start=index * self.length,
            length=self.length,
            attempts=part.attempts,
            approved=part.approved,
            declined=part.declined,
            failed=part.failed,
            latency=part.latency.summary(),
            due=part.due,
            codes=dict(sorted(part.codes.items())),
            reversals=part.reversals,
            timeouts=part.timeouts,
            stand_in=part.stand_in,
            lag=part.lag.summary() if part.lag.counts else None,
            heat={str(lowest): times for lowest, times in sorted(heat(part.latency).items())},
        )

    def histograms(self) -> dict[str, str]:
        """The durations of planned payments as `Result.histograms` has them; empty where none was planned."""
        if not self.due:
            return {}
        return {
            "response": self.latency.encoded(),
            "service": self.service.encoded(),
            "lag": self.lag.encoded(),
        }

    def add(self, other: Measurement) -> None:
        """Count what another generator counted in the same run.

        Raises
        ------
        ValueError
            The slices of the other are of another length.
        """
        if other.length != self.length:
            raise ValueError("the measurements are of runs of different lengths")
        for name in _NUMBERS:
            one, two = getattr(self, name), getattr(other, name)
            setattr(self, name, max(one, two) if name == "longest_queue" else one + two)
        self.declined.update(other.declined)
        self.refused.update(other.refused)
        for name in _HISTOGRAMS:
            getattr(self, name).add(getattr(other, name).counts)
        for kind, error in other.errors.items():
            known = self.errors.setdefault(kind, ErrorKind(0, error.first_at))
            known.count += error.count
            known.first_at = min(known.first_at, error.first_at)
        for index, theirs in other._slices.items():
            ours = self._slices.setdefault(index, Slice())
            for name in _SLICE_NUMBERS:
                setattr(ours, name, getattr(ours, name) + getattr(theirs, name))
            ours.codes.update(theirs.codes)
            ours.latency.add(theirs.latency.counts)
            ours.lag.add(theirs.lag.counts)
        for way, (counts, latencies) in other._ways.items():
            known_counts, known_latencies = self._ways.setdefault(way, (Counter(), Durations()))
            known_counts.update(counts)
            known_latencies.add(latencies.counts)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data, for another process; durations of the whole run as encoded HdrHistograms."""
        return {
            "length": self.length,
            **{name: getattr(self, name) for name in _NUMBERS},
            **{name: getattr(self, name).encoded() for name in _HISTOGRAMS},
            "declined": dict(self.declined),
            "refused": dict(self.refused),
            "errors": {kind: [error.count, error.first_at] for kind, error in self.errors.items()},
            "slices": {
                str(index): {
                    **{name: getattr(part, name) for name in _SLICE_NUMBERS},
                    "codes": dict(part.codes),
                    "latency": _plain(part.latency),
                    "lag": _plain(part.lag),
                }
                for index, part in self._slices.items()
            },
            "ways": {
                way: {"counts": dict(counts), "latency": latencies.encoded()}
                for way, (counts, latencies) in self._ways.items()
            },
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Measurement:
        """What `as_json` gave.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is something else.
        """
        read = cls(1.0)
        read.length = float(plain["length"])
        for name in _NUMBERS:
            setattr(read, name, int(plain[name]))
        for name in _HISTOGRAMS:
            setattr(read, name, Durations.decoded(plain[name]))
        read.declined = Counter(plain["declined"])
        read.refused = Counter(plain["refused"])
        read.errors = {kind: ErrorKind(int(count), float(at)) for kind, (count, at) in plain["errors"].items()}
        for index, part in plain["slices"].items():
            read._slices[int(index)] = Slice(
                **{name: int(part[name]) for name in _SLICE_NUMBERS},
                codes=Counter(part["codes"]),
                latency=_durations(part["latency"]),
                lag=_durations(part["lag"]),
            )
        for way, one in plain["ways"].items():
            read._ways[way] = (Counter(one["counts"]), Durations.decoded(one["latency"]))
        return read


def _plain(durations: Durations) -> dict[str, int]:
    return {str(microseconds): times for microseconds, times in sorted(durations.counts.items())}


def _durations(plain: Mapping[str, int]) -> Durations:
    return Durations({int(microseconds): int(times) for microseconds, times in plain.items()})


def heat(durations: Durations) -> dict[int, int]:
    """Durations in classes, four an octave: the lowest of each class, in microseconds, to how many are in it."""
    classes: dict[int, int] = {}
    for microseconds, times in durations.counts.items():
        shift = max(0, microseconds.bit_length() - HEAT_BITS)
        lowest = microseconds >> shift << shift
        classes[lowest] = classes.get(lowest, 0) + times
    return classes
