"""The demo network: who takes part, which keys they share, which cards and terminals there are.

All its keys are demo keys. They are made here, from the randomness that is given, and nowhere else; what an outside
client needs of them is published in ``network.json``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from random import Random
from typing import Any, Final

import sqlalchemy as sa

import acquirer.migrations
import acquirer.tables
import issuer.migrations
import issuer.tables
import issuer.token_tables
import merchant_device.migrations
import merchant_device.order_tables
import merchant_device.tables
import switch.migrations
import switch.tables
from acquirer import enrolment
from acquirer.configuration import Configuration as AcquirerConfiguration
from acquirer.downloads import set_ca_key
from acquirer.party import Acquirer
from issuer import installation, personalisation
from issuer.configuration import Configuration as IssuerConfiguration
from issuer.party import Issuer
from merchant_device import secure_element
from merchant_device.configuration import Configuration as DeviceConfiguration
from merchant_device.installation import install_terminal
from merchant_device.maker import DeviceState, Maker
from merchant_device.party import MerchantDevice
from merchant_device.phone_rooms import all_rooms
from network.history import History
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.party import SECOND, Instant, Json, Party, local_time
from network.store import Row, Store, UnitOfWork
from scenarios.demo_network.demo_cards import KEY_SET, Bank, Chips, DemoCard, chips, found, issue, issue_product
from scenarios.demo_network.members import ACQUIRER_ID, ISSUERS, SWITCH_ID, issuers_among
from scenarios.stage import Cast
from switch import membership
from switch.configuration import Configuration as SwitchConfiguration
from switch.party import Switch

MODEL: Final = "FP-1"
OLD_MODEL: Final = "FP-0"
"""Models of the demo's maker: one that may be a terminal and one that may not."""

APP_PACKAGE: Final = "org.fourparty.till"
APP_VERSION: Final = 12
APP_SIGNER: Final = hashlib.sha256(b"the demo App's signing certificate").digest()
GOOD_UNTIL: Final = date(2036, 12, 31)
VIRTUAL_MAKER: Final = b"virtual"
"""Seed of the maker in virtual worlds."""

MAKER_BEGAN: Final[Instant] = 1_735_689_600 * SECOND
"""The demo's App, until when it and the model are allowed, and when the maker's certificates begin (2025)."""

ATTESTATION_SECONDS: Final = 10.0
"""How long a phone rests on a verdict before it attests itself again."""

ATTESTATION_WINDOW: Final = 90.0
"""How long the acquirer takes payments on a verdict: longer, since a payment takes time from the card to the PIN."""

PHONES: Final = 60
"""Phones that take part in a scenario unless it is told otherwise."""

CARDS: Final = 300
"""Cards in the purses of a scenario's shoppers."""

PUBLISHED_CARDS: Final = 24
PUBLISHED_BALANCE: Final = 10_000_000
POOR_BALANCE: Final = 100
"""Cards and balances (fen) that ``network.json`` tells outside clients; one card is poor."""

_MERCHANTS: Final = (
    ("王记菜摊", "上海", "5411"),
    ("老李水果", "上海", "5422"),
    ("东门豆腐坊", "上海", "5499"),
    ("Lily's Noodles", "Shanghai", "5814"),
    ("张家鱼铺", "上海", "5422"),
)
DISTINGUISHED: Final = {3: "lost", 7: "blocked", 11: "poor", 19: "poor"}
"""Places in the wallet of cards that will be declined."""


@dataclass(frozen=True)
class Timeouts:
    """How long the parties wait for one another, in seconds (docs/protocol.md)."""

    issuer: float = 20.0
    switch: float = 30.0
    acquirer: float = 60.0
    advice_retry: float = 10.0
    reversal_retry: float = 10.0


@dataclass(frozen=True)
class Terminal:
    """A terminal of the demo network; `free` ones are for outside clients."""

    terminal_id: str
    merchant_id: str
    tmk: str = field(repr=False)
    free: bool = True


@dataclass(frozen=True)
class DemoData:
    """What the seed made."""

    terminals: list[Terminal]
    cards: list[DemoCard]
    wallet: list[DemoCard]
    chips: Chips
    devices: list[str] = field(default_factory=list)
    zones: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Zone master keys by member, in hexadecimal, for who takes a member's place or the switch's."""


@dataclass(frozen=True)
class Blueprint:
    """How to make one of the parties."""

    module: SecurityModule
    rows: Sequence[type[Row]]
    make: Callable[[], Party]


def maker(seed: bytes) -> Maker:
    """The demo's maker of phones: the same root for the same seed."""
    random = Random(f"maker/{seed.hex()}")  # noqa: S311 - a demo maker must be the same in every process of a network
    return Maker(SecurityModule(random.randbytes(32), random), random, MAKER_BEGAN)


