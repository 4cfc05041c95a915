"""``fourparty device``: the attested phone of a network, as its acquirer's operator and its own journal see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from rich.console import Console

from merchant_device.device_tables import SecureElement
from merchant_device.tables import OFFLINE, PENDING, REVERSING, TABLES, Phone, Sale
from network.service import ConfigurationError
from network.store import Store, StoreError, sqlite_url
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.phones.attested_phone import FOLDER, Identity, attested_phone, device_at_acquirer, onboard, read_identity

KILLED: Final = "killed"


def show_device(folder: Path, *, as_json: bool) -> None:
    """Tell what the phone is and what it owes.

    Raises
    ------
    ConfigurationError
        There is no phone.
    NetworkError
        The acquirer does not answer.
    """
    from scenarios.cli import print_json

    network = RunningNetwork(folder)
    identity = _identity(network)
    content = {"device": identity.device, **_journal(folder / FOLDER, identity.device)}
    bound = device_at_acquirer(network, identity.device)
    content["acquirer"] = None if bound is None else bound["status"]
    content["reason"] = None if bound is None else bound["reason"]
    verdicts = network.get("acquirer", f"/devices/{identity.device}/attestations", limit=1)
    content["attestation"] = verdicts[0] if verdicts else None
    if as_json:
        print_json(content)
        return
    console = Console(highlight=False, soft_wrap=True)
    for name, value in content.items():
        console.print(f"  {name:<17} {_shown(value)}", markup=False)


def kill_device(folder: Path, reason: str) -> None:
    """Have the acquirer tell the phone to wipe its keys.

    Raises
    ------
    NetworkError
        The acquirer does not answer, or refuses.
    """
    if not 1 <= len(reason) <= 200:
        raise ConfigurationError("--kill: a reason of 1 to 200 characters")
    network = RunningNetwork(folder)
    identity = _identity(network)
    network.post("acquirer", f"/devices/{identity.device}/kill", {"reason": reason})
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("the acquirer takes nothing more from it; it wipes its keys when it is on and asks for attestation")


def rebind_device(folder: Path) -> None:
    """Make the phone the terminal again that it was before its keys were wiped, as the operator and the App do it.

    Raises
    ------
    NetworkError
        It is bound, or has not wiped its keys yet, or does not pass.
    """
    network = RunningNetwork(folder)
    identity = _identity(network)
    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def told(line: str) -> None:
        console.print(line, markup=False)

    bound = device_at_acquirer(network, identity.device)
    if bound is None:
        raise NetworkError("the phone was never bound: fourparty tap on-boards it")
    told("starting the phone ...")
    with attested_phone(network, None, told=told) as side:
        if bound["status"] == KILLED:
            network.post("acquirer", f"/devices/{identity.device}/reactivate", {})
            told("the demo's operator lets the device be bound again, over REST")
        onboard(network, side, identity, told, terminal=bound["terminal_id"])


def _identity(network: RunningNetwork) -> Identity:
    identity = read_identity(network.folder / FOLDER)
    if identity is None:
        raise ConfigurationError(f"{network.folder} has no phone yet: fourparty tap makes it")
    return identity


def _journal(folder: Path, device: str) -> dict[str, Any]:
    """What the phone's own store says; it may be in use meanwhile."""
    if not (folder / "device.db").exists():
        return {"terminal": None}
    try:
        store = Store(sqlite_url((folder / "device.db").resolve()), TABLES)
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    try:
        phones, sales, elements = (store.tables[row].c for row in (Phone, Sale, SecureElement))
        with store.read() as connection:
            phone = connection.execute(sa.select(phones.terminal_id, phones.merchant_id, phones.status)).first()
            element = connection.execute(sa.select(elements.status).where(elements.device_id == device)).first()
            counted = connection.execute(sa.select(sales.status, sa.func.count()).group_by(sales.status))
            counts = {str(status): int(count) for status, count in counted}
    finally:
        store.close()
    return {
        "terminal": None if phone is None else phone.terminal_id,
        "merchant": None if phone is None else phone.merchant_id,
        "phone": None if phone is None else phone.status,
        "secure element": None if element is None else element.status,
        "pending reversals": counts.get(PENDING, 0) + counts.get(REVERSING, 0),
        "pending uploads": counts.get(OFFLINE, 0),
    }


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        good = "good" if value["accepted"] else f"refused: {value['reason']}"
        return f"{good}, for {value['purpose']}, {value['time']}"
    return str(value)
