"""Every way to be wrong has its element, its offset and its reason, and never shows the value."""

import pytest

from network.iso8583 import INTERBANK, TERMINAL, DecodeError, EncodeError, InterbankHeader, Message, TerminalHeader

PAN = "6225880000001688"
TB, IB = TERMINAL.unpack_body, INTERBANK.unpack_body
TU, IU = TERMINAL.unpack, INTERBANK.unpack


def bits(*elements: int) -> str:
    size = 128 if max(elements) > 64 else 64
    return f"{sum(1 << size - n for n in elements) | (1 << 127 if size == 128 else 0):0{size // 4}x}"


def text(value: str) -> str:
    return value.encode().hex()


HEADER = "2e02" + text("0056") + text("03050001   00010000   000") + "00" + text("00000000") + "00" + text("00000")

DECODE = [
    ("no MTI", TB, "02", 0, 0, "2 bytes expected, 1 are left", None),
    ("MTI of letters", TB, "0a00", 0, 0, "not digits", None),
    ("MTI not ASCII digits", IB, text("02x0"), 0, 0, "not digits", None),
    ("no bitmap", TB, "02007020", 1, 2, "8 bytes of bitmap expected, 2 are left", []),
    ("no second bitmap", IB, text("0200") + "8000000000000000" + "00", 1, 12, "8 bytes of bitmap expected", []),
    ("short fixed", TB, "0200" + bits(3, 4) + "000000" + "0000", 4, 13, "6 bytes expected, 2 are left", [3]),
    ("short variable", TB, "0200" + bits(2) + "16" + "6225", 2, 11, "8 bytes expected, 2 are left", []),
    ("no length", TB, "0200" + bits(55) + "01", 55, 10, "a length of 2 bytes expected, 1 are left", []),
    ("length not digits", TB, "0200" + bits(2) + "1a", 2, 10, "the length is not digits", []),
    ("length too great", TB, "0200" + bits(2) + "20" + "00" * 10, 2, 10, "length 20 exceeds the 19 allowed", []),
    ("length too great, LLL", IB, text("0200") + bits(60) + text("101"), 60, 12, "length 101 exceeds the 100", []),
    ("BCD with a letter", TB, "0200" + bits(3) + "00000a", 3, 10, "not digits", []),
    ("digits with a letter", IB, text("0200") + bits(3) + text("00000a"), 3, 12, "not digits", []),
    ("digits of another script", IB, text("0200") + bits(3) + "30303030" + "b2b3", 3, 12, "not digits", []),
    ("sign", IB, text("0200") + bits(28) + text("X00000000"), 28, 12, "neither C nor D", []),
    ("track", IB, text("0200") + bits(35) + text("03") + text("1=*"), 35, 14, "not track data", []),
    ("trailing", TB, "0200" + bits(3) + "000000" + "ff", None, 13, "1 bytes too many", [3]),
    ("no TPDU", TU, "60000300", None, 4, "11 bytes, 4 are here", None),
    ("within, after a header", TU, "6000030000603100310100" + "0200" + bits(3) + "0000", 3, 21, "3 bytes expected", []),
    ("short header", IU, HEADER[:60], None, 30, "46 bytes, 30 are here", None),
    ("short, and says so", IU, "2e02" + text("0020") + "30" * 14, None, 20, "46 bytes, 20 are here", None),
    ("header length", IU, "2f" + HEADER[2:] + "00" * 10, None, 0, "header length is 47", None),
    ("header version", IU, "2e03" + HEADER[4:] + "00" * 10, None, 1, "version 0x03 is unknown", None),
    ("total not digits", IU, "2e02" + text("00x6") + HEADER[12:] + "00" * 10, None, 2, "not four digits", None),
    ("total length", IU, HEADER + "00" * 11, None, 2, "the header says 56 bytes in all, 57 are here", None),
]


@pytest.mark.parametrize("often", [1, 40], ids=["first", "compiled"])
@pytest.mark.parametrize(
    ("unpack", "raw", "element", "offset", "reason", "partial"), [c[1:] for c in DECODE], ids=[c[0] for c in DECODE]
)
def test_decode_error(unpack, raw, element, offset, reason, partial, often):
    for _ in range(often):
        with pytest.raises(DecodeError) as caught:
            unpack(bytes.fromhex(raw))
    error = caught.value
    assert (error.element, error.offset) == (element, offset)
    assert reason in error.reason
    if partial is None:
        assert error.partial is None
    else:
        assert sorted(error.partial.fields) == partial
        assert error.partial.mti == "0200"


