"""Where a payment's time goes, and what went wrong: messages of sampled payments, from what the parties remember.

A payment is followed over all four parties by its terminal: a phone takes one payment at a time, so between its sending
and its end every 0200 and 0210 of that terminal is this payment's. The clocks are one: on one machine, or the simulated
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, NamedTuple

from network.durations import Durations
from network.party import SECOND, Instant, Json
from scenarios.demo_network.members import issuers_among
from scenarios.measurement import Ended
from scenarios.result import ErrorSample, Leg, TraceLine

SAMPLES: Final = 200
"""A run has about so many samples, at most one a quarter of a second."""

LEAST_GAP: Final = 0.25
SLACK: Final = 2_000
"""Microseconds around a payment in which its messages are looked for."""

KINDS: Final = 20
LINES: Final = 40
"""Kinds of errors that are traced, and messages of a trace."""

MESSAGES: Final = 100

_WAY: Final = (
    ("merchant_device", False, "0200", "merchant_device: card and PIN"),
    ("acquirer", True, "0200", "merchant_device -> acquirer"),
    ("acquirer", False, "0200", "acquirer: request"),
    ("switch", True, "0200", "acquirer -> switch"),
    ("switch", False, "0200", "switch: request"),
    ("issuer", True, "0200", "switch -> issuer"),
    ("issuer", False, "0210", "issuer"),
    ("switch", True, "0210", "issuer -> switch"),
    ("switch", False, "0210", "switch: answer"),
    ("acquirer", True, "0210", "switch -> acquirer"),
    ("acquirer", False, "0210", "acquirer: answer"),
    ("merchant_device", True, "0210", "acquirer -> merchant_device"),
)
"""The messages of a sale as its parties see them, and the leg that ends with each."""

_LAST_LEG: Final = "merchant_device: answer"

Asked = Callable[[Instant, str, int], Sequence[Mapping[str, Json]]]
"""Gives a party's last messages since an instant about a terminal, as `network.message_trace.messages_of` does."""


class Told(NamedTuple):
    """A message as a party tells of it."""

    at: Instant
    party: str
    link: str
    incoming: bool
    mti: str
    length: int
    description: str


@dataclass(frozen=True)
class Followed:
    """A payment that is to be followed: its end as it was counted, and when it was sent and ended."""

    ended: Ended
    sent: Instant
    over: Instant
    error: str | None


@dataclass
class Traces:
    """What following payments has brought: durations of legs, and for each kind of error one payment's messages."""

    legs: dict[str, Durations] = field(default_factory=dict)
    errors: dict[str, list[TraceLine]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "legs": {name: durations.encoded() for name, durations in self.legs.items()},
            "errors": {kind: [asdict(line) for line in lines] for kind, lines in self.errors.items()},
        }

    def add(self, plain: Mapping[str, Any]) -> None:
        """Add what another generator's `as_json` gave."""
        for name, text in plain["legs"].items():
            self.legs.setdefault(name, Durations()).add(Durations.decoded(text).counts)
        for kind, lines in plain["errors"].items():
            if not self.errors.get(kind):
                self.errors[kind] = [TraceLine(**line) for line in lines]

    def in_order(self) -> list[Leg]:
        """The legs in the order in which a payment passes them."""
        names = [*(name for *_, name in _WAY), _LAST_LEG]
        return [Leg(name, self.legs[name].summary()) for name in names if name in self.legs]

    def samples(self) -> list[ErrorSample]:
        """The errors' traces; how often each happened others have counted."""
        return [ErrorSample(kind, 0, 0.0, lines) for kind, lines in self.errors.items()]


