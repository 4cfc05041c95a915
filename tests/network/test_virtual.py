"""The virtual runtime: repeatable, with faults as asked for, and crashes that lose only what they must."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

import pytest
import simpy
from tiny_parties import TABLES, Echo, Note, Recorder

from network import virtual
from network.party import SECOND, CommandError, LinkChange
from network.store import Store
from network.virtual import TurnCost, VirtualNetwork, Wire

EPOCH = 1_790_125_200 * SECOND
FAST = TurnCost(turn=10, event=1)


class World:
    """A recorder and its peer (an echo, or another recorder) with one wire between them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        wire: Wire | None = None,
        cost: TurnCost | None = None,
        peer: Callable[[], Echo | Recorder] = Echo,
        begin: float = 0.0,
    ) -> None:
        self.env = simpy.Environment(begin)
        self.network = VirtualNetwork(self.env, seed, EPOCH)
        self.stores = [Store("sqlite://", TABLES, durable=False) for _ in range(2)]
        self.near = self.network.add(Recorder, self.stores[0], cost)
        self.far = self.network.add(peer, self.stores[1], cost)
        self.network.connect(self.near, "peer", self.far, "peer", wire or Wire())
        self.network.start()

    def send(self, *bodies: str) -> None:
        self.near.command("send", {"bodies": list(bodies)}, lambda _: None)

    def ask(self, name: str, **arguments: str | float) -> list[object]:
        answers: list[object] = []
        self.far.command(name, dict(arguments), answers.append)
        return answers

    def run(self, seconds: float) -> None:
        self.env.run(until=self.env.now + seconds)

    @property
    def recorder(self) -> Recorder:
        assert isinstance(self.near.party, Recorder)
        return self.near.party

    @property
    def heard(self) -> list[bytes]:
        return [body for _, body in self.recorder.heard]

    @property
    def echo(self) -> Echo:
        assert isinstance(self.far.party, Echo)
        return self.far.party

    def notes(self) -> list[bytes]:
        notes = self.stores[1].tables[Note]
        with self.stores[1].read() as connection:
            return [row.subject for row in connection.execute(notes.select().order_by(notes.c.number))]

    def close(self) -> None:
        for store in self.stores:
            store.close()


Build = Callable[..., World]


@pytest.fixture
def build() -> Iterator[Build]:
    worlds: list[World] = []

    def build_one(**options: object) -> World:
        worlds.append(World(**options))  # type: ignore[arg-type]
        return worlds[-1]

    yield build_one
    for world in worlds:
        world.close()


# repeatable


def history(build: Build, seed: int) -> list[tuple[int, bytes]]:
    world = build(seed=seed, wire=Wire(loss=0.1, duplication=0.1, reordering=0.2, corruption=0.1))
    for number in range(100):
        world.send(f"message {number}")
        world.run(0.001)
    world.run(5)
    return world.recorder.heard


def test_a_seed_repeats_the_run_and_another_does_not(build: Build) -> None:
    first = history(build, 7)
    assert len(first) > 40
    assert history(build, 7) == first
    assert history(build, 8) != first


# wires


def test_a_perfect_wire_keeps_order_and_its_latency(build: Build) -> None:
    world = build(wire=Wire(latency=10_000, jitter=5_000), cost=FAST)
    for number in range(300):
        world.send(str(number))
        world.run(0.0003)
    world.run(1)
    assert world.heard == [f"re:{number}".encode() for number in range(300)]
    world.send("one")
    sent_at = world.network.now
    world.run(1)
    taken = world.recorder.heard[-1][0] - sent_at
    turns = 2 * (10 + 1)
    assert 20_000 + turns <= taken <= 30_000 + turns


def transmitted(build: Build, wire: Wire, count: int = 4000) -> list[bytes]:
    """What of so many messages reaches the other end."""
    world = build(wire=wire, cost=FAST, peer=lambda: Recorder("far"))
    for start in range(0, count, 20):
        world.send(*(f"{number:06}" for number in range(start, start + 20)))
        world.run(0.001)
    world.run(1)
    assert isinstance(world.far.party, Recorder)
    return [body for _, body in world.far.party.heard]


