import json
import random
from pathlib import Path

import pyemv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.keys import Algorithm, CardKeyOption, KeyHandle, KeyUsage, KeyUsageError, Scheme, SecurityModule
from network.keys import cryptogram_operations as operations
from network.keys.ciphers import Transform, ecb_encryptor
from network.keys.cryptograms import Session, card_key_input, response_cryptogram, session, session_key_input

# The oracles still use the deprecated names and key lengths of the library.
pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES:cryptography.utils.CryptographyDeprecationWarning")

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "cryptograms.json").read_text())
PBOC_3DES, PBOC_SM4 = VECTORS["pboc"]
CSK_80, CSK_00, CVN_10 = VECTORS["emv_common_session_key"]["cases"]
IMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
PANS = st.text("0123456789", min_size=13, max_size=19)
SEQUENCES = st.text("0123456789", min_size=2, max_size=2)
ATCS = st.binary(min_size=2, max_size=2)
DATA = st.binary(min_size=1, max_size=80)


def issuer_key(module: SecurityModule, key: bytes, algorithm: Algorithm = Algorithm.TDES_DOUBLE) -> KeyHandle:
    return module.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, algorithm, key)


def cvn_10_data() -> bytes:
    tags = ("f9F02", "f9F03", "f9F1A", "f95", "f5F2A", "f9A", "f9C", "f9F37", "f82", "atc", "cvr")
    return bytes.fromhex("".join(CVN_10[tag] for tag in tags))


