"""What people are shown, and what they are not."""

import json
import re
from pathlib import Path

import pytest

from network.iso8583 import INTERBANK, RESPONSE_CODES, TERMINAL, DecodeError, Message, TerminalHeader, describe, detect
from network.iso8583.masking import mask_pan, mask_track

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "messages.json").read_text())
MESSAGES = [v for v in VECTORS if v["dialect"] != "cupshdr"]
PAN = "6225880000001688"
CHIP = bytes.fromhex("5A08" + PAN + "5713" + PAN + "D25122010000000000000F" + "9F02060000000012349A03261123")


def everything(message, unmask=False):
    return "\n".join((describe(message, TERMINAL, unmask), describe(message, INTERBANK, unmask)))


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: v["id"])
def test_samples(vector):
    dialect, message = detect(bytes.fromhex(vector["hex"]))
    text = describe(message, dialect)
    for number in message.fields:
        assert re.search(rf"^ *{number}  {re.escape(dialect.fields[number].name)}", text, re.MULTILINE)
    pan = message.get(2)
    if pan is not None:
        assert pan[6:] not in text
        assert mask_pan(pan) in text
        assert pan in describe(message, dialect, unmask=True)
    pin = message.get(63)
    if isinstance(pin, bytes):
        assert pin.hex() not in text.lower()


SECRETS = [
    (2, PAN, "001688"),
    (34, PAN, "001688"),
    (35, PAN + "=2512201123456789", "2512201123456789"),
    (35, PAN + "D2512201123456789", "2512201123456789"),
    (36, "99" + PAN + "=156156", "156156"),
    (45, "B" + PAN + "^NAME^2512", PAN),
    (46, PAN, PAN),
    (48, b"NK" + bytes.fromhex("0123456789ABCDEF" * 2), "0123456789ABCDEF"),
    (52, bytes.fromhex("06123456FFFFFFFF"), "06123456"),
    (55, CHIP, PAN),
    (59, "A2015" + PAN, PAN),
    (61, "x" + PAN, PAN),
    (62, bytes.fromhex("6701EAD6A9AD51E51AA406E2C27FCFA9"), "6701EAD6"),
    (62, PAN, PAN),
    (63, b"SM016" + bytes.fromhex("CDC489E91786D0BE01F543D813611BCD"), "CDC489E9"),
    (63, "SM016ABCDEFGH", "ABCDEFGH"),
    (96, bytes.fromhex("0123456789ABCDEF"), "0123456789ABCDEF"),
    (102, PAN, "001688"),
    (121, "x" + PAN, PAN),
]


@pytest.mark.parametrize("mti", ["0200", "0210", "0800", "0810"])
@pytest.mark.parametrize(("number", "value", "secret"), SECRETS)
def test_masked_unless_asked(mti, number, value, secret):
    message = Message(mti, {number: value})
    for text in (everything(message), repr(message)):
        assert secret not in text.upper()
        assert not re.search(r"\d{13,}", text)
    assert secret in everything(message, unmask=True).upper()


def test_pan_is_found_elsewhere():
    """An account number of the message is masked wherever else it turns up, as digits or as hex of them."""
    message = Message("0210", {2: PAN, 44: "card " + PAN, 47: PAN.encode(), 56: "x" + PAN})
    message[43] = b"\x01" + PAN.encode()
    text = everything(message)
    assert PAN not in text
    assert PAN.encode().hex() not in text.lower()


def test_explanations():
    message = Message(
        "0210",
        {
            3: "000000",
            4: "000000001250",
            22: "071",
            25: "00",
            39: "51",
            49: "156",
            53: "2600000000000000",
            54: "0002156C0000000123450202156D000000000100",
            55: bytes.fromhex("9F0206000000001250"),
            60: "220000010036000",
            63: "CUP余额不足",
        },
        TerminalHeader(bytes.fromhex("6000030001"), "603100310100"),
    )
    text = describe(message)
    for expected in (
        "0210  financial response (terminal)",
        "TPDU 6000030001: to 0003 from 0001",
        "goods and services",
        "12.50 CNY",
        "contactless chip, with PIN",
        "insufficient funds",
        "PIN block with PAN, 3DES",
        "account 00 type 02 currency 156: 123.45",
        "account 02 type 02 currency 156: -1.00",
        "9F02",
        "batch 000001",
        "network management 003",
        "terminal capability 6 (IC and contactless)",
        "CUP余额不足",
    ):
        assert expected in text


def test_original_and_network_management():
    fields = {7: "1123093000", 11: "000002", 70: "301", 90: "0200" + "000001" + "1123092959" + "00001234567" + "0" * 11}
    text = describe(Message("0820", fields))
    assert "network management advice (interbank)" in text
    assert "echo" in text
    assert "STAN 000001" in text
    assert "transmitted 1123092959" in text


def test_partial_message():
    packed = TERMINAL.pack_body(Message("0200", {2: PAN, 3: "000000", 4: "000000001250"}))
    with pytest.raises(DecodeError) as caught:
        TERMINAL.unpack_body(packed[:-1])
    text = describe(caught.value.partial, TERMINAL)
    assert "processing code" in text
    assert PAN not in text


@pytest.mark.parametrize(
    "fields",
    [{4: "x"}, {54: "0002156Cxxxxxxxxxxxx"}, {60: "2"}, {61: ""}, {90: ""}, {39: ""}, {22: "9"}, {3: b"\0"}, {5: 1}],
)
def test_odd_values_are_described_too(fields):
    assert everything(Message("0200", fields))
    assert everything(Message("", fields))


def test_masks():
    assert mask_pan(PAN) == "622588******1688"
    assert mask_pan("6225880000001688123") == "622588*********8123"
    assert mask_pan("123456789012") == "*" * 12
    assert mask_track(PAN + "=2512") == "622588******1688=****"
    assert mask_track("no separator") == "*" * 12


def test_response_codes():
    assert RESPONSE_CODES["00"] == "approved"
    assert RESPONSE_CODES["A0"].startswith("MAC")
    expected = (
        "00 01 03 04 05 10 12 13 14 15 22 25 30 34 38 40 41 43 45 51 54 55 57 58 59 61 62 64 65 68 75 77 79 90 91"
    )
    assert set(RESPONSE_CODES) == {*expected.split(), *["92", "94", "95", "96", "97", "98", "99", "A0"]}
