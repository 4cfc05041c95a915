import hmac
import json
from pathlib import Path

import psec
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from network.keys import Algorithm, KeyUsage, KeyUsageError, MacAlgorithm, ModeOfUse, Padding, SecurityModule
from network.keys.ciphers import ecb_encryptor, xor
from network.keys.mac import Cmac, pad

# The oracles still use the deprecated names and key lengths of the library.
pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES:cryptography.utils.CryptographyDeprecationWarning")

VECTORS = Path(__file__).parents[2] / "vectors"
MAC = json.loads((VECTORS / "mac.json").read_text())
SAMPLES = json.loads((VECTORS / "messages.json").read_text())
PADDINGS = {1: Padding.METHOD_1, 2: Padding.METHOD_2, 3: Padding.METHOD_3}
K8, K16 = bytes.fromhex("0123456789ABCDEF"), bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
ALGORITHM_1, ALGORITHM_3 = MacAlgorithm.ISO_9797_1_ALGORITHM_1, MacAlgorithm.ISO_9797_1_ALGORITHM_3
DATA = st.binary(max_size=300)


def sample(identifier: str) -> bytes:
    def search(node: object) -> str | None:
        if isinstance(node, dict):
            if node.get("id") == identifier:
                return str(node["hex"])
            node = list(node.values())
        if isinstance(node, list):
            return next((found for item in node if (found := search(item))), None)
        return None

    found = search(SAMPLES)
    assert found is not None
    return bytes.fromhex(found)


def test_cup_ecb_of_the_published_message(module: SecurityModule) -> None:
    # length (2), TPDU (5), head (6), then from the MTI to the element before DE64.
    message = sample(MAC["cup_ecb"]["sample"].split()[0])
    covered, de64 = message[13:-8], message[-8:]
    key = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, bytes.fromhex(MAC["cup_ecb"]["mak"]))
    assert module.mac(key, MacAlgorithm.CUP_ECB, covered) == de64 == MAC["cup_ecb"]["de64_ascii"].encode()
    assert module.verify_mac(key, MacAlgorithm.CUP_ECB, covered, de64)
    assert not module.verify_mac(key, MacAlgorithm.CUP_ECB, covered, de64[:-1] + b"F")
    assert not module.verify_mac(key, MacAlgorithm.CUP_ECB, covered, de64[:4])
    assert not module.verify_mac(key, MacAlgorithm.CUP_ECB, covered[:-1] + b"0", de64)


def cup_ecb_by_the_text(key: bytes, algorithm: Algorithm, data: bytes) -> bytes:
    block = algorithm.block_length
    encrypt = ecb_encryptor(algorithm, key)
    data += bytes(-len(data) % block)
    folded = bytes(block)
    for start in range(0, len(data), block):
        folded = xor(folded, data[start : start + block])
    text = folded.hex().upper().encode()
    return encrypt(xor(encrypt(text[:block]), text[block:])).hex().upper()[:8].encode()


@given(data=DATA)
@pytest.mark.parametrize(
    ("algorithm", "key"), [(Algorithm.DES, K8), (Algorithm.TDES_DOUBLE, K16), (Algorithm.SM4, K16)]
)
def test_cup_ecb_block_by_block(module: SecurityModule, algorithm: Algorithm, key: bytes, data: bytes) -> None:
    handle = module.import_clear(KeyUsage.MAC_ALGORITHM_1, algorithm, key)
    assert module.mac(handle, MacAlgorithm.CUP_ECB, data) == cup_ecb_by_the_text(key, algorithm, data)


@pytest.mark.parametrize("case", MAC["retail"]["cases"], ids=lambda case: f"padding {case['pad']}")
def test_published_retail_macs(module: SecurityModule, case: dict[str, object]) -> None:
    key = bytes.fromhex(str(case["k1"]))[:8] + bytes.fromhex(str(case["k2"]))[:8]
    handle = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, key)
    data, padding = str(case["data_ascii"]).encode(), PADDINGS[int(str(case["pad"]))]
    mac = module.mac(handle, ALGORITHM_3, data, padding)
    assert mac.hex().upper() == case["mac"]
    assert module.verify_mac(handle, ALGORITHM_3, data, mac, padding)
    assert not module.verify_mac(handle, ALGORITHM_3, data, mac[:-1] + bytes([mac[-1] ^ 1]), padding)


@pytest.mark.parametrize("method", [1, 2, 3])
def test_published_cbc_macs(module: SecurityModule, method: int) -> None:
    case = MAC["cbc"]
    handle = module.import_clear(KeyUsage.MAC_ISO_16609, Algorithm.TDES_DOUBLE, bytes.fromhex(case["key"]))
    mac = module.mac(handle, ALGORITHM_1, case["data_ascii"].encode(), PADDINGS[method])
    assert mac.hex().upper() == case[f"pad{method}"]


