"""What holds for every message: round trips, and compiled code that agrees with the interpreter."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from network.iso8583 import INTERBANK, TERMINAL, DecodeError, Dialect, Message
from network.iso8583.dialect import _COMPILE_AFTER, _COMPILED, _COUNTED

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "messages.json").read_text())
JPOS = Path(__file__).parents[2] / "vectors" / "jpos"
DIALECTS = {
    "terminal": TERMINAL,
    "interbank": INTERBANK,
    "jpos ascii": Dialect.from_jpos_xml(JPOS / "ascii.xml"),
    "jpos binary": Dialect.from_jpos_xml(JPOS / "binary.xml"),
    "jpos ebcdic": Dialect.from_jpos_xml(JPOS / "ebcdic.xml"),
}
ASCII = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
CHINESE = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5)
RELAXED = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def values(field, dialect):
    """Values that the element can carry."""
    least = 0 if field.prefix else field.maximum
    most = min(field.maximum, 60) if field.prefix else field.maximum
    if field.kind == "b":
        return st.binary(min_size=least, max_size=most)
    if field.kind == "n":
        return st.text("0123456789", min_size=least, max_size=most)
    if field.kind == "z":
        return st.text("0123456789=" + ("ABCEF" if field.coding == "bcd" else "D"), min_size=least, max_size=most)
    if field.kind == "x":
        return st.tuples(st.sampled_from("CD"), st.text("0123456789", min_size=most - 1, max_size=most - 1)).map(
            "".join
        )
    text = st.text(ASCII, min_size=least, max_size=most)
    if dialect.charset == "gbk" and field.prefix:
        return text | st.text(ASCII | CHINESE, max_size=most // 2)
    return text


@st.composite
def messages(draw, dialect):
    numbers = draw(st.lists(st.sampled_from(sorted(dialect.fields)), unique=True, max_size=24))
    fields = {n: draw(values(dialect.fields[n], dialect)) for n in numbers}
    return Message(draw(st.from_regex(r"[0-9]{4}", fullmatch=True)), fields)


def attempt(unpack, data):
    try:
        return unpack(data), None
    except DecodeError as error:
        return None, error


def outcome(call, *arguments):
    try:
        message = call(*arguments)
    except DecodeError as error:
        return error.element, error.offset, error.reason, error.partial
    return message.mti, message.fields, message.padding


@pytest.mark.parametrize("name", DIALECTS)
@RELAXED
@given(data=st.data())
def test_round_trip(name, data):
    dialect = DIALECTS[name]
    message = data.draw(messages(dialect))
    packed = dialect.pack_body(message)
    back = dialect.unpack_body(packed)
    assert back == message
    assert list(back.fields) == sorted(message.fields)
    assert dialect.pack_body(back) == packed
    # Often enough for the compiled code to take over, which must agree.
    for _ in range(_COMPILE_AFTER + 1):
        assert dialect.unpack_body(packed) == message
        assert dialect.pack_body(message) == packed
    assert tuple(message.fields) in dialect._packers or any(f.filled for f in map(dialect.fields.get, message.fields))


@pytest.mark.parametrize("name", DIALECTS)
@RELAXED
@given(data=st.data())
def test_compiled_and_interpreted_agree_on_damage(name, data):
    """A message of a known shape, a byte or two changed, cut off or added: both ways say the same."""
    dialect = DIALECTS[name]
    packed = dialect.pack_body(data.draw(messages(dialect)))
    for _ in range(_COMPILE_AFTER + 1):
        dialect.unpack_body(packed)
    damaged = bytearray(packed)
    for _ in range(data.draw(st.integers(0, 2))):
        if len(damaged) > 20:
            damaged[data.draw(st.integers(20, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(-2, 2))
    damaged = damaged[:cut] if cut < 0 else damaged + bytes(cut)
    damaged = bytes(damaged)
    compiled = outcome(dialect.unpack_body, damaged)
    interpreted = outcome(dialect._unpack_slowly, damaged, None, 0)
    assert compiled == interpreted
    if len(compiled) == 3 and name in ("terminal", "interbank"):
        message = dialect.unpack_body(damaged)
        assert dialect.pack_body(message) == damaged


@pytest.mark.parametrize("dialect", [TERMINAL, INTERBANK], ids=["terminal", "interbank"])
@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(dialect, data):
    for unpack, pack in ((dialect.unpack, dialect.pack), (dialect.unpack_body, dialect.pack_body)):
        message, error = attempt(unpack, data)
        if error is None:
            assert pack(message) == data
        else:
            assert 0 <= error.offset <= len(data)
            assert error.reason
            assert str(error)
            assert error.partial is None or isinstance(error.partial, Message)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_samples(data):
    vector = data.draw(st.sampled_from(VECTORS))
    raw = bytearray.fromhex(vector["hex"])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw)
    for unpack, pack in (
        (TERMINAL.unpack, TERMINAL.pack),
        (TERMINAL.unpack_body, TERMINAL.pack_body),
        (INTERBANK.unpack, INTERBANK.pack),
        (INTERBANK.unpack_body, INTERBANK.pack_body),
    ):
        message, error = attempt(unpack, raw)
        if error is None:
            assert pack(message) == raw
        else:
            assert 0 <= error.offset <= len(raw)


def test_every_gbk_pair_comes_back():
    """Text is str only where it encodes to the same bytes, so any pair of bytes survives."""
    for first in range(0x20, 256):
        for second in range(0x20, 256, 3):
            raw = bytes((first, second))
            packed = b"0210" + bytes.fromhex("0000000000100000") + b"02" + raw
            message = INTERBANK.unpack_body(packed)
            assert INTERBANK.pack_body(message) == packed


def test_hostile_bitmaps_do_not_grow_memory():
    dialect = Dialect("test", TERMINAL.fields, mti="bcd")
    for number in range(3 * _COUNTED):
        body = bytes.fromhex("0200") + number.to_bytes(8, "big")
        with pytest.raises(DecodeError):
            dialect.unpack_body(body + b"\xff")
    digits = [n for n, f in INTERBANK.fields.items() if not f.prefix and f.kind == "n" and n <= 64]
    for number in range(2, _COMPILED + 40):
        present = {n: "0" * dialect.fields[n].maximum for bit, n in enumerate(digits) if number >> bit & 1}
        body = dialect.pack_body(Message("0200", present))
        dialect._counts[body[:10]] = dialect._counts[tuple(present)] = _COMPILE_AFTER - 1
        dialect.pack_body(Message("0200", present))
        assert dialect.unpack_body(body).fields == present
        assert body[:10] in dialect._unpackers
    assert len(dialect._unpackers) == len(dialect._packers) == _COMPILED
    assert len(dialect._counts) <= _COUNTED
