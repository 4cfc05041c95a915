import copy
import doctest
import hmac
import json
import pickle
import random
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from network.keys import (
    Algorithm,
    KeyBlockError,
    KeyCheckError,
    KeyHandle,
    KeyUsage,
    KeyUsageError,
    MacAlgorithm,
    PinBlockError,
    PinFormat,
    SealError,
    SecurityModule,
    SecurityModuleError,
    security_module,
)
from network.keys.ciphers import CbcChain, ecb_decryptor, ecb_encryptor, odd_parity, xor

SM = json.loads((Path(__file__).parents[2] / "vectors" / "sm3_sm4_sm2.json").read_text())
K16 = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
PAN = "6212345678901232"


def test_published_sm4_blocks() -> None:
    for case in SM["sm4"]:
        key, plain, cipher = (bytes.fromhex(case[name]) for name in ("key", "pt", "ct"))
        assert ecb_encryptor(Algorithm.SM4, key)(plain) == cipher
        assert ecb_decryptor(Algorithm.SM4, key)(cipher) == plain


def test_sm4_a_million_times() -> None:
    case = SM["sm4"][0]
    encrypt, block = ecb_encryptor(Algorithm.SM4, bytes.fromhex(case["key"])), bytes.fromhex(case["pt"])
    for _ in range(1_000_000):
        block = encrypt(block)
    assert block.hex() == case["ct_after_1000000"]


def test_published_sm3_digests() -> None:
    for case in SM["sm3"]:
        text, _, times = case["msg_ascii"].partition(" x")
        digest = hashes.Hash(hashes.SM3())
        digest.update(text.encode() * int(times or 1))
        assert digest.finalize().hex() == case["digest"]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.sampled_from([Algorithm.DES, Algorithm.AES_128]))
def test_a_chain_starts_every_message_afresh(lengths: list[int], algorithm: Algorithm) -> None:
    key, block = K16[: algorithm.key_length], algorithm.block_length
    chain, encrypt = CbcChain(algorithm, key), ecb_encryptor(algorithm, key)
    for n in lengths:
        data, value, expected = bytes(range(n * block)), bytes(block), b""
        for start in range(0, len(data), block):
            value = encrypt(xor(value, data[start : start + block]))
            expected += value
        assert chain.encrypt(data) == expected
        assert chain.last_block(data) == value
        assert chain.last_number(data + b"not this", len(data)) == int.from_bytes(value)
        for wrong in (b"", data[:-1], data + b"1"):
            with pytest.raises(ValueError, match="whole blocks"):
                chain.encrypt(wrong)
            with pytest.raises(ValueError, match="whole blocks"):
                chain.last_number(wrong, len(wrong))
        for end in (-block, len(data) + block):
            with pytest.raises(ValueError, match="whole blocks"):
                chain.last_number(data, end)


def test_parity() -> None:
    key = odd_parity(bytes(range(256)))
    assert all(byte.bit_count() % 2 for byte in key)
    assert all(byte & 0xFE == n & 0xFE for n, byte in enumerate(key))


def test_a_cipher_takes_keys_of_its_length_only() -> None:
    for algorithm in Algorithm:
        with pytest.raises(ValueError, match=algorithm.name):
            ecb_encryptor(algorithm, bytes(7))
    with pytest.raises(ValueError, match="no block cipher"):
        ecb_encryptor(Algorithm.HMAC_SHA256, bytes(32))
    with pytest.raises(ValueError, match="different lengths"):
        xor(b"1", b"12")


@pytest.mark.parametrize("length", [0, 8, 15, 33])
def test_the_storage_key_is_an_aes_key(length: int) -> None:
    with pytest.raises(KeyBlockError):
        SecurityModule(bytes(length), random.Random(1))


