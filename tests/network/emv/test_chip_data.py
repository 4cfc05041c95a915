import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.emv import (
    CRYPTOGRAM_DATA,
    TAGS,
    CardOutcome,
    CardVerificationResults,
    CryptogramDataError,
    Format,
    IadError,
    IssuerApplicationData,
    assemble,
    describe_tlv,
    mask_tag,
    tlv,
)

PBOC = json.loads((Path(__file__).parents[2] / "vectors" / "cryptograms.json").read_text())["pboc"][0]
DE55 = {tag: bytes.fromhex(value) for tag, value in PBOC["de55"].items()}
PAN = "6228000100001000017"


@pytest.mark.parametrize(
    ("text", "version", "algorithm", "outcome", "rest"),
    [
        ("07000103A04002010A010000001000D1F61152", 0x01, 1, CardOutcome.ARQC, "0A010000001000D1F61152"),
        ("07011703A00000010A0100000500001EF41C46", 0x17, 1, CardOutcome.ARQC, "0A0100000500001EF41C46"),
        ("07020103AB8060" + "10", 0x01, 0x10, CardOutcome.ARQC, ""),
        ("0700010390000004", 0x01, 4, CardOutcome.TC, ""),
        ("0700010380000001", 0x01, 1, CardOutcome.AAC, ""),
    ],
)
def test_issuer_application_data(text: str, version: int, algorithm: int, outcome: CardOutcome, rest: str) -> None:
    iad = IssuerApplicationData.parse(bytes.fromhex(text))
    assert (iad.cryptogram_version, iad.algorithm, iad.cvr.outcome) == (version, algorithm, outcome)
    assert iad.rest == bytes.fromhex(rest)
    assert iad.build() == bytes.fromhex(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "8 to 32 bytes"),
        ("07000103A00000", "8 to 32 bytes"),
        ("07000103A0000001" + "00" * 25, "8 to 32 bytes"),
        ("06000103A0000001", "07 expected"),
        ("07000104A0000001", "beginning 03"),
    ],
)
def test_other_layouts_are_refused(text: str, reason: str) -> None:
    with pytest.raises(IadError, match=reason):
        IssuerApplicationData.parse(bytes.fromhex(text))


def test_parts_that_do_not_fit_are_not_written() -> None:
    cvr = CardVerificationResults(bytes.fromhex("03A00000"))
    with pytest.raises(IadError, match="one-byte"):
        IssuerApplicationData(256, 1, cvr).build()
    with pytest.raises(IadError, match="at most"):
        IssuerApplicationData(1, 1, cvr, rest=bytes(25)).build()


def test_the_reserved_outcome_is_refused() -> None:
    with pytest.raises(IadError, match="reserved"):
        _ = CardVerificationResults(bytes.fromhex("03B00000")).outcome


@pytest.mark.parametrize(
    ("outcome", "information"), [(CardOutcome.ARQC, 0x80), (CardOutcome.TC, 0x40), (CardOutcome.AAC, 0x00)]
)
def test_cryptogram_information_follows_the_outcome(outcome: CardOutcome, information: int) -> None:
    assert outcome.cryptogram_information == bytes((information,))


FLAGS = {
    "issuer_authentication_failed": "03080000",
    "offline_pin_performed": "03040000",
    "offline_pin_failed": "03020000",
    "unable_to_go_online": "03010000",
    "last_online_not_completed": "03008000",
    "pin_try_limit_exceeded": "03004000",
    "velocity_exceeded": "03002000",
    "new_card": "03001000",
    "last_issuer_authentication_failed": "03000800",
    "issuer_script_failed": "03000008",
}


@pytest.mark.parametrize("name", FLAGS)
def test_each_flag_has_a_bit_of_its_own(name: str) -> None:
    results = CardVerificationResults(bytes.fromhex(FLAGS[name]))
    assert {flag for flag in FLAGS if getattr(results, flag)} == {name}


def test_script_count() -> None:
    assert CardVerificationResults(bytes.fromhex("03000070")).issuer_scripts == 7


def test_cryptogram_data_of_version_01_is_the_published_one() -> None:
    assert assemble(0x01, DE55).hex().upper() == PBOC["ac_input"]


