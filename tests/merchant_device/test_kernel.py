import json
import random
from pathlib import Path

import pyemv.ac
import pyemv.kd
import pytest
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.applet import CREDIT_AID, DEBIT_AID, ChipCard, CvmRule, Personalisation
from merchant_device.kernel import (
    ApplicationParameters,
    Cvm,
    Declined,
    EndApplication,
    Kernel,
    KernelConfiguration,
    OnlineRequest,
    Outcome,
    SeePhone,
    Tap,
    TapEnded,
    TransactionData,
    TryAgain,
    TryAnotherInterface,
    check_external_authenticate,
    entry_point,
    external_authenticate,
)
from merchant_device.readers import CardGone, Exchange, VirtualReader
from network.emv import TAGS, tlv
from network.keys import Algorithm, KeyUsage, SecurityModule

# The oracle, pyemv, still makes its ciphers the old way.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

IMK = bytes.fromhex(
    json.loads((Path(__file__).parents[1] / "vectors" / "cryptograms.json").read_text())["pboc"][0]["imk_ac"]
)
PAN = "6228000100001000"
MODULE = SecurityModule(bytes(32), random.Random(1))
KEY = MODULE.derive_card_key(
    MODULE.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, IMK), PAN, "001"
)
SALE = TransactionData(amount=1250, date="260102", unpredictable_number=bytes.fromhex("1E78EEBC"), sequence_counter=7)
LARGE = TransactionData(amount=100_001, date="260102", unpredictable_number=bytes.fromhex("1E78EEBC"))
PDOL = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")
ALWAYS = ["9F26", "9F27", "9F10", "9F37", "9F36", "95", "9A", "9C", "9F02", "5F2A", "82", "9F1A", "9F03", "9F33"]


def chip(rule: CvmRule = CvmRule.ABOVE_LIMIT, aid: bytes = DEBIT_AID) -> ChipCard:
    return ChipCard(Personalisation(PAN, "3012", cvm_rule=rule, aid=aid), MODULE, KEY)


def conclude(tap: Tap, transmit: object) -> Outcome:
    command = tap.command
    for _ in range(100):
        answer = tap.step(transmit(command))  # type: ignore[operator]
        if not isinstance(answer, bytes):
            assert tap.outcome is answer
            return answer
        command = answer
    raise AssertionError("a tap that never ends")


def paid(card: ChipCard, transaction: TransactionData = SALE, **configuration: object) -> Outcome:
    kernel = Kernel(KernelConfiguration(**configuration))  # type: ignore[arg-type]
    return conclude(kernel.start(transaction), card.transmit)


class Script:
    """A card that gives prepared answers, in order, and keeps what it was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.commands: list[bytes] = []

    def transmit(self, apdu: bytes) -> bytes:
        self.commands.append(apdu)
        return self.answers[len(self.commands) - 1]


def entry(name: bytes, priority: bytes | None = None) -> bytes:
    return tlv.encode("61", tlv.encode("4F", name) + (tlv.encode("87", priority) if priority is not None else b""))


def fci(name: bytes, proprietary: bytes) -> bytes:
    return tlv.encode("6F", tlv.encode("84", name) + tlv.encode("A5", proprietary)) + b"\x90\x00"


def directory(*entries: bytes) -> bytes:
    return fci(b"2PAY.SYS.DDF01", tlv.encode("BF0C", b"".join(entries)))


def application(name: bytes = DEBIT_AID, pdol: bytes = PDOL) -> bytes:
    return fci(name, tlv.encode("9F38", pdol))


OPTIONS = {
    "82": bytes.fromhex("7C00"),
    "57": bytes.fromhex(f"{PAN}D3012220"),
    "5F34": b"\x01",
    "9F6C": bytes(2),
    "9F10": bytes.fromhex("07010103A0000001"),
    "9F26": bytes.fromhex("0102030405060708"),
    "9F36": b"\x00\x01",
}


def options(**changes: str | None) -> bytes:
    """Processing options; a change is `t` and the tag, None drops the object."""
    values: dict[str, bytes] = dict(OPTIONS)
    for name, value in changes.items():
        tag = name.removeprefix("t")
        if value is None:
            values.pop(tag, None)
        else:
            values[tag] = bytes.fromhex(value)
    return tlv.encode("77", tlv.encode_all(values)) + b"\x90\x00"


def answered(processing_options: bytes, *more: bytes, transaction: TransactionData = SALE, **setup: object) -> Outcome:
    script = Script(directory(entry(DEBIT_AID)), application(), processing_options, *more)
    return conclude(Kernel(KernelConfiguration(**setup)).start(transaction), script.transmit)  # type: ignore[arg-type]


def session_key(atc: bytes) -> bytes:
    """The session key by pyemv's card key and the plain cipher: none of our own code."""
    card_key = pyemv.kd.derive_icc_mk_a(IMK, PAN, "01")
    block = bytes(6) + atc + bytes(6) + bytes(octet ^ 0xFF for octet in atc)
    return Cipher(TripleDES(card_key + card_key[:8]), modes.ECB()).encryptor().update(block)


