"""Tables on the console."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table; a heading that begins with ``>`` is that of figures, set to the right."""
    made = Table(box=SIMPLE_HEAD, pad_edge=True)
    for column in columns:
        is_figure = column.startswith(">")
        made.add_column(column.removeprefix(">"), justify="right" if is_figure else "left", no_wrap=is_figure)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made
