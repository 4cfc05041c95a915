"""Whether the books of issuer, switch and acquirer say the same: the network's money, from three sides.

What issuers owe the network for approved sales, what the switch holds its issuers to and its acquirers due, what
the acquirer has to receive and what it owes its merchants are one and the same amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from network import ledger
from network.store import Store
from scenarios.result import Books


class Account(NamedTuple):
    """An account of a party's trial balance; in fen."""

    account_id: str
    debits: int
    credits: int


class PartyBooks(NamedTuple):
    """A party's trial balance, or in `error` why there is none."""

    accounts: list[Account]
    imbalance: int
    transfers: int
    error: str | None = None


def of_store(store: Store) -> PartyBooks:
    """The books in a store at hand."""
    try:
        balance = ledger.trial_balance(store)
    except ledger.UnbalancedBooks as error:
        return PartyBooks([], 0, 0, str(error))
    accounts = [Account(p.account_id, p.debits, p.credits) for p in balance.positions]
    return PartyBooks(accounts, balance.imbalance, balance.transfers)


def compare(books: Mapping[str, PartyBooks], before: Mapping[str, PartyBooks] | None = None) -> Books:
    """Set the books of ``issuer``, ``switch`` and ``acquirer`` side by side.

    With `before`, the books when a run began, amounts and numbers are those of the run.
    Of transfers, the switch's and the issuer's numbers may differ where an issuer approved what the switch had
    given up: both directions are then posted at the issuer. Positions may not differ.
    """
    problems = [f"{party}: {one.error}" for party, one in books.items() if one.error]
    positions = _positions(books)
    if len(set(positions.values())) != 1:
        problems.append("the positions are not the same amount")
    for party, one in books.items():
        if one.imbalance:
            problems.append(f"{party}: debits and credits differ by {one.imbalance} fen")
    transfers = {party: one.transfers for party, one in books.items()}
    if before is not None:
        then = _positions(before)
        positions = {name: fen - then[name] for name, fen in positions.items()}
        transfers = {party: number - before[party].transfers for party, number in transfers.items()}
    return Books(
        agree=not problems,
        positions=positions,
        imbalance={party: one.imbalance for party, one in books.items()},
        transfers=transfers,
        problems=problems,
    )


def _positions(books: Mapping[str, PartyBooks]) -> dict[str, int]:
    issuer, switch, acquirer = (books[party].accounts for party in ("issuer", "switch", "acquirer"))
    members = [account for account in switch if account.account_id.startswith("member:")]
    return {
        "issuer: owed to the network": _owed(issuer, "settlement:network"),
        "switch: due from issuers": sum(max(0, m.debits - m.credits) for m in members),
        "switch: due to acquirers": sum(max(0, m.credits - m.debits) for m in members),
        "acquirer: due from the network": -_owed(acquirer, "receivable:network"),
        "acquirer: owed to merchants": sum(
            m.credits - m.debits for m in acquirer if m.account_id.startswith("merchant:")
        ),
    }


def _owed(accounts: Iterable[Account], account_id: str) -> int:
    return sum(one.credits - one.debits for one in accounts if one.account_id == account_id)
