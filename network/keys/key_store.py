"""Keys inside the security module: handles outside, clear keys and keyed contexts inside.

A handle holds the key's block under the storage key and its public attributes, nothing secret. The clear
key stands in a slot that only the module can reach. Slots are a bounded cache: when one was dropped, the next
use of its handle opens the block again.
"""

import hashlib
import hmac
import random
from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from network.keys.attributes import (
    Exportability,
    KeyUsage,
    ModeOfUse,
    allowed_algorithms,
    allowed_modes,
    default_exportability,
    default_mode,
)
from network.keys.ciphers import Algorithm, Transform, ecb_decryptor, ecb_encryptor, odd_parity
from network.keys.errors import KeyBlockError, KeyUsageError
from network.keys.key_block import KeyBlockHeader, KeyBlockProtection
from network.keys.mac import Cmac, MacAlgorithm, MacFunction, Padding

T = TypeVar("T")

MAX_LABEL_LENGTH = 64
CHECK_VALUE_LENGTH = 3


class KeyHandle:
    """A key as callers see it. Two handles are equal only if they are the same object.

    Attributes
    ----------
    block : str
        Key block under the module's storage key: what to store.
    usage, algorithm, mode, exportability
        The key's attributes.
    label : str
        Free text.
    check_value : bytes
        First 3 bytes of the encryption of zeros.
    """

    __slots__ = ("algorithm", "block", "check_value", "exportability", "label", "mode", "usage")

    def __init__(
        self,
        block: str,
        usage: KeyUsage,
        algorithm: Algorithm,
        mode: ModeOfUse,
        exportability: Exportability,
        label: str,
        check_value: bytes,
    ) -> None:
        self.block = block
        self.usage = usage
        self.algorithm = algorithm
        self.mode = mode
        self.exportability = exportability
        self.label = label
        self.check_value = check_value

    def __repr__(self) -> str:
        label = f"{self.label!r} " if self.label else ""
        return (
            f"<KeyHandle {label}{self.usage.name} {self.algorithm.name} check value {self.check_value.hex().upper()}>"
        )


class Slot:
    """A clear key with the contexts made from it so far. Never leaves the package."""

    def __init__(
        self,
        key: bytes,
        usage: KeyUsage,
        algorithm: Algorithm,
        mode: ModeOfUse,
        exportability: Exportability,
        header: KeyBlockHeader,
    ) -> None:
        self.key = key
        self.usage = usage
        self.algorithm = algorithm
        self.mode = mode
        self.exportability = exportability
        self.header = header
        self.mac_functions: dict[tuple[MacAlgorithm, Padding], MacFunction] = {}
        self.interbank_mac: MacFunction | None = None
        self.protections: dict[str, KeyBlockProtection] = {}
        self.aead: AESGCM | None = None
        self.hmac_states: tuple[hashlib._Hash, hashlib._Hash] | None = None

    def __repr__(self) -> str:
        return f"<Slot {self.usage.name} {self.algorithm.name}>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a clear key does not leave the security module")

    @cached_property
    def encrypt(self) -> Transform:
        """ECB encryption."""
        return ecb_encryptor(self.algorithm, self.key)

    @cached_property
    def decrypt(self) -> Transform:
        """ECB decryption."""
        return ecb_decryptor(self.algorithm, self.key)

    @cached_property
    def encrypt_left(self) -> Transform:
        """Single DES with the first 8 bytes of the key."""
        return ecb_encryptor(Algorithm.DES, self.key[:8])

    def check_value(self, method: str, length: int) -> bytes:
        """Return the check value; see `KeyStore.check_value`."""
        block = self.algorithm.block_length
        if not block:
            return hmac.digest(self.key, b"", "sha256")[:length]
        if method == "cmac":
            return Cmac(self.algorithm, self.key).compute(bytes(block))[:length]
        return self.encrypt(bytes(block))[:length]


