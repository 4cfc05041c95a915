"""Cards that prove themselves and pay by themselves: certificates, fDDA, electronic cash, torn payments."""

from __future__ import annotations

from dataclasses import replace

import pyemv.ac
import pyemv.kd
import pytest
from card_bed import (
    BOTH_TTQ,
    CHIP_MODULE,
    IMK,
    IMK_HANDLE,
    OFFLINE_TTQ,
    ONLINE_TTQ,
    PAN,
    PLAIN_TTQ,
    authenticate,
    card_rsa,
    cash_profile,
    certified,
    chip_of,
    data_of,
    get_data,
    good,
    options_of,
    processing_options,
    read_all,
    read_record,
    select,
)
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from hypothesis import given
from hypothesis import strategies as st

from issuer.applet import ChipCard, TransactionCounter
from issuer.card_application import (
    DEBIT_AID,
    ELECTRONIC_CASH_AID,
    AuthenticationFailure,
    CvmRule,
    ElectronicCash,
    OfflineAuthentication,
    Personalisation,
)
from network.emv import IssuerApplicationData, tlv

# The oracle, pyemv, still makes its ciphers the old way.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

CASH = ELECTRONIC_CASH_AID


def outcome(options: dict[str, bytes]) -> str:
    return IssuerApplicationData.parse(options["9F10"]).cvr.outcome.name


def chain_of(profile: Personalisation) -> OfflineAuthentication:
    assert profile.offline_authentication is not None
    return profile.offline_authentication


@pytest.mark.parametrize(
    ("bits", "records_read", "in_options"), [(1024, 4, True), (1040, 4, False), (1152, 4, False), (1408, 4, False)]
)
def test_an_offline_payment_from_first_to_last(bits: int, records_read: int, in_options: bool) -> None:
    chip = chip_of(cash_profile(bits=bits))
    options = options_of(chip, CASH)
    expected = {"82", "94", "9F36", "57", "9F26", "9F10", "5F34", "9F6C", "9F5D"}
    assert options.keys() == expected | ({"9F4B"} if in_options else set())
    assert options["82"] == b"\x3c\x00"
    assert options["94"].hex() == "1001020118010200"
    assert outcome(options) == "TC"
    read = read_all(chip, options["94"])
    assert len(read.sizes) == records_read
    assert len(read.signed) == 1
    assert read.objects.keys() >= {
        "5A",
        "5F24",
        "5F25",
        "5F28",
        "9F07",
        "9F4A",
        "8F",
        "9F32",
        "90",
        "9F47",
        "9F46",
        "9F69",
    }
    assert ("9F4B" in read.objects) is not in_options
    authenticate(read.objects | options, read.signed, 1250)


@pytest.mark.parametrize("bits", [1904, 1920, 1984])
def test_a_long_signature_gets_a_record_of_its_own(bits: int) -> None:
    from card_bed import ISSUER_MODULE, issuer_certificate

    from issuer.certification import certify_card

    issuer = issuer_certificate(bits=1984)
    profile = certify_card(ISSUER_MODULE, issuer, Personalisation(PAN, "3012"), card_rsa(bits), serial=1)
    chip = chip_of(replace(profile, electronic_cash=ElectronicCash(5_000)))
    options = options_of(chip, DEBIT_AID)
    more = bits > 1904
    assert options["94"].hex() == ("1001020118010300" if more else "1001020118010200")
    assert chip.transmit(read_record(3, 2))[-2:] == b"\x90\x00"
    assert chip.balance == (5_000 if more else 3_750), "the last record is what pays"
    read = read_all(chip, options["94"])
    assert max(read.sizes) <= 258
    authenticate(read.objects | options, read.signed, 1250)
    assert chip.balance == 3_750


