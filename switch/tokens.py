"""The token service: numbers of the switch's own that stand for cards.

A token is made for a card of the issuer that asks, in one or more domains, with the card's expiry. Suspending one token
touches neither the card nor its other tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final, NamedTuple

from network.iso8583.masking import mask_pan
from network.party import Instant, Turn
from network.store import UnitOfWork
from switch.card_data import CardData
from switch.configuration import Configuration
from switch.tables import ACTIVE, CODE, CONTACTLESS, TOKEN_DELETED, TOKEN_SUSPENDED, Token

SUSPEND: Final = "920000"
RESUME: Final = "921000"
DELETE: Final = "922000"
"""DE3 of the requests that change a token's status."""

DOMAINS: Final = (CONTACTLESS, CODE)

_LENGTHS: Final = range(16, 20)
_USUAL_LENGTH: Final = 16
_TRIES: Final = 100
_DOMAIN_OF_MODE: Final = {"07": CONTACTLESS, "03": CODE}


class NoFreeNumberError(LookupError):
    """Of so many numbers drawn none was free."""


class TokenCard(NamedTuple):
    """What a token stands for: the card's number and expiry (YYMM), and the token itself."""

    pan: str
    expiry: str
    token: str

    def __repr__(self) -> str:
        return "TokenCard(...)"


class Tokens:
    """Makes tokens, finds them, and changes their status."""

    def __init__(self, configuration: Configuration, cards: CardData) -> None:
        self.prefix = configuration.token_prefix
        self._most = configuration.tokens_per_card
        self._cards = cards

    def index(self, store: UnitOfWork, number: str) -> str:
        """What the row of the token `number` is found by."""
        return self._cards.index(store, number)

    def find(self, store: UnitOfWork, number: str) -> Token | None:
        """The row of a token; None where there is none."""
        return store.find(Token, "token_index", self._cards.index(store, number))

    def card(self, store: UnitOfWork, token: Token) -> TokenCard:
        """What the token stands for."""
        pan, expiry, number = self._cards.unseal_text(store, token.token_index, token.sealed).split("=")
        return TokenCard(pan, expiry, number)

    def make(self, turn: Turn, issuer: str, pan: str, expiry: str, domains: Iterable[str]) -> str | None:
        """Make a token for a card; gives its number, None where the card has as many as it may.

        Parameters
        ----------
        pan, expiry
            Of the card, whose route must be the issuer's; the expiry is the token's too, YYMM.
        domains
            Of `DOMAINS`.

        Raises
        ------
        NoFreeNumberError
            No number is free.
        """
        store = turn.store
        card_index = self._cards.index(store, pan)
        if not self._has_room(store, card_index):
            return None
        for _ in range(_TRIES):
            number = _drawn(turn.random, self.prefix, len(pan) if len(pan) in _LENGTHS else _USUAL_LENGTH)
            token_index = self._cards.index(store, number)
            if store.find(Token, "token_index", token_index) is None:
                break
        else:
            raise NoFreeNumberError(f"{_TRIES} numbers in a row are tokens already")
        store.insert(
            Token(
                token_index=token_index,
                card_index=card_index,
                sealed=self._cards.seal_text(store, token_index, f"{pan}={expiry}={number}"),
                masked=mask_pan(number),
                issuer=issuer,
                domains=",".join(one for one in DOMAINS if one in domains),
                expiry=expiry,
                status=ACTIVE,
                created_at=turn.now,
                changed_at=turn.now,
            )
        )
        return number

    def change(self, store: UnitOfWork, issuer: str, number: str, function: str, now: Instant) -> str:
        """Suspend, resume or delete a token of an issuer; gives the response code. What is deleted stays so."""
        token = self.find(store, number)
        if token is None or token.issuer != issuer:
            return "14"
        status = {SUSPEND: TOKEN_SUSPENDED, RESUME: ACTIVE, DELETE: TOKEN_DELETED}[function]
        if token.status == status:
            return "00"
        if token.status == TOKEN_DELETED:
            return "14"
        store.change(token)
        token.status = status
        token.changed_at = now
        return "00"

    def _has_room(self, store: UnitOfWork, card_index: str) -> bool:
        # deleted ones stand in the index too; a card with so many of them has had its share
        found = store.scan(Token, "card_index", card_index, 8 * self._most)
        alive = sum(token.status != TOKEN_DELETED for token in found)
        return alive < self._most and len(found) < 8 * self._most


def refusal_of(token: Token | None, domain: str | None, year_month: str) -> str | None:
    """Why a token may not be used: 14 unknown, expired or deleted, 62 suspended, 57 in the wrong domain [G].

    Parameters
    ----------
    domain
        See `domain_of`.
    year_month
        YYMM of now.
    """
    if token is None or token.status == TOKEN_DELETED or token.expiry < year_month:
        return "14"
    if token.status != ACTIVE:
        return "62"
    return None if domain in token.domains.split(",") else "57"


def domain_of(entry_mode: str) -> str | None:
    """The domain that an entry mode (DE22) is of; None where it is of none in which tokens are used."""
    return _DOMAIN_OF_MODE.get(entry_mode[:2])


def check_digit(digits: str) -> str:
    """The Luhn digit (ISO/IEC 7812-1, annex B) that goes behind `digits`.

    >>> check_digit("621234567890123")
    '2'
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 - place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return str(-total % 10)


def _drawn(random: Random, prefix: str, length: int) -> str:
    missing = length - len(prefix) - 1
    digits = f"{prefix}{random.randrange(10**missing):0{missing}d}"
    return digits + check_digit(digits)
