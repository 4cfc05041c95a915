"""Payments through the system's real smart-card service; the card is pulled out after each command in turn.

The phone is attested and on-boarded. Whatever happens to the card: an approved sale has exactly one posting in each
book, and one that is not approved has none, or one that is taken back.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from running_network import command, environment
from smart_card_service import READER, READER_PORT, smart_card_service, what_is_missing

from merchant_device.readers import list_readers
from merchant_device.sdk import Phone, Receipt
from merchant_device.tables import TABLES, Sale
from network.store import Store, sqlite_url
from scenarios import books
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import Processes, RunningNetwork, free_base_port
from scenarios.phones.attested_phone import attested_phone
from scenarios.phones.card_server import Pull, card_of_wallet, connections_to, hold
from scenarios.phones.trusted_side import made_configuration
from scenarios.stage import Card

pytestmark = pytest.mark.live

TIMEOUTS = demo.Timeouts(issuer=1.5, switch=2.5, acquirer=4.0, advice_retry=0.5, reversal_retry=0.5)
TAP_SECONDS = 2.5
SETTLING_SECONDS = 15.0
COMMANDS = 4
"""Of a payment approved online: directory, application, processing options, and the issuer's answer."""

CASH_COMMANDS = 7
"""Of one that the card approves: directory, application, processing options, and four records."""

ECASH = 4
"""Place of the e-cash card in the wallet."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    missing = what_is_missing()
    if missing is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{missing}, and CI must read cards through PC/SC")
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("pcsc")
    embedded.prepare(folder, free_base_port(), timeouts=TIMEOUTS, cards=4, free_terminals=3, products=("ecash",))
    processes = Processes(folder, ("issuer", "switch", "acquirer"))
    with smart_card_service(folder / "pcscd.log"):
        processes.start()
        yield RunningNetwork(folder)
        processes.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# the commands, as people type them


@contextlib.contextmanager
def card_served(network: RunningNetwork, *options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command("card", "serve", "--dir", network.folder, "--card", 1, "--verbose", *options),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "in the field" in process.stderr.readline()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def fourparty(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=90, check=False
    )


def test_tap_takes_a_payment_and_shows_it(network: RunningNetwork, tmp_path: Path) -> None:
    pan = json.loads((network.folder / "wallet.json").read_text())[1]["pan"]
    log = tmp_path / "apdu.log"
    with card_served(network):
        readers = json.loads(fourparty("reader", "list", "--json").stdout)
        assert {"name": READER, "card": True} in readers
        done = fourparty(
            "tap", "--reader", READER, "--amount", "8.88", "--dir", network.folder, "--log", log, "--clear"
        )
    assert done.returncode == 0, done.stderr
    assert re.search(r"approved: 8.88 yuan, authorisation \w{6}, reference \w{12}", done.stdout)
    assert [hop in done.stdout for hop in ("phone -> acquirer", "switch -> issuer", "acquirer -> phone")] == [True] * 3
    assert pan not in (done.stdout + done.stderr).replace(" ", "")
    assert pan in log.read_text()
    # the same card data again, without the card: its cryptogram is of another payment
    again = fourparty("tap", "--replay", log, "--amount", "8.88", "--dir", network.folder, "--json")
    assert again.returncode == 1, again.stderr
    assert json.loads(again.stdout)["receipt"]["response_code"] == "05"


def test_tap_types_the_pin_on_the_page_of_a_conventional_terminal(network: RunningNetwork) -> None:
    terminal = next(one["terminal_id"] for one in network.description["terminals"] if one["free"])
    pin = json.loads((network.folder / "wallet.json").read_text())[1]["pin"]
    for typed, code in ((pin, "00"), (f"{(int(pin) + 1) % 10**6:06d}", "55")):
        with card_served(network):
            done = fourparty(
                *("tap", "--reader", READER, "--amount", "1200", "--dir", network.folder, "--terminal", terminal),
                *("--pin", typed, "--json"),
            )
        receipt = json.loads(done.stdout)["receipt"]
        assert receipt["response_code"] == code, receipt
        assert (receipt["cvm"], receipt["terminal"]) == ("online_pin", terminal)
        assert done.returncode == (0 if code == "00" else 1)
        assert typed not in done.stderr


def test_card_serve_takes_the_card_away(network: RunningNetwork) -> None:
    with card_served(network, "--pull-after", 2) as card:
        done = fourparty(
            *("tap", "--reader", "remote:127.0.0.1:1", "--amount", "1", "--dir", network.folder / "nowhere")
        )
        assert done.returncode == 2
        assert card.poll() is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tap", "--amount", "8.88"), "give either --reader or --replay"),
        (("tap", "--amount", "8.88", "--reader", "x", "--replay", "y"), "give either --reader or --replay"),
        (("tap", "--amount", "0", "--reader", "x"), "--amount"),
        (("tap", "--amount", "1", "--reader", "x", "--clear"), "--clear: give --log too"),
        (("tap", "--amount", "1", "--reader", "x", "--pin", "12x4"), "--pin: a PIN has 4 to 12 digits"),
        (("card", "serve", "--lose-answer"), "go with --pull-after"),
        (("card", "serve", "--card", "99", "--dir", "{folder}"), "--card: the wallet has"),
        (("card", "serve", "--dir", "{folder}", "--port", "1"), "no virtual reader at 127.0.0.1:1"),
        (("tap", "--amount", "1", "--dir", "{folder}", "--reader", "Nowhere"), "no reader named 'Nowhere'"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(network: RunningNetwork, arguments: tuple[str, ...], said: str) -> None:
    done = fourparty(*(one.replace("{folder}", str(network.folder)) for one in arguments))
    assert done.returncode in (1, 2)
    assert said in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


# a phone that stays on, and cards that do not


@dataclass
class Counter:
    """A phone with a PC/SC reader, and a card that is held to it; keeps what it was told."""

    network: RunningNetwork
    phone: Phone
    folder: Path
    card: Card
    purse: Card
    receipts: list[Receipt] = field(default_factory=list)

    def pay(self, amount: int, pull: Pull, card: Card | None = None) -> Receipt:
        """Hold the card to the reader and take a payment."""
        # the service looks for cards a few times a second: the one before must be seen to have gone
        wait_until(lambda: (READER, True) not in list_readers())
        stop = threading.Event()
        connections = connections_to("127.0.0.1", READER_PORT, stop)
        chip = (card or self.card).chip
        holding = threading.Thread(target=hold, args=(chip, connections, pull, stop), daemon=True)
        holding.start()
        if pull.after != 0:
            wait_until(lambda: (READER, True) in list_readers())
        try:
            self.receipts.append(self.phone.collect(amount))
        finally:
            stop.set()
            holding.join(5)
        return self.receipts[-1]

    def approved(self, *, online: bool = False) -> int:
        """What the receipts come to, fen; `online`: without what the purse approved by itself."""
        good = (one for one in self.receipts if one.is_approved and not (online and one.offline))
        return sum(receipt.amount or 0 for receipt in good)

    def __post_init__(self) -> None:
        self.before = self.network.books()
        self.ledger_before = self._ledger()
        self.journal_before = len(self.journal())

    def settles(self) -> bool:
        """Whether all books and the debit card's account come to say what the receipts do."""
        deadline = time.monotonic() + SETTLING_SECONDS
        while True:
            found = books.compare(self.network.books(), self.before)
            paid = self.ledger_before - self._ledger()
            if found.agree and {*found.positions.values()} == {self.approved()} and paid == self.approved(online=True):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    def _ledger(self) -> int:
        return int(self.network.get("issuer", f"/cards/{self.card.pan}")["ledger"])

    def journal(self) -> list[tuple[str, int]]:
        """Status and amount of every sale that has left the phone."""
        store = Store(sqlite_url(self.folder / "device.db"), TABLES)
        try:
            sales = store.tables[Sale]
            with store.read() as connection:
                rows = connection.execute(sa.select(sales.c.status, sales.c.amount).order_by(sales.c.reference))
                return [(status, amount) for status, amount in rows]
        finally:
            store.close()


