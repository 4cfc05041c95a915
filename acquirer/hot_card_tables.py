"""The acquirer's rows about stopped cards, and about the list of them that terminals download."""

from __future__ import annotations

from typing import Final

from network.store import Row, table

LISTED: Final = "listed"
REMOVED: Final = "removed"
"""States of a stopped card."""

HOT_LIST: Final = "hot cards"
"""Name of the one `HotList`."""


@table("hot_card", key="identifier", indexed=("status=listed",), mutable=("status", "reason", "added_at", "removed_at"))
class HotCard(Row):
    """A card that is declined at every terminal which has downloaded the list.

    `identifier` is the keyed hash of the card number in hexadecimal, by which the row is found and removed; whoever has
    no key learns nothing from it. `card` is the sealed number, `pan_masked` what operators see of it. Instants are in
    microseconds; `removed_at` is that of the last removal.
    """

    identifier: str
    card: bytes
    pan_masked: str
    reason: str
    status: str
    added_at: int
    removed_at: int | None


@table("hot_list", key="name", mutable=("cards", "salt", "pages"), cached=True)
class HotList(Row):
    """How many cards are listed, and which version of the list the pages are of.

    `salt` is None after a change: the next terminal that asks has the pages written anew, with a salt of their own.
    """

    name: str
    cards: int
    salt: bytes | None
    pages: int


@table("hot_list_page", key="number", mutable=("salt", "digests"), cached=True)
class HotPage(Row):
    """Digests of a page, as `network.hot_cards` lays them out; counts while its salt is that of the list."""

    number: int
    salt: bytes
    digests: bytes


HOT_CARD_TABLES: Final[tuple[type[Row], ...]] = (HotCard, HotList, HotPage)
