"""The commands the kernel sends, as command APDUs of ISO/IEC 7816-4 (EMV 4.4 Book 3, 6.5; Book 1, 11.3)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from merchant_device.kernel.card_data import CardFault
from network.emv import tlv

PPSE: Final = b"2PAY.SYS.DDF01"
"""Name of the directory of contactless applications."""

SUCCESS: Final = b"\x90\x00"
MAX_RESPONSE: Final = 258
"""Longest answer to a short command: 256 bytes of data and the status word."""


# A terminal selects a handful of names over and over.
@lru_cache(maxsize=64)
def select(name: bytes) -> bytes:
    """SELECT by name: a directory or an application of 5 to 16 bytes."""
    return b"\x00\xa4\x04\x00" + bytes((len(name),)) + name + b"\x00"


def get_processing_options(pdol_data: bytes) -> bytes:
    """GET PROCESSING OPTIONS with the data the card's list asks for, at most 252 bytes."""
    template = tlv.encode("83", pdol_data)
    return b"\x80\xa8\x00\x00" + bytes((len(template),)) + template + b"\x00"


def read_record(sfi: int, record: int) -> bytes:
    """READ RECORD: short file identifier 1 to 30, record number 1 to 255."""
    return bytes((0x00, 0xB2, record, sfi << 3 | 0x04, 0x00))


def get_data(tag: str) -> bytes:
    """GET DATA of an object with a tag of two bytes."""
    return b"\x80\xca" + bytes.fromhex(tag) + b"\x00"


def status(response: bytes) -> bytes:
    """Give the status word of an answer, its last two bytes.

    Raises
    ------
    CardFault
        When the answer is of no length that one to a short command can have.

    """
    if not 2 <= len(response) <= MAX_RESPONSE:
        raise CardFault(f"answer of {len(response)} bytes")
    return response[-2:]


def external_authenticate(issuer_authentication_data: bytes) -> bytes:
    """EXTERNAL AUTHENTICATE: brings the issuer's answer to the card, so that the card can check who gave it.

    Parameters
    ----------
    issuer_authentication_data : bytes
        Value of tag 91 of the issuer's element 55: the response cryptogram (8) and the authorisation response code
        (2); other networks' forms of 8 to 16 bytes are carried too.

    Returns
    -------
    bytes
        The command APDU.

    Raises
    ------
    ValueError
        When the data are not 8 to 16 bytes (EMV 4.4 Book 3, 6.5.4).

    """
    if not 8 <= len(issuer_authentication_data) <= 16:
        raise ValueError(f"issuer authentication data: 8 to 16 bytes expected, {len(issuer_authentication_data)} given")
    return b"\x00\x82\x00\x00" + bytes((len(issuer_authentication_data),)) + issuer_authentication_data


def check_external_authenticate(response: bytes) -> bool:
    """Tell from its answer to EXTERNAL AUTHENTICATE whether the card accepted the issuer.

    Only 9000 means yes; 6300 (wrong cryptogram) and every other answer mean no.
    """
    return response == SUCCESS
