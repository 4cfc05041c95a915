"""Certification authorities' keys from a file: read before the phones begin, and wrong ones are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from merchant_device.__main__ import read_ca_keys
from merchant_device.tables import IN_FORCE, TABLES, WITHDRAWN, CaKey
from network.emv import parse_ca_key
from network.service import ConfigurationError
from network.store import Store

PUBLISHED = Path(__file__).parent.parent / "vectors" / "unionpay_ca_public_keys.json"


@pytest.fixture
def store():
    made = Store("sqlite://", TABLES, durable=False)
    yield made
    made.close()


def kept(store):
    unit = store.unit_of_work()
    return {row.identifier: row for row in unit.scan(CaKey, "status", IN_FORCE, 100)}


def test_the_published_keys(store):
    for _ in range(2):
        read_ca_keys(store, PUBLISHED)
    rows = kept(store)
    assert sorted(rows) == [f"A0000003330{last}" for last in "123489B"]
    assert parse_ca_key(rows["A00000033304"].data).modulus.hex().upper().startswith("BC853E6B")


def test_a_key_that_was_withdrawn_comes_back(store):
    read_ca_keys(store, PUBLISHED)
    unit = store.unit_of_work()
    row = unit.find(CaKey, "identifier", "A00000033304")
    unit.change(row)
    row.status = WITHDRAWN
    unit.commit()
    assert "A00000033304" not in kept(store)
    read_ca_keys(store, PUBLISHED)
    assert "A00000033304" in kept(store)


def test_no_file_is_asked_for(store):
    read_ca_keys(store, None)
    assert kept(store) == {}


def test_a_key_that_is_not_what_its_hash_says(store, tmp_path):
    content = json.loads(PUBLISHED.read_text())
    content["keys"][3]["modulus"] = "AC" + content["keys"][3]["modulus"][2:]
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="key 04 of A000000333: wrong checksum"):
        read_ca_keys(store, path)
    assert kept(store) == {}


def test_a_file_that_is_not_there(store, tmp_path):
    with pytest.raises(ConfigurationError, match="ca_keys: cannot read"):
        read_ca_keys(store, tmp_path / "none.json")
