"""The option that names a running network, for commands that can do without one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

FOLDER_VARIABLE: Final = "FOURPARTY_DIR"
"""Environment variable with the folder of the running network, where ``--dir`` is not given."""

RunningFolder = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", envvar=FOLDER_VARIABLE, help="Use the running network of DIR (live only)."),
]
