"""The way of a payment through the parties: found by making one, not written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Final

from network.turn_cost import Charge, Linear, MeasuredCost, Quantiles
from scenarios.stage import Process, Stage
from scenarios.twin.layout import KINDS
from scenarios.worlds import virtual_world

AMOUNT: Final = 1_000
_FREE: Final = Linear(100.0)


@dataclass(frozen=True, slots=True)
class Visit:
    """A turn that a payment takes part in.

    Attributes
    ----------
    party : str
    kind : str
        Of the event that brings it there (`network.turn_profile.kinds_of`).
    writes : bool
        The turn writes to the party's store.
    goes_away : bool
        What follows is at another party, or nothing does.
    """

    party: str
    kind: str
    writes: bool
    goes_away: bool

    @property
    def kind_of_process(self) -> str:
        """The kind of the process that runs the party."""
        return next(kind for kind, party in KINDS.items() if party == self.party)


@dataclass(frozen=True)
class _Witness(MeasuredCost):
    """Turns that cost next to nothing and are written down."""

    party: str = ""
    seen: list[tuple[str, str, bool]] = field(default_factory=list)

    def charge(
        self,
        kinds: Mapping[str, int],
        wrote: bool,
        idle: float,
        random: Random,
        *,
        moment: float | None = None,
    ) -> Charge:
        """See `MeasuredCost`."""
        self.seen.extend((self.party, kind, wrote) for kind in kinds)
        return super().charge(kinds, wrote, idle, random, moment=moment)


@cache
def route_of_a_sale() -> tuple[Visit, ...]:
    """The turns of a sale with card and PIN, as the parties take them in virtual time."""
    seen: list[tuple[str, str, bool]] = []
    nothing = Quantiles.of([0.0])
    once = Quantiles.of([1.0])

    def sale(stage: Stage) -> Process:
        receipt = yield stage.phones[0].collect(AMOUNT, stage.cards[0])
        if receipt["outcome"] != "approved":
            raise RuntimeError(f"the sale whose way was to be seen was not approved but {receipt['outcome']}")

    with virtual_world.virtual_world(1, phones=1, cards=1) as world:
        for name, node in world.nodes.items():
            node.cost = _Witness(_FREE, _FREE, _FREE, nothing, ((0.0, once),), party=name, seen=seen)
        stage = world.stage(60.0, 1)
        stage.tap_seconds = 0.0
        world.env.run(until=world.env.process(sale(stage)))
    following = [party for party, _, _ in seen[1:]] + [""]
    return tuple(
        Visit(party, kind, wrote, goes_away=after != party)
        for (party, kind, wrote), after in zip(seen, following, strict=True)
    )
