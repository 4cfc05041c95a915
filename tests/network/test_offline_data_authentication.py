"""Certificates and dynamic signatures (EMV 4.4 Book 2, 5.3, 6.3 to 6.5): public vectors and an authority made here."""

import dataclasses
import json
from pathlib import Path

import pytest
from certification_authority import RID, certificate, dynamic_signature, rsa_pair
from hypothesis import given
from hypothesis import strategies as st

from network.emv import (
    CaPublicKey,
    MissingRemainder,
    OdaError,
    RecoveredKey,
    offline_data_authentication,
    recover_card_key,
    recover_issuer_key,
    static_data_to_authenticate,
    verify_dynamic_data,
)
from network.emv.offline_data_authentication import Certificate
from network.emv.signature_scheme import SCHEMES

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "offline_data_authentication.json").read_text())["sets"]
NAMES = [vector["name"] for vector in VECTORS]


def octets(text: str | None) -> bytes:
    return bytes.fromhex(text or "")


def changed(data: bytes, place: int = -1) -> bytes:
    changed_data = bytearray(data)
    changed_data[place] ^= 1
    return bytes(changed_data)


def vector_issuer_key(vector: dict, cert: bytes, **changes: object) -> RecoveredKey:  # type: ignore[type-arg]
    ca, chip = vector["capk"], vector["icc_tlv"]
    key = CaPublicKey(octets(ca["rid"]), int(ca["index"], 16), octets(ca["modulus"]), int(ca["exponent"], 16))
    arguments = {
        "remainder": octets(chip.get("92")),
        "exponent": octets(chip["9F32"]),
        "pan": chip["5A"],
        "date": "221231",
    }
    return recover_issuer_key(key, cert, **(arguments | changes))  # type: ignore[arg-type]


def vector_card_key(vector: dict, issuer: RecoveredKey, cert: bytes) -> RecoveredKey:  # type: ignore[type-arg]
    """The vector has not the static data that the certificate protects, so its hash is not checked here."""
    content, _ = SCHEMES[1].recover(issuer.modulus, issuer.exponent, cert)
    read = Certificate.parse(content, 0x04, 10)
    assert read.subject == vector["icc_tlv"]["5A"]
    return read.key(octets(vector["icc_tlv"].get("9F48")), octets(vector["icc_tlv"]["9F47"]))


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_public_vectors_are_recovered(vector: dict) -> None:  # type: ignore[type-arg]
    expected = vector["expect"]
    issuer = vector_issuer_key(vector, octets(vector["tag90_issuer_cert"]))
    assert issuer.modulus.hex().upper() == expected["issuer_modulus"]
    assert issuer.serial.hex().upper() == expected["issuer_cert_serial"]
    assert issuer.expiry == expected["issuer_expiry_mmyy"][2:] + expected["issuer_expiry_mmyy"][:2]
    card = vector_card_key(vector, issuer, octets(vector["tag9F46_icc_cert"]))
    assert card.modulus.hex().upper() == expected["icc_modulus"]
    dynamic = verify_dynamic_data(card, octets(vector["tag9F4B_sdad"]), octets(vector["ddol_data"]))
    assert dynamic.number.hex().upper() == expected["icc_dynamic_number"]


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_public_vectors_with_their_last_byte_changed_are_refused(vector: dict) -> None:  # type: ignore[type-arg]
    negative = vector["negative"]
    with pytest.raises(OdaError):
        vector_issuer_key(vector, octets(negative["tag90_last_byte_changed"]))
    issuer = vector_issuer_key(vector, octets(vector["tag90_issuer_cert"]))
    with pytest.raises(OdaError):
        vector_card_key(vector, issuer, octets(negative["tag9F46_last_byte_changed"]))
    # With the whole certificate but other static data the hash tells.
    chip = vector["icc_tlv"]
    with pytest.raises(OdaError, match="hash of the card certificate is wrong"):
        recover_card_key(
            issuer,
            octets(vector["tag9F46_icc_cert"]),
            octets(chip["9F48"]),
            octets(chip["9F47"]),
            chip["5A"],
            b"",
            "221231",
        )
    card = vector_card_key(vector, issuer, octets(vector["tag9F46_icc_cert"]))
    with pytest.raises(OdaError):
        verify_dynamic_data(card, octets(negative["tag9F4B_last_byte_changed"]), octets(vector["ddol_data"]))
    with pytest.raises(OdaError, match="hash of the signed dynamic data is wrong"):
        verify_dynamic_data(card, octets(vector["tag9F4B_sdad"]), changed(octets(vector["ddol_data"])))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"remainder": b"\x01"}, "hash of the issuer certificate"),
        ({"exponent": b"\x01\x00\x01"}, "hash of the issuer certificate"),
        ({"pan": "4761749001010119"}, "issuer identifier does not match"),
        ({"date": "320101"}, "issuer certificate has expired"),
        ({"revoked": {(bytes.fromhex("A000000003"), 0x94, bytes.fromhex("03DA0A"))}}, "issuer certificate is revoked"),
    ],
)
def test_the_public_issuer_certificate_with_one_thing_wrong(changes: dict[str, object], reason: str) -> None:
    certificate_90 = octets(VECTORS[0]["tag90_issuer_cert"])
    assert vector_issuer_key(VECTORS[0], certificate_90, date="311231").exponent == 3
    with pytest.raises(OdaError, match=reason):
        vector_issuer_key(VECTORS[0], certificate_90, **changes)


