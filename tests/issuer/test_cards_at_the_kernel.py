"""Issued cards at a real terminal's kernel: every product, every fault, and torn out at every command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from card_bed import (
    AUTHORITY,
    CHIP_MODULE,
    IMK_HANDLE,
    ISSUER_MODULE,
    PAN,
    card_rsa,
    cash_profile,
    chip_of,
    issuer_certificate,
)
from issuer_bed import Bed

from issuer.applet import ChipCard
from issuer.card_application import (
    CREDIT_AID,
    DEBIT_AID,
    ELECTRONIC_CASH_AID,
    QUASI_CREDIT_AID,
    AuthenticationFailure,
    Personalisation,
)
from issuer.card_profiles import PROFILES, make_card, personalise
from issuer.certification import IssuerCertificate, certify_card, enrol_issuer
from issuer.faulty_card import FAULTS, GONE, ApduCard, FaultyCard, Lost, torn
from issuer.personalisation import IssuedCard
from merchant_device.kernel import (
    ApprovedOffline,
    Cvm,
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
)
from network.emv import tlv

APPLICATIONS = (ELECTRONIC_CASH_AID, DEBIT_AID, CREDIT_AID, QUASI_CREDIT_AID)
CA_KEYS = {(AUTHORITY.rid, AUTHORITY.index): AUTHORITY.public_key}
BOTH = Kernel(
    KernelConfiguration(applications=APPLICATIONS, offline=True, fdda=True, floor_limit=100_000), ca_keys=CA_KEYS
)
ONLINE = Kernel(KernelConfiguration(applications=APPLICATIONS))
AMOUNT = 1_250
MAX_COMMANDS = 40


def sale(amount: int = AMOUNT, unpredictable: str = "1E78EEBC") -> TransactionData:
    return TransactionData(amount=amount, date="260102", unpredictable_number=bytes.fromhex(unpredictable))


def tapped(card: ApduCard, kernel: Kernel, transaction: TransactionData, state: Torn | None = None) -> Outcome:
    card.reset()
    tap = kernel.start(transaction, state)
    command: bytes | Outcome = tap.command
    for _ in range(MAX_COMMANDS):
        if not isinstance(command, bytes):
            return command
        response = card.transmit(command)
        command = tap.card_gone() if response == GONE else tap.step(response)
    raise AssertionError("the conversation does not end")


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bed, IssuedCard, IssuerCertificate]]:
    bed = Bed(tmp_path_factory.mktemp("kernel"))
    bed.open("holder", 1_000_000)
    card = bed.issue("holder")
    certificate = enrol_issuer(ISSUER_MODULE, AUTHORITY, card.pan[:6], expiry="3412", serial=1)
    bed.unit.insert(certificate)
    yield bed, card, certificate
    bed.store.close()


@pytest.mark.parametrize(
    ("name", "kernel", "amount", "kind", "cvm", "oda"),
    [
        ("debit", BOTH, AMOUNT, OnlineRequest, Cvm.NO_CVM, "not done"),
        ("debit", ONLINE, 100_001, OnlineRequest, Cvm.ONLINE_PIN, "not done"),
        ("credit", BOTH, AMOUNT, OnlineRequest, Cvm.NO_CVM, "good"),
        ("credit", ONLINE, AMOUNT, OnlineRequest, Cvm.NO_CVM, "not done"),
        ("quasi_credit", BOTH, AMOUNT, OnlineRequest, Cvm.ONLINE_PIN, "not done"),
        ("ecash", BOTH, 50_000, ApprovedOffline, Cvm.NO_CVM, ""),
        ("ecash", BOTH, 50_001, OnlineRequest, Cvm.NO_CVM, "not done"),
        ("ecash", ONLINE, AMOUNT, OnlineRequest, Cvm.NO_CVM, "not done"),
        ("debit_with_ecash", BOTH, AMOUNT, ApprovedOffline, Cvm.NO_CVM, ""),
        ("foreign", BOTH, 1, OnlineRequest, Cvm.SIGNATURE, "not done"),
        ("foreign", ONLINE, 1, OnlineRequest, Cvm.SIGNATURE, "not done"),
    ],
)
def test_every_product(
    issued: tuple[Bed, IssuedCard, IssuerCertificate],
    name: str,
    kernel: Kernel,
    amount: int,
    kind: type,
    cvm: Cvm,
    oda: str,
) -> None:
    bed, card, certificate = issued
    cash = 50_000 if PROFILES[name].has_electronic_cash else 0
    written = personalise(
        bed.unit,
        PROFILES[name],
        card,
        issuer_module=ISSUER_MODULE,
        chip_module=bed.module,
        certificate=certificate,
        effective="250101",
        cash=cash,
    )
    outcome = tapped(make_card(written, bed.module, bed.imk), kernel, sale(amount))
    assert isinstance(outcome, kind), outcome
    assert isinstance(outcome, OnlineRequest | ApprovedOffline)
    assert (outcome.pan, outcome.cvm) == (card.pan, cvm)
    if isinstance(outcome, OnlineRequest):
        assert outcome.oda == oda
        assert outcome.track2 == card.chip_track2
    else:
        assert outcome.balance == cash - amount
        assert tlv.flat(outcome.field55)["9F27"] == b"\x40"


SILENT = {"issuer_refused", "wrong_cryptogram", "slow", "other_account_certified", "certificate_expired"}
"""Faults a terminal cannot see in an offline payment with a sound certificate."""


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("kernel", [BOTH, ONLINE])
def test_no_fault_brings_more_than_an_outcome(name: str, kernel: Kernel) -> None:
    chip = chip_of(cash_profile())
    outcome = tapped(FaultyCard(chip, FAULTS[name]), kernel, sale())
    if name in SILENT:
        assert isinstance(outcome, ApprovedOffline if kernel is BOTH else OnlineRequest)
    elif kernel is BOTH:
        assert isinstance(outcome, Declined | EndApplication | TryAnotherInterface | SeePhone), outcome
    else:
        # faults of records and certificates do not show where they are not read
        assert not isinstance(outcome, ApprovedOffline | TryAgain)
    if kernel is ONLINE:
        assert chip.balance == 50_000


@pytest.mark.parametrize(
    ("name", "kind"),
    [("other_interface", TryAnotherInterface), ("see_phone", SeePhone), ("conditions", EndApplication)],
)
def test_status_words_with_an_outcome_of_their_own(name: str, kind: type) -> None:
    assert isinstance(tapped(FaultyCard(chip_of(cash_profile()), FAULTS[name]), BOTH, sale()), kind)


@pytest.mark.parametrize("lost", Lost)
@pytest.mark.parametrize("command", range(1, 9))
@pytest.mark.parametrize("bits", [1024, 1152])
def test_a_torn_payment_is_approved_once_and_paid_once(command: int, lost: Lost, bits: int) -> None:
    chip = chip_of(cash_profile(bits=bits))
    card = FaultyCard(chip, torn(command, lost))
    first = tapped(card, BOTH, sale())
    if command == 8:
        assert isinstance(first, ApprovedOffline), "all was read before the card left"
        assert (chip.atc, chip.balance) == (1, 50_000 - AMOUNT)
        return
    assert isinstance(first, TryAgain)
    assert (first.torn is not None) is (command > 3)
    second = tapped(card, BOTH, sale(unpredictable="00000001"), first.torn)
    assert isinstance(second, ApprovedOffline)
    assert chip.balance == 50_000 - AMOUNT
    resumed = first.torn is not None
    assert tlv.flat(second.field55)["9F37"].hex() == ("1e78eebc" if resumed else "00000001")
    assert tlv.flat(second.field55)["9F36"] == chip.atc.to_bytes(2, "big")


@pytest.mark.parametrize("command", range(1, 8))
def test_a_torn_payment_that_is_given_up_has_cost_nothing_unless_all_was_read(command: int) -> None:
    chip = chip_of(cash_profile())
    assert isinstance(tapped(FaultyCard(chip, torn(command)), BOTH, sale()), TryAgain)
    assert chip.balance == (50_000 - AMOUNT if command == 7 else 50_000)


def test_another_card_does_not_finish_a_torn_payment() -> None:
    first = tapped(FaultyCard(chip_of(cash_profile()), torn(5)), BOTH, sale())
    assert isinstance(first, TryAgain)
    assert first.torn is not None
    other = cash_profile(pan=PAN[:-1] + "9")
    key = CHIP_MODULE.derive_card_key(IMK_HANDLE, other.pan, other.sequence)
    chip = ChipCard(other, CHIP_MODULE, key, atc=6)
    outcome = tapped(chip, BOTH, sale(unpredictable="00000001"), first.torn)
    assert isinstance(outcome, ApprovedOffline)
    assert outcome.pan == other.pan
    assert (chip.atc, chip.balance) == (7, 50_000 - AMOUNT)


OFFLINE = KernelConfiguration(applications=APPLICATIONS, offline=True, fdda=True, floor_limit=100_000)
LAST_RECORD = bytes.fromhex("00B2021C00")
"""READ RECORD of the last record of a card's file locator: file 3, record 2."""


