"""Recorded messages decode to their last byte and pack back to the same bytes."""

import json
from pathlib import Path

import pytest

from network.iso8583 import INTERBANK, TERMINAL, InterbankHeader, Message, TerminalHeader, detect

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "messages.json").read_text())
MESSAGES = [v for v in VECTORS if v["dialect"] != "cupshdr"]
# Enough to have passed from the interpreter to the compiled code.
OFTEN = 60


def read(vector):
    raw = bytes.fromhex(vector["hex"])
    if vector["dialect"] == "cups":
        return INTERBANK.unpack_body, INTERBANK.pack_body, raw
    return TERMINAL.unpack, TERMINAL.pack, raw[2:] if vector["framing"].startswith("len2") else raw


def shown(number: int, value: str | bytes, vector: dict) -> str:
    """A value as the vector file shows it."""
    text = vector["decoded"][str(number)]
    text = text.split("|")[0] if number == 22 else text
    if number == 23 and "|" in text:
        text = text.split("|")[1]
    if "] " in text:
        length, _, text = text.partition("] ")
        data = value.encode("gbk") if isinstance(value, str) else value
        assert int(length[1:]) == len(data)
    text = text.removesuffix("|pad 0")
    if isinstance(value, str):
        return "str " + text
    return "hex " + text.removeprefix("hex:").split(" ascii:")[0]


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: v["id"])
def test_values_and_identity(vector):
    unpack, pack, raw = read(vector)
    for _ in range(OFTEN):
        message = unpack(raw)
        for number, value in message.fields.items():
            is_text = isinstance(value, str)
            own = ("str " + value) if is_text else ("hex " + value.hex().upper())
            assert own == shown(number, value, vector), number
        assert pack(message) == raw
    decoded = vector["decoded"]
    assert message.mti == decoded["MTI"]
    assert sorted(message.fields) == [int(k) for k in decoded if k.isdigit()]


@pytest.mark.parametrize("vector", [v for v in MESSAGES if v["dialect"] == "pos"], ids=lambda v: v["id"])
def test_terminal_header(vector):
    unpack, _, raw = read(vector)
    header = unpack(raw).header
    assert isinstance(header, TerminalHeader)
    assert header.tpdu.hex() == vector["decoded"]["TPDU"]
    assert header.head == vector["decoded"]["HEAD"]


def test_interbank_header():
    vector = next(v for v in VECTORS if v["dialect"] == "cupshdr")
    raw = bytes.fromhex(vector["hex"])
    header = InterbankHeader.from_bytes(raw)
    decoded = vector["decoded"]
    assert header.raw == raw
    assert header.total_length == int(decoded["H.msglen"])
    assert header.destination == decoded["H.dst"].rstrip()
    assert header.source == decoded["H.src"].rstrip()
    assert header.version == int(decoded["H.ver"], 16)
    assert header.reserved == bytes.fromhex(decoded["H.rsv"]).decode()
    assert header.batch == int(decoded["H.batch"], 16)
    assert header.transaction_information == decoded["H.txn"]
    assert header.user_information == int(decoded["H.user"], 16)
    assert header.reject_code == decoded["H.rej"]
    made = InterbankHeader("03050001", "00010000", reserved="AA9", batch=1)
    assert made == header
    body = INTERBANK.pack_body(Message("0820", {7: "0825112400", 11: "000001", 70: "301"}))
    framed = made.frame(body)
    assert framed[2:6] == b"%04d" % len(framed)
    assert INTERBANK.unpack(framed).header == header


@pytest.mark.parametrize("vector", MESSAGES, ids=lambda v: v["id"])
def test_detected(vector):
    raw = bytes.fromhex(vector["hex"])
    dialect, message = detect(raw)
    assert dialect is (INTERBANK if vector["dialect"] == "cups" else TERMINAL)
    assert message.mti == vector["decoded"]["MTI"]
