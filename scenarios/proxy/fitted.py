"""A toxic as it works on one direction of one connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random

from scenarios.proxy.dialects import Facts, Reader, corrupted
from scenarios.proxy.toxics import Corrupt, Effect, Selection, Slicer, Toxic


@dataclass(slots=True)
class Tally:
    """What a toxic has met and done so far, over all connections of its proxy.

    `hits` counts messages struck or, of a toxic that works on bytes, the connections that have it.
    """

    met: int = 0
    hits: int = 0


class Fitted:
    """A toxic on one direction of one connection; made only where the draw of its toxicity says so.

    Parameters
    ----------
    toxic : Toxic
    tally : Tally
    random : Random
        Of this toxic on this direction alone, so that no other toxic changes what it draws.

    Attributes
    ----------
    is_active : bool
        False once it was removed; what it held back goes on then.
    is_holding : bool
        A reordered message waits for those that are to overtake it.
    passed : int
        Bytes that have passed since it was fitted.
    timer : asyncio.TimerHandle or None
        What it will do to the connection.
    """

    __slots__ = ("effect", "is_active", "is_holding", "passed", "random", "tally", "timer", "toxic")

    def __init__(self, toxic: Toxic, tally: Tally, random: Random) -> None:
        self.toxic = toxic
        self.effect: Effect = toxic.effect
        self.tally = tally
        self.random = random
        self.is_active = True
        self.is_holding = False
        self.passed = 0
        self.timer: asyncio.TimerHandle | None = None
        if not toxic.knows_messages:
            tally.hits += 1

    def strikes(self, facts: Facts) -> bool:
        """Whether a message is one of those that it strikes; if so it is counted."""
        selection = self.effect
        if not isinstance(selection, Selection) or not self.is_active or self.is_holding or not facts.meet(selection):
            return False
        if selection.count and self.tally.hits >= selection.count:
            return False
        self.tally.met += 1
        if self.tally.met <= selection.skip or self.random.random() >= selection.probability:
            return False
        self.tally.hits += 1
        return True

    def spoilt(self, body: bytes, facts: Facts, reader: Reader) -> bytes | None:
        """The body with a fault in it; None where it is not struck or has nothing to spoil."""
        corrupt = self.effect
        if not isinstance(corrupt, Corrupt) or not facts.meet(corrupt):
            return None
        # first of all, so that a message without the element does not count as one that was struck
        other = corrupted(body, corrupt, reader, self.random)
        return other if other is not None and self.strikes(facts) else None

    def lag(self, latency: int, jitter: int) -> float:
        """A latency drawn, in seconds."""
        return max(0.0, latency + jitter * (2 * self.random.random() - 1)) / 1000

    def slices(self, slicer: Slicer, data: bytes) -> list[bytes]:
        """`data` cut into pieces."""
        pieces = []
        at = 0
        while at < len(data):
            size = slicer.average_size + self.random.randint(-slicer.size_variation, slicer.size_variation)
            pieces.append(data[at : at + size])
            at += size
        return pieces

    def stop(self) -> None:
        """It is removed, or its connection has ended."""
        self.is_active = False
        if self.timer is not None:
            self.timer.cancel()
