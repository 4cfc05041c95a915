"""Faulty cards: each fault shows as it is named, at its moment only, and the card beneath does what it says."""

from __future__ import annotations

import pytest
from card_bed import (
    AUTHORITY,
    ISSUER_MODULE,
    PAN,
    TODAY,
    card_rsa,
    cash_profile,
    certified,
    chip_of,
    issuer_certificate,
    processing_options,
    read_record,
    select,
)
from hypothesis import given
from hypothesis import strategies as st

from issuer.applet import PPSE, ChipCard
from issuer.card_application import DEBIT_AID, ELECTRONIC_CASH_AID, Personalisation
from issuer.certification import certify_card
from issuer.faulty_card import (
    EXTERNAL_AUTHENTICATE,
    FAULTS,
    GET_DATA,
    GET_PROCESSING_OPTIONS,
    GONE,
    READ_RECORD,
    SELECT,
    Alteration,
    FaultProfile,
    FaultyCard,
    Lost,
    Malformation,
    MalformedAnswer,
    Moment,
    Refusal,
    Tear,
    torn,
)
from network.emv import (
    OdaError,
    recover_card_key,
    recover_issuer_key,
    static_data_to_authenticate,
    tlv,
    verify_dynamic_data,
)

CASH = ELECTRONIC_CASH_AID
CONVERSATION = [
    select(PPSE),
    select(CASH),
    processing_options(),
    *(read_record(*place) for place in ((2, 1), (2, 2), (3, 1), (3, 2))),
]
"""A whole offline payment of 12.50: seven commands, the last of which pays."""


def cash_card() -> ChipCard:
    return chip_of(cash_profile())


def answers(card: FaultyCard | ChipCard) -> list[bytes]:
    return [card.transmit(command) for command in CONVERSATION]


def authentication(heard: list[bytes]) -> None:
    """What a terminal checks, in its order."""
    options = tlv.flat(tlv.flat(heard[2][:-2])["77"])
    objects = dict(options)
    for record in heard[3:]:
        objects |= tlv.flat(tlv.flat(record[:-2])["70"])
    if objects["8F"] != bytes((AUTHORITY.index,)):
        raise OdaError("authority is not known")
    issuer = recover_issuer_key(AUTHORITY.public_key, objects["90"], objects.get("92"), objects["9F32"], PAN, TODAY)
    static = static_data_to_authenticate([(2, heard[3][:-2])], objects["9F4A"], objects["82"])
    card = recover_card_key(issuer, objects["9F46"], objects.get("9F48"), objects["9F47"], PAN, static, TODAY)
    dynamic = bytes.fromhex("1E78EEBC000000001250") + b"\x01\x56" + objects["9F69"]
    verify_dynamic_data(card, objects["9F4B"], dynamic)


def test_a_card_without_faults_is_a_sound_card() -> None:
    # not the number the card chose nor what it signed, which are others each time
    sound, wrapped = answers(cash_card()), answers(FaultyCard(cash_card(), FaultProfile("nothing")))
    assert sound[:-1] == wrapped[:-1]
    assert len(sound[-1]) == len(wrapped[-1])
    authentication(wrapped)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong_issuer_certificate", "header|trailer"),
        ("wrong_issuer_hash", "hash of the issuer certificate"),
        ("wrong_card_certificate", "header|trailer"),
        ("wrong_card_hash", "hash of the card certificate"),
        ("wrong_signature", "header|trailer"),
        ("wrong_signature_hash", "hash of the signed dynamic data"),
        ("unknown_authority", "authority"),
    ],
)
def test_a_terminal_finds_out(name: str, reason: str) -> None:
    heard = answers(FaultyCard(cash_card(), FAULTS[name]))
    assert all(answer[-2:] == b"\x90\x00" for answer in heard)
    with pytest.raises(OdaError, match=reason):
        authentication(heard)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("other_account_certified", "another account number"), ("certificate_expired", "card certificate has expired")],
)
def test_faults_that_the_issuer_signed(name: str, reason: str) -> None:
    fault = FAULTS[name]
    profile = certify_card(
        ISSUER_MODULE,
        issuer_certificate(),
        Personalisation(PAN, "3012", aid=CASH),
        card_rsa(),
        serial=1,
        online_too=True,
        pan=fault.certified_pan(PAN),
        expiry=fault.certificate_expiry,
    )
    with pytest.raises(OdaError, match=reason):
        authentication(answers(FaultyCard(chip_of(profile), fault)))


