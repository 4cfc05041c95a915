"""Requests of the member link as the issuer reads them: a sale or balance enquiry (0200), a reversal advice (0420).

Reading is the format check. The dialect has seen to it that numeric elements are digits and that fixed lengths
hold; what is left is that the elements a transaction needs are there, are text where text is meant, and do not
contradict one another. Nothing of a request is shown by its repr: it holds the PAN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from network.iso8583 import Message
from network.member import OriginalData, reference

SALE: Final = "000000"
BALANCE: Final = "300000"
"""DE3 on the member link."""

_SALE_ELEMENTS: Final = (2, 3, 7, 11, 22, 32, 37, 41, 42, 49)
_REVERSAL_ELEMENTS: Final = (2, 3, 7, 11, 32, 90)
_PAN_LENGTHS: Final = range(12, 20)
_PIN_BLOCK_FORMATS: Final = ("1", "2")

PanIndex = Callable[[str], str]
"""From a PAN to what its card is looked up by."""


class Calendar(NamedTuple):
    """A turn's date in China Standard Time, in the forms that the elements and rows have."""

    year: int
    month: int
    date: str
    """MMDD."""
    year_month: str
    """YYMM, to compare with an expiry."""
    day: int
    """YYYYMMDD."""


class Request:
    """A 0200, or another request that this issuer does not offer, with all that deciding it needs.

    Attributes
    ----------
    fields : dict
        The message's elements.
    reference : str
        Its identity, the key of its `Authorisation`.
    pan, pan_index : str
        The card's number, and what its row is looked up by.
    amount : int
        Fen; 0 of a balance enquiry.
    """

    __slots__ = ("amount", "fields", "mti", "pan", "pan_index", "processing_code", "reference")

    def __init__(
        self,
        mti: str,
        fields: dict[int, str | bytes],
        reference: str,
        pan: str,
        pan_index: str,
        processing_code: str,
        amount: int,
    ) -> None:
        self.mti = mti
        self.fields = fields
        self.reference = reference
        self.pan = pan
        self.pan_index = pan_index
        self.processing_code = processing_code
        self.amount = amount

    def text(self, element: int) -> str:
        """An element that `read_request` has found to be there and text."""
        return self.fields[element]  # type: ignore[return-value]

    @property
    def entry_mode(self) -> str:
        """How the card's number was taken: the first two digits of DE22."""
        return self.fields[22][:2]  # type: ignore[return-value]


class Reversal:
    """A 0420 advice.

    Attributes
    ----------
    reference : str
        The identity of the original, from DE90.
    original_mti : str
        Its message type.
    pan_index : str
        What the card's row is looked up by.
    amount : int
        Fen; 0 of a balance enquiry.
    """

    __slots__ = ("amount", "fields", "original_mti", "pan_index", "reference")

    def __init__(
        self, fields: dict[int, str | bytes], reference: str, original_mti: str, pan_index: str, amount: int
    ) -> None:
        self.fields = fields
        self.reference = reference
        self.original_mti = original_mti
        self.pan_index = pan_index
        self.amount = amount

    def text(self, element: int) -> str:
        """An element's text, empty where it is not there or not text."""
        value = self.fields.get(element)
        return value if isinstance(value, str) else ""


def read_request(message: Message, calendar: Calendar, index: PanIndex) -> Request | None:
    """Read a request; None where it has not the format (30)."""
    fields = message.fields
    for element in _SALE_ELEMENTS:
        if fields.get(element).__class__ is not str:
            return None
    pan = fields[2]
    processing_code = fields[3]
    amount = "0" if processing_code == BALANCE else fields.get(4)
    if amount is None:
        return None
    if len(pan) not in _PAN_LENGTHS or not _track_is_of(pan, fields.get(35)) or not _pin_is_described(fields):  # type: ignore[arg-type]
        return None
    return Request(
        message.mti,
        fields,
        _reference(calendar, fields[7], fields[11], fields[32]),  # type: ignore[arg-type]
        pan,  # type: ignore[arg-type]
        index(pan),  # type: ignore[arg-type]
        processing_code,  # type: ignore[arg-type]
        int(amount),
    )


def read_reversal(message: Message, calendar: Calendar, index: PanIndex) -> Reversal | None:
    """Read a reversal advice; None where it has not the format (30)."""
    fields = message.fields
    for element in _REVERSAL_ELEMENTS:
        if fields.get(element).__class__ is not str:
            return None
    try:
        original = OriginalData.parse(fields[90])  # type: ignore[arg-type]
        amount = 0 if fields[3] == BALANCE else int(fields[4])
    except (KeyError, ValueError):
        return None
    if len(fields[2]) not in _PAN_LENGTHS or original.mti != "0200":
        return None
    return Reversal(
        fields,
        _reference(calendar, original.transmission, original.stan, original.acquirer),
        original.mti,
        index(fields[2]),  # type: ignore[arg-type]
        amount,
    )


def _reference(calendar: Calendar, transmission: str, stan: str, acquirer: str) -> str:
    # DE90 fills ids up with zeros on the left, so that leading zeros of DE32 cannot count
    return reference(calendar.year, calendar.month, transmission, stan, acquirer.lstrip("0"))


def _track_is_of(pan: str, track: str | bytes | None) -> bool:
    """Whether track 2, where there is one, carries the same PAN."""
    return track is None or (isinstance(track, str) and track.partition("=")[0] == pan)


def _pin_is_described(fields: dict[int, str | bytes]) -> bool:
    """Whether a PIN block, where there is one, has a format that DE53 can name."""
    if 52 not in fields or 53 not in fields:
        return True
    return fields[53][:1] in _PIN_BLOCK_FORMATS
