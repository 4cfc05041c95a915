"""What prepares the network of the compose stack: three jobs that run once, before its services.

Every service has a folder of its own, a volume that only it and these jobs are given: its settings and its secrets.
What outsiders need is in the folder ``demo``. The jobs may be killed at any moment and run again at any time: what is
there is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from random import SystemRandom
from typing import Final, TypeVar

import sqlalchemy as sa

from network.live import real_now
from network.migrating import migrate
from network.service import ConfigurationError, open_module, read_secret
from network.store import Store, StoreError
from scenarios.demo_network import databases, demo
from scenarios.demo_network.demo_ca import CA_FILE, Authority, Subject
from scenarios.demo_network.embedded import COUNTER_PHONES, FREE_TERMINALS, PRODUCTS
from scenarios.demo_network.members import ACQUIRER_ID, ISSUERS, SWITCH_ID
from scenarios.demo_network.processes import PORTS, read_description
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

ISSUER_COUNT: Final = len(ISSUERS)

BASE_PORT: Final = 7000
"""Inside the stack's network every service listens on the ports that `fourparty up` has by default."""

SETTINGS: Final = Path("/etc/fourparty")
"""Where a service finds its own folder."""

DATABASE_SERVER: Final = "postgres"
SUPERUSER: Final = "postgres"
"""The service that runs PostgreSQL, its folder, and its superuser."""

CONTAINERS: Final[Mapping[str, str]] = {
    **{one.party: f"issuer-{'abc'[number]}" for number, one in enumerate(ISSUERS)},
    "switch": "switch",
    "acquirer": "acquirer",
    PARTY_OF_DEVICE: "device",
}
"""Party to the service of ``compose.yaml`` that runs it, which is also its host and the name of its folder."""

_FOR_ALL: Final = 0o644

T = TypeVar("T")


def make_keys(root: Path, *, tls: bool = False) -> None:
    """The first job: every secret of the stack, each in the folder of whom it is for; those that are there stay.

    Parameters
    ----------
    tls
        Certificates too, of a demo authority in the folder ``authority``; those that soon expire are made anew.

    Raises
    ------
    ConfigurationError
        A folder cannot be written.
    """

    def keep(path: Path, make: Callable[[], str], mode: int = 0o600) -> None:
        if not path.exists():
            write_secret(path, make(), mode)

    def write() -> None:
        for party in services_of(ISSUER_COUNT):
            folder = root / CONTAINERS[party]
            keep(folder / "storage.key", lambda: secrets.token_hex(32))
            keep(folder / "database.password", lambda: secrets.token_urlsafe(24))
        # operators have one token for all: the network's own operator is who runs the stack
        token = root / CONTAINERS["switch"] / "operator.token"
        keep(token, lambda: secrets.token_urlsafe(24))
        for party in services_of(ISSUER_COUNT):
            keep(root / CONTAINERS[party] / "operator.token", lambda: read_secret(token))
        # its user is another's, and nobody else is given its folder
        keep(root / "prometheus" / "operator.token", lambda: read_secret(token), 0o644)
        keep(root / DATABASE_SERVER / "superuser.password", lambda: secrets.token_urlsafe(24))

        if tls:
            _make_certificates(root)

    _told(root, write)


def _make_certificates(root: Path) -> None:
    authority = Authority(root / "authority")
    members = {"switch": SWITCH_ID, "acquirer": ACQUIRER_ID} | {one.party: one.member_id for one in ISSUERS}
    trusted = authority.certificate_file.read_text()
    for party in services_of(ISSUER_COUNT):
        name = CONTAINERS[party]
        # the published ports are reached on this machine
        subject = Subject((name, "localhost", "127.0.0.1"), members.get(party))
        authority.issue("tls", subject, root / name)
        write_secret(root / name / CA_FILE, trusted, _FOR_ALL)
    for name in ("demo", "prometheus"):
        write_secret(root / name / CA_FILE, trusted, _FOR_ALL)


def make_databases(root: Path, server: str) -> None:
    """The second job: a database for each party, which its own user alone may enter, migrated to this version's tables.

    Parameters
    ----------
    server
        ``host:port`` of PostgreSQL.

    Raises
    ------
    ConfigurationError
        The server cannot be reached, or a database is not as this version needs it.
    """

    def make() -> None:
        password = read_secret(root / DATABASE_SERVER / "superuser.password")
        url = _url(server, SUPERUSER, password, SUPERUSER)
        for party, name in services_of(ISSUER_COUNT).items():
            databases.create_owned(url, name, read_secret(root / CONTAINERS[party] / "database.password"))
            migrate(_own_url(root, server, party), demo.ROWS[party], demo.HISTORIES[party])

    _told(root, make)


