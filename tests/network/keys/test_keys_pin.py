import json
import random
from pathlib import Path

import psec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.keys import (
    Algorithm,
    KeyHandle,
    KeyUsage,
    KeyUsageError,
    ModeOfUse,
    PinBlockError,
    PinFormat,
    PinTranslationError,
    SecurityModule,
    ValidationData,
)
from network.keys.ciphers import ecb_decryptor, ecb_encryptor, xor
from network.keys.pin_block import decode, encode

# The oracles still use the deprecated names and key lengths of the library.
pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES:cryptography.utils.CryptographyDeprecationWarning")

PIN = json.loads((Path(__file__).parents[2] / "vectors" / "pin.json").read_text())
MAC = json.loads((Path(__file__).parents[2] / "vectors" / "mac.json").read_text())
PAN = "6212345678901232"
TDES, AES = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"), bytes(range(16))
PINS = st.text("0123456789", min_size=4, max_size=12)
PANS = st.text("0123456789", min_size=13, max_size=19)
FORMATS_OF_8 = [f for f in PinFormat if f is not PinFormat.ISO_4]


@pytest.fixture(scope="module")
def pik(module: SecurityModule) -> KeyHandle:
    return module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, TDES)


@pytest.fixture(scope="module")
def zpk(module: SecurityModule) -> KeyHandle:
    return module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, TDES[::-1])


@pytest.fixture(scope="module")
def aes_pik(module: SecurityModule) -> KeyHandle:
    return module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.AES_128, AES)


PUBLISHED = [
    *((PinFormat.WITHOUT_PAN if "without" in c["fmt"] else PinFormat.ISO_0, c) for c in PIN["cup_x98"]["cases"]),
    *((PinFormat(f"ISO 9564-1 format {c['fmt']}"), c) for c in PIN["iso9564"]["cases"] if "block" in c),
]


@pytest.mark.parametrize(("pin_format", "case"), PUBLISHED)
def test_published_blocks(pin_format: PinFormat, case: dict[str, str]) -> None:
    pan = case.get("pan", PAN)
    block = bytes.fromhex(case["block"])
    assert encode(case["pin"], pan, pin_format, random.Random(1)) == block
    assert decode(block, pan, pin_format) == case["pin"]


def test_the_published_prefix_of_format_3() -> None:
    (case,) = (case for case in PIN["iso9564"]["cases"] if case["fmt"] == 3)
    block = encode(case["pin"], case["pan"], PinFormat.ISO_3, random.Random(1))
    assert block.hex().upper().startswith(case["prefix"])


@given(pin=PINS, pan=PANS, seed=st.integers(0, 999))
def test_psec_reads_and_makes_the_same_blocks(
    module: SecurityModule, aes_pik: KeyHandle, pin: str, pan: str, seed: int
) -> None:
    rng = random.Random(seed)
    assert encode(pin, pan, PinFormat.ISO_0, rng) == psec.pinblock.encode_pinblock_iso_0(pin, pan)
    assert encode(pin, pan, PinFormat.ISO_2, rng) == psec.pinblock.encode_pinblock_iso_2(pin)
    assert psec.pinblock.decode_pinblock_iso_3(encode(pin, pan, PinFormat.ISO_3, rng), pan) == pin
    assert decode(psec.pinblock.encode_pinblock_iso_3(pin, pan), pan, PinFormat.ISO_3) == pin
    assert decode(encode(pin, pan, PinFormat.ISO_1, rng), "", PinFormat.ISO_1) == pin
    block = module.encrypt_pin(aes_pik, pin, pan, PinFormat.ISO_4)
    assert psec.pinblock.decipher_pinblock_iso_4(AES, block, pan) == pin


