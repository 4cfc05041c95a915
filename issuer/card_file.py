"""How a card's application lies in its files: what SELECT answers, the records, and which of them the issuer signed.

A plain card has one record for each of track 2 and account. A card with certificates has them in records of their own,
since a certificate of a long key nearly fills one, and names the records a terminal must read in its application file
locator (EMV 4.4 Book 3, 5.3 and 10.2). Track 2 stands in the answer to GET PROCESSING OPTIONS, so its record is not
named.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable
from typing import Final

from issuer.card_application import OfflineAuthentication, Personalisation
from network.emv import dol, tlv

PPSE: Final = b"2PAY.SYS.DDF01"
PDOL: Final = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")
PDOL_ENTRIES: Final = tuple(dol.parse(PDOL))
PDOL_LENGTH: Final = sum(length for _, length in PDOL_ENTRIES)

MAX_RECORD: Final = 256
"""Longest record, template included: what the answer to a short command holds."""

TRACK2_RECORD: Final = (1, 1)
ACCOUNT_RECORD: Final = (2, 1)
ISSUER_CERTIFICATE_RECORD: Final = (2, 2)
CARD_CERTIFICATE_RECORD: Final = (3, 1)
"""Short file identifier and record number."""

FIRST_DYNAMIC_RECORD: Final = 2
DYNAMIC_FILE: Final = 3
"""Where what the card makes anew in each payment begins, after the card's certificate."""

SIGNATURE_IN_OPTIONS: Final = 128
"""Longest modulus, bytes, whose signatures fit the answer to GET PROCESSING OPTIONS beside all else."""

# Cardholder verification, terminal risk management and issuer authentication (EMV 4.4 Book 3, annex C1).
_PLAIN_PROFILE: Final = 0x1C
_DYNAMIC_AUTHENTICATION: Final = 0x20
_SIGNED_TAGS: Final = bytes.fromhex("82")


def interchange_profile(profile: Personalisation) -> bytes:
    """Give the application interchange profile, tag 82: what the card supports."""
    dynamic = _DYNAMIC_AUTHENTICATION if profile.offline_authentication is not None else 0
    return bytes((_PLAIN_PROFILE | dynamic, 0))


def directory_entry(profile: Personalisation) -> bytes:
    """Give the application's entry in the directory, template 61 (EMV Contactless Book B, 3.3.1)."""
    return tlv.encode("61", tlv.encode("4F", profile.aid) + _label(profile))


def directory(entries: Iterable[bytes]) -> bytes:
    """Give the answer to SELECT of the directory, for the entries of a card's applications."""
    return _file_control_information(PPSE, tlv.encode("BF0C", b"".join(entries)))


def application_information(profile: Personalisation) -> bytes:
    """Give the answer to SELECT of the application."""
    return _file_control_information(profile.aid, _label(profile) + tlv.encode("9F38", PDOL))


def track2_object(profile: Personalisation) -> bytes:
    """Give the track 2 equivalent data, tag 57."""
    digits = profile.track2.replace("=", "D")
    return tlv.encode("57", bytes.fromhex(digits + "F" * (len(digits) % 2)))


def sequence_object(profile: Personalisation) -> bytes:
    """Give the card sequence number, tag 5F34."""
    return tlv.encode("5F34", bytes.fromhex(profile.sequence[1:]))


def records(profile: Personalisation) -> dict[tuple[int, int], bytes]:
    """Give the records that never change, templates 70, by short file identifier and number."""
    file = {
        TRACK2_RECORD: tlv.encode("70", track2_object(profile)),
        ACCOUNT_RECORD: tlv.encode("70", _account(profile)),
    }
    authentication = profile.offline_authentication
    if authentication is not None:
        file[ISSUER_CERTIFICATE_RECORD] = tlv.encode("70", tlv.encode("90", authentication.issuer_certificate))
        file[CARD_CERTIFICATE_RECORD] = tlv.encode("70", tlv.encode("9F46", authentication.certificate))
    return file


def static_data(profile: Personalisation) -> bytes:
    """Give the static data to be authenticated, which the card's certificate covers (EMV 4.4 Book 3, 10.3).

    They are what stands in the template of the account record, and the interchange profile since 9F4A names it.
    """
    return _account(profile) + interchange_profile(profile)


def dynamic_records(authentication_data: bytes, signature: bytes | None) -> list[bytes]:
    """Lay what the card made in this payment into records, templates 70.

    Parameters
    ----------
    authentication_data : bytes
        Value of 9F69.
    signature : bytes or None
        Value of 9F4B; None where it went with the processing options.

    """
    objects = [tlv.encode("9F69", authentication_data)]
    if signature is not None:
        objects.append(tlv.encode("9F4B", signature))
    found: list[bytes] = []
    for item in objects:
        if found and len(tlv.encode("70", found[-1] + item)) <= MAX_RECORD:
            found[-1] += item
        else:
            found.append(item)
    return [tlv.encode("70", content) for content in found]


def file_locator(dynamic: int) -> bytes:
    """Give the application file locator, tag 94: certificates and `dynamic` records, the account record signed."""
    (account_file, account), (_, last) = ACCOUNT_RECORD, ISSUER_CERTIFICATE_RECORD
    _, certificate = CARD_CERTIFICATE_RECORD
    signed = bytes((account_file << 3, account, last, 1))
    return signed + bytes((DYNAMIC_FILE << 3, certificate, certificate + dynamic, 0))


def exponent_bytes(exponent: int) -> bytes:
    """Write a public exponent: 3 in one byte, 65537 in three."""
    return exponent.to_bytes((exponent.bit_length() + 7) // 8, "big")


def _label(profile: Personalisation) -> bytes:
    return tlv.encode("50", profile.label.encode("ascii")) + tlv.encode("87", bytes((profile.priority,)))


def _account(profile: Personalisation) -> bytes:
    pan = bytes.fromhex(profile.pan + "F" * (len(profile.pan) % 2))
    _, last_day = monthrange(2000 + int(profile.expiry[:2]), int(profile.expiry[2:]))
    objects = [tlv.encode("5A", pan), tlv.encode("5F24", bytes.fromhex(f"{profile.expiry}{last_day:02}"))]
    if profile.effective:
        objects.append(tlv.encode("5F25", bytes.fromhex(profile.effective)))
    objects.append(sequence_object(profile))
    objects.append(tlv.encode("5F28", bytes.fromhex("0" + profile.country)))
    if profile.usage_control:
        objects.append(tlv.encode("9F07", profile.usage_control))
    if profile.offline_authentication is not None:
        objects.extend(_key_objects(profile.offline_authentication))
    return b"".join(objects)


def _key_objects(authentication: OfflineAuthentication) -> list[bytes]:
    objects = [
        tlv.encode("9F4A", _SIGNED_TAGS),
        tlv.encode("8F", bytes((authentication.ca_index,))),
        tlv.encode("9F32", exponent_bytes(authentication.issuer_exponent)),
        tlv.encode("9F47", exponent_bytes(authentication.key.exponent)),
    ]
    if authentication.issuer_remainder:
        objects.append(tlv.encode("92", authentication.issuer_remainder))
    if authentication.remainder:
        objects.append(tlv.encode("9F48", authentication.remainder))
    return objects


def _file_control_information(name: bytes, proprietary: bytes) -> bytes:
    return tlv.encode("6F", tlv.encode("84", name) + tlv.encode("A5", proprietary))
