"""The demo network's cards: issued, written down for a wallet file, and brought to life in somebody's hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random, SystemRandom
from typing import Any, Final

import issuer.tables
from issuer import card_profiles, personalisation
from issuer.card_application import Personalisation
from issuer.card_profiles import PROFILES
from issuer.certification import CertificationAuthority, IssuerCertificate, enrol_issuer, found_authority
from issuer.ecash import load_ecash
from issuer.personalisation import IssuedCard, Limits
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.ledger import Money
from network.party import Instant, Json, local_time
from network.store import UnitOfWork
from scenarios.demo_network.members import DemoIssuer
from scenarios.stage import Card

KEY_SET: Final = "demo"

CA_INDEX: Final = 0x81
"""Which of UnionPay's keys the demo's is: a number that no published one has."""

CASH: Final = 30_000
"""Fen of electronic cash on a card that holds some."""

PRODUCT_BALANCE: Final = 5_000_000


@dataclass(frozen=True)
class DemoCard:
    """A demo card and all that is secret about it.

    Attributes
    ----------
    product : str
        Name of its profile (`issuer.card_profiles.PROFILES`).
    written : list
        What is written into its chip, one entry an application, where that is more than its account.
    chip_key : str
        Storage key of the chip that holds the card's private keys, hexadecimal.
    cash : int or None
        Fen of electronic cash on it.
    issuer : str
        The party that issued it.
    """

    name: str
    pan: str = field(repr=False)
    sequence: str
    expiry: str
    track2: str = field(repr=False)
    pin: str = field(repr=False)
    balance: int
    imk_ac: str = field(repr=False)
    atc: int = 0
    product: str = "debit"
    written: list[Mapping[str, Json]] = field(repr=False, default_factory=list)
    chip_key: str = field(repr=False, default="")
    cash: int | None = None
    issuer: str = "issuer"

    def published(self) -> dict[str, Any]:
        """As ``network.json`` has it: what an outside client needs to be a card of its own."""
        content = asdict(self)
        for name in ("atc", "product", "written", "chip_key", "cash"):
            del content[name]
        return content


@dataclass(frozen=True)
class Chips:
    """Where the keys of virtual chips live: a security module of their own, as each real chip is one."""

    module: SecurityModule
    imks: Mapping[str, KeyHandle]


def chips(random: Random, imks: Mapping[str, bytes], storage_key: bytes | None = None) -> Chips:
    """A place for virtual chips, whose keys come from their issuers' master keys, here by the issuers' parties."""
    module = SecurityModule(storage_key or random.randbytes(32), random)
    usage = KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM
    handles = {
        party: module.import_clear(usage, Algorithm.TDES_DOUBLE, imk, f"demo AC {party}") for party, imk in imks.items()
    }
    return Chips(module, handles)


def chips_for(cards: Iterable[DemoCard]) -> Chips:
    """A place for the chips of these cards."""
    return chips(SystemRandom(), {card.issuer: bytes.fromhex(card.imk_ac) for card in cards})


def hold(card: DemoCard, place: Chips) -> Card:
    """A demo card in somebody's hand: a chip that answers, and the PIN its holder knows."""
    if card.written:
        own = chips(SystemRandom(), {card.issuer: bytes.fromhex(card.imk_ac)}, bytes.fromhex(card.chip_key))
        written = [Personalisation.from_json(one) for one in card.written]
        chip = card_profiles.make_card(written, own.module, own.imks[card.issuer], atc=card.atc, balance=card.cash)
        return Card(chip, card.pin, card.name, card.pan, card.issuer)
    issued = IssuedCard(
        pan=card.pan,
        sequence=card.sequence,
        expiry=card.expiry,
        service_code=card.track2.partition("=")[2][4:7],
        track2=card.track2,
        chip_track2=card.track2,
        account_id="",
        key_set_id=KEY_SET,
        pan_index="",
    )
    debit = personalisation.make_chip(
        personalisation.chip_personalisation(issued), place.module, place.imks[card.issuer], card.atc
    )
    return Card(debit, card.pin, card.name, card.pan, card.issuer)


