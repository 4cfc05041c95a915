"""E-cash: loading it, redeeming what cards promised offline, and that a promise is kept once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from card_bed import ISSUER_MODULE, card_rsa, chip_of, issuer_certificate
from issuer_bed import Bed, TestCard
from wallet_bed import WalletBed

from issuer.applet import ElectronicCash
from issuer.certification import certify_card
from issuer.tables import Card
from issuer.token_tables import OfflineSale
from network.emv import assemble, tlv
from network.keys import Scheme
from network.party import CommandError


@pytest.fixture
def bed(tmp_path: Path) -> WalletBed:
    return WalletBed(tmp_path)


def certificate(bed: Bed, card: TestCard, amount: int, counter: int, outcome: int = 0x10, **more: bytes) -> bytes:
    """DE55 of an offline sale, the TC computed over version 01's data with the card's key."""
    values = {
        "9F02": bytes.fromhex(f"{amount:012d}"),
        "9F03": bytes(6),
        "9F1A": b"\x01\x56",
        "95": bytes(5),
        "5F2A": b"\x01\x56",
        "9A": bytes.fromhex("260331"),
        "9C": b"\x00",
        "9F37": b"\x01\x02\x03\x04",
        "82": b"\x3c\x00",
        "9F36": counter.to_bytes(2),
        "9F10": bytes((7, 1, 1, 3, 0x80 | outcome, 0, 0, 1)),
    }
    key = bed.module.derive_card_key(bed.imk, card.issued.pan, card.issued.sequence)
    values["9F26"] = bed.module.generate_ac(key, Scheme.PBOC_3DES, values["9F36"], assemble(0x01, values))
    return tlv.encode_all({"9F27": b"\x40", **values, **more})


def offline(
    bed: Bed, card: TestCard, amount: int, counter: int, chip: bytes | None = None, **changes: str | bytes | None
) -> bytes:
    """A packed 0220."""
    chip = certificate(bed, card, amount, counter) if chip is None else chip
    return bed.seal("0220", card.fields(amount, None, **{"de55": chip, **changes}))


def loaded(bed: Bed, amount: int = 1_000, balance: int = 10_000) -> TestCard:
    card = bed.new_card(balance)
    bed.command("load_ecash", account_id=card.issued.account_id, amount=amount, reference=f"l-{card.issued.account_id}")
    return card


def ecash(card: TestCard) -> int:
    return card.bed.balance(f"ecash:{card.issued.account_id}")


def test_loading_moves_money_once(bed: WalletBed) -> None:
    card = bed.new_card(10_000)
    account = card.issued.account_id
    asked = {"account_id": account, "amount": 3_000, "reference": "load-1"}
    assert bed.command("load_ecash", **asked) == {"account_id": account, "posted": True, "ecash": 3_000}
    assert bed.command("load_ecash", **asked) == {"account_id": account, "posted": False, "ecash": 3_000}
    assert (card.balance, ecash(card)) == (7_000, 3_000)
    for changes, reason in (
        ({"amount": 3_001}, "used for another"),
        ({"amount": 7_001, "reference": "load-2"}, "does not hold"),
        ({"amount": 0, "reference": "load-3"}, "positive"),
        ({"amount": -1, "reference": "load-3"}, "amount:"),
        ({"account_id": "nobody", "reference": "load-3"}, "no account"),
    ):
        with pytest.raises(CommandError, match=reason):
            bed.command("load_ecash", **{**asked, **changes})  # type: ignore[arg-type]
    assert (card.balance, ecash(card)) == (7_000, 3_000)


def test_a_promise_is_redeemed_from_the_ecash(bed: WalletBed) -> None:
    card = loaded(bed)
    body = offline(bed, card, 400, 1)
    (reply,) = bed.ask(body)
    assert (reply.mti, reply[39]) == ("0230", "00")
    assert (card.balance, ecash(card), bed.owed) == (9_000, 600, 400)
    first, second = bed.ask(body, body)
    assert (first[39], second[39], first[38]) == ("00", "00", reply[38])
    assert ecash(card) == 600


@pytest.mark.parametrize("turns", [1, 2])
def test_one_certificate_under_two_identities_is_redeemed_once(bed: WalletBed, turns: int) -> None:
    card = loaded(bed)
    chip = certificate(bed, card, 400, 1)
    bodies = offline(bed, card, 400, 1, chip), offline(bed, card, 400, 1, chip)
    replies = bed.ask(*bodies) if turns == 1 else [*bed.ask(bodies[0]), *bed.ask(bodies[1])]
    assert [reply[39] for reply in replies] == ["00", "94"]
    assert ecash(card) == 600


def test_a_promise_beyond_the_balance_is_kept_and_marked(bed: WalletBed) -> None:
    card = loaded(bed, 100)
    assert bed.code(offline(bed, card, 60, 1)) == "00"
    assert bed.code(offline(bed, card, 70, 2)) == "00"
    assert (ecash(card), card.balance) == (-30, 9_900)
    rows = [bed.unit.find(OfflineSale, "offline_sale_id", OfflineSale.key(card.issued.pan_index, n)) for n in (1, 2)]
    assert [row.overdrawn for row in rows if row is not None] == [0, 1]


def test_a_card_whose_account_never_loaded(bed: WalletBed) -> None:
    card = bed.new_card(1_000)
    assert bed.code(offline(bed, card, 5, 1)) == "00"
    assert (ecash(card), card.balance) == (-5, 1_000)


def test_offline_sales_come_late_and_in_any_order(bed: WalletBed) -> None:
    card = loaded(bed)
    assert card.chip is not None
    assert bed.code(card.sale(100)) == "00", "online, with counter 1"
    codes = [reply[39] for reply in bed.ask(*(offline(bed, card, 10, counter) for counter in (9, 7, 8)))]
    assert codes == ["00", "00", "00"]
    assert ecash(card) == 970
    assert bed.code(card.sale(100)) == "00", "the online counter is not touched"


def _bent(tag: str, value: bytes) -> Callable[[Bed, TestCard], bytes]:
    return lambda bed, card: offline(bed, card, 100, 1, certificate(bed, card, 100, 1, **{tag: value}))


def _changed(**changes: str | bytes | None) -> Callable[[Bed, TestCard], bytes]:
    return lambda bed, card: offline(bed, card, 100, 1, **changes)


def _outcome(outcome: int) -> Callable[[Bed, TestCard], bytes]:
    return lambda bed, card: offline(bed, card, 100, 1, certificate(bed, card, 100, 1, outcome))


def _lost(bed: Bed, card: TestCard) -> bytes:
    bed.command("set_card_status", pan=card.issued.pan, status="lost")
    return offline(bed, card, 100, 1)


CODES: dict[str, tuple[str, Callable[[Bed, TestCard], bytes]]] = {
    "right": ("00", _changed()),
    "the card was lost meanwhile": ("00", _lost),
    "read over contacts": ("00", _changed(de22="052")),
    "wrong certificate": ("05", _bent("9F26", bytes(8))),
    "number changed": ("05", _bent("9F37", bytes(4))),
    "counter changed": ("05", _bent("9F36", b"\x00\x02")),
    "another amount": ("05", lambda bed, card: offline(bed, card, 101, 1, certificate(bed, card, 100, 1))),
    "a request to go online": ("05", _outcome(0x20)),
    "a decline": ("05", _outcome(0x00)),
    "of nothing": ("05", lambda bed, card: offline(bed, card, 0, 1)),
    "no chip data": ("30", _changed(de55=None)),
    "unknown card": ("14", _changed(de2="6251880000051688")),
    "another sequence number": ("14", _changed(de23="002")),
    "by stripe": ("40", _changed(de22="022")),
    "a refund": ("40", _changed(de3="200000")),
    "another currency": ("12", _changed(de49="840")),
}


@pytest.mark.parametrize("case", CODES)
def test_what_an_offline_sale_is_answered(bed: WalletBed, case: str) -> None:
    wanted, make = CODES[case]
    card = loaded(bed)
    body = make(bed, card)
    assert bed.code(body) == wanted
    assert ecash(card) == (900 if wanted == "00" else 1_000)
    assert bed.code(body) == wanted
    assert ecash(card) == (900 if wanted == "00" else 1_000)


def test_a_right_certificate_after_a_wrong_one(bed: WalletBed) -> None:
    card = loaded(bed)
    assert bed.code(_bent("9F26", bytes(8))(bed, card)) == "05"
    assert bed.code(offline(bed, card, 100, 1)) == "00", "a decline redeems nothing"


@pytest.mark.parametrize("online_first", [True, False])
def test_a_certificate_that_comes_online_and_offline_is_paid_once(bed: WalletBed, online_first: bool) -> None:
    card = loaded(bed)
    chip = certificate(bed, card, 100, 1)
    online, advice = card.sale(100, None, de55=chip), offline(bed, card, 100, 1, chip)
    bodies = (online, advice) if online_first else (advice, online)
    assert [bed.code(body) for body in bodies] == ["00", "94"]
    assert [bed.code(body) for body in bodies] == ["00", "94"]
    assert (card.balance, ecash(card), bed.owed) == (9_000, 900, 100)


def test_a_certificate_paid_online_is_reversed_to_the_ecash(bed: WalletBed) -> None:
    card = loaded(bed)
    assert bed.code(card.sale(200)) == "00"
    chip = certificate(bed, card, 100, 2)
    online = card.sale(100, None, de55=chip)
    assert bed.code(online) == "00"
    assert bed.code(bed.reversal_of(online)) == "00"
    assert (card.balance, ecash(card), bed.owed) == (8_800, 1_000, 200)
    assert bed.code(offline(bed, card, 100, 2, chip)) == "94", "undone is not unspent: the card's promise was used"
    row = bed.unit.find(Card, "pan_index", card.issued.pan_index)
    assert row is not None
    assert (row.used_amount, row.used_count) == (200, 1)


def test_nothing_undoes_what_a_card_has_approved_by_itself(bed: WalletBed) -> None:
    card = loaded(bed)
    sale = offline(bed, card, 100, 1)
    assert bed.code(sale) == "00"
    assert bed.code(bed.reversal_of(sale)) == "25"
    assert (ecash(card), bed.owed) == (900, 100)
    assert bed.code(sale) == "00"


@pytest.mark.parametrize(
    ("wanted", "amount", "counter", "more"),
    [
        ("05", 101, 1, {}),
        ("05", 100, 1, {"9F26": bytes(8)}),
        ("05", 100, 1, {"9F37": bytes(4)}),
    ],
)
def test_a_wrong_certificate_online(
    bed: WalletBed, wanted: str, amount: int, counter: int, more: dict[str, bytes]
) -> None:
    card = loaded(bed)
    chip = certificate(bed, card, 100, counter, **more)
    assert bed.code(card.sale(amount, None, de55=chip)) == wanted
    assert (card.balance, ecash(card)) == (9_000, 1_000)


def test_a_balance_enquiry_with_a_certificate_is_declined(bed: WalletBed) -> None:
    card = loaded(bed)
    assert bed.code(card.enquiry(None, de55=certificate(bed, card, 0, 1))) == "05"


def test_what_a_chip_promises_is_what_its_issuer_redeems(bed: WalletBed) -> None:
    """The certificate of the card's own application, not one made here."""
    card = loaded(bed, 1_000)
    assert card.chip is not None
    plain = replace(card.chip.personalisation, effective="250101", usage_control=b"\x29\x00")
    signed = certify_card(ISSUER_MODULE, issuer_certificate(plain.pan[:6]), plain, card_rsa(), serial=5)
    card.chip = chip_of(replace(signed, electronic_cash=ElectronicCash(1_000, 100_000, 100_000)))
    chip = card.tap(300, "20000080")
    assert tlv.flat(chip)["9F10"][4] & 0x30 == 0x10, "it approved by itself"
    body = offline(bed, card, 300, 1, chip)
    assert bed.code(body) == "00"
    assert (card.balance, ecash(card)) == (9_000, 700)
    assert bed.code(offline(bed, card, 300, 1, chip)) == "94"
    assert bed.code(card.sale(200, de55=card.tap(200, "26800000"))) == "00", "online it pays from the account"
    assert (card.balance, ecash(card)) == (8_800, 700)
