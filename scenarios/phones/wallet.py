"""The purse of a demo network's people: the cards that scenarios and the counter hold to phones."""

from __future__ import annotations

import json
from pathlib import Path

from network.service import ConfigurationError
from scenarios.demo_network.demo_cards import DemoCard


def read_wallet(path: Path) -> list[DemoCard]:
    """The cards of a wallet file.

    Raises
    ------
    ConfigurationError
        The file is missing or no wallet.
    """
    try:
        cards = [DemoCard(**card) for card in json.loads(path.read_text())]
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} is not a wallet") from error
    if not cards:
        raise ConfigurationError(f"{path} holds no card")
    return cards
