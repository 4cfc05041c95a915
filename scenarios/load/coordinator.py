"""A load run: generators as processes, one common beginning, and one result of what they all measured."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from network.durations import Durations, Summary
from network.live import real_now
from network.party import SECOND
from network.service import ConfigurationError
from network.turn_profile import TurnSample, samples_from_json
from scenarios import books
from scenarios.demo_network.processes import NetworkError, RunningNetwork, process_environment
from scenarios.load.arrivals import Due
from scenarios.load.assignment import Assignment
from scenarios.load.tracing import Traces
from scenarios.load.validity import Generator
from scenarios.measurement import Measurement
from scenarios.result import Books, FaultWindow
from scenarios.stage import ScenarioFailed
from scenarios.worlds.live_faults import LiveBreakage, carry_out

READY_SECONDS: Final = 120.0
"""How long generators may take until their phones are signed on."""

HEAD_START: Final = 0.3
"""Seconds from when all generators are ready to the beginning."""

AFTERWARDS_SECONDS: Final = 200.0
"""How long after the planned end generators may take for the last payments, timeouts and reversals."""

SETTLING_SECONDS: Final = 60.0
LONGEST_SHOWN: Final = 100
"""Characters of what is no message that are shown."""

Told = Callable[["Standing"], None]


@dataclass(frozen=True)
class Standing:
    """How far a run is: seconds of the run, payments so far, and the worst generator's percentiles in microseconds."""

    elapsed: float
    due: int
    sent: int
    approved: int
    declined: int
    failed: int
    p99: int
    lag_p99: int


@dataclass(frozen=True)
class Generated:
    """What the generators of a run measured together, and what the parties did meanwhile."""

    measurement: Measurement
    generators: list[Generator]
    began: int
    played: float
    parties: dict[str, Summary]
    reversals: int
    books: Books
    lag: float
    turns: list[TurnSample]
    faults: list[FaultWindow]
    traces: Traces
    recorded: list[Due]


def generate(
    network: RunningNetwork,
    assignments: Sequence[Assignment],
    *,
    start_at: int | None = None,
    told: Told = lambda _: None,
    breakage: LiveBreakage | None = None,
) -> Generated:
    """Let generators play their parts on a running network, and add up what they measured.

    Parameters
    ----------
    start_at
        When payments begin, an instant; as soon as all are ready unless given.
    told
        Told now and then how far it is.
    breakage
        Breaks what the scenario says, where the network is the run's own.

    Raises
    ------
    NetworkError
        A generator ended, or was not ready in time.
    ConfigurationError, ScenarioFailed
        As a generator says.
    """
    before = network.books()
    keepers = ("acquirer", "switch", *network.issuers)
    generators = _Generators(assignments)
    try:
        generators.wait_until_ready()
        # the sign-ons of all terminals at once are not what is measured
        counts = {party: network.latency_counts(party) for party in keepers}
        began = start_at or real_now() + round(HEAD_START * SECOND)
        done = generators.play(began, told, breakage)
    finally:
        generators.stop()
    measurement, traces = Measurement(assignments[0].duration), Traces()
    service = Durations()
    for one in done:
        measurement.add(Measurement.from_json(one["measurement"]))
        traces.add(one["traces"])
        service.add({int(us): times for us, times in one["service"].items()})
    found = settled_books(network, before)
    parties = {"merchant_device": service.summary()}
    for party in keepers:
        try:
            now = network.latency_counts(party).items()
        except NetworkError:
            continue  # a scenario may have broken it for good
        taken = {us: times - counts[party].get(us, 0) for us, times in now}
        parties[party] = Durations({us: times for us, times in taken.items() if times > 0}).summary()
    return Generated(
        measurement=measurement,
        generators=[Generator(one["cpu"], one["settled"]) for one in done],
        began=began,
        played=max(one["played"] for one in done),
        parties=parties,
        reversals=sum(one["reversals"] for one in done),
        books=found,
        lag=max(one["lag"] for one in done),
        turns=[sample for one in done for sample in samples_from_json(one["turns"])],
        traces=traces,
        faults=[FaultWindow(**window) for window in done[0]["faults"]],
        recorded=[Due(at, fen) for one in done for at, fen in one["recorded"]],
    )


