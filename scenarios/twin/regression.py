"""From the turns that a live party took to what its turns cost.

Costs are fitted by least squares of relative errors, none of them below zero, together with a factor for how long
the party had been idle: cold turns are dearer. Turns are grouped by what was in them first, so that a hundred thousand
samples are a few hundred lines.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, TypeAlias

from network.turn_cost import Linear, MeasuredCost, Quantiles, between
from network.turn_profile import TurnSample

IDLE_SINCE: Final = (0.0, 100.0, 400.0, 1_500.0, 6_000.0)
"""Microseconds of idleness at which a party counts as colder."""

FEWEST_SAMPLES: Final = 50
"""Fewer turns say nothing about a party's cost."""

FEWEST_IDLE: Final = 200
"""A class of idleness with fewer turns borrows from the one before."""

STALL: Final = 50_000
"""Microseconds: who waits longer for the disk has met a disturbance of the machine, which says nothing about turns."""

_TURN: Final = "turn"
_WRITE: Final = "write"
_ROUNDS: Final = 4
_SPEED_ROUNDS: Final = 3
_WEIGHINGS: Final = 4
_SWEEPS: Final = 400

Features: TypeAlias = "dict[str, float]"


class CalibrationError(Exception):
    """The samples say too little; the message says what is missing."""


@dataclass(slots=True)
class _Line:
    """Turns with the same content and idleness: how many, and the mean of what they took."""

    features: Features
    idle: int
    count: int = 0
    total: float = 0.0


def fit(samples: Sequence[TurnSample]) -> MeasuredCost:
    """What the turns of a party cost.

    Parameters
    ----------
    samples
        Of one party, from light load to heavy: without turns of many events the parts of a turn and of an event
        cannot be told apart.

    Raises
    ------
    CalibrationError
        There are too few samples.
    """
    if len(samples) < FEWEST_SAMPLES:
        raise CalibrationError(f"{len(samples)} turns were measured, {FEWEST_SAMPLES} are needed")
    samples = [sample for sample in samples if sample.waiting < STALL]
    factors = _idle_factors(samples)
    outside = _fit_part(samples, lambda sample: sample.outside, factors, writes=False)
    deciding = _fit_part(samples, lambda sample: sample.deciding, factors, writes=True)
    sending = _fit_part(samples, lambda sample: sample.sending, factors, writes=False)
    waits = [float(sample.waiting) for sample in samples if sample.wrote]
    return MeasuredCost(
        outside=outside,
        deciding=deciding,
        sending=sending,
        waiting=Quantiles.of(waits or [0.0]),
        chance=_chance(samples, (outside, deciding, sending)),
    )


def fit_runs(runs: Sequence[Sequence[TurnSample]]) -> MeasuredCost:
    """What the turns of a party cost, from its turns in several runs, each in the order of time; errors as `fit`."""
    cost = fit([sample for samples in runs for sample in samples])
    cost = replace(cost, bulk=_bulk(cost, runs))
    return replace(cost, together=_together(cost, runs))


def fit_parties(runs: Sequence[Mapping[str, Sequence[TurnSample]]]) -> tuple[dict[str, MeasuredCost], list[float]]:
    """What the turns of all parties cost, and how slow the machine was in each run, as a multiple of that.

    The machine's speed drifts from minute to minute (a hypervisor's guest shares its cores with others), and it
    drifts for all parties alike; what a run took of computing, against what is fitted for its turns, tells.

    Parameters
    ----------
    runs
        Of each run: party to its turns, in the order of time.

    Raises
    ------
    CalibrationError
        There are too few samples of a party, which the message names.
    """
    slow = [1.0] * len(runs)
    costs: dict[str, MeasuredCost] = {}
    for _ in range(_SPEED_ROUNDS):
        for party in runs[0]:
            try:
                costs[party] = fit_runs([_faster(run[party], times) for run, times in zip(runs, slow, strict=True)])
            except CalibrationError as error:
                raise CalibrationError(f"{party}: {error}") from error
        slow = [slowness(costs, run) for run in runs]
    return costs, slow


