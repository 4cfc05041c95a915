"""What an applicant says of himself, and whether it can be true.

None of it may stand in a log, an error or a row in clear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from network.party import Json

_WEIGHTS: Final = tuple(pow(2, 17 - position, 11) for position in range(17))
_CHECK_CHARACTERS: Final = "10X98765432"
_PHONE: Final = re.compile(r"1[3-9]\d{9}", re.ASCII)
_CARD: Final = re.compile(r"\d{13,19}", re.ASCII)
_ID: Final = re.compile(r"\d{17}[\dX]", re.ASCII)


class ApplicantError(ValueError):
    """What cannot be true; the message names the element, never its value."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """A natural person who applies to be a merchant.

    Attributes
    ----------
    name : str
    id_number : str
        Citizen identification number, 18 characters (GB 11643-1999).
    phone_number : str
        Mobile number in China, 11 digits.
    settlement_card : str
        Where the takings shall go, 13 to 19 digits.
    """

    name: str = field(repr=False)
    id_number: str = field(repr=False)
    phone_number: str = field(repr=False)
    settlement_card: str = field(repr=False)

    @classmethod
    def parse(cls, content: Mapping[str, Json], today: date) -> Applicant:
        """Read the members `name`, `id_number`, `phone_number`, `settlement_card`.

        Raises
        ------
        ApplicantError
            One of them is missing or cannot be true.
        """
        values: dict[str, str] = {}
        for name in ("name", "id_number", "phone_number", "settlement_card"):
            value = content.get(name)
            if not isinstance(value, str):
                raise ApplicantError(f"{name} is missing, or no text")
            values[name] = value.strip()
        if not 1 <= len(values["name"]) <= 60 or not values["name"].isprintable():
            raise ApplicantError("name has 1 to 60 printable characters")
        values["id_number"] = values["id_number"].upper()
        check_id_number(values["id_number"], today)
        if _PHONE.fullmatch(values["phone_number"]) is None:
            raise ApplicantError("phone_number is no mobile number of 11 digits")
        if _CARD.fullmatch(values["settlement_card"]) is None or not _luhn(values["settlement_card"]):
            raise ApplicantError("settlement_card is no card number: 13 to 19 digits with a right check digit")
        return cls(**values)

    def text(self) -> bytes:
        """The applicant as bytes, to be sealed."""
        return json.dumps([self.name, self.id_number, self.phone_number, self.settlement_card]).encode()

    @classmethod
    def from_text(cls, text: bytes) -> Applicant:
        """What `text` made."""
        return cls(*json.loads(text))

    def view(self) -> dict[str, Json]:
        """What the reviewer sees: enough to compare with papers, not enough to use."""
        return {
            "name": self.name,
            "id_number": f"{self.id_number[:6]}********{self.id_number[-4:]}",
            "phone_number": f"{self.phone_number[:3]}****{self.phone_number[-4:]}",
            "settlement_card": f"{self.settlement_card[:6]}******{self.settlement_card[-4:]}",
        }


def check_id_number(number: str, today: date) -> None:
    """Check a citizen identification number: area (6), birth date (8), order (3), check character (GB 11643-1999).

    The check character is that of ISO 7064, MOD 11-2.

    Raises
    ------
    ApplicantError
        It cannot be one; or its holder is not born yet, or not of age (18).
    """
    if _ID.fullmatch(number) is None or number[0] == "0":
        raise ApplicantError("id_number has 17 digits and a digit or X")
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    if _CHECK_CHARACTERS[total % 11] != number[17]:
        raise ApplicantError("id_number has a wrong check character")
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        raise ApplicantError("id_number holds no date of birth") from None
    if (today.year - born.year, today.month, today.day) < (18, born.month, born.day):
        raise ApplicantError("id_number is of somebody who is not of age")


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0
