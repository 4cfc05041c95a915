"""Junk on both links: whatever arrives, there is no exception, and money does not move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from acquirer_bed import Bed, Terminal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from network.iso8583 import INTERBANK, TERMINAL, EncodeError, Message
from network.iso8583.message import Value
from network.member import pack_with_mac
from network.store import sqlite_url

QUICK = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bed, Terminal, list[bytes], list[bytes]]]:
    """A bed that all examples share, and samples of good messages for either link."""
    bed = Bed(sqlite_url(tmp_path_factory.mktemp("junk") / "a.db"))
    bed.connect()
    terminal = bed.terminals[0]
    bed.sign_on(terminal)
    bed.pay(terminal, terminal.sale())
    bed.ask(terminal, terminal.sale())
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    terminals = [terminal.sale(), terminal.balance(), terminal.reversal("000001"), terminal.management("0820", "301")]
    switch = [bed.switch.answer(message) for message in bed.switch.received]
    yield bed, terminal, terminals, switch
    bed.store.close()


def mutated(sample: bytes, cuts: list[tuple[int, int]], length: int | None) -> bytes:
    body = bytearray(sample)
    for at, value in cuts:
        body[at % len(body)] = value
    return bytes(body if length is None else body[: length % len(body)])


CUTS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6)
LENGTH = st.none() | st.integers(0, 400)


@QUICK
@given(junk=st.binary(max_size=200), link=st.sampled_from(["terminal:1", "switch"]))
def test_any_bytes(world: tuple[Bed, Terminal, list[bytes], list[bytes]], junk: bytes, link: str) -> None:
    bed, _, _, _ = world
    before = bed.balances()
    bed.messages((link, junk))
    assert not bed.failures
    assert bed.balances() == before


@QUICK
@given(which=st.integers(0, 3), cuts=CUTS, length=LENGTH, switch=st.booleans())
def test_mutated_messages(
    world: tuple[Bed, Terminal, list[bytes], list[bytes]],
    which: int,
    cuts: list[tuple[int, int]],
    length: int | None,
    switch: bool,
) -> None:
    bed, _, terminals, answers = world
    samples = answers if switch else terminals
    bed.messages(("switch" if switch else "terminal:1", mutated(samples[which % len(samples)], cuts, length)))
    assert not bed.failures


NUMERIC = st.text("0123456789", max_size=20)
VALUES = st.one_of(NUMERIC, st.text("0123456789=", max_size=40), st.binary(max_size=16), st.just("é好"), st.just(""))
CHANGES = st.dictionaries(
    st.sampled_from([2, 3, 4, 11, 14, 22, 23, 25, 26, 35, 38, 39, 42, 49, 52, 53, 54, 55, 60, 61, 63]),
    st.none() | VALUES,
    max_size=5,
)


@QUICK
@given(changes=CHANGES, kind=st.sampled_from(["0200", "0400", "0800", "0220"]))
def test_well_sealed_messages_with_strange_elements(
    world: tuple[Bed, Terminal, list[bytes], list[bytes]], changes: dict[int, Value | None], kind: str
) -> None:
    """What a terminal with the right key can say at worst: it is always answered."""
    bed, terminal, _, _ = world
    message = terminal.sale_message()
    if kind == "0400":
        message.fields[39] = "98"
    message.mti = kind
    for element, value in changes.items():
        if value is None:
            message.fields.pop(element, None)
        else:
            message.fields[element] = value
    try:
        body = terminal.sealed(message)
    except EncodeError:
        return
    sent = bed.messages((terminal.link, body))
    assert not bed.failures
    assert len(sent) >= 1
    answers = [TERMINAL.unpack(body) for link, body in sent if link != "switch"]
    requests = [INTERBANK.unpack(body) for link, body in sent if link == "switch"]
    assert len(answers) + len([request for request in requests if request.mti == "0200"]) == 1


@QUICK
@given(
    changes=st.dictionaries(st.sampled_from([2, 7, 11, 14, 15, 32, 38, 39, 54, 55, 70, 100]), VALUES, max_size=4),
    mti=st.sampled_from(["0210", "0430", "0800", "0820", "0830", "0200"]),
)
def test_well_sealed_answers_with_strange_elements(
    world: tuple[Bed, Terminal, list[bytes], list[bytes]], changes: dict[int, Value], mti: str
) -> None:
    """What the switch can say at worst to a request that is waiting: an approval is posted or nothing is."""
    bed, terminal, _, _ = world
    if not bed.party.session.ready:
        bed.connect()
    before = bed.balances().get("receivable:network", 0)
    ((link, sent),) = bed.messages((terminal.link, terminal.sale()))
    assert link == "switch"
    request = INTERBANK.unpack(sent)
    fields = dict(INTERBANK.unpack(bed.switch.answer(request)).fields) | changes
    message = Message(mti, dict(sorted(fields.items())), bed.switch.header)
    try:
        body = pack_with_mac(message, bed.switch.module, bed.switch.keys["2"])
    except EncodeError:
        return
    replies = bed.messages(("switch", body))
    assert not bed.failures
    after = bed.balances().get("receivable:network", 0)
    approved = [one for link, one in replies if link == terminal.link and bed.read(terminal, one).fields[39] == "00"]
    assert after - before == 1250 * len(approved)
    if mti == "0210" and not changes.keys() & {7, 11, 32, 39}:
        assert len(approved) == 1