PAN = "6228480000001000"
CA_PAIR, ISSUER_PAIR, CARD_PAIR = rsa_pair(1408, 1), rsa_pair(1152, 2), rsa_pair(1024, 3)
CA = CaPublicKey(RID, 0x80, CA_PAIR.modulus_bytes, 3)
ISSUER_ID = bytes.fromhex("622848FF")
CARD_ID = bytes.fromhex(PAN + "FFFF")
STATIC = bytes.fromhex("5F2403301231") + b"\x3c\x00"
ISSUER = RecoveredKey(ISSUER_PAIR.modulus_bytes, 3, 1, "3012", b"\0\0\1")
CARD = RecoveredKey(CARD_PAIR.modulus_bytes, 3, 1, "3012", b"\0\0\1")


@pytest.mark.parametrize("date", ["260102", "301231"])
@pytest.mark.parametrize("ca_bits", [1024, 1152, 1408, 1984])
@pytest.mark.parametrize(("bits", "exponent"), [(768, 3), (1024, 65537), (1152, 3), (1408, 65537), (1976, 3)])
def test_keys_of_all_lengths_with_and_without_remainder(ca_bits: int, bits: int, exponent: int, date: str) -> None:
    pair, own = rsa_pair(ca_bits, 5), rsa_pair(bits, 6, exponent)
    ca = CaPublicKey(RID, 1, pair.modulus_bytes, 3)
    signed, remainder = certificate(pair, ISSUER_ID, own, 0x02)
    assert bool(remainder) == (own.size > pair.size - 36)
    issuer = recover_issuer_key(ca, signed, remainder or None, own.exponent_bytes, PAN, date)
    assert (issuer.modulus, issuer.exponent, issuer.expiry) == (own.modulus_bytes, exponent, "3012")
    card_signed, card_remainder = certificate(own, CARD_ID, CARD_PAIR, 0x04, static_data=STATIC)
    card = recover_card_key(issuer, card_signed, card_remainder, b"\x03", PAN, STATIC, date)
    assert card.modulus == CARD_PAIR.modulus_bytes
    assert verify_dynamic_data(card, dynamic_signature(CARD_PAIR, b"12", b"abc"), b"abc").number == b"12"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": 0x6B}, "header is not 6A"),
        ({"trailer": 0xBB}, "trailer is not BC"),
        ({"kind": 0x04}, "format is not 02"),
        ({"expiry": "1225"}, "issuer certificate has expired"),
        ({"expiry": "0090"}, "no month of expiry"),
        ({"expiry": "1330"}, "no month of expiry"),
        ({"expiry": "1A30"}, "no month of expiry"),
        ({"expiry": "123A"}, "no month of expiry"),
        ({"expiry": "1250"}, "issuer certificate has expired"),
        ({"hash_algorithm": 0x02}, "hash algorithm indicator 02"),
        ({"key_algorithm": 0x04}, "public key algorithm indicator 04"),
        ({"key_length": 145}, "remainder of 4 bytes, the certificate leaves 5"),
        ({"key_length": 100}, "remainder of 4 bytes, the certificate leaves 0"),
        ({"exponent_length": 3}, "exponent of 1 bytes, the certificate says 3"),
        ({"subject": bytes.fromhex("622849FF")}, "issuer identifier does not match"),
        ({"subject": bytes.fromhex("62FFFFFF")}, "issuer identifier does not match"),
        ({"subject": bytes.fromhex("622FF8FF")}, "names no subject"),
        ({"subject": bytes.fromhex("FFFFFFFF")}, "names no subject"),
    ],
)
def test_issuer_certificates_that_are_not_sound(changes: dict[str, object], reason: str) -> None:
    signed, remainder = certificate(
        **({"signer": CA_PAIR, "subject": ISSUER_ID, "key": ISSUER_PAIR, "kind": 2} | changes)
    )  # type: ignore[arg-type]
    with pytest.raises(OdaError, match=reason):
        recover_issuer_key(CA, signed, remainder, b"\x03", PAN, "260102")


