"""Element 55: the chip data that go to the issuer, in the order of DOMAIN.md 2."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Final

from merchant_device.kernel.card_data import CardFault
from merchant_device.kernel.outcomes import Cvm
from merchant_device.kernel.payment import Payment
from merchant_device.kernel.verification import CVM_RESULTS
from network.emv import CardOutcome, tlv

MAX_FIELD55: Final = 255
"""Longest element 55, bytes."""

# With the size of each value, which is checked or made so before; 0 of those that vary. 9F63 goes along when the card
# has it.
_OBJECTS: Final = (
    *(("9F26", 8), ("9F27", 1), ("9F10", 0), ("9F37", 4), ("9F36", 2), ("95", 5), ("9A", 3), ("9C", 1), ("9F02", 6)),
    *(("5F2A", 2), ("82", 2), ("9F1A", 2), ("9F03", 6), ("9F33", 3), ("9F34", 3), ("9F35", 1), ("9F1E", 8)),
    *(("84", 0), ("9F09", 2), ("9F41", 4)),
)
_FORMAT: Final = b"".join(tlv.encode(tag, bytes(size))[:-size] + b"%b" if size else b"%b" for tag, size in _OBJECTS)
_values = itemgetter(*(tag for tag, _ in _OBJECTS))

_ARQC: Final = CardOutcome.ARQC
_ARQC_INFORMATION: Final = _ARQC.cryptogram_information


def chip_data(payment: Payment, data: Mapping[str, bytes], decision: CardOutcome, cvm: Cvm) -> bytes:
    """Write element 55 from the terminal's objects and the card's, `data`.

    9F27 is the terminal's word for the card's decision: 80 ask the issuer, 40 approved, 00 declined (DOMAIN.md 4.4).

    Raises
    ------
    CardFault
        When the card's data make it longer than `MAX_FIELD55`.

    """
    values = payment.values
    values["9F26"], values["9F36"], values["82"] = data["9F26"], data["9F36"], data["82"]
    values["9F27"] = _ARQC_INFORMATION if decision is _ARQC else decision.cryptogram_information
    values["9F34"] = CVM_RESULTS[cvm]
    # Of those whose size varies the whole objects.
    values["9F10"] = tlv.encode("9F10", data["9F10"])
    values["84"] = tlv.encode("84", payment.file_name)
    field55: bytes = _FORMAT % _values(values)
    product = data.get("9F63")
    if product:
        field55 += tlv.encode("9F63", product)
    if len(field55) > MAX_FIELD55:
        raise CardFault(f"chip data longer than {MAX_FIELD55} bytes")
    return field55
