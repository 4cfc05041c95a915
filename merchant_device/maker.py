"""A simulated maker of phones: its certificates, the phones it makes, and how a phone's secure part attests a key.

The chain has the form of real ones (source.android.com, "Key and ID attestation"): leaf, a certificate of the phone's
own attestation key, an intermediate of the maker, the maker's root. All keys are P-256, all in security modules;
certificates are put together here and signed there. Nothing is random but what the modules and `random` give, so a run
repeats.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import utils as asymmetric_utils
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    PrivateFormat,
    load_der_public_key,
)
from cryptography.x509.oid import NameOID

from network.attestation import (
    EXTENSION_OID,
    ApplicationId,
    AuthorizationList,
    KeyDescription,
    PackageInfo,
    RootOfTrust,
    SecurityLevel,
    VerifiedBootState,
)
from network.keys import SecurityModule
from network.keys.elliptic_operations import EcKey
from network.party import Instant

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROOT_LIFE: Final = timedelta(days=20 * 365)
_INTERMEDIATE_LIFE: Final = timedelta(days=15 * 365)
_BATCH_LIFE: Final = timedelta(days=10 * 365)
_LEAF_END: Final = datetime(2048, 1, 1, tzinfo=UTC)
_LEAF_SUBJECT: Final = "Android Keystore Key"
_SIGN, _AGREE_KEY, _EC, _P256, _SHA_256, _GENERATED = 2, 6, 3, 1, 4, 0
"""Values of KeyMint's enumerations: purposes, algorithm, curve, digest, origin."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a phone's secure part would attest of the phone at this moment.

    Attributes
    ----------
    model, brand, manufacturer : str
    os_version : int
        As ``MMmmss``: 150000 is Android 15.
    os_patch_level : int
        As YYYYMM.
    vendor_patch_level, boot_patch_level : int
        As YYYYMMDD.
    verified_boot_state : VerifiedBootState
    is_locked : bool
        The boot loader is locked.
    security_level : SecurityLevel
        Where keys live: trusted environment or a secure element of their own (StrongBox).
    package : str
        The App that asks.
    package_version : int
    signature_digest : bytes
        SHA-256 of the certificate that the App is signed with, 32 bytes.
    verified_boot_key, verified_boot_hash : bytes
        32 bytes each.
    attestation_version : int
        300 is KeyMint 3.
    """

    model: str
    os_patch_level: int
    vendor_patch_level: int
    boot_patch_level: int
    package: str
    package_version: int
    signature_digest: bytes
    brand: str = "Fourparty"
    manufacturer: str = "Fourparty"
    os_version: int = 150_000
    verified_boot_state: VerifiedBootState = VerifiedBootState.VERIFIED
    is_locked: bool = True
    security_level: SecurityLevel = SecurityLevel.STRONG_BOX
    verified_boot_key: bytes = bytes(range(32))
    verified_boot_hash: bytes = bytes(range(32, 64))
    attestation_version: int = 300


@dataclass(frozen=True, slots=True)
class MadeDevice:
    """A phone as it leaves the factory.

    Attributes
    ----------
    device_id : str
        Serial number.
    model : str
    attestation_key : EcKey
        Of the module that it was made in.
    chain : tuple of bytes
        Certificates of the attestation key, DER: its own, the intermediate's, the root's.
    """

    device_id: str
    model: str
    attestation_key: EcKey
    chain: tuple[bytes, ...]


class Maker:
    """A maker with its root and its intermediate.

    Parameters
    ----------
    module : SecurityModule
        The maker's own.
    random : Random
        For serial numbers.
    now : Instant
        When the maker's certificates begin.
    name : str
        As it stands in the certificates.
    """

    def __init__(self, module: SecurityModule, random: Random, now: Instant, name: str = "Fourparty Phones") -> None:
        self._module = module
        self._random = random
        self._name = name
        root = module.generate_ec("maker root")
        self._intermediate = module.generate_ec("maker intermediate")
        begin = _moment(now)
        own = _authority(f"{name} Root CA", name, root.public_key, begin, begin + _ROOT_LIFE, None, random)
        self._root_name = _name(f"{name} Root CA", name)
        self._intermediate_name = _name(f"{name} Attestation CA", name)
        root_certificate = _signed(own.issuer_name(self._root_name), module, root)
        middle = _authority(
            f"{name} Attestation CA", name, self._intermediate.public_key, begin, begin + _INTERMEDIATE_LIFE, 1, random
        )
        self.chain: tuple[bytes, ...] = (_signed(middle.issuer_name(self._root_name), module, root), root_certificate)
        self.root_public_key = root.public_key

    def manufacture(self, device_id: str, model: str, now: Instant, module: SecurityModule) -> MadeDevice:
        """Make a phone: an attestation key in the phone's own module, certified by the intermediate.

        Parameters
        ----------
        device_id : str
            Serial number, 1 to 40 printable ASCII characters.
        model : str
        now : Instant
            When its certificate begins.
        module : SecurityModule
            The phone's secure element.

        Raises
        ------
        ValueError
            The device id is malformed.
        """
        if not 1 <= len(device_id) <= 40 or not (device_id.isascii() and device_id.isprintable()):
            raise ValueError("a device id has 1 to 40 printable ASCII characters")
        key = module.generate_ec("attestation")
        begin = _moment(now)
        builder = _authority(device_id, self._name, key.public_key, begin, begin + _BATCH_LIFE, 0, self._random)
        certificate = _signed(builder.issuer_name(self._intermediate_name), self._module, self._intermediate)
        return MadeDevice(device_id, model, key, (certificate, *self.chain))


def attest(
    module: SecurityModule,
    device: MadeDevice,
    state: DeviceState,
    public_key: bytes,
    challenge: bytes,
    now: Instant,
) -> tuple[bytes, ...]:
    """Attest a key of the phone, as its secure part does.

    Parameters
    ----------
    module : SecurityModule
        The phone's, which holds the attestation key.
    device : MadeDevice
    state : DeviceState
        What the phone is like at this moment.
    public_key : bytes
        DER SubjectPublicKeyInfo of the key.
    challenge : bytes
        What the asker gave.
    now : Instant
        When the key was made.

    Returns
    -------
    tuple of bytes
        The chain, leaf first.
    """
    issuer = x509.load_der_x509_certificate(device.chain[0])
    description = describe(state, device.device_id, challenge, now)
    builder = (
        x509.CertificateBuilder(subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _LEAF_SUBJECT)]))
        .issuer_name(issuer.subject)
        .serial_number(1)  # as real phones have it: the leaf is told apart by its issuer and key
        .not_valid_before(_EPOCH)
        .not_valid_after(_LEAF_END)
        .public_key(_public(public_key))
        .add_extension(_usage(signature=True), critical=True)
        .add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(EXTENSION_OID), description.build()), critical=False
        )
    )
    return (_signed(builder, module, device.attestation_key), *device.chain)


def describe(state: DeviceState, device_id: str, challenge: bytes, now: Instant) -> KeyDescription:
    """What the secure part says of a new P-256 key and of the phone."""
    application = ApplicationId((PackageInfo(state.package, state.package_version),), (state.signature_digest,))
    root = RootOfTrust(state.verified_boot_key, state.is_locked, state.verified_boot_state, state.verified_boot_hash)
    return KeyDescription(
        state.attestation_version,
        state.security_level,
        state.attestation_version,
        state.security_level,
        challenge,
        b"",
        AuthorizationList.of({"creationDateTime": now // 1000, "attestationApplicationId": application}),
        AuthorizationList.of(
            {
                "purpose": (_SIGN, _AGREE_KEY),
                "algorithm": _EC,
                "keySize": 256,
                "digest": (_SHA_256,),
                "ecCurve": _P256,
                "noAuthRequired": True,
                "origin": _GENERATED,
                "rootOfTrust": root,
                "osVersion": state.os_version,
                "osPatchLevel": state.os_patch_level,
                "attestationIdBrand": state.brand.encode(),
                "attestationIdSerial": device_id.encode(),
                "attestationIdManufacturer": state.manufacturer.encode(),
                "attestationIdModel": state.model.encode(),
                "vendorPatchLevel": state.vendor_patch_level,
                "bootPatchLevel": state.boot_patch_level,
            }
        ),
    )


def _authority(
    common_name: str,
    organisation: str,
    public_key: bytes,
    begin: datetime,
    end: datetime,
    path_length: int | None,
    random: Random,
) -> x509.CertificateBuilder:
    """A certificate for one that may issue; the issuer's name is still to come."""
    return (
        x509.CertificateBuilder(subject_name=_name(common_name, organisation))
        .serial_number(random.getrandbits(120) + 1)
        .not_valid_before(begin)
        .not_valid_after(end)
        .public_key(_public(public_key))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signature=False), critical=True)
    )


