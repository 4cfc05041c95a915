"""Offline approval: fDDA, processing restrictions, verification (DOMAIN.md 4.4 to 4.6; EMV Book 3, 10.3 and 10.4)."""

from collections.abc import Collection

import pytest
from certification_authority import RID
from certified_card import AAC, AID, ARQC, CA_KEYS, PAN, TC, CertifiedCard, conclude

from merchant_device.kernel import (
    ApprovedOffline,
    Cvm,
    Declined,
    EndApplication,
    Kernel,
    KernelConfiguration,
    OnlineRequest,
    Outcome,
    TransactionData,
    TryAnotherInterface,
)
from network.emv import tlv

OFFLINE = {"fdda": True, "offline": True, "floor_limit": 20_000}
ALONE = {"online": False, "online_pin": False}
SALE = TransactionData(amount=1250, date="260102", unpredictable_number=b"\x1e\x78\xee\xbc", sequence_counter=7)


def paid(
    card: CertifiedCard,
    transaction: TransactionData = SALE,
    revoked: Collection[tuple[bytes, int, bytes]] = frozenset(),
    **setup: object,
) -> Outcome:
    configuration = KernelConfiguration(**(OFFLINE | setup))  # type: ignore[arg-type]
    return conclude(Kernel(configuration, CA_KEYS, revoked).start(transaction), card)


@pytest.mark.parametrize("in_options", [True, False])
def test_a_genuine_card_approves(in_options: bool) -> None:
    card = CertifiedCard(signature_in_options=in_options)
    outcome = paid(card)
    assert isinstance(outcome, ApprovedOffline)
    assert (outcome.pan, outcome.expiry, outcome.sequence) == (PAN, "3012", "001")
    assert (outcome.cvm, outcome.aid, outcome.balance) == (Cvm.NO_CVM, AID, 12345)
    chip_data = tlv.flat(outcome.field55)
    assert chip_data["9F27"] == b"\x40"
    assert chip_data["95"] == bytes(5), "what the card computed over, whatever was found since"
    assert (chip_data["9F35"], chip_data["9F33"]) == (b"\x22", b"\x00\x68\x40")
    assert chip_data["9F10"].hex() == TC
    assert [command[1] for command in card.commands] == [0xA4, 0xA4, 0xA8, 0xB2, 0xB2, 0xB2, 0xB2, 0xB2]
    assert PAN not in repr(outcome)


def test_a_terminal_that_does_not_approve_offline_declines_what_was_approved() -> None:
    for setup in ({"offline": False}, {"floor_limit": 1249}, {"offline": False, "fdda": False}):
        outcome = paid(CertifiedCard(), **setup)
        assert isinstance(outcome, Declined)
        assert outcome.reason == "the card approved offline, which this terminal does not accept"
    assert isinstance(paid(CertifiedCard(), floor_limit=1250), ApprovedOffline)
    outcome = paid(CertifiedCard(iad=AAC))
    assert isinstance(outcome, Declined)
    assert outcome.reason == "the card declined"


@pytest.mark.parametrize("tag", ["90", "92", "9F32", "9F46", "9F47", "9F48", "9F4B", "9F69", "8F"])
@pytest.mark.parametrize("how", ["corrupt", "missing"])
def test_each_object_of_the_proof_counts(tag: str, how: str) -> None:
    """Each is right in `test_a_genuine_card_approves`; here one has its last byte changed, or is not there."""
    card = CertifiedCard(corrupt=tag) if how == "corrupt" else CertifiedCard(changes={tag: None})
    outcome = paid(card)
    assert isinstance(outcome, Declined)
    assert outcome.reason.startswith("the card is not proved to be genuine: ")
    assert outcome.field55 is not None


@pytest.mark.parametrize("tag", ["9F02", "5F2A", "9F37"])
def test_what_the_terminal_asked_is_what_must_be_signed(tag: str) -> None:
    """The relay of another payment's answer: the amount, the currency or the number differ ."""
    other = {
        "9F02": {"amount": 1251},
        "5F2A": {"currency": "157"},
        "9F37": {"unpredictable_number": b"\x1e\x78\xee\xbd"},
    }
    card = CertifiedCard()
    kernel = Kernel(KernelConfiguration(**OFFLINE), CA_KEYS)  # type: ignore[arg-type]
    values: dict[str, object] = {"amount": 1250, "date": "260102", "unpredictable_number": b"\x1e\x78\xee\xbc"}
    genuine, relayed = kernel.start(SALE), kernel.start(TransactionData(**(values | other[tag])))  # type: ignore[arg-type]
    first, command = genuine.command, relayed.command
    outcome: Outcome | bytes = b""
    for _ in range(8):
        answer = card.transmit(first)
        step, outcome = genuine.step(answer), relayed.step(answer)
        if isinstance(step, bytes):
            first = step
    assert isinstance(genuine.outcome, ApprovedOffline)
    assert isinstance(outcome, Declined)
    assert outcome.reason == "the card is not proved to be genuine: hash of the signed dynamic data is wrong"
    assert command


