"""The list of stopped cards (hot cards) that an acquirer gives its terminals, as it travels and as it is looked up.

A card on the list is declined by the terminal without asking its issuer (terminal exception file, EMV 4.4 Book 4,
6.3.5). Everything about the way it travels is this network's own usage (docs/protocol.md): the list comes in pages,
each of which is DE62 of one answer, and names a card by the first `DIGEST_LENGTH` bytes of HMAC-SHA-256 over the digits
of its number, under a salt that all pages of one version of the list share.

Digests keep card numbers out of the message and out of the terminal's database. They do not stand brute force: the salt
travels with them, and the numbers of one card prefix are few enough to be tried one after another. Hence the salt is a
new one whenever the list changes, so that digests of two versions cannot be compared and no table can be made
beforehand, and the list is only for terminals that have keys, whose requests and answers carry a MAC.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

SALT_LENGTH: Final = 16
DIGEST_LENGTH: Final = 8

PAGE_CARDS: Final = 122
"""Cards on a page: what fits in the 999 bytes of DE62 after flag, page number and salt."""

MOST_PAGES: Final = 100
MOST_CARDS: Final = PAGE_CARDS * MOST_PAGES

_LAST: Final = b"1"
_MORE: Final = b"2"
_NONE: Final = b"0"
_NUMBER_LENGTH: Final = 3
_HEAD: Final = 1 + _NUMBER_LENGTH + SALT_LENGTH

NO_CARDS: Final = _NONE
"""DE62 of the answer where no card is on the list."""


class HotListError(ValueError):
    """What is no page of a list of stopped cards, or no whole list; says why."""


class HotListPage(NamedTuple):
    """A page of the list.

    Attributes
    ----------
    number : int
        From 1 to `MOST_PAGES`.
    salt : bytes
        `SALT_LENGTH` bytes, the same on all pages of one version of the list.
    digests : bytes
        `DIGEST_LENGTH` bytes for each card, at most `PAGE_CARDS` of them.
    more : bool
        Whether another page follows.
    """

    number: int
    salt: bytes
    digests: bytes
    more: bool

    def build(self) -> bytes:
        """DE62: ``1`` or ``2`` (more follows), page number (3 ASCII digits), salt, digests."""
        return (_MORE if self.more else _LAST) + page_number(self.number) + self.salt + self.digests

    @classmethod
    def parse(cls, content: bytes) -> HotListPage | None:
        """Read DE62; None where it says that no card is on the list.

        Raises
        ------
        HotListError
            It is malformed.
        """
        if content == _NONE:
            return None
        if content[:1] not in (_LAST, _MORE):
            raise HotListError("a page of stopped cards begins with neither 0, 1 nor 2")
        if len(content) < _HEAD:
            raise HotListError("a page of stopped cards is cut short")
        number = parse_page_number(content[1 : 1 + _NUMBER_LENGTH])
        digests = content[_HEAD:]
        if len(digests) % DIGEST_LENGTH or len(digests) > PAGE_CARDS * DIGEST_LENGTH:
            raise HotListError("the digests of a page of stopped cards are cut short, or too many")
        more = content[:1] == _MORE
        if more and number == MOST_PAGES:
            raise HotListError(f"the list of stopped cards has more than {MOST_PAGES} pages")
        return cls(number, content[1 + _NUMBER_LENGTH : _HEAD], digests, more)


def page_number(number: int) -> bytes:
    """DE62 of the request for a page: its number, 3 ASCII digits."""
    return b"%03d" % number


def parse_page_number(content: bytes) -> int:
    """Read what `page_number` writes.

    Raises
    ------
    HotListError
        It is not 3 digits, or no number from 1 to `MOST_PAGES`.
    """
    if len(content) != _NUMBER_LENGTH or not content.isdigit() or not 1 <= int(content) <= MOST_PAGES:
        raise HotListError(f"a page of stopped cards has a number from 001 to {MOST_PAGES:03d}")
    return int(content)


def card_digest(salt: bytes, pan: str) -> bytes:
    """How the list names a card number (its digits): `DIGEST_LENGTH` bytes."""
    return hmac.digest(salt, pan.encode("ascii"), "sha256")[:DIGEST_LENGTH]


def pages(salt: bytes, pans: Sequence[str]) -> list[HotListPage]:
    """Lay a list out; its order says nothing of when a card came onto it.

    Raises
    ------
    HotListError
        There are more than `MOST_CARDS` card numbers.
    """
    if len(pans) > MOST_CARDS:
        raise HotListError(f"a list has at most {MOST_CARDS} stopped cards")
    digests = sorted(card_digest(salt, pan) for pan in pans)
    starts = range(0, len(digests), PAGE_CARDS)
    return [
        HotListPage(number, salt, b"".join(digests[start : start + PAGE_CARDS]), start + PAGE_CARDS < len(digests))
        for number, start in enumerate(starts, 1)
    ]


def hot_list(parts: Sequence[tuple[bytes, bytes]]) -> Callable[[str], bool] | None:
    """Tell of a card number whether it is on a list; each answer costs one HMAC.

    Parameters
    ----------
    parts
        Salt and digests of each page.

    Returns
    -------
    callable or None
        None where the list is empty.

    Raises
    ------
    HotListError
        The pages are malformed, or not of one list.
    """
    if not parts:
        return None
    salt = parts[0][0]
    if len(salt) != SALT_LENGTH or any(other != salt for other, _ in parts):
        raise HotListError("the pages of stopped cards are not of one list")
    if any(len(digests) % DIGEST_LENGTH for _, digests in parts):
        raise HotListError("the digests of a page of stopped cards are cut short")
    known = frozenset(
        digests[start : start + DIGEST_LENGTH]
        for _, digests in parts
        for start in range(0, len(digests), DIGEST_LENGTH)
    )
    return lambda pan: card_digest(salt, pan) in known
