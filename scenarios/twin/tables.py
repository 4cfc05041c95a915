"""Tables on the console."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH: Final = 140
"""Columns of output that goes to no terminal."""


def output() -> Console:
    """Standard output; what reads a pipe gets tables that are not cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table; a heading that begins with ``>`` is that of figures, set to the right."""
    made = Table(box=SIMPLE_HEAD, pad_edge=True)
    for column in columns:
        is_figure = column.startswith(">")
        made.add_column(column.removeprefix(">"), justify="right" if is_figure else "left", no_wrap=is_figure)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made
