"""Message authentication codes over clear keys; the security module holds the keys.

Every algorithm is a small object keyed once, with contexts that are reused from message to message.
"""

from collections.abc import Callable
from enum import StrEnum

from network.keys.ciphers import Algorithm, CbcChain, ecb_encryptor

MacFunction = Callable[[bytes], bytes]

_from_bytes = int.from_bytes


class MacAlgorithm(StrEnum):
    """The MAC algorithms of the links.

    ======================= ================================================ ==================
    member                  what it is                                       result
    ======================= ================================================ ==================
    CUP_ECB                 XOR of all blocks, two ECB encryptions           8 ASCII hex digits
    X9_9                    ISO 9797-1 algorithm 1, single DES, zero padding  8 bytes
    X9_19                   ISO 9797-1 algorithm 3, zero padding             8 bytes
    ISO_9797_1_ALGORITHM_1  CBC MAC with the key's own cipher, SM4 included  one cipher block
    ISO_9797_1_ALGORITHM_3  retail MAC                                       8 bytes
    CMAC                    ISO 9797-1 algorithm 5, NIST SP 800-38B          one cipher block
    ======================= ================================================ ==================

    CUP_ECB over 16-byte blocks with an SM4 key is general practice, not confirmed by a citable text.
    """

    CUP_ECB = "CUP ECB"
    X9_9 = "X9.9"
    X9_19 = "X9.19"
    ISO_9797_1_ALGORITHM_1 = "ISO 9797-1 algorithm 1"
    ISO_9797_1_ALGORITHM_3 = "ISO 9797-1 algorithm 3"
    CMAC = "CMAC"


class Padding(StrEnum):
    """Padding methods of ISO 9797-1, clause 6.3. CUP_ECB, X9.9 and X9.19 use method 1; CMAC none."""

    METHOD_1 = "zeros, none if the data fills whole blocks"
    METHOD_2 = "a bit 1 (80) then zeros"
    METHOD_3 = "zeros, with a block in front that holds the length in bits"


# A member looked up on its class costs several times a global of the module.
_METHOD_1, _METHOD_2 = Padding.METHOD_1, Padding.METHOD_2


def pad(data: bytes, block_length: int, method: Padding) -> bytes:
    """Pad `data` to whole blocks, at least one.

    Parameters
    ----------
    data : bytes
        Any length.
    block_length : int
        8 or 16.
    method : Padding
        Padding method.
    """
    if method is _METHOD_1:
        missing = -len(data) % block_length
        # An empty string is padded to one block of zeros (ISO 9797-1, 6.3.2).
        return data + bytes(missing) if missing else data or bytes(block_length)
    if method is _METHOD_2:
        data += b"\x80"
        return data + bytes(-len(data) % block_length)
    return (8 * len(data)).to_bytes(block_length) + data + bytes(-len(data) % block_length)


