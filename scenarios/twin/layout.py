"""Which processes a network has, and which of them a payment meets.

Members are of unequal size and both accept and issue. A member's merchants are dealt to its acquirer's processes and
the gateways that host its phones, its BIN ranges to its issuer's processes; the switch's processes share all BIN
ranges between them. A payment draws its merchants' place and its card's.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

KINDS: Final = {"gateway": "merchant_device", "acquirer": "acquirer", "switch": "switch", "issuer": "issuer"}
"""Kinds of processes, in the order in which a payment meets them, and the parties that they run."""

RANGES_A_SWITCH: Final = 32
"""BIN ranges for each process of the switch, at least: the more, the more evenly they can be dealt."""


@dataclass(frozen=True, slots=True)
class Place:
    """A group of merchants or a BIN range: its share of all payments, and its process of each kind."""

    share: float
    processes: Mapping[str, int]


@dataclass(frozen=True)
class Layout:
    """The processes of a network.

    Attributes
    ----------
    counts : dict
        Kind of process to how many there are.
    accepting : tuple of Place
        Groups of merchants, with their gateways and acquirers.
    issuing : tuple of Place
        BIN ranges, with their switches and issuers.
    """

    counts: dict[str, int]
    accepting: tuple[Place, ...]
    issuing: tuple[Place, ...]

    @staticmethod
    def party_of(kind: str) -> str:
        """The party that runs in processes of a kind."""
        return KINDS[kind]


def shares_of(members: int, skew: float) -> list[float]:
    """Shares of the members, the largest first: in proportion to one over their rank to the power of `skew`."""
    sizes = [1 / rank**skew for rank in range(1, members + 1)]
    return [size / sum(sizes) for size in sizes]


def deal(processes: int, shares: Sequence[float]) -> list[int]:
    """Give each member a process, and each further one to the member whose processes have most to do.

    Raises
    ------
    ValueError
        There are fewer processes than members.
    """
    if processes < len(shares):
        raise ValueError(f"{len(shares)} members need at least as many processes, not {processes}")
    given = [1] * len(shares)
    heap = [(-share, place) for place, share in enumerate(shares)]
    heapq.heapify(heap)
    for _ in range(processes - len(shares)):
        _, place = heapq.heappop(heap)
        given[place] += 1
        heapq.heappush(heap, (-shares[place] / given[place], place))
    return given


def lay_out(counts: Mapping[str, int], shares: Sequence[float]) -> Layout:
    """Deal processes to members, and merchants and BIN ranges to processes.

    Parameters
    ----------
    counts
        How many processes of each of `KINDS`.
    shares
        Of the members.

    Raises
    ------
    ValueError
        There are fewer gateways, acquirers or issuers than members.
    """
    gateways, acquirers = (_numbered(deal(counts[kind], shares)) for kind in ("gateway", "acquirer"))
    accepting = [
        Place(share / size, {"gateway": own[0][place % len(own[0])], "acquirer": own[1][place % len(own[1])]})
        for share, *own in zip(shares, gateways, acquirers, strict=True)
        for size in (math.lcm(len(own[0]), len(own[1])),)
        for place in range(size)
    ]
    issuers = _numbered(deal(counts["issuer"], shares))
    ranges = [
        (share / size, own[place % len(own)])
        for share, own in zip(shares, issuers, strict=True)
        for size in (len(own) * math.ceil(max(1.0, share * counts["switch"] * RANGES_A_SWITCH / len(own))),)
        for place in range(size)
    ]
    total = sum(share for share, _ in ranges)
    # the largest range first, each to the switch that has least
    switches = [(0.0, number) for number in range(counts["switch"])]
    issuing = []
    for share, issuer in sorted(ranges, key=lambda one: -one[0]):
        load, number = heapq.heappop(switches)
        heapq.heappush(switches, (load + share, number))
        issuing.append(Place(share / total, {"switch": number, "issuer": issuer}))
    return Layout(dict(counts), tuple(accepting), tuple(issuing))


def _numbered(given: Sequence[int]) -> list[list[int]]:
    numbers, first = [], 0
    for count in given:
        numbers.append(list(range(first, first + count)))
        first += count
    return numbers
