"""The switch's process dies and its standby takes over the database and the address.

For a moment no acquirer reaches the network: payments are answered 91. What was on its way is reversed, by the acquirer
where the answer did not come, and what the switch had committed is resumed by the process that takes over.
"""

from __future__ import annotations

from scenarios.load.demand import serve
from scenarios.stage import Cast, Process, Stage, cast
from scenarios.stories.everyday import small_purchases, usual
from scenarios.stories.issuer_outage import check_trade_resumed

DOWN = 0.4
"""When it dies, as a part of the run."""

TAKEOVER_SECONDS = 2.0
"""How long the standby takes to notice and to begin."""


@cast(Cast(sound_cards=True, usual=usual, breaks=("switch",)))
def switch_failover(stage: Stage) -> Process:
    """The switch dies, and another process takes over its database."""
    stage.env.process(_failover(stage))
    yield from serve(stage, small_purchases(stage))
    check_trade_resumed(stage, stage.duration * DOWN + TAKEOVER_SECONDS)


def _failover(stage: Stage) -> Process:
    yield stage.until(stage.duration * DOWN)
    stage.faults.crash("switch")
    yield stage.env.timeout(TAKEOVER_SECONDS)
    stage.faults.restart("switch")
