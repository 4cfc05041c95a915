"""Requests of the member link as the issuer reads them: sale or balance enquiry, offline sale, reversal advice.

Reading is the format check. The dialect has seen to it that numeric elements are digits and that fixed lengths
hold; what is left is that the elements a transaction needs are there, that those of text hold text (bytes that are no
text come as bytes), and that they do not contradict one another. Nothing of a request is shown by its repr: it holds
the PAN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

from network.iso8583 import Message
from network.iso8583.additional_data import AdditionalDataError, decode_objects
from network.member import OriginalData, reference

SALE: Final = "000000"
BALANCE: Final = "300000"
"""DE3 on the member link."""

OFFLINE: Final = "0220"
"""Message type of an offline sale."""

_PAN_LENGTHS: Final = range(12, 20)
_PIN_BLOCK_FORMATS: Final = ("1", "2")

_TOKEN_LENGTHS: Final = range(13, 20)

PanIndex = Callable[[str], str]
"""From a PAN, or a token, to what its row is looked up by."""


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


class TokenUse(NamedTuple):
    """The token that a request was made with, as DE59 tells it.

    Attributes
    ----------
    number : str
        The token.
    token_index : str
        What its row is looked up by.
    order_number : str or None
        The order that is paid (A5, 01).
    """

    number: str
    token_index: str
    order_number: str | None

    def __repr__(self) -> str:
        return "TokenUse()"


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
    token : TokenUse or None
        The token that stood for the card.
    """

    __slots__ = ("amount", "fields", "mti", "pan", "pan_index", "processing_code", "reference", "token")

    def __init__(
        self,
        mti: str,
        fields: dict[int, str | bytes],
        reference: str,
        pan: str,
        pan_index: str,
        processing_code: str,
        amount: int,
        token: TokenUse | None = None,
    ) -> None:
        self.mti = mti
        self.fields = fields
        self.reference = reference
        self.pan = pan
        self.pan_index = pan_index
        self.processing_code = processing_code
        self.amount = amount
        self.token = token

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

    token: Final = None
    """What was paid by token is known by its row."""

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
    fields = cast("dict[int, str]", message.fields)
    try:
        pan, processing_code, transmission, stan, acquirer = fields[2], fields[3], fields[7], fields[11], fields[32]
        amount = 0 if processing_code == BALANCE else int(fields[4])
        if not (
            22 in fields
            and fields[37].__class__ is fields[41].__class__ is fields[42].__class__ is fields[49].__class__ is str
        ):
            return None
    except KeyError:
        return None
    if len(pan) not in _PAN_LENGTHS or not _track_is_of(pan, fields.get(35)) or not _pin_is_described(fields):
        return None
    token = None
    if 59 in fields:
        try:
            token = _token(message.fields[59], index)
        except AdditionalDataError:
            return None
    reference = _reference(calendar, transmission, stan, acquirer)
    return Request(message.mti, message.fields, reference, pan, index(pan), processing_code, amount, token)


def read_reversal(message: Message, calendar: Calendar, index: PanIndex) -> Reversal | None:
    """Read a reversal advice; None where it has not the format (30)."""
    fields = cast("dict[int, str]", message.fields)
    try:
        pan = fields[2]
        original = OriginalData.parse(fields[90])
        amount = 0 if fields[3] == BALANCE else int(fields[4])
    except (KeyError, ValueError):
        return None
    if len(pan) not in _PAN_LENGTHS or original.mti != "0200" or 32 not in fields:
        return None
    reference = _reference(calendar, original.transmission, original.stan, original.acquirer)
    return Reversal(message.fields, reference, original.mti, index(pan), amount)


def _token(additional: str | bytes, index: PanIndex) -> TokenUse | None:
    """The token in DE59 (T1), None where there is none.

    Raises
    ------
    AdditionalDataError
        The element is malformed, or what stands in T1 is no token.
    """
    if not isinstance(additional, str):
        raise AdditionalDataError("DE59 is not text")
    if "T1" not in additional:
        return None
    objects = decode_objects(additional)
    number = objects.get("T1")
    if number is None:
        return None
    if len(number) not in _TOKEN_LENGTHS or not (number.isascii() and number.isdigit()):
        raise AdditionalDataError("T1 is no token")
    order = decode_objects(objects["A5"]).get("01") if "A5" in objects else None
    return TokenUse(number, index(number), order)


def _reference(calendar: Calendar, transmission: str, stan: str, acquirer: str) -> str:
    return reference(calendar.year, calendar.month, transmission, stan, acquirer)


def _track_is_of(pan: str, track: str | None) -> bool:
    """Whether track 2, where there is one, carries the same PAN."""
    return track is None or track.partition("=")[0] == pan


def _pin_is_described(fields: Mapping[int, str]) -> bool:
    """Whether the PIN block, where there is one, has a format that DE53 can name."""
    return 52 not in fields or 53 not in fields or fields[53][0] in _PIN_BLOCK_FORMATS
