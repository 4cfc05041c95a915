import json
import random
from pathlib import Path

import psec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.keys import KeyBlockError
from network.keys.ciphers import xor
from network.keys.key_block import KeyBlockHeader, KeyBlockProtection, parse_header, unwrap, wrap

# The oracles still use the deprecated names and key lengths of the library.
pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES:cryptography.utils.CryptographyDeprecationWarning")

CASES = json.loads((Path(__file__).parents[2] / "vectors" / "key_blocks.json").read_text())["cases"]
OPENED = [case for case in CASES if case["block"][0] in "ABCD"]
KBPK = {
    "A": bytes(range(16)),
    "B": bytes(range(24)),
    "C": bytes(range(16)),
    "D": bytes(range(32)),
}
PROTECTION = {version: KeyBlockProtection(version, key) for version, key in KBPK.items()}
KEYS = st.sampled_from([8, 16, 24, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n))


def names(case: dict[str, str]) -> str:
    return f"{case['source']} {case['block'][:5]}"


@pytest.mark.parametrize("case", OPENED, ids=names)
def test_published_blocks_open(case: dict[str, str]) -> None:
    header, key = unwrap(bytes.fromhex(case["kbpk"]), case["block"])
    assert key.hex().upper() == case["key"]
    assert header.version == case["block"][0]
    assert header.usage == case["block"][5:7]


@pytest.mark.parametrize("case", OPENED, ids=names)
def test_a_changed_character_is_refused(case: dict[str, str]) -> None:
    block = case["block"]
    for position in (5, 7, 8, 11, 16, len(block) // 2, len(block) - 1):
        other = "1" if block[position] != "1" else "2"
        with pytest.raises(KeyBlockError):
            unwrap(bytes.fromhex(case["kbpk"]), block[:position] + other + block[position + 1 :])


def test_the_two_published_vectors_of_version_e_are_refused_by_name() -> None:
    (case,) = (case for case in CASES if case["block"][0] == "E")
    with pytest.raises(KeyBlockError, match="version 'E' is not supported"):
        unwrap(bytes.fromhex(case["kbpk"]), case["block"])


@pytest.mark.parametrize("case", [c for c in OPENED if c["block"][0] in "BD"], ids=names)
def test_published_headers_wrap_to_a_block_of_the_same_header_and_length(case: dict[str, str]) -> None:
    key = bytes.fromhex(case["key"])
    header, _ = unwrap(bytes.fromhex(case["kbpk"]), case["block"])
    start = 16 + (case["block"].index("PB") - 16 if "PB" in case["block"] else 24 * bool(header.optional))
    masked = (len(case["block"]) - start) // 2 - {"B": 8, "D": 16}[header.version] - 2
    block = wrap(bytes.fromhex(case["kbpk"]), header, key, random.Random(1), masked - masked % 8)
    assert block[5:start] == case["block"][5:start]
    assert psec.tr31.unwrap(bytes.fromhex(case["kbpk"]), block)[1] == key


@given(
    version=st.sampled_from("BD"),
    key=KEYS,
    masked=st.sampled_from([0, 24, 32]),
    optional=st.lists(
        st.tuples(
            st.sampled_from(["KS", "KV", "LB", "TS", "10"]),
            st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=300),
        ),
        max_size=4,
        unique_by=lambda item: item[0],
    ),
    seed=st.integers(0, 99),
)
def test_psec_opens_what_is_wrapped(
    version: str, key: bytes, masked: int, optional: list[tuple[str, str]], seed: int
) -> None:
    header = KeyBlockHeader(version, "P0", "T", "E", "12", "S", tuple(optional))
    block = PROTECTION[version].wrap(header, key, random.Random(seed), masked)
    assert int(block[1:5]) == len(block)
    theirs, opened = psec.tr31.unwrap(KBPK[version], block)
    assert opened == key
    assert (theirs.key_usage, theirs.mode_of_use, theirs.exportability) == ("P0", "E", "S")
    assert [(name, theirs.blocks[name]) for name, _ in optional] == optional
    assert PROTECTION[version].unwrap(block) == (header, key)


