"""Terminals with a device: what the switch is told of it, and payments while it is not attested."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from acquirer_bed import MERCHANT, Bed, Terminal
from further_messages import (
    CODE,
    OTHER_CODE,
    claim,
    claimed,
    code_sale,
    new_order,
    offline_sale,
    order,
    payments,
    sent,
    state,
)

from acquirer.device_tables import Device
from acquirer.tables import Terminal as TerminalRow
from network.iso8583.additional_data import decode_objects, encode_objects
from network.party import SECOND

DEVICE = "phone-0001"


@pytest.fixture
def attest(bed: Bed, terminal: Terminal) -> Callable[[float], None]:
    """Bind a device to the terminal; called, it makes the device attested for so many seconds from now."""
    row = bed.unit.find(TerminalRow, "terminal_id", terminal.terminal_id)
    assert row is not None
    bed.unit.change(row)
    row.device_id = DEVICE
    columns = dict.fromkeys(Device.spec.columns)
    kinds = dict(zip(Device.spec.columns, Device.spec.types, strict=True))
    blank: dict[str, object] = {
        name: None if nullable else kind() for name, (kind, nullable) in kinds.items() if name in columns
    }
    blank |= {"device_id": DEVICE, "terminal_id": terminal.terminal_id, "status": "active"}
    device = Device(**blank)  # type: ignore[arg-type]
    bed.unit.insert(device)
    bed.unit.commit()

    def for_seconds(seconds: float) -> None:
        found = bed.unit.find(Device, "device_id", DEVICE)
        assert found is not None
        bed.unit.change(found)
        found.attested_at = bed.now
        found.attested_until = bed.now + round(seconds * SECOND)
        bed.unit.commit()

    return for_seconds


def objects(bed: Bed, mti: str = "0200") -> dict[str, dict[str, str]]:
    return {tag: decode_objects(text) for tag, text in decode_objects(sent(bed, mti)[-1].text(59)).items()}


def test_the_switch_is_told_of_the_enrolled_device_and_its_attestation(
    bed: Bed, terminal: Terminal, attest: Callable[[float], None]
) -> None:
    attest(100)
    bed.now += 7 * SECOND
    said = encode_objects({"A2": {"02": "another", "03": "+31.2304,+121.4737"}, "A4": {"01": "1", "02": "0"}})
    bed.pay(terminal, terminal.sale(pin=None, de59=said))
    device = {"01": "11", "02": DEVICE, "03": "+31.2304,+121.4737"}
    attested = {"01": "1", "02": "7"}
    assert objects(bed) == {"A2": device, "A4": attested}
    bed.pay(terminal, terminal.sale(pin=None))
    assert objects(bed) == {"A2": {"01": "11", "02": DEVICE}, "A4": attested}
    bed.pay(terminal, code_sale(terminal))
    assert objects(bed)["A3"] == {"01": CODE}
    assert objects(bed)["A2"]["02"] == DEVICE
    assert objects(bed)["A4"] == attested
    number = new_order(bed, terminal)
    claimed(bed, claim(bed.switch, number))
    assert objects(bed) == {
        "A2": {"01": "11", "02": DEVICE},
        "A3": {"01": CODE},
        "A4": attested,
        "A5": {"01": number},
    }


def test_without_a_fresh_verdict_a_sale_is_58_and_stays_so(
    bed: Bed, terminal: Terminal, attest: Callable[[float], None]
) -> None:
    body = terminal.sale(pin=None)
    assert bed.ask(terminal, body)[0].fields[39] == "58"
    attest(10)
    # a late copy of what was refused is never paid
    assert bed.ask(terminal, body)[0].fields[39] == "58"
    assert payments(bed) == []
    paid = terminal.sale(pin=None)
    bed.pay(terminal, paid)
    assert bed.ask(terminal, terminal.sale())[0].fields[39] == "58"  # a PIN has a verdict of its own
    bed.now += 11 * SECOND
    assert bed.ask(terminal, terminal.sale(pin=None))[0].fields[39] == "58"
    # but what was paid is answered from the record, and can be taken back
    assert bed.ask(terminal, paid)[0].fields[39] == "00"
    assert bed.ask(terminal, terminal.reversal(f"{terminal.stan - 2:06d}"))[0].fields[39] == "00"
    assert bed.balances() == {}


def test_an_offline_sale_is_taken_of_a_device_that_is_not_attested(
    bed: Bed, terminal: Terminal, attest: Callable[[float], None]
) -> None:
    del attest
    assert bed.ask(terminal, offline_sale(terminal))[0].fields[39] == "00"
    assert objects(bed, "0220")["A4"]["01"] == "0"
    bed.answer(bed.switch.answer(sent(bed, "0220")[0]))
    assert bed.balances()[f"merchant:{MERCHANT}"] == 1250


def test_devices_of_a_turn_are_loaded_at_once(bed: Bed, terminal: Terminal, attest: Callable[[float], None]) -> None:
    attest(10)
    before = bed.unit.single_loads
    bed.ask(terminal, *[terminal.sale(pin=None) for _ in range(3)])
    assert bed.unit.single_loads == before
    assert len(payments(bed)) == 3


def test_junk_on_the_monitoring_link_is_dropped(bed: Bed) -> None:
    assert bed.messages(("monitor:1", b"junk"), ("monitor:1", b"")) == []
    assert sum(bed.party.dropped.values()) == 2
    assert not bed.failures


def changed(bed: Bed, **columns: object) -> None:
    """Change the device's row."""
    device = bed.unit.find(Device, "device_id", DEVICE)
    assert device is not None
    bed.unit.change(device)
    for name, value in columns.items():
        setattr(device, name, value)
    bed.unit.commit()


