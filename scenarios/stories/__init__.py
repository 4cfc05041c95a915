"""The scenarios that come with the project, each in a module of its name, and who plays in them."""

from __future__ import annotations

from typing import Final

OF_THEIR_OWN: Final = ("street_market", "corner_shop")
"""Scenarios that pay at times of their own."""
UNDER_LOAD: Final = (
    "steady",
    "festival",
    "payday",
    "issuer_outage",
    "switch_failover",
    "slow_issuer",
    "reversal_storm",
)
"""Scenarios that take a load."""
SCENARIOS: Final = (*OF_THEIR_OWN, *UNDER_LOAD)
