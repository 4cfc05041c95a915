"""The PIN core: positions in, a PIN block out, and nothing but that."""

import json
from random import Random

import pytest
from device_bed import PAN, PIN, TERMINAL_ID, Bed, typed
from hypothesis import given
from hypothesis import strategies as st

from merchant_device.configuration import Configuration
from merchant_device.pin_entry import NoPin, PinEntry, account_digits
from network.keys import PinFormat
from network.keys.errors import PinBlockError


def entering(bed: Bed) -> int:
    """A sale whose PIN is being asked for and not typed yet."""
    bed.pins[TERMINAL_ID] = None
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    assert bed.ask("status")["terminals"][0]["doing"] == "waiting for the PIN"  # type: ignore[index, call-overload]
    return ticket


def answer(bed: Bed, body: bytes) -> None:
    bed.receive(f"pinpad:{TERMINAL_ID}", body)
    bed.step()
    bed.settle()


def test_positions_become_the_pin_block_that_digits_make():
    bed = Bed()
    ticket = entering(bed)
    answer(bed, typed(bed.pad_requests[-1], PIN))
    assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.acquirer.pin_of(bed.acquirer.requests[-1])


@pytest.mark.parametrize(("length", "good"), [(3, False), (4, True), (12, True), (13, False), (0, False)])
def test_the_pin_has_four_to_twelve_digits(length, good):
    bed = Bed()
    ticket = entering(bed)
    entry = json.loads(bed.pad_requests[-1])["entry"]
    answer(bed, json.dumps({"entry": entry, "positions": [3] * length}).encode())
    receipt = bed.answer(ticket)
    expected = ("approved", None) if good else ("refused", "the PIN pad gave no PIN")
    assert (receipt["outcome"], receipt["reason"]) == expected
    assert len(bed.sales()) == good


def test_cancelled_on_the_pad():
    bed = Bed()
    bed.pins[TERMINAL_ID] = b""
    receipt = bed.ask("sale", amount=150_000)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the PIN entry was cancelled")
    assert bed.sales() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda entry: b"",
        lambda entry: b"135790",
        lambda entry: b"\xff" * 20,
        lambda entry: b"[" * 500,
        lambda entry: b"[" * 5000,
        lambda entry: b"null",
        lambda entry: json.dumps([entry]).encode(),
        lambda entry: json.dumps({"positions": [1, 2, 3, 4]}).encode(),
        lambda entry: json.dumps({"entry": "00000000", "positions": [1, 2, 3, 4]}).encode(),
        lambda entry: json.dumps({"entry": "\ud800", "cancelled": True}).encode(),
        lambda entry: json.dumps({"entry": "00000000", "cancelled": True}).encode(),
        lambda entry: json.dumps({"entry": entry.upper() + " ", "cancelled": True}).encode(),
        lambda entry: json.dumps({"entry": entry}).encode(),
        lambda entry: json.dumps({"entry": entry, "cancelled": "true"}).encode(),
        lambda entry: json.dumps({"entry": entry, "positions": "1234"}).encode(),
        lambda entry: json.dumps({"entry": entry, "positions": [1, 2, 3, 10]}).encode(),
        lambda entry: json.dumps({"entry": entry, "positions": [1, 2, 3, -1]}).encode(),
        lambda entry: json.dumps({"entry": entry, "positions": [1, 2, 3, True]}).encode(),
        lambda entry: json.dumps({"entry": entry, "positions": [1, 2, 3, 1.0]}).encode(),
        lambda entry: json.dumps({"entry": entry, "positions": ["1", "2", "3", "4"]}).encode(),
        lambda entry: json.dumps({"entry": entry, "positions": [1] * 400}).encode(),
    ],
)
def test_what_is_no_answer_to_the_entry_counts_for_nothing(make):
    bed = Bed()
    ticket = entering(bed)
    answer(bed, make(json.loads(bed.pad_requests[-1])["entry"]))
    assert ticket not in bed.answers
    assert bed.device.dropped == {"unexpected from the pinpad": 1}
    assert not bed.failures
    answer(bed, typed(bed.pad_requests[-1], PIN))
    assert bed.answer(ticket)["outcome"] == "approved"


