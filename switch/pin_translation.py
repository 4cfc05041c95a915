"""PIN blocks on their way from the acquirer's zone to the issuer's."""

from __future__ import annotations

from typing import Final

from network.iso8583 import Message
from network.keys import PinFormat, SecurityModule, SecurityModuleError
from network.member import ZoneKeys
from network.party import Instant
from switch.card_data import Card
from switch.zones import Zones

_PIN_FORMATS: Final = {"1": PinFormat.WITHOUT_PAN, "2": PinFormat.ISO_0}


class PinTranslation:
    """Re-enciphers PIN blocks, from the token to the card where one stood for the other."""

    def __init__(self, module: SecurityModule, zones: Zones) -> None:
        self._module = module
        self._zones = zones

    def translated(
        self, message: Message, card: Card, zone: ZoneKeys, issuer_zone: ZoneKeys, now: Instant
    ) -> bytes | None:
        """The PIN block under the issuer's key; None when it cannot be one under the acquirer's.

        Where the acquirer knows no number (a code), a block can only be one without PAN.
        """
        block, security = message.get(52), message.get(53)
        pin_format = _PIN_FORMATS.get(security[:1]) if isinstance(security, str) else PinFormat.ISO_0
        if not isinstance(block, bytes) or pin_format is None or issuer_zone.pin_key is None:
            return None
        if card.shown_pan is None and pin_format is PinFormat.ISO_0:
            return None
        pan = card.shown_pan or card.pan
        module = self._module
        target = module.load(issuer_zone.pin_key)
        keys = [zone.pin_key]
        if self._zones.accepts_old(zone, now):
            keys.append(zone.old_pin_key)
        for key in keys:
            if key is not None:
                try:
                    return module.translate_pin(module.load(key), target, block, pan, pin_format, pin_format, card.pan)
                except SecurityModuleError:
                    continue
        return None
