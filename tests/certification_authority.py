"""A certification authority, an issuer and a card's key, by plain arithmetic: an oracle that shares no code with ours.

Keys come from fixed seeds, so that every run has the same ones. Certificates are put together byte by byte after
EMV 4.4 Book 2, Tables 13 to 17, and any byte of them can be set wrong on purpose.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import lru_cache

import gmpy2

RID = bytes.fromhex("A000000333")


@dataclass(frozen=True)
class RsaPair:
    modulus: int
    exponent: int
    private: int

    @property
    def size(self) -> int:
        return (self.modulus.bit_length() + 7) // 8

    @property
    def modulus_bytes(self) -> bytes:
        return self.modulus.to_bytes(self.size, "big")

    @property
    def exponent_bytes(self) -> bytes:
        return self.exponent.to_bytes((self.exponent.bit_length() + 7) // 8, "big")

    def sign(self, block: bytes) -> bytes:
        assert len(block) == self.size, (len(block), self.size)
        return int(gmpy2.powmod(int.from_bytes(block, "big"), self.private, self.modulus)).to_bytes(self.size, "big")


@lru_cache(maxsize=64)
def rsa_pair(bits: int, seed: int, exponent: int = 3) -> RsaPair:
    source = random.Random(seed)
    while True:
        primes = []
        while len(primes) < 2:
            # The two highest bits are set, so that the product has all its bits.
            candidate = gmpy2.next_prime(source.getrandbits(bits // 2) | 3 << bits // 2 - 2)
            if candidate % exponent != 1:
                primes.append(int(candidate))
        modulus = primes[0] * primes[1]
        if modulus.bit_length() == bits:
            phi = (primes[0] - 1) * (primes[1] - 1)
            return RsaPair(modulus, exponent, int(gmpy2.invert(exponent, phi)))


def certificate(
    signer: RsaPair,
    subject: bytes,
    key: RsaPair,
    kind: int,
    expiry: str = "1230",
    serial: bytes = b"\x00\x00\x01",
    static_data: bytes = b"",
    header: int = 0x6A,
    trailer: int = 0xBC,
    hash_algorithm: int = 0x01,
    key_algorithm: int = 0x01,
    key_length: int | None = None,
    exponent_length: int | None = None,
) -> tuple[bytes, bytes]:
    """Give a certificate and the remainder of the key; `kind` is 02 of an issuer, 04 of a card; expiry MMYY."""
    length = key.size if key_length is None else key_length
    head = bytes((kind,)) + subject + bytes.fromhex(expiry) + serial + bytes((hash_algorithm, key_algorithm, length))
    head += bytes((len(key.exponent_bytes) if exponent_length is None else exponent_length,))
    room = signer.size - len(head) - 22
    content = head + key.modulus_bytes[:room].ljust(room, b"\xbb")
    remainder = key.modulus_bytes[room:]
    digest = hashlib.sha1(content + remainder + key.exponent_bytes + static_data).digest()
    return signer.sign(bytes((header,)) + content + digest + bytes((trailer,))), remainder


def dynamic_signature(
    card: RsaPair,
    number: bytes,
    terminal_data: bytes,
    kind: int = 0x05,
    hash_algorithm: int = 0x01,
    data: bytes | None = None,
    data_length: int | None = None,
    header: int = 0x6A,
    trailer: int = 0xBC,
) -> bytes:
    inside = bytes((len(number),)) + number if data is None else data
    head = bytes((kind, hash_algorithm, len(inside) if data_length is None else data_length)) + inside
    content = head.ljust(card.size - 22, b"\xbb")
    digest = hashlib.sha1(content + terminal_data).digest()
    return card.sign(bytes((header,)) + content + digest + bytes((trailer,)))
