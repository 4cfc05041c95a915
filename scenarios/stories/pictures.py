"""Pictures of codes: what a screen shows and what a camera makes of it (turned, blurred, dim, two codes in view)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from random import Random
from typing import Final

import segno
import zxingcpp
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

SCALE: Final = 4
"""Pixels a module of a code that is shown."""


@dataclass(frozen=True)
class View:
    """How a camera sees a screen.

    Attributes
    ----------
    degrees : float
        How far the picture is turned.
    blur : float
        Radius of the blur, pixels.
    light : float
        1 is daylight, 0 is dark.
    noise : float
        How much grain there is, 0 to 1.
    """

    degrees: float = 0.0
    blur: float = 0.0
    light: float = 1.0
    noise: float = 0.0

    @classmethod
    def unsteady(cls, random: Random) -> View:
        """A hurried shopper's hand in an evening's light: readable as a rule."""
        return cls(random.uniform(-35, 35), random.uniform(0, 1.2), random.uniform(0.35, 1), random.uniform(0, 0.15))


def draw(text: str) -> bytes:
    """A screen that shows `text` as a QR code: a PNG."""
    buffer = io.BytesIO()
    segno.make_qr(text, error="m").save(buffer, kind="png", scale=SCALE)
    return buffer.getvalue()


def photograph(*screens: bytes, view: View, random: Random) -> bytes:
    """What a camera sees of one screen, or of several side by side: a PNG."""
    shown = [Image.open(io.BytesIO(screen)).convert("L") for screen in screens]
    width = sum(image.width for image in shown) + 60 * (len(shown) + 1)
    scene = Image.new("L", (width, max(image.height for image in shown) + 120), 200)
    left = 60
    for image in shown:
        scene.paste(image, (left, 60))
        left += image.width + 60
    scene = scene.rotate(view.degrees, expand=True, fillcolor=200, resample=Image.Resampling.BICUBIC)
    if view.blur:
        scene = scene.filter(ImageFilter.GaussianBlur(view.blur))
    if view.light < 1:
        scene = ImageEnhance.Brightness(scene).enhance(view.light)
    if view.noise:
        grain = Image.frombytes("L", scene.size, random.randbytes(scene.width * scene.height))
        # grain around the middle grey, so that noise neither lights nor darkens the scene
        scene = ImageChops.add(scene, grain.point(lambda value: round(value * view.noise)), 1, -round(127 * view.noise))
    buffer = io.BytesIO()
    scene.save(buffer, "PNG")
    return buffer.getvalue()


def read(picture: bytes) -> list[str]:
    """The QR codes in a picture, as the payer's App reads them."""
    with Image.open(io.BytesIO(picture)) as image:
        grey = image.convert("L")
    found = zxingcpp.read_barcodes(grey, formats=zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode]))
    return [one.text for one in found if one.valid]
