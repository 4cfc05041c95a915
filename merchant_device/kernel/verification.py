"""How the cardholder is verified: the card's qualifiers, the terminal's rule, and what the issuer is told of it."""

from __future__ import annotations

from typing import Final

from merchant_device.kernel.configuration import KernelConfiguration
from merchant_device.kernel.outcomes import Cvm

# Tag 9F34 (EMV 4.4 Book 3, Annex C3; Book 4, Annex A4): method, condition, result. The PIN and the signature are not
# checked yet when this is written, hence result 0. No public text gives a code for verification on the cardholder's
# device; method 01 with result 2 is general practice, unconfirmed.
CVM_RESULTS: Final = {
    Cvm.NO_CVM: b"\x1f\x03\x02",
    Cvm.SIGNATURE: b"\x1e\x03\x00",
    Cvm.ONLINE_PIN: b"\x02\x03\x00",
    Cvm.CDCVM: b"\x01\x00\x02",
}
"""Cardholder verification method results 9F34 of each way."""


def choose(
    configuration: KernelConfiguration, qualifiers: bytes | None, required: bool, pin_required: bool
) -> Cvm | None:
    """Choose from the card transaction qualifiers 9F6C and the terminal's rule (DOMAIN.md 4.6).

    Parameters
    ----------
    configuration : KernelConfiguration
        What the terminal offers.
    qualifiers : bytes or None
        9F6C: byte 1 80 online PIN, 40 signature; byte 2 80 verified on the cardholder's device.
    required : bool
        Whether the reader demanded verification.
    pin_required : bool
        Whether nothing but the PIN will do.

    Returns
    -------
    Cvm or None
        None when no way is left. What the card demands is done also where the reader demands nothing. A card that
        gives no qualifiers leaves the choice to the terminal.

    """
    if pin_required:
        return Cvm.ONLINE_PIN if configuration.online_pin else None
    first, second = qualifiers or b"\x00\x00"
    if first & 0x80 and configuration.online_pin:
        return Cvm.ONLINE_PIN
    if second & 0x80 and configuration.cdcvm:
        return Cvm.CDCVM
    if first & 0x40 and configuration.signature and not configuration.online_pin_always:
        return Cvm.SIGNATURE
    if configuration.online_pin_always:
        return Cvm.ONLINE_PIN
    if first & 0xC0:
        return None
    if not required:
        return Cvm.NO_CVM
    if qualifiers is None and configuration.online_pin:
        return Cvm.ONLINE_PIN
    return None
