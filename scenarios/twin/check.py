"""The model against full fidelity: the same small network, the same calibration, the same rates, both computed.

In full fidelity the real parties decide, messages are packed, cryptograms computed and rows written; only time is
virtual. What differs between the two is what the model leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from network import virtual
from network.durations import Durations, Summary
from network.turn_cost import MeasuredCost
from scenarios.demo_network import demo
from scenarios.stage import Card, Phone, Process, Stage
from scenarios.twin.layout import KINDS, lay_out
from scenarios.twin.model import Window, Wire, simulate
from scenarios.twin.route import AMOUNT, route_of_a_sale
from scenarios.worlds import virtual_world

RATES: Final = (200.0, 500.0, 1_000.0)
SECONDS: Final = 4.0
MODEL_SECONDS: Final = 20.0
"""The model is cheap: it counts for longer, so that its p99 is that of many payments."""

WARM_UP: Final = 1.0
TERMINAL_SECONDS: Final = 0.25
"""Seconds of a rate that the terminals of full fidelity hold, so that none is waited for."""

FEWEST_TERMINALS: Final = 64


@dataclass(frozen=True)
class Compared:
    """Both at one rate: payments a second, and percentiles of the payments in microseconds."""

    rate: float
    model: Summary
    full: Summary

    @property
    def differences(self) -> tuple[float, float]:
        """How far the model's p50 and p99 are from full fidelity's, as parts of the latter."""
        return (
            self.model.p50 / max(1, self.full.p50) - 1,
            self.model.p99 / max(1, self.full.p99) - 1,
        )


def check(
    costs: dict[str, MeasuredCost],
    wire: Wire,
    rates: Sequence[float] = RATES,
    *,
    seconds: float = SECONDS,
    model_seconds: float = MODEL_SECONDS,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Compared]:
    """Compare at several rates; each party has one process, and a processor for itself."""
    layout = lay_out(dict.fromkeys(KINDS, 1), [1.0])
    found = []
    for rate in rates:
        progress(f"checking at {rate:g} payments/s in full fidelity")
        window = Window(rate, model_seconds, WARM_UP, seed)
        outcome = simulate(layout, costs, route_of_a_sale(), window, wire)
        full = full_fidelity(costs, wire, rate, seconds, seed)
        found.append(Compared(rate, Durations(outcome.end_to_end).summary(), full.summary()))
    return found


def full_fidelity(costs: dict[str, MeasuredCost], wire: Wire, rate: float, seconds: float, seed: int) -> Durations:
    """The latencies of sales that come at random times to the ordinary virtual world, calibrated."""
    phones = max(FEWEST_TERMINALS, round(rate * TERMINAL_SECONDS))
    latencies = Durations()
    link = virtual.Wire(latency=round(wire.latency), jitter=round(wire.jitter))
    with virtual_world.virtual_world(seed, phones=phones, cards=phones * 100 // 95 + 2, wire=link) as world:
        for name, node in world.nodes.items():
            node.cost = costs[name]
        stage = world.stage(seconds, phones)
        stage.tap_seconds = 0.0
        world.env.run(until=world.env.process(_sales(stage, rate, seconds, Random(f"sales/{seed}"), latencies)))  # noqa: S311
    return latencies


def _sales(stage: Stage, rate: float, seconds: float, random: Random, latencies: Durations) -> Process:
    env = stage.env
    phones = list(stage.phones)
    cards = [card for place, card in enumerate(stage.cards) if place % 100 not in demo.DISTINGUISHED]
    began = env.now
    while env.now - began < WARM_UP + seconds:
        yield env.timeout(random.expovariate(rate))
        counts = env.now - began >= WARM_UP
        # who finds no terminal goes: with so many, this happens only where the network cannot keep up
        if phones and cards:
            env.process(_sale(phones, phones.pop(), cards, cards.pop(), latencies if counts else Durations()))
    yield env.timeout(1.0)


def _sale(phones: list[Phone], phone: Phone, cards: list[Card], card: Card, latencies: Durations) -> Process:
    env = phone.stage.env
    began = env.now
    yield phone.collect(AMOUNT, card)
    latencies.record(round((env.now - began) * 1_000_000))
    phones.append(phone)
    cards.append(card)
