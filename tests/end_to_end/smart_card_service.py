"""The operating system's smart-card service, with the virtual reader that cards are held to over TCP."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

READER = "Virtual PCD 00 00"
READER_PORT = 35_963
START_SECONDS = 10.0
DRIVER = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")


def what_is_missing() -> str | None:
    """Why cards cannot be read through PC/SC here; None where they can."""
    if _executable() is None:
        return "pcscd is not installed"
    if not DRIVER.exists():
        return "vsmartcard-vpcd is not installed"
    if importlib.util.find_spec("smartcard") is None:
        return "pyscard is not installed (make pcsc)"
    if os.geteuid() and not answers():
        return "pcscd does not run, and only root can start it"
    return None


def _executable() -> str | None:
    return shutil.which("pcscd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def answers() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", READER_PORT)) == 0


@contextlib.contextmanager
def smart_card_service(log: Path) -> Iterator[None]:
    """Run pcscd, unless one with the virtual reader runs already."""
    if answers():
        yield
        return
    executable = _executable()
    assert executable is not None
    with log.open("wb") as output:
        process = subprocess.Popen([executable, "--foreground"], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            assert process.poll() is None, f"pcscd ended: {log.read_text()}"
            assert time.monotonic() < deadline, "pcscd does not serve the virtual reader"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
