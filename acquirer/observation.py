"""What the acquirer's rows tell who watches it."""

from __future__ import annotations

from typing import Final

from acquirer.device_tables import Device
from acquirer.tables import Advice, Terminal, Transaction
from network.observation import Backlog, Census, Observation

OBSERVATION: Final = Observation(
    backlogs=(
        Backlog("request", Transaction, ("status=pending",), "created_at"),
        # an advice of an offline sale holds the message, one of a reversal is made of its original
        Backlog("reversal", Advice, ("status=pending", "!message"), "created_at", is_forwarded=True),
        Backlog("offline_sale", Advice, ("status=pending", "message"), "created_at", is_forwarded=True),
    ),
    censuses=(Census("terminal", Terminal, "status"), Census("device", Device, "status")),
)