def test_the_same_seed_makes_the_same_keys() -> None:
    one, two = (SecurityModule(bytes(16), random.Random(7)) for _ in range(2))
    for algorithm in (Algorithm.DES, Algorithm.TDES_DOUBLE):
        assert one.generate(KeyUsage.PIN_ENCRYPTION, algorithm) == two.generate(KeyUsage.PIN_ENCRYPTION, algorithm)


def test_a_double_length_key_of_equal_halves_is_not_made() -> None:
    class Stuck(random.Random):
        """Gives equal halves once."""

        given = False

        def randbytes(self, n: int) -> bytes:
            first, self.given = not self.given, True
            return K16[:8] * 2 if first and n == 16 else super().randbytes(n)

    module = SecurityModule(bytes(16), Stuck(1))
    key = module.load(module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE))
    single = ecb_encryptor(Algorithm.DES, K16[:8])(bytes(8))[:3]
    assert key.check_value != single


def test_the_system_source_makes_different_keys() -> None:
    module = SecurityModule(bytes(16), random.SystemRandom())
    made = {module.load(module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.AES_128)).check_value for _ in range(20)}
    assert len(made) > 15


def test_a_stored_block_opens_under_its_own_storage_key_only() -> None:
    module, other = SecurityModule(bytes(16), random.Random(1)), SecurityModule(bytes(15) + b"1", random.Random(1))
    block = module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, "a terminal's PIK")
    handle = module.load(block)
    assert module.load(block) is handle
    assert module.block(handle) == block
    assert handle.label == "a terminal's PIK"
    for act in (lambda: other.load(block), lambda: other.encrypt_pin(handle, "1234", PAN, PinFormat.ISO_0)):
        with pytest.raises(KeyBlockError, match="wrong MAC"):
            act()
    with pytest.raises(KeyUsageError, match="KeyHandle"):
        module.encrypt_pin(block, "1234", PAN, PinFormat.ISO_0)  # type: ignore[arg-type]


def test_dropped_keys_are_opened_again() -> None:
    module = SecurityModule(bytes(16), random.Random(1), cache_size=4)
    handles = [module.load(module.generate(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, str(n))) for n in range(20)]
    macs = [module.mac(handle, MacAlgorithm.X9_19, b"data") for handle in handles]
    assert len(set(macs)) == 20
    assert [module.mac(handle, MacAlgorithm.X9_19, b"data") for handle in handles] == macs
    assert [module.load(handle.block).label for handle in handles] == [str(n) for n in range(20)]
    assert len(module._slots) == 4
    assert len(module._handles) == 4
    with pytest.raises(ValueError, match="cache_size"):
        SecurityModule(bytes(16), random.Random(1), cache_size=0)


def test_a_full_store_drops_its_oldest_keys() -> None:
    module = SecurityModule(bytes(16), random.Random(1), cache_size=16)
    handles = [module.load(module.generate(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE)) for _ in range(16)]
    assert list(module._slots) == handles
    handles.append(module.load(module.generate(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE)))
    assert list(module._slots) == handles[2:]
    assert list(module._handles.values()) == handles[2:]


def test_a_handle_survives_pickling_without_its_key(module: SecurityModule) -> None:
    handle = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, K16, "label")
    module.mac(handle, MacAlgorithm.X9_19, b"data")
    data = pickle.dumps(handle)
    for form in (K16, K16[:8], K16[8:], K16.hex().encode(), K16.hex().upper().encode()):
        assert form not in data
    again = pickle.loads(data)
    assert module.mac(again, MacAlgorithm.X9_19, b"data") == module.mac(handle, MacAlgorithm.X9_19, b"data")


def test_a_module_and_its_keys_are_not_copied_or_pickled(module: SecurityModule) -> None:
    handle = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, K16)
    for secret in (module, module._slots[handle]):
        for copying in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="security module"):
                copying(secret)