def test_the_tc_is_the_one_an_independent_library_computes() -> None:
    options = options_of(chip_of(cash_profile()), CASH, amount=98_00)
    card_key = pyemv.kd.derive_icc_mk_a(IMK, PAN, "01")
    block = bytes(6) + b"\x00\x01" + bytes(6) + b"\xff\xfe"
    session = Cipher(TripleDES(card_key + card_key[:8]), modes.ECB()).encryptor().update(block)
    data = bytes.fromhex("000000009800000000000000015600000000000156260102001E78EEBC3C000001")
    assert options["9F10"].hex() == "0701010390000001"
    assert options["9F26"] == pyemv.ac.generate_ac(session, data + options["9F10"][3:7])


@pytest.mark.parametrize(
    ("terminal", "balance", "expected"),
    [
        ({"amount": 30_000}, 50_000, "TC"),
        ({"amount": 29_999}, 50_000, "TC"),
        ({"amount": 30_001}, 50_000, "ARQC"),
        ({"amount": 30_001, "ttq": OFFLINE_TTQ}, 50_000, "AAC"),
        ({"amount": 20_000}, 20_000, "TC"),
        ({"amount": 20_001}, 20_000, "ARQC"),
        ({"amount": 20_001, "ttq": OFFLINE_TTQ}, 20_000, "AAC"),
        ({"amount": 1}, 0, "ARQC"),
        ({"amount": 0}, 50_000, "ARQC"),
        ({"amount": 0, "ttq": OFFLINE_TTQ}, 50_000, "AAC"),
        ({"amount": 1, "ttq": OFFLINE_TTQ}, 50_000, "TC"),
        ({"amount": 1, "ttq": ONLINE_TTQ}, 50_000, "ARQC"),
        ({"amount": 1, "ttq": PLAIN_TTQ}, 50_000, "ARQC"),
        ({"amount": 1, "ttq": "26004000"}, 50_000, "ARQC"),
        ({"amount": 1, "ttq": "2E004000"}, 50_000, "AAC"),
        ({"amount": 1, "currency": "0344"}, 50_000, "ARQC"),
        ({"amount": 1, "transaction_type": "01"}, 50_000, "ARQC"),
        ({"amount": 1, "transaction_type": "20"}, 50_000, "ARQC"),
        ({"amount": 1, "transaction_type": "31"}, 50_000, "ARQC"),
        ({"amount": 100, "other": 1}, 50_000, "ARQC"),
        # the reader wants its holder verified: the PIN goes online, a signature does not
        ({"amount": 1, "ttq": "26404080"}, 50_000, "ARQC"),
        ({"amount": 1, "ttq": "22404080"}, 50_000, "TC"),
        ({"amount": 1, "ttq": "2E404080"}, 50_000, "AAC"),
        ({"amount": 1, "ttq": "2A404080"}, 50_000, "TC"),
        ({"amount": 1, "ttq": "20404080"}, 50_000, "AAC"),
    ],
)
def test_when_a_card_pays_by_itself(terminal: dict[str, object], balance: int, expected: str) -> None:
    chip = chip_of(cash_profile(balance, single=30_000))
    options = options_of(chip, CASH, **terminal)
    assert outcome(options) == expected
    amount = int(str(terminal["amount"]))
    paid = amount if expected == "TC" else 0
    assert int(options["9F5D"].hex()) == balance - paid
    assert chip.balance == balance, "nothing is taken before the last record is read"
    assert ("94" in options) is (expected == "TC")
    if expected == "TC":
        read = read_all(chip, options["94"])
        authenticate(read.objects | options, read.signed, amount)
    answer = chip.transmit(bytes.fromhex("008200000A" + "00" * 10))
    assert answer == (b"\x63\x00" if expected == "ARQC" else b"\x69\x85")
    assert chip.balance == balance - paid


def test_a_holder_verified_on_a_device_of_theirs_may_pay_offline() -> None:
    options = options_of(chip_of(cash_profile(cvm_rule=CvmRule.ON_DEVICE)), CASH, ttq="26404080")
    assert (outcome(options), options["9F6C"].hex()) == ("TC", "0080")


