"""Sign-on, sign-off, echo: who gets which keys, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from acquirer_bed import MERCHANT, OTHER_MERCHANT, Bed, Terminal

from network.iso8583 import TERMINAL, Message, TerminalHeader
from network.keys import Algorithm, MacAlgorithm
from network.store import Store


@pytest.mark.parametrize(
    ("code", "length", "pin_key", "track_key"),
    [
        ("001", 24, Algorithm.DES, False),
        ("003", 40, Algorithm.TDES_DOUBLE, False),
        ("004", 60, Algorithm.TDES_DOUBLE, True),
    ],
)
def test_a_sign_on_downloads_keys(
    bed: Bed, terminal: Terminal, code: str, length: int, pin_key: Algorithm, track_key: bool
) -> None:
    reply = bed.sign_on(terminal, code)
    assert reply.mti == "0810"
    assert len(reply.binary(62)) == length
    assert sorted(reply.fields) == [11, 12, 13, 32, 37, 39, 41, 42, 60, 62]
    assert (reply.fields[12], reply.fields[13], reply.fields[32]) == ("100000", "1123", "48020000")
    assert reply.fields[60] == f"00{terminal.batch}{code}"
    assert terminal.keys is not None
    assert terminal.keys.pik.algorithm is pin_key
    assert terminal.keys.mak.algorithm is Algorithm.DES
    assert (terminal.keys.tdk is not None) == track_key
    assert bed.pay(terminal, terminal.sale()).fields[39] == "00"


def test_the_reply_swaps_the_addresses_and_repeats_the_head(bed: Bed, terminal: Terminal) -> None:
    message = terminal.sale_message()
    message.header = TerminalHeader(bytes.fromhex("6012345678"), "61ABC2FEDCBA")
    reply = bed.pay(terminal, terminal.sealed(message))
    assert isinstance(reply.header, TerminalHeader)
    assert reply.header.tpdu == bytes.fromhex("6056781234")
    assert reply.header.head == "61ABC0FEDCBA"


def test_a_repeated_sign_on_gets_other_keys_and_the_last_ones_are_in_force(bed: Bed, terminal: Terminal) -> None:
    request = terminal.management("0800", "003")
    first, second = bed.ask(terminal, request, request)
    assert first.fields[62] != second.fields[62]
    terminal.take_keys(first)
    ((_, refused),) = bed.messages((terminal.link, terminal.sale()))
    assert TERMINAL.unpack(refused).fields[39] == "A0"
    terminal.take_keys(second)
    assert terminal.mac_is_right(refused)
    assert bed.pay(terminal, terminal.sale()).fields[39] == "00"


def test_echo_and_sign_off(bed: Bed, terminal: Terminal) -> None:
    (reply,) = bed.ask(terminal, terminal.management("0820", "301"))
    assert (reply.mti, reply.fields[39]) == ("0830", "00")
    assert sorted(reply.fields) == [11, 12, 13, 32, 37, 39, 41, 42, 60]
    body = terminal.sale()
    (reply,) = bed.ask(terminal, terminal.management("0820", "002"))
    assert (reply.mti, reply.fields[39]) == ("0830", "00")
    (reply,) = bed.ask(terminal, body)
    assert reply.fields[39] == "77"
    assert 64 not in reply.fields
    assert isinstance(reply.header, TerminalHeader)
    assert reply.header.processing_requirement == "3"


@pytest.mark.parametrize("mti", ["0800", "0820"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"de41": "T9999999"}, "97"),
        ({"de41": None}, "97"),
        ({"de42": OTHER_MERCHANT}, "03"),
        ({"de42": None}, "03"),
        ({"de60": None}, "30"),
        ({"de60": "00000007"}, "30"),
        ({"de11": None}, "30"),
        ({"de60": "00000007362"}, "40"),
        ({"de60": "00000007005"}, "40"),
    ],
)
def test_refusals(bed: Bed, terminal: Terminal, mti: str, changes: dict[str, Any], code: str) -> None:
    (reply,) = bed.ask(terminal, terminal.management(mti, "001" if mti == "0800" else "301", **changes))
    assert (reply.mti, reply.fields[39]) == (f"{mti[:2]}{int(mti[2]) + 1}0", code)
    assert 62 not in reply.fields


def test_suspended_terminals_and_merchants_are_refused(bed: Bed, terminal: Terminal) -> None:
    bed.command("suspend_terminal", terminal_id=terminal.terminal_id)
    for body in (terminal.management("0800", "003"), terminal.sale()):
        assert [reply.fields[39] for reply in bed.ask(terminal, body)] == ["58"]
    bed.command("activate_terminal", terminal_id=terminal.terminal_id)
    bed.command("suspend_merchant", merchant_id=MERCHANT)
    for body in (terminal.management("0800", "003"), terminal.sale()):
        assert [reply.fields[39] for reply in bed.ask(terminal, body)] == ["03"]
    bed.command("activate_merchant", merchant_id=MERCHANT)
    assert bed.pay(terminal, terminal.sale()).fields[39] == "00"


@pytest.mark.parametrize(
    ("algorithm", "tmk", "codes"),
    [
        (MacAlgorithm.X9_9, bytes(range(16)), {"001": "00", "003": "00", "004": "00"}),
        (MacAlgorithm.X9_19, bytes(range(16)), {"001": "40", "003": "00", "004": "00"}),
        (MacAlgorithm.CUP_ECB, bytes(range(8)), {"001": "00", "003": "40", "004": "40"}),
    ],
)
def test_other_macs_and_short_master_keys(
    empty: Store, algorithm: MacAlgorithm, tmk: bytes, codes: dict[str, str]
) -> None:
    terminal = Terminal("T0000002", "terminal:2", tmk=tmk, mac_algorithm=algorithm)
    bed = Bed(empty, [terminal])
    bed.connect()
    for layout, code in codes.items():
        assert bed.sign_on(terminal, layout).fields[39] == code
        if code == "00":
            body = terminal.sale()
            assert bed.ask(terminal, body[:-1] + bytes([body[-1] ^ 1]))[0].fields[39] == "A0"
            assert bed.pay(terminal, terminal.sale()).fields[39] == "00"
    assert not bed.failures


def test_keys_and_sessions_survive_a_restart_and_are_key_blocks_at_rest(bed: Bed, terminal: Terminal) -> None:
    bed.restart()
    bed.connect()
    assert bed.pay(terminal, terminal.sale()).fields[39] == "00"
    with bed.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT pin_key, mac_key, master_key FROM terminal").all()
    assert all(block.startswith("D") and len(block) >= 112 for row in rows for block in row)


def test_a_header_with_the_answering_side_first_is_accepted(bed: Bed, terminal: Terminal) -> None:
    for tpdu in ("6000170003", "6000030017", "6000000000"):
        message = terminal.sale_message()
        message.header = TerminalHeader(bytes.fromhex(tpdu))
        assert bed.pay(terminal, terminal.sealed(message)).fields[39] == "00"


def test_a_terminal_of_another_merchant_cannot_speak_for_this_one(empty: Store) -> None:
    terminals = [Terminal("T0000001", "terminal:1"), Terminal("T0000002", "terminal:2", merchant_id=OTHER_MERCHANT)]
    bed = Bed(empty, terminals)
    bed.connect()
    for terminal in terminals:
        bed.sign_on(terminal)
    body = terminals[1].sale(de41="T0000001", de42=MERCHANT)
    replies = bed.messages(("terminal:2", body))
    assert [TERMINAL.unpack(body).fields[39] for _, body in replies] == ["A0"]
    assert bed.rows() == []


def test_an_answer_from_a_terminal_is_dropped(bed: Bed, terminal: Terminal) -> None:
    assert bed.ask(terminal, TERMINAL.pack(Message("0810", {11: "000001", 41: terminal.terminal_id}))) == []
    assert bed.party.dropped == {"answer from a terminal": 1}
