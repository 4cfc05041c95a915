"""Arguments of commands, as text or whole numbers within bounds."""

from __future__ import annotations

from collections.abc import Mapping

from network.party import CommandError, Json


def text_of(arguments: Mapping[str, Json], name: str, longest: int = 64) -> str:
    """An argument that is text of 1 to `longest` printable characters.

    Raises
    ------
    CommandError
        It is not.
    """
    value = arguments.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.isprintable():
        raise CommandError(f"{name}: 1 to {longest} printable characters are needed")
    return value


def number_of(
    arguments: Mapping[str, Json], name: str, maximum: int, *, minimum: int = 0, default: int | None = None
) -> int:
    """An argument that is a whole number from `minimum` to `maximum`; `default` stands for one that is left out.

    Raises
    ------
    CommandError
        It is not.
    """
    value = arguments.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        raise CommandError(f"{name}: a whole number of {minimum} to {maximum} is needed")
    return value