@given(pin=PINS, pan=PANS)
def test_translations(
    module: SecurityModule, pik: KeyHandle, zpk: KeyHandle, aes_pik: KeyHandle, pin: str, pan: str
) -> None:
    iso0 = ecb_encryptor(Algorithm.TDES_DOUBLE, TDES[::-1])(psec.pinblock.encode_pinblock_iso_0(pin, pan))
    block_4 = psec.pinblock.encipher_pinblock_iso_4(AES, pin, pan)
    assert module.translate_pin(aes_pik, zpk, block_4, pan, PinFormat.ISO_4, PinFormat.ISO_0) == iso0
    for source in (PinFormat.ISO_0, PinFormat.ISO_1, PinFormat.ISO_3, PinFormat.WITHOUT_PAN):
        block = module.encrypt_pin(pik, pin, pan, source)
        assert module.translate_pin(pik, zpk, block, pan, source, PinFormat.ISO_0) == iso0
        to_4 = module.translate_pin(pik, aes_pik, block, pan, source, PinFormat.ISO_4)
        assert psec.pinblock.decipher_pinblock_iso_4(AES, to_4, pan) == pin


ALLOWED = (
    {(PinFormat.ISO_0, target) for target in (PinFormat.ISO_0, PinFormat.ISO_3)}
    | {(PinFormat.ISO_3, target) for target in (PinFormat.ISO_0, PinFormat.ISO_3)}
    | {
        (source, target)
        for source in (PinFormat.ISO_1, PinFormat.WITHOUT_PAN)
        for target in FORMATS_OF_8
        if target is not PinFormat.ISO_2
    }
)


@pytest.mark.parametrize("source", FORMATS_OF_8)
@pytest.mark.parametrize("target", FORMATS_OF_8)
def test_which_translations_are_allowed(
    module: SecurityModule, pik: KeyHandle, zpk: KeyHandle, source: PinFormat, target: PinFormat
) -> None:
    block = module.encrypt_pin(pik, "123456", PAN, source)
    if (source, target) in ALLOWED:
        out = module.translate_pin(pik, zpk, block, PAN, source, target)
        assert decode(ecb_decryptor(Algorithm.TDES_DOUBLE, TDES[::-1])(out), PAN, target) == "123456"
    else:
        with pytest.raises(PinTranslationError):
            module.translate_pin(pik, zpk, block, PAN, source, target)


@pytest.mark.parametrize(
    ("pin_format", "clear"),
    [
        (PinFormat.WITHOUT_PAN, "03123FFFFFFFFFFF"),
        (PinFormat.WITHOUT_PAN, "0D12345678901234"),
        (PinFormat.WITHOUT_PAN, "16123456FFFFFFFF"),
        (PinFormat.WITHOUT_PAN, "06123456FFFFFFFE"),
        (PinFormat.WITHOUT_PAN, "0612345AFFFFFFFF"),
        (PinFormat.WITHOUT_PAN, "06123456" + "0" * 8),
        (PinFormat.ISO_1, "0412340000000000"),
        (PinFormat.ISO_1, "1312300000000000"),
        (PinFormat.ISO_2, "2412340000000000"),
        (PinFormat.ISO_0, "041234FFFFFFFFFF"),
        (PinFormat.ISO_3, "341234FFFFFFFFFF"),
    ],
)
def test_malformed_blocks_are_refused(
    module: SecurityModule, pik: KeyHandle, zpk: KeyHandle, pin_format: PinFormat, clear: str
) -> None:
    block = ecb_encryptor(Algorithm.TDES_DOUBLE, TDES)(bytes.fromhex(clear))
    with pytest.raises(PinBlockError, match="PIN block is not of"):
        decode(bytes.fromhex(clear), PAN, pin_format)
    if pin_format is not PinFormat.ISO_2:
        with pytest.raises(PinBlockError, match="PIN block is not of"):
            module.translate_pin(pik, zpk, block, PAN, pin_format, pin_format)


@pytest.mark.parametrize(
    "clear", ["341234AAAAAAAAAA", "431234AAAAAAAAAA", "4D12345678901234", "44123FAAAAAAAAAA", "441234AAAAAAAAAB"]
)
def test_malformed_blocks_of_format_4_are_refused(
    module: SecurityModule, zpk: KeyHandle, aes_pik: KeyHandle, clear: str
) -> None:
    encrypt = ecb_encryptor(Algorithm.AES_128, AES)
    field = psec.pinblock.encode_pan_field_iso_4(PAN)
    block = encrypt(xor(encrypt(bytes.fromhex(clear) + bytes(8)), field))
    with pytest.raises(PinBlockError, match="not of ISO 9564-1 format 4"):
        module.translate_pin(aes_pik, zpk, block, PAN, PinFormat.ISO_4, PinFormat.ISO_0)


