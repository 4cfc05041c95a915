"""A dialect: a table of data elements, and the packing and unpacking of messages by it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Literal, Protocol

from network.iso8583.compiler import GIVES_UP, Packer, Unpacker
from network.iso8583.errors import DecodeError, EncodeError, Fault
from network.iso8583.field import Coding, Field
from network.iso8583.header import Header
from network.iso8583.interpreter import read_digits, read_element, write_digits, write_element
from network.iso8583.message import Message, Value
from network.iso8583.pack_compiler import compile_pack
from network.iso8583.text import from_ebcdic, to_ebcdic
from network.iso8583.unpack_compiler import compile_unpack

BitmapCoding = Literal["binary", "hex", "ebcdic-hex"]

# A bitmap comes from the wire, so what is kept per bitmap is bounded. Compiling costs about as much as interpreting a
# message some dozens of times: doing it only then at most doubles the work that hostile bitmaps can cause.
_COMPILED = 512
_COUNTED = 4096
_COMPILE_AFTER = 24


class HeaderReader(Protocol):
    """Splits what was received into the header and the rest."""

    def split(self, data: bytes) -> tuple[Header, bytes]:
        """Header and body."""


class Dialect:
    """A way of writing ISO 8583 messages.

    Parameters
    ----------
    name : str
        Name for people.
    fields : mapping of int to Field
        The data elements, by number.
    mti : {"bcd", "ascii", "ebcdic"}
        How the message type identifier is written.
    bitmap : {"binary", "hex", "ebcdic-hex"}
        How bitmaps are written.
    charset : str
        Encoding of text that is not ASCII, a superset of ASCII that Python knows.
    header : HeaderReader or None
        Reads the header; None if the dialect has none.
    default_header : Header or None
        Stands before a message that brings none of its own.
    """

    def __init__(
        self,
        name: str,
        fields: Mapping[int, Field],
        *,
        mti: Coding = "ascii",
        bitmap: BitmapCoding = "binary",
        charset: str = "gbk",
        header: HeaderReader | None = None,
        default_header: Header | None = None,
    ) -> None:
        self.name = name
        self.fields = dict(fields)
        self.charset = charset
        self._mti = mti
        self._bitmap = bitmap
        self._header = header
        self._default_header = default_header
        self._mti_width = 2 if mti == "bcd" else 4
        self._bitmap_width = 8 if bitmap == "binary" else 16
        self._mtis: dict[str, bytes] = {}
        self._packers: dict[tuple[int, ...], Packer] = {}
        self._unpackers: dict[bytes, tuple[str, Unpacker]] = {}
        # MTI and bitmap are the key to an unpacker; the first byte of the bitmap tells whether there is a second one.
        short, long = self._mti_width + self._bitmap_width, self._mti_width + 2 * self._bitmap_width
        self._key_lengths = tuple(long if self._announces_second(byte) else short for byte in range(256))
        self._counts: dict[object, int] = {}

    @classmethod
    def from_jpos_xml(cls, path: str | PathLike[str]) -> Dialect:
        """A dialect from a jPOS GenericPackager XML file; see `network.iso8583.jpos`."""
        from network.iso8583.jpos import read_packager

        return read_packager(path)

    def unpack(self, data: bytes) -> Message:
        """The message in `data`: everything that follows the length prefix.

        Raises
        ------
        DecodeError
            If `data` is anything but one whole message.
        """
        if data.__class__ is not bytes:
            data = bytes(data)
        if self._header is None:
            return self.unpack_body(data)
        try:
            header, body = self._header.split(data)
        except Fault as fault:
            raise DecodeError(None, fault.offset, fault.reason) from None
        try:
            mti, unpacker = self._unpackers[body[: self._key_lengths[body[self._mti_width]]]]
            fields = unpacker(body)
            if fields is not None:
                return Message(mti, fields, header)
        except GIVES_UP:
            pass
        return self._unpack_slowly(body, header, len(data) - len(body))

    def unpack_body(self, data: bytes) -> Message:
        """The message in `data`, which begins with the MTI.

        Raises
        ------
        DecodeError
            If `data` is anything but one whole message.
        """
        if data.__class__ is not bytes:
            data = bytes(data)
        try:
            mti, unpacker = self._unpackers[data[: self._key_lengths[data[self._mti_width]]]]
            fields = unpacker(data)
            if fields is not None:
                return Message(mti, fields)
        except GIVES_UP:
            pass
        return self._unpack_slowly(data, None, 0)

    def pack(self, message: Message) -> bytes:
        """Everything of `message` that follows the length prefix.

        Raises
        ------
        EncodeError
            If an element is unknown to the dialect or its value does not fit its format.
        """
        body = self.pack_body(message)
        header = message.header
        if self._default_header is None and self._header is None:
            if header is not None:
                raise EncodeError(None, f"the {self.name} dialect has no header")
            return body
        if header is None:
            header = self._default_header
        expected = self._default_header.__class__
        if header is None or (self._default_header is not None and header.__class__ is not expected):
            raise EncodeError(None, f"the {self.name} dialect needs a header of its own")
        return header.frame(body)

    def pack_body(self, message: Message) -> bytes:
        """`message` from the MTI on.

        Raises
        ------
        EncodeError
            If an element is unknown to the dialect or its value does not fit its format.
        """
        fields = message.fields
        if not message.padding:
            try:
                body = self._packers[tuple(fields)](fields, self._mtis[message.mti])
                if body is not None:
                    return body
            except GIVES_UP:
                pass
        return self._pack_slowly(message, tuple(fields))

    def _unpack_slowly(self, body: bytes, header: Header | None, start: int) -> Message:
        message: Message | None = None
        element: int | None = None
        at = 0
        try:
            element = 0
            at = self._mti_width
            if len(body) < at:
                raise Fault(0, f"{at} bytes expected, {len(body)} are left")
            message = Message(read_digits(self._mti, body[:at], 0), {}, header)
            element = 1
            present, at, bitmap = self._read_bitmap(body, at)
            padding: dict[int, int] = {}
            for element in present:
                field = self.fields.get(element)
                if field is None:
                    raise Fault(at, f"the {self.name} dialect has no such element")
                message.fields[element], at, fill = read_element(field, body, at, self.charset)
                if fill != field.half:
                    padding[element] = fill
            if len(bitmap) > self._bitmap_width and not (present and present[-1] > 64):
                padding[1] = 0
            if padding:
                message.padding = padding
            element = None
            if at < len(body):
                raise Fault(at, f"{len(body) - at} bytes too many")
        except Fault as fault:
            raise DecodeError(element, start + fault.offset, fault.reason, message) from None
        fields = [self.fields[number] for number in present]
        start_of_elements = self._mti_width + len(bitmap)
        key = body[:start_of_elements]
        if not padding and self._worth_compiling(key, fields):
            if len(self._unpackers) >= _COMPILED:
                del self._unpackers[next(iter(self._unpackers))]
            self._unpackers[key] = message.mti, compile_unpack(fields, start_of_elements, self.charset)
        return message

    def _announces_second(self, byte: int) -> bool:
        if self._bitmap == "binary":
            return byte >= 0x80
        raw = bytes((byte,))
        return (from_ebcdic(raw) if self._bitmap == "ebcdic-hex" else raw.decode("latin-1")) in "89ABCDEFabcdef"

    def _read_bitmap(self, body: bytes, at: int) -> tuple[list[int], int, bytes]:
        """Elements present, the offset after the bitmap, and its bytes as they were sent."""
        begin, bits, elements = at, 0, 0
        for part in range(2):
            raw = body[at : at + self._bitmap_width]
            if len(raw) < self._bitmap_width:
                raise Fault(at, f"{self._bitmap_width} bytes of bitmap expected, {len(raw)} are left")
            if self._bitmap == "binary":
                value = int.from_bytes(raw, "big")
            else:
                text = from_ebcdic(raw) if self._bitmap == "ebcdic-hex" else raw.decode("latin-1")
                if text.strip("0123456789ABCDEFabcdef"):
                    raise Fault(at, "not hexadecimal digits")
                value = int(text, 16)
            at += self._bitmap_width
            bits, elements = bits << 64 | value, elements + 64
            if part == 0 and not value >> 63:
                break
        present = [n for n in range(2, elements + 1) if bits >> (elements - n) & 1]
        return present, at, body[begin:at]

    def _pack_slowly(self, message: Message, key: tuple[int, ...]) -> bytes:
        mti = message.mti
        prefix = self._mtis.get(mti)
        if prefix is None:
            if not (isinstance(mti, str) and len(mti) == 4 and mti.isascii() and mti.isdecimal()):
                raise EncodeError(0, "an MTI is a str of 4 digits")
            prefix = self._mtis[mti] = write_digits(self._mti, mti)
        padding = message.padding or {}
        for element in key:
            if element not in self.fields:
                raise EncodeError(
                    element if isinstance(element, int) else None, f"the {self.name} dialect has no such element"
                )
        ordered = sorted(key)
        bitmap = self._write_bitmap(ordered, 1 in padding)
        chunks = [prefix, bitmap]
        for element in ordered:
            value: Value = message.fields[element]
            chunks.append(write_element(self.fields[element], value, padding.get(element), self.charset))
        fields = [self.fields[number] for number in key]
        if not padding and self._worth_compiling(key, fields):
            if len(self._packers) >= _COMPILED:
                del self._packers[next(iter(self._packers))]
            self._packers[key] = compile_pack(fields, bitmap, self.charset)
        return b"".join(chunks)

    def _write_bitmap(self, ordered: list[int], secondary: bool) -> bytes:
        secondary = secondary or bool(ordered and ordered[-1] > 64)
        elements = 128 if secondary else 64
        bits = 1 << 127 if secondary else 0
        for number in ordered:
            bits |= 1 << (elements - number)
        raw = bits.to_bytes(elements // 8, "big")
        if self._bitmap == "binary":
            return raw
        text = raw.hex().upper()
        return to_ebcdic(text) if self._bitmap == "ebcdic-hex" else text.encode("ascii")

    def _worth_compiling(self, key: object, fields: list[Field]) -> bool:
        if any(field.filled for field in fields):
            return False
        count = self._counts.get(key, 0) + 1
        if count >= _COMPILE_AFTER:
            self._counts.pop(key, None)
            return key not in self._packers and key not in self._unpackers
        if len(self._counts) >= _COUNTED:
            self._counts.clear()
        self._counts[key] = count
        return False
