"""The attestation extension: KeyDescription.

Source: source.android.com, "Key and ID attestation". Versions 1 to 4 (Keymaster) and 100 to 400 (KeyMint) have one
form; they differ in which tags an authorisation list can hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from network.attestation.authorization_list import AuthorizationList
from network.attestation.der import (
    ENUMERATED,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    DerError,
    Element,
    content_of,
    members,
    only,
    to_integer,
    write,
    write_integer,
)
from network.attestation.errors import AttestationError, ChainFault

EXTENSION_OID: Final = "1.3.6.1.4.1.11129.2.1.17"
"""Of the certificate extension that holds a KeyDescription."""

DESCRIPTION_LIMIT: Final = 8192
"""Longest KeyDescription that is parsed, in bytes."""


class SecurityLevel(IntEnum):
    """Where a key lives."""

    SOFTWARE = 0
    TRUSTED_ENVIRONMENT = 1
    STRONG_BOX = 2


@dataclass(frozen=True, slots=True)
class KeyDescription:
    """What the extension says.

    Attributes
    ----------
    attestation_version, keymint_version : int
    attestation_security_level, keymint_security_level : SecurityLevel
        Where the attestation was made, and where the key lives.
    challenge : bytes
        What the asker gave, to know that the attestation is fresh.
    unique_id : bytes
        Empty as a rule.
    software, hardware : AuthorizationList
        What the operating system states, and what the secure hardware does.
    """

    attestation_version: int
    attestation_security_level: SecurityLevel
    keymint_version: int
    keymint_security_level: SecurityLevel
    challenge: bytes
    unique_id: bytes
    software: AuthorizationList
    hardware: AuthorizationList

    def build(self) -> bytes:
        """The extension's value, DER."""
        return write(
            SEQUENCE,
            b"".join(
                (
                    write_integer(self.attestation_version),
                    write_integer(self.attestation_security_level, ENUMERATED),
                    write_integer(self.keymint_version),
                    write_integer(self.keymint_security_level, ENUMERATED),
                    write(OCTET_STRING, self.challenge),
                    write(OCTET_STRING, self.unique_id),
                    self.software.build(),
                    self.hardware.build(),
                )
            ),
        )

    @classmethod
    def parse(cls, data: bytes) -> KeyDescription:
        """Read an extension's value.

        Raises
        ------
        AttestationError
            It is no KeyDescription; the message says what is wrong.
        """
        if len(data) > DESCRIPTION_LIMIT:
            raise AttestationError(ChainFault.DESCRIPTION, f"{len(data)} bytes")
        try:
            parts = list(members(only(data, SEQUENCE, "KeyDescription")))
            if len(parts) < 8:
                raise DerError(f"KeyDescription has {len(parts)} members, not 8")
            # members that a later version may add stay out of sight, as a verifier of its own time would keep them
            return cls(
                _number(parts[0], INTEGER, "attestationVersion"),
                _level(parts[1], "attestationSecurityLevel"),
                _number(parts[2], INTEGER, "keyMintVersion"),
                _level(parts[3], "keyMintSecurityLevel"),
                content_of(parts[4], OCTET_STRING, "attestationChallenge"),
                content_of(parts[5], OCTET_STRING, "uniqueId"),
                AuthorizationList.parse(content_of(parts[6], SEQUENCE, "softwareEnforced")),
                AuthorizationList.parse(content_of(parts[7], SEQUENCE, "hardwareEnforced")),
            )
        except DerError as error:
            raise AttestationError(ChainFault.DESCRIPTION, str(error)) from None


def _number(element: Element, identifier: int, what: str) -> int:
    return to_integer(content_of(element, identifier, what), what)


def _level(element: Element, what: str) -> SecurityLevel:
    value = _number(element, ENUMERATED, what)
    try:
        return SecurityLevel(value)
    except ValueError:
        raise DerError(f"{what}: there is no level {value}") from None