def test_a_card_asks_its_issuer_and_the_cryptogram_is_right() -> None:
    card = chip()
    outcome = paid(card, interface_device_serial="FP000001")
    assert isinstance(outcome, OnlineRequest)
    assert (outcome.pan, outcome.track2) == (PAN, f"{PAN}=3012220")
    assert (outcome.expiry, outcome.sequence) == ("3012", "001")
    assert (outcome.cvm, outcome.aid, outcome.issuer_authentication) == (Cvm.NO_CVM, DEBIT_AID, True)
    chip_data = tlv.flat(outcome.field55)
    assert list(chip_data)[:14] == ALWAYS
    assert {"9F34", "9F35", "9F1E", "84", "9F09", "9F41"} == set(list(chip_data)[14:])
    assert len(outcome.field55) <= 255
    assert outcome.field55 == tlv.encode_all(chip_data)
    assert chip_data["9F27"] == b"\x80"
    assert chip_data["9F02"].hex() == "000000001250"
    assert chip_data["9F41"].hex() == "00000007"
    assert chip_data["9F1E"] == b"FP000001"
    covered = ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36")
    data = b"".join(chip_data[tag] for tag in covered) + chip_data["9F10"][3:7]
    key = session_key(chip_data["9F36"])
    assert pyemv.ac.generate_ac(key, data) == chip_data["9F26"]
    assert pyemv.ac.generate_ac(key, data[:-1] + b"\x01") != chip_data["9F26"]
    answer = pyemv.ac.generate_arpc_1(key, chip_data["9F26"], b"00") + b"00"
    assert check_external_authenticate(card.transmit(external_authenticate(answer)))


def test_a_changed_issuer_answer_is_refused_by_the_card() -> None:
    card = chip()
    outcome = paid(card)
    assert isinstance(outcome, OnlineRequest)
    chip_data = tlv.flat(outcome.field55)
    right = pyemv.ac.generate_arpc_1(session_key(chip_data["9F36"]), chip_data["9F26"], b"00") + b"00"
    wrong = right[:7] + bytes((right[7] ^ 1,)) + right[8:]
    assert not check_external_authenticate(card.transmit(external_authenticate(wrong)))
    assert not check_external_authenticate(card.transmit(external_authenticate(right))), "it is heard once"


@pytest.mark.parametrize("size", [0, 7, 17])
def test_issuer_data_that_no_card_takes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"8 to 16 bytes expected, {size} given"):
        external_authenticate(bytes(size))


@pytest.mark.parametrize("response", [b"", b"\x90", b"\x63\x00", b"\x90\x00\x00", b"\x00\x90\x00"])
def test_only_success_means_that_the_card_accepted(response: bytes) -> None:
    assert not check_external_authenticate(response)