def test_another_pan_or_key_or_length_is_refused(
    module: SecurityModule, pik: KeyHandle, zpk: KeyHandle, aes_pik: KeyHandle
) -> None:
    other = "6212345678999932"
    for pin_format, key in ((PinFormat.ISO_0, pik), (PinFormat.ISO_3, pik), (PinFormat.ISO_4, aes_pik)):
        block = module.encrypt_pin(key, "123456", PAN, pin_format)
        with pytest.raises(PinBlockError):
            module.translate_pin(key, pik, block, other, pin_format, PinFormat.ISO_0)
        for wrong in (block[:-1], block + b"\x00", b""):
            with pytest.raises(PinBlockError, match="bytes"):
                module.translate_pin(key, pik, wrong, PAN, pin_format, PinFormat.ISO_0)
    block = module.encrypt_pin(pik, "123456", PAN, PinFormat.ISO_0)
    with pytest.raises(PinBlockError):
        module.translate_pin(zpk, pik, block, PAN, PinFormat.ISO_0, PinFormat.ISO_0)


@given(block=st.binary(min_size=8, max_size=8))
@pytest.mark.parametrize("pin_format", FORMATS_OF_8)
def test_any_block_is_decoded_or_refused(pin_format: PinFormat, block: bytes) -> None:
    try:
        pin = decode(block, PAN, pin_format)
    except PinBlockError:
        return
    assert 4 <= len(pin) <= 12
    assert pin.isdigit()


@pytest.mark.parametrize("pin", ["", "123", "1234567890123", "12a4", "１２３４", "12 4"])
def test_a_malformed_pin_is_refused_and_not_shown(module: SecurityModule, pik: KeyHandle, pin: str) -> None:
    with pytest.raises(PinBlockError) as caught:
        module.encrypt_pin(pik, pin, PAN, PinFormat.ISO_0)
    assert str(caught.value) == "a PIN is 4 to 12 digits"


@pytest.mark.parametrize("pan", ["", "1234567", "1" * 20, "62123456789012a2"])
@pytest.mark.parametrize("pin_format", [PinFormat.ISO_0, PinFormat.ISO_3])
def test_a_malformed_pan_is_refused_and_not_shown(
    module: SecurityModule, pik: KeyHandle, pan: str, pin_format: PinFormat
) -> None:
    with pytest.raises(PinBlockError) as caught:
        module.encrypt_pin(pik, "1234", pan, pin_format)
    assert str(caught.value) == "a PAN is 8 to 19 digits"


def test_formats_and_ciphers_must_fit(module: SecurityModule, pik: KeyHandle, aes_pik: KeyHandle) -> None:
    with pytest.raises(KeyUsageError, match="format 4"):
        module.encrypt_pin(pik, "1234", PAN, PinFormat.ISO_4)
    with pytest.raises(KeyUsageError, match="format 0"):
        module.encrypt_pin(aes_pik, "1234", PAN, PinFormat.ISO_0)


def test_only_pin_keys_of_the_right_mode(module: SecurityModule, pik: KeyHandle) -> None:
    block = module.encrypt_pin(pik, "1234", PAN, PinFormat.ISO_0)
    for usage in (KeyUsage.MAC_ALGORITHM_3, KeyUsage.DATA_ENCRYPTION, KeyUsage.KEY_ENCRYPTION):
        other = module.import_clear(usage, Algorithm.TDES_DOUBLE, TDES)
        for source, target in ((other, pik), (pik, other)):
            with pytest.raises(KeyUsageError, match=usage.value):
                module.translate_pin(source, target, block, PAN, PinFormat.ISO_0, PinFormat.ISO_0)
        with pytest.raises(KeyUsageError, match=usage.value):
            module.encrypt_pin(other, "1234", PAN, PinFormat.ISO_0)
    encrypt_only = module.import_clear(
        KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, TDES, mode=ModeOfUse.ENCRYPT_ONLY
    )
    assert module.translate_pin(pik, encrypt_only, block, PAN, PinFormat.ISO_0, PinFormat.ISO_0) == block
    with pytest.raises(KeyUsageError, match="mode E may not be used for deciphering"):
        module.translate_pin(encrypt_only, pik, block, PAN, PinFormat.ISO_0, PinFormat.ISO_0)
    pvk = module.import_clear(KeyUsage.PIN_VERIFICATION_PVV, Algorithm.TDES_DOUBLE, TDES)
    with pytest.raises(KeyUsageError, match="mode E may not be used for deciphering"):
        module.verify_pin_pvv(encrypt_only, block, PAN, PinFormat.ISO_0, pvk, "1", "0000")