class Heard:
    """A card, and what it was asked."""

    def __init__(self, card: ApduCard) -> None:
        self.card = card
        self.commands: list[bytes] = []

    def transmit(self, apdu: bytes) -> bytes:
        self.commands.append(apdu)
        return self.card.transmit(apdu)

    def reset(self) -> None:
        self.card.reset()


def cash_with(
    on_failure: AuthenticationFailure = AuthenticationFailure.DECLINE,
    pan: str | None = None,
    expiry: str | None = None,
    bits: int = 1152,
) -> Personalisation:
    """An electronic cash card whose certificate says what it is told to."""
    profile = cash_profile(bits=bits)
    plain = replace(profile, electronic_cash=None, offline_authentication=None)
    made = certify_card(
        ISSUER_MODULE, issuer_certificate(), plain, card_rsa(bits), serial=7, pan=pan, expiry=expiry,
        on_failure=on_failure,
    )  # fmt: skip
    return replace(made, electronic_cash=profile.electronic_cash)


@pytest.mark.parametrize("bits", [1024, 1152])
@pytest.mark.parametrize(
    ("name", "profile", "reason"),
    [
        ("wrong_issuer_certificate", {}, "not proved to be genuine"),
        ("wrong_issuer_hash", {}, "hash of the issuer certificate is wrong"),
        ("wrong_card_certificate", {}, "not proved to be genuine"),
        ("wrong_card_hash", {}, "hash of the card certificate is wrong"),
        ("unknown_authority", {}, "no key F1"),
        ("slow", {"pan": PAN[:-1] + "9"}, "another account number"),
        ("slow", {"expiry": "2512"}, "card certificate has expired"),
    ],
)
def test_a_card_that_is_declined_for_its_certificates_has_paid_nothing(
    name: str, profile: dict[str, str], reason: str, bits: int
) -> None:
    chip = chip_of(cash_with(bits=bits, **profile))  # type: ignore[arg-type]
    card = Heard(FaultyCard(chip, FAULTS[name]))
    outcome = tapped(card, BOTH, sale())
    assert isinstance(outcome, Declined)
    assert reason in outcome.reason
    assert outcome.field55 is not None
    assert LAST_RECORD not in card.commands
    assert chip.balance == 50_000