@pytest.mark.parametrize(
    ("rule", "transaction", "setup", "cvm"),
    [
        (CvmRule.ABOVE_LIMIT, SALE, {}, Cvm.NO_CVM),
        (CvmRule.ABOVE_LIMIT, LARGE, {}, Cvm.ONLINE_PIN),
        (CvmRule.ABOVE_LIMIT, LARGE, {"cvm_limit": 100_001}, Cvm.ONLINE_PIN),
        (CvmRule.NEVER, LARGE, {"cvm_limit": 100_001}, Cvm.NO_CVM),
        (CvmRule.NEVER, LARGE, {}, None),
        (CvmRule.ABOVE_LIMIT, SALE, {"online_pin_always": True}, Cvm.ONLINE_PIN),
        (CvmRule.ABOVE_LIMIT, LARGE, {"online_pin": False}, Cvm.SIGNATURE),
        (CvmRule.ABOVE_LIMIT, LARGE, {"online_pin": False, "signature": False}, None),
        (CvmRule.ALWAYS, SALE, {}, Cvm.ONLINE_PIN),
        (CvmRule.ON_DEVICE, LARGE, {}, Cvm.CDCVM),
        (CvmRule.ON_DEVICE, SALE, {"online_pin_always": True}, Cvm.CDCVM),
        (CvmRule.ON_DEVICE, LARGE, {"cdcvm": False}, None),
    ],
)
def test_how_the_cardholder_is_verified(
    rule: CvmRule, transaction: TransactionData, setup: dict[str, object], cvm: Cvm | None
) -> None:
    outcome = paid(chip(rule), transaction, **setup)
    if cvm is None:
        assert isinstance(outcome, Declined)
        return
    assert isinstance(outcome, OnlineRequest)
    assert outcome.cvm is cvm
    results = {Cvm.NO_CVM: "1f0302", Cvm.SIGNATURE: "1e0300", Cvm.ONLINE_PIN: "020300", Cvm.CDCVM: "010002"}
    assert tlv.find(outcome.field55, "9F34") == bytes.fromhex(results[cvm])


@pytest.mark.parametrize(
    ("qualifiers", "transaction", "setup", "cvm"),
    [
        (None, SALE, {}, Cvm.NO_CVM),
        (None, LARGE, {}, Cvm.ONLINE_PIN),
        (None, LARGE, {"online_pin": False}, None),
        ("0000", LARGE, {}, None),
        ("8000", SALE, {"online_pin": False}, None),
        ("C000", SALE, {"online_pin": False}, Cvm.SIGNATURE),
        ("8080", SALE, {}, Cvm.ONLINE_PIN),
        ("4080", SALE, {}, Cvm.CDCVM),
        ("4000", SALE, {"signature": False}, None),
        ("4000", SALE, {"online_pin_always": True}, Cvm.ONLINE_PIN),
        ("0000", SALE, {"online_pin_always": True}, Cvm.ONLINE_PIN),
    ],
)
def test_verification_by_the_cards_qualifiers(
    qualifiers: str | None, transaction: TransactionData, setup: dict[str, object], cvm: Cvm | None
) -> None:
    outcome = answered(options(t9F6C=qualifiers), transaction=transaction, **setup)
    assert (outcome.cvm if isinstance(outcome, OnlineRequest) else None) is cvm
    assert isinstance(outcome, OnlineRequest | Declined)


OWN = ApplicationParameters(DEBIT_AID, contactless_limit=200_000, cvm_limit=500, floor_limit=5_000)


@pytest.mark.parametrize(
    ("transaction", "setup", "expected"),
    [
        # DOMAIN.md 4.6: verification above the limit, not at it
        ({"amount": 100_000}, {}, "26804000"),
        ({"amount": 100_001}, {}, "26C04000"),
        ({"amount": 1}, {"online_pin_always": True}, "26C04000"),
        ({"amount": 1}, {"online_pin": False}, "22804000"),
        ({"amount": 1}, {"signature": False, "cdcvm": False}, "24800000"),
        ({"amount": 1, "pin_required": True}, {}, "26C04000"),
        ({"amount": 1}, {"fdda": True}, "26804080"),
        # Book B, 3.1.1.6: an online cryptogram above the floor limit, not at it; and for all but plain purchases
        ({"amount": 5_000}, {"floor_limit": 5_000}, "26804000"),
        ({"amount": 5_000}, {"fdda": True, "offline": True, "floor_limit": 5_000}, "26004080"),
        ({"amount": 5_001}, {"fdda": True, "offline": True, "floor_limit": 5_000}, "26804080"),
        ({"amount": 1}, {"fdda": True, "offline": True}, "26804080"),
        ({"amount": 0}, {"fdda": True, "offline": True, "floor_limit": 5_000}, "26804080"),
        ({"amount": 1, "transaction_type": "01"}, {"fdda": True, "offline": True, "floor_limit": 9}, "26804080"),
        ({"amount": 2, "amount_other": 1}, {"fdda": True, "offline": True, "floor_limit": 9}, "26804080"),
        ({"amount": 1, "pin_required": True}, {"fdda": True, "offline": True, "floor_limit": 9}, "26C04080"),
        ({"amount": 9_999}, {"fdda": True, "offline": True, "online": False, "online_pin": False}, "2A004080"),
        # limits of the application's own
        ({"amount": 5_000}, {"fdda": True, "offline": True, "parameters": (OWN,)}, "26404080"),
        ({"amount": 5_001}, {"fdda": True, "offline": True, "parameters": (OWN,)}, "26C04080"),
        ({"amount": 5_000}, {"parameters": (ApplicationParameters(CREDIT_AID, cvm_limit=500),)}, "26804000"),
        ({"amount": 5_000}, {"parameters": (OWN, ApplicationParameters(DEBIT_AID[:6], cvm_limit=9_000))}, "26C04000"),
        ({"amount": 501}, {"parameters": (ApplicationParameters(DEBIT_AID[:6], cvm_limit=500),)}, "26C04000"),
    ],
)
def test_terminal_qualifiers(transaction: dict[str, object], setup: dict[str, object], expected: str) -> None:
    script = Script(directory(entry(DEBIT_AID)), application(pdol=b"\x9f\x66\x04"), b"\x6a\x80")
    data = TransactionData(date="260102", unpredictable_number=bytes(4), **transaction)  # type: ignore[arg-type]
    conclude(Kernel(KernelConfiguration(**setup)).start(data), script.transmit)  # type: ignore[arg-type]
    assert script.commands[2].hex().upper() == f"80A80000068304{expected}00"