class KeyStore:
    """The part of the security module that makes keys and keeps them.

    Parameters
    ----------
    storage_key : bytes
        The module's own AES key, 16, 24 or 32 bytes: what is stored outside is wrapped under it.
    rng : random.Random
        All randomness of the module: `random.SystemRandom` in live runs, seeded in virtual ones.
    cache_size : int
        How many opened keys are kept, the oldest are dropped first.

    Raises
    ------
    KeyBlockError
        The storage key is no AES key.
    """

    def __init__(self, storage_key: bytes, rng: random.Random, *, cache_size: int = 16384) -> None:
        if cache_size < 1:
            raise ValueError("cache_size must be at least 1")
        self._storage = KeyBlockProtection("D", storage_key)
        self._random = rng
        self._cache_size = cache_size
        self._slots: dict[KeyHandle, Slot] = {}
        self._handles: dict[str, KeyHandle] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {len(self._slots)} keys open>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a security module cannot be copied or pickled: it holds clear keys")

    def generate(
        self,
        usage: KeyUsage,
        algorithm: Algorithm,
        label: str = "",
        *,
        mode: ModeOfUse | None = None,
        exportability: Exportability | None = None,
    ) -> str:
        """Make a new random key.

        Parameters
        ----------
        usage, algorithm
            What it is for.
        label : str
            Free text, at most 64 printable ASCII characters, kept in the block (LB).
        mode : ModeOfUse, optional
            Both directions, unless said otherwise.
        exportability : Exportability, optional
            `SENSITIVE` for the working keys of the links, else `EXPORTABLE`.

        Returns
        -------
        str
            The key block under the storage key; `load` gives its handle.

        Raises
        ------
        KeyUsageError
            Such a combination does not exist.
        """
        _check_combination(usage, algorithm, mode)
        handle = self._store(self._new_key(algorithm), usage, algorithm, label, mode, exportability)
        return handle.block

    def load(self, block: str) -> KeyHandle:
        """Open a key block of this module and return its handle; the same one as long as it is cached.

        Raises
        ------
        KeyBlockError
            Malformed, of another storage key, or changed.
        KeyUsageError
            A usage or algorithm that this module does not know.
        """
        return self._handles.get(block) or self._load(block)

    def _load(self, block: str) -> KeyHandle:
        slot = self._open(block)
        handle = KeyHandle(
            block,
            slot.usage,
            slot.algorithm,
            slot.mode,
            slot.exportability,
            slot.header.get("LB") or "",
            slot.check_value("zero", CHECK_VALUE_LENGTH),
        )
        self._keep(handle, slot)
        return handle

    def forget(self, block: str) -> None:
        """Close a key that was opened, as its owner does who wipes it; without its block nobody opens it again."""
        handle = self._handles.pop(block, None)
        if handle is not None:
            self._slots.pop(handle, None)

    def block(self, key: KeyHandle) -> str:
        """Return the key's block under the storage key."""
        return key.block

    def check_value(self, key: KeyHandle, method: str = "zero", length: int = CHECK_VALUE_LENGTH) -> bytes:
        """Return the check value of a key.

        Parameters
        ----------
        key : KeyHandle
            Any key.
        method : str
            ``zero``: the encryption of a block of zeros (X9.24, the habit for DES and SM4); ``cmac``: CMAC of
            a block of zeros (X9.143, for AES). For HMAC keys both are the HMAC of an empty string.
        length : int
            3 to 5 bytes.
        """
        if method not in ("zero", "cmac"):
            raise ValueError("check value method must be 'zero' or 'cmac'")
        if not 3 <= length <= 5:
            raise ValueError("a check value has 3 to 5 bytes")
        return self._slot(key).check_value(method, length)

    def _new_key(self, algorithm: Algorithm) -> bytes:
        key = self._random.randbytes(algorithm.key_length)
        if not algorithm.is_des:
            return key
        key = odd_parity(key)
        # Equal parts would make a triple DES key a single DES key.
        parts = {key[i : i + 8] for i in range(0, len(key), 8)}
        return key if len(parts) == len(key) // 8 else self._new_key(algorithm)

    def _store(
        self,
        key: bytes,
        usage: KeyUsage,
        algorithm: Algorithm,
        label: str = "",
        mode: ModeOfUse | None = None,
        exportability: Exportability | None = None,
        optional: tuple[tuple[str, str], ...] = (),
        key_version: str = "00",
    ) -> KeyHandle:
        """Wrap a clear key under the storage key and open it."""
        _check_combination(usage, algorithm, mode)
        if len(label) > MAX_LABEL_LENGTH:
            raise ValueError(f"a key label has at most {MAX_LABEL_LENGTH} characters")
        if label:
            optional = (*(item for item in optional if item[0] != "LB"), ("LB", label))
        header = KeyBlockHeader(
            "D",
            usage,
            algorithm.tr31,
            mode or default_mode(usage),
            key_version,
            exportability or default_exportability(usage, algorithm),
            optional,
        )
        return self.load(self._storage.wrap(header, key, self._random, masked_length=32))

    def _open(self, block: str) -> Slot:
        header, key = self._storage.unwrap(block)
        usage, algorithm, mode, exportability = read_attributes(header, len(key))
        return Slot(key, usage, algorithm, mode, exportability, header)

    def _keep(self, handle: KeyHandle, slot: Slot) -> None:
        if len(self._slots) >= self._cache_size:
            for dropped in oldest(self._slots, self._cache_size):
                del self._slots[dropped]
                self._handles.pop(dropped.block, None)
        self._slots[handle] = slot
        self._handles[handle.block] = handle

    def _slot(self, handle: KeyHandle) -> Slot:
        """Return the slot of a handle, opening its block again where it was dropped."""
        slot = self._slots.get(handle)
        if slot is None:
            if not isinstance(handle, KeyHandle):
                raise KeyUsageError("a key must be given as a KeyHandle")
            slot = self._open(handle.block)
            self._keep(handle, slot)
        return slot


