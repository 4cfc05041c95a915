"""The payer's phone: held to a reader, its confirmation, its keys, its codes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
from wallet_bed import TOKEN, WalletBed

from issuer.payer_phone import PayerPhone, PayerPhoneError
from network.emv import tlv
from network.emv.qr import PayerCode
from network.keys import SecurityModule
from network.party import SECOND, Json

SMALL, LARGE = 100_000, 100_001
VERIFY = "20400080"  # the reader wants the holder verified


@pytest.fixture
def bed(tmp_path: Path) -> WalletBed:
    return WalletBed(tmp_path)


def status(bed: WalletBed, phone: PayerPhone, amount: int, qualifiers: str = "26000080") -> str:
    return bed.options(phone, amount, qualifiers)[1][-2:].hex()


def qualifiers_of(answer: bytes) -> str:
    return tlv.flat(tlv.flat(answer[:-2])["77"])["9F6C"].hex()


@pytest.mark.parametrize(
    ("amount", "qualifiers", "confirmed", "answer"),
    [
        (SMALL, "26000080", False, "9000"),
        (LARGE, "26000080", False, "6986"),
        (LARGE, "26000080", True, "9000"),
        (1, VERIFY, False, "6986"),
        (1, VERIFY, True, "9000"),
    ],
)
def test_what_must_be_confirmed(bed: WalletBed, amount: int, qualifiers: str, confirmed: bool, answer: str) -> None:
    phone = bed.provision(bed.new_card())
    if confirmed:
        phone.confirm()
    assert status(bed, phone, amount, qualifiers) == answer
    assert phone.atc == int(answer == "9000"), "a payment that did not begin uses no counter"


def test_a_confirmation_is_for_one_payment_within_a_minute(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    phone.confirm()
    _, first = bed.options(phone, LARGE)
    assert qualifiers_of(first) == "0080"
    assert status(bed, phone, LARGE) == "6986"
    _, small = bed.options(phone, 1)
    assert qualifiers_of(small) == "0000", "what nobody confirmed is not said to be verified"
    phone.confirm()
    bed.later(60)
    assert status(bed, phone, LARGE) == "9000"
    phone.confirm()
    bed.later(60.1)
    assert status(bed, phone, LARGE) == "6986"


def test_see_phone_then_confirm_then_tap_again(bed: WalletBed) -> None:
    card = bed.new_card(1_000_000)
    phone = bed.provision(card)
    assert status(bed, phone, LARGE) == "6986"
    phone.reset()
    phone.confirm()
    assert bed.code(bed.token_sale(card, LARGE, bed.tap(phone, LARGE))) == "00"


def test_keys_run_out_and_are_replenished(bed: WalletBed) -> None:
    card = bed.new_card(1_000_000)
    phone = bed.provision(card)
    for left in range(30, 0, -1):
        assert phone.payments_left == left
        chip = bed.code_data(phone.show_code()) if left % 2 else bed.tap(phone, 100)
        assert bed.code(bed.token_sale(card, 100, chip, mode="032" if left % 2 else "072")) == "00"
    assert phone.payments_left == 0
    assert status(bed, phone, 100) == "6985"
    with pytest.raises(PayerPhoneError, match="no key left"):
        phone.show_code()
    answer = bed.wallet(phone, "replenish")
    assert isinstance(answer, dict)
    phone.replenished(answer)
    assert phone.payments_left == 30
    assert bed.code(bed.token_sale(card, 100, bed.tap(phone, 100))) == "00"
    assert phone.atc == 31


def test_a_code_holds_what_the_switch_needs(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    phone.confirm()
    code = PayerCode.parse(phone.show_code())
    assert (code.token, code.expiry, code.sequence) == (TOKEN, "2812", "000")
    assert int.from_bytes(code.unpredictable_number) == bed.now // SECOND
    assert (code.atc, code.iad.hex()) == (b"\x00\x01", "07011703a4000001")
    unconfirmed = PayerCode.parse(phone.show_code())
    assert (unconfirmed.atc, unconfirmed.iad.hex()) == (b"\x00\x02", "07011703a0000001")
    assert unconfirmed.cryptogram != code.cryptogram


def test_without_a_token(bed: WalletBed) -> None:
    phone = bed.new_phone()
    for ask in (lambda: phone.transmit(b"\x00\xa4\x04\x00"), phone.show_code, lambda: phone.signed("payments")):
        with pytest.raises(PayerPhoneError, match="no token"):
            ask()


def test_what_needs_confirmation_is_not_signed_without(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    for name in ("request_code", "pay_order"):
        with pytest.raises(PayerPhoneError, match="not confirmed"):
            phone.signed(name)
        phone.confirm()
        assert phone.signed(name)["verified"] is True
        with pytest.raises(PayerPhoneError, match="not confirmed"):
            phone.signed(name)


def provisioned(bed: WalletBed, phone: PayerPhone) -> dict[str, Json]:
    bed.give("provision_token", pan=bed.new_card().issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    ((_, answer),) = bed.reply(de103=TOKEN, de14="2812")
    assert isinstance(answer, dict)
    return dict(answer)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token": "62990000"}, "pan"),
        ({"token": None}, "token:"),
        ({"expiry": "2813"}, "expiry"),
        ({"keys": "AAAA"}, "keys:"),
        ({"keys": ["AAAA"]}, "not for this phone"),
        ({"keys": ["?"]}, "not for this phone"),
        ({"keys": ["AAAA"] * 65}, "at most"),
        ({"first_key": -1}, "first_key:"),
        ({"uses_per_key": 0}, "uses_per_key:"),
        ({"atc": 65_536}, "atc:"),
    ],
)
def test_answers_that_are_not_installed(bed: WalletBed, changes: dict[str, Json], reason: str) -> None:
    phone = bed.new_phone()
    with pytest.raises(PayerPhoneError, match=reason):
        phone.install({**provisioned(bed, phone), **changes})
    assert phone.token == ""


def test_keys_for_another_phone_do_not_open(bed: WalletBed) -> None:
    answer = provisioned(bed, bed.new_phone())
    other = bed.new_phone(2)
    with pytest.raises(PayerPhoneError, match="not for this phone"):
        other.install(answer)
    mine = bed.provision(bed.new_card(), bed.new_phone(3), "6299000000000025")
    with pytest.raises(PayerPhoneError, match="another token"):
        mine.install(answer)


def test_a_phone_that_was_switched_off(bed: WalletBed) -> None:
    card = bed.new_card()
    phone = bed.provision(card)
    assert bed.code(bed.token_sale(card, 1, bed.tap(phone, 1))) == "00"
    bed.wallet(phone, "payments")
    phone.confirm()
    saved = json.loads(json.dumps(phone.saved()))
    again = PayerPhone.restored(phone._module, lambda: bed.now, saved)
    assert (again.token, again.atc, again.payments_left, again.public_key) == (TOKEN, 1, 29, phone.public_key)
    assert not again.is_confirmed
    assert bed.code(bed.token_sale(card, 1, bed.tap(again, 1))) == "00"
    assert bed.wallet(again, "payments"), "its commands count on"
    again.replenished(bed.wallet(again, "replenish"))  # type: ignore[arg-type]
    assert again.payments_left == 58
    elsewhere = SecurityModule(bytes(range(32)), Random(1))
    with pytest.raises(PayerPhoneError, match="what was saved"):
        PayerPhone.restored(elsewhere, lambda: bed.now, saved)
    for changes in ({"atc": -1}, {"keys": []}, {"numbers": None}, {"uses_per_key": 0}, {"token": "1"}, {"pair": "x"}):
        with pytest.raises(PayerPhoneError, match="what was saved"):
            PayerPhone.restored(phone._module, lambda: bed.now, {**saved, **changes})


def test_nothing_secret_is_shown(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    assert repr(phone) == "<PayerPhone with a token, 30 payments left>"
    assert repr(bed.new_phone(2)) == "<PayerPhone without a token, 0 payments left>"


def test_no_apdu_stops_the_phone(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    bed.select(phone)
    for _ in range(2_000):
        apdu = bed.random.choice((b"\x80\xa8\x00\x00", b"\x00\xb2", b"\x00\xa4\x04\x00", b"")) + bed.random.randbytes(
            bed.random.randrange(40)
        )
        assert len(phone.transmit(apdu)) >= 2