@given(data=st.binary(min_size=1, max_size=300), method=st.sampled_from([1, 2, 3]))
def test_psec_makes_the_same_macs(module: SecurityModule, data: bytes, method: int) -> None:
    padding = PADDINGS[method]
    retail = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, K16)
    assert module.mac(retail, ALGORITHM_3, data, padding) == psec.mac.generate_retail_mac(
        K16[:8], K16[8:], data, method
    )
    single = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, K8)
    assert module.mac(single, ALGORITHM_1, data, padding) == psec.mac.generate_cbc_mac(K8, data, method)
    double = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.TDES_DOUBLE, K16)
    assert module.mac(double, ALGORITHM_1, data, padding) == psec.mac.generate_cbc_mac(K16, data, method)
    aes = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.AES_128, K16)
    assert module.mac(aes, ALGORITHM_1, data, padding) == psec.mac.generate_cbc_mac(
        K16, data, method, algorithm=psec.mac.Algorithm.AES
    )


@given(data=st.binary(min_size=1, max_size=300))
def test_x9_macs_and_de128(module: SecurityModule, data: bytes) -> None:
    single = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, K8)
    x9_9 = psec.mac.generate_cbc_mac(K8, data, 1)
    assert module.mac(single, MacAlgorithm.X9_9, data) == x9_9
    assert module.interbank_mac(single, data) == x9_9[:4].hex().upper().encode()
    double = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, K16)
    x9_19 = psec.mac.generate_retail_mac(K16[:8], K16[8:], data, 1)
    assert module.mac(double, MacAlgorithm.X9_19, data) == x9_19
    de128 = module.interbank_mac(double, data)
    assert de128 == x9_19[:4].hex().upper().encode()
    assert module.verify_interbank_mac(double, data, de128)
    assert not module.verify_interbank_mac(double, data + b"1", de128)
    assert not module.verify_interbank_mac(double, data, de128[:4])
    assert not module.verify_interbank_mac(double, data, b"")


@given(data=DATA)
@pytest.mark.parametrize(
    ("algorithm", "key", "primitive"),
    [
        (Algorithm.TDES_DOUBLE, K16, TripleDES(K16 + K16[:8])),
        (Algorithm.TDES_TRIPLE, K16 + K8[::-1], TripleDES(K16 + K8[::-1])),
        (Algorithm.AES_128, K16, AES(K16)),
        (Algorithm.AES_256, K16 + K16, AES(K16 + K16)),
    ],
)
def test_cmac_of_the_library(
    module: SecurityModule, algorithm: Algorithm, key: bytes, primitive: AES | TripleDES, data: bytes
) -> None:
    theirs = CMAC(primitive)
    theirs.update(data)
    handle = module.import_clear(KeyUsage.MAC_CMAC, algorithm, key)
    assert module.mac(handle, MacAlgorithm.CMAC, data) == theirs.finalize()


@given(data=DATA)
def test_sm4_cmac(data: bytes) -> None:
    theirs = CMAC(SM4(K16))
    theirs.update(data)
    assert Cmac(Algorithm.SM4, K16).compute(data) == theirs.finalize()


@given(data=st.binary(min_size=1, max_size=100))
def test_sm4_cbc_mac_block_by_block(module: SecurityModule, data: bytes) -> None:
    handle = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.SM4, K16)
    encrypt, value = ecb_encryptor(Algorithm.SM4, K16), bytes(16)
    padded = data + bytes(-len(data) % 16)
    for start in range(0, len(padded), 16):
        value = encrypt(xor(value, padded[start : start + 16]))
    assert module.mac(handle, ALGORITHM_1, data) == value
    assert module.interbank_mac(handle, data) == value[:4].hex().upper().encode()


@pytest.mark.parametrize("block", [8, 16])
@given(data=st.binary(min_size=1, max_size=100))
def test_paddings_are_those_of_psec(data: bytes, block: int) -> None:
    assert pad(data, block, Padding.METHOD_1) == psec.mac.pad_iso_1(data, block)
    assert pad(data, block, Padding.METHOD_2) == psec.mac.pad_iso_2(data, block)
    assert pad(data, block, Padding.METHOD_3) == psec.mac.pad_iso_3(data, block)


def test_a_mac_may_be_truncated_to_four_bytes_and_no_further(module: SecurityModule) -> None:
    handle = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, K16)
    mac = module.mac(handle, MacAlgorithm.X9_19, b"data")
    accepted = [n for n in range(10) if module.verify_mac(handle, MacAlgorithm.X9_19, b"data", mac[:n])]
    assert accepted == [4, 5, 6, 7, 8, 9]
    assert not module.verify_mac(handle, MacAlgorithm.X9_19, b"data", mac + b"\x00")


