"""What log lines say of an incident, and what they never say."""

from __future__ import annotations

from structlog.testing import capture_logs

from network.incident import LINES_A_SECOND, Notes, facts_of, payment_in
from network.iso8583 import INTERBANK, TERMINAL, InterbankHeader, Message, TerminalHeader
from network.party import Command, LinkChange, Received, Work

PAN = "6212345678901232"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SALE = {
    2: PAN,
    3: "000000",
    4: "000000001250",
    11: "000042",
    35: f"{PAN}=30122010000",
    37: "033112000042",
    41: "00000001",
    42: "898290154110001",
    52: bytes.fromhex("0123456789ABCDEF"),
    59: f"TC048{TRACE}b7ad6b7169203331",
    64: bytes(8),
}


def test_a_message_is_named_by_its_payment_and_shows_nothing_of_the_card() -> None:
    body = TERMINAL.pack(Message("0200", dict(SALE), TerminalHeader()))
    found = facts_of(Work([], [Received("terminal:1", body)], [], []))
    assert found == {
        "link": "terminal:1",
        "mti": "0200",
        "terminal": "00000001",
        "stan": "000042",
        "rrn": "033112000042",
        "trace": TRACE,
    }


def test_of_either_dialect_also_where_only_part_can_be_read() -> None:
    fields = {n: value for n, value in SALE.items() if n != 64} | {7: "1127221500", 59: "TC0010"}
    body = INTERBANK.pack(Message("0200", dict(sorted(fields.items())), InterbankHeader("00010000", "48020000")))
    assert payment_in(body)["rrn"] == "033112000042"
    assert "trace" not in payment_in(body)
    cut = payment_in(TERMINAL.pack(Message("0200", dict(SALE), TerminalHeader()))[:-12])
    assert (cut["mti"], cut["terminal"], cut["stan"]) == ("0200", "00000001", "000042")
    assert PAN not in str(cut)
    assert payment_in(b"") == payment_in(b"\xff" * 60) == {"message": "undecodable"}


def test_other_events_by_what_they_were() -> None:
    assert facts_of(Work([], [], [Command("sale", {"pin": "123456"}, 1)], [])) == {"command": "sale"}
    assert facts_of(Work([], [], [], [("switch-answer", "2026-1")])) == {"timer": "switch-answer", "of": "2026-1"}
    assert facts_of(Work([LinkChange("switch", False)], [], [], [])) == {"link": "switch"}


def test_a_storm_of_notes_is_counted_and_not_written() -> None:
    now = [100.0]
    notes = Notes("switch", lambda: now[0])
    with capture_logs() as lines:
        for _ in range(LINES_A_SECOND + 30):
            notes.write("no answer from the issuer", {"stan": "000001"})
        notes.write("wrong MAC", {"member": "1"})
        now[0] += 1
        notes.write("no answer from the issuer", {"stan": "000002"})
        notes.write("session ready", {"member": "1"})
    kinds = [line["event"] for line in lines]
    assert kinds.count("no answer from the issuer") == LINES_A_SECOND + 1
    assert "wrong MAC" in kinds
    (counted,) = [line for line in lines if "left_out" in line]
    assert (counted["left_out"], counted["stan"], counted["party"]) == (30, "000002", "switch")
    assert [line["log_level"] for line in lines if line["event"] == "session ready"] == ["info"]
