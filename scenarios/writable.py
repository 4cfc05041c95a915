"""Whether what a run writes at its end can be written: asked before it, so that nobody waits for what is lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

from network.service import ConfigurationError


def make_folder(folder: Path, refusal: str) -> None:
    """Make a folder for what will be written, and see that files can be made in it.

    Raises
    ------
    ConfigurationError
        They cannot; the message is `refusal`, the folder and the reason.

    Examples
    --------
    >>> make_folder(Path("/dev/null"), "cannot write the report to")
    Traceback (most recent call last):
        ...
    network.service.ConfigurationError: cannot write the report to /dev/null: it is no folder
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigurationError(f"{refusal} {folder}: it is no folder") from error
    except OSError as error:
        raise ConfigurationError(f"{refusal} {folder}: {error.strerror}") from error


def make_folder_of(file: Path, option: str) -> None:
    """As `make_folder`, for the file that an option names.

    Raises
    ------
    ConfigurationError
        It is a folder, or its folder cannot be written to.
    """
    if file.is_dir():
        raise ConfigurationError(f"{option}: {file} is a folder")
    make_folder(file.parent, f"{option}: cannot write to")
