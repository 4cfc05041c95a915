"""Lengths of time as people type them."""

from __future__ import annotations

import math
import re
from typing import Final

from network.service import ConfigurationError

LONGEST: Final = 7 * 86_400.0
_SPAN: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(us|ms|s|m|h|)", re.ASCII)
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(option: str, text: str, *, least: float = 1.0, most: float = LONGEST) -> float:
    """Seconds of ``30``, ``250ms``, ``30s``, ``5m`` or ``2h``.

    Raises
    ------
    ConfigurationError
        The text is no such span of time, or not between `least` and `most` seconds.

    Examples
    --------
    >>> seconds_of("--for", "1.5m"), seconds_of("--lag", "250ms", least=0)
    (90.0, 0.25)
    """
    found = _SPAN.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else math.nan
    if not least <= seconds <= most:
        raise ConfigurationError(
            f"{option}: {text!r} is not a span of time from {least:g}s to {most:g}s, such as 30s, 250ms, 5m or 2h"
        )
    return seconds
