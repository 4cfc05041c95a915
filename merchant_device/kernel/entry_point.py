"""The entry point: which applications may be used for this payment, and which of them the card has.

EMV Contactless Book B: pre-processing (3.1) before a card is asked for, combination selection (3.3) over the card's
directory of contactless applications.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from merchant_device.kernel.card_data import CardFault, need, template
from merchant_device.kernel.commands import PPSE
from merchant_device.kernel.configuration import KernelConfiguration
from merchant_device.kernel.outcomes import TryAnotherInterface
from merchant_device.kernel.risk import is_over_contactless_limit
from merchant_device.kernel.transaction import TransactionData
from network.emv import tlv

MAX_CANDIDATES: Final = 16
"""Most applications of one card that are considered."""

_NO_PRIORITY: Final = 16
_KERNELS: Final = (0x00, 0x07)


def preprocess(configuration: KernelConfiguration, transaction: TransactionData) -> TryAnotherInterface | None:
    """Tell before any card comes that none can pay: the amount is too large for every application (Book B, 3.1.1.13).

    Returns
    -------
    TryAnotherInterface or None
        None when a card may be asked for.

    """
    limits = map(configuration.limits, configuration.applications)
    return TryAnotherInterface() if all(is_over_contactless_limit(each, transaction) for each in limits) else None


# What a card says when it is selected is its product's, nothing of the holder's: cards of one product say the same.
@lru_cache(maxsize=64)
def candidates(data: bytes, applications: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Read the answer to SELECT PPSE: names of applications the terminal takes too, the card's favourite first.

    Entries without a name are passed over, as are those the terminal does not take and those that ask for another
    kernel (9F2A; Book B, 3.3.2.5). An entry without priority (87) comes after those that have one (3.3.2).

    Raises
    ------
    CardFault
        When the answer is no directory.
    TlvError
        When it is not BER-TLV.

    """
    fci = template(data, "6F")
    if fci.get("84") != PPSE:
        raise CardFault("directory has another name")
    discretionary = tlv.flat(need(fci, "A5")).get("BF0C")
    if discretionary is None:
        raise CardFault("BF0C is missing")
    found: list[tuple[int, bytes]] = []
    for tag, entry in tlv.objects(discretionary):
        if tag != "61":
            continue
        members = tlv.flat(entry)
        name = members.get("4F", b"")
        if not (5 <= len(name) <= 16 and name.startswith(applications)):
            continue
        if (members.get("9F2A") or b"\x00")[0] not in _KERNELS:
            continue
        if len(found) == MAX_CANDIDATES:
            raise CardFault(f"more than {MAX_CANDIDATES} applications")
        priority = members.get("87", b"")
        found.append(((priority[0] & 0x0F if len(priority) == 1 else 0) or _NO_PRIORITY, name))
    found.sort(key=lambda candidate: candidate[0])
    return tuple(name for _, name in found)
