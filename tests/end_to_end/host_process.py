"""Commands of the project as processes of their own: ``fourparty host`` and ``fourparty proxy``."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from running_network import PROJECT, command, environment

SETTLE_SECONDS: Final = 10.0


def until(condition: Callable[[], bool], what: str, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in {seconds:.0f} s"
        time.sleep(0.02)


def document_example(name: str) -> str:
    """A file that docs/test_host.md shows."""
    text = (PROJECT / "docs" / "test_host.md").read_text()
    return str(re.findall(rf"```toml\n# {re.escape(name)}\n(.*?)```", text, re.DOTALL)[0])


class HostProcess:
    """A command that runs until it is stopped."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command(*arguments), cwd=PROJECT, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def said(self) -> str:
        return self.log.read_text()