@pytest.mark.parametrize("case", PIN["pvv"]["cases"])
def test_published_pvvs(module: SecurityModule, pik: KeyHandle, case: dict[str, str]) -> None:
    pvk = module.import_clear(KeyUsage.PIN_VERIFICATION_PVV, Algorithm.TDES_DOUBLE, bytes.fromhex(case["pvk"]))
    pan, pvki, pvv = case["pan"], case["pvki"], case["pvv"]
    assert module.make_pvv(pvk, pvki, pan, case["pin"]) == pvv
    block = module.encrypt_pin(pik, case["pin"], pan, PinFormat.ISO_0)
    assert module.make_pvv_of_block(pik, block, pan, PinFormat.ISO_0, pvk, pvki) == pvv
    assert module.verify_pin_pvv(pik, block, pan, PinFormat.ISO_0, pvk, pvki, pvv)
    wrong = module.encrypt_pin(pik, "9" + case["pin"][1:], pan, PinFormat.ISO_0)
    assert not module.verify_pin_pvv(pik, wrong, pan, PinFormat.ISO_0, pvk, pvki, pvv)


@given(pin=PINS, pan=PANS, pvki=st.sampled_from("0123456789"), key=st.binary(min_size=16, max_size=16))
def test_pvvs_are_those_of_psec(module: SecurityModule, pin: str, pan: str, pvki: str, key: bytes) -> None:
    pvk = module.import_clear(KeyUsage.PIN_VERIFICATION_PVV, Algorithm.TDES_DOUBLE, key)
    assert module.make_pvv(pvk, pvki, pan, pin) == psec.pin.generate_visa_pvv(key, pvki, pin[:4], pan)


@pytest.mark.parametrize("case", PIN["ibm3624"]["cases"])
def test_published_offsets(module: SecurityModule, pik: KeyHandle, case: dict[str, str]) -> None:
    shared = PIN["ibm3624"]
    pvk = module.import_clear(KeyUsage.PIN_VERIFICATION_IBM_3624, Algorithm.TDES_DOUBLE, bytes.fromhex(shared["pvk"]))
    validation = ValidationData(int(case["voff"]), int(case["vlen"]), case["pad"], shared["dectab"])
    pan, pin = shared["pan"], case["pin"]
    assert module.make_pin_offset(pvk, pan, pin, validation) == case["off"]
    block = module.encrypt_pin(pik, pin, pan, PinFormat.ISO_0)
    assert module.verify_pin_offset(pik, block, pan, PinFormat.ISO_0, pvk, case["off"], validation)
    assert not module.verify_pin_offset(pik, block, pan, PinFormat.ISO_0, pvk, "9999", validation)
    longer = module.encrypt_pin(pik, pin + "0", pan, PinFormat.ISO_0)
    assert not module.verify_pin_offset(pik, longer, pan, PinFormat.ISO_0, pvk, case["off"], validation)


@given(pin=PINS, pan=PANS, start=st.integers(0, 8), length=st.integers(1, 16), pad=st.sampled_from("0123456789ABCDEF"))
def test_offsets_are_those_of_psec(
    module: SecurityModule, pin: str, pan: str, start: int, length: int, pad: str
) -> None:
    table = "0123456789543210"
    pvk = module.import_clear(KeyUsage.PIN_VERIFICATION_IBM_3624, Algorithm.TDES_DOUBLE, TDES)
    length = min(length, len(pan) - start)
    ours = module.make_pin_offset(pvk, pan, pin, ValidationData(start, length, pad, table))
    assert ours == psec.pin.generate_ibm3624_offset(TDES, table, pin, pan, start, length, pad)


