"""Counts of durations, cheap enough to record every message: three significant digits, then HdrHistogram.

Recording is one dictionary increment; percentiles, merging and encoding are HdrHistogram's, made when asked.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hdrh.codec import HdrCookieException, HdrLengthException
from hdrh.histogram import HdrHistogram

LONGEST_US: Final = 3_600_000_000
"""An hour: longer durations count as this."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Percentiles of durations, in microseconds."""

    count: int
    p50: int
    p95: int
    p99: int
    max: int


class Durations:
    """How often each duration (microseconds, 10 significant bits) was seen."""

    __slots__ = ("counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: dict[int, int] = dict(counts or {})

    def record(self, microseconds: int, times: int = 1) -> None:
        """Count a duration."""
        if microseconds > 1023:
            microseconds = min(microseconds, LONGEST_US)
            shift = microseconds.bit_length() - 10
            microseconds = microseconds >> shift << shift
        elif microseconds < 0:
            microseconds = 0
        self.counts[microseconds] = self.counts.get(microseconds, 0) + times

    def add(self, counts: Mapping[int, int]) -> None:
        """Count what another recorder counted."""
        for microseconds, times in counts.items():
            self.counts[microseconds] = self.counts.get(microseconds, 0) + times

    def histogram(self) -> HdrHistogram:
        """The same as an HdrHistogram of three significant digits, in microseconds."""
        histogram = HdrHistogram(1, LONGEST_US, 3)
        for microseconds, times in sorted(self.counts.items()):
            histogram.record_value(min(max(microseconds, 1), LONGEST_US), times)
        return histogram

    def percentile(self, percent: float) -> int:
        """A percentile straight from the counts, for who watches; zero when nothing was recorded."""
        left = sum(self.counts.values()) * percent / 100
        for microseconds, times in sorted(self.counts.items()):
            left -= times
            if left <= 0:
                return microseconds
        return 0

    def encoded(self) -> str:
        """The histogram as HdrHistogram's interchange format, version 2, compressed, base64."""
        text: bytes = self.histogram().encode()
        return text.decode("ascii")

    @classmethod
    def decoded(cls, text: str) -> Durations:
        """What `encoded` gave, exactly, but that a microsecond is the shortest.

        Raises
        ------
        ValueError
            The text is no such histogram.
        """
        try:
            histogram = HdrHistogram.decode(text)
        except (HdrCookieException, HdrLengthException, ValueError, zlib.error, TypeError) as error:
            raise ValueError(f"not an encoded HdrHistogram: {error}") from error
        if histogram is None:
            raise ValueError("not an encoded HdrHistogram")
        read = cls()
        for item in histogram.get_recorded_iterator():
            read.record(
                histogram.get_lowest_equivalent_value(item.value_iterated_to), item.count_added_in_this_iter_step
            )
        return read

    def summary(self) -> Summary:
        """Percentiles; all zero when nothing was recorded."""
        if not self.counts:
            return Summary(0, 0, 0, 0, 0)
        histogram = self.histogram()
        # HdrHistogram answers with the upper end of a bucket, which may lie beyond the longest that was seen
        longest = min(max(self.counts), LONGEST_US)
        p50, p95, p99 = (min(int(histogram.get_value_at_percentile(p)), longest) for p in (50, 95, 99))
        return Summary(histogram.get_total_count(), p50, p95, p99, longest)
