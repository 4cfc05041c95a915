"""DE59 as a sequence of objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.iso8583.additional_data import AdditionalDataError, decode_objects, encode_objects

TAGS = st.text("ABRT0123456789", min_size=2, max_size=2)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


def test_objects_within_objects() -> None:
    text = encode_objects(
        {"A2": {"01": "11", "02": "phone-1", "03": "+31.2304,+121.4737"}, "A3": {"01": "62" + "1" * 17}}
    )
    outer = decode_objects(text)
    assert list(outer) == ["A2", "A3"]
    assert decode_objects(outer["A2"]) == {"01": "11", "02": "phone-1", "03": "+31.2304,+121.4737"}
    assert text[:5] == "A2042"


def test_lengths_count_bytes() -> None:
    assert encode_objects({"A5": "北京"}) == "A5006北京"
    assert decode_objects("A5006北京") == {"A5": "北京"}


def test_an_object_without_a_value_stays_out() -> None:
    assert encode_objects({"A2": {"05": ""}, "T1": "1"}) == "T10011"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A", "no tag and length at byte 0"),
        ("A200", "no tag and length at byte 0"),
        ("a2001x", "no tag and length at byte 0"),
        ("A20x1x", "no tag and length at byte 0"),
        ("A2003xy", "A2 is cut off"),
        ("A2001xA3", "no tag and length at byte 6"),
        ("A2001xA2001y", "A2 stands twice"),
        ("A2001北", "A2 is not text"),
        ("A2²²²x", "no tag and length at byte 0"),
        ("\ud800", "a character that is none"),
        ("".join(f"{number:02d}000" for number in range(65)), "more than 64 objects"),
    ],
)
def test_junk_is_named(text: str, reason: str) -> None:
    with pytest.raises(AdditionalDataError, match=reason):
        decode_objects(text)


@pytest.mark.parametrize(("tag", "value"), [("A", "x"), ("A23", "x"), ("a2", "x"), ("A2", "x" * 1000)])
def test_what_cannot_be_written(tag: str, value: str) -> None:
    with pytest.raises(AdditionalDataError):
        encode_objects({tag: value})


@given(st.dictionaries(TAGS, VALUES, max_size=20))
def test_what_was_written_is_read(objects: dict[str, str]) -> None:
    assert decode_objects(encode_objects(objects)) == objects


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        objects = decode_objects(text)
    except AdditionalDataError:
        return
    assert all(decode_objects(f"{tag}{len(value.encode()):03d}{value}") for tag, value in objects.items())