def test_pin_verification_keys_are_not_interchangeable(module: SecurityModule, pik: KeyHandle) -> None:
    block = module.encrypt_pin(pik, "1234", PAN, PinFormat.ISO_0)
    v1 = module.import_clear(KeyUsage.PIN_VERIFICATION_IBM_3624, Algorithm.TDES_DOUBLE, TDES)
    v2 = module.import_clear(KeyUsage.PIN_VERIFICATION_PVV, Algorithm.TDES_DOUBLE, TDES)
    for wrong in (v1, pik):
        with pytest.raises(KeyUsageError, match="needs usage V2"):
            module.verify_pin_pvv(pik, block, PAN, PinFormat.ISO_0, wrong, "1", "0000")
        with pytest.raises(KeyUsageError, match="needs usage V2"):
            module.make_pvv(wrong, "1", PAN, "1234")
    with pytest.raises(KeyUsageError, match="needs usage V1"):
        module.verify_pin_offset(pik, block, PAN, PinFormat.ISO_0, v2, "0000")
    with pytest.raises(KeyUsageError, match="usage V2"):
        module.verify_pin_pvv(v2, block, PAN, PinFormat.ISO_0, v2, "1", "0000")


@pytest.mark.parametrize(
    "arguments",
    [(-1, 16), (0, 0), (0, 17), (0, 16, "G"), (0, 16, "FF"), (0, 16, "F", "012"), (0, 16, "F", "012345678901234A")],
)
def test_malformed_validation_data(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"validation data|decimalisation"):
        ValidationData(*arguments)


@pytest.mark.parametrize("offset", ["", "123", "12a4", "1234567890123"])
def test_a_malformed_offset_is_refused_and_not_shown(module: SecurityModule, pik: KeyHandle, offset: str) -> None:
    pvk = module.import_clear(KeyUsage.PIN_VERIFICATION_IBM_3624, Algorithm.TDES_DOUBLE, TDES)
    block = module.encrypt_pin(pik, "1234", PAN, PinFormat.ISO_0)
    with pytest.raises(ValueError, match=r"^a PIN offset is 4 to 12 digits$"):
        module.verify_pin_offset(pik, block, PAN, PinFormat.ISO_0, pvk, offset)


CVVS = [
    *((c["cvk"], c["pan"], c["exp"], c["sc"], c["cvv"]) for c in PIN["cvv"]["cases"]),
    *((c["key_a"] + c["key_b"], c["pan"], c["exp"], c["svc"], c["cvn"]) for c in MAC["cvn"]),
]


@pytest.mark.parametrize(("cvk", "pan", "expiry", "service_code", "value"), CVVS)
def test_published_cvvs(module: SecurityModule, cvk: str, pan: str, expiry: str, service_code: str, value: str) -> None:
    key = module.import_clear(KeyUsage.CARD_VERIFICATION, Algorithm.TDES_DOUBLE, bytes.fromhex(cvk))
    assert module.make_cvv(key, pan, expiry, service_code) == value
    assert module.verify_cvv(key, pan, expiry, service_code, value)
    changed = value[:-1] + str((int(value[-1]) + 1) % 10)
    assert not module.verify_cvv(key, pan, expiry, service_code, changed)


@given(
    pan=PANS,
    expiry=st.text("0123456789", min_size=4, max_size=4),
    service=st.text("0123456789", min_size=3, max_size=3),
)
def test_cvvs_are_those_of_psec(module: SecurityModule, pan: str, expiry: str, service: str) -> None:
    key = module.import_clear(KeyUsage.CARD_VERIFICATION, Algorithm.TDES_DOUBLE, TDES)
    assert module.make_cvv(key, pan, expiry, service) == psec.cvv.generate_cvv(TDES, pan, expiry, service)


def test_cvv_refusals(module: SecurityModule, pik: KeyHandle) -> None:
    with pytest.raises(KeyUsageError, match="usage P0"):
        module.make_cvv(pik, PAN, "3012", "201")
    key = module.import_clear(KeyUsage.CARD_VERIFICATION, Algorithm.TDES_DOUBLE, TDES)
    for arguments, name in (
        ((PAN, "301", "201"), "expiry"),
        ((PAN, "3012", "20"), "service code"),
        (("62", "3012", "201"), "PAN"),
    ):
        with pytest.raises(ValueError, match=f"malformed {name}"):
            module.make_cvv(key, *arguments)
