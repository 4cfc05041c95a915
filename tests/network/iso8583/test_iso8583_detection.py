"""Finding the dialect and the framing; the input of DE128."""

import pytest

from network.iso8583 import INTERBANK, TERMINAL, DecodeError, Message, detect, interbank_mac_input

MESSAGE = Message("0200", {2: "6225880000001688", 3: "000000", 4: "000000001250", 11: "000001", 41: "00000001"})
TERM, BANK = TERMINAL.pack(MESSAGE), INTERBANK.pack(MESSAGE)


@pytest.mark.parametrize(
    ("data", "dialect", "framed"),
    [
        (len(TERM).to_bytes(2, "big") + TERM, TERMINAL, True),
        (TERM, TERMINAL, True),
        (b"\x68" + TERM[1:], TERMINAL, True),
        (TERM[11:], TERMINAL, False),
        (b"%04d" % len(BANK) + BANK, INTERBANK, True),
        (BANK, INTERBANK, True),
        (BANK[46:], INTERBANK, False),
        (bytearray(BANK), INTERBANK, True),
    ],
)
def test_detect(data, dialect, framed):
    found, message = detect(data)
    assert found is dialect
    assert message == MESSAGE
    assert (message.header is not None) == framed


def test_best_attempt_is_reported():
    """A message cut short, or with bytes too many, is reported as what it was, its length notwithstanding."""
    with pytest.raises(DecodeError) as caught:
        detect(len(TERM).to_bytes(2, "big") + TERM[:-1])
    assert caught.value.element == 41
    assert sorted(caught.value.partial.fields) == [2, 3, 4, 11]
    with pytest.raises(DecodeError, match=f"the length says {len(TERM) + 1} bytes, {len(TERM)} are here"):
        detect((len(TERM) + 1).to_bytes(2, "big") + TERM)
    with pytest.raises(
        DecodeError, match=f"the header says {len(BANK)} bytes in all, {len(BANK) - 1} are here"
    ) as caught:
        detect(b"%04d" % len(BANK) + BANK[:-1])
    assert caught.value.offset == 6
    with pytest.raises(DecodeError, match="too short"):
        detect(b"\x60\x00")


def test_offset_counts_the_length():
    body = bytes.fromhex("0200" + "2000000000000000" + "00000A")
    framed = TERM[:11] + body
    with pytest.raises(DecodeError) as caught:
        detect(len(framed).to_bytes(2, "big") + framed)
    assert (caught.value.element, caught.value.offset) == (3, 2 + 11 + 10)


MAC_INPUTS = [
    ({}, "0200"),
    (
        {2: "6225880000001688", 3: "000000", 4: "000000001250", 7: "1123093000", 11: "000001"},
        "0200 166225880000001688 000000 000000001250 1123093000 000001",
    ),
    ({128: b"12345678", 52: bytes(8), 5: "000000000001", 18: "5411"}, "0200 5411"),
    (
        {18: "5411", 25: "00", 28: "D00000001", 32: "03050001", 33: "0001", 38: "a1b2 3", 39: "00"},
        "0200 5411 00 D00000001 0803050001 040001 A1B2 3 00",
    ),
    ({41: "T  1    ", 42: "shop,no.1(*)+/ "}, "0200 T 1 SHOP,NO.1"),
    ({90: "0200" + "000001" + "1123092959" + "00001234567" + "0" * 11}, "0200 02000000011123092959"),
    ({102: "62_25", 103: " x "}, "0200 056225 03 X"),
    ({41: "银12", 38: b"\xffA "}, "0200 A 12"),
]


@pytest.mark.parametrize(("fields", "expected"), MAC_INPUTS)
def test_mac_input(fields, expected):
    assert interbank_mac_input(Message("0200", fields)) == expected.encode()
    backwards = dict(reversed(fields.items()))
    assert interbank_mac_input(Message("0200", backwards)) == expected.encode()


@pytest.mark.parametrize("mti", ["0800", "0810", "0820", "0830"])
def test_mac_input_of_key_reset(mti):
    fields = {7: "1123093000", 11: "000001", 39: "00", 53: "2600000000000000", 70: "101", 96: bytes(8), 100: "03050001"}
    fields[33] = "00010000"
    expected = f"{mti} 1123093000 000001 00 2600000000000000 101 0803050001"
    assert interbank_mac_input(Message(mti, fields)) == expected.encode()
    fields[70] = "001"
    expected = f"{mti} 1123093000 000001 0800010000 00"
    assert interbank_mac_input(Message(mti, fields)) == expected.encode()
