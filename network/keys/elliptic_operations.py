"""Elliptic curve keys inside the security module: signatures, and envelopes that bring a key to their holder.

The curve is P-256 (FIPS 186-5). A private number never leaves the module but in a key block under the storage key:
usage S0 (key pair for digital signatures), algorithm E, mode T (sign and decrypt) of ANSI X9.143. One key pair both
signs and opens envelopes, since the key that a phone's maker has attested is the only one the acquirer may wrap for.

The envelope is this network's own: ``01 | ephemeral public key, uncompressed (65) | key block``. The block (X9.143,
version D) is under an AES-256 key that HKDF-SHA256 (RFC 5869) derives from the ECDH secret, without salt, with an info
of a text and both public keys; so the key's usage goes along, and an envelope made for one opens for no other.
"""

import random
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from network.keys.attributes import Exportability
from network.keys.errors import KeyBlockError, KeyUsageError, SecurityModuleError
from network.keys.key_block import KeyBlockHeader, KeyBlockProtection, parse_header
from network.keys.key_store import MAX_LABEL_LENGTH, KeyHandle, KeyStore, oldest, read_attributes

ENVELOPE_LIMIT: Final = 2048
"""Longest envelope that is opened, in bytes."""

_CURVE: Final = ec.SECP256R1()
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_STRENGTH: Final = 128
"""Bits of security of P-256 (NIST SP 800-57 part 1, table 2)."""

_SCALAR: Final = 32
_POINT: Final = 65
_SPKI_LIMIT: Final = 128
_VERSION: Final = b"\x01"
_INFO: Final = b"fourparty key envelope 1"
_USAGE, _ALGORITHM, _MODE = "S0", "E", "T"
# RFC 6979: without a random number of its own a virtual run repeats, and a weak one can give no key away
_ECDSA: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)


class EnvelopeError(SecurityModuleError):
    """An envelope that is malformed, was changed, or was made for another key."""


class EcKey:
    """A P-256 key pair as callers see it.

    Attributes
    ----------
    public_key : bytes
        DER SubjectPublicKeyInfo (RFC 5480).
    block : str
        Key block of the private number under the module's storage key: what to store.
    label : str
        Free text.
    """

    __slots__ = ("block", "label", "public_key")

    def __init__(self, public_key: bytes, block: str, label: str) -> None:
        self.public_key = public_key
        self.block = block
        self.label = label

    def __repr__(self) -> str:
        return f"<EcKey {self.label!r} {self.public_key[-4:].hex().upper()}>"


