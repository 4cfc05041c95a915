"""Certificates of offline data authentication: a certification authority, the issuer's key, its cards' keys.

The authority signs the issuer's public key (EMV 4.4 Book 2, 5.1), the issuer signs each card's together with the data
of the card that must not be changed (6.1). Certificates are made here and checked by terminals. The authority is
whoever owns the module its key is made in; an issuer gets nothing of it but certificates.

Months are YYMM wherever they are given; certificates write them MMYY. A certificate is good to the last day of its
month and never longer than the key that signs it.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, replace
from typing import Final, Protocol

from issuer.card_application import AuthenticationFailure, OfflineAuthentication, Personalisation
from issuer.card_file import exponent_bytes, static_data
from issuer.signed_data import FRAME_LENGTH, PADDING, SHA_1, sign_with_hash
from network.emv import CaPublicKey
from network.keys import RsaKey, SecurityModule
from network.store import Row, table

UNIONPAY_RID: Final = bytes.fromhex("A000000333")
CA_BITS: Final = 1984
ISSUER_BITS: Final = 1408
CARD_BITS: Final = 1152
"""Sizes of key unless another is asked for."""

LAST_SERIAL: Final = 0xFFFFFF

_ISSUER_FORMAT: Final = 0x02
_CARD_FORMAT: Final = 0x04
_RSA: Final = 0x01
_KEY_HEAD_LENGTH: Final = 9
"""Bytes from the month of expiry to the length of the exponent."""

_ISSUER_SUBJECT_DIGITS: Final = 8
_CARD_SUBJECT_DIGITS: Final = 20
_IDENTIFIER_LENGTHS: Final = range(3, 9)


class CertificationError(ValueError):
    """A certificate that cannot be made; says why, never with a card number."""


class PublicKey(Protocol):
    """An RSA public key."""

    @property
    def modulus(self) -> bytes:
        """Big-endian."""
        ...

    @property
    def exponent(self) -> int:
        """3 or 65537."""
        ...


@dataclass(frozen=True, slots=True)
class Certificate:
    """A public key certificate and what it had no room for.

    Attributes
    ----------
    certificate : bytes
        As long as the modulus that signed it.
    remainder : bytes
        The rightmost bytes of the key certified; empty where the certificate holds it whole.

    """

    certificate: bytes
    remainder: bytes


@dataclass(frozen=True, slots=True)
class CertificationAuthority:
    """An authority whose public key terminals hold.

    Attributes
    ----------
    module : SecurityModule
        Its own.
    key : RsaKey
        In that module.
    index : int
        Which of the authority's keys it is, 0 to 255.
    expiry : str
        YYMM, the last month the key is good for.
    rid : bytes
        Registered application provider, five bytes.

    """

    module: SecurityModule
    key: RsaKey
    index: int
    expiry: str
    rid: bytes = UNIONPAY_RID

    @property
    def public_key(self) -> CaPublicKey:
        """What terminals load."""
        _, last_day = monthrange(2000 + int(self.expiry[:2]), int(self.expiry[2:]))
        return CaPublicKey(self.rid, self.index, self.key.modulus, self.key.exponent, f"20{self.expiry}{last_day:02}")

    def certify_issuer(self, issuer_identifier: str, key: PublicKey, *, expiry: str, serial: int) -> Certificate:
        """Sign an issuer's public key (EMV 4.4 Book 2, 5.1 and table 2, format 02).

        Parameters
        ----------
        issuer_identifier : str
            The first 3 to 8 digits of the issuer's account numbers.
        key : PublicKey
            The issuer's; its modulus is not longer than the authority's.
        expiry : str
            YYMM, not after the authority's key.
        serial : int
            Another in each certificate, 0 to 16 777 215; how it is revoked.

        Raises
        ------
        CertificationError
            Something is malformed or does not fit.

        """
        if len(issuer_identifier) not in _IDENTIFIER_LENGTHS or not _is_digits(issuer_identifier):
            raise CertificationError("an issuer identifier has 3 to 8 digits")
        _check_validity(expiry, self.expiry)
        subject = bytes.fromhex(issuer_identifier.ljust(_ISSUER_SUBJECT_DIGITS, "F"))
        digits, remainder = _divided(self.key, subject, key.modulus)
        content = _content(_ISSUER_FORMAT, subject, expiry, serial, key, digits)
        return Certificate(
            sign_with_hash(self.module, self.key, content, remainder + exponent_bytes(key.exponent)), remainder
        )


@table("issuer_certificate", key="issuer_identifier", mutable=("cards_certified",), cached=True)
class IssuerCertificate(Row):
    """The issuer's key for signing its cards' keys, and the certificate of it.

    Attributes
    ----------
    issuer_identifier : str
        The first 3 to 8 digits of the account numbers it is for.
    key_block : str
        The private key, sealed by the issuer's module.
    modulus, exponent
        The public key.
    rid, ca_index
        Which key of which authority signed the certificate (five bytes; 8F).
    certificate, remainder : bytes
        Tags 90 and 92.
    expiry : str
        YYMM.
    cards_certified : int
        How many cards' keys have been signed: serial numbers are counted.
    """

    issuer_identifier: str
    key_block: str
    modulus: bytes
    exponent: int
    rid: bytes
    ca_index: int
    certificate: bytes
    remainder: bytes
    expiry: str
    cards_certified: int


def found_authority(
    module: SecurityModule, *, index: int, expiry: str, bits: int = CA_BITS, exponent: int = 3
) -> CertificationAuthority:
    """Make an authority: a key of `bits` bits in `module`, good to the month `expiry` (YYMM).

    Raises
    ------
    CertificationError
        The index or month is malformed.
    KeyUsageError
        No such key is made.
    """
    if not 0 <= index <= 0xFF:
        raise CertificationError("the index of an authority's key is 0 to 255")
    _check_validity(expiry, expiry)
    return CertificationAuthority(module, module.generate_rsa(bits, exponent, "CA"), index, expiry)


def enrol_issuer(
    module: SecurityModule,
    authority: CertificationAuthority,
    issuer_identifier: str,
    *,
    expiry: str,
    serial: int,
    bits: int = ISSUER_BITS,
    exponent: int = 3,
) -> IssuerCertificate:
    """Make an issuer's key in its own module and have it certified; the caller stores the row.

    Raises
    ------
    CertificationError
        As `CertificationAuthority.certify_issuer`.
    KeyUsageError
        No such key is made.
    """
    key = module.generate_rsa(bits, exponent, f"issuer {issuer_identifier}")
    made = authority.certify_issuer(issuer_identifier, key, expiry=expiry, serial=serial)
    return IssuerCertificate(
        issuer_identifier=issuer_identifier,
        key_block=key.block,
        modulus=key.modulus,
        exponent=exponent,
        rid=authority.rid,
        ca_index=authority.index,
        certificate=made.certificate,
        remainder=made.remainder,
        expiry=expiry,
        cards_certified=0,
    )


def certify_card(
    module: SecurityModule,
    issuer: IssuerCertificate,
    profile: Personalisation,
    key: RsaKey,
    *,
    serial: int,
    online_too: bool = False,
    on_failure: AuthenticationFailure = AuthenticationFailure.DECLINE,
    pan: str | None = None,
    expiry: str | None = None,
) -> Personalisation:
    """Sign a card's public key with its static data (EMV 4.4 Book 2, 6.1 and table 12, format 04).

    Parameters
    ----------
    module, issuer
        The issuer's module and its key there.
    profile : Personalisation
        What else is written into the card; electronic cash is added afterwards, since it needs certificates.
    key : RsaKey
        The card's, of the chip's own module: of it only the public key is looked at, the rest goes into the card.
    serial : int
        Another in each certificate, 0 to 16 777 215.
    online_too, on_failure
        As of `OfflineAuthentication`.
    pan, expiry : str or None
        What the certificate says where that is not what the card says: how a faulty card is made.

    Returns
    -------
    Personalisation
        `profile` with certificates.

    Raises
    ------
    CertificationError
        The card is not this issuer's, its key too long, its certificate would outlive the issuer's, or something is
        malformed.

    """
    pan, expiry = pan or profile.pan, expiry or profile.expiry
    if not profile.pan.startswith(issuer.issuer_identifier):
        raise CertificationError("the card's number is not of the issuer's range")
    if not (13 <= len(pan) <= 19 and _is_digits(pan)):
        raise CertificationError("a certificate's account number has 13 to 19 digits")
    _check_validity(expiry, issuer.expiry)
    signer = module.load_rsa(issuer.key_block)
    subject = bytes.fromhex(pan.ljust(_CARD_SUBJECT_DIGITS, "F"))
    digits, remainder = _divided(signer, subject, key.modulus)
    authentication = OfflineAuthentication(
        ca_index=issuer.ca_index,
        issuer_certificate=issuer.certificate,
        issuer_remainder=issuer.remainder,
        issuer_exponent=issuer.exponent,
        key=key,
        remainder=remainder,
        online_too=online_too,
        on_failure=on_failure,
    )
    # The static data hold the keys' remainders and exponents, but no certificate.
    signed_data = static_data(replace(profile, offline_authentication=authentication))
    content = _content(_CARD_FORMAT, subject, expiry, serial, key, digits)
    certificate = sign_with_hash(module, signer, content, remainder + exponent_bytes(key.exponent) + signed_data)
    return replace(profile, offline_authentication=replace(authentication, certificate=certificate))


def _divided(signer: RsaKey, subject: bytes, modulus: bytes) -> tuple[bytes, bytes]:
    """Divide a modulus into what the signer's certificate holds, padded with BB, and the remainder."""
    if len(modulus) > len(signer.modulus):
        raise CertificationError(
            f"a key of {8 * len(modulus)} bits cannot be certified by one of {8 * len(signer.modulus)}"
        )
    room = len(signer.modulus) - FRAME_LENGTH - 1 - len(subject) - _KEY_HEAD_LENGTH
    return modulus[:room].ljust(room, PADDING), modulus[room:]


def _content(certificate_format: int, subject: bytes, expiry: str, serial: int, key: PublicKey, digits: bytes) -> bytes:
    """Write a certificate's content: EMV 4.4 Book 2, tables 2 and 12."""
    if not 0 <= serial <= LAST_SERIAL:
        raise CertificationError("a certificate's serial number is 0 to 16777215")
    return b"".join(
        (
            bytes((certificate_format,)),
            subject,
            bytes.fromhex(expiry[2:] + expiry[:2]),
            serial.to_bytes(3, "big"),
            bytes((SHA_1, _RSA, len(key.modulus), len(exponent_bytes(key.exponent)))),
            digits,
        )
    )


def _check_validity(expiry: str, most: str) -> None:
    if len(expiry) != 4 or not _is_digits(expiry) or not 1 <= int(expiry[2:]) <= 12:
        raise CertificationError("an expiry is YYMM with a month of 01 to 12")
    if expiry > most:
        raise CertificationError("a certificate does not outlive the key that signs it")


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
