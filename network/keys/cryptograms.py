"""Application cryptograms of chip cards, over keyed ciphers. Only the security module calls this.

A scheme is a row of a table: how the card key gives the session key, how the data is padded, which cipher.
In every scheme the card key is the master key's encryption of 16 bytes and the session key the card key's
encryption of 16 bytes; DES parity bits are not adjusted, DES ignores them.

References: PBOC 3.0 (JR/T 0025) part 7; EMV 4.4 Book 2, 8.1, 8.2, A1.3, A1.4.
"""

import hashlib
from enum import StrEnum
from typing import NamedTuple

from network.keys.ciphers import Algorithm, CbcChain, Transform, ecb_encryptor
from network.keys.decimalisation import scan_digits
from network.keys.mac import Padding, pad

_from_bytes = int.from_bytes


class Scheme(StrEnum):
    """How a card makes its cryptogram.

    ============ ======================= ============================= ================
    member       session key             MAC                           used for
    ============ ======================= ============================= ================
    PBOC_3DES    0^6 ATC, 0^6 ~ATC       algorithm 3, padding 80       UnionPay CVN 01, 17
    PBOC_SM4     the same, one SM4 block SM4 CBC MAC, left 8 bytes     UnionPay, algorithm 04
    EMV_CSK      EMV common session key  algorithm 3, padding 80       EMV, CVN 18
    EMV_CARD_KEY none: the card key      algorithm 3, padding zeros    Visa CVN 10
    ============ ======================= ============================= ================
    """

    PBOC_3DES = "PBOC 3DES"
    PBOC_SM4 = "PBOC SM4"
    EMV_CSK = "EMV common session key"
    EMV_CARD_KEY = "EMV card key"


# A member looked up on its class costs several times a global of the module.
_PBOC_SM4, _EMV_CSK, _EMV_CARD_KEY = Scheme.PBOC_SM4, Scheme.EMV_CSK, Scheme.EMV_CARD_KEY
_DES, _TDES_DOUBLE = Algorithm.DES, Algorithm.TDES_DOUBLE
_METHOD_1, _METHOD_2 = Padding.METHOD_1, Padding.METHOD_2


class CardKeyOption(StrEnum):
    """Card key derivation of EMV Book 2, A1.4: B differs from A for PANs of more than 16 digits only."""

    A = "A"
    B = "B"


class Session(NamedTuple):
    """A session key, keyed. `left` is absent for SM4."""

    encrypt: Transform
    left: CbcChain | None
    scheme: Scheme


def card_key_input(pan: str, sequence: str, option: CardKeyOption = CardKeyOption.A) -> bytes:
    """Return `Y || ~Y`, what the issuer master key enciphers to give the card key.

    Parameters
    ----------
    pan : str
        8 to 19 digits.
    sequence : str
        PAN sequence number, 2 digits, or 3 with a leading zero as DE23 has it; ``00`` when there is none.
    option : CardKeyOption
        A takes the 16 rightmost digits of PAN and sequence number; B hashes longer ones with SHA-1.

    Returns
    -------
    bytes
        16 bytes.

    Raises
    ------
    ValueError
        Malformed PAN or sequence number.
    """
    if len(sequence) == 3 and sequence[0] == "0":
        sequence = sequence[1:]
    if len(sequence) != 2 or not (sequence.isascii() and sequence.isdigit()):
        raise ValueError("PAN sequence number must be 2 digits")
    if not 8 <= len(pan) <= 19 or not (pan.isascii() and pan.isdigit()):
        raise ValueError("PAN must be 8 to 19 digits")
    digits = pan + sequence
    if option is CardKeyOption.B and len(pan) > 16:
        packed = bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
        digits = scan_digits(hashlib.sha1(packed, usedforsecurity=False).digest(), 16)
    y = int(digits[-16:], 16)
    return (y << 64 | y ^ 0xFFFFFFFFFFFFFFFF).to_bytes(16)