def at_counter(card: DemoCard, atc: int) -> DemoCard:
    """The card with its transaction counter at `atc`."""
    return replace(card, atc=atc)


@dataclass(frozen=True)
class Bank:
    """An issuer that issues cards: the unit of work that they are written with is committed by the caller.

    Attributes
    ----------
    imk : bytes
        Its master key for cryptograms, in clear.
    """

    issuer: DemoIssuer
    unit: UnitOfWork
    module: SecurityModule
    imk: bytes = field(repr=False)


def issue(
    bank: Bank, random: Random, now: Instant, name: str, balance: int, status: str = issuer.tables.ACTIVE
) -> DemoCard:
    """A plain debit card with an account of its own."""
    card, issued = _issued(bank, random, now, name, balance)
    row = bank.unit.find(issuer.tables.Card, "pan_index", issued.pan_index)
    assert row is not None  # noqa: S101 - it was inserted just now
    row.status = status
    return card


@dataclass(frozen=True)
class Authority:
    """Who certifies the demo's cards: the network's authority, and each party's certificate under it."""

    authority: CertificationAuthority
    certificates: Mapping[str, IssuerCertificate]


def found(switch_module: SecurityModule, banks: Sequence[Bank], now: Instant) -> Authority:
    """Found the demo's certification authority and certify the issuers."""
    year = local_time(now).year % 100
    authority = found_authority(switch_module, index=CA_INDEX, expiry=f"{year + 10:02d}12")
    certificates = {}
    for serial, bank in enumerate(banks, 1):
        certificate = enrol_issuer(bank.module, authority, bank.issuer.bin, expiry=f"{year + 8:02d}12", serial=serial)
        bank.unit.insert(certificate)
        certificates[bank.issuer.party] = certificate
    return Authority(authority, certificates)


def issue_product(bank: Bank, random: Random, now: Instant, name: str, product: str, authority: Authority) -> DemoCard:
    """A card of a product, with certificates and electronic cash where the product has them."""
    profile = PROFILES[product]
    cash = CASH if profile.has_electronic_cash else 0
    card, issued = _issued(bank, random, now, name, PRODUCT_BALANCE)
    chip_key = random.randbytes(32)
    written = card_profiles.personalise(
        bank.unit,
        profile,
        issued,
        issuer_module=bank.module,
        chip_module=SecurityModule(chip_key, random),
        certificate=authority.certificates[bank.issuer.party],
        cash=cash,
    )
    if cash:
        load_ecash(bank.unit, account_id=name, amount=Money(cash), reference=f"{name}/issued", now=now)
    return replace(
        card,
        product=product,
        written=[one.as_json() for one in written],
        chip_key=chip_key.hex(),
        cash=cash if profile.has_electronic_cash else None,
    )


def _issued(bank: Bank, random: Random, now: Instant, name: str, balance: int) -> tuple[DemoCard, IssuedCard]:
    personalisation.open_account(bank.unit, account_id=name, now=now, balance=balance)
    pin = f"{random.randrange(10**6):06d}"
    issued = personalisation.issue_card(
        bank.unit,
        bank.module,
        random,
        bin_prefix=bank.issuer.bin,
        account_id=name,
        key_set_id=KEY_SET,
        expiry=f"{(local_time(now).year + 4) % 100:02d}12",
        pin=pin,
        limits=Limits(daily_amount=10**11, daily_count=10**6),
    )
    card = DemoCard(
        name=name,
        pan=issued.pan,
        sequence=issued.sequence,
        expiry=issued.expiry,
        track2=issued.chip_track2,
        pin=pin,
        balance=balance,
        imk_ac=bank.imk.hex().upper(),
        issuer=bank.issuer.party,
    )
    return card, issued
