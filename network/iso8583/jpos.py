"""Reads the XML files by which jPOS's GenericPackager is told a message format.

What the class of a field says, in jPOS's own scheme of names:

- ``IFA_`` all in ASCII, ``IFB_`` packed BCD digits, raw bytes and BCD lengths, ``IFE_`` EBCDIC (IBM 1047); two letters
  (``IFEA_``, ``IFAE_``) give the coding of the length and of the content apart;
- ``L`` to ``LLLLLL`` the digits of the length; an ``H`` after them makes it binary, of that many bytes less one;
- ``NUM``/``NUMERIC`` digits, ``CHAR`` text, ``ECHAR`` EBCDIC text, ``BINARY`` raw bytes (but the fixed ``IFA_BINARY``
  and ``IFE_BINARY``, and ``ABINARY``, hexadecimal digits), ``BNUM`` BCD digits, ``AMOUNT`` a sign and digits;
- an ``F`` before the length's letters fills the content up to the longest (in ``IFB_`` it makes F the
  padding half-byte).

``pad="true"`` pads odd BCD on the left, else it is on the right. ``IF_NOP`` and ``IF_UNUSED`` elements do not exist.
Fields within an ``isofieldpackager`` are not taken apart: the element is what its own class says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from xml.parsers import expat

from network.iso8583.dialect import BitmapCoding, Dialect
from network.iso8583.field import Coding, Field, Kind
from network.iso8583.header import OpaqueHeader, OpaqueHeaderReader

_LARGEST_FILE = 1 << 20
_TRACKS = frozenset((35, 36))
_ABSENT = frozenset(("IF_NOP", "IF_UNUSED"))
_BITMAPS: dict[str, BitmapCoding] = {"IFA_BITMAP": "hex", "IFB_BITMAP": "binary", "IFE_BITMAP": "ebcdic-hex"}
_FIXED: dict[str, tuple[Kind, Coding]] = {
    "IF_CHAR": ("text", "ascii"),
    "IF_ECHAR": ("text", "ebcdic"),
    "IFE_CHAR": ("text", "ebcdic"),
    "IFA_NUMERIC": ("n", "ascii"),
    "IFB_NUMERIC": ("n", "bcd"),
    "IFB_FNUMERIC": ("n", "bcd"),
    "IFE_NUMERIC": ("n", "ebcdic"),
    "IFA_AMOUNT": ("x", "ascii"),
    "IFB_AMOUNT": ("x", "bcd"),
    "IFE_AMOUNT": ("x", "ebcdic"),
    "IFA_BINARY": ("b", "hex"),
    "IFB_BINARY": ("b", "binary"),
    "IFE_BINARY": ("b", "ebcdic-hex"),
}
_VARIABLE = re.compile(r"IF(A|B|E|AE|EA)_(F?)(L{1,6})(H?)(CHAR|ECHAR|NUM|BNUM|BINARY|ABINARY)")
_CODINGS: dict[str, Coding] = {"A": "ascii", "B": "bcd", "E": "ebcdic"}


class PackagerError(ValueError):
    """A packager file that cannot be read, or that says something this codec cannot do."""


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    name: str
    length: int
    kind: str
    pad: bool


def read_packager(path: str | PathLike[str]) -> Dialect:
    """The dialect that a GenericPackager file describes.

    Parameters
    ----------
    path : path
        An XML file with ``isopackager``, ``isofield`` and ``isofieldpackager``. Its document type is not fetched.

    Raises
    ------
    PackagerError
        If the file is not such a file, or names a class that is not known; the class and the field are named.
    OSError
        If the file cannot be read.
    """
    path = Path(path)
    if path.stat().st_size > _LARGEST_FILE:
        raise PackagerError(f"{path.name}: larger than {_LARGEST_FILE} bytes")
    attributes, rows = _parse(path)
    types = rows.pop(0, None)
    bitmap = rows.pop(1, None)
    if types is None or bitmap is None:
        raise PackagerError(f"{path.name}: fields 0 (MTI) and 1 (bitmap) are both needed")
    kind, mti = _FIXED.get(types.kind, ("b", "binary"))
    if kind not in ("n", "text") or types.length != 4:
        raise PackagerError(f"{path.name}: field 0: an MTI of class {types.kind}, length {types.length}")
    if bitmap.kind not in _BITMAPS:
        raise PackagerError(f"{path.name}: field 1: class {bitmap.kind} is not a bitmap")
    if bitmap.length not in (8, 16):
        raise PackagerError(f"{path.name}: field 1: a bitmap of {bitmap.length} bytes")
    last = _number(path, "isopackager", "maxValidField", attributes.get("maxValidField", "128"))
    fields = {}
    for row in rows.values():
        if row.kind not in _ABSENT and row.number <= min(last, 8 * bitmap.length):
            fields[row.number] = _field(path, row)
    length = _number(path, "isopackager", "headerLength", attributes.get("headerLength", "0"))
    return Dialect(
        path.stem,
        fields,
        mti=mti,
        bitmap=_BITMAPS[bitmap.kind],
        charset="latin-1",
        header=OpaqueHeaderReader(length) if length else None,
        default_header=OpaqueHeader(bytes(length)) if length else None,
    )


def _parse(path: Path) -> tuple[dict[str, str], dict[int, _Row]]:
    root: dict[str, str] | None = None
    rows: dict[int, _Row] = {}
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal root, depth
        depth += 1
        if depth == 1:
            if tag != "isopackager":
                raise PackagerError(f"{path.name}: the root is {tag}, not isopackager")
            root = attributes
        elif depth == 2 and tag in ("isofield", "isofieldpackager"):
            row = _row(path, attributes)
            if row.number in rows:
                raise PackagerError(f"{path.name}: field {row.number} is there twice")
            rows[row.number] = row

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def entity(name: str, *_: object) -> None:
        raise PackagerError(f"{path.name}: declares the entity {name}, which no packager needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.EntityDeclHandler = entity  # no entity bombs; external document types are never fetched by expat
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise PackagerError(f"{path.name}: not XML: {error}") from None
    if root is None:
        raise PackagerError(f"{path.name}: empty")
    unsupported = [name for name in ("bitmapField", "emitBitmap", "firstField") if name in root]
    defaults = {"bitmapField": "1", "emitBitmap": "true", "firstField": "0"}
    for name in unsupported:
        if root[name].lower() != defaults[name]:
            raise PackagerError(f"{path.name}: {name}={root[name]} is not supported")
    return root, rows


def _row(path: Path, attributes: dict[str, str]) -> _Row:
    number = _number(path, "isofield", "id", attributes.get("id", ""))
    if not 0 <= number <= 128:
        raise PackagerError(f"{path.name}: field {number} is not between 0 and 128")
    if "class" not in attributes:
        raise PackagerError(f"{path.name}: field {number} has no class")
    kind = attributes["class"].rpartition(".")[2]
    length = attributes.get("length", "0" if kind in _ABSENT else "")
    return _Row(
        number,
        attributes.get("name", "").strip().lower(),
        _number(path, f"field {number}", "length", length),
        kind,
        attributes.get("pad", "").lower() == "true",
    )


def _number(path: Path, where: str, name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise PackagerError(f"{path.name}: {where}: {name} is not a number")
    return int(text)


def _field(path: Path, row: _Row) -> Field:
    try:
        return _field_of_class(row)
    except ValueError as error:
        raise PackagerError(f"{path.name}: field {row.number}: {error}") from None


def _field_of_class(row: _Row) -> Field:
    side = "left" if row.pad else "right"
    if row.kind in _FIXED:
        kind, coding = _FIXED[row.kind]
        half = 15 if row.kind == "IFB_FNUMERIC" and side == "right" else 0
        kind = "z" if kind == "n" and row.number in _TRACKS else kind
        return Field(row.number, row.name, kind, row.length, coding, pad=side, half=half)  # type: ignore[arg-type]
    match = _VARIABLE.fullmatch(row.kind)
    if match is None:
        raise ValueError(f"class {row.kind} is not known")
    codings, filled, digits, binary, content = match.groups()
    prefix_coding, coding = _CODINGS[codings[0]], _CODINGS[codings[-1]]
    prefix = len(digits)
    if binary:
        prefix_coding, prefix = "binary", len(digits) - 1
    kind = "n" if content.endswith("NUM") else "text"
    if content.endswith("BINARY"):
        kind, coding = "b", "hex" if content == "ABINARY" else "binary"
    elif content == "BNUM":
        coding = "bcd"
    elif content == "ECHAR":
        coding = "ebcdic"
    elif kind == "text" and coding == "bcd":
        coding = "ascii"
    if kind == "n" and row.number in _TRACKS:
        kind = "z"
    packed = coding == "bcd"
    return Field(
        row.number,
        row.name,
        kind,
        row.length,
        coding,
        prefix,
        prefix_coding,
        side,  # type: ignore[arg-type]
        half=15 if filled and packed and not row.pad else 0,
        filled=bool(filled) and not packed,
    )
