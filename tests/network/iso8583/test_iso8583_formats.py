"""The formats element by element: padding, text, tracks, bitmaps, headers by default."""

import pytest

from network.iso8583 import INTERBANK, TERMINAL, InterbankHeader, Message, TerminalHeader


def bits(*elements: int) -> bytes:
    size = 128 if max(elements) > 64 else 64
    first = 1 << 127 if size == 128 else 0
    return (sum(1 << size - n for n in elements) | first).to_bytes(size // 8, "big")


TERMINAL_ELEMENTS = [
    (2, "622588000000168", "15 6225880000001680"),
    (3, "310000", "310000"),
    (22, "051", "0510"),
    (23, "001", "0001"),
    (24, "003", "0003"),
    (28, "C00000012", "43 00000012"),
    (32, "03050", "05 030500"),
    (35, "6225880000001688=2512", "21 6225880000001688D25120"),
    (35, "6225880000001688=25FA", "21 6225880000001688D25FA0"),
    (36, "99=1", "0004 99D1"),
    (38, "A1B2C3", "413142324333"),
    (43, "银联商务" + " " * 32, "D2F8C1AAC9CCCEF1" + "20" * 32),
    (44, "0305银", "06 30333035D2F8"),
    (48, "123", "0003 1230"),
    (52, bytes(range(8)), "0001020304050607"),
    (53, "2600000000000000", "2600000000000000"),
    (54, "0002156C000000001234", "0020 3030303231353643303030303030303031323334"),
    (55, b"\x9a\x03\x26\x11\x23", "0005 9A03261123"),
    (56, "成功", "0004 B3C9B9A6"),
    (59, b"A2\x00\x01", "0004 41320001"),
    (60, "22000001003", "0011 220000010030"),
    (61, "000001000002", "0012 000001000002"),
    (62, bytes(24), "0024" + "00" * 24),
    (63, "CUP交易成功", "0011 435550BDBBD2D7B3C9B9A6"),
    (64, b"B3A092AE", "4233413039324145"),
    (70, "301", "0301"),
]
INTERBANK_ELEMENTS = [
    (2, "6225880000001688", b"166225880000001688"),
    (28, "D00000012", b"D00000012"),
    (35, "6225880000001688D2512", b"216225880000001688D2512"),
    (35, "6225880000001688=2512", b"216225880000001688=2512"),
    (43, "银联商务" + " " * 32, "银联商务".encode("gbk") + b" " * 32),
    (48, b"NK\x01\x02", b"004NK\x01\x02"),
    (52, bytes(range(8)), bytes(range(8))),
    (55, b"\x9a\x03\x26\x11\x23", b"005\x9a\x03\x26\x11\x23"),
    (62, "abc", b"003abc"),
    (90, "0" * 42, b"0" * 42),
    (96, b"\xff" * 8, b"\xff" * 8),
    (100, "03050001", b"0803050001"),
    (123, "x" * 226, b"226" + b"x" * 226),
    (128, b"0D612014", b"0D612014"),
]


@pytest.mark.parametrize(("number", "value", "raw"), TERMINAL_ELEMENTS)
def test_terminal_element(number, value, raw):
    expected = bytes.fromhex("0200") + bits(number) + bytes.fromhex(raw)
    for _ in range(40):
        assert TERMINAL.pack_body(Message("0200", {number: value})) == expected
        assert TERMINAL.unpack_body(expected).fields == {number: value}


@pytest.mark.parametrize(("number", "value", "raw"), INTERBANK_ELEMENTS)
def test_interbank_element(number, value, raw):
    expected = b"0200" + bits(number) + raw
    for _ in range(40):
        assert INTERBANK.pack_body(Message("0200", {number: value})) == expected
        assert INTERBANK.unpack_body(expected).fields == {number: value}


@pytest.mark.parametrize(
    ("number", "value", "raw"),
    [
        (2, "622588000000168", "15 622588000000168F"),
        (22, "051", "051F"),
        (23, "001", "F001"),
        (32, "03050", "05 03050F"),
        (35, "6225880000001688=2512", "21 6225880000001688D2512F"),
        (36, "99=", "0003 99DF"),
        (60, "22000001003", "0011 22000001003F"),
        (61, "001", "0003 001A"),
    ],
)
def test_padding_is_remembered(number, value, raw):
    data = bytes.fromhex("0200") + bits(number, 64) + bytes.fromhex(raw) + bytes(8)
    for _ in range(40):
        message = TERMINAL.unpack_body(data)
        assert message[number] == value
        assert message.padding == {number: int(raw[0], 16) if number == 23 else int(raw[-1], 16)}
        assert TERMINAL.pack_body(message) == data
        plain = TERMINAL.pack_body(Message("0200", message.fields))
        assert plain != data
        assert TERMINAL.unpack_body(plain).padding is None


def test_text_for_private_element_62():
    packed = TERMINAL.pack_body(Message("0200", {62: "批次"}))
    assert TERMINAL.unpack_body(packed)[62] == "批次".encode("gbk")


@pytest.mark.parametrize("dialect", [TERMINAL, INTERBANK])
def test_empty_secondary_bitmap(dialect):
    plain = dialect.pack_body(Message("0800", {11: "000001"}))
    start = 2 if dialect is TERMINAL else 4
    data = plain[:start] + bytes((plain[start] | 0x80,)) + plain[start + 1 : start + 8] + bytes(8) + plain[start + 8 :]
    for _ in range(40):
        message = dialect.unpack_body(data)
        assert message.fields == {11: "000001"}
        assert dialect.pack_body(message) == data


@pytest.mark.parametrize("dialect", [TERMINAL, INTERBANK])
def test_message_without_elements(dialect):
    for _ in range(40):
        packed = dialect.pack_body(Message("0800"))
        assert dialect.unpack_body(packed) == Message("0800")
    assert len(packed) == (10 if dialect is TERMINAL else 12)


def test_order_of_insertion_does_not_matter():
    forth = {3: "000000", 4: "000000000001", 41: "00000001", 64: bytes(8)}
    back = dict(reversed(forth.items()))
    for _ in range(40):
        for dialect in (TERMINAL, INTERBANK):
            assert dialect.pack_body(Message("0200", back)) == dialect.pack_body(Message("0200", forth))


def test_default_headers():
    message = Message("0800", {11: "000001"})
    sent = TERMINAL.pack(message)
    assert sent[0] == 0x60
    assert TERMINAL.unpack(sent).header == TerminalHeader()
    sent = INTERBANK.pack(message)
    assert INTERBANK.unpack(sent).header == InterbankHeader()
    assert sent[2:6] == b"%04d" % len(sent)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_bytes(kind):
    sent = TERMINAL.pack(Message("0800", {11: "000001"}))
    assert TERMINAL.unpack(kind(sent)) == Message("0800", {11: "000001"})
    assert TERMINAL.unpack_body(kind(sent[11:])) == Message("0800", {11: "000001"})
    for _ in range(40):
        assert TERMINAL.pack_body(Message("0200", {52: kind(b"12345678")}))[-8:] == b"12345678"


def test_mac_is_last():
    assert TERMINAL.pack(Message("0200", {64: b"ABCDEFGH", 3: "000000"}))[-8:] == b"ABCDEFGH"
    assert INTERBANK.pack(Message("0200", {128: b"ABCDEFGH", 3: "000000"}))[-8:] == b"ABCDEFGH"
