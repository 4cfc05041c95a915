"""What the trusted side watches of itself: each signal once when it appears, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from merchant_device.monitoring import SIGNALS
from merchant_device.tee.watch import CLOCK_SECONDS, Probes, Watch, own_probes, program_reader, tracer


class World:
    """A process as its watch sees it."""

    def __init__(self) -> None:
        self.tracer = 0
        self.program = b"as it was"
        self.wall = 1_000_000.0
        self.steady = 5.0
        self.watch = Watch(Probes(lambda: self.tracer, lambda: self.program, lambda: self.wall, lambda: self.steady))

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def world() -> World:
    return World()


def attach(world: World) -> None:
    world.tracer = 4711


def change(world: World) -> None:
    world.program = b"as somebody wants it"


def put_back(world: World) -> None:
    world.wall -= CLOCK_SECONDS + 1


def test_nothing_is_told_while_nothing_happens(world: World) -> None:
    for _ in range(100):
        assert world.watch.look() == []
        world.pass_time(1000.0)


@pytest.mark.parametrize(("happens", "signal"), [(attach, "debugger"), (change, "integrity"), (put_back, "clock")])
def test_a_signal_is_told_once(world: World, happens: Callable[[World], None], signal: str) -> None:
    happens(world)
    assert signal in SIGNALS
    assert world.watch.look() == [signal]
    world.pass_time(1.0)
    assert world.watch.look() == []


def test_a_debugger_that_comes_again_is_told_again(world: World) -> None:
    for _ in range(2):
        world.tracer = 4711
        assert world.watch.look() == ["debugger"]
        world.tracer = 0
        assert world.watch.look() == []


def test_several_at_once(world: World) -> None:
    attach(world)
    assert world.watch.look() == ["debugger"]
    change(world)
    put_back(world)
    assert world.watch.look() == ["clock", "integrity"]


@pytest.mark.parametrize(("step", "told"), [(-CLOCK_SECONDS, False), (-CLOCK_SECONDS - 0.5, True), (3600.0, False)])
def test_what_time_servers_correct_is_no_signal(world: World, step: float, told: bool) -> None:
    world.wall += step
    assert bool(world.watch.look()) is told


def test_a_clock_that_is_put_back_in_small_steps_is_noticed(world: World) -> None:
    told: list[str] = []
    for _ in range(40):
        world.wall -= 1.0
        told += world.watch.look()
    assert told == ["clock"]


def test_files_are_read_again_only_when_they_look_changed(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("one")
    read = program_reader({"module": path})
    before = read()
    assert read() == before
    os.utime(path, ns=(1, 1))
    assert read() == before
    path.write_text("two")
    changed = read()
    assert changed != before
    path.unlink()
    assert read() not in (before, changed)


@pytest.mark.parametrize(
    ("text", "found"), [("Name:\tx\nTracerPid:\t0\n", 0), ("TracerPid:\t4711\n", 4711), ("", 0), ("TracerPid:\tx", 0)]
)
def test_who_debugs(tmp_path: Path, text: str, found: int) -> None:
    path = tmp_path / "status"
    path.write_text(text)
    assert tracer(path) == found
    assert tracer(tmp_path / "none") == 0


def test_this_process_is_sound() -> None:
    watch = Watch(own_probes())
    assert watch.look() == []
