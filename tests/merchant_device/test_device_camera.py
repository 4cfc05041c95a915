"""Reading codes from pictures: turned, blurred, dim, grainy, two in view, damaged, oversized."""

import io
import struct
import time
import zlib
from random import Random

import pytest
import segno
from PIL import Image

from merchant_device.camera import MAX_PICTURE, read_codes
from merchant_device.payer_code import is_payer_code
from network.emv.qr import PayerCode
from scenarios.stories.pictures import View, draw, photograph

CODE = "6212345678901234567"
OTHER = "6298765432109876543"
PAYER_CODE = PayerCode(
    aid=bytes.fromhex("A000000333010101"),
    token="6299000000000007",
    expiry="3012",
    sequence=None,
    iad=bytes.fromhex("07010103A00000010A"),
    cryptogram=bytes.fromhex("1122334455667788"),
    atc=b"\x00\x07",
    unpredictable_number=bytes.fromhex("6923A1B2"),
).build()
TEXTS = [CODE, PAYER_CODE]
VIEWS = {
    "straight": View(),
    "tilted": View(degrees=13),
    "upright": View(degrees=90),
    "upside down": View(degrees=180),
    "askew": View(degrees=-137),
    "blurred": View(blur=1.5),
    "dim": View(light=0.15),
    "very dim": View(light=0.04),
    "grainy": View(noise=0.2),
    "all at once": View(20, 1.0, 0.3, 0.1),
}


@pytest.mark.parametrize("text", TEXTS, ids=["digits", "EMVCo"])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_a_code_is_read(view, text):
    assert read_codes(photograph(draw(text), view=view, random=Random(1))) == [text]


def test_hurried_hands_are_read_as_a_rule():
    random = Random(7)
    good = sum(
        read_codes(photograph(draw(PAYER_CODE), view=View.unsteady(random), random=random)) == [PAYER_CODE]
        for _ in range(20)
    )
    assert good >= 17


@pytest.mark.parametrize("view", [View(), View(degrees=25, light=0.5)])
def test_two_codes_in_view_are_both_seen(view):
    seen = read_codes(photograph(draw(CODE), draw(OTHER), view=view, random=Random(1)))
    assert sorted(seen) == [CODE, OTHER]
    assert read_codes(photograph(draw(CODE), draw(CODE), view=view, random=Random(1))) == [CODE]


def test_white_on_black_and_jpeg():
    buffer = io.BytesIO()
    segno.make_qr(CODE).save(buffer, kind="png", scale=4, dark="white", light="black")
    assert read_codes(buffer.getvalue()) == [CODE]
    buffer = io.BytesIO()
    Image.open(io.BytesIO(draw(CODE))).convert("RGB").resize((2400, 2400)).save(buffer, "JPEG", quality=40)
    assert read_codes(buffer.getvalue()) == [CODE]


def test_nothing_to_be_read():
    assert read_codes(b"") == []
    assert read_codes(photograph(draw(CODE), view=View(blur=30), random=Random(1))) == []
    assert read_codes(photograph(draw(CODE), view=View(light=0), random=Random(1))) == []
    buffer = io.BytesIO()
    Image.open(io.BytesIO(draw(CODE))).convert("L").save(buffer, "GIF")
    assert read_codes(buffer.getvalue()) == [], "another format"


def _png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_pictures_that_would_unfold_into_gigabytes_are_not_unfolded():
    for side in (5_000, 60_000, 2**31 - 1):
        bomb = _png(side, side, zlib.compress(bytes(10_000_000), 9))
        began = time.process_time()
        assert read_codes(bomb) == []
        assert time.process_time() - began < 0.2
    assert read_codes(draw(CODE) + bytes(MAX_PICTURE)) == []


def test_damaged_pictures_never_raise():
    random = Random(11)
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(draw(CODE))).convert("RGB").save(jpeg, "JPEG")
    seen = 0
    for picture in (draw(CODE), jpeg.getvalue()):
        for _ in range(400):
            damaged = bytearray(picture)
            for _ in range(random.randint(1, 6)):
                damaged[random.randrange(len(damaged))] = random.randrange(256)
            cut = damaged[: random.randrange(len(damaged))] if random.random() < 0.3 else damaged
            seen += read_codes(bytes(cut)) == [CODE]
    assert 0 < seen < 800
    for length in (1, 8, 100, 5000):
        assert read_codes(random.randbytes(length)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CODE, True),
        (PAYER_CODE, True),
        (CODE[:-1], False),
        ("7" + CODE[1:], False),
        (CODE + "1", False),
        (PAYER_CODE[:-8], False),
        ("https://example.com", False),
        ("", False),
        ("６２" + CODE[2:], False),
    ],
)
def test_which_texts_are_payers_codes(text, expected):
    assert is_payer_code(text) is expected


def test_mutated_texts_never_raise():
    random = Random(3)
    for _ in range(10_000):
        text = list(random.choice(TEXTS))
        for _ in range(random.randint(1, 5)):
            text[random.randrange(len(text))] = chr(random.choice((random.randrange(128), random.randrange(0x3000))))
        is_payer_code("".join(text)[: random.randint(0, 200)])
