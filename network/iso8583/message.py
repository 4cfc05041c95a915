"""A message: its type, its data elements, and what must be remembered to send it again as it came."""

from __future__ import annotations

from network.iso8583.header import Header
from network.iso8583.masking import mask_element

Value = str | bytes


class Message:
    """An ISO 8583 message.

    Parameters
    ----------
    mti : str
        Message type identifier, 4 digits.
    fields : dict of int to str or bytes
        Data elements by number, 2 to 128. Numeric elements are digit strings, tracks digit strings with the
        separator ``=``, text is str (bytes where it is not printable text), binary elements are bytes.
    header : TerminalHeader, InterbankHeader, OpaqueHeader or None
        What stood before the MTI. None when packing means the dialect's default header.
    padding : dict of int to int, optional
        Half-bytes that fill up odd digit counts, by element, where they are not the dialect's usual 0. Element 1
        stands for a secondary bitmap that was sent although it is empty.

    Notes
    -----
    Two messages are equal when MTI and elements are: the header is the envelope, padding is noise of the wire.
    A message is mutable (``message[39] = "00"``) and so has no hash.
    """

    __slots__ = ("fields", "header", "mti", "padding")

    def __init__(
        self,
        mti: str,
        fields: dict[int, Value] | None = None,
        header: Header | None = None,
        padding: dict[int, int] | None = None,
    ) -> None:
        self.mti = mti
        self.fields: dict[int, Value] = {} if fields is None else fields
        self.header = header
        self.padding = padding

    def __getitem__(self, element: int) -> Value:
        return self.fields[element]

    def __setitem__(self, element: int, value: Value) -> None:
        self.fields[element] = value

    def __delitem__(self, element: int) -> None:
        del self.fields[element]

    def __contains__(self, element: object) -> bool:
        return element in self.fields

    def get(self, element: int, default: Value | None = None) -> Value | None:
        """The element's value, or `default` where the message does not carry it."""
        return self.fields.get(element, default)

    def text(self, element: int) -> str:
        """The element's value, which must be present and a str.

        Raises
        ------
        KeyError
            The message does not carry the element.
        TypeError
            The element holds bytes.
        """
        value = self.fields[element]
        if not isinstance(value, str):
            raise TypeError(f"DE{element} holds bytes, not text")
        return value

    def binary(self, element: int) -> bytes:
        """The element's value, which must be present and bytes.

        Raises
        ------
        KeyError
            The message does not carry the element.
        TypeError
            The element holds text.
        """
        value = self.fields[element]
        if not isinstance(value, bytes):
            raise TypeError(f"DE{element} holds text, not bytes")
        return value

    def copy(self) -> Message:
        """A message with the same content, whose elements can be changed without changing this one's."""
        return Message(self.mti, dict(self.fields), self.header, dict(self.padding) if self.padding else None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self.mti == other.mti and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(f"{n}: {mask_element(n, value)}" for n, value in sorted(self.fields.items()))
        return f"Message({self.mti!r}, {{{shown}}})"