def sound(wallet: Sequence[DemoCard]) -> list[DemoCard]:
    """The wallet's debit cards without those that are lost, blocked or poor."""
    return [card for place, card in enumerate(wallet) if card.product == "debit" and place % 100 not in DISTINGUISHED]


def state_of(model: str, now: Instant) -> DeviceState:
    """What a sound phone of the demo says of itself: patched this month, and with the demo's App."""
    today = local_time(now)
    month = today.year * 100 + today.month
    return DeviceState(
        model=model,
        os_patch_level=month,
        vendor_patch_level=month * 100 + 1,
        boot_patch_level=month * 100 + 1,
        package=APP_PACKAGE,
        package_version=APP_VERSION,
        signature_digest=APP_SIGNER,
    )


def manufacture(store: Store, module: SecurityModule, seed: bytes, now: Instant, count: int) -> list[str]:
    """Make phones of the demo's maker, and put them into the device's store, which no party uses yet.

    Parameters
    ----------
    module
        The device's own.
    seed
        The maker's.

    Returns
    -------
    list of str
        Their ids.
    """
    if not count:
        return []
    made_by, unit = maker(seed), store.unit_of_work()
    # serial numbers of a hundredth of a second: no two runs on one network make the same phones
    devices = [f"{MODEL}-{now // 10_000:013d}-{number:02d}" for number in range(1, count + 1)]
    for device in devices:
        secure_element.manufacture(unit, module, made_by, device, state_of(MODEL, now), now)
    unit.commit()
    return devices


def configurations(
    timeouts: Timeouts,
    maker_root: bytes | None = None,
    till: Mapping[str, Json] | None = None,
    issuers: int = 1,
) -> dict[str, Any]:
    """The parties' configurations in the demo network.

    Parameters
    ----------
    maker_root
        Public key of the maker whose phones the acquirer takes.
    till
        What of the phones' configuration is otherwise than usual.
    issuers
        How many issuers there are.
    """
    trust: dict[str, Any] = {}
    if maker_root is not None:
        trust = {
            "attestation_roots": (base64.b64encode(maker_root).decode("ascii"),),
            "attestation_window": ATTESTATION_WINDOW,
            "pin_attestation_window": ATTESTATION_WINDOW,
            "allowed_models": ({"model": MODEL, "until": GOOD_UNTIL},),
            "allowed_apps": (
                {
                    "package": APP_PACKAGE,
                    "signature_digest": APP_SIGNER.hex(),
                    "minimum_version": APP_VERSION,
                    "until": GOOD_UNTIL,
                },
            ),
        }
    usual: dict[str, Json] = {
        "pin_always": True,
        "attestation_margin": ATTESTATION_WINDOW - ATTESTATION_SECONDS,
    }
    return {
        **{
            one.party: IssuerConfiguration(name=one.party, issuer_id=one.member_id, switch_id=SWITCH_ID)
            for one in ISSUERS[:issuers]
        },
        "switch": SwitchConfiguration(
            switch_id=SWITCH_ID, issuer_timeout=timeouts.issuer, advice_retry=timeouts.advice_retry
        ),
        "acquirer": AcquirerConfiguration(
            acquirer_id=ACQUIRER_ID,
            switch_id=SWITCH_ID,
            switch_timeout=timeouts.switch,
            advice_retry=timeouts.advice_retry,
            **trust,
        ),
        "merchant_device": DeviceConfiguration.model_validate(
            {
                "acquirer_timeout": timeouts.acquirer,
                "reversal_retry": timeouts.reversal_retry,
                **usual,
                **(till or {}),
            }
        ),
    }


def build(random: Random, timeouts: Timeouts, cast: Cast | None = None, issuers: int = 1) -> dict[str, Blueprint]:
    """The parties for a world in one process, each with a security module of its own."""
    cast = cast or Cast()
    root = maker(VIRTUAL_MAKER).root_public_key if cast.devices else None
    settings = configurations(timeouts, root, cast.till, issuers)
    modules = {name: SecurityModule(random.randbytes(32), random) for name in settings}
    rooms = all_rooms() if cast.devices else ()
    makers: dict[str, Callable[[], Party]] = {
        **{one.party: partial(Issuer, settings[one.party], modules[one.party]) for one in ISSUERS[:issuers]},
        "switch": lambda: Switch(settings["switch"], modules["switch"]),
        "acquirer": lambda: Acquirer(settings["acquirer"], modules["acquirer"]),
        "merchant_device": lambda: MerchantDevice(settings["merchant_device"], modules["merchant_device"], rooms),
    }
    return {name: Blueprint(modules[name], ROWS[name], make) for name, make in makers.items()}


