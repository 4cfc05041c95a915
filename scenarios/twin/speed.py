"""How fast the machine is at this moment: a virtual machine's processors are not equally fast from minute to minute.

Measured costs are divided by it and a comparison multiplies by it, so that a twin that was calibrated in a fast minute
can be held against live runs of a slow one. It is processor time, which other programs that wait for a processor do
not change.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import mean
from typing import Final

LOOKS: Final = 120
LOOK_SECONDS: Final = 30.0

_ACCOUNTS: Final = 4_000


def measure_speed() -> float:
    """Microseconds that a fixed piece of computing takes now, on all processors at once, as parties do theirs."""
    command = [sys.executable, "-m", "scenarios.twin.speed"]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)  # noqa: S603 - our own module
        for _ in range(os.cpu_count() or 1)
    ]
    found = []
    for process in started:
        try:
            out, _ = process.communicate(timeout=LOOK_SECONDS)
            found.append(float(out))
        except (subprocess.TimeoutExpired, ValueError):
            process.kill()
            process.wait()
    return mean(found) if found else 0.0


def look() -> float:
    """Microseconds of one piece of computing on this processor: the mean of several, since slow moments count."""
    taken = []
    for _ in range(LOOKS):
        began = time.thread_time_ns()
        _compute()
        taken.append((time.thread_time_ns() - began) / 1_000)
    return mean(taken)


def _compute() -> int:
    """What parties do most: look things up, take bytes apart, put them together."""
    rows = {f"{number:012d}": [number, str(number).encode()] for number in range(_ACCOUNTS)}
    total = 0
    for key, row in rows.items():
        body = b"".join((key.encode(), row[1] if isinstance(row[1], bytes) else b"", b"0200"))
        total += len(body) + int(body[:12])
        row[0] = total
    return total


if __name__ == "__main__":
    look()
    sys.stdout.write(f"{look():.3f}\n")
