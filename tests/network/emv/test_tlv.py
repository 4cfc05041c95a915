import copy
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.emv import Node, TlvError, tlv

VECTORS = Path(__file__).parents[2] / "vectors"


def element_55_samples() -> list[bytes]:
    messages = json.loads((VECTORS / "messages.json").read_text())
    texts = [message["decoded"].get("55", "") for message in messages]
    samples = [
        bytes.fromhex(text.split("] ")[-1].removeprefix("hex:")) for text in texts if "9F26" in text or "9F36" in text
    ]
    assert len(samples) >= 4
    return samples


@pytest.mark.parametrize("sample", element_55_samples(), ids=range(len(element_55_samples())))
def test_public_samples_are_read_and_written_byte_for_byte(sample: bytes) -> None:
    assert tlv.build(tlv.parse(sample)) == sample
    assert tlv.encode_all(tlv.flat(sample)) == sample
    assert list(tlv.flat(sample).items()) == tlv.objects(sample)


def test_flat_reads_the_published_values() -> None:
    expected = json.loads((VECTORS / "cryptograms.json").read_text())["pboc"][0]["de55"]
    data = b"".join(tlv.encode(tag, bytes.fromhex(value)) for tag, value in expected.items())
    assert {tag: value.hex().upper() for tag, value in tlv.flat(data).items()} == expected
    assert list(tlv.flat(data)) == list(expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", []),
        ("00FF00", []),
        ("009C0100FF5A021234FF", [("9C", "00"), ("5A", "1234")]),
        ("DF810102AABB", [("DF8101", "AABB")]),
        ("9F268103010203", [("9F26", "010203")]),
        ("9F26820003010203", [("9F26", "010203")]),
        ("50028081", [("50", "8081")]),
        ("7203860101", [("72", "860101")]),
        ("DF7F00", [("DF7F", "")]),
        ("1F0501AA", [("1F05", "AA")]),
    ],
)
def test_objects(data: str, expected: list[tuple[str, str]]) -> None:
    want = [(tag, bytes.fromhex(value)) for tag, value in expected]
    raw = bytes.fromhex(data)
    assert tlv.objects(raw) == want
    assert list(tlv.flat(raw).items()) == want
    assert [(node.tag, node.value) for node in tlv.parse(raw)] == want


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        ("9F", 0, "cut short"),
        ("9C", 1, "length missing"),
        ("9C02AA", 0, "2 bytes announced, 1 there"),
        ("9C01AA5A0412", 3, "4 bytes announced, 1 there"),
        ("9C80AA0000", 1, "indefinite"),
        ("9C83000001AA", 1, "length field of 4 bytes"),
        ("9C81", 1, "length cut short"),
        ("9C8201", 1, "length cut short"),
        ("DF81818101AA", 0, "more than three bytes"),
        ("DF81", 0, "cut short"),
    ],
)
def test_malformed_data_name_the_offset_and_the_reason(data: str, offset: int, reason: str) -> None:
    raw = bytes.fromhex(data)
    for read in (tlv.parse, tlv.objects):
        with pytest.raises(TlvError, match=reason) as caught:
            read(raw)
        assert caught.value.offset == offset
    with pytest.raises(TlvError):
        tlv.flat(raw)


def test_the_offset_of_a_nested_fault_counts_from_the_start() -> None:
    data = bytes.fromhex("9C0100" + "7004" + "5A021234" + "7003" + "5A0212")
    with pytest.raises(TlvError) as caught:
        tlv.parse(data)
    assert caught.value.offset == 11
    assert [node.tag for node in caught.value.parsed] == ["9C", "70"]


def test_an_error_shows_no_value_and_survives_copying() -> None:
    with pytest.raises(TlvError) as caught:
        tlv.parse(bytes.fromhex("5A106228000100001"[:-1]))
    assert "6228" not in str(caught.value)
    again = pickle.loads(pickle.dumps(copy.copy(caught.value)))
    assert (again.offset, again.reason) == (caught.value.offset, caught.value.reason)


def test_flat_refuses_a_tag_given_twice_and_objects_keeps_both() -> None:
    data = bytes.fromhex("9F360200019F36020002")
    with pytest.raises(TlvError, match="9F36 occurs twice") as caught:
        tlv.flat(data)
    assert caught.value.offset == 5
    assert [value for _, value in tlv.objects(data)] == [b"\x00\x01", b"\x00\x02"]
    assert tlv.find(data, "9F36") == b"\x00\x01"


