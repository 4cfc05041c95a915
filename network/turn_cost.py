"""What a turn takes, as it was measured: computing by number and kind of events, waiting for the disk, and chance.

A turn's computing is a fixed part, a part for writing, and a part for each event by its kind; it is dearer after the
party has been idle, since caches and processor have gone cold. What the figures leave unexplained is drawn from the
distribution of what was measured, and so is the time that a commit waits for the disk: their tails are what p99 is
made of. `scenarios.twin` measures and stores it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

PROBABILITIES: Final = (*(number / 50 for number in range(50)), 0.99, 0.995, 0.998, 0.999, 0.9995, 1.0)
"""Where a distribution is kept: every fiftieth, closer at its end."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A distribution by its values at `PROBABILITIES`, straight lines between them."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, sample: Sequence[float]) -> Quantiles:
        """The distribution of a sample, which has at least one value.

        Its end is not the greatest value but where the last stretch has the mean that it has in the sample: one value
        far out must not count for a line of them.
        """
        ordered = sorted(sample)
        last = len(ordered) - 1
        values = [float(ordered[round(p * last)]) for p in PROBABILITIES[:-1]]
        beyond = ordered[round(PROBABILITIES[-2] * last) :]
        end = 2 * sum(beyond) / len(beyond) - values[-1]
        return cls((*values, min(float(ordered[-1]), max(values[-1], end))))

    def at(self, probability: float) -> float:
        """The value that is not exceeded with this probability, 0 to 1."""
        place = min(bisect_right(PROBABILITIES, probability), len(PROBABILITIES) - 1)
        low, high = PROBABILITIES[place - 1], PROBABILITIES[place]
        below, above = self.values[place - 1], self.values[place]
        return below + (above - below) * (probability - low) / (high - low)

    @property
    def mean(self) -> float:
        """The mean."""
        steps = zip(PROBABILITIES, PROBABILITIES[1:], self.values, self.values[1:], strict=False)
        return sum((high - low) * (below + above) / 2 for low, high, below, above in steps)


@dataclass(frozen=True, slots=True)
class Linear:
    """Microseconds of computing: `turn` for each turn, `write` for each that writes, and for each event by kind.

    An event of a kind that was not measured costs `other`.
    """

    turn: float
    write: float = 0.0
    events: Mapping[str, float] = field(default_factory=dict)
    other: float = 0.0

    def of(self, kinds: Mapping[str, int], wrote: bool) -> float:
        """What a turn with these events costs."""
        events, other = self.events, self.other
        total = self.turn + (self.write if wrote else 0.0)
        for kind, count in kinds.items():
            total += events.get(kind, other) * count
        return total


class Charge(NamedTuple):
    """What a turn takes, in microseconds: computing until its commit, waiting for the disk, computing what it sends."""

    computing: float
    waiting: float
    sending: float


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """What the turns of a party take.

    Attributes
    ----------
    outside, deciding, sending : Linear
        Computing: around the turn (sockets, the event loop), in it until its commit, and of what it sends.
    waiting : Quantiles
        Microseconds for which a turn that writes waits for the disk.
    chance : tuple of (float, Quantiles)
        By how long the party has been idle (microseconds; each entry from there to the next, the first from zero):
        what the computing is multiplied by.
    bulk : tuple of (float, float)
        By the number of events in the turn, growing: what the computing is multiplied by besides, straight lines
        between. The more of a kind come together, the more of what they need is in the caches.
    together : float
        Part of the turns, 0 to 1, whose chance is the machine's of the moment and not their own: slow moments hit
        all parties that share it.
    """

    outside: Linear
    deciding: Linear
    sending: Linear
    waiting: Quantiles
    chance: tuple[tuple[float, Quantiles], ...]
    bulk: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    together: float = 0.0

    def charge(
        self,
        kinds: Mapping[str, int],
        wrote: bool,
        idle: float,
        random: Random,
        *,
        moment: float | None = None,
    ) -> Charge:
        """What a turn takes after `idle` microseconds without one.

        Parameters
        ----------
        moment
            The machine's chance at this moment, 0 to 1; None where it has none.
        """
        drawn = self.chance[0][1]
        for since, one in self.chance:
            if since > idle:
                break
            drawn = one
        own = random.random()
        if moment is not None and self.together and random.random() < self.together:
            own = moment
        factor = drawn.at(own) * between(self.bulk, sum(kinds.values()))
        waiting = self.waiting.at(random.random()) if wrote else 0.0
        computing = self.outside.of(kinds, wrote) + self.deciding.of(kinds, wrote)
        return Charge(factor * computing, waiting, factor * self.sending.of(kinds, wrote))


def between(line: Sequence[tuple[float, float]], at: float) -> float:
    """The value at a place of straight lines between points, level beyond the first and the last."""
    place = bisect_right(line, at, key=lambda point: point[0])
    if place in (0, len(line)):
        return line[min(place, len(line) - 1)][1]
    (low, below), (high, above) = line[place - 1], line[place]
    return below + (above - below) * (at - low) / (high - low)
