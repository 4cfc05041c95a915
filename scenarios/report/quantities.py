"""Amounts, durations and counts as people read them."""

from __future__ import annotations

import math
import re
from typing import Final

_UNITS: Final = ((1, "µs"), (1_000, "ms"), (1_000_000, "s"))


def yuan(fen: int) -> str:
    """An amount in yuan, exact.

    Examples
    --------
    >>> yuan(1234567)
    '12,345.67'
    >>> yuan(-5)
    '-0.05'
    """
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def latency(microseconds: int) -> str:
    """A duration to three significant digits, in the unit that suits it; whole seconds beyond 1000 s.

    Examples
    --------
    >>> latency(850), latency(12_340), latency(999_999), latency(61_500_000)
    ('850 µs', '12.3 ms', '1.00 s', '61.5 s')
    """
    for scale, unit in _UNITS:
        if scale == 1:
            text = str(microseconds)
        else:
            value = microseconds / scale
            decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
            text = f"{value:.{decimals}f}"
        if float(text) < 1000 or unit == "s":
            return f"{text} {unit}"
    raise AssertionError("the last unit takes every duration")


def round_latency(microseconds: int) -> str:
    """A round duration, as an axis has them, without superfluous zeros.

    Examples
    --------
    >>> round_latency(0), round_latency(500), round_latency(20_000), round_latency(2_500_000)
    ('0', '500 µs', '20 ms', '2.5 s')
    """
    if not microseconds:
        return "0"
    scale, unit = next((pair for pair in reversed(_UNITS) if microseconds >= pair[0]), _UNITS[0])
    return f"{microseconds / scale:g} {unit}"


def span(seconds: float) -> str:
    """A length of time or a moment of the run.

    Examples
    --------
    >>> span(7.5), span(60), span(90), span(3600), span(5400)
    ('7.5 s', '1 min', '1 min 30 s', '1 h', '1 h 30 min')
    """
    if seconds < 60:
        return f"{round(seconds, 2):g} s"
    # Beyond a minute fractions of a second say nothing, beyond an hour seconds do not either.
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        units = ("min", "s")
    else:
        minutes, rest = divmod(round(seconds / 60), 60)
        units = ("h", "min")
    return f"{minutes} {units[0]}" + (f" {rest} {units[1]}" if rest else "")


def share(part: int, whole: int) -> str:
    """A part in percent, never rounded to all or nothing when it is neither; a dash when there is no whole.

    Examples
    --------
    >>> share(1, 3), share(99_999, 100_000), share(1, 100_000), share(0, 5), share(1, 0)
    ('33.3 %', '99.9 %', '<0.1 %', '0 %', '-')
    """
    if whole <= 0:
        return "-"
    if part in (0, whole):
        return "100 %" if part else "0 %"
    percent = part * 100 / whole
    return "<0.1 %" if percent < 0.1 else f"{min(percent, 99.9):.1f} %"


def rate(per_second: float) -> str:
    """Payments per second, to three significant digits.

    Examples
    --------
    >>> rate(2345.6), rate(42.31), rate(0.123)
    ('2,346', '42.3', '0.12')
    """
    decimals = 0 if per_second >= 100 else 1 if per_second >= 10 else 2
    return f"{per_second:,.{decimals}f}"


def rarity(one_in: float) -> str:
    """A percentile, told by how rare it is that a value lies beyond it; the rarest is the greatest.

    Examples
    --------
    >>> rarity(1), rarity(2), rarity(100), rarity(1000), rarity(15_848.93)
    ('0 %', '50 %', '99 %', '99.9 %', '99.99369 %')
    """
    decimals = math.ceil(math.log10(one_in) - 1e-9) if one_in > 1 else 0
    return f"{100 - 100 / one_in:.{decimals}f}".rstrip("0").rstrip(".") + " %" if one_in > 1 else "0 %"


def threshold_value(text: str, value: float) -> str:
    """A threshold's limit or what was measured for it, in the unit that its text has.

    Examples
    --------
    >>> threshold_value("p99<200ms", 151_300), threshold_value("approved>99%", 0.99213)
    ('151 ms', '99.21 %')
    >>> threshold_value("rate>300", 301.5), threshold_value("rate>300/s", 301.5)
    ('301.5', '301.5')
    """
    if text.rstrip().endswith("%"):
        return f"{value * 100:.2f}".rstrip("0").rstrip(".") + " %"
    if re.search(r"\d\s*[uµm]?s\s*$", text):
        return latency(round(value))
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
