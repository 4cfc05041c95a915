"""Packager files of jPOS, with pyiso8583 as the independent reader and writer."""

import copy
from pathlib import Path

import iso8583
import pytest
from iso8583.specs import default_ascii

from network.iso8583 import DecodeError, Dialect, EncodeError, Message, OpaqueHeader, PackagerError

JPOS = Path(__file__).parents[2] / "vectors" / "jpos"
CHIP = bytes.fromhex("9F2608C20428A3FF53F0AD9F2701809A03230825")


def spec_of(changes):
    spec = copy.deepcopy(default_ascii)
    for key, change in changes.items():
        spec[key].update(change)
    return spec


def both_ways(dialect, fields, spec, theirs):
    message = Message("0200", fields)
    packed, _ = iso8583.encode({"t": "0200", **theirs}, spec)
    for _ in range(40):
        assert dialect.pack_body(message) == bytes(packed)
        assert dialect.unpack_body(bytes(packed)) == message
    read, _ = iso8583.decode(dialect.pack_body(message), spec)
    for number, value in theirs.items():
        assert read[number] == value


def test_ascii_against_pyiso8583():
    dialect = Dialect.from_jpos_xml(JPOS / "ascii.xml")
    raw = {"data_enc": "b", "len_enc": "ascii"}
    hexadecimal = {"data_enc": "ascii", "max_len": 16}
    spec = spec_of({"p": hexadecimal, "1": hexadecimal, "52": hexadecimal, "64": hexadecimal, "55": raw})
    fields = {
        2: "6225880000001688",
        3: "000000",
        4: "000000012345",
        11: "000001",
        28: "D00000100",
        35: "6225880000001688=25121011",
        41: "TERM0001",
        48: "PRIVATE DATA",
        49: "156",
        52: bytes.fromhex("3F1A5C99E0042B77"),
        55: CHIP,
        64: bytes.fromhex("0123456789ABCDEF"),
        70: "301",
    }
    theirs = {str(n): v.hex().upper() if isinstance(v, bytes) else v for n, v in fields.items()}
    both_ways(dialect, fields, spec, theirs)


def test_binary_against_pyiso8583():
    dialect = Dialect.from_jpos_xml(JPOS / "binary.xml")

    def bcd(length, pad, prefix=0, prefix_coding="bcd"):
        return {
            "data_enc": "b",
            "len_enc": prefix_coding,
            "len_type": prefix,
            "max_len": length,
            "len_count": "nibbles",
            pad: "0",
        }

    def variable(coding, data="ascii", width=1):
        return {"data_enc": data, "len_enc": coding, "len_type": width, "max_len": 200}

    spec = spec_of(
        {
            "t": {"data_enc": "b", "max_len": 2},
            "p": {"data_enc": "b", "max_len": 8},
            "1": {"data_enc": "b", "max_len": 8},
            "2": bcd(19, "right_pad", 1),
            "3": bcd(6, "left_pad"),
            "4": bcd(12, "left_pad"),
            "22": bcd(3, "left_pad"),
            "23": bcd(3, "right_pad"),
            "33": bcd(11, "left_pad", 1, "b"),
            "35": bcd(37, "left_pad", 1),
            "44": variable("b"),
            "45": variable("bcd"),
            "52": {"data_enc": "b", "max_len": 8},
            "55": variable("b", "b"),
            "60": variable("bcd", width=2),
            "61": variable("bcd", "b", 2),
            "62": variable("b", width=2),
            "128": {"data_enc": "b", "max_len": 8},
        }
    )
    fields = {
        2: "622588000000168",
        3: "000000",
        4: "000000012345",
        22: "051",
        23: "001",
        33: "03050",
        35: "622588000000168=2512101",
        41: "TERM0001",
        44: "RESPONSE",
        45: "B622588000000168^NAME^2512",
        52: bytes(8),
        55: CHIP,
        60: "PRIVATE",
        61: b"\x00\x01\x02",
        62: "X" * 150,
        128: b"\xff" * 8,
    }
    theirs = {str(n): v.hex().upper() if isinstance(v, bytes) else v for n, v in fields.items()}
    theirs["35"] = theirs["35"].replace("=", "D")
    both_ways(dialect, fields, spec, theirs)


