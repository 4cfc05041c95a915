"""A phone that has wiped its keys hands over what it owes: the acquirer takes it back, once, and says so."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from acquirer_bed import Bed
from phone_bed import Phone, TrustingBed

from network.attestation.monitoring_link import monitoring_text
from network.party import Json, Received, Work
from network.store import Store

NUMBER = "00112233445566ff"


@pytest.fixture
def trusting(empty: Store) -> Iterator[Bed]:
    bed = TrustingBed(empty)
    bed.connect()
    yield bed
    bed.unit.rollback()
    assert not bed.failures


@pytest.fixture
def phone(trusting: Bed) -> Phone:
    """A phone that may pay."""
    made = Phone(trusting)
    made.onboard()
    made.attest_all()
    return made


def farewell(phone: Phone, *owed: Json, kind: str = "alarm", **changes: Json) -> dict[str, Json]:
    content: dict[str, Json] = {"type": kind, "reversals": list(owed), "number": NUMBER}
    if kind == "alarm":
        content["signals"] = ["root"]
    return {**content, **changes}


def owed(phone: Phone, amount: int = 1250, stan: str | None = None) -> dict[str, Json]:
    """What the phone owes for its latest message."""
    assert phone.terminal is not None
    return {"batch": phone.terminal.batch, "stan": stan or f"{phone.terminal.stan:06d}", "amount": amount}


def noted(phone: Phone) -> dict[str, Json]:
    assert phone.terminal is not None
    return {"type": "noted", "terminal": phone.terminal.terminal_id, "number": NUMBER}


def advices_of(phone: Phone) -> list[str]:
    return [message.text(39) for message in phone.bed.switch.received if message.mti == "0420"]


@pytest.mark.parametrize("kind", ["alarm", "killed"])
@pytest.mark.parametrize("approved", [True, False])
def test_a_sale_is_taken_back_once(phone: Phone, kind: str, approved: bool) -> None:
    assert phone.terminal is not None
    body = phone.terminal.sale(1250, pin=None)
    if approved:
        assert phone.bed.pay(phone.terminal, body).fields[39] == "00"
        assert phone.bed.balances() != {}
    else:
        assert phone.bed.ask(phone.terminal, body) == []
    said = phone.pack(farewell(phone, owed(phone), kind=kind))
    assert phone.send(said) == [noted(phone)]
    assert phone.send(said) == [noted(phone)]
    assert phone.bed.balances() == {}
    assert advices_of(phone) == ["96"]
    (row,) = phone.bed.rows()
    assert row.status == "reversed"
    assert (phone.row().status, phone.row().reason) == (
        "suspended",
        "tamper signals: root" if kind == "alarm" else "keys wiped",
    )
    # the 0400 that the phone sent beside it
    (reply,) = phone.bed.ask(phone.terminal, phone.terminal.reversal(row.trace[-6:]))
    assert reply.fields[39] == "00"
    assert advices_of(phone) == ["96"]


def test_the_reversal_and_the_alarm_of_one_turn_are_one(phone: Phone) -> None:
    assert phone.terminal is not None
    assert phone.bed.pay(phone.terminal, phone.terminal.sale(1250, pin=None)).fields[39] == "00"
    alarm = phone.pack(farewell(phone, owed(phone)))
    reversal = phone.terminal.reversal(f"{phone.terminal.stan:06d}")
    phone.bed.pump(
        phone.bed.take(Work([], [Received(phone.terminal.link, reversal), Received(phone.link, alarm)], [], []))
    )
    assert phone.bed.balances() == {}
    assert len(advices_of(phone)) == 1


def test_a_late_answer_of_the_switch_changes_nothing(phone: Phone) -> None:
    assert phone.terminal is not None
    assert phone.bed.ask(phone.terminal, phone.terminal.sale(1250, pin=None)) == []
    request = phone.bed.switch.received[-1]
    phone.say(farewell(phone, owed(phone)))
    assert phone.bed.answer(phone.bed.switch.answer(request)) == []
    assert phone.bed.balances() == {}


def test_a_sale_that_comes_after_the_farewell_is_never_paid(phone: Phone) -> None:
    assert phone.terminal is not None
    sale = phone.terminal.sale(1250, pin=None)
    assert phone.say(farewell(phone, owed(phone))) == [noted(phone)]
    (reply,) = phone.bed.ask(phone.terminal, sale)
    assert reply.fields[39] in ("25", "58")
    assert not [message for message in phone.bed.switch.received if message.mti == "0200"]
    assert phone.say(farewell(phone, owed(phone))) == [noted(phone)]
    assert len([row for row in phone.bed.rows() if row.status == "tombstone"]) == 1


def test_a_sale_of_another_amount_is_not_taken_back(phone: Phone) -> None:
    assert phone.terminal is not None
    assert phone.bed.pay(phone.terminal, phone.terminal.sale(1250, pin=None)).fields[39] == "00"
    before = phone.bed.balances()
    phone.say(farewell(phone, owed(phone, 1251)))
    assert phone.bed.balances() == before
    assert phone.bed.party.dropped["monitoring: reversal of another sale"] == 1
    assert advices_of(phone) == []


def test_a_declined_sale_has_nothing_to_it(phone: Phone) -> None:
    assert phone.terminal is not None
    assert phone.bed.pay(phone.terminal, phone.terminal.sale(1250, pin=None), "51").fields[39] == "51"
    phone.say(farewell(phone, owed(phone)))
    assert advices_of(phone) == []
    assert phone.bed.balances() == {}


def test_it_is_taken_back_though_the_switch_is_away_and_the_process_dies(phone: Phone) -> None:
    assert phone.terminal is not None
    assert phone.bed.pay(phone.terminal, phone.terminal.sale(1250, pin=None)).fields[39] == "00"
    phone.bed.disconnect()
    assert phone.say(farewell(phone, owed(phone))) == [noted(phone)]
    assert advices_of(phone) == []
    phone.bed.restart()
    phone.bed.connect()
    phone.bed.wait(11)
    assert set(advices_of(phone)) == {"96"}


@pytest.mark.parametrize(
    "reversals",
    [
        None,
        "none",
        {},
        [None],
        [{}],
        [{"batch": "000001", "stan": "000001"}],
        [{"batch": "000001", "stan": "000001", "amount": "1"}],
        [{"batch": "000001", "stan": "000001", "amount": True}],
        [{"batch": "000001", "stan": "000001", "amount": 0}],
        [{"batch": "000001", "stan": "000001", "amount": 10**12}],
        [{"batch": "000001", "stan": "00001", "amount": 1}],
        [{"batch": "00000é", "stan": "000001", "amount": 1}],
        [{"batch": "000001", "stan": "000001\n", "amount": 1}],
        [{"batch": "000001", "stan": "000001", "amount": 1}] * 101,
    ],
)
def test_lists_that_are_none_are_dropped_whole(phone: Phone, reversals: Json) -> None:
    assert phone.say(farewell(phone, reversals=reversals)) == []
    assert phone.bed.party.dropped["monitoring: malformed"] == 1
    assert phone.row().status == "active"
    assert phone.bed.rows() == []


@pytest.mark.parametrize("number", [None, 7, "", "0" * 15, "0" * 17, "x" * 16, "0" * 16 + "\n"])
def test_who_gives_no_number_gets_no_answer(phone: Phone, number: Json) -> None:
    assert phone.say(farewell(phone, number=number)) == []
    assert phone.row().status == "suspended"


def test_a_killed_phone_hands_over_as_well(phone: Phone) -> None:
    assert phone.terminal is not None
    assert phone.bed.pay(phone.terminal, phone.terminal.sale(1250, pin=None)).fields[39] == "00"
    phone.bed.command("device_kill", device_id=phone.device.device_id, reason="stolen")
    assert phone.row().status == "killing"
    assert phone.say(farewell(phone, owed(phone), kind="killed")) == [noted(phone)]
    assert phone.row().status == "killed"
    assert phone.bed.balances() == {}


def test_an_alarm_ends_a_kill(phone: Phone) -> None:
    """The phone had wiped its keys before the kill reached it."""
    phone.bed.command("device_kill", device_id=phone.device.device_id, reason="stolen")
    assert phone.say(farewell(phone)) == [noted(phone)]
    assert phone.row().status == "killed"
    before = phone.bed.now
    sent = phone.bed.wait(60)
    assert phone.bed.now > before
    assert sent == [], "it is not told again"


def signed(phone: Phone, content: dict[str, Json]) -> dict[str, Json]:
    """An object as a phone signs it with its device key."""
    assert phone.terminal is not None
    said = {"type": content["type"], "terminal": phone.terminal.terminal_id, **content}
    signature = phone.module.sign_ec(phone.key, monitoring_text(said))
    return {**said, "signature": base64.b64encode(signature).decode()}


def test_the_device_key_is_believed_where_the_mac_key_has_changed(phone: Phone) -> None:
    """The phone has missed its last sign-on: what it owes is taken back all the same."""
    assert phone.terminal is not None
    assert phone.bed.pay(phone.terminal, phone.terminal.sale(1250, pin=None)).fields[39] == "00"
    content = signed(phone, farewell(phone, owed(phone)))
    text = monitoring_text(content)
    changed = monitoring_text({**content, "signals": []})
    request = monitoring_text(signed(phone, {"type": "challenge_request", "purpose": "transaction"}))
    unsigned = monitoring_text({**content, "signature": 7})
    junk = monitoring_text({**content, "signature": "é" * 20})
    for body in (changed, request, unsigned, junk):
        assert phone.send(b"00000000" + body) == []
    assert phone.bed.party.dropped["monitoring: mac"] == 4
    assert phone.bed.balances() != {}
    for _ in range(2):
        assert phone.send(b"00000000" + text) == [noted(phone)]
    assert phone.bed.balances() == {}
    assert advices_of(phone) == ["96"]
    assert phone.row().status == "suspended"


def test_what_was_said_before_a_phone_was_bound_anew_is_not_believed(phone: Phone) -> None:
    assert phone.terminal is not None
    said = monitoring_text(signed(phone, farewell(phone)))
    assert phone.send(b"00000000" + said) == [noted(phone)]
    phone.key = phone.module.generate_ec("device")
    assert isinstance(phone.bind(terminal_id=phone.terminal.terminal_id), dict)
    assert phone.bed.sign_on(phone.terminal).fields[39] == "00"
    assert phone.send(b"00000000" + said) == []
    assert phone.row().status == "active"
