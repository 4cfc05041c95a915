"""Compiles the packing of a list of elements.

How it is fast: all digits, or all text, that lie side by side are joined before they are checked and turned into bytes;
lengths are looked up in tables that end at the element's maximum.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Sequence
from functools import cache, partial
from typing import cast

from network.iso8583.compiler import PRINTABLE, TRACK_TEXT, Packer, compiled
from network.iso8583.field import Field
from network.iso8583.interpreter import SIGNS
from network.iso8583.text import to_ebcdic, widen


def compile_pack(fields: Sequence[Field], bitmap: bytes, charset: str) -> Packer:
    """Code that writes `fields` (none of them filled): it is given values in exactly this order, and the MTI."""
    writer = _Pack(fields, bitmap, charset)
    return cast(Packer, compiled(writer.source(), writer.names))


class _Pack:
    def __init__(self, fields: Sequence[Field], bitmap: bytes, charset: str) -> None:
        self.fields = fields
        self.names: dict[str, object] = {
            "M": bitmap,
            "X": unhexlify,
            "Z": TRACK_TEXT,
            "S": SIGNS,
            "W": partial(widen, charset=charset),
            "E": to_ebcdic,
            "C": bytes,
            "A": str,
        }
        self.lines: list[str] = []
        self.chunks: list[str] = ["m", "M"]
        self.open = ""  # which kind of string is being made up, of
        self.pieces: list[str] = []  # these, the last of them
        self.digits: list[str] = []  # and these, which are to be digits
        self.unchecked = False  # whether a value is among those digits
        self.stretches = 0
        self.texts: list[Field] = []  # text elements that all lie side by side, so that t is all of them
        self.lengths: dict[str, str] = {}  # a length as bytes, by the piece that has it as a string

    def source(self) -> str:
        order = ", ".join(f"v{field.number}" for field in self.fields)
        ordered = sorted(self.fields, key=lambda field: field.number)
        first = next((k for k, field in enumerate(ordered) if field.kind == "text"), 0)
        texts = [field for field in ordered if field.kind == "text"]
        if ordered[first : first + len(texts)] == texts and not any(field.prefix for field in texts[1:]):
            self.texts = texts
        self.lines.append(f" {order}, = v.values()" if self.fields else "")
        self._checks(ordered)
        for field in ordered:
            self._piece(field)
        self._close()
        return "\n".join(["def f(v, m):", *self.lines, f" return b''.join(({', '.join(self.chunks)},))"])

    def _add(self, *lines: str) -> None:
        self.lines += [f" {line}" for line in lines]

    def _checks(self, ordered: list[Field]) -> None:
        """What must hold of the values, in as few calls as will do; `_end_of_digits` sees that numbers are digits."""
        texts = [f"v{f.number}" for f in ordered if f.kind == "text"]
        wrong = [f"len(v{f.number}) != {f.maximum}" for f in ordered if not f.prefix and f.kind != "text"]
        for field in ordered:
            name = f"v{field.number}"
            if field.kind == "z":
                digits = (
                    f"{name}.replace('=', '0', 1).encode()"
                    if field.coding == "bcd"
                    else f"{name}.encode().translate(Z)"
                )
                self._add(f"if not {digits}.isdigit(): return None")
            elif field.kind == "x":
                rest = f"{name}[1:].isdecimal() and {name}.isascii()"
                self._add(f"if not ({name}[0] in S and {rest}): return None")
            elif field.kind == "b":
                self._add(f"if {name}.__class__ is not C: return None")
        if texts:
            # Text outside ASCII, and bytes in the place of text, are brought to one character a byte; EBCDIC text
            # of that sort is left to the interpreter.
            self._add("try:", f" t = ''.join(({', '.join(texts)},))", " w = not t.isascii()")
            self._add(" if not t.isprintable(): return None", "except TypeError: w = True")
            ebcdic = any(f.coding == "ebcdic" for f in ordered)
            if ebcdic:
                self._add("if w: return None")
            else:
                self._add("if w:")
                for name in texts:
                    self._add(f" if {name}.__class__ is not A or not {PRINTABLE.format(name)}: {name} = W({name})")
                if self.texts:
                    self._add(f" t = {_joined(texts)}")
        wrong += [f"len(v{f.number}) != {f.maximum}" for f in ordered if not f.prefix and f.kind == "text"]
        if wrong:
            self._add(f"if {' or '.join(wrong)}: return None")

    def _piece(self, field: Field) -> None:
        name = f"v{field.number}"
        if field.kind == "b":
            self._length(field, name)
            if field.coding == "binary":
                self._close()
                self.chunks.append(name)
            else:
                self._put("e" if field.coding == "ebcdic-hex" else "s", f"{name}.hex().upper()")
        elif field.coding == "bcd":
            half = f"'{field.half:X}'"
            if field.kind == "x":
                self._put("s", f"{name}[0]")
                fill = "" if field.maximum & 1 else half
                value = f"{name}[1:]"
            else:
                self._length(field, name)
                odd = half if field.maximum & 1 else ""
                fill = f"('', {half})[n{field.number} & 1]" if field.prefix else odd
                value = f"{name}.replace('=', 'D')" if field.kind == "z" else name
            parts = [(fill, "digits" if field.half < 10 else "free"), (value, field.kind)]
            for part, content in parts if field.pad == "left" else reversed(parts):
                if part:
                    self._put("h", part, content)
        elif field in self.texts:
            if field is self.texts[0]:
                self._length(field, name)
                self._put("e" if field.coding == "ebcdic" else "s", "t")
        else:
            self._length(field, name)
            self._put("e" if field.coding == "ebcdic" else "s", name, field.kind)

    def _length(self, field: Field, name: str) -> None:
        if not field.prefix:
            return
        number, width = f"n{field.number}", field.prefix_width
        self._add(f"{number} = len({name})")
        coding = field.prefix_coding
        table = f"{coding}_{width}_{field.maximum}"
        written = _written_lengths(coding, width, field.maximum)
        self.names[f"L{table}"] = written
        kind = {"binary": "h", "bcd": "h", "ebcdic": "e"}.get(coding, "s")
        if kind != "e":
            self.names[f"R{table}"] = _as_bytes(written, kind)
            self.lengths[f"L{table}[{number}]"] = f"R{table}[{number}]"
        self._put(kind, f"L{table}[{number}]", "free" if coding == "binary" else "digits")

    def _put(self, kind: str, piece: str, content: str = "free") -> None:
        """Go on with `piece`: "digits" in any case, or a number that is yet to be found digits ("n"), or anything."""
        if kind != self.open:
            self._close()
            self.open = kind
        if content in ("digits", "n"):
            self.digits.append(piece)
            self.unchecked = self.unchecked or content == "n"
        else:
            self._end_of_digits()
            self.pieces.append(piece)

    def _end_of_digits(self) -> None:
        """End a stretch of digits: one check serves for all that lie side by side."""
        if self.unchecked:
            name = f"t{self.stretches}"
            self.stretches += 1
            self._add(f"{name} = {_joined(self.digits)}", f"if not {name}.encode().isdigit(): return None")
            self.pieces.append(name)
        else:
            self.pieces += self.digits
        self.digits, self.unchecked = [], False

    def _close(self) -> None:
        self._end_of_digits()
        if self.pieces:
            text = _joined(self.pieces)
            made = {"h": f"X({text})", "s": f"({text}).encode('latin-1')", "e": f"E({text})"}[self.open]
            self.chunks.append(self.lengths.get(text, made))
            self.pieces = []
        self.open = ""


def _joined(pieces: list[str]) -> str:
    """The expression that joins strings."""
    return pieces[0] if len(pieces) == 1 else f"''.join(({', '.join(pieces)}))"


@cache
def _written_lengths(coding: str, width: int, maximum: int) -> tuple[str, ...]:
    """Every length up to the maximum as it is written: a longer value gives an IndexError."""
    if coding == "binary":
        return tuple(n.to_bytes(width, "big").hex() for n in range(min(maximum, 256**width - 1) + 1))
    digits = 2 * width if coding == "bcd" else width
    return tuple(f"{n:0{digits}d}" for n in range(min(maximum, 10**digits - 1) + 1))


@cache
def _as_bytes(written: tuple[str, ...], kind: str) -> tuple[bytes, ...]:
    """The same lengths as they stand where nothing else is beside them to be joined with."""
    return tuple(unhexlify(length) if kind == "h" else length.encode("ascii") for length in written)