def test_filled_elements():
    """X9.2 style: the length, then always the room of the longest; F fills the odd digit in IFB_F."""
    dialect = Dialect.from_jpos_xml(JPOS / "ascii.xml")
    packed = b"0210" + b"0000000000100000" + b"05HELLO" + b" " * 20
    for _ in range(40):
        assert dialect.pack_body(Message("0210", {44: "HELLO"})) == packed
        assert dialect.unpack_body(packed).fields == {44: "HELLO"}
    with pytest.raises(DecodeError, match="25 bytes expected, 24 are left"):
        dialect.unpack_body(packed[:-1])
    dialect = Dialect.from_jpos_xml(JPOS / "binary.xml")
    packed = bytes.fromhex("0210" + "0000000100000000" + "0503050F")
    for _ in range(40):
        assert dialect.pack_body(Message("0210", {32: "03050"})) == packed
        assert dialect.unpack_body(packed).fields == {32: "03050"}


def test_hexadecimal_of_variable_length():
    dialect = Dialect.from_jpos_xml(JPOS / "ascii.xml")
    packed = b"0200" + b"0000000000000100" + b"030A0BFF"
    for _ in range(40):
        assert dialect.pack_body(Message("0200", {56: b"\x0a\x0b\xff"})) == packed
        assert dialect.unpack_body(packed).fields == {56: b"\x0a\x0b\xff"}
        for wrong in (b"030A0BFG", b"030A 0BF", b"030A0BF"):
            with pytest.raises(DecodeError) as caught:
                dialect.unpack_body(packed[:20] + wrong)
            assert caught.value.element == 56


def test_signed_amount_in_bcd():
    dialect = Dialect.from_jpos_xml(JPOS / "binary.xml")
    packed = bytes.fromhex("0200" + "0000001000000000" + "44" + "00000100")
    for _ in range(40):
        assert dialect.pack_body(Message("0200", {28: "D00000100"})) == packed
        assert dialect.unpack_body(packed).fields == {28: "D00000100"}


def test_ebcdic():
    dialect = Dialect.from_jpos_xml(JPOS / "ebcdic.xml")
    fields = {
        2: "6225880000001688",
        3: "000000",
        28: "C00000100",
        37: "REF 00000001",
        39: "A0",
        41: "TERM[^]1",
        48: "a|b~c",
        52: bytes.fromhex("3F1A5C99E0042B77"),
        54: "0002",
        55: CHIP[:3],
        56: "ascii",
    }
    # IBM 1047: digits F0-F9, A-I C1-C9, J-R D1-D9, S-Z E2-E9, a-i 81-89, [ AD, ] BD, ^ 5F, | 4F, ~ A1.
    packed = bytes.fromhex(
        "F0F2F0F0"
        "600000100A811700"
        "F1F6F6F2F2F5F8F8F0F0F0F0F0F0F1F6F8F8"
        "F0F0F0F0F0F0"
        "C3F0F0F0F0F0F1F0F0"
        "D9C5C640F0F0F0F0F0F0F0F1"
        "C1F0"
        "E3C5D9D4AD5FBDF1"
        "F0F0F5814F82A183"
        "F3C6F1C1F5C3F9F9C5F0F0F4F2C2F7F7"
        "04F0F0F0F2"
        "F0F0F39F2608"
        "F0F56173636969"
    )
    for _ in range(40):
        assert dialect.unpack_body(packed).fields == fields
        assert dialect.pack_body(Message("0200", fields)) == packed
    with pytest.raises(EncodeError, match="DE37"):
        dialect.pack_body(Message("0200", {37: "银" * 12}))


