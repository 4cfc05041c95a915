"""The cards that a host pays with: PIN blocks and chip data as a terminal would hand them on."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final

from network.emv import assemble, tlv
from network.keys import Algorithm, KeyHandle, KeyUsage, PinFormat, Scheme, SecurityModule
from network.member import ZoneKeys
from network.service import ConfigurationError
from scenarios.host.script import PayingCard, Payment

_APPLICATION_DATA: Final = bytes.fromhex("07010103A0200001")
"""9F10: key 01, cryptogram version 01, an ARQC asked for, triple DES."""


class Purse:
    """Cards by name, with their counters.

    Parameters
    ----------
    module : SecurityModule
        The host's; the cards' keys are in it.
    cards : iterable of PayingCard
        Of two with one name the last counts.
    """

    def __init__(self, module: SecurityModule, cards: Iterable[PayingCard]) -> None:
        self._module = module
        self._cards = {card.name: card for card in cards}
        self._counters = {card.name: card.atc for card in self._cards.values()}
        self._keys: dict[str, KeyHandle] = {}

    def card(self, name: str) -> PayingCard:
        """A card; ConfigurationError where there is none of that name."""
        if name not in self._cards:
            raise ConfigurationError(f"there is no card {name}: neither in the script nor in the network")
        return self._cards[name]

    def check(self, payment: Payment) -> None:
        """ConfigurationError where there is no such card, or a secret of it that the payment needs is not known."""
        card = self.card(payment.card)
        if payment.pin != "none" and not card.pin:
            raise ConfigurationError(f'payment {payment.name}: card {card.name} has no pin; say pin = "none"')
        if payment.chip and not card.imk:
            raise ConfigurationError(f"payment {payment.name}: card {card.name} has no imk; say chip = false")

    def pin_block(self, name: str, pin: str, zone: ZoneKeys) -> bytes:
        """DE52: the card's PIN, or a wrong one, in format 0 under the zone's PIN key."""
        card = self.card(name)
        typed = card.pin if pin == "right" else card.pin[:-1] + str((int(card.pin[-1]) + 1) % 10)
        key = self._module.load(zone.pin_key or "")
        return self._module.encrypt_pin(key, typed, card.pan, PinFormat.ISO_0)

    def chip_data(self, name: str, amount: int, day: str, transaction_type: str, random: Random) -> bytes:
        """DE55 of a contactless payment, with a right ARQC.

        Parameters
        ----------
        amount : int
            Fen.
        day : str
            YYMMDD.
        transaction_type : str
            Tag 9C: two digits.
        """
        card = self.card(name)
        self._counters[name] += 1
        values = {
            "9F27": b"\x80",
            "9F10": _APPLICATION_DATA,
            "9F37": random.randbytes(4),
            "9F36": self._counters[name].to_bytes(2, "big"),
            "95": bytes(5),
            "9A": bytes.fromhex(day),
            "9C": bytes.fromhex(transaction_type),
            "9F02": bytes.fromhex(f"{amount:012d}"),
            "5F2A": b"\x01\x56",
            "82": b"\x7c\x00",
            "9F1A": b"\x01\x56",
            "9F03": bytes(6),
            "9F33": bytes.fromhex("E0E1C8"),
            "9F34": bytes.fromhex("020300"),
            "9F35": b"\x22",
        }
        data = assemble(1, values)
        cryptogram = self._module.generate_ac(self._key(card), Scheme.PBOC_3DES, values["9F36"], data)
        return b"".join(tlv.encode(tag, value) for tag, value in {"9F26": cryptogram, **values}.items())

    def _key(self, card: PayingCard) -> KeyHandle:
        if card.name not in self._keys:
            usage = KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM
            imk = self._module.import_clear(usage, Algorithm.TDES_DOUBLE, bytes.fromhex(card.imk), "purse IMK")
            self._keys[card.name] = self._module.derive_card_key(imk, card.pan, card.sequence)
        return self._keys[card.name]