def test_find_looks_no_further_than_needed() -> None:
    data = bytes.fromhex("00910A0102030405060708303072" + "FF")
    assert tlv.find(data, "91") == bytes.fromhex("01020304050607083030")
    with pytest.raises(TlvError):
        tlv.find(data, "71")
    assert tlv.find(b"\x9c\x01\x00", "91") is None


def test_limits() -> None:
    deep = b""
    for _ in range(tlv.MAX_DEPTH):
        deep = tlv.encode("70", deep)
    assert tlv.build(tlv.parse(deep)) == deep
    with pytest.raises(TlvError, match="deeper"):
        tlv.parse(tlv.encode("70", deep))
    crowd = b"\x9c\x00" * tlv.MAX_OBJECTS
    assert len(tlv.parse(crowd)) == len(tlv.objects(crowd)) == tlv.MAX_OBJECTS
    for read in (tlv.parse, tlv.objects):
        with pytest.raises(TlvError, match="objects"):
            read(crowd + b"\x9c\x00")
    for read_all in (tlv.parse, tlv.objects, tlv.flat):
        with pytest.raises(TlvError, match="at most"):
            read_all(bytes(tlv.MAX_LENGTH + 1))
    nested = Node("9C")
    for _ in range(tlv.MAX_DEPTH):
        nested = Node("70", children=(nested,))
    with pytest.raises(TlvError, match="deeper"):
        tlv.build([nested])


@pytest.mark.parametrize("tag", ["", "9", "9f26", "9F", "00", "FF01", "DF818181", "9C00", "ZZ", "9F2601"])
def test_what_is_no_tag_is_not_written(tag: str) -> None:
    with pytest.raises(TlvError, match="not a tag"):
        tlv.encode(tag, b"")


def test_a_primitive_object_has_no_members() -> None:
    with pytest.raises(TlvError, match="primitive"):
        tlv.build([Node("9C", children=(Node("9C"),))])


def test_a_value_too_long_is_not_written() -> None:
    assert tlv.encode("9C", bytes(65535))[:4] == bytes.fromhex("9C82FFFF")
    with pytest.raises(TlvError, match="at most"):
        tlv.encode("9C", bytes(65536))


def test_a_repr_shows_no_value() -> None:
    node = tlv.parse(bytes.fromhex("7006" + "5A0462280001"))[0]
    assert "6228" not in repr(node)
    assert repr(node) == "Node(70, 6 bytes, 1 members)"


firsts = st.integers(0x01, 0xFE)
tags = st.one_of(
    firsts.filter(lambda first: first & 0x1F != 0x1F).map(lambda first: f"{first:02X}"),
    st.builds("{:02X}{:02X}".format, st.sampled_from([0x1F, 0x3F, 0x5F, 0x9F, 0xBF, 0xDF]), st.integers(0, 0x7F)),
    st.builds("{:02X}{:04X}".format, st.sampled_from([0x3F, 0xDF]), st.integers(0, 0x7F).map(lambda n: 0x8100 | n)),
)
leaves = st.builds(
    Node,
    tags.filter(lambda tag: not tlv.is_constructed(tag)),
    st.binary(max_size=300),
    length_octets=st.integers(1, 3),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda tag, children: Node(tag, tlv.build(children), tuple(children), 3),
        tags.filter(tlv.is_constructed),
        st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(trees, max_size=4))
def test_trees_round_trip(nodes: list[Node]) -> None:
    data = tlv.build(nodes)
    again = tlv.parse(data)
    assert tlv.build(again) == data
    assert [(node.tag, node.value) for node in again] == tlv.objects(data)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(tags, st.binary(max_size=300), max_size=12))
def test_flat_round_trips(values: dict[str, bytes]) -> None:
    assert tlv.flat(tlv.encode_all(values)) == values


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_objects_or_a_tlv_error_and_the_views_agree(data: bytes) -> None:
    try:
        listed = tlv.objects(data)
    except TlvError:
        with pytest.raises(TlvError) as caught:
            tlv.flat(data)
        assert 0 <= caught.value.offset <= len(data)
        with pytest.raises(TlvError):
            tlv.parse(data)
        return
    if len({tag for tag, _ in listed}) == len(listed):
        assert list(tlv.flat(data).items()) == listed
    else:
        with pytest.raises(TlvError):
            tlv.flat(data)
    for tag, _ in listed:
        assert tlv.find(data, tag) == dict(reversed(listed))[tag]