ROWS: Final[Mapping[str, Sequence[type[Row]]]] = {
    **{one.party: issuer.tables.TABLES for one in ISSUERS},
    "switch": switch.tables.TABLES,
    "acquirer": acquirer.tables.TABLES,
    "merchant_device": merchant_device.tables.TABLES,
}

HISTORIES: Final[Mapping[str, History]] = {
    **{one.party: issuer.migrations.HISTORY for one in ISSUERS},
    "switch": switch.migrations.HISTORY,
    "acquirer": acquirer.migrations.HISTORY,
    "merchant_device": merchant_device.migrations.HISTORY,
}


def seed(
    parties: Mapping[str, Blueprint] | Mapping[str, SecurityModule],
    stores: Mapping[str, Store],
    random: Random,
    now: Instant,
    *,
    phones: int,
    cards: int,
    free_terminals: int = 0,
    products: Sequence[str] = (),
) -> DemoData:
    """Fill the empty stores of all parties with the demo network.

    Parameters
    ----------
    parties, stores
        By party; there are as many issuers as are among them, and cards come from each in turn.
    phones, free_terminals
        Terminals that the device's store has, and further ones that only the acquirer knows.
    cards
        Cards in the wallet, besides the published ones.
    products
        Further cards in the wallet, by the names of their products.
    """
    modules = {name: party.module if isinstance(party, Blueprint) else party for name, party in parties.items()}
    issuers = issuers_among(modules)
    zones = {member_id: random.randbytes(16) for member_id in (*(one.member_id for one in issuers), ACQUIRER_ID)}
    imks = {one.party: random.randbytes(16) for one in issuers}
    units = {name: store.unit_of_work() for name, store in stores.items()}

    def key(party: str, clear: bytes, usage: KeyUsage, label: str) -> KeyHandle:
        return modules[party].import_clear(usage, Algorithm.TDES_DOUBLE, clear, label)

    def master_key(party: str, clear: bytes, label: str) -> KeyHandle:
        return key(party, clear, KeyUsage.KEY_ENCRYPTION, label)

    unit = units["switch"]
    for member_id, name in (*((one.member_id, one.name) for one in issuers), (ACQUIRER_ID, "Demo Acquiring")):
        zone_key = master_key("switch", zones[member_id], f"zone {member_id}")
        membership.add_member(unit, modules["switch"], member_id=member_id, name=name, master_key=zone_key, now=now)
    for one in issuers:
        membership.add_route(unit, prefix=one.bin, member_id=one.member_id, now=now)
    unit.commit()

    enrolment.join_network(
        units["acquirer"],
        modules["acquirer"],
        switch_id=SWITCH_ID,
        master_key=master_key("acquirer", zones[ACQUIRER_ID], "zone"),
        now=now,
    )
    terminals = _seed_terminals(units, modules, random, now, phones, free_terminals)

    banks = []
    for one in issuers:
        bank = Bank(one, units[one.party], modules[one.party], imks[one.party])
        installation.install(bank.unit, bank.module)
        zone_key = master_key(one.party, zones[one.member_id], "zone")
        installation.join_network(bank.unit, bank.module, switch_id=SWITCH_ID, master_key=zone_key, now=now)
        imk_ac = key(one.party, bank.imk, KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, "demo AC")
        personalisation.add_key_set(bank.unit, bank.module, KEY_SET, imk_ac=imk_ac)
        banks.append(bank)

    def bank_of(number: int) -> Bank:
        return banks[number % len(banks)]

    published, wallet = [], []
    for number in range(PUBLISHED_CARDS):
        balance = POOR_BALANCE if number == PUBLISHED_CARDS - 1 else PUBLISHED_BALANCE
        published.append(issue(bank_of(number), random, now, f"card-{number + 1:03d}", balance))
    for number in range(cards):
        fate = DISTINGUISHED.get(number % 100, "active")
        balance = POOR_BALANCE if fate == "poor" else random.randrange(20_000_000, 90_000_000)
        status = fate if fate in issuer.tables.CARD_STATUSES else issuer.tables.ACTIVE
        name = f"shopper-{number + 1:04d}"
        wallet.append(issue(bank_of(number), random, now, name, balance, status))
    if products:
        authority = found(modules["switch"], banks, now)
        for number, product in enumerate(products):
            name = f"{product.replace('_', '-')}-{number + 1:02d}"
            wallet.append(issue_product(bank_of(number), random, now, name, product, authority))
        set_ca_key(units["acquirer"], authority.authority.public_key.build(), now)
        units["acquirer"].commit()
    for bank in banks:
        bank.unit.commit()
    keys = {member_id: zone.hex().upper() for member_id, zone in zones.items()}
    return DemoData(terminals, published, wallet, chips(random, imks), zones=keys)


