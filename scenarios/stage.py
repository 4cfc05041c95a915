"""The stage a scenario plays on: phones, cards and shoppers' hands, the same in live and in virtual time.

A scenario is a function of a `Stage`; it starts simpy processes and lets phones collect payments. It never asks
which runtime it is in: in virtual time the stage's environment is the whole world's, live it is stepped from the
event loop (`scenarios.worlds.real_time`), and either way a payment is a simpy event whose value is its receipt.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import simpy

from network.party import CommandError, Endpoint, Instant, Json
from scenarios.faults import Faults
from scenarios.measurement import Ended, Measurement

if TYPE_CHECKING:
    from scenarios.load.demand import Demand
    from scenarios.load.shapes import Shape

Answered: TypeAlias = "Callable[[Json | CommandError], None]"
Process: TypeAlias = Generator[simpy.Event, Any, Any]
Receipt: TypeAlias = "dict[str, Json]"

TAP_SECONDS = 0.015
"""Time a contactless card takes for one command, in virtual time; a real card over a real reader takes its own."""

HOLD_AGAIN_SECONDS = 0.8
"""Time a shopper takes to hold a card to the phone again."""


class ScenarioFailed(Exception):
    """Something happened in a scenario that must not happen; says what."""


class Unreachable(CommandError):
    """Nobody answered: what became of the question nobody knows."""


class Host(Protocol):
    """What hosts the phones: a node of the virtual network or a live runtime."""

    def command(self, name: str, arguments: dict[str, Json], answered: Answered) -> None:
        """Give the phones' party a command."""

    def attach(self, link: str, endpoint: Endpoint) -> None:
        """Put something at the end of a local link."""

    def detach(self, link: str) -> None:
        """Take it away."""


class Chip(Protocol):
    """A card as a reader sees it."""

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU."""

    def reset(self) -> None:
        """Be out of the field: the session is forgotten."""


class Office(Protocol):
    """A party's office: what Apps and operators ask of it."""

    def ask(self, operation: str, arguments: Mapping[str, Json], answered: Answered) -> None:
        """Ask for something; `answered` is called with the answer, or with the error that says why not."""


class Lines(Protocol):
    """The phones' lines to their acquirer."""

    def connect(self, terminal_id: str) -> None:
        """Bring up the links of a phone that has become a terminal."""

    def break_line(self, terminal_id: str, seconds: float) -> None:
        """Break a phone's link to its acquirer; it comes up again, after `seconds` at the latest in virtual time."""


class Timing(Protocol):
    """How the stage's time passes."""

    env: simpy.Environment

    def clock(self) -> float:
        """What time it is in the environment's units, also while it is behind."""

    def trigger(self, event: simpy.Event, value: Any) -> None:
        """Let an event happen now, from outside the simulation."""

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""

    def spawn(self, process: Process) -> simpy.Process:
        """Start a process now, from outside the simulation."""


@dataclass
class Card:
    """A card in somebody's hand, with the PIN its holder knows, and the party that issued it."""

    chip: Chip = field(repr=False)
    pin: str = field(repr=False)
    name: str
    pan: str = field(repr=False, default="")
    issuer: str = "issuer"


@dataclass
class Phone:
    """A merchant's phone."""

    stage: Stage = field(repr=False)
    terminal_id: str
    is_busy: bool = False
    busy_since: float = 0.0

    def collect(self, fen: int, card: Card, *, pin: str | None = None, typing: float = 0.0) -> simpy.Process:
        """Take a payment of `fen` with `card`; the event's value is the receipt.

        Parameters
        ----------
        pin
            What the shopper types: by default the right one.
        typing
            Seconds the shopper takes over it. They do not count as latency.
        """
        return self.stage.env.process(self.pay("sale", {"amount": fen}, Hand(self.stage, card, pin, typing)))

    def balance(self, card: Card, *, typing: float = 0.0) -> simpy.Process:
        """Ask for the card's balance; the event's value is the receipt."""
        return self.stage.env.process(self.pay("balance", {}, Hand(self.stage, card, None, typing)))

    def pay(
        self,
        name: str,
        arguments: dict[str, Json],
        payer: Payer,
        *,
        due: float | None = None,
        planned: float | None = None,
    ) -> Process:
        """Give the phone a command that a payer takes part in, and wait for its receipt.

        Parameters
        ----------
        name : str
            ``sale`` or ``balance``.
        arguments : dict
            Of the command, but for ``terminal``.
        payer : Payer
            What is held to the phone, typed on it, shown to its camera, or looks at its screen.
        due : float or None
            From when it is timed, in the environment's time; by default from now.
        planned : float or None
            When it was planned for, in seconds of the run; by default when it was due.
        """
        stage = self.stage
        if self.is_busy:
            raise RuntimeError(f"phone {self.terminal_id} takes one payment at a time: wait for the last one's receipt")
        self.is_busy = True
        done = stage.env.event()
        endpoints = payer.endpoints()
        for kind, endpoint in endpoints.items():
            stage.host.attach(f"{kind}:{self.terminal_id}", endpoint)
        self.busy_since = sent = stage.timing.clock()
        due = sent if due is None else due
        stage.host.command(
            name, {"terminal": self.terminal_id, **arguments}, lambda result: stage.timing.trigger(done, result)
        )
        result = yield done
        for kind in endpoints:
            stage.host.detach(f"{kind}:{self.terminal_id}")
        self.is_busy = False
        receipt = _receipt(result, self.terminal_id, arguments.get("amount", 0))
        if name == "sale":
            stage.record(receipt, payer.way, due=due, sent=sent, human=payer.human_seconds, planned=planned)
        stage.receipts.append(receipt) if stage.keeps_receipts else None
        return receipt


