import json
import random
from pathlib import Path

import psec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.keys import (
    Algorithm,
    Exportability,
    KeyBlockError,
    KeyCheckError,
    KeyHandle,
    KeyUsage,
    KeyUsageError,
    MacAlgorithm,
    ModeOfUse,
    PinFormat,
    SecurityModule,
)
from network.keys.attributes import allowed_algorithms, allowed_modes, default_mode
from network.keys.ciphers import ecb_encryptor

# The oracles still use the deprecated names and key lengths of the library.
pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES:cryptography.utils.CryptographyDeprecationWarning")

VECTORS = Path(__file__).parents[2] / "vectors"
BLOCKS = json.loads((VECTORS / "key_blocks.json").read_text())["cases"]
DOWNLOAD = json.loads((VECTORS / "mac.json").read_text())["key_download_de62"][0]
K16 = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
PAN = "6212345678901232"


def new(
    module: SecurityModule,
    usage: KeyUsage,
    algorithm: Algorithm = Algorithm.TDES_DOUBLE,
    mode: ModeOfUse | None = None,
    exportability: Exportability | None = None,
) -> KeyHandle:
    return module.load(module.generate(usage, algorithm, mode=mode, exportability=exportability))


@pytest.mark.parametrize("case", [c for c in BLOCKS if c["block"][0] in "ABD" and c["block"][5:7] == "P0"])
def test_published_blocks_are_imported_with_their_check_value(module: SecurityModule, case: dict[str, str]) -> None:
    kbpk = bytes.fromhex(case["kbpk"])
    zone = module.import_clear(
        KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.of("A" if case["block"][0] == "D" else "T", len(kbpk)), kbpk
    )
    key = module.import_block(case["block"], zone)
    kcv = bytes.fromhex(case["kcv"])
    method = "cmac" if len(kcv) == 5 or key.algorithm is Algorithm.AES_128 else "zero"
    assert module.check_value(key, method, len(kcv)) == kcv
    assert key.mode is ModeOfUse.ENCRYPT_ONLY
    version = "D" if zone.algorithm is Algorithm.AES_256 else "B"
    exported = module.export_block(key, zone, version)
    assert psec.tr31.unwrap(kbpk, exported)[1].hex().upper() == case["key"]


def test_a_block_of_an_unknown_usage_is_refused(module: SecurityModule) -> None:
    case = next(c for c in BLOCKS if c["block"][5:7] == "B0" and c["block"][0] == "B")
    zone = module.import_clear(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.TDES_DOUBLE, bytes.fromhex(case["kbpk"]))
    with pytest.raises(KeyUsageError, match="'B0' is not supported"):
        module.import_block(case["block"], zone)


@pytest.mark.parametrize(("version", "zone_algorithm"), [("B", Algorithm.TDES_TRIPLE), ("D", Algorithm.AES_256)])
def test_a_key_goes_from_one_module_to_another(version: str, zone_algorithm: Algorithm) -> None:
    sender, receiver = SecurityModule(bytes(32), random.Random(1)), SecurityModule(bytes(16), random.Random(2))
    shared = bytes(range(zone_algorithm.key_length))
    zones = [m.import_clear(KeyUsage.KEY_BLOCK_PROTECTION, zone_algorithm, shared) for m in (sender, receiver)]
    sent = sender.load(sender.generate(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, "acquirer MAK"))
    block = sender.export_block(sent, zones[0])
    assert block[0] == version
    got = receiver.import_block(block, zones[1])
    assert (got.usage, got.algorithm, got.mode, got.exportability, got.label, got.check_value) == (
        sent.usage, sent.algorithm, sent.mode, sent.exportability, "acquirer MAK", sent.check_value,
    )  # fmt: skip
    mac = sender.mac(sent, MacAlgorithm.X9_19, b"data")
    assert receiver.verify_mac(got, MacAlgorithm.X9_19, b"data", mac)
    with pytest.raises(KeyBlockError, match="wrong MAC"):
        receiver.import_block(block[:-1] + ("0" if block[-1] != "0" else "1"), zones[1])


