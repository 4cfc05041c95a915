"""Torn transactions: the card leaves at any command, and comes back, or another one does."""

import pytest
from certified_card import AID, ARQC, CA_KEYS, PAN, TC, CertifiedCard, conclude

from merchant_device.kernel import (
    ApprovedOffline,
    EndApplication,
    Kernel,
    KernelConfiguration,
    OnlineRequest,
    Torn,
    TransactionData,
    TryAgain,
)
from network.emv import tlv

KERNEL = Kernel(KernelConfiguration(fdda=True, offline=True, floor_limit=20_000), CA_KEYS)
FIRST = TransactionData(amount=1250, date="260102", unpredictable_number=b"\x1e\x78\xee\xbc", sequence_counter=7)
SECOND = TransactionData(amount=1250, date="260102", unpredictable_number=b"\x00\x01\x02\x03", sequence_counter=7)
OTHER_PAN = "6228480000001018"
GPO = 2
LAST = 7


def torn_at(card: CertifiedCard, leaves_at: int, torn: Torn | None = None) -> Torn | None:
    outcome = conclude(KERNEL.start(FIRST, torn), card, leaves_at)
    assert isinstance(outcome, TryAgain)
    assert outcome.reason == "the card left the field"
    assert PAN not in repr(outcome)
    return outcome.torn


def asked(card: CertifiedCard) -> list[int]:
    return [command[1] for command in card.commands]


@pytest.mark.parametrize("leaves_at", range(LAST + 1))
@pytest.mark.parametrize("iad", [TC, ARQC])
def test_a_card_that_leaves_at_any_command_and_comes_back_pays_once(iad: str, leaves_at: int) -> None:
    """Where the card's decision has arrived it is not asked for another; where it has not it decides anew."""
    card = CertifiedCard(iad)
    torn = torn_at(card, leaves_at)
    assert (torn is not None) == (leaves_at > GPO)
    signed_before = card.dynamic
    card.commands.clear()
    outcome = conclude(KERNEL.start(SECOND, torn), card)
    assert isinstance(outcome, ApprovedOffline if iad == TC else OnlineRequest)
    chip_data = tlv.flat(outcome.field55)
    if torn is None:
        assert asked(card).count(0xA8) == 1
        assert chip_data["9F37"] == SECOND.unpredictable_number
    else:
        assert asked(card) == [0xA4, 0xA4, 0xCA, 0xB2, 0xB2, 0xB2, 0xB2, 0xB2]
        assert card.dynamic is signed_before
        assert chip_data["9F37"] == FIRST.unpredictable_number
        assert chip_data["9F36"] == b"\x00\x01"
    assert card.atc == (2 if leaves_at == GPO else 1)


@pytest.mark.parametrize("leaves_at", range(LAST + 1))
def test_it_may_leave_again_and_again(leaves_at: int) -> None:
    card = CertifiedCard()
    torn = torn_at(card, LAST)
    for _ in range(3):
        torn = torn_at(card, leaves_at, torn)
        assert torn is not None
    assert isinstance(conclude(KERNEL.start(SECOND, torn), card), ApprovedOffline)
    assert card.atc == 1


@pytest.mark.parametrize("atc", [1, 5])
def test_another_card_pays_for_itself(atc: int) -> None:
    torn = torn_at(CertifiedCard(), LAST)
    other = CertifiedCard(pan=OTHER_PAN, atc=atc)
    other.atc = atc
    outcome = conclude(KERNEL.start(SECOND, torn), other)
    assert isinstance(outcome, ApprovedOffline)
    assert outcome.pan == OTHER_PAN
    assert other.atc == atc + 1
    assert tlv.find(outcome.field55, "9F37") == SECOND.unpredictable_number


def test_another_card_in_between_does_not_lose_what_the_first_decided() -> None:
    card, other = CertifiedCard(), CertifiedCard(pan=OTHER_PAN)
    torn = torn_at(card, LAST)
    torn = torn_at(other, GPO, torn)
    assert torn is not None
    assert isinstance(conclude(KERNEL.start(SECOND, torn), card), ApprovedOffline)
    assert card.atc == 1


def test_a_card_that_has_moved_on_decides_anew() -> None:
    card = CertifiedCard()
    torn = torn_at(card, LAST)
    torn_at(card, GPO)
    assert isinstance(conclude(KERNEL.start(SECOND, torn), card), ApprovedOffline)
    assert card.atc == 3


def test_a_card_without_the_application_any_more_or_without_a_counter() -> None:
    torn = torn_at(CertifiedCard(), LAST)

    class Refusing(CertifiedCard):
        refused = 0
        answer = b""

        def transmit(self, apdu: bytes) -> bytes:
            if apdu[1] == self.refused:
                self.refused = 0
                self.commands.append(apdu)
                return self.answer
            return super().transmit(apdu)

    for answer in ("6A88", "9000", "9F9000", "9F3601019000"):
        card = Refusing(atc=5)
        card.refused, card.answer = 0xCA, bytes.fromhex(answer)
        outcome = conclude(KERNEL.start(SECOND, torn), card)
        assert isinstance(outcome, ApprovedOffline)
        assert card.atc == 5
        assert asked(card).count(0xA8) == 1


def test_the_same_card_that_refuses_a_record_is_not_made_to_decide_twice() -> None:
    card = CertifiedCard()
    torn = torn_at(card, LAST)

    class Forgetful(CertifiedCard):
        def _record(self, file: int, record: int) -> bytes:
            return b"\x69\x85"

    card.__class__ = Forgetful
    assert conclude(KERNEL.start(SECOND, torn), card) == EndApplication("a record cannot be read", "6985")
    assert card.atc == 1
    assert asked(card)[-1] == 0xB2


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 1251},
        {"amount_other": 1},
        {"currency": "344"},
        {"transaction_type": "01"},
        {"terminal_country": "344"},
        {"pin_required": True},
    ],
)
def test_another_payment_is_not_paid_by_what_was_torn(changes: dict[str, object]) -> None:
    card = CertifiedCard()
    torn = torn_at(card, LAST)
    values: dict[str, object] = {"amount": 1250, "date": "260102", "unpredictable_number": bytes(4)}
    card.commands.clear()
    conclude(KERNEL.start(TransactionData(**(values | changes)), torn), card)  # type: ignore[arg-type]
    assert 0xA8 in asked(card)
    assert 0xCA not in asked(card)


def test_it_is_read_again_the_same_when_it_is_played_again() -> None:
    """The device replays a conversation after a turn that was not committed."""
    card = CertifiedCard()
    torn = torn_at(card, LAST)
    answers: list[bytes] = []
    tap = KERNEL.start(SECOND, torn)
    step: object = tap.command
    while isinstance(step, bytes):
        answers.append(card.transmit(step))
        step = tap.step(answers[-1])
    again = KERNEL.start(SECOND, torn)
    for answer in answers:
        step = again.step(answer)
    assert isinstance(step, ApprovedOffline)
    assert step == tap.outcome


def test_a_card_that_is_not_known_yet_leaves_nothing_behind() -> None:
    card = CertifiedCard(changes={"57": None})
    assert torn_at(card, LAST) is None
    assert AID in b"".join(card.commands)
