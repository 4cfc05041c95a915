"""Chip data for people: one line an object, card data masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from network.emv.tags import TAGS, Format, TagInfo
from network.emv.tlv import Node, TlvError, parse

_CLEAR_HEAD: Final = 6
_CLEAR_TAIL: Final = 4
_INDENT: Final = "  "
_ACCOUNT_TAGS: Final = frozenset({"5A", "57", "56", "9F6B"})
_TEXTUAL: Final = (Format.ALPHABETIC, Format.ALPHANUMERIC, Format.ALPHANUMERIC_SPECIAL)


def describe_tlv(data: bytes, unmask: bool = False) -> list[str]:
    """Describe BER-TLV data, one line an object, members indented below their template.

    Of an account number the first six and the last four digits are shown, of track data the account number's; other
    sensitive values show as stars altogether. Any bytes are described: where they stop being TLV, the last line
    says so, without showing them.

    Parameters
    ----------
    data : bytes
        The objects, for instance the value of element 55.
    unmask : bool
        Show sensitive values in clear. For demonstration keys and cards only.

    Returns
    -------
    list of str
        Lines such as ``"9F36 Application transaction counter: 0240"``.

    """
    lines: list[str] = []
    fault: TlvError | None = None
    nodes: Sequence[Node]
    try:
        nodes = parse(data)
    except TlvError as error:
        fault, nodes = error, error.parsed
    for node in nodes:
        _describe(node, 0, unmask, lines)
    if fault is not None:
        lines.append(f"not TLV at offset {fault.offset}: {fault.reason}")
    return lines


def mask_tag(tag: str, value: bytes) -> str:
    """Give `value` as hexadecimal characters, masked where `tag` is known to hold card data.

    Account numbers keep their first six and last four digits; other sensitive values keep nothing but their length.
    """
    known = TAGS.get(tag)
    text = value.hex().upper()
    if known is None or not known.sensitive:
        return text
    if tag == "56":
        return "*" * len(text) if b"^" not in value else _mask_track1(value)
    if tag in _ACCOUNT_TAGS:
        account, separator, rest = text.partition("D") if tag != "5A" else (text.rstrip("F"), "", "")
        return _mask_digits(account) + separator + "*" * len(rest)
    return "*" * len(text)


def _describe(node: Node, depth: int, unmask: bool, lines: list[str]) -> None:
    known = TAGS.get(node.tag)
    head = f"{_INDENT * depth}{node.tag} {known.name if known else 'unknown'}"
    if node.constructed:
        lines.append(head)
        for child in node.children:
            _describe(child, depth + 1, unmask, lines)
        return
    value = node.value.hex().upper() if unmask else mask_tag(node.tag, node.value)
    lines.append(f"{head}: {value}{_as_text(known, node.value, unmask)}")


def _as_text(known: TagInfo | None, value: bytes, unmask: bool) -> str:
    if known is None or known.format not in _TEXTUAL or (known.sensitive and not unmask):
        return ""
    text = value.decode("ascii", "replace")
    return f' "{text}"' if text.isprintable() and text.isascii() else ""


def _mask_digits(digits: str) -> str:
    hidden = len(digits) - _CLEAR_HEAD - _CLEAR_TAIL
    if hidden <= 0:
        return "*" * len(digits)
    return digits[:_CLEAR_HEAD] + "*" * hidden + digits[-_CLEAR_TAIL:]


def _mask_track1(value: bytes) -> str:
    account, _, rest = value.decode("latin-1").partition("^")
    return f"{_mask_digits(account.lstrip('B'))}^{'*' * len(rest)}"
