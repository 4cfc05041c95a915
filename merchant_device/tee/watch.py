"""What the trusted side watches of itself: a debugger, its own program, the clock.

A real trusted environment is told these things by its hardware and its loader; a process can look for them itself. What
it finds goes to the party as the command ``signal``, which wipes the device's keys (`merchant_device.wiping`). Whether
the phone is rooted it cannot see: that is for the App and for attestation.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

WATCH_SECONDS: Final = 0.5
"""How often it looks."""

CLOCK_SECONDS: Final = 30.0
"""How far the clock may be put back: what time servers correct is less."""

_PACKAGES: Final = ("merchant_device", "network")


class Probes(NamedTuple):
    """Where what is watched is read.

    Attributes
    ----------
    tracer : callable
        Process id of the debugger that is attached, 0 where there is none.
    program : callable
        What the program's files look like: any value that another program would not have.
    wall, steady : callable
        The clock that people set, and one that only goes forward; seconds.
    """

    tracer: Callable[[], int]
    program: Callable[[], object]
    wall: Callable[[], float]
    steady: Callable[[], float]


class Watch:
    """Tells each signal once, when it appears; again only after it has gone.

    Parameters
    ----------
    probes : Probes
    """

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._program = probes.program()
        self._ahead = probes.wall() - probes.steady()
        self._seen: frozenset[str] = frozenset()

    def look(self) -> list[str]:
        """Names of the signals that have appeared since the last look (`merchant_device.monitoring.SIGNALS`)."""
        probes = self._probes
        ahead = probes.wall() - probes.steady()
        found = set()
        if probes.tracer():
            found.add("debugger")
        if probes.program() != self._program:
            found.add("integrity")
        if ahead < self._ahead - CLOCK_SECONDS:
            found.add("clock")
        # put back in small steps the clock would be followed down: only forward is it followed
        self._ahead = max(self._ahead, ahead)
        fresh, self._seen = sorted(found - self._seen), frozenset(found)
        return fresh


def own_probes() -> Probes:
    """The probes of this process."""
    return Probes(tracer, program_reader(), time.time, time.monotonic)


def tracer(status: Path = Path("/proc/self/status")) -> int:
    """Process id of the debugger that is attached to this process; 0 where there is none, or nobody can tell."""
    try:
        for line in status.read_text().splitlines():
            if line.startswith("TracerPid:"):
                return int(line.partition(":")[2])
    except (OSError, ValueError):
        return 0
    return 0


def program_reader(files: Mapping[str, Path] | None = None) -> Callable[[], object]:
    """What reads the program's files: a digest of each, read again only where a file looks changed.

    Parameters
    ----------
    files
        Name to file; the modules of the trusted side that are loaded now, unless given.
    """
    watched = dict(files) if files is not None else _loaded()
    known: dict[str, tuple[tuple[int, int, int] | None, bytes]] = {}

    def read() -> object:
        for name, path in watched.items():
            try:
                found = path.stat()
                look = (found.st_size, found.st_mtime_ns, found.st_ino)
                if name not in known or known[name][0] != look:
                    known[name] = (look, hashlib.sha256(path.read_bytes()).digest())
            except OSError:
                known[name] = (None, b"")
        return {name: digest for name, (_, digest) in known.items()}

    return read


def _loaded() -> dict[str, Path]:
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in _PACKAGES and file is not None:
            found[name] = Path(file)
    return found