def _usage(*, signature: bool) -> x509.KeyUsage:
    """Key usage: digital signatures, or certificates."""
    return x509.KeyUsage(
        digital_signature=signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=signature,
        key_cert_sign=not signature,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _public(encoded: bytes) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(encoded)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("a key that is attested is one of an elliptic curve")
    return key


def _moment(now: Instant) -> datetime:
    """Certificates count in seconds."""
    return _EPOCH + timedelta(seconds=now // 1_000_000)


def _signed(builder: x509.CertificateBuilder, module: SecurityModule, key: EcKey) -> bytes:
    return builder.sign(_KeyInModule(module, key), hashes.SHA256()).public_bytes(Encoding.DER)


class _KeyInModule(ec.EllipticCurvePrivateKey):
    """A key pair of a security module as the library's certificate builder wants one: it only signs."""

    def __init__(self, module: SecurityModule, key: EcKey) -> None:
        self._module = module
        self._key = key

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return _public(self._key.public_key)

    @property
    def curve(self) -> ec.EllipticCurve:
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        return 256

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        hashing = signature_algorithm.algorithm
        if isinstance(hashing, asymmetric_utils.Prehashed) or not isinstance(hashing, hashes.SHA256):
            raise TypeError("a module's key signs with SHA-256")
        return self._module.sign_ec(self._key, bytes(data))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        raise TypeError("this key only signs certificates")

    def private_numbers(self) -> NoReturn:
        raise TypeError("a private number does not leave the security module")

    def private_bytes(
        self, encoding: Encoding, format: PrivateFormat, encryption_algorithm: KeySerializationEncryption
    ) -> NoReturn:
        raise TypeError("a private key does not leave the security module")

    def __copy__(self) -> _KeyInModule:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> _KeyInModule:
        return self


def chain_text(chain: Sequence[bytes]) -> list[str]:
    """A chain as JSON carries it: base64 of DER, leaf first."""
    return [base64.b64encode(one).decode("ascii") for one in chain]
