"""A phone's trusted side on a network with TLS: payments, and an authority that is the wrong one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from held_card import card_in_field, wait_until
from host_process import HostProcess, until
from running_network import Network, command, environment

from merchant_device.sdk import Phone
from scenarios.demo_network.demo_ca import CA_FILE, Authority
from scenarios.phones.wallet import read_wallet

pytestmark = pytest.mark.live

NOBODY = "remote:127.0.0.1:1"
"""A reader in whose field there is no card."""


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    running = Network(tmp_path_factory.mktemp("secured") / "network", tls=True)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def misled(secured: Network, tmp_path: Path) -> Path:
    """What an outside client has of the network, but with the certificate of another authority."""
    folder = tmp_path / "misled"
    shutil.copytree(secured.folder, folder, ignore=shutil.ignore_patterns("tls", "*.db*", "lock", "phone*"))
    other = Authority(tmp_path / "other")
    (folder / "tls").mkdir()
    shutil.copy(other.certificate_file, folder / "tls" / CA_FILE)
    return folder


def fourparty(name: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, "--dir", folder, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tapped(network: Network, amount: str, *more: object) -> dict[str, Any]:
    with card_in_field(network.folder) as reader:
        done = fourparty("tap", network.folder, "--reader", reader, "--amount", amount, "--json", *more)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_an_attested_phone_is_on_boarded_and_paid(secured: Network) -> None:
    """Over HTTPS on-boarding, and TLS below the terminal link and the monitoring link."""
    pin = read_wallet(secured.folder / "wallet.json")[0].pin
    content = tapped(secured, "1200.00", "--pin", pin)
    receipt = content["receipt"]
    assert (receipt["outcome"], receipt["cvm"]) == ("approved", "online_pin")
    assert len({hop["mti"] for hop in content["messages"]} & {"0200", "0210"}) == 2
    (device,) = secured.rest("acquirer").get("/devices")
    shown = secured.rest("acquirer").get(f"/devices/{device['device_id']}/attestations")
    assert {(one["purpose"], one["accepted"]) for one in shown} == {
        ("bind", True),
        ("transaction", True),
        ("pin", True),
    }
    assert secured.agrees(120_000), secured.positions()


def test_a_conventional_terminal_too(secured: Network) -> None:
    terminal = next(one["terminal_id"] for one in secured.description["terminals"] if one["free"])
    before = secured.positions()["issuer"]
    receipt = tapped(secured, "2.50", "--terminal", terminal)["receipt"]
    assert (receipt["outcome"], receipt["terminal"]) == ("approved", terminal)
    assert secured.agrees(before + 250), secured.positions()


def test_an_app_uses_a_phone_that_stays_on(secured: Network, tmp_path: Path) -> None:
    before = secured.positions()["issuer"]
    with card_in_field(secured.folder, 1) as reader:
        phone = HostProcess(tmp_path / "phone.log", "phone", "--dir", secured.folder, "--reader", reader)
        try:
            until(lambda: "stop with Ctrl-C" in phone.said(), "the phone is on", 30)
            found = re.search(r"is terminal (\d+)\n +channel +(\S+)", phone.said())
            assert found is not None, phone.said()
            with Phone.start(Path(found[2]), found[1]) as app:
                wait_until(lambda: any(state.status == "signed_on" for state in app.status()))
                assert app.collect(777).is_approved
        finally:
            assert phone.stop() == 0
    assert secured.agrees(before + 777), secured.positions()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("tap", ("--reader", NOBODY, "--amount", "1.00")),
        ("tap", ("--reader", NOBODY, "--amount", "1.00", "--terminal", "FREE")),
        ("phone", ()),
        ("phone", ("--device", "till-1")),
        ("pay", ("--amount", "1.00")),
    ],
)
def test_who_trusts_another_authority_is_told_so(
    secured: Network, misled: Path, name: str, arguments: tuple[str, ...]
) -> None:
    free = next(one["terminal_id"] for one in secured.description["terminals"] if one["free"])
    done = fourparty(name, misled, *(free if one == "FREE" else one for one in arguments))
    assert done.returncode == 1
    party = "issuer" if name == "pay" else "acquirer"
    told = rf"fourparty: the {party} cannot be trusted by \S+/misled/tls/ca\.crt: [a-z -]+\n"
    assert re.fullmatch(told, done.stderr), done.stderr
    assert not (misled / "phone").exists()
    assert not (misled / "phones").exists(), "nothing is made before"


def test_an_acquirer_without_tls_is_not_taken_for_one_with_it(secured: Network, network: Network, misled: Path) -> None:
    """And its name in the description is not enough."""
    path = misled / "network.json"
    description = json.loads(path.read_text())
    description["acquirer"]["api"] = "https://" + network.description["acquirer"]["api"].removeprefix("http://")
    path.write_text(json.dumps(description))
    done = fourparty("phone", misled)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the acquirer cannot be trusted by" in done.stderr


def test_an_authority_that_is_missing(misled: Path) -> None:
    (misled / "tls" / CA_FILE).unlink()
    done = fourparty("phone", misled)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"tls/{CA_FILE} does not hold the authority's certificate: No such file or directory" in done.stderr