@pytest.mark.parametrize(
    ("card", "revoked", "reason"),
    [
        (CertifiedCard(static_changes={"9F4A": "8282"}), set(), "tag list 9F4A names other than 82"),
        (CertifiedCard(changes={"8F": "81"}), set(), "no key 81 of A000000333"),
        (CertifiedCard(changes={"8F": ""}), set(), "no key  of A000000333"),
        (CertifiedCard(profile="1C00"), set(), "the card does not authenticate itself"),
        (CertifiedCard(changes={"9F69": "00" + "01020304" + "0000"}), set(), "9F69 is not of version 01"),
        (CertifiedCard(changes={"9F69": "0101020304"}), set(), "9F69 is not of version 01"),
        (CertifiedCard(changes={"9F69": "01" + "01020304" + "0080"}), set(), "9F69 holds other qualifiers than 9F6C"),
        (CertifiedCard(changes={"9F6C": "0080"}), set(), "9F69 holds other qualifiers than 9F6C"),
        (CertifiedCard(changes={"94": "1001020018010300"}), set(), "hash of the card certificate is wrong"),
        (CertifiedCard(changes={"94": None}), set(), "8F is missing"),
        (CertifiedCard(), {(RID, 0x80, b"\0\0\1")}, "issuer certificate is revoked"),
    ],
)
def test_why_a_card_is_not_proved(card: CertifiedCard, revoked: set[tuple[bytes, int, bytes]], reason: str) -> None:
    outcome = paid(card, revoked=revoked)
    assert isinstance(outcome, Declined)
    assert reason in outcome.reason


@pytest.mark.parametrize(
    ("qualifiers", "setup", "expected"),
    [
        ("0000", {}, Declined),
        ("2000", {}, OnlineRequest),
        ("1000", {}, TryAnotherInterface),
        ("3000", {}, OnlineRequest),
        ("2000", {"online": False, "online_pin": False}, Declined),
        ("3000", {"online": False, "online_pin": False}, TryAnotherInterface),
    ],
)
@pytest.mark.parametrize("iad", [TC, ARQC])
def test_what_follows_when_it_is_not_proved(
    qualifiers: str, setup: dict[str, object], expected: type[Outcome], iad: str
) -> None:
    """DOMAIN.md 4.5: byte 1 20 go online, 10 other interface, else decline."""
    if iad == ARQC and setup:
        expected = Declined
    outcome = paid(CertifiedCard(iad=iad, qualifiers=qualifiers, corrupt="9F4B"), **setup)
    assert isinstance(outcome, expected)
    if isinstance(outcome, OnlineRequest):
        assert outcome.oda not in ("good", "not done")
        assert tlv.find(outcome.field55, "9F27") == (b"\x40" if iad == TC else b"\x80")
        assert tlv.find(outcome.field55, "95") == bytes(5)


@pytest.mark.parametrize(
    ("card", "setup", "oda", "records"),
    [
        (CertifiedCard(ARQC), {}, "good", 5),
        (CertifiedCard(ARQC, signature_in_options=False), {}, "good", 5),
        (CertifiedCard(ARQC), {"offline": False}, "good", 5),
        (CertifiedCard(ARQC), {"offline": False, "fdda": False}, "not done", 0),
        (CertifiedCard(ARQC, profile="1C00"), {}, "not done", 0),
        (CertifiedCard(ARQC, changes={"94": None}, signature_in_options=False), {}, "not done", 0),
        (CertifiedCard(ARQC, changes={"9F4B": None}), {}, "not done", 5),
    ],
)
def test_authentication_of_payments_that_go_online(
    card: CertifiedCard, setup: dict[str, object], oda: str, records: int
) -> None:
    outcome = paid(card, **setup)
    assert isinstance(outcome, OnlineRequest)
    assert outcome.oda == oda
    assert [command[1] for command in card.commands].count(0xB2) == records


