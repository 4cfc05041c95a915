"""What of a message may be shown to people and logs: the rest is masked."""

from __future__ import annotations

# Elements whose content identifies no card and opens no lock. Everything else is shown by its length only, so
# that an element nobody thought of is hidden rather than shown.
_SHOWN = frozenset(
    (
        *range(3, 8),
        *range(9, 14),
        *range(15, 20),
        *range(22, 27),
        28,
        32,
        33,
        *range(37, 44),
        *range(49, 52),
        53,
        60,
        64,
        66,
        70,
        *range(74, 78),
        90,
        100,
        128,
    )
)
_SHORTEST_PAN = 13


def mask_pan(pan: str) -> str:
    """First six and last four digits, the rest as asterisks (all of them where the number is too short).

    Examples
    --------
    >>> mask_pan("6251880000051688")
    '625188******1688'
    """
    if len(pan) < _SHORTEST_PAN:
        return "*" * len(pan)
    return pan[:6] + "*" * (len(pan) - 10) + pan[-4:]


def mask_track(track: str) -> str:
    """A track with its PAN masked and everything after the separator hidden."""
    ends = [at for at in (track.find("="), track.find("D")) if at >= 0]
    if not ends:
        return "*" * len(track)
    end = min(ends)
    return mask_pan(track[:end]) + track[end] + "*" * (len(track) - end - 1)


def mask_element(number: int, value: str | bytes) -> str:
    """One element for `repr` and logs: masked, or its length, or as it is where that harms nobody."""
    if number == 2 and isinstance(value, str):
        return mask_pan(value)
    if number in _SHOWN and isinstance(value, str | bytes):
        return repr(value)
    unit = "characters" if isinstance(value, str) else "bytes"
    try:
        return f"<{len(value)} {unit}>"
    except TypeError:
        return f"<{type(value).__name__}>"
