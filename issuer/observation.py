"""What the issuer's rows tell who watches it."""

from __future__ import annotations

from typing import Final

from issuer.token_tables import Question
from network.observation import Backlog, Observation

OBSERVATION: Final = Observation(backlogs=(Backlog("question", Question, ("status=pending",), "asked_at"),))