def settled_books(network: RunningNetwork, before: dict[str, books.PartyBooks]) -> Books:
    """The books when they agree, or as they are when that takes too long."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        found = books.compare(network.books(), before)
        if found.agree or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


class _Generators:
    """The processes, and one queue of all that they say."""

    def __init__(self, assignments: Sequence[Assignment]) -> None:
        self._assignments = assignments
        self._said: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue(maxsize=10_000)
        self._processes: list[subprocess.Popen[str]] = []
        for number, assignment in enumerate(assignments):
            process = subprocess.Popen(
                [sys.executable, "-m", "scenarios.load.generator"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=process_environment(),
                # Ctrl-C is for who coordinates: a generator ends when nobody is left to tell it anything
                start_new_session=True,
            )
            self._processes.append(process)
            threading.Thread(target=self._read, args=(number, process), daemon=True).start()
            self._tell(process, assignment.line())

    def wait_until_ready(self) -> None:
        """Wait until all phones are signed on."""
        ready: set[int] = set()
        deadline = time.monotonic() + READY_SECONDS
        while len(ready) < len(self._processes):
            number, content = self._next(deadline, "the generators were not ready in time")
            if "ready" in content:
                ready.add(number)

    def play(self, began: int, told: Told, breakage: LiveBreakage | None) -> list[dict[str, Any]]:
        """Begin at an instant, and wait for what every generator measured."""
        for process in self._processes:
            self._tell(process, str(began))
        done: dict[int, dict[str, Any]] = {}
        standing: dict[int, dict[str, Any]] = {}
        first = self._assignments[0]
        seconds = (began - real_now()) / SECOND + first.demand.warm_up + first.duration + AFTERWARDS_SECONDS
        deadline = time.monotonic() + seconds
        while len(done) < len(self._processes):
            number, content = self._next(deadline, "the generators did not come to an end")
            if "done" in content:
                done[number] = content["done"]
            elif "fault" in content and breakage is not None:
                carry_out(breakage, content["fault"])
            elif "progress" in content:
                standing[number] = content["progress"]
                told(together(list(standing.values())))
        return [done[number] for number in sorted(done)]

    def stop(self) -> None:
        """End the processes that have not ended."""
        for process in self._processes:
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except OSError:
                    process.kill()
        for process in self._processes:
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _next(self, deadline: float, too_long: str) -> tuple[int, dict[str, Any]]:
        try:
            number, content = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise NetworkError(too_long) from None
        if content is None:
            raise NetworkError(f"generator {number + 1} ended with code {self._processes[number].wait()}")
        if "failed" in content:
            kinds: dict[str, type[Exception]] = {
                "ConfigurationError": ConfigurationError,
                "ScenarioFailed": ScenarioFailed,
            }
            raise kinds.get(content["kind"], NetworkError)(content["failed"])
        return number, content

    def _read(self, number: int, process: subprocess.Popen[str]) -> None:
        if process.stdout is not None:
            ended = False
            for line in process.stdout:
                content = message_in(line)
                ended = "done" in content or "failed" in content
                self._said.put((number, content))
            if not ended:
                self._said.put((number, None))

    @staticmethod
    def _tell(process: subprocess.Popen[str], line: str) -> None:
        if process.stdin is not None:
            try:
                process.stdin.write(line + "\n")
                process.stdin.flush()
            except OSError:
                pass  # it has ended, which its reader tells


def message_in(line: str) -> dict[str, Any]:
    """What a generator says in a line; that it failed, where it says what is no message."""
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    if isinstance(content, dict):
        return content
    return {"failed": f"a generator says what is no message: {line.strip()[:LONGEST_SHOWN]}", "kind": "NetworkError"}


def together(standing: Sequence[dict[str, Any]]) -> Standing:
    """How far all generators are."""
    numbers = {name: sum(one[name] for one in standing) for name in ("due", "sent", "approved", "declined", "failed")}
    worst = {name: max(one[name] for one in standing) for name in ("elapsed", "p99", "lag_p99")}
    return Standing(**numbers, **worst)