@given(version=st.sampled_from("ABCD"), key=KEYS, label=st.text("ABC xyz", max_size=40))
def test_what_psec_wraps_is_opened(version: str, key: bytes, label: str) -> None:
    header = psec.tr31.Header(version, "M3", "T", "C", "00", "E")
    if label:
        header.blocks["LB"] = label
    block = psec.tr31.wrap(KBPK[version], header, key)
    ours, opened = PROTECTION[version].unwrap(block)
    assert opened == key
    assert ours == KeyBlockHeader(version, "M3", "T", "C", "00", "E", (("LB", label),) if label else ())
    assert parse_header(block) == ours


@given(
    block=st.one_of(
        st.text(max_size=200),
        st.builds(
            lambda version, rest: f"{version}{len(rest) + 5:04d}{rest}",
            st.sampled_from("ABCD"),
            st.text("0123456789ABCDEFPBKST", min_size=11, max_size=120),
        ),
    )
)
def test_any_text_is_opened_or_refused(block: str) -> None:
    for protection in PROTECTION.values():
        with pytest.raises(KeyBlockError):
            protection.unwrap(block)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 32])
def test_a_protection_key_must_fit_version_b(length: int) -> None:
    with pytest.raises(KeyBlockError, match="does not fit"):
        KeyBlockProtection("B", bytes(length))


@pytest.mark.parametrize("version", ["A", "C"])
def test_deprecated_versions_are_not_made(version: str) -> None:
    with pytest.raises(KeyBlockError, match="deprecated"):
        PROTECTION[version].wrap(KeyBlockHeader(version, "P0", "T", "E"), bytes(16), random.Random(1))


def test_a_block_of_another_version_under_the_same_key_is_refused() -> None:
    block = PROTECTION["B"].wrap(KeyBlockHeader("B", "P0", "T", "E"), bytes(16), random.Random(1))
    with pytest.raises(KeyBlockError, match="version B under a D key"):
        PROTECTION["D"].unwrap(block)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (KeyBlockHeader("D", "P", "T", "E"), "usage must be 2"),
        (KeyBlockHeader("D", "P0", "T", "\n"), "mode of use must be 1"),
        (KeyBlockHeader("D", "P0", "T", "E", optional=(("PB", "0"),)), "identifier"),
        (KeyBlockHeader("D", "P0", "T", "E", optional=(("KS", "é"),)), "printable"),
        (KeyBlockHeader("D", "P0", "T", "E", optional=(("KS", "0" * 9990),)), "too long"),
        (KeyBlockHeader("D", "P0", "T", "E", optional=(("KS", "0" * 9900),)), "limit"),
        (KeyBlockHeader("B", "P0", "T", "E"), "version 'B' under a D key"),
    ],
)
def test_malformed_headers_are_refused(header: KeyBlockHeader, message: str) -> None:
    with pytest.raises(KeyBlockError, match=message):
        PROTECTION["D"].wrap(header, bytes(16), random.Random(1))


def test_many_blocks_through_one_protection_key_are_those_of_fresh_ones() -> None:
    header = KeyBlockHeader("D", "P0", "T", "E")
    for seed in range(5):
        assert PROTECTION["D"].wrap(header, bytes(16), random.Random(seed)) == wrap(
            KBPK["D"], header, bytes(16), random.Random(seed)
        )


@pytest.mark.parametrize("bits", [0, 1, 127, 129, 136, 65535])
def test_a_key_length_that_is_not_whole_bytes_or_beyond_the_field_is_refused(bits: int) -> None:
    protection = PROTECTION["B"]
    good = protection.wrap(KeyBlockHeader("B", "P0", "T", "E"), bytes(14), random.Random(1))
    # The MAC is right here: only who holds the key can make such a block.
    plain = bits.to_bytes(2) + bytes(14)
    mac = protection._mac(good[:16].encode() + plain)
    cipher = protection._encrypt.encrypt(xor(plain[:8], mac) + plain[8:])
    with pytest.raises(KeyBlockError, match="impossible key length"):
        protection.unwrap(good[:16] + cipher.hex() + mac.hex())