def test_optional_blocks_and_key_version_survive_storage_and_export(module: SecurityModule) -> None:
    kbpk = bytes(range(16))
    header = psec.tr31.Header("B", "P0", "T", "B", "12", "E")
    header.blocks["KS"] = "00604B120F9292800000"
    header.blocks["LB"] = "a label"
    zone = module.import_clear(KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.TDES_DOUBLE, kbpk)
    key = module.import_block(psec.tr31.wrap(kbpk, header, K16), zone)
    assert key.label == "a label"
    again, clear = psec.tr31.unwrap(kbpk, module.export_block(module.load(module.block(key)), zone, "B"))
    assert clear == K16
    assert dict(again.blocks.items())["KS"] == "00604B120F9292800000"
    assert again.version_num == "12"


def test_exportability(module: SecurityModule) -> None:
    kbpk = new(module, KeyUsage.KEY_BLOCK_PROTECTION, Algorithm.AES_256)
    zone = new(module, KeyUsage.KEY_ENCRYPTION)
    never = new(module, KeyUsage.PIN_ENCRYPTION, exportability=Exportability.NON_EXPORTABLE)
    blocks_only = new(module, KeyUsage.PIN_ENCRYPTION, exportability=Exportability.EXPORTABLE)
    any_way = new(module, KeyUsage.PIN_ENCRYPTION, exportability=Exportability.SENSITIVE)
    with pytest.raises(KeyUsageError, match="not exportable"):
        module.export_block(never, kbpk)
    for key in (never, blocks_only):
        with pytest.raises(KeyUsageError, match="bare cryptogram"):
            module.export_cryptogram(key, zone)
    module.export_block(blocks_only, kbpk)
    module.export_block(any_way, kbpk)
    assert len(module.export_cryptogram(any_way, zone)) == 16


def test_no_key_travels_under_a_weaker_one(module: SecurityModule) -> None:
    double = new(module, KeyUsage.KEY_BLOCK_PROTECTION)
    strong = new(module, KeyUsage.DATA_ENCRYPTION, Algorithm.AES_128)
    with pytest.raises(KeyUsageError, match="AES_128 key may not leave under a TDES_DOUBLE key"):
        module.export_block(strong, double)
    single = new(module, KeyUsage.KEY_ENCRYPTION, Algorithm.DES)
    with pytest.raises(KeyUsageError, match="may not leave under a DES key"):
        module.export_cryptogram(new(module, KeyUsage.PIN_ENCRYPTION), single)


def test_zone_keys_have_a_usage_a_mode_and_a_version(module: SecurityModule) -> None:
    k0, k1 = new(module, KeyUsage.KEY_ENCRYPTION), new(module, KeyUsage.KEY_BLOCK_PROTECTION)
    key = new(module, KeyUsage.PIN_ENCRYPTION)
    with pytest.raises(KeyUsageError, match=r"usage K0 .* making key blocks"):
        module.export_block(key, k0)
    with pytest.raises(KeyUsageError, match=r"usage K1 .* enciphering keys"):
        module.export_cryptogram(key, k1)
    with pytest.raises(KeyBlockError, match="does not fit key block version D"):
        module.export_block(key, k1, "D")
    with pytest.raises(KeyBlockError, match="deprecated"):
        module.export_block(key, k1, "C")
    with pytest.raises(KeyBlockError, match=r"does not fit|not supported"):
        module.export_block(key, k1, "E")
    only_out = new(module, KeyUsage.KEY_BLOCK_PROTECTION, mode=ModeOfUse.ENCRYPT_ONLY)
    block = module.export_block(key, only_out)
    with pytest.raises(KeyUsageError, match="mode E may not be used for opening"):
        module.import_block(block, only_out)