def test_a_late_answer_is_not_the_next_entrys():
    bed = Bed()
    first = entering(bed)
    late = typed(bed.pad_requests[-1], PIN)
    bed.ask("cancel")
    assert bed.answer(first)["outcome"] == "refused"
    second = entering(bed)
    answer(bed, late)
    assert second not in bed.answers
    assert bed.device.dropped == {"unexpected from the pinpad": 1}


def test_an_answer_that_comes_twice_counts_once():
    bed = Bed()
    ticket = entering(bed)
    body = typed(bed.pad_requests[-1], PIN)
    bed.receive(f"pinpad:{TERMINAL_ID}", body)
    answer(bed, body)
    assert bed.answer(ticket)["outcome"] == "approved"
    assert len(bed.sales()) == 1
    assert bed.device.dropped == {"unexpected from the pinpad": 1}


def test_layouts_and_entries_differ_and_every_digit_wanders():
    core, random = ONE_BED.device._payments._pin, Random(3)
    asked = [json.loads(core.open(random, None)[1]) for _ in range(500)]
    assert len({one["entry"] for one in asked}) == 500
    assert all(sorted(one["layout"]) == list("0123456789") for one in asked)
    for position in range(10):
        found = [one["layout"][position] for one in asked]
        assert all(25 <= found.count(digit) <= 80 for digit in "0123456789")


def test_each_entry_of_a_phone_has_its_own_layout():
    bed = Bed()
    for _ in range(10):
        bed.ask("sale", amount=150_000)
    asked = [json.loads(request) for request in bed.pad_requests]
    assert len({one["layout"] for one in asked}) == len({one["entry"] for one in asked}) == 10


def test_lengths_are_the_configured_ones():
    bed = Bed(configuration=Configuration(pin_minimum=6, pin_maximum=6))
    bed.pins[TERMINAL_ID] = b"1357"
    assert bed.ask("sale", amount=150_000)["reason"] == "the PIN pad gave no PIN"
    bed.pins[TERMINAL_ID] = PIN
    assert bed.ask("sale", amount=150_000)["outcome"] == "approved"
    assert bed.acquirer.requests[-1][26] == "06"


@given(st.text("0123456789", min_size=8, max_size=19), st.text("0123456789", min_size=4, max_size=12))
def test_twelve_digits_make_the_block_of_the_whole_card_number(pan, pin):
    bed = ONE_BED
    phone = bed.phone()
    key = bed.module.load(phone.pik or "")
    whole = bed.module.encrypt_pin(key, pin, pan, PinFormat.ISO_0)
    assert bed.device._keystore.pin_block(phone, pin, account_digits(pan)) == whole
    assert len(account_digits(pan)) == 12


def test_an_entry_does_not_show_its_layout():
    core = ONE_BED.device._payments._pin
    entry, _ = core.open(Random(1), 5)
    assert entry.layout not in repr(entry)
    taken = core.take(PinEntry("0badcafe", "0123456789"), ONE_BED.phone(), b'{"entry":"0badcafe","positions":[]}', None)
    assert taken is NoPin.LENGTH


def test_a_block_without_pan_is_not_bound_to_a_card():
    bed = ONE_BED
    phone = bed.phone()
    key = bed.module.load(phone.pik or "")
    block = bed.device._keystore.pin_block(phone, "1234", None)
    assert bed.module.translate_pin(key, key, block, PAN, PinFormat.WITHOUT_PAN, PinFormat.WITHOUT_PAN) == block
    with pytest.raises(PinBlockError):
        bed.module.translate_pin(key, key, block, PAN, PinFormat.ISO_0, PinFormat.ISO_0)


ONE_BED = Bed()
ONE_BED.settle()
