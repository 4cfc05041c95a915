import json
import random
from collections.abc import Callable
from pathlib import Path

import pyemv.ac
import pyemv.kd
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.applet import CREDIT_AID, LAST_ATC, PPSE, ChipCard, CvmRule, Personalisation
from network.emv import IssuerApplicationData, tlv
from network.keys import Algorithm, KeyUsage, Scheme, SecurityModule

# The oracle, pyemv, still makes its ciphers the old way.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

PBOC_3DES, PBOC_SM4 = json.loads((Path(__file__).parents[1] / "vectors" / "cryptograms.json").read_text())["pboc"]
IMK = bytes.fromhex(PBOC_3DES["imk_ac"])
PAN = "6228000100001000"
SELECT_PPSE = bytes.fromhex("00A404000E") + PPSE + b"\x00"
SELECT_AID = bytes.fromhex("00A4040008A00000033301010100")
MODULE = SecurityModule(bytes(32), random.Random(1))
IMK_HANDLE = MODULE.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, IMK)


def card(atc: int = 0, **changes: object) -> ChipCard:
    values: dict[str, object] = {"pan": PAN, "expiry": "3012", "sequence": "001"}
    profile = Personalisation(**(values | changes))  # type: ignore[arg-type]
    key = MODULE.derive_card_key(IMK_HANDLE, profile.pan, profile.sequence)
    return ChipCard(profile, MODULE, key, atc)


def processing_options(amount: int = 1250, ttq: str = "26804000", currency: str = "0156") -> bytes:
    data = f"{ttq}{amount:012}000000000000" + "0156" + "0000000000" + currency + "260102" + "00" + "1E78EEBC"
    return bytes.fromhex("80A80000" + "23" + "8321" + data + "00")


def tapped(chip: ChipCard, **terminal: object) -> dict[str, bytes]:
    assert chip.transmit(SELECT_AID)[-2:] == b"\x90\x00"
    response = chip.transmit(processing_options(**terminal))  # type: ignore[arg-type]
    assert response[-2:] == b"\x90\x00"
    return tlv.flat(tlv.flat(response[:-2])["77"])


def session_key(pan: str, atc: bytes) -> bytes:
    """The session key by pyemv's card key and the plain cipher: none of our own code."""
    card_key = pyemv.kd.derive_icc_mk_a(IMK, pan, "01")
    counter = int.from_bytes(atc, "big")
    block = bytes(6) + atc + bytes(6) + (counter ^ 0xFFFF).to_bytes(2, "big")
    return Cipher(TripleDES(card_key + card_key[:8]), modes.ECB()).encryptor().update(block)


def response_cryptogram(pan: str, atc: bytes, arqc: bytes, arc: bytes) -> bytes:
    return pyemv.ac.generate_arpc_1(session_key(pan, atc), arqc, arc)


def external_authenticate(data: bytes) -> bytes:
    return bytes.fromhex("00820000") + bytes((len(data),)) + data


def test_the_directory_names_the_application() -> None:
    response = card(aid=CREDIT_AID, label="UnionPay Credit").transmit(SELECT_PPSE)
    fci = tlv.flat(tlv.flat(response[:-2])["6F"])
    assert fci["84"] == PPSE
    entry = tlv.flat(tlv.flat(tlv.flat(fci["A5"])["BF0C"])["61"])
    assert entry == {"4F": CREDIT_AID, "50": b"UnionPay Credit", "87": b"\x01"}


def test_the_application_asks_for_the_terminal_qualifiers() -> None:
    fci = tlv.flat(tlv.flat(card().transmit(SELECT_AID)[:-2])["6F"])
    assert fci["84"].hex().upper() == "A000000333010101"
    assert tlv.flat(fci["A5"])["9F38"].hex().upper().startswith("9F6604")


def test_processing_options_hold_what_the_domain_says() -> None:
    options = tapped(card())
    assert {"82", "9F36", "57", "9F26", "9F10", "5F34", "9F6C"} == options.keys()
    assert options["57"].hex().upper() == f"{PAN}D3012220"
    assert options["5F34"] == b"\x01"
    assert options["9F36"] == b"\x00\x01"
    assert options["9F10"].hex().upper() == "07010103A0000001"


