"""What each turn of a live party costs: for calibration, and off unless somebody asks.

A turn's time has four parts, which a simulation has to treat apart: computing outside of turns since the last one
(sockets, the event loop, whatever else the process does), computing until its commit, waiting for the disk, and
computing after it (what it sends). Computing is the thread's own processor time, so that a busy machine does not
change it; of the time between, what was waiting for a processor is known from the scheduler (Linux,
``/proc/thread-self/schedstat``) and the rest was waiting for the disk.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from network.party import Work
from network.store import UnitOfWork

PROFILE_LIMIT: Final = 200_000
"""Turns that a profile holds; further ones are counted only."""

_MICROSECOND: Final = 1_000
_LOOKS: Final = 101


class _Moment(NamedTuple):
    """The thread's clocks, in nanoseconds: real time, computed, waited for a processor."""

    real: int
    computed: int
    delayed: int


@dataclass(frozen=True, slots=True)
class TurnSample:
    """One turn. Times in microseconds.

    Attributes
    ----------
    kinds : dict
        Kind of event (see `kinds_of`) to how many were in the turn.
    wrote : bool
        It wrote to its store.
    idle : int
        Real time since the last turn, less `outside`.
    outside : int
        Processor time that the thread has used since its last turn.
    deciding : int
        Processor time from the turn's begin to the end of its commit.
    waiting : int
        Real time in that in which the thread neither computed nor waited for a processor: the disk.
    sending : int
        Processor time from then to the turn's end.
    delayed : int
        Real time from begin to end in which it waited for a processor.
    """

    kinds: dict[str, int]
    wrote: bool
    idle: int
    outside: int
    deciding: int
    waiting: int
    sending: int
    delayed: int


def kinds_of(work: Work) -> dict[str, int]:
    """What a turn works on, by kind: the part of a link's name before the colon, or ``command NAME``, ``timer KIND``.

    Kinds have the same names in live and in virtual runs; changes of links are ``link``.
    """
    kinds: Counter[str] = Counter(link.partition(":")[0] for link, _ in work.inbox)
    for command in work.commands:
        kinds[f"command {command.name}"] += 1
    for kind, _ in work.due:
        kinds[f"timer {kind}"] += 1
    if work.link_changes:
        kinds["link"] = len(work.link_changes)
    return dict(kinds)


class TurnProfile:
    """Takes the turns of one runtime, on the thread that they run on.

    Attributes
    ----------
    samples : list of TurnSample
    missed : int
        Turns beyond `PROFILE_LIMIT`.
    """

    def __init__(self, store: UnitOfWork) -> None:
        self.samples: list[TurnSample] = []
        self.missed = 0
        self._store = store
        self._schedule: int | None = None
        with contextlib.suppress(OSError):
            # opened by the thread whose turns these are
            self._schedule = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._kinds: dict[str, int] = {}
        self._commits = 0
        self._last: _Moment | None = None
        self._began = self._moment()
        self._committed: _Moment | None = None
        self._own = self._own_cost()

    def _own_cost(self) -> int:
        """Processor time that looking at the clocks takes, in nanoseconds: between two looks, one."""
        moments = [self._moment().computed for _ in range(_LOOKS)]
        return sorted(later - earlier for earlier, later in pairwise(moments))[_LOOKS // 2]

    def close(self) -> None:
        """Take no more."""
        if self._schedule is not None:
            os.close(self._schedule)
            self._schedule = None

    def begin(self, work: Work) -> None:
        """A turn begins."""
        self._kinds = kinds_of(work)
        self._commits = self._store.commits
        self._committed = None
        self._began = self._moment()

    def committed(self) -> None:
        """Its commit is done; of a turn that is taken again in parts, the first counts."""
        if self._committed is None:
            self._committed = self._moment()

    def end(self) -> None:
        """It is over."""
        end, last, began, committed = self._moment(), self._last, self._began, self._committed
        self._last = end
        if committed is None or last is None:
            return
        if len(self.samples) >= PROFILE_LIMIT:
            self.missed += 1
            return
        outside = max(0, began.computed - last.computed - self._own)
        deciding = max(0, committed.computed - began.computed - self._own)
        waiting = committed.real - began.real - deciding - (committed.delayed - began.delayed)
        figures = (
            max(0, began.real - last.real - outside),
            outside,
            deciding,
            max(0, waiting),
            max(0, end.computed - committed.computed - self._own),
            end.delayed - began.delayed,
        )
        wrote = self._store.commits != self._commits
        self.samples.append(TurnSample(self._kinds, wrote, *(figure // _MICROSECOND for figure in figures)))

    def _moment(self) -> _Moment:
        return _Moment(time.perf_counter_ns(), time.thread_time_ns(), self._delayed())

    def _delayed(self) -> int:
        if self._schedule is None:
            return 0
        return int(os.pread(self._schedule, 96, 0).split()[1])


def samples_to_json(samples: Iterable[TurnSample]) -> list[dict[str, Any]]:
    """Samples as plain data."""
    return [asdict(sample) for sample in samples]


def samples_from_json(content: Iterable[dict[str, Any]]) -> list[TurnSample]:
    """Samples of plain data, as `samples_to_json` made it."""
    return [TurnSample(**one) for one in content]
