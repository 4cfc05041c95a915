"""HdrHistograms as results carry them: read, added up, and as points of a percentile curve."""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

from network.durations import LONGEST_US
from scenarios.report.result_file import ReportError

LARGEST_TEXT: Final = 1 << 20
"""Characters of an encoded histogram; three digits over an hour take some thousands."""
LARGEST_COUNTS: Final = 8 << 20
"""Bytes of its counts when unpacked."""
QUANTILES: Final = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99, 99.999)
"""Percentiles that a table shows, where enough was measured to tell them."""
_HEADER: Final = 8
"""Bytes before the compressed part: cookie and length."""
_POINTS_PER_DECADE: Final = 20


def read_histograms(encoded: Mapping[str, str], place: str = "histograms") -> dict[str, HdrHistogram]:
    """The histograms of a result, by name; those without a count are left out.

    Raises
    ------
    ReportError
        One is no HdrHistogram of version 2; the message names its place.
    """
    histograms = {name: _read(text, f"{place}.{name}") for name, text in encoded.items()}
    return {name: histogram for name, histogram in histograms.items() if histogram.get_total_count()}


def _read(text: str, place: str) -> HdrHistogram:
    if len(text) > LARGEST_TEXT:
        raise ReportError(f"{place} is longer than {LARGEST_TEXT} characters: not a histogram of a run")
    try:
        compressed = base64.b64decode(text, validate=True)[_HEADER:]
        # what is small when compressed need not be so afterwards
        if len(zlib.decompressobj().decompress(compressed, LARGEST_COUNTS + 1)) > LARGEST_COUNTS:
            raise ReportError(f"{place} unpacks to more than {LARGEST_COUNTS} bytes: not a histogram of a run")
        return HdrHistogram.decode(text)
    except ReportError:
        raise
    except (
        HdrCookieException,
        HdrLengthException,
        binascii.Error,
        zlib.error,
        ValueError,
        IndexError,
        TypeError,
    ) as error:
        raise ReportError(f"{place} is not an HdrHistogram (version 2, compressed, base64)") from error


def added(histograms: Iterable[HdrHistogram]) -> HdrHistogram:
    """All of them in one, of the precision of `network.durations`."""
    total = HdrHistogram(1, LONGEST_US, 3)
    for histogram in histograms:
        total.add(histogram)
    return total


def percentiles(histogram: HdrHistogram, longest: int | None = None) -> list[tuple[float, int]]:
    """The percentiles of `QUANTILES` that at least one duration lies beyond, and 100, the longest, in microseconds.

    Parameters
    ----------
    longest : int, optional
        The longest duration exactly, where it is known: a histogram knows it to three digits only.
    """
    count = histogram.get_total_count()
    wanted = [percentile for percentile in QUANTILES if round(count * (100 - percentile) / 100, 9) >= 1]
    return _values(histogram, [*wanted, 100.0], longest)


def curve(histogram: HdrHistogram, longest: int | None = None) -> list[tuple[float, int]]:
    """The percentile curve: how rare a duration is (one in so many is longer), and the duration in microseconds.

    Points lie evenly on a logarithmic axis from 1, the shortest, to the number of durations, the longest.
    """
    count = int(histogram.get_total_count())
    steps = max(1, math.ceil(math.log10(count) * _POINTS_PER_DECADE))
    rarities = sorted({round(min(count, 10 ** (step / _POINTS_PER_DECADE)), 4) for step in range(steps)} | {count})
    values = _values(histogram, [*(100 * (1 - 1 / rarity) for rarity in rarities[:-1]), 100.0], longest)
    return [(rarity, value) for rarity, (_, value) in zip(rarities, values, strict=True)]


def _values(histogram: HdrHistogram, wanted: Sequence[float], longest: int | None) -> list[tuple[float, int]]:
    found = histogram.get_percentile_to_value_dict(wanted)
    most = LONGEST_US if longest is None else longest
    return [(percentile, min(int(found[percentile]), most)) for percentile in wanted]
