"""The demo network: who takes part, which keys they share, which cards and terminals there are.

All its keys are demo keys. They are made here, from the randomness that is given, and nowhere else; what an outside
client needs of them is published in ``network.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, Final

import sqlalchemy as sa

import acquirer.tables
import issuer.tables
import merchant_device.tables
import switch.tables
from acquirer import enrolment
from acquirer.configuration import Configuration as AcquirerConfiguration
from acquirer.party import Acquirer
from issuer import installation, personalisation
from issuer.configuration import Configuration as IssuerConfiguration
from issuer.party import Issuer
from issuer.personalisation import IssuedCard, Limits
from merchant_device.configuration import Configuration as DeviceConfiguration
from merchant_device.installation import install_terminal
from merchant_device.party import MerchantDevice
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.party import Instant, Party, local_time
from network.store import Row, Store, UnitOfWork
from scenarios.stage import Card
from switch import membership
from switch.configuration import Configuration as SwitchConfiguration
from switch.party import Switch

SWITCH_ID: Final = "00010000"
ISSUER_ID: Final = "03090000"
ACQUIRER_ID: Final = "48020000"
BIN: Final = "622848"
KEY_SET: Final = "demo"

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
class DemoCard:
    """A demo card and all that is secret about it."""

    name: str
    pan: str = field(repr=False)
    sequence: str
    expiry: str
    track2: str = field(repr=False)
    pin: str = field(repr=False)
    balance: int
    imk_ac: str = field(repr=False)
    atc: int = 0

    def published(self) -> dict[str, Any]:
        """As ``network.json`` has it."""
        content = asdict(self)
        del content["atc"]
        return content


@dataclass(frozen=True)
class Chips:
    """Where the keys of virtual chips live: a security module of their own, as each real chip is one."""

    module: SecurityModule
    imk_ac: KeyHandle


@dataclass(frozen=True)
class DemoData:
    """What the seed made."""

    terminals: list[Terminal]
    cards: list[DemoCard]
    wallet: list[DemoCard]
    chips: Chips


@dataclass(frozen=True)
class Blueprint:
    """How to make one of the parties."""

    module: SecurityModule
    rows: Sequence[type[Row]]
    make: Callable[[], Party]


def configurations(timeouts: Timeouts) -> dict[str, Any]:
    """The parties' configurations in the demo network."""
    return {
        "issuer": IssuerConfiguration(issuer_id=ISSUER_ID, switch_id=SWITCH_ID),
        "switch": SwitchConfiguration(
            switch_id=SWITCH_ID, issuer_timeout=timeouts.issuer, advice_retry=timeouts.advice_retry
        ),
        "acquirer": AcquirerConfiguration(
            acquirer_id=ACQUIRER_ID,
            switch_id=SWITCH_ID,
            switch_timeout=timeouts.switch,
            advice_retry=timeouts.advice_retry,
        ),
        "merchant_device": DeviceConfiguration(
            acquirer_timeout=timeouts.acquirer, reversal_retry=timeouts.reversal_retry, pin_always=True
        ),
    }


def build(random: Random, timeouts: Timeouts) -> dict[str, Blueprint]:
    """The four parties for a world in one process, each with a security module of its own."""
    settings = configurations(timeouts)
    modules = {name: SecurityModule(random.randbytes(32), random) for name in settings}
    makers: dict[str, Callable[[], Party]] = {
        "issuer": lambda: Issuer(settings["issuer"], modules["issuer"]),
        "switch": lambda: Switch(settings["switch"], modules["switch"]),
        "acquirer": lambda: Acquirer(settings["acquirer"], modules["acquirer"]),
        "merchant_device": lambda: MerchantDevice(settings["merchant_device"], modules["merchant_device"]),
    }
    return {name: Blueprint(modules[name], ROWS[name], make) for name, make in makers.items()}