@pytest.mark.parametrize(
    ("offline", "signs"), [(True, True), (True, False), (False, True)], ids=["cash", "online", "online without fdda"]
)
def test_a_stopped_card_is_looked_up_once_and_asked_nothing_more(offline: bool, signs: bool) -> None:
    """No record is read, neither for a payment that the card approved nor on the way to its issuer."""
    looked_up: list[str] = []

    def is_hot(pan: str) -> bool:
        looked_up.append(pan)
        return len(looked_up) == 1

    chip = chip_of(cash_profile())
    card = Heard(chip)
    configuration = replace(OFFLINE if offline else ONLINE.configuration, floor_limit=100_000 if signs else 0)
    terminal = Kernel(configuration, CA_KEYS, is_hot=is_hot)
    outcome = tapped(card, terminal, sale())
    assert isinstance(outcome, Declined)
    assert outcome.reason == "the card is on the list of stopped cards"
    assert looked_up == [PAN]
    assert not any(command[1] == 0xB2 for command in card.commands)
    assert chip.balance == 50_000
    assert isinstance(tapped(card, terminal, sale()), ApprovedOffline if offline and signs else OnlineRequest)
    assert looked_up == [PAN, PAN]


ISSUER_REVOKED = {(AUTHORITY.rid, AUTHORITY.index, n.to_bytes(3, "big")) for n in range(1, 20)}


@pytest.mark.parametrize(
    ("changes", "kernel", "date", "reason"),
    [
        ({}, {"is_hot": {PAN}.__contains__}, "260102", "list of stopped cards"),
        ({}, {"revoked": ISSUER_REVOKED}, "260102", "issuer certificate is revoked"),
        ({}, {"ca_keys": {}}, "260102", "no key F0 of A000000333"),
        (
            {},
            {"ca_keys": {(AUTHORITY.rid, AUTHORITY.index): replace(AUTHORITY.public_key, expiry="20251231")}},
            "260102",
            "authority's key has expired",
        ),
        ({"expiry": "2512"}, {}, "260102", "card certificate has expired"),
        ({"effective": "260103"}, {}, "260102", "the card is not valid yet"),
        ({"usage_control": b"\x01\x00"}, {}, "260102", "not for this kind of payment"),
        ({"usage_control": b"\x28\x00"}, {}, "260102", "cash machines only"),
    ],
)
def test_a_card_that_may_not_pay_here_and_today_has_paid_nothing(
    changes: dict[str, object], kernel: dict[str, object], date: str, reason: str
) -> None:
    chip = chip_of(cash_profile(**changes))  # type: ignore[arg-type]
    card = Heard(chip)
    terminal = Kernel(OFFLINE, **({"ca_keys": CA_KEYS} | kernel))  # type: ignore[arg-type]
    outcome = tapped(card, terminal, replace(sale(), date=date))
    assert isinstance(outcome, Declined)
    assert reason in outcome.reason
    assert outcome.field55 is not None
    assert LAST_RECORD not in card.commands
    assert chip.balance == 50_000


