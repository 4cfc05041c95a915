"""E-cash in the books: money that cards carry and pay with offline.

Loading moves money from the cardholder's account to the ledger account ``ecash:ACCOUNT``, which the issuer owes to
whoever presents the card's promises. Such a promise is a transaction certificate: a right one is redeemed whatever the
balance, once for each counter of the card; what the balance did not cover is booked all the same and marked.
"""

from __future__ import annotations

from issuer.tables import ECASH_PREFIX, Account, Card
from issuer.token_tables import OfflineSale
from network.ledger import LedgerAccount, Money, Transfer, post
from network.party import Instant, local_time
from network.store import UnitOfWork


class EcashError(ValueError):
    """E-cash that cannot be loaded; says why."""


def load_ecash(
    store: UnitOfWork, *, account_id: str, amount: Money, reference: str, now: Instant
) -> tuple[LedgerAccount, bool]:
    """Move money from an account to its e-cash. The same reference is posted once.

    Parameters
    ----------
    reference
        The loading's own.

    Returns
    -------
    LedgerAccount, bool
        The e-cash account, and whether money was moved now.

    Raises
    ------
    EcashError
        There is no such account, it does not hold the amount, or the reference was used for another loading.
    """
    account = store.find(Account, "account_id", account_id)
    ledger = store.find(LedgerAccount, "account_id", account_id)
    if account is None or ledger is None:
        raise EcashError(f"there is no account {account_id}")
    if amount.fen <= 0 or amount.currency != ledger.currency:
        raise EcashError("what is loaded is a positive amount in the account's currency")
    ecash = ecash_account(store, account_id, ledger.currency)
    transfer_id = f"{reference}/ecash-loaded"
    before = store.find(Transfer, "transfer_id", transfer_id)
    if before is not None:
        if (before.debit_account, before.amount) != (account_id, amount.fen):
            raise EcashError("the reference was used for another loading")
        return ecash, False
    if amount.fen > ledger.balance + account.credit_limit:
        raise EcashError(f"account {account_id} does not hold the amount")
    post(
        store,
        transfer_id=transfer_id,
        reference=reference,
        debit=ledger,
        credit=ecash,
        amount=amount,
        settlement_date=local_time(now).strftime("%m%d"),
        posted_at=now,
    )
    return ecash, True


def ecash_account(store: UnitOfWork, account_id: str, currency: str) -> LedgerAccount:
    """The ledger account of an account's e-cash, opened where it is not there yet."""
    ecash = store.find(LedgerAccount, "account_id", ECASH_PREFIX + account_id)
    if ecash is None:
        ecash = LedgerAccount(ECASH_PREFIX + account_id, "credit", currency, 0, 0)
        store.insert(ecash)
    return ecash


def certificate_redeemed(store: UnitOfWork, pan_index: str, counter: int) -> bool:
    """Whether what a card promised under this transaction counter was paid already."""
    return store.find(OfflineSale, "offline_sale_id", OfflineSale.key(pan_index, counter)) is not None


def redeem(
    store: UnitOfWork,
    *,
    card: Card,
    counter: int,
    reference: str,
    amount: Money,
    settlement: LedgerAccount,
    settlement_date: str,
    now: Instant,
) -> LedgerAccount:
    """Pay a card's promise from its e-cash, whatever that holds, and note that it is paid.

    Parameters
    ----------
    counter
        The card's transaction counter in the certificate.
    reference
        Of the authorisation.
    settlement
        The account of what the issuer owes the network.
    settlement_date
        MMDD.

    Returns
    -------
    LedgerAccount
        The e-cash account.
    """
    ecash = ecash_account(store, card.account_id, amount.currency)
    overdrawn = int(ecash.balance < amount.fen)
    post(
        store,
        transfer_id=f"{reference}/sale",
        reference=reference,
        debit=ecash,
        credit=settlement,
        amount=amount,
        settlement_date=settlement_date,
        posted_at=now,
    )
    key = OfflineSale.key(card.pan_index, counter)
    store.insert(OfflineSale(key, card.pan_index, reference, amount.fen, overdrawn, now))
    return ecash
