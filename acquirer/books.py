"""The acquirer's books: what the network owes it, and what it owes its merchants."""

from __future__ import annotations

from acquirer.enrolment import RECEIVABLE, account_of
from acquirer.tables import Transaction
from network.ledger import LedgerAccount, Money, post
from network.party import Turn


def post_sale(turn: Turn, row: Transaction) -> None:
    """An approved sale: the network owes the amount, the merchant is owed it."""
    receivable, merchant = _accounts(turn, row)
    _post(turn, row, "sale", receivable, merchant)


def post_reversal(turn: Turn, row: Transaction) -> None:
    """The opposite of `post_sale`."""
    receivable, merchant = _accounts(turn, row)
    _post(turn, row, "reversal", merchant, receivable)


def _accounts(turn: Turn, row: Transaction) -> tuple[LedgerAccount, LedgerAccount]:
    receivable = turn.store.find(LedgerAccount, "account_id", RECEIVABLE)
    merchant = turn.store.find(LedgerAccount, "account_id", account_of(row.merchant_id))
    if receivable is None or merchant is None:
        raise LookupError(f"merchant {row.merchant_id} has no account")
    return receivable, merchant


def _post(turn: Turn, row: Transaction, movement: str, debit: LedgerAccount, credit: LedgerAccount) -> None:
    post(
        turn.store,
        transfer_id=f"{row.reference}/{movement}",
        reference=row.reference,
        debit=debit,
        credit=credit,
        amount=Money(row.amount, row.currency),
        settlement_date=row.settlement_date or row.reference[4:8],
        posted_at=turn.now,
    )
