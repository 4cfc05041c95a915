"""Certificate chains: those that real phones made, and a maker's own with every fault that is named."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from network.attestation import (
    EXTENSION_OID,
    AttestationError,
    AuthorizationList,
    ChainFault,
    KeyDescription,
    SecurityLevel,
    parse_revocation_status,
    public_key_of,
    verify_chain,
)
from network.attestation.certificate import parse_certificate
from network.party import Instant, instant_of

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / "attestation.json").read_text())
ROOTS = {base64.b64decode(one) for one in VECTORS["roots"]}
CHAINS = {one["name"]: one for one in (*VECTORS["chains"], *VECTORS["attest_key_chains"])}
REAL = [one["name"] for one in VECTORS["chains"]]


def real(name: str) -> tuple[list[bytes], Instant]:
    one = CHAINS[name]
    return [base64.b64decode(text) for text in one["certificates"]], instant_of(datetime.fromisoformat(one["at"]))


def fault_of(chain: list[bytes], now: Instant, **changes: Any) -> ChainFault:
    with pytest.raises(AttestationError) as caught:
        verify_chain(chain, **{"roots": ROOTS, "revoked": {}, "now": now, **changes})
    assert caught.value.reason == caught.value.fault.value
    return caught.value.fault


@pytest.mark.parametrize("name", REAL)
def test_chains_of_real_phones(name: str) -> None:
    chain, now = real(name)
    description = verify_chain(chain, ROOTS, {}, now)
    expected = CHAINS[name]["expected"]
    root = description.hardware.root_of_trust
    application = description.software.application_id
    assert root is not None
    assert application is not None
    assert description.attestation_version == expected["attestation_version"]
    assert description.keymint_security_level == expected["security_level"]
    assert description.challenge.hex() == expected["challenge"]
    assert (root.verified_boot_state, root.device_locked) == (expected["boot_state"], expected["locked"])
    assert application.packages[0].name == expected["package"]
    assert list(description.hardware.numbers("purpose")) == expected["purposes"]
    for name_of_level in ("osVersion", "osPatchLevel", "vendorPatchLevel", "bootPatchLevel"):
        assert description.hardware.number(name_of_level) == expected[name_of_level]
    extension = x509.load_der_x509_certificate(chain[0]).extensions.get_extension_for_oid(
        x509.ObjectIdentifier(EXTENSION_OID)
    )
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    assert description.build() == extension.value.value


@pytest.mark.parametrize("name", [name for name in REAL if "client_data" in CHAINS[name]])
def test_the_challenge_of_a_webauthn_sample_is_its_client_data(name: str) -> None:
    chain, now = real(name)
    client_data = base64.urlsafe_b64decode(CHAINS[name]["client_data"] + "==")
    assert verify_chain(chain, ROOTS, {}, now).challenge == hashlib.sha256(client_data).digest()


@pytest.mark.parametrize("name", REAL)
def test_a_real_chain_with_its_last_byte_changed_is_refused(name: str) -> None:
    chain, now = real(name)
    for position in range(len(chain)):
        changed = list(chain)
        changed[position] = chain[position][:-1] + bytes([chain[position][-1] ^ 1])
        assert fault_of(changed, now) is ChainFault.SIGNATURE


@pytest.mark.parametrize("name", REAL)
def test_a_real_chain_is_refused_outside_its_time_root_and_order(name: str) -> None:
    chain, now = real(name)
    year = 366 * 86_400 * 1_000_000
    assert fault_of(chain, now + year) is ChainFault.EXPIRED
    assert fault_of(chain, now - year) is ChainFault.NOT_YET_VALID
    assert fault_of(chain, now, roots=set()) is ChainFault.ROOT
    assert fault_of(chain[:-1], now) is ChainFault.SIGNATURE
    assert fault_of(chain[::-1], now) is ChainFault.SIGNATURE
    assert fault_of(chain[1:], now) in (ChainFault.AUTHORITY, ChainFault.NO_ATTESTATION)
    assert fault_of(chain[:1], now) is ChainFault.LENGTH
    assert fault_of(chain * 2, now) is ChainFault.LENGTH
    for certificate in chain:
        serial = f"{x509.load_der_x509_certificate(certificate).serial_number:x}"
        assert fault_of(chain, now, revoked={serial: "REVOKED KEY_COMPROMISE"}) is ChainFault.REVOKED


def test_a_leaf_below_attest_keys_is_believed_only_where_that_is_wanted() -> None:
    chain, now = real("leaf below two attest keys")
    assert verify_chain(chain, ROOTS, {}, now, attest_keys=True).challenge == b"challenge"
    assert fault_of(chain, now) in (ChainFault.ATTESTATION_ABOVE, ChainFault.AUTHORITY)
    # the leaf's own key may sign, but is none that attests
    below = _signed_by_hand(chain[0])
    assert fault_of([below, *chain], now, attest_keys=True) is ChainFault.SIGNATURE


def _signed_by_hand(issuer: bytes) -> bytes:
    """A leaf that names `issuer` as its own, signed with a key that is not the issuer's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.load_der_x509_certificate(issuer).subject
    return _certificate(name, name, key.public_key(), key, description=True)


