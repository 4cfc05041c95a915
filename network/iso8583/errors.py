"""What goes wrong between bytes and messages, named precisely and without the value itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from network.iso8583.message import Message


class DecodeError(ValueError):
    """Bytes that are not a message of the dialect.

    Parameters
    ----------
    element : int or None
        The data element that could not be read; 0 the MTI, 1 the bitmap, None the header or the frame as a whole.
    offset : int
        Where in the bytes given the fault lies, counted in bytes from 0.
    reason : str
        What is wrong there. It never quotes the content of an element.
    partial : Message or None
        What was decoded before the fault; None when not even the MTI was.
    """

    def __init__(self, element: int | None, offset: int, reason: str, partial: Message | None = None) -> None:
        super().__init__(element, offset, reason)
        self.element = element
        self.offset = offset
        self.reason = reason
        self.partial = partial

    def __str__(self) -> str:
        return f"{_place(self.element)} at byte {self.offset}: {self.reason}"


class EncodeError(ValueError):
    """A message that the dialect cannot express.

    Parameters
    ----------
    element : int or None
        The data element at fault; 0 the MTI, None the header or the message as a whole.
    reason : str
        What is wrong with it. It never quotes the value.
    """

    def __init__(self, element: int | None, reason: str) -> None:
        super().__init__(element, reason)
        self.element = element
        self.reason = reason

    def __str__(self) -> str:
        return f"{_place(self.element)}: {self.reason}"


class Fault(Exception):
    """A reason and an offset on their way to becoming a `DecodeError`."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


def _place(element: int | None) -> str:
    if element is None:
        return "message"
    return {0: "MTI", 1: "bitmap"}.get(element, f"DE{element}")
