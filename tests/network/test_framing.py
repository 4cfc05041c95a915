"""Both framings: any chunking of any stream gives the same bodies, and junk is refused."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.framing import MAX_BODY, MEMBER_FRAMING, TERMINAL_FRAMING, Framing, FramingError

FRAMINGS = pytest.mark.parametrize("framing", [TERMINAL_FRAMING, MEMBER_FRAMING], ids=["terminal", "member"])
BODIES = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"x" * 255, b"\0" * 256, b"9" * MAX_BODY])), max_size=12
)


def split_in_chunks(framing: Framing, stream: bytes, cuts: list[int]) -> tuple[list[bytes], bytearray, str | None]:
    """Feed a stream cut at these places; the bodies, what is left, and the reason for an end before it."""
    buffer = bytearray()
    bodies: list[bytes] = []
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(places):
        buffer += stream[start:end]
        try:
            bodies += framing.split(buffer)
        except FramingError as error:
            return bodies + error.bodies, buffer, str(error)
    return bodies, buffer, None


@FRAMINGS
@settings(max_examples=150)
@given(BODIES, st.binary(max_size=3), st.lists(st.integers(0, 100_000), max_size=20))
def test_any_chunking_gives_the_bodies(framing: Framing, bodies: list[bytes], rest: bytes, cuts: list[int]) -> None:
    unfinished = framing.frame(rest + b"!")[:-1]
    stream = b"".join(map(framing.frame, bodies)) + unfinished
    assert split_in_chunks(framing, stream, cuts) == ([body for body in bodies if body], unfinished, None)


@FRAMINGS
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=20))
def test_any_bytes_in_any_chunking_give_the_same_bodies_and_the_same_end(
    framing: Framing, stream: bytes, cuts: list[int]
) -> None:
    whole = split_in_chunks(framing, stream, [])
    chunked = split_in_chunks(framing, stream, cuts)
    assert (chunked[0], chunked[2]) == (whole[0], whole[2])


@FRAMINGS
def test_byte_by_byte(framing: Framing) -> None:
    stream = framing.frame(b"first") + framing.frame(b"") + framing.frame(b"second")
    assert split_in_chunks(framing, stream, list(range(len(stream)))) == ([b"first", b"second"], b"", None)


@pytest.mark.parametrize(
    ("framing", "body", "framed"),
    [
        (TERMINAL_FRAMING, b"", b"\0\0"),
        (TERMINAL_FRAMING, b"abc", b"\0\x03abc"),
        (TERMINAL_FRAMING, b"x" * 258, b"\x01\x02" + b"x" * 258),
        (MEMBER_FRAMING, b"", b"0000"),
        (MEMBER_FRAMING, b"abc", b"0003abc"),
        (MEMBER_FRAMING, b"x" * 1234, b"1234" + b"x" * 1234),
    ],
)
def test_the_frame(framing: Framing, body: bytes, framed: bytes) -> None:
    assert framing.frame(body) == framed


@FRAMINGS
def test_the_longest_body(framing: Framing) -> None:
    longest = b"x" * MAX_BODY
    assert framing.split(bytearray(framing.frame(longest))) == [longest]
    with pytest.raises(FramingError, match=f"body of {MAX_BODY + 1} bytes exceeds {MAX_BODY}"):
        framing.frame(longest + b"x")


@pytest.mark.parametrize(
    ("framing", "junk", "reason"),
    [
        (TERMINAL_FRAMING, b"GET / HTTP/1.1\r\n", "length 18245 exceeds 8192"),
        (TERMINAL_FRAMING, b"\x20\x01", "length 8193 exceeds 8192"),
        (TERMINAL_FRAMING, b"\xff\xff", "length 65535 exceeds 8192"),
        (MEMBER_FRAMING, b"GET / HTTP/1.1\r\n", "not four digits"),
        (MEMBER_FRAMING, b"\0\0\0\0", "not four digits"),
        (MEMBER_FRAMING, b"-001", "not four digits"),
        (MEMBER_FRAMING, b" 123", "not four digits"),
        (MEMBER_FRAMING, b"1_00", "not four digits"),
        (MEMBER_FRAMING, "١٢".encode(), "not four digits"),
        (MEMBER_FRAMING, b"8193", "length 8193 exceeds 8192"),
    ],
)
@pytest.mark.parametrize("before", [[], [b"whole", b"and another"]], ids=["first", "after good frames"])
def test_junk_is_refused_and_what_came_before_it_kept(
    framing: Framing, junk: bytes, reason: str, before: list[bytes]
) -> None:
    with pytest.raises(FramingError, match=reason) as caught:
        framing.split(bytearray(b"".join(map(framing.frame, before)) + junk))
    assert caught.value.bodies == before


@FRAMINGS
@given(st.binary(min_size=4, max_size=4))
def test_a_length_is_read_or_refused_as_the_splitting_does(framing: Framing, start: bytes) -> None:
    prefix = start[: framing.prefix]
    try:
        length = framing.length(prefix)
    except FramingError as error:
        with pytest.raises(FramingError, match=re.escape(str(error))):
            framing.split(bytearray(prefix))
    else:
        assert framing.split(bytearray(prefix) + b"x" * length) == ([b"x" * length] if length else [])
