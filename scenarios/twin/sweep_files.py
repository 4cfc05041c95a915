"""Where a sweep keeps its rows: a Parquet file for each finished task, and all of them together at the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from network.service import ConfigurationError

ROWS: Final = "results.parquet"
SUMMARY: Final = "summary.parquet"


class SweepFolder:
    """A sweep's folder.

    A row is written under another name first and then renamed: what stands there is whole, whenever the sweep stops.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError as error:
            raise ConfigurationError("sweep needs pyarrow: pip install 'fourparty[sweep]'") from error
        self.folder = folder
        self._parts = folder / "tasks"
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"cannot write to {folder}: {error.strerror}") from error

    def known(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows that are there already, of those tasks; a damaged one is not."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = {}
        for key in keys:
            path = self._parts / f"{key}.parquet"
            if path.exists():
                try:
                    [row] = pq.read_table(path).to_pylist()
                except (pa.ArrowException, OSError, ValueError):
                    continue
                found[key] = row
        return found

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a task's row."""
        self._write([row], self._parts / f"{row['key']}.parquet")

    def finish(self, rows: Sequence[Mapping[str, Any]], summary: Sequence[Mapping[str, Any]]) -> Path:
        """Write all rows and their summary; the path of the former."""
        self._write(rows, self.folder / ROWS)
        self._write(summary, self.folder / SUMMARY)
        return self.folder / ROWS

    def _write(self, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        draft = path.with_name(f"{path.name}.{os.getpid()}.new")
        try:
            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), draft)
            draft.replace(path)
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
