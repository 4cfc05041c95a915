"""Keys of certification authorities: the public ones of UnionPay, the download's objects, files of keys."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.emv import CaKeyError, CaPublicKey, load_ca_keys, parse_ca_key, read_ca_keys, tlv

FILE = Path(__file__).parents[1] / "vectors" / "unionpay_ca_public_keys.json"
VECTORS = json.loads(FILE.read_text())
RID = bytes.fromhex(VECTORS["rid"])
KEY = CaPublicKey(RID, 4, bytes.fromhex(VECTORS["keys"][3]["modulus"]), 3, "20301231")


@pytest.mark.parametrize("entry", VECTORS["keys"], ids=[entry["index"] for entry in VECTORS["keys"]])
def test_unionpays_public_keys_have_their_checksums(entry: dict[str, str]) -> None:
    key = load_ca_keys(FILE)[RID, int(entry["index"], 16)]
    assert key.checksum().hex().upper() == entry["sha1"]
    assert len(key.modulus) * 8 == int(entry["bits"])
    assert parse_ca_key(key.build()) == key
    wrong = {**entry, "sha1": entry["sha1"][:-1] + ("0" if entry["sha1"][-1] != "0" else "1")}
    with pytest.raises(CaKeyError, match=f"key {entry['index']} of A000000333: wrong checksum"):
        read_ca_keys(json.dumps({"rid": VECTORS["rid"], "keys": [wrong]}))
    with pytest.raises(CaKeyError, match=f"key {entry['index']} of A000000333: wrong checksum"):
        read_ca_keys(json.dumps({"rid": VECTORS["rid"], "keys": [{**entry, "modulus": "C1" + entry["modulus"][2:]}]}))


def download(**changes: str | None) -> bytes:
    values: dict[str, bytes] = tlv.flat(KEY.build())
    for name, value in changes.items():
        if value is None:
            del values[name]
        else:
            values[name] = bytes.fromhex(value)
    return tlv.encode_all(values)


def test_the_download_is_that_of_the_example() -> None:
    assert (
        KEY.build()
        .hex()
        .upper()
        .startswith("9F0605A0000003339F220104DF05083230333031323331DF060101DF070101DF0281F8BC85")
    )
    assert list(tlv.flat(KEY.build())) == ["9F06", "9F22", "DF05", "DF06", "DF07", "DF02", "DF04", "DF03"]
    assert KEY.build().hex().upper().endswith("DF040103DF0314F527081CF371DD7E1FD4FA414A665036E0F5E6E5")
    assert parse_ca_key(download(DF05="20301231")) == KEY
    assert parse_ca_key(download(DF05=None)).expiry is None
    assert parse_ca_key(download(DF06=None, DF07=None, DF04="000003")) == KEY


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"9F06": None}, "9F06 is missing"),
        ({"9F22": None}, "9F22 is missing"),
        ({"DF02": None}, "DF02 is missing"),
        ({"DF04": None}, "DF04 is missing"),
        ({"DF03": None}, "DF03 is missing"),
        ({"9F22": "0404"}, "9F22 is not one byte"),
        ({"9F22": "05"}, "key 05 of A000000333: wrong checksum"),
        ({"9F06": "A000000003"}, "key 04 of A000000003: wrong checksum"),
        ({"9F06": "A0000003"}, "rid of 4 bytes"),
        ({"DF04": "010001"}, "key 04 of A000000333: wrong checksum"),
        ({"DF04": "05"}, "exponent is neither 3 nor 65537"),
        ({"DF03": "00" * 20}, "key 04 of A000000333: wrong checksum"),
        ({"DF03": "00"}, "key 04 of A000000333: wrong checksum"),
        ({"DF06": "07"}, "hash algorithm 07 is not known"),
        ({"DF07": "04"}, "public key algorithm 04 is not known"),
        ({"DF05": "20301331"}, "expiry DF05 is not YYYYMMDD"),
        ({"DF05": "3230333031323341"}, "expiry DF05 is not YYYYMMDD"),
        ({"DF02": "C1" * 63}, "modulus of 63 bytes"),
        ({"DF02": "C1" * 249}, "modulus of 249 bytes"),
        ({"DF02": "C0" * 128}, "is even"),
        ({"DF02": "00" + "C1" * 127}, "begins with a zero byte"),
    ],
)
def test_downloads_that_are_not_sound(changes: dict[str, str | None], reason: str) -> None:
    with pytest.raises(CaKeyError, match=reason):
        parse_ca_key(download(**changes))


TOML = f"""
rid = "A000000333"
[[keys]]
index = "04"
modulus = "{KEY.modulus.hex()}"
exponent = "03"
sha1 = "F527081CF371DD7E1FD4FA414A665036E0F5E6E5"
expiry = "20301231"
"""


def test_a_file_may_be_toml_or_a_bare_list(tmp_path: Path) -> None:
    assert read_ca_keys(TOML) == {(RID, 4): KEY}
    entry = {
        "rid": "A000000333",
        "index": "04",
        "modulus": KEY.modulus.hex(),
        "exponent": "03",
        "sha1": KEY.checksum().hex(),
    }
    assert read_ca_keys(json.dumps([entry])) == {(RID, 4): CaPublicKey(RID, 4, KEY.modulus, 3)}
    path = tmp_path / "keys.toml"
    path.write_text(TOML.replace("F5E6E5", "F5E6E4"))
    with pytest.raises(CaKeyError, match=r"keys\.toml: key 04 of A000000333: wrong checksum"):
        load_ca_keys(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CaKeyError, match=r"keys\.toml: "):
        load_ca_keys(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no list of keys"),
        ("{", "neither JSON nor TOML"),
        ("[" * 100_000, "neither JSON nor TOML"),
        ("keys = 1", "no list of keys"),
        ("[1]", "entry 1 of the keys: not a table"),
        (TOML.replace("rid", "rad"), "entry 1 of the keys: rid is missing"),
        (TOML.replace('"04"', '"0404"'), "index is not one byte"),
        (TOML.replace('"04"', "4"), "index is missing or not hexadecimal"),
        (TOML.replace('"03"', '"0x"'), "exponent is missing or not hexadecimal"),
        (TOML.replace("sha1", "sha2"), "sha1 is missing"),
        (TOML.replace('"20301231"', "20301231"), "expiry is not YYYYMMDD"),
        (TOML.replace('"20301231"', '"20301232"'), "expiry is not YYYYMMDD"),
        (TOML + TOML[TOML.index("[[") :], "key 04 of A000000333: there twice"),
        (json.dumps([{}] * 257), "more than 256"),
    ],
)
def test_files_that_are_not_sound(text: str, reason: str) -> None:
    with pytest.raises(CaKeyError, match=reason):
        read_ca_keys(text)


@given(st.binary(max_size=80), st.text(max_size=80))
def test_any_bytes_are_a_key_or_refused(data: bytes, text: str) -> None:
    with pytest.raises(CaKeyError):
        parse_ca_key(data)
    with contextlib.suppress(CaKeyError):
        assert read_ca_keys(text) == {}
