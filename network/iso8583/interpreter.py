"""Reads and writes one element at a time: the definition of every dialect, with exact errors.

The compiled code in `compiler` handles what is regular and leaves the rest to this module: bytes it does not
understand at once, padding that is not 0, text that is not ASCII, values that are wrong, bitmaps seldom seen.
"""

from __future__ import annotations

from network.iso8583.errors import EncodeError, Fault
from network.iso8583.field import Coding, Field
from network.iso8583.text import decode_text, encode_text, from_ebcdic, to_ebcdic

TRACK_CHARACTERS = "0123456789=ABCDEFabcdef:;<>?^"
SIGNS = ("C", "D")
_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789ABCDEFabcdef")


def read_element(field: Field, data: bytes, at: int, charset: str) -> tuple[str | bytes, int, int]:
    """Read one element of `data` at offset `at`.

    Returns
    -------
    value : str or bytes
        Its content.
    end : int
        Offset of the byte after it.
    padding : int
        The half-byte that fills it up; the field's usual one where there is none.

    Raises
    ------
    Fault
        With the offset and the reason, if it is not there or not what its format says.
    """
    length = field.maximum
    if field.prefix:
        length, at = _read_length(field, data, at)
    end = at + field.width(field.maximum if field.filled else length)
    if end > len(data):
        raise Fault(at, f"{end - at} bytes expected, {len(data) - at} are left")
    raw = data[at : at + field.width(length)]
    if field.kind == "b":
        return _read_binary(field, raw, at), end, field.half
    if field.kind == "text":
        return (decode_text(raw, charset) if field.coding == "ascii" else _ebcdic_text(raw)), end, field.half
    sign = ""
    if field.kind == "x":
        sign = _characters(field.coding, raw[:1])
        if sign not in SIGNS:
            raise Fault(at, "the sign of the amount is neither C nor D")
        raw, at, length = raw[1:], at + 1, length - 1
    padding = field.half
    if field.coding == "bcd":
        content = raw.hex()
        if length & 1:
            padding = int(content[0] if field.pad == "left" else content[-1], 16)
            content = content[1:] if field.pad == "left" else content[:-1]
        content = content.replace("d", "=").upper() if field.kind == "z" else content
    else:
        content = _characters(field.coding, raw)
    if field.kind == "z":
        if content.strip(TRACK_CHARACTERS):
            raise Fault(at, "not track data")
    elif content and not _DIGITS.issuperset(content):
        raise Fault(at, "not digits")
    return sign + content, end, padding


def write_element(field: Field, value: object, padding: int | None, charset: str) -> bytes:
    """Length and content of one element.

    Raises
    ------
    EncodeError
        Naming the element and what its format demands, if the value does not fit it.
    """
    number = field.number
    if field.kind == "b":
        content = _binary_content(field, value, charset)
        length = len(content)
    elif field.kind == "text":
        content = _text_content(field, value, charset)
        length = len(content)
    else:
        if not isinstance(value, str):
            raise EncodeError(number, f"a str of digits is needed, not {type(value).__name__}")
        length = len(value)
        content = b""
    if length > field.maximum:
        raise EncodeError(number, f"too long: {length}, at most {field.maximum}")
    if not field.prefix and length != field.maximum:
        raise EncodeError(number, f"too short: {length}, the length is fixed at {field.maximum}")
    if isinstance(value, str) and field.kind in ("n", "z", "x"):
        content = _digit_content(field, value, field.half if padding is None else padding)
    if field.coding in ("hex", "ebcdic-hex"):
        text = content.hex().upper()
        content = to_ebcdic(text) if field.coding == "ebcdic-hex" else text.encode("ascii")
    return _write_length(field, length) + content + _filling(field, length)


def read_digits(coding: Coding, raw: bytes, at: int) -> str:
    """Digits of the MTI or of a length.

    Raises
    ------
    Fault
        If they are not digits.
    """
    text = raw.hex() if coding == "bcd" else _characters(coding, raw)
    if not text or not _DIGITS.issuperset(text):
        raise Fault(at, "not digits")
    return text


