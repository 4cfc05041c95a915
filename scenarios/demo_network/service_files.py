"""What the services of a prepared network are told: their settings files, and ``network.json`` for outsiders."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scenarios.demo_network import demo
from scenarios.demo_network.members import ACQUIRER_ID, ISSUERS, SWITCH_ID, issuers_among

PARTY_OF_DEVICE: Final = "merchant_device"


def services_of(issuers: int) -> dict[str, str]:
    """The parties of a network with so many issuers, and the service that runs each."""
    return {
        **{one.party: one.party for one in ISSUERS[:issuers]},
        "switch": "switch",
        "acquirer": "acquirer",
        PARTY_OF_DEVICE: "device",
    }


def description_of(data: demo.DemoData, issuers: int, operator_token: str) -> dict[str, Any]:
    """What ``network.json`` tells of the demo data; `with_addresses` adds where the parties are."""
    return {
        "terminals": [
            {
                "terminal_id": terminal.terminal_id,
                "merchant_id": terminal.merchant_id,
                "tmk": terminal.tmk,
                "free": terminal.free,
            }
            for terminal in sorted(data.terminals, key=lambda terminal: not terminal.free)
        ],
        "cards": [card.published() for card in data.cards],
        "zones": dict(data.zones),
        **{one.party: {} for one in ISSUERS[:issuers]},
        "network": secrets.token_hex(8),
        "maker": secrets.token_hex(16),
        "operator_token": operator_token,
    }


def with_addresses(description: Mapping[str, Any], at: Mapping[str, str]) -> dict[str, Any]:
    """A description with the addresses at which others reach the parties.

    Parameters
    ----------
    at
        Address by the names of `scenarios.demo_network.processes.PORTS`.
    """
    content = dict(description)
    scheme = "http" if content.get("tls") is None else "https"
    for one in issuers_among(content):
        content[one.party] = {
            "api": f"{scheme}://{at[one.party]}",
            "member_link": at[f"{one.party}_link"],
            "id": one.member_id,
            "bin": one.bin,
        }
    content["switch"] = {"api": f"{scheme}://{at['switch']}", "member_link": at["member_link"], "id": SWITCH_ID}
    content["acquirer"] = {
        "api": f"{scheme}://{at['acquirer']}",
        "terminal_link": at["terminal_link"],
        "monitoring_link": at["monitoring_link"],
        "id": ACQUIRER_ID,
    }
    content["device"] = {"api": f"{scheme}://{at['device']}"}
    return content


def settings_of(
    description: Mapping[str, Any], timeouts: demo.Timeouts, at: Mapping[str, str], listen: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """The settings of the parties' services, but for databases and files.

    Parameters
    ----------
    at, listen
        Where others reach each of `scenarios.demo_network.processes.PORTS`, and on what its service listens.
    """
    issuers = issuers_among(description)
    links: dict[str, dict[str, Any]] = {
        **{one.party: {"member_link": listen[f"{one.party}_link"]} for one in issuers},
        "switch": {
            "member_link": listen["member_link"],
            "dial": {one.member_id: at[f"{one.party}_link"] for one in issuers},
        },
        "acquirer": {
            "terminal_link": listen["terminal_link"],
            "monitoring_link": listen["monitoring_link"],
            "switch": at["member_link"],
        },
        PARTY_OF_DEVICE: {"acquirer": at["terminal_link"]},
    }
    root = demo.maker(bytes.fromhex(description["maker"])).root_public_key
    configurations = demo.configurations(timeouts, root, issuers=len(issuers))
    settings = {}
    for party, service in services_of(len(issuers)).items():
        defaults = type(configurations[party])().model_dump(mode="json")
        chosen = configurations[party].model_dump(mode="json")
        own = {name: value for name, value in chosen.items() if value != defaults[name]}
        settings[party] = {"api": listen[service], **links[party], "party": own}
    return settings


def to_toml(settings: Mapping[str, Any]) -> str:
    """The settings as TOML: values are strings, numbers, booleans, lists, and tables of them."""
    plain = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    lines = [f"{name} = {_toml_value(value)}" for name, value in plain.items()]
    for name, content in settings.items():
        if isinstance(content, dict):
            lines.append(f"\n[{name}]")
            lines += [f"{json.dumps(key)} = {_toml_value(value)}" for key, value in content.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Mapping[str, Any]], mode: int = 0o600) -> None:
    """Write JSON as `write_secret` does."""
    write_secret(path, json.dumps(content, indent=1, ensure_ascii=False), mode)


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that only its owner can read unless `mode` says otherwise, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