@pytest.mark.parametrize("digits", ["622", "6228", "62284800"])
def test_an_issuer_identifier_is_3_to_8_digits(digits: str) -> None:
    signed, remainder = certificate(CA_PAIR, bytes.fromhex(digits.ljust(8, "F")), ISSUER_PAIR, 2)
    assert recover_issuer_key(CA, signed, remainder, b"\x03", PAN, "260102").modulus == ISSUER_PAIR.modulus_bytes


def test_an_exponent_that_is_signed_but_not_allowed() -> None:
    odd = dataclasses.replace(ISSUER_PAIR, exponent=5)
    signed, remainder = certificate(CA_PAIR, ISSUER_ID, odd, 2)
    with pytest.raises(OdaError, match="exponent is neither"):
        recover_issuer_key(CA, signed, remainder, b"\x05", PAN, "260102")


@pytest.mark.parametrize("bits", [944, 1120, 1128, 1408])
def test_a_remainder_that_is_missing_is_told_from_a_certificate_that_is_wrong(bits: int) -> None:
    """1120 bits are the most that a certificate of 1408 holds whole (Book 2, 5.1)."""
    own = rsa_pair(bits, 6)
    signed, remainder = certificate(CA_PAIR, ISSUER_ID, own, 2)
    assert len(remainder) == max(own.size - 140, 0)
    if not remainder:
        assert recover_issuer_key(CA, signed, None, b"\x03", PAN, "260102").modulus == own.modulus_bytes
        with pytest.raises(OdaError, match="hash of the issuer certificate"):
            recover_issuer_key(CA, signed, b"\xbb", b"\x03", PAN, "260102")
        return
    for nothing in (None, b""):
        with pytest.raises(MissingRemainder, match=f"the certificate leaves {len(remainder)} bytes"):
            recover_issuer_key(CA, signed, nothing, b"\x03", PAN, "260102")
    with pytest.raises(OdaError) as refused:
        recover_issuer_key(CA, signed, remainder + b"\0", b"\x03", PAN, "260102")
    assert not isinstance(refused.value, MissingRemainder)