@pytest.fixture(scope="module")
def counter(network: RunningNetwork) -> Iterator[Counter]:
    configuration = made_configuration().model_copy(
        update={"tap_timeout": TAP_SECONDS, "card_timeout": 1.0, "acquirer_timeout": 4.0, "reversal_retry": 0.5}
    )
    card = card_of_wallet(network.folder, 0)
    with (
        attested_phone(network, READER, configuration=configuration) as side,
        Phone.start(side.channel, side.terminal_id) as phone,
    ):
        wait_until(lambda: any(state.link and state.status == "signed_on" for state in phone.status()))
        yield Counter(network, phone, side.folder, card, card_of_wallet(network.folder, ECASH))


def test_a_card_that_stays_pays_once(counter: Counter) -> None:
    receipt = counter.pay(888, Pull())
    assert receipt.is_approved, receipt
    assert receipt.cvm == "no_cvm"
    assert counter.settles()
    assert counter.journal()[-1] == ("approved", 888)


@pytest.mark.parametrize(
    ("after", "loses_answer", "outcome"),
    [
        (0, False, "refused"),
        (1, True, "refused"),
        (1, False, "refused"),
        (2, True, "refused"),
        (2, False, "refused"),
        (3, True, "refused"),  # the card has made its cryptogram, which nobody got
        (3, False, "approved"),  # a QuickPass card may leave the field now
        (4, True, "approved"),
        (4, False, "approved"),
    ],
)
def test_the_card_is_pulled(counter: Counter, after: int, loses_answer: bool, outcome: str) -> None:
    amount = 1000 + 10 * after + loses_answer
    before = counter.journal()
    receipt = counter.pay(amount, Pull(after, loses_answer))
    assert receipt.outcome == outcome, receipt
    assert counter.settles(), "money has moved that no receipt tells of, or the other way round"
    left = counter.journal()[len(before) :]
    assert left == ([("approved", amount)] if outcome == "approved" else [])


@pytest.mark.parametrize("after", range(COMMANDS - 1))
def test_a_card_that_comes_back_pays_once(counter: Counter, after: int) -> None:
    amount = 2000 + after
    receipt = counter.pay(amount, Pull(after, back_after=0.7))
    assert receipt.is_approved, receipt
    assert counter.settles()
    assert [sale for sale in counter.journal() if sale[1] == amount] == [("approved", amount)]


@pytest.mark.parametrize("after", range(1, CASH_COMMANDS))
def test_a_purse_that_comes_back_pays_once(counter: Counter, after: int) -> None:
    """It is taken away with its last record unread, comes back, and has approved by itself."""
    amount = 3000 + after
    receipt = counter.pay(amount, Pull(after, back_after=0.7), counter.purse)
    assert (receipt.outcome, receipt.offline) == ("approved", True), receipt
    assert counter.settles()
    assert [sale for sale in counter.journal() if sale[1] == amount] == [("approved", amount)]


def test_every_receipt_is_in_the_books(counter: Counter) -> None:
    assert counter.receipts
    assert counter.settles()
    history = counter.phone.history(len(counter.journal()) - counter.journal_before)
    assert sum(sale.amount for sale in history if sale.status == "approved") == counter.approved()
    assert {sale.status for sale in history} == {"approved"}
