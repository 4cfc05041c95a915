"""Sales by token: whose card is debited, what a token's own checks answer, what is undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from issuer_bed import TestCard
from wallet_bed import OK, TOKEN, WalletBed

from issuer.payer_phone import PayerPhone
from issuer.requests import TokenUse
from issuer.tables import Authorisation, Card
from issuer.token_tables import Token
from network.emv import assemble, tlv
from network.iso8583 import INTERBANK, EncodeError
from network.iso8583.additional_data import encode_objects
from network.keys import Scheme
from network.party import CommandError

SMALL, LARGE = 100_000, 100_001


@pytest.fixture
def bed(tmp_path: Path) -> WalletBed:
    return WalletBed(tmp_path)


def test_a_phone_pays_from_the_account_of_its_card(bed: WalletBed) -> None:
    card = bed.new_card(50_000)
    phone = bed.provision(card)
    chip = bed.tap(phone, 12_345)
    (reply,) = bed.ask(bed.token_sale(card, 12_345, chip))
    assert (reply[39], reply[2]) == ("00", card.issued.pan)
    assert (card.balance, bed.owed) == (37_655, 12_345)
    # the phone finds the issuer's answer right, made with the limited-use key too
    answer = tlv.flat(reply.binary(55))["91"]
    assert phone.transmit(b"\x00\x82\x00\x00\x0a" + answer) == OK
    row = bed.token_row(phone)
    assert (row.highest_atc, row.payments) == (1, 1)
    card_row = bed.unit.find(Card, "pan_index", card.issued.pan_index)
    assert card_row is not None
    assert (card_row.highest_atc, card_row.used_amount) == (-1, 12_345), "the card's own counter is another"
    assert bed.code(card.sale(100)) == "00"


def test_a_decline_is_authenticated_with_the_limited_use_key(bed: WalletBed) -> None:
    card = bed.new_card(10)
    phone = bed.provision(card)
    (reply,) = bed.ask(bed.token_sale(card, 500, bed.tap(phone, 500)))
    assert reply[39] == "51"
    answer = tlv.flat(reply.binary(55))["91"]
    assert answer[8:] == b"51"
    assert phone.transmit(b"\x00\x82\x00\x00\x0a" + answer) == OK


def _tapped(**changes: str | bytes | None) -> Callable[[WalletBed, TestCard, PayerPhone], bytes]:
    return lambda bed, card, phone: bed.token_sale(card, 100, bed.tap(phone, 100), **changes)  # type: ignore[arg-type]


def _bent(tag: str, value: bytes) -> Callable[[WalletBed, TestCard, PayerPhone], bytes]:
    def make(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
        tags = tlv.flat(bed.tap(phone, 100))
        return bed.token_sale(card, 100, tlv.encode_all({**tags, tag: value}))

    return make


def _with(**values: str | int) -> Callable[[WalletBed, TestCard, PayerPhone], bytes]:
    def make(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
        row = bed.token_row(phone)
        bed.unit.change(row)
        for name, value in values.items():
            setattr(row, name, value)
        bed.unit.commit()
        return bed.token_sale(card, 100, bed.tap(phone, 100))

    return make


def _replayed(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    chip = bed.tap(phone, 100)
    assert bed.code(bed.token_sale(card, 100, chip)) == "00"
    return bed.token_sale(card, 100, chip)


def _unissued(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    """A right cryptogram of key 3, where 0, 1 and 2 were issued."""
    number, atc = 3, 31
    token = bed.token_row(phone)
    key = bed.module.derive_limited_use_key(bed.imk, TOKEN, token.sequence, number)
    tags = tlv.flat(bed.tap(phone, 100))
    tags["9F36"] = atc.to_bytes(2)
    tags["9F26"] = bed.module.generate_ac(key, Scheme.PBOC_3DES, tags["9F36"], assemble(0x01, tags))
    return bed.token_sale(card, 100, tlv.encode_all(tags))


def _revoked(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    chip = bed.tap(phone, 100)
    bed.command("revoke_keys", token=TOKEN)
    return bed.token_sale(card, 100, chip)


def _cards_own_cryptogram(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    return bed.token_sale(card, 100, card.tap(100))


def _lost_card(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    bed.command("set_card_status", pan=card.issued.pan, status="lost")
    return bed.token_sale(card, 100, bed.tap(phone, 100))


def _other_card(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    return bed.token_sale(bed.new_card(), 100, bed.tap(phone, 100))


def _large(confirmed: bool) -> Callable[[WalletBed, TestCard, PayerPhone], bytes]:
    def make(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
        phone = bed.provision(card, bed.new_phone(9, limit=10**9), "6299000000000025")
        if confirmed:
            phone.confirm()
        return bed.token_sale(card, LARGE, bed.tap(phone, LARGE), token="6299000000000025")

    return make


def _forged_verification(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    phone = bed.provision(card, bed.new_phone(9, limit=10**9), "6299000000000025")
    tags = tlv.flat(bed.tap(phone, LARGE))
    iad = bytearray(tags["9F10"])
    iad[4] |= 0x04
    return bed.token_sale(card, LARGE, tlv.encode_all({**tags, "9F10": bytes(iad)}), token="6299000000000025")


def _coded(
    amount: int, *, confirmed: bool = True, **changes: str
) -> Callable[[WalletBed, TestCard, PayerPhone], bytes]:
    def make(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
        if confirmed:
            phone.confirm()
        return bed.token_sale(card, amount, bed.code_data(phone.show_code()), mode="032", **changes)  # type: ignore[arg-type]

    return make


def _digits(amount: int) -> Callable[[WalletBed, TestCard, PayerPhone], bytes]:
    return lambda bed, card, phone: bed.token_sale(card, amount, None, mode="032")


def _code_as_tap(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    return bed.token_sale(card, 100, bed.code_data(phone.show_code()), mode="072")


def _tap_as_code(bed: WalletBed, card: TestCard, phone: PayerPhone) -> bytes:
    return bed.token_sale(card, 100, bed.tap(phone, 100), mode="032")


CODES: dict[str, tuple[str, Callable[[WalletBed, TestCard, PayerPhone], bytes]]] = {
    "contactless": ("00", _tapped()),
    "unknown token": ("14", _tapped(token="6299000000000033")),
    "token of another card": ("14", _other_card),
    "deleted": ("14", _with(status="deleted")),
    "suspended": ("62", _with(status="suspended")),
    "code token tapped": ("57", _with(domains="code")),
    "token expired": ("54", _with(expiry="2602")),
    "the token's sequence number": ("00", _tapped(de23="000")),
    "the card's sequence number": ("14", _tapped(de23="001")),
    "card lost": ("41", _lost_card),
    "no chip data": ("30", _tapped(de55=None)),
    "malformed chip data": ("30", _tapped(de55=b"\x9f\x26\x08\x00")),
    "T1 is no number": ("30", _tapped(de59="T1014abcdefghijklmn")),
    "DE59 is cut off": ("30", _tapped(de59="T1016629900")),
    "an offline sale by token": ("40", _tapped(mti="0220")),
    "another currency": ("12", _tapped(de49="840")),
    "keyed in": ("40", _tapped(mode="012")),
    "replayed": ("05", _replayed),
    "key not issued": ("05", _unissued),
    "keys revoked": ("05", _revoked),
    "cryptogram of the card": ("05", _cards_own_cryptogram),
    "wrong cryptogram": ("05", _bent("9F26", bytes(8))),
    "counter changed": ("05", _bent("9F36", b"\x00\x02")),
    "counter of zero": ("05", _bent("9F36", b"\x00\x00")),
    "amount changed": ("05", lambda bed, card, phone: bed.token_sale(card, 101, bed.tap(phone, 100))),
    "large, not verified": ("55", _large(False)),
    "large, verified on the phone": ("00", _large(True)),
    "verification claimed, not signed": ("05", _forged_verification),
    "code": ("00", _coded(100)),
    "code, small, not verified": ("00", _coded(SMALL, confirmed=False)),
    "code, large, verified": ("00", _coded(LARGE)),
    "code, large, not verified": ("55", _coded(LARGE, confirmed=False)),
    "code above the day's limit": ("61", _coded(500_001)),
    "digits": ("00", _digits(LARGE)),
    "digits above the day's limit": ("61", _digits(500_001)),
    "code presented as a tap": ("05", _code_as_tap),
    "tap presented as a code": ("05", _tap_as_code),
    "balance by code": ("40", _coded(100, de3="300000")),
}


@pytest.mark.parametrize("case", CODES)
def test_what_a_sale_by_token_is_answered(bed: WalletBed, case: str) -> None:
    wanted, make = CODES[case]
    card = bed.new_card(10_000_000)
    phone = bed.provision(card)
    body = make(bed, card, phone)
    before = card.balance
    amount = int(INTERBANK.unpack(body).text(4))
    assert bed.code(body) == wanted
    assert card.balance == before - (amount if wanted == "00" else 0)
    assert bed.code(body) == wanted, "a copy is answered from the record"
    assert card.balance == before - (amount if wanted == "00" else 0)


def test_a_token_for_contactless_shows_no_code(bed: WalletBed) -> None:
    card = bed.new_card()
    phone = bed.provision(card, domains=("contactless",))
    assert bed.code(bed.token_sale(card, 100, None, mode="032")) == "57"
    assert bed.code(bed.token_sale(card, 100, bed.tap(phone, 100))) == "00"


def test_a_pin_is_the_cards_and_is_checked_where_it_comes(bed: WalletBed) -> None:
    card = bed.new_card(1_000_000)
    phone = bed.provision(card, bed.new_phone(limit=10**9))
    wrong, right = card.pin_block("654321"), card.pin_block()
    for block, code in ((wrong, "55"), (right, "00")):
        chip = bed.tap(phone, LARGE)
        body = bed.token_sale(card, LARGE, chip, mode="071", de26="12", de52=block, de53="2600000000000000")
        assert bed.code(body) == code
    phone.confirm()
    body = bed.token_sale(card, 100, bed.tap(phone, 100), mode="071", de26="12", de52=wrong, de53="2600000000000000")
    assert bed.code(body) == "55", "a wrong PIN is no right one because a phone was unlocked"


def test_the_days_amount_by_code_and_what_a_reversal_gives_back(bed: WalletBed) -> None:
    card = bed.new_card(10_000_000)
    phone = bed.provision(card)
    first = bed.token_sale(card, 400_000, None, mode="032")
    assert bed.code(first) == "00"
    over = bed.token_sale(card, 100_001, None, mode="032")
    assert bed.code(over) == "61"
    assert bed.code(bed.token_sale(card, 100_000, bed.tap(phone, 100_000))) == "00", "taps do not count"
    reversal = bed.reversal_of(first)
    assert bed.code(reversal) == "00"
    assert bed.code(reversal) == "00"
    assert bed.token_row(phone).code_used_amount == 0
    assert card.balance == 9_900_000
    assert bed.code(first) == "25"
    assert bed.code(bed.token_sale(card, 500_000, None, mode="032")) == "00"
    bed.later(24 * 3600)
    assert bed.code(bed.token_sale(card, 500_000, None, mode="032")) == "00", "a new day"


def test_a_reversal_that_comes_first(bed: WalletBed) -> None:
    card = bed.new_card(1_000)
    phone = bed.provision(card)
    sale = bed.token_sale(card, 100, bed.tap(phone, 100))
    assert bed.code(bed.reversal_of(sale)) == "25"
    assert bed.code(sale) == "25"
    assert card.balance == 1_000
    # in one turn too: sale, its copy, its reversal, and the copy again
    other = bed.token_sale(card, 200, bed.tap(phone, 200))
    assert [reply[39] for reply in bed.ask(other, other, bed.reversal_of(other), other)] == ["00", "00", "00", "25"]
    assert card.balance == 1_000


def test_a_lost_phone_is_stopped_and_the_card_still_pays(bed: WalletBed) -> None:
    card = bed.new_card(1_000)
    phone = bed.provision(card)
    chip = bed.tap(phone, 100)
    assert bed.command("suspend_token", token=TOKEN) == {
        "token_id": bed.token_row(phone).token_index,
        "status": "suspended",
    }
    assert bed.code(bed.token_sale(card, 100, chip)) == "62"
    assert bed.code(card.sale(100)) == "00"
    bed.command("resume_token", token=TOKEN)
    assert bed.code(bed.token_sale(card, 100, chip)) == "00", "the decline did not use the counter up"


def test_a_phone_sees_how_its_payments_ended(bed: WalletBed) -> None:
    card = bed.new_card(1_000)
    phone = bed.provision(card)
    assert bed.code(bed.token_sale(card, 100, bed.tap(phone, 100))) == "00"
    assert bed.code(bed.token_sale(card, 5_000, None, mode="032", order="48020000000000000007")) == "51"
    sale = bed.token_sale(card, 300, bed.tap(phone, 300))
    assert [reply[39] for reply in bed.ask(sale, bed.reversal_of(sale))] == ["00", "00"]
    answer = bed.wallet(phone, "payments", limit=2)
    assert isinstance(answer, dict)
    payments = answer["payments"]
    assert isinstance(payments, list)
    assert [(p["amount"], p["response_code"], p["status"], p["domain"], p["order"]) for p in payments] == [
        (300, "00", "reversed", "contactless", None),
        (5_000, "51", "declined", "code", "48020000000000000007"),
    ]
    assert card.issued.pan not in str(answer)


def test_the_payments_of_others_are_not_shown(bed: WalletBed) -> None:
    one, other = bed.new_card(), bed.new_card()
    mine = bed.provision(one)
    theirs = bed.provision(other, bed.new_phone(2), "6299000000000025")
    signed = mine.signed("payments")
    with pytest.raises(CommandError, match="signature"):
        bed.command("payments", **{**signed, "token": theirs.token})


def test_a_plain_sale_loads_no_token_and_reads_no_more(bed: WalletBed) -> None:
    card = bed.new_card()
    bed.code(card.sale(100))
    loads = bed.unit.single_loads
    body = card.sale(100)
    assert bed.code(body) == "00"
    assert bed.unit.single_loads == loads
    row = bed.unit.find(Authorisation, "reference", _reference(body))
    assert row is not None
    assert row.token_payment is None
    assert bed.unit.scan(Token, "pan_index", card.issued.pan_index, 5) == []


def test_de59_without_a_token_is_a_plain_sale(bed: WalletBed) -> None:
    card = bed.new_card(1_000)
    assert bed.code(card.sale(100, de59=encode_objects({"A2": {"01": "11"}}))) == "00"
    assert bed.code(card.sale(100, de59="junk")) == "00", "nothing in it is the issuer's"
    assert bed.code(card.sale(100, de59="junk T1")) == "30"
    assert card.balance == 800


def _reference(body: bytes) -> str:
    message = INTERBANK.unpack(body)
    return f"2026{message.text(7)}{message.text(11)}-{message.text(32)}"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_message_about_tokens_stops_the_issuer(bed: WalletBed, data: st.DataObject) -> None:
    """Sales by token, offline sales and answers with right MACs and elements taken away or replaced."""
    known = getattr(bed, "fuzzed", None)
    if known is None:
        card = bed.new_card()
        phone = bed.provision(card)
        bed.give("suspend_token", token=TOKEN)
        tapped = INTERBANK.unpack(bed.token_sale(card, 100, bed.tap(phone, 100)))
        shown = INTERBANK.unpack(bed.token_sale(card, 100, bed.code_data(phone.show_code()), mode="032"))
        known = (tapped, shown, INTERBANK.unpack(bed.answer_to(bed.asked[0])))
        bed.fuzzed = known  # type: ignore[attr-defined]
    message = data.draw(st.sampled_from(known))
    fields = dict(message.fields)
    for element in data.draw(st.lists(st.sampled_from((2, 3, 4, 7, 11, 14, 22, 39, 55, 59, 102, 103)), max_size=3)):
        fresh = data.draw(st.one_of(st.none(), st.text("0123456789", max_size=44), st.text("T1A506901 ", max_size=30)))
        if fresh is None:
            fields.pop(element, None)
        elif element == 55:
            fields[55] = data.draw(st.binary(max_size=60))
        else:
            field = INTERBANK.fields[element]
            size = field.maximum
            fields[element] = fresh[:size] if field.prefix else fresh[:size].zfill(size)
    try:
        body = bed.seal(data.draw(st.sampled_from((message.mti, "0220", "0200", "0420"))), fields)
    except EncodeError:  # the dialect cannot carry it, so no peer can send it
        return
    for _, answer in bed.take(body, body).sent:
        assert INTERBANK.unpack(answer).mti


def test_a_token_is_not_shown(bed: WalletBed) -> None:
    assert TOKEN not in repr(TokenUse(TOKEN, "index", None))