def test_every_part_of_an_issuer_certificate_counts() -> None:
    signed, remainder = certificate(CA_PAIR, ISSUER_ID, ISSUER_PAIR, 2)
    assert recover_issuer_key(
        CA, signed, remainder, b"\x03", PAN, "260102", {(RID, 0x80, b"\0\0\2"), (RID, 0x81, b"\0\0\1")}
    )
    for bad in (
        (CA, signed[:-1], remainder, b"\x03"),
        (CA, signed + b"\0", remainder, b"\x03"),
        (CA, b"", remainder, b"\x03"),
        (CA, signed, changed(remainder), b"\x03"),
        (CA, signed, remainder[:-1], b"\x03"),
        (CA, signed, None, b"\x03"),
        (CA, signed, remainder, b""),
        (CA, signed, remainder, b"\x05"),
        (dataclasses.replace(CA, modulus=changed(CA.modulus, 3)), signed, remainder, b"\x03"),
    ):
        with pytest.raises(OdaError):
            recover_issuer_key(*bad, PAN, "260102")  # type: ignore[arg-type]
    for place in range(len(signed)):
        with pytest.raises(OdaError):
            recover_issuer_key(CA, changed(signed, place), remainder, b"\x03", PAN, "260102")
    with pytest.raises(OdaError, match="revoked"):
        recover_issuer_key(CA, signed, remainder, b"\x03", PAN, "260102", frozenset({(RID, 0x80, b"\0\0\1")}))


@pytest.mark.parametrize(
    ("expiry", "good"), [(None, True), ("20260102", True), ("20260101", False), ("19991231", False)]
)
def test_an_authoritys_key_has_its_day(expiry: str | None, good: bool) -> None:
    signed, remainder = certificate(CA_PAIR, ISSUER_ID, ISSUER_PAIR, 2)
    ca = dataclasses.replace(CA, expiry=expiry)
    if good:
        assert recover_issuer_key(ca, signed, remainder, b"\x03", PAN, "260102")
    else:
        with pytest.raises(OdaError, match="authority's key has expired"):
            recover_issuer_key(ca, signed, remainder, b"\x03", PAN, "260102")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": 0x00}, "header is not 6A"),
        ({"trailer": 0xBD}, "trailer is not BC"),
        ({"kind": 0x02}, "format is not 04"),
        ({"expiry": "1225"}, "card certificate has expired"),
        ({"hash_algorithm": 0x00}, "hash algorithm indicator 00"),
        ({"key_algorithm": 0x02}, "public key algorithm indicator 02"),
        ({"key_length": 129}, "remainder of 26 bytes, the certificate leaves 27"),
        ({"exponent_length": 0}, "exponent of 1 bytes, the certificate says 0"),
        ({"subject": bytes.fromhex("6228480000001001FFFF")}, "another account number"),
        ({"static_data": STATIC[:-1] + b"\x01"}, "hash of the card certificate is wrong"),
    ],
)
def test_card_certificates_that_are_not_sound(changes: dict[str, object], reason: str) -> None:
    sound = {"signer": ISSUER_PAIR, "subject": CARD_ID, "key": CARD_PAIR, "kind": 4, "static_data": STATIC}
    signed, remainder = certificate(**(sound | changes))  # type: ignore[arg-type]
    with pytest.raises(OdaError, match=reason):
        recover_card_key(ISSUER, signed, remainder, b"\x03", PAN, STATIC, "260102")


def test_every_part_of_a_card_certificate_counts_also_when_the_key_is_known() -> None:
    signed, remainder = certificate(ISSUER_PAIR, CARD_ID, CARD_PAIR, 4, static_data=STATIC)
    sound = (ISSUER, signed, remainder, b"\x03", PAN, STATIC)
    for _ in range(2):
        assert recover_card_key(*sound, "260102").modulus == CARD_PAIR.modulus_bytes
        for place, bad in (
            (0, dataclasses.replace(ISSUER, modulus=changed(ISSUER.modulus))),
            (1, changed(signed)),
            (1, signed[1:]),
            (2, changed(remainder)),
            (2, b""),
            (3, b"\x01\x00\x01"),
            (4, PAN[:-1] + "1"),
            (4, PAN + "0"),
            (5, changed(STATIC)),
            (5, b""),
        ):
            arguments = [*sound]
            arguments[place] = bad
            with pytest.raises(OdaError):
                recover_card_key(*arguments, "260102")  # type: ignore[arg-type]
        with pytest.raises(OdaError, match="card certificate has expired"):
            recover_card_key(*sound, "310101")