def session_key_input(scheme: Scheme, atc: bytes) -> bytes:
    """Return the 16 bytes that the card key enciphers to give the session key.

    Parameters
    ----------
    scheme : Scheme
        Any but `EMV_CARD_KEY`, which has no session key.
    atc : bytes
        2 bytes. EMV's common session key also takes its whole diversification value R, 8 bytes.

    Raises
    ------
    ValueError
        Wrong length.
    """
    if scheme is _EMV_CSK:
        r = atc + bytes(6) if len(atc) == 2 else atc
        if len(r) != 8:
            raise ValueError("the common session key takes an ATC of 2 bytes or an R of 8")
        return r[:2] + b"\xf0" + r[3:] + r[:2] + b"\x0f" + r[3:]
    if len(atc) != 2:
        raise ValueError("an ATC has 2 bytes")
    counter = _from_bytes(atc)
    return (counter << 64 | counter ^ 0xFFFF).to_bytes(16)


def session(scheme: Scheme, card_key: bytes | None, card_encrypt: Transform, atc: bytes) -> Session:
    """Derive and key a session.

    Parameters
    ----------
    scheme : Scheme
        The scheme.
    card_key : bytes or None
        The clear card key; needed by `EMV_CARD_KEY` only.
    card_encrypt : callable
        The card key's ECB encryption.
    atc : bytes
        Application transaction counter, 2 bytes.
    """
    if scheme is _PBOC_SM4:
        key = card_encrypt(session_key_input(scheme, atc))
        return Session(ecb_encryptor(Algorithm.SM4, key), None, scheme)
    if scheme is _EMV_CARD_KEY:
        if card_key is None:
            raise ValueError("this scheme needs the card key itself")
        key, encrypt = card_key, card_encrypt
    else:
        key = card_encrypt(session_key_input(scheme, atc))
        encrypt = ecb_encryptor(_TDES_DOUBLE, key)
    return Session(encrypt, CbcChain(_DES, key[:8]), scheme)


def application_cryptogram(keyed: Session, data: bytes) -> bytes:
    """Return the 8-byte cryptogram (ARQC, TC or AAC) over unpadded `data`."""
    encrypt, left, scheme = keyed
    if left is None:
        padded = pad(data, 16, _METHOD_2)
        # One message per session key, so plain ECB steps would need a call a block: a CBC of its own is
        # dearer than the few calls that 3 or 4 blocks take.
        value = 0
        for start in range(0, len(padded), 16):
            block = value ^ _from_bytes(padded[start : start + 16])
            value = _from_bytes(encrypt(block.to_bytes(16)))
        return value.to_bytes(16)[:8]
    padded = pad(data, 8, _METHOD_1 if scheme is _EMV_CARD_KEY else _METHOD_2)
    end = len(padded) - 8
    last = _from_bytes(padded[end:])
    if end:
        last ^= left.last_number(padded, end)
    return encrypt(last.to_bytes(8))


def response_cryptogram(keyed: Session, cryptogram: bytes, response_code: bytes) -> bytes:
    """Return the 8-byte ARPC, method 1: (ARQC xor (ARC || 0^6)) enciphered.

    SM4 enciphers that with 8 zero bytes after it and keeps the left 8 bytes.

    Parameters
    ----------
    keyed : Session
        The session of the transaction.
    cryptogram : bytes
        The ARQC, 8 bytes.
    response_code : bytes
        The ARC (tag 8A), 2 bytes, ASCII in practice.

    Raises
    ------
    ValueError
        Wrong length.
    """
    if len(cryptogram) != 8 or len(response_code) != 2:
        raise ValueError("an ARQC has 8 bytes and an ARC 2")
    data = (_from_bytes(cryptogram) ^ _from_bytes(response_code) << 48).to_bytes(8)
    if keyed.left is None:
        return keyed.encrypt(data + bytes(8))[:8]
    return keyed.encrypt(data)
