"""Everyday trade, on which scenarios about faults are laid: sales by card with a PIN at one rate, small amounts."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from scenarios.load.demand import Purchase
from scenarios.load.shapes import Shape, constant
from scenarios.stage import Card, Stage

USUAL_RATE: Final = 20.0
"""Payments a second unless the run is told another."""


def usual(length: float) -> Shape:
    """The rate at which such a scenario plays unless told another."""
    return constant(USUAL_RATE, length)


def small_price(random: Random) -> int:
    """What a small thing costs, in fen: about 13 yuan in the middle, seldom more than 90."""
    return round(random.lognormvariate(7.2, 0.8)) + 100


def small_purchases(stage: Stage) -> Callable[[Card], Purchase]:
    """What shoppers buy, drawn from the stage's source of randomness."""
    return lambda _: Purchase(small_price(stage.random))
