"""The simulated maker: its chains have the form of real ones, repeat with their seeds, and tell a phone's state."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from cryptography import x509

from merchant_device.maker import DeviceState, MadeDevice, Maker, attest, chain_text
from network.attestation import AttestationError, SecurityLevel, VerifiedBootState, public_key_of, verify_chain
from network.keys import SecurityModule
from network.party import SECOND

NOW = 1_763_856_000 * SECOND
STATE = DeviceState("FP-1", 202511, 20251105, 20251101, "cn.fourparty.pos", 7, bytes(range(32)))
YEAR = 366 * 86_400 * SECOND


class Made:
    """A maker, one of its phones, and a key of the phone."""

    def __init__(self, seed: int = 1) -> None:
        self.maker = Maker(SecurityModule(bytes(32), Random(seed)), Random(seed), NOW)
        self.phone = SecurityModule(bytes(range(32)), Random(seed + 1))
        self.device = self.maker.manufacture("SN-0001", "FP-1", NOW, self.phone)
        self.key = self.phone.generate_ec("device")

    def chain(self, state: DeviceState = STATE, challenge: bytes = b"c" * 32) -> tuple[bytes, ...]:
        return attest(self.phone, self.device, state, self.key.public_key, challenge, NOW)


def test_a_phone_attests_its_key_and_its_state() -> None:
    made = Made()
    chain = made.chain()
    assert public_key_of(chain[0]) == made.key.public_key
    description = verify_chain(chain, {made.maker.root_public_key}, {}, NOW + 1)
    hardware, software = description.hardware, description.software
    assert description.challenge == b"c" * 32
    assert description.keymint_security_level is SecurityLevel.STRONG_BOX
    assert hardware.text("attestationIdSerial") == "SN-0001"
    assert hardware.text("attestationIdModel") == "FP-1"
    assert (hardware.number("osPatchLevel"), hardware.number("origin")) == (202511, 0)
    assert hardware.root_of_trust is not None
    assert hardware.root_of_trust.device_locked
    assert software.application_id is not None
    assert software.application_id.packages == (("cn.fourparty.pos", 7),)
    assert software.number("creationDateTime") == NOW // 1000
    changed = replace(STATE, verified_boot_state=VerifiedBootState.SELF_SIGNED, is_locked=False)
    root = verify_chain(made.chain(changed), {made.maker.root_public_key}, {}, NOW + 1).hardware.root_of_trust
    assert root is not None
    assert (root.verified_boot_state, root.device_locked) == (VerifiedBootState.SELF_SIGNED, False)


def test_the_same_seeds_make_the_same_chain() -> None:
    assert Made().chain() == Made().chain()
    assert Made().chain()[-1] != Made(2).chain()[-1]


def test_the_library_accepts_what_the_maker_signs() -> None:
    certificates = [x509.load_der_x509_certificate(one) for one in Made().chain()]
    for certificate, issuer in zip(certificates, certificates[1:] + certificates[-1:], strict=True):
        certificate.verify_directly_issued_by(issuer)
    assert len({certificate.serial_number for certificate in certificates}) == 4


def test_another_makers_root_and_the_end_of_the_certificates() -> None:
    made = Made()
    with pytest.raises(AttestationError, match="root not trusted"):
        verify_chain(made.chain(), {Made(2).maker.root_public_key}, {}, NOW)
    with pytest.raises(AttestationError, match="expired"):
        verify_chain(made.chain(), {made.maker.root_public_key}, {}, NOW + 11 * YEAR)


def test_a_phone_is_kept_as_its_key_block_and_chain() -> None:
    made = Made()
    again = SecurityModule(bytes(range(32)), Random(99))
    kept = MadeDevice("SN-0001", "FP-1", again.load_ec(made.device.attestation_key.block), made.device.chain)
    chain = attest(again, kept, STATE, made.key.public_key, b"x", NOW)
    assert verify_chain(chain, {made.maker.root_public_key}, {}, NOW).challenge == b"x"


def test_what_cannot_be_made_or_attested() -> None:
    made = Made()
    for wrong in ("", "x" * 41, "号"):
        with pytest.raises(ValueError, match="device id"):
            made.maker.manufacture(wrong, "FP-1", NOW, made.phone)
    with pytest.raises(ValueError, match="deserialize"):
        attest(made.phone, made.device, STATE, b"no key", b"x", NOW)


def test_a_chain_as_json() -> None:
    assert chain_text((b"\0", b"abc")) == ["AA==", "YWJj"]