def seed(root: Path, server: str, *, tls: bool = False) -> None:
    """The third job: demo data in the databases, the services' settings, and what outsiders need in ``demo``.

    A network that has been seeded is kept; only the settings are written again. With `tls` they say that links and REST
    are secured by what `make_keys` has made.

    Raises
    ------
    ConfigurationError
        A folder cannot be written, the server cannot be reached, or the databases hold a network that ``demo`` does not
        know.
    """

    def make() -> None:
        if not (root / "demo" / "network.json").exists():
            _seed(root, server)
        _write_settings(root, server, tls=tls)

    _told(root, make)


def _seed(root: Path, server: str) -> None:
    folders = {party: root / CONTAINERS[party] for party in services_of(ISSUER_COUNT)}
    modules = {party: open_module(folder / "storage.key") for party, folder in folders.items()}
    stores: dict[str, Store] = {}
    try:
        for party in folders:
            revision = demo.HISTORIES[party].head
            stores[party] = Store(_own_url(root, server, party), demo.ROWS[party], create=False, revision=revision)
            databases.empty(stores[party])
        data = demo.seed(
            modules,
            stores,
            SystemRandom(),
            real_now(),
            phones=COUNTER_PHONES,
            cards=demo.CARDS,
            free_terminals=FREE_TERMINALS,
            products=PRODUCTS,
        )
    finally:
        for store in stores.values():
            store.close()
    wallet = [asdict(card) for card in data.wallet]
    write_json(folders[PARTY_OF_DEVICE] / "wallet.json", wallet)
    write_json(root / "demo" / "wallet.json", wallet, _FOR_OUTSIDERS)
    token = read_secret(folders["switch"] / "operator.token")
    # last: with it the network is there
    write_json(root / "demo" / "network.json", description_of(data, ISSUER_COUNT, token), _FOR_OUTSIDERS)


_FOR_OUTSIDERS: Final = 0o640
"""Readable by the group that the stack's tools have."""


def _write_settings(root: Path, server: str, *, tls: bool) -> None:
    names = services_of(ISSUER_COUNT)
    hosts = {name: CONTAINERS[party] for party, name in names.items()}
    hosts |= {f"{one.party}_link": CONTAINERS[one.party] for one in ISSUERS}
    hosts |= {"member_link": "switch", "terminal_link": "acquirer", "monitoring_link": "acquirer"}
    at = {port: f"{hosts[port]}:{BASE_PORT + offset}" for port, offset in PORTS.items()}
    listen = {port: f"0.0.0.0:{BASE_PORT + offset}" for port, offset in PORTS.items()}
    path = root / "demo" / "network.json"
    content = with_addresses(read_description(path) | {"tls": {"ca": CA_FILE} if tls else None}, at)
    write_json(path, content, _FOR_OUTSIDERS)
    for party, settings in settings_of(content, demo.Timeouts(), at, listen).items():
        databases.claim(_own_url(root, server, party), content["network"])
        own = {
            "database": f"postgresql+psycopg://{names[party]}@{server}/{names[party]}",
            "database_password_file": str(SETTINGS / "database.password"),
            "storage_key_file": str(SETTINGS / "storage.key"),
            "operator_token_file": str(SETTINGS / "operator.token"),
            "wait_for_files": True,
            "migrate": False,
        }
        if tls:
            own["tls_ca_file"] = str(SETTINGS / CA_FILE)
            own["tls_certificate_file"] = str(SETTINGS / "tls.crt")
            own["tls_key_file"] = str(SETTINGS / "tls.key")
        if party == PARTY_OF_DEVICE:
            own["wallet"] = str(SETTINGS / "wallet.json")
        write_secret(root / CONTAINERS[party] / "service.toml", to_toml(own | settings))


def _own_url(root: Path, server: str, party: str) -> str:
    name = services_of(ISSUER_COUNT)[party]
    return _url(server, name, read_secret(root / CONTAINERS[party] / "database.password"), name)


def _url(server: str, user: str, password: str, database: str) -> str:
    try:
        url = sa.make_url(f"postgresql+psycopg://{server}/{database}")
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigurationError(f"--server: {server!r} is not like postgres:5432") from error
    return url.set(username=user, password=password).render_as_string(hide_password=False)


def _told(root: Path, job: Callable[[], T]) -> T:
    """Do a job; what files and databases refuse is told in one line."""
    try:
        return job()
    except OSError as error:
        raise ConfigurationError(f"cannot prepare {root}: {error.strerror}: {error.filename}") from error
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
