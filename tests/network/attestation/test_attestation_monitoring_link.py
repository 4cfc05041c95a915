"""The monitoring link's frames and sealed objects."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.attestation.monitoring_link import (
    MONITORING_FRAMING,
    MONITORING_LIMIT,
    MonitoringError,
    pack_monitoring,
    unpack_monitoring,
)
from network.framing import FramingError
from network.keys import Algorithm, KeyUsage, SecurityModule

MODULE = SecurityModule(bytes(32), Random(1))
KEY = MODULE.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, bytes.fromhex("0123456789ABCDEF"))
OTHER = MODULE.import_clear(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, bytes.fromhex("FEDCBA9876543210"))


def test_an_object_comes_back_and_is_genuine_under_its_key_only() -> None:
    body = pack_monitoring(MODULE, KEY, {"type": "verdict", "terminal": "T0000001", "reason": "地点"})
    arrived = unpack_monitoring(body)
    assert arrived.content == {"type": "verdict", "terminal": "T0000001", "reason": "地点"}
    assert arrived.text == '{"type":"verdict","terminal":"T0000001","reason":"地点"}'.encode()
    assert arrived.is_genuine(MODULE, KEY)
    assert not arrived.is_genuine(MODULE, OTHER)


def test_a_changed_byte_is_not_genuine() -> None:
    body = pack_monitoring(MODULE, KEY, {"type": "kill", "terminal": "T0000001"})
    for position in range(len(body)):
        changed = bytearray(body)
        changed[position] ^= 1
        try:
            arrived = unpack_monitoring(bytes(changed))
        except MonitoringError:
            continue
        assert not arrived.is_genuine(MODULE, KEY)


@given(st.binary(max_size=200))
def test_junk(junk: bytes) -> None:
    try:
        arrived = unpack_monitoring(junk)
    except MonitoringError:
        return
    assert not arrived.is_genuine(MODULE, KEY)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"1",
        b"{",
        b'{"a":NaN}',
        b"\xff{}",
        b"[" * 9000,
        "{}".encode("utf-16"),
        b"{}" + b" " * MONITORING_LIMIT,
    ],
)
def test_what_is_no_object(text: bytes) -> None:
    with pytest.raises(MonitoringError):
        unpack_monitoring(b"01234567" + text)


def test_an_object_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(MonitoringError, match="too long"):
        pack_monitoring(MODULE, KEY, {"type": "x" * MONITORING_LIMIT})


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 50))
def test_frames_in_pieces(bodies: list[bytes], step: int) -> None:
    stream = b"".join(map(MONITORING_FRAMING.frame, bodies)) + b"\0\0"
    buffer, found = bytearray(), []
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        found += MONITORING_FRAMING.split(buffer)
    assert found == bodies
    assert not buffer


def test_frames_that_are_too_long() -> None:
    longest = bytes(MONITORING_LIMIT)
    assert MONITORING_FRAMING.split(bytearray(MONITORING_FRAMING.frame(longest))) == [longest]
    with pytest.raises(FramingError):
        MONITORING_FRAMING.frame(longest + b"x")
    with pytest.raises(FramingError) as caught:
        MONITORING_FRAMING.split(bytearray(MONITORING_FRAMING.frame(b"ok") + b"\xff\xff"))
    assert caught.value.bodies == [b"ok"]