def test_cryptogram_data_of_version_17() -> None:
    assert assemble(0x17, DE55) == DE55["9F02"] + DE55["9F37"] + DE55["9F36"] + b"\xa0"


@pytest.mark.parametrize(("version", "tag"), [(v, part.tag) for v, parts in CRYPTOGRAM_DATA.items() for part in parts])
def test_each_part_counts(version: int, tag: str) -> None:
    without = {name: value for name, value in DE55.items() if name != tag}
    with pytest.raises(CryptogramDataError, match=f"{tag} is missing"):
        assemble(version, without)
    with pytest.raises(CryptogramDataError, match=f"{tag} does not hold"):
        assemble(version, DE55 | {tag: DE55[tag][:1] if len(DE55[tag]) > 1 else b""})
    whole = DE55[tag]
    changed = whole[:4] + bytes((whole[4] ^ 0x10,)) + whole[5:] if tag == "9F10" else whole[:-1] + b"\x77"
    assert assemble(version, DE55 | {tag: changed}) != assemble(version, DE55)


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(CryptogramDataError, match="0A is not known"):
        assemble(0x0A, DE55)


def test_the_dictionary_is_sound() -> None:
    always = "9F26 9F27 9F10 9F37 9F36 95 9A 9C 9F02 5F2A 82 9F1A 9F03 9F33 9F34 9F35 9F1E 84 9F09 9F41 9F63 91 71 72"
    assert set(always.split()) <= TAGS.keys()
    for tag, known in TAGS.items():
        assert tlv.parse(tlv.encode(tag, b""))[0].tag == tag
        assert tlv.is_constructed(tag) == (known.format is Format.TEMPLATE)
        assert known.name
    assert TAGS["5A"].sensitive
    assert TAGS["9F02"].format is Format.NUMERIC


CARD_DATA = {
    "5A": f"{PAN}F",
    "57": f"{PAN}D30122201234567890F",
    "56": f"B{PAN}^WANG/XIAO^30122201234".encode().hex(),
    "9F1F": b"1234567890".hex(),
    "9F20": "1234567890FF",
    "5F20": b"WANG/XIAO".hex(),
    "99": "0412345678FFFFFF",
}


@pytest.mark.parametrize("tag", CARD_DATA)
def test_card_data_are_masked(tag: str) -> None:
    value = bytes.fromhex(CARD_DATA[tag])
    record = tlv.encode("70", tlv.encode("9F36", b"\x02\x40") + tlv.encode(tag, value))
    shown = "\n".join(describe_tlv(record))
    clear = "\n".join(describe_tlv(record, unmask=True))
    for secret in (PAN, PAN[6:-4], "1234567890", "WANG", value.hex().upper()):
        assert secret not in shown
    assert value.hex().upper() in clear
    assert "9F36 Application transaction counter: 0240" in shown
    if tag in ("5A", "57", "56"):
        assert f"{PAN[:6]}*********{PAN[-4:]}" in shown


def test_expiry_is_not_masked() -> None:
    assert describe_tlv(bytes.fromhex("5F2403301231")) == ["5F24 Application expiration date: 301231"]


def test_text_and_unknown_tags_are_shown() -> None:
    data = bytes.fromhex("500343555" + "0" + "DF7F02AABB")
    assert describe_tlv(data) == ['50 Application label: 435550 "CUP"', "DF7F unknown: AABB"]


def test_members_are_indented() -> None:
    assert describe_tlv(bytes.fromhex("6F0584035A5A5A")) == [
        "6F File control information template",
        "  84 Dedicated file name: 5A5A5A",
    ]


def test_short_account_numbers_are_hidden_whole() -> None:
    assert mask_tag("5A", bytes.fromhex("1234567890")) == "**********"


def test_malformed_data_are_described_as_far_as_they_go_without_showing_the_rest() -> None:
    lines = describe_tlv(bytes.fromhex(f"9C01005A0F{PAN}0"))
    assert lines[0] == "9C Transaction type: 00"
    assert lines[1].startswith("not TLV at offset 3")
    assert "6228" not in lines[1]


@given(st.binary(max_size=80))
def test_any_bytes_are_described(data: bytes) -> None:
    lines = describe_tlv(data)
    assert all(line.isprintable() for line in lines)