def slowness(costs: Mapping[str, MeasuredCost], run: Mapping[str, Sequence[TurnSample]]) -> float:
    """How long the turns of a run took all together, as a multiple of what they cost."""
    took = sum(_computing(sample) for samples in run.values() for sample in samples)
    cost = 0.0
    for party, samples in run.items():
        cost += sum(map(_prediction(costs[party]), samples))
    return took / cost if took and cost else 1.0


def _faster(samples: Iterable[TurnSample], times: float) -> list[TurnSample]:
    """Turns as they would have been on a machine so many times as fast."""
    return [
        replace(
            sample,
            outside=round(sample.outside / times),
            deciding=round(sample.deciding / times),
            sending=round(sample.sending / times),
        )
        for sample in samples
    ]


def linear(lines: Sequence[tuple[Features, float, float]]) -> dict[str, float]:
    """Coefficients, none below zero, of the least squared error relative to what they predict.

    Parameters
    ----------
    lines
        Features, what they took together, and how often.
    """
    expected = [took for _, took, _ in lines]
    found: dict[str, float] = {}
    for _ in range(_WEIGHINGS):
        # relative errors: a turn of a hundred events must not outweigh a hundred turns of one
        weights = [count / max(took, 1.0) ** 2 for (_, _, count), took in zip(lines, expected, strict=True)]
        found = _least_squares(lines, weights)
        expected = [sum(value * found[name] for name, value in features.items()) for features, _, _ in lines]
    return found


def _least_squares(lines: Sequence[tuple[Features, float, float]], weights: Sequence[float]) -> dict[str, float]:
    """Weighted least squares by coordinate descent, each coefficient held at zero where it would be below."""
    names = sorted({name for features, _, _ in lines for name in features})
    squares: dict[str, dict[str, float]] = {name: defaultdict(float) for name in names}
    products: dict[str, float] = defaultdict(float)
    for (features, took, _), weight in zip(lines, weights, strict=True):
        for name, value in features.items():
            products[name] += weight * value * took
            row = squares[name]
            for other, factor in features.items():
                row[other] += weight * value * factor
    found = dict.fromkeys(names, 0.0)
    for _ in range(_SWEEPS):
        moved = 0.0
        for name in names:
            row = squares[name]
            rest = products[name] - sum(row[other] * found[other] for other in row if other != name)
            value = max(0.0, rest / row[name])
            moved = max(moved, abs(value - found[name]))
            found[name] = value
        if moved < 0.01:
            break
    return found


def _fit_part(
    samples: Sequence[TurnSample],
    took: Callable[[TurnSample], int],
    factors: Sequence[float],
    *,
    writes: bool,
) -> Linear:
    """One part of the cost, the factor of idleness taken out."""
    lines: dict[tuple[object, ...], _Line] = {}
    for sample in samples:
        idle = idle_class(sample.idle)
        wrote = writes and sample.wrote
        key = (*sorted(sample.kinds.items()), wrote, idle)
        line = lines.get(key)
        if line is None:
            line = lines[key] = _Line(_features(sample.kinds, wrote), idle)
        line.count += 1
        line.total += took(sample)
    found = linear([(one.features, one.total / one.count / factors[one.idle], one.count) for one in lines.values()])
    base, write = found.pop(_TURN), found.pop(_WRITE, 0.0)
    events = {name: round(value, 2) for name, value in found.items()}
    counts = _count_kinds(samples)
    other = sum(events[kind] * count for kind, count in counts.items()) / max(1, sum(counts.values()))
    return Linear(round(base, 2), round(write, 2), events, round(other, 2))


def _features(kinds: Mapping[str, int], wrote: bool) -> Features:
    features: Features = {_TURN: 1.0, **{kind: float(count) for kind, count in kinds.items()}}
    if wrote:
        features[_WRITE] = 1.0
    return features


