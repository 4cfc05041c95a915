"""Whether the books of issuers, switch and acquirer say the same: the network's money, from three sides.

What issuers owe the network for approved sales, what the switch holds its issuers to and its acquirers due, what
the acquirer has to receive and what it owes its merchants are one and the same amount.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from network import ledger
from network.store import Store
from scenarios.demo_network.members import issuers_among
from scenarios.result import Books

_NETWORK: Final = "settlement:network"


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
    """Set the books of the issuers, ``switch`` and ``acquirer`` side by side.

    Every issuer's own position is held against its member account at the switch, so that what one of them has too
    much does not make good what another lacks.

    With `before`, the books when a run began, amounts and numbers are those of the run.
    Of transfers, the switch's and the issuer's numbers may differ where an issuer approved what the switch had
    given up: both directions are then posted at the issuer. Positions may not differ.
    """
    problems = [f"{party}: {one.error}" for party, one in books.items() if one.error]
    problems += _issuers_apart(books)
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
    switch, acquirer = books["switch"].accounts, books["acquirer"].accounts
    issuers = issuers_among(books)
    members = [account for account in switch if account.account_id.startswith("member:")]
    return {
        f"{'issuers' if len(issuers) > 1 else 'issuer'}: owed to the network": sum(
            _owed(books[one.party].accounts, _NETWORK) for one in issuers
        ),
        "switch: due from issuers": sum(max(0, m.debits - m.credits) for m in members),
        "switch: due to acquirers": sum(max(0, m.credits - m.debits) for m in members),
        "acquirer: due from the network": -_owed(acquirer, "receivable:network"),
        "acquirer: owed to merchants": sum(
            m.credits - m.debits for m in acquirer if m.account_id.startswith("merchant:")
        ),
    }


def _issuers_apart(books: Mapping[str, PartyBooks]) -> Iterable[str]:
    issuers = issuers_among(books)
    if len(issuers) < 2:
        return  # the positions of the whole network say it
    for one in issuers:
        owed, due = (
            _owed(books[one.party].accounts, _NETWORK),
            -_owed(books["switch"].accounts, f"member:{one.member_id}"),
        )
        if owed != due:
            yield f"{one.party}: owes the network {owed} fen, the switch says {due}"


def _owed(accounts: Iterable[Account], account_id: str) -> int:
    return sum(one.credits - one.debits for one in accounts if one.account_id == account_id)
