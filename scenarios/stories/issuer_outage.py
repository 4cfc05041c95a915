"""The issuer's process dies in the middle of trade and comes back.

While it is away the switch answers for it: 91 at once where the link is down, 98 where the request was on its way, and
a reversal follows. Who was told yes has paid and who was told no has not, whatever the issuer had decided in its last
moment: the books say so in the end. When it is back, trade goes on by itself.
"""

from __future__ import annotations

from scenarios.load.demand import serve
from scenarios.stage import Cast, Process, ScenarioFailed, Stage, cast
from scenarios.stories.everyday import small_purchases, usual

DOWN, UP = 0.35, 0.6
"""When it dies and when it is started again, as parts of the run."""


@cast(Cast(sound_cards=True, usual=usual, breaks=("issuer",)))
def issuer_outage(stage: Stage) -> Process:
    """An issuer's process dies in the middle of trade and comes back."""
    stage.env.process(_outage(stage))
    yield from serve(stage, small_purchases(stage))
    check_trade_resumed(stage, stage.duration * UP)


def _outage(stage: Stage) -> Process:
    yield stage.until(stage.duration * DOWN)
    stage.faults.crash("issuer")
    yield stage.until(stage.duration * UP)
    stage.faults.restart("issuer")


def check_trade_resumed(stage: Stage, since: float) -> None:
    """See that payments are approved again.

    Raises
    ------
    ScenarioFailed
        None that ended later than `since` seconds of the run has been.
    """
    # a run that is over so soon afterwards has nothing to say about it
    later = [part for part in stage.measurement.timeline() if part.start > since + RESUMED_SECONDS and part.due]
    if later and not any(part.approved for part in later):
        raise ScenarioFailed(f"no payment was approved after the fault was over, at {since:.1f} s")


RESUMED_SECONDS = 10.0
"""How long members may take to sign on again and phones to reverse what they do not know the end of."""
