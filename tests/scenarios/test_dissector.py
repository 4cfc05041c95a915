"""The Wireshark dissector against our codec, over the same bytes: two programs that share tables and no code."""

import json
import random
from pathlib import Path

import pytest
import tshark

from network.iso8583 import INTERBANK, TERMINAL, DecodeError, Dialect, InterbankHeader, Message
from network.iso8583.additional_data import encode_objects
from network.tracing import TAG
from scenarios.dissector import dissector

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "messages.json").read_text())
CORRUPTED = 150


def bodies(dialect: Dialect) -> list[bytes]:
    """The recorded messages of a dialect, as they stand behind the length."""
    if dialect is INTERBANK:
        rows = [bytes.fromhex(one["hex"]) for one in VECTORS if one["dialect"] == "cups"]
        return [InterbankHeader("03050001", "92250000").frame(row) for row in rows]
    rows = [(bytes.fromhex(one["hex"]), one["framing"]) for one in VECTORS if one["dialect"] == "pos"]
    return [row[2:] if framing.startswith("len2") else row for row, framing in rows]


def frame(dialect: Dialect, body: bytes) -> bytes:
    return (b"%04d" % len(body) if dialect is INTERBANK else len(body).to_bytes(2, "big")) + body


def agree(seen: tshark.Seen, dialect: Dialect, body: bytes) -> None:
    """Both read the same, or both find the same fault in the same place."""
    try:
        message = dialect.unpack(body)
    except DecodeError as error:
        assert seen.get("error") == str(error)
        if error.partial is None:
            return
        message = error.partial
    else:
        assert seen.get("error") is None
    assert seen.get("dialect") == dialect.name
    assert seen.get("mti") == message.mti
    assert seen.elements.keys() == message.fields.keys()
    for number, value in message.fields.items():
        # of corrupted text beyond ASCII, each has its own opinion which characters there are
        if value.isascii() or dialect.fields[number].kind != "text":
            assert seen.elements[number] == tshark.expected(value), number


def test_the_file_in_the_repository_is_what_the_command_writes() -> None:
    assert tshark.DISSECTOR.read_text(encoding="utf-8") == dissector(), "run: fourparty dissector --output FILE"


@pytest.mark.parametrize(("dialect", "port"), [(TERMINAL, 7000), (INTERBANK, 7001), (TERMINAL, 25_000)])
def test_recorded_messages(tmp_path: Path, dialect: Dialect, port: int) -> None:
    """On its own port and, by its looks, on any other."""
    file = tmp_path / "vectors.pcapng"
    recorded = bodies(dialect)
    tshark.write_capture(file, [(port, [frame(dialect, body) for body in recorded])])
    found = tshark.messages(file)
    assert len(found) == len(recorded) > 5
    tshark.no_fault(found)
    for seen, body in zip(found, recorded, strict=True):
        message = dialect.unpack(body)
        agree(seen, dialect, body)
        assert seen.elements == {number: tshark.expected(value) for number, value in message.fields.items()}


def test_how_the_stream_is_cut_up_does_not_matter(tmp_path: Path) -> None:
    """Several messages a packet, a message over packets, lengths cut in half, and idle probes between."""
    file = tmp_path / "cut.pcapng"
    recorded = bodies(TERMINAL)
    stream = b"".join(frame(TERMINAL, body) + b"\0\0" for body in recorded)
    member = b"".join(b"0000" + frame(INTERBANK, body) for body in bodies(INTERBANK))
    cut = [[data[at : at + size] for at in range(0, len(data), size)] for size in (7, 333) for data in (stream, member)]
    tshark.write_capture(file, list(zip((7000, 7001, 7000, 7002), [*cut[:2], *cut[2:]], strict=True)))
    found = tshark.messages(file)
    tshark.no_fault(found)
    for number, dialect in enumerate((TERMINAL, INTERBANK, TERMINAL, INTERBANK)):
        here = [seen for seen in found if seen.stream == number]
        probes = [seen for seen in here if "fourparty.idle" in seen.values]
        assert len(probes) == len(bodies(dialect))
        for seen, body in zip([seen for seen in here if seen not in probes], bodies(dialect), strict=True):
            agree(seen, dialect, body)


