"""Signatures with message recovery as EMV builds them (EMV 4.4 Book 2, annex A2.1): certificates, dynamic data.

A signed block is ``6A | content | SHA-1 of content and what is signed besides | BC``, as long as the key that signs it.
What is signed besides does not travel in the block; who checks it must know it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from network.keys import RsaKey, SecurityModule

FRAME_LENGTH: Final = 22
"""Header, hash and trailer: how much longer a block is than its content."""

DYNAMIC_FORMAT: Final = 0x05
SHA_1: Final = 0x01
"""Hash algorithm indicator (EMV 4.4 Book 2, annex B)."""

PADDING: Final = b"\xbb"


def sign_with_hash(module: SecurityModule, key: RsaKey, content: bytes, besides: bytes) -> bytes:
    """Sign content from which the signature gives it back.

    Parameters
    ----------
    module, key
        The signer's module and its key in it.
    content : bytes
        22 bytes shorter than the key's modulus.
    besides : bytes
        What the hash covers after the content.

    Returns
    -------
    bytes
        As long as the modulus.

    Raises
    ------
    KeyUsageError
        The content is of another length.
    """
    digest = hashlib.sha1(content + besides, usedforsecurity=False).digest()
    return module.sign_with_recovery(key, b"\x6a" + content + digest + b"\xbc")


def sign_dynamic_data(module: SecurityModule, key: RsaKey, number: bytes, terminal_dynamic_data: bytes) -> bytes:
    """Make signed dynamic application data, tag 9F4B, format 05 (EMV 4.4 Book 2, 6.5.1).

    Parameters
    ----------
    module, key
        The card's.
    number : bytes
        ICC dynamic number, 2 to 8 bytes, another one in each payment.
    terminal_dynamic_data : bytes
        For fDDA version 01 the values of 9F37, 9F02, 5F2A and 9F69, one after the other (DOMAIN.md 4.5).

    Returns
    -------
    bytes
        As long as the key's modulus.

    Raises
    ------
    ValueError
        The number is not 2 to 8 bytes.
    """
    if not 2 <= len(number) <= 8:
        raise ValueError("an ICC dynamic number has 2 to 8 bytes")
    dynamic_data = bytes((len(number),)) + number
    content = bytes((DYNAMIC_FORMAT, SHA_1, len(dynamic_data))) + dynamic_data
    content = content.ljust(len(key.modulus) - FRAME_LENGTH, PADDING)
    return sign_with_hash(module, key, content, terminal_dynamic_data)
