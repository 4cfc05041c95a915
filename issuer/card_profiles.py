"""Card products: what a debit, credit, quasi-credit, electronic cash or foreign card is, and how one is made.

A profile says which applications a card has and what each may do. `personalise` writes a card of it down: keys of
its own and certificates only where the profile has offline authentication, since making them takes most of the time.
`make_card` brings what was written to life.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from issuer.applet import ChipCard, TransactionCounter
from issuer.card_application import (
    CREDIT_AID,
    DEBIT_AID,
    ELECTRONIC_CASH_AID,
    QUASI_CREDIT_AID,
    AuthenticationFailure,
    CvmRule,
    ElectronicCash,
    Personalisation,
)
from issuer.certification import CARD_BITS, IssuerCertificate, certify_card
from issuer.multi_application_card import MultiApplicationCard
from issuer.personalisation import IssuedCard, PersonalisationError
from network.keys import KeyHandle, Scheme, SecurityModule
from network.store import UnitOfWork

EVERYWHERE: Final = bytes.fromhex("FF00")
"""Application usage control 9F07: cash, goods and services, at home and abroad (EMV 4.4 Book 3, annex C2)."""

GOODS_AT_HOME: Final = bytes.fromhex("2900")
"""Application usage control 9F07: goods and services at home, at terminals other than cash machines."""


@dataclass(frozen=True, slots=True)
class ApplicationProfile:
    """One application of a product.

    Attributes
    ----------
    aid, label, priority, cvm_rule, cvm_limit, currency, country, online_pin, usage_control
        As of `issuer.card_application.Personalisation`.
    key_bits : int or None
        Size of the card's own key; None without offline authentication.
    online_too, on_failure
        As of `issuer.card_application.OfflineAuthentication`.
    balance_limit, single_limit : int or None, int
        Of electronic cash, fen; None where there is none.

    """

    aid: bytes
    label: str
    priority: int = 1
    cvm_rule: CvmRule = CvmRule.ABOVE_LIMIT
    cvm_limit: int = 100_000
    currency: str = "156"
    country: str = "156"
    online_pin: bool = True
    usage_control: bytes = b""
    key_bits: int | None = None
    online_too: bool = False
    on_failure: AuthenticationFailure = AuthenticationFailure.DECLINE
    balance_limit: int | None = None
    single_limit: int = 0


@dataclass(frozen=True, slots=True)
class CardProfile:
    """A product: what it means, and its applications."""

    name: str
    meaning: str
    applications: tuple[ApplicationProfile, ...]

    @property
    def is_certified(self) -> bool:
        """Whether cards of it need an issuer's certificate."""
        return any(application.key_bits for application in self.applications)

    @property
    def has_electronic_cash(self) -> bool:
        """Whether money can be on the card itself."""
        return any(application.balance_limit is not None for application in self.applications)


_DEBIT: Final = ApplicationProfile(DEBIT_AID, "UnionPay Debit")
_CASH: Final = ApplicationProfile(
    ELECTRONIC_CASH_AID,
    "UnionPay E-Cash",
    usage_control=GOODS_AT_HOME,
    key_bits=CARD_BITS,
    balance_limit=100_000,
    single_limit=100_000,
)

PROFILES: Final[Mapping[str, CardProfile]] = {
    profile.name: profile
    for profile in (
        CardProfile(
            "debit",
            "an account's card that always goes online: PIN above 1000 CNY, no offline authentication",
            (_DEBIT,),
        ),
        CardProfile(
            "credit",
            "a credit card that proves itself in online payments too; where that fails the issuer is to decide",
            (
                ApplicationProfile(
                    CREDIT_AID,
                    "UnionPay Credit",
                    usage_control=EVERYWHERE,
                    key_bits=CARD_BITS,
                    online_too=True,
                    on_failure=AuthenticationFailure.GO_ONLINE,
                ),
            ),
        ),
        CardProfile(
            "quasi_credit",
            "a card of prepaid money with some credit: as a debit card, but its PIN is due at every amount",
            (ApplicationProfile(QUASI_CREDIT_AID, "UnionPay Quasi", cvm_rule=CvmRule.ALWAYS),),
        ),
        CardProfile(
            "ecash",
            "money on the card, at most 1000 CNY, paid offline without PIN; else as a debit card, online",
            (_CASH,),
        ),
        CardProfile(
            "debit_with_ecash",
            "a debit card with electronic cash as an application of its own, which terminals are to choose first",
            (replace(_DEBIT, priority=2), _CASH),
        ),
        CardProfile(
            "foreign",
            "a card issued abroad in another currency: its holder signs at every amount of ours",
            (
                ApplicationProfile(
                    CREDIT_AID,
                    "UnionPay Credit",
                    currency="344",
                    country="344",
                    online_pin=False,
                    usage_control=EVERYWHERE,
                ),
            ),
        ),
    )
}
"""Products by name."""