ENCODE = [
    ("too long", TERMINAL, {2: PAN + "0000"}, 2, "too long: 20, at most 19"),
    ("too short", TERMINAL, {4: "100"}, 4, "too short: 3, the length is fixed at 12"),
    ("not digits", TERMINAL, {4: "00000000001x"}, 4, "not digits"),
    ("digits of another script", INTERBANK, {4: "٠٠٠٠٠٠٠٠٠٠١٢"}, 4, "not digits"),
    ("superscripts", INTERBANK, {3: "00000²"}, 3, "not digits"),
    ("spaces", TERMINAL, {4: "00000000 012"}, 4, "not digits"),
    ("integer", TERMINAL, {4: 1250}, 4, "a str of digits is needed, not int"),
    ("bytes for digits", INTERBANK, {3: b"000000"}, 3, "a str of digits is needed, not bytes"),
    ("text for bytes", TERMINAL, {52: "12345678"}, 52, "bytes are needed, not str"),
    ("short block", TERMINAL, {64: b"1234567"}, 64, "too short"),
    ("None", INTERBANK, {41: None}, 41, "str or bytes are needed, not NoneType"),
    ("control characters", INTERBANK, {48: "a\x1cb"}, 48, "not printable"),
    ("not in GBK", INTERBANK, {48: "\N{GRINNING FACE}"}, 48, "not in gbk"),
    ("bytes of Chinese count", INTERBANK, {44: "银" * 13}, 44, "too long: 26, at most 25"),
    ("track", TERMINAL, {35: PAN + "x"}, 35, "track data cannot have"),
    ("sign", INTERBANK, {28: "+00000000"}, 28, "neither C nor D"),
    ("unknown element", TERMINAL, {129: "0"}, 129, "no such element"),
    ("bitmap as element", TERMINAL, {1: b"\0" * 8}, 1, "no such element"),
    ("a name for a number", TERMINAL, {"39": "00"}, None, "no such element"),
]


@pytest.mark.parametrize(
    ("dialect", "fields", "element", "reason"), [c[1:] for c in ENCODE], ids=[c[0] for c in ENCODE]
)
def test_encode_error(dialect, fields, element, reason):
    # Of a shape that is compiled already, the fault must be found as well.
    good = {
        2: PAN,
        3: "0" * 6,
        4: "0" * 12,
        28: "C00000000",
        35: PAN + "=",
        41: "0" * 8,
        44: "",
        48: "",
        52: bytes(8),
        64: bytes(8),
    }
    shape = {n: good[n] for n in fields if n in good}
    for _ in range(40):
        dialect.pack_body(Message("0200", shape))
        with pytest.raises(EncodeError) as caught:
            dialect.pack_body(Message("0200", dict(fields)))
    assert caught.value.element == element
    assert reason in caught.value.reason
    assert PAN not in str(caught.value)


@pytest.mark.parametrize("mti", ["200", "02000", "020a", "٠٢٠٠", 200, None])
def test_mti(mti):
    for dialect in (TERMINAL, INTERBANK):
        with pytest.raises(EncodeError, match="MTI"):
            dialect.pack(Message(mti, {3: "000000"}))


def test_header_of_the_other_dialect():
    with pytest.raises(EncodeError, match="header of its own"):
        INTERBANK.pack(Message("0200", {3: "000000"}, TerminalHeader()))
    with pytest.raises(EncodeError, match="header of its own"):
        TERMINAL.pack(Message("0200", {3: "000000"}, InterbankHeader()))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: TerminalHeader(tpdu=b"\x60\0\0\0"), "5 bytes"),
        (lambda: TerminalHeader(head="60310031010"), "12 hex digits"),
        (lambda: TerminalHeader(head="60310031010x"), "12 hex digits"),
        (lambda: InterbankHeader("123456789012"), "destination"),
        (lambda: InterbankHeader(source="银行"), "source"),
        (lambda: InterbankHeader(version=3), "version"),
        (lambda: InterbankHeader(batch=256), "one byte"),
        (lambda: InterbankHeader().reply("1"), "reject code"),
        (lambda: InterbankHeader().frame(bytes(9954)), "10000 bytes in all"),
    ],
)
def test_header_values(make, reason):
    with pytest.raises(EncodeError, match=reason):
        make()


def test_replies():
    header = TerminalHeader(bytes.fromhex("6000030001"), "6031003101FF")
    assert header.reply().tpdu.hex() == "6000010003"
    assert header.reply().head == "6031003101FF"
    assert header.reply("3").processing_requirement == "3"
    assert (header.destination, header.source, header.application_class) == ("0003", "0001", "60")
    assert (header.software_version, header.terminal_status, header.reserved) == ("31", "0", "3101FF")
    between = InterbankHeader("03050001", "00010000", batch=7).reply("00001")
    assert (between.destination, between.source, between.reject_code, between.batch) == (
        "00010000",
        "03050001",
        "00001",
        7,
    )


def test_repr_hides():
    message = Message(
        "0200", {2: PAN, 14: "3011", 35: PAN + "=3011201", 52: b"\x11" * 8, 55: b"\x5a\x08" * 4, 62: b"K" * 24}
    )
    shown = repr(message)
    assert PAN not in shown
    assert "622588******1688" in shown
    for secret in ("3011", "KKKK", "1111"):
        assert secret not in shown


def test_message_face():
    message = Message("0200", {3: "000000", 52: bytes(8)})
    message[39] = "00"
    assert message[39] == message.text(39) == "00"
    assert message.binary(52) == bytes(8)
    assert message.get(38) is None
    assert message.get(38, "x") == "x"
    assert 39 in message
    assert 38 not in message
    other = message.copy()
    del other[39]
    assert 39 in message
    assert other != message
    assert message != "0200"
    with pytest.raises(KeyError):
        message[38]
    with pytest.raises(TypeError, match="DE52"):
        message.text(52)
    with pytest.raises(TypeError, match="DE39"):
        message.binary(39)
    with pytest.raises(TypeError):
        hash(message)
