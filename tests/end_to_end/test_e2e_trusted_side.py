"""The trusted side as a process: what it refuses to start with, who may speak to it, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from held_card import card_in_field, wait_until
from running_network import environment

from merchant_device.sdk import Phone, PhoneError
from merchant_device.tables import TABLES, Sale
from network.store import Store, sqlite_url
from scenarios import books
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import Processes, RunningNetwork, free_base_port
from scenarios.phones.trusted_side import phone_configuration, trusted_side

pytestmark = pytest.mark.live

TIMEOUTS = demo.Timeouts(issuer=1.5, switch=2.5, acquirer=4.0, advice_retry=0.5, reversal_retry=0.5)
CONFIGURATION = phone_configuration().model_copy(update={"acquirer_timeout": 4.0, "reversal_retry": 0.5})


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp("trusted")
    embedded.prepare(folder, free_base_port(), timeouts=TIMEOUTS, cards=2, free_terminals=2)
    running = Processes(folder, ("issuer", "switch", "acquirer"))
    running.start()
    yield running
    running.stop()


def sales(folder: Path, terminal: str) -> list[tuple[str, int]]:
    store = Store(sqlite_url(folder / "phones" / terminal / "device.db"), TABLES)
    try:
        table = store.tables[Sale]
        with store.read() as connection:
            rows = connection.execute(sa.select(table.c.status, table.c.amount).order_by(table.c.reference))
            return [(status, amount) for status, amount in rows]
    finally:
        store.close()


def test_a_payment_that_was_under_way_at_a_kill_is_reversed_by_the_next_process(processes: Processes) -> None:
    folder = processes.folder
    network = RunningNetwork(folder)
    before = network.books()
    acquirer = processes.running["acquirer"].pid
    with card_in_field(folder) as reader:
        with trusted_side(network, reader, configuration=CONFIGURATION) as side:
            terminal = side.terminal_id
            with Phone.start(side.channel, terminal) as phone:
                wait_until(lambda: any(state.status == "signed_on" for state in phone.status()))
                os.kill(acquirer, signal.SIGSTOP)
                try:
                    errors: list[str] = []

                    def pay() -> None:
                        try:
                            phone.collect(4_321)
                        except PhoneError as error:
                            errors.append(error.code)

                    payment = threading.Thread(target=pay)
                    payment.start()
                    # the request has left, and its row says so
                    wait_until(lambda: sales(folder, terminal) == [("pending", 4_321)], seconds=3)
                    side.process.kill()
                    payment.join(10)
                finally:
                    os.kill(acquirer, signal.SIGCONT)
        assert errors == ["connection_lost"]
        # the acquirer finds the request on its doorstep, after its sender has died
        with trusted_side(network, reader, configuration=CONFIGURATION) as side:
            assert side.terminal_id == terminal
            wait_until(lambda: sales(folder, terminal) == [("reversed", 4_321)])
            with Phone.start(side.channel, terminal) as phone:
                (past,) = phone.history()
                assert (past.status, past.amount) == ("reversed", 4_321)
                assert phone.collect(100).is_approved
    wait_until(lambda: set(books.compare(network.books(), before).positions.values()) == {100})
    assert books.compare(network.books(), before).agree


def test_its_files_are_their_owners_alone_and_its_socket_goes_with_it(processes: Processes) -> None:
    network = RunningNetwork(processes.folder)
    with trusted_side(network, None) as side:
        folder = side.channel.parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("device.key", "screen.token", "tee.toml", "channel"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
        with trusted_side(network, None) as other:
            assert other.terminal_id != side.terminal_id, "a terminal is one phone's at a time"
    assert not side.channel.exists()
    assert side.process.returncode == 0
    log = (folder / "tee.log").read_text()
    wallet = json.loads((processes.folder / "wallet.json").read_text())
    token = (folder / "screen.token").read_text()
    for secret in (wallet[0]["pan"], wallet[0]["track2"], wallet[0]["pin"], token):
        assert secret not in log


def test_a_phone_without_a_reader_says_so(processes: Processes) -> None:
    network = RunningNetwork(processes.folder)
    quick = CONFIGURATION.model_copy(update={"tap_timeout": 0.3})
    with (
        trusted_side(network, None, configuration=quick) as side,
        Phone.start(side.channel, side.terminal_id) as phone,
    ):
        wait_until(lambda: any(state.link for state in phone.status()))
        receipt = phone.collect(100)
        assert (receipt.outcome, receipt.rrn) == ("refused", None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reader": "remote:nowhere"}, "reader: 'remote:nowhere' is not a card server's address"),
        ({"reader": "replay:/nowhere"}, "reader: cannot read /nowhere"),
        ({"screen": "0.0.0.0:8080"}, "screen: 0.0.0.0:8080 is not on 127.0.0.1"),
        ({"acquirer": "nowhere"}, "'nowhere' is not an address"),
        ({"storage_key_file": "/nowhere"}, "cannot read /nowhere"),
        ({"channel": "/nowhere/channel"}, "cannot listen at /nowhere/channel"),
        ({"colour": "blue"}, "setting colour"),
        ({"camera_seconds": 0}, "setting camera_seconds"),
    ],
)
def test_what_it_cannot_start_with(tmp_path: Path, change: dict[str, object], said: str) -> None:
    (tmp_path / "key").write_text("00" * 32)
    (tmp_path / "token").write_text("token")
    settings: dict[str, object] = {
        "database": sqlite_url(tmp_path / "device.db"),
        "storage_key_file": str(tmp_path / "key"),
        "channel": str(tmp_path / "channel"),
        "screen": "127.0.0.1:0",
        "screen_token_file": str(tmp_path / "token"),
        "acquirer": "127.0.0.1:1",
        **change,
    }
    (tmp_path / "tee.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    done = subprocess.run(
        [sys.executable, "-m", "merchant_device.tee", "--config", str(tmp_path / "tee.toml")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
