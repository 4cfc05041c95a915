"""Payment codes: EMVCo's published samples, what the network writes, and what it refuses."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.emv import tlv
from network.emv.qr import MerchantCode, PayerCode, QrError, crc, is_domestic_code, merchant_objects

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "qr.json").read_text())
ORDER = MerchantCode(
    is_static=False,
    acquirer_id="48020000",
    order="48020000000000000007",
    merchant_id="898290054110001",
    terminal_id="00000001",
    merchant_name="王记菜摊",
    city="上海",
    category="5411",
    amount=1234,
)
PAYER = PayerCode(
    aid=bytes.fromhex("A000000333010102"),
    token="6299001234567890",
    expiry="3002",
    sequence="001",
    iad=bytes.fromhex("07010103A0000001"),
    cryptogram=bytes(range(8)),
    atc=b"\x00\x07",
    unpredictable_number=b"\x6a\x00\x00\x01",
    name="LI/LEI",
)


def resealed(text: str) -> str:
    """The same text with a right CRC."""
    return text[:-4] + crc(text[:-4])


def test_the_published_merchant_code() -> None:
    objects = merchant_objects(VECTORS["mpm"])
    assert objects["63"] == VECTORS["mpm_crc"]
    assert objects["59"] == "BEST TRANSPORT"
    assert objects["54"] == "23.72"
    assert objects["64"] == "0002ZH0104最佳运输0202北京"
    with pytest.raises(QrError, match="no merchant of this network"):
        MerchantCode.parse(VECTORS["mpm"])


def test_the_published_check_value() -> None:
    assert crc("123456789") == "29B1"


def test_the_published_payer_code() -> None:
    code = PayerCode.parse(VECTORS["cpm_base64"])
    assert code.aid.hex().upper() == VECTORS["cpm_tags"]["61/4F"][0]
    assert code.token == VECTORS["cpm_tags"]["62/5A"]
    assert code.name == VECTORS["cpm_tags"]["62/5F20"]
    assert code.cryptogram.hex().upper() == "584FD385FA234BCC"
    assert (code.atc, code.unpredictable_number) == (b"\x00\x01", bytes.fromhex("6D58EF13"))
    assert code.expiry is None
    assert code.token not in repr(code)


def test_a_dynamic_code_word_for_word() -> None:
    text = replace(ORDER, merchant_name="Stall", city="Shanghai").build()
    assert text[:-4] == (
        "000201010212" + "1531" + "4802000048020000898290054110001" + "52045411" + "5303156" + "540512.34" + "5802CN"
        "5905Stall" + "6008Shanghai" + "6236" + "0520" + "48020000000000000007" + "0708" + "00000001" + "6304"
    )


@pytest.mark.parametrize(
    "code",
    [
        ORDER,
        replace(ORDER, is_static=True, order=None, amount=None, terminal_id=None),
        replace(ORDER, merchant_name="A" * 25, city="B" * 15, amount=999_999_999_999),
        replace(ORDER, merchant_name="A stall whose name is long", others={"55": "01", "80": "0005other"}),
        replace(ORDER, amount=1),
    ],
)
def test_what_was_written_is_read(code: MerchantCode) -> None:
    parsed = MerchantCode.parse(code.build())
    assert parsed == replace(code, merchant_name=code.merchant_name[:25])


@pytest.mark.parametrize("place", range(0, 140, 7))
def test_a_changed_character_is_found(place: int) -> None:
    text = ORDER.build()
    changed = text[:place] + ("8" if text[place] != "8" else "9") + text[place + 1 :]
    with pytest.raises(QrError):
        MerchantCode.parse(changed)


def test_a_changed_amount_is_found() -> None:
    with pytest.raises(QrError, match="the CRC is wrong"):
        MerchantCode.parse(ORDER.build().replace("540512.34", "540511.34"))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("000201", "000202", "payload format indicator"),
        ("010212", "010213", "point of initiation"),
        ("52045411", "520354A", "merchant category code"),
        ("5303156", "530215", "currency"),
        ("540512.34", "54050.000", "amount"),
        ("540512.34", "540512,34", "amount"),
        ("540512.34", "540212", None),
        ("5802CN", "5802cn", "country"),
        ("5802CN", "", "country"),
        ("1531", "1631", "no merchant of this network"),
        ("5802CN", "5802CN5802CN", "stands twice"),
        ("6236", "6239", "cut off"),
    ],
)
def test_each_object_is_looked_at(old: str, new: str, reason: str | None) -> None:
    text = resealed(ORDER.build().replace(old, new, 1))
    if reason is None:
        assert MerchantCode.parse(text).amount == 1200
    else:
        with pytest.raises(QrError, match=reason):
            MerchantCode.parse(text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"acquirer_id": "4802000"}, "acquirer_id"),
        ({"merchant_id": "1"}, "merchant_id"),
        ({"terminal_id": "1"}, "terminal_id"),
        ({"order": "x" * 26}, "order"),
        ({"category": "541"}, "category"),
        ({"amount": 0}, "amount"),
        ({"amount": 10**12}, "amount"),
        ({"merchant_name": ""}, "merchant_name"),
        ({"others": {"54": "1.00"}}, "others"),
        ({"others": {"5": "1.00"}}, "others"),
    ],
)
def test_a_code_that_cannot_be(change: dict[str, object], reason: str) -> None:
    with pytest.raises(QrError, match=reason):
        replace(ORDER, **change)


def test_too_long_a_code() -> None:
    with pytest.raises(QrError, match="longer than 512"):
        replace(ORDER, others={str(tag): "x" * 99 for tag in range(80, 86)}).build()
    with pytest.raises(QrError, match="longer than 99"):
        replace(ORDER, others={"80": "x" * 100}).build()


@pytest.mark.parametrize(
    "code", [PAYER, replace(PAYER, expiry=None, sequence=None, name=None), replace(PAYER, token="6299001234567890123")]
)
def test_a_payer_code_is_read_as_it_was_written(code: PayerCode) -> None:
    assert PayerCode.parse(code.build()) == code


def test_a_payer_code_has_the_tags_of_the_standard() -> None:
    data = base64.b64decode(PAYER.build())
    top = tlv.objects(data)
    assert [tag for tag, _ in top] == ["85", "61", "62"]
    assert list(tlv.flat(top[2][1])) == ["5A", "5F20", "5F24", "5F34", "64"]
    assert tlv.flat(top[2][1])["5F24"].hex() == "300228"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "CPV01"),
        ("!", "base64"),
        ("北京", "base64"),
        ("A" * 513, "longer"),
        (base64.b64encode(tlv.encode("85", b"CPV02")).decode(), "CPV01"),
        (base64.b64encode(tlv.encode("85", b"CPV01")).decode(), "62"),
        (base64.b64encode(tlv.encode("85", b"CPV01") + b"\x62\x7f").decode(), "malformed"),
        (base64.b64encode(tlv.encode("85", b"CPV01") + tlv.encode("62", b"")).decode(), "4F"),
    ],
)
def test_what_is_no_payer_code(text: str, reason: str) -> None:
    with pytest.raises(QrError, match=reason):
        PayerCode.parse(text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"aid": b"1234"}, "4F"),
        ({"token": "629900"}, "5A"),
        ({"expiry": "3013"}, "5F24"),
        ({"sequence": "1"}, "5F34"),
        ({"iad": b""}, "9F10"),
        ({"cryptogram": b""}, "9F26"),
        ({"atc": b""}, "9F36"),
        ({"unpredictable_number": b""}, "9F37"),
    ],
)
def test_a_payer_code_that_cannot_be(change: dict[str, object], reason: str) -> None:
    with pytest.raises(QrError, match=reason):
        replace(PAYER, **change)


@pytest.mark.parametrize(
    ("text", "is_code"),
    [("62" + "0" * 17, True), ("63" + "0" * 17, False), ("62" + "0" * 16, False), ("62" + "²" * 17, False)],
)
def test_a_domestic_code(text: str, is_code: bool) -> None:
    assert is_domestic_code(text) is is_code


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (MerchantCode.parse, PayerCode.parse):
        with pytest.raises(QrError):
            parse(text)


@given(st.data())
def test_mutated_codes_are_read_or_refused(data: st.DataObject) -> None:
    for good, parse in ((ORDER.build(), MerchantCode.parse), (PAYER.build(), PayerCode.parse)):
        place = data.draw(st.integers(0, len(good) - 1))
        text = good[:place] + data.draw(st.text(max_size=3)) + good[place + data.draw(st.integers(0, 3)) :]
        for candidate in (text, resealed(text) if len(text) > 4 else text):
            try:
                parse(candidate)
            except QrError:
                continue
