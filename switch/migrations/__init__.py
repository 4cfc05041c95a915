"""The history of the switch's tables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from network.history import History

HISTORY: Final = History(Path(__file__).parent / "versions")
