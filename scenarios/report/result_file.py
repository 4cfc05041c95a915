"""A result as a JSON file: the same result is the same bytes, and what is read back is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Final, TypeVar, cast, get_args, get_origin, get_type_hints

from scenarios.result import Result

DATA_FILE: Final = "result.json"
"""What a result is called in the folder of its run."""
LARGEST_FILE: Final = 64 * 1024 * 1024
"""Bytes: far above what the longest timeline takes."""

_T = TypeVar("_T")


class ReportError(ValueError):
    """A result that cannot be written, or a file that is not one; the message names what is wrong."""


def dump(result: Result) -> bytes:
    """UTF-8 JSON, keys sorted, one line an entry.

    Raises
    ------
    ReportError
        A number is infinite or not a number.
    """
    try:
        text = json.dumps(result.as_json(), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ReportError(f"the result cannot be written as JSON: {error}") from error
    return text.encode() + b"\n"


def load(path: Path) -> Result:
    """Read a ``result.json`` back.

    Raises
    ------
    ReportError
        The file is not the JSON of a result; the message names the place, such as ``timeline[3].latency.p50``.
    OSError
        The file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ReportError(f"{path} is larger than {LARGEST_FILE} bytes: not the result of a run")
    try:
        plain: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is not JSON: {error}") from error
    try:
        return _record(plain, Result, "")
    except ReportError as error:
        raise ReportError(f"{path} is not the result of a run: {error}") from error


def _record(value: object, kind: type[_T], at: str) -> _T:
    """A dataclass from a JSON object: every field there, of its type, and no other."""
    entries = _object(value, at)
    hints = get_type_hints(kind)
    known: dict[str, object] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # every caller passes a dataclass
        place = f"{at}.{field.name}" if at else field.name
        if field.name in entries:
            known[field.name] = _value(entries[field.name], hints[field.name], place)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ReportError(f"{place} is missing")
    unknown = sorted(entries.keys() - known.keys())
    if unknown:
        raise ReportError(f"{f'{at}.' if at else ''}{unknown[0]} is not known")
    return kind(**known)


def _value(value: object, kind: object, at: str) -> object:
    if isinstance(kind, type) and is_dataclass(kind):
        return _record(value, kind, at)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise ReportError(f"{at} is not a list")
        (member,) = get_args(kind)
        return [_value(item, member, f"{at}[{index}]") for index, item in enumerate(value)]
    if get_origin(kind) is dict:
        _, member = get_args(kind)
        return {key: _value(item, member, f"{at}.{key}") for key, item in _object(value, at).items()}
    if isinstance(kind, UnionType):
        # the only unions of a result are of one type and None
        (member,) = (one for one in get_args(kind) if one is not NoneType)
        return None if value is None else _value(value, member, at)
    if kind is float and type(value) in (int, float):
        try:
            number = float(cast(float, value))
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ReportError(f"{at} is not a finite number")
        return number
    # bool is an int to isinstance, so the types are compared themselves.
    if type(value) is not kind:
        raise ReportError(f"{at} is not {_NAMES[kind]}")
    return value


def _object(value: object, at: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ReportError(f"{at or 'the file'} is not an object")
    return value


_NAMES: Final[Mapping[object, str]] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
}