def iso_time(instant: Instant) -> str:
    """An instant for people, in China Standard Time."""
    return local_time(instant).isoformat(timespec="seconds")


_PENDING: Final[Mapping[str, Sequence[tuple[type[Row], Mapping[str, str]]]]] = {
    **{one.party: ((issuer.token_tables.Question, {"status": "pending"}),) for one in ISSUERS},
    "switch": (
        (switch.tables.Transaction, {"status": "pending"}),
        *((switch.tables.Advice, {"pending_for": one.member_id}) for one in ISSUERS),
        (switch.tables.Claim, {"status": "pending"}),
    ),
    "acquirer": (
        (acquirer.tables.Transaction, {"status": "pending"}),
        (acquirer.tables.Transaction, {"kind": "offline", "status": "accepted"}),
        (acquirer.tables.Advice, {"status": "pending"}),
    ),
    "merchant_device": (
        *((merchant_device.tables.Sale, {"status": status}) for status in ("pending", "reversing", "offline")),
        *((merchant_device.order_tables.Order, {"status": status}) for status in ("open", "withdrawing")),
    ),
}


def is_settled(party: str, store: Store) -> bool:
    """Whether nothing is pending in a party's store: no request without an answer, no advice unacknowledged."""
    with store.read() as connection:
        for row, conditions in _PENDING[party]:
            columns = store.tables[row].c
            pending = sa.select(sa.literal(1)).where(*(columns[name] == value for name, value in conditions.items()))
            if connection.execute(pending.limit(1)).first() is not None:
                return False
    return True


def reversals(store: Store) -> int:
    """How many sales the phones of this store have reversed, or are reversing."""
    sales = store.tables[merchant_device.tables.Sale]
    count = sa.select(sa.func.count()).select_from(sales).where(sales.c.status.in_(("reversing", "reversed")))
    with store.read() as connection:
        return int(connection.execute(count).scalar_one())


def signed_on(store: Store) -> int:
    """How many phones of this store are signed on."""
    phones = store.tables[merchant_device.tables.Phone]
    count = sa.select(sa.func.count()).select_from(phones).where(phones.c.status == merchant_device.tables.SIGNED_ON)
    with store.read() as connection:
        return int(connection.execute(count).scalar_one())


def _seed_terminals(
    units: Mapping[str, UnitOfWork],
    modules: Mapping[str, SecurityModule],
    random: Random,
    now: Instant,
    phones: int,
    free: int,
) -> list[Terminal]:
    merchants = []
    for number, (name, city, category) in enumerate(_MERCHANTS, 1):
        merchant_id = f"89829005411{number:04d}"
        enrolment.add_merchant(
            units["acquirer"], merchant_id=merchant_id, name=name, city=city, category=category, now=now
        )
        merchants.append(merchant_id)
    terminals = []
    for number in range(phones + free):
        terminal = Terminal(
            f"{number + 1:08d}",
            merchants[number % len(merchants)],
            random.randbytes(16).hex().upper(),
            free=number >= phones,
        )
        clear = bytes.fromhex(terminal.tmk)
        usage = KeyUsage.KEY_ENCRYPTION
        label = f"terminal {terminal.terminal_id}"
        enrolment.add_terminal(
            units["acquirer"],
            modules["acquirer"],
            terminal_id=terminal.terminal_id,
            merchant_id=terminal.merchant_id,
            master_key=modules["acquirer"].import_clear(usage, Algorithm.TDES_DOUBLE, clear, label),
            now=now,
        )
        if not terminal.free:
            tmk = modules["merchant_device"].import_clear(usage, Algorithm.TDES_DOUBLE, clear, label)
            install_terminal(
                units["merchant_device"],
                modules["merchant_device"],
                terminal.terminal_id,
                terminal.merchant_id,
                tmk,
            )
        terminals.append(terminal)
    units["acquirer"].commit()
    units["merchant_device"].commit()
    return terminals
