"""P-256 key pairs of the security module: signatures against RFC 6979, envelopes, and what is refused."""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

from network.keys import Algorithm, Exportability, KeyBlockError, KeyUsage, KeyUsageError, SecurityModule
from network.keys.elliptic_operations import EnvelopeError, verify_ec


class Given(Random):
    """Randomness whose first 40 bytes are given: the private number of the first key pair."""

    number: int | None = None

    def randbytes(self, n: int) -> bytes:
        if n == 40 and self.number is not None:
            return (self.number - 1).to_bytes(40)
        return super().randbytes(n)


def module(seed: int = 1) -> SecurityModule:
    return SecurityModule(bytes(range(32)), Random(seed))


def spki(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# RFC 6979, A.2.5: P-256, SHA-256
RFC_6979_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
RFC_6979_X = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6"
RFC_6979 = {
    b"sample": (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    b"test": (
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
}


@pytest.mark.parametrize("message", RFC_6979)
def test_signatures_are_those_of_rfc_6979(message: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    rng = Given(1)
    rng.number = RFC_6979_KEY
    signer = SecurityModule(bytes(32), rng)
    key = signer.generate_ec("rfc 6979")
    assert bytes.fromhex(RFC_6979_X) in key.public_key
    signature = signer.sign_ec(key, message)
    assert decode_dss_signature(signature) == RFC_6979[message]
    public = load_der_public_key(key.public_key)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    assert verify_ec(key.public_key, message, signature)


def test_a_signature_is_good_for_its_key_and_data_only() -> None:
    own = module()
    key, other = own.generate_ec(), own.generate_ec()
    signature = own.sign_ec(key, b"data")
    assert not verify_ec(other.public_key, b"data", signature)
    assert not verify_ec(key.public_key, b"date", signature)
    for wrong in (b"", signature[:-1], signature[:-1] + bytes([signature[-1] ^ 1]), signature + b"\0"):
        assert not verify_ec(key.public_key, b"data", wrong)
    for wrong in (b"", b"\x30\x00", key.public_key[:-1], spki(ec.generate_private_key(ec.SECP384R1()).public_key())):
        assert not verify_ec(wrong, b"data", signature)


def test_the_same_seed_makes_the_same_keys() -> None:
    one, two = module(5), module(5)
    assert one.generate_ec().public_key == two.generate_ec().public_key
    assert one.generate_ec().public_key != module(6).generate_ec().public_key


def test_a_pair_is_stored_as_a_block_of_its_module() -> None:
    own = module()
    key = own.generate_ec("device 7")
    again = SecurityModule(bytes(range(32)), Random(99)).load_ec(key.block)
    assert (again.public_key, again.label) == (key.public_key, "device 7")
    with pytest.raises(KeyBlockError):
        SecurityModule(bytes(32), Random(1)).load_ec(key.block)
    with pytest.raises(KeyBlockError):
        own.load_ec(key.block[:-1] + ("0" if key.block[-1] != "0" else "1"))
    with pytest.raises(KeyUsageError, match="no P-256 key pair"):
        own.load_ec(own.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE))
    with pytest.raises(KeyUsageError):
        own.load(key.block)
    with pytest.raises(ValueError, match="64"):
        own.generate_ec("x" * 65)


def test_pairs_beyond_the_cache_are_opened_again() -> None:
    own = SecurityModule(bytes(32), Random(3), cache_size=2)
    keys = [own.generate_ec(str(number)) for number in range(5)]
    for key in keys:
        assert verify_ec(key.public_key, b"x", own.sign_ec(key, b"x"))


def test_nothing_shows_the_private_number() -> None:
    rng = Given(1)
    rng.number = RFC_6979_KEY
    own = SecurityModule(bytes(32), rng)
    key = own.generate_ec("k")
    for text in (repr(key), repr(own), key.block, str(vars(KeyUsageError("x")))):
        assert f"{RFC_6979_KEY:064X}" not in text.upper()
        assert str(RFC_6979_KEY) not in text


WORKING = [
    (KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE),
    (KeyUsage.KEY_ENCRYPTION, Algorithm.DES),
    (KeyUsage.CARD_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE),
    (KeyUsage.CARD_APPLICATION_CRYPTOGRAM, Algorithm.SM4),
    (KeyUsage.DATA_ENCRYPTION, Algorithm.AES_128),
]


@pytest.mark.parametrize(("usage", "algorithm"), WORKING)
def test_an_envelope_brings_a_key_with_its_usage(usage: KeyUsage, algorithm: Algorithm) -> None:
    sender, holder = module(1), SecurityModule(bytes(range(1, 33)), Random(2))
    pair = holder.generate_ec()
    key = sender.load(sender.generate(usage, algorithm, "brought"))
    envelope = sender.wrap_for(pair.public_key, key)
    assert envelope != sender.wrap_for(pair.public_key, key)
    opened = holder.open_envelope(pair, envelope)
    assert (opened.usage, opened.algorithm, opened.mode, opened.label) == (usage, algorithm, key.mode, "brought")
    assert opened.check_value == key.check_value
    assert opened.exportability is Exportability.NON_EXPORTABLE
    with pytest.raises(KeyUsageError, match="not exportable"):
        holder.wrap_for(pair.public_key, opened)


def test_an_envelope_opens_for_its_holder_only_and_unchanged_only() -> None:
    sender, holder = module(1), module(2)
    pair, other = holder.generate_ec(), holder.generate_ec()
    key = sender.load(sender.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE))
    envelope = sender.wrap_for(pair.public_key, key)
    with pytest.raises(EnvelopeError):
        holder.open_envelope(other, envelope)
    for position in range(len(envelope)):
        changed = bytearray(envelope)
        changed[position] ^= 1
        with pytest.raises(EnvelopeError):
            holder.open_envelope(pair, bytes(changed))
    for wrong in (b"", envelope[:-1], envelope[:40], envelope + b"0", b"\x01" + bytes(3000)):
        with pytest.raises(EnvelopeError):
            holder.open_envelope(pair, wrong)


@given(st.binary(max_size=300))
def test_junk_is_no_envelope(junk: bytes) -> None:
    holder = module(2)
    with pytest.raises(EnvelopeError):
        holder.open_envelope(holder.generate_ec(), b"\x01" + junk)


def test_what_may_not_be_wrapped() -> None:
    own = module()
    pair = own.generate_ec()
    kept = own.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.DES, exportability=Exportability.NON_EXPORTABLE)
    with pytest.raises(KeyUsageError, match="not exportable"):
        own.wrap_for(pair.public_key, own.load(kept))
    with pytest.raises(KeyUsageError, match="AES_256"):
        own.wrap_for(pair.public_key, own.load(own.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256)))
    tmk = own.load(own.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE))
    foreign = (
        spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
        spki(rsa.generate_private_key(65537, 2048).public_key()),
        b"",
        pair.public_key[:-1] + bytes([pair.public_key[-1] ^ 1]),
    )
    for public in foreign:
        with pytest.raises(EnvelopeError, match="no public key"):
            own.wrap_for(public, tmk)
