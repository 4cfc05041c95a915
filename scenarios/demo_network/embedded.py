"""A network in a folder: prepared once with demo data, then brought up as processes, as often as wanted."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from typing import Final

from rich.console import Console

from network.live import real_now
from network.service import Address, ConfigurationError, open_module, read_secret
from network.store import Store, StoreError, sqlite_url
from scenarios.demo_network import databases, demo
from scenarios.demo_network.captures import captured_network
from scenarios.demo_network.demo_ca import CA_FILE, Subject, issue_all
from scenarios.demo_network.members import ACQUIRER_ID, ISSUERS, SWITCH_ID, issuers_among
from scenarios.demo_network.processes import LINKS, PORTS, Processes, address, check_ports, read_description, services
from scenarios.demo_network.service_files import (
    PARTY_OF_DEVICE,
    description_of,
    services_of,
    settings_of,
    to_toml,
    with_addresses,
    write_json,
    write_secret,
)

FREE_TERMINALS: Final = 240
"""Terminals of a prepared network that are free for outside clients and scenarios."""

COUNTER_PHONES: Final = 8
"""Terminals that the network's own device service has, for ``fourparty pay``."""

_TLS: Final = {"ca": f"tls/{CA_FILE}"}

_DATABASE_FILE: Final = "database.url"

PRODUCTS: Final = ("ecash", "credit", "debit_with_ecash", "quasi_credit", "foreign")
"""Cards of other products than debit that a prepared network's wallet holds, behind the debit cards."""


def prepare(
    folder: Path,
    base_port: int,
    *,
    timeouts: demo.Timeouts | None = None,
    cards: int = demo.CARDS,
    free_terminals: int = FREE_TERMINALS,
    products: Sequence[str] = PRODUCTS,
    issuers: int | None = None,
    database: str | None = None,
    elsewhere: Mapping[str, str] | None = None,
    tls: bool = False,
) -> None:
    """Make a network in `folder`: keys, databases with demo data, settings, ``network.json``.

    A folder that has one keeps it; only its ports are brought up to date.

    Parameters
    ----------
    issuers
        How many issuers it has; None: one, or as many as the folder's network has.
    database
        SQLAlchemy URL of a PostgreSQL database, beside which each party gets one of its own; None: SQLite files in
        the folder, or what the folder's network has.
    elsewhere
        Addresses at which others reach links, by the links' names, where they are not those that are listened on.
    tls
        Secure links and REST, with certificates of a demo authority in the folder ``tls``.

    Raises
    ------
    ConfigurationError
        The folder cannot be written, its network is another than is asked for, or the database refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "network.json").exists():
            _make_data(folder, cards, free_terminals, products, issuers or 1, database)
        else:
            _check_kept(folder, issuers, database)
        _write_settings(folder, base_port, timeouts or demo.Timeouts(), elsewhere or {}, tls=tls)
    except OSError as error:
        raise ConfigurationError(f"cannot prepare {folder}: {error.strerror}") from error
    except StoreError as error:
        raise ConfigurationError(str(error)) from error


def _make_data(
    folder: Path, cards: int, free_terminals: int, products: Sequence[str], issuers: int, database: str | None
) -> None:
    names = services_of(issuers)
    for name in names.values():
        for suffix in ("db", "db-wal", "db-shm"):
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)  # of a preparation that did not come to its end
        write_secret(folder / f"{name}.key", secrets.token_hex(32))
    (folder / _DATABASE_FILE).unlink(missing_ok=True)
    if database is not None:
        write_secret(folder / _DATABASE_FILE, database)
        databases.create(database, names)
    token = secrets.token_urlsafe(24)
    write_secret(folder / "operator.token", token)
    modules = {party: open_module(folder / f"{name}.key") for party, name in names.items()}
    stores: dict[str, Store] = {}
    try:
        for party, url in _urls(folder, names).items():
            stores[party] = Store(url, demo.ROWS[party], revision=demo.HISTORIES[party].head)
            if database is not None:
                databases.empty(stores[party])
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
    write_json(folder / "wallet.json", [asdict(card) for card in data.wallet])
    write_json(folder / "network.json", description_of(data, issuers, token))


def _check_kept(folder: Path, issuers: int | None, database: str | None) -> None:
    """Refuse to go on with a folder's network when another is asked for."""
    has = _issuers_of(folder)
    if issuers not in (None, has):
        raise ConfigurationError(f"--issuers: the network in {folder} has {has}; choose another --dir for {issuers}")
    if database is not None and database != _database_of(folder):
        raise ConfigurationError(f"--database: the network in {folder} has another; choose another --dir")


def _write_settings(
    folder: Path, base_port: int, timeouts: demo.Timeouts, elsewhere: Mapping[str, str], *, tls: bool
) -> None:
    path = folder / "network.json"
    listen = {name: str(address(base_port, name)) for name in PORTS}
    at = {**listen, **elsewhere}
    content = with_addresses(read_description(path) | {"tls": _TLS if tls else None}, at)
    write_json(path, content)
    settings = settings_of(content, timeouts, at, listen)
    names = services_of(len(issuers_among(content)))
    urls = _urls(folder, names)
    certificates = _certificates(folder, names, elsewhere) if tls else {}
    if _database_of(folder) is not None:
        for url in urls.values():
            databases.claim(url, content["network"])
    for party, name in names.items():
        files = {
            "database": urls[party],
            "storage_key_file": str((folder / f"{name}.key").resolve()),
            "operator_token_file": str((folder / "operator.token").resolve()),
        }
        files |= certificates.get(party, {})
        if party == PARTY_OF_DEVICE:
            files["wallet"] = str((folder / "wallet.json").resolve())
        write_secret(folder / f"{name}.toml", to_toml(files | settings[party]))


