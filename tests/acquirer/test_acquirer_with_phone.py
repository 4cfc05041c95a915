"""A real phone at the acquirer: bound, attested before each payment, wiped, and bound anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from acquirer_bed import PAN, Bed
from phone_bed import APPLICANT, MAKER, PLACE, STATE, TrustingBed, device_row

from merchant_device.configuration import Configuration
from merchant_device.device_tables import SecureElement
from merchant_device.monitoring import Monitoring
from merchant_device.party import MerchantDevice
from merchant_device.secure_element import SecureElements, manufacture, read_state, write_state
from merchant_device.tables import TABLES, Sale
from network.attestation import VerifiedBootState
from network.deadlines import Deadlines
from network.emv import tlv
from network.keys import SecurityModule
from network.party import SECOND, Command, Json, LinkChange, Received, Turn, Work, take_turn
from network.store import Store

DEVICE = "SN-0001"
AID = bytes.fromhex("A000000333010101")


def card(apdu: bytes) -> bytes:
    """A card that asks for no PIN and leaves after GET PROCESSING OPTIONS."""
    if apdu[1] == 0xA4:
        name = apdu[5 : 5 + apdu[4]]
        entry = tlv.encode("61", tlv.encode("4F", AID) + tlv.encode("87", b"\x01"))
        first = name == b"2PAY.SYS.DDF01"
        proprietary = tlv.encode("BF0C", entry) if first else tlv.encode("9F38", bytes.fromhex("9F66049F02069F3704"))
        return tlv.encode("6F", tlv.encode("84", name) + tlv.encode("A5", proprietary)) + b"\x90\x00"
    if apdu[1] == 0xA8:
        data = {
            "82": b"\x1c\x00",
            "9F36": b"\x00\x05",
            "57": bytes.fromhex(f"{PAN}D30122200000000F"),
            "9F26": bytes.fromhex("A1A2A3A4A5A6A7A8"),
            "9F10": bytes.fromhex("07010103A0000001"),
            "5F34": b"\x01",
            "9F6C": b"\x00\x00",
        }
        return tlv.encode("77", tlv.encode_all(data)) + b"\x90\x00"
    return b""


class RealPhone:
    """The merchant device as a party between a card and the acquirer of `bed`; its App on-boards it."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.random = Random(77)
        self.module = SecurityModule(bytes(range(1, 33)), Random(5))
        self.store = Store("sqlite://", TABLES, durable=False)
        self.unit = self.store.unit_of_work()
        self.party = MerchantDevice(Configuration(), self.module, (SecureElements, Monitoring))
        self.deadlines = Deadlines()
        self.work = Work([], [], [], [])
        self.answers: dict[int, object] = {}
        self.tickets = 0
        self.switch_answers = True
        self.is_deaf = False
        self.sent: list[tuple[str, bytes]] = []
        manufacture(self.unit, self.module, MAKER, DEVICE, STATE, bed.now)
        self.unit.commit()
        applied = self.at_acquirer("onboarding_apply", **APPLICANT)
        self.access: dict[str, Json] = {"application_id": applied["application_id"], "token": applied["token"]}
        self.at_acquirer("onboarding_review", application_id=applied["application_id"], approve=True)
        self.terminal = self.bind()
        self.work.link_changes += [LinkChange(f"{one}:{self.terminal}", True) for one in ("acquirer", "monitor")]
        self.run()

    def bind(self, **terminal: Json) -> str:
        """Attest, bind and install; gives the terminal's id."""
        challenge = self.at_acquirer("onboarding_challenge", **self.access)["challenge"]
        shown = self.ask("attest", device=DEVICE, challenge=challenge)
        evidence = {name: shown[name] for name in ("chain", "signature", "signals")}
        bound = self.at_acquirer("onboarding_bind", **self.access, **evidence, place=PLACE, **terminal)
        answer = self.ask(
            "install",
            device=DEVICE,
            terminal=bound["terminal_id"],
            merchant=bound["merchant_id"],
            wrapped_tmk=bound["wrapped_tmk"],
            place=PLACE,
        )
        return str(answer["terminal"])

    def at_acquirer(self, name: str, /, **arguments: Json) -> dict[str, Json]:
        answer = self.bed.command(name, **arguments)
        assert isinstance(answer, dict), answer
        return answer

    def ask(self, name: str, **arguments: Json) -> dict[str, Json]:
        answer = self.answers[self.command(name, **arguments)]
        assert isinstance(answer, dict), answer
        return answer

    def command(self, name: str, **arguments: Json) -> int:
        self.tickets += 1
        self.work.commands.append(Command(name, arguments, self.tickets))
        self.run()
        return self.tickets

    def run(self) -> None:
        """Let messages travel until all is quiet."""
        for _ in range(200):
            work, self.work = self.work, Work([], [], [], [])
            work.due += self.deadlines.pop_due(self.bed.now, 100)
            if not len(work):
                return
            self.sent.clear()
            assert not take_turn(self.party, self.bed.now, self.random, self.unit, work, self.take)
            for link, body in list(self.sent):
                self.carry(link.partition(":")[0], body)
        raise AssertionError("the phone does not come to rest")

    def take(self, turn: Turn) -> None:
        for key, at in turn.timers:
            self.deadlines.set(key, at)
        self.answers.update(turn.answers)
        self.sent += turn.sent

    def carry(self, kind: str, body: bytes) -> None:
        if kind == "reader":
            self.work.inbox.append(Received(f"reader:{self.terminal}", card(body)))
        elif kind in ("acquirer", "monitor"):
            link = f"{kind}:the phone" if kind == "monitor" else "terminal:the phone"
            before = len(self.bed.switch.received)
            self.back(self.bed.pump(self.bed.messages((link, body))))
            for message in self.bed.switch.received[before:]:
                if self.switch_answers or message.mti == "0420":
                    self.back(self.bed.answer(self.bed.switch.answer(message)))

    def back(self, answers: list[tuple[str, bytes]]) -> None:
        for link, body in () if self.is_deaf else answers:
            kind = "monitor" if link.startswith("monitor") else "acquirer"
            self.work.inbox.append(Received(f"{kind}:{self.terminal}", body))

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.bed.now += SECOND
            self.run()

    def element(self) -> SecureElement:
        found = self.store.unit_of_work().find(SecureElement, "device_id", DEVICE)
        assert found is not None
        return found

    def statuses(self) -> list[str]:
        unit = self.store.unit_of_work()
        names = ("pending", "approved", "reversing", "reversed")
        return [sale.status for name in names for sale in unit.scan(Sale, "status", name, 100)]


