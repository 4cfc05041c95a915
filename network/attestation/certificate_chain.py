"""A chain of certificates, from the key that is attested up to a root that is pinned by its public key.

What RFC 5280 (6.1) asks of a path, as far as these chains use it, and what Android's documentation adds: the extension
counts in the leaf only, since whoever holds an attested signing key could put any statement below it, and revocation
is by serial number in a status list.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

from network.attestation.certificate import Certificate, parse_certificate
from network.attestation.errors import AttestationError, ChainFault
from network.attestation.key_description import EXTENSION_OID, KeyDescription, SecurityLevel
from network.party import Instant

CHAIN_LIMIT: Final = 8
"""Most certificates of a chain."""

STATUS_LIMIT: Final = 64 << 20
"""Longest revocation status list, in characters."""

_ATTEST_KEY: Final = 7
"""KeyPurpose ATTEST_KEY: a key that may do nothing but sign attestations."""


def verify_chain(
    chain: Sequence[bytes],
    roots: Collection[bytes],
    revoked: Mapping[str, str],
    now: Instant,
    *,
    attest_keys: bool = False,
) -> KeyDescription:
    """Prove a chain, and give what its leaf says.

    Parameters
    ----------
    chain : sequence of bytes
        DER, leaf first, root last; 2 to 8 certificates.
    roots : collection of bytes
        DER SubjectPublicKeyInfo of each root that is believed.
    revoked : mapping
        Serial number in lower-case hexadecimal without leading zeros to what is said of it; `parse_revocation_status`.
    now : Instant
        When every certificate must be valid, in microseconds since 1970.
    attest_keys : bool
        Whether a leaf may stand below a key that the phone attested for nothing but attesting (KeyMint 100 and up).
        Without it, as with any other key, an attestation above the leaf is refused.

    Returns
    -------
    KeyDescription
        The leaf's. That the chain is good says nothing yet of what it must hold: challenge, boot state and the rest.

    Raises
    ------
    AttestationError
        The chain is not believed; the fault says why. Of several faults the one that is named is the first in the
        order of form, signatures, root, validity, authority, revocation, extension.
    """
    if not 2 <= len(chain) <= CHAIN_LIMIT:
        raise AttestationError(ChainFault.LENGTH, f"{len(chain)} certificates")
    certificates = [parse_certificate(encoded) for encoded in chain]
    if not certificates[0].is_signed_by(certificates[1]):
        raise AttestationError(ChainFault.SIGNATURE)
    for encoded, issuer in zip(chain[1:], (*chain[2:], chain[-1]), strict=True):
        if not _is_signed_by(encoded, issuer):
            raise AttestationError(ChainFault.SIGNATURE)
    if certificates[-1].public_key_info not in roots:
        raise AttestationError(ChainFault.ROOT)
    for certificate in certificates:
        if now < certificate.not_before:
            raise AttestationError(ChainFault.NOT_YET_VALID)
        if now > certificate.not_after:
            raise AttestationError(ChainFault.EXPIRED)
    authorities = 1
    while attest_keys and authorities < len(chain) and _is_attest_key(certificates[authorities]):
        authorities += 1
    _check_authorities(certificates, authorities)
    for certificate in certificates:
        if (status := revoked.get(f"{certificate.serial_number:x}")) is not None:
            raise AttestationError(ChainFault.REVOKED, status)
    if any(EXTENSION_OID in certificate.extensions for certificate in certificates[authorities:]):
        raise AttestationError(ChainFault.ATTESTATION_ABOVE)
    attestation = certificates[0].extensions.get(EXTENSION_OID)
    if attestation is None:
        raise AttestationError(ChainFault.NO_ATTESTATION)
    return KeyDescription.parse(attestation.value)


def public_key_of(certificate: bytes) -> bytes:
    """DER SubjectPublicKeyInfo of a DER certificate.

    Raises
    ------
    AttestationError
        It is no certificate.
    """
    return parse_certificate(certificate).public_key_info


def parse_revocation_status(text: str) -> dict[str, str]:
    """Read a status list in the form that Google publishes (android.googleapis.com/attestation/status).

    Both states that it knows, revoked and suspended, make a certificate worthless.

    Returns
    -------
    dict
        Serial number to status and reason, as `verify_chain` takes it.

    Raises
    ------
    ValueError
        The text is no such list.
    """
    if len(text) > STATUS_LIMIT:
        raise ValueError("a revocation status list is too long")
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("a revocation status list is JSON") from None
    entries = content.get("entries") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise ValueError("a revocation status list has entries")
    found: dict[str, str] = {}
    for serial, entry in entries.items():
        status = entry.get("status") if isinstance(entry, dict) else None
        if status not in ("REVOKED", "SUSPENDED"):
            raise ValueError(f"revocation status of {serial[:64]}: neither REVOKED nor SUSPENDED")
        reason = entry.get("reason", "UNSPECIFIED")
        found[serial.lower().lstrip("0") or "0"] = f"{status} {reason}"
    return found


@lru_cache(maxsize=256)
def _is_signed_by(encoded: bytes, issuer: bytes) -> bool:
    """Whether one certificate has signed another; remembered, for those above the leaves."""
    return parse_certificate(encoded).is_signed_by(parse_certificate(issuer))


def _check_authorities(certificates: Sequence[Certificate], first: int) -> None:
    """Basic constraints and key usage (RFC 5280, 6.1.4 k to n): from `first` on authorities, below it none."""
    for position, certificate in enumerate(certificates):
        if certificate.is_authority != (position >= first):
            raise AttestationError(ChainFault.AUTHORITY, "basic constraints")
        if certificate.is_authority and not certificate.may_sign_certificates:
            raise AttestationError(ChainFault.AUTHORITY, "key usage")
        longest = certificate.path_length
        if longest is not None and position - first > longest:
            raise AttestationError(ChainFault.AUTHORITY, "path length")
        if certificate.critical_beyond(EXTENSION_OID):
            raise AttestationError(ChainFault.AUTHORITY, "critical extension that is not understood")


def _is_attest_key(certificate: Certificate) -> bool:
    """Whether this is the certificate of a key that was attested in secure hardware for nothing but attesting."""
    attestation = certificate.extensions.get(EXTENSION_OID)
    if attestation is None:
        return False
    description = KeyDescription.parse(attestation.value)
    is_hardware = description.keymint_security_level is not SecurityLevel.SOFTWARE
    return is_hardware and description.hardware.numbers("purpose") == (_ATTEST_KEY,)
