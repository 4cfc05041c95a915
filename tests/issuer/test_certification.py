"""Certificates: recovered by plain arithmetic and by the terminal, and refused when they may not be made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from card_bed import (
    AUTHORITY,
    AUTHORITY_MODULE,
    CHIP_MODULE,
    IDENTIFIER,
    ISSUER_MODULE,
    PAN,
    TODAY,
    card_rsa,
    certified,
    issuer_certificate,
    verified,
)

from issuer.card_application import Personalisation
from issuer.card_file import records, static_data
from issuer.certification import (
    CertificationError,
    IssuerCertificate,
    certify_card,
    enrol_issuer,
    found_authority,
)
from issuer.tables import TABLES
from network.emv import OdaError, parse_ca_key, recover_card_key, recover_issuer_key, static_data_to_authenticate, tlv
from network.keys import KeyBlockError, SecurityModule
from network.store import Store, sqlite_url


def exponent_of(value: int) -> bytes:
    return {3: b"\x03", 65537: b"\x01\x00\x01"}[value]


@pytest.mark.parametrize(
    ("identifier", "bits", "exponent", "remainder"),
    [
        ("622848", 1024, 3, 0),
        ("622848", 1408, 3, 0),
        ("622", 1408, 65537, 0),
        ("62284800", 1696, 3, 0),
        ("622848", 1712, 3, 2),
        ("622848", 1984, 65537, 36),
    ],
)
def test_an_issuer_certificate_says_what_book_2_table_2_wants(
    identifier: str, bits: int, exponent: int, remainder: int
) -> None:
    row = enrol_issuer(
        ISSUER_MODULE, AUTHORITY, identifier, expiry="3311", serial=0x01AB2C, bits=bits, exponent=exponent
    )
    assert len(row.certificate) == 248
    assert len(row.remainder) == remainder
    content = verified(AUTHORITY.key.modulus, 3, row.certificate, row.remainder + exponent_of(exponent))
    head = f"02{identifier.ljust(8, 'F')}113301AB2C0101{bits // 8:02X}{len(exponent_of(exponent)):02X}"
    assert content[:14].hex().upper() == head
    digits = content[14:]
    assert len(digits) == 248 - 36
    assert (digits[: bits // 8] + row.remainder) == row.modulus
    assert set(digits[bits // 8 :]) <= {0xBB}
    assert (row.rid, row.ca_index, row.exponent) == (bytes.fromhex("A000000333"), 0xF0, exponent)


@pytest.mark.parametrize("pan", ["6228480000001", "62284800000001", PAN, "6228480000000000001"])
@pytest.mark.parametrize(
    ("issuer_bits", "bits", "exponent", "remainder"),
    [(1408, 1024, 3, 0), (1408, 1072, 3, 0), (1408, 1152, 3, 10), (1408, 1408, 65537, 42), (1984, 1984, 3, 42)],
)
def test_a_card_certificate_says_what_book_2_table_12_wants(
    pan: str, issuer_bits: int, bits: int, exponent: int, remainder: int
) -> None:
    issuer = issuer_certificate(bits=issuer_bits)
    key = card_rsa(bits, exponent)
    profile = certify_card(ISSUER_MODULE, issuer, Personalisation(pan, "3012"), key, serial=9)
    authentication = profile.offline_authentication
    assert authentication is not None
    assert len(authentication.remainder) == remainder
    account = tlv.flat(records(profile)[2, 1])["70"]
    besides = authentication.remainder + exponent_of(exponent) + account + b"\x3c\x00"
    content = verified(issuer.modulus, 3, authentication.certificate, besides)
    assert content[:20].hex().upper() == f"04{pan.ljust(20, 'F')}12300000090101{bits // 8:02X}" + (
        "01" if exponent == 3 else "03"
    )
    digits = content[20:]
    assert len(digits) == issuer_bits // 8 - 42
    assert digits[: bits // 8] + authentication.remainder == key.modulus
    assert set(digits[bits // 8 :]) <= {0xBB}
    members = tlv.flat(account)
    assert members.get("9F48", b"") == authentication.remainder
    assert members.get("92", b"") == issuer.remainder
    assert members["9F47"] == exponent_of(exponent)
    assert all(len(record) <= 256 for record in records(profile).values())


@pytest.mark.parametrize(("issuer_bits", "bits"), [(1408, 1152), (1984, 1984), (1024, 1024)])
def test_terminals_recover_both_keys(issuer_bits: int, bits: int) -> None:
    issuer = issuer_certificate(bits=issuer_bits)
    profile = certify_card(ISSUER_MODULE, issuer, Personalisation(PAN, "3012"), card_rsa(bits), serial=9)
    authority = parse_ca_key(AUTHORITY.public_key.build())
    chain = profile.offline_authentication
    assert chain is not None
    signed = [(2, records(profile)[2, 1])]
    assert static_data(profile) == static_data_to_authenticate(signed, b"\x82", b"\x3c\x00")
    recovered = recover_issuer_key(authority, chain.issuer_certificate, chain.issuer_remainder, b"\x03", PAN, TODAY)
    assert (recovered.modulus, recovered.expiry) == (issuer.modulus, "3412")
    card = recover_card_key(recovered, chain.certificate, chain.remainder, b"\x03", PAN, static_data(profile), "301231")
    assert (card.modulus, card.expiry, card.serial) == (chain.key.modulus, "3012", b"\x00\x00\x09")
    with pytest.raises(OdaError, match="expired"):
        recover_card_key(recovered, chain.certificate, chain.remainder, b"\x03", PAN, static_data(profile), "310101")
    changed = chain.issuer_certificate[:-1] + bytes((chain.issuer_certificate[-1] ^ 1,))
    with pytest.raises(OdaError):
        recover_issuer_key(authority, changed, chain.issuer_remainder, b"\x03", PAN, TODAY)


def test_whatever_is_signed_static_data_cannot_be_changed() -> None:
    profile = certified()
    chain = profile.offline_authentication
    assert chain is not None
    issuer = issuer_certificate()
    for other in (
        replace(profile, expiry="3011", track2=""),
        replace(profile, effective="250102"),
        replace(profile, usage_control=b"\x2a\x00"),
        replace(profile, country="344"),
        replace(profile, sequence="002"),
        replace(profile, offline_authentication=replace(chain, ca_index=0xF1)),
    ):
        assert static_data(other) != static_data(profile)
        with pytest.raises(AssertionError, match="hash"):
            verified(issuer.modulus, 3, chain.certificate, chain.remainder + b"\x03" + static_data(other))
    verified(issuer.modulus, 3, chain.certificate, chain.remainder + b"\x03" + static_data(profile))


def test_a_faulty_certificate_says_what_it_is_told_to() -> None:
    other = "6228480000000009"
    key, issuer = card_rsa(), issuer_certificate()
    profile = certify_card(ISSUER_MODULE, issuer, Personalisation(PAN, "3012"), key, serial=1, pan=other, expiry="2001")
    chain = profile.offline_authentication
    assert chain is not None
    content = verified(issuer.modulus, 3, chain.certificate, chain.remainder + b"\x03" + static_data(profile))
    assert content[1:13].hex().upper() == other + "FFFF" + "0120"


@pytest.mark.parametrize(
    ("identifier", "expiry", "serial", "reason"),
    [
        ("62", "3412", 1, "3 to 8 digits"),
        ("622848000", "3412", 1, "3 to 8 digits"),
        ("62x", "3412", 1, "3 to 8 digits"),
        ("62²", "3412", 1, "3 to 8 digits"),
        ("622848", "3601", 1, "outlive"),
        ("622848", "3413", 1, "month"),
        ("622848", "34", 1, "month"),
        ("622848", "3412", -1, "serial"),
        ("622848", "3412", 0x1000000, "serial"),
    ],
)
def test_issuer_certificates_that_cannot_be(identifier: str, expiry: str, serial: int, reason: str) -> None:
    with pytest.raises(CertificationError, match=reason):
        AUTHORITY.certify_issuer(identifier, issuer_certificate(), expiry=expiry, serial=serial)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pan": "6251880000000001"}, "range"),
        ({"expiry": "3501"}, "outlive"),
    ],
)
def test_cards_that_are_not_certified(changes: dict[str, str], reason: str) -> None:
    profile = Personalisation(**({"pan": PAN, "expiry": "3012"} | changes))  # type: ignore[arg-type]
    with pytest.raises(CertificationError, match=reason) as caught:
        certify_card(ISSUER_MODULE, issuer_certificate(), profile, card_rsa(), serial=1)
    assert profile.pan not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"pan": "62284"}, "13 to 19"), ({"expiry": "3013"}, "month"), ({"serial": 1 << 24}, "serial")],
)
def test_contents_that_a_certificate_cannot_have(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CertificationError, match=reason):
        certify_card(
            ISSUER_MODULE,
            issuer_certificate(),
            Personalisation(PAN, "3012"),
            card_rsa(),
            **({"serial": 1} | changes),  # type: ignore[arg-type]
        )


def test_a_longer_key_is_not_certified_by_a_shorter() -> None:
    with pytest.raises(CertificationError, match="1984 bits cannot be certified by one of 1408"):
        certify_card(ISSUER_MODULE, issuer_certificate(), Personalisation(PAN, "3012"), card_rsa(1984), serial=1)


@pytest.mark.parametrize(("index", "expiry"), [(-1, "3512"), (256, "3512"), (1, "3500"), (1, "35120")])
def test_authorities_that_cannot_be(index: int, expiry: str) -> None:
    with pytest.raises(CertificationError):
        found_authority(AUTHORITY_MODULE, index=index, expiry=expiry)


def test_the_authority_s_key_is_told_with_its_last_day() -> None:
    key = replace(AUTHORITY, expiry="2802").public_key
    assert (key.index, key.exponent, key.expiry, len(key.modulus)) == (0xF0, 3, "20280229", 248)


def test_the_issuer_s_key_is_a_row_and_opens_in_its_module_only(tmp_path: Path) -> None:
    row = issuer_certificate()
    store = Store(sqlite_url(tmp_path / "issuer.db"), TABLES, durable=False)
    unit = store.unit_of_work()
    unit.insert(replace_row(row))
    unit.commit()
    found = store.unit_of_work().find(IssuerCertificate, "issuer_identifier", IDENTIFIER)
    assert found is not None
    assert (found.certificate, found.key_block, found.cards_certified) == (row.certificate, row.key_block, 0)
    assert ISSUER_MODULE.load_rsa(found.key_block).modulus == row.modulus
    with pytest.raises(KeyBlockError):
        CHIP_MODULE.load_rsa(found.key_block)


def replace_row(row: IssuerCertificate) -> IssuerCertificate:
    return IssuerCertificate(*(getattr(row, name) for name in row.spec.columns))


def test_a_seed_makes_the_same_chain_again() -> None:
    from random import Random

    def chain() -> bytes:
        module = SecurityModule(bytes(32), Random(1))
        authority = found_authority(module, index=1, expiry="3512")
        return enrol_issuer(module, authority, "622848", expiry="3412", serial=1).certificate

    assert chain() == chain()
