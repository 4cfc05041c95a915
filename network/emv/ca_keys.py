"""Public keys of certification authorities: what they are, how they are downloaded, how they are kept in a file.

A key is known by its registered application provider (the first five bytes of an application's name) and its index.
It is believed only with its checksum, SHA-1 over provider, index, modulus and exponent (EMV 4.4 Book 2, 11.2.2), which
guards against damage on the way; that the right party sent it is the business of the channel it came over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from network.emv import tlv
from network.emv.tlv import TlvError

RSA: Final = 0x01
"""Public key algorithm indicator of RSA (EMV 4.4 Book 2, Annex B)."""

SHA_1: Final = 0x01
"""Hash algorithm indicator of SHA-1 (EMV 4.4 Book 2, Annex B)."""

EXPONENTS: Final = (3, 65537)
"""Public exponents that EMV allows (Book 2, 6.1)."""

MAX_MODULUS: Final = 248
"""Longest modulus, bytes (EMV 4.4 Book 2, 11.2)."""

MIN_MODULUS: Final = 64
"""Shortest modulus that is taken, bytes: no authority ever used less than 512 bits."""

MAX_KEYS: Final = 256
"""Most keys read from one file."""

_RID_LENGTH: Final = 5
_CHECKSUM_LENGTH: Final = 20


class CaKeyError(ValueError):
    """A key of a certification authority that cannot be used; names the key and what is wrong."""


@dataclass(frozen=True, slots=True)
class CaPublicKey:
    """A public key of a certification authority.

    Attributes
    ----------
    rid : bytes
        Registered application provider, five bytes.
    index : int
        0 to 255.
    modulus : bytes
        64 to 248 bytes, big-endian.
    exponent : int
        3 or 65537.
    expiry : str or None
        YYYYMMDD, the last day it is good for; None when nobody said.

    """

    rid: bytes
    index: int
    modulus: bytes
    exponent: int
    expiry: str | None = None

    def __post_init__(self) -> None:
        if len(self.rid) != _RID_LENGTH:
            raise CaKeyError(f"key of a certification authority: rid of {len(self.rid)} bytes, 5 expected")
        if not 0 <= self.index <= 0xFF:
            raise CaKeyError(f"key of {self.rid.hex().upper()}: index is not 0 to 255")
        if not MIN_MODULUS <= len(self.modulus) <= MAX_MODULUS:
            raise CaKeyError(f"{self.name}: modulus of {len(self.modulus)} bytes, {MIN_MODULUS} to {MAX_MODULUS} taken")
        if not (self.modulus[0] and self.modulus[-1] & 1):
            raise CaKeyError(f"{self.name}: modulus begins with a zero byte or is even")
        if self.exponent not in EXPONENTS:
            raise CaKeyError(f"{self.name}: exponent is neither 3 nor 65537")
        if self.expiry is not None and not _is_day(self.expiry):
            raise CaKeyError(f"{self.name}: expiry is not YYYYMMDD")

    @property
    def name(self) -> str:
        """How messages name the key: provider and index."""
        return f"key {self.index:02X} of {self.rid.hex().upper()}"

    def checksum(self) -> bytes:
        """SHA-1 over provider, index, modulus and exponent, 20 bytes (EMV 4.4 Book 2, 11.2.2)."""
        text = b"".join((self.rid, bytes((self.index,)), self.modulus, _exponent_bytes(self.exponent)))
        return hashlib.sha1(text, usedforsecurity=False).digest()

    def build(self) -> bytes:
        """Write the key as it is downloaded: 9F06, 9F22, DF05, DF06, DF07, DF02, DF04, DF03 (DOMAIN.md 2, 370).

        DF05, eight ASCII digits, is left out of a key without expiry.
        """
        expiry = {} if self.expiry is None else {"DF05": self.expiry.encode("ascii")}
        return tlv.encode_all(
            {
                "9F06": self.rid,
                "9F22": bytes((self.index,)),
                **expiry,
                "DF06": bytes((SHA_1,)),
                "DF07": bytes((RSA,)),
                "DF02": self.modulus,
                "DF04": _exponent_bytes(self.exponent),
                "DF03": self.checksum(),
            }
        )


def parse_ca_key(data: bytes) -> CaPublicKey:
    """Read a downloaded key.

    Parameters
    ----------
    data : bytes
        BER-TLV objects as `CaPublicKey.build` writes them, in any order, others besides. The expiry DF05 may be eight
        ASCII digits, or the same eight packed into four bytes.

    Raises
    ------
    CaKeyError
        When an object is missing or malformed, the algorithms are not RSA and SHA-1, or the checksum is wrong.

    """
    try:
        objects = tlv.flat(data)
    except TlvError as fault:
        raise CaKeyError(f"key of a certification authority: {fault}") from None
    values = {}
    for tag in ("9F06", "9F22", "DF02", "DF04", "DF03"):
        if tag not in objects:
            raise CaKeyError(f"key of a certification authority: {tag} is missing")
        values[tag] = objects[tag]
    if len(values["9F22"]) != 1:
        raise CaKeyError("key of a certification authority: 9F22 is not one byte")
    name = f"key {values['9F22'].hex().upper()} of {values['9F06'].hex().upper()}"
    for tag, known, what in (("DF06", SHA_1, "hash"), ("DF07", RSA, "public key")):
        given = objects.get(tag, bytes((known,)))
        if given != bytes((known,)):
            raise CaKeyError(f"{name}: {what} algorithm {given.hex().upper()} is not known")
    expiry = objects.get("DF05")
    key = CaPublicKey(
        values["9F06"],
        values["9F22"][0],
        values["DF02"],
        int.from_bytes(values["DF04"], "big"),
        None if expiry is None else _expiry(expiry, name),
    )
    return _checked(key, values["DF03"])


def read_ca_keys(text: str) -> dict[tuple[bytes, int], CaPublicKey]:
    """Read a list of keys.

    Parameters
    ----------
    text : str
        JSON or TOML: ``keys``, a list of ``index``, ``modulus``, ``exponent`` and ``sha1`` in hexadecimal, with ``rid``
        where it is not given once for all beside ``keys``, and ``expiry`` (YYYYMMDD) where there is one. JSON may be
        the list alone.

    Returns
    -------
    dict
        Provider and index to key.

    Raises
    ------
    CaKeyError
        When the text is neither, a key lacks something or is there twice, or its checksum is wrong; names the key.

    """
    try:
        document: object = json.loads(text) if text.lstrip()[:1] in ("{", "[") else tomllib.loads(text)
    except (ValueError, RecursionError) as fault:
        raise CaKeyError(f"keys of certification authorities: neither JSON nor TOML: {fault}") from None
    rid: object = None
    entries = document
    if isinstance(document, dict):
        rid, entries = document.get("rid"), document.get("keys")
    if not isinstance(entries, list):
        raise CaKeyError("keys of certification authorities: no list of keys")
    if len(entries) > MAX_KEYS:
        raise CaKeyError(f"keys of certification authorities: more than {MAX_KEYS}")
    keys: dict[tuple[bytes, int], CaPublicKey] = {}
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise CaKeyError(f"entry {number} of the keys: not a table")
        key = _entry({"rid": rid, **entry}, number)
        if (key.rid, key.index) in keys:
            raise CaKeyError(f"{key.name}: there twice")
        keys[key.rid, key.index] = key
    return keys


def load_ca_keys(path: Path) -> dict[tuple[bytes, int], CaPublicKey]:
    """Read a file of keys; see `read_ca_keys`.

    Raises
    ------
    CaKeyError
        As `read_ca_keys`, with the file's name.
    OSError
        When the file cannot be read.

    """
    try:
        return read_ca_keys(path.read_text("utf-8"))
    except (CaKeyError, UnicodeDecodeError) as fault:
        raise CaKeyError(f"{path}: {fault}") from None


def _entry(entry: Mapping[str, object], number: int) -> CaPublicKey:
    values: dict[str, bytes] = {}
    for name in ("rid", "index", "modulus", "exponent", "sha1"):
        text = entry.get(name)
        try:
            values[name] = bytes.fromhex(text) if isinstance(text, str) else b""
        except ValueError:
            values[name] = b""
        if not values[name]:
            raise CaKeyError(f"entry {number} of the keys: {name} is missing or not hexadecimal")
    if len(values["index"]) != 1:
        raise CaKeyError(f"entry {number} of the keys: index is not one byte")
    expiry = entry.get("expiry")
    if not (expiry is None or isinstance(expiry, str)):
        raise CaKeyError(f"entry {number} of the keys: expiry is not YYYYMMDD")
    exponent = int.from_bytes(values["exponent"], "big")
    return _checked(CaPublicKey(values["rid"], values["index"][0], values["modulus"], exponent, expiry), values["sha1"])


def _checked(key: CaPublicKey, checksum: bytes) -> CaPublicKey:
    if len(checksum) != _CHECKSUM_LENGTH or not hmac.compare_digest(key.checksum(), checksum):
        raise CaKeyError(f"{key.name}: wrong checksum")
    return key


def _expiry(value: bytes, name: str) -> str:
    day = value.hex() if len(value) == 4 else value.decode("ascii", "replace")
    if not _is_day(day):
        raise CaKeyError(f"{name}: expiry DF05 is not YYYYMMDD")
    return day


def _is_day(text: str) -> bool:
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        return False
    return "01" <= text[4:6] <= "12" and "01" <= text[6:] <= "31"


def _exponent_bytes(exponent: int) -> bytes:
    return exponent.to_bytes((exponent.bit_length() + 7) // 8, "big")
