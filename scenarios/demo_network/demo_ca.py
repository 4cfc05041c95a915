"""A demo certification authority: made at a network's first start, with a certificate for each of its services.

It is for demo networks only: its key lies beside what it signs. What has expired, or soon will, is made anew, and then
the services have to be started again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from network.tls import MEMBER_URN
from scenarios.demo_network.service_files import write_secret

AUTHORITY_DAYS: Final = 730
SERVICE_DAYS: Final = 90
RENEWAL_DAYS: Final = 7
"""How long before its end a certificate is made anew."""

CA_FILE: Final = "ca.crt"


@dataclass(frozen=True)
class Subject:
    """Whom a certificate is for.

    Attributes
    ----------
    hosts : sequence of str
        Names and addresses at which others reach it.
    member : str or None
        The member's id that it proves, on member links.
    """

    hosts: Sequence[str]
    member: str | None = None


class Authority:
    """The authority whose certificate and key are files of a folder; made where they are missing or have expired.

    Parameters
    ----------
    folder : Path
        Gets ``ca.crt`` and, readable by its owner only, ``ca.key``.
    now : datetime or None
        The time; None: the clock's.
    """

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        self._now = now or datetime.now(UTC)
        self._folder = folder
        self.certificate_file = folder / CA_FILE
        key_file = folder / "ca.key"
        folder.mkdir(parents=True, exist_ok=True)
        if self._is_good(self.certificate_file) and key_file.exists():
            self._certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == self._certificate.public_key():
                self._key = key
                return
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._signed_authority()
        # first the key: a certificate without its key would be kept
        write_secret(key_file, _pem_key(self._key))
        write_secret(self.certificate_file, _pem(self._certificate), 0o644)

    def issue(self, name: str, subject: Subject, folder: Path | None = None) -> tuple[Path, Path]:
        """The files of a subject's certificate and key, ``NAME.crt`` and ``NAME.key``.

        They are kept while the certificate is of this authority, for this subject and has some time to go.
        """
        place = folder or self._folder
        certificate_file, key_file = place / f"{name}.crt", place / f"{name}.key"
        names = _names(subject)
        if not (key_file.exists() and self._is_good(certificate_file) and self._is_ours(certificate_file, names)):
            place.mkdir(parents=True, exist_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            certificate_file.unlink(missing_ok=True)
            write_secret(key_file, _pem_key(key))
            write_secret(certificate_file, _pem(self._signed(name, names, key)), 0o644)
        return certificate_file, key_file

    def _is_good(self, path: Path) -> bool:
        if not path.exists():
            return False
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except ValueError:
            return False
        return certificate.not_valid_after_utc > self._now + timedelta(days=RENEWAL_DAYS)

    def _is_ours(self, path: Path, names: x509.SubjectAlternativeName) -> bool:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        try:
            certificate.verify_directly_issued_by(self._certificate)
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except Exception:  # of another authority, whose kind of key may be any
            return False
        return found == names

    def _signed_authority(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fourparty demo CA")])
        usage = _key_usage(signs_certificates=True)
        return (
            self._builder(name, name, self._key, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _signed(
        self, name: str, names: x509.SubjectAlternativeName, key: ec.EllipticCurvePrivateKey
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        return (
            self._builder(subject, self._certificate.subject, key, SERVICE_DAYS)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(both, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # clocks differ a little
            .not_valid_before(self._now - timedelta(hours=1))
            .not_valid_after(self._now + timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def issue_all(folder: Path, subjects: Mapping[str, Subject]) -> dict[str, dict[str, str]]:
    """The settings of TLS of each service, and what they name, in a folder."""
    authority = Authority(folder)
    settings = {}
    for name, subject in subjects.items():
        certificate, key = authority.issue(name, subject)
        settings[name] = {
            "tls_ca_file": str(authority.certificate_file.resolve()),
            "tls_certificate_file": str(certificate.resolve()),
            "tls_key_file": str(key.resolve()),
        }
    return settings


def _names(subject: Subject) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in subject.hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    if subject.member is not None:
        names.append(x509.UniformResourceIdentifier(f"{MEMBER_URN}{subject.member}"))
    return x509.SubjectAlternativeName(names)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()