def test_recovered_card_keys_are_bounded_and_hold_no_account_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline_data_authentication, "MAX_CARD_KEYS", 3)
    kept = offline_data_authentication._CARD_KEYS
    kept.clear()
    for number in range(5):
        pan = f"622848000000100{number}"
        signed, remainder = certificate(ISSUER_PAIR, bytes.fromhex(pan + "FFFF"), CARD_PAIR, 4)
        assert recover_card_key(ISSUER, signed, remainder, b"\x03", pan, b"", "260102")
        assert len(kept) <= 3
        assert pan not in repr(kept)
        assert bytes.fromhex(pan) not in b"".join(kept)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": 0x6B}, "header is not 6A"),
        ({"trailer": 0xCC}, "trailer is not BC"),
        ({"kind": 0x03}, "format is not 05"),
        ({"hash_algorithm": 0x07}, "hash algorithm indicator 07"),
        ({"data_length": 107}, "longer than the signature"),
        ({"data": b""}, "dynamic number is not 2 to 8 bytes"),
        ({"data": b"\x01\x01"}, "dynamic number is not 2 to 8 bytes"),
        ({"data": b"\x09123456789"}, "dynamic number is not 2 to 8 bytes"),
        ({"data": b"\x03\x01\x02"}, "dynamic number is not 2 to 8 bytes"),
        ({"terminal_data": b"abd"}, "hash of the signed dynamic data is wrong"),
    ],
)
def test_dynamic_data_that_are_not_sound(changes: dict[str, object], reason: str) -> None:
    signed = dynamic_signature(**({"card": CARD_PAIR, "number": b"12345678", "terminal_data": b"abc"} | changes))  # type: ignore[arg-type]
    with pytest.raises(OdaError, match=reason):
        verify_dynamic_data(CARD, signed, b"abc")


def test_dynamic_data_may_hold_more_than_the_number() -> None:
    signed = dynamic_signature(CARD_PAIR, b"", b"abc", data=b"\x0212more")
    assert verify_dynamic_data(CARD, signed, b"abc") == offline_data_authentication.DynamicData(b"12", b"\x0212more")
    with pytest.raises(OdaError, match="signature of 127 bytes under a key of 128"):
        verify_dynamic_data(CARD, signed[1:], b"abc")


@given(st.binary(max_size=144), st.binary(max_size=30), st.binary(max_size=3))
def test_any_bytes_are_refused_and_nothing_else_happens(signed: bytes, rest: bytes, exponent: bytes) -> None:
    for size in (len(signed), 128, 144, 176):
        padded = signed.rjust(size, b"\x5a")
        with pytest.raises(OdaError):
            recover_issuer_key(CA, padded, rest, exponent, PAN, "260102")
        with pytest.raises(OdaError):
            recover_card_key(ISSUER, padded, rest, exponent, PAN, rest, "260102")
        with pytest.raises(OdaError):
            verify_dynamic_data(CARD, padded, rest)


@pytest.mark.parametrize(
    ("records", "tag_list", "expected"),
    [
        ([], None, ""),
        ([(2, "7003820102"), (10, "70020102")], None, "8201020102"),
        ([(10, "700101"), (11, "700102"), (30, "700103")], None, "01700102700103"),
        ([(2, "700101")], "82", "013C00"),
        ([(2, "700101")], "", None),
        ([(2, "700101")], "8284", None),
        ([(2, "700101")], "84", None),
        ([(2, "710101")], None, None),
        ([(12, "710101")], None, None),
        ([(2, "700201")], None, None),
        ([(2, "")], None, None),
    ],
)
def test_static_data_are_of_the_signed_records(
    records: list[tuple[int, str]], tag_list: str | None, expected: str | None
) -> None:
    given_records = [(file, bytes.fromhex(record)) for file, record in records]
    tags = None if tag_list is None else bytes.fromhex(tag_list)
    if expected is None:
        with pytest.raises(OdaError):
            static_data_to_authenticate(given_records, tags, b"\x3c\x00")
    else:
        assert static_data_to_authenticate(given_records, tags, b"\x3c\x00").hex().upper() == expected
