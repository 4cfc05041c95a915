"""Shapes of load: how many payments a second are due at each moment of a run.

A shape is a curve of straight pieces, so that how many payments it stands for up to any moment, and when the n-th of
them is due, are exact. On the command line::

    --rate 500                      constant
    --ramp 100:900                  from 100 to 900 a second over the whole run
    --step 100,200,400              levels of equal length
    --spike 300:1500@20s+5s         300 a second, but 1500 for 5 s from the 20th second on
    --day 800                       a market day compressed into the run, its busiest moment at 800 a second
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

from network.service import ConfigurationError
from scenarios.spans import seconds_of

MOST_A_SECOND: Final = 200_000.0
"""The highest rate that can be asked for: beyond what the command line can mean."""

MOST_LEVELS: Final = 100

MARKET_DAY: Final = (
    *((0, 0.02), (5, 0.03), (6, 0.20), (7, 0.75), (8, 1.00), (9, 0.85), (10, 0.60), (11, 0.55), (12, 0.50)),
    *((13, 0.30), (14, 0.25), (15, 0.35), (16, 0.60), (17, 0.90), (18, 0.80), (19, 0.45), (20, 0.25), (22, 0.08)),
    (24, 0.02),
)
"""A wet market's day: hour, and payments as a part of the busiest moment's. After general practice [G]."""


class Point(NamedTuple):
    """A corner of a shape: seconds of the run, and payments a second."""

    at: float
    rate: float


@dataclass(frozen=True)
class Shape:
    """A curve of straight pieces; two points at one time are a jump.

    Attributes
    ----------
    text : str
        For people.
    points : tuple of Point
        The first at zero, the last at the end, in order of time.
    """

    text: str
    points: tuple[Point, ...]
    _sums: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        sums = [0.0]
        for one, two in pairwise(self.points):
            if two.at < one.at or min(one.rate, two.rate) < 0:
                raise ValueError("a shape goes forward in time and has no negative rate")
            sums.append(sums[-1] + (two.at - one.at) * (one.rate + two.rate) / 2)
        object.__setattr__(self, "_sums", tuple(sums))

    @property
    def length(self) -> float:
        """Seconds it lasts."""
        return self.points[-1].at

    @property
    def payments(self) -> float:
        """Payments that are expected in all."""
        return self._sums[-1]

    @property
    def mean(self) -> float:
        """Payments a second on average."""
        return self.payments / self.length

    @property
    def peak(self) -> float:
        """The highest rate."""
        return max(point.rate for point in self.points)

    @property
    def first(self) -> float:
        """The rate at which it begins."""
        return self.points[0].rate

    @property
    def is_level(self) -> bool:
        """Whether the rate is the same all the time."""
        return all(point.rate == self.first for point in self.points)

    def expected(self, at: float) -> float:
        """Payments that are expected until `at`: the integral of the rate."""
        if at <= 0:
            return 0.0
        place = bisect_right(self.points, at, key=lambda point: point.at) - 1
        if place >= len(self.points) - 1:
            return self.payments
        one, two = self.points[place], self.points[place + 1]
        gone = at - one.at
        rate = one.rate + (two.rate - one.rate) * gone / (two.at - one.at)
        return self._sums[place] + gone * (one.rate + rate) / 2

    def when(self, payments: float) -> float | None:
        """When so many payments are expected to have been due, or None where they never are: `expected` inverted."""
        if payments >= self.payments:
            return None
        place = bisect_right(self._sums, payments) - 1
        one, two = self.points[place], self.points[place + 1]
        area, length = payments - self._sums[place], two.at - one.at
        if area <= 0:
            return one.at
        slope = (two.rate - one.rate) / length
        # area = rate * t + slope / 2 * t^2, solved in the form that does not cancel where the slope is small
        return one.at + 2 * area / (one.rate + math.sqrt(max(0.0, one.rate**2 + 2 * slope * area)))

    def scaled(self, factor: float, text: str) -> Shape:
        """The same shape with `factor` times the payments."""
        return Shape(text, tuple(Point(at, rate * factor) for at, rate in self.points))

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"text": self.text, "points": [list(point) for point in self.points]}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Shape:
        """What `as_json` gave."""
        return cls(plain["text"], tuple(Point(at, rate) for at, rate in plain["points"]))


def constant(rate: float, length: float) -> Shape:
    """The same rate all the time."""
    return Shape(f"constant {rate:g}/s", (Point(0.0, rate), Point(length, rate)))


def ramp(start: float, end: float, length: float) -> Shape:
    """A rate that changes evenly."""
    return Shape(f"ramp {start:g}/s to {end:g}/s", (Point(0.0, start), Point(length, end)))


def steps(rates: Sequence[float], length: float) -> Shape:
    """Levels of equal length."""
    each = length / len(rates)
    points = [Point(at * each, rate) for place, rate in enumerate(rates) for at in (place, place + 1)]
    return Shape("step " + ", ".join(f"{rate:g}/s" for rate in rates), (*points[:-1], Point(length, rates[-1])))


def spike(base: float, peak: float, start: float, lasts: float, length: float) -> Shape:
    """One level, and for a while another."""
    end = start + lasts
    points = [Point(0.0, base), Point(start, base), Point(start, peak), Point(end, peak)]
    if end < length:
        points += [Point(end, base), Point(length, base)]
    return Shape(f"spike {base:g}/s to {peak:g}/s at {start:g} s for {lasts:g} s", tuple(points))


def day(peak: float, length: float) -> Shape:
    """A market day compressed into the run."""
    points = tuple(Point(hour / 24 * length, peak * part) for hour, part in MARKET_DAY)
    return Shape(f"day, busiest {peak:g}/s", points)


_SPIKE: Final = re.compile(r"([^:@+]+):([^:@+]+)@([^:@+]+)\+([^:@+]+)")


def parse(
    length: float,
    *,
    rate: float | None = None,
    ramp_text: str | None = None,
    step_text: str | None = None,
    spike_text: str | None = None,
    day_peak: float | None = None,
) -> Shape | None:
    """The shape that the command line asks for, of a run of `length` seconds; None where it asks for none.

    Raises
    ------
    ConfigurationError
        It asks for more than one, or for something that is no shape.
    """
    given = {
        "--rate": rate,
        "--ramp": ramp_text,
        "--step": step_text,
        "--spike": spike_text,
        "--day": day_peak,
    }
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigurationError(f"{named[0]} and {named[1]}: a load has one shape")
    if rate is not None:
        return constant(_in_range("--rate", rate), length)
    if day_peak is not None:
        return day(_in_range("--day", day_peak), length)
    if ramp_text is not None:
        rates = [_rate("--ramp", text) for text in ramp_text.split(":")]
        if len(rates) != 2 or not any(rates):
            raise ConfigurationError(f"--ramp: {ramp_text!r} is no ramp such as 100:900, payments a second")
        return ramp(rates[0], rates[1], length)
    if step_text is not None:
        levels = [_rate("--step", text) for text in step_text.split(",")]
        if len(levels) > MOST_LEVELS or not any(levels):
            raise ConfigurationError(f"--step: at most {MOST_LEVELS} levels, one of them above zero")
        return steps(levels, length)
    if spike_text is not None:
        return _parse_spike(spike_text, length)
    return None


def _parse_spike(text: str, length: float) -> Shape:
    found = _SPIKE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"--spike: {text!r} is no spike such as 300:1500@20s+5s")
    base, peak = _rate("--spike", found[1]), _rate("--spike", found[2])
    start, lasts = seconds_of("--spike", found[3], least=0.0), seconds_of("--spike", found[4], least=0.001)
    if start + lasts > length:
        raise ConfigurationError(f"--spike: {text} ends after the run, which takes {length:g} s")
    if not base and not peak:
        raise ConfigurationError("--spike: one of the two rates is above zero")
    return spike(base, peak, start, lasts, length)


def _rate(option: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= MOST_A_SECOND:
        raise ConfigurationError(f"{option}: {text!r} is no rate from 0 to {MOST_A_SECOND:,.0f} payments a second")
    return rate


def _in_range(option: str, rate: float) -> float:
    if not 0 < rate <= MOST_A_SECOND:
        raise ConfigurationError(
            f"{option}: {rate:g} is not above 0 and at most {MOST_A_SECOND:,.0f} payments a second"
        )
    return rate