def _certificates(folder: Path, names: Mapping[str, str], elsewhere: Mapping[str, str]) -> dict[str, dict[str, str]]:
    hosts = ("127.0.0.1", "localhost", *sorted({Address.parse(one).host for one in elsewhere.values()} - {"127.0.0.1"}))
    members = {"switch": SWITCH_ID, "acquirer": ACQUIRER_ID} | {one.party: one.member_id for one in ISSUERS}
    subjects = {party: Subject(hosts, members.get(party)) for party in names}
    return issue_all(folder / "tls", subjects)


def _urls(folder: Path, names: Mapping[str, str]) -> dict[str, str]:
    """The databases by party: files in the folder, or on the server that the folder's network was prepared on."""
    database = _database_of(folder)
    if database is None:
        return {party: sqlite_url((folder / f"{name}.db").resolve()) for party, name in names.items()}
    return databases.siblings(database, names)


def _database_of(folder: Path) -> str | None:
    path = folder / _DATABASE_FILE
    return read_secret(path) if path.exists() else None


def _issuers_of(folder: Path) -> int:
    return len(issuers_among(read_description(folder / "network.json")))


def stay_up(
    folder: Path,
    base_port: int,
    issuers: int | None = None,
    database: str | None = None,
    pcap: Path | None = None,
    *,
    without: Collection[str] = (),
    only: Collection[str] = (),
    elsewhere: Mapping[str, str] | None = None,
    tls: bool = False,
) -> int:
    """``fourparty up``: bring the network up and keep it until SIGTERM or SIGINT; 0, or 1 when a service ends.

    Parameters
    ----------
    without, only
        Services that are not run, or the only ones that are: an outside party takes the place of the others.
    elsewhere
        Links that are reached at another address than that which their party listens on: by a proxy, or because an
        outside party takes its place.
    tls
        Whether links and REST are secured.

    Raises
    ------
    ConfigurationError
        A port is in use, there is no such service or link, or the folder cannot be used.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    there = _issuers_of(folder) if (folder / "network.json").exists() else issuers or 1
    chosen = _chosen(services(there), without, only)
    check_ports(base_port, chosen)
    with _held(folder), captured_network(pcap, console) as captures:
        apart = _checked(elsewhere or {})
        return _stay_up(folder, base_port, issuers, database, console, captures, chosen, apart, tls=tls)


def _chosen(there: Sequence[str], without: Collection[str], only: Collection[str]) -> list[str]:
    for option, names in (("--without", without), ("--only", only)):
        unknown = sorted(set(names) - set(there))
        if unknown:
            raise ConfigurationError(f"{option}: there is no service {unknown[0]}; there are {', '.join(there)}")
    if without and only:
        raise ConfigurationError("up: give either --only or --without")
    chosen = [name for name in there if name not in without and (not only or name in only)]
    if not chosen:
        raise ConfigurationError("--without: no service is left to run")
    return chosen


def _checked(elsewhere: Mapping[str, str]) -> Mapping[str, str]:
    for link, where in elsewhere.items():
        if link not in LINKS:
            raise ConfigurationError(f"--at: there is no link {link!r}; there are {', '.join(LINKS)}")
        try:
            Address.parse(where)
        except ConfigurationError as error:
            raise ConfigurationError(f"--at: {link}: {error}") from error
    return elsewhere


_LINK_OWNERS: Final = {"terminal_link": "acquirer", "monitoring_link": "acquirer", "member_link": "switch"}
"""Who listens on a link that is no issuer's."""


def _missing(folder: Path, chosen: Sequence[str]) -> str:
    return ", ".join(name for name in services(_issuers_of(folder)) if name not in chosen)


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


def _stay_up(
    folder: Path,
    base_port: int,
    issuers: int | None,
    database: str | None,
    console: Console,
    captures: Path | None,
    chosen: Sequence[str],
    elsewhere: Mapping[str, str],
    *,
    tls: bool,
) -> int:
    if not (folder / "network.json").exists():
        console.print(f"preparing a demo network in {folder} ...")
    prepare(folder, base_port, issuers=issuers, database=database, elsewhere=elsewhere, tls=tls)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    missing = _missing(folder, chosen)
    processes = Processes(folder, chosen, captures, capture_all=bool(missing or elsewhere))
    processes.start()
    try:
        console.print("the network is up:" if not missing else f"up without {missing}:")
        links = [link for link, owner in _LINK_OWNERS.items() if owner in processes.services]
        links += [f"{one.party}_link" for one in issuers_among(processes.services)]
        for name in links:
            console.print(f"  {name.replace('_', ' '):<16} {address(base_port, name)}")
        for name in processes.services:
            console.print(f"  {name + ' api':<16} {'https' if tls else 'http'}://{address(base_port, name)}/docs")
        console.print(f"what an outside client needs is in {folder / 'network.json'}")
        pay = f"pay with: fourparty pay --amount 12.50 --dir {folder}   " if "device" in processes.services else ""
        console.print(f"{pay}stop with Ctrl-C")
        while not stop.wait(0.5):
            processes.check()
    finally:
        processes.stop()
    console.print("the network is down")
    return 0