@pytest.mark.parametrize("leaf", VECTORS["leaves"], ids=lambda one: one["name"])
def test_leaves_that_strict_libraries_refuse_are_read(leaf: dict[str, Any]) -> None:
    encoded, expected = base64.b64decode(leaf["certificate"]), leaf["expected"]
    with pytest.raises(ValueError, match="parsing"):
        x509.load_der_x509_certificate(encoded)
    value = parse_certificate(encoded).extensions[EXTENSION_OID].value
    description = KeyDescription.parse(value)
    root, application = description.hardware.root_of_trust, description.software.application_id
    assert root is not None
    assert application is not None
    assert description.build() == value
    assert description.attestation_version == expected["attestation_version"]
    assert description.keymint_version == expected["keymint_version"]
    assert description.keymint_security_level == expected["security_level"]
    assert description.challenge.hex() == expected["challenge"]
    assert (root.verified_boot_state, root.device_locked) == (expected["boot_state"], expected["locked"])
    assert description.hardware.number("osPatchLevel") == expected["os_patch_level"]
    assert description.hardware.number("bootPatchLevel") == expected["boot_patch_level"]
    assert len(application.packages) == expected["packages"]


def test_our_reader_and_the_library_agree_on_real_certificates() -> None:
    for one in CHAINS.values():
        for text in one["certificates"]:
            encoded = base64.b64decode(text)
            ours, theirs = parse_certificate(encoded), x509.load_der_x509_certificate(encoded)
            assert ours.serial_number == theirs.serial_number
            assert ours.subject == theirs.subject.public_bytes()
            assert ours.issuer == theirs.issuer.public_bytes()
            assert ours.not_before == instant_of(theirs.not_valid_before_utc)
            assert ours.not_after == instant_of(theirs.not_valid_after_utc)
            assert ours.signed == theirs.tbs_certificate_bytes
            assert ours.signature == theirs.signature
            assert ours.algorithm == theirs.signature_algorithm_oid.dotted_string
            assert list(ours.extensions) == [extension.oid.dotted_string for extension in theirs.extensions]
            assert public_key_of(encoded) == theirs.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )


# chains made here with the library, so that they owe nothing to the maker's code