@pytest.mark.parametrize(
    ("amount", "setup", "selected"),
    [
        (199_999, {"contactless_limit": 200_000}, [DEBIT_AID]),
        (200_000, {"contactless_limit": 200_000}, None),
        (
            200_000,
            {"contactless_limit": 200_000, "parameters": (ApplicationParameters(CREDIT_AID, 200_001),)},
            [CREDIT_AID],
        ),
        (200_000, {"parameters": (OWN,)}, [CREDIT_AID]),
        (200_000, {}, [DEBIT_AID]),
    ],
)
def test_an_amount_too_large_for_this_interface(
    amount: int, setup: dict[str, object], selected: list[bytes] | None
) -> None:
    """Book B, 3.1.1.5: from the limit on an application is not allowed, 3.1.1.13: none is, try another interface."""
    script = Script(directory(entry(DEBIT_AID, b"\x01"), entry(CREDIT_AID, b"\x02")), *[application()] * 2)
    kernel = Kernel(KernelConfiguration(**setup))  # type: ignore[arg-type]
    data = TransactionData(amount=amount, date="260102", unpredictable_number=bytes(4))
    assert kernel.preprocess(data) == (None if selected else TryAnotherInterface())
    tap = kernel.start(data)
    step = tap.step(script.transmit(tap.command))
    if selected is None:
        assert step == TryAnotherInterface()
    else:
        assert step == b"\x00\xa4\x04\x00\x08" + selected[0] + b"\x00"


def test_when_only_an_application_over_its_limit_is_in_common() -> None:
    kernel = Kernel(KernelConfiguration(parameters=(OWN,)))
    tap = kernel.start(TransactionData(amount=200_000, date="260102", unpredictable_number=bytes(4)))
    assert tap.step(directory(entry(DEBIT_AID))) == TryAnotherInterface()


@pytest.mark.parametrize(
    ("iad", "outcome"),
    [
        ("07010103B0000001", EndApplication("card verification results: reserved outcome")),
        ("06010103A0000001", EndApplication("issuer application data: begins 06, 07 expected")),
        ("07010104A0000001", EndApplication("card verification results: four bytes beginning 03 expected")),
        ("07010103A00000", EndApplication("issuer application data: 8 to 32 bytes expected, 7 given")),
    ],
)
def test_the_outcome_is_in_the_verification_results(iad: str, outcome: Outcome) -> None:
    assert answered(options(t9F10=iad)) == outcome


@pytest.mark.parametrize(
    ("iad", "reason", "information"),
    [
        ("0701010390000001", "the card approved offline, which this terminal does not accept", b"\x40"),
        ("0701010380000001", "the card declined", b"\x00"),
    ],
)
def test_a_decision_that_is_not_to_be_sent_is_kept_for_the_record(iad: str, reason: str, information: bytes) -> None:
    outcome = answered(options(t9F10=iad))
    assert isinstance(outcome, Declined)
    assert outcome.reason == reason
    assert outcome.field55 is not None
    assert tlv.find(outcome.field55, "9F27") == information
    assert list(tlv.flat(outcome.field55))[:14] == ALWAYS
    assert outcome.field55.hex() not in repr(outcome)


