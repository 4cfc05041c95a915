"""A scenario's simpy environment on the real clock, stepped from the event loop.

simpy's own RealtimeEnvironment blocks its thread and knows no events from outside. Here the loop runs the
environment up to the real time whenever its next event is due, and answers from the network trigger its events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from typing import Any

import simpy


class RealTime:
    """Lets the time of `env` be the real time since `start`, in seconds.

    Attributes
    ----------
    lag : float
        The longest that an event had to wait beyond its time, in seconds.
    error : Exception or None
        The first that a process of the scenario ended with and nobody took. The loop's exception handler gets each
        of them; the other processes go on.
    """

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.lag = 0.0
        self.error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._origin = time.monotonic() - env.now
        self._handle: asyncio.TimerHandle | None = None
        self._soon = False
        self._running = True
        self._stepping = False

    def start(self) -> None:
        """Begin: the environment's present time is now."""
        self._origin = time.monotonic() - self.env.now
        self._step()

    def stop(self) -> None:
        """Step no more."""
        self._running = False
        if self._handle is not None:
            self._handle.cancel()

    def clock(self) -> float:
        """What time it is now, in the environment's units."""
        return time.monotonic() - self._origin

    def trigger(self, event: simpy.Event, value: Any) -> None:
        """Let `event` happen at the real time that it is now."""
        try:
            # an answer may come at once, while the process that asked is still being stepped
            if not self._stepping:
                self._advance(settle=False)
        finally:
            if not event.triggered:
                event.succeed(value)
            self._step_soon()

    def spawn(self, process: Generator[simpy.Event, Any, Any]) -> simpy.Process:
        """Start a process at the real time that it is now."""
        try:
            if not self._stepping:
                self._advance(settle=False)
        finally:
            started = self.env.process(process)
            self._step_soon()
        return started

    def _step_soon(self) -> None:
        if not self._soon and self._running:
            self._soon = True
            self._loop.call_soon(self._step)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later in real time."""
        self._loop.call_later(seconds, action)

    def _step(self) -> None:
        self._soon = False
        if not self._running:
            return
        try:
            self._advance(settle=True)
        finally:
            if self._handle is not None:
                self._handle.cancel()
            due = self.env.peek()
            if due != float("inf"):
                delay = max(0.0, due + self._origin - time.monotonic())
                self._handle = self._loop.call_later(delay, self._step)

    def _advance(self, *, settle: bool) -> None:
        """Run the environment up to now and, to `settle`, also what happens at this very moment."""
        env = self.env
        now = time.monotonic() - self._origin
        self._stepping = True
        try:
            if now > env.now:
                due = env.peek()
                if due < now:
                    self.lag = max(self.lag, now - due)
                env.run(until=now)
            while settle and env.peek() <= env.now:
                env.step()
        except Exception as error:
            self.error = self.error or error
            raise
        finally:
            self._stepping = False