@given(
    algorithm=st.sampled_from([Algorithm.DES, Algorithm.TDES_DOUBLE, Algorithm.SM4]),
    key=st.binary(min_size=16, max_size=16),
)
def test_cryptograms(module: SecurityModule, algorithm: Algorithm, key: bytes) -> None:
    zone_algorithm = Algorithm.SM4 if algorithm is Algorithm.SM4 else Algorithm.TDES_DOUBLE
    zone = module.import_clear(KeyUsage.KEY_ENCRYPTION, zone_algorithm, K16)
    key = key[: algorithm.key_length]
    handle = module.import_clear(KeyUsage.MAC_ALGORITHM_1, algorithm, key)
    cryptogram = module.export_cryptogram(handle, zone)
    assert cryptogram == ecb_encryptor(zone_algorithm, K16)(key)
    check = ecb_encryptor(algorithm, key)(bytes(algorithm.block_length))[:4]
    back = module.import_cryptogram(KeyUsage.MAC_ALGORITHM_1, algorithm, cryptogram, zone, check)
    assert back.check_value == check[:3]
    assert back.exportability is Exportability.NON_EXPORTABLE
    wrong = check[:3] + bytes([check[3] ^ 1])
    with pytest.raises(KeyCheckError):
        module.import_cryptogram(KeyUsage.MAC_ALGORITHM_1, algorithm, cryptogram, zone, wrong)
    with pytest.raises(KeyUsageError, match="bytes, not"):
        module.import_cryptogram(KeyUsage.MAC_ALGORITHM_1, algorithm, cryptogram[:-1], zone)


def test_a_key_reset_on_the_member_link() -> None:
    switch, member = SecurityModule(bytes(32), random.Random(1)), SecurityModule(bytes(16), random.Random(2))
    zones = [m.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, K16) for m in (switch, member)]
    for usage, algorithm in (
        (KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE),
        (KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE),
        (KeyUsage.MAC_ALGORITHM_1, Algorithm.DES),
    ):
        mine, cryptogram = switch.generate_and_export(usage, algorithm, zones[0])
        yours = member.import_cryptogram(usage, algorithm, cryptogram, zones[1], mine.check_value)
        data = b"0800 1123000000 000001 101"
        assert member.verify_key_reset_mac(yours, data, switch.key_reset_mac(mine, data))


def test_components(module: SecurityModule) -> None:
    parts = [bytes([n]) * 16 for n in (1, 2, 4)]
    key = bytes([7]) * 16
    check = ecb_encryptor(Algorithm.TDES_DOUBLE, key)(bytes(8))[:3]
    handle = module.import_components(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, parts, check)
    assert handle.check_value == check
    with pytest.raises(KeyCheckError):
        module.import_components(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, parts, bytes(3))
    with pytest.raises(KeyCheckError, match="3 to 8 bytes"):
        module.import_components(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, parts, check[:2])
    for wrong in (parts[:1], [parts[0], parts[0]], [*parts, bytes(16)]):
        with pytest.raises(KeyUsageError, match="2 or 3 different"):
            module.import_components(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, wrong, check)
    with pytest.raises(KeyUsageError, match="16 bytes"):
        module.import_components(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, [parts[0], b"1"], check)


def test_the_published_download(module: SecurityModule) -> None:
    tmk = module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, bytes.fromhex(DOWNLOAD["tmk"]))
    de62 = bytes.fromhex(DOWNLOAD["de62"])
    keys = module.read_de62(tmk, de62)
    assert keys.pik.check_value.hex().upper() == DOWNLOAD["pik_cv"][:6]
    assert keys.mak.check_value.hex().upper() == DOWNLOAD["mak_cv"][:6]
    assert keys.tdk is None
    mak = module.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, bytes.fromhex(DOWNLOAD["mak"]))
    pik = module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, bytes.fromhex(DOWNLOAD["pik"]))
    assert module.mac(keys.mak, MacAlgorithm.CUP_ECB, b"x") == module.mac(mak, MacAlgorithm.CUP_ECB, b"x")
    assert module.encrypt_pin(keys.pik, "1234", PAN, PinFormat.ISO_0) == module.encrypt_pin(
        pik, "1234", PAN, PinFormat.ISO_0
    )
    assert module.make_de62(tmk, pik, mak) == de62
    for position in range(len(de62)):
        if 28 <= position < 36:
            continue
        changed = bytearray(de62)
        changed[position] ^= 0x10
        with pytest.raises(KeyCheckError):
            module.read_de62(tmk, bytes(changed))


