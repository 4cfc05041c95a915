"""A machine in virtual time: its processors, for which the parties on it queue.

Live parties that share a machine wait for its processors, and while one waits, more arrives for its next turn: near
saturation this decides how long everything takes. A party computes on one processor at a time, for a time slice
when others wait, then goes to the end of the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

import simpy

TIME_SLICE: Final = 0.004
"""Seconds that a party computes while others wait: the tick of a common kernel (Linux, HZ=250)."""

MOMENT: Final = 0.03
"""Seconds that a slow or a fast moment of a machine lasts, on average."""


class Host:
    """A machine's processors.

    Parameters
    ----------
    env : simpy.Environment
    processors : int
    time_slice : float
        In seconds.
    random : Random or None
        Where its slow and fast moments come from; None: it has none.
    overhead : float
        What computing takes of the processors, as a multiple of what is asked for: the kernel's own work besides.
    """

    def __init__(
        self,
        env: simpy.Environment,
        processors: int,
        time_slice: float = TIME_SLICE,
        random: Random | None = None,
        overhead: float = 1.0,
    ) -> None:
        if processors < 1:
            raise ValueError("a host has at least one processor")
        self.env = env
        self.time_slice = time_slice
        self.overhead = overhead
        self.busy_seconds = 0.0
        self._free = processors
        self._random = random
        self._moment = 0.0
        self._moment_ends = -1.0
        self._kept: float | None = None
        self._waiting: deque[tuple[Callable[[], float], Callable[[], None]]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for a processor."""
        return len(self._waiting)

    @property
    def moment(self) -> float | None:
        """The chance of the present moment, 0 to 1, the same for all who ask in it."""
        if self._random is None:
            return None
        if self.env.now >= self._moment_ends:
            self._moment = self._random.random()
            self._moment_ends = self.env.now + self._random.expovariate(1 / MOMENT)
        return self._moment

    def compute(self, seconds: Callable[[], float], done: Callable[[], None]) -> None:
        """Compute when a processor is free.

        Who asks again in `done` keeps the processor until the time slice is over.

        Parameters
        ----------
        seconds
            Called when the processor is there; answers how long it is needed.
        done
            Called when that time is over.
        """
        if self._kept is not None:
            left, self._kept = self._kept, None
            self._run(seconds() * self.overhead, done, left)
        elif self._free:
            self._free -= 1
            self._run(seconds() * self.overhead, done, self.time_slice)
        else:
            self._waiting.append((lambda: seconds() * self.overhead, done))

    def _run(self, seconds: float, done: Callable[[], None], left: float) -> None:
        now = min(seconds, left)
        self.busy_seconds += now
        self.env.timeout(now).callbacks.append(lambda _: self._over(seconds - now, done, left - now))

    def _over(self, rest: float, done: Callable[[], None], left: float) -> None:
        if rest > 0:
            if not self._waiting:
                self._run(rest, done, self.time_slice)
                return
            self._waiting.append((lambda: rest, done))
        else:
            self._kept = left if left > 0 or not self._waiting else None
            kept = self._kept is not None
            done()
            if kept and self._kept is None:
                return
            self._kept = None
        if self._waiting:
            need, after = self._waiting.popleft()
            self._run(need(), after, self.time_slice)
        else:
            self._free += 1