def test_the_pin_is_asked_for_when_the_issuer_wants_it_whatever_the_card_says() -> None:
    wanted = TransactionData(amount=1, date="260102", unpredictable_number=bytes(4), pin_required=True)
    for qualifiers in (None, "0000", "4000", "0080", "8000"):
        outcome = answered(options(t9F6C=qualifiers), transaction=wanted)
        assert isinstance(outcome, OnlineRequest)
        assert outcome.cvm is Cvm.ONLINE_PIN
    assert isinstance(answered(options(), transaction=wanted, online_pin=False), Declined)


@pytest.mark.parametrize(
    ("identifier", "taken"), [("", True), ("00", True), ("07", True), ("02", False), ("87", False), ("4707", False)]
)
def test_an_application_that_asks_for_another_kernel_is_passed_over(identifier: str, taken: bool) -> None:
    """Book B, 3.3.2.5: kernel identifier 9F2A."""
    asked = tlv.encode("61", tlv.encode("4F", DEBIT_AID) + tlv.encode("9F2A", bytes.fromhex(identifier)))
    script = Script(directory(asked), application(), options())
    outcome = conclude(Kernel(KernelConfiguration()).start(SALE), script.transmit)
    assert isinstance(outcome, OnlineRequest) if taken else outcome == EndApplication("no application in common")


@pytest.mark.parametrize("hot", [PAN, PAN[:-1] + "1"])
def test_a_stopped_card_is_declined_before_its_issuer_is_asked(hot: str) -> None:
    """EMV Book 4, 6.3.5."""
    kernel = Kernel(KernelConfiguration(), is_hot=frozenset({hot}).__contains__)
    outcome = conclude(kernel.start(SALE), chip().transmit)
    if hot == PAN:
        assert isinstance(outcome, Declined)
        assert outcome.reason == "the card is on the list of stopped cards"
    else:
        assert isinstance(outcome, OnlineRequest)


STATUS_WORDS = ["6283", "6300", "6400", "6700", "6982", "6984", "6985", "6986", "6A81", "6A82", "6A83", "6A86",
                "6A88", "6C10", "6110", "6D00", "6E00", "6F00", "9001", "0000", "FFFF"]  # fmt: skip


@pytest.mark.parametrize("status", STATUS_WORDS)
def test_every_status_word_at_every_command_ends_safely(status: str) -> None:
    card = chip()
    word = bytes.fromhex(status)
    kernel = Kernel(KernelConfiguration())

    def answering(count: int) -> Outcome:
        fresh = Script(directory(entry(DEBIT_AID)), application(), options())
        fresh.answers[count] = word
        return conclude(kernel.start(SALE), fresh.transmit)

    assert answering(0) == EndApplication("no directory of applications", status)
    assert answering(1) == EndApplication("no application left to try", status)
    refused = EndApplication("processing options refused", status)
    special = {
        "6984": TryAnotherInterface(),
        "6986": SeePhone(),
        "6985": EndApplication("no application left to try", "6985"),
    }
    assert answering(2) == special.get(status, refused)
    assert not check_external_authenticate(word)
    assert card.atc == 0


def test_favourites_come_first_and_an_application_that_will_not_gives_way_to_the_next() -> None:
    third = bytes.fromhex("A000000333010103")
    names = [
        entry(third),
        entry(CREDIT_AID, b"\x02"),
        entry(b"\xa0\x00\x00\x00\x04\x10\x10"),
        entry(DEBIT_AID, b"\x81"),
    ]
    script = Script(
        directory(*names),
        application(DEBIT_AID),
        b"\x69\x85",
        b"\x62\x83",
        application(third),
        options(),
    )
    outcome = conclude(Kernel(KernelConfiguration()).start(SALE), script.transmit)
    assert isinstance(outcome, OnlineRequest)
    assert outcome.aid == third
    asked = [command[5:-1] for command in script.commands if command[1] == 0xA4]
    assert asked == [b"2PAY.SYS.DDF01", DEBIT_AID, CREDIT_AID, third]


