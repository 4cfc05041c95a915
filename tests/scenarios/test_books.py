"""The three books side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import sqlalchemy as sa

from network.ledger import LEDGER_TABLES, LedgerAccount, Money, post
from network.store import Store, sqlite_url
from scenarios.books import Account, PartyBooks, compare, of_store
from scenarios.demo_network.members import ISSUERS

Books = dict[str, PartyBooks]


def party(*accounts: tuple[str, int, int], transfers: int = 1) -> PartyBooks:
    made = [Account(*account) for account in accounts]
    return PartyBooks(made, sum(one.debits - one.credits for one in made), transfers)


def agreeing() -> Books:
    """Sales of 500 and 300 fen, and one of 200 that was reversed."""
    return {
        "issuer": party(("deposit:1", 500, 0), ("deposit:2", 500, 200), ("settlement:network", 200, 1000), transfers=4),
        "switch": party(("member:acquirer", 200, 1000), ("member:issuer", 1000, 200), transfers=4),
        "acquirer": party(
            ("receivable:network", 1000, 200), ("merchant:1", 0, 500), ("merchant:2", 200, 500), transfers=4
        ),
    }


def test_books_that_agree() -> None:
    found = compare(agreeing())
    assert found.agree
    assert found.problems == []
    assert set(found.positions.values()) == {800}
    assert len(found.positions) == 5
    assert found.imbalance == {"issuer": 0, "switch": 0, "acquirer": 0}
    assert found.transfers == {"issuer": 4, "switch": 4, "acquirer": 4}


def test_empty_books_agree() -> None:
    nothing = party(transfers=0)
    found = compare({"issuer": nothing, "switch": nothing, "acquirer": nothing})
    assert found.agree
    assert set(found.positions.values()) == {0}


def test_several_members_are_netted_each_for_itself() -> None:
    books = agreeing()
    books["switch"] = party(("member:a", 0, 800), ("member:i", 500, 0), ("member:j", 300, 0))
    assert compare(books).agree
    books["switch"] = party(("member:a", 0, 800), ("member:i", 900, 0), ("member:j", 0, 100))
    assert not compare(books).agree


def two_issuers() -> Books:
    books = agreeing()
    first, second = (one.member_id for one in ISSUERS)
    books["issuer"] = party(("deposit:1", 500, 0), ("settlement:network", 0, 500))
    books["issuer_b"] = party(("deposit:2", 500, 200), ("settlement:network", 200, 500))
    books["switch"] = party(("member:acquirer", 200, 1000), (f"member:{first}", 500, 0), (f"member:{second}", 500, 200))
    return books


def test_two_issuers_owe_together_what_the_acquirer_has_to_receive() -> None:
    found = compare(two_issuers(), {name: party(transfers=0) for name in two_issuers()})
    assert found.agree, found.problems
    assert found.positions["issuers: owed to the network"] == 800
    assert set(found.positions.values()) == {800}
    assert found.imbalance.keys() == {"issuer", "issuer_b", "switch", "acquirer"}


def test_what_one_issuer_has_too_much_does_not_make_good_what_the_other_lacks() -> None:
    books = two_issuers()
    books["issuer"] = party(("deposit:1", 400, 0), ("settlement:network", 0, 400))
    books["issuer_b"] = party(("deposit:2", 600, 200), ("settlement:network", 200, 600))
    found = compare(books)
    assert not found.agree
    assert set(found.positions.values()) == {800}
    assert found.problems == [
        "issuer: owes the network 400 fen, the switch says 500",
        "issuer_b: owes the network 400 fen, the switch says 300",
    ]


@pytest.mark.parametrize(
    ("which", "account", "change"),
    [
        ("issuer", "settlement:network", 1),
        ("issuer", "settlement:network", -1),
        ("switch", "member:acquirer", 1),
        ("switch", "member:issuer", -100),
        ("acquirer", "receivable:network", 1),
        ("acquirer", "merchant:2", 5),
    ],
)
def test_one_fen_more_at_one_party_is_found(which: str, account: str, change: int) -> None:
    books = agreeing()
    before = books[which]
    accounts = [
        one._replace(credits=one.credits + change) if one.account_id == account else one for one in before.accounts
    ]
    # the party's own books still balance, in an account that no position shows
    accounts.append(Account("suspense", change, 0))
    books[which] = before._replace(accounts=accounts)
    found = compare(books)
    assert not found.agree
    assert found.problems == ["the positions are not the same amount"]
    assert len(set(found.positions.values())) > 1


def test_a_book_out_of_balance_is_named() -> None:
    books = agreeing()
    books["switch"] = books["switch"]._replace(imbalance=-3)
    found = compare(books)
    assert not found.agree
    assert found.problems == ["switch: debits and credits differ by -3 fen"]


def test_a_book_that_cannot_be_read_is_named() -> None:
    books = agreeing()
    books["acquirer"] = PartyBooks([], 0, 0, "account merchant:1 does not carry the sums of its transfers")
    found = compare(books)
    assert not found.agree
    assert found.problems[0] == "acquirer: account merchant:1 does not carry the sums of its transfers"


@pytest.fixture
def store(tmp_path: Path) -> Iterable[Store]:
    made = Store(sqlite_url(tmp_path / "party.db"), LEDGER_TABLES)
    unit = made.unit_of_work()
    accounts = [LedgerAccount("cash", "debit", "156", 0, 0), LedgerAccount("sales", "credit", "156", 0, 0)]
    for account in accounts:
        unit.insert(account)
    for number in range(3):
        post(
            unit,
            transfer_id=str(number),
            reference=str(number),
            debit=accounts[0],
            credit=accounts[1],
            amount=Money(100),
            settlement_date="1204",
            posted_at=0,
        )
    unit.commit()
    yield made
    made.close()


def test_the_books_of_a_store(store: Store) -> None:
    assert of_store(store) == PartyBooks([Account("cash", 300, 0), Account("sales", 0, 300)], 0, 3)


def test_the_books_of_a_store_that_was_tampered_with(store: Store) -> None:
    with store.read() as connection:
        connection.execute(sa.text("UPDATE transfer SET amount = 99 WHERE transfer_id = '1'"))
    found = of_store(store)
    assert found.error == "account cash does not carry the sums of its transfers"
    assert (found.accounts, found.transfers) == ([], 0)
