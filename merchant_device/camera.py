"""Reading codes from pictures: whatever the bytes are, the answer is a list of texts, empty where there is none.

A picture comes from outside the trusted side: how large it may be, of which formats, and into how many pixels it may
unfold is limited before it is unfolded.
"""

from __future__ import annotations

import io
from typing import Final

import zxingcpp
from PIL import Image, ImageOps

MAX_PICTURE: Final = 8 * 1024 * 1024
"""Bytes of a picture that is looked at."""

MAX_PIXELS: Final = 16_000_000
"""Pixels of a picture that is looked at, that of a telephone's camera; more is not unfolded."""

MAX_SIDE: Final = 1600
"""Pixels of the longer side that the search for codes works on."""

MAX_CODES: Final = 8
"""Codes of one picture that are given; nobody holds more into a camera."""

_FORMATS: Final = ("PNG", "JPEG")
_QR_CODE: Final = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode])


def read_codes(picture: bytes) -> list[str]:
    """The texts of the QR codes in a picture, each once.

    Parameters
    ----------
    picture : bytes
        A PNG or JPEG file; anything else, and what is damaged or too large, has no codes.

    Returns
    -------
    list of str
        At most `MAX_CODES`, in no particular order.
    """
    if not 0 < len(picture) <= MAX_PICTURE:
        return []
    try:
        grey = _grey(picture)
        found = [] if grey is None else _search(grey)
        if grey is not None and not found:
            # in the dark black and white lie too close together for the search
            found = _search(ImageOps.autocontrast(grey, cutoff=1))
    except Exception:  # decoders of pictures raise whatever a damaged file leads them to
        return []
    return list(dict.fromkeys(found))[:MAX_CODES]


def _grey(picture: bytes) -> Image.Image | None:
    """The picture in shades of grey, not larger than the search needs; None where it is too large."""
    with Image.open(io.BytesIO(picture), formats=_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            return None
        image.draft("L", (MAX_SIDE, MAX_SIDE))
        grey = image.convert("L")
    grey.thumbnail((MAX_SIDE, MAX_SIDE))
    return grey


def _search(grey: Image.Image) -> list[str]:
    found = zxingcpp.read_barcodes(grey, formats=_QR_CODE, text_mode=zxingcpp.TextMode.Plain)
    return [one.text for one in found if one.valid]
