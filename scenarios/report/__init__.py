"""The reports of runs: data as JSON, and pages of HTML that open anywhere without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from scenarios.report.comparison_page import render_comparison
from scenarios.report.contrast import Contrast
from scenarios.report.page import render
from scenarios.report.result_file import DATA_FILE, ReportError, dump, load
from scenarios.result import Result

__all__ = [
    "COMPARISON_DATA_FILE",
    "COMPARISON_FILE",
    "DATA_FILE",
    "PAGE_FILE",
    "ReportError",
    "load",
    "write",
    "write_comparison",
]

PAGE_FILE: Final = "report.html"
COMPARISON_FILE: Final = "comparison.html"
COMPARISON_DATA_FILE: Final = "comparison.json"


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
        The result holds a number that JSON cannot carry, or what cannot be drawn.
    OSError
        The folder cannot be written.
    """
    data, page = dump(result), render(result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATA_FILE).write_bytes(data)
    (folder / PAGE_FILE).write_bytes(page)
    return folder / PAGE_FILE


def write_comparison(contrast: Contrast, folder: Path) -> Path:
    """Write ``comparison.json`` and ``comparison.html`` into a folder, which is made where it does not exist.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReportError
        A run holds what cannot be drawn.
    OSError
        The folder cannot be written.
    """
    data = json.dumps(contrast.as_json(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    page = render_comparison(contrast)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / COMPARISON_DATA_FILE).write_text(data + "\n", "utf-8")
    (folder / COMPARISON_FILE).write_bytes(page)
    return folder / COMPARISON_FILE