@pytest.mark.parametrize("atc", [0, 1, 255, 0x0240, 0xFFFE])
@pytest.mark.parametrize("pan", ["6228000100001", PAN, "6228000100001000017"])
def test_the_arqc_is_the_one_an_independent_library_computes(pan: str, atc: int) -> None:
    chip = card(atc, pan=pan)
    options = tapped(chip, amount=98765)
    counter = (atc + 1).to_bytes(2, "big")
    data = bytes.fromhex("000000098765000000000000015600000000000156260102001E78EEBC1C00")
    data += counter + options["9F10"][3:7]
    assert options["9F36"] == counter
    assert options["9F26"] == pyemv.ac.generate_ac(session_key(pan, counter), data)
    changed = data[:-1] + bytes((data[-1] ^ 1,))
    assert options["9F26"] != pyemv.ac.generate_ac(session_key(pan, counter), changed)


def test_the_short_cryptogram_version_covers_less() -> None:
    options = tapped(card(cryptogram_version=0x17))
    data = bytes.fromhex("0000000012501E78EEBC0001A0")
    assert options["9F10"][2] == 0x17
    assert options["9F26"] == pyemv.ac.generate_ac(session_key(PAN, b"\x00\x01"), data)


def test_an_sm4_card_says_so_and_its_issuer_accepts_it() -> None:
    imk = MODULE.import_clear(
        KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.SM4, bytes.fromhex(PBOC_SM4["mdk"])
    )
    profile = Personalisation(PBOC_SM4["pan"], "3012", sequence="000", scheme=Scheme.PBOC_SM4)
    chip = ChipCard(profile, MODULE, MODULE.derive_card_key(imk, profile.pan, profile.sequence))
    options = tapped(chip)
    assert IssuerApplicationData.parse(options["9F10"]).algorithm == 0x04
    data = bytes.fromhex("000000001250000000000000015600000000000156260102001E78EEBC1C00")
    data += options["9F36"] + options["9F10"][3:7]
    arguments = (imk, Scheme.PBOC_SM4, profile.pan, "000", options["9F36"])
    assert MODULE.check_ac(*arguments, data, options["9F26"])
    answer = MODULE.make_arpc(*arguments, options["9F26"], b"00")
    assert chip.transmit(external_authenticate(answer + b"00")) == b"\x90\x00"


def test_the_issuer_is_authenticated_once() -> None:
    chip = card()
    options = tapped(chip)
    answer = external_authenticate(response_cryptogram(PAN, options["9F36"], options["9F26"], b"00") + b"00")
    assert chip.transmit(answer) == b"\x90\x00"
    assert chip.transmit(answer) == b"\x69\x85"


@pytest.mark.parametrize("place", [0, 7, 8, 9])
def test_a_changed_answer_is_refused_and_not_tried_again(place: int) -> None:
    chip = card()
    options = tapped(chip)
    right = response_cryptogram(PAN, options["9F36"], options["9F26"], b"00") + b"00"
    wrong = right[:place] + bytes((right[place] ^ 1,)) + right[place + 1 :]
    assert chip.transmit(external_authenticate(wrong)) == b"\x63\x00"
    assert chip.transmit(external_authenticate(right)) == b"\x69\x85"
    results = IssuerApplicationData.parse(tapped(chip)["9F10"]).cvr
    assert results.last_issuer_authentication_failed
    assert not results.last_online_not_completed


def test_an_answer_to_the_payment_before_is_refused() -> None:
    chip = card()
    first = tapped(chip)
    tapped(chip)
    late = response_cryptogram(PAN, first["9F36"], first["9F26"], b"00") + b"00"
    assert chip.transmit(external_authenticate(late)) == b"\x63\x00"


def test_a_payment_never_answered_shows_in_the_next() -> None:
    chip = card()
    first = IssuerApplicationData.parse(tapped(chip)["9F10"]).cvr
    chip.reset()
    options = tapped(chip)
    second = IssuerApplicationData.parse(options["9F10"]).cvr
    assert (first.last_online_not_completed, second.last_online_not_completed) == (False, True)
    answer = response_cryptogram(PAN, options["9F36"], options["9F26"], b"51") + b"51"
    assert chip.transmit(external_authenticate(answer)) == b"\x90\x00"
    assert tapped(chip)["9F10"][3:7] == bytes.fromhex("03A00000")


