"""Nothing secret stands in clear in a network's folder but in the files that are there to tell it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios.demo_network import embedded
from scenarios.demo_network.processes import Processes, RunningNetwork, free_base_port
from scenarios.phones.counter import pay_once

pytestmark = pytest.mark.live

TELLING = {"network.json", "wallet.json"}
"""Demo keys and cards for outside clients and the counter: readable by their owner only."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("secrets")
    embedded.prepare(folder, free_base_port(), cards=12, free_terminals=2)
    processes = Processes(folder)
    processes.start()
    network = RunningNetwork(folder)
    for atc in range(5):
        receipt = network.post("device", "/payments", {"amount": 1234, "card": 0, "atc": atc})
        assert receipt["outcome"] == "approved"
    network.post("device", "/payments", {"amount": 1234, "card": 1, "pin": "9999"})
    wallet = json.loads((folder / "wallet.json").read_text())
    network.get("issuer", f"/cards/{wallet[0]['pan']}")
    yield folder
    processes.stop()


def secrets(folder: Path) -> dict[str, bytes]:
    wallet = json.loads((folder / "wallet.json").read_text())
    description = json.loads((folder / "network.json").read_text())
    terminal = description["terminals"][0]
    found = {
        "PAN": wallet[0]["pan"].encode(),
        "another PAN": wallet[1]["pan"].encode(),
        "track": wallet[0]["track2"].partition("=")[2].encode(),
        "issuer master key": wallet[0]["imk_ac"].encode(),
        "terminal master key": terminal["tmk"].encode(),
    }
    for name in ("PAN", "another PAN"):
        found[f"{name} in BCD"] = bytes.fromhex(found[name].decode())
    for name in ("issuer master key", "terminal master key"):
        found[f"{name} in binary"] = bytes.fromhex(found[name].decode())
    return found


def scan(folder: Path, wanted: dict[str, bytes], *, telling: bool) -> list[str]:
    hits = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and (path.name in TELLING) == telling:
            content = path.read_bytes().upper()
            hits += [f"{name} in {path.name}" for name, secret in wanted.items() if secret.upper() in content]
    return hits


def test_no_secret_in_databases_and_logs(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"issuer.db", "switch.db", "acquirer.db", "device.db", "issuer.log"} <= names
    assert scan(folder, secrets(folder), telling=False) == []


def test_the_scan_would_find_them(folder: Path) -> None:
    assert len(scan(folder, secrets(folder), telling=True)) >= 4


def test_files_with_secrets_are_their_owners_alone(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name in TELLING or path.suffix in (".key", ".token"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_messages_are_shown_masked(folder: Path) -> None:
    network = RunningNetwork(folder)
    wanted = secrets(folder)
    for party in ("acquirer", "switch", "issuer", "device"):
        shown = json.dumps(network.get(party, "/messages", limit=500))
        assert "0200" in shown or party == "device"
        for name in ("PAN", "another PAN", "track"):
            assert wanted[name].decode() not in shown


def test_pay_shows_no_secret(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from network.ledger import Money

    assert pay_once(folder, Money(100), None, as_json=False) == 0
    shown = capsys.readouterr().out
    assert shown.count("0200") >= 3
    assert secrets(folder)["PAN"].decode() not in shown.replace(" ", "")