PUBLISHED = {
    "PBOC 3DES": (
        PBOC_3DES["imk_ac"], Algorithm.TDES_DOUBLE, Scheme.PBOC_3DES, PBOC_3DES["pan"], PBOC_3DES["psn"],
        PBOC_3DES["atc"], PBOC_3DES["ac_input"], PBOC_3DES["arqc"],
        PBOC_3DES["arc_ascii"].encode(), PBOC_3DES["arpc"],
    ),
    "PBOC SM4": (
        PBOC_SM4["mdk"], Algorithm.SM4, Scheme.PBOC_SM4, PBOC_SM4["pan"], PBOC_SM4["psn"],
        PBOC_SM4["atc"], PBOC_SM4["ac_input"], PBOC_SM4["arqc"],
        bytes.fromhex(PBOC_SM4["arc"]), PBOC_SM4["arpc_left8_computed_by_helper"],
    ),
    "Visa CVN 10": (
        CVN_10["imk"], Algorithm.TDES_DOUBLE, Scheme.EMV_CARD_KEY, CVN_10["pan"], CVN_10["psn"],
        CVN_10["atc"], cvn_10_data().hex(), CVN_10["arqc"],
        bytes.fromhex(CVN_10["arc"]), CVN_10["arpc"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cryptograms(module: SecurityModule, name: str) -> None:
    key, algorithm, scheme, pan, sequence, atc_hex, data_hex, arqc_hex, arc, arpc_hex = PUBLISHED[name]
    imk = issuer_key(module, bytes.fromhex(key), algorithm)
    atc, data, arqc, arpc = (bytes.fromhex(text) for text in (atc_hex, data_hex, arqc_hex, arpc_hex))
    card = module.derive_card_key(imk, pan, sequence)

    assert module.generate_ac(card, scheme, atc, data) == arqc
    assert module.check_ac(imk, scheme, pan, sequence, atc, data, arqc)
    assert module.make_arpc(imk, scheme, pan, sequence, atc, arqc, arc) == arpc
    assert module.check_ac_and_make_arpc(imk, scheme, pan, sequence, atc, data, arqc, arc) == arpc
    assert module.check_arpc(card, scheme, atc, arqc, arc, arpc)

    changed = arqc[:-1] + bytes([arqc[-1] ^ 1])
    assert not module.check_ac(imk, scheme, pan, sequence, atc, data, changed)
    assert module.check_ac_and_make_arpc(imk, scheme, pan, sequence, atc, data, changed, arc) is None
    assert not module.check_ac(imk, scheme, pan, sequence, atc, data[:-1] + b"\xff", arqc)
    assert not module.check_arpc(card, scheme, atc, arqc, b"05", arpc)
    assert not module.check_arpc(card, scheme, atc, arqc, arc, arpc[:-1])
    if scheme is not Scheme.EMV_CARD_KEY:
        assert not module.check_ac(imk, scheme, pan, sequence, b"\x7f\xff", data, arqc)


def test_the_published_sm4_keys() -> None:
    encrypt = ecb_encryptor(Algorithm.SM4, bytes.fromhex(PBOC_SM4["mdk"]))
    pair = card_key_input(PBOC_SM4["pan"], PBOC_SM4["psn"])
    assert pair[:8].hex() == PBOC_SM4["y"]
    card_key = encrypt(pair)
    assert card_key.hex().upper() == PBOC_SM4["udk"]
    diversified = session_key_input(Scheme.PBOC_SM4, bytes.fromhex(PBOC_SM4["atc"]))
    assert ecb_encryptor(Algorithm.SM4, card_key)(diversified).hex().upper() == PBOC_SM4["sk"]


def test_the_chinese_session_key_is_not_the_emv_one(module: SecurityModule) -> None:
    key, _, _, pan, sequence, atc, data, *_ = PUBLISHED["PBOC 3DES"]
    card = module.derive_card_key(issuer_key(module, bytes.fromhex(key)), pan, sequence)
    emv = module.generate_ac(card, Scheme.EMV_CSK, bytes.fromhex(atc), bytes.fromhex(data))
    assert emv.hex().upper() == "AB14183F91A520B7"


@pytest.mark.parametrize("case", [CSK_80, CSK_00], ids=["80", "00"])
def test_published_common_session_keys(module: SecurityModule, case: dict[str, str]) -> None:
    imk = issuer_key(module, bytes.fromhex(case["imk"]))
    card = module.derive_card_key(imk, case["pan"], case["psn"])
    data = bytes.fromhex(case["data"])
    if case["pad"] == "80":
        assert module.generate_ac(card, Scheme.EMV_CSK, bytes.fromhex(case["r"]), data).hex().upper() == case["arqc"]
    else:
        # The data is padded with zeros: the scheme that does so, given the session key as its card key.
        card_key = ecb_encryptor(Algorithm.TDES_DOUBLE, bytes.fromhex(case["imk"]))(
            card_key_input(case["pan"], case["psn"])
        )
        session_key = ecb_encryptor(Algorithm.TDES_DOUBLE, card_key)(
            session_key_input(Scheme.EMV_CSK, bytes.fromhex(case["r"]))
        )
        direct = module.import_clear(KeyUsage.CARD_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, session_key)
        assert module.generate_ac(direct, Scheme.EMV_CARD_KEY, b"\x00\x01", data).hex().upper() == case["arqc"]
    arpc = module.make_arpc(
        imk, Scheme.EMV_CARD_KEY, case["pan"], case["psn"], b"\x00\x01",
        bytes.fromhex(case["arqc"]), bytes.fromhex(case["arpc1_arc"]),
    )  # fmt: skip
    assert arpc.hex().upper() == case["arpc1"]


@given(pan=PANS, sequence=SEQUENCES, atc=ATCS, data=DATA, option=st.sampled_from(CardKeyOption))
def test_common_session_keys_are_those_of_pyemv(
    module: SecurityModule, pan: str, sequence: str, atc: bytes, data: bytes, option: CardKeyOption
) -> None:
    imk = issuer_key(module, IMK)
    derive = pyemv.kd.derive_icc_mk_a if option is CardKeyOption.A else pyemv.kd.derive_icc_mk_b
    theirs = pyemv.kd.derive_common_sk(derive(IMK, pan, sequence), atc + bytes(6))
    arqc = pyemv.ac.generate_ac(theirs, data)
    card = module.derive_card_key(imk, pan, sequence, option)
    assert module.generate_ac(card, Scheme.EMV_CSK, atc, data) == arqc
    arpc = module.check_ac_and_make_arpc(imk, Scheme.EMV_CSK, pan, "0" + sequence, atc, data, arqc, b"00", option)
    assert arpc == pyemv.ac.generate_arpc_1(theirs, arqc, b"00")


@given(pan=PANS, sequence=SEQUENCES, atc=ATCS, data=DATA)
@pytest.mark.parametrize("algorithm", [Algorithm.TDES_DOUBLE, Algorithm.SM4])
def test_card_and_issuer_agree(
    module: SecurityModule, algorithm: Algorithm, pan: str, sequence: str, atc: bytes, data: bytes
) -> None:
    scheme = Scheme.PBOC_SM4 if algorithm is Algorithm.SM4 else Scheme.PBOC_3DES
    imk = issuer_key(module, IMK, algorithm)
    card = module.derive_card_key(imk, pan, sequence)
    arqc = module.generate_ac(card, scheme, atc, data)
    arpc = module.check_ac_and_make_arpc(imk, scheme, pan, sequence, atc, data, arqc, b"51")
    assert arpc is not None
    assert module.check_arpc(card, scheme, atc, arqc, b"51", arpc)
    assert not module.check_arpc(card, scheme, atc, arqc, b"00", arpc)


def test_the_session_of_a_transaction_is_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[bytes] = []

    def counted(scheme: Scheme, key: bytes, encrypt: Transform, atc: bytes) -> Session:
        derived.append(atc)
        return session(scheme, key, encrypt, atc)

    monkeypatch.setattr(operations, "session", counted)
    fresh = SecurityModule(bytes(16), random.Random(1))
    imk = issuer_key(fresh, IMK)
    for atc in (b"\x00\x01", b"\x00\x02"):
        arguments = (imk, Scheme.PBOC_3DES, "6212345678901232", "01", atc)
        fresh.check_ac(*arguments, b"data", bytes(8))
        fresh.make_arpc(*arguments, bytes(8), b"00")
    assert derived == [b"\x00\x01", b"\x00\x02"]


def test_answers_are_right_when_every_cache_has_overflowed(
    module: SecurityModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MAX_SESSIONS", 2)
    monkeypatch.setattr(operations, "MAX_CARD_KEYS", 2)
    small = SecurityModule(bytes(16), random.Random(1), cache_size=3)
    imk = issuer_key(small, IMK)
    cards = {f"621234567890{n:04d}": b"" for n in range(8)}
    for _ in range(2):
        for pan in cards:
            theirs = pyemv.kd.derive_common_sk(pyemv.kd.derive_icc_mk_a(IMK, pan, "00"), b"\x00\x01" + bytes(6))
            arqc = pyemv.ac.generate_ac(theirs, b"data")
            assert small.check_ac(imk, Scheme.EMV_CSK, pan, "00", b"\x00\x01", b"data", arqc)
            card = small.derive_card_key(imk, pan, "00")
            assert small.generate_ac(card, Scheme.EMV_CSK, b"\x00\x01", b"data") == arqc
    assert len(small._sessions) <= 2
    assert len(small._card_keys) <= 2


def test_wrong_keys_and_values(module: SecurityModule) -> None:
    imk = issuer_key(module, IMK)
    card = module.derive_card_key(imk, "6212345678901232", "01")
    mac_key = module.import_clear(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, IMK)
    atc, pan, scheme = b"\x00\x01", "6212345678901232", Scheme.PBOC_3DES
    for wrong in (card, mac_key):
        with pytest.raises(KeyUsageError, match="of an issuer"):
            module.derive_card_key(wrong, pan, "01")
        with pytest.raises(KeyUsageError, match="of an issuer"):
            module.check_ac(wrong, scheme, pan, "01", atc, b"data", bytes(8))
        with pytest.raises(KeyUsageError, match="of an issuer"):
            module.make_arpc(wrong, scheme, pan, "01", atc, bytes(8), b"00")
    for wrong in (imk, mac_key):
        with pytest.raises(KeyUsageError, match="of a card"):
            module.generate_ac(wrong, scheme, atc, b"data")
        with pytest.raises(KeyUsageError, match="of a card"):
            module.check_arpc(wrong, scheme, atc, bytes(8), b"00", bytes(8))
    with pytest.raises(KeyUsageError, match="scheme PBOC SM4"):
        module.generate_ac(card, Scheme.PBOC_SM4, atc, b"data")
    with pytest.raises(KeyUsageError, match="scheme PBOC 3DES"):
        module.check_ac(issuer_key(module, IMK, Algorithm.SM4), scheme, pan, "01", atc, b"", bytes(8))
    for call, message in (
        (lambda: module.generate_ac(card, scheme, b"\x01", b"data"), "ATC"),
        (lambda: module.generate_ac(card, Scheme.EMV_CSK, b"\x01", b"data"), "ATC"),
        (lambda: module.derive_card_key(imk, pan, "1"), "sequence"),
        (lambda: module.derive_card_key(imk, pan, "123"), "sequence"),
        (lambda: module.derive_card_key(imk, "6212", "01"), "PAN must be"),
        (lambda: module.make_arpc(imk, scheme, pan, "01", atc, bytes(7), b"00"), "ARQC"),
        (lambda: module.make_arpc(imk, scheme, pan, "01", atc, bytes(8), b"000"), "ARC"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_session_over_the_card_key_itself_needs_that_key() -> None:
    encrypt = ecb_encryptor(Algorithm.TDES_DOUBLE, IMK)
    with pytest.raises(ValueError, match="card key itself"):
        session(Scheme.EMV_CARD_KEY, None, encrypt, b"\x00\x01")
    keyed = session(Scheme.EMV_CARD_KEY, IMK, encrypt, b"\x00\x01")
    assert response_cryptogram(keyed, bytes(8), b"\x00\x00") == encrypt(bytes(8))