SENT = [f"{number:06}".encode() for number in range(4000)]


def test_loss(build: Build) -> None:
    arrived = transmitted(build, Wire(loss=0.3))
    assert arrived == sorted(set(arrived))
    assert set(arrived) < set(SENT)
    assert len(arrived) / len(SENT) == pytest.approx(0.7, abs=0.03)


def test_duplication(build: Build) -> None:
    arrived = transmitted(build, Wire(duplication=0.25))
    assert set(arrived) == set(SENT)
    assert len(arrived) / len(SENT) == pytest.approx(1.25, abs=0.03)
    assert max(map(arrived.count, arrived[:100])) == 2


def test_reordering(build: Build) -> None:
    arrived = transmitted(build, Wire(reordering=0.2))
    assert sorted(arrived) == SENT
    overtaken = sum(later < earlier for earlier, later in pairwise(arrived))
    assert 0.02 < overtaken / len(SENT) < 0.4


def test_corruption_changes_one_byte(build: Build) -> None:
    arrived = transmitted(build, Wire(corruption=0.2))
    changed = [(sent, got) for sent, got in zip(SENT, arrived, strict=True) if sent != got]
    assert len(changed) / len(SENT) == pytest.approx(0.2, abs=0.03)
    for sent, got in changed:
        assert len(got) == len(sent)
        assert sum(one != other for one, other in zip(sent, got, strict=True)) == 1


def test_a_corrupted_empty_body_is_still_empty(build: Build) -> None:
    world = build(wire=Wire(corruption=1.0), peer=lambda: Recorder("far"))
    world.send("")
    world.run(1)
    assert isinstance(world.far.party, Recorder)
    assert [body for _, body in world.far.party.heard] == [b""]


def test_a_wire_can_change_in_both_directions_while_it_runs(build: Build) -> None:
    world = build()
    world.network.set_wire(world.far, "peer", loss=1.0)
    world.send("lost")
    world.run(1)
    assert world.notes() == []
    world.network.set_wire(world.near, "peer", loss=0.0)
    world.send("arrives")
    world.run(1)
    assert world.heard == [b"re:arrives"]


# partitions


def test_a_cut_link_carries_nothing_and_both_ends_are_told(build: Build) -> None:
    world = build()
    world.run(0.1)
    world.network.set_link(world.near, "peer", up=False)
    world.network.set_link(world.near, "peer", up=False)
    world.send("lost")
    world.run(1)
    world.network.set_link(world.far, "peer", up=True)
    world.run(0.1)
    world.send("arrives")
    world.run(1)
    told = [LinkChange("peer", True), LinkChange("peer", False), LinkChange("peer", True)]
    assert [change for _, change in world.recorder.changes] == told
    assert world.echo.changes == told
    assert (world.notes(), world.heard) == ([b"arrives"], [b"re:arrives"])


@pytest.mark.parametrize("restored", [False, True])
def test_a_cut_loses_what_is_on_the_wire(build: Build, restored: bool) -> None:
    world = build(wire=Wire(latency=100_000))
    world.run(0.1)
    world.send("on the wire")
    world.run(0.05)
    world.network.set_link(world.near, "peer", up=False)
    if restored:
        world.network.set_link(world.near, "peer", up=True)
    world.run(1)
    assert world.notes() == []


# turns


def test_turns_take_time_and_batches_form_under_load(build: Build) -> None:
    light, heavy = (build(cost=TurnCost(turn=1_000, event=100)) for _ in range(2))
    for world, gap in ((light, 0.01), (heavy, 0.00005)):
        for number in range(200):
            world.send(str(number))
            world.run(gap)
        world.run(1)
        assert len(world.heard) == 200
    assert max(light.echo.batches) == 1
    assert max(heavy.echo.batches) > 5
    assert heavy.far.turns < light.far.turns / 3
    assert light.far.service.summary().p50 == pytest.approx(1_100, rel=0.01)
    assert heavy.far.service.summary().p50 > 1_100
    assert heavy.far.service.summary().count == 200