def oldest(kept: Iterable[T], limit: int) -> list[T]:
    """Return what to drop of a full store that keeps `limit` entries in the order they came.

    An eighth of it at once: the search for the first entry of a dict passes over the places of all that were dropped
    before it, so that dropping them one by one gets dearer with the size of the store.
    """
    return list(islice(kept, max(1, limit // 8)))


def read_attributes(header: KeyBlockHeader, key_length: int) -> tuple[KeyUsage, Algorithm, ModeOfUse, Exportability]:
    """Return the attributes of a key block header and a key length in bytes.

    Raises
    ------
    KeyUsageError
        A usage, algorithm, mode or combination that this module does not know.
    KeyBlockError
        An exportability that does not exist.
    """
    try:
        usage = KeyUsage(header.usage)
    except ValueError:
        raise KeyUsageError(f"key usage {header.usage!r} is not supported") from None
    try:
        algorithm = Algorithm.of(header.algorithm, key_length)
    except KeyError:
        raise KeyUsageError(
            f"algorithm {header.algorithm!r} with a key of {key_length} bytes is not supported"
        ) from None
    try:
        mode = ModeOfUse(header.mode)
    except ValueError:
        raise KeyUsageError(f"mode of use {header.mode!r} is not supported") from None
    try:
        exportability = Exportability(header.exportability)
    except ValueError:
        raise KeyBlockError(f"exportability {header.exportability!r} does not exist") from None
    _check_combination(usage, algorithm, mode)
    return usage, algorithm, mode, exportability


def usage_error(slot: Slot, purpose: str) -> KeyUsageError:
    """Return the error for a key that may not be used for `purpose`."""
    return KeyUsageError(
        f"a key of usage {slot.usage.value} ({slot.usage.name}), {slot.algorithm.name}, mode "
        f"{slot.mode.value} may not be used for {purpose}"
    )


def _check_combination(usage: KeyUsage, algorithm: Algorithm, mode: ModeOfUse | None) -> None:
    if algorithm not in allowed_algorithms(usage):
        raise KeyUsageError(f"a key of usage {usage.value} ({usage.name}) cannot be {algorithm.name}")
    if mode is not None and mode not in allowed_modes(usage):
        raise KeyUsageError(f"a key of usage {usage.value} ({usage.name}) cannot have mode {mode.value}")
