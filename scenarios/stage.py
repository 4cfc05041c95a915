"""The stage a scenario plays on: phones, cards and shoppers' hands, the same in live and in virtual time.

A scenario is a function of a `Stage`; it starts simpy processes and lets phones collect payments. It never asks
which runtime it is in: in virtual time the stage's environment is the whole world's, live it is stepped from the
event loop (`scenarios.real_time`), and either way a payment is a simpy event whose value is its receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, TypeAlias, cast

import simpy

from network.party import CommandError, Endpoint, Json
from scenarios.result import Measurement

Answered: TypeAlias = "Callable[[Json | CommandError], None]"
Process: TypeAlias = Generator[simpy.Event, Any, Any]
Receipt: TypeAlias = "dict[str, Json]"

TAP_SECONDS = 0.015
"""Time a contactless card takes for one command, in virtual time; a real card over a real reader takes its own."""


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


class Timing(Protocol):
    """How the stage's time passes."""

    env: simpy.Environment

    def trigger(self, event: simpy.Event, value: Any) -> None:
        """Let an event happen now, from outside the simulation."""

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later."""


@dataclass
class Card:
    """A card in somebody's hand, with the PIN its holder knows."""

    chip: Chip = field(repr=False)
    pin: str = field(repr=False)
    name: str


@dataclass
class Phone:
    """A merchant's phone."""

    stage: Stage = field(repr=False)
    terminal_id: str
    is_busy: bool = False

    def collect(self, fen: int, card: Card, *, pin: str | None = None, typing: float = 0.0) -> simpy.Process:
        """Take a payment of `fen` with `card`; the event's value is the receipt.

        Parameters
        ----------
        pin
            What the shopper types: by default the right one.
        typing
            Seconds the shopper takes over it. They do not count as latency.
        """
        return self.stage.env.process(self._payment("sale", fen, card, card.pin if pin is None else pin, typing))

    def balance(self, card: Card, *, typing: float = 0.0) -> simpy.Process:
        """Ask for the card's balance; the event's value is the receipt."""
        return self.stage.env.process(self._payment("balance", 0, card, card.pin, typing))

    def _payment(self, name: str, fen: int, card: Card, pin: str, typing: float) -> Process:
        stage = self.stage
        if self.is_busy:
            raise RuntimeError(f"phone {self.terminal_id} takes one payment at a time: wait for the last one's receipt")
        self.is_busy = True
        done = stage.env.event()
        human = 0.0

        def reader(apdu: bytes, reply: Callable[[bytes], None]) -> None:
            response = card.chip.transmit(apdu)
            if stage.tap_seconds:
                stage.timing.after(stage.tap_seconds, lambda: reply(response))
            else:
                reply(response)

        def pin_pad(_: bytes, reply: Callable[[bytes], None]) -> None:
            nonlocal human
            human = typing
            if typing:
                stage.timing.after(typing, lambda: reply(pin.encode()))
            else:
                reply(pin.encode())

        stage.host.attach(f"reader:{self.terminal_id}", reader)
        stage.host.attach(f"pinpad:{self.terminal_id}", pin_pad)
        arguments: dict[str, Json] = {"terminal": self.terminal_id}
        if name == "sale":
            arguments["amount"] = fen
        due = stage.env.now
        stage.host.command(name, arguments, lambda result: stage.timing.trigger(done, result))
        result = yield done
        stage.host.detach(f"reader:{self.terminal_id}")
        stage.host.detach(f"pinpad:{self.terminal_id}")
        self.is_busy = False
        receipt = _receipt(result, self.terminal_id, fen)
        if name == "sale":
            now = stage.env.now
            stage.measurement.record(now - stage.started, max(0, round((now - due - human) * 1_000_000)), receipt)
        stage.receipts.append(receipt) if stage.keeps_receipts else None
        return receipt


def _receipt(result: Json | CommandError, terminal_id: str, fen: int) -> Receipt:
    if isinstance(result, CommandError):
        return {"outcome": "refused", "reason": str(result), "terminal": terminal_id, "amount": fen}
    return cast(Receipt, result)


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
    duration : float
        How long the run lasts, in seconds; a scenario ends by itself at that time.
    """

    timing: Timing = field(repr=False)
    host: Host = field(repr=False)
    random: Random = field(repr=False)
    duration: float
    measurement: Measurement = field(repr=False)
    cards: Sequence[Card] = field(repr=False, default=())
    phones: Sequence[Phone] = field(repr=False, default=())
    tap_seconds: float = 0.0
    started: float = 0.0
    keeps_receipts: bool = False
    receipts: list[Receipt] = field(repr=False, default_factory=list)

    @property
    def env(self) -> simpy.Environment:
        """The simulation's environment."""
        return self.timing.env

    @property
    def is_open(self) -> bool:
        """Whether the run's time is not over."""
        return self.env.now - self.started < self.duration


Scenario: TypeAlias = Callable[[Stage], Process]
"""A scenario: a simpy process that ends when the run is over. Its docstring's first line is its title."""