def test_representations_show_no_secret(module: SecurityModule) -> None:
    handle = module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, K16, "terminal 1")
    assert repr(handle) == "<KeyHandle 'terminal 1' PIN_ENCRYPTION TDES_DOUBLE check value 08D7B4>"
    for thing in (module, handle, module._slots[handle]):
        for text in (repr(thing), str(thing)):
            assert K16.hex() not in text.lower()
            assert repr(K16) not in text
    assert not any(getattr(handle, name) == K16 for name in KeyHandle.__slots__)


def refusals(module: SecurityModule) -> list[tuple[type[Exception], Callable[[], object]]]:
    pik = module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, K16)
    pvk = module.import_clear(KeyUsage.PIN_VERIFICATION_PVV, Algorithm.TDES_DOUBLE, K16)
    zone = module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, K16[::-1])
    cvk = module.import_clear(KeyUsage.CARD_VERIFICATION, Algorithm.TDES_DOUBLE, K16)
    imk = module.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, K16)
    iso0 = PinFormat.ISO_0
    block = module.encrypt_pin(pik, "739182", PAN, iso0)
    usage, tdes = KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE
    return [
        (PinBlockError, lambda: module.encrypt_pin(pik, "73918x", PAN, iso0)),
        (PinBlockError, lambda: module.translate_pin(pik, pik, block, PAN[::-1], iso0, iso0)),
        (PinBlockError, lambda: module.translate_pin(pik, pik, bytes(8), PAN, iso0, iso0)),
        (PinBlockError, lambda: module.make_pvv(pvk, "1", PAN + "99999", "739182")),
        (ValueError, lambda: module.make_pvv(pvk, "x", PAN, "739182")),
        (ValueError, lambda: module.make_cvv(cvk, PAN, "30", "201")),
        (ValueError, lambda: module.derive_card_key(imk, PAN, "x")),
        (KeyUsageError, lambda: module.mac(pik, MacAlgorithm.X9_19, PAN.encode())),
        (KeyUsageError, lambda: module.import_clear(usage, Algorithm.DES, K16)),
        (KeyUsageError, lambda: module.import_components(usage, tdes, [K16, K16], bytes(3))),
        (KeyCheckError, lambda: module.import_components(usage, tdes, [K16, bytes(16)], bytes(3))),
        (KeyCheckError, lambda: module.import_cryptogram(usage, tdes, K16, zone, bytes(3))),
        (KeyBlockError, lambda: module.load(module.block(pik)[:-1] + "x")),
        (KeyBlockError, lambda: SecurityModule(K16[:7], random.Random(1))),
    ]


def test_error_messages_show_no_secret(module: SecurityModule) -> None:
    secrets = [PAN, PAN[::-1], "739182", "73918x", K16.hex(), K16[:8].hex(), K16[8:].hex(), repr(K16)[2:-1]]
    for kind, act in refusals(module):
        with pytest.raises(kind) as caught:
            act()
        shown = "".join(traceback.format_exception_only(caught.value)).lower()
        assert shown.strip()
        for secret in secrets:
            assert secret.lower() not in shown
        chained = caught.value.__cause__
        assert chained is None


def test_every_refusal_of_a_key_is_a_security_module_error() -> None:
    for kind in (KeyBlockError, KeyCheckError, KeyUsageError, PinBlockError, SealError):
        assert issubclass(kind, SecurityModuleError)


@given(plain=st.binary(max_size=100), context=st.binary(max_size=20))
def test_what_is_sealed_is_unsealed(module: SecurityModule, plain: bytes, context: bytes) -> None:
    key = module.load(module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256))
    sealed = module.seal(key, plain, context)
    assert module.unseal(key, sealed, context) == plain
    assert module.seal(key, plain, context) != sealed
    with pytest.raises(SealError):
        module.unseal(key, sealed, context + b"x")
    for position in (0, 12, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealError):
            module.unseal(key, bytes(changed), context)
    with pytest.raises(SealError, match="too short"):
        module.unseal(key, sealed[:27], context)


