"""Double-entry books: every movement of money is a transfer that debits one account and credits another.

A transfer is one row with one positive amount and two accounts, so it balances by construction, and its id is
its own guard: the same movement cannot be posted twice. Amounts are integers in fen (1/100 CNY); `Money`
refuses floats and mixed currencies. An account carries the running totals of its debits and credits; the trial
balance recomputes them from the transfers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import sqlalchemy as sa

from network.store import Row, Store, UnitOfWork, table

CNY: Final = "156"
"""ISO 4217 numeric code of the yuan, as DE49 carries it."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of money.

    Parameters
    ----------
    fen : int
        In the currency's minor unit.
    currency : str
        ISO 4217 numeric code.

    Examples
    --------
    >>> Money(1250) + Money(50)
    Money(fen=1300, currency='156')
    >>> Money.parse("12.5")
    Money(fen=1250, currency='156')
    >>> str(Money(1250))
    '12.50'
    """

    fen: int
    currency: str = CNY

    def __post_init__(self) -> None:
        if type(self.fen) is not int:
            raise TypeError(f"money is an integer number of fen, not {type(self.fen).__name__}")

    def _same(self, other: Money) -> None:
        if self.currency != other.currency:
            raise ValueError(f"currencies {self.currency} and {other.currency} cannot be mixed")

    def __add__(self, other: Money) -> Money:
        if not isinstance(other, Money):
            return NotImplemented
        self._same(other)
        return Money(self.fen + other.fen, self.currency)

    def __sub__(self, other: Money) -> Money:
        if not isinstance(other, Money):
            return NotImplemented
        self._same(other)
        return Money(self.fen - other.fen, self.currency)

    def __lt__(self, other: Money) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        self._same(other)
        return self.fen < other.fen

    def __le__(self, other: Money) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        self._same(other)
        return self.fen <= other.fen

    def __str__(self) -> str:
        sign, fen = ("-", -self.fen) if self.fen < 0 else ("", self.fen)
        return f"{sign}{fen // 100}.{fen % 100:02d}"

    @classmethod
    def parse(cls, text: str, currency: str = CNY) -> Money:
        """The amount written in yuan with at most two decimals, exactly.

        Raises
        ------
        ValueError
            The text is not such a number.
        """
        whole, dot, cents = text.strip().partition(".")
        sign = -1 if whole.startswith("-") else 1
        whole = whole.removeprefix("-")
        digits = whole.isascii() and whole.isdigit()
        if not digits or len(whole) > 12 or (dot and not (cents.isascii() and cents.isdigit() and len(cents) <= 2)):
            raise ValueError(f"{text[:40]!r} is not an amount in yuan such as 12.50")
        return cls(sign * (int(whole) * 100 + int(cents.ljust(2, "0") or "0")), currency)


@table("ledger_account", key="account_id", mutable=("debits", "credits"), cached=True)
class LedgerAccount(Row):
    """An account of the books and the totals of what was posted to it.

    `normal` is the side on which its balance is positive: ``debit`` for assets and expenses, ``credit`` for
    liabilities and income.
    """

    account_id: str
    normal: str
    currency: str
    debits: int
    credits: int

    @property
    def balance(self) -> int:
        """In fen, positive on the account's normal side."""
        return self.debits - self.credits if self.normal == "debit" else self.credits - self.debits


@table("transfer", key="transfer_id")
class Transfer(Row):
    """A movement of money: `amount` fen from the credited to the debited account, on a settlement date (MMDD)."""

    transfer_id: str
    reference: str
    debit_account: str
    credit_account: str
    amount: int
    currency: str
    settlement_date: str
    posted_at: int


LEDGER_TABLES: Final = (LedgerAccount, Transfer)


class UnbalancedBooks(Exception):
    """The books contradict themselves; the message names the account."""


