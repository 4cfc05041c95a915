"""kill -9 of each service in mid-load: what was approved is posted once everywhere, the rest nowhere or reversed."""

from __future__ import annotations

import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

import acquirer.tables
import merchant_device.tables
from network.ledger import Transfer
from network.store import Store
from scenarios import books
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.members import issuers_among
from scenarios.demo_network.processes import SERVICES, NetworkError, Processes, RunningNetwork, free_base_port

pytestmark = pytest.mark.live

TIMEOUTS = demo.Timeouts(issuer=1.5, switch=2.5, acquirer=4.0, advice_retry=0.5, reversal_retry=0.5)
PHONES = 6
SECONDS_BEFORE, SECONDS_DEAD, SECONDS_AFTER = 1.5, 0.7, 3.0
SETTLING_SECONDS = 40.0


class Load:
    """Phones that sell without pause, each to a card of its own, and keep every receipt that they get."""

    def __init__(self, network: RunningNetwork) -> None:
        self.network = network
        self.receipts: list[dict[str, object]] = []
        self.errors = 0
        self.selling = threading.Event()
        self.selling.set()
        terminals = [one["terminal_id"] for one in network.description["terminals"] if not one["free"]]
        self.threads = [
            threading.Thread(target=self.sell, args=(terminal, place))
            for terminal, place in zip(terminals[:PHONES], (0, 1, 2, 4, 5, 6), strict=True)
        ]

    def sell(self, terminal: str, place: int) -> None:
        atc = 0
        while self.selling.is_set():
            payment = {"amount": 100 + atc % 7, "terminal": terminal, "card": place, "atc": atc}
            atc += 1  # a chip counts each tap, whatever becomes of it
            try:
                self.receipts.append(self.network.post("device", "/payments", payment, timeout=15.0))
            except (NetworkError, httpx.HTTPError):
                self.errors += 1
                time.sleep(0.05)


@pytest.fixture
def processes(tmp_path: Path, issuers: int, database: str, request: pytest.FixtureRequest) -> Iterator[Processes]:
    url = request.getfixturevalue("postgres_server").new_database() if database == "postgres" else None
    embedded.prepare(
        tmp_path,
        free_base_port(),
        timeouts=TIMEOUTS,
        cards=20,
        free_terminals=2,
        issuers=issuers,
        database=url,
    )
    running = Processes(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("victim", "issuers", "database"),
    [*((name, 1, "sqlite") for name in SERVICES), ("issuer_b", 2, "sqlite"), ("acquirer", 2, "postgres")],
)
def test_nothing_is_lost_or_doubled_when_a_service_is_killed(processes: Processes, victim: str) -> None:
    network = RunningNetwork(processes.folder)
    load = Load(network)
    for thread in load.threads:
        thread.start()
    time.sleep(SECONDS_BEFORE)
    before = len(load.receipts)
    processes.kill(victim)
    time.sleep(SECONDS_DEAD)
    processes.start_one(victim)
    processes.wait_until_ready()
    # phones that met the outage go on selling once they can
    deadline = time.monotonic() + 30
    approved_before = approvals(load)
    while approvals(load) < approved_before + 10 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(SECONDS_AFTER)
    load.selling.clear()
    for thread in load.threads:
        thread.join(timeout=30)
    assert before > 5, "the service was not killed in mid-load"
    assert approvals(load) > approved_before + 5, "no payment was approved after the restart"

    stores = {
        party: Store(database_of(processes.folder / f"{stem}.toml"), demo.ROWS[party])
        for party, stem in (
            *((issuer, issuer) for issuer in network.issuers),
            ("switch", "switch"),
            ("acquirer", "acquirer"),
            ("merchant_device", "device"),
        )
    }
    try:
        wait_until_settled(stores)
        check(stores, load)
    finally:
        for store in stores.values():
            store.close()


def database_of(settings: Path) -> str:
    return str(tomllib.loads(settings.read_text())["database"])


def approvals(load: Load) -> int:
    return sum(receipt["outcome"] == "approved" for receipt in load.receipts)


def wait_until_settled(stores: dict[str, Store]) -> None:
    deadline = time.monotonic() + SETTLING_SECONDS
    while not all(demo.is_settled(party, store) for party, store in stores.items()):
        assert time.monotonic() < deadline, "something stayed pending"
        time.sleep(0.1)


def standing(store: Store) -> set[str]:
    """References of the sales that are posted and not reversed."""
    table = store.tables[Transfer]
    with store.read() as connection:
        ids = set(connection.execute(sa.select(table.c.transfer_id)).scalars())
    sales = {one.removesuffix("/sale") for one in ids if one.endswith("/sale")}
    reversals = {one.removesuffix("/reversal") for one in ids if one.endswith("/reversal")}
    assert reversals <= sales
    return sales - reversals


def check(stores: dict[str, Store], load: Load) -> None:
    at_acquirer = standing(stores["acquirer"])
    assert at_acquirer == standing(stores["switch"])
    at_issuers = [standing(stores[one.party]) for one in issuers_among(stores)]
    assert all(at_issuers), "every issuer's cards have paid"
    assert sorted(at_acquirer) == sorted(reference for one in at_issuers for reference in one)

    transactions = stores["acquirer"].tables[acquirer.tables.Transaction]
    with stores["acquirer"].read() as connection:
        posted = dict(connection.execute(sa.select(transactions.c.rrn, transactions.c.reference)).all())
    sales = stores["merchant_device"].tables[merchant_device.tables.Sale]
    with stores["merchant_device"].read() as connection:
        rows = connection.execute(sa.select(sales.c.rrn, sales.c.status)).all()
    kept = [posted[rrn] for rrn, status in rows if status == "approved"]
    assert len(kept) == len(set(kept))
    assert set(kept) == at_acquirer, "what the phones hold as approved is what is posted"

    receipts = [str(receipt["rrn"]) for receipt in load.receipts if receipt["outcome"] == "approved"]
    assert len(receipts) == len(set(receipts))
    assert {posted[rrn] for rrn in receipts} <= at_acquirer
    compared = books.compare({party: books.of_store(stores[party]) for party in stores if party != "merchant_device"})
    assert compared.agree, compared.problems
