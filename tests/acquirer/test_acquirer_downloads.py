"""What terminals download: CA keys and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from acquirer_bed import Bed, Terminal
from further_messages import managed

from acquirer.downloads import MOST_KEYS
from network.emv import tlv
from network.emv.ca_keys import CaPublicKey, parse_ca_key, read_ca_keys
from network.party import CommandError

VECTORS = Path(__file__).parent.parent / "vectors" / "unionpay_ca_public_keys.json"
RID = bytes.fromhex("A000000333")


def made_key(index: int, expiry: str | None = "20301231", size: int = 128) -> CaPublicKey:
    modulus = bytes((0xC0 | index % 16, *([index] * (size - 2)), 0x01))
    return CaPublicKey(RID, index, modulus, 3, expiry)


def offer(bed: Bed, key: CaPublicKey) -> None:
    assert not isinstance(bed.command("set_ca_key", block=key.build().hex()), CommandError)


def asked(rid: bytes, index: int) -> bytes:
    return tlv.encode("9F06", rid) + tlv.encode("9F22", bytes((index,)))


def download(bed: Bed, terminal: Terminal, mti: str, code: str, content: bytes | None = None) -> bytes:
    (reply,) = bed.ask(terminal, managed(terminal, mti, code, de62=content))
    assert (reply.mti, reply.fields[39]) == ("0830" if mti == "0820" else "0810", "00")
    assert sorted(reply.fields) == [11, 12, 13, 32, 37, 39, 41, 42, 60, 62, 64]
    return reply.binary(62)


def test_keys_are_listed_and_downloaded_whole(bed: Bed, terminal: Terminal) -> None:
    assert download(bed, terminal, "0820", "372") == b"0"
    first, second = made_key(8), made_key(11, None, 248)
    offer(bed, second)
    offer(bed, first)
    assert download(bed, terminal, "0820", "372") == (
        b"1" + asked(RID, 8) + tlv.encode("DF05", b"20301231") + asked(RID, 11)
    )
    for key in (first, second):
        content = download(bed, terminal, "0800", "370", asked(key.rid, key.index))
        assert content[:1] == b"1"
        assert content[1:] == key.build()
        assert parse_ca_key(content[1:]) == key
    assert download(bed, terminal, "0800", "370", asked(RID, 9)) == b"0"
    bed.restart()
    bed.connect()
    assert parse_ca_key(download(bed, terminal, "0800", "370", asked(RID, 8))[1:]) == first
    for code in ("371", "381", "361"):
        (reply,) = bed.ask(terminal, managed(terminal, "0800", code))
        assert (reply.mti, reply.fields[39], 62 in reply.fields, 64 in reply.fields) == ("0810", "00", False, True)


def test_unionpays_real_keys_travel_whole(bed: Bed, terminal: Terminal) -> None:
    keys = read_ca_keys(VECTORS.read_text()).values()
    assert keys
    for key in keys:
        offer(bed, key)
        assert parse_ca_key(download(bed, terminal, "0800", "370", asked(key.rid, key.index))[1:]) == key


def test_a_key_is_replaced_and_withdrawn(bed: Bed, terminal: Terminal) -> None:
    offer(bed, made_key(8))
    offer(bed, made_key(8, "20351231"))
    assert parse_ca_key(download(bed, terminal, "0800", "370", asked(RID, 8))[1:]).expiry == "20351231"
    bed.command("withdraw_ca_key", rid=RID.hex(), index="08")
    assert download(bed, terminal, "0820", "372") == b"0"
    assert download(bed, terminal, "0800", "370", asked(RID, 8)) == b"0"
    offer(bed, made_key(8))
    assert download(bed, terminal, "0800", "370", asked(RID, 8))[:1] == b"1"


def test_no_more_keys_than_the_list_can_name(bed: Bed, terminal: Terminal) -> None:
    for index in range(MOST_KEYS):
        offer(bed, made_key(index))
    refused = bed.command("set_ca_key", block=made_key(MOST_KEYS).build().hex())
    assert isinstance(refused, CommandError)
    assert str(MOST_KEYS) in str(refused)
    offer(bed, made_key(3, "20401231"))
    listed = download(bed, terminal, "0820", "372")
    assert listed.count(bytes.fromhex("9F2201")) == MOST_KEYS


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda block: block[:-1] + bytes((block[-1] ^ 1,)), "checksum"),
        (lambda block: block.replace(b"20301231", b"20301331"), "expiry"),
        (lambda block: block[:20], "a CA key"),
        (lambda block: block[8:], "9F06"),
    ],
)
def test_keys_that_are_none_are_refused(bed: Bed, terminal: Terminal, change: Any, reason: str) -> None:
    block = change(made_key(8).build())
    result = bed.command("set_ca_key", block=block.hex())
    with pytest.raises(CommandError, match=reason):
        raise result  # type: ignore[misc]
    assert download(bed, terminal, "0820", "372") == b"0"
    assert isinstance(bed.command("set_ca_key", block="xyz"), CommandError)
    assert isinstance(bed.command("withdraw_ca_key", rid=RID.hex(), index="08"), CommandError)


def limits(floor: int, contactless: int, cvm: int) -> bytes:
    return tlv.encode_all(
        {f"DF{19 + k}": bytes.fromhex(f"{fen:012d}") for k, fen in enumerate((floor, contactless, cvm))}
    )


def test_limits_of_an_application_or_the_defaults(bed: Bed, terminal: Terminal) -> None:
    debit, ecash = RID + bytes.fromhex("010101"), RID + bytes.fromhex("010106")
    result = bed.command(
        "set_parameters", aid=ecash.hex(), floor_limit=50_000, contactless_limit=100_000, cvm_limit=30_000
    )
    assert not isinstance(result, CommandError)
    defaults = limits(100_000, 999_999_999_999, 100_000)
    own = limits(50_000, 100_000, 30_000)
    for aid, content in ((debit, defaults), (ecash, own)):
        name = tlv.encode("9F06", aid)
        assert download(bed, terminal, "0800", "380", name) == b"1" + name + content
    assert download(bed, terminal, "0800", "360") == defaults + bytes.fromhex("9F1A0201565F2A020156")


@pytest.mark.parametrize(
    "arguments",
    [
        {"aid": "A0000003"},
        {"aid": "zz" * 8},
        {"floor_limit": -1},
        {"cvm_limit": 10**12},
        {"cvm_limit": "5"},
        {"contactless_limit": True},
    ],
)
def test_limits_that_cannot_be(bed: Bed, arguments: dict[str, Any]) -> None:
    good: dict[str, Any] = {"aid": "A000000333010101", "floor_limit": 1, "contactless_limit": 2, "cvm_limit": 3}
    assert isinstance(bed.command("set_parameters", **{**good, **arguments}), CommandError)


@pytest.mark.parametrize(
    ("mti", "code", "content", "answer"),
    [
        ("0800", "370", None, "30"),
        ("0800", "370", b"\x9f\x06\x05", "30"),
        ("0800", "370", tlv.encode("9F06", RID), "30"),
        ("0800", "380", tlv.encode("9F06", b"\xa0\x00"), "30"),
        ("0800", "380", b"", "30"),
        ("0800", "372", None, "40"),
        ("0820", "370", asked(RID, 8), "40"),
    ],
)
def test_refusals(bed: Bed, terminal: Terminal, mti: str, code: str, content: bytes | None, answer: str) -> None:
    (reply,) = bed.ask(terminal, managed(terminal, mti, code, de62=content))
    assert (reply.fields[39], 62 in reply.fields, 64 in reply.fields) == (answer, False, True)
    (reply,) = bed.ask(terminal, managed(terminal, mti, code, de62=content, de11=None))
    assert reply.fields[39] == "30"