def post(
    store: UnitOfWork,
    *,
    transfer_id: str,
    reference: str,
    debit: LedgerAccount,
    credit: LedgerAccount,
    amount: Money,
    settlement_date: str,
    posted_at: int,
) -> Transfer:
    """Post a transfer in the current turn.

    Parameters
    ----------
    transfer_id
        Unique over the life of the books: a second posting of it is refused by the store at the commit.
    reference
        What the movement belongs to, the same for a sale and its reversal.

    Raises
    ------
    ValueError
        The amount is not positive, the currencies differ, or both sides are one account.
    """
    if amount.fen <= 0:
        raise ValueError(f"a transfer moves a positive amount, not {amount.fen}")
    if not debit.currency == credit.currency == amount.currency:
        raise ValueError(f"transfer {transfer_id} mixes currencies")
    if debit.account_id == credit.account_id:
        raise ValueError(f"transfer {transfer_id} debits and credits one account")
    transfer = Transfer(
        transfer_id,
        reference,
        debit.account_id,
        credit.account_id,
        amount.fen,
        amount.currency,
        settlement_date,
        posted_at,
    )
    store.insert(transfer)
    store.change(debit)
    debit.debits += amount.fen
    store.change(credit)
    credit.credits += amount.fen
    return transfer


class Position(NamedTuple):
    """An account in the trial balance; amounts in fen."""

    account_id: str
    normal: str
    debits: int
    credits: int
    balance: int


class TrialBalance(NamedTuple):
    """The books at a moment: every account, and the sum of all debits less all credits, which must be zero."""

    positions: list[Position]
    imbalance: int
    transfers: int


def trial_balance(store: Store) -> TrialBalance:
    """Read the committed books and prove them.

    Raises
    ------
    UnbalancedBooks
        An account's totals are not the sums of its transfers.
    """
    accounts = store.tables[LedgerAccount]
    transfers = store.tables[Transfer]
    with store.read() as connection, _snapshot(connection):
        rows = connection.execute(sa.select(accounts).order_by(accounts.c.account_id)).all()
        sums: dict[str, list[int]] = {row.account_id: [0, 0] for row in rows}
        for side, column in enumerate((transfers.c.debit_account, transfers.c.credit_account)):
            query = sa.select(column, sa.func.sum(transfers.c.amount)).group_by(column)
            for account_id, total in connection.execute(query):
                if account_id not in sums:
                    raise UnbalancedBooks(f"transfers name the unknown account {account_id}")
                sums[account_id][side] = int(total)
        count = connection.execute(sa.select(sa.func.count()).select_from(transfers)).scalar_one()
    positions = []
    for row in rows:
        if [row.debits, row.credits] != sums[row.account_id]:
            raise UnbalancedBooks(f"account {row.account_id} does not carry the sums of its transfers")
        account = LedgerAccount(row.account_id, row.normal, row.currency, row.debits, row.credits)
        positions.append(Position(row.account_id, row.normal, row.debits, row.credits, account.balance))
    imbalance = sum(position.debits - position.credits for position in positions)
    return TrialBalance(positions, imbalance, count)


class Totals(NamedTuple):
    """Sums over all accounts, and over the transfers where there are not too many; amounts in fen."""

    debits: int
    credits: int
    moved: int | None
    transfers: int | None


def totals(store: Store, limit: int) -> Totals:
    """What must agree, read quickly: debits with credits, and with what all transfers moved.

    Parameters
    ----------
    limit : int
        Where there are more transfers than this they are not summed.
    """
    accounts = store.tables[LedgerAccount]
    amounts = sa.select(store.tables[Transfer].c.amount).limit(limit + 1).subquery()
    with store.read() as connection, _snapshot(connection):
        sums = sa.select(sa.func.sum(accounts.c.debits), sa.func.sum(accounts.c.credits))
        debits, credits_ = connection.execute(sums).one()
        count, moved = connection.execute(sa.select(sa.func.count(), sa.func.sum(amounts.c.amount))).one()
    if count > limit:
        return Totals(int(debits or 0), int(credits_ or 0), None, None)
    return Totals(int(debits or 0), int(credits_ or 0), int(moved or 0), int(count))


def _snapshot(connection: sa.Connection) -> sa.RootTransaction:
    """One view of the data for several queries, also while turns commit."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ")
        return connection.begin()
    transaction = connection.begin()
    connection.exec_driver_sql("BEGIN")
    return transaction
