"""The eleventh of November: a crowd waits for midnight, and all of it pays in the first minutes."""

from __future__ import annotations

from scenarios.load.demand import Purchase, serve
from scenarios.load.shapes import Point, Shape
from scenarios.stage import Card, Cast, Process, Stage, cast

USUAL_RATE = 20.0
"""Payments a second on average, unless the run is told another rate."""

NIGHT = (
    *((0.00, 0.45), (0.20, 0.35), (0.20, 3.00), (0.24, 2.60), (0.32, 1.60), (0.45, 1.00)),
    *((0.70, 0.75), (1.00, 0.60)),
)
"""Of the run and of the average rate: a lull, midnight with three times the average, and a long tail. [G]"""


def usual(length: float) -> Shape:
    """The night compressed into the run."""
    shape = Shape("festival", tuple(Point(part * length, USUAL_RATE * rate) for part, rate in NIGHT))
    return shape.scaled(USUAL_RATE / shape.mean, shape.text)


@cast(Cast(sound_cards=True, usual=usual))
def festival(stage: Stage) -> Process:
    """The eleventh of November: at midnight three times as many payments as on average."""
    random = stage.random

    def buy(card: Card) -> Purchase:
        # filled baskets: more than at a market stall
        return Purchase(round(random.lognormvariate(9.2, 0.9)) + 100)

    yield from serve(stage, buy)
