"""Steady trade: sales by card with a PIN at one rate, the plain load that others are compared with."""

from __future__ import annotations

from scenarios.load.demand import Purchase, serve
from scenarios.load.shapes import Shape, constant
from scenarios.stage import Card, Cast, Process, Stage, cast

USUAL_RATE = 20.0
"""Payments a second unless the run is told another."""


def usual(length: float) -> Shape:
    """The rate at which the scenario plays unless told another."""
    return constant(USUAL_RATE, length)


@cast(Cast(sound_cards=True, usual=usual))
def steady(stage: Stage) -> Process:
    """Steady trade: sales by card with a PIN at one rate."""
    random = stage.random

    def buy(card: Card) -> Purchase:
        return Purchase(round(random.lognormvariate(7.2, 0.8)) + 100)

    yield from serve(stage, buy)
