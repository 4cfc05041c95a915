"""Whose place a test host takes: ids, addresses, keys and cards, from a network's ``network.json`` or one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network.service import Address, ConfigurationError, read_secret
from scenarios.demo_network.processes import read_description
from scenarios.host.rules import KnownCard


@dataclass(frozen=True)
class Place:
    """A member's place, or the switch's.

    Attributes
    ----------
    member_id, switch_id : str
        8 digits.
    zone_key : str
        The zone master key in hexadecimal.
    link : Address or None
        Where the other side is, or where it is awaited.
    api : str
        Address of the host's REST interface.
    token : str
        Which its callers show.
    cards : tuple of KnownCard
        Published cards with all that is secret about them.
    description : dict
        The content of ``network.json``, empty without one.
    """

    member_id: str
    switch_id: str
    zone_key: str = field(repr=False)
    link: Address | None = None
    api: str = "127.0.0.1:0"
    token: str = field(default="", repr=False)
    cards: tuple[KnownCard, ...] = field(default=(), repr=False)
    tls: tuple[Path | None, Path | None, Path | None] = (None, None, None)
    """The authority's certificate, its own, and the key of that: PEM files, where links and REST have TLS."""
    zones: dict[str, str] = field(default_factory=dict, repr=False)
    """Of the switch: zone master keys by member."""
    description: dict[str, Any] = field(default_factory=dict, repr=False)


def place_in(folder: Path, party: str) -> Place:
    """The place of a party of the network in a folder.

    Raises
    ------
    ConfigurationError
        There is no such network, or it has not this party.
    """
    description = read_description(folder / "network.json")
    here = description.get(party)
    if not isinstance(here, dict) or "id" not in here:
        raise ConfigurationError(f"{folder / 'network.json'}: the network has no {party}")
    zones = description.get("zones")
    if party == "switch" and isinstance(zones, dict):
        return Place(
            member_id=here["id"],
            switch_id=here["id"],
            zone_key="",
            link=Address.parse(here["member_link"]),
            api=str(here["api"]).partition("://")[2],
            token=description["operator_token"],
            cards=_known(description["cards"]),
            zones=zones,
            description=description,
        )
    key = zones.get(here["id"]) if isinstance(zones, dict) else None
    if not isinstance(key, str):
        raise ConfigurationError(
            f"{folder / 'network.json'}: it has no zone master key of {party}; prepare the network in a new --dir"
        )
    own = here.get("member_link") if party != "acquirer" else description["switch"]["member_link"]
    return Place(
        member_id=here["id"],
        switch_id=description["switch"]["id"],
        zone_key=key,
        link=Address.parse(str(own)),
        api=str(here["api"]).partition("://")[2],
        token=description["operator_token"],
        cards=_known(card for card in description["cards"] if card.get("issuer", "issuer") == party),
        description=description,
    )


def _known(cards: Iterable[dict[str, Any]]) -> tuple[KnownCard, ...]:
    return tuple(
        KnownCard(pan=card["pan"], pin=card["pin"], sequence=card["sequence"], imk=card["imk_ac"]) for card in cards
    )


def place_of(member_id: str, switch_id: str, zone_key_file: Path) -> Place:
    """A place outside of any network of ours.

    Raises
    ------
    ConfigurationError
        An id or the key is malformed.
    """
    for option, value in (("--id", member_id), ("--switch-id", switch_id)):
        if len(value) != 8 or not (value.isascii() and value.isdigit()):
            raise ConfigurationError(f"{option}: an id has 8 digits")
    key = read_secret(zone_key_file)
    if len(key) != 32 or any(digit not in "0123456789abcdefABCDEF" for digit in key):
        raise ConfigurationError(f"{zone_key_file} does not hold a zone master key: 32 hexadecimal digits")
    return Place(member_id, switch_id, key)
