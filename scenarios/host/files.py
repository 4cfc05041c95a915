"""Reading the TOML files of test hosts: what is wrong is named with its place, in one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from network.service import ConfigurationError


class Section(BaseModel):
    """A table of such a file; a key that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Words = Annotated[tuple[Annotated[str, Field(min_length=1, max_length=40)], ...], BeforeValidator(_as_tuple)]
"""One word or a list of them."""

Fen = Annotated[int, Field(ge=0, lt=10**12)]
Milliseconds = Annotated[int, Field(ge=0, le=3_600_000)]
Code = Annotated[str, Field(pattern="^[0-9A-Z]{2}$")]
"""DE39."""

S = TypeVar("S", bound=Section)


def read_file(model: type[S], path: Path, *, listed: str) -> S:
    """The content of a file.

    Parameters
    ----------
    listed : str
        The table that may occur several times; errors in one say which, by its number and its name.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or names the place and what is wrong there.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not text") from error
    return read_text(model, text, str(path), listed=listed)


def read_text(model: type[S], text: str, source: str, *, listed: str) -> S:
    """The content of a text; `source` says where it is from. Errors as `read_file`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source} is not TOML: {error}") from error
    try:
        return model(**content)
    except ValidationError as error:
        first = error.errors()[0]
        place = _place(content, first["loc"], listed, text)
        if first["type"] == "extra_forbidden":
            raise ConfigurationError(f"{source}: {place}: there is no such key") from error
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{source}: {place}: {reason}" if place else f"{source}: {reason}") from error


def _place(content: dict[str, Any], location: tuple[int | str, ...], listed: str, text: str) -> str:
    """Where in the file an error is, for people: ``line 12, rule 2 (poor): when.amount_mim``."""
    parts = [str(part) for part in location]
    if len(location) < 2 or location[0] != listed or not isinstance(location[1], int):
        return ".".join(parts)
    number = location[1]
    one = content[listed][number]
    name = f" ({one['name']})" if isinstance(one, dict) and "name" in one else ""
    heads = [at for at, line in enumerate(text.splitlines(), 1) if line.strip() == f"[[{listed}]]"]
    line = f"line {heads[number]}, " if number < len(heads) else ""
    where = ".".join(part for part in parts[2:] if not part.isdigit())
    return f"{line}{listed} {number + 1}{name}" + (f": {where}" if where else "")
