"""Double-entry books: whatever is posted balances, and whatever is tampered with is found."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from random import Random

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from network.ledger import LEDGER_TABLES, LedgerAccount, Money, Transfer, UnbalancedBooks, post, trial_balance
from network.store import Store, UnitOfWork

OpenStore = Callable[..., Store]
ACCOUNTS = ("cash", "fees", "merchant:1", "merchant:2")
TRANSFER_IDS = itertools.count()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    opened = open_store(*LEDGER_TABLES)
    unit = opened.unit_of_work()
    for account_id in ACCOUNTS:
        unit.insert(LedgerAccount(account_id, "debit" if account_id == "cash" else "credit", "156", 0, 0))
    unit.commit()
    return opened


def account(unit: UnitOfWork, account_id: str) -> LedgerAccount:
    found = unit.find(LedgerAccount, "account_id", account_id)
    assert found is not None
    return found


def transfer(unit: UnitOfWork, transfer_id: str, debit: str, credit: str, fen: int) -> Transfer:
    return post(
        unit,
        transfer_id=transfer_id,
        reference=f"sale {transfer_id}",
        debit=account(unit, debit),
        credit=account(unit, credit),
        amount=Money(fen),
        settlement_date="1204",
        posted_at=7,
    )


# postings


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.lists(st.integers(1, 5), max_size=5))
def test_random_transfers_keep_the_books_in_balance(store: Store, seed: int, turns: list[int]) -> None:
    random = Random(seed)
    unit = store.unit_of_work()
    before = trial_balance(store)
    model = {position.account_id: [position.debits, position.credits] for position in before.positions}
    for length in turns:
        fails = random.random() < 0.3
        moved = []
        for _ in range(length):
            debit, credit = random.sample(ACCOUNTS, 2)
            amount = random.choice([1, random.randrange(1, 10**4), random.randrange(1, 10**10)])
            transfer(unit, f"{next(TRANSFER_IDS)}", debit, credit, amount)
            moved.append((debit, credit, amount))
        if fails:
            unit.rollback()
            continue
        unit.commit()
        for debit, credit, amount in moved:
            model[debit][0] += amount
            model[credit][1] += amount
    after = trial_balance(store)
    assert after.imbalance == 0
    assert {position.account_id: [position.debits, position.credits] for position in after.positions} == model
    assert sum(one.balance if one.normal == "debit" else -one.balance for one in after.positions) == 0
    assert [one.account_id for one in after.positions] == sorted(ACCOUNTS)


def test_a_posting_and_its_row(store: Store) -> None:
    unit = store.unit_of_work()
    transfer(unit, "1", "cash", "merchant:1", 1250)
    assert account(unit, "cash").balance == 1250
    assert account(unit, "merchant:1").balance == 1250
    unit.commit()
    found = store.tables[Transfer]
    with store.read() as connection:
        row = connection.execute(sa.select(found)).one()
    assert tuple(row) == ("1", "sale 1", "cash", "merchant:1", 1250, "156", "1204", 7)
    balance = trial_balance(store)
    assert balance.transfers == 1
    assert [(one.account_id, one.balance) for one in balance.positions] == [
        ("cash", 1250),
        ("fees", 0),
        ("merchant:1", 1250),
        ("merchant:2", 0),
    ]


def test_a_transfer_cannot_be_posted_twice(store: Store) -> None:
    unit = store.unit_of_work()
    transfer(unit, "1", "cash", "merchant:1", 100)
    unit.commit()
    transfer(unit, "2", "cash", "merchant:1", 30)
    transfer(unit, "1", "cash", "merchant:1", 100)
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        unit.commit()
    unit.rollback()
    balance = trial_balance(store)
    assert (balance.transfers, balance.positions[0].debits) == (1, 100)
    assert account(unit, "cash").debits == 100


@pytest.mark.parametrize(
    ("debit", "credit", "amount", "words"),
    [
        ("cash", "fees", Money(0), "positive amount, not 0"),
        ("cash", "fees", Money(-5), "positive amount, not -5"),
        ("cash", "cash", Money(5), "transfer 9 debits and credits one account"),
        ("cash", "fees", Money(5, "840"), "transfer 9 mixes currencies"),
    ],
)
def test_refused_postings_change_nothing(store: Store, debit: str, credit: str, amount: Money, words: str) -> None:
    unit = store.unit_of_work()
    with pytest.raises(ValueError, match=words):
        post(
            unit,
            transfer_id="9",
            reference="9",
            debit=account(unit, debit),
            credit=account(unit, credit),
            amount=amount,
            settlement_date="1204",
            posted_at=0,
        )
    assert [(account(unit, one).debits, account(unit, one).credits) for one in ACCOUNTS] == [(0, 0)] * 4
    unit.commit()
    assert trial_balance(store).transfers == 0


# tampering


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE ledger_account SET debits = debits + 1 WHERE account_id = 'cash'", "account cash"),
        ("UPDATE ledger_account SET credits = 0 WHERE account_id = 'merchant:1'", "account merchant:1"),
        ("UPDATE ledger_account SET credits = 5, debits = 5 WHERE account_id = 'fees'", "account fees"),
        ("UPDATE transfer SET amount = amount - 1 WHERE transfer_id = '2'", "account (cash|fees)"),
        ("UPDATE transfer SET credit_account = 'merchant:2' WHERE transfer_id = '1'", "account merchant:1"),
        ("UPDATE transfer SET debit_account = 'hidden' WHERE transfer_id = '1'", "unknown account hidden"),
        ("DELETE FROM transfer WHERE transfer_id = '2'", "account (cash|fees)"),
        ("DELETE FROM ledger_account WHERE account_id = 'fees'", "unknown account fees"),
        (
            "INSERT INTO transfer VALUES ('3', 'x', 'merchant:1', 'merchant:2', 1, '156', '1204', 0)",
            "account merchant:1",
        ),
    ],
)
def test_tampering_is_found_and_the_account_named(store: Store, statement: str, named: str) -> None:
    unit = store.unit_of_work()
    transfer(unit, "1", "cash", "merchant:1", 100)
    transfer(unit, "2", "cash", "fees", 40)
    unit.commit()
    assert trial_balance(store).imbalance == 0
    with store.read() as connection:
        assert connection.exec_driver_sql(statement).rowcount == 1
    with pytest.raises(UnbalancedBooks, match=named):
        trial_balance(store)


def test_the_trial_balance_is_one_view_while_turns_commit(open_store: OpenStore, store: Store) -> None:
    """Between any two of its queries another connection posts: the books it shows are still of one moment."""
    writer = open_store(*LEDGER_TABLES).unit_of_work()
    posted = 0

    def write(*_: object) -> None:
        nonlocal posted
        posted += 1
        transfer(writer, f"during {posted}", "cash", "merchant:1", 10)
        writer.commit()

    sa.event.listen(store.engine, "after_cursor_execute", write)
    balances = [trial_balance(store) for _ in range(3)]
    sa.event.remove(store.engine, "after_cursor_execute", write)
    assert posted >= 12
    for balance in balances:
        cash = balance.positions[0]
        assert balance.imbalance == 0
        assert (cash.account_id, cash.debits) == ("cash", 10 * balance.transfers)
    assert trial_balance(store).transfers == posted


def test_the_reading_connection_is_given_back_as_it_was(store: Store) -> None:
    for _ in range(20):
        trial_balance(store)
    with store.read() as connection:
        connection.exec_driver_sql("UPDATE ledger_account SET debits = 1 WHERE account_id = 'cash'")
    with pytest.raises(UnbalancedBooks):
        trial_balance(store)
    unit = store.unit_of_work()
    transfer(unit, "1", "fees", "merchant:1", 1)
    unit.commit()


# money


@given(st.integers(-(10**14) + 1, 10**14 - 1))
def test_money_is_written_and_read_back(fen: int) -> None:
    assert Money.parse(str(Money(fen))) == Money(fen)


@pytest.mark.parametrize(
    ("text", "fen"),
    [
        ("0", 0),
        ("12", 1200),
        ("12.5", 1250),
        ("12.50", 1250),
        (" 12.05 ", 1205),
        ("-0.05", -5),
        ("-12.5", -1250),
        ("007", 700),
        ("999999999999.99", 99_999_999_999_999),
    ],
)
def test_parse(text: str, fen: int) -> None:
    assert Money.parse(text) == Money(fen)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        ".5",
        "5.",
        "1.234",
        "1,50",
        "1e3",
        "+1",
        "--1",
        "-",
        "0x10",
        "1_000",
        "١٢",
        "1.٢",
        "1 0",
        "nan",
        "1.-5",
        "1" * 13,
        "1.5.0",
        "12.50元",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an amount in yuan such as 12\.50"):
        Money.parse(text)


def test_a_refusal_does_not_repeat_a_novel() -> None:
    with pytest.raises(ValueError, match="is not an amount") as caught:
        Money.parse("9" * 10_000)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("fen", [1.0, 12.5, "12", None, True])
def test_money_refuses_what_is_no_integer(fen: object) -> None:
    with pytest.raises(TypeError, match="integer number of fen"):
        Money(fen)  # type: ignore[arg-type]


def test_arithmetic_and_order() -> None:
    assert Money(5) + Money(3) == Money(8)
    assert Money(5) - Money(8) == Money(-3)
    assert str(Money(-3)) == "-0.03"
    assert Money(3) < Money(5) <= Money(5)
    assert Money(5) > Money(3)
    assert Money(5) >= Money(5)
    assert max(Money(1), Money(9), Money(4)) == Money(9)
    assert Money(5) != Money(5, "840")
    assert len({Money(5), Money(5), Money(5, "840")}) == 2


@pytest.mark.parametrize(
    "operation",
    [
        lambda one, other: one + other,
        lambda one, other: one - other,
        lambda one, other: one < other,
        lambda one, other: one <= other,
        lambda one, other: one > other,
        lambda one, other: one >= other,
    ],
    ids=["+", "-", "<", "<=", ">", ">="],
)
def test_currencies_are_not_mixed_and_numbers_are_no_money(operation: Callable[[Money, object], object]) -> None:
    with pytest.raises(ValueError, match=r"currencies (156 and 840|840 and 156) cannot be mixed"):
        operation(Money(1), Money(2, "840"))
    for other in (1, 1.0, "1"):
        with pytest.raises(TypeError):
            operation(Money(1), other)