def test_a_turn_is_bounded(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "TURN_LIMIT", 10)
    world = build()
    world.run(0.1)
    world.send(*(str(number) for number in range(95)))
    world.run(1)
    assert world.heard == [f"re:{number}".encode() for number in range(95)]
    assert max(world.echo.batches) == 10
    assert world.far.service.summary().count == 95
    assert world.near.service.summary().count == 95


def test_nothing_leaves_before_the_turn_is_over(build: Build) -> None:
    world = build(wire=Wire(latency=0, jitter=0), cost=TurnCost(turn=500_000, event=0))
    world.run(2)
    world.send("a")
    world.run(0.75)
    assert (world.notes(), world.heard) == ([b"a"], [])
    world.run(0.75)
    assert world.heard == [b"re:a"]


def test_a_bad_message_is_counted_and_the_rest_go_on(build: Build) -> None:
    world = build()
    world.run(0.1)
    world.send("a", "bad", "b")
    world.run(1)
    assert world.heard == [b"re:a", b"re:b"]
    assert world.far.failure_count == 1
    assert world.far.failures[0].work.inbox[0].body == b"bad"


def test_commands(build: Build) -> None:
    world = build()
    answers = [world.ask("count"), world.ask("boom"), world.ask("refuse"), world.ask("wait", seconds=3), world.ask("x")]
    world.run(1)
    assert answers[0] == [0]
    assert [str(one) for one in answers[1] + answers[2]] == ["boom failed: Undecidable", "not today"]
    assert all(isinstance(one, CommandError) for one in answers[1] + answers[2])
    assert answers[3:] == [[], []]
    world.run(3)
    assert answers[3:] == [["waited"], []]


# timers


def test_timers_fire_at_their_time_in_order(build: Build) -> None:
    world = build(cost=FAST)
    random = Random(5)
    lengths = [random.randrange(1, 20_000_000) for _ in range(200)]
    began = world.network.now
    for length in lengths:
        world.ask("wait", seconds=length / SECOND)
    world.run(25)
    fired = [at - began for at, _ in world.echo.fired]
    assert len(fired) == 200
    for wanted, got in zip(sorted(lengths), fired, strict=True):
        assert 0 <= got - wanted <= 2_000


@pytest.mark.parametrize("begin", [0.0000005, 0.0000015, 0.1234565, 86_399.9999995, 1e6 / 3])
def test_a_timer_is_not_lost_to_rounding(build: Build, begin: float) -> None:
    """The simulation may stand between two microseconds when a timer is set."""
    world = build(begin=begin, cost=TurnCost(turn=1, event=0))
    for number in range(200):
        answers = world.ask("wait", seconds=(number % 5 + 1) / SECOND)
        world.run(0.0001 + number * 0.0000005)
        assert answers == ["waited"]


# crashes


def test_a_crash_between_commit_and_send_loses_the_messages_not_the_rows(build: Build) -> None:
    world = build(wire=Wire(latency=1_000, jitter=0), cost=TurnCost(turn=100_000, event=0))
    world.run(2)
    world.far.command("keep", {"text": "kept"}, lambda _: None)
    world.send("a")
    world.run(0.15)  # left at 0.1, committed when it was taken at 0.101; its answer would leave at 0.201
    assert world.notes() == [b"kept", b"a"]
    world.far.crash()
    world.run(2)
    assert world.heard == []
    world.far.restart()
    world.run(3)
    assert world.notes() == [b"kept", b"a"]
    assert world.heard == [b"again:1"]


