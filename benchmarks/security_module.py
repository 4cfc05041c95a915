"""What each operation of the security module costs, in microseconds.

Usage: python benchmarks/security_module.py [--profile OPERATION]

The best of several rounds is shown: noise of the machine only ever adds. A target is what the hot path of a
payment was planned with.
"""

import argparse
import cProfile
import pstats
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from network.keys import (
    Algorithm,
    KeyHandle,
    KeyUsage,
    MacAlgorithm,
    PinFormat,
    Scheme,
    SecurityModule,
)

ROUNDS = 7
SECONDS_A_ROUND = 0.03
PAN = "6212345678901232"
SEQUENCE = "01"
CARDS = 500


class Case(NamedTuple):
    """One operation: what is called, and the planned cost in microseconds, where there is one."""

    name: str
    call: Callable[[], object]
    target: float | None


def cases() -> list[Case]:
    """Build the module, its keys and the operations on them."""
    module = SecurityModule(bytes(range(32)), random.Random(1))

    def key(usage: KeyUsage, algorithm: Algorithm = Algorithm.TDES_DOUBLE) -> KeyHandle:
        return module.load(module.generate(usage, algorithm))

    mak_single = key(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES)
    mak_double = key(KeyUsage.MAC_ALGORITHM_3)
    mak_sm4 = key(KeyUsage.MAC_ALGORITHM_1, Algorithm.SM4)
    mak_cmac = key(KeyUsage.MAC_CMAC, Algorithm.AES_128)
    pik, zpk = key(KeyUsage.PIN_ENCRYPTION), key(KeyUsage.PIN_ENCRYPTION)
    aes_pik = key(KeyUsage.PIN_ENCRYPTION, Algorithm.AES_128)
    pvk = key(KeyUsage.PIN_VERIFICATION_PVV)
    imk = key(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM)
    imk_sm4 = key(KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM, Algorithm.SM4)
    sealing = key(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256)
    indexing = key(KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256)
    card, card_sm4 = (module.derive_card_key(master, PAN, SEQUENCE) for master in (imk, imk_sm4))
    tmk = key(KeyUsage.KEY_ENCRYPTION)

    terminal_data, interbank_data, chip_data = bytes(range(250)), b"0200 ".ljust(150, b"7"), bytes(range(37))
    block = module.encrypt_pin(pik, "123456", PAN, PinFormat.ISO_0)
    block_4 = module.encrypt_pin(aes_pik, "123456", PAN, PinFormat.ISO_4)
    pvv = module.make_pvv(pvk, "1", PAN, "123456")
    sealed = module.seal(sealing, PAN.encode())
    download = module.make_de62(tmk, pik, mak_single)
    stored = [module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE) for _ in range(64)]
    small = SecurityModule(bytes(range(32)), random.Random(1), cache_size=8)

    counter = 0

    def atc() -> bytes:
        nonlocal counter
        counter = (counter + 1) % 65536
        return counter.to_bytes(2)

    def generate_ac(handle: KeyHandle, scheme: Scheme) -> Callable[[], object]:
        return lambda: module.generate_ac(handle, scheme, atc(), chip_data)

    def check(handle: KeyHandle, scheme: Scheme, cards: int) -> Callable[[], object]:
        pans = [f"62123456789{n:05d}" for n in range(cards)]
        ready = []
        for n in range(65536):
            if len(ready) == 4 * CARDS:
                break
            pan, count = pans[n % cards], n.to_bytes(2)
            ready.append((pan, count))
        answers = {
            (pan, count): module.generate_ac(handle_of[pan], scheme, count, chip_data)
            for handle_of in [{pan: module.derive_card_key(handle, pan, SEQUENCE) for pan in pans}]
            for pan, count in ready
        }
        position = 0

        def call() -> object:
            nonlocal position
            position = (position + 1) % len(ready)
            pan, count = ready[position]
            result = module.check_ac_and_make_arpc(
                handle, scheme, pan, SEQUENCE, count, chip_data, answers[pan, count], b"00"
            )
            assert result is not None
            return result

        return call

    def load_opened() -> object:
        nonlocal counter
        counter = (counter + 1) % 65536
        return small.load(stored[counter % 64])

    translate = module.translate_pin
    iso0, iso4 = PinFormat.ISO_0, PinFormat.ISO_4
    cup, retail = MacAlgorithm.CUP_ECB, MacAlgorithm.X9_19
    received = module.mac(mak_single, cup, terminal_data)
    return [
        Case("mac CUP ECB, 250 bytes", lambda: module.mac(mak_single, cup, terminal_data), 4),
        Case(
            "verify_mac CUP ECB, 250 bytes",
            lambda: module.verify_mac(mak_single, cup, terminal_data, received),
            None,
        ),
        Case("mac CUP ECB SM4, 250 bytes", lambda: module.mac(mak_sm4, cup, terminal_data), None),
        Case("interbank_mac X9.9, 150 bytes", lambda: module.interbank_mac(mak_single, interbank_data), 4),
        Case("interbank_mac X9.19, 150 bytes", lambda: module.interbank_mac(mak_double, interbank_data), 4),
        Case("mac X9.19, 8 bytes", lambda: module.mac(mak_double, retail, bytes(8)), None),
        Case("mac CMAC AES, 150 bytes", lambda: module.mac(mak_cmac, MacAlgorithm.CMAC, interbank_data), None),
        Case("encrypt_pin ISO 0", lambda: module.encrypt_pin(pik, "123456", PAN, iso0), None),
        Case("translate_pin ISO 0 to 0", lambda: translate(pik, zpk, block, PAN, iso0, iso0), 5),
        Case("translate_pin ISO 4 to 0", lambda: translate(aes_pik, zpk, block_4, PAN, iso4, iso0), None),
        Case("verify_pin_pvv", lambda: module.verify_pin_pvv(pik, block, PAN, iso0, pvk, "1", pvv), None),
        Case("generate_ac PBOC 3DES", generate_ac(card, Scheme.PBOC_3DES), 30),
        Case("generate_ac PBOC SM4", generate_ac(card_sm4, Scheme.PBOC_SM4), None),
        Case("check_ac_and_make_arpc PBOC 3DES", check(imk, Scheme.PBOC_3DES, CARDS), 45),
        Case("check_ac_and_make_arpc PBOC SM4", check(imk_sm4, Scheme.PBOC_SM4, CARDS), None),
        Case("check_ac_and_make_arpc EMV CSK", check(imk, Scheme.EMV_CSK, CARDS), None),
        Case("seal a PAN", lambda: module.seal(sealing, PAN.encode()), 3),
        Case("unseal a PAN", lambda: module.unseal(sealing, sealed), 3),
        Case("index a PAN", lambda: module.index(indexing, PAN.encode()), 3),
        Case("make_de62, 40 bytes", lambda: module.make_de62(tmk, pik, mak_single), None),
        Case("read_de62, 40 bytes", lambda: module.read_de62(tmk, download), None),
        Case("load, key not open", load_opened, None),
    ]


def cost(call: Callable[[], object]) -> float:
    """Return the microseconds of one call, best of `ROUNDS`."""
    for _ in range(20):
        call()
    start = time.perf_counter()
    for _ in range(50):
        call()
    count = max(50, int(SECONDS_A_ROUND * 50 / (time.perf_counter() - start)))
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - start) / count)
    return best * 1e6


def main() -> None:
    """Print the table, or the profile of one operation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profile", metavar="OPERATION", help="profile the first operation named so")
    profiled = parser.parse_args().profile
    table = cases()
    if profiled is not None:
        found = next((case for case in table if profiled in case.name), None)
        if found is None:
            parser.error(f"no operation is named {profiled!r}")
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(20000):
            found.call()
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(12)
        return
    print(f"{'operation':38} {'us':>7}  {'target':>6}")
    for case in table:
        target = f"{case.target:6.0f}" if case.target is not None else ""
        print(f"{case.name:38} {cost(case.call):7.2f}  {target}")


if __name__ == "__main__":
    main()