@pytest.mark.parametrize(
    ("online_too", "ttq", "is_signed"),
    [(True, "26804080", True), (True, "26804000", False), (False, "26804080", False), (True, "2E804080", False)],
)
def test_online_payments_are_signed_where_profile_and_reader_want_it(
    online_too: bool, ttq: str, is_signed: bool
) -> None:
    chip = chip_of(certified(online_too=online_too))
    options = options_of(chip, DEBIT_AID, ttq=ttq)
    assert outcome(options) == ("AAC" if ttq.startswith("2E") else "ARQC")
    assert options["82"] == b"\x3c\x00"
    assert "9F5D" not in options
    assert ("94" in options) is is_signed
    if is_signed:
        read = read_all(chip, options["94"])
        authenticate(read.objects | options, read.signed, 1250)
    else:
        assert chip.transmit(read_record(3, 2)) == b"\x6a\x83"


@pytest.mark.parametrize(
    ("on_failure", "first"),
    [
        (AuthenticationFailure.DECLINE, "00"),
        (AuthenticationFailure.GO_ONLINE, "20"),
        (AuthenticationFailure.OTHER_INTERFACE, "10"),
    ],
)
def test_the_card_says_what_to_do_when_it_is_found_wrong(on_failure: AuthenticationFailure, first: str) -> None:
    profile = cash_profile()
    profile = replace(profile, offline_authentication=replace(chain_of(profile), on_failure=on_failure))
    chip = chip_of(profile)
    options = options_of(chip, CASH)
    assert options["9F6C"].hex() == first + "00"
    authenticate(read_all(chip, options["94"]).objects | options, read_all(chip, options["94"]).signed, 1250)
    assert options_of(chip, CASH, ttq=PLAIN_TTQ)["9F6C"].hex() == "0000", (
        "nothing is found wrong where nothing is checked"
    )


def test_each_payment_is_signed_anew() -> None:
    chip = chip_of(cash_profile())
    seen = set()
    for number in range(1, 6):
        options = options_of(chip, CASH, amount=10)
        read = read_all(chip, options["94"])
        authenticate(read.objects | options, read.signed, 10)
        seen.add((read.objects["9F69"], read.objects["9F4B"]))
        assert (chip.atc, chip.balance) == (number, 50_000 - 10 * number)
    assert len(seen) == 5


def test_a_card_without_certificates_says_nothing_of_them() -> None:
    chip = chip_of(Personalisation(PAN, "3012"))
    for command, expected in (
        (
            select(b"2PAY.SYS.DDF01"),
            "6F34840E325041592E5359532E4444463031A522BF0C1F611D4F08A000000333010101500E556E696F6E5061792044656269"
            "74870101",
        ),
        (
            select(DEBIT_AID),
            "6F3A8408A000000333010101A52E500E556E696F6E5061792044656269748701019F38189F66049F02069F03069F1A029505"
            "5F2A029A039C019F3704",
        ),
        (
            processing_options(ttq="26804080"),
            "773682021C00570C6228480000000001D30122205F3401019F6C0200009F100807010103A00000019F2608EB01413FA80F5E"
            "299F36020001",
        ),
        (read_record(1, 1), "700E570C6228480000000001D3012220"),
        (read_record(2, 1), "70195A0862284800000000015F24033012315F3401015F28020156"),
    ):
        assert good(chip.transmit(command)).hex().upper() == expected
    assert chip.transmit(read_record(3, 1)) == b"\x6a\x82"
    assert chip.transmit(read_record(2, 2)) == b"\x6a\x83"
    for tag in ("9F79", "9F5D", "9F77", "9F78"):
        assert chip.transmit(get_data(tag)) == b"\x6a\x88"
    assert chip.balance is None


def test_what_get_data_tells_of_electronic_cash() -> None:
    chip = chip_of(cash_profile(12_345, single=20_000), atc=7)
    assert chip.transmit(get_data("9F79")) == b"\x69\x85", "no application is selected"
    good(chip.transmit(select(CASH)))
    told = {tag: data_of(chip, tag) for tag in ("9F79", "9F5D", "9F77", "9F78", "9F36")}
    assert told == {"9F79": 12_345, "9F5D": 12_345, "9F77": 100_000, "9F78": 20_000, "9F36": 7}


