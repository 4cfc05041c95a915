"""The data an application cryptogram is computed over, by cryptogram version.

One table says it all: for each version, the parts in their order, each a tag, its length and, where only a piece of
the value counts, where that piece lies. Padding belongs to the algorithm and is not added here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Final, NamedTuple


class CryptogramDataError(ValueError):
    """A cryptogram version that is not known, or chip data that lacks a part it needs; names the tag."""


class Part(NamedTuple):
    """One part of the data.

    Attributes
    ----------
    tag : str
        Where the value comes from.
    length : int
        Bytes this part has in the data.
    offset : int or None
        Where the part begins in a longer value; None when the value is the part and must be exactly that long.

    """

    tag: str
    length: int
    offset: int | None = None


CRYPTOGRAM_DATA: Final[Mapping[int, tuple[Part, ...]]] = {
    # Version 01: the card verification results are bytes 4 to 7 of the issuer application data.
    0x01: (
        Part("9F02", 6),
        Part("9F03", 6),
        Part("9F1A", 2),
        Part("95", 5),
        Part("5F2A", 2),
        Part("9A", 3),
        Part("9C", 1),
        Part("9F37", 4),
        Part("82", 2),
        Part("9F36", 2),
        Part("9F10", 4, 3),
    ),
    # Version 17, the short one of contactless transactions: byte 5 of 9F10 only. Unconfirmed by a citable text.
    0x17: (
        Part("9F02", 6),
        Part("9F37", 4),
        Part("9F36", 2),
        Part("9F10", 1, 4),
    ),
}
"""The parts by cryptogram version, the key being the byte that stands in the issuer application data."""


def assemble(cryptogram_version: int, values: Mapping[str, bytes]) -> bytes:
    """Put together the data of a cryptogram, unpadded.

    Parameters
    ----------
    cryptogram_version : int
        The byte of the issuer application data: 0x01 or 0x17.
    values : mapping of str to bytes
        Tag to value, as `network.emv.tlv.flat` gives them for element 55.

    Returns
    -------
    bytes
        37 bytes for version 01, 13 for version 17.

    Raises
    ------
    CryptogramDataError
        When the version is not known, a tag is missing, or its value is not of the length it must have.

    """
    quick = _QUICK.get(cryptogram_version)
    if quick is None:
        raise CryptogramDataError(f"cryptogram version {cryptogram_version:02X} is not known")
    pick, lengths, whole, last = quick
    try:
        *pieces, application_data = pick(values)
    except KeyError as error:
        raise CryptogramDataError(f"{error.args[0]} is missing") from None
    if tuple(map(len, pieces)) != lengths or len(application_data) < whole:
        raise CryptogramDataError(_wrong_length(cryptogram_version, values))
    pieces.append(application_data[last])
    return b"".join(pieces)


def _wrong_length(cryptogram_version: int, values: Mapping[str, bytes]) -> str:
    for tag, length, offset in CRYPTOGRAM_DATA[cryptogram_version]:
        value = values[tag] if offset is None else values[tag][offset : offset + length]
        if len(value) != length:
            return f"{tag} does not hold the {length} bytes that count"
    return "a part has the wrong length"


def _prepare(
    parts: tuple[Part, ...],
) -> tuple[Callable[[Mapping[str, bytes]], tuple[bytes, ...]], tuple[int, ...], int, slice]:
    """What `assemble` needs of a version at hand: the last part is cut out of the issuer application data."""
    *others, (_, length, offset) = parts
    assert offset is not None  # noqa: S101 - 9F10 is the last part of every version
    return (
        itemgetter(*(part.tag for part in parts)),
        tuple(part.length for part in others),
        offset + length,
        slice(offset, offset + length),
    )


_QUICK: Final = {version: _prepare(parts) for version, parts in CRYPTOGRAM_DATA.items()}