@pytest.fixture
def phone(empty: Store) -> Iterator[RealPhone]:
    bed = TrustingBed(empty)
    bed.connect()
    made = RealPhone(bed)
    yield made
    bed.unit.rollback()
    assert not bed.failures


def sell(phone: RealPhone, amount: int = 1250) -> dict[str, Json]:
    return phone.ask("sale", terminal=phone.terminal, amount=amount)


def test_payments_on_a_phone_that_is_what_it_says(phone: RealPhone) -> None:
    for _ in range(3):
        assert sell(phone)["outcome"] == "approved"
        phone.pass_time(40)
    assert phone.bed.balances()["receivable:network"] == 3 * 1250


def test_a_phone_whose_system_was_changed(phone: RealPhone) -> None:
    assert sell(phone)["outcome"] == "approved"
    phone.pass_time(61)
    element = phone.unit.find(SecureElement, "device_id", DEVICE)
    assert element is not None
    phone.unit.change(element)
    element.state = write_state(replace(read_state(element.state), verified_boot_state=VerifiedBootState.UNVERIFIED))
    phone.unit.commit()
    receipt = sell(phone)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "not attested: boot not verified")
    assert phone.bed.balances()["receivable:network"] == 1250


def test_tampering_in_the_middle_of_a_sale_leaves_nobody_with_wrong_money(phone: RealPhone) -> None:
    phone.switch_answers = False
    ticket = phone.command("sale", terminal=phone.terminal, amount=1250)
    assert ticket not in phone.answers
    phone.switch_answers = True
    assert phone.ask("signal", device=DEVICE, signals=["debugger"])["wiped"] is True
    assert phone.element().status == "wiped", "the acquirer has noted it"
    assert phone.statuses() == ["reversing"]
    assert [row.status for row in phone.bed.rows()] == ["reversed"]
    assert phone.bed.balances() == {}
    late = phone.bed.switch.answer(next(one for one in phone.bed.switch.received if one.mti == "0200"))
    phone.back(phone.bed.answer(late))
    phone.run()
    assert phone.bed.balances() == {}

    assert phone.bind(terminal_id=phone.terminal) == phone.terminal
    assert phone.statuses() == ["reversed"]
    assert sell(phone)["outcome"] == "approved"
    assert phone.bed.balances()["receivable:network"] == 1250


def test_a_phone_that_missed_its_sign_on_is_heard_all_the_same(phone: RealPhone) -> None:
    """The acquirer has given new keys, and the answer that brought them is lost."""
    phone.is_deaf = True
    phone.command("sign_on", terminal=phone.terminal)
    assert phone.ask("signal", device=DEVICE, signals=["root"])["wiped"] is True
    phone.is_deaf = False
    assert device_row(phone.bed.store, DEVICE).status == "suspended"
    assert phone.element().status == "leaving", "an answer under keys that it has never had is none"
    phone.pass_time(1)
    assert phone.bind(terminal_id=phone.terminal) == phone.terminal
    assert sell(phone)["outcome"] == "approved"


def test_a_kill_by_the_operator(phone: RealPhone) -> None:
    assert sell(phone)["outcome"] == "approved"
    phone.bed.tickets += 1
    kill = Command("device_kill", {"device_id": DEVICE, "reason": "stolen"}, phone.bed.tickets)
    phone.back(phone.bed.pump(phone.bed.take(Work([], [], [kill], []))))
    phone.run()
    assert phone.element().status == "wiped"
    assert sell(phone)["reason"] == "the phone's keys were wiped"
    assert device_row(phone.bed.store, DEVICE).status == "killed"