def test_a_device_says_neither_its_id_nor_its_type(
    bed: Bed, terminal: Terminal, attest: Callable[[float], None]
) -> None:
    """Rules of the switch that look at phones only must not be escaped by a phone that says it is none."""
    attest(10)
    bed.pay(terminal, terminal.sale(pin=None, de59=encode_objects({"A2": {"01": "04", "02": "another"}})))
    assert objects(bed)["A2"] == {"01": "11", "02": DEVICE}


def test_an_order_is_made_while_the_device_is_attested(
    bed: Bed, terminal: Terminal, attest: Callable[[float], None]
) -> None:
    assert bed.ask(terminal, order(terminal))[0].fields[39] == "58"
    attest(10)
    body = order(terminal)
    assert bed.ask(terminal, body)[0].fields[39] == "00"
    bed.now += 11 * SECOND
    assert bed.ask(terminal, order(terminal))[0].fields[39] == "58"
    # the answer was lost: the order is there
    assert bed.ask(terminal, body)[0].fields[39] == "00"
    # a static code is shown when no phone need be there
    assert bed.ask(terminal, order(terminal, None))[0].fields[39] == "00"


@pytest.mark.parametrize("status", ["suspended", "blocked", "killing", "killed", "replaced"])
@pytest.mark.parametrize("amount", [1250, None])
def test_an_order_of_a_device_out_of_service_is_not_paid(
    bed: Bed, terminal: Terminal, attest: Callable[[float], None], status: str, amount: int | None
) -> None:
    attest(10)
    number = new_order(bed, terminal, amount)
    changed(bed, status=status, attested_until=0)
    assert claimed(bed, claim(bed.switch, number)) == ["58"]
    assert bed.ask(terminal, order(terminal, amount))[0].fields[39] == "58"
    assert payments(bed) == []
    # how an order stands may be asked all the same
    assert state(bed, terminal, number) == "open"


def test_an_order_outlives_the_verdict_but_not_the_trust(
    bed: Bed, terminal: Terminal, attest: Callable[[float], None]
) -> None:
    """The payer takes his time: what the switch hears is how long ago the phone was attested, not that it is none."""
    attest(10)
    number = new_order(bed, terminal, None)
    bed.now += 90 * SECOND
    assert claimed(bed, claim(bed.switch, number)) == ["00"]
    assert objects(bed)["A4"] == {"01": "1", "02": "90"}
    changed(bed, attested_until=0)
    assert claimed(bed, claim(bed.switch, number, OTHER_CODE)) == ["58"]
    assert len(payments(bed)) == 1