def test_a_longer_name_matches_by_its_beginning_and_no_other_does() -> None:
    longer = DEBIT_AID + b"\x01"
    script = Script(directory(entry(longer)), application(longer), options())
    outcome = conclude(Kernel(KernelConfiguration()).start(SALE), script.transmit)
    assert isinstance(outcome, OnlineRequest)
    assert tlv.find(outcome.field55, "84") == longer
    assert paid(chip(aid=CREDIT_AID), applications=(DEBIT_AID,)) == EndApplication("no application in common")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([b""], "answer of 0 bytes"),
        ([b"\x90"], "answer of 1 bytes"),
        ([bytes(257) + b"\x90\x00"], "answer of 259 bytes"),
        ([b"\x90\x00"], "answer is not a template 6F"),
        ([b"\x6f\x05\x90\x00"], "malformed answer: 6F cut short: 5 bytes announced, 0 there"),
        ([application()], "directory has another name"),
        ([fci(b"2PAY.SYS.DDF01", tlv.encode("88", b"\x01"))], "BF0C is missing"),
        ([directory()], "no application in common"),
        ([directory(tlv.encode("61", b""))], "no application in common"),
        ([directory(*[entry(DEBIT_AID)] * (entry_point.MAX_CANDIDATES + 1))], None),
        ([directory(entry(DEBIT_AID)), application(CREDIT_AID)], "84 is not the application selected"),
        ([directory(entry(DEBIT_AID)), fci(DEBIT_AID, b"")], "9F38 is missing"),
        ([directory(entry(DEBIT_AID)), application(pdol=b"\x9f\x37\x04")], "9F38 does not ask for 9F66"),
        ([directory(entry(DEBIT_AID)), application(pdol=b"\x9f\x66\x02")], "9F38 does not ask for 9F66"),
        ([directory(entry(DEBIT_AID)), application(pdol=b"\x9f\x66\x04\x9f")], "malformed answer: entry cut short"),
        ([directory(entry(DEBIT_AID)), application(pdol=b"\x9f\x66\x04\x9f\x37\xff")], None),
        ([directory(entry(DEBIT_AID)), application(), b"\x80\x06\x7c\x00\x08\x01\x01\x00\x90\x00"],
         "answer is not a template 77"),
    ],
)  # fmt: skip
def test_malformed_answers_end_the_tap_with_a_reason(answers: list[bytes], reason: str | None) -> None:
    outcome = conclude(Kernel(KernelConfiguration()).start(SALE), Script(*answers).transmit)
    assert isinstance(outcome, EndApplication)
    if reason is not None:
        assert outcome.reason == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"t82": None}, "82 is missing"),
        ({"t82": "7C"}, "82 is not 2 bytes"),
        ({"t9F36": None}, "9F36 is missing"),
        ({"t9F36": "000001"}, "9F36 is not 2 bytes"),
        ({"t9F26": None}, "9F26 is missing"),
        ({"t9F26": "01"}, "9F26 is not 8 bytes"),
        ({"t9F10": None}, "9F10 is missing"),
        ({"t9F6C": "80"}, "9F6C is not 2 bytes"),
        ({"t57": None}, "57 is missing"),
        ({"t57": f"{PAN}D3013220"}, "57 is not track 2 data"),
        ({"t57": f"{PAN}D30122"}, "57 is not track 2 data"),
        ({"t57": f"{PAN}D301222A"}, "57 is not track 2 data"),
        ({"t57": PAN}, "57 is not track 2 data"),
        ({"t57": f"{PAN}D3012220" + "1" * 14}, "57 is longer than 37 characters"),
        ({"t5A": "6228000100001001"}, "5A and 57 name two accounts"),
        ({"t5F24": "301131"}, "5F24 and 57 expire at two times"),
        ({"t5F34": "0001"}, "5F34 is not two digits"),
        ({"t5F34": "0A"}, "5F34 is not two digits"),
        ({"t9F63": "00" * 124}, "chip data longer than 255 bytes"),
    ],
)
def test_unsound_processing_options_end_the_tap(changes: dict[str, str | None], reason: str) -> None:
    assert answered(options(**changes)) == EndApplication(reason)


def test_optional_objects() -> None:
    outcome = answered(options(t5F34=None, t5A=PAN, t5F24="301231", t9F63="00" * 16, t57=f"{PAN}D30122201F"))
    assert isinstance(outcome, OnlineRequest)
    assert outcome.sequence is None
    assert outcome.track2 == f"{PAN}=30122201"
    assert tlv.find(outcome.field55, "9F63") == bytes(16)
    assert set(tlv.flat(outcome.field55)) <= TAGS.keys()


