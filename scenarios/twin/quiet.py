"""Whether a measurement had the machine to itself: what other programs used of it meanwhile."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_BUSY: Final = (0, 1, 2, 5, 6)
"""Places in the first line of ``/proc/stat``: user, nice, system, interrupts."""


CALM_SECONDS: Final = 1.0
"""How long others must have been still."""

CALM_PART: Final = 0.02
"""The part of the machine that counts as still."""

MOST_PATIENCE: Final = 20.0
"""Seconds after which a measurement begins anyway."""


def wait_until_quiet(told: Callable[[str], None]) -> None:
    """Wait, within limits, until other programs leave the machine alone."""
    began = time.monotonic()
    while True:
        machine = Machine(lambda: 0.0)
        time.sleep(CALM_SECONDS)
        if machine.others() <= CALM_PART:
            return
        if time.monotonic() - began > MOST_PATIENCE:
            told(f"other programs have kept the machine busy for {MOST_PATIENCE:.0f} s: measuring all the same")
            return


class Machine:
    """Looks at the machine's processor time from its making until it is asked.

    Parameters
    ----------
    own : callable
        Processor seconds so far of the processes that belong to the measurement, besides this one and its children
        that have ended.
    """

    def __init__(self, own: Callable[[], float]) -> None:
        self._own = own
        self._began = time.monotonic()
        self._busy = _busy_seconds()
        self._used = self._own_seconds()

    def others(self) -> float:
        """The part of all processors that others have used since, 0 to 1; 0 where the system does not tell."""
        if self._busy is None:
            return 0.0
        busy = _busy_seconds() or 0.0
        elapsed = time.monotonic() - self._began
        spent = busy - self._busy - (self._own_seconds() - self._used)
        return max(0.0, spent / max(elapsed, 1e-9) / (os.cpu_count() or 1))

    def _own_seconds(self) -> float:
        used = 0.0
        for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(whose)
            used += usage.ru_utime + usage.ru_stime
        return used + self._own()


def _busy_seconds() -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        return sum(int(fields[place]) for place in _BUSY) / os.sysconf("SC_CLK_TCK")
    return None
