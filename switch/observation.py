"""What the switch's rows tell who watches it."""

from __future__ import annotations

from typing import Final

from network.observation import Backlog, Observation
from switch.tables import Advice, Claim, Transaction

OBSERVATION: Final = Observation(
    backlogs=(
        Backlog("request", Transaction, ("status=pending",), "received_at"),
        Backlog("reversal", Advice, ("pending_for",), "created_at", is_forwarded=True),
        Backlog("claim", Claim, ("status=pending",), "created_at"),
    ),
)