@given(value=st.binary(max_size=100), key=st.binary(min_size=32, max_size=32))
def test_an_index_is_an_hmac(module: SecurityModule, value: bytes, key: bytes) -> None:
    handle = module.import_clear(KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256, key)
    expected = hmac.digest(key, value, "sha256")[:16]
    assert module.index(handle, value) == expected
    assert module.index(handle, value) == expected


def test_only_data_keys_seal_and_only_hmac_keys_index(module: SecurityModule) -> None:
    hmac_key = module.load(module.generate(KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256))
    aes = module.load(module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_128))
    tdes = module.load(module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.TDES_DOUBLE))
    pin_key = module.load(module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.AES_128))
    for wrong in (hmac_key, tdes, pin_key):
        with pytest.raises(KeyUsageError, match="sealing"):
            module.seal(wrong, b"value")
        with pytest.raises(KeyUsageError, match="sealing"):
            module.unseal(wrong, bytes(40))
    for wrong in (aes, tdes, pin_key):
        with pytest.raises(KeyUsageError, match="indexes"):
            module.index(wrong, b"value")


def test_check_values(module: SecurityModule) -> None:
    key = module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, K16)
    assert module.check_value(key) == key.check_value == bytes.fromhex("08D7B4")
    assert module.check_value(key, length=4) == bytes.fromhex("08D7B4FB")
    for arguments in (("zero", 2), ("zero", 6), ("crc", 3)):
        with pytest.raises(ValueError, match="check value"):
            module.check_value(key, *arguments)
    hmac_key = module.import_clear(KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256, bytes(32))
    assert hmac_key.check_value == hmac.digest(bytes(32), b"", "sha256")[:3]


def test_labels_are_bounded(module: SecurityModule) -> None:
    with pytest.raises(ValueError, match="64 characters"):
        module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.DES, "x" * 65)
    with pytest.raises(KeyBlockError, match="printable"):
        module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.DES, "密钥")


def test_own_ciphers_raise_no_deprecation_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for algorithm in Algorithm:
            if algorithm.block_length:
                ecb_encryptor(algorithm, bytes(range(algorithm.key_length)))
                CbcChain(algorithm, bytes(range(algorithm.key_length)))


def test_the_example_of_the_docstring_runs() -> None:
    failed, attempted = doctest.testmod(security_module)
    assert attempted
    assert not failed


OPERATIONS = """
block check_ac check_ac_and_make_arpc check_arpc check_value derive_card_key encrypt_pin export_block
export_cryptogram forget generate generate_ac generate_and_export import_block import_clear import_components
import_cryptogram index interbank_mac key_reset_mac load mac make_arpc make_cvv make_de62 make_pin_offset
make_pvv make_pvv_of_block read_de62 seal translate_pin unseal verify_cvv verify_interbank_mac
verify_key_reset_mac verify_mac verify_pin_offset verify_pin_pvv
generate_ec load_ec open_envelope sign_ec wrap_for
check_limited_use_ac derive_limited_use_key make_limited_use_arpc
generate_challenge generate_rsa load_rsa sign_with_recovery
"""


def test_no_operation_was_added_without_a_thought_for_clear_keys() -> None:
    names = {name for name in dir(SecurityModule) if not name.startswith("_")}
    assert names == set(OPERATIONS.split())


def test_a_key_that_was_forgotten_is_opened_by_its_block_only() -> None:
    module = SecurityModule(bytes(32), random.Random(1))
    handle = module.load(module.generate(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES))
    pair = module.generate_ec("pair")
    kept = repr(module)
    module.forget(handle.block)
    module.forget(pair.block)
    module.forget("no such block")
    assert (kept, repr(module)) == ("<SecurityModule with 1 keys open>", "<SecurityModule with 0 keys open>")
    assert module.load(handle.block).check_value == handle.check_value
    assert module.load_ec(pair.block).public_key == pair.public_key
