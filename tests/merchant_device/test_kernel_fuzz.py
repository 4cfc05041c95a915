"""Ten thousand taps with answers that no sound card gives: every one ends with an outcome."""

import random
from typing import get_args

import pytest
from certified_card import AAC, ARQC, CA_KEYS, TC, CertifiedCard

from merchant_device.kernel import (
    ApprovedOffline,
    Kernel,
    KernelConfiguration,
    Outcome,
    Torn,
    TransactionData,
    TryAgain,
)
from network.emv import tlv

TAPS = 10_000
SALE = TransactionData(amount=1250, date="260102", unpredictable_number=b"\x1e\x78\xee\xbc")
ALONE = KernelConfiguration(online=False, online_pin=False, fdda=True, offline=True, application_versions=("0030",))
KERNELS = [
    Kernel(KernelConfiguration(fdda=True, offline=True, floor_limit=20_000), CA_KEYS),
    Kernel(KernelConfiguration(fdda=True), CA_KEYS),
    Kernel(KernelConfiguration()),
    Kernel(
        KernelConfiguration(online=False, online_pin=False, fdda=True, offline=True, application_versions=("0030",)),
        CA_KEYS,
    ),
]


def mutated(answer: bytes, source: random.Random) -> bytes:
    """Change, drop, repeat, cut or replace."""
    data = bytearray(answer)
    for _ in range(source.randint(1, 3)):
        place = source.randrange(len(data) + 1)
        match source.randrange(7):
            case 0 if place < len(data):
                data[place] = source.randrange(256)
            case 1 if place < len(data):
                data[place] ^= 1 << source.randrange(8)
            case 2:
                del data[place : place + source.randint(1, 30)]
            case 3:
                data[place:place] = data[place : place + source.randint(1, 30)]
            case 4:
                data[place:place] = source.randbytes(source.randint(1, 8))
            case 5:
                del data[place:]
            case _:
                data[-2:] = source.randbytes(2)
    return bytes(data)


@pytest.mark.slow
def test_ten_thousand_taps_with_mutated_answers_all_end_with_an_outcome() -> None:
    source = random.Random(20181204)
    cards = [CertifiedCard(iad, signature_in_options=inside) for iad in (TC, ARQC, AAC) for inside in (True, False)]
    seen: dict[str, int] = {}
    torn: Torn | None = None
    approved = 0
    for number in range(TAPS):
        card = source.choice(cards)
        tap = source.choice(KERNELS).start(SALE, torn)
        chosen = {source.randrange(9) for _ in range(source.randint(1, 2))}
        step: bytes | Outcome = tap.command
        genuine = True
        for count in range(80):
            if not isinstance(step, bytes):
                break
            answer = card.transmit(step)
            if source.random() < 0.005:
                step = tap.card_gone()
                continue
            if count in chosen:
                changed = mutated(answer, source)
                genuine = genuine and changed == answer
                answer = changed
            step = tap.step(answer)
        assert isinstance(step, get_args(Outcome)), f"tap {number}"
        assert tap.outcome is step
        seen[type(step).__name__] = seen.get(type(step).__name__, 0) + 1
        torn = step.torn if isinstance(step, TryAgain) else None
        if isinstance(step, ApprovedOffline) and not genuine:
            # What was changed was not the card's word on this payment: the proof covers all of that.
            chip_data = tlv.flat(step.field55)
            assert (chip_data["9F02"].hex(), chip_data["9F37"]) == ("000000001250", SALE.unpredictable_number)
            approved += 1
    assert set(seen) >= {"ApprovedOffline", "OnlineRequest", "Declined", "EndApplication", "TryAgain"}
    assert seen["EndApplication"] > TAPS // 10
    assert approved, "some of what was changed does not matter, so that the lines above are reached"