RECORD = tlv.encode("70", tlv.encode("57", OPTIONS["57"]) + tlv.encode("5F24", bytes.fromhex("301231"))) + b"\x90\x00"


def test_records_are_read_when_the_options_lack_the_track() -> None:
    outcome = answered(options(t57=None, t94="08010200"), RECORD, RECORD)
    assert isinstance(outcome, OnlineRequest)
    assert outcome.pan == PAN


@pytest.mark.parametrize(
    ("locator", "records", "reason", "status"),
    [
        ("", [], "94 is not a multiple of 4 bytes", None),
        ("080101", [], "94 is not a multiple of 4 bytes", None),
        ("09010100", [], "94 names a record that cannot be", None),
        ("00010100", [], "94 names a record that cannot be", None),
        ("F8010100", [], "94 names a record that cannot be", None),
        ("08000100", [], "94 names a record that cannot be", None),
        ("08020100", [], "94 names a record that cannot be", None),
        ("0801FF00", [], "94 names more than 16 records", None),
        ("08010102", [], "94 has more signed records than records", None),
        ("0801091000", [], "94 is not a multiple of 4 bytes", None),
        ("08010100", [b"\x6a\x83"], "a record cannot be read", "6A83"),
        ("08010100", [b"\x70\x00\x90\x00"], "57 is missing", None),
        ("08010100", [b"\x61\x00\x90\x00"], "answer is not a template 70", None),
        ("08010100", [tlv.encode("70", tlv.encode("9F36", b"\x00\x02")) + b"\x90\x00"], "9F36 has two values", None),
    ],
)
def test_unsound_records_end_the_tap(locator: str, records: list[bytes], reason: str, status: str | None) -> None:
    assert answered(options(t57=None, t94=locator), *records) == EndApplication(reason, status)


def test_a_tap_that_has_ended_is_not_driven_on() -> None:
    tap = Kernel(KernelConfiguration()).start(SALE)
    tap.step(b"\x6a\x82")
    with pytest.raises(TapEnded):
        tap.step(b"\x90\x00")


def test_a_card_that_leaves_is_asked_for_again_and_an_outcome_stands() -> None:
    kernel = Kernel(KernelConfiguration())
    tap = kernel.start(SALE)
    tap.step(directory(entry(DEBIT_AID)))
    assert tap.card_gone() == TryAgain("the card left the field")
    with pytest.raises(TapEnded):
        tap.step(application())
    ended = kernel.start(SALE)
    outcome = ended.step(b"\x6a\x82")
    assert ended.card_gone() is outcome


