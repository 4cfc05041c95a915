"""How what an authority, an issuer or a card signed is opened and checked (EMV 4.4 Book 2, Annexes A and B).

Which scheme a signature is of says the algorithm indicator of the key that checks it. RSA signatures give their message
back. A scheme whose signatures do not (SM2, whose certificates stand in clear before their signature) is one more entry
of `SCHEMES`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final, Protocol

from gmpy2 import powmod

from network.emv.ca_keys import RSA

_HEADER: Final = 0x6A
_TRAILER: Final = 0xBC
_HASH_LENGTH: Final = 20


class OdaError(ValueError):
    """Offline data authentication failed; says by which rule, never with card data."""


class SignatureScheme(Protocol):
    """How a signature over certificate contents or dynamic data is opened and checked."""

    def recover(self, modulus: bytes, exponent: int, signed: bytes) -> tuple[bytes, bytes]:
        """Take a signed object apart into its content, format byte first, and the proof of it; raises `OdaError`."""
        ...

    def proves(self, proof: bytes, content: bytes, appended: bytes) -> bool:
        """Whether the proof is one of the content and of what is signed besides, which does not travel in it."""
        ...


class RsaWithSha1:
    """RSA with message recovery, ISO/IEC 9796-2 scheme 1 with SHA-1 (Book 2, A2.1 and B2.1)."""

    def recover(self, modulus: bytes, exponent: int, signed: bytes) -> tuple[bytes, bytes]:
        """Recover content and hash.

        Raises
        ------
        OdaError
            When the signature is not as long as the modulus, or what it gives does not begin 6A and end BC.

        """
        size = len(modulus)
        if len(signed) != size:
            raise OdaError(f"signature of {len(signed)} bytes under a key of {size}")
        opened = powmod(int.from_bytes(signed, "big"), exponent, int.from_bytes(modulus, "big"))
        block = int(opened).to_bytes(size, "big")
        if block[-1] != _TRAILER:
            raise OdaError("recovered data trailer is not BC")
        if block[0] != _HEADER:
            raise OdaError("recovered data header is not 6A")
        return block[1 : -_HASH_LENGTH - 1], block[-_HASH_LENGTH - 1 : -1]

    def proves(self, proof: bytes, content: bytes, appended: bytes) -> bool:
        """Whether the recovered hash is that of content and appended data."""
        return hmac.compare_digest(hashlib.sha1(content + appended, usedforsecurity=False).digest(), proof)


SCHEMES: Final[Mapping[int, SignatureScheme]] = {RSA: RsaWithSha1()}
"""Public key algorithm indicator to signature scheme."""