def test_header_length_and_names():
    dialect = Dialect.from_jpos_xml(JPOS / "binary.xml")
    assert dialect.name == "binary"
    assert dialect.fields[22].name == "entry mode"
    message = Message("0200", {3: "000000"}, OpaqueHeader(b"\x60\x00\x03\x00\x01"))
    packed = dialect.pack(message)
    assert packed[:5] == b"\x60\x00\x03\x00\x01"
    assert dialect.unpack(packed).header == message.header
    assert dialect.pack(Message("0200", {3: "000000"}))[:5] == bytes(5)
    with pytest.raises(DecodeError, match="5 bytes, 3 are here"):
        dialect.unpack(packed[:3])
    assert 60 not in Dialect.from_jpos_xml(JPOS / "ascii.xml").fields
    with pytest.raises(EncodeError, match="no header"):
        Dialect.from_jpos_xml(JPOS / "ascii.xml").pack(message)


HEAD = '<isofield id="0" length="4" name="MTI" class="org.jpos.iso.IFA_NUMERIC"/>'
MAP = '<isofield id="1" length="16" name="map" class="org.jpos.iso.IFA_BITMAP"/>'


def field(number=2, length="19", kind="IFA_LLNUM"):
    return f'<isofield id="{number}" length="{length}" name="x" class="org.jpos.iso.{kind}"/>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<isopackager>", "not XML"),
        ("", "not XML"),
        ("<packager/>", "root is packager"),
        (f"<isopackager>{HEAD}</isopackager>", "both needed"),
        (f"<isopackager>{HEAD}{MAP}{field(kind='IFZ_MAGIC')}</isopackager>", "field 2: class IFZ_MAGIC is not known"),
        (f"<isopackager>{HEAD}{MAP}{field(kind='IFB_LLHEX')}</isopackager>", "field 2: class IFB_LLHEX is not known"),
        (f"<isopackager>{HEAD}{MAP}{field(length='x')}</isopackager>", "field 2: length is not a number"),
        (f"<isopackager>{HEAD}{MAP}{field(length='0')}</isopackager>", "field 2: DE2: a length of 0"),
        (f"<isopackager>{HEAD}{MAP}{field()}{field()}</isopackager>", "field 2 is there twice"),
        (f"<isopackager>{HEAD}{MAP}{field(number=129)}</isopackager>", "field 129 is not between"),
        (f"<isopackager>{HEAD}{MAP}<isofield id='2' length='3'/></isopackager>", "field 2 has no class"),
        (f"<isopackager>{HEAD}{field(1, '16')}</isopackager>", "field 1: class IFA_LLNUM is not a bitmap"),
        (f"<isopackager>{HEAD}{MAP.replace('16', '24')}</isopackager>", "field 1: a bitmap of 24 bytes"),
        (f"<isopackager>{HEAD.replace('4', '5')}{MAP}</isopackager>", "field 0: an MTI"),
        (f"<isopackager emitBitmap='false'>{HEAD}{MAP}</isopackager>", "emitBitmap=false is not supported"),
        (f"<isopackager headerLength='-1'>{HEAD}{MAP}</isopackager>", "headerLength is not a number"),
        (
            '<!DOCTYPE isopackager [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
            + f"<isopackager>{HEAD}{MAP}</isopackager>",
            "declares the entity a",
        ),
        (
            '<!DOCTYPE isopackager [<!ENTITY a SYSTEM "file:///etc/hostname">]>' + "<isopackager/>",
            "declares the entity a",
        ),
    ],
)
def test_bad_packagers(tmp_path, content, reason):
    path = tmp_path / "packager.xml"
    path.write_text(content)
    with pytest.raises(PackagerError, match=r"packager\.xml") as caught:
        Dialect.from_jpos_xml(path)
    assert reason in str(caught.value)


def test_huge_packager(tmp_path):
    path = tmp_path / "packager.xml"
    path.write_bytes(b" " * (1 << 20) + b"<isopackager/>")
    with pytest.raises(PackagerError, match="larger than"):
        Dialect.from_jpos_xml(path)


def test_missing_packager(tmp_path):
    with pytest.raises(OSError, match="absent"):
        Dialect.from_jpos_xml(tmp_path / "absent.xml")
