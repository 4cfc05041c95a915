"""RSA inside the security module: keys and signatures of offline data authentication (EMV 4.4 Book 2, annex B2.1).

A private key leaves the module only as a key block of ANSI X9.143 under the storage key: usage S0 (key pair for digital
signatures), algorithm R, mode S (signature only), its content an RSAPrivateKey of PKCS #1 (RFC 8017, appendix A.1.2).
All operations of this module are on blocks as long as the modulus; hashes and certificates are their makers' business.
"""

import random
from typing import NamedTuple

import gmpy2
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from network.keys.errors import KeyBlockError, KeyUsageError, SecurityModuleError
from network.keys.key_block import KeyBlockHeader
from network.keys.key_store import MAX_LABEL_LENGTH, KeyStore, oldest

RSA_BITS = range(1024, 1984 + 1, 16)
"""Sizes of modulus: at most 248 bytes, so that a certificate fits a card's record (EMV 4.4 Book 2, annex D1.1)."""

RSA_EXPONENTS = (3, 65537)
"""Public exponents that EMV allows (Book 2, 11.2.1)."""

MAX_RSA_KEYS = 4096
"""Private keys a module keeps open, about 1 KB each; the oldest are dropped first and opened again when needed."""

MAX_CHALLENGE = 256
"""Longest random number asked for at once, bytes."""

_USAGE, _ALGORITHM, _MODE = "S0", "R", "S"
_HEADER, _TRAILER = 0x6A, 0xBC


class RsaKey(NamedTuple):
    """An RSA key pair as callers see it: the public key in clear, the private one sealed.

    Attributes
    ----------
    modulus : bytes
        Big-endian, as many bytes as the key has.
    exponent : int
        Public exponent, 3 or 65537.
    block : str
        The private key under the module's storage key: what to store.
    label : str
        Free text.
    """

    modulus: bytes
    exponent: int
    block: str
    label: str = ""

    def __repr__(self) -> str:
        label = f"{self.label!r} " if self.label else ""
        return f"<RsaKey {label}{8 * len(self.modulus)} bits, exponent {self.exponent}>"


class _PrivateKey:
    """An open private key, in the form of the Chinese remainder theorem (RFC 8017, 3.2). Never leaves the module."""

    __slots__ = ("coefficient", "exponent", "exponent_p", "exponent_q", "modulus", "p", "q", "size")

    def __init__(self, numbers: rsa.RSAPrivateNumbers) -> None:
        self.modulus = gmpy2.mpz(numbers.public_numbers.n)
        self.exponent = numbers.public_numbers.e
        self.p = gmpy2.mpz(numbers.p)
        self.q = gmpy2.mpz(numbers.q)
        self.exponent_p = gmpy2.mpz(numbers.dmp1)
        self.exponent_q = gmpy2.mpz(numbers.dmq1)
        self.coefficient = gmpy2.mpz(numbers.iqmp)
        self.size = numbers.public_numbers.n.bit_length() // 8

    def __repr__(self) -> str:
        return f"<private RSA key, {8 * self.size} bits>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a private key does not leave the security module")

    def apply(self, block: bytes) -> bytes:
        """Raise a block to the private exponent.

        The result is checked with the public exponent before it is given: of a half that went wrong, a signature would
        betray the factors.
        """
        number = gmpy2.mpz(int.from_bytes(block, "big"))
        half_p = gmpy2.powmod_sec(number, self.exponent_p, self.p)
        half_q = gmpy2.powmod_sec(number, self.exponent_q, self.q)
        signature = (half_p - half_q) * self.coefficient % self.p * self.q + half_q
        if gmpy2.powmod(signature, self.exponent, self.modulus) != number:
            raise SecurityModuleError("an RSA signature does not verify: the private key is damaged")
        return int(signature).to_bytes(self.size, "big")


