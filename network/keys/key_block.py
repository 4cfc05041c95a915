"""Key blocks of ANSI X9.143 (formerly TR-31): a key bound to what it may be used for.

A block is printable: header (16 characters), optional blocks, encrypted key field and MAC, both in hex.

======= ============================ ================== =========================== =========
version key derivation               cipher             MAC                         MAC bytes
======= ============================ ================== =========================== =========
A, C    variant: XOR with EE.. MM.. TDES CBC           TDES CBC MAC on ciphertext  4
B       binding, TDES CMAC           TDES CBC           TDES CMAC on plaintext      8
D       binding, AES CMAC            AES CBC            AES CMAC on plaintext       16
======= ============================ ================== =========================== =========

A and C can only be opened: they are deprecated (X9.143, clause 4). Version E of ISO 20038 (AES in counter
mode) is refused.
"""

import hmac
import random
from dataclasses import dataclass

from network.keys.ciphers import Algorithm, CbcChain, ecb_decryptor, xor
from network.keys.errors import KeyBlockError
from network.keys.mac import Cmac

MAX_BLOCK_LENGTH = 9999
"""A block's own length field has four decimal digits."""

_HEADER_LENGTH = 16
_MAC_LENGTH = {"A": 4, "B": 8, "C": 4, "D": 16}
_HEX = frozenset("0123456789ABCDEFabcdef")
_ALPHANUMERIC = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class KeyBlockHeader:
    """What a key block says about its key.

    Parameters
    ----------
    version : str
        Version of the block, A to D.
    usage : str
        Key usage, 2 characters.
    algorithm : str
        Algorithm, 1 character.
    mode : str
        Mode of use, 1 character.
    key_version : str
        Key version number, 2 characters; ``00`` is not used, ``cN`` marks a component.
    exportability : str
        E, N or S.
    optional : tuple of (str, str)
        Optional blocks in order: identifier of 2 characters and data. The padding block PB is left out; it
        is made anew when needed.
    """

    version: str
    usage: str
    algorithm: str
    mode: str
    key_version: str = "00"
    exportability: str = "E"
    optional: tuple[tuple[str, str], ...] = ()

    def get(self, identifier: str) -> str | None:
        """Return the data of the first optional block of that identifier, or None."""
        return next((data for name, data in self.optional if name == identifier), None)


