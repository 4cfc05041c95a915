"""A device bed whose phone is a device that was made, attested and installed, with an acquirer's monitoring end.

That end believes nothing: it checks chain, challenge and signatures as docs/protocol.md has them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from random import Random

from device_bed import MERCHANT_ID, START, TERMINAL_ID, Bed, ScriptedCard

from merchant_device.configuration import Configuration
from merchant_device.context import MakeRoom
from merchant_device.device_tables import SecureElement
from merchant_device.maker import DeviceState, Maker
from merchant_device.monitoring import Monitoring
from merchant_device.secure_element import SecureElements, manufacture
from network.attestation import public_key_of, verify_chain
from network.keys import KeyHandle, MacAlgorithm, SecurityModule
from network.keys.elliptic_operations import verify_ec
from network.party import Json, LinkChange

DEVICE = "SN-0001"
PLACE = "+31.230400,+121.473700"
STATE = DeviceState("FP-1", 202511, 20251105, 20251101, "cn.fourparty.pos", 7, bytes(range(64, 96)))
MAKER = Maker(SecurityModule(bytes(32), Random(41)), Random(42), START - 86_400_000_000)
MONITOR = f"monitor:{TERMINAL_ID}"


class TrustBed(Bed):
    """`heard` are the monitoring objects that the acquirer believed, `lose` says which bodies a wire loses.

    Both ways go through `wire`: what becomes of a body, as often as it arrives.
    """

    def __init__(
        self,
        *,
        configuration: Configuration | None = None,
        install: bool = True,
        rooms: Sequence[MakeRoom] = (SecureElements, Monitoring),
    ) -> None:
        self.heard: list[dict[str, Json]] = []
        self.reasons: list[str | None] = []
        self.valid_seconds = 60
        self.silent_monitor: set[str] = set()
        self.wire: Callable[[bytes], list[bytes]] = lambda body: [body]
        self.device_public_key = b""
        self.challenges: dict[str, bytes] = {}
        self.used: set[bytes] = set()
        super().__init__(terminals=(), configuration=configuration, rooms=rooms)
        manufacture(self.unit, self.module, MAKER, DEVICE, STATE, self.now)
        self.unit.commit()
        if install:
            self.install()

    def install(self) -> dict[str, Json]:
        """Attest and install the phone, and connect it."""
        shown = self.ask("attest", device=DEVICE, challenge="5a" * 32)
        self.device_public_key = public_key_of(base64.b64decode(str(shown["chain"][0])))  # type: ignore[index]
        answer = self.ask("install", device=DEVICE, merchant=MERCHANT_ID, wrapped_tmk=self.wrapped(), place=PLACE)
        if not self.terminals:
            self.terminals = (TERMINAL_ID,)
            self.cards[TERMINAL_ID] = ScriptedCard(pin=False)
            self.pins[TERMINAL_ID] = b"135790"
            self.links(True)
        self.work.link_changes.append(LinkChange(MONITOR, True))
        self.step()
        self.settle()
        return answer

    def wrapped(self) -> str:
        """The terminal master key for the device's key."""
        return self.acquirer.module.wrap_for(self.device_public_key, self.acquirer.tmk).hex()

    def element(self) -> SecureElement:
        """The secure element as committed."""
        found = self.store.unit_of_work().find(SecureElement, "device_id", DEVICE)
        assert found is not None
        return found

    def heard_types(self) -> list[str]:
        return [str(one["type"]) for one in self.heard]

    # the acquirer's end

    def mak(self) -> KeyHandle:
        return self.acquirer.keys[TERMINAL_ID][1]

    def pack(self, content: dict[str, Json]) -> bytes:
        text = json.dumps({"type": content["type"], "terminal": TERMINAL_ID, **content}, separators=(",", ":")).encode()
        return self.acquirer.module.mac(self.mak(), MacAlgorithm.CUP_ECB, text) + text

    def answer_of(self, kind: str, terminal: str, body: bytes) -> bytes | None:
        if kind != "monitor":
            return super().answer_of(kind, terminal, body)
        for arrived in self.wire(body):
            for answer in self.monitor(arrived):
                for returned in self.wire(answer):
                    self.receive(MONITOR, returned)
        return None

    def monitor(self, body: bytes) -> list[bytes]:
        """What the acquirer's end answers; nothing to what has a wrong MAC."""
        mac, text = body[:8], body[8:]
        if not self.acquirer.module.verify_mac(self.mak(), MacAlgorithm.CUP_ECB, text, mac):
            return []
        said = json.loads(text)
        assert text == json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        assert said["terminal"] == TERMINAL_ID
        self.heard.append(said)
        if said["type"] in self.silent_monitor:
            return []
        if said["type"] == "challenge_request":
            return [self._challenge(said["purpose"])]
        if said["type"] == "evidence":
            return [self._verdict(said)]
        return [self.pack({"type": "noted", "number": said["number"]})]

    def _challenge(self, purpose: str) -> bytes:
        challenge = self.challenges.get(purpose)
        if challenge is None or challenge in self.used:
            challenge = self.challenges[purpose] = bytes([len(self.heard) % 256]) * 32
        return self.pack({"type": "challenge", "purpose": purpose, "challenge": challenge.hex()})

    def _verdict(self, said: dict[str, Json]) -> bytes:
        challenge = self.challenges[str(said["purpose"])]
        chain = [base64.b64decode(one) for one in said["chain"]]  # type: ignore[union-attr,arg-type]
        description = verify_chain(chain, {MAKER.root_public_key}, {}, self.now)
        reason = self.reasons.pop(0) if self.reasons else None
        if description.challenge != challenge:
            reason = "attestation of another challenge"
        signature = base64.b64decode(str(said["signature"]))
        assert verify_ec(self.device_public_key, description.challenge + chain[0], signature)
        assert public_key_of(chain[0]) != self.device_public_key, "a fresh key is attested, not the device's"
        assert said["signals"] == []
        assert said["place"] == PLACE
        self.used.add(challenge)
        verdict = {
            "accepted": reason is None,
            "reason": reason,
            "valid_seconds": self.valid_seconds if reason is None else 0,
        }
        return self.pack({"type": "verdict", "purpose": said["purpose"], **verdict})
