"""The way to the issuer becomes slow: every payment still comes to its end, but later.

Slowness is worse than an outage: nothing is refused, so all that is due piles up in terminals and queues. It must end
with the cause: no payment lost, none answered twice, none reversed that the switch had still waited for.
"""

from __future__ import annotations

from scenarios.load.demand import serve
from scenarios.stage import Cast, Process, Stage, cast
from scenarios.stories.everyday import small_purchases, usual

LINK = "switch-issuer"

SLOW = ((0.25, 0.2, 0.05), (0.45, 0.8, 0.3))
"""From which part of the run on each message takes how many seconds longer, give or take how many."""

FAST_AGAIN = 0.6


@cast(Cast(sound_cards=True, usual=usual, breaks=(LINK,)))
def slow_issuer(stage: Stage) -> Process:
    """The link to the issuer becomes slow, then slower, then fast again."""
    stage.env.process(_slowness(stage))
    yield from serve(stage, small_purchases(stage))


def _slowness(stage: Stage) -> Process:
    for part, seconds, jitter in SLOW:
        yield stage.until(stage.duration * part)
        stage.faults.slow(LINK, seconds, jitter)
    yield stage.until(stage.duration * FAST_AGAIN)
    stage.faults.mend(LINK)