def test_a_crash_loses_the_queue_the_wire_and_the_commands(build: Build) -> None:
    world = build(wire=Wire(latency=50_000, jitter=0), cost=TurnCost(turn=100_000, event=0))
    world.run(2)
    waiting = world.ask("wait", seconds=1)
    world.send("on the wire")
    world.run(0.12)
    queued = world.ask("count")
    world.far.crash()
    world.far.crash()
    while_down = world.ask("count")
    world.send("to the dead")
    world.run(0.21)  # it left just now, and would arrive after the restart
    world.far.restart()
    world.far.restart()
    world.run(3)
    assert (waiting, queued, while_down) == ([], [], [])
    assert world.notes() == []
    assert world.echo.fired == []
    world.send("after")
    world.run(2)
    assert world.heard == [b"re:after"]
    assert [change.up for _, change in world.recorder.changes] == [True, False, True]
    assert world.echo.changes == [LinkChange("peer", True)]


def test_a_dead_party_is_not_reported_up_when_its_link_is_restored(build: Build) -> None:
    world = build()
    world.run(0.1)
    world.far.crash()
    world.network.set_link(world.near, "peer", up=False)
    world.network.set_link(world.near, "peer", up=True)
    world.run(0.1)
    assert [change.up for _, change in world.recorder.changes] == [True, False]
    world.far.restart()
    world.run(0.1)
    assert [change.up for _, change in world.recorder.changes] == [True, False, True]


def test_a_crash_on_a_cut_link_and_both_ends_dead(build: Build) -> None:
    world = build()
    world.run(0.1)
    world.network.set_link(world.near, "peer", up=False)
    world.run(0.1)
    world.far.crash()
    world.run(0.1)
    assert [change.up for _, change in world.recorder.changes] == [True, False]
    world.far.restart()
    world.run(0.1)
    assert world.echo.changes == []
    world.network.set_link(world.near, "peer", up=True)
    world.run(0.1)
    world.near.crash()
    world.far.crash()
    world.near.restart()
    world.run(0.1)
    assert world.recorder.changes == []
    world.far.restart()
    world.run(0.1)
    world.send("both are back")
    world.run(0.1)
    assert world.heard == [b"re:both are back"]


# local links


def test_an_endpoint_answers_and_one_that_is_gone_does_not(build: Build) -> None:
    world = build()
    asked: list[bytes] = []
    late: list[Callable[[bytes], None]] = []

    def card(body: bytes, reply: Callable[[bytes], None]) -> None:
        asked.append(body)
        late.append(reply)
        reply(b"card:" + body)

    world.far.attach("reader", card)
    world.ask("send", link="reader", text="select")
    world.run(0.01)
    world.far.detach("reader")
    world.ask("send", link="reader", text="nobody")
    world.run(1)
    assert asked[0] == b"select"
    assert world.notes()[0] == b"card:select"
    # the echo answers the card, whose answer is noted, as long as the card is there
    assert b"nobody" not in asked
    world.far.crash()
    world.far.restart()
    before = world.notes()
    late[-1](b"from another life")
    world.run(1)
    assert world.notes() == before


# memory


def test_memory_is_flat(build: Build) -> None:
    world = build(wire=Wire(loss=0.02, duplication=0.02), cost=FAST)
    counted = []
    for phase in range(4):
        for number in range(600):
            world.send(f"{phase}/{number}")
            world.ask("wait", seconds=0.01)
            world.run(0.0005)
        world.run(2)
        world.recorder.heard.clear()
        world.echo.fired.clear()
        world.echo.batches.clear()
        world.recorder.batches.clear()
        world.far.failures.clear()
        gc.collect()
        counted.append(len(gc.get_objects()))
    assert counted[3] - counted[1] < 300
    assert len(world.env._queue) < 10


def test_a_link_made_later_comes_up_at_once(build: Build) -> None:
    world = build()
    world.run(1.0)
    world.network.connect(world.near, "second", world.far, "second", Wire())
    world.run(1.0)
    assert world.recorder.changes[-1][1] == LinkChange("second", True)
    assert world.echo.changes[-1] == LinkChange("second", True)
