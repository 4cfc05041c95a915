"""A network in a folder: prepared once with demo data, then brought up as processes, as often as wanted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from rich.console import Console

from network.live import real_now
from network.service import ConfigurationError, open_module, read_secret
from network.store import Store, StoreError, sqlite_url
from scenarios import demo
from scenarios.members import ACQUIRER_ID, ISSUERS, SWITCH_ID, issuers_among
from scenarios.processes import PORTS, Processes, address, check_ports, read_description, services

FREE_TERMINALS: Final = 240
"""Terminals of a prepared network that are free for outside clients and scenarios."""

COUNTER_PHONES: Final = 8
"""Terminals that the network's own device service has, for ``fourparty pay``."""

PRODUCTS: Final = ("ecash", "credit", "debit_with_ecash", "quasi_credit", "foreign")
"""Cards of other products than debit that a prepared network's wallet holds, behind the debit cards."""


def _files(issuers: int) -> dict[str, str]:
    """Party to the stem of its files."""
    return {
        **{one.party: one.party for one in ISSUERS[:issuers]},
        "switch": "switch",
        "acquirer": "acquirer",
        "merchant_device": "device",
    }


def _issuers_of(folder: Path) -> int:
    return len(issuers_among(read_description(folder / "network.json")))


def prepare(
    folder: Path,
    base_port: int,
    *,
    timeouts: demo.Timeouts | None = None,
    cards: int = demo.CARDS,
    free_terminals: int = FREE_TERMINALS,
    products: Sequence[str] = PRODUCTS,
    issuers: int | None = None,
) -> None:
    """Make a network in `folder`: keys, databases with demo data, settings, ``network.json``.

    A folder that has one keeps it; only its ports are brought up to date.

    Parameters
    ----------
    issuers
        How many issuers it has; None: one, or as many as the folder's network has.

    Raises
    ------
    ConfigurationError
        The folder cannot be written, or its network has another number of issuers.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "network.json").exists():
            _make_data(folder, cards, free_terminals, products, issuers or 1)
        elif issuers not in (None, has := _issuers_of(folder)):
            raise ConfigurationError(
                f"--issuers: the network in {folder} has {has}; choose another --dir for {issuers}"
            )
        _write_settings(folder, base_port, timeouts or demo.Timeouts())
    except OSError as error:
        raise ConfigurationError(f"cannot prepare {folder}: {error.strerror}") from error
    except StoreError as error:
        raise ConfigurationError(str(error)) from error


def _make_data(folder: Path, cards: int, free_terminals: int, products: Sequence[str], issuers: int) -> None:
    files = _files(issuers)
    for stem in files.values():
        for suffix in ("db", "db-wal", "db-shm"):
            (folder / f"{stem}.{suffix}").unlink(missing_ok=True)  # of a preparation that did not come to its end
        _write_secret(folder / f"{stem}.key", secrets.token_hex(32))
    _write_secret(folder / "operator.token", secrets.token_urlsafe(24))
    modules = {party: open_module(folder / f"{stem}.key") for party, stem in files.items()}
    stores = {party: Store(_url(folder, stem), demo.ROWS[party]) for party, stem in files.items()}
    try:
        data = demo.seed(
            modules,
            stores,
            SystemRandom(),
            real_now(),
            phones=COUNTER_PHONES,
            cards=cards,
            free_terminals=free_terminals,
            products=products,
        )
    finally:
        for store in stores.values():
            store.close()
    wallet = [asdict(card) for card in data.wallet]
    _write_secret(folder / "wallet.json", json.dumps(wallet, indent=1, ensure_ascii=False))
    content = {
        "terminals": [
            {
                "terminal_id": terminal.terminal_id,
                "merchant_id": terminal.merchant_id,
                "tmk": terminal.tmk,
                "free": terminal.free,
            }
            for terminal in sorted(data.terminals, key=lambda terminal: not terminal.free)
        ],
        "cards": [card.published() for card in data.cards],
        **{one.party: {} for one in ISSUERS[:issuers]},
        "maker": secrets.token_hex(16),
        "operator_token": read_secret(folder / "operator.token"),
    }
    _write_secret(folder / "network.json", json.dumps(content, indent=1, ensure_ascii=False))


def _write_settings(folder: Path, base_port: int, timeouts: demo.Timeouts) -> None:
    path = folder / "network.json"
    content = read_description(path)
    at = {name: str(address(base_port, name)) for name in PORTS}
    issuers = issuers_among(content)
    for one in issuers:
        content[one.party] = {
            "api": f"http://{at[one.party]}",
            "member_link": at[f"{one.party}_link"],
            "id": one.member_id,
            "bin": one.bin,
        }
    content["switch"] = {"api": f"http://{at['switch']}", "member_link": at["member_link"], "id": SWITCH_ID}
    content["acquirer"] = {
        "api": f"http://{at['acquirer']}",
        "terminal_link": at["terminal_link"],
        "monitoring_link": at["monitoring_link"],
        "id": ACQUIRER_ID,
    }
    content["device"] = {"api": f"http://{at['device']}"}
    _write_secret(path, json.dumps(content, indent=1, ensure_ascii=False))
    links: dict[str, dict[str, Any]] = {
        **{one.party: {"member_link": at[f"{one.party}_link"]} for one in issuers},
        "switch": {
            "member_link": at["member_link"],
            "dial": {one.member_id: at[f"{one.party}_link"] for one in issuers},
        },
        "acquirer": {
            "terminal_link": at["terminal_link"],
            "monitoring_link": at["monitoring_link"],
            "switch": at["member_link"],
        },
        "merchant_device": {"acquirer": at["terminal_link"]},
    }
    root = demo.maker(bytes.fromhex(content["maker"])).root_public_key
    configurations = demo.configurations(timeouts, root, issuers=len(issuers))
    for party, stem in _files(len(issuers)).items():
        settings: dict[str, Any] = {
            "database": _url(folder, stem),
            "storage_key_file": str((folder / f"{stem}.key").resolve()),
            "operator_token_file": str((folder / "operator.token").resolve()),
            "api": at[stem],
            **links[party],
        }
        defaults = type(configurations[party])().model_dump(mode="json")
        chosen = configurations[party].model_dump(mode="json")
        settings["party"] = {name: value for name, value in chosen.items() if value != defaults[name]}
        if party == "merchant_device":
            settings["wallet"] = str((folder / "wallet.json").resolve())
        (folder / f"{stem}.toml").write_text(_toml(settings))


def _toml(settings: dict[str, Any]) -> str:
    """The settings as TOML: values are strings, numbers, booleans, lists, and tables of them."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    lines = [f"{name} = {_toml_value(value)}" for name, value in plain.items()]
    for name, content in settings.items():
        if isinstance(content, dict):
            lines.append(f"\n[{name}]")
            lines += [f"{json.dumps(key)} = {_toml_value(value)}" for key, value in content.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _url(folder: Path, stem: str) -> str:
    return sqlite_url((folder / f"{stem}.db").resolve())


def _write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def stay_up(folder: Path, base_port: int, issuers: int | None = None) -> int:
    """``fourparty up``: bring the network up and keep it until SIGTERM or SIGINT; 0, or 1 when a service ends."""
    console = Console(stderr=True, highlight=False)
    there = _issuers_of(folder) if (folder / "network.json").exists() else issuers or 1
    check_ports(base_port, services(there))
    with _held(folder):
        return _stay_up(folder, base_port, issuers, console)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no second network runs on its databases."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigurationError(f"cannot prepare {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(f"a network is running in {folder} already") from error
        yield


def _stay_up(folder: Path, base_port: int, issuers: int | None, console: Console) -> int:
    if not (folder / "network.json").exists():
        console.print(f"preparing a demo network in {folder} ...")
    prepare(folder, base_port, issuers=issuers)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    processes = Processes(folder)
    processes.start()
    try:
        console.print("the network is up:")
        links = [f"{one.party}_link" for one in issuers_among(processes.services)]
        for name in ("terminal_link", "monitoring_link", "member_link", *links):
            console.print(f"  {name.replace('_', ' '):<16} {address(base_port, name)}")
        for name in processes.services:
            console.print(f"  {name + ' api':<16} http://{address(base_port, name)}/docs")
        console.print(f"what an outside client needs is in {folder / 'network.json'}")
        console.print(f"pay with: fourparty pay --amount 12.50 --dir {folder}   stop with Ctrl-C", soft_wrap=True)
        while not stop.wait(0.5):
            processes.check()
    finally:
        processes.stop()
    console.print("the network is down")
    return 0
