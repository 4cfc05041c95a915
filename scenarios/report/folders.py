"""Results on disk: those of a folder, of several runs, and what lies below a folder."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scenarios.report.result_file import DATA_FILE, ReportError, load
from scenarios.result import Result

DEEPEST: Final = 6
"""Folders below one another that are looked into."""
MOST_FOLDERS: Final = 20_000
"""Folders that are looked into, all in all."""


@dataclass(frozen=True)
class Found:
    """A result and where it lies: the folder, or the file where it has another name."""

    place: Path
    result: Result


def result_at(path: Path) -> Found:
    """The result of a folder, or of a file of any name.

    Raises
    ------
    ReportError
        There is none, it cannot be read or it is not the result of a run; the message names the file.
    """
    file = path / DATA_FILE if path.is_dir() else path
    try:
        return Found(path, load(file))
    except FileNotFoundError as error:
        if path.is_dir():
            raise ReportError(f"{path} has no {DATA_FILE}: not the folder of a run") from error
        raise ReportError(f"{path}: no such file or folder") from error
    except OSError as error:
        raise ReportError(f"cannot read {file}: {error.strerror}") from error


def runs_at(path: Path) -> list[Found]:
    """The result of a folder, or those of the folders in it where it has none itself: runs that were repeated.

    Raises
    ------
    ReportError
        There is none, or one of them is not the result of a run.
    """
    if path.is_dir() and not (path / DATA_FILE).exists():
        try:
            folders = sorted(entry for entry in path.iterdir() if (entry / DATA_FILE).is_file())
        except OSError as error:
            raise ReportError(f"cannot read {path}: {error.strerror}") from error
        if folders:
            return [result_at(folder) for folder in folders]
    return [result_at(path)]


def results_below(root: Path) -> tuple[list[Found], list[str]]:
    """All results below a folder, oldest first, and a line for each file that is none.

    Raises
    ------
    ReportError
        The folder cannot be read, or has more folders than `MOST_FOLDERS`.
    """
    found, bad = [], []
    for folder in _folders(root):
        try:
            found.append(result_at(folder))
        except ReportError as error:
            bad.append(str(error))
    return sorted(found, key=lambda one: (one.result.started_at, str(one.place))), bad


def _folders(root: Path) -> Iterator[Path]:
    """The folders with a result, links not followed."""

    def refuse(error: OSError) -> None:
        raise ReportError(f"cannot read {error.filename}: {error.strerror}") from error

    if not root.is_dir():
        raise ReportError(f"{root}: no such folder")
    for looked_into, (place, below, files) in enumerate(os.walk(root, onerror=refuse), 1):
        if looked_into > MOST_FOLDERS:
            raise ReportError(f"{root} has more than {MOST_FOLDERS} folders: name one of them")
        below.sort()
        if len(Path(place).relative_to(root).parts) >= DEEPEST:
            below.clear()
        if DATA_FILE in files:
            yield Path(place)


def name_of(places: Sequence[Path]) -> str:
    """What runs are called together: the place of one, of several what their names begin with alike.

    Examples
    --------
    >>> name_of([Path("runs/before-1"), Path("runs/before-2")]), name_of([Path("runs/x")])
    ('before', 'x')
    >>> name_of([Path("runs/x"), Path("runs/y")]), name_of([Path("runs/after/1"), Path("runs/after/2")])
    ('x and 1 more', 'after')
    """
    names = [place.name or str(place.resolve().name) for place in places]
    if len(names) == 1:
        return names[0]
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("-_. 0123456789")
    parents = {place.parent.name for place in places}
    if not common and len(parents) == 1 and all(name.isdigit() for name in names):
        return parents.pop()
    return common or f"{names[0]} and {len(names) - 1} more"
