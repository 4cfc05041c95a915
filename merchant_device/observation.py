"""What the phones' rows tell who watches the service that runs them."""

from __future__ import annotations

from typing import Final

from merchant_device.tables import Phone, Sale
from network.observation import Backlog, Census, Observation

OBSERVATION: Final = Observation(
    backlogs=(
        Backlog("request", Sale, ("status=pending",), "started_at"),
        Backlog("reversal", Sale, ("status=reversing",), "started_at", is_forwarded=True),
        Backlog("offline_sale", Sale, ("status=offline",), "started_at", is_forwarded=True),
    ),
    censuses=(Census("phone", Phone, "status"),),
)
