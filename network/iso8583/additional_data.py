"""DE59 as a sequence of objects: tag (2 characters), length (3 digits), value (docs/protocol.md).

What UnionPay's terminals put into element 59 has this form in general practice; no public text confirms it, and which
tags there are is this network's own usage. Lengths count bytes of UTF-8.

>>> encode_objects({"A2": {"01": "11", "02": "phone-1"}, "T1": "6299000000000007"})
'A2019010021102007phone-1T10166299000000000007'
>>> decode_objects("A2019010021102007phone-1")
{'A2': '010021102007phone-1'}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

MAX_OBJECTS: Final = 64
"""Most objects of one element; more than that is junk."""

_TAG: Final = re.compile(r"[A-Z0-9]{2}", re.ASCII)
_HEAD: Final = 5


class AdditionalDataError(ValueError):
    """A text that is no sequence of objects; the message says where, never with a value."""


def encode_objects(objects: Mapping[str, str | Mapping[str, str]]) -> str:
    """Write objects one after another, in the mapping's order.

    Parameters
    ----------
    objects
        Tag to value, or to the objects that the value holds. An object without a value stays out.

    Returns
    -------
    str
        What stands in DE59.

    Raises
    ------
    AdditionalDataError
        A tag is not two capital letters or digits, or a value has more than 999 bytes.
    """
    parts = []
    for tag, content in objects.items():
        if _TAG.fullmatch(tag) is None:
            raise AdditionalDataError("a tag has two capital letters or digits")
        value = content if isinstance(content, str) else encode_objects(content)
        if not value:
            continue
        size = len(value.encode())
        if size > 999:
            raise AdditionalDataError(f"{tag} is longer than 999 bytes")
        parts.append(f"{tag}{size:03d}{value}")
    return "".join(parts)


def decode_objects(text: str) -> dict[str, str]:
    """Read objects; the value of one that holds others is their text, to be decoded again.

    Raises
    ------
    AdditionalDataError
        The text is no such sequence, a tag stands twice, or there are more than `MAX_OBJECTS`.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise AdditionalDataError("a character that is none") from None
    found: dict[str, str] = {}
    offset = 0
    while offset < len(data):
        head = data[offset : offset + _HEAD]
        tag, length = head[:2].decode("ascii", "replace"), head[2:]
        if len(head) < _HEAD or _TAG.fullmatch(tag) is None or not length.isdigit():
            raise AdditionalDataError(f"no tag and length at byte {offset}")
        start = offset + _HEAD
        offset = start + int(length)
        if offset > len(data):
            raise AdditionalDataError(f"{tag} is cut off")
        if tag in found or len(found) == MAX_OBJECTS:
            raise AdditionalDataError(f"{tag} stands twice" if tag in found else f"more than {MAX_OBJECTS} objects")
        try:
            found[tag] = data[start:offset].decode()
        except UnicodeDecodeError:
            raise AdditionalDataError(f"{tag} is not text") from None
    return found
