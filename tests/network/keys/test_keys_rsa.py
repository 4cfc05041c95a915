"""RSA keys and signatures with recovery: against plain arithmetic and against the cryptography library's own RSA."""

import random

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from network.keys import (
    Algorithm,
    KeyBlockError,
    KeyUsage,
    KeyUsageError,
    RsaKey,
    SecurityModule,
    SecurityModuleError,
)
from network.keys.key_block import parse_header, unwrap

STORAGE = bytes(range(32))
MODULE = SecurityModule(STORAGE, random.Random(5))
KEY = MODULE.generate_rsa(1152, label="card")


def recovered(key: RsaKey, signature: bytes) -> bytes:
    modulus = int.from_bytes(key.modulus, "big")
    return pow(int.from_bytes(signature, "big"), key.exponent, modulus).to_bytes(len(key.modulus), "big")


@pytest.mark.parametrize(
    ("bits", "exponent"), [(1024, 3), (1024, 65537), (1152, 3), (1408, 3), (1984, 3), (1984, 65537)]
)
def test_what_was_signed_comes_back(bits: int, exponent: int) -> None:
    key = MODULE.generate_rsa(bits, exponent)
    assert 8 * len(key.modulus) == bits
    assert key.modulus[0] & 0x80
    assert key.exponent == exponent
    block = b"\x6a" + random.Random(bits).randbytes(bits // 8 - 2) + b"\xbc"
    assert recovered(key, MODULE.sign_with_recovery(key, block)) == block


def test_the_library_verifies_the_raw_operation() -> None:
    """ISO 9796-2 and PKCS #1 differ in the block only, so the library's key must undo ours, number for number."""
    block = b"\x6a" + bytes(142) + b"\xbc"
    signature = MODULE.sign_with_recovery(KEY, block)
    numbers = private_numbers(KEY)
    assert pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n) == int.from_bytes(signature, "big")
    # the library refuses a key whose parts do not belong together
    library = numbers.private_key()
    message = library.public_key().encrypt(b"a key that works", padding.PKCS1v15())
    assert library.decrypt(message, padding.PKCS1v15()) == b"a key that works"


def private_numbers(key: RsaKey) -> rsa.RSAPrivateNumbers:
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    loaded = load_der_private_key(unwrap(STORAGE, key.block)[1], None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    return loaded.private_numbers()


def test_the_key_block_says_what_the_key_is_for_and_it_does_not_leave() -> None:
    header = parse_header(KEY.block)
    assert (header.usage, header.algorithm, header.mode, header.exportability) == ("S0", "R", "S", "N")
    assert header.get("LB") == "card"


def test_a_seed_gives_the_same_keys_again() -> None:
    first, second, other = (SecurityModule(STORAGE, random.Random(seed)).generate_rsa(1024) for seed in (1, 1, 2))
    assert first == second
    assert first.modulus != other.modulus


def test_a_key_is_opened_by_another_module_of_the_same_storage_key_only() -> None:
    block = b"\x6a" + bytes(142) + b"\xbc"
    again = SecurityModule(STORAGE, random.Random(9))
    key = again.load_rsa(KEY.block)
    assert key == KEY
    assert again.load_rsa(KEY.block) is key
    assert again.sign_with_recovery(KEY, block) == MODULE.sign_with_recovery(KEY, block)
    with pytest.raises(KeyBlockError, match="wrong MAC"):
        SecurityModule(bytes(32), random.Random(9)).load_rsa(KEY.block)
    changed = KEY.block[:-1] + ("0" if KEY.block[-1] != "0" else "1")
    with pytest.raises(KeyBlockError, match="wrong MAC"):
        again.load_rsa(changed)


def test_rsa_keys_and_symmetric_keys_do_not_stand_for_each_other() -> None:
    symmetric = MODULE.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_128)
    with pytest.raises(KeyUsageError, match="does not sign by RSA"):
        MODULE.load_rsa(symmetric)
    with pytest.raises(KeyUsageError, match="S0"):
        MODULE.load(KEY.block)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\x6a" + bytes(141) + b"\xbc",
        b"\x6a" + bytes(143) + b"\xbc",
        b"\x6b" + bytes(142) + b"\xbc",
        b"\x6a" + bytes(142) + b"\xbd",
        b"\x00\x01" + bytes(142),
    ],
)
def test_only_blocks_of_the_scheme_are_signed(block: bytes) -> None:
    with pytest.raises(KeyUsageError, match="144 bytes, begins 6A and ends BC"):
        MODULE.sign_with_recovery(KEY, block)


@pytest.mark.parametrize(
    ("bits", "exponent"), [(512, 3), (1000, 3), (1032, 3), (2048, 3), (1024, 1), (1024, 2), (1024, 5)]
)
def test_other_sizes_and_exponents_are_not_made(bits: int, exponent: int) -> None:
    with pytest.raises(KeyUsageError):
        MODULE.generate_rsa(bits, exponent)


def test_a_label_is_short() -> None:
    with pytest.raises(ValueError, match="64"):
        MODULE.generate_rsa(1024, label="x" * 65)


@pytest.mark.parametrize("part", ["p", "q", "exponent_p", "exponent_q", "coefficient"])
def test_a_damaged_private_key_gives_no_signature(part: str) -> None:
    module = SecurityModule(STORAGE, random.Random(3))
    key = module.generate_rsa(1024)
    private = module._rsa_keys[key.block][1]
    # an even number would be no modulus at all
    setattr(private, part, getattr(private, part) + 2)
    with pytest.raises(SecurityModuleError, match="damaged"):
        module.sign_with_recovery(key, b"\x6a" + bytes(125) + b"\x01\xbc")


def test_a_module_keeps_a_bounded_number_of_open_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("network.keys.rsa_operations.MAX_RSA_KEYS", 4)
    module = SecurityModule(STORAGE, random.Random(4))
    keys = [module.generate_rsa(1024) for _ in range(6)]
    assert len(module._rsa_keys) <= 4
    for key in keys:
        assert recovered(key, module.sign_with_recovery(key, b"\x6a" + bytes(126) + b"\xbc"))[0] == 0x6A


def test_nothing_secret_is_shown() -> None:
    numbers = private_numbers(KEY)
    shown = repr(KEY) + repr(MODULE) + repr(MODULE._rsa_keys[KEY.block][1])
    assert repr(KEY) == "<RsaKey 'card' 1152 bits, exponent 3>"
    for secret in (numbers.p, numbers.q, numbers.d):
        assert str(secret) not in shown
        assert f"{secret:x}" not in (shown + KEY.block).lower()


def test_a_private_key_is_not_pickled() -> None:
    import pickle

    with pytest.raises(TypeError, match="does not leave"):
        pickle.dumps(MODULE._rsa_keys[KEY.block][1])


@pytest.mark.parametrize("length", [0, -1, 257])
def test_a_challenge_has_a_length(length: int) -> None:
    with pytest.raises(ValueError, match="challenge"):
        MODULE.generate_challenge(length)


def test_challenges_differ_and_repeat_with_the_seed() -> None:
    first, again = (SecurityModule(STORAGE, random.Random(8)) for _ in range(2))
    numbers = [first.generate_challenge(4) for _ in range(50)]
    assert len(set(numbers)) == 50
    assert [again.generate_challenge(4) for _ in range(50)] == numbers


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=142, max_size=142))
def test_every_block_is_recovered(middle: bytes) -> None:
    block = b"\x6a" + middle + b"\xbc"
    assert recovered(KEY, MODULE.sign_with_recovery(KEY, block)) == block
