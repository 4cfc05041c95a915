import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.emv import TlvError, dol

REAL_PDOL = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")


def test_a_real_list_is_read() -> None:
    assert dol.parse(REAL_PDOL) == [
        ("9F66", 4), ("9F02", 6), ("9F03", 6), ("9F1A", 2), ("95", 5), ("5F2A", 2), ("9A", 3), ("9C", 1), ("9F37", 4),
    ]  # fmt: skip
    assert dol.encode(dol.parse(REAL_PDOL)) == REAL_PDOL


@pytest.mark.parametrize(
    ("entry", "value", "expected"),
    [
        ("9F0206", "000000001250", "000000001250"),
        # numeric: both on the left
        ("9F0203", "000000001250", "001250"),
        ("9F0208", "000000001250", "0000000000001250"),
        ("5F2A01", "0156", "56"),
        # compressed numeric: both on the right, padded with F
        ("5A04", "622800010000", "62280001"),
        ("5A08", "62280001", "62280001FFFFFFFF"),
        # everything else, tags nobody knows included: both on the right
        ("9F3702", "01020304", "0102"),
        ("9F3706", "01020304", "010203040000"),
        ("9F1E03", "3132333435363738", "313233"),
        ("DF8F0102", "AABBCC", "AABB"),
        ("DF8F0104", "AABBCC", "AABBCC00"),
        # a template is never given
        ("7003", "5A0112", "000000"),
        ("9F0200", "000000001250", ""),
    ],
)
def test_values_are_cut_and_padded_by_their_format(entry: str, value: str, expected: str) -> None:
    wanted = bytes.fromhex(entry)
    tag = dol.parse(wanted)[0][0]
    assert dol.build(wanted, {tag: bytes.fromhex(value)}) == bytes.fromhex(expected)


def test_missing_values_are_zeros() -> None:
    assert dol.build(bytes.fromhex("9F37045A02DF7F01"), {"9F37": bytes.fromhex("01020304")}) == bytes.fromhex(
        "01020304000000"
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("9F", "cut short"),
        ("9F37", "cut short"),
        ("9C", "cut short"),
        ("DF81", "cut short"),
        ("DF81818104", "more than three"),
        ("9F37FD", "bytes asked for"),
        ("9F37809F027D", "bytes asked for"),
        ("9C00" * (dol.MAX_ENTRIES + 1), "entries"),
    ],
)
def test_malformed_lists_are_refused(data: str, reason: str) -> None:
    with pytest.raises(TlvError, match=reason):
        dol.parse(bytes.fromhex(data))


@pytest.mark.parametrize("entry", [("9F37", 256), ("9", 1), ("9f37", 4), ("9C9C", 1)])
def test_what_is_no_entry_is_not_written(entry: tuple[str, int]) -> None:
    with pytest.raises(TlvError, match="entry"):
        dol.encode([entry])


@given(st.binary(max_size=40))
def test_any_bytes_give_entries_or_an_error(data: bytes) -> None:
    try:
        entries = dol.parse(data)
    except TlvError:
        return
    assert dol.encode(entries) == data
    assert len(dol.build(data, {})) == sum(length for _, length in entries)
