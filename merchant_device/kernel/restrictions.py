"""Processing restrictions: may this card approve this payment here and today? (EMV 4.4 Book 3, 10.4).

They are asked of a card that approves offline. One that goes online is judged by its issuer, who knows all of this and
more; a terminal that declined first would only hide the issuer's answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from merchant_device.kernel.configuration import KernelConfiguration
from merchant_device.kernel.transaction import CASH, GOODS, TransactionData

EXPIRED: Final = "the card has expired"

# Application usage control 9F07 (Book 3, Annex C2). A terminal's purchase is one of goods or of services: it does not
# know which, so either serves.
_DOMESTIC: Final = {GOODS: 0x28, CASH: 0x80}
_INTERNATIONAL: Final = {GOODS: 0x14, CASH: 0x40}
_OTHER_THAN_ATM: Final = 0x01
_DOMESTIC_CASHBACK: Final = 0x80
_INTERNATIONAL_CASHBACK: Final = 0x40


def restriction(
    configuration: KernelConfiguration, transaction: TransactionData, data: Mapping[str, bytes]
) -> str | None:
    """Give the first restriction that forbids an offline approval, or None.

    Parameters
    ----------
    configuration, transaction
        The terminal's side.
    data : mapping of tag to value
        The card's: 5F24 (needed), 5F25, 9F07 with 5F28, and 9F08.

    """
    expires, effective = _day(data.get("5F24")), data.get("5F25")
    today = _century(transaction.date)
    if expires is None:
        return "the card does not say when it expires"
    if today > expires:  # 10.4.3
        return EXPIRED
    if effective is not None:
        begins = _day(effective)
        if begins is None or today < begins:
            return "the card is not valid yet"
    if configuration.application_versions and not _is_version_taken(configuration, data.get("9F08")):  # 10.4.1
        return "the card's application is of another version"
    return _usage_restriction(transaction, data.get("9F07"), data.get("5F28"))


def _usage_restriction(transaction: TransactionData, control: bytes | None, country: bytes | None) -> str | None:
    """Book 3, 10.4.2."""
    if control is None:
        return None
    if len(control) != 2:
        return "9F07 is not 2 bytes"
    if not control[0] & _OTHER_THAN_ATM:
        return "the card is for cash machines only"
    if country is None:
        return None
    at_home = country.hex() == "0" + transaction.terminal_country
    allowed = (_DOMESTIC if at_home else _INTERNATIONAL).get(transaction.transaction_type, 0)
    if not control[0] & allowed:
        return "the card is not for this kind of payment in this country"
    if transaction.amount_other and not control[1] & (_DOMESTIC_CASHBACK if at_home else _INTERNATIONAL_CASHBACK):
        return "the card is not for cash with a purchase in this country"
    return None


def _is_version_taken(configuration: KernelConfiguration, version: bytes | None) -> bool:
    # Without 9F08 the versions are taken to be the same (Book 3, 10.4.1).
    return version is None or version.hex().upper() in {text.upper() for text in configuration.application_versions}


def _day(value: bytes | None) -> str | None:
    digits = "" if value is None else value.hex()
    return _century(digits) if len(digits) == 6 and digits.isdigit() else None


def _century(date: str) -> str:
    """Write YYMMDD with its century (EMV 4.4 Book 4, 6.7.3)."""
    return ("19" if date[:2] >= "50" else "20") + date