class RsaOperations(KeyStore):
    """RSA keys, signatures with message recovery, and the random numbers that go into them."""

    def __init__(self, storage_key: bytes, rng: random.Random, *, cache_size: int = 16384) -> None:
        super().__init__(storage_key, rng, cache_size=cache_size)
        self._rsa_keys: dict[str, tuple[RsaKey, _PrivateKey]] = {}

    def generate_rsa(self, bits: int, exponent: int = 3, label: str = "") -> RsaKey:
        """Make a new key pair; its primes come from the module's source of randomness.

        Parameters
        ----------
        bits : int
            Size of the modulus, one of `RSA_BITS`; its topmost bit is set.
        exponent : int
            Public exponent, one of `RSA_EXPONENTS`.
        label : str
            Free text, at most 64 printable ASCII characters, kept in the block (LB).

        Raises
        ------
        KeyUsageError
            Such a size or exponent is not made.
        """
        if bits not in RSA_BITS:
            raise KeyUsageError(f"an RSA key has {RSA_BITS[0]} to {RSA_BITS[-1]} bits, a multiple of {RSA_BITS.step}")
        if exponent not in RSA_EXPONENTS:
            raise KeyUsageError("the public exponent of an RSA key is 3 or 65537")
        if len(label) > MAX_LABEL_LENGTH:
            raise ValueError(f"a key label has at most {MAX_LABEL_LENGTH} characters")
        p = self._prime(bits // 2, exponent)
        # FIPS 186-5, A.1.3: primes that lie close to each other are found by Fermat's method.
        while abs(p - (q := self._prime(bits // 2, exponent))) >> (bits // 2 - 100) == 0:
            pass
        private = gmpy2.invert(exponent, gmpy2.lcm(p - 1, q - 1))
        numbers = rsa.RSAPrivateNumbers(
            p=int(p),
            q=int(q),
            d=int(private),
            dmp1=int(private % (p - 1)),
            dmq1=int(private % (q - 1)),
            iqmp=int(gmpy2.invert(q, p)),
            public_numbers=rsa.RSAPublicNumbers(exponent, int(p * q)),
        )
        key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
        content = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        optional = (("LB", label),) if label else ()
        header = KeyBlockHeader("D", _USAGE, _ALGORITHM, _MODE, exportability="N", optional=optional)
        return self._keep_rsa(self._storage.wrap(header, content, self._random), label, numbers)

    def load_rsa(self, block: str) -> RsaKey:
        """Open a private key's block of this module.

        Raises
        ------
        KeyBlockError
            Malformed, of another storage key, or changed.
        KeyUsageError
            The block holds another kind of key.
        """
        kept = self._rsa_keys.get(block)
        return kept[0] if kept is not None else self._open_rsa(block)[0]

    def sign_with_recovery(self, key: RsaKey, block: bytes) -> bytes:
        """Sign a block from which the signature gives back its content (EMV 4.4 Book 2, annexes A2.1 and B2.1.3).

        Parameters
        ----------
        key : RsaKey
            Of this module. What counts is its block.
        block : bytes
            As long as the modulus; begins 6A and ends BC.

        Returns
        -------
        bytes
            As long as the block.

        Raises
        ------
        KeyUsageError
            The block is not of that form.
        KeyBlockError
            The key is not this module's.
        SecurityModuleError
            The private key is damaged.
        """
        kept = self._rsa_keys.get(key.block)
        private = kept[1] if kept is not None else self._open_rsa(key.block)[1]
        if len(block) != private.size or block[0] != _HEADER or block[-1] != _TRAILER:
            raise KeyUsageError(f"what is signed with recovery has {private.size} bytes, begins 6A and ends BC")
        return private.apply(block)

    def generate_challenge(self, length: int) -> bytes:
        """Return an unpredictable number of `length` bytes, 1 to 256 (as GET CHALLENGE, EMV 4.4 Book 3, 6.5.6)."""
        if not 1 <= length <= MAX_CHALLENGE:
            raise ValueError(f"a challenge has 1 to {MAX_CHALLENGE} bytes")
        return self._random.randbytes(length)

    def _prime(self, bits: int, exponent: int) -> gmpy2.mpz:
        """Find a prime whose two topmost bits are set, so that the product of two has twice the bits.

        Incremental search from a random start. GMP's test (Baillie-PSW and 24 rounds of Miller-Rabin) lets no composite
        through that anybody knows of.
        """
        while True:
            start = gmpy2.mpz(self._random.getrandbits(bits)) | 3 << (bits - 2)
            prime = gmpy2.next_prime(start)
            if prime.bit_length() == bits and gmpy2.gcd(prime - 1, exponent) == 1:
                return prime

    def _open_rsa(self, block: str) -> tuple[RsaKey, _PrivateKey]:
        header, content = self._storage.unwrap(block)
        if (header.usage, header.algorithm, header.mode) != (_USAGE, _ALGORITHM, _MODE):
            raise KeyUsageError(
                f"a key of usage {header.usage}, algorithm {header.algorithm}, mode {header.mode} does not sign by RSA"
            )
        try:
            key = load_der_private_key(content, None, unsafe_skip_rsa_key_validation=True)
        except ValueError:
            raise KeyBlockError("a key block of algorithm R holds no RSA key") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise KeyBlockError("a key block of algorithm R holds no RSA key")
        self._keep_rsa(block, header.get("LB") or "", key.private_numbers())
        return self._rsa_keys[block]

    def _keep_rsa(self, block: str, label: str, numbers: rsa.RSAPrivateNumbers) -> RsaKey:
        if len(self._rsa_keys) >= MAX_RSA_KEYS:
            for dropped in oldest(self._rsa_keys, MAX_RSA_KEYS):
                del self._rsa_keys[dropped]
        private = _PrivateKey(numbers)
        modulus = numbers.public_numbers.n.to_bytes(private.size, "big")
        key = RsaKey(modulus, private.exponent, block, label)
        self._rsa_keys[block] = (key, private)
        return key