@pytest.mark.parametrize(("dialect", "port"), [(TERMINAL, 7000), (INTERBANK, 7001)])
def test_corrupted_messages(tmp_path: Path, dialect: Dialect, port: int) -> None:
    """Bytes changed anywhere, and every beginning of a message: no fault of the dissector, the codec's words."""
    source = random.Random(f"corrupted {dialect.name}")
    recorded = bodies(dialect)
    whole = recorded[3] if dialect is TERMINAL else recorded[1]
    wrong = [whole[:length] for length in range(1, len(whole))]
    while len(wrong) < CORRUPTED + len(whole):
        body = bytearray(source.choice(recorded))
        for _ in range(source.randint(1, 4)):
            body[source.randrange(len(body))] = source.randrange(256)
        wrong.append(bytes(body))
    file = tmp_path / "corrupted.pcapng"
    tshark.write_capture(file, [(port, [frame(dialect, body) for body in wrong])])
    found = tshark.messages(file)
    tshark.no_fault(found)
    assert len(found) == len(wrong)
    for seen, body in zip(found, wrong, strict=True):
        agree(seen, dialect, body)
    refused = [seen for seen in found if seen.get("error")]
    assert len(refused) > len(wrong) // 2
    assert all("_ws.expert.message" in seen.values for seen in refused)


def test_junk_on_the_links(tmp_path: Path) -> None:
    source = random.Random("junk")
    junk = [source.randbytes(source.randint(1, 300)) for _ in range(40)]
    file = tmp_path / "junk.pcapng"
    streams = [(port, [one]) for one in junk for port in (7000, 7001, 7003, 26_000)]
    tshark.write_capture(file, [*streams, (7001, [b"12x4 no digits"]), (7000, [b"\xff\xff" + bytes(20)])])
    found = tshark.messages(file)
    tshark.no_fault(found)
    assert found[-2].get("error") == "the length prefix is not four digits"
    assert found[-1].get("error") == "length 65535 exceeds 8192"


def test_card_data_is_masked_unless_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "masked.pcapng"
    streams = [(7000, TERMINAL), (7001, INTERBANK)]
    tshark.write_capture(file, [(port, [frame(kind, body) for body in bodies(kind)]) for port, kind in streams])
    pans = {TERMINAL.unpack(body).text(2) for body in bodies(TERMINAL) if 2 in TERMINAL.unpack(body)}
    pans |= {INTERBANK.unpack(body).text(2) for body in bodies(INTERBANK) if 2 in INTERBANK.unpack(body)}
    shown = tshark.run(file, "-V", "-O", "fourparty")
    assert len(pans) > 2
    assert not any(pan in shown for pan in pans)
    assert "<8 bytes>" in shown
    assert all(pan in tshark.run(file, "-V", "-o", "fourparty.unmask:TRUE") for pan in pans)


def test_the_trace_of_a_payment_shows_while_the_rest_of_its_element_is_hidden(tmp_path: Path) -> None:
    file = tmp_path / "trace.pcapng"
    trace, span = "0123456789abcdef" * 2, "fedcba9876543210"
    objects = encode_objects({"T1": "6299000000000007", TAG: trace + span})
    body = INTERBANK.pack(Message("0200", {3: "000000", 11: "000001", 59: objects}))
    tshark.write_capture(file, [(7001, [frame(INTERBANK, body)])])
    (masked,), (clear,) = (tshark.messages(file, unmask=unmask) for unmask in (False, True))
    assert masked.get("trace") == clear.get("trace") == trace
    assert masked.get("object") is None
    assert clear.get("object") == "T1: 6299000000000007"


def test_what_a_person_sees_and_filters(tmp_path: Path) -> None:
    file = tmp_path / "lines.pcapng"
    request, response = bodies(INTERBANK)[:2]
    sale = bodies(TERMINAL)[3]
    tshark.write_capture(file, [(7001, [frame(INTERBANK, request), frame(INTERBANK, response)]), (7000, [sale])])
    lines = tshark.run(file, "-Y", "fourparty", "-T", "fields", "-e", "_ws.col.Info").splitlines()
    assert lines[0] == "0200 balance inquiry STAN 863743 term 12345678"
    assert lines[1] == "0210 balance inquiry -> 14 invalid card number, STAN 863743 term 12345678"
    linked = tshark.run(file, "-Y", "fourparty.request_in", "-T", "fields", "-e", "fourparty.time")
    assert linked == "0.000001000\n"
    both = tshark.run(file, "-2", "-R", "tcp", "-Y", "fourparty.response_in", "-T", "fields", "-e", "fourparty.mti")
    assert both == "0200\n"
    assert tshark.run(file, "-Y", 'fourparty.rc == "14" && fourparty.declined').count("\n") == 1
