"""What the kernel makes of a card's answers: applications, processing options, records, accounts.

Every function takes bytes a card sent, which may be anything, and gives what they say or raises `CardFault`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from network.emv import dol, tlv

MAX_RECORDS: Final = 16
"""Most records read from one card."""

_TRACK2: Final = re.compile(r"([0-9]{8,19})D([0-9]{2}(?:0[1-9]|1[0-2]))([0-9]{3}[0-9]*)F?", re.ASCII)
_MAX_TRACK2: Final = 37
_ACCOUNT_TAGS: Final = frozenset(("57", "5A", "5F24", "5F34"))


class CardFault(Exception):
    """An answer that a sound card would not give; says what is wrong, never with card data.

    Parameters
    ----------
    reason : str
        What is wrong.
    status_word : str or None
        The card's status word when that was it, four hexadecimal characters.

    Attributes
    ----------
    reason, status_word
        As given.

    """

    def __init__(self, reason: str, status_word: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status_word = status_word


class OtherAccount(CardFault):
    """What the card says of its account does not agree: a faulty card, or another one than began the payment."""


@dataclass(slots=True, repr=False)
class Account:
    """Whose card it is.

    Attributes
    ----------
    pan, expiry, track2 : str
        Digits, YYMM, and the track 2 equivalent data with separator ``=``.
    sequence : str or None
        Three digits, or None when the card gave none.

    """

    pan: str
    expiry: str
    track2: str
    sequence: str | None


def template(data: bytes, tag: str) -> dict[str, bytes]:
    """Open an answer that must be one template `tag`, and give its members."""
    members = tlv.flat(data).get(tag)
    if members is None:
        raise CardFault(f"answer is not a template {tag}")
    return tlv.flat(members)


# What a card says when it is selected is its product's, nothing of the holder's: cards of one product say the same.
@lru_cache(maxsize=64)
def application(data: bytes, name: bytes) -> tuple[bytes, bytes]:
    """Read the answer to SELECT of an application: its dedicated file name and its list of what it wants to know.

    The list must ask for the terminal transaction qualifiers (DOMAIN.md 4.2).
    """
    fci = template(data, "6F")
    file_name = need(fci, "84")
    if not file_name.startswith(name) or len(file_name) > 16:
        raise CardFault("84 is not the application selected")
    pdol = need(tlv.flat(need(fci, "A5")), "9F38")
    if ("9F66", 4) not in dol.parse(pdol):
        raise CardFault("9F38 does not ask for 9F66")
    return file_name, pdol


def processing_options(data: bytes) -> dict[str, bytes]:
    """Read the answer to GET PROCESSING OPTIONS and check the size of what must be in it."""
    options = template(data, "77")
    for tag, size in (("82", 2), ("9F36", 2), ("9F26", 8)):
        if len(need(options, tag)) != size:
            raise CardFault(f"{tag} is not {size} bytes")
    need(options, "9F10")
    qualifiers = options.get("9F6C")
    if qualifiers is not None and len(qualifiers) != 2:
        raise CardFault("9F6C is not 2 bytes")
    return options


def records(locator: bytes) -> list[tuple[int, int, bool]]:
    """Read an application file locator (EMV 4.4 Book 3, 10.2).

    Returns
    -------
    list of (file, record, signed)
        In reading order; signed are the records that the card's certificate protects: the first so many of each
        entry as its fourth byte says.

    """
    if not locator or len(locator) % 4:
        raise CardFault("94 is not a multiple of 4 bytes")
    found: list[tuple[int, int, bool]] = []
    for offset in range(0, len(locator), 4):
        file, first, last, signed = locator[offset : offset + 4]
        if file & 0x07 or not 1 <= file >> 3 <= 30 or not 1 <= first <= last:
            raise CardFault("94 names a record that cannot be")
        if signed > last - first + 1:
            raise CardFault("94 has more signed records than records")
        if len(found) + last - first >= MAX_RECORDS:
            raise CardFault(f"94 names more than {MAX_RECORDS} records")
        found.extend((file >> 3, record, record - first < signed) for record in range(first, last + 1))
    return found


def merge(values: dict[str, bytes], more: Mapping[str, bytes]) -> None:
    """Add the objects of a record to those known; an object given twice must have one value."""
    for tag, value in more.items():
        if values.setdefault(tag, value) != value:
            raise (OtherAccount if tag in _ACCOUNT_TAGS else CardFault)(f"{tag} has two values")


def account(values: Mapping[str, bytes]) -> Account:
    """Read account number, expiry and sequence number, and check that they agree wherever the card gives them."""
    text = need(values, "57").hex().upper()
    matched = _TRACK2.fullmatch(text)
    if matched is None:
        raise CardFault("57 is not track 2 data")
    pan, expiry, rest = matched.groups()
    track2 = f"{pan}={expiry}{rest}"
    if len(track2) > _MAX_TRACK2:
        raise CardFault(f"57 is longer than {_MAX_TRACK2} characters")
    number = values.get("5A")
    # Compressed numeric: as many F as fill the bytes the card has for it (EMV 4.4 Book 3, 4.3).
    if number is not None and number.hex().upper().rstrip("F") != pan:
        raise OtherAccount("5A and 57 name two accounts")
    expires = values.get("5F24")
    if expires is not None and expires.hex()[:4] != expiry:
        raise OtherAccount("5F24 and 57 expire at two times")
    sequence = values.get("5F34")
    if sequence is None:
        return Account(pan, expiry, track2, None)
    digits = sequence.hex()
    if len(digits) != 2 or not digits.isdigit():
        raise CardFault("5F34 is not two digits")
    return Account(pan, expiry, track2, "0" + digits)


def offline_balance(values: Mapping[str, bytes]) -> int | None:
    """Give what the card says is left to be spent offline (9F5D), fen; None where it does not say."""
    digits = values.get("9F5D", b"").hex()
    return int(digits) if len(digits) == 12 and digits.isdecimal() else None


def need(values: Mapping[str, bytes], tag: str) -> bytes:
    """Give an object that must be there."""
    value = values.get(tag)
    if value is None:
        raise CardFault(f"{tag} is missing")
    return value
