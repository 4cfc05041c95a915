"""Nothing secret ever reaches the App: its memory is searched after the on-boarding and while a PIN is taken.

Three processes take part as in a real phone: the App, which links the SDK only, the trusted side, and the card. The
same search finds the same secrets in the same program where they are planted.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import SystemRandom
from typing import Any

import pytest
import sqlalchemy as sa
from process_memory import encodings, find_in_memory
from psec import tr31
from running_network import PROJECT, command, environment

from acquirer.tables import Terminal
from issuer import personalisation
from issuer.personalisation import Limits
from merchant_device.tables import TABLES, Phone
from network.live import real_now
from network.service import open_module
from network.store import Store, sqlite_url
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.demo_cards import KEY_SET, DemoCard
from scenarios.demo_network.members import ISSUERS
from scenarios.demo_network.processes import Processes, RunningNetwork, free_base_port
from scenarios.phones.cardholder import Cardholder
from scenarios.phones.trusted_side import TrustedSide, made_configuration, made_phone
from scenarios.stories.corner_shop import application

pytestmark = pytest.mark.live

PIN = "739104826517"
"""Twelve digits: so long a number stands in no memory by chance."""

AMOUNT = 123_456
DEVICE = "searched"


def issue_card(folder: Path) -> int:
    """Put a card with a long PIN into the network's wallet, before the network starts; its place there."""
    wallet = json.loads((folder / "wallet.json").read_text())
    module = open_module(folder / "issuer.key")
    store = Store(sqlite_url((folder / "issuer.db").resolve()), demo.ROWS["issuer"])
    try:
        unit = store.unit_of_work()
        personalisation.open_account(unit, account_id="long-pin", now=real_now(), balance=10_000_000)
        issued = personalisation.issue_card(
            unit,
            module,
            SystemRandom(),
            bin_prefix=ISSUERS[0].bin,
            account_id="long-pin",
            key_set_id=KEY_SET,
            expiry="3012",
            pin=PIN,
            limits=Limits(daily_amount=10**11, daily_count=1000),
        )
        unit.commit()
    finally:
        store.close()
    card = DemoCard(
        name="long-pin",
        pan=issued.pan,
        sequence=issued.sequence,
        expiry=issued.expiry,
        track2=issued.chip_track2,
        pin=PIN,
        balance=10_000_000,
        imk_ac=wallet[0]["imk_ac"],
    )
    (folder / "wallet.json").write_text(json.dumps([*wallet, asdict(card)]))
    return len(wallet)


@contextlib.contextmanager
def card_process(folder: Path, place: int) -> Iterator[str]:
    """The card in a process of its own; the reader's name for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        command("card", "serve", "--dir", folder, "--card", place, "--listen", port),
        env=environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        assert "waits for readers" in process.stderr.readline()
        yield f"remote:127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(5)


@dataclass
class App:
    """The App's process."""

    process: subprocess.Popen[str]
    answers: list[Any] = field(default_factory=list)

    def order(self, **order: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        self.answers.append(json.loads(self.process.stdout.readline()))
        return self.answers[-1]

    def finds(self, secrets: dict[str, bytes]) -> set[str]:
        return find_in_memory(self.process.pid, secrets)


@contextlib.contextmanager
def app(side: TrustedSide) -> Iterator[App]:
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("app_program.py")), str(side.channel)],
        env=environment(),
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield App(process)
    finally:
        process.kill()
        process.wait()