def personalise(
    store: UnitOfWork,
    profile: CardProfile,
    issued: IssuedCard,
    *,
    issuer_module: SecurityModule,
    chip_module: SecurityModule,
    certificate: IssuerCertificate | None = None,
    effective: str = "",
    cash: int = 0,
    scheme: Scheme = Scheme.PBOC_3DES,
    certificate_pan: str | None = None,
    certificate_expiry: str | None = None,
) -> tuple[Personalisation, ...]:
    """Write down what goes into the chip of an issued card, one entry an application.

    Parameters
    ----------
    store : UnitOfWork
        The issuer's, where the cards that a certificate has signed are counted.
    profile : CardProfile
        One of `PROFILES`, or another.
    issued : IssuedCard
        Whose card it is.
    issuer_module, chip_module : SecurityModule
        Where the issuer's and the card's private keys live.
    certificate : IssuerCertificate or None
        The issuer's, for profiles with offline authentication.
    effective : str
        YYMMDD, the first day the card is good for; empty when nothing is said.
    cash : int
        Fen of electronic cash on the card when it is handed out.
    scheme : Scheme
        How the card makes cryptograms.
    certificate_pan, certificate_expiry : str or None
        What the card's certificate says where that is to be wrong, see `issuer.faulty_card`.

    Raises
    ------
    PersonalisationError
        The profile needs a certificate and there is none, or there is cash for a card that holds none.
    CertificationError
        The certificate does not fit the card.
    ValueError
        Something is malformed.
    """
    if profile.is_certified and certificate is None:
        raise PersonalisationError(f"a card of profile {profile.name} needs an issuer's certificate")
    if cash and not profile.has_electronic_cash:
        raise PersonalisationError(f"a card of profile {profile.name} holds no electronic cash")
    written = []
    for application in profile.applications:
        personalisation = Personalisation(
            pan=issued.pan,
            expiry=issued.expiry,
            sequence=issued.sequence,
            service_code=issued.service_code,
            track2=issued.chip_track2,
            aid=application.aid,
            label=application.label,
            scheme=scheme,
            cvm_rule=application.cvm_rule,
            cvm_limit=application.cvm_limit,
            currency=application.currency,
            country=application.country,
            priority=application.priority,
            online_pin=application.online_pin,
            effective=effective,
            usage_control=application.usage_control,
        )
        if application.key_bits is not None and certificate is not None:
            certificate.cards_certified += 1
            store.change(certificate)
            personalisation = certify_card(
                issuer_module,
                certificate,
                personalisation,
                chip_module.generate_rsa(application.key_bits),
                serial=certificate.cards_certified,
                online_too=application.online_too,
                on_failure=application.on_failure,
                pan=certificate_pan,
                expiry=certificate_expiry,
            )
        if application.balance_limit is not None:
            purse = ElectronicCash(cash, application.balance_limit, application.single_limit)
            personalisation = replace(personalisation, electronic_cash=purse)
        written.append(personalisation)
    return tuple(written)


def make_card(
    written: Sequence[Personalisation],
    module: SecurityModule,
    imk_ac: KeyHandle,
    *,
    atc: int = 0,
    balance: int | None = None,
) -> ChipCard | MultiApplicationCard:
    """Bring a card to life.

    Parameters
    ----------
    written : sequence of Personalisation
        One an application, all of one account, from `personalise`.
    module : SecurityModule
        The chip's, which made the keys in `written`.
    imk_ac : KeyHandle
        The issuer's master key for the scheme of `written`.
    atc : int
        Payments begun so far. All applications count together, as they have one account and one key.
    balance : int or None
        Fen of electronic cash on the card, where it has been used since it was handed out.

    Raises
    ------
    ValueError
        No application, applications of two accounts, or a counter or balance that cannot be.
    """
    if not written:
        raise ValueError("a card has one application at least")
    first = written[0]
    if any((one.pan, one.sequence, one.scheme) != (first.pan, first.sequence, first.scheme) for one in written):
        raise ValueError("the applications of a card are of one account, card sequence number and scheme")
    key = module.derive_card_key(imk_ac, first.pan, first.sequence)
    counter = TransactionCounter(atc)
    chips = [
        ChipCard(one, module, key, counter, balance if one.electronic_cash is not None else None) for one in written
    ]
    if balance is not None and all(one.electronic_cash is None for one in written):
        raise ValueError("balance: the card holds no electronic cash")
    return chips[0] if len(chips) == 1 else MultiApplicationCard(chips)
