"""The jobs that prepare the stack's network, on a PostgreSQL server: each user has its own, and a kill does no harm."""

from __future__ import annotations

import itertools
import re
import secrets
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from postgres import PostgresServer

import issuer.tables
import switch.tables
from network.service import ConfigurationError, load_settings
from network.store import Store
from scenarios.demo_network import demo, stack
from scenarios.demo_network.processes import read_description
from scenarios.demo_network.service_files import services_of
from scenarios.phones.counter import CounterSettings

ROOT = Path(__file__).parents[2]
FOLDERS = ("authority", "postgres", "issuer-a", "issuer-b", "switch", "acquirer", "device", "prometheus", "demo")
PARTIES = services_of(2)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(postgres_server: PostgresServer) -> str:
    return f"127.0.0.1:{postgres_server.port}"


@pytest.fixture
def root(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Path]:
    """The folders with their keys, and the server's superuser as the stack's is."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    stack.make_keys(tmp_path)
    password = (tmp_path / "postgres" / "superuser.password").read_text()
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {stack.SUPERUSER} SUPERUSER LOGIN PASSWORD '{password}'")
    yield tmp_path
    with psycopg.connect(postgres_server.conninfo, autocommit=True) as connection:
        for name in PARTIES.values():
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"DROP ROLE IF EXISTS {name}")
        connection.execute(f"DROP ROLE {stack.SUPERUSER}")


def open_store(root: Path, server: str, party: str) -> Store:
    name = PARTIES[party]
    password = (root / stack.CONTAINERS[party] / "database.password").read_text()
    return Store(f"postgresql+psycopg://{name}:{password}@{server}/{name}", demo.ROWS[party])


def count(root: Path, server: str, party: str, row: type) -> int:
    store = open_store(root, server, party)
    try:
        with store.read() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(store.tables[row])).scalar_one())
    finally:
        store.close()


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_secrets_are_made_once_and_each_is_its_own(root: Path) -> None:
    made = files(root)
    stack.make_keys(root)
    assert files(root) == made
    own = [content for name, content in made.items() if not name.endswith("operator.token")]
    assert len(set(own)) == len(own) == 2 * len(PARTIES) + 1
    assert len({content for name, content in made.items() if name.endswith("operator.token")}) == 1
    for name in made:
        mode = stat.S_IMODE((root / name).stat().st_mode)
        assert mode == (0o644 if name.startswith("prometheus") else 0o600), name


def test_the_network_is_prepared_once_and_never_over_one_that_is_there(root: Path, server: str) -> None:
    stack.make_databases(root, server)
    stack.seed(root, server)
    prepared = files(root)
    stack.make_keys(root)
    stack.make_databases(root, server)
    stack.seed(root, server)
    assert files(root) == prepared

    description = read_description(root / "demo" / "network.json")
    assert description["issuer_b"]["member_link"] == "issuer-b:7004"
    assert description["acquirer"]["api"].endswith("acquirer:7012")
    assert {card["issuer"] for card in description["cards"]} == {"issuer", "issuer_b"}
    cards = [count(root, server, party, issuer.tables.Card) for party in ("issuer", "issuer_b")]
    assert min(cards) > 100
    assert count(root, server, "switch", switch.tables.Member) == 3
    for party, name in PARTIES.items():
        settings = tomllib.loads((root / stack.CONTAINERS[party] / "service.toml").read_text())
        assert settings["database"] == f"postgresql+psycopg://{name}@{server}/{name}"
        assert settings["api"].startswith("0.0.0.0:70")
    load_settings(CounterSettings, root / "device" / "service.toml")
    text = b"".join(content for name, content in prepared.items() if name.endswith(".toml"))
    for name, content in prepared.items():
        if name.endswith(("password", "key", "token")):
            assert content not in text, f"{name} is repeated in the settings"

    (root / "demo" / "network.json").unlink()
    with pytest.raises(ConfigurationError, match=r"holds a network whose network\.json is not here") as caught:
        stack.seed(root, server)
    assert (root / "issuer-a" / "database.password").read_text() not in str(caught.value)
    assert count(root, server, "switch", switch.tables.Member) == 3, "nothing was emptied"


def test_a_party_enters_no_other_partys_database(root: Path, server: str) -> None:
    stack.make_databases(root, server)
    passwords = {
        name: (root / stack.CONTAINERS[party] / "database.password").read_text() for party, name in PARTIES.items()
    }
    for user, database in itertools.permutations(PARTIES.values(), 2):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(f"postgresql://{user}:{passwords[user]}@{server}/{database}", connect_timeout=5)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://switch:{secrets.token_hex(8)}@{server}/switch", connect_timeout=5)


def test_a_job_that_is_killed_begins_again(root: Path, server: str) -> None:
    stack.make_databases(root, server)
    command = [sys.executable, "-m", "scenarios.cli", "stack", "seed", "--dir", str(root), "--server", server]
    killed = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 60
    password = (root / "switch" / "database.password").read_text()
    with psycopg.connect(f"postgresql://switch:{password}@{server}/switch", autocommit=True) as connection:
        # the switch's rows are there first, the cards last
        while connection.execute("SELECT 1 FROM member LIMIT 1").fetchone() is None:
            assert time.monotonic() < deadline
            assert killed.poll() is None
    killed.kill()
    killed.wait()
    assert not (root / "demo" / "network.json").exists(), "it was not killed in the middle"
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert (root / "demo" / "network.json").exists()
    assert count(root, server, "switch", switch.tables.Member) == 3
    assert sum(count(root, server, party, issuer.tables.Card) for party in ("issuer", "issuer_b")) == 329


@pytest.mark.parametrize(
    ("server_named", "said"),
    [("127.0.0.1:1", "connection"), ("nonsense:port", "is not like postgres:5432")],
)
def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path: Path, server_named: str, said: str) -> None:
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    stack.make_keys(tmp_path)
    with pytest.raises(ConfigurationError, match=said) as caught:
        stack.make_databases(tmp_path, server_named)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "postgres" / "superuser.password").read_text() not in str(caught.value)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path))):
        stack.make_keys(tmp_path)


def locked(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_image_is_made_of_what_the_suite_has_tested() -> None:
    tested, shipped = locked("requirements.lock"), locked("requirements-run.lock")
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*wanted["dependencies"], *wanted["optional-dependencies"]["traces"]]
    assert {re.split(r"[\[>=<;]", one)[0] for one in needed} <= shipped.keys()
    for name, pinned in {**shipped, **locked("requirements-build.lock")}.items():
        assert tested[name] == pinned, name
    assert not {"pytest", "mypy", "ruff", "hatchling", "pip"} & shipped.keys()
