"""The payment application that a payer's phone shows to readers (host card emulation)."""

from __future__ import annotations

from typing import Final, Protocol

from issuer.applet import ChipCard, Personalisation, TransactionCounter
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule

VERIFIED_ON_DEVICE: Final = 0x04
"""Byte 2 of the card verification results: the holder was verified on the phone (CDCVM). It is where a card says that
it checked an offline PIN; that phones say it there is general practice, unconfirmed."""


class Phone(Protocol):
    """What the application needs of the phone that it is on."""

    def refusal(self, qualifiers: bytes, amount: int) -> bytes | None:
        """The status word with which a payment is refused before it begins; None where it may begin."""

    def key(self, atc: int) -> KeyHandle:
        """The limited-use key of a transaction counter."""

    def use_confirmation(self) -> bool:
        """Whether the holder has confirmed; that is used up."""


class PhoneApplet(ChipCard):
    """A card whose keys and whose confirmation are the phone's.

    Parameters
    ----------
    phone : Phone
    personalisation : Personalisation
        With the token in place of a card's number.
    module : SecurityModule
        The phone's.
    counter : TransactionCounter
        Shared with the codes that the phone shows.
    """

    __slots__ = ("_confirmed", "_phone")

    def __init__(
        self,
        phone: Phone,
        personalisation: Personalisation,
        module: SecurityModule,
        counter: TransactionCounter,
    ) -> None:
        # a card's own key there is none: `_key` gives the one whose turn it is, a random one stands in its place
        unused = module.load(module.generate(KeyUsage.CARD_APPLICATION_CRYPTOGRAM, Algorithm.TDES_DOUBLE))
        super().__init__(personalisation, module, unused, counter)
        self._phone = phone
        self._confirmed = False

    def _key(self, atc: int) -> KeyHandle:
        return self._phone.key(atc)

    def _refusal(self, qualifiers: bytes, amount: int) -> bytes | None:
        refusal = self._phone.refusal(qualifiers, amount)
        if refusal is None:
            self._confirmed = self._phone.use_confirmation()
        return refusal

    def _verification(self, qualifiers: bytes, amount: int, currency: bytes) -> bytes | None:
        return b"\x00\x80" if self._confirmed else b"\x00\x00"

    def _verification_results(self, online: bool) -> bytes:
        results = bytearray(super()._verification_results(online))
        if self._confirmed:
            results[1] |= VERIFIED_ON_DEVICE
        return bytes(results)
