"""Sales and balance enquiries at the issuer: the order of its checks, what it posts, what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from issuer_bed import IMK, ISSUER, PIN, Bed, TestCard

from issuer.installation import INDEX_KEY, pan_index, storage_key
from issuer.personalisation import Limits
from issuer.tables import Authorisation, Card
from network.emv import tlv
from network.iso8583 import Message
from network.keys import Algorithm, KeyUsage, PinFormat, Scheme
from network.member import ZoneKeys
from network.party import SECOND

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def card_row(card: TestCard) -> Card:
    row = card.bed.unit.find(Card, "pan_index", card.issued.pan_index)
    assert row is not None
    return row


def test_a_sale_is_paid_and_answered(bed: Bed) -> None:
    card = bed.new_card(100_000)
    body = card.sale(12_345)
    (reply,) = bed.ask(body)
    assert reply.mti == "0210"
    assert (reply[39], reply[33], reply[100], reply[15]) == ("00", ISSUER, ISSUER, "0331")
    assert reply.text(38).isdigit()
    assert len(reply.text(38)) == 6
    assert reply[54] == "1001156C000000087655" + "1002156C000000087655"
    assert (card.balance, bed.owed) == (87_655, 12_345)
    assert {2, 3, 4, 7, 11, 12, 13, 14, 15, 18, 23, 25, 32, 33, 37, 38, 39, 41, 42, 49, 54, 55, 100, 128} == set(
        reply.fields
    )
    # the chip itself finds the issuer's answer right
    answer = tlv.flat(reply.binary(55))["91"]
    assert answer[8:] == b"00"
    assert card.chip is not None
    assert card.chip.transmit(b"\x00\x82\x00\x00\x0a" + answer) == b"\x90\x00"


def test_a_balance_enquiry_moves_no_money(bed: Bed) -> None:
    account = "both"
    bed.open(account, 5_000, credit_limit=20_000)
    card = TestCard(bed, bed.issue(account))
    (reply,) = bed.ask(card.enquiry())
    assert (reply[39], reply[54]) == ("00", "1001156C0000000050001002156C000000025000")
    assert (card.balance, bed.owed) == (5_000, 0)
    assert bed.code(card.sale(7_000)) == "00"
    (reply,) = bed.ask(card.enquiry())
    assert reply[54] == "1001156D0000000020001002156C000000018000", "an overdrawn account shows a debit balance"
    assert card_row(card).used_count == 1, "an enquiry uses no limit up"


@pytest.mark.parametrize("pin", [PIN, None])
def test_a_balance_enquiry_needs_no_pin(bed: Bed, pin: str | None) -> None:
    card = bed.new_card(5_000)
    (reply,) = bed.ask(card.enquiry(pin))
    assert (reply[39], reply[54]) == ("00", "1001156C0000000050001002156C000000005000")


def test_application_data_are_read_of_each_card_anew(bed: Bed) -> None:
    """Two cards of one turn whose issuer application data differ in one part only: the algorithm, the version."""
    cards = [bed.new_card() for _ in range(4)]
    kinds = [(scheme, version) for scheme in (Scheme.PBOC_3DES, Scheme.PBOC_SM4) for version in (1, 0x17)]
    for card, (scheme, version) in zip(cards, kinds, strict=True):
        card.use_chip(scheme, version)
    for _ in range(2):
        assert [reply[39] for reply in bed.ask(*(card.sale(500) for card in cards))] == ["00"] * 4


@pytest.mark.parametrize(
    ("scheme", "version"), [(s, v) for s in (Scheme.PBOC_3DES, Scheme.PBOC_SM4) for v in (1, 0x17)]
)
def test_every_cryptogram_version_and_algorithm_is_checked_and_answered(bed: Bed, scheme: Scheme, version: int) -> None:
    card = bed.new_card()
    card.use_chip(scheme, version)
    (reply,) = bed.ask(card.sale(500))
    assert reply[39] == "00"
    assert card.chip is not None
    assert card.chip.transmit(b"\x00\x82\x00\x00\x0a" + tlv.flat(reply.binary(55))["91"]) == b"\x90\x00"


def test_a_published_cryptogram_is_accepted(bed: Bed) -> None:
    """The card, cryptogram and answer of tests/vectors/cryptograms.json, made by others."""
    vector = json.loads((VECTORS / "cryptograms.json").read_text())["pboc"][0]
    card = bed.new_card()
    row = card_row(card)
    imk = bed.module.import_clear(
        KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, bytes.fromhex(vector["imk_ac"])
    )
    keys = bed.keys
    keys.imk_ac = imk.block
    published = Card(**{name: getattr(row, name) for name in Card.spec.columns})
    published.pan_index = pan_index(bed.module, storage_key(bed.unit, bed.module, INDEX_KEY), vector["pan"])
    published.sequence = "0" + vector["psn"]
    published.used_on = published.highest_atc = 0
    published.key_set_id = keys.key_set_id = "published"
    bed.unit.insert(published)
    bed.unit.insert(keys)
    bed.unit.commit()
    chip = tlv.encode_all({tag: bytes.fromhex(value) for tag, value in vector["de55"].items()})
    changes = {"de2": vector["pan"], "de23": published.sequence, "de55": chip}
    wrong = chip[:-1] + bytes((chip[-1] ^ 1,))  # 9F41 is no part of the cryptogram's data
    assert bed.code(card.sale(1, None, **{**changes, "de55": chip.replace(b"\x5d\x01\x6c", b"\x5d\x01\x6d")})) == "05"
    assert bed.code(card.sale(1, None, **{**changes, "de55": wrong})) == "00"
    assert card.balance == 999_999


def _with(**columns: object) -> Callable[[TestCard], bytes]:
    def make(card: TestCard) -> bytes:
        row = card_row(card)
        for name, value in columns.items():
            setattr(row, name, value)
        card.bed.unit.change(row)
        card.bed.unit.commit()
        return card.sale(100)

    return make


def _sale(amount: int = 100, pin: str | None = PIN, **changes: str | bytes | None) -> Callable[[TestCard], bytes]:
    return lambda card: card.sale(amount, pin, **changes)


def _chip(change: Callable[[dict[str, bytes]], object]) -> Callable[[TestCard], bytes]:
    """A sale whose chip data were changed on the way."""

    def make(card: TestCard) -> bytes:
        values = tlv.flat(card.tap(100))
        change(values)
        return card.sale(100, de55=tlv.encode_all(values))

    return make


def _replayed(card: TestCard) -> bytes:
    chip = card.tap(100)
    assert card.bed.code(card.sale(100, de55=chip)) == "00"
    return card.sale(100, de55=chip)


def _malformed_pin(card: TestCard) -> bytes:
    return card.sale(100, de52=b"\x00" * 8)


CODES: dict[str, tuple[str, Callable[[TestCard], bytes]]] = {
    "no PAN": ("30", _sale(de2=None)),
    "no amount": ("30", _sale(de4=None)),
    "no entry mode": ("30", _sale(de22=None)),
    "no acquirer": ("30", _sale(de32=None)),
    "no retrieval reference": ("30", _sale(de37=None)),
    "no terminal": ("30", _sale(de41=None)),
    "no currency": ("30", _sale(de49=None)),
    "short PAN": ("30", _sale(de2="62518800")),
    "track of another card": ("30", _sale(de35="6251880000051688=29032200000")),
    "unknown PIN block format": ("30", _sale(de53="9600000000000000")),
    "text that is none": ("30", _sale(de42=b"\xff" * 15)),
    "cash withdrawal": ("40", _sale(de3="010000")),
    "QR code": ("40", _sale(de22="031")),
    "another currency": ("12", _sale(de49="840")),
    "unknown card": ("14", _sale(de2="6251880000051688")),
    "another sequence number": ("14", _sale(de23="002")),
    "lost": ("41", _with(status="lost")),
    "stolen": ("43", _with(status="stolen")),
    "blocked": ("62", _with(status="blocked")),
    "pick up": ("04", _with(status="pick_up")),
    "a status of a later version": ("62", _with(status="hibernating")),
    "expired": ("54", _with(expiry="2602")),
    "another expiry": ("54", _sale(de14="3012")),
    "contactless without chip data": ("30", _sale(de55=None)),
    "chip data that are no TLV": ("30", _sale(de55=b"\x9f\x26\x08\x00")),
    "no counter": ("30", _chip(lambda tags: tags.pop("9F36"))),
    "no unpredictable number": ("30", _chip(lambda tags: tags.pop("9F37"))),
    "short cryptogram": ("30", _chip(lambda tags: tags.update({"9F26": b"1234"}))),
    "malformed issuer data": ("30", _chip(lambda tags: tags.update({"9F10": b"\x07\x01"}))),
    "stripe of a chip card": ("45", _sale(de22="021", de55=None)),
    "keyed in": ("57", _sale(de22="011", de55=None)),
    "replayed chip data": ("05", _replayed),
    "wrong cryptogram": ("05", _chip(lambda tags: tags.update({"9F26": bytes(8)}))),
    "data changed": ("05", _chip(lambda tags: tags.update({"9F37": bytes(4)}))),
    "amount not the signed one": ("05", lambda card: card.sale(101, de55=card.tap(100))),
    "unknown cryptogram version": ("05", _chip(lambda tags: tags.update({"9F10": bytes.fromhex("07015503A0000001")}))),
    "unknown algorithm": ("05", _chip(lambda tags: tags.update({"9F10": bytes.fromhex("07010103A0000009")}))),
    "declined by the card": ("05", lambda card: card.sale(100, de55=card.tap(100, "28000080"))),
    "PIN tries spent": ("75", _with(pin_tries_left=0)),
    "wrong PIN": ("55", _sale(pin="654321")),
    "large without a PIN": ("55", _sale(100_001, None)),
    "PIN block that is none": ("99", _malformed_pin),
    "nothing": ("13", _sale(0)),
    "more than there is": ("51", _sale(1_000_001)),
    "above the card's limit": ("61", _with(sale_limit=99)),
    "above the day's limit": ("61", _with(daily_amount_limit=99)),
    "above the day's count": ("65", _with(daily_count_limit=0)),
}


@pytest.mark.parametrize("case", CODES)
def test_what_is_declined_and_how(bed: Bed, case: str) -> None:
    code, make = CODES[case]
    card = bed.new_card(1_000_000)
    body = make(card)
    before = card.balance
    (reply,) = bed.ask(body)
    assert (reply.mti, reply[39]) == ("0210", code)
    assert 38 not in reply
    assert 54 not in reply
    assert card.balance == before
    assert bed.owed == 1_000_000 - before


def test_the_first_check_that_fails_names_the_code(bed: Bed) -> None:
    """A message with everything wrong is mended fault by fault; the codes come in the order of docs/protocol.md."""
    card = bed.new_card(1_000)
    row = card_row(card)
    chip = card.tap(2_000)
    forged = chip.replace(tlv.flat(chip)["9F26"], bytes(8))
    message: dict[str, str | bytes | None] = {
        "de3": "990000",
        "de14": None,
        "de23": "009",
        "de52": card.pin_block("000000"),
        "de55": None,
    }
    row.status, row.expiry, row.highest_atc, row.pin_tries_left = "lost", "2001", 9, 0
    row.sale_limit, row.daily_amount_limit, row.daily_count_limit = 10, 20, 0
    steps: list[tuple[str, dict[str, str | bytes | None], dict[str, str | int]]] = [
        ("40", {}, {}),
        ("14", {"de3": "000000"}, {}),
        ("41", {"de23": "001"}, {}),
        ("54", {}, {"status": "active"}),
        ("30", {}, {"expiry": "2903"}),
        ("05", {"de55": forged}, {}),
        ("05", {}, {"highest_atc": 0}),
        ("75", {"de55": chip}, {}),
        ("55", {}, {"pin_tries_left": 3, "highest_atc": 0}),
        ("51", {"de52": card.pin_block()}, {"highest_atc": 0}),
        ("61", {}, {"highest_atc": 0}),
        ("61", {}, {"sale_limit": 10_000, "highest_atc": 0}),
        ("65", {}, {"daily_amount_limit": 10_000, "highest_atc": 0}),
        ("00", {}, {"daily_count_limit": 1, "highest_atc": 0}),
    ]
    codes = []
    for expected, elements, columns in steps:
        message |= elements
        for name, value in columns.items():
            setattr(row, name, value)
        bed.unit.change(row)
        bed.unit.commit()
        codes.append(bed.code(card.sale(2_000, None, **message)))
        if expected == "51":
            bed.command("pay_in", account_id=card.issued.account_id, amount=5_000, reference="top-up")
    assert codes == [expected for expected, _, _ in steps]
    assert card.balance == 4_000


def test_wrong_pins_are_counted_until_the_card_is_refused(bed: Bed) -> None:
    card = bed.new_card()
    assert [bed.code(card.sale(100, pin)) for pin in ("000000", "000001", PIN)] == ["55", "55", "00"]
    assert card_row(card).pin_tries_left == 3, "a right PIN resets the count"
    codes = [reply[39] for reply in bed.ask(*(card.sale(100, "00000" + last) for last in "01234"))]
    assert codes == ["55", "55", "55", "75", "75"], "also within one turn"
    bed.restart()
    assert bed.code(card.sale(100)) == "75"
    assert bed.command("reset_pin_tries", pan=card.issued.pan) == {"pin_tries_left": 3}
    assert bed.code(card.sale(100)) == "00"


def test_a_right_cryptogram_uses_its_counter_up_also_when_the_sale_is_declined(bed: Bed) -> None:
    card = bed.new_card(50)
    chip = card.tap(100)
    (reply,) = bed.ask(card.sale(100, de55=chip))
    assert reply[39] == "51"
    answer = tlv.flat(reply.binary(55))["91"]
    assert answer[8:] == b"51", "the card is told, and can check it"
    assert card.chip is not None
    assert card.chip.transmit(b"\x00\x82\x00\x00\x0a" + answer) == b"\x90\x00"
    bed.restart()
    assert bed.code(card.sale(100, de55=chip)) == "05"
    forged = card.tap(100).replace(b"\x9f\x36\x02\x00\x02", b"\x9f\x36\x02\xff\xfe")
    assert bed.code(card.sale(100, de55=forged)) == "05"
    assert card_row(card).highest_atc == 1, "a wrong cryptogram moves nothing"


def test_no_answer_to_a_cryptogram_that_was_not_right(bed: Bed) -> None:
    card = bed.new_card()
    (reply,) = bed.ask(_chip(lambda tags: tags.update({"9F26": bytes(8)}))(card))
    assert 55 not in reply


def test_daily_limits_are_of_the_local_day(bed: Bed) -> None:
    card = bed.new_card(limits=Limits(daily_amount=500, daily_count=3))
    assert [bed.code(card.sale(amount)) for amount in (200, 301, 200, 100, 1)] == ["00", "61", "00", "00", "61"]
    bed.later(12 * 3600 - 1)
    assert bed.code(card.sale(1)) == "61"
    bed.later(1)  # midnight in China
    assert [bed.code(card.sale(1)) for _ in range(4)] == ["00", "00", "00", "65"]


def test_the_month_of_expiry_is_good_to_its_end(bed: Bed) -> None:
    card = bed.new_card(expiry="2603")
    bed.later(12 * 3600 - 1)
    assert bed.code(card.sale(1)) == "00"
    bed.later(1)
    assert bed.code(card.sale(1)) == "54"


def test_two_sales_of_one_turn_cannot_spend_the_same_money(bed: Bed) -> None:
    card = bed.new_card(150)
    assert [reply[39] for reply in bed.ask(card.sale(100), card.sale(100), card.sale(50))] == ["00", "51", "00"]
    assert (card.balance, bed.owed) == (0, 150)


def test_magnetic_stripe_of_a_card_without_a_chip(bed: Bed) -> None:
    card = bed.new_card(service_code="101", is_chip=False)
    track = card.issued.track2

    def stripe(track2: str | None) -> str:
        return bed.code(card.sale(100, de22="021", de35=track2))

    assert stripe(track) == "00"
    assert stripe(track[:-1] + str((int(track[-1]) + 1) % 10)) == "05", "wrong CVV"
    assert stripe(track.replace("=2903", "=3003")) == "05", "another expiry"
    assert stripe(card.issued.chip_track2) == "05", "a copy of the chip's track"
    assert stripe(track[:-2]) == "05", "cut short"
    assert stripe(None) == "30"
    assert bed.code(card.sale(100, de22="011")) == "57"
    assert bed.code(card.sale(100, de55=bytes.fromhex("9F2608") + bytes(8))) == "30"


def test_what_a_stripe_card_uses_up_outlives_the_process(bed: Bed) -> None:
    card = bed.new_card(service_code="101", is_chip=False, limits=Limits(daily_count=1))
    stripe: dict[str, str | bytes | None] = {"de22": "021", "de35": card.issued.track2}
    codes = []
    for pin in (None, None, "000000", "000000", PIN, "000000", "000000", "000000", PIN):
        codes.append(bed.code(card.sale(100, pin, **stripe)))
        bed.restart()
    assert codes == ["00", "65", "55", "55", "65", "55", "55", "55", "75"]


def test_a_number_may_be_keyed_in_where_the_card_is_meant_for_it(bed: Bed) -> None:
    card = bed.new_card(manual_entry=True)
    assert bed.code(card.sale(100, de22="011", de55=None)) == "00"


def test_pin_block_formats(bed: Bed) -> None:
    card = bed.new_card()
    plain = card.pin_block(pin_format=PinFormat.WITHOUT_PAN)
    assert bed.code(card.sale(100, de52=plain, de53="1600000000000000")) == "00"
    assert bed.code(card.sale(100, de52=plain)) == "99"
    assert bed.code(card.sale(100, de53=None)) == "00", "without DE53 the block is with PAN"


def test_a_pin_under_the_key_before_is_good_while_the_overlap_lasts(bed: Bed) -> None:
    card = bed.new_card()
    bodies = [card.sale(100) for _ in range(3)]
    zone = bed.unit.find(ZoneKeys, "zone", "00010000")
    assert zone is not None
    fresh = bed.module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE)
    zone.replace("1", fresh, bed.now)
    bed.unit.change(zone)
    bed.unit.commit()
    assert bed.code(bodies[0]) == "00"
    bed.later(60)
    assert bed.code(bodies[1]) == "00"
    bed.now += SECOND // 1000
    assert bed.code(bodies[2]) == "99"
    assert card_row(card).pin_tries_left == 3, "what is no PIN block is no wrong PIN"


def test_nothing_clear_is_stored_or_shown(bed: Bed) -> None:
    card = bed.new_card()
    fields = card.fields(100, de35=card.issued.chip_track2)
    assert bed.code(bed.seal("0200", dict(fields))) == "00"
    assert card.issued.pan not in repr(card.issued)
    row = bed.unit.scan(Authorisation, "reference", _reference(bed), 1)[0]
    assert card.issued.pan not in repr(row) + repr(card_row(card))
    bed.store.close()
    stored = b"".join(path.read_bytes() for path in bed.path.iterdir())
    assert str(fields[37]).encode() in stored
    secrets = (
        card.issued.pan.encode(),
        bytes.fromhex(card.issued.pan),
        PIN.encode(),
        fields[52],
        IMK,
        IMK.hex().encode(),
    )
    for secret in secrets:
        assert isinstance(secret, bytes)
        assert secret not in stored


def _reference(bed: Bed) -> str:
    with bed.store.read() as connection:
        table = bed.store.tables[Authorisation]
        return str(connection.execute(table.select()).one().reference)


def test_replies_repeat_what_the_request_said(bed: Bed) -> None:
    card = bed.new_card()
    fields = card.fields(100)
    (reply,) = bed.ask(bed.seal("0200", dict(fields)))
    for element in (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 37, 41, 42, 49):
        assert reply[element] == fields[element]
    assert isinstance(reply, Message)


def test_a_balance_beyond_twelve_digits_is_told_as_nines() -> None:
    from issuer.replies import balances

    assert balances("10", "156", 10**12, -(10**13)) == "1001156C999999999999" + "1002156D999999999999"
