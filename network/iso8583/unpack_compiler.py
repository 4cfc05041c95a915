"""Compiles the unpacking of a list of elements.

How it is fast: the body is turned once into one hex string (for BCD) and one latin-1 string (for text), of which the
elements are slices; fixed elements that lie side by side are checked together; lengths are looked up in tables that end
at the element's maximum. Bytes are counted only at the end: a slice beyond the end is short, so that the offset reached
then differs from the length of the body.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, partial
from itertools import accumulate
from typing import cast

from network.iso8583.compiler import PRINTABLE, TRACK_TEXT, Unpacker, alphabet, compiled
from network.iso8583.field import Field
from network.iso8583.interpreter import SIGNS, TRACK_CHARACTERS
from network.iso8583.text import decode_text, from_ebcdic

# No element is this long: what stands for an invalid BCD length.
_INVALID = 1_000_000
_BCD = tuple((b >> 4) * 10 + (b & 15) if b >> 4 < 10 and b & 15 < 10 else _INVALID for b in range(256))
_BCD_BYTES = alphabet(byte for byte, value in enumerate(_BCD) if value != _INVALID)
_TRACK_BYTES = alphabet(byte for byte in range(256) if not set(f"{byte:02x}") & set("abcef"))
_HEX = "0123456789ABCDEF"
_VIEWS = {"bcd": "h", "ascii": "s", "hex": "s", "ebcdic": "e", "ebcdic-hex": "e"}
# Fixed elements side by side are split by one regular expression where there are this many; its groups cost less
# than slices.
_LEAST_RUN = 3
# Bytes after the last packed digits that are worth leaving out of the hex string.
_LEAST_REST = 64
# Codes and identifications are ASCII; longer text (names) may be in Chinese and is looked at by itself.
_SHORT_TEXT = 15


def compile_unpack(fields: Sequence[Field], start: int, charset: str) -> Unpacker:
    """Code that reads `fields` (none of them filled) from a body at offset `start`: values by number, or None."""
    writer = _Unpack(fields, start, charset)
    return cast(Unpacker, compiled(writer.source(), writer.names))


class _Unpack:
    """Writes the source of an unpacker: `at` is the offset from ``i``, or from the start while that is known."""

    def __init__(self, fields: Sequence[Field], start: int, charset: str) -> None:
        self.fields = fields
        self.start = self.at = start
        self.moving = False  # whether a variable element came before
        self.lines: list[str] = []
        self.views: set[str] = set()
        self.stretch: tuple[str, str] | None = None  # coding of the digits that go on here, and where they began
        self.length_read = False  # whether the length of the next element is in n already
        self.names: dict[str, object] = {
            "B": _BCD,
            "T": partial(decode_text, charset=charset),
            "E": from_ebcdic,
            "D": _BCD_BYTES,
            "Y": _TRACK_BYTES,
            "Z": TRACK_TEXT,
            "H": _HEX,
            "S": SIGNS,
            "X": bytes.fromhex,
            "N": dict.fromkeys(field.number for field in fields).copy,
        }

    def source(self) -> str:
        k = 0
        while k < len(self.fields):
            run = self._run_from(k)
            if run:
                following = self.fields[k + len(run)] if k + len(run) < len(self.fields) else None
                self._run(run, following)
                k += len(run)
                continue
            field = self.fields[k]
            self._digits(field)
            if field.prefix:
                self._variable(field)
            else:
                self._fixed(field)
            k += 1
        self._end_of_digits()
        views = (("h", f" h = {self._packed()}.hex()"), ("s", " s = d.decode('latin-1')"), ("e", " e = E(d)"))
        head = ["def f(d):", *(line for view, line in views if view in self.views), " o = N()"]
        end = [f" if len(d) != {self._offset(0)}: return None", " return o"]
        return "\n".join([*head, *self.lines, *end])

    def _packed(self) -> str:
        """The body up to where the last packed digits can end at most, or all of it where little would be left out."""
        widths = (field.prefix_width + field.width(field.maximum) for field in self.fields)
        ends = list(accumulate(widths, initial=self.start))
        last = max((end for field, end in zip(self.fields, ends[1:], strict=True) if field.coding == "bcd"), default=0)
        return f"d[:{last}]" if ends[-1] - last >= _LEAST_REST else "d"

    def _run_from(self, k: int) -> list[Field]:
        """Fixed elements from the k-th on that are taken from one view by one pattern; none if that does not pay."""
        run: list[Field] = []
        view = ""
        for field in self.fields[k:]:
            if field.prefix or field.kind not in ("n", "text", "b") or "hex" in field.coding:
                break
            own = "" if field.kind == "b" else _VIEWS[field.coding]
            if own and view and own != view:
                break
            view = view or own
            run.append(field)
        while run and run[-1].kind == "b":
            run.pop()
        return run if sum(field.kind != "b" for field in run) >= _LEAST_RUN else []

    def _run(self, run: list[Field], following: Field | None) -> None:
        view = self._view(next(field.coding for field in run if field.kind != "b"))
        begin = self._half(0) if view == "h" else self._offset(0)
        pattern, targets = "", []
        after: list[str] = []
        for field in run:
            self._digits(field)
            size, element = field.maximum, f"o[{field.number}]"
            own = self._offset(0), self._offset(field.width(size))
            self.at += field.width(size)
            if field.kind == "b":
                pattern += f".{{{2 * size if view == 'h' else size}}}"
                after.append(f"{element} = d[{own[0]}:{own[1]}]")
                continue
            targets.append(element)
            if field.kind == "text":
                free = size > _SHORT_TEXT or view == "e"
                pattern += f"({'.' if free else '[ -~]'}{{{size}}})"
                if view == "e":
                    after.append(f"if not {element}.isprintable(): return None")
                elif free:
                    after.append(f"if not {PRINTABLE.format(element)}: {element} = T(d[{own[0]}:{own[1]}])")
                continue
            half = f"{field.half:x}" if view == "h" and size & 1 else ""
            pattern += f"{half}(.{{{size}}})" if field.pad == "left" else f"(.{{{size}}}){half}"
            if self.stretch is None:
                after.append(f"if not {element}.isdecimal(): return None")
        if following is not None and view == "s" and following.prefix and following.prefix_coding == "ascii":
            pattern += f"(.{{{following.prefix}}})"
            targets.append("n")
            after.append(f"n = {self._lengths(following)}[n]")
            self.length_read = True
        name = f"P{run[0].number}"
        self.names[name] = re.compile(pattern, re.DOTALL).match
        self._add(f"{', '.join(targets)}, = {name}({view}, {begin}).groups()", *after)

    def _digits(self, field: Field) -> None:
        """Go on with the stretch of digits, or end it: one check serves for all that lie side by side."""
        coding = field.coding if field.kind == "n" and field.coding in ("ascii", "bcd") and field.half < 10 else ""
        if field.prefix and field.prefix_coding != coding:
            coding = ""
        if self.stretch is not None and self.stretch[0] != coding:
            self._end_of_digits()
        if coding and self.stretch is None:
            begin = self._offset(0)
            if self.moving:
                self._add(f"g = {begin}")
                begin = "g"
            self.stretch = coding, begin

    def _end_of_digits(self) -> None:
        if self.stretch is not None:
            coding, begin = self.stretch
            table = ".translate(D)" if coding == "bcd" else ""
            self._add(f"if not d[{begin}:{self._offset(0)}]{table}.isdigit(): return None")
            self.stretch = None

    def _offset(self, more: int) -> str:
        at = self.at + more
        if not self.moving:
            return str(at)
        return f"i+{at}" if at else "i"

    def _half(self, more: int) -> str:
        """The offset doubled, for slices of the hex string."""
        at = 2 * (self.at + more)
        if not self.moving:
            return str(at)
        return f"i+i+{at}" if at else "i+i"

    def _view(self, coding: str) -> str:
        view = _VIEWS[coding]
        self.views.add(view)
        return view

    def _add(self, *lines: str) -> None:
        self.lines += [f" {line}" for line in lines]

    def _fixed(self, field: Field) -> None:
        size, element = field.maximum, f"o[{field.number}]"
        width = field.width(size)
        begin, end = self._offset(0), self._offset(width)
        if field.coding == "binary":
            self._add(f"{element} = d[{begin}:{end}]")
        elif field.kind == "b":
            self._hex(field, begin, end)
        elif field.kind == "x":
            self._signed(field, width)
        else:
            view = self._view(field.coding)
            if view == "h":
                left, odd = field.pad == "left", size & 1
                if odd:
                    fill = f"h[{self._half(0) if left else self._half(width) + '-1'}]"
                    self._add(f"if {fill} != '{field.half:x}': return None")
                shift = ("+1", "") if left else ("", "-1")
                ends = [f"{self._half(0)}{shift[0] if odd else ''}", f"{self._half(width)}{shift[1] if odd else ''}"]
            else:
                ends = [begin, end]
            self._add(f"v = {view}[{ends[0]}:{ends[1]}]")
            self._content(field, begin, end)
        self.at += width

    def _content(self, field: Field, begin: str, end: str) -> None:
        """Check ``v``, the content that takes the bytes from `begin` to `end`, and set the element to it."""
        element = f"o[{field.number}]"
        if field.kind == "text" and field.coding == "ascii":
            self._add(f"{element} = v if {PRINTABLE.format('v')} else T(d[{begin}:{end}])")
            return
        if field.kind == "text":
            self._add("if not v.isprintable(): return None")
        elif field.kind == "z":
            if field.coding == "bcd" and field.half < 10:
                self._add(f"if not d[{begin}:{end}].translate(Y).isdigit(): return None", "v = v.replace('d', '=')")
            elif field.coding == "bcd":
                self._add("v = v.replace('d', '=')", "if v.islower(): return None")
            elif field.coding == "ascii":
                self._add(f"if not d[{begin}:{end}].translate(Z).isdigit(): return None")
            else:
                self._add(f"if v.strip({TRACK_CHARACTERS!r}): return None")
        elif self.stretch is None:
            self._add("if not v.isdecimal(): return None")
        self._add(f"{element} = v")

    def _signed(self, field: Field, width: int) -> None:
        sign = self._view("ebcdic" if field.coding == "ebcdic" else "ascii")
        self._add(f"r = {sign}[{self._offset(0)}:{self._offset(1)}]", "if r not in S: return None")
        if field.coding == "bcd":
            view, ends = self._view("bcd"), (self._half(1), self._half(width))
        else:
            view, ends = sign, (self._offset(1), self._offset(width))
        self._add(f"v = {view}[{ends[0]}:{ends[1]}]")
        if field.coding == "bcd" and not field.maximum & 1:
            left = field.pad == "left"
            self._add(
                f"if v[{0 if left else -1}] != '{field.half:x}': return None", f"v = v[{'1:' if left else ':-1'}]"
            )
        self._add("if not v.isdecimal(): return None", f"o[{field.number}] = r + v")

    def _hex(self, field: Field, begin: str, end: str) -> None:
        view = self._view(field.coding)
        # fromhex would let white space pass.
        self._add(f"r = {view}[{begin}:{end}]", "if r.strip(H): return None", f"o[{field.number}] = X(r)")

    def _variable(self, field: Field) -> None:
        if not self.length_read:
            self._length(field)
        self.length_read = False
        width = field.prefix_width
        if field.coding == "bcd":
            self._view("bcd")
            self._add(f"b = {self._offset(width)}", f"a = {self._half(width)}", "z = a + n")
            if field.pad == "right":
                self._add("v = h[a:z]", f"if n & 1 and h[z] != '{field.half:x}': return None")
            else:
                self._add("if n & 1:", f" if h[a] != '{field.half:x}': return None", " a += 1; z += 1", "v = h[a:z]")
            self._add("i = (z + 1) >> 1")
            self._content(field, "b", "i")
        else:
            self._add(f"a = {self._offset(width)}", f"i = a + {'n + n' if 'hex' in field.coding else 'n'}")
            if field.coding == "binary":
                self._add(f"o[{field.number}] = d[a:i]")
            elif field.kind == "b":
                self._hex(field, "a", "i")
            else:
                view = self._view(field.coding)
                self._add(f"v = {view}[a:i]")
                self._content(field, "a", "i")
        self.moving, self.at = True, 0

    def _length(self, field: Field) -> None:
        width = field.prefix_width
        offsets = [self._offset(k) for k in range(width)]
        if field.prefix_coding == "bcd":
            self._add("n = " + " + ".join(_term(f"B[d[{o}]]", 100 ** (width - 1 - k)) for k, o in enumerate(offsets)))
        elif field.prefix_coding == "binary":
            self._add("n = " + " + ".join(_term(f"d[{o}]", 256 ** (width - 1 - k)) for k, o in enumerate(offsets)))
        else:
            view = self._view(field.prefix_coding)
            self._add(f"n = {self._lengths(field)}[{view}[{self._offset(0)}:{self._offset(width)}]]")
            return
        self._add(f"if n > {field.maximum}: return None")

    def _lengths(self, field: Field) -> str:
        """A table that has no lengths beyond the maximum, and none that are not digits."""
        table = f"L{field.prefix}_{field.maximum}"
        self.names[table] = _read_lengths(field.prefix, field.maximum)
        return table


@cache
def _read_lengths(digits: int, maximum: int) -> dict[str, int]:
    return {f"{n:0{digits}d}": n for n in range(min(10**digits - 1, maximum) + 1)}


def _term(value: str, weight: int) -> str:
    return value if weight == 1 else f"{value} * {weight}"