@dataclass
class Stage:
    network: RunningNetwork
    side: TrustedSide
    card: dict[str, Any]

    def secrets(self) -> dict[str, bytes]:
        """All that the App may never see: of the card, its holder, and the phone's keys, opened by another library."""
        pan, track2 = self.card["pan"], self.card["track2"]
        folder = self.side.folder
        storage_key = bytes.fromhex((folder / "device.key").read_text())
        store = Store(sqlite_url((folder / "device.db").resolve()), TABLES)
        try:
            with store.read() as connection:
                columns = store.tables[Phone].c
                row = connection.execute(sa.select(columns.tmk, columns.pik, columns.mak)).one()
        finally:
            store.close()
        keys = {name: tr31.unwrap(storage_key, row._mapping[name])[1] for name in ("tmk", "pik", "mak")}
        assert keys["tmk"] == self._tmk_of_acquirer()
        assert len({*keys.values()}) == 3
        return {
            "PAN": pan.encode(),
            "track 2": track2.encode(),
            "track 2 after the PAN": track2.partition("=")[2].encode(),
            "PIN": PIN.encode(),
            "PIN block in clear": bytes.fromhex(f"0C{PIN}FF"),
            **keys,
        }

    def _tmk_of_acquirer(self) -> bytes:
        storage_key = bytes.fromhex((self.network.folder / "acquirer.key").read_text())
        store = Store(sqlite_url((self.network.folder / "acquirer.db").resolve()), demo.ROWS["acquirer"])
        try:
            columns = store.tables[Terminal].c
            with store.read() as connection:
                query = sa.select(columns.master_key).where(columns.device_id == DEVICE)
                return bytes(tr31.unwrap(storage_key, connection.execute(query).scalar_one())[1])
        finally:
            store.close()

    def onboard(self, one: App) -> None:
        """Let the App make its phone a terminal, once, and review its application, as the acquirer's people do."""
        if self.side.terminal_id:
            return
        wanted = application(demo.MODEL, "ab" * 32).model_dump()
        acquirer = self.network.description["acquirer"]["api"]
        one.order(onboard={"application": wanted, "acquirer": acquirer, "device": DEVICE})
        wait_until(lambda: self.network.get("acquirer", "/applications", status="submitted"))
        (submitted,) = self.network.get("acquirer", "/applications", status="submitted")
        self.network.post("acquirer", f"/applications/{submitted['application_id']}/approve", {})
        self.side.terminal_id = one.answer()
        assert self.side.terminal_id == self.network.get("acquirer", "/devices")[0]["terminal_id"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("memory")
    embedded.prepare(folder, free_base_port(), cards=1, free_terminals=2)
    place = issue_card(folder)
    processes = Processes(folder, ("issuer", "switch", "acquirer"))
    processes.start()
    try:
        network = RunningNetwork(folder)
        configuration = made_configuration().model_copy(update={"pin_always": True})
        with (
            card_process(folder, place) as reader,
            made_phone(network, DEVICE, reader, configuration=configuration) as side,
        ):
            yield Stage(network, side, json.loads((folder / "wallet.json").read_text())[place])
    finally:
        processes.stop()


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_app_never_has_what_is_secret(stage: Stage) -> None:
    views: list[dict[str, Any]] = []
    watcher = Cardholder(stage.side.page, None, views.append)
    with app(stage.side) as one:
        wait_until(lambda: views)
        stage.onboard(one)
        secrets = stage.secrets()
        assert one.finds(secrets) == set(), "after the on-boarding, with the master key installed"
        one.order(collect=AMOUNT)
        wait_until(lambda: any(view["kind"] == "pin" for view in views))
        assert one.finds(secrets) == set(), "while the PIN is asked for, with the card read"
        holder = Cardholder(stage.side.page, PIN)
        receipt = one.answer()
        assert one.finds(stage.secrets()) == set(), "after the payment"
        holder.close()
    watcher.close()
    assert receipt["outcome"] == "approved", receipt
    assert receipt["cvm"] == "online_pin"
    assert receipt["amount"] == AMOUNT
    assert receipt["pan"] is not None
    assert receipt["pan"].startswith(stage.card["pan"][:6])
    assert stage.card["pan"] not in json.dumps(one.answers)


def test_the_search_finds_each_of_them_planted(stage: Stage) -> None:
    with app(stage.side) as one:
        stage.onboard(one)
        secrets = stage.secrets()
        patterns = {
            f"{name}, {encoding}": pattern
            for name, secret in secrets.items()
            for encoding, pattern in encodings(secret).items()
        }
        one.order(plant={})
        one.answer()
        assert one.finds(secrets) == set()
        one.order(plant={name: pattern.hex() for name, pattern in patterns.items()})
        assert one.answer() == len(patterns)
        assert one.finds(secrets) == patterns.keys()
