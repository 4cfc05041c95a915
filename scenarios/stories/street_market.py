"""A street market: stalls take small payments from shoppers who come, queue, buy and pay by card with a PIN."""

from __future__ import annotations

import simpy

from scenarios.stage import Card, Phone, Process, Stage
from scenarios.stories.everyday import small_price

ARRIVALS_PER_STALL = 0.45
"""Shoppers a second for each stall."""

PATIENCE_SECONDS = 15.0
CHOOSING_SECONDS = 0.6
TYPING_SECONDS = 0.5
"""Means of how long it takes; this market's people are quick, so that a short run shows many payments."""

FORGETFUL = 0.02
"""How many mistype their PIN the first time."""


def street_market(stage: Stage) -> Process:
    """A street market: shoppers queue at stalls and pay by card with a PIN."""
    market = Market(stage)
    stage.env.process(market.shoppers_arrive())
    yield stage.env.timeout(stage.duration)
    yield from market.close()


class Stall:
    """A stall: one phone, one queue."""

    def __init__(self, stage: Stage, phone: Phone) -> None:
        self.phone = phone
        self.queue = simpy.Resource(stage.env)


class Market:
    """The stalls, and the cards of those who are at home."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.stalls = [Stall(stage, phone) for phone in stage.phones]
        self.at_home = list(stage.cards)
        self.here: set[simpy.Process] = set()

    def shoppers_arrive(self) -> Process:
        """Shoppers leave home at random times and go to a stall they like."""
        random = self.stage.random
        while self.stage.is_open:
            yield self.stage.env.timeout(random.expovariate(ARRIVALS_PER_STALL * len(self.stalls)))
            if self.at_home and self.stage.is_open:
                card = self.at_home.pop(random.randrange(len(self.at_home)))
                visit = self.stage.env.process(self.visit(random.choice(self.stalls), card))
                self.here.add(visit)
                visit.callbacks.append(self.here.discard)

    def visit(self, stall: Stall, card: Card) -> Process:
        """Queue, choose, pay, go home. Who waits too long goes home without."""
        with stall.queue.request() as turn:
            yield turn | self.stage.env.timeout(PATIENCE_SECONDS)
            if turn.triggered:
                yield self.stage.env.timeout(self.stage.random.expovariate(1 / CHOOSING_SECONDS))
                yield from self.pay(stall.phone, card)
        self.at_home.append(card)

    def pay(self, phone: Phone, card: Card) -> Process:
        """Pay; who mistyped the PIN tries once more."""
        random = self.stage.random
        price = small_price(random)
        typing = random.uniform(0.5, 1.5) * TYPING_SECONDS
        mistyped = random.random() < FORGETFUL
        receipt = yield phone.collect(price, card, pin=another_pin(card.pin) if mistyped else None, typing=typing)
        if mistyped and receipt["outcome"] == "declined":
            yield phone.collect(price, card, typing=2 * typing)

    def close(self) -> Process:
        """No more shoppers: those who are here finish."""
        while self.here:
            yield simpy.AllOf(self.stage.env, list(self.here))


def another_pin(pin: str) -> str:
    """What somebody types who has one digit wrong."""
    return pin[:-1] + str((int(pin[-1]) + 1) % 10)