class Sampler:
    """Chooses the payments that are followed; give `take` to a `scenarios.measurement.Measurement`.

    Parameters
    ----------
    duration : float
        Seconds of the run.
    parts : int
        How many generators sample.
    now : callable
        Tells the instant it is.
    follow : callable
        Follows a payment, or refuses where it has enough to do.
    """

    def __init__(
        self, duration: float, parts: int, now: Callable[[], Instant], follow: Callable[[Followed], bool]
    ) -> None:
        self._gap = max(LEAST_GAP, duration / SAMPLES) * parts
        self._next = 0.0
        self._now = now
        self._follow = follow
        self._seen: set[str] = set()

    def take(self, ended: Ended) -> None:
        """Choose the first of each kind of error, and of all others one now and then."""
        kind = error_kind(ended)
        is_new = kind is not None and kind not in self._seen and len(self._seen) < KINDS
        if not is_new and (kind is not None or ended.at < self._next):
            return
        now = self._now()
        sent = now - ended.service
        if self._follow(Followed(ended, sent, now, kind)):
            if kind is not None:
                self._seen.add(kind)
            else:
                self._next = ended.at + self._gap


def error_kind(ended: Ended) -> str | None:
    """What kind of error a payment ended with that has messages; None of one that was approved."""
    receipt = ended.receipt
    outcome, code = receipt["outcome"], receipt.get("response_code")
    if outcome == "declined":
        return f"declined {code}"
    if outcome == "unknown":
        return "no answer" if code is None else f"undecided {code}"
    return None


def follow(payment: Followed, parties: Mapping[str, Asked], traces: Traces) -> None:
    """Look up a payment's messages at all parties, and add what they tell."""
    terminal = str(payment.ended.receipt["terminal"])
    told = sorted(_messages(parties, payment.sent - SLACK, terminal), key=lambda one: one.at)
    if payment.error is not None:
        traces.errors[payment.error] = _lines(told)
        return
    for name, microseconds in legs_of(told, payment.sent, payment.over):
        traces.legs.setdefault(name, Durations()).record(microseconds)


def legs_of(told: Sequence[Told], sent: Instant, over: Instant) -> list[tuple[str, int]]:
    """How long each leg of a sale took, in microseconds; nothing where a message is missing or came twice."""
    way = [one for one in told if one.mti in ("0200", "0210") and one.at <= over + SLACK]
    if len(way) != len(_WAY):
        return []
    # two ends of a link may have stamped the same microsecond: the order is the way's, not the sorting's
    found = {(_role(one.party), one.incoming, one.mti): one.at for one in way}
    legs, before = [], sent
    for party, incoming, mti, name in _WAY:
        at = found.get((party, incoming, mti))
        if at is None:
            return []
        legs.append((name, max(0, at - before)))
        before = at
    return [*legs, (_LAST_LEG, max(0, over - before))]


def _role(party: str) -> str:
    return "issuer" if issuers_among([party]) else party


def _messages(parties: Mapping[str, Asked], since: Instant, terminal: str) -> Iterable[Told]:
    for party, asked in parties.items():
        for one in asked(since, terminal, MESSAGES):
            if "mti" in one:
                yield Told(
                    int(str(one["at"])),
                    party,
                    str(one["link"]),
                    bool(one["incoming"]),
                    str(one["mti"]),
                    int(str(one["length"])),
                    str(one["description"]),
                )


def _lines(told: Sequence[Told]) -> list[TraceLine]:
    """Each message once, as the party nearest the centre tells of it."""
    central = [one for one in told if one.party == "switch" or (one.party == "acquirer" and one.link != "switch")]
    # what only the phone knows was never heard by the acquirer
    chosen = central or [one for one in told if one.party == "merchant_device"]
    first = chosen[0].at if chosen else 0
    return [
        TraceLine(round((one.at - first) / SECOND, 6), _hop(one), one.mti, one.length, one.description)
        for one in chosen[:LINES]
    ]


def _hop(one: Told) -> str:
    if one.party == "switch":
        near, far = "switch", "issuer" if one.link.startswith("issuer:") else "acquirer"
    elif one.party == "acquirer":
        near, far = "acquirer", "phone"
    else:
        near, far = "phone", "acquirer"
    return f"{far} -> {near}" if one.incoming else f"{near} -> {far}"