NOW = datetime(2025, 11, 23, tzinfo=UTC)
_DEFAULT = AuthorizationList.of({"osPatchLevel": 202510})


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _description() -> bytes:
    level = SecurityLevel.TRUSTED_ENVIRONMENT
    return KeyDescription(300, level, 300, level, b"challenge", b"", AuthorizationList(), _DEFAULT).build()


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: Any,
    signer: Any,
    *,
    authority: bool = False,
    path_length: int | None = None,
    cert_sign: bool | None = None,
    description: bool = False,
    begin: timedelta = timedelta(days=-1),
    end: timedelta = timedelta(days=1),
    algorithm: Any = None,
    critical: bool = False,
    constraints: bool = True,
) -> bytes:
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer)
        .serial_number(x509.random_serial_number())
        .public_key(public)
        .not_valid_before(NOW + begin)
        .not_valid_after(NOW + end)
    )
    if authority and constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    if cert_sign is not None:
        builder = builder.add_extension(
            x509.KeyUsage(not cert_sign, False, False, False, False, cert_sign, False, False, False), critical=True
        )
    if description:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(EXTENSION_OID), _description()), critical=False
        )
    if critical:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), critical=True
        )
    return builder.sign(signer, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


KEYS: list[Any] = [
    ec.generate_private_key(ec.SECP256R1()),
    ec.generate_private_key(ec.SECP384R1()),
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
]
ROOT_KEY = KEYS[2].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _chain(changes: dict[int, dict[str, Any]] | None = None) -> list[bytes]:
    """Leaf of P-256 below P-384 below an RSA root; `changes` by position."""
    changes = changes or {}
    leaf = {"description": True, "cert_sign": False, **changes.get(0, {})}
    middle = {"authority": True, "cert_sign": True, "path_length": 0, **changes.get(1, {})}
    root = {"authority": True, "cert_sign": True, **changes.get(2, {})}
    names = [_name("leaf"), _name("middle"), _name("root")]
    return [
        _certificate(names[0], names[1], KEYS[0].public_key(), KEYS[1], **leaf),
        _certificate(names[1], names[2], KEYS[1].public_key(), KEYS[2], **middle),
        _certificate(names[2], names[2], KEYS[2].public_key(), KEYS[2], **root),
    ]


def test_a_good_chain_of_mixed_algorithms() -> None:
    for algorithm in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        chain = _chain({position: {"algorithm": algorithm} for position in range(3)})
        assert verify_chain(chain, {ROOT_KEY}, {}, instant_of(NOW)).challenge == b"challenge"


LATER, EARLIER = {"begin": timedelta(hours=1)}, {"end": timedelta(hours=-1)}
FAULTS: dict[str, tuple[dict[int, dict[str, Any]], ChainFault]] = {
    "a leaf that is an authority": ({0: {"authority": True}}, ChainFault.AUTHORITY),
    "an issuer without basic constraints": ({1: {"constraints": False}}, ChainFault.AUTHORITY),
    "an issuer whose key usage forbids": ({1: {"cert_sign": False}}, ChainFault.AUTHORITY),
    "a path that is too long": ({2: {"path_length": 0}}, ChainFault.AUTHORITY),
    "a critical extension that is not understood": ({1: {"critical": True}}, ChainFault.AUTHORITY),
    "no attestation": ({0: {"description": False}}, ChainFault.NO_ATTESTATION),
    "an attestation above the leaf": ({1: {"description": True}}, ChainFault.ATTESTATION_ABOVE),
    "an attestation above only": ({0: {"description": False}, 1: {"description": True}}, ChainFault.ATTESTATION_ABOVE),
    "a leaf of tomorrow": ({0: LATER}, ChainFault.NOT_YET_VALID),
    "an issuer of tomorrow": ({1: LATER}, ChainFault.NOT_YET_VALID),
    "a leaf of yesterday": ({0: EARLIER}, ChainFault.EXPIRED),
    "a root of yesterday": ({2: EARLIER}, ChainFault.EXPIRED),
    "a weak hash": ({1: {"algorithm": hashes.SHA224()}}, ChainFault.WEAK),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_its_reason(name: str) -> None:
    changes, fault = FAULTS[name]
    assert fault_of(_chain(changes), instant_of(NOW), roots={ROOT_KEY}) is fault


def test_keys_that_are_too_weak_are_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)
    other = ec.generate_private_key(ec.SECP256K1())
    for key in (short, other):
        chain = _chain()
        chain[0] = _certificate(_name("leaf"), _name("middle"), key.public_key(), KEYS[1], description=True)
        assert fault_of(chain, instant_of(NOW), roots={ROOT_KEY}) is ChainFault.WEAK


def test_the_right_signature_under_another_name_is_refused() -> None:
    chain = _chain()
    chain[0] = _certificate(_name("leaf"), _name("another"), KEYS[0].public_key(), KEYS[1], description=True)
    assert fault_of(chain, instant_of(NOW), roots={ROOT_KEY}) is ChainFault.SIGNATURE


def test_whoever_has_an_attested_key_cannot_extend_the_chain() -> None:
    """The extension attack: a leaf with any statement, signed by the key of a good leaf."""
    good = _chain()
    forged = _certificate(_name("forged"), _name("leaf"), KEYS[3].public_key(), KEYS[0], description=True)
    assert fault_of([forged, *good], instant_of(NOW), roots={ROOT_KEY}) is ChainFault.AUTHORITY
    assert fault_of([forged, *good], instant_of(NOW), roots={ROOT_KEY}, attest_keys=True) is ChainFault.AUTHORITY


def test_a_malformed_description_is_named() -> None:
    key, name = KEYS[0], _name("leaf")
    builder = (
        x509.CertificateBuilder(subject_name=name, issuer_name=_name("middle"))
        .serial_number(7)
        .public_key(key.public_key())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    junk = x509.UnrecognizedExtension(x509.ObjectIdentifier(EXTENSION_OID), b"\x30\x03\x02\x01")
    leaf = builder.add_extension(junk, critical=False).sign(KEYS[1], hashes.SHA256()).public_bytes(Encoding.DER)
    assert fault_of([leaf, *_chain()[1:]], instant_of(NOW), roots={ROOT_KEY}) is ChainFault.DESCRIPTION


@given(st.binary(max_size=200), st.integers(0, 2))
def test_junk_is_malformed(junk: bytes, position: int) -> None:
    chain = list(GOOD)
    chain[position] = junk
    assert fault_of(chain, instant_of(NOW), roots={ROOT_KEY}) is ChainFault.MALFORMED


GOOD = _chain()


def test_certificates_with_bytes_changed_raise_nothing_else() -> None:
    rng = Random(5)
    accepted = 0
    for _ in range(1500):
        chain = list(GOOD)
        position = rng.randrange(3)
        changed = bytearray(chain[position])
        for _ in range(rng.choice((1, 1, 2, 5))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if bytes(changed) == chain[position]:
            continue
        chain[position] = bytes(changed)
        try:
            verify_chain(chain, {ROOT_KEY}, {}, instant_of(NOW))
            accepted += 1
        except AttestationError:
            continue
    assert accepted == 0


def test_a_certificate_that_is_too_long() -> None:
    assert fault_of([bytes(9000), *GOOD[1:]], instant_of(NOW), roots={ROOT_KEY}) is ChainFault.MALFORMED


def test_googles_status_list() -> None:
    found = parse_revocation_status(VECTORS["revocation_status"]["text"])
    assert found["cc66e9a93713b6e643b26c15879786f7"] == "SUSPENDED KEY_COMPROMISE"
    assert len(found) == 5
    upper = parse_revocation_status('{"entries": {"00C0FFEE": {"status": "REVOKED"}}}')
    assert upper == {"c0ffee": "REVOKED UNSPECIFIED"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"entries": []}',
        '{"entries": {"1": {}}}',
        '{"entries": {"1": {"status": "GOOD"}}}',
        "[" * 99999,
    ],
)
def test_what_is_no_status_list(text: str) -> None:
    with pytest.raises(ValueError, match="revocation status"):
        parse_revocation_status(text)


def test_reasons_are_told_apart() -> None:
    assert len({one.value for one in ChainFault}) == len(ChainFault)
