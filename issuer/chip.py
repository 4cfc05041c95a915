"""A card's chip data (DE55): reading it, checking its cryptogram, making the answer to it."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from issuer.tables import Card, KeySet
from network.emv import (
    CRYPTOGRAM_DATA,
    IssuerApplicationData,
    assemble,
    tlv,
)
from network.keys import KeyHandle, Scheme, SecurityModule

APPROVED_ARC: Final = b"00"
"""Authorisation response code of an approval."""

_TRIPLE_DES: Final = 0x01
_SM4: Final = 0x04

# Where the card's issuer adds nothing of its own, it says what the card is and how its last payments ended: a few
# values that come again and again.
_application_data: Final = lru_cache(maxsize=1024)(IssuerApplicationData.parse)


class ChipData:
    """What of DE55 the issuer needs.

    Attributes
    ----------
    cryptogram : bytes
        9F26, 8 bytes.
    atc : bytes
        9F36, 2 bytes.
    counter : int
        The same as a number.
    amount : int
        9F02, fen: what the card has signed.
    cvr : CardVerificationResults
        What happened on the card.
    outcome : CardOutcome
        The card's own verdict on the transaction.
    algorithm : int
        Of the issuer application data: 01 triple DES, 04 SM4.
    data : bytes or None
        What the cryptogram is over; None where the cryptogram version is not known.
    """

    __slots__ = ("algorithm", "amount", "atc", "counter", "cryptogram", "cvr", "data", "outcome")

    def __init__(self, element: bytes) -> None:
        """Read DE55.

        Raises
        ------
        ValueError
            It is not BER-TLV, or a part that is needed is missing or malformed.
        """
        values = tlv.flat(element)
        try:
            self.cryptogram = values["9F26"]
            self.atc = values["9F36"]
            amount = values["9F02"]
            iad = _application_data(values["9F10"])
        except KeyError as error:
            raise ValueError(f"DE55 lacks {error}") from None
        if len(self.cryptogram) != 8 or len(self.atc) != 2:
            raise ValueError("DE55: 9F26 has 8 bytes and 9F36 has 2")
        self.counter = int.from_bytes(self.atc)
        self.amount = int(amount.hex())
        self.cvr = iad.cvr
        self.outcome = iad.cvr.outcome
        self.algorithm = iad.algorithm
        known = iad.cryptogram_version in CRYPTOGRAM_DATA
        self.data = assemble(iad.cryptogram_version, values) if known else None

    @property
    def verified_on_device(self) -> bool:
        """Whether a phone says that its holder was verified on it (CDCVM).

        It says so as a card says that it checked an offline PIN; that this is how UnionPay's phones say it is general
        practice, unconfirmed. The cryptogram covers it in every version.
        """
        return self.cvr.offline_pin_performed and not self.cvr.offline_pin_failed


def read_chip_data(element: str | bytes | None) -> ChipData | None:
    """Read DE55; None where it is missing or not what it should be."""
    if not isinstance(element, bytes):
        return None
    try:
        return ChipData(element)
    except ValueError:
        return None


def scheme_of(chip: ChipData, keys: KeySet, module: SecurityModule) -> tuple[KeyHandle, Scheme] | None:
    """The issuer master key that the card key came from and how cryptograms are made; None where there is none."""
    if chip.algorithm == _TRIPLE_DES:
        return module.load(keys.imk_ac), Scheme.PBOC_3DES
    if chip.algorithm == _SM4 and keys.imk_ac_sm4 is not None:
        return module.load(keys.imk_ac_sm4), Scheme.PBOC_SM4
    return None


def verify_cryptogram(chip: ChipData, card: Card, pan: str, keys: KeySet, module: SecurityModule) -> bytes | None:
    """Check the card's cryptogram.

    Returns
    -------
    bytes or None
        The ARPC for an approval, 8 bytes; None when the cryptogram is wrong or of a kind this issuer has no key for.
    """
    scheme = scheme_of(chip, keys, module)
    if scheme is None or chip.data is None:
        return None
    return module.check_ac_and_make_arpc(
        scheme[0], scheme[1], pan, card.sequence, chip.atc, chip.data, chip.cryptogram, APPROVED_ARC
    )


def issuer_authentication(
    chip: ChipData, card: Card, pan: str, keys: KeySet, module: SecurityModule, response_code: str
) -> bytes | None:
    """Make tag 91 for a decline of a card whose cryptogram was right: ARPC (8) and ARC (2)."""
    scheme = scheme_of(chip, keys, module)
    if scheme is None:
        return None
    arc = response_code.encode("ascii")
    return module.make_arpc(scheme[0], scheme[1], pan, card.sequence, chip.atc, chip.cryptogram, arc) + arc
