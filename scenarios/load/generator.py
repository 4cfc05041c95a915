"""A generator: a process that hosts its share of the phones and makes its share of a run's payments.

It reads one line of JSON, an `Assignment`, signs its phones on, says ``ready``, reads the instant at which payments
begin, plays, and writes what it measured; what it says in between is how far it is. It ends when its standard input
does. ``python -m scenarios.load.generator`` is started by `scenarios.load.coordinator`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TextIO

import httpx

from network.capture import Capture
from network.connections import allow_many_connections
from network.durations import Durations
from network.live import LiveRuntime, real_now, run_loop
from network.message_trace import messages_of
from network.party import SECOND
from network.service import ConfigurationError, TraceSettings, configure_logging, followed
from network.store import Store, sqlite_url
from network.tracing import Tracing
from network.turn_profile import samples_to_json
from scenarios.demo_network import demo
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.faults import Breakage, Faults, Untouched
from scenarios.load.assignment import Assignment
from scenarios.load.recorded_day import Recorder, read_day
from scenarios.load.tracing import Asked, Followed, Sampler, Traces, follow
from scenarios.running import find_scenario
from scenarios.stage import ScenarioFailed, Stage, cast_of
from scenarios.worlds import live_world
from scenarios.worlds.live_faults import ToldBreakage

PROGRESS_SECONDS: Final = 1.0
SETTLING_SECONDS: Final = 60.0
"""How long, after the last payment, reversals of the phones may take."""

CHECK_SECONDS: Final = 0.05
MOST_FOLLOWED: Final = 4
"""Payments that may wait to be followed."""

FOLLOW_SECONDS: Final = 1.0
"""How long a party may take to tell of its messages."""


class Channel:
    """What the generator says and hears: lines on standard output and input.

    Parameters
    ----------
    out : text stream
        Nobody else writes to it.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[str] = asyncio.Queue()
        threading.Thread(target=self._listen, name="channel", daemon=True).start()

    def say(self, **content: Any) -> None:
        """Write a line of JSON."""
        self._out.write(json.dumps(content) + "\n")
        self._out.flush()

    async def hear(self) -> str:
        """Read a line."""
        return await self._heard.get()

    def _listen(self) -> None:
        for line in sys.stdin:
            self._loop.call_soon_threadsafe(self._heard.put_nowait, line)
        # nobody wants the result any more
        os._exit(1)


def main() -> int:
    """Run as a process of its own; the exit code is 0 where a result was written."""
    allow_many_connections()
    out = sys.stdout
    # what the phones note and what a scenario prints are for people, not for the coordinator
    with contextlib.redirect_stdout(sys.stderr):
        # what phones warn of, their reversals, is in the result
        configure_logging("error")
        try:
            run_loop(_serve(out))
        except (ConfigurationError, NetworkError, ScenarioFailed) as error:
            out.write(json.dumps({"failed": str(error), "kind": type(error).__name__}) + "\n")
            out.flush()
            return 1
    return 0


async def _serve(out: TextIO) -> None:
    channel = Channel(out)
    assignment = Assignment.read(await channel.hear())
    with tempfile.TemporaryDirectory(prefix="fourparty-generator-") as own:
        store = Store(sqlite_url(Path(own) / "device.db"), demo.ROWS["merchant_device"])
        capture = _capture(assignment)
        try:
            with followed(TraceSettings.of_environment(), live_world.DEVICE) as tracing:
                done = await _generate(assignment, channel, store, capture, tracing)
        finally:
            store.close()
            if capture is not None:
                capture.close()
        # last of all: whoever hears it ends this process
        channel.say(done=done)


def _capture(assignment: Assignment) -> Capture | None:
    if assignment.captures is None:
        return None
    path = assignment.captures / f"generator-{assignment.demand.part}.pcapng"
    try:
        return Capture(path, f"generator {assignment.demand.part + 1}")
    except OSError as error:
        raise ConfigurationError(f"--pcap: cannot write {path}: {error.strerror}") from error


