"""The capture of a whole network: each process writes its own, at the end they are merged into one file.

A link is recorded at the end that accepts it, so that nothing stands twice.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from network.capture import Capture, CaptureError, merge
from network.service import CAPTURE_HOLDS, ConfigurationError


@contextlib.contextmanager
def captured_network(target: Path | None, console: Console) -> Iterator[Path | None]:
    """A folder for the captures of processes that are started and stopped inside; None where nothing is captured.

    The folder is ``TARGET.parts``, beside `target`. It stays, with what it holds, when the captures cannot be merged.

    Parameters
    ----------
    target : Path or None
        Where the whole capture goes; None: nothing is captured.
    console : Console
        Is told what the file holds, and at the end how much of it there is.

    Raises
    ------
    ConfigurationError
        `target` cannot be written.
    """
    if target is None:
        yield None
        return
    parts = target.with_name(target.name + ".parts")
    _prepare(target, parts)
    _announce(target, console)
    try:
        yield parts.resolve()
    finally:
        try:
            packets = merge(sorted(parts.glob("*.pcapng")), target)
        except CaptureError as error:
            console.print(f"{error}; what each process has captured is in {parts}", markup=False)
        else:
            shutil.rmtree(parts, ignore_errors=True)
            console.print(f"capture: {target}, {packets} packets", markup=False)


@contextlib.contextmanager
def captured_process(target: Path | None, process: str, console: Console) -> Iterator[Capture | None]:
    """A capture of the links of this process; None where nothing is captured.

    Raises
    ------
    ConfigurationError
        `target` cannot be written.
    """
    if target is None:
        yield None
        return
    try:
        capture = Capture(target, process)
    except OSError as error:
        raise ConfigurationError(f"--pcap: cannot write {target}: {error.strerror}") from error
    _announce(target, console)
    try:
        yield capture
    finally:
        capture.close()
        console.print(f"capture: {target}", markup=False)


def _prepare(target: Path, parts: Path) -> None:
    try:
        if target.is_dir():
            raise ConfigurationError(f"--pcap: {target} is a folder")
        parts.mkdir(mode=0o700, exist_ok=True)
        for left in parts.glob("*.pcapng*"):
            left.unlink()  # of a run that did not come to its end
    except OSError as error:
        raise ConfigurationError(f"--pcap: cannot write {target}: {error.strerror}") from error


def _announce(target: Path, console: Console) -> None:
    console.print(f"capturing to {target}, which holds {CAPTURE_HOLDS}", markup=False)
