"""Stopped cards at the acquirer: who stops them, who sees them, and what terminals are given."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from acquirer_bed import PAN, Bed, Terminal
from further_messages import managed

from acquirer.hot_card_tables import HotCard, HotPage
from network.party import CommandError, Json, Work, take_turn

CARDS = [f"62284800001{n:05d}" for n in range(400)]


class ListBed(Bed):
    """A bed whose turns do not all draw the same numbers."""

    random = Random(3)

    def take(self, work: Work) -> list[tuple[str, bytes]]:
        sent: list[tuple[str, bytes]] = []
        self.failures += take_turn(
            self.party, self.now, self.random, self.unit, work, lambda turn: sent.extend(self._deliver(turn))
        )
        return sent


@pytest.fixture
def listed(tmp_path: Path) -> Iterator[tuple[ListBed, Terminal]]:
    bed = ListBed(f"sqlite:///{tmp_path / 'acquirer.db'}", hot_cards=300)
    bed.connect()
    bed.sign_on(bed.terminals[0])
    yield bed, bed.terminals[0]
    assert not bed.failures
    bed.store.close()


def stop(bed: Bed, pan: str, reason: str = "reported stolen") -> dict[str, Json]:
    row = bed.command("add_hot_card", pan=pan, reason=reason)
    assert isinstance(row, dict), row
    return row


def page(bed: Bed, terminal: Terminal, number: str | None = "001") -> bytes:
    (reply,) = bed.ask(terminal, managed(terminal, "0800", "390", de62=None if number is None else number.encode()))
    assert (reply.mti, reply.fields[39], 64 in reply.fields) == ("0810", "00", True)
    return reply.binary(62)


def whole(bed: Bed, terminal: Terminal) -> tuple[bytes, list[bytes]]:
    """Salt and digests of the list, read by hand."""
    digests: list[bytes] = []
    salts = set()
    number = 0
    more = True
    while more:
        number += 1
        content = page(bed, terminal, f"{number:03d}")
        assert content[1:4] == b"%03d" % number
        more = content[:1] == b"2"
        salts.add(content[4:20])
        digests += [content[at : at + 8] for at in range(20, len(content), 8)]
    assert len(salts) == 1
    (reply,) = bed.ask(terminal, managed(terminal, "0800", "391"))
    assert (reply.mti, reply.fields[39], 62 in reply.fields) == ("0810", "00", False)
    return salts.pop(), digests


def named(salt: bytes, pan: str) -> bytes:
    return hmac.new(salt, pan.encode(), hashlib.sha256).digest()[:8]


def test_cards_are_stopped_listed_and_let_go(listed: tuple[ListBed, Terminal]) -> None:
    bed, terminal = listed
    assert page(bed, terminal) == b"0"
    first = stop(bed, PAN)
    assert first["status"] == "listed"
    salt, digests = whole(bed, terminal)
    assert digests == [named(salt, PAN)]
    assert whole(bed, terminal) == (salt, digests), "the same list to everybody"
    other = stop(bed, CARDS[0])
    newer, digests = whole(bed, terminal)
    assert newer != salt
    assert sorted(digests) == sorted((named(newer, PAN), named(newer, CARDS[0])))
    assert bed.command("remove_hot_card", id=first["id"])["status"] == "removed"  # type: ignore[call-overload, index]
    newest, digests = whole(bed, terminal)
    assert newest not in (salt, newer)
    assert digests == [named(newest, CARDS[0])]
    bed.command("remove_hot_card", id=other["id"])
    assert page(bed, terminal) == b"0"
    assert stop(bed, PAN)["id"] == first["id"]
    salt, digests = whole(bed, terminal)
    assert digests == [named(salt, PAN)]


def test_what_is_asked_twice_is_done_once(listed: tuple[ListBed, Terminal]) -> None:
    bed, terminal = listed
    first = stop(bed, PAN, "stolen")
    before = whole(bed, terminal)
    bed.now += 1_000_000
    again = stop(bed, PAN, "counterfeit")
    assert (again["id"], again["added_at"], again["reason"]) == (first["id"], first["added_at"], "counterfeit")
    assert whole(bed, terminal) == before, "another reason makes no other list"
    removed = bed.command("remove_hot_card", id=first["id"])
    assert bed.command("remove_hot_card", id=first["id"]) == removed
    stop(bed, CARDS[0])
    assert len(whole(bed, terminal)[1]) == 1


def test_a_long_list_comes_in_pages_and_outlives_the_process(listed: tuple[ListBed, Terminal]) -> None:
    bed, terminal = listed
    for pan in CARDS[:300]:
        stop(bed, pan)
    salt, digests = whole(bed, terminal)
    assert digests == sorted(named(salt, pan) for pan in CARDS[:300])
    assert [len(page(bed, terminal, f"{n:03d}")) for n in (1, 2, 3, 4)] == [996, 996, 20 + 56 * 8, 20]
    assert page(bed, terminal, "004")[:1] == b"1", "a page that is there no more tells the salt"
    refused = bed.command("add_hot_card", pan=CARDS[300], reason="stolen")
    assert isinstance(refused, CommandError)
    assert "300" in str(refused)
    stop(bed, CARDS[5], "one that is there already")
    bed.restart()
    bed.connect()
    assert whole(bed, terminal) == (salt, digests)


def test_many_changes_between_two_downloads_cost_one_layout(listed: tuple[ListBed, Terminal]) -> None:
    bed, terminal = listed
    for pan in CARDS[:130]:
        stop(bed, pan)
    assert bed.unit.scan(HotPage, "number", 1, 10) == []
    before, _ = whole(bed, terminal)
    for pan in CARDS[:20]:
        bed.command("remove_hot_card", id=stop(bed, pan)["id"])
    salt, digests = whole(bed, terminal)
    assert salt != before
    assert digests == sorted(named(salt, pan) for pan in CARDS[20:130])
    assert page(bed, terminal, "002") == b"1002" + salt, "the second page of the longer list is not given any more"


@pytest.mark.parametrize("content", [None, b"", b"1", b"000", b"101", b"0001", b"abc", b"\xff\xff\xff"])
def test_a_request_that_names_no_page(listed: tuple[ListBed, Terminal], content: bytes | None) -> None:
    bed, terminal = listed
    stop(bed, PAN)
    (reply,) = bed.ask(terminal, managed(terminal, "0800", "390", de62=content))
    assert (reply.fields[39], 62 in reply.fields) == ("30", False)


def test_only_a_terminal_with_keys_gets_the_list(listed: tuple[ListBed, Terminal]) -> None:
    bed, terminal = listed
    stop(bed, PAN)
    body = managed(terminal, "0800", "390", de62=b"001")
    (reply,) = bed.ask(terminal, body[:-8] + b"00000000")
    assert (reply.fields[39], 62 in reply.fields) == ("A0", False)
    (reply,) = bed.ask(terminal, managed(terminal, "0820", "390", de62=b"001"))
    assert (reply.fields[39], 62 in reply.fields) == ("40", False)
    bed.command("suspend_terminal", terminal_id=terminal.terminal_id)
    (reply,) = bed.ask(terminal, managed(terminal, "0800", "390", de62=b"001"))
    assert (reply.fields[39], 62 in reply.fields) == ("58", False)


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("add_hot_card", {}, "pan"),
        ("add_hot_card", {"pan": "622848000000", "reason": "x"}, "13 to 19 digits"),
        ("add_hot_card", {"pan": "6" * 20, "reason": "x"}, "13 to 19 digits"),
        ("add_hot_card", {"pan": "62284800000010٠", "reason": "x"}, "13 to 19 digits"),
        ("add_hot_card", {"pan": 6228480000001000, "reason": "x"}, "13 to 19 digits"),
        ("add_hot_card", {"pan": PAN}, "reason"),
        ("add_hot_card", {"pan": PAN, "reason": ""}, "reason"),
        ("add_hot_card", {"pan": PAN, "reason": "x" * 101}, "reason"),
        ("add_hot_card", {"pan": PAN, "reason": "a\nb"}, "reason"),
        ("add_hot_card", {"pan": PAN, "reason": f"card {PAN}"}, "card number"),
        ("remove_hot_card", {}, "id"),
        ("remove_hot_card", {"id": PAN}, "id"),
        ("remove_hot_card", {"id": "0" * 32}, "there is no stopped card"),
    ],
)
def test_commands_that_are_refused(
    listed: tuple[ListBed, Terminal], name: str, arguments: dict[str, Json], reason: str
) -> None:
    bed, terminal = listed
    refused = bed.command(name, **arguments)
    assert isinstance(refused, CommandError)
    assert reason in str(refused)
    assert PAN not in str(refused)
    assert page(bed, terminal) == b"0"


def test_no_card_number_stands_in_the_database(listed: tuple[ListBed, Terminal], tmp_path: Path) -> None:
    bed, terminal = listed
    stop(bed, PAN)
    page(bed, terminal)
    (row,) = bed.store.unit_of_work().scan(HotCard, "status", "listed", 10)
    assert row.pan_masked == PAN[:6] + "*" * (len(PAN) - 10) + PAN[-4:]
    bed.unit.rollback()
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert PAN.encode() not in content
        assert hashlib.sha256(PAN.encode()).digest()[:8] not in content
