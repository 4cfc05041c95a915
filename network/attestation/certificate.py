"""An X.509 certificate (RFC 5280, 4.1) as the chains of key attestation need it.

Read with this package's own DER reader, since phones are out whose secure elements write what strict libraries refuse,
such as NULL parameters behind ecdsa-with-SHA256 (StrongBox of 2019). What is signed is the encoding itself, so being
lenient there lets nothing unsigned in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from network.attestation.der import (
    BIT_STRING,
    BOOLEAN,
    GENERALIZED_TIME,
    INTEGER,
    NULL,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    UTC_TIME,
    DerError,
    Element,
    content_of,
    members,
    only,
    to_integer,
)
from network.attestation.errors import AttestationError, ChainFault
from network.party import Instant, instant_of

CERTIFICATE_LIMIT: Final = 8192
"""Longest certificate, in bytes."""

BASIC_CONSTRAINTS: Final = "2.5.29.19"
KEY_USAGE: Final = "2.5.29.15"

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_UNDERSTOOD: Final = frozenset((BASIC_CONSTRAINTS, KEY_USAGE, "2.5.29.14", "2.5.29.35"))
_RSA_BITS: Final = range(2048, 8193)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_ALGORITHMS: Final[Mapping[str, tuple[bool, hashes.HashAlgorithm]]] = {
    "1.2.840.10045.4.3.2": (True, hashes.SHA256()),
    "1.2.840.10045.4.3.3": (True, hashes.SHA384()),
    "1.2.840.10045.4.3.4": (True, hashes.SHA512()),
    "1.2.840.113549.1.1.11": (False, hashes.SHA256()),
    "1.2.840.113549.1.1.12": (False, hashes.SHA384()),
    "1.2.840.113549.1.1.13": (False, hashes.SHA512()),
}
"""Signature algorithm to whether it is ECDSA (else RSA, PKCS #1 v1.5) and its hash (RFC 5758, RFC 8017)."""

_VERSION_3: Final = 2
_KEY_CERT_SIGN: Final = 0x04


class Extension(NamedTuple):
    """An extension's value, and whether one must refuse a certificate whose extension one does not understand."""

    is_critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says.

    Attributes
    ----------
    signed : bytes
        What the issuer has signed (tbsCertificate).
    algorithm : str
        Object identifier of the signature's algorithm.
    signature : bytes
    serial_number : int
    issuer, subject : bytes
        Names, encoded.
    not_before, not_after : Instant
    public_key_info : bytes
        DER SubjectPublicKeyInfo.
    public_key : PublicKey
    is_authority : bool
        Basic constraints say that it may issue.
    path_length : int or None
        How many authorities may stand below it.
    may_sign_certificates : bool
        Key usage does not forbid it.
    extensions : mapping
        By object identifier.
    """

    signed: bytes
    algorithm: str
    signature: bytes
    serial_number: int
    issuer: bytes
    subject: bytes
    not_before: Instant
    not_after: Instant
    public_key_info: bytes
    public_key: PublicKey
    is_authority: bool
    path_length: int | None
    may_sign_certificates: bool
    extensions: Mapping[str, Extension]

    def is_signed_by(self, issuer: Certificate) -> bool:
        """Whether `issuer` bears the issuer's name and has made the signature."""
        if self.issuer != issuer.subject:
            return False
        is_ecdsa, algorithm = _ALGORITHMS[self.algorithm]
        key = issuer.public_key
        try:
            if is_ecdsa and isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(self.signature, self.signed, ec.ECDSA(algorithm))
            elif not is_ecdsa and isinstance(key, rsa.RSAPublicKey):
                key.verify(self.signature, self.signed, padding.PKCS1v15(), algorithm)
            else:
                return False
        except InvalidSignature:
            return False
        return True

    def critical_beyond(self, understood: str) -> bool:
        """Whether there is a critical extension that neither this module nor the caller understands."""
        return any(
            one.is_critical and name not in _UNDERSTOOD and name != understood for name, one in self.extensions.items()
        )


@lru_cache(maxsize=256)
def parse_certificate(encoded: bytes) -> Certificate:
    """Read a certificate; the last ones are remembered, since what stands above leaves comes again and again.

    Raises
    ------
    AttestationError
        It is malformed, or its key or signature algorithm is not accepted: SHA-2 with RSA of 2048 to 8192 bits or with
        ECDSA over P-256, P-384 or P-521.
    """
    if len(encoded) > CERTIFICATE_LIMIT:
        raise AttestationError(ChainFault.MALFORMED, f"{len(encoded)} bytes")
    try:
        return _parse(encoded)
    except (DerError, ValueError) as error:
        if isinstance(error, AttestationError):
            raise
        raise AttestationError(ChainFault.MALFORMED, str(error) if isinstance(error, DerError) else "") from None


def _parse(encoded: bytes) -> Certificate:
    parts = list(members(only(encoded, SEQUENCE, "certificate")))
    if len(parts) != 3:
        raise DerError(f"a certificate has {len(parts)} members, not 3")
    signed, outer, signature = parts
    algorithm = _algorithm(outer)
    fields = list(members(content_of(signed, SEQUENCE, "tbsCertificate")))
    if len(fields) < 7 or not fields[0].is_explicit or fields[0].number != 0:
        raise DerError("tbsCertificate: not of version 3")
    if to_integer(only(fields[0].content, INTEGER, "version"), "version") != _VERSION_3:
        raise DerError("tbsCertificate: not of version 3")
    if _algorithm(fields[2]) != algorithm:
        raise DerError("signature algorithm: not the same inside and outside")
    if algorithm not in _ALGORITHMS:
        raise AttestationError(ChainFault.WEAK, "signature algorithm")
    validity = list(members(content_of(fields[4], SEQUENCE, "validity")))
    if len(validity) != 2:
        raise DerError("validity: not two times")
    extensions = _extensions(fields[7:])
    is_authority, path_length = _basic_constraints(extensions)
    bits = content_of(signature, BIT_STRING, "signature")
    if bits[:1] != b"\0":
        raise DerError("signature: not whole bytes")
    content_of(fields[3], SEQUENCE, "issuer")
    content_of(fields[5], SEQUENCE, "subject")
    content_of(fields[6], SEQUENCE, "subjectPublicKeyInfo")
    return Certificate(
        signed.encoded,
        algorithm,
        bits[1:],
        to_integer(content_of(fields[1], INTEGER, "serialNumber"), "serialNumber"),
        fields[3].encoded,
        fields[5].encoded,
        _time(validity[0]),
        _time(validity[1]),
        fields[6].encoded,
        _public_key(fields[6].encoded),
        is_authority,
        path_length,
        _may_sign(extensions),
        extensions,
    )


def _algorithm(element: Element) -> str:
    parts = list(members(content_of(element, SEQUENCE, "signature algorithm")))
    if len(parts) not in (1, 2) or (len(parts) == 2 and (parts[1].identifier != NULL or parts[1].content)):
        raise DerError("signature algorithm: parameters where none should be")
    return _object_identifier(parts[0])


def _public_key(encoded: bytes) -> PublicKey:
    try:
        key = load_der_public_key(encoded)
    except UnsupportedAlgorithm:
        raise AttestationError(ChainFault.WEAK, "public key") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    raise AttestationError(ChainFault.WEAK, "neither RSA of 2048 to 8192 bits nor a NIST curve")


def _extensions(fields: list[Element]) -> dict[str, Extension]:
    found: dict[str, Extension] = {}
    for field in fields:
        if not field.is_explicit or field.number != 3:
            continue  # unique identifiers, of version 2
        for element in members(only(field.content, SEQUENCE, "extensions")):
            parts = list(members(content_of(element, SEQUENCE, "extension")))
            if len(parts) not in (2, 3):
                raise DerError(f"an extension has {len(parts)} members, not 2 or 3")
            name = _object_identifier(parts[0])
            if name in found:
                raise DerError(f"extension {name} stands twice")
            is_critical = len(parts) == 3 and content_of(parts[1], BOOLEAN, "critical") != b"\0"
            found[name] = Extension(is_critical, content_of(parts[-1], OCTET_STRING, "extnValue"))
    return found


def _basic_constraints(extensions: Mapping[str, Extension]) -> tuple[bool, int | None]:
    extension = extensions.get(BASIC_CONSTRAINTS)
    is_authority, path_length = False, None
    if extension is not None:
        for element in members(only(extension.value, SEQUENCE, "basicConstraints")):
            if element.identifier == BOOLEAN:
                is_authority = element.content not in (b"\0", b"")
            else:
                path_length = to_integer(content_of(element, INTEGER, "pathLenConstraint"), "pathLenConstraint")
    return is_authority, path_length


def _may_sign(extensions: Mapping[str, Extension]) -> bool:
    extension = extensions.get(KEY_USAGE)
    if extension is None:
        return True
    bits = only(extension.value, BIT_STRING, "keyUsage")
    return len(bits) > 1 and bool(bits[1] & _KEY_CERT_SIGN)


def _time(element: Element) -> Instant:
    """UTCTime means 1950 to 2049 (RFC 5280, 4.1.2.5.1)."""
    text = element.content.decode("ascii")
    if element.identifier == UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif element.identifier != GENERALIZED_TIME:
        raise DerError("a time is neither UTCTime nor GeneralizedTime")
    if len(text) != 15 or not text[:14].isdigit() or text[14] != "Z":
        raise DerError("a time is not in Greenwich mean time with seconds")
    month, day, hour, minute, second = (int(text[start : start + 2]) for start in range(4, 14, 2))
    return instant_of(datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC))


def _object_identifier(element: Element) -> str:
    content = content_of(element, OBJECT_IDENTIFIER, "object identifier")
    if not content or content[-1] & 0x80 or len(content) > 64:
        raise DerError("an object identifier is malformed")
    numbers: list[int] = []
    number = 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
