"""A test bed: an issuer on a real store and security module, and the switch's end of its link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from issuer.applet import ChipCard
from issuer.configuration import Configuration
from issuer.installation import install, join_network
from issuer.party import Issuer
from issuer.personalisation import (
    IssuedCard,
    Limits,
    add_key_set,
    chip_personalisation,
    issue_card,
    make_chip,
    open_account,
)
from issuer.tables import SETTLEMENT_ACCOUNT, TABLES
from network.emv import tlv
from network.iso8583 import INTERBANK, InterbankHeader, Message, interbank_mac_input
from network.keys import Algorithm, KeyHandle, KeyUsage, PinFormat, Scheme, SecurityModule
from network.ledger import CNY, trial_balance
from network.member import OriginalData, ZoneKeys, pack_with_mac
from network.party import (
    SECOND,
    Command,
    CommandError,
    Instant,
    Json,
    LinkChange,
    Party,
    Received,
    Turn,
    Work,
    instant_of,
    local_time,
    take_turn,
)
from network.store import Store, UnitOfWork, sqlite_url

ISSUER, SWITCH, ACQUIRER = "01990000", "00010000", "48020000"
LINK = "switch"
PIN = "123456"
IMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
NOON = instant_of(local_time(0).replace(year=2026, month=3, day=31, hour=12, minute=0, second=0))


@dataclass
class Bed:
    """The issuer under test and what is needed to talk to it."""

    path: Path
    configuration: Configuration = field(default_factory=Configuration)
    now: Instant = NOON

    def __post_init__(self) -> None:
        self.module = SecurityModule(bytes(range(32)), Random(7))
        self.random = Random(11)
        self.stan = 0
        self.store = Store(sqlite_url(self.path / "issuer.db"), TABLES, durable=False)
        unit = self.store.unit_of_work()
        install(unit, self.module)
        self.imk = self.module.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, IMK)
        master = self._key(KeyUsage.KEY_ENCRYPTION)
        join_network(unit, self.module, switch_id=SWITCH, master_key=master, now=self.now)
        self.master = master
        self.pin_key, self.mac_key = self._key(KeyUsage.PIN_ENCRYPTION), self._key(KeyUsage.MAC_ALGORITHM_3)
        zone = unit.find(ZoneKeys, "zone", SWITCH)
        assert zone is not None
        zone.pin_key, zone.mac_key = self.pin_key.block, self.mac_key.block
        self.keys = add_key_set(unit, self.module, "debit", imk_ac=self.imk, sm4=True)
        unit.commit()
        self.party = self.restart()

    def _key(self, usage: KeyUsage) -> KeyHandle:
        return self.module.load(self.module.generate(usage, Algorithm.TDES_DOUBLE))

    def restart(self) -> Issuer:
        """A new process on the same store: nothing that was not committed is known."""
        self.unit: UnitOfWork = self.store.unit_of_work()
        self.party = Issuer(self.configuration, self.module)
        turn = Turn(self.now, self.random, self.unit, Work([], [], [], []))
        self.party.start(turn)
        self.unit.commit()
        return self.party

    def open(self, account_id: str, balance: int, credit_limit: int = 0) -> None:
        open_account(self.unit, account_id=account_id, now=self.now, balance=balance, credit_limit=credit_limit)
        self.unit.commit()

    def issue(self, account_id: str, **wanted: object) -> IssuedCard:
        settings: dict[str, object] = {"expiry": "2903", "pin": PIN, **wanted}
        card = issue_card(
            self.unit,
            self.module,
            self.random,
            bin_prefix="625188",
            account_id=account_id,
            key_set_id="debit",
            **settings,  # type: ignore[arg-type]
        )
        self.unit.commit()
        return card

    def new_card(self, balance: int = 1_000_000, *, limits: Limits | None = None, **wanted: object) -> TestCard:
        """A card on an account of its own."""
        account = f"account-{self.random.randrange(10**9)}"
        self.open(account, balance)
        return TestCard(self, self.issue(account, limits=limits, **wanted))

    def take(
        self,
        *bodies: bytes,
        links: tuple[LinkChange, ...] = (),
        commands: tuple[Command, ...] = (),
        due: tuple[tuple[str, str], ...] = (),
        party: Party | None = None,
    ) -> Turn:
        """One turn of the issuer; an event that it cannot decide fails the test."""
        work = Work(list(links), [Received(LINK, body) for body in bodies], list(commands), list(due))
        turns: list[Turn] = []
        failures = take_turn(party or self.party, self.now, self.random, self.unit, work, turns.append)
        if failures:
            raise failures[0].error
        assert len(turns) == 1, "the turn was rolled back"
        return turns[0]

    def ask(self, *bodies: bytes) -> list[Message]:
        """The replies to messages of one turn; their MACs are checked."""
        replies = []
        for link, body in self.take(*bodies).sent:
            assert link == LINK
            reply = INTERBANK.unpack(body)
            assert isinstance(reply.header, InterbankHeader)
            assert (reply.header.source, reply.header.destination) == (ISSUER, SWITCH)
            assert self.module.verify_interbank_mac(self.mac_key, interbank_mac_input(reply), reply.binary(128))
            replies.append(reply)
        return replies

    def code(self, body: bytes) -> str:
        """DE39 of the one reply."""
        (reply,) = self.ask(body)
        return reply.text(39)

    def command(self, name: str, **arguments: Json) -> Json:
        """The answer to a command; a refusal is raised."""
        ((_, answer),) = self.take(commands=(Command(name, arguments, 1),)).answers
        if isinstance(answer, CommandError):
            raise answer
        return answer

    def later(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    # messages

    def seal(self, mti: str, fields: dict[int, str | bytes]) -> bytes:
        header = InterbankHeader(destination=ISSUER, source=SWITCH)
        return pack_with_mac(Message(mti, fields, header), self.module, self.mac_key)

    def identity(self) -> dict[int, str | bytes]:
        """DE7, 11, 12, 13, 32, 33, 37: a new transaction's."""
        self.stan += 1
        local = local_time(self.now)
        return {
            7: local.strftime("%m%d%H%M%S"),
            11: f"{self.stan:06d}",
            12: local.strftime("%H%M%S"),
            13: local.strftime("%m%d"),
            32: ACQUIRER,
            33: SWITCH,
            37: f"{self.stan:012d}",
        }

    def reversal_of(self, sale: bytes, **changes: str | None) -> bytes:
        """An 0420 for a packed 0200. `changes` are by element, ``de4="..."``; None takes one away."""
        original = INTERBANK.unpack(sale)
        fields = {n: original[n] for n in (2, 3, 4, 18, 22, 23, 25, 32, 33, 41, 42, 49) if n in original}
        mine = self.identity()
        fields |= {n: mine[n] for n in (7, 11, 12, 13)}
        fields |= {37: original[37], 15: "0331", 39: "98"}
        fields[90] = OriginalData("0200", original.text(11), original.text(7), original.text(32), SWITCH).pack()
        _change(fields, changes)
        return self.seal("0420", fields)

    # books

    def balance(self, account_id: str) -> int:
        """An account's committed balance; the books are proved on the way."""
        balance = trial_balance(self.store)
        assert balance.imbalance == 0
        return next(p.balance for p in balance.positions if p.account_id == account_id)

    @property
    def owed(self) -> int:
        """What the issuer owes the network."""
        return self.balance(SETTLEMENT_ACCOUNT)


