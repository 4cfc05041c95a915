"""`take_turn`: commit before delivery, and a bad event harms no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_parties import TABLES, Echo, Note, Tally, Undecidable

from network.party import (
    SECOND,
    Command,
    CommandError,
    Failure,
    LinkChange,
    Received,
    Turn,
    Work,
    instant_of,
    local_time,
    take_turn,
)
from network.store import Store, StoreError, UnitOfWork

NOW = 1_543_910_400 * SECOND


class Bed:
    """An echo party, and what its turns deliver."""

    def __init__(self) -> None:
        self.store = Store("sqlite://", TABLES, durable=False)
        self.unit = self.store.unit_of_work()
        self.party = Echo()
        self.delivered: list[Turn] = []
        self.at_delivery: list[list[bytes]] = []
        self.party.start(Turn(NOW, Random(1), self.unit, Work([], [], [], [])))
        self.unit.commit()

    def take(self, work: Work) -> list[Failure]:
        return take_turn(self.party, NOW, Random(1), self.unit, work, self._deliver)

    def _deliver(self, turn: Turn) -> None:
        self.delivered.append(turn)
        self.at_delivery.append(self.notes())

    def notes(self) -> list[bytes]:
        """What is committed, read beside the unit of work."""
        notes = self.store.tables[Note]
        with self.store.read() as connection:
            return [row.subject for row in connection.execute(notes.select().order_by(notes.c.number))]

    @property
    def sent(self) -> list[bytes]:
        return [body for turn in self.delivered for _, body in turn.sent]

    @property
    def answers(self) -> list[tuple[int, object]]:
        return [answer for turn in self.delivered for answer in turn.answers]


@pytest.fixture
def bed() -> Iterator[Bed]:
    made = Bed()
    yield made
    made.store.close()


def inbox(*bodies: bytes) -> list[Received]:
    return [Received("peer", body) for body in bodies]


def test_a_turn_is_delivered_once_and_after_its_commit(bed: Bed) -> None:
    assert bed.take(Work([], inbox(b"a", b"b", b"c"), [], [])) == []
    assert bed.sent == [b"re:a", b"re:b", b"re:c"]
    assert bed.at_delivery == [[b"a", b"b", b"c"]]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_message_is_dropped_alone(bed: Bed, place: int) -> None:
    bodies = [b"a", b"b"]
    bodies.insert(place, b"bad")
    (failure,) = bed.take(Work([], inbox(*bodies), [], []))
    assert failure.work.inbox == inbox(b"bad")
    assert isinstance(failure.error, Undecidable)
    assert bed.sent == [b"re:a", b"re:b"]
    assert bed.notes() == [b"a", b"b"]
    # what it had changed before it failed is not there: the numbers go on without a gap
    assert bed.take(Work([], inbox(b"c"), [], [])) == []
    tally = bed.unit.find(Tally, "name", "notes")
    assert tally is not None
    assert tally.value == 3
    assert bed.party.rollbacks == 2


def test_a_message_that_the_store_refuses_is_dropped_alone(bed: Bed) -> None:
    failures = bed.take(Work([], inbox(b"a", b"same", b"b", b"same", b"c"), [], []))
    assert [failure.work.inbox for failure in failures] == [inbox(b"same")]
    assert not isinstance(failures[0].error, StoreError)
    assert bed.sent == [b"re:a", b"re:same", b"re:b", b"re:c"]
    assert bed.notes() == [b"a", b"same", b"b", b"c"]


def test_every_kind_of_event_can_be_bad_and_the_others_are_done(bed: Bed) -> None:
    failures = bed.take(
        Work(
            [LinkChange("bad", True), LinkChange("peer", True)],
            inbox(b"bad", b"a"),
            [Command("boom", {}, 1), Command("count", {}, 2)],
            [("bad", "x"), ("note", "y")],
        )
    )
    assert [len(failure.work) for failure in failures] == [1, 1, 1, 1]
    assert bed.party.changes == [LinkChange("peer", True)]
    assert bed.sent == [b"re:a"]
    assert (2, 1) in bed.answers
    assert bed.party.fired == [(NOW, "y")]


def test_a_failed_command_is_answered_without_the_text_of_its_error(bed: Bed) -> None:
    (failure,) = bed.take(Work([], [], [Command("boom", {}, 7)], []))
    assert failure.work.commands[0].ticket == 7
    ((ticket, answer),) = bed.answers
    assert ticket == 7
    assert isinstance(answer, CommandError)
    assert str(answer) == "boom failed: Undecidable"
    assert bed.delivered[0].sent == []


def failing(unit: UnitOfWork, error: Exception, *, after: int = 0) -> Callable[[], None]:
    """A commit that works `after` times and then fails."""
    commit = unit.commit
    left = after

    def commit_or_fail() -> None:
        nonlocal left
        if not left:
            raise error
        left -= 1
        commit()

    return commit_or_fail


def test_a_store_that_fails_delivers_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bed.unit, "commit", failing(bed.unit, StoreError("disk full")), raising=False)
    with pytest.raises(StoreError, match="disk full"):
        bed.take(Work([], inbox(b"a"), [Command("count", {}, 1)], []))
    assert bed.delivered == []
    assert bed.notes() == []


def test_what_was_delivered_before_the_store_failed_stands(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bed.unit, "commit", failing(bed.unit, StoreError("disk full"), after=1), raising=False)
    with pytest.raises(StoreError):
        bed.take(Work([], inbox(b"a", b"bad", b"b"), [], []))
    assert bed.sent == [b"re:a"]
    assert bed.notes() == [b"a"]


def test_a_store_that_fails_while_reading_is_no_bad_event(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreError("gone")

    monkeypatch.setattr(bed.unit, "find", broken, raising=False)
    with pytest.raises(StoreError, match="gone"):
        bed.take(Work([], inbox(b"a"), [], []))
    assert bed.delivered == []


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from([b"bad", b"bad2", b"a", b"b", b"c", b"d", b"e"]), max_size=8), max_size=5))
def test_batches_give_what_single_turns_give(turns: list[list[bytes]]) -> None:
    """However events are gathered into turns: bad ones and repeated ones fail, all others are done in order."""
    bed = Bed()
    dropped: list[bytes] = []
    for bodies in turns:
        dropped += [failure.work.inbox[0].body for failure in bed.take(Work([], inbox(*bodies), [], []))]
    expected: list[bytes] = []
    expected_dropped: list[bytes] = []
    for body in (body for bodies in turns for body in bodies):
        (expected_dropped if body.startswith(b"bad") or body in expected else expected).append(body)
    assert bed.notes() == expected
    assert bed.sent == [b"re:" + body for body in expected]
    assert dropped == expected_dropped
    bed.store.close()


def test_taking_a_part_of_the_work() -> None:
    work = Work([LinkChange("peer", True)], inbox(b"a", b"b", b"c"), [Command("count", {}, n) for n in range(3)], [])
    first = work.take(2)
    assert (len(first), first.inbox, [one.ticket for one in first.commands]) == (5, inbox(b"a", b"b"), [0, 1])
    second = work.take(2)
    assert (len(second), second.inbox, [one.ticket for one in second.commands]) == (2, inbox(b"c"), [2])
    assert len(work) == 0


def test_time() -> None:
    moment = local_time(NOW)
    assert moment.isoformat() == "2018-12-04T16:00:00+08:00"
    assert instant_of(moment) == NOW
    assert instant_of(datetime(2018, 12, 4, 8, 0, 0, 1, tzinfo=UTC)) == NOW + 1
    assert instant_of(local_time(NOW + 123_456)) == NOW + 123_456
    turn = Turn(NOW, Random(1), None, Work([], [], [], []))  # type: ignore[arg-type]
    assert turn.local is turn.local
    assert turn.local == moment
