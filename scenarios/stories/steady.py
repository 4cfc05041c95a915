"""Steady trade: sales by card with a PIN at one rate, the plain load that others are compared with."""

from __future__ import annotations

from scenarios.load.demand import serve
from scenarios.stage import Cast, Process, Stage, cast
from scenarios.stories.everyday import small_purchases, usual


@cast(Cast(sound_cards=True, usual=usual))
def steady(stage: Stage) -> Process:
    """Steady trade: sales by card with a PIN at one rate."""
    yield from serve(stage, small_purchases(stage))
