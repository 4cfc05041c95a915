"""The verdict on a run and its books laid side by side, for the page and for the console alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from scenarios.report.quantities import share
from scenarios.result import PARTIES, Books, Result, Threshold


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
        The books agree, the run is valid, every threshold is met and money moved.
    books_agree : bool
        Nothing in the result speaks against the books.
    valid : bool
        The generators of a load run kept up.
    missed : list of Threshold
        Those that are not met.
    headline, detail : str
        In words.
    """

    good: bool
    books_agree: bool
    valid: bool
    missed: list[Threshold]
    headline: str
    detail: str


def verdict(result: Result) -> Verdict:
    """Judge a run by its books, its generators, its thresholds and its approvals."""
    agree = result.books.agree and not result.books.problems and all(book.sound for book in compare(result.books))
    valid = result.load is None or result.load.valid
    missed = [threshold for threshold in result.thresholds if not threshold.met]
    detail = (
        f"{result.approved:,} of {result.attempts:,} payments approved ({share(result.approved, result.attempts)})."
        if result.attempts
        else "Nothing was attempted."
    )
    return Verdict(
        good=agree and valid and not missed and result.approved > 0,
        books_agree=agree,
        valid=valid,
        missed=missed,
        headline=_headline(result, agree, valid, len(missed)),
        detail=detail,
    )


def _headline(result: Result, agree: bool, valid: bool, missed: int) -> str:
    """The worst first."""
    said = [] if agree else ["the books do not agree"]
    if not valid:
        said.append("the run is invalid")
    number = len(result.thresholds)
    if missed:
        said.append("the threshold was missed" if number == 1 else f"{missed} of {number} thresholds missed")
    elif number and valid:
        said.append("the threshold is met" if number == 1 else f"all {number} thresholds met")
    if agree:
        said.append("the books agree")
    if agree and not result.approved:
        said.append("but no payment was approved")
    text = ", ".join(said)
    return text[0].upper() + text[1:]


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