class KeyBlockProtection:
    """A key block protection key, its derived keys made once.

    Parameters
    ----------
    version : str
        A, B, C or D: a protection key is used with one version only.
    key : bytes
        The protection key: TDES, 16 or 24 bytes, for A, B and C; AES, 16, 24 or 32 bytes, for D.

    Raises
    ------
    KeyBlockError
        Unknown version, or a key that does not fit it.
    """

    def __init__(self, version: str, key: bytes) -> None:
        if version not in _MAC_LENGTH:
            raise KeyBlockError(f"key block version {version!r} is not supported (A, B, C and D are)")
        try:
            algorithm = Algorithm.of("A" if version == "D" else "T", len(key))
        except KeyError:
            raise KeyBlockError(
                f"a protection key of {len(key)} bytes does not fit key block version {version}"
            ) from None
        self._version = version
        self._block = algorithm.block_length
        if version in "AC":
            encryption = xor(key, b"E" * len(key))
            authentication = xor(key, b"M" * len(key))
        else:
            encryption = _derive(algorithm, key, b"\x00\x00")
            authentication = _derive(algorithm, key, b"\x00\x01")
        self._encrypt = CbcChain(algorithm, encryption)
        self._decrypt = ecb_decryptor(algorithm, encryption)
        if version in "AC":
            chain = CbcChain(algorithm, authentication)
            self._mac = chain.last_block
        else:
            self._mac = Cmac(algorithm, authentication).compute

    def wrap(self, header: KeyBlockHeader, key: bytes, rng: random.Random, masked_length: int = 0) -> str:
        """Wrap a key.

        Parameters
        ----------
        header : KeyBlockHeader
            Its version must be this one's.
        key : bytes
            The key.
        rng : random.Random
            Source of the padding.
        masked_length : int
            Length in bytes up to which random padding hides the key's own length.

        Returns
        -------
        str
            The key block.

        Raises
        ------
        KeyBlockError
            A version that is only opened, a malformed header, or a block that would be too long.
        """
        if self._version in "AC":
            raise KeyBlockError(f"key blocks of version {self._version} are deprecated: opened, never made")
        if header.version != self._version:
            raise KeyBlockError(f"header of version {header.version!r} under a {self._version} key")
        padded = 2 + max(len(key), masked_length)
        padded += -padded % self._block
        mac_length = _MAC_LENGTH[self._version]
        text = _compose(header, 2 * (padded + mac_length), self._block)
        plain = (8 * len(key)).to_bytes(2) + key
        plain += rng.randbytes(padded - len(plain))
        mac = self._mac(text.encode("ascii") + plain)
        # Both bindings take the MAC as IV, which XORs into the first block like any chaining value.
        first = xor(plain[: self._block], mac)
        cipher = self._encrypt.encrypt(first + plain[self._block :])
        return text + cipher.hex().upper() + mac.hex().upper()

    def unwrap(self, block: str) -> tuple[KeyBlockHeader, bytes]:
        """Open a key block.

        Returns
        -------
        (KeyBlockHeader, bytes)
            The header and the clear key.

        Raises
        ------
        KeyBlockError
            Malformed block, another version, wrong MAC.
        """
        header, end = _parse(block)
        if header.version != self._version:
            raise KeyBlockError(f"key block of version {header.version} under a {self._version} key")
        mac_length = _MAC_LENGTH[self._version]
        field = block[end:]
        if not _HEX.issuperset(field) or len(field) % 2:
            raise KeyBlockError("key block: encrypted key field is not hexadecimal")
        body = bytes.fromhex(field)
        cipher, received = body[:-mac_length], body[-mac_length:]
        if not cipher or len(cipher) % self._block:
            raise KeyBlockError("key block: encrypted key field is not a whole number of blocks")
        text = block[:end].encode("ascii")
        if self._version in "AC":
            # The header is a whole number of blocks in these versions (checked by _parse).
            if not hmac.compare_digest(self._mac(text + cipher)[:mac_length], received):
                raise KeyBlockError("key block: wrong MAC")
            plain = xor(self._decrypt(cipher), text[: self._block] + cipher[: -self._block])
        else:
            plain = xor(self._decrypt(cipher), received + cipher[: -self._block])
            if not hmac.compare_digest(self._mac(text + plain), received):
                raise KeyBlockError("key block: wrong MAC")
        bits = int.from_bytes(plain[:2])
        if bits % 8 or not 0 < bits <= 8 * (len(plain) - 2):
            raise KeyBlockError("key block: impossible key length")
        return header, plain[2 : 2 + bits // 8]


def parse_header(block: str) -> KeyBlockHeader:
    """Read the header of a key block without opening it (and so without trusting it).

    Raises
    ------
    KeyBlockError
        The block is malformed.
    """
    return _parse(block)[0]


def wrap(protection_key: bytes, header: KeyBlockHeader, key: bytes, rng: random.Random, masked_length: int = 0) -> str:
    """Wrap a key under a clear protection key; see `KeyBlockProtection.wrap`."""
    return KeyBlockProtection(header.version, protection_key).wrap(header, key, rng, masked_length)


def unwrap(protection_key: bytes, block: str) -> tuple[KeyBlockHeader, bytes]:
    """Open a key block under a clear protection key; see `KeyBlockProtection.unwrap`."""
    return KeyBlockProtection(parse_header(block).version, protection_key).unwrap(block)


def _derive(algorithm: Algorithm, key: bytes, usage: bytes) -> bytes:
    """Derive the encryption (usage 0000) or authentication (0001) key: X9.143, key derivation binding."""
    code = {
        Algorithm.TDES_DOUBLE: 0,
        Algorithm.TDES_TRIPLE: 1,
        Algorithm.AES_128: 2,
        Algorithm.AES_192: 3,
        Algorithm.AES_256: 4,
    }[algorithm]
    length = algorithm.key_length
    rest = usage + b"\x00" + code.to_bytes(2) + (8 * length).to_bytes(2)
    cmac = Cmac(algorithm, key)
    count = -(-length // algorithm.block_length)
    return b"".join(cmac.compute(bytes([i]) + rest) for i in range(1, count + 1))[:length]


def _compose(header: KeyBlockHeader, rest: int, block_length: int) -> str:
    """Return the header text of a block in which `rest` characters follow it."""
    fixed = (
        (header.version, 1, "version"),
        (header.usage, 2, "usage"),
        (header.algorithm, 1, "algorithm"),
        (header.mode, 1, "mode of use"),
        (header.key_version, 2, "key version"),
        (header.exportability, 1, "exportability"),
    )
    for value, length, name in fixed:
        if len(value) != length or not _is_printable(value):
            raise KeyBlockError(f"key block header: {name} must be {length} printable ASCII characters")
    optional = [_optional_block(name, data) for name, data in header.optional]
    missing = -sum(map(len, optional)) % block_length
    if missing:
        # The padding block has four characters of its own.
        length = missing if missing >= 4 else missing + block_length
        optional.append(f"PB{length:02X}" + "0" * (length - 4))
    if len(optional) > 99:
        raise KeyBlockError("key block header: more than 99 optional blocks")
    text = "".join(optional)
    total = _HEADER_LENGTH + len(text) + rest
    if total > MAX_BLOCK_LENGTH:
        raise KeyBlockError(f"key block would have {total} characters; {MAX_BLOCK_LENGTH} is the limit")
    return (
        f"{header.version}{total:04d}{header.usage}{header.algorithm}{header.mode}{header.key_version}"
        f"{header.exportability}{len(optional):02d}00{text}"
    )


def _optional_block(identifier: str, data: str) -> str:
    if len(identifier) != 2 or not _ALPHANUMERIC.issuperset(identifier) or identifier == "PB":
        raise KeyBlockError("key block header: optional block identifier must be 2 characters 0-9 A-Z")
    if not _is_printable(data):
        raise KeyBlockError(f"optional block {identifier}: data must be printable ASCII")
    if len(data) + 4 < 256:
        return f"{identifier}{len(data) + 4:02X}{data}"
    # Extended length: 00, the number of digits of the length, the length.
    if len(data) + 10 > MAX_BLOCK_LENGTH:
        raise KeyBlockError(f"optional block {identifier} is too long")
    return f"{identifier}0004{len(data) + 10:04X}{data}"


def _parse(block: str) -> tuple[KeyBlockHeader, int]:
    """Return the header and the number of characters it and its optional blocks take."""
    if len(block) < _HEADER_LENGTH or not _is_printable(block):
        raise KeyBlockError("key block: too short or not printable ASCII")
    version = block[0]
    if version not in _MAC_LENGTH:
        raise KeyBlockError(f"key block version {version!r} is not supported (A, B, C and D are)")
    if not _is_decimal(block[1:5]) or int(block[1:5]) != len(block):
        raise KeyBlockError("key block: length field does not match the length")
    if not _is_decimal(block[12:14]):
        raise KeyBlockError("key block: number of optional blocks is not decimal")
    position = _HEADER_LENGTH
    optional: list[tuple[str, str]] = []
    for _ in range(int(block[12:14])):
        name, data, position = _read_optional(block, position)
        if name != "PB":
            optional.append((name, data))
    if (position - _HEADER_LENGTH) % (16 if version == "D" else 8):
        raise KeyBlockError("key block: optional blocks are not padded to the cipher's block length")
    header = KeyBlockHeader(version, block[5:7], block[7], block[8], block[9:11], block[11], tuple(optional))
    return header, position


def _read_optional(block: str, position: int) -> tuple[str, str, int]:
    name = block[position : position + 2]
    length, start = _hexadecimal(block, position + 2, 2), position + 4
    if length == 0:
        digits = _hexadecimal(block, start, 2)
        length, start = _hexadecimal(block, start + 2, digits), start + 2 + digits
    end = position + length
    if end < start or end > len(block):
        raise KeyBlockError("key block: optional block with an impossible length")
    return name, block[start:end], end


def _hexadecimal(block: str, position: int, count: int) -> int:
    text = block[position : position + count]
    if len(text) != count or not text or not _HEX.issuperset(text):
        raise KeyBlockError("key block: optional block length is not hexadecimal")
    return int(text, 16)


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdigit()
