"""A card that signs, made of plain bytes and the oracle's arithmetic: every object in it can be set wrong on purpose.

It does what DOMAIN.md 4 says of a QuickPass card and no more. It keeps what it answered last to GET PROCESSING OPTIONS
and gives those records until it is asked again, as a card that was torn away does.
"""

from __future__ import annotations

from certification_authority import RID, certificate, dynamic_signature, rsa_pair

from merchant_device.kernel import Outcome, Tap
from network.emv import CaPublicKey, tlv

AID = bytes.fromhex("A000000333010106")
PAN = "6228480000001000"
CA_INDEX = 0x80
TC, ARQC, AAC = "0701010390000001", "07010103A0000001", "0701010380000001"
PDOL = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")

CA_PAIR, ISSUER_PAIR, CARD_PAIR = rsa_pair(1152, 11), rsa_pair(1152, 12), rsa_pair(1024, 13)
CA_KEYS = {(RID, CA_INDEX): CaPublicKey(RID, CA_INDEX, CA_PAIR.modulus_bytes, CA_PAIR.exponent)}
OK = b"\x90\x00"


class CertifiedCard:
    """A card.

    `changes` sets objects by tag (None leaves one out): of the options, of the records, of the signature.
    """

    def __init__(
        self,
        iad: str = TC,
        pan: str = PAN,
        qualifiers: str = "0000",
        expires: str = "301231",
        atc: int = 1,
        static_changes: dict[str, str | None] | None = None,
        changes: dict[str, str | None] | None = None,
        signature_in_options: bool = True,
        corrupt: str | None = None,
        profile: str = "3C00",
    ) -> None:
        self.iad, self.pan, self.qualifiers, self.profile = iad, pan, bytes.fromhex(qualifiers), bytes.fromhex(profile)
        self.track2 = bytes.fromhex(f"{pan}D{expires[:4]}220")
        self.atc = atc - 1
        self.changes = changes or {}
        self.signature_in_options = signature_in_options
        self.corrupt = corrupt
        self.dynamic: dict[str, bytes] = {}
        self.commands: list[bytes] = []
        account: dict[str, str | None] = {
            "5A": pan,
            "5F24": expires,
            "5F25": "200101",
            "5F28": "0156",
            "9F07": "FF00",
            "9F08": "0030",
            "9F4A": "82",
        }
        account.update(static_changes or {})
        static = {tag: bytes.fromhex(value) for tag, value in account.items() if value is not None}
        self.static_record = tlv.encode("70", tlv.encode_all(static))
        static_data = tlv.encode_all(static) + self.profile
        issuer, issuer_rest = certificate(CA_PAIR, bytes.fromhex(pan[:6] + "FF"), ISSUER_PAIR, 0x02)
        card, card_rest = certificate(
            ISSUER_PAIR, bytes.fromhex(pan + "FFFF"), CARD_PAIR, 0x04, static_data=static_data
        )
        self.keys = {
            "8F": bytes((CA_INDEX,)),
            "9F32": ISSUER_PAIR.exponent_bytes,
            "92": issuer_rest,
            "90": issuer,
            "9F47": CARD_PAIR.exponent_bytes,
            "9F48": card_rest,
            "9F46": card,
        }

    def transmit(self, apdu: bytes) -> bytes:
        self.commands.append(apdu)
        match apdu[1]:
            case 0xA4:
                return self._select(apdu[5:-1])
            case 0xA8:
                return self._decide(apdu[7:-1])
            case 0xB2:
                return self._record(apdu[3] >> 3, apdu[2])
            case 0xCA:
                return tlv.encode("9F36", self.atc.to_bytes(2, "big")) + OK
        return b"\x6d\x00"

    def _select(self, name: bytes) -> bytes:
        if name == AID:
            inside = tlv.encode("9F38", PDOL)
        elif name == b"2PAY.SYS.DDF01":
            inside = tlv.encode("BF0C", tlv.encode("61", tlv.encode("4F", AID) + tlv.encode("87", b"\x01")))
        else:
            return b"\x6a\x82"
        return tlv.encode("6F", tlv.encode("84", name) + tlv.encode("A5", inside)) + OK

    def _decide(self, asked: bytes) -> bytes:
        self.atc += 1
        amount, currency, number = asked[4:10], asked[23:25], asked[29:33]
        related = b"\x01" + b"card" + self.qualifiers
        related = self._changed({"9F69": related}).get("9F69", related)
        signature = dynamic_signature(CARD_PAIR, self.atc.to_bytes(2, "big"), number + amount + currency + related)
        self.dynamic = {"9F69": related, "9F4B": signature}
        options = {
            "82": self.profile,
            "94": bytes.fromhex("1001020118010300"),
            "9F36": self.atc.to_bytes(2, "big"),
            "57": self.track2,
            "9F26": bytes.fromhex("0102030405060708"),
            "9F10": bytes.fromhex(self.iad),
            "5F34": b"\x01",
            "9F6C": self.qualifiers,
            "9F5D": bytes.fromhex("000000012345"),
        }
        if self.signature_in_options:
            options["9F4B"] = signature
        return tlv.encode("77", tlv.encode_all(self._changed(options))) + OK

    def _record(self, file: int, record: int) -> bytes:
        keys = self._changed(self.keys)
        groups: dict[tuple[int, int], tuple[str, ...]] = {
            (2, 2): ("8F", "9F32", "92", "9F47", "9F48"),
            (3, 1): ("90",),
            (3, 2): ("9F46",),
        }
        if (file, record) == (2, 1):
            return self.static_record + OK
        if (file, record) == (3, 3):
            inside = self._changed(self.dynamic)
            if self.signature_in_options:
                inside.pop("9F4B", None)
            return tlv.encode("70", tlv.encode_all(inside)) + OK
        if (file, record) not in groups:
            return b"\x6a\x83"
        return tlv.encode("70", tlv.encode_all({tag: keys[tag] for tag in groups[file, record] if tag in keys})) + OK

    def _changed(self, values: dict[str, bytes]) -> dict[str, bytes]:
        """Apply what is to be wrong; `corrupt` is the tag whose last byte is another."""
        made = dict(values)
        for tag, value in self.changes.items():
            if tag in made:
                if value is None:
                    del made[tag]
                else:
                    made[tag] = bytes.fromhex(value)
        if self.corrupt in made:
            value = made[self.corrupt]
            made[self.corrupt] = value[:-1] + bytes((value[-1] ^ 1,))
        return made


def conclude(tap: Tap, card: CertifiedCard, leaves_at: int | None = None) -> Outcome:
    """Carry commands to the card until there is an outcome; the card leaves instead of giving answer `leaves_at`."""
    command = tap.command
    for count in range(60):
        answer = card.transmit(command)
        step = tap.card_gone() if count == leaves_at else tap.step(answer)
        if not isinstance(step, bytes):
            assert tap.outcome is step
            return step
        command = step
    raise AssertionError("a tap that never ends")