class EllipticOperations(KeyStore):
    """Key pairs of the module: made, opened, used; their private numbers stay inside.

    Parameters
    ----------
    storage_key, rng, cache_size
        See `KeyStore`.
    """

    def __init__(self, storage_key: bytes, rng: random.Random, *, cache_size: int = 16384) -> None:
        super().__init__(storage_key, rng, cache_size=cache_size)
        self._pairs: dict[str, tuple[EcKey, ec.EllipticCurvePrivateKey]] = {}

    def generate_ec(self, label: str = "") -> EcKey:
        """Make a key pair; its private number comes from the module's randomness (FIPS 186-5, A.2.1).

        Parameters
        ----------
        label : str
            Free text, at most 64 printable ASCII characters, kept in the block.
        """
        if len(label) > MAX_LABEL_LENGTH:
            raise ValueError(f"a key label has at most {MAX_LABEL_LENGTH} characters")
        number = self._private_number()
        header = KeyBlockHeader(
            "D", _USAGE, _ALGORITHM, _MODE, "00", Exportability.NON_EXPORTABLE, (("LB", label),) if label else ()
        )
        block = self._storage.wrap(header, number.to_bytes(_SCALAR), self._random, masked_length=_SCALAR)
        return self._keep_pair(block, label, ec.derive_private_key(number, _CURVE))

    def load_ec(self, block: str) -> EcKey:
        """Open the key block of a key pair of this module.

        Raises
        ------
        KeyBlockError
            Malformed, of another storage key, or changed.
        KeyUsageError
            The block holds no key pair.
        """
        known = self._pairs.get(block)
        if known is not None:
            return known[0]
        header, number = self._storage.unwrap(block)
        if (header.usage, header.algorithm, header.mode) != (_USAGE, _ALGORITHM, _MODE) or len(number) != _SCALAR:
            raise KeyUsageError(f"a key of usage {header.usage} and algorithm {header.algorithm} is no P-256 key pair")
        return self._keep_pair(block, header.get("LB") or "", ec.derive_private_key(int.from_bytes(number), _CURVE))

    def forget(self, block: str) -> None:
        """See `KeyStore.forget`; a key pair likewise."""
        super().forget(block)
        self._pairs.pop(block, None)

    def sign_ec(self, key: EcKey, data: bytes) -> bytes:
        """Sign `data`: ECDSA with SHA-256, deterministic (RFC 6979).

        Returns
        -------
        bytes
            DER, as X.509 has it.
        """
        return self._private(key).sign(data, _ECDSA)

    def wrap_for(self, public_key: bytes, key: KeyHandle) -> bytes:
        """Put a key into an envelope that only the holder of a private key opens.

        Parameters
        ----------
        public_key : bytes
            DER SubjectPublicKeyInfo of a P-256 key. That it is the right one is the caller's business.
        key : KeyHandle
            A key that is not `NON_EXPORTABLE` and no stronger than the curve.

        Returns
        -------
        bytes
            The envelope; another one each time.

        Raises
        ------
        EnvelopeError
            The public key is none of P-256.
        KeyUsageError
            The key may not leave.
        """
        recipient = _public_key(public_key)
        slot = self._slot(key)
        if slot.exportability is Exportability.NON_EXPORTABLE:
            raise KeyUsageError(f"a key of usage {slot.usage.value} ({slot.usage.name}) is not exportable")
        if slot.algorithm.strength > _STRENGTH:
            raise KeyUsageError(f"a {slot.algorithm.name} key may not leave under a P-256 key")
        ephemeral = ec.derive_private_key(self._private_number(), _CURVE)
        point = _point(ephemeral.public_key())
        protection = _protection(ephemeral.exchange(ec.ECDH(), recipient), point, recipient)
        header = KeyBlockHeader(
            "D",
            slot.header.usage,
            slot.header.algorithm,
            slot.header.mode,
            slot.header.key_version,
            slot.header.exportability,
            slot.header.optional,
        )
        block = protection.wrap(header, slot.key, self._random, 24 if slot.algorithm.is_des else 32)
        return _VERSION + point + block.encode("ascii")

    def open_envelope(self, key: EcKey, envelope: bytes) -> KeyHandle:
        """Take the key of an envelope that was made for `key`; it does not leave this module again.

        Raises
        ------
        EnvelopeError
            Malformed, changed, or made for another key.
        KeyUsageError
            It holds a kind of key that is unknown here.
        """
        if len(envelope) > ENVELOPE_LIMIT or envelope[:1] != _VERSION:
            raise EnvelopeError("a key envelope is malformed")
        point, block = envelope[1 : 1 + _POINT], envelope[1 + _POINT :]
        private = self._private(key)
        try:
            sender = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
            protection = _protection(private.exchange(ec.ECDH(), sender), point, private.public_key())
            text = block.decode("ascii")
            if parse_header(text).version != "D":
                raise EnvelopeError("a key envelope is malformed")
            header, clear = protection.unwrap(text)
        except (ValueError, KeyBlockError):
            raise EnvelopeError("a key envelope was changed, or was made for another key") from None
        usage, algorithm, mode, _ = read_attributes(header, len(clear))
        return self._store(
            clear, usage, algorithm, "", mode, Exportability.NON_EXPORTABLE, header.optional, header.key_version
        )

    def _private_number(self) -> int:
        # 64 bits more than the order has: what the remainder favours is below anyone's notice
        return int.from_bytes(self._random.randbytes(_SCALAR + 8)) % (_ORDER - 1) + 1

    def _keep_pair(self, block: str, label: str, private: ec.EllipticCurvePrivateKey) -> EcKey:
        public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        key = EcKey(public, block, label)
        if len(self._pairs) >= self._cache_size:
            for dropped in oldest(self._pairs, self._cache_size):
                del self._pairs[dropped]
        self._pairs[block] = key, private
        return key

    def _private(self, key: EcKey) -> ec.EllipticCurvePrivateKey:
        known = self._pairs.get(key.block)
        if known is None:
            self.load_ec(key.block)
            known = self._pairs[key.block]
        return known[1]


def verify_ec(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` (DER) is the ECDSA-SHA256 signature of `data` by the holder of a P-256 key.

    A public key that is none, or a signature that is malformed, is simply not right.
    """
    try:
        _public_key(public_key).verify(signature, data, _ECDSA)
    except (InvalidSignature, EnvelopeError):
        return False
    return True


def _public_key(der: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a SubjectPublicKeyInfo; the library refuses points that are not on the curve."""
    if len(der) <= _SPKI_LIMIT:
        try:
            key = load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return key
    raise EnvelopeError("this is no public key of P-256")


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _protection(secret: bytes, ephemeral: bytes, recipient: ec.EllipticCurvePublicKey) -> KeyBlockProtection:
    """The key block protection key of an envelope."""
    derivation = HKDF(hashes.SHA256(), 32, salt=None, info=_INFO + ephemeral + _point(recipient))
    return KeyBlockProtection("D", derivation.derive(secret))
