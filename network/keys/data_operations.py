"""Data at rest inside the security module: sealed values and keyed indexes."""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from network.keys.attributes import KeyUsage
from network.keys.ciphers import Algorithm
from network.keys.errors import SecurityModuleError
from network.keys.key_store import KeyHandle, KeyStore, Slot, usage_error

INDEX_LENGTH = 16
_NONCE_LENGTH = 12
_TAG_LENGTH = 16


class SealError(SecurityModuleError):
    """A sealed value was made under another key or context, or was changed."""


class DataOperations(KeyStore):
    """How a party stores a PAN: sealed, and found by its index."""

    def seal(self, key: KeyHandle, plaintext: bytes, context: bytes = b"") -> bytes:
        """Encipher and authenticate a value (AES GCM).

        Parameters
        ----------
        key : KeyHandle
            Data encryption key (usage D0), AES.
        plaintext : bytes
            The value.
        context : bytes
            What the value belongs to, such as a table and row: authenticated, not stored.

        Returns
        -------
        bytes
            Nonce (12), ciphertext, tag (16).

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        if slot.mode not in "BEN":
            raise usage_error(slot, "sealing data")
        nonce = self._random.randbytes(_NONCE_LENGTH)
        return nonce + (slot.aead or _aead(slot)).encrypt(nonce, plaintext, context)

    def unseal(self, key: KeyHandle, sealed: bytes, context: bytes = b"") -> bytes:
        """Return the value that was sealed.

        Raises
        ------
        SealError
            Another key or context, or a changed value.
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        if slot.mode not in "BDN":
            raise usage_error(slot, "unsealing data")
        if len(sealed) < _NONCE_LENGTH + _TAG_LENGTH:
            raise SealError("a sealed value is too short")
        try:
            return (slot.aead or _aead(slot)).decrypt(sealed[:_NONCE_LENGTH], sealed[_NONCE_LENGTH:], context)
        except InvalidTag:
            raise SealError("a sealed value is of another key or context, or was changed") from None

    def index(self, key: KeyHandle, value: bytes) -> bytes:
        """Return a keyed hash of a value, to look it up by.

        Parameters
        ----------
        key : KeyHandle
            HMAC key (usage M7).
        value : bytes
            The value, such as a PAN in ASCII.

        Returns
        -------
        bytes
            First 16 bytes of HMAC-SHA-256.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        inner, outer = slot.hmac_states or _hmac_states(slot)
        # RFC 2104 over states that already hold the padded key: half the price of a fresh HMAC.
        inner, outer = inner.copy(), outer.copy()
        inner.update(value)
        outer.update(inner.digest())
        return outer.digest()[:INDEX_LENGTH]


def _aead(slot: Slot) -> AESGCM:
    aes = (Algorithm.AES_128, Algorithm.AES_192, Algorithm.AES_256)
    if slot.usage is not KeyUsage.DATA_ENCRYPTION or slot.algorithm not in aes:
        raise usage_error(slot, "sealing data")
    slot.aead = AESGCM(slot.key)
    return slot.aead


def _hmac_states(slot: Slot) -> tuple["hashlib._Hash", "hashlib._Hash"]:
    if slot.usage is not KeyUsage.MAC_HMAC or slot.mode not in "CGN":
        raise usage_error(slot, "indexes")
    block = slot.key.ljust(64, b"\x00")
    slot.hmac_states = (
        hashlib.sha256(bytes(byte ^ 0x36 for byte in block)),
        hashlib.sha256(bytes(byte ^ 0x5C for byte in block)),
    )
    return slot.hmac_states
