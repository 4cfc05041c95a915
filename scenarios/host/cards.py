"""What a test host can check of a card, where it is told the card's secrets: its PIN and its cryptograms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from network.emv import CRYPTOGRAM_DATA, IssuerApplicationData, assemble, tlv
from network.iso8583 import Message
from network.keys import Algorithm, KeyHandle, KeyUsage, PinBlockError, PinFormat, Scheme, SecurityModule
from network.member import ZoneKeys
from scenarios.host.rules import KnownCard

Verdict = Literal["right", "wrong", "none", "unchecked"]

_FORMATS: Final = {"1": PinFormat.WITHOUT_PAN, "2": PinFormat.ISO_0}
"""PIN block formats by the first digit of DE53."""


class Cryptogram(NamedTuple):
    """What came of a card's cryptogram, and what answering it takes."""

    verdict: Verdict
    imk: KeyHandle | None = None
    scheme: Scheme = Scheme.PBOC_3DES
    atc: bytes = b""
    value: bytes = b""


class _Secrets(NamedTuple):
    offset: str
    sequence: str
    imk: KeyHandle | None

    def __repr__(self) -> str:
        return "_Secrets()"


class KnownCards:
    """The cards whose secrets a host was told: they are kept as offsets and handles of its security module."""

    def __init__(self, module: SecurityModule, cards: Iterable[KnownCard]) -> None:
        self._module = module
        self._pvk = module.load(module.generate(KeyUsage.PIN_VERIFICATION_IBM_3624, Algorithm.TDES_DOUBLE, "host PVK"))
        imks: dict[str, KeyHandle] = {}
        self._cards: dict[str, _Secrets] = {}
        for card in cards:
            if card.imk and card.imk not in imks:
                imks[card.imk] = module.import_clear(
                    KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM,
                    Algorithm.TDES_DOUBLE,
                    bytes.fromhex(card.imk),
                    "host IMK",
                )
            offset = module.make_pin_offset(self._pvk, card.pan, card.pin) if card.pin else ""
            self._cards[card.pan] = _Secrets(offset, card.sequence, imks.get(card.imk))

    def pin(self, message: Message, pan: str, zone: ZoneKeys) -> Verdict:
        """What is to be said of DE52."""
        block = message.get(52)
        if not isinstance(block, bytes):
            return "none"
        card = self._cards.get(pan)
        if card is None or not card.offset:
            return "unchecked"
        pin_format = _FORMATS.get(str(message.get(53, "2"))[:1], PinFormat.ISO_0)
        for key in (zone.pin_key, zone.old_pin_key):
            if key is None:
                continue
            try:
                pin_key = self._module.load(key)
                right = self._module.verify_pin_offset(pin_key, block, pan, pin_format, self._pvk, card.offset)
            except PinBlockError:
                continue
            return "right" if right else "wrong"
        return "wrong"

    def cryptogram(self, message: Message, pan: str) -> Cryptogram:
        """What is to be said of the cryptogram in DE55."""
        element = message.get(55)
        if not isinstance(element, bytes):
            return Cryptogram("none")
        card = self._cards.get(pan)
        if card is None or card.imk is None:
            return Cryptogram("unchecked")
        try:
            values = tlv.flat(element)
            application = IssuerApplicationData.parse(values["9F10"])
            version = application.cryptogram_version
            if version not in CRYPTOGRAM_DATA or application.algorithm != 1:
                return Cryptogram("unchecked")
            data, atc, value = assemble(version, values), values["9F36"], values["9F26"]
            right = self._module.check_ac(card.imk, Scheme.PBOC_3DES, pan, card.sequence, atc, data, value)
        except (ValueError, KeyError):
            return Cryptogram("wrong")
        return Cryptogram("right" if right else "wrong", card.imk, Scheme.PBOC_3DES, atc, value)

    def answer(self, cryptogram: Cryptogram, pan: str, code: str) -> bytes | None:
        """Tag 91 for the card: the response cryptogram and the response code; None where it cannot be made."""
        if cryptogram.verdict != "right" or cryptogram.imk is None:
            return None
        arc = code.encode("ascii")
        sequence = self._cards[pan].sequence
        imk, scheme = cryptogram.imk, cryptogram.scheme
        return self._module.make_arpc(imk, scheme, pan, sequence, cryptogram.atc, cryptogram.value, arc) + arc