@pytest.mark.parametrize(
    ("length", "pik_algorithm", "mak", "with_tdk"),
    [
        (24, Algorithm.DES, (KeyUsage.MAC_ALGORITHM_1, Algorithm.DES), False),
        (40, Algorithm.TDES_DOUBLE, (KeyUsage.MAC_ALGORITHM_1, Algorithm.DES), False),
        (40, Algorithm.TDES_DOUBLE, (KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE), False),
        (60, Algorithm.TDES_DOUBLE, (KeyUsage.MAC_ALGORITHM_1, Algorithm.DES), True),
    ],
)
def test_downloads_of_every_layout(
    module: SecurityModule,
    length: int,
    pik_algorithm: Algorithm,
    mak: tuple[KeyUsage, Algorithm],
    with_tdk: bool,
) -> None:
    tmk = new(module, KeyUsage.KEY_ENCRYPTION)
    pik, mac_key = new(module, KeyUsage.PIN_ENCRYPTION, pik_algorithm), new(module, *mak)
    tdk = new(module, KeyUsage.DATA_ENCRYPTION) if with_tdk else None
    de62 = module.make_de62(tmk, pik, mac_key, tdk)
    assert len(de62) == length
    keys = module.read_de62(tmk, de62)
    assert keys.pik.check_value == pik.check_value
    assert (keys.mak.usage, keys.mak.algorithm, keys.mak.check_value) == (*mak, mac_key.check_value)
    assert (keys.tdk and keys.tdk.check_value) == (tdk and tdk.check_value)


def test_download_refusals(module: SecurityModule) -> None:
    tmk, pik = new(module, KeyUsage.KEY_ENCRYPTION), new(module, KeyUsage.PIN_ENCRYPTION)
    single, mak = new(module, KeyUsage.PIN_ENCRYPTION, Algorithm.DES), new(module, KeyUsage.MAC_ALGORITHM_3)
    mak_single = new(module, KeyUsage.MAC_ALGORITHM_1, Algorithm.DES)
    tdk = new(module, KeyUsage.DATA_ENCRYPTION)
    for arguments in ((pik, pik, mak), (tmk, mak, mak), (tmk, pik, pik), (tmk, single, mak), (tmk, pik, mak, mak)):
        with pytest.raises(KeyUsageError, match="in this place"):
            module.make_de62(*arguments)
    with pytest.raises(KeyUsageError, match="no room"):
        module.make_de62(tmk, single, mak_single, tdk)
    with pytest.raises(KeyUsageError, match="in this place"):
        module.read_de62(pik, bytes(40))
    for length in (0, 23, 39, 41, 64):
        with pytest.raises(KeyCheckError, match=f"not {length}"):
            module.read_de62(tmk, bytes(length))


@pytest.mark.parametrize("usage", KeyUsage)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_what_kinds_of_keys_exist(module: SecurityModule, usage: KeyUsage, algorithm: Algorithm) -> None:
    if algorithm in allowed_algorithms(usage):
        key = new(module, usage, algorithm)
        assert (key.usage, key.algorithm, key.mode) == (usage, algorithm, default_mode(usage))
        assert default_mode(usage) in allowed_modes(usage)
    else:
        with pytest.raises(KeyUsageError, match="cannot be"):
            module.generate(usage, algorithm)


def test_modes_must_fit_usages(module: SecurityModule) -> None:
    with pytest.raises(KeyUsageError, match="cannot have mode C"):
        module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.DES, mode=ModeOfUse.GENERATE_AND_VERIFY)
    with pytest.raises(KeyUsageError, match="has 16 bytes, not 8"):
        module.import_clear(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE, bytes(8))