class CupEcb:
    """The MAC of Chinese terminals, DE64.

    XOR all blocks of the zero-padded data; write the result as upper-case hex; encrypt its first half,
    XOR the second half, encrypt again; the first 8 hex characters of that are the MAC. So the last two steps are the
    CBC encryption of the hex characters.
    """

    __slots__ = ("_block", "_dropped", "_format", "_last_number", "_mask")

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        self._last_number = CbcChain(algorithm, key).last_number
        self._block = algorithm.block_length
        self._mask = (1 << 8 * self._block) - 1
        self._format = b"%%0%dX" % (2 * self._block)
        self._dropped = 8 * self._block - 32

    def compute(self, data: bytes) -> bytes:
        """Return the MAC of `data`: 8 upper-case ASCII hex characters."""
        block = self._block
        count = -(-len(data) // block)
        # XOR by halves: the number of blocks is raised to a power of two with blocks of zeros. What is left of the
        # lower half plays no part any more, so that it need not be cleared before the end.
        half = 8 * block << (count - 1).bit_length() if count else 8 * block
        folded = _from_bytes(data) << half - 8 * len(data)
        while half > 8 * block:
            half >>= 1
            folded ^= folded >> half
        digits = self._format % (folded & self._mask)
        return b"%08X" % (self._last_number(digits, 2 * block) >> self._dropped)


class CbcMac:
    """ISO 9797-1 algorithm 1 with zero IV and no final step: X9.9 when the cipher is single DES."""

    __slots__ = ("_block", "_last_block", "_padding")

    def __init__(self, algorithm: Algorithm, key: bytes, padding: Padding = Padding.METHOD_1) -> None:
        self._last_block = CbcChain(algorithm, key).last_block
        self._block = algorithm.block_length
        self._padding = padding

    def compute(self, data: bytes) -> bytes:
        """Return the MAC of `data`, one cipher block."""
        return self._last_block(pad(data, self._block, self._padding))


class RetailMac:
    """ISO 9797-1 algorithm 3 (X9.19): single DES CBC with the left key half, the last block with both.

    Parameters
    ----------
    key : bytes
        16 bytes.
    """

    __slots__ = ("_both", "_left", "_padding")

    def __init__(self, key: bytes, padding: Padding = Padding.METHOD_1) -> None:
        self._left = CbcChain(Algorithm.DES, key[:8]).last_number
        self._both = ecb_encryptor(Algorithm.TDES_DOUBLE, key)
        self._padding = padding

    def compute(self, data: bytes) -> bytes:
        """Return the MAC of `data`, 8 bytes."""
        if self._padding is not _METHOD_1:
            data = pad(data, 8, self._padding)
        # The last block, padded with zeros: E(K1) then D(K2) then E(K1) of it is one triple DES block.
        end = (len(data) - 1) // 8 * 8 if data else 0
        last = _from_bytes(data[end:].ljust(8, b"\0"))
        if end:
            last ^= self._left(data, end)
        return self._both(last.to_bytes(8))


class Cmac:
    """CMAC of NIST SP 800-38B (ISO 9797-1 algorithm 5) for TDES, AES and SM4."""

    __slots__ = ("_block", "_last_block", "_padded_mask", "_whole_mask")

    def __init__(self, algorithm: Algorithm, key: bytes) -> None:
        chain = CbcChain(algorithm, key)
        self._last_block = chain.last_block
        self._block = block = algorithm.block_length
        polynomial = 0x1B if block == 8 else 0x87
        bits = 8 * block

        def double(value: int) -> int:
            value <<= 1
            return value ^ (1 << bits | polynomial) if value >> bits else value

        self._whole_mask = double(int.from_bytes(chain.last_block(bytes(block))))
        self._padded_mask = double(self._whole_mask)

    def compute(self, data: bytes) -> bytes:
        """Return the MAC of `data`, one cipher block."""
        block = self._block
        if data and len(data) % block == 0:
            mask = self._whole_mask
        else:
            data = pad(data, block, Padding.METHOD_2)
            mask = self._padded_mask
        last = int.from_bytes(data[-block:]) ^ mask
        return self._last_block(data[:-block] + last.to_bytes(block))


def mac_function(mac_algorithm: MacAlgorithm, cipher: Algorithm, key: bytes, padding: Padding) -> MacFunction | None:
    """Return the keyed function of a MAC algorithm, or None where the cipher does not fit it.

    X9.9 takes a single-length, X9.19 and algorithm 3 a double-length DES key. Only the two ISO algorithms
    let the padding be chosen.
    """
    chosen = mac_algorithm in (MacAlgorithm.ISO_9797_1_ALGORITHM_1, MacAlgorithm.ISO_9797_1_ALGORITHM_3)
    if padding is not Padding.METHOD_1 and not chosen:
        return None
    if mac_algorithm is MacAlgorithm.CUP_ECB:
        fits = cipher.is_des or cipher is Algorithm.SM4
        return CupEcb(cipher, key).compute if fits else None
    if mac_algorithm is MacAlgorithm.X9_9 and cipher is not Algorithm.DES:
        return None
    if mac_algorithm in (MacAlgorithm.X9_9, MacAlgorithm.ISO_9797_1_ALGORITHM_1):
        return CbcMac(cipher, key, padding).compute if cipher.block_length else None
    if mac_algorithm is MacAlgorithm.CMAC:
        return Cmac(cipher, key).compute if cipher.block_length and cipher is not Algorithm.DES else None
    return RetailMac(key, padding).compute if cipher is Algorithm.TDES_DOUBLE else None
