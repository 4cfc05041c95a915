"""The members of the demo network: who they are to one another, and which cards are whose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SWITCH_ID: Final = "00010000"
ACQUIRER_ID: Final = "48020000"


@dataclass(frozen=True)
class DemoIssuer:
    """An issuer of the demo network.

    Attributes
    ----------
    party : str
        The party's name, which is also the stem of its files.
    member_id : str
    name : str
        As the switch's operator knows it.
    bin : str
        What the numbers of its cards begin with.
    """

    party: str
    member_id: str
    name: str
    bin: str


ISSUERS: Final = (
    DemoIssuer("issuer", "03090000", "Demo Bank", "622848"),
    DemoIssuer("issuer_b", "03100000", "Second Demo Bank", "625965"),
)
"""The issuers that a demo network may have: as many of the first as it is told."""

ISSUER_ID: Final = ISSUERS[0].member_id


def issuers_among(parties: Iterable[str]) -> tuple[DemoIssuer, ...]:
    """Those issuers whose party is one of `parties`, in their order."""
    names = set(parties)
    return tuple(one for one in ISSUERS if one.party in names)
