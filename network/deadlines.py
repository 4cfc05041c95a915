"""The timers of a party: for each kind one queue in order of time, as timers of one kind have one length.

Setting and stopping a timer is a dictionary operation. A timer that is set to an earlier time than the last of its
kind (a retry with another length) goes to a heap instead, so that the order holds whatever a party does.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from operator import itemgetter
from typing import Final

from network.party import SECOND, Failure, Instant, TimerKey

RETRY_FAILED: Final[Instant] = 10 * SECOND
"""After which a timer whose turn failed falls due again."""


class Deadlines:
    """Pending timers; `pop_due` gives those whose time has come."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[str, Instant]] = {}
        self._last: dict[str, Instant] = {}
        self._early: list[tuple[Instant, TimerKey]] = []
        self._early_at: dict[TimerKey, Instant] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values())) + len(self._early_at)

    def set(self, key: TimerKey, at: Instant | None) -> None:
        """Set, move or (with None) stop the timer `key`."""
        kind, name = key
        queue = self._queues.setdefault(kind, {})
        queue.pop(name, None)
        self._early_at.pop(key, None)
        if at is None:
            return
        if not queue or at >= self._last[kind]:
            queue[name] = at
            self._last[kind] = at
        else:
            self._early_at[key] = at
            heapq.heappush(self._early, (at, key))
            if len(self._early) > 64 + 4 * len(self._early_at):
                self._early = [(at, key) for key, at in self._early_at.items()]
                heapq.heapify(self._early)

    def set_again(self, failures: Iterable[Failure], now: Instant) -> None:
        """Set the timers whose turns failed once more: they guard what is pending."""
        for failure in failures:
            for key in failure.work.due:
                self.set(key, now + RETRY_FAILED)

    def next(self) -> Instant | None:
        """When the first timer falls due; None when there is none."""
        self._drop_stale()
        times = [next(iter(queue.values())) for queue in self._queues.values() if queue]
        if self._early:
            times.append(self._early[0][0])
        return min(times, default=None)

    def pop_due(self, now: Instant, limit: int) -> list[TimerKey]:
        """Take at most `limit` timers that are due at `now`, in order of time."""
        due: list[tuple[Instant, TimerKey]] = []
        for kind, queue in self._queues.items():
            for name, at in itertools.islice(queue.items(), limit):
                if at > now:
                    break
                due.append((at, (kind, name)))
        self._drop_stale()
        for _ in range(limit):
            if not self._early or self._early[0][0] > now:
                break
            due.append(heapq.heappop(self._early))
            del self._early_at[due[-1][1]]
            self._drop_stale()
        due.sort(key=itemgetter(0))
        for _, (kind, name) in due[:limit]:
            self._queues[kind].pop(name, None)
        for at, key in due[limit:]:
            if key[1] not in self._queues[key[0]]:
                self._early_at[key] = at
                heapq.heappush(self._early, (at, key))
        return [key for _, key in due[:limit]]

    def _drop_stale(self) -> None:
        while self._early and self._early_at.get(self._early[0][1]) != self._early[0][0]:
            heapq.heappop(self._early)