@pytest.mark.parametrize(
    ("changes", "transaction", "setup", "reason"),
    [
        # 10.4.3 dates: the last and the first day, and the days beside them
        ({"expires": "260102"}, {}, {}, None),
        ({"expires": "260101"}, {}, {}, "the card has expired"),
        ({"expires": "990101"}, {}, {}, "the card has expired"),
        ({"static_changes": {"5F24": None}}, {}, {}, "the card does not say when it expires"),
        ({"static_changes": {"5F24": "2601"}}, {}, {}, "5F24 and 57 expire at two times"),
        ({"static_changes": {"5F25": "260102"}}, {}, {}, None),
        ({"static_changes": {"5F25": "260103"}}, {}, {}, "the card is not valid yet"),
        ({"static_changes": {"5F25": "2601"}}, {}, {}, "the card is not valid yet"),
        ({"static_changes": {"5F25": "991231"}}, {}, {}, None),
        ({"static_changes": {"5F25": None}}, {}, {}, None),
        # 10.4.2 usage: 28 goods or services at home, 14 abroad, 01 elsewhere than at a cash machine
        ({"static_changes": {"9F07": "2100"}}, {}, {}, None),
        ({"static_changes": {"9F07": "0900"}}, {}, {}, None),
        ({"static_changes": {"9F07": "1500"}}, {}, {}, "not for this kind of payment in this country"),
        ({"static_changes": {"9F07": "2800"}}, {}, {}, "for cash machines only"),
        ({"static_changes": {"9F07": "21"}}, {}, {}, "9F07 is not 2 bytes"),
        ({"static_changes": {"9F07": None}}, {}, {}, None),
        ({"static_changes": {"5F28": "0344"}}, {}, {}, None),
        ({"static_changes": {"5F28": "0344", "9F07": "2900"}}, {}, {}, "not for this kind of payment in this country"),
        ({"static_changes": {"5F28": "0344", "9F07": "1100"}}, {}, {}, None),
        ({"static_changes": {"5F28": None, "9F07": "0100"}}, {}, {}, None),
        ({"static_changes": {"9F07": "8100"}}, {"transaction_type": "01"}, ALONE, None),
        ({"static_changes": {"9F07": "4100"}}, {"transaction_type": "01"}, ALONE,
         "not for this kind of payment in this country"),
        ({"static_changes": {"9F07": "FF80"}}, {"amount_other": 5}, ALONE, None),
        ({"static_changes": {"9F07": "FF40"}}, {"amount_other": 5}, ALONE,
         "not for cash with a purchase"),
        # 10.4.1 version
        ({"static_changes": {"9F08": "0020"}}, {}, {}, None),
        ({"static_changes": {"9F08": "0020"}}, {}, {"application_versions": ("0030",)}, "of another version"),
        ({"static_changes": {"9F08": "002A"}}, {}, {"application_versions": ("0030", "002a")}, None),
        ({"static_changes": {"9F08": None}}, {}, {"application_versions": ("0030",)}, None),
    ],
)  # fmt: skip
def test_processing_restrictions(
    changes: dict[str, object], transaction: dict[str, object], setup: dict[str, object], reason: str | None
) -> None:
    values: dict[str, object] = {"amount": 1250, "date": "260102", "unpredictable_number": bytes(4)}
    card = CertifiedCard(**changes)  # type: ignore[arg-type]
    outcome = paid(card, TransactionData(**(values | transaction)), **setup)  # type: ignore[arg-type]
    if reason is None:
        assert isinstance(outcome, ApprovedOffline)
    else:
        assert isinstance(outcome, Declined | EndApplication)
        assert reason in outcome.reason


def test_an_expired_card_goes_online_where_it_says_so() -> None:
    """9F6C byte 1, 08; general practice."""
    for qualifiers, kind in (("0800", OnlineRequest), ("0000", Declined)):
        card = CertifiedCard(qualifiers=qualifiers, expires="260101")
        outcome = paid(card)
        assert isinstance(outcome, kind)
        if isinstance(outcome, OnlineRequest):
            assert outcome.oda == "good"
            assert tlv.find(outcome.field55, "9F27") == b"\x40"
    # What goes online is its issuer's to judge.
    assert isinstance(paid(CertifiedCard(ARQC, expires="260101")), OnlineRequest)


@pytest.mark.parametrize(
    ("qualifiers", "setup", "cvm"),
    [
        ("0000", {}, Cvm.NO_CVM),
        ("4000", {}, Cvm.SIGNATURE),
        ("0080", {}, Cvm.CDCVM),
        ("8000", {}, None),
        ("0000", {"cvm_limit": 1249}, None),
        ("0000", {"cvm_limit": 1250}, Cvm.NO_CVM),
        ("4000", {"cvm_limit": 0}, Cvm.SIGNATURE),
        ("0000", {"online_pin_always": True}, None),
    ],
)
def test_verification_without_the_issuer(qualifiers: str, setup: dict[str, object], cvm: Cvm | None) -> None:
    outcome = paid(CertifiedCard(qualifiers=qualifiers), **setup)
    assert isinstance(outcome, Declined if cvm is None else ApprovedOffline)
    if isinstance(outcome, ApprovedOffline):
        assert outcome.cvm is cvm