@pytest.mark.parametrize(
    ("rule", "amount", "ttq", "currency", "cryptogram", "qualifiers"),
    [
        (CvmRule.ABOVE_LIMIT, 100_000, "26804000", "0156", "ARQC", "0000"),
        (CvmRule.ABOVE_LIMIT, 100_001, "26804000", "0156", "ARQC", "8000"),
        (CvmRule.ABOVE_LIMIT, 100_001, "22804000", "0156", "ARQC", "4000"),
        (CvmRule.ABOVE_LIMIT, 100_001, "20804000", "0156", "AAC", "0000"),
        (CvmRule.ABOVE_LIMIT, 1, "26C04000", "0156", "ARQC", "8000"),
        (CvmRule.ABOVE_LIMIT, 1, "26804000", "0344", "ARQC", "8000"),
        (CvmRule.ALWAYS, 1, "26804000", "0156", "ARQC", "8000"),
        (CvmRule.NEVER, 100_001, "26804000", "0156", "ARQC", "0000"),
        (CvmRule.NEVER, 100_001, "26C04000", "0156", "AAC", "0000"),
        (CvmRule.ON_DEVICE, 100_001, "26C04000", "0156", "ARQC", "0080"),
        (CvmRule.ABOVE_LIMIT, 1, "2E804000", "0156", "AAC", "0000"),
    ],
)
def test_decision_and_cardholder_verification(
    rule: CvmRule, amount: int, ttq: str, currency: str, cryptogram: str, qualifiers: str
) -> None:
    chip = card(cvm_rule=rule)
    options = tapped(chip, amount=amount, ttq=ttq, currency=currency)
    assert options["9F6C"].hex() == qualifiers
    assert IssuerApplicationData.parse(options["9F10"]).cvr.outcome.name == cryptogram
    answer = chip.transmit(external_authenticate(bytes(10)))
    assert answer == (b"\x63\x00" if cryptogram == "ARQC" else b"\x69\x85")


Preparation = Callable[[ChipCard], object]


def nothing(chip: ChipCard) -> None:
    """A card fresh in the field."""


def selected(chip: ChipCard) -> None:
    chip.transmit(SELECT_AID)


def directory(chip: ChipCard) -> None:
    chip.transmit(SELECT_AID)
    chip.transmit(SELECT_PPSE)


def paid(chip: ChipCard) -> None:
    tapped(chip)


PAY = processing_options()


@pytest.mark.parametrize(
    ("prepare", "apdu", "status"),
    [
        (nothing, "", "6700"),
        (nothing, "00A404", "6700"),
        (nothing, "00A40400", "6700"),
        (nothing, "00A4040008A000", "6700"),
        (nothing, "00A4040000A0000003330101", "6700"),
        (nothing, "00A40400" + "11" + "A0" * 17, "6700"),
        (nothing, "00A4040008A000000333010102", "6A82"),
        (nothing, "00A4040004A0000003", "6A82"),
        (nothing, "00A4040208A000000333010101", "6A82"),
        (nothing, "00A4000008A000000333010101", "6A86"),
        (nothing, "00A4040108A000000333010101", "6A86"),
        (nothing, "80A4040008A000000333010101", "6E00"),
        (nothing, "04A4040008A000000333010101", "6E00"),
        (nothing, "0020008008241234FFFFFFFFFF", "6D00"),
        (nothing, "80AE8000", "6D00"),
        (nothing, "90AE8000", "6E00"),
        (nothing, "00A80000", "6E00"),
        (nothing, PAY.hex(), "6985"),
        (directory, PAY.hex(), "6985"),
        (paid, PAY.hex(), "6985"),
        (selected, "80A80100" + PAY.hex()[8:], "6A86"),
        (selected, "80A80000028300", "6700"),
        (selected, "80A80000", "6700"),
        (selected, PAY.hex().replace("8321", "8421"), "6A80"),
        (selected, PAY.hex().replace("8321", "8320"), "6A80"),
        (selected, processing_options().hex().replace("000000001250", "00000000125a"), "6A80"),
        (selected, processing_options(ttq="06804000").hex(), "6985"),
        (nothing, "00B2010C00", "6985"),
        (selected, "00B2010C00", "9000"),
        (paid, "00B2011400", "9000"),
        (paid, "00B2021400", "6A83"),
        (paid, "00B2001400", "6A83"),
        (paid, "00B2011C00", "6A82"),
        (paid, "00B2010D00", "6A86"),
        (paid, "00B2010400", "6A86"),
        (paid, "00B2010C01AA", "6700"),
        (nothing, "008200000A" + "00" * 10, "6985"),
        (selected, "008200000A" + "00" * 10, "6985"),
        (paid, "0082000008" + "00" * 8, "6700"),
        (paid, "008200010A" + "00" * 10, "6A86"),
        (paid, "008200000A" + "00" * 10, "6300"),
        (nothing, "80CA9F3600", "6985"),
        (paid, "80CA9F3600", "9000"),
        (paid, "80CA9F1700", "6A88"),
        (paid, "80CA9F3601AA", "6700"),
    ],
)
def test_status_words(prepare: Preparation, apdu: str, status: str) -> None:
    chip = card()
    prepare(chip)
    assert chip.transmit(bytes.fromhex(apdu))[-2:].hex().upper() == status


