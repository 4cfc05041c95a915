"""Card products: the whole conversation of each, what its issuer makes of it, and what cannot be made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from card_bed import (
    AUTHORITY,
    BOTH_TTQ,
    ISSUER_MODULE,
    OFFLINE_TTQ,
    ONLINE_TTQ,
    PLAIN_TTQ,
    authenticate,
    good,
    options_of,
    processing_options,
    read_all,
    select,
)
from issuer_bed import Bed

from issuer.applet import PPSE, ChipCard
from issuer.card_application import CREDIT_AID, DEBIT_AID, ELECTRONIC_CASH_AID, QUASI_CREDIT_AID, Personalisation
from issuer.card_profiles import PROFILES, CardProfile, make_card, personalise
from issuer.certification import CertificationError, IssuerCertificate, enrol_issuer
from issuer.multi_application_card import MultiApplicationCard
from issuer.personalisation import IssuedCard, PersonalisationError
from network.emv import IssuerApplicationData, assemble, tlv
from network.keys import Scheme

EFFECTIVE = "250101"


@dataclass
class Workshop:
    """Where cards of a profile are made."""

    bed: Bed
    issued: IssuedCard
    certificate: IssuerCertificate

    def written(self, name: str | CardProfile, **wanted: object) -> tuple[Personalisation, ...]:
        profile = name if isinstance(name, CardProfile) else PROFILES[name]
        settings: dict[str, object] = {"certificate": self.certificate, "effective": EFFECTIVE} | wanted
        return personalise(
            self.bed.unit,
            profile,
            self.issued,
            issuer_module=ISSUER_MODULE,
            chip_module=self.bed.module,
            **settings,  # type: ignore[arg-type]
        )

    def card(self, name: str, **wanted: object) -> ChipCard | MultiApplicationCard:
        return make_card(self.written(name, **wanted), self.bed.module, self.bed.imk)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    bed = Bed(tmp_path_factory.mktemp("workshop"))
    bed.open("holder", 1_000_000)
    issued = bed.issue("holder")
    certificate = enrol_issuer(ISSUER_MODULE, AUTHORITY, issued.pan[:6], expiry="3412", serial=1)
    bed.unit.insert(certificate)
    bed.unit.commit()
    yield Workshop(bed, issued, certificate)
    bed.store.close()


# profile, application, reader, amount, currency of the reader: cryptogram, qualifiers 9F6C, is it signed
CONVERSATIONS = [
    ("debit", DEBIT_AID, PLAIN_TTQ, 1_250, "ARQC", "0000", False),
    ("debit", DEBIT_AID, ONLINE_TTQ, 100_000, "ARQC", "0000", False),
    ("debit", DEBIT_AID, ONLINE_TTQ, 100_001, "ARQC", "8000", False),
    ("debit", DEBIT_AID, OFFLINE_TTQ, 1_250, "AAC", "0000", False),
    ("credit", CREDIT_AID, PLAIN_TTQ, 1_250, "ARQC", "0000", False),
    ("credit", CREDIT_AID, ONLINE_TTQ, 1_250, "ARQC", "2000", True),
    ("credit", CREDIT_AID, ONLINE_TTQ, 100_001, "ARQC", "A000", True),
    ("credit", CREDIT_AID, OFFLINE_TTQ, 1_250, "AAC", "0000", False),
    ("quasi_credit", QUASI_CREDIT_AID, ONLINE_TTQ, 1, "ARQC", "8000", False),
    ("quasi_credit", QUASI_CREDIT_AID, "22804000", 1, "ARQC", "4000", False),
    ("ecash", ELECTRONIC_CASH_AID, OFFLINE_TTQ, 50_000, "TC", "0000", True),
    ("ecash", ELECTRONIC_CASH_AID, OFFLINE_TTQ, 50_001, "AAC", "0000", False),
    ("ecash", ELECTRONIC_CASH_AID, BOTH_TTQ, 50_001, "ARQC", "0000", False),
    ("ecash", ELECTRONIC_CASH_AID, ONLINE_TTQ, 1_250, "ARQC", "0000", False),
    ("debit_with_ecash", ELECTRONIC_CASH_AID, BOTH_TTQ, 1_250, "TC", "0000", True),
    ("debit_with_ecash", DEBIT_AID, BOTH_TTQ, 1_250, "ARQC", "0000", False),
    ("foreign", CREDIT_AID, ONLINE_TTQ, 1, "ARQC", "4000", False),
    ("foreign", CREDIT_AID, "24804000", 1, "AAC", "0000", False),
]


@pytest.mark.parametrize(("name", "aid", "ttq", "amount", "cryptogram", "qualifiers", "is_signed"), CONVERSATIONS)
def test_the_whole_conversation(
    workshop: Workshop, name: str, aid: bytes, ttq: str, amount: int, cryptogram: str, qualifiers: str, is_signed: bool
) -> None:
    cash = 50_000 if PROFILES[name].has_electronic_cash else 0
    card = workshop.card(name, cash=cash)
    fci = tlv.flat(tlv.flat(good(card.transmit(select(PPSE))))["6F"])
    listed = [tlv.flat(entry)["4F"] for _, entry in tlv.objects(tlv.flat(fci["A5"])["BF0C"])]
    assert aid in listed
    assert len(listed) == len(PROFILES[name].applications)
    options = options_of(card, aid, ttq=ttq, amount=amount)
    assert IssuerApplicationData.parse(options["9F10"]).cvr.outcome.name == cryptogram
    assert options["9F6C"].hex().upper() == qualifiers
    assert ("94" in options) is is_signed
    if is_signed:
        read = read_all(card, options["94"])
        authenticate(read.objects | options, read.signed, amount)
        assert read.objects["5F25"].hex() == EFFECTIVE
        assert read.objects["9F07"] == PROFILES[name].applications[-1].usage_control
    values = options | {
        "9F02": bytes.fromhex(f"{amount:012}"),
        "9F03": bytes(6),
        "9F1A": b"\x01\x56",
        "95": bytes(5),
        "5F2A": b"\x01\x56",
        "9A": bytes.fromhex("260102"),
        "9C": b"\x00",
        "9F37": bytes.fromhex("1E78EEBC"),
    }
    bed, issued = workshop.bed, workshop.issued
    arguments = (bed.imk, Scheme.PBOC_3DES, issued.pan, issued.sequence, options["9F36"])
    assert bed.module.check_ac(*arguments, assemble(0x01, values), options["9F26"])
    if cryptogram == "ARQC":
        answer = bed.module.make_arpc(*arguments, options["9F26"], b"00") + b"00"
        assert card.transmit(bytes.fromhex("008200000A") + answer) == b"\x90\x00"


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_what_it_means_and_makes_cards_that_can_be_written_down(workshop: Workshop, name: str) -> None:
    profile = PROFILES[name]
    assert profile.name == name
    assert len(profile.meaning) > 20
    written = workshop.written(name)
    again = [Personalisation.from_json(one.as_json()) for one in written]
    assert tuple(again) == written
    card = make_card(again, workshop.bed.module, workshop.bed.imk, atc=5)
    aid = profile.applications[0].aid
    assert options_of(card, aid)["9F36"] == b"\x00\x06"
    for one, application in zip(written, profile.applications, strict=True):
        assert (one.offline_authentication is not None) is (application.key_bits is not None)


def test_a_card_of_the_plain_profile_is_the_card_there_always_was(workshop: Workshop) -> None:
    from issuer.personalisation import chip_personalisation, make_chip

    plain = make_chip(chip_personalisation(workshop.issued), workshop.bed.module, workshop.bed.imk)
    card = make_card(workshop.written("debit", effective=""), workshop.bed.module, workshop.bed.imk)
    for command in (select(PPSE), select(DEBIT_AID), processing_options(ttq=PLAIN_TTQ)):
        assert card.transmit(command) == plain.transmit(command)


def test_the_cards_a_certificate_has_signed_are_counted(workshop: Workshop) -> None:
    before = workshop.certificate.cards_certified
    first, second = (workshop.written("ecash")[0].offline_authentication for _ in range(2))
    workshop.written("debit")
    assert workshop.certificate.cards_certified == before + 2
    assert first is not None
    assert second is not None
    assert first.key.modulus != second.key.modulus
    workshop.bed.unit.commit()
    found = workshop.bed.store.unit_of_work().find(IssuerCertificate, "issuer_identifier", workshop.issued.pan[:6])
    assert found is not None
    assert found.cards_certified == before + 2


def test_only_profiles_with_certificates_need_one(workshop: Workshop) -> None:
    for name, profile in PROFILES.items():
        if profile.is_certified:
            with pytest.raises(PersonalisationError, match="needs an issuer's certificate"):
                workshop.written(name, certificate=None)
        else:
            assert workshop.written(name, certificate=None)


@pytest.mark.parametrize("name", ["debit", "credit", "foreign"])
def test_there_is_no_cash_on_a_card_without_a_purse(workshop: Workshop, name: str) -> None:
    with pytest.raises(PersonalisationError, match="no electronic cash"):
        workshop.written(name, cash=1)


@pytest.mark.parametrize("cash", [-1, 100_001])
def test_there_is_no_more_cash_than_the_purse_holds(workshop: Workshop, cash: int) -> None:
    with pytest.raises(ValueError, match="balance"):
        workshop.written("ecash", cash=cash)


def test_a_certificate_of_another_range_is_refused(workshop: Workshop) -> None:
    other = enrol_issuer(ISSUER_MODULE, AUTHORITY, "622848", expiry="3412", serial=2)
    workshop.bed.unit.insert(other)
    with pytest.raises(CertificationError, match="range") as caught:
        workshop.written("ecash", certificate=other)
    assert workshop.issued.pan not in str(caught.value)


def test_cards_that_are_not_brought_to_life(workshop: Workshop) -> None:
    bed = workshop.bed
    debit, cash = workshop.written("debit_with_ecash")
    with pytest.raises(ValueError, match="one application"):
        make_card([], bed.module, bed.imk)
    with pytest.raises(ValueError, match="one account"):
        make_card([debit, replace(cash, sequence="002")], bed.module, bed.imk)
    with pytest.raises(ValueError, match="no electronic cash"):
        make_card([debit], bed.module, bed.imk, balance=1)
    restored = make_card([debit, cash], bed.module, bed.imk, balance=700, atc=3)
    assert isinstance(restored, MultiApplicationCard)
    assert [one.balance for one in restored.applications] == [700, None]
    assert {one.atc for one in restored.applications} == {3}


def test_sm4_cards_have_profiles_too(workshop: Workshop, tmp_path: Path) -> None:
    bed = workshop.bed
    sm4 = bed.keys.imk_ac_sm4
    assert sm4 is not None
    written = workshop.written("ecash", scheme=Scheme.PBOC_SM4, cash=50_000)
    card = make_card(written, bed.module, bed.module.load(sm4))
    options = options_of(card, ELECTRONIC_CASH_AID)
    assert IssuerApplicationData.parse(options["9F10"]).algorithm == 0x04
    read = read_all(card, options["94"])
    authenticate(read.objects | options, read.signed, 1250)