class Payer(Protocol):
    """Who pays, as a phone meets them.

    Attributes
    ----------
    way : str
        How they pay: a key of `scenarios.result.WAYS`.
    human_seconds : float
        What of a payment's time was theirs and does not count as latency.
    """

    way: str
    human_seconds: float

    def endpoints(self) -> dict[str, Endpoint]:
        """What is at the phone's local links during the payment, by kind of link (``reader``, ``pinpad``, ...)."""
        ...


class Hand:
    """A shopper's hand: holds a card to the phone and types its PIN.

    A card that has left the field (an empty answer) is held there again when the phone asks for one.
    """

    way = "card"

    def __init__(self, stage: Stage, card: Card, pin: str | None = None, typing: float = 0.0) -> None:
        self.human_seconds = 0.0
        self._stage = stage
        self._chip = card.chip
        self._pin = card.pin if pin is None else pin
        self._typing = typing
        self._is_gone = False

    def endpoints(self) -> dict[str, Endpoint]:
        """See `Payer`."""
        return {"reader": self._reader, "pinpad": self._pin_pad}

    def _reader(self, apdu: bytes, reply: Callable[[bytes], None]) -> None:
        stage = self._stage
        if self._is_gone:
            self._is_gone = False
            self._chip.reset()
            self.human_seconds += stage.hold_again_seconds
            stage.timing.after(stage.hold_again_seconds, lambda: self._reader(apdu, reply))
            return
        response = self._chip.transmit(apdu)
        self._is_gone = not response
        if stage.tap_seconds:
            stage.timing.after(stage.tap_seconds, lambda: reply(response))
        else:
            reply(response)

    def _pin_pad(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        answer = pin_pad_answer(request, self._pin)
        if answer is None:
            return
        self.human_seconds += self._typing
        if self._typing:
            self._stage.timing.after(self._typing, lambda: reply(answer))
        else:
            reply(answer)


def microseconds(seconds: float) -> int:
    """A duration as it is measured: whole microseconds, none below zero."""
    return max(0, round(seconds * 1_000_000))


def positions_of(pin: str, layout: str) -> list[int]:
    """Which keys spell `pin` on a pad whose keys bear the digits of `layout` in their order."""
    return [layout.index(digit) for digit in pin]


def pin_pad_answer(request: bytes, pin: str) -> bytes | None:
    """What a PIN pad answers when somebody types `pin` on it, or gives up (empty); None where none is asked for."""
    asked = json.loads(request)
    if asked["request"] != "pin":
        return None
    answer = {"positions": positions_of(pin, asked["layout"])} if pin else {"cancelled": True}
    return json.dumps({"entry": asked["entry"], **answer}).encode()


def _receipt(result: Json | CommandError, terminal_id: str, fen: Json) -> Receipt:
    if isinstance(result, CommandError):
        return {"outcome": "refused", "reason": str(result), "terminal": terminal_id, "amount": fen}
    return typing.cast(Receipt, result)


@dataclass
class Stage:
    """What a scenario sees.

    Attributes
    ----------
    env : simpy.Environment
        Its time unit is a second.
    random : Random
        The scenario's only randomness, drawn from the run's seed.
    phones, cards
        What there is to play with.
    offices
        By party: where Apps and operators ask for things.
    lines : Lines or None
        The phones' lines to their acquirer.
    devices
        Ids of phones that came from their maker and are nobody's terminal yet.
    secrets : Random
        Where the keys of payers' phones come from.
    now
        Tells the instant it is.
    duration : float
        How long the run lasts, in seconds; a scenario ends by itself at that time.
    started : float
        The environment's time at which the run's time is zero; what is due before warms up and does not count.
    demand : Demand or None
        How payments are to come to be due; None: as the scenario usually does it.
    usual : callable or None
        The shape of load that the scenario's cast calls usual.
    breaker : Faults or None
        See `faults`.
    """

    timing: Timing = field(repr=False)
    host: Host = field(repr=False)
    random: Random = field(repr=False)
    duration: float
    measurement: Measurement = field(repr=False)
    cards: Sequence[Card] = field(repr=False, default=())
    phones: Sequence[Phone] = field(repr=False, default=())
    offices: Mapping[str, Office] = field(repr=False, default_factory=dict)
    lines: Lines | None = field(repr=False, default=None)
    devices: Sequence[str] = ()
    secrets: Random = field(repr=False, default_factory=SystemRandom)
    now: Callable[[], Instant] = field(repr=False, default=lambda: 0)
    tap_seconds: float = 0.0
    hold_again_seconds: float = HOLD_AGAIN_SECONDS
    started: float = 0.0
    demand: Demand | None = None
    usual: Callable[[float], Shape] | None = field(repr=False, default=None)
    breaker: Faults | None = field(repr=False, default=None)
    keeps_receipts: bool = False
    receipts: list[Receipt] = field(repr=False, default_factory=list)

    def ask(self, party: str, operation: str, arguments: Mapping[str, Json]) -> simpy.Event:
        """Ask something of a party's office; the event's value is the answer, or the `CommandError` that refuses."""
        done = self.env.event()
        self.offices[party].ask(operation, arguments, lambda result: self.timing.trigger(done, result))
        return done

    @property
    def faults(self) -> Faults:
        """What may be broken.

        Raises
        ------
        ScenarioFailed
            The scenario has not said that it breaks anything.
        """
        if self.breaker is None:
            raise ScenarioFailed("nothing may be broken in this run: say in the scenario's cast what it breaks")
        return self.breaker

    def record(
        self, receipt: Receipt, way: str, *, due: float, sent: float, human: float = 0.0, planned: float | None = None
    ) -> None:
        """Count a payment that ends now.

        Parameters
        ----------
        due, sent : float
            When it was due and when it was sent, in the environment's time.
        human : float
            Seconds of it that were somebody's who pays, and count as nobody's latency.
        planned : float or None
            When it was planned for, in seconds of the run; by default when it was due.
        """
        ended = self.timing.clock()
        self.measurement.record(
            Ended(
                at=ended - self.started,
                due=due - self.started if planned is None else planned,
                response=microseconds(ended - due - human),
                service=microseconds(ended - sent - human),
                lag=microseconds(sent - due),
                receipt=receipt,
                way=way,
            )
        )

    def until(self, seconds: float) -> simpy.Event:
        """The moment at which so many seconds of the run are over; now, where they are."""
        return self.env.timeout(max(0.0, self.started + seconds - self.env.now))

    @property
    def env(self) -> simpy.Environment:
        """The simulation's environment."""
        return self.timing.env

    @property
    def is_open(self) -> bool:
        """Whether the run's time is not over."""
        return self.env.now - self.started < self.duration


@dataclass(frozen=True)
class Cast:
    """Who and what a scenario needs, beyond what the command line says.

    Attributes
    ----------
    phones : int or None
        Phones that are terminals from the start; None: as many as the command line says.
    devices : int
        Phones that come from their maker and are not terminals yet.
    cards : int or None
        Debit cards in the purses; None: as many as there usually are.
    products : tuple of str
        Further cards, by the names of their products (`issuer.card_profiles.PROFILES`).
    till : mapping
        What of the phones' configuration is otherwise than usual.
    sound_cards : bool
        Cards that would be declined (lost, blocked, poor) stay at home.
    usual : callable or None
        Of a scenario that takes a load: the shape of its load in a run of so many seconds, unless it is told another.
    breaks : tuple of str
        Parties and links that the scenario breaks (`scenarios.faults`); it needs a network of its own then.
    """

    phones: int | None = None
    devices: int = 0
    cards: int | None = None
    products: tuple[str, ...] = ()
    till: Mapping[str, Json] = field(default_factory=dict)
    sound_cards: bool = False
    usual: Callable[[float], Shape] | None = None
    breaks: tuple[str, ...] = ()


def cast(needs: Cast) -> Callable[[Scenario], Scenario]:
    """Say what a scenario needs: a decorator."""

    def named(scenario: Scenario) -> Scenario:
        scenario.__dict__["cast"] = needs
        return scenario

    return named


def cast_of(scenario: Scenario) -> Cast:
    """What a scenario has said that it needs."""
    needs = getattr(scenario, "cast", None)
    return needs if isinstance(needs, Cast) else Cast()


Scenario: TypeAlias = Callable[[Stage], Process]
"""A scenario: a simpy process that ends when the run is over. Its docstring's first line is its title."""