ROWS: Final[Mapping[str, Sequence[type[Row]]]] = {
    "issuer": issuer.tables.TABLES,
    "switch": switch.tables.TABLES,
    "acquirer": acquirer.tables.TABLES,
    "merchant_device": merchant_device.tables.TABLES,
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
) -> DemoData:
    """Fill the empty stores of all parties with the demo network.

    Parameters
    ----------
    phones, free_terminals
        Terminals that the device's store has, and further ones that only the acquirer knows.
    cards
        Cards in the wallet, besides the published ones.
    """
    modules = {name: party.module if isinstance(party, Blueprint) else party for name, party in parties.items()}
    zones = {ISSUER_ID: random.randbytes(16), ACQUIRER_ID: random.randbytes(16)}
    imk = random.randbytes(16)
    units = {name: store.unit_of_work() for name, store in stores.items()}

    def key(party: str, clear: bytes, usage: KeyUsage, label: str) -> KeyHandle:
        return modules[party].import_clear(usage, Algorithm.TDES_DOUBLE, clear, label)

    def master_key(party: str, clear: bytes, label: str) -> KeyHandle:
        return key(party, clear, KeyUsage.KEY_ENCRYPTION, label)

    unit = units["switch"]
    for member_id, name in ((ISSUER_ID, "Demo Bank"), (ACQUIRER_ID, "Demo Acquiring")):
        zone_key = master_key("switch", zones[member_id], f"zone {member_id}")
        membership.add_member(unit, modules["switch"], member_id=member_id, name=name, master_key=zone_key, now=now)
    membership.add_route(unit, prefix=BIN, member_id=ISSUER_ID, now=now)
    unit.commit()

    enrolment.join_network(
        units["acquirer"],
        modules["acquirer"],
        switch_id=SWITCH_ID,
        master_key=master_key("acquirer", zones[ACQUIRER_ID], "zone"),
        now=now,
    )
    terminals = _seed_terminals(units, modules, random, now, phones, free_terminals)

    unit = units["issuer"]
    installation.install(unit, modules["issuer"])
    zone_key = master_key("issuer", zones[ISSUER_ID], "zone")
    installation.join_network(unit, modules["issuer"], switch_id=SWITCH_ID, master_key=zone_key, now=now)
    master = KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM
    personalisation.add_key_set(unit, modules["issuer"], KEY_SET, imk_ac=key("issuer", imk, master, "demo AC"))
    published, wallet = [], []
    for number in range(PUBLISHED_CARDS):
        balance = POOR_BALANCE if number == PUBLISHED_CARDS - 1 else PUBLISHED_BALANCE
        published.append(_issue(unit, modules["issuer"], random, now, f"card-{number + 1:03d}", balance, imk))
    for number in range(cards):
        fate = DISTINGUISHED.get(number % 100, "active")
        balance = POOR_BALANCE if fate == "poor" else random.randrange(20_000_000, 90_000_000)
        status = fate if fate in issuer.tables.CARD_STATUSES else issuer.tables.ACTIVE
        name = f"shopper-{number + 1:04d}"
        wallet.append(_issue(unit, modules["issuer"], random, now, name, balance, imk, status))
    unit.commit()
    return DemoData(terminals, published, wallet, chips(random, imk))


def chips(random: Random, imk_ac: bytes) -> Chips:
    """A place for virtual chips, whose keys come from the issuer's master key."""
    module = SecurityModule(random.randbytes(32), random)
    usage = KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM
    return Chips(module, module.import_clear(usage, Algorithm.TDES_DOUBLE, imk_ac, "demo AC"))


def hold(card: DemoCard, place: Chips) -> Card:
    """A demo card in somebody's hand: a chip that answers, and the PIN its holder knows."""
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
    chip = personalisation.make_chip(personalisation.chip_personalisation(issued), place.module, place.imk_ac, card.atc)
    return Card(chip, card.pin, card.name)


def at_counter(card: DemoCard, atc: int) -> DemoCard:
    """The card with its transaction counter at `atc`."""
    return replace(card, atc=atc)


def iso_time(instant: Instant) -> str:
    """An instant for people, in China Standard Time."""
    return local_time(instant).isoformat(timespec="seconds")


_PENDING: Final[Mapping[str, Sequence[tuple[type[Row], str, tuple[str, ...]]]]] = {
    "issuer": (),
    "switch": (
        (switch.tables.Transaction, "status", ("pending",)),
        (switch.tables.Advice, "pending_for", (ISSUER_ID,)),
    ),
    "acquirer": (
        (acquirer.tables.Transaction, "status", ("pending",)),
        (acquirer.tables.Advice, "status", ("pending",)),
    ),
    "merchant_device": ((merchant_device.tables.Sale, "status", ("pending", "reversing")),),
}


def is_settled(party: str, store: Store) -> bool:
    """Whether nothing is pending in a party's store: no request without an answer, no advice unacknowledged."""
    with store.read() as connection:
        for row, name, states in _PENDING[party]:
            column = store.tables[row].c[name]
            if connection.execute(sa.select(column).where(column.in_(states)).limit(1)).first() is not None:
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


def _issue(
    unit: UnitOfWork,
    module: SecurityModule,
    random: Random,
    now: Instant,
    name: str,
    balance: int,
    imk: bytes,
    status: str = issuer.tables.ACTIVE,
) -> DemoCard:
    personalisation.open_account(unit, account_id=name, now=now, balance=balance)
    pin = f"{random.randrange(10**6):06d}"
    issued = personalisation.issue_card(
        unit,
        module,
        random,
        bin_prefix=BIN,
        account_id=name,
        key_set_id=KEY_SET,
        expiry=f"{(local_time(now).year + 4) % 100:02d}12",
        pin=pin,
        limits=Limits(daily_amount=10**11, daily_count=10**6),
    )
    row = unit.find(issuer.tables.Card, "pan_index", issued.pan_index)
    assert row is not None  # noqa: S101 - it was inserted just now
    row.status = status
    return DemoCard(
        name=name,
        pan=issued.pan,
        sequence=issued.sequence,
        expiry=issued.expiry,
        track2=issued.chip_track2,
        pin=pin,
        balance=balance,
        imk_ac=imk.hex().upper(),
    )
