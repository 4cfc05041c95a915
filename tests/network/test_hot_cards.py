"""The list of stopped cards: pages by an oracle, and whatever bytes come."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.hot_cards import (
    MOST_CARDS,
    MOST_PAGES,
    NO_CARDS,
    PAGE_CARDS,
    HotListError,
    HotListPage,
    card_digest,
    hot_list,
    page_number,
    pages,
    parse_page_number,
)

SALT = bytes(range(16))
PANS = st.from_regex(r"[0-9]{13,19}", fullmatch=True)


def test_a_digest_is_what_another_program_makes_of_the_same() -> None:
    made = subprocess.run(
        ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{SALT.hex()}"],
        input=b"6228480000001000",
        capture_output=True,
        check=True,
    )
    assert made.stdout.split()[-1][:16] == card_digest(SALT, "6228480000001000").hex().encode()


@given(st.sets(PANS, max_size=300), st.binary(min_size=16, max_size=16))
def test_a_list_that_travels_holds_the_cards_on_it_and_no_others(pans: set[str], salt: bytes) -> None:
    contents = [page.build() for page in pages(salt, sorted(pans))]
    assert all(len(content) <= 999 for content in contents)
    read = [HotListPage.parse(content) for content in contents]
    assert [page.more for page in read if page] == [True] * (len(read) - 1) + [False] * bool(read)
    assert [page.number for page in read if page] == list(range(1, len(read) + 1))
    assert len(read) == -(-len(pans) // PAGE_CARDS)
    is_hot = hot_list([(page.salt, page.digests) for page in read if page])
    assert (is_hot is None) == (not pans)
    for pan in pans:
        assert is_hot is not None
        assert is_hot(pan)
        other = pan[:-1] + str((int(pan[-1]) + 1) % 10)
        assert is_hot(other) == (other in pans)
        assert not any(pan.encode() in content for content in contents)


def test_the_order_in_which_cards_were_stopped_does_not_show() -> None:
    pans = [f"62284800000{n:05d}" for n in range(500)]
    assert pages(SALT, pans) == pages(SALT, pans[::-1])


def test_the_longest_list() -> None:
    pans = [f"62284800{n:08d}" for n in range(MOST_CARDS)]
    made = pages(SALT, pans)
    assert (len(made), made[-1].number, made[-1].more, len(made[0].build())) == (MOST_PAGES, MOST_PAGES, False, 996)
    with pytest.raises(HotListError, match=str(MOST_CARDS)):
        pages(SALT, [*pans, "6229"])


@given(st.binary(max_size=60) | st.builds(bytes.__add__, st.sampled_from([b"1001", b"2001", b"2100"]), st.binary()))
def test_any_bytes_are_a_page_or_an_error(content: bytes) -> None:
    try:
        page = HotListPage.parse(content)
    except HotListError:
        return
    assert (NO_CARDS if page is None else page.build()) == content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "neither"),
        (b"3001" + SALT, "neither"),
        (b"1", "cut short"),
        (b"1001" + SALT[:-1], "cut short"),
        (b"1000" + SALT, "number"),
        (b"1101" + SALT, "number"),
        (b"1 01" + SALT, "number"),
        (b"1001" + SALT + bytes(7), "cut short"),
        (b"1001" + SALT + bytes(8 * 123), "too many"),
        (b"2100" + SALT + bytes(8), "more than 100 pages"),
    ],
)
def test_what_is_no_page(content: bytes, reason: str) -> None:
    with pytest.raises(HotListError, match=reason):
        HotListPage.parse(content)


@pytest.mark.parametrize("content", [b"", b"1", b"0001", b"000", b"101", b"-01", "٠٠١".encode(), b"1.0"])
def test_what_names_no_page(content: bytes) -> None:
    with pytest.raises(HotListError):
        parse_page_number(content)
    assert parse_page_number(page_number(7)) == 7


@pytest.mark.parametrize("parts", [[(SALT, bytes(8)), (bytes(16), bytes(8))], [(SALT, bytes(7))], [(b"", bytes(8))]])
def test_rows_that_are_no_list(parts: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(HotListError):
        hot_list(parts)
