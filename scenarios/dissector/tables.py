"""Writes the dissector: the tables of the codec and of chip data as Lua, then the program that reads by them.

The tables are the codec's own, so a dissector made by this version never says other than the codec does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from network.emv.tags import TAGS, Format
from network.iso8583 import INTERBANK, RESPONSE_CODES, TERMINAL, Dialect
from network.iso8583 import meanings as known
from network.iso8583.field import Field
from network.tracing import TAG
from scenarios.cli import DEFAULT_BASE_PORT
from scenarios.demo_network.processes import PORTS

_WIDTH: Final = 150
_TEXTUAL: Final = (Format.ALPHABETIC, Format.ALPHANUMERIC, Format.ALPHANUMERIC_SPECIAL)
_IS_MEMBER_LINK: Final = re.compile(r"(member|issuer(_[a-z])?)_link")
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)

_HEAD: Final = """\
-- A Wireshark dissector for the links of fourparty: the terminal dialect (TPDU, packed digits), the interbank
-- dialect (46-byte header, ASCII) and the monitoring link, plain or inside TLS. See docs/capture.md.
-- Written by `fourparty dissector`: change scenarios/dissector or the codec's tables, not this file.
"""

Lua = str | int | bool | Mapping[str, "Lua"] | Mapping[int, "Lua"] | tuple["Lua", ...]


def dissector() -> str:
    """The dissector as a program in Lua, to be loaded by Wireshark or tshark."""
    tables: dict[str, Lua] = {
        "ports": {
            "terminal": _ports("terminal_link"),
            "interbank": _ports(*(name for name in PORTS if _IS_MEMBER_LINK.fullmatch(name))),
            "monitoring": _ports("monitoring_link"),
        },
        "fields": {dialect.name: _fields(dialect) for dialect in (TERMINAL, INTERBANK)},
        "parts": {
            TERMINAL.name: {48: known.TERMINAL_48, 60: known.TERMINAL_60, 61: known.TERMINAL_61},
            INTERBANK.name: {90: known.INTERBANK_90},
        },
        "trace": TAG,
        "part_meanings": {
            "network management": known.TERMINAL_NETWORK_CODES,
            "terminal capability": known.CAPABILITIES,
        },
        "transactions": known.TRANSACTIONS,
        "message_classes": known.MESSAGE_CLASSES,
        "message_functions": known.MESSAGE_FUNCTIONS,
        "processing_codes": known.PROCESSING_CODES,
        "entry_modes": known.ENTRY_MODES,
        "pin_entry": known.PIN_ENTRY,
        "conditions": known.CONDITIONS,
        "network_codes": known.NETWORK_CODES,
        "terminal_network_codes": known.TERMINAL_NETWORK_CODES,
        "requirements": known.REQUIREMENTS,
        "encryptions": known.ENCRYPTIONS,
        "response_codes": RESPONSE_CODES,
        "accounts": _set(known.ACCOUNTS),
        "hidden": _set(known.HIDDEN),
        "free_text": _set(known.FREE_TEXT),
        "settlement": dict.fromkeys(known.SETTLEMENT, True),
        "tags": {
            tag: {
                "name": one.name,
                **({"textual": True} if one.format in _TEXTUAL else {}),
                **({"sensitive": True} if one.sensitive else {}),
            }
            for tag, one in TAGS.items()
        },
    }
    logic = files(__package__).joinpath("logic.lua").read_text(encoding="utf-8")
    return f"{_HEAD}\nlocal TABLES = {_lua(tables, 0)}\n\n{logic}"


def _ports(*links: str) -> str:
    return ",".join(str(DEFAULT_BASE_PORT + PORTS[link]) for link in links)


def _fields(dialect: Dialect) -> dict[int, Lua]:
    return {number: _field(field) for number, field in sorted(dialect.fields.items())}


def _field(field: Field) -> dict[str, Lua]:
    if field.filled or field.coding not in ("bcd", "ascii", "binary") or field.prefix_coding not in ("bcd", "ascii"):
        raise ValueError(f"DE{field.number}: the dissector does not know this format")
    written: dict[str, Lua] = {"name": field.name, "kind": field.kind, "max": field.maximum, "coding": field.coding}
    written |= {"width": field.prefix_width} | ({"length": field.prefix_coding} if field.prefix else {})
    return written | ({"pad": field.pad} if field.coding == "bcd" else {})


def _set(numbers: frozenset[int]) -> dict[int, Lua]:
    return dict.fromkeys(sorted(numbers), True)


def _lua(value: Lua, depth: int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        parts = [_lua(one, depth + 1) for one in value]
    else:
        parts = [f"{_key(key)} = {_lua(one, depth + 1)}" for key, one in value.items()]
    line = "{ " + ", ".join(parts) + " }"
    indent = "  " * depth
    if "\n" not in line and len(indent) + len(line) < _WIDTH and not (isinstance(value, Mapping) and depth < 3):
        return line
    return "{\n" + "".join(f"{indent}  {part},\n" for part in parts) + indent + "}"


def _key(key: str | int) -> str:
    return str(key) if isinstance(key, str) and _NAME.fullmatch(key) else f"[{_lua(key, 0)}]"
