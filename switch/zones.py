"""DE128 between the switch and each member's zone.

What DE128 covers does not change when a message crosses the switch, unless the switch changes one of those elements:
so the MAC's input is made once, checked under one zone's key and sealed under the other's.
"""

from __future__ import annotations

from network.iso8583 import INTERBANK, Message
from network.keys import SecurityModule
from network.member import ZoneKeys, mac_is_valid, pack_with_mac
from network.party import SECOND, Instant
from switch.configuration import Configuration


class Zones:
    """Checks and makes DE128 from the MAC's input (`network.iso8583.interbank_mac_input`)."""

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        self._module = module
        self._overlap = round(configuration.key_overlap * SECOND)

    def accepts_old(self, zone: ZoneKeys, now: Instant) -> bool:
        """Whether the zone's keys before the last are still good for messages on their way."""
        return now <= zone.changed_at + self._overlap

    def verifies(self, zone: ZoneKeys, message: Message, mac_input: bytes, now: Instant) -> bool:
        """Whether DE128 is right under the zone's MAC key, or under the one before it while that is accepted."""
        return mac_is_valid(message, self._module, zone, now, self._overlap, mac_input)

    def seal(self, zone: ZoneKeys, message: Message, mac_input: bytes) -> bytes:
        """Pack a message with DE128 under the zone's MAC key; without DE128 where the zone has none yet."""
        if zone.mac_key is None:
            message.fields.pop(128, None)
            return INTERBANK.pack(message)
        return pack_with_mac(message, self._module, self._module.load(zone.mac_key), mac_input)
