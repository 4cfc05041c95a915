"""Nothing that passes a proxy is changed, whatever it is and however it is cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.framing import MEMBER_FRAMING, TERMINAL_FRAMING, Framing
from scenarios.proxy.frames import Frames

FRAMINGS = pytest.mark.parametrize("framing", [TERMINAL_FRAMING, MEMBER_FRAMING], ids=["terminal", "member"])
BODIES = st.lists(st.one_of(st.binary(max_size=30), st.just(b"x" * 300)), max_size=10)
CUTS = st.lists(st.integers(0, 100_000), max_size=20)


def chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


@FRAMINGS
@settings(max_examples=100)
@given(BODIES, st.binary(max_size=9), CUTS, st.lists(st.booleans(), min_size=30, max_size=30))
def test_bytes_pass_unchanged_while_messages_are_wanted_and_not_wanted(
    framing: Framing, bodies: list[bytes], junk: bytes, cuts: list[int], wanted: list[bool]
) -> None:
    stream = b"".join(map(framing.frame, bodies)) + junk
    frames = Frames(framing)
    units = [
        unit
        for part, whole in zip(chunks(stream, cuts), wanted, strict=False)
        for unit in frames.feed(part, whole=whole)
    ]
    assert b"".join(unit.data for unit in units) + frames.rest() == stream
    known = [framing.frame(body) for body in bodies if body]
    assert all(unit.data in known for unit in units if unit.is_message and not junk)


@FRAMINGS
@settings(max_examples=100)
@given(BODIES, CUTS)
def test_every_message_with_a_body_is_one_unit_when_messages_are_wanted(
    framing: Framing, bodies: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(map(framing.frame, bodies))
    frames = Frames(framing)
    units = [unit for part in chunks(stream, cuts) for unit in frames.feed(part, whole=True)]
    assert [unit.data for unit in units if unit.is_message] == [framing.frame(body) for body in bodies if body]
    assert frames.kept == 0


@FRAMINGS
@given(BODIES, st.integers(1, 400), CUTS)
def test_once_messages_are_wanted_the_first_is_the_one_that_begins_next(
    framing: Framing, bodies: list[bytes], before: int, cuts: list[int]
) -> None:
    first = framing.frame(b"f" * 400)
    stream = first + b"".join(map(framing.frame, bodies))
    frames = Frames(framing)
    assert [unit.is_message for unit in frames.feed(stream[:before], whole=False)] == [False]
    units = [unit for part in chunks(stream[before:], cuts) for unit in frames.feed(part, whole=True)]
    assert [unit.data for unit in units if unit.is_message] == [framing.frame(body) for body in bodies if body]


@FRAMINGS
def test_a_stream_without_frames_passes_as_it_is(framing: Framing) -> None:
    frames = Frames(framing)
    assert [tuple(unit) for unit in frames.feed(b"\xff\xffGET / HTTP/1.1", whole=True)] == [
        (b"\xff\xffGET / HTTP/1.1", False)
    ]
    assert frames.is_broken
    assert [tuple(unit) for unit in frames.feed(framing.frame(b"body"), whole=True)] == [
        (framing.frame(b"body"), False)
    ]
