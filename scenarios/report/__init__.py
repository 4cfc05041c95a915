"""The report of a run: its data as JSON, and one page of HTML that opens anywhere without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scenarios.report.page import render
from scenarios.report.result_file import ReportError, dump, load
from scenarios.result import Result

__all__ = ["DATA_FILE", "PAGE_FILE", "ReportError", "load", "write"]

DATA_FILE: Final = "result.json"
PAGE_FILE: Final = "report.html"


def write(result: Result, folder: Path) -> Path:
    """Write ``result.json`` and ``report.html`` into a folder, which is made where it does not exist.

    The same result gives the same bytes in both: nothing is taken from the clock or the machine. Both are made
    in memory first, so that a result that cannot be written leaves the folder as it was.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReportError
        The result holds a number that JSON cannot carry.
    OSError
        The folder cannot be written.
    """
    data, page = dump(result), render(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA_FILE).write_bytes(data)
    (folder / PAGE_FILE).write_bytes(page)
    return folder / PAGE_FILE
