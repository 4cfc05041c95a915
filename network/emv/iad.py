"""Issuer application data, tag 9F10, as UnionPay cards fill it, and the card verification results inside.

Layout (DOMAIN.md 4.7, JR/T 0025.5): length 07, key index, cryptogram version number, card verification results (4),
algorithm (01 triple DES, 04 SM4), then what the issuer adds, which is kept as it came.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

_DISCRETIONARY_LENGTH: Final = 7
_OUTCOME_MASK: Final = 0x30
MAX_LENGTH: Final = 32
"""Longest issuer application data, bytes (EMV 4.4 Book 3 Annex A)."""


class IadError(ValueError):
    """Issuer application data or card verification results that are not of the layout; says which part."""


class CardOutcome(Enum):
    """What the card decided: bits 30 of the second byte of the card verification results.

    The value is that field; `cryptogram_information` is what the terminal writes as 9F27 for it.
    """

    AAC = 0x00
    TC = 0x10
    ARQC = 0x20

    @property
    def cryptogram_information(self) -> bytes:
        """Cryptogram information data 9F27, one byte: 00 declined, 40 approved offline, 80 go online."""
        return bytes((self.value << 2,))


_OUTCOMES: Final = {outcome.value: outcome for outcome in CardOutcome}


@dataclass(frozen=True, slots=True)
class CardVerificationResults:
    """Card verification results: length 03 and three bytes of flags.

    The outcome field is confirmed by public samples; the other flags follow the layout that JR/T 0025.5 shares with
    other debit and credit specifications.

    Attributes
    ----------
    raw : bytes
        The four bytes, the first of them 03.

    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 4 or self.raw[0] != 3:
            raise IadError("card verification results: four bytes beginning 03 expected")

    @property
    def outcome(self) -> CardOutcome:
        """What the card decided.

        Raises
        ------
        IadError
            When the field holds the value that is reserved (30).

        """
        try:
            return _OUTCOMES[self.raw[1] & _OUTCOME_MASK]
        except KeyError:
            raise IadError("card verification results: reserved outcome") from None

    @property
    def issuer_authentication_failed(self) -> bool:
        """Issuer authentication was performed in this transaction and failed."""
        return bool(self.raw[1] & 0x08)

    @property
    def offline_pin_performed(self) -> bool:
        """The card checked a PIN itself."""
        return bool(self.raw[1] & 0x04)

    @property
    def offline_pin_failed(self) -> bool:
        """The card checked a PIN itself and it was wrong."""
        return bool(self.raw[1] & 0x02)

    @property
    def unable_to_go_online(self) -> bool:
        """The terminal told the card that it could not reach the issuer."""
        return bool(self.raw[1] & 0x01)

    @property
    def last_online_not_completed(self) -> bool:
        """The last transaction that asked to go online never came back to the card."""
        return bool(self.raw[2] & 0x80)

    @property
    def pin_try_limit_exceeded(self) -> bool:
        """No offline PIN tries are left."""
        return bool(self.raw[2] & 0x40)

    @property
    def velocity_exceeded(self) -> bool:
        """One of the card's counters of offline transactions is over its limit."""
        return bool(self.raw[2] & 0x20)

    @property
    def new_card(self) -> bool:
        """The card has never completed a transaction online."""
        return bool(self.raw[2] & 0x10)

    @property
    def last_issuer_authentication_failed(self) -> bool:
        """In the last online transaction the issuer's cryptogram was wrong."""
        return bool(self.raw[2] & 0x08)

    @property
    def issuer_scripts(self) -> int:
        """How many issuer script commands the card took after its last online transaction, 0 to 15."""
        return self.raw[3] >> 4

    @property
    def issuer_script_failed(self) -> bool:
        """One of those commands failed."""
        return bool(self.raw[3] & 0x08)


@dataclass(frozen=True, slots=True)
class IssuerApplicationData:
    """Issuer application data 9F10.

    Attributes
    ----------
    key_index : int
        Which of the issuer's master keys made the card key, 0 to 255.
    cryptogram_version : int
        The byte as it stands: 0x01 for version 01, 0x17 for version 17.
    cvr : CardVerificationResults
        What happened on the card.
    algorithm : int
        0x01 triple DES, 0x04 SM4.
    rest : bytes
        What follows, the issuer's own.

    """

    key_index: int
    cryptogram_version: int
    cvr: CardVerificationResults
    algorithm: int = 0x01
    rest: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> IssuerApplicationData:
        """Read the value of 9F10.

        Raises
        ------
        IadError
            When `data` is not 8 to `MAX_LENGTH` bytes beginning 07, or the verification results do not begin 03.

        """
        if not _DISCRETIONARY_LENGTH < len(data) <= MAX_LENGTH:
            raise IadError(f"issuer application data: 8 to {MAX_LENGTH} bytes expected, {len(data)} given")
        if data[0] != _DISCRETIONARY_LENGTH:
            raise IadError(f"issuer application data: begins {data[0]:02X}, 07 expected")
        return cls(data[1], data[2], CardVerificationResults(data[3:7]), data[7], data[8:])

    def build(self) -> bytes:
        """Write the value of 9F10; the reverse of `parse`.

        Raises
        ------
        IadError
            When a part does not fit its byte or the whole is longer than `MAX_LENGTH`.

        """
        try:
            head = bytes((_DISCRETIONARY_LENGTH, self.key_index, self.cryptogram_version))
            data = head + self.cvr.raw + bytes((self.algorithm,)) + self.rest
        except ValueError:
            raise IadError("issuer application data: a one-byte part is not 0 to 255") from None
        if len(data) > MAX_LENGTH:
            raise IadError(f"issuer application data: {len(data)} bytes, at most {MAX_LENGTH}")
        return data
