"""Cards with several applications: directory, selection by name and by next occurrence, one counter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from card_bed import (
    CHIP_MODULE,
    IMK_HANDLE,
    PAN,
    cash_profile,
    data_of,
    get_data,
    good,
    options_of,
    processing_options,
    read_all,
    read_record,
    select,
)
from hypothesis import given
from hypothesis import strategies as st

from issuer.applet import PPSE, ChipCard, TransactionCounter
from issuer.card_application import CREDIT_AID, DEBIT_AID, ELECTRONIC_CASH_AID, Personalisation
from issuer.multi_application_card import MultiApplicationCard
from network.emv import tlv

CASH = ELECTRONIC_CASH_AID
RID = CASH[:5]
KEY = CHIP_MODULE.derive_card_key(IMK_HANDLE, PAN, "001")


def card(atc: int = 0) -> MultiApplicationCard:
    counter = TransactionCounter(atc)
    debit = ChipCard(Personalisation(PAN, "3012", priority=2), CHIP_MODULE, KEY, counter)
    cash = ChipCard(replace(cash_profile(), priority=1), CHIP_MODULE, KEY, counter)
    return MultiApplicationCard([debit, cash])


def file_name(response: bytes) -> bytes:
    return tlv.flat(tlv.flat(good(response))["6F"])["84"]


def test_the_directory_lists_the_favourite_first() -> None:
    answer = good(card().transmit(select(PPSE)))
    fci = tlv.flat(tlv.flat(answer)["6F"])
    assert fci["84"] == PPSE
    entries = [tlv.flat(value) for _, value in tlv.objects(tlv.flat(fci["A5"])["BF0C"])]
    assert [(entry["4F"], entry["87"]) for entry in entries] == [(CASH, b"\x01"), (DEBIT_AID, b"\x02")]


@pytest.mark.parametrize(
    ("commands", "selected"),
    [
        ([select(CASH)], CASH),
        ([select(DEBIT_AID)], DEBIT_AID),
        ([select(RID)], CASH),
        ([select(RID), select(RID, 2)], DEBIT_AID),
        ([select(RID), select(RID, 2), select(RID, 2)], None),
        ([select(RID), select(RID, 2), select(RID)], CASH),
        ([select(RID, 2)], None),
        ([select(PPSE), select(RID, 2)], None),
        ([select(CASH), select(RID, 2)], None),
        ([select(RID), select(CASH, 2)], None),
        ([select(CASH), select(CREDIT_AID)], None),
        ([select(DEBIT_AID), select(CASH)], CASH),
    ],
)
def test_selection(commands: list[bytes], selected: bytes | None) -> None:
    chip = card()
    *_, last = [chip.transmit(command) for command in commands]
    if selected is None:
        assert last == b"\x6a\x82"
    else:
        assert file_name(last) == selected
        assert chip.transmit(processing_options())[-2:] == b"\x90\x00"


def test_a_selection_that_fails_leaves_the_one_before() -> None:
    chip = card()
    good(chip.transmit(select(DEBIT_AID)))
    for wrong in (select(CREDIT_AID), select(DEBIT_AID, 2), b"\x00\xa4\x04\x00", b"\x00\xa4\x00\x00\x01\xa0"):
        assert chip.transmit(wrong)[-2:] != b"\x90\x00"
    good(chip.transmit(processing_options()))
    assert chip.transmit(get_data("9F79")) == b"\x6a\x88", "the debit application has no electronic cash"


@pytest.mark.parametrize(
    ("apdu", "status"),
    [
        ("", "6700"),
        ("00", "6700"),
        ("00A4", "6700"),
        ("00A40400", "6700"),
        ("00A4040008A000", "6700"),
        ("80A4040008A00000033301010100", "6E00"),
        ("00A4000008A00000033301010100", "6A86"),
        ("00A40400" + "11" + "A0" * 17, "6700"),
        ("00B2010C00", "6985"),
        ("80CA9F3600", "6985"),
        ("80AE8000", "6D00"),
        (processing_options().hex(), "6985"),
    ],
)
def test_status_words_before_a_selection(apdu: str, status: str) -> None:
    assert card().transmit(bytes.fromhex(apdu)).hex().upper() == status


def test_selecting_another_application_ends_the_payment_of_the_first() -> None:
    chip = card()
    options_of(chip, DEBIT_AID)
    good(chip.transmit(select(CASH)))
    good(chip.transmit(select(DEBIT_AID)))
    assert chip.transmit(bytes.fromhex("008200000A" + "00" * 10)) == b"\x69\x85"


def test_the_directory_ends_the_selection() -> None:
    chip = card()
    good(chip.transmit(select(DEBIT_AID)))
    good(chip.transmit(select(PPSE)))
    assert chip.transmit(processing_options()) == b"\x69\x85"


def test_all_applications_of_an_account_count_together() -> None:
    chip = card(9)
    counts = [options_of(chip, aid)["9F36"] for aid in (DEBIT_AID, CASH, CASH, DEBIT_AID)]
    assert [int.from_bytes(count, "big") for count in counts] == [10, 11, 12, 13]
    assert data_of(chip, "9F36") == 13


def test_a_torn_cash_payment_waits_while_it_is_out_of_the_field() -> None:
    chip = card()
    options = options_of(chip, CASH, amount=300)
    chip.reset()
    assert chip.transmit(read_record(3, 2)) == b"\x69\x85"
    good(chip.transmit(select(CASH)))
    read_all(chip, options["94"])
    assert data_of(chip, "9F79") == 49_700


def test_applications_are_two_at_least_and_differ() -> None:
    one = ChipCard(Personalisation(PAN, "3012"), CHIP_MODULE, KEY)
    for applications in ([one], [one, one], [one] * 9):
        with pytest.raises(ValueError, match="applications"):
            MultiApplicationCard(applications)


def test_a_repr_shows_no_account_number() -> None:
    assert PAN not in repr(card())


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([select(RID), select(RID, 2), select(PPSE)]))))
def test_any_bytes_are_answered_with_a_status_word(commands: list[bytes]) -> None:
    chip = card()
    for command in commands:
        response = chip.transmit(command)
        assert 2 <= len(response) <= 258
        assert response[-2] in (0x63, 0x67, 0x69, 0x6A, 0x6D, 0x6E, 0x90)
