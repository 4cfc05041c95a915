"""The kernel and the issuer's chip: certificates that one made and the other recovers, and every fault of a card."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pyemv.ac
import pyemv.kd
import pyemv.tools
import pytest

from issuer.applet import ChipCard
from issuer.card_application import (
    CREDIT_AID,
    ELECTRONIC_CASH_AID,
    AuthenticationFailure,
    ElectronicCash,
    Personalisation,
)
from issuer.certification import certify_card, enrol_issuer, found_authority
from issuer.faulty_card import FAULTS, FaultyCard, Lost, torn
from merchant_device.kernel import (
    ApprovedOffline,
    Declined,
    EndApplication,
    Kernel,
    KernelConfiguration,
    OnlineRequest,
    Outcome,
    SeePhone,
    Torn,
    TransactionData,
    TryAgain,
    TryAnotherInterface,
    check_external_authenticate,
    external_authenticate,
)
from network.emv import tlv
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule

# The oracle, pyemv, still makes its ciphers the old way.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

PAN = "6228480000000001"
MODULE = SecurityModule(bytes(range(32)), random.Random(31))
IMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
AUTHORITY = found_authority(MODULE, index=0xF1, expiry="3512", bits=1408)
CA_KEYS = {(AUTHORITY.rid, AUTHORITY.index): AUTHORITY.public_key}
ISSUER = enrol_issuer(MODULE, AUTHORITY, "622848", expiry="3412", serial=1, bits=1152)
KERNEL = Kernel(KernelConfiguration(fdda=True, offline=True, floor_limit=20_000), CA_KEYS)
LONG_KEY, SHORT_KEY = MODULE.generate_rsa(1152), MODULE.generate_rsa(1024)


def card_key() -> KeyHandle:
    imk = MODULE.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, IMK)
    return MODULE.derive_card_key(imk, PAN, "001")


def chip(
    *,
    cash: int | None = 50_000,
    is_short: bool = False,
    online_too: bool = True,
    on_failure: AuthenticationFailure = AuthenticationFailure.DECLINE,
    certified_pan: str | None = None,
    expiry: str | None = None,
) -> ChipCard:
    aid = CREDIT_AID if cash is None else ELECTRONIC_CASH_AID
    written = certify_card(
        MODULE,
        ISSUER,
        Personalisation(PAN, "3012", aid=aid, effective="250101", usage_control=b"\x29\x00"),
        SHORT_KEY if is_short else LONG_KEY,
        serial=7,
        online_too=online_too,
        on_failure=on_failure,
        pan=certified_pan,
        expiry=expiry,
    )
    if cash is not None:
        written = replace(written, electronic_cash=ElectronicCash(cash, 100_000, 100_000))
    return ChipCard(written, MODULE, card_key())


def transaction(amount: int = 1250, number: int = 1) -> TransactionData:
    return TransactionData(amount=amount, date="260102", unpredictable_number=number.to_bytes(4, "big"))


def tapped(card: ChipCard | FaultyCard, data: TransactionData, before: Torn | None = None) -> Outcome:
    tap = KERNEL.start(data, before)
    command = tap.command
    for _ in range(60):
        answer = card.transmit(command)
        step = tap.step(answer) if answer else tap.card_gone()
        if not isinstance(step, bytes):
            return step
        command = step
    raise AssertionError("a tap that never ends")


@pytest.mark.parametrize("is_short", [True, False])
def test_electronic_cash_is_paid_offline_until_it_is_spent(is_short: bool) -> None:
    card = chip(cash=3_000, is_short=is_short)
    for left in (1_750, 500):
        outcome = tapped(card, transaction(number=left))
        assert isinstance(outcome, ApprovedOffline)
        assert outcome.balance == left
        assert card.balance == left
    outcome = tapped(card, transaction())
    assert isinstance(outcome, OnlineRequest), "not enough is left: the issuer is asked"
    assert outcome.oda == "good"
    assert card.balance == 500


def test_above_the_floor_limit_the_issuer_is_asked() -> None:
    card = chip()
    assert isinstance(tapped(card, transaction(20_000)), ApprovedOffline)
    assert isinstance(tapped(card, transaction(20_001)), OnlineRequest)


def test_the_transaction_certificate_is_right() -> None:
    outcome = tapped(chip(), transaction())
    assert isinstance(outcome, ApprovedOffline)
    values = tlv.flat(outcome.field55)
    udk = pyemv.kd.derive_icc_mk_a(IMK, PAN, "01")
    atc = values["9F36"]
    key = pyemv.tools.encrypt_tdes_ecb(udk, bytes(6) + atc + bytes(6) + bytes(octet ^ 0xFF for octet in atc))
    covered = ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36")
    data = b"".join(values[tag] for tag in covered) + values["9F10"][3:7]
    assert pyemv.ac.generate_ac(key, data) == values["9F26"]
    assert values["9F27"] == b"\x40"


@pytest.mark.parametrize("is_short", [True, False])
def test_online_payments_are_authenticated_too_and_the_issuers_answer_is_checked(is_short: bool) -> None:
    card = chip(cash=None, is_short=is_short)
    outcome = tapped(card, transaction())
    assert isinstance(outcome, OnlineRequest)
    assert outcome.oda == "good"
    assert outcome.issuer_authentication
    assert not check_external_authenticate(card.transmit(external_authenticate(bytes(8) + b"00")))


# Electronic cash at a terminal that takes it: what each fault of `issuer.faulty_card` ends in.
ENDS: Mapping[str, type[Outcome]] = {
    "other_interface": TryAnotherInterface,
    "see_phone": SeePhone,
    "slow": ApprovedOffline,
    "wrong_cryptogram": ApprovedOffline,  # only the issuer can tell
    "wrong_issuer_certificate": Declined,
    "wrong_issuer_hash": Declined,
    "wrong_card_certificate": Declined,
    "wrong_card_hash": Declined,
    "wrong_signature": Declined,
    "wrong_signature_hash": Declined,
    "unknown_authority": Declined,
    "other_account_certified": Declined,
    "certificate_expired": Declined,
    "issuer_refused": ApprovedOffline,  # is not asked
}


@pytest.mark.parametrize("name", FAULTS)
def test_how_a_faulty_card_ends(name: str) -> None:
    fault = FAULTS[name]
    card = FaultyCard(chip(certified_pan=fault.certified_pan(PAN), expiry=fault.certificate_expiry), fault)
    outcome = tapped(card, transaction())
    assert isinstance(outcome, ENDS.get(name, EndApplication))
    if isinstance(outcome, Declined):
        assert outcome.reason.startswith("the card is not proved to be genuine: ")


@pytest.mark.parametrize("name", sorted(name for name, end in ENDS.items() if end is Declined))
@pytest.mark.parametrize(
    ("on_failure", "expected"),
    [(AuthenticationFailure.GO_ONLINE, OnlineRequest), (AuthenticationFailure.OTHER_INTERFACE, TryAnotherInterface)],
)
@pytest.mark.parametrize("cash", [50_000, None])
def test_what_the_card_wants_when_it_is_not_proved(
    name: str, on_failure: AuthenticationFailure, expected: type[Outcome], cash: int | None
) -> None:
    fault = FAULTS[name]
    sound = chip(
        cash=cash, on_failure=on_failure, certified_pan=fault.certified_pan(PAN), expiry=fault.certificate_expiry
    )
    outcome = tapped(FaultyCard(sound, fault), transaction())
    assert isinstance(outcome, expected)
    if isinstance(outcome, OnlineRequest):
        assert outcome.oda not in ("good", "not done")


@pytest.mark.parametrize("lost", list(Lost))
@pytest.mark.parametrize("command", range(1, 9))
@pytest.mark.parametrize("cash", [50_000, None])
def test_a_card_torn_at_any_command_pays_once(cash: int | None, command: int, lost: Lost) -> None:
    card = FaultyCard(chip(cash=cash), torn(command, lost))
    sound = card.card
    assert isinstance(sound, ChipCard)
    outcome = tapped(card, transaction(number=1))
    if command == 8:
        assert not isinstance(outcome, TryAgain), "the conversation has seven commands"
        return
    assert isinstance(outcome, TryAgain)
    assert (outcome.torn is not None) == (command > 3)
    card.reset()
    outcome = tapped(card, transaction(number=2), outcome.torn)
    if cash is None:
        assert isinstance(outcome, OnlineRequest)
        assert outcome.oda == "good"
        # A card that was selected again would refuse the issuer's answer.
        assert outcome.issuer_authentication == (command <= 3)
    else:
        assert isinstance(outcome, ApprovedOffline)
        assert sound.balance == outcome.balance == 50_000 - 1_250
    decided_twice = command == 3 and lost is Lost.ANSWER
    assert sound.atc == (2 if decided_twice else 1)
    number = tlv.find(outcome.field55, "9F37")
    assert number == (1 if command > 3 else 2).to_bytes(4, "big")