def _change(fields: dict[int, str | bytes], changes: Mapping[str, str | bytes | None]) -> None:
    for name, value in changes.items():
        number = int(name.removeprefix("de"))
        if value is None:
            fields.pop(number, None)
        else:
            fields[number] = value


class TestCard:
    """An issued card with its chip, held to readers."""

    __test__ = False

    def __init__(self, bed: Bed, issued: IssuedCard) -> None:
        self.bed = bed
        self.issued = issued
        self.chip: ChipCard | None = None
        if issued.service_code[0] in "26":
            self.use_chip(Scheme.PBOC_3DES, 0x01)

    def use_chip(self, scheme: Scheme, version: int) -> None:
        bed = self.bed
        master = bed.imk if scheme is Scheme.PBOC_3DES else bed.module.load(bed.keys.imk_ac_sm4 or "")
        written = chip_personalisation(self.issued, scheme=scheme, cryptogram_version=version)
        self.chip = make_chip(written, bed.module, master)

    def tap(self, amount: int, qualifiers: str = "26000080") -> bytes:
        """DE55 of a contactless payment: the card's own answers, and what the reader adds."""
        assert self.chip is not None
        reader = {
            "9F66": bytes.fromhex(qualifiers),
            "9F02": bytes.fromhex(f"{amount:012d}"),
            "9F03": bytes(6),
            "9F1A": b"\x01\x56",
            "95": bytes(5),
            "5F2A": b"\x01\x56",
            "9A": bytes.fromhex("260331"),
            "9C": b"\x00",
            "9F37": self.bed.random.randbytes(4),
        }
        aid = self.chip.personalisation.aid
        assert self.chip.transmit(b"\x00\xa4\x04\x00" + bytes((len(aid),)) + aid)[-2:] == b"\x90\x00"
        data = b"".join(reader.values())
        command = b"\x80\xa8\x00\x00" + bytes((len(data) + 2, 0x83, len(data))) + data
        answer = self.chip.transmit(command)
        assert answer[-2:] == b"\x90\x00"
        card = tlv.flat(tlv.flat(answer[:-2])["77"])
        values = {tag: card[tag] for tag in ("9F26", "9F10", "9F36", "82")}
        values |= {tag: value for tag, value in reader.items() if tag != "9F66"}
        return tlv.encode_all({"9F27": b"\x80", **values})

    def pin_block(self, pin: str = PIN, pin_format: PinFormat = PinFormat.ISO_0) -> bytes:
        return self.bed.module.encrypt_pin(self.bed.pin_key, pin, self.issued.pan, pin_format)

    def fields(self, amount: int, pin: str | None = PIN, **changes: str | bytes | None) -> dict[int, str | bytes]:
        """Elements of a contactless sale. `changes` are by element, ``de22="022"``; None takes one away."""
        card = self.issued
        fields: dict[int, str | bytes] = {
            2: card.pan,
            3: "000000",
            4: f"{amount:012d}",
            14: card.expiry,
            18: "5411",
            22: "071" if pin else "072",
            23: card.sequence,
            25: "00",
            41: "00000001",
            42: "898310000000001",
            49: CNY,
            **self.bed.identity(),
        }
        if pin is not None:
            fields |= {26: "12", 52: self.pin_block(pin), 53: "2600000000000000"}
        if self.chip is not None and "de55" not in changes:
            fields[55] = self.tap(amount)
        _change(fields, changes)
        return fields

    def sale(self, amount: int, pin: str | None = PIN, **changes: str | bytes | None) -> bytes:
        """A packed 0200 sale."""
        return self.bed.seal("0200", self.fields(amount, pin, **changes))

    def enquiry(self, pin: str | None = PIN, **changes: str | bytes | None) -> bytes:
        """A packed 0200 balance enquiry."""
        return self.bed.seal("0200", self.fields(0, pin, **{"de3": "300000", "de4": None, **changes}))

    @property
    def balance(self) -> int:
        return self.bed.balance(self.issued.account_id)
