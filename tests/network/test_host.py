"""A machine's processors against what queueing theory says of them, and shared fairly."""

from __future__ import annotations

from collections.abc import Callable, Generator
from math import factorial
from random import Random

import pytest
import simpy

from network.host import MOMENT, Host


def mean_wait(processors: int, rate: float, service: Callable[[], float], jobs: int = 100_000) -> float:
    """Seconds from asking for a processor to getting it, on average over Poisson arrivals."""
    env = simpy.Environment()
    host = Host(env, processors, time_slice=1e9)
    random = Random(7)
    waits: list[float] = []

    def arrivals() -> object:
        for _ in range(jobs):
            yield env.timeout(random.expovariate(rate))
            asked = env.now

            def granted(asked: float = asked) -> float:
                waits.append(env.now - asked)
                return service()

            host.compute(granted, lambda: None)

    env.process(arrivals())  # type: ignore[arg-type]
    env.run()
    assert len(waits) == jobs
    return sum(waits) / jobs


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_constant_service_waits_as_pollaczek_and_khinchine_say(load: float) -> None:
    """M/D/1: the mean wait is rho / (2 (1 - rho)) services."""
    assert mean_wait(1, load, lambda: 1.0) == pytest.approx(load / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize(("processors", "load"), [(1, 0.6), (3, 0.7)])
def test_exponential_service_waits_as_erlang_says(processors: int, load: float) -> None:
    """M/M/c: the mean wait is Erlang's C over c mu - lambda."""
    random = Random(3)
    offered = processors * load
    tail = offered**processors / factorial(processors) / (1 - load)
    c = tail / (sum(offered**n / factorial(n) for n in range(processors)) + tail)
    expected = c / (processors - offered)
    assert mean_wait(processors, offered, lambda: random.expovariate(1.0)) == pytest.approx(expected, rel=0.07)


def test_what_is_lost_besides_is_taken_of_the_processors() -> None:
    """Four services of a second, one asked for each second, on a processor that loses a half of a second in each."""
    env = simpy.Environment()
    host = Host(env, 1, time_slice=1e9, overhead=1.5)
    for number in range(4):
        env.process(_ask(env, host, float(number)))
    env.run()
    assert host.busy_seconds == pytest.approx(6.0)
    assert env.now == pytest.approx(6.0)


def _ask(env: simpy.Environment, host: Host, at: float) -> Generator[simpy.Event, None, None]:
    yield env.timeout(at)
    host.compute(lambda: 1.0, lambda: None)


def test_who_computes_long_lets_others_in_between() -> None:
    env = simpy.Environment()
    host = Host(env, 1, time_slice=0.004)
    ended: dict[str, float] = {}

    def job(name: str, seconds: float) -> None:
        host.compute(lambda: seconds, lambda: ended.__setitem__(name, env.now))

    job("long", 0.010)
    job("short", 0.001)
    env.run()
    assert ended == pytest.approx({"short": 0.005, "long": 0.011})
    assert host.busy_seconds == pytest.approx(0.011)


def test_who_asks_again_keeps_the_processor_until_the_slice_is_over() -> None:
    env = simpy.Environment()
    host = Host(env, 1, time_slice=0.0025)
    ended: list[tuple[str, float]] = []

    def again(number: int) -> None:
        ended.append((f"busy {number}", round(env.now, 4)))
        if number < 4:
            host.compute(lambda: 0.001, lambda: again(number + 1))

    host.compute(lambda: 0.001, lambda: again(1))
    host.compute(lambda: 0.001, lambda: ended.append(("other", round(env.now, 4))))
    env.run()
    assert ended == [("busy 1", 0.001), ("busy 2", 0.002), ("other", 0.0035), ("busy 3", 0.004), ("busy 4", 0.005)]
    assert host.waiting == 0
    host.compute(lambda: 0.001, lambda: ended.append(("later", round(env.now, 4))))
    env.run()
    assert ended[-1] == ("later", 0.006)


def test_a_moment_is_the_same_for_all_and_passes() -> None:
    env = simpy.Environment()
    host = Host(env, 1, random=Random(1))
    assert host.moment == host.moment
    seen = []
    for step in range(1, 4_001):
        env.run(until=step * MOMENT / 10)
        seen.append(host.moment)
    assert len(set(seen)) == pytest.approx(400, rel=0.15)
    assert sum(one or 0.0 for one in seen) / len(seen) == pytest.approx(0.5, abs=0.05)
    assert Host(env, 1).moment is None


def test_a_host_has_a_processor() -> None:
    with pytest.raises(ValueError, match="at least one processor"):
        Host(simpy.Environment(), 0)