async def _generate(
    assignment: Assignment, channel: Channel, store: Store, capture: Capture | None, tracing: Tracing | None
) -> dict[str, Any]:
    """Play, and give what was measured."""
    scenario = find_scenario(assignment.scenario)
    network = RunningNetwork(assignment.folder, assignment.host)
    demand = assignment.demand
    if assignment.replay is not None:
        demand = replace(demand, day=read_day(assignment.replay, assignment.duration))
    recorder = Recorder()
    async with live_world.phone_host(
        network,
        store,
        seed=assignment.seed,
        duration=assignment.duration,
        phones=assignment.terminals,
        cast=cast_of(scenario),
        demand=demand,
        capture=capture,
        tracing=tracing,
    ) as host:
        channel.say(ready=len(host.stage.phones))
        begins = int(await channel.hear())
        stage: Stage = host.stage
        if assignment.records:
            stage.measurement.told.append(recorder.take)
        follower = Follower(RunningNetwork(assignment.folder, assignment.host), host.runtime)
        sampler = Sampler(assignment.duration, demand.parts, real_now, follower.take)
        stage.measurement.told.append(sampler.take)
        host.runtime.service = Durations()
        breaker = _breaker(assignment, stage, channel)
        stage.breaker = breaker if cast_of(scenario).breaks else None
        finished = stage.env.process(scenario(stage))
        stage.started = stage.env.now + (begins - real_now()) / SECOND + assignment.demand.warm_up
        host.time.start()
        if assignment.profiled:
            host.runtime.profile_turns(True)
        cpu = _Cpu(stage)
        said = stage.timing.clock()
        while not finished.triggered:
            if host.time.error is not None:
                raise host.time.error
            await asyncio.sleep(CHECK_SECONDS)
            cpu.look()
            if stage.timing.clock() - said >= PROGRESS_SECONDS:
                said = stage.timing.clock()
                channel.say(progress=_progress(stage))
        if host.time.error is not None:
            raise host.time.error
        played = stage.timing.clock() - stage.started
        breaker.mend_all()
        host.time.stop()
        turns = await asyncio.wrap_future(host.runtime.profile_turns(False))
        await _settled(store)
        return {
            "measurement": stage.measurement.as_json(),
            "played": played,
            "service": {str(us): times for us, times in host.runtime.service.counts.items()},
            "reversals": demo.reversals(store),
            "cpu": cpu.share,
            "lag": host.time.lag,
            "traces": (await asyncio.to_thread(follower.finish)).as_json(),
            "recorded": recorder.payments,
            "faults": [asdict(window) for window in breaker.windows()],
            "settled": demo.is_settled("merchant_device", store),
            "turns": samples_to_json(turns),
        }


def _breaker(assignment: Assignment, stage: Stage, channel: Channel) -> Faults:
    """What the scenario breaks: the first generator says it to who owns the network, the others do as if."""
    first = assignment.demand.part == 0
    breakage: Breakage = ToldBreakage(lambda told: channel.say(fault=told)) if first else Untouched()
    return Faults(breakage, lambda: stage.timing.clock() - stage.started)


class Follower:
    """Follows payments on a thread of its own, so that payments do not wait for it: over REST, and in this process."""

    def __init__(self, network: RunningNetwork, runtime: LiveRuntime) -> None:
        network.client.timeout = httpx.Timeout(FOLLOW_SECONDS)
        self._traces = Traces()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="follower")
        self._waiting = 0
        self._parties: dict[str, Asked] = {
            "merchant_device": lambda since, terminal, limit: messages_of(runtime.trace, since, terminal, limit)
        }
        for party in ("acquirer", "switch", *network.issuers):
            self._parties[party] = _asked(network, party)

    def take(self, payment: Followed) -> bool:
        """Follow a payment soon, unless too many wait for it."""
        if self._waiting >= MOST_FOLLOWED:
            return False
        self._waiting += 1
        self._pool.submit(self._follow, payment)
        return True

    def finish(self) -> Traces:
        """What it has brought, once all are followed."""
        self._pool.shutdown(wait=True)
        return self._traces

    def _follow(self, payment: Followed) -> None:
        try:
            follow(payment, self._parties, self._traces)
        finally:
            self._waiting -= 1


def _asked(network: RunningNetwork, party: str) -> Asked:
    def asked(since: int, terminal: str, limit: int) -> list[dict[str, Any]]:
        try:
            found: list[dict[str, Any]] = network.get(party, "/messages", since=since, terminal=terminal, limit=limit)
        except NetworkError:
            return []  # it may be what was broken
        return found

    return asked


async def _settled(store: Store) -> None:
    for _ in range(round(SETTLING_SECONDS / CHECK_SECONDS)):
        if demo.is_settled("merchant_device", store):
            return
        await asyncio.sleep(CHECK_SECONDS)


def _progress(stage: Stage) -> dict[str, Any]:
    measured = stage.measurement
    return {
        "elapsed": stage.timing.clock() - stage.started,
        "due": measured.due,
        "sent": measured.sent,
        "approved": measured.approved,
        "declined": sum(measured.declined.values()),
        "failed": measured.unanswered + sum(measured.refused.values()),
        "p99": measured.latency.percentile(99),
        "lag_p99": measured.lag.percentile(99),
    }


class _Cpu:
    """The part of one processor that this process used while payments counted."""

    def __init__(self, stage: Stage) -> None:
        self.share = 0.0
        self._stage = stage
        self._began: tuple[float, float] | None = None

    def look(self) -> None:
        """Take note; to be called now and then."""
        stage = self._stage
        now = stage.timing.clock()
        if now < stage.started or now > stage.started + stage.duration:
            return
        used = os.times()
        spent = used.user + used.system
        if self._began is None:
            self._began = now, spent
        elif now - self._began[0] > CHECK_SECONDS:
            self.share = (spent - self._began[1]) / (now - self._began[0])


if __name__ == "__main__":
    sys.exit(main())