def test_other_faults_leave_the_certificate_right() -> None:
    fault = FAULTS["wrong_signature"]
    assert (fault.certified_pan(PAN), fault.certificate_expiry) == (None, None)


def test_a_wrong_cryptogram_differs_from_the_right_one() -> None:
    right, wrong = (
        tlv.flat(tlv.flat(answers(card)[2][:-2])["77"]) for card in (cash_card(), faulty("wrong_cryptogram"))
    )
    assert right.pop("9F26") != wrong.pop("9F26")
    assert right == wrong


def faulty(name: str) -> FaultyCard:
    return FaultyCard(cash_card(), FAULTS[name])


@pytest.mark.parametrize(
    ("name", "place", "status", "atc", "balance"),
    [
        ("no_directory", 0, "6A82", 1, 48_750),
        ("card_blocked", 0, "6A81", 1, 48_750),
        ("application_blocked", 1, "6283", 0, 50_000),
        ("application_missing", 1, "6A82", 0, 50_000),
        ("other_interface", 2, "6984", 0, 50_000),
        ("conditions", 2, "6985", 0, 50_000),
        ("see_phone", 2, "6986", 0, 50_000),
        ("memory", 2, "6581", 0, 50_000),
        ("record_missing", 3, "6A83", 1, 48_750),
        ("last_record_missing", 6, "6A83", 1, 50_000),
    ],
)
def test_a_refused_command_is_not_carried_out_and_all_others_are(
    name: str, place: int, status: str, atc: int, balance: int
) -> None:
    chip = cash_card()
    heard = answers(FaultyCard(chip, FAULTS[name]))
    assert heard[place].hex().upper() == status
    assert all(answer[-2:] == b"\x90\x00" for answer in heard[:place])
    assert (chip.atc, chip.balance) == (atc, balance)


@pytest.mark.parametrize("status", ["6283", "6700", "6982", "6A81", "6A82", "6F00", "0000", "9001"])
@pytest.mark.parametrize(
    ("moment", "command"),
    [
        (Moment(SELECT, 1), select(PPSE)),
        (Moment(SELECT, 2), select(CASH)),
        (Moment(GET_PROCESSING_OPTIONS), processing_options()),
        (Moment(READ_RECORD, 3), read_record(3, 1)),
        (Moment(GET_DATA, 0), bytes.fromhex("80CA9F3600")),
        (Moment(EXTERNAL_AUTHENTICATE, 0), bytes.fromhex("008200000A" + "00" * 10)),
    ],
)
def test_any_status_word_at_any_command(moment: Moment, command: bytes, status: str) -> None:
    card = FaultyCard(cash_card(), FaultProfile("refuses", refusals=(Refusal(moment, bytes.fromhex(status)),)))
    heard = {}
    for sent in [*CONVERSATION, bytes.fromhex("80CA9F3600"), bytes.fromhex("008200000A" + "00" * 10)]:
        heard[sent] = card.transmit(sent)
    assert heard[command].hex().upper() == status
    assert sum(answer.hex().upper() == status for answer in heard.values()) == 1


def test_a_conversation_begins_with_the_directory() -> None:
    card = FaultyCard(cash_card(), FaultProfile("refuses", refusals=(Refusal(Moment(SELECT, 2), b"\x6a\x81"),)))
    for _ in range(3):
        assert [card.transmit(select(name))[-2:].hex() for name in (PPSE, CASH, CASH)] == ["9000", "6a81", "9000"]


@pytest.mark.parametrize("how", Malformation)
@pytest.mark.parametrize("place", range(4))
def test_malformed_answers_are_no_sound_ones(how: Malformation, place: int) -> None:
    name = ("directory", "application", "options", "record")[place]
    card = faulty(f"malformed_{name}_{how.name.lower()}")
    heard, sound = answers(card), answers(cash_card())
    assert heard[:place] == sound[:place]
    answer = heard[place]
    if how is Malformation.HALF_STATUS:
        assert len(answer) == 1
    elif how is Malformation.TOO_LONG:
        assert len(answer) == 302
    elif how is Malformation.EMPTY:
        assert answer == b"\x90\x00"
    elif how is Malformation.TEMPLATE:
        assert tlv.objects(answer[:-2])[0][0] == "80"
    else:
        with pytest.raises(tlv.TlvError):
            tlv.flat(next(iter(tlv.flat(answer[:-2]).values())))
    assert heard[place + 1 : -1] == sound[place + 1 : -1], "only that answer"


