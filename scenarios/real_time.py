"""A scenario's simpy environment on the real clock, stepped from the event loop.

simpy's own RealtimeEnvironment blocks its thread and knows no events from outside. Here the loop runs the
environment up to the real time whenever its next event is due, and answers from the network trigger its events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import simpy


class RealTime:
    """Lets the time of `env` be the real time since `start`, in seconds."""

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.lag = 0.0
        self._loop = asyncio.get_running_loop()
        self._origin = time.monotonic() - env.now
        self._handle: asyncio.TimerHandle | None = None
        self._soon = False
        self._running = True

    def start(self) -> None:
        """Begin: the environment's present time is now."""
        self._origin = time.monotonic() - self.env.now
        self._step()

    def stop(self) -> None:
        """Step no more."""
        self._running = False
        if self._handle is not None:
            self._handle.cancel()

    def trigger(self, event: simpy.Event, value: Any) -> None:
        """Let `event` happen at the real time that it is now."""
        self._catch_up()
        if not event.triggered:
            event.succeed(value)
        if not self._soon and self._running:
            self._soon = True
            self._loop.call_soon(self._step)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later in real time."""
        self._loop.call_later(seconds, action)

    def _catch_up(self) -> None:
        now = time.monotonic() - self._origin
        if now > self.env.now:
            due = self.env.peek()
            if due < now:
                self.lag = max(self.lag, now - due)
            self.env.run(until=now)

    def _step(self) -> None:
        self._soon = False
        if not self._running:
            return
        self._catch_up()
        env = self.env
        while env.peek() <= env.now:
            env.step()
        if self._handle is not None:
            self._handle.cancel()
        due = env.peek()
        if due != float("inf"):
            self._handle = self._loop.call_later(max(0.0, due + self._origin - time.monotonic()), self._step)
