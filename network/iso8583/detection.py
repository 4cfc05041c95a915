"""Finds out how a message was framed and in which dialect it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from network.iso8583.dialect import Dialect
from network.iso8583.errors import DecodeError
from network.iso8583.interbank import INTERBANK
from network.iso8583.message import Message
from network.iso8583.terminal import TERMINAL

_TERMINAL_BEGINS = 0x60
_INTERBANK_BEGINS = 0x2E


def detect(data: bytes) -> tuple[Dialect, Message]:
    """The dialect of `data`, and the message in it.

    Tried in this order, what `data` begins with deciding whether a way is tried at all; the first that reads it to the
    last byte wins:

    1. two bytes of length that fit, then a terminal message with TPDU and head;
    2. four digits of length that fit, then an interbank message with its header;
    3. an interbank message with its header (begins with 2E);
    4. a terminal message with TPDU and head (begins with 60);
    5. an interbank message from the MTI on (begins with four digits in ASCII);
    6. a terminal message from the MTI on;
    7. a terminal message with a TPDU that does not begin with 60.

    Raises
    ------
    DecodeError
        Of the most likely attempt: one for which length or header speak, then one whose MTI exists, then the one
        that read most elements. A length that does not fit is tried as well, for the sake of this error.
    """
    data = bytes(data)
    best = DecodeError(None, 0, "too short for any message")
    reached: tuple[bool, bool, int] = (False, False, -2)
    for skipped, evident, dialect, unpack in _attempts(data):
        announced = _announced(data, skipped)
        try:
            message = unpack(data[skipped:])
        except DecodeError as error:
            found = DecodeError(error.element, error.offset + skipped, error.reason, error.partial)
        else:
            if announced == len(data) - skipped:
                return dialect, message
            reason = f"the length says {announced} bytes, {len(data) - skipped} are here"
            found = DecodeError(None, 0, reason, message)
        partial = found.partial
        plausible = partial is not None and partial.mti[1] != "0" and partial.mti[0] in "012"
        elements = -1 if partial is None else len(partial.fields)
        rank = (evident, plausible, elements)
        if rank > reached:
            best, reached = found, rank
    raise best


def _announced(data: bytes, skipped: int) -> int:
    """How many bytes the length before the message says there are; as many as there are, without a length."""
    if skipped == 0:
        return len(data)
    return int.from_bytes(data[:2], "big") if skipped == 2 else int(data[:4])


def _attempts(data: bytes) -> Iterator[tuple[int, bool, Dialect, Callable[[bytes], Message]]]:
    """Bytes of length to skip, whether the first byte after them speaks for this way, and the way."""
    if len(data) < 4:
        return
    digits = data[:4].isdigit()
    if int.from_bytes(data[:2], "big") == len(data) - 2:
        yield 2, True, TERMINAL, TERMINAL.unpack
    if digits and int(data[:4]) == len(data) - 4:
        yield 4, True, INTERBANK, INTERBANK.unpack
    if data[0] == _INTERBANK_BEGINS:
        yield 0, True, INTERBANK, INTERBANK.unpack
    if data[0] == _TERMINAL_BEGINS:
        yield 0, True, TERMINAL, TERMINAL.unpack
    if digits:
        yield 0, False, INTERBANK, INTERBANK.unpack_body
    yield 0, False, TERMINAL, TERMINAL.unpack_body
    if data[0] != _TERMINAL_BEGINS:
        yield 0, False, TERMINAL, TERMINAL.unpack
    # A length that does not fit: to say what is wrong with a message cut short.
    if data[2] == _TERMINAL_BEGINS:
        yield 2, True, TERMINAL, TERMINAL.unpack
    if digits and data[4:5] == bytes((_INTERBANK_BEGINS,)):
        yield 4, True, INTERBANK, INTERBANK.unpack
