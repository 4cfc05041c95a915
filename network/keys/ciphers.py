"""Block ciphers as the security module uses them: contexts that are made once and used for ever.

Making a TDES context costs ten times the encryption of a block, so a context is kept per key. ECB keeps no
state between calls. CBC does, and that state cannot be reset; but it is known, being the last block that
came out, so the next message starts afresh when that block is XORed out of its first block (`CbcChain`).
A context must not be used by two threads at once.
"""

from collections.abc import Callable
from enum import Enum

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES, SM4

Transform = Callable[[bytes], bytes]
"""Bytes to bytes of the same length, whole blocks only."""

_ECB = modes.ECB()  # noqa: S305  the trade's key wrapping and PIN blocks are ECB by standard
_CBC = {block: modes.CBC(bytes(block)) for block in (8, 16)}  # of a zero IV
# Looked up once: this is most of the price of such a call on 8 bytes.
_from_bytes = int.from_bytes


class Algorithm(Enum):
    """A cipher together with its key length.

    `tr31` is the algorithm letter of a TR-31 key block. TR-31 knows no SM4: the digit 4 is taken, digits
    being left to proprietary use there, so such blocks are understood by this project only.

    Attributes
    ----------
    tr31 : str
        Algorithm character of TR-31 / ANSI X9.143.
    key_length : int
        Bytes of key.
    block_length : int
        Bytes of a cipher block (0 for HMAC).
    strength : int
        Bits of security, after NIST SP 800-57 part 1, to keep a key from travelling under a weaker one.
    is_des : bool
        Whether this is DES or triple DES.
    """

    DES = ("D", 8, 8, 56)
    TDES_DOUBLE = ("T", 16, 8, 80)
    TDES_TRIPLE = ("T", 24, 8, 112)
    AES_128 = ("A", 16, 16, 128)
    AES_192 = ("A", 24, 16, 192)
    AES_256 = ("A", 32, 16, 256)
    SM4 = ("4", 16, 16, 128)
    HMAC_SHA256 = ("H", 32, 0, 128)

    def __init__(self, tr31: str, key_length: int, block_length: int, strength: int) -> None:
        self.tr31 = tr31
        self.key_length = key_length
        self.block_length = block_length
        self.strength = strength
        self.is_des = tr31 in "DT"

    @classmethod
    def of(cls, tr31: str, key_length: int) -> "Algorithm":
        """Return the algorithm of a TR-31 letter and a key length in bytes.

        Raises
        ------
        KeyError
            Nothing has that letter and length.
        """
        return _BY_LETTER_AND_LENGTH[tr31, key_length]


_BY_LETTER_AND_LENGTH = {(a.tr31, a.key_length): a for a in Algorithm}
# A member looked up on its class costs several times a global of the module.
_DES, _TDES_DOUBLE = Algorithm.DES, Algorithm.TDES_DOUBLE


class CbcChain:
    """CBC encryption with a zero IV, any number of messages through one context.

    Parameters
    ----------
    algorithm, key
        The cipher.
    """

    __slots__ = ("_block", "_last", "_update")

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        self._block = algorithm.block_length
        primitive = _primitive(algorithm, key)
        self._update: Transform = _KeyedCipher(primitive, _CBC[self._block]).encryptor().update
        self._last = 0

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt `data` from a zero IV.

        Raises
        ------
        ValueError
            The data is not whole blocks, at least one: a part of a block would stay in the context and
            spoil every later message.
        """
        block = self._block
        if not data or len(data) % block:
            raise ValueError(f"{len(data)} bytes are not whole blocks of {block}")
        first = _from_bytes(data[:block]) ^ self._last
        out = self._update(first.to_bytes(block) + data[block:])
        self._last = _from_bytes(out[-block:])
        return out

    def last_block(self, data: bytes) -> bytes:
        """Encrypt like `encrypt` and return the last block: ISO 9797-1 algorithm 1 after padding."""
        return self.encrypt(data)[-self._block :]

    def last_number(self, data: bytes, end: int) -> int:
        """Encrypt the first `end` bytes like `encrypt` and return the last block as a big-endian number.

        Raises
        ------
        ValueError
            They are not whole blocks, at least one.
        """
        block = self._block
        if end % block or not 0 < end <= len(data):
            raise ValueError(f"{end} of {len(data)} bytes are not whole blocks of {block}")
        first = _from_bytes(data[:block]) ^ self._last
        out = self._update(first.to_bytes(block) + data[block:end])
        self._last = last = _from_bytes(out[-block:])
        return last


def ecb_encryptor(algorithm: Algorithm, key: bytes) -> Transform:
    """Return a function that encrypts whole blocks in ECB mode, keyed once."""
    return _KeyedCipher(_primitive(algorithm, key), _ECB).encryptor().update


def ecb_decryptor(algorithm: Algorithm, key: bytes) -> Transform:
    """Return a function that decrypts whole blocks in ECB mode, keyed once."""
    return _KeyedCipher(_primitive(algorithm, key), _ECB).decryptor().update


def xor(left: bytes, right: bytes) -> bytes:
    """XOR two byte strings of one length."""
    if len(left) != len(right):
        raise ValueError("XOR of byte strings of different lengths")
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))


def odd_parity(key: bytes) -> bytes:
    """Set the parity bit (the lowest) of each byte so that every byte has an odd number of ones.

    DES itself ignores the bit; devices that receive a key may not.
    """
    return key.translate(_ODD_PARITY)


_ODD_PARITY = bytes((b & 0xFE) | (1 - (b >> 1).bit_count() % 2) for b in range(256))


class _KeyedCipher(Cipher[modes.ECB | modes.CBC]):
    """A cipher made without the library's checks.

    What they ask of key and mode holds by construction here, and they take a third of the making of a session key.
    """

    def __init__(self, primitive: TripleDES | AES | SM4, mode: modes.ECB | modes.CBC) -> None:
        self.algorithm = primitive
        self.mode = mode


def _primitive(algorithm: Algorithm, key: bytes) -> TripleDES | AES | SM4:
    if len(key) != algorithm.key_length:
        raise ValueError(f"{algorithm.name} takes a key of {algorithm.key_length} bytes, not {len(key)}")
    # The library takes three DES keys only; single DES is three times the same key.
    if algorithm is _TDES_DOUBLE:
        return _triple_des(key + key[:8])
    if algorithm is _DES:
        return _triple_des(key * 3)
    if algorithm is Algorithm.TDES_TRIPLE:
        return _triple_des(key)
    if algorithm is Algorithm.SM4:
        return SM4(key)
    if algorithm is Algorithm.HMAC_SHA256:
        raise ValueError("an HMAC key has no block cipher")
    return AES(key)


def _triple_des(key: bytes) -> TripleDES:
    """Make the library's object of 24 bytes of key, without its checks: see `_KeyedCipher`."""
    primitive = TripleDES.__new__(TripleDES)
    primitive.key = key
    return primitive