# Where a payment is torn: after how many commands (1 the options, then the four records), and is the last answer lost?
TORN = [(place, is_lost) for place in range(1, 6) for is_lost in (False, True)]


@pytest.mark.parametrize(("place", "is_lost"), TORN)
def test_a_torn_payment_can_be_finished_and_is_paid_once(place: int, is_lost: bool) -> None:
    chip = chip_of(cash_profile(bits=1152))
    good(chip.transmit(select(CASH)))
    commands = [processing_options(), *(read_record(*record) for record in ((2, 1), (2, 2), (3, 1), (3, 2)))]
    heard = [chip.transmit(command) for command in commands[:place]]
    before = heard[: place - 1] if is_lost else heard
    assert chip.balance == (50_000 if place < 5 else 48_750), "pulled out before the last record it has paid nothing"
    chip.reset()
    assert chip.transmit(read_record(2, 1)) == b"\x69\x85"
    good(chip.transmit(select(CASH)))
    assert data_of(chip, "9F36") == 1
    assert data_of(chip, "9F79") == chip.balance
    if not before:
        return
    options = tlv.flat(tlv.flat(good(before[0]))["77"])
    first, second = (read_all(chip, options["94"]) for _ in range(2))
    assert first == second
    authenticate(first.objects | options, first.signed, 1250)
    assert (chip.balance, chip.atc) == (48_750, 1), "taken once, however often it is read"


@pytest.mark.parametrize("ttq", [BOTH_TTQ, ONLINE_TTQ, PLAIN_TTQ])
def test_the_next_payment_forgets_a_torn_one(ttq: str) -> None:
    chip = chip_of(cash_profile())
    torn = options_of(chip, CASH, amount=700)
    chip.reset()
    following = options_of(chip, CASH, amount=500, ttq=ttq)
    is_offline = outcome(following) == "TC"
    for number in (1, 2):
        chip.transmit(read_record(3, number))
    assert chip.balance == 50_000 - (500 if is_offline else 0)
    assert torn["9F36"] != following["9F36"]
    assert chip.transmit(read_record(3, 2))[-2:] == (b"\x90\x00" if is_offline else b"\x6a\x83")


def test_a_refused_command_changes_nothing_of_a_torn_payment() -> None:
    chip = chip_of(cash_profile())
    options_of(chip, CASH, amount=700)
    chip.reset()
    good(chip.transmit(select(CASH)))
    for wrong in (processing_options(ttq="06004080"), processing_options()[:-1] + b"\x01\x02", b"\x80\xa8\x01\x00\x00"):
        assert chip.transmit(wrong)[-2:] != b"\x90\x00"
    good(chip.transmit(read_record(3, 2)))
    assert chip.balance == 49_300


def test_cash_is_loaded_up_to_the_limit() -> None:
    chip = chip_of(cash_profile(0))
    assert outcome(options_of(chip, CASH, amount=100)) == "ARQC"
    chip.load(100_000)
    assert outcome(options_of(chip, CASH, amount=100)) == "TC"
    for amount in (1, 0, -1):
        with pytest.raises(ValueError, match="limit"):
            chip.load(amount)
    assert chip.balance == 100_000
    with pytest.raises(ValueError, match="no electronic cash"):
        chip_of(certified()).load(1)


def test_a_card_goes_on_with_the_balance_and_count_it_had() -> None:
    chip = chip_of(cash_profile(50_000), atc=41, balance=1_250)
    options = options_of(chip, CASH)
    assert (options["9F36"], options["9F5D"]) == (b"\x00\x2a", bytes(6))
    read_all(chip, options["94"])
    assert chip.balance == 0
    assert outcome(options_of(chip, CASH)) == "ARQC"


