"""The verdict on a run and its books laid side by side, for the page and for the console alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from scenarios.report.quantities import share
from scenarios.result import PARTIES, Books, Result


@dataclass(frozen=True)
class Entry:
    """A position: what it is called, its amount and how far that is from the others', in fen."""

    label: str
    amount: int
    difference: int


@dataclass(frozen=True)
class Book:
    """One party's book; `imbalance` in fen, `transfers` a number, either `None` where it was not read."""

    party: str
    entries: list[Entry]
    imbalance: int | None
    transfers: int | None

    @property
    def sound(self) -> bool:
        """It is in balance and says what the others say."""
        return not self.imbalance and not any(entry.difference for entry in self.entries)


@dataclass(frozen=True)
class Verdict:
    """What a reader wants to know first.

    Attributes
    ----------
    good : bool
        The books agree and money moved.
    books_agree : bool
        Nothing in the result speaks against the books.
    headline, detail : str
        In words.
    """

    good: bool
    books_agree: bool
    headline: str
    detail: str


def verdict(result: Result) -> Verdict:
    """Judge a run by its books and its approvals."""
    agree = result.books.agree and not result.books.problems and all(book.sound for book in compare(result.books))
    detail = (
        f"{result.approved:,} of {result.attempts:,} payments approved ({share(result.approved, result.attempts)})."
        if result.attempts
        else "Nothing was attempted."
    )
    headline = "The books agree" if agree else "The books do not agree"
    if agree and not result.approved:
        headline = "The books agree, but no payment was approved"
    return Verdict(agree and result.approved > 0, agree, headline, detail)


def compare(books: Books) -> list[Book]:
    """The books in the order in which a payment passes their parties, each entry held against the others.

    What most positions say is taken as right (the lowest amount among equals), so that one book that is wrong
    stands out.
    """
    usual = _usual(list(books.positions.values()))
    entries: dict[str, list[Entry]] = {}
    for name, amount in sorted(books.positions.items()):
        party, _, label = name.partition(": ")
        entries.setdefault(party, []).append(Entry(label or party, amount, amount - usual))
    return [
        Book(party, entries.get(party, []), books.imbalance.get(party), books.transfers.get(party))
        for party in in_order({*entries, *books.imbalance, *books.transfers})
    ]


def in_order(parties: set[str]) -> list[str]:
    """Parties in the order in which a payment passes them, others after them by name."""
    return [party for party in PARTIES if party in parties] + sorted(parties.difference(PARTIES))


def title_of(party: str) -> str:
    """A party's name for people."""
    return party.replace("_", " ")


def _usual(amounts: list[int]) -> int:
    if not amounts:
        return 0
    counts = Counter(amounts)
    return min(counts, key=lambda amount: (-counts[amount], amount))