@pytest.mark.parametrize(
    ("usage", "algorithm", "mac_algorithm", "padding"),
    [
        (KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, MacAlgorithm.X9_19, Padding.METHOD_1),
        (KeyUsage.DATA_ENCRYPTION, Algorithm.DES, MacAlgorithm.CUP_ECB, Padding.METHOD_1),
        (KeyUsage.KEY_ENCRYPTION, Algorithm.DES, MacAlgorithm.X9_9, Padding.METHOD_1),
        (KeyUsage.MAC_ALGORITHM_1, Algorithm.TDES_DOUBLE, MacAlgorithm.X9_19, Padding.METHOD_1),
        (KeyUsage.MAC_ALGORITHM_1, Algorithm.TDES_DOUBLE, MacAlgorithm.X9_9, Padding.METHOD_1),
        (KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, ALGORITHM_1, Padding.METHOD_1),
        (KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, MacAlgorithm.CMAC, Padding.METHOD_1),
        (KeyUsage.MAC_ALGORITHM_1, Algorithm.AES_128, MacAlgorithm.CUP_ECB, Padding.METHOD_1),
        (KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, MacAlgorithm.X9_19, Padding.METHOD_2),
        (KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256, MacAlgorithm.CMAC, Padding.METHOD_1),
        (KeyUsage.MAC_CMAC, Algorithm.AES_128, MacAlgorithm.CMAC, Padding.METHOD_2),
    ],
)
def test_keys_that_may_not_make_this_mac(
    module: SecurityModule,
    usage: KeyUsage,
    algorithm: Algorithm,
    mac_algorithm: MacAlgorithm,
    padding: Padding,
) -> None:
    key = module.load(module.generate(usage, algorithm))
    with pytest.raises(KeyUsageError, match=f"usage {usage.value} "):
        module.mac(key, mac_algorithm, b"data", padding)
    with pytest.raises(KeyUsageError, match=f"usage {usage.value} "):
        module.verify_mac(key, mac_algorithm, b"data", bytes(8), padding)


@pytest.mark.parametrize(
    "usage", [KeyUsage.PIN_ENCRYPTION, KeyUsage.DATA_ENCRYPTION, KeyUsage.KEY_ENCRYPTION, KeyUsage.MAC_CMAC]
)
def test_keys_that_may_not_make_de128(module: SecurityModule, usage: KeyUsage) -> None:
    key = module.load(module.generate(usage, Algorithm.TDES_DOUBLE))
    with pytest.raises(KeyUsageError):
        module.interbank_mac(key, b"0200")


def test_modes_of_use(module: SecurityModule) -> None:
    kinds = {
        mode: module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, K16, mode=mode)
        for mode in (ModeOfUse.GENERATE_ONLY, ModeOfUse.VERIFY_ONLY, ModeOfUse.NO_RESTRICTION)
    }
    mac = module.mac(kinds[ModeOfUse.GENERATE_ONLY], MacAlgorithm.X9_19, b"data")
    assert module.verify_mac(kinds[ModeOfUse.VERIFY_ONLY], MacAlgorithm.X9_19, b"data", mac)
    assert module.verify_mac(kinds[ModeOfUse.NO_RESTRICTION], MacAlgorithm.X9_19, b"data", mac)
    with pytest.raises(KeyUsageError, match="mode V may not be used for making"):
        module.mac(kinds[ModeOfUse.VERIFY_ONLY], MacAlgorithm.X9_19, b"data")
    with pytest.raises(KeyUsageError, match="mode V may not be used for making"):
        module.interbank_mac(kinds[ModeOfUse.VERIFY_ONLY], b"data")
    with pytest.raises(KeyUsageError, match="mode G may not be used for verifying"):
        module.verify_mac(kinds[ModeOfUse.GENERATE_ONLY], MacAlgorithm.X9_19, b"data", mac)
    with pytest.raises(KeyUsageError, match="mode G may not be used for verifying"):
        module.verify_interbank_mac(kinds[ModeOfUse.GENERATE_ONLY], b"data", mac)


def test_the_new_key_makes_de128_of_its_reset(module: SecurityModule) -> None:
    data = b"0800 1123000000 000001 1600000000000000 101 00010000"
    pin_key = module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, K16)
    expected = psec.mac.generate_retail_mac(K16[:8], K16[8:], data, 1)[:4].hex().upper().encode()
    assert module.key_reset_mac(pin_key, data) == expected
    assert module.verify_key_reset_mac(pin_key, data, expected)
    assert not module.verify_key_reset_mac(pin_key, data, b"00000000")
    mac_key = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, K8)
    assert module.key_reset_mac(mac_key, data) == psec.mac.generate_cbc_mac(K8, data, 1)[:4].hex().upper().encode()
    with pytest.raises(KeyUsageError, match="0800 or 0810"):
        module.key_reset_mac(pin_key, b"0200 6212345678901232")
    zone = module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, K16)
    with pytest.raises(KeyUsageError, match="usage K0"):
        module.key_reset_mac(zone, data)


def test_macs_are_compared_in_constant_time(module: SecurityModule, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr(hmac, "compare_digest", compare)
    key = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, K16)
    mac = module.mac(key, MacAlgorithm.X9_19, b"data")
    compared.clear()
    assert module.verify_mac(key, MacAlgorithm.X9_19, b"data", mac)
    assert not module.verify_interbank_mac(key, b"data", b"00000000")
    assert len(compared) == 2
