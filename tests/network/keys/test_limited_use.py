"""Limited-use keys, against the block cipher itself."""

from __future__ import annotations

from random import Random

import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import SM4

from network.keys import Algorithm, KeyHandle, KeyUsage, KeyUsageError, Scheme, SecurityModule
from network.keys.limited_use import limited_use_key_input, limited_use_key_number

IMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
TOKEN = "6299000000000017"
DATA = bytes(range(13))


def tdes(key: bytes, data: bytes) -> bytes:
    return Cipher(TripleDES(key + key[:8]), modes.ECB()).encryptor().update(data)


def sm4(key: bytes, data: bytes) -> bytes:
    return Cipher(SM4(key), modes.ECB()).encryptor().update(data)


def inverse(data: bytes) -> bytes:
    return bytes(byte ^ 0xFF for byte in data)


def mac_algorithm_3(key: bytes, data: bytes) -> bytes:
    """ISO 9797-1 MAC algorithm 3, padding method 2."""
    padded = data + b"\x80"
    padded += bytes(-len(padded) % 8)
    value = bytes(8)
    for start in range(0, len(padded), 8):
        block = bytes(a ^ b for a, b in zip(value, padded[start : start + 8], strict=True))
        value = tdes(key[:8] * 2, block)
    return tdes(key, Cipher(TripleDES(key[:8] * 3), modes.ECB()).decryptor().update(value))


def expected_key(number: int, encrypt: object = tdes) -> bytes:
    cipher = tdes if encrypt is tdes else sm4
    y = bytes.fromhex((TOKEN + "00")[-16:])
    token_key = cipher(IMK, y + inverse(y))
    diversifier = b"LU" + number.to_bytes(6, "big")
    return cipher(token_key, diversifier + inverse(diversifier))


@pytest.fixture
def module() -> SecurityModule:
    return SecurityModule(bytes(32), Random(3))


def master(module: SecurityModule, algorithm: Algorithm = Algorithm.TDES_DOUBLE) -> KeyHandle:
    return module.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, algorithm, IMK)


@pytest.mark.parametrize("number", [0, 1, 255, 65_535])
def test_the_phone_makes_what_the_issuer_checks(module: SecurityModule, number: int) -> None:
    imk = master(module)
    atc = b"\x00\x07"
    session = tdes(expected_key(number), bytes(6) + atc + bytes(6) + inverse(atc))
    expected = mac_algorithm_3(session, DATA)
    key = module.derive_limited_use_key(imk, TOKEN, "00", number, "luk")
    assert (key.usage, key.label) == (KeyUsage.CARD_APPLICATION_CRYPTOGRAM, "luk")
    assert module.generate_ac(key, Scheme.PBOC_3DES, atc, DATA) == expected
    checked = (imk, Scheme.PBOC_3DES, TOKEN, "00", number, atc, DATA)
    answer = module.check_limited_use_ac(*checked, expected, b"00")
    assert answer == tdes(session, bytes(a ^ b for a, b in zip(expected, b"00" + bytes(6), strict=True)))
    assert module.make_limited_use_arpc(*checked[:-1], expected, b"00") == answer
    assert module.check_arpc(key, Scheme.PBOC_3DES, atc, expected, b"00", answer or b"")
    bent = expected[:-1] + bytes((expected[-1] ^ 1,))
    assert module.check_limited_use_ac(*checked, bent, b"00") is None
    other = (imk, Scheme.PBOC_3DES, TOKEN, "00", number ^ 1, atc, DATA)
    assert module.check_limited_use_ac(*other, expected, b"00") is None


def test_with_sm4(module: SecurityModule) -> None:
    imk = master(module, Algorithm.SM4)
    key = module.derive_limited_use_key(imk, TOKEN, "00", 4)
    assert key.check_value == sm4(expected_key(4, sm4), bytes(16))[:3]
    cryptogram = module.generate_ac(key, Scheme.PBOC_SM4, b"\x00\x29", DATA)
    checked = (imk, Scheme.PBOC_SM4, TOKEN, "00", 4, b"\x00\x29", DATA, cryptogram, b"00")
    assert module.check_limited_use_ac(*checked) is not None


def test_a_key_is_bound_to_its_use(module: SecurityModule) -> None:
    imk = master(module)
    key = module.derive_limited_use_key(imk, TOKEN, "00", 0)
    with pytest.raises(KeyUsageError):
        module.derive_limited_use_key(key, TOKEN, "00", 1)
    with pytest.raises(KeyUsageError):
        module.check_limited_use_ac(key, Scheme.PBOC_3DES, TOKEN, "00", 0, b"\x00\x01", DATA, bytes(8), b"00")
    with pytest.raises(KeyUsageError):
        module.check_limited_use_ac(imk, Scheme.PBOC_SM4, TOKEN, "00", 0, b"\x00\x01", DATA, bytes(8), b"00")
    with pytest.raises(KeyUsageError):
        module.check_limited_use_ac(imk, Scheme.EMV_CSK, TOKEN, "00", 0, b"\x00\x01", DATA, bytes(8), b"00")
    pin_key = module.load(module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE))
    with pytest.raises(KeyUsageError):
        module.derive_limited_use_key(pin_key, TOKEN, "00", 0)


@pytest.mark.parametrize("number", [-1, 65_536])
def test_numbers_that_no_key_has(number: int) -> None:
    with pytest.raises(ValueError, match="numbered 0 to 65535"):
        limited_use_key_input(number)


@pytest.mark.parametrize(
    ("counter", "uses", "number"), [(1, 1, 0), (2, 1, 1), (10, 10, 0), (11, 10, 1), (65535, 10, 6553)]
)
def test_which_key_a_counter_belongs_to(counter: int, uses: int, number: int) -> None:
    assert limited_use_key_number(counter, uses) == number


@pytest.mark.parametrize(("counter", "uses"), [(0, 10), (1, 0), (-1, 1)])
def test_counters_that_there_are_not(counter: int, uses: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        limited_use_key_number(counter, uses)