@pytest.mark.parametrize("how", Malformation)
def test_malformation_of_answers_without_template(how: Malformation) -> None:
    profile = FaultProfile("malformed", malformed=tuple(MalformedAnswer(Moment(i, 0), how) for i in range(256)))
    card = FaultyCard(cash_card(), profile)
    for command in [*CONVERSATION, bytes.fromhex("80CA9F3600"), bytes.fromhex("008200000A" + "00" * 10)]:
        assert isinstance(card.transmit(command), bytes)


@pytest.mark.parametrize("lost", Lost)
@pytest.mark.parametrize("command", range(1, 8))
def test_a_card_torn_out_of_the_field(command: int, lost: Lost) -> None:
    card = FaultyCard(cash_card(), torn(command, lost))
    heard = answers(card)
    assert all(answer[-2:] == b"\x90\x00" for answer in heard[: command - 1])
    assert heard[command - 1 :] == [GONE] * (8 - command)
    assert not card.present
    done = command - (lost is Lost.COMMAND)
    chip = card.card
    assert isinstance(chip, ChipCard)
    assert chip.atc == int(done >= 3)
    assert chip.balance == (48_750 if done == 7 else 50_000)
    card.reset()
    assert card.present
    authentication(answers(card))
    # the payment before, if it was paid, and this one
    assert chip.balance == (47_500 if done == 7 else 48_750)


def test_a_torn_payment_is_finished_with_the_records_of_the_first() -> None:
    card = FaultyCard(cash_card(), torn(7))
    heard = answers(card)
    card.reset()
    again = [card.transmit(command) for command in (select(PPSE), select(CASH), *CONVERSATION[3:])]
    authentication([*heard[:3], *again[2:]])
    assert card.card.balance == 48_750  # type: ignore[attr-defined]


def test_a_card_is_torn_as_often_as_it_is_said() -> None:
    card = FaultyCard(cash_card(), torn(2, times=2))
    gone = []
    for _ in range(4):
        card.reset()
        gone.append(GONE in answers(card))
    assert gone == [True, True, False, False]


def test_a_slow_card_says_how_slow() -> None:
    card = faulty("slow")
    assert card.seconds == 0.4
    assert answers(card)[0][-2:] == b"\x90\x00"
    assert FaultyCard(cash_card(), FaultProfile("none")).seconds == 0


def test_alterations_reach_whatever_the_card_gives() -> None:
    card = FaultyCard(
        chip_of(certified()), FaultProfile("other", alterations=(Alteration("84", b"\xa0" * 8), Alteration("5A")))
    )
    assert tlv.flat(tlv.flat(card.transmit(select(DEBIT_AID))[:-2])["6F"])["84"] == b"\xa0" * 8
    account = tlv.flat(tlv.flat(card.transmit(read_record(2, 1))[:-2])["70"])["5A"]
    assert account.hex() == PAN[:-1] + "0"


@pytest.mark.parametrize(
    "build",
    [
        lambda: Moment(256),
        lambda: Moment(SELECT, -1),
        lambda: Refusal(Moment(SELECT), b"\x90"),
        lambda: Tear(0),
        lambda: Tear(1, times=0),
    ],
)
def test_faults_that_cannot_be(build: object) -> None:
    with pytest.raises(ValueError, match="a "):
        build()  # type: ignore[operator]


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_said_in_words_and_shows(name: str) -> None:
    fault = FAULTS[name]
    card = FaultyCard(cash_card(), fault)
    assert fault.meaning in repr(card)
    assert PAN not in repr(card)
    commands = [*CONVERSATION, bytes.fromhex("008200000A" + "00" * 10)]
    heard = [card.transmit(command) for command in commands]
    # the last record is another in every payment, so the same card must be asked twice
    sound = [card.card.transmit(command) if command == CONVERSATION[-1] else b"" for command in commands]
    sound = [again or answer for again, answer in zip(sound, whole(cash_card(), commands), strict=True)]
    written_by_the_issuer = fault.is_other_certified or fault.certificate_expiry is not None
    assert (heard != sound) is not (written_by_the_issuer or fault.seconds > 0)


def whole(card: ChipCard, commands: list[bytes]) -> list[bytes]:
    return [card.transmit(command) for command in commands]


@given(
    st.sampled_from(sorted(FAULTS)),
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from(CONVERSATION)), max_size=8),
)
def test_nothing_is_raised_whatever_is_sent(name: str, commands: list[bytes]) -> None:
    card = faulty(name)
    for command in commands:
        assert isinstance(card.transmit(command), bytes)
