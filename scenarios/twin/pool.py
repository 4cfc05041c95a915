"""Tasks on all processors: a pool of processes that survives the death of a worker.

A task is a pure function of its arguments, so that one whose worker died is simply run again, with the same result.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Final, Generic, TypeVar

MOST_TRIES: Final = 3
"""How often a task is begun, before its worker's death is taken for its fault."""

Argument = TypeVar("Argument")
Value = TypeVar("Value")


class WorkerLost(Exception):
    """A task's worker died each time that the task was tried; the message names the task."""


class Pool(Generic[Argument, Value]):
    """Runs one function on many arguments, in processes of its own.

    Parameters
    ----------
    function
        Of a module, since the workers import it.
    workers : int or None
        As many as there are processors unless given.
    """

    def __init__(self, function: Callable[[Argument], Value], workers: int | None = None) -> None:
        self.workers = workers or os.cpu_count() or 1
        self.restarts = 0
        self._function = function
        self._executor = self._made()

    def _made(self) -> ProcessPoolExecutor:
        # spawned: what a fork would copy (threads, connections to databases) must not be in two processes
        return ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet)

    def __enter__(self) -> Pool[Argument, Value]:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the workers; what they were at is lost."""
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=5.0)

    def run(self, arguments: Sequence[Argument]) -> Iterator[tuple[int, Value]]:
        """Run the function on every argument; results come as they are ready, each with its argument's place.

        Raises
        ------
        WorkerLost
            A task was lost with its worker `MOST_TRIES` times.
        """
        waiting = list(range(len(arguments)))[::-1]
        tries = [0] * len(arguments)
        running: dict[Future[Value], int] = {}
        while waiting or running:
            while waiting and len(running) < self.workers:
                place = waiting.pop()
                tries[place] += 1
                try:
                    running[self._executor.submit(self._function, arguments[place])] = place
                except BrokenProcessPool:
                    tries[place] -= 1
                    waiting.append(place)
                    waiting += running.values()
                    running.clear()
                    self._replace()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            lost = []
            for future in done:
                place = running.pop(future)
                try:
                    value = future.result()
                except BrokenProcessPool:
                    lost.append(place)
                else:
                    yield place, value
            if lost:
                # the pool ends all of its workers when one dies, and does not tell which task it was at
                lost += running.values()
                running.clear()
                given_up = [place for place in lost if tries[place] >= MOST_TRIES]
                if given_up:
                    raise WorkerLost(
                        f"a worker died {MOST_TRIES} times at task {given_up[0] + 1} of {len(arguments)}: "
                        "is there enough memory?"
                    )
                waiting += sorted(lost, reverse=True)
                self._replace()

    def map(self, arguments: Sequence[Argument]) -> list[Value]:
        """The values of all arguments, in their order."""
        found = dict(self.run(arguments))
        return [found[place] for place in range(len(arguments))]

    def _replace(self) -> None:
        self.restarts += 1
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._made()


def _quiet() -> None:
    """Let Ctrl-C be the business of who started the workers."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
