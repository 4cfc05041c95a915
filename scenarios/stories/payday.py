"""Payday: wages have come, people look whether they have, and buy what had to wait."""

from __future__ import annotations

from scenarios.load.demand import Purchase, serve
from scenarios.load.shapes import Point, Shape
from scenarios.stage import Card, Cast, Process, Stage, cast

USUAL_RATE = 20.0
"""Payments a second on average, unless the run is told another rate."""

LOOKING = 0.3
"""How many ask for their balance before they pay. [G]"""

DEAR = 0.15
"""How many buy something dear. [G]"""

AFTERNOON = ((0.0, 0.5), (0.15, 0.7), (0.4, 1.4), (0.6, 1.5), (0.85, 0.9), (1.0, 0.6))
"""Of the run and of the average rate: shops fill after work."""


def usual(length: float) -> Shape:
    """An afternoon and evening compressed into the run."""
    shape = Shape("payday", tuple(Point(part * length, USUAL_RATE * rate) for part, rate in AFTERNOON))
    return shape.scaled(USUAL_RATE / shape.mean, shape.text)


@cast(Cast(sound_cards=True, usual=usual))
def payday(stage: Stage) -> Process:
    """Payday: people ask for their balance and then buy more than usual."""
    random = stage.random

    def buy(card: Card) -> Purchase:
        looks = random.random() < LOOKING
        mean = 11.0 if random.random() < DEAR else 8.2
        return Purchase(round(random.lognormvariate(mean, 0.6)) + 100, asks_balance=looks)

    yield from serve(stage, buy)
