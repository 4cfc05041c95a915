"""What is asked of a run: how payments come to be due, and how this process serves its share of them.

A scenario for load says what a payment is and what else happens, `serve` does the rest: in open loop a simpy process
lets payments become due at times that do not depend on the answers; in closed loop each terminal pays again when it has
its answer. A payment that is due takes a terminal and a card that are free; where there is none it waits, and this
counts, since it is timed from when it was due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple

import simpy

from scenarios.load.arrivals import Arrivals, Due, arrivals, recorded, warm_up
from scenarios.load.shapes import Shape, constant
from scenarios.stage import Card, Hand, Phone, Process, Stage, microseconds

QUEUE_SECONDS: Final = 10.0
LEAST_QUEUE: Final = 1_000
"""Payments that may wait for a terminal: those of so many seconds at the highest rate, at least so many."""


@dataclass(frozen=True)
class Demand:
    """How payments come to be due.

    Attributes
    ----------
    shape : Shape or None
        Of an open loop; None: a closed one, or the scenario's own shape.
    rate : float or None
        Payments a second on average where the scenario's own shape is to have another rate than usual.
    closed : bool
        Every terminal pays again when it has its answer.
    arrivals : Arrivals
        How those of a shape are spread.
    day : sequence of Due or None
        A recorded day, in place of a shape.
    warm_up : float
        Seconds before the run's time zero in which payments are made that do not count.
    part, parts : int
        Which share of the payments this process generates.
    """

    shape: Shape | None = None
    rate: float | None = None
    closed: bool = False
    arrivals: Arrivals = Arrivals.POISSON
    day: Sequence[Due] | None = None
    warm_up: float = 0.0
    part: int = 0
    parts: int = 1

    def shaped(self, usual: Callable[[float], Shape] | None, length: float) -> Shape:
        """The shape of a run: what was asked for, or the scenario's own, at the rate that was asked for."""
        if self.shape is not None:
            return self.shape
        if usual is None:
            raise ValueError("the scenario takes no load: its cast has no usual shape")
        own = usual(length)
        mean = own.mean if self.rate is None else self.rate
        if own.is_level:
            return constant(mean, length)
        return own.scaled(mean / own.mean, f"{own.text}, {mean:g}/s on average")


class Purchase(NamedTuple):
    """What somebody buys.

    Attributes
    ----------
    fen : int
        Its price.
    pin : str or None
        What is typed; None: the card's right PIN.
    asks_balance : bool
        They ask for their balance first, on the same terminal; the payment is due when they have it.
    """

    fen: int
    pin: str | None = None
    asks_balance: bool = False


Buy = Callable[[Card], Purchase]
"""What the holder of a card buys; drawn from the stage's randomness."""


def serve(stage: Stage, buy: Buy) -> Process:
    """Let payments become due for as long as the run lasts, take them, and wait for the last one's end.

    They become due as the run is told, or else in the shape that the scenario's cast calls usual.
    """
    demand = stage.demand or Demand()
    desk = _Desk(stage, buy)
    if demand.closed:
        yield from desk.keep_paying()
    else:
        day = demand.day
        if day is None:
            shape = demand.shaped(stage.usual, stage.duration)
        else:
            shape = constant(len(day) / stage.duration, stage.duration)
        desk.queue_limit = max(LEAST_QUEUE, round(shape.peak * QUEUE_SECONDS / demand.parts))
        # of their own, so that payments are due at the same times whatever else is drawn meanwhile
        random = Random(stage.random.getrandbits(64))  # noqa: S311 - not a key
        share: dict[str, Any] = {"part": demand.part, "parts": demand.parts}
        yield from desk.open(warm_up(shape, demand.warm_up, demand.arrivals, random, **share))
        due = arrivals(shape, demand.arrivals, random, **share) if day is None else recorded(day, **share)
        yield from desk.open(due)
        yield stage.until(stage.duration)
    yield from desk.close()


class _Desk:
    """The terminals and cards that are free, and the payments that wait for them."""

    def __init__(self, stage: Stage, buy: Buy) -> None:
        self.queue_limit = LEAST_QUEUE
        self._stage = stage
        self._buy = buy
        self._phones = deque(stage.phones)
        self._cards = deque(stage.cards)
        self._queue: deque[Due] = deque()
        self._in_flight = 0
        self._idle: simpy.Event | None = None
        if not self._phones or not self._cards:
            raise ValueError("a load needs a terminal and a card")

    def open(self, due: Iterator[Due]) -> Process:
        """Take payments as they become due."""
        stage = self._stage
        env, measurement = stage.env, stage.measurement
        for one in due:
            wait = stage.started + one.at - env.now
            if wait > 0:
                yield env.timeout(wait)
            measurement.planned(one.at)
            if self._phones and self._cards:
                self._begin(one, stage.started + one.at)
            elif len(self._queue) < self.queue_limit:
                self._queue.append(one)
                measurement.waiting(len(self._queue))
            else:
                measurement.gave_up(one.at)

    def keep_paying(self) -> Process:
        """Let every terminal pay again when it has its answer, until the run is over."""
        stage = self._stage
        for _ in range(min(len(self._phones), len(self._cards))):
            self._in_flight += 1
            stage.env.process(self._pay_on(self._phones.popleft(), self._cards.popleft()))
        yield stage.until(stage.duration)

    def close(self) -> Process:
        """Wait for the payments that are on their way, and those that wait."""
        while self._in_flight:
            self._idle = self._stage.env.event()
            yield self._idle

    def _begin(self, one: Due, ready: float) -> None:
        self._in_flight += 1
        self._stage.env.process(self._take(one, ready, self._phones.popleft(), self._cards.popleft()))

    def _take(self, one: Due, ready: float, phone: Phone, card: Card) -> Process:
        """Take a payment; `ready` is when it was due and had a terminal."""
        yield from self._pay(one, ready, phone, card)
        self._phones.append(phone)
        self._cards.append(card)
        self._in_flight -= 1
        if self._queue:
            now = self._stage.timing.clock()
            self._begin(self._queue.popleft(), now)
        self._ended()

    def _pay_on(self, phone: Phone, card: Card) -> Process:
        stage = self._stage
        while stage.is_open:
            now = stage.timing.clock()
            due = Due(now - stage.started)
            stage.measurement.planned(due.at)
            receipt = yield from self._pay(due, now, phone, card)
            if receipt["outcome"] == "refused":
                # what a phone refuses takes it no time: it is not asked again at once, and again
                yield stage.env.timeout(0.1)
        self._in_flight -= 1
        self._ended()

    def _pay(self, one: Due, ready: float, phone: Phone, card: Card) -> Process:
        stage = self._stage
        purchase = self._buy(card)
        sent = stage.timing.clock()
        due = stage.started + one.at
        lag = sent - due
        stage.measurement.began(one.at, microseconds(lag), microseconds(sent - ready))
        if purchase.asks_balance:
            yield from phone.pay("balance", {}, Hand(stage, card))
            # what they were kept waiting before they could ask still counts
            due = stage.timing.clock() - lag
        fen = purchase.fen if one.fen is None else one.fen
        payer = Hand(stage, card, purchase.pin)
        return (yield from phone.pay("sale", {"amount": fen}, payer, due=due, planned=one.at))

    def _ended(self) -> None:
        if not self._in_flight and self._idle is not None and not self._idle.triggered:
            self._idle.succeed()