def test_partial_names_select_and_no_other_does() -> None:
    chip = card()
    assert chip.transmit(bytes.fromhex("00A4040005A000000333"))[-2:] == b"\x90\x00"
    assert chip.transmit(bytes.fromhex("00A4040005A000000334")) == b"\x6a\x82"
    assert chip.transmit(PAY)[-2:] == b"\x90\x00", "a selection that fails leaves the one before"


def test_the_counter_moves_with_payments_only_and_stays_at_its_end() -> None:
    chip = card(LAST_ATC - 1)
    chip.transmit(SELECT_PPSE)
    chip.transmit(SELECT_AID)
    chip.transmit(processing_options(ttq="06804000"))
    assert chip.atc == LAST_ATC - 1
    assert tapped(chip)["9F36"] == b"\xff\xff"
    assert chip.transmit(bytes.fromhex("80CA9F3600")) == bytes.fromhex("9F3602FFFF9000")
    for _ in range(2):
        chip.transmit(SELECT_AID)
        assert chip.transmit(PAY) == b"\x69\x85"
        assert chip.atc == LAST_ATC


def test_leaving_the_field_ends_the_payment_and_keeps_the_counter() -> None:
    chip = card()
    tapped(chip)
    chip.reset()
    assert chip.transmit(external_authenticate(bytes(10))) == b"\x69\x85"
    assert chip.transmit(PAY) == b"\x69\x85"
    assert chip.atc == 1


def test_records_agree_with_the_processing_options() -> None:
    chip = card(expiry="2802")
    options = tapped(chip)
    track = tlv.flat(tlv.flat(chip.transmit(bytes.fromhex("00B2010C00"))[:-2])["70"])
    account = tlv.flat(tlv.flat(chip.transmit(bytes.fromhex("00B2011400"))[:-2])["70"])
    assert track["57"] == options["57"]
    assert account["5A"].hex() == PAN
    assert account["5F24"].hex() == "280229"
    assert account["5F34"] == options["5F34"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pan": "62280001"}, "pan"),
        ({"pan": "62280001000010x0"}, "pan"),
        ({"expiry": "3013"}, "expiry"),
        ({"sequence": "1"}, "sequence"),
        ({"sequence": "100"}, "sequence"),
        ({"service_code": "101"}, "service_code"),
        ({"track2": "6228000100001001=3012220"}, "track2"),
        ({"track2": f"{PAN}=3012220" + "1" * 20}, "track2"),
        ({"track2": f"{PAN}=3012220" + "²"}, "track2"),
        ({"aid": b"\xa0"}, "aid"),
        ({"label": ""}, "label"),
        ({"scheme": Scheme.EMV_CSK}, "scheme"),
        ({"cryptogram_version": 0x0A}, "cryptogram_version"),
        ({"key_index": 256}, "key_index"),
        ({"cvm_limit": -1}, "cvm_limit"),
    ],
)
def test_bad_personalisation_is_refused_without_showing_the_account(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        card(**changes)
    assert PAN not in str(caught.value)


def test_a_key_of_the_other_cipher_is_refused() -> None:
    key = MODULE.derive_card_key(IMK_HANDLE, PAN, "001")
    with pytest.raises(ValueError, match="card_key"):
        ChipCard(Personalisation(PAN, "3012", scheme=Scheme.PBOC_SM4), MODULE, key)


@pytest.mark.parametrize("atc", [-1, 65536])
def test_a_counter_that_does_not_fit_is_refused(atc: int) -> None:
    with pytest.raises(ValueError, match="atc"):
        card(atc)


def test_track_2_may_carry_more_and_an_odd_count_is_padded() -> None:
    options = tapped(card(track2=f"{PAN}=301222012345"))
    assert options["57"].hex().upper() == f"{PAN}D301222012345F"
    assert tapped(card(track2=f"{PAN}=30122201234"))["57"].hex().upper() == f"{PAN}D30122201234"


def test_a_repr_shows_no_account_number() -> None:
    chip = card()
    for text in (repr(chip), repr(chip.personalisation), str(chip)):
        assert PAN not in text
        assert PAN[6:-4] not in text


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([SELECT_PPSE, SELECT_AID, PAY])), max_size=6))
def test_any_bytes_are_answered_with_a_status_word(commands: list[bytes]) -> None:
    chip = card()
    for command in commands:
        response = chip.transmit(command)
        assert 2 <= len(response) <= 258
        assert response[-2] in (0x63, 0x67, 0x69, 0x6A, 0x6D, 0x6E, 0x90)
