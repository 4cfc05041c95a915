"""Fast dynamic data authentication, version 01: proves that a card is genuine without its issuer (DOMAIN.md 4.5).

The card has signed, while it answered GET PROCESSING OPTIONS, what the terminal asked it (9F37, 9F02, 5F2A) and what
it decided itself (9F69, with its own number and its transaction qualifiers). Here that signature and the chain of
certificates above it are checked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from merchant_device.kernel.payment import Payment
from network.emv import (
    CaPublicKey,
    MissingRemainder,
    OdaError,
    RecoveredKey,
    recover_card_key,
    recover_issuer_key,
    static_data_to_authenticate,
    verify_dynamic_data,
)

NOT_DONE: Final = "not done"
GOOD: Final = "good"

_NEEDED: Final = ("8F", "90", "9F32", "9F46", "9F47", "9F69", "9F4B")
_ISSUER_CERTIFICATE: Final = frozenset(("90", "9F32"))
_CARD_CERTIFICATE: Final = frozenset(("9F46", "9F47"))
_DYNAMIC_DATA_SUPPORTED: Final = 0x20
_VERSION: Final = 0x01
_RID_LENGTH: Final = 5


@dataclass(frozen=True, slots=True)
class Authorities:
    """Whose certificates are believed.

    Attributes
    ----------
    keys : mapping of (rid, index) to CaPublicKey
        Keys of certification authorities.
    revoked : collection of (rid, index, serial)
        Issuer certificates that are no longer good (EMV 4.4 Book 2, 5.1.2).

    """

    keys: Mapping[tuple[bytes, int], CaPublicKey] = field(default_factory=dict)
    revoked: Collection[tuple[bytes, int, bytes]] = frozenset()


def supports_dynamic_data(interchange_profile: bytes) -> bool:
    """Whether the card says that it can sign (82, byte 1, 20; EMV 4.4 Book 3, Annex C1)."""
    return bool(interchange_profile[0] & _DYNAMIC_DATA_SUPPORTED)


def authenticate(
    authorities: Authorities,
    payment: Payment,
    data: Mapping[str, bytes],
    signed_records: Sequence[tuple[int, bytes]] | None,
    pan: str,
    *,
    is_whole: bool = True,
) -> str:
    """Check the card's signature over this payment.

    Before all is read it checks what can be: nothing that may still come is held against the card.

    Parameters
    ----------
    authorities : Authorities
        Whose certificates are believed.
    payment : Payment
        What the terminal asked and the card answered.
    data : mapping of tag to value
        All that the card said, records included.
    signed_records : sequence of (file, record) or None
        The records that its certificate protects; None when not all of them have been read.
    pan : str
        Account number.
    is_whole : bool
        Whether all has been read that the card names.

    Returns
    -------
    str
        `GOOD`, or the reason why the card is not proved to be genuine. `GOOD` before all is read means that nothing
        was found wrong so far.

    """
    if not supports_dynamic_data(data["82"]):
        return "the card does not authenticate itself"
    related = data.get("9F69")
    if related is not None:
        if not 7 <= len(related) <= 16 or related[0] != _VERSION:
            return "9F69 is not of version 01"
        # The qualifiers that were acted upon came unsigned; here is the copy that the card vouches for.
        if related[5:7] != payment.options.get("9F6C", b"\x00\x00"):
            return "9F69 holds other qualifiers than 9F6C"
    try:
        # 9F4A may stand in any record, and without it the certificate would seem to protect other data.
        known = signed_records if is_whole or "9F4A" in data else None
        card = _card_key(authorities, payment, data, known, pan)
        if card is None or related is None or "9F4B" not in data:
            return f"{next(tag for tag in _NEEDED if tag not in data)} is missing" if is_whole else GOOD
        asked = payment.values
        verify_dynamic_data(card, data["9F4B"], asked["9F37"] + asked["9F02"] + asked["5F2A"] + related)
    except MissingRemainder as failure:
        return str(failure) if is_whole else GOOD
    except OdaError as failure:
        return str(failure)
    return GOOD


def _card_key(
    authorities: Authorities,
    payment: Payment,
    data: Mapping[str, bytes],
    signed_records: Sequence[tuple[int, bytes]] | None,
    pan: str,
) -> RecoveredKey | None:
    """Go down the chain of certificates, as far as what it takes is there; None when that is not to its end."""
    if "8F" not in data:
        return None
    rid, index = payment.file_name[:_RID_LENGTH], data["8F"]
    authority = authorities.keys.get((rid, index[0])) if len(index) == 1 else None
    if authority is None:
        raise OdaError(f"no key {index.hex().upper()} of {rid.hex().upper()}")
    date = payment.transaction.date
    if not data.keys() >= _ISSUER_CERTIFICATE:
        return None
    issuer = recover_issuer_key(authority, data["90"], data.get("92"), data["9F32"], pan, date, authorities.revoked)
    if signed_records is None or not data.keys() >= _CARD_CERTIFICATE:
        return None
    static = static_data_to_authenticate(signed_records, data.get("9F4A"), data["82"])
    return recover_card_key(issuer, data["9F46"], data.get("9F48"), data["9F47"], pan, static, date)