@pytest.mark.parametrize("name", ["wrong_signature", "wrong_signature_hash"])
def test_only_a_wrong_signature_is_found_out_when_the_card_has_paid(name: str) -> None:
    """Its issuer gets no certificate of it, so that the issuer's record of the e-cash stays as it was."""
    chip = chip_of(cash_profile())
    outcome = tapped(FaultyCard(chip, FAULTS[name]), BOTH, sale())
    assert isinstance(outcome, Declined)
    assert "not proved to be genuine" in outcome.reason
    assert chip.balance == 50_000 - AMOUNT


def test_a_wrong_signature_in_the_processing_options_is_found_out_when_the_card_has_paid() -> None:
    """What it was made over, 9F69, comes with the last record only."""
    chip = chip_of(cash_profile(bits=1024))
    assert isinstance(tapped(FaultyCard(chip, FAULTS["wrong_signature"]), BOTH, sale()), Declined)
    assert chip.balance == 50_000 - AMOUNT


@pytest.mark.parametrize(
    ("on_failure", "kind", "balance"),
    [
        (AuthenticationFailure.DECLINE, Declined, 50_000),
        (AuthenticationFailure.OTHER_INTERFACE, TryAnotherInterface, 50_000),
        (AuthenticationFailure.GO_ONLINE, OnlineRequest, 50_000 - AMOUNT),
    ],
)
def test_a_card_pays_where_its_issuer_is_asked_with_a_certificate(
    on_failure: AuthenticationFailure, kind: type, balance: int
) -> None:
    """To the issuer a TC means that the card has paid, so it must have."""
    chip = chip_of(cash_with(on_failure))
    outcome = tapped(FaultyCard(chip, FAULTS["wrong_card_certificate"]), BOTH, sale())
    assert isinstance(outcome, kind)
    if isinstance(outcome, OnlineRequest):
        assert tlv.flat(outcome.field55)["9F27"] == b"\x40"
        assert outcome.oda not in ("good", "not done")
    assert chip.balance == balance


@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith("malformed_record")])
def test_a_card_that_has_paid_and_comes_back_faulty_is_not_made_to_pay_twice(name: str) -> None:
    chip = chip_of(cash_profile())
    first = tapped(FaultyCard(chip, torn(7)), BOTH, sale())
    assert isinstance(first, TryAgain)
    assert chip.balance == 50_000 - AMOUNT
    card = Heard(FaultyCard(chip, FAULTS[name]))
    outcome = tapped(card, BOTH, sale(unpredictable="00000001"), first.torn)
    assert isinstance(outcome, EndApplication)
    assert (chip.atc, chip.balance) == (1, 50_000 - AMOUNT)
    assert isinstance(tapped(chip, BOTH, sale(unpredictable="00000002"), first.torn), ApprovedOffline)
    assert (chip.atc, chip.balance) == (1, 50_000 - AMOUNT)


def test_another_card_that_was_torn_elsewhere_does_not_pay_what_it_owes_there() -> None:
    """Its counter stands at the same number; its account shows before its last record is read."""
    first = tapped(FaultyCard(chip_of(cash_profile()), torn(5)), BOTH, sale())
    assert isinstance(first, TryAgain)
    other = cash_profile(pan=PAN[:-1] + "9")
    key = CHIP_MODULE.derive_card_key(IMK_HANDLE, other.pan, other.sequence)
    chip = ChipCard(other, CHIP_MODULE, key)
    assert isinstance(tapped(FaultyCard(chip, torn(5)), BOTH, sale(20_000)), TryAgain)
    assert (chip.atc, chip.balance) == (1, 50_000)
    outcome = tapped(chip, BOTH, sale(unpredictable="00000001"), first.torn)
    assert isinstance(outcome, ApprovedOffline)
    assert outcome.pan == other.pan
    assert (chip.atc, chip.balance) == (2, 50_000 - AMOUNT)