def _count_kinds(samples: Iterable[TurnSample]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for sample in samples:
        for kind, count in sample.kinds.items():
            counts[kind] += count
    return counts


def idle_class(idle: float) -> int:
    """The place in `IDLE_SINCE` of a time without turns."""
    return max(place for place, since in enumerate(IDLE_SINCE) if idle >= since)


def _computing(sample: TurnSample) -> int:
    return sample.outside + sample.deciding + sample.sending


def _idle_factors(samples: Sequence[TurnSample]) -> list[float]:
    """How much dearer turns are in each class of idleness than on average, from turns of the same content."""
    factors = [1.0] * len(IDLE_SINCE)
    for _ in range(_ROUNDS):
        part = _fit_part(samples, _computing, factors, writes=True)
        took, expected = [0.0] * len(factors), [0.0] * len(factors)
        counts = [0] * len(factors)
        for sample in samples:
            place = idle_class(sample.idle)
            predicted = part.of(sample.kinds, sample.wrote)
            took[place] += _computing(sample) / max(predicted, 1.0)
            expected[place] += 1.0
            counts[place] += 1
        for place, count in enumerate(counts):
            if count >= FEWEST_IDLE:
                factors[place] = took[place] / expected[place]
            elif place:
                factors[place] = factors[place - 1]
    return factors


def _chance(samples: Sequence[TurnSample], parts: Sequence[Linear]) -> tuple[tuple[float, Quantiles], ...]:
    """What predictions are multiplied by, by idleness: its mean says how cold, its spread what is not explained."""
    ratios: list[list[float]] = [[] for _ in IDLE_SINCE]
    for sample in samples:
        predicted = sum(part.of(sample.kinds, sample.wrote) for part in parts)
        ratios[idle_class(sample.idle)].append(_computing(sample) / max(predicted, 1.0))
    everything = [ratio for one in ratios for ratio in one]
    found: list[tuple[float, Quantiles]] = []
    for since, one in zip(IDLE_SINCE, ratios, strict=True):
        if len(one) >= FEWEST_IDLE:
            found.append((since, _rounded(one)))
        elif not found:
            found.append((since, _rounded(everything)))
    return tuple(found)


def _prediction(cost: MeasuredCost) -> Callable[[TurnSample], float]:
    """Tells what a turn takes on average."""
    parts = (cost.outside, cost.deciding, cost.sending)
    means = [(since, one.mean) for since, one in reversed(cost.chance)]

    def predicted(sample: TurnSample) -> float:
        mean = next(mean for since, mean in means if sample.idle >= since)
        mean *= between(cost.bulk, sum(sample.kinds.values()))
        return max(1.0, mean * sum(part.of(sample.kinds, sample.wrote) for part in parts))

    return predicted


def _bulk(cost: MeasuredCost, runs: Iterable[Sequence[TurnSample]]) -> tuple[tuple[float, float], ...]:
    """By the number of a turn's events: what they took, as a part of what is predicted for them."""
    expect = _prediction(cost)
    took: dict[int, float] = defaultdict(float)
    predicted: dict[int, float] = defaultdict(float)
    events: dict[int, int] = defaultdict(int)
    counts: dict[int, int] = defaultdict(int)
    for samples in runs:
        for sample in samples:
            number = sum(sample.kinds.values())
            place = number.bit_length()
            took[place] += _computing(sample)
            predicted[place] += expect(sample)
            events[place] += number
            counts[place] += 1
    found = tuple(
        (round(events[place] / counts[place], 2), round(took[place] / predicted[place], 4))
        for place in sorted(counts)
        if counts[place] >= FEWEST_SAMPLES and took[place]
    )
    return found or ((0.0, 1.0),)


def _together(cost: MeasuredCost, runs: Iterable[Sequence[TurnSample]]) -> float:
    """The part of turns whose chance is the machine's: two in a row are alike where both are among them."""
    expect = _prediction(cost)
    pairs: list[tuple[float, float]] = []
    for samples in runs:
        ratios = [_computing(sample) / expect(sample) for sample in samples]
        order = sorted(range(len(ratios)), key=ratios.__getitem__)
        ranks = [0.0] * len(ratios)
        for rank, place in enumerate(order):
            ranks[place] = (rank + 0.5) / len(ratios)
        pairs += pairwise(ranks)
    if len(pairs) < FEWEST_SAMPLES:
        return 0.0
    # of numbers spread evenly from zero to one the variance is a twelfth
    alike = 12 * sum((one - 0.5) * (other - 0.5) for one, other in pairs) / len(pairs)
    return round(math.sqrt(min(1.0, max(0.0, alike))), 3)


def _rounded(ratios: Sequence[float]) -> Quantiles:
    return Quantiles(tuple(round(value, 4) for value in Quantiles.of(ratios).values))