def test_taps_of_one_kernel_do_not_disturb_each_other() -> None:
    kernel = Kernel(KernelConfiguration())
    first, second = kernel.start(SALE), kernel.start(LARGE)
    cards = chip(), chip()
    commands: list[bytes] = [first.command, second.command]
    for _ in range(3):
        answers = [tap.step(card.transmit(c)) for tap, card, c in zip((first, second), cards, commands, strict=True)]
        commands = [answer for answer in answers if isinstance(answer, bytes)]
    requests = [outcome for outcome in (first.outcome, second.outcome) if isinstance(outcome, OnlineRequest)]
    assert [request.cvm for request in requests] == [Cvm.NO_CVM, Cvm.ONLINE_PIN]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount": -1}, "amount"),
        ({"amount": 10**12}, "amount"),
        ({"amount_other": 1251}, "amount"),
        ({"date": "2601"}, "date"),
        ({"date": "26010A"}, "date"),
        ({"currency": "CNY"}, "currency"),
        ({"transaction_type": "0"}, "transaction_type"),
        ({"terminal_country": "0156"}, "terminal_country"),
        ({"unpredictable_number": bytes(3)}, "unpredictable_number"),
        ({"sequence_counter": 10**8}, "sequence_counter"),
    ],
)
def test_bad_transaction_data_are_refused(changes: dict[str, object], reason: str) -> None:
    values: dict[str, object] = {"amount": 1250, "date": "260102", "unpredictable_number": bytes(4)}
    with pytest.raises(ValueError, match=reason):
        TransactionData(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"applications": ()}, "applications"),
        ({"applications": (b"\xa0",)}, "applications"),
        ({"cvm_limit": -1}, "cvm_limit"),
        ({"online_pin": False, "online_pin_always": True}, "online_pin_always"),
        ({"offline": True}, "offline: needs fdda"),
        ({"online": False}, "online_pin: the terminal is not online"),
        ({"online": False, "online_pin": False}, "online: a terminal is online, offline or both"),
        ({"floor_limit": -1}, "floor_limit"),
        ({"contactless_limit": 10**12}, "contactless_limit"),
        ({"parameters": (ApplicationParameters(b"1"),)}, "parameters: an identifier is 5 to 16 bytes"),
        ({"parameters": (OWN, OWN)}, "parameters: A000000333010101 is there twice"),
        ({"parameters": (ApplicationParameters(DEBIT_AID, cvm_limit=-1),)}, "cvm_limit"),
        ({"application_versions": ("30",)}, "application_versions"),
        ({"interface_device_serial": "1234567"}, "interface_device_serial"),
        ({"terminal_type": "2"}, "terminal_type"),
        ({"terminal_capabilities": "00680"}, "terminal_capabilities"),
        ({"application_version": "00XX"}, "application_version"),
    ],
)
def test_bad_configuration_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        KernelConfiguration(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setup", "kind", "capabilities"),
    [
        ({}, "21", "006800"),
        ({"fdda": True, "offline": True}, "22", "006840"),
        ({"fdda": True, "offline": True, "online": False, "online_pin": False}, "23", "002840"),
        ({"signature": False, "terminal_type": "24"}, "24", "004800"),
        ({"terminal_capabilities": "E0F8C8"}, "21", "E0F8C8"),
    ],
)
def test_terminal_type_and_capabilities(setup: dict[str, object], kind: str, capabilities: str) -> None:
    """EMV Book 4, Annex A1 and A2."""
    tags = KernelConfiguration(**setup).terminal_tags  # type: ignore[arg-type]
    assert (tags["9F35"].hex(), tags["9F33"].hex().upper()) == (kind, capabilities)


def test_a_repr_shows_no_account_number() -> None:
    outcome = paid(chip())
    assert repr(outcome) == "OnlineRequest(pan=622800******1000, cvm=NO_CVM, aid=A000000333010101)"


def test_a_virtual_reader_carries_and_records_masked() -> None:
    log: list[Exchange] = []
    reader = VirtualReader(log=log)
    tap = Kernel(KernelConfiguration()).start(SALE)
    assert not reader.present
    with pytest.raises(CardGone):
        reader.transmit(tap.command)
    reader.hold(chip())
    assert reader.present
    assert isinstance(conclude(tap, reader.transmit), OnlineRequest)
    assert [exchange.command[1] for exchange in log] == [0xA4, 0xA4, 0xA8]
    shown = "\n".join([repr(log), *log[2].describe()])
    assert "622800******1000" in shown
    assert PAN not in shown
    assert PAN.encode().hex() not in shown
    reader.remove()
    with pytest.raises(CardGone):
        reader.transmit(tap.command)


SOUND = [directory(entry(DEBIT_AID)), application(), options(), RECORD]


@st.composite
def disturbed(draw: st.DrawFn) -> bytes:
    """An answer of a sound card with some of it changed, dropped or put in twice."""
    answer = bytearray(draw(st.sampled_from([*SOUND, options(t57=None, t94="08010200")])))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, max(len(answer) - 1, 0)))
        match draw(st.integers(0, 2)):
            case 0 if answer:
                answer[place] = draw(st.integers(0, 255))
            case 1:
                del answer[place : place + draw(st.integers(1, 20))]
            case _:
                answer[place:place] = answer[place : place + draw(st.integers(1, 20))]
    return bytes(answer)


@settings(max_examples=400, deadline=None)
@given(st.data(), st.integers(0, 3))
def test_whatever_a_card_answers_a_tap_ends_with_an_outcome(data: st.DataObject, sound: int) -> None:
    tap = Kernel(KernelConfiguration()).start(SALE)
    answer: bytes | Outcome = tap.command
    for count in range(60):
        if not isinstance(answer, bytes):
            break
        response = SOUND[count] if count < sound else data.draw(st.one_of(disturbed(), st.binary(max_size=60)))
        answer = tap.step(response)
    assert tap.outcome is answer
    assert isinstance(answer, OnlineRequest | Declined | TryAnotherInterface | SeePhone | TryAgain | EndApplication)
    if isinstance(answer, OnlineRequest):
        assert list(tlv.flat(answer.field55))[:14] == ALWAYS
