"""A simpy environment on the real clock of the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest
import simpy

from network.live import run_loop
from scenarios.worlds.real_time import RealTime

Main = Callable[[], Coroutine[Any, Any, None]]
Process = Generator[simpy.Event, Any, Any]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    """Run a test's coroutine on either loop."""

    def run_main(main: Main) -> None:
        async def limited() -> None:
            async with asyncio.timeout(20):
                await main()

        if request.param == "uvloop":
            pytest.importorskip("uvloop")
            run_loop(limited())
        else:
            asyncio.run(limited())

    return run_main


Run = Callable[[Main], None]


async def finished(process: simpy.Process) -> None:
    while not process.processed:
        await asyncio.sleep(0.001)


def test_events_happen_at_their_real_time_and_in_order(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment(100.0)
        clock = RealTime(env)
        seen: list[tuple[str, float, float]] = []

        def walker(name: str, gaps: list[float]) -> Process:
            for gap in gaps:
                yield env.timeout(gap)
                seen.append((name, env.now, time.monotonic() - began))

        walks = [env.process(walker("a", [0.05, 0.05, 0.1])), env.process(walker("b", [0.02, 0.15, 0.0, 0.0]))]
        await asyncio.sleep(0.05)
        began = time.monotonic()
        clock.start()
        for walk in walks:
            await finished(walk)
        clock.stop()
        assert [name for name, _, _ in seen] == ["b", "a", "a", "b", "b", "b", "a"]
        for _, simulated, real in seen:
            # never early; late only by what the loop and the machine cost
            assert -0.0015 <= real - (simulated - 100.0) < 0.5
        assert [round(simulated - 100, 6) for _, simulated, _ in seen] == [0.02, 0.05, 0.1, 0.17, 0.17, 0.17, 0.2]
        assert 0 < clock.lag < 0.5

    run(main)


def test_an_answer_from_outside_happens_when_it_comes(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment()
        clock = RealTime(env)
        loop = asyncio.get_running_loop()

        def asker() -> Process:
            answer = env.event()
            threading.Timer(0.1, lambda: loop.call_soon_threadsafe(clock.trigger, answer, "an answer")).start()
            value = yield answer
            first = env.now
            yield env.timeout(0.05)
            return value, first, env.now

        process = env.process(asker())
        clock.start()
        await finished(process)
        value, first, last = process.value
        assert value == "an answer"
        assert 0.09 <= first < 0.6
        assert last == pytest.approx(first + 0.05)
        clock.stop()

    run(main)


def test_only_the_first_answer_counts_and_many_are_taken_at_once(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment()
        clock = RealTime(env)
        events = [env.event() for _ in range(500)]
        values: list[int] = []

        def waiter(event: simpy.Event) -> Process:
            values.append((yield event))

        processes = [env.process(waiter(event)) for event in events]
        clock.start()
        await asyncio.sleep(0.01)
        for number, event in enumerate(events):
            clock.trigger(event, number)
            clock.trigger(event, -1)
        for process in processes:
            await finished(process)
        assert values == list(range(500))
        clock.stop()

    run(main)


def test_an_answer_while_the_asker_is_being_stepped(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment()
        clock = RealTime(env)
        seen: list[object] = []

        def asker() -> Process:
            for number in range(3):
                yield env.timeout(0.001)
                answer = env.event()
                time.sleep(0.002)  # the real time moves on while this process runs
                now = env.now
                clock.trigger(answer, number)
                # its time does not move under its feet
                assert (env.now, env.active_process) == (now, process)
                seen.append((yield answer))

        def other() -> Process:
            while True:
                yield env.timeout(0.0001)

        env.process(other())
        process = env.process(asker())
        clock.start()
        await finished(process)
        clock.stop()
        assert seen == [0, 1, 2]
        assert clock.error is None

    run(main)


def test_the_loop_is_free_between_events(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment()
        clock = RealTime(env)

        def sleeper() -> Process:
            yield env.timeout(0.2)

        process = env.process(sleeper())
        clock.start()
        turns = 0
        used = time.process_time()
        while not process.processed:
            await asyncio.sleep(0.005)
            turns += 1
        assert turns > 5
        assert time.process_time() - used < 0.15
        clock.stop()

    run(main)


def test_after(run: Run) -> None:
    async def main() -> None:
        clock = RealTime(simpy.Environment())
        clock.start()
        happened: list[float] = []
        began = time.monotonic()
        clock.after(0.05, lambda: happened.append(time.monotonic() - began))
        await asyncio.sleep(0.01)
        assert happened == []
        while not happened:
            await asyncio.sleep(0.005)
        assert happened[0] >= 0.048
        clock.stop()

    run(main)


def test_stop_steps_no_more(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment()
        clock = RealTime(env)
        ticks: list[float] = []

        def ticker() -> Process:
            while True:
                yield env.timeout(0.01)
                ticks.append(env.now)

        env.process(ticker())
        clock.start()
        await asyncio.sleep(0.05)
        clock.stop()
        stopped = len(ticks)
        assert stopped >= 1
        await asyncio.sleep(0.05)
        assert len(ticks) == stopped

    run(main)


def test_a_process_that_fails_is_known_and_the_others_go_on(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment()
        clock = RealTime(env)
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

        def failing() -> Process:
            yield env.timeout(0.01)
            raise LookupError("no such stall")

        def good() -> Process:
            for _ in range(5):
                yield env.timeout(0.01)
            return "done"

        env.process(failing())
        process = env.process(good())
        clock.start()
        await finished(process)
        assert process.value == "done"
        assert isinstance(clock.error, LookupError)
        assert reported == [clock.error]
        clock.stop()

    run(main)


def test_lag_is_measured(run: Run) -> None:
    async def main() -> None:
        env = simpy.Environment()
        clock = RealTime(env)

        def sleeper() -> Process:
            yield env.timeout(0.02)

        process = env.process(sleeper())
        clock.start()
        time.sleep(0.1)  # the loop is busy with something else
        await finished(process)
        assert 0.07 <= clock.lag < 0.6
        clock.stop()

    run(main)
