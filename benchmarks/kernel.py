"""What a tap costs the phone: the kernel and the reader, without the card.

Run ``python -m benchmarks kernel``. The card's answers are recorded beforehand from the issuer's chip and played back
through the virtual reader, so that what is timed is the kernel's and the reader's own. With fDDA the chain of
certificates (authority 1984, issuer 1408, card 1152 bits) is recovered anew in each tap (cold), or only the card's
signature is (warm: a card that has been here before). The best round counts, and the median stands beside it.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

from issuer.applet import ChipCard
from issuer.card_application import Personalisation
from issuer.certification import certify_card, enrol_issuer, found_authority
from merchant_device.kernel import Kernel, KernelConfiguration, OnlineRequest, TransactionData
from merchant_device.readers import VirtualReader
from network.emv import CaPublicKey, offline_data_authentication
from network.keys import Algorithm, KeyUsage, SecurityModule

ROUNDS = 30
PAN = "6228480000000001"
SALE = TransactionData(amount=1250, date="260102", unpredictable_number=bytes(4), sequence_counter=1)
BUDGET_PLAIN, BUDGET_FDDA = 2_000, 10_000
"""Microseconds a tap may take; EMVCo allows the whole of it 500 ms."""


class Recording:
    """A card that gives the answers another gave, in their order, at no cost."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.place = 0

    def transmit(self, apdu: bytes) -> bytes:
        """Give the next answer, whatever was asked."""
        answer = self.answers[self.place]
        self.place += 1
        return answer


def card_and_keys() -> tuple[ChipCard, dict[tuple[bytes, int], CaPublicKey]]:
    """Personalise a credit card that signs its online payments too."""
    module = SecurityModule(bytes(32), random.Random(1))
    authority = found_authority(module, index=0xF0, expiry="3512")
    issuer = enrol_issuer(module, authority, "622848", expiry="3412", serial=1)
    plain = Personalisation(PAN, "3012")
    written = certify_card(module, issuer, plain, module.generate_rsa(1152), serial=1, online_too=True)
    imk = module.import_clear(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE, bytes(range(16)))
    card = ChipCard(written, module, module.derive_card_key(imk, PAN, "001"))
    return card, {(authority.rid, authority.index): authority.public_key}


def tap(kernel: Kernel, reader: VirtualReader) -> OnlineRequest:
    """Take a card's payment."""
    tapped = kernel.start(SALE)
    command = tapped.command
    while True:
        step = tapped.step(reader.transmit(command))
        if not isinstance(step, bytes):
            break
        command = step
    if not isinstance(step, OnlineRequest):
        sys.exit(f"the tap ended otherwise: {step}")
    return step


def forget() -> None:
    """Empty what the terminal remembers of issuers and cards."""
    offline_data_authentication._issuer_key.cache_clear()
    offline_data_authentication._CARD_KEYS.clear()


def measured(
    kernel: Kernel, card: ChipCard, oda: str, calls: int, before: Callable[[], None]
) -> tuple[float, float, int]:
    """Give the best and the median round, microseconds a tap, and the number of commands."""
    answers: list[bytes] = []

    class Taped:
        def transmit(self, apdu: bytes) -> bytes:
            answers.append(card.transmit(apdu))
            return answers[-1]

    found = tap(kernel, VirtualReader(Taped()))
    if found.oda != oda:
        sys.exit(f"authentication: {found.oda}, expected {oda}")
    recording = Recording(answers)
    reader = VirtualReader(recording)
    rounds = []
    for _ in range(ROUNDS):
        spent = 0.0
        for _ in range(calls):
            before()
            recording.place = 0
            begin = time.perf_counter()
            tap(kernel, reader)
            spent += time.perf_counter() - begin
        rounds.append(spent / calls * 1e6)
    return min(rounds), statistics.median(rounds), len(answers)


def main() -> int:
    """Measure, print, and say whether the budgets are kept."""
    card, keys = card_and_keys()
    plain, authenticating = Kernel(KernelConfiguration()), Kernel(KernelConfiguration(fdda=True), keys)
    print(f"kernel and reader, us a tap: best of {ROUNDS} rounds (median)")
    kept = True
    for name, kernel, oda, calls, before, budget in (
        ("online", plain, "not done", 500, lambda: None, BUDGET_PLAIN),
        ("online, fDDA, warm", authenticating, "good", 200, lambda: None, BUDGET_FDDA),
        ("online, fDDA, cold", authenticating, "good", 100, forget, BUDGET_FDDA),
    ):
        best, median, commands = measured(kernel, card, oda, calls, before)
        kept = kept and median <= budget
        print(f"{name:<20}{best:>8.1f} ({median:.1f}), {commands} commands, budget {budget}")
    if not kept:
        print("a budget is not kept")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