def write_digits(coding: Coding, text: str) -> bytes:
    """Digits of the MTI or of a length (an even number of them in BCD)."""
    if coding == "bcd":
        return bytes.fromhex(text)
    return to_ebcdic(text) if coding == "ebcdic" else text.encode("ascii")


def _read_length(field: Field, data: bytes, at: int) -> tuple[int, int]:
    width = field.prefix_width
    raw = data[at : at + width]
    if len(raw) < width:
        raise Fault(at, f"a length of {width} bytes expected, {len(raw)} are left")
    if field.prefix_coding == "binary":
        length = int.from_bytes(raw, "big")
    else:
        try:
            length = int(read_digits(field.prefix_coding, raw, at))
        except Fault:
            raise Fault(at, "the length is not digits") from None
    if length > field.maximum:
        raise Fault(at, f"length {length} exceeds the {field.maximum} allowed")
    return length, at + width


def _write_length(field: Field, length: int) -> bytes:
    if not field.prefix:
        return b""
    width = field.prefix_width
    if field.prefix_coding == "binary":
        return length.to_bytes(width, "big")
    return write_digits(field.prefix_coding, f"{length:0{2 * width if field.prefix_coding == 'bcd' else width}d}")


def _filling(field: Field, length: int) -> bytes:
    if not field.filled:
        return b""
    room = field.width(field.maximum) - field.width(length)
    return room * {"bcd": b"\x00", "ebcdic": b"\x40"}.get(field.coding, b" ")


def _read_binary(field: Field, raw: bytes, at: int) -> bytes:
    if field.coding == "binary":
        return raw
    text = _characters(field.coding, raw)
    if not _HEX.issuperset(text):
        raise Fault(at, "not hexadecimal digits")
    return bytes.fromhex(text)


def _binary_content(field: Field, value: object, charset: str) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    # A variable element may hold text where it suits its sender (DE62 at the terminal); a fixed one is a block of
    # key, PIN or MAC, where a str can only be a mistake.
    if isinstance(value, str) and field.prefix:
        content = encode_text(value, charset)
        if content is not None:
            return content
        raise EncodeError(field.number, f"text that {charset} cannot express; give bytes")
    raise EncodeError(field.number, f"bytes are needed, not {type(value).__name__}")


def _text_content(field: Field, value: object, charset: str) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise EncodeError(field.number, f"str or bytes are needed, not {type(value).__name__}")
    content = encode_text(value, charset if field.coding == "ascii" else "cp037")
    if content is None:
        raise EncodeError(field.number, f"characters that are not printable or not in {charset}; give bytes")
    return content if field.coding == "ascii" else to_ebcdic(value)


def _digit_content(field: Field, value: str, padding: int) -> bytes:
    number, sign = field.number, ""
    if field.kind == "x":
        sign, value = value[0], value[1:]
        if sign not in SIGNS:
            raise EncodeError(number, "the sign of the amount is neither C nor D")
    if field.kind == "z":
        allowed = "0123456789=ABCDEF" if field.coding == "bcd" else TRACK_CHARACTERS
        if value.strip(allowed):
            raise EncodeError(number, "characters that track data cannot have")
        if field.coding == "bcd":
            value = value.replace("=", "D")
    elif not _DIGITS.issuperset(value):
        raise EncodeError(number, "characters that are not digits")
    if field.coding == "ebcdic":
        return to_ebcdic(sign + value)
    if field.coding == "ascii":
        return (sign + value).encode("ascii")
    if len(value) & 1:
        fill = f"{padding:X}"
        if len(fill) != 1:
            raise EncodeError(number, f"padding {padding} is not a half-byte")
        value = fill + value if field.pad == "left" else value + fill
    return sign.encode("ascii") + bytes.fromhex(value)


def _ebcdic_text(raw: bytes) -> str | bytes:
    value = from_ebcdic(raw)
    return raw if encode_text(value, "cp037") is None else value


def _characters(coding: Coding, raw: bytes) -> str:
    return from_ebcdic(raw) if coding in ("ebcdic", "ebcdic-hex") else raw.decode("latin-1")
