"""Junk among codes, orders, offline sales and downloads: always answered, never an exception, no money without 00."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from acquirer_bed import Bed, Terminal
from further_messages import asked, claim, code_sale, managed, new_order, offline_sale, order, payments, sent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acquirer.claims import claim_of
from acquirer.terminal_data import order_number_in
from network.iso8583 import INTERBANK, TERMINAL, EncodeError, Message
from network.iso8583.additional_data import encode_objects
from network.iso8583.message import Value
from network.member import pack_with_mac
from network.store import sqlite_url

QUICK = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

MESSAGES: tuple[Callable[[Terminal], bytes], ...] = (
    code_sale,
    offline_sale,
    order,
    lambda terminal: asked(terminal, "48020000000000000001"),
    lambda terminal: asked(terminal, "48020000000000000001", "404"),
    lambda terminal: managed(terminal, "0820", "372"),
    lambda terminal: managed(terminal, "0800", "370", de62=bytes.fromhex("9F0605A0000003339F220108")),
    lambda terminal: managed(terminal, "0800", "380", de62=bytes.fromhex("9F0608A000000333010101")),
    lambda terminal: managed(terminal, "0800", "360"),
)

OBJECTS = st.dictionaries(
    st.sampled_from(["A2", "A3", "A4", "A5", "T1", "Z9"]),
    st.text("0123456789A好", max_size=30) | st.dictionaries(st.sampled_from(["01", "02", "04"]), st.text(max_size=25)),
).map(encode_objects)
VALUES = st.one_of(
    st.text("0123456789", max_size=20),
    st.binary(max_size=24),
    st.just("é好"),
    st.just(""),
    OBJECTS,
    OBJECTS.map(str.encode),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A bed that all examples share."""
    bed = Bed(sqlite_url(tmp_path_factory.mktemp("junk") / "a.db"), order_seconds=10_000)
    bed.connect()
    bed.sign_on(bed.terminals[0])
    new_order(bed, bed.terminals[0])
    yield bed
    bed.store.close()


@QUICK
@given(
    which=st.integers(0, len(MESSAGES) - 1),
    changes=st.dictionaries(st.sampled_from([2, 3, 4, 11, 22, 25, 35, 49, 52, 55, 59, 60, 62]), st.none() | VALUES),
)
def test_well_sealed_messages_with_strange_elements(world: Bed, which: int, changes: dict[int, Value | None]) -> None:
    bed, terminal = world, world.terminals[0]
    message = TERMINAL.unpack(MESSAGES[which](terminal))
    for element, value in changes.items():
        if value is None:
            message.fields.pop(element, None)
        else:
            message.fields[element] = value
    try:
        body = terminal.sealed(message)
    except EncodeError:
        return
    before = bed.balances()
    out = bed.messages((terminal.link, body))
    assert not bed.failures
    assert bed.balances() == before
    answers = [one for link, one in out if link == terminal.link]
    requests = [INTERBANK.unpack(one) for link, one in out if link == "switch"]
    assert len(answers) + sum(request.mti == "0200" for request in requests) == 1
    for answer in answers:
        bed.read(terminal, answer)


@QUICK
@given(
    which=st.integers(0, len(MESSAGES) - 1),
    cuts=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    length=st.none() | st.integers(0, 400),
)
def test_mutated_messages(world: Bed, which: int, cuts: list[tuple[int, int]], length: int | None) -> None:
    body = bytearray(MESSAGES[which](world.terminals[0]))
    for at, value in cuts:
        body[at % len(body)] = value
    world.messages(("terminal:1", bytes(body if length is None else body[: length % len(body)])))
    assert not world.failures


@QUICK
@given(changes=st.dictionaries(st.sampled_from([2, 3, 4, 7, 11, 33, 39, 48, 102, 103]), st.none() | VALUES, max_size=4))
def test_well_sealed_claims_with_strange_elements(world: Bed, changes: dict[int, Value | None]) -> None:
    bed = world
    try:
        body = claim(bed.switch, "48020000000000000001", **{f"de{n}": value for n, value in changes.items()})  # type: ignore[arg-type]
    except EncodeError:
        return
    before = bed.balances()
    out = [INTERBANK.unpack(one) for _, one in bed.messages(("switch", body))]
    assert not bed.failures
    assert bed.balances() == before
    answers = [message for message in out if message.mti == "0610"]
    made = [message for message in out if message.mti == "0200"]
    assert len(answers) <= 1
    assert len(out) == len(answers) + len(made)
    # a 0200 leaves with a 00, and with nothing else
    assert not made or answers[0].fields[39] == "00"


@QUICK
@given(
    changes=st.dictionaries(st.sampled_from([2, 4, 7, 11, 15, 32, 38, 39, 54, 55, 100]), VALUES, max_size=4),
    mti=st.sampled_from(["0230", "0210", "0430", "0610", "0600"]),
)
def test_well_sealed_answers_to_offline_sales_with_strange_elements(
    world: Bed, changes: dict[int, Value], mti: str
) -> None:
    bed, terminal = world, world.terminals[0]
    bed.switch.received.clear()
    bed.ask(terminal, offline_sale(terminal))
    (request,) = sent(bed, "0220")
    fields = dict(INTERBANK.unpack(bed.switch.answer(request)).fields) | changes
    message = Message(mti, dict(sorted(fields.items())), bed.switch.header)
    try:
        body = pack_with_mac(message, bed.switch.module, bed.switch.keys["2"])
    except EncodeError:
        return
    before = bed.balances().get("receivable:network", 0)
    bed.pump(bed.messages(("switch", body)))
    assert not bed.failures
    posted = bed.balances().get("receivable:network", 0) - before
    if mti == "0230" and not changes.keys() & {7, 11, 32, 39}:
        assert posted == 1250
    elif mti != "0230" or not changes.keys() & {7, 11, 32}:
        assert posted in (0, 1250 if mti == "0230" and changes.get(39) == "00" else 0)
    assert payments(bed) == []


@pytest.mark.parametrize(
    "number", ["4802000000000000000\0", "\0" * 20, "1" * 19, "1" * 21, "\u0661" * 20, "x" * 20, "4802 000000000000001"]
)
def test_only_what_can_be_an_orders_number_is_looked_up(number: str) -> None:
    """A database refuses text with a NUL, and the whole turn with it; who sends this has shown no MAC yet."""
    assert order_number_in(encode_objects({"A5": {"01": number}}).encode()) is None
    assert claim_of({102: number, 103: "6212345678901234567"}) is None