@pytest.mark.parametrize("digits", ["000000012345", "0000000123", None, "00000001234A"])
def test_the_balance_is_what_the_card_says_or_none(digits: str | None) -> None:
    outcome = paid(CertifiedCard(changes={"9F5D": digits}))
    assert isinstance(outcome, ApprovedOffline)
    assert outcome.balance == (12345 if digits == "000000012345" else None)


def test_a_stopped_card_does_not_pay_offline() -> None:
    for hot in (PAN, PAN[:-1] + "1"):
        kernel = Kernel(KernelConfiguration(**OFFLINE), CA_KEYS, is_hot={hot}.__contains__)  # type: ignore[arg-type]
        assert isinstance(conclude(kernel.start(SALE), CertifiedCard()), Declined if hot == PAN else ApprovedOffline)


@pytest.mark.parametrize(("floor_limit", "kind"), [(1250, ApprovedOffline), (1249, Declined), (0, Declined)])
@pytest.mark.parametrize("setup", [{}, ALONE])
def test_nothing_is_approved_offline_above_the_floor_limit(
    setup: dict[str, object], floor_limit: int, kind: type[Outcome]
) -> None:
    """A terminal without issuers to ask has no other limit than this (Book 3, 10.6.1)."""
    card = CertifiedCard()
    assert isinstance(paid(card, floor_limit=floor_limit, **setup), kind)
    assert (0xB2 in {command[1] for command in card.commands}) is (kind is ApprovedOffline)


@pytest.mark.parametrize("padding", ["", "FF", "FFFF"])
def test_an_account_number_may_fill_its_ten_bytes(padding: str) -> None:
    """5A is compressed numeric, padded with as many F as there is room (Book 3, 4.3)."""
    assert isinstance(paid(CertifiedCard(static_changes={"5A": PAN + padding})), ApprovedOffline)


class LaidOut(CertifiedCard):
    """A card with another layout: one object, or the signed record, is in the last record only."""

    def __init__(self, last: str, tag_list_in: tuple[int, int] | None = None, **changes: object) -> None:
        self.last, self.tag_list_in = last, tag_list_in
        locator = {"94": "10020200180103001001" + "0101"} if last == "5A" else {}
        super().__init__(changes=locator, **changes)  # type: ignore[arg-type]

    def _decide(self, asked: bytes) -> bytes:
        options = tlv.flat(tlv.flat(super()._decide(asked)[:-2])["77"])
        options.pop(self.last, None)
        return tlv.encode("77", tlv.encode_all(options)) + b"\x90\x00"

    def _record(self, file: int, record: int) -> bytes:
        answer = super()._record(file, record)
        inside = tlv.flat(tlv.flat(answer[:-2])["70"])
        if self.last != "5A":
            inside.pop(self.last, None)
        if (file, record) == (3, 3) and self.last != "5A":
            inside[self.last] = (self.keys | self.dynamic | {"57": self.track2, "9F4A": b"\x82"})[self.last]
        if (file, record) == self.tag_list_in:
            inside["9F4A"] = b"\x82"
        return tlv.encode("70", tlv.encode_all(inside)) + b"\x90\x00"


@pytest.mark.parametrize("last", ["8F", "90", "92", "9F32", "9F46", "9F47", "9F48", "9F4B", "57", "5A"])
def test_what_stands_in_the_last_record_is_not_missed_before(last: str) -> None:
    """The terminal judges before it reads the last record, but only by what it knows."""
    card = LaidOut(last)
    assert isinstance(paid(card), ApprovedOffline)
    wrong = LaidOut(last, corrupt="90" if last == "9F46" else "9F46")
    assert isinstance(paid(wrong), Declined)
    assert [command[1] for command in card.commands].count(0xB2) == 5


def test_the_list_of_signed_tags_may_stand_in_a_record_of_its_own() -> None:
    """In the last record, or in an early one that is not signed while the last one is."""
    unlisted: dict[str, str | None] = {"9F4A": None}
    for card in (LaidOut("9F4A", static_changes=unlisted), LaidOut("5A", (2, 2), static_changes=unlisted)):
        assert isinstance(paid(card), ApprovedOffline)
    assert isinstance(paid(LaidOut("5A", static_changes=unlisted)), Declined)
