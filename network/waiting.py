"""What a process waits for before it serves: files that another writes, a database that is not up yet.

Services start in any order. Every wait is bounded and says in the log, now and then, what it is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import structlog

TELL_SECONDS: Final = 5.0
"""Between two lines in the log about one wait."""

LONGEST_PAUSE: Final = 1.0

log = structlog.get_logger(__name__)

T = TypeVar("T")


class NotYet(Exception):
    """What is waited for is not there; the message says why."""


def wait_for(what: str, attempt: Callable[[], T], seconds: float, not_yet: type[Exception] = NotYet) -> T:
    """What `attempt` gives, tried again while it raises `not_yet` and `seconds` have not passed.

    Raises
    ------
    Exception
        The last `not_yet`, once the time is over.
    """
    began = time.monotonic()
    told = began - TELL_SECONDS
    pause = 0.05
    while True:
        try:
            return attempt()
        except not_yet as error:
            now = time.monotonic()
            left = began + seconds - now
            if left <= 0:
                raise
            if now >= told + TELL_SECONDS:
                told = now
                log.info("waiting", awaited=what, reason=str(error), seconds_left=round(left, 1))
        time.sleep(min(pause, left))
        pause = min(2 * pause, LONGEST_PAUSE)


def wait_for_files(paths: Iterable[Path], seconds: float) -> None:
    """Wait until every file is there and holds something; whoever reads one that is still missing says so.

    Parameters
    ----------
    seconds : float
        The longest wait, for all of them together.
    """
    deadline = time.monotonic() + seconds
    for path in paths:
        try:
            wait_for("a file", lambda path=path: _look(path), deadline - time.monotonic())  # type: ignore[misc]
        except NotYet:
            return


def _look(path: Path) -> None:
    try:
        if path.stat().st_size:
            return
    except OSError as error:
        raise NotYet(f"{path}: {error.strerror}") from error
    raise NotYet(f"{path} is empty")