@given(st.lists(st.tuples(st.integers(0, 30_000), st.booleans(), st.booleans()), max_size=12))
def test_what_is_on_the_card_and_what_it_paid_is_what_was_on_it(payments: list[tuple[int, bool, bool]]) -> None:
    chip = chip_of(cash_profile(80_000, single=20_000))
    paid = 0
    for amount, is_read, is_torn in payments:
        options = options_of(chip, CASH, amount=amount)
        if is_torn:
            chip.reset()
            good(chip.transmit(select(CASH)))
        if is_read and outcome(options) == "TC":
            paid += amount
            for _ in range(2):
                read_all(chip, options["94"])
        assert chip.balance == 80_000 - paid
        assert chip.balance >= 0


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: replace(Personalisation(PAN, "3012"), electronic_cash=ElectronicCash(1)), "offline_authentication"),
        (lambda: ElectronicCash(-1), "balance"),
        (lambda: ElectronicCash(2, 1), "balance"),
        (lambda: ElectronicCash(1, 10**12), "balance"),
        (lambda: ElectronicCash(1, 1, -1), "single_limit"),
        (lambda: Personalisation(PAN, "3012", priority=0), "priority"),
        (lambda: Personalisation(PAN, "3012", priority=16), "priority"),
        (lambda: Personalisation(PAN, "3012", effective="250229"), "effective"),
        (lambda: Personalisation(PAN, "3012", effective="2501"), "effective"),
        (lambda: Personalisation(PAN, "3012", usage_control=b"\xff"), "usage_control"),
        (lambda: TransactionCounter(65_536), "atc"),
        (lambda: chip_of(cash_profile(), balance=100_001), "balance"),
        (lambda: chip_of(certified(), balance=1), "balance"),
    ],
)
def test_cards_that_cannot_be(build: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build()  # type: ignore[operator]


def test_a_card_whose_key_is_not_certified_is_not_made() -> None:
    profile = certified()
    profile = replace(profile, offline_authentication=replace(chain_of(profile), certificate=b""))
    with pytest.raises(ValueError, match="not been certified"):
        ChipCard(profile, CHIP_MODULE, CHIP_MODULE.derive_card_key(IMK_HANDLE, PAN, "001"))


def test_personalisation_is_written_down_and_read_again() -> None:
    for profile in (Personalisation(PAN, "3012"), certified(online_too=True), cash_profile()):
        assert Personalisation.from_json(profile.as_json()) == profile


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pan": "62284800000000x1"}, "pan"),
        ({"colour": "red"}, "colour"),
        ({"aid": "A0zz"}, "aid"),
        ({"electronic_cash": {"balance": "much"}}, "electronic_cash"),
        ({"offline_authentication": {"ca_index": 1}}, "offline_authentication.certificate|issuer_certificate"),
        ({"cvm_rule": "perhaps"}, "cvm_rule"),
    ],
)
def test_what_is_read_is_checked_and_not_shown(changes: dict[str, object], named: str) -> None:
    content = cash_profile().as_json() | changes  # type: ignore[operator]
    with pytest.raises(ValueError, match=named) as caught:
        Personalisation.from_json(content)
    assert "62284800" not in str(caught.value)


def test_nothing_secret_is_shown() -> None:
    profile = cash_profile()
    shown = repr(profile) + repr(chip_of(profile)) + repr(profile.offline_authentication)
    assert PAN not in shown
    assert chain_of(profile).key.block not in shown


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [select(CASH), processing_options(), read_record(3, 2), read_record(2, 2), get_data("9F79")]
            ),
        ),
        max_size=8,
    )
)
def test_any_bytes_are_answered_with_a_status_word(commands: list[bytes]) -> None:
    chip = chip_of(cash_profile())
    for command in commands:
        response = chip.transmit(command)
        assert 2 <= len(response) <= 258
        assert response[-2] in (0x63, 0x67, 0x69, 0x6A, 0x6D, 0x6E, 0x90)
    assert chip.balance in (50_000, *(50_000 - 1_250 * count for count in range(1, 9)))
