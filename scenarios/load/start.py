"""The instant at which payments begin, for generators that are started on several machines."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from network.live import real_now
from network.party import SECOND, Instant
from network.service import ConfigurationError

LONGEST_WAIT: Final = 86_400
"""Seconds that a start may lie ahead."""


def parse_start(text: str | None) -> Instant | None:
    """The instant of ``2026-11-27T23:15:00+08:00`` or of ``23:15:00``, the next one in this machine's zone.

    Raises
    ------
    ConfigurationError
        It is no such time, is over, or is more than a day ahead.
    """
    if text is None:
        return None
    now = datetime.fromtimestamp(real_now() / SECOND).astimezone()
    try:
        moment = datetime.fromisoformat(text if "T" in text or "-" in text else f"{now.date().isoformat()}T{text}")
    except ValueError:
        raise ConfigurationError(f"--start-at: {text!r} is no time such as 23:15:00 or 2026-11-27T23:15:00") from None
    moment = moment if moment.tzinfo else moment.astimezone()
    if moment < now and "T" not in text and "-" not in text:
        moment += timedelta(days=1)
    ahead = (moment - now).total_seconds()
    if not 0 < ahead <= LONGEST_WAIT:
        raise ConfigurationError(f"--start-at: {text} is {'over' if ahead <= 0 else 'more than a day ahead'}")
    return round(moment.timestamp() * SECOND)


def parse_part(text: str | None) -> tuple[int, int]:
    """Which of how many parts ``2/4`` is, the first being 0.

    Raises
    ------
    ConfigurationError
        It is no part.
    """
    if text is None:
        return 0, 1
    part, _, parts = text.partition("/")
    if not (part.isascii() and part.isdigit() and parts.isascii() and parts.isdigit()):
        raise ConfigurationError(f"--part: {text!r} is no part such as 2/4")
    if not 1 <= int(part) <= int(parts) <= 1000:
        raise ConfigurationError(f"--part: {text} is no part: there are at most 1000, from 1 on")
    return int(part) - 1, int(parts)
