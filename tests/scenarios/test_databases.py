"""Databases on a PostgreSQL server: made once, claimed by one network, and never emptied for another."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from postgres import PostgresServer

from network.service import ConfigurationError
from network.store import Store
from scenarios.demo_network import databases, demo, embedded
from scenarios.demo_network.processes import read_description
from scenarios.demo_network.service_files import services_of

NAMES = {"switch": "switch", "merchant_device": "device"}


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg:", "postgresql:")


def test_databases_are_made_beside_the_one_that_is_named(url: str) -> None:
    made = databases.create(url, NAMES)
    assert {key: sa.make_url(one).database for key, one in made.items()} == {
        "switch": f"{sa.make_url(url).database}_switch",
        "merchant_device": f"{sa.make_url(url).database}_device",
    }
    assert databases.create(url, NAMES) == made == databases.siblings(url, NAMES)
    with psycopg.connect(plain(made["switch"])) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_database_belongs_to_one_network(url: str) -> None:
    assert databases.claimed_by(url) is None
    databases.claim(url, "0123456789abcdef")
    databases.claim(url, "0123456789abcdef")
    assert databases.claimed_by(url) == "0123456789abcdef"
    with pytest.raises(ConfigurationError, match="belongs to another network"):
        databases.claim(url, "fedcba9876543210")


def test_a_user_gets_its_own_database_and_no_other(url: str, postgres_server: PostgresServer) -> None:
    for name in ("owner_one", "owner_two"):
        databases.create_owned(url, name, "first")
        databases.create_owned(url, name, "second")
    address = sa.make_url(url).set(username="owner_one", database="owner_one")
    mine = address.render_as_string(hide_password=False)
    Store(mine, demo.ROWS["switch"]).close()
    others = address.set(database="owner_two").render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match="permission denied for database"):
        databases.claimed_by(others)
    with psycopg.connect(postgres_server.conninfo) as connection:
        verifiers = dict(connection.execute("SELECT rolname, rolpassword FROM pg_authid").fetchall())
    assert str(verifiers["owner_one"]).startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("nonsense", "not given as a URL"),
        ("sqlite:///demo.db", "is not like postgresql"),
        ("postgresql+psycopg://localhost", "is not like postgresql"),
        ("postgresql+psycopg://user:secret@127.0.0.1:1/demo", "connection"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_without_the_password(wrong: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        databases.create(wrong, NAMES)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def prepare(folder: Path, url: str) -> None:
    embedded.prepare(folder, 7000, cards=1, free_terminals=1, products=(), database=url)


def test_a_preparation_that_was_cut_short_begins_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embedded, "description_of", cut_short)
        with pytest.raises(KeyboardInterrupt):
            prepare(tmp_path, url)
    assert not (tmp_path / "network.json").exists()
    stores = {party: databases.siblings(url, {party: name})[party] for party, name in services_of(1).items()}
    switch = Store(stores["switch"], demo.ROWS["switch"])
    members = sa.text("SELECT count(*) FROM member")
    with switch.read() as connection:
        assert connection.execute(members).scalar_one() == 2, "the first one has left rows behind"
    prepare(tmp_path, url)
    with switch.read() as connection:
        assert connection.execute(members).scalar_one() == 2
    switch.close()
    description = read_description(tmp_path / "network.json")
    assert {databases.claimed_by(one) for one in stores.values()} == {description["network"]}


def test_a_second_folder_does_not_take_the_first_ones_databases(url: str, tmp_path: Path) -> None:
    prepare(tmp_path / "one", url)
    kept = (tmp_path / "one" / "network.json").read_bytes()
    prepare(tmp_path / "one", url)
    assert (tmp_path / "one" / "network.json").read_bytes() == kept
    with pytest.raises(ConfigurationError, match=r"holds a network whose network\.json is not here"):
        prepare(tmp_path / "two", url)
    with pytest.raises(ConfigurationError, match=re.escape("--database: the network in")):
        embedded.prepare(tmp_path / "one", 7000, database=f"{url}&application_name=other")
    text = (tmp_path / "one" / "issuer.toml").read_text()
    assert "postgresql+psycopg" in text
    assert not list((tmp_path / "one").glob("*.db"))
