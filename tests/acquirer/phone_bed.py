"""A phone of a simulated maker that goes through on-boarding, attests itself and takes payments; driven by tests."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from random import Random

import sqlalchemy as sa
from acquirer_bed import PAN, START, Bed, Terminal

from acquirer.device_tables import Application, AttestationRecord, Device
from acquirer.tables import Terminal as TerminalRow
from merchant_device.maker import DeviceState, Maker, attest, chain_text
from network.attestation.monitoring_link import PIN, TRANSACTION, pack_monitoring, unpack_monitoring
from network.keys import KeyHandle, SecurityModule
from network.keys.elliptic_operations import EcKey
from network.party import CommandError, Json, Work, take_turn
from network.store import Store

DIGEST = bytes(range(64, 96))
MODEL = "FP-1"
STATE = DeviceState(MODEL, 202511, 20251105, 20251101, "cn.fourparty.pos", 7, DIGEST)
PLACE = "+31.230400,+121.473700"
APPLICANT: dict[str, Json] = {
    "name": "王小二",
    "id_number": "11010519491231002X",
    "phone_number": "13800138000",
    "settlement_card": PAN,
    "shop_name": "王记水果摊",
    "city": "上海",
    "category": "5411",
    "model": MODEL,
    "place": PLACE,
    "radius": 500,
}
MAKER = Maker(SecurityModule(bytes(32), Random(41)), Random(42), START - 86_400_000_000)
TRUST: dict[str, object] = {
    "attestation_roots": [base64.b64encode(MAKER.root_public_key).decode()],
    "allowed_models": [{"model": MODEL, "until": "2026-06-30"}, {"model": "FP-0", "until": "2025-11-22"}],
    "allowed_apps": [
        {"package": "cn.fourparty.pos", "signature_digest": DIGEST.hex(), "minimum_version": 5, "until": "2026-03-31"},
        {"package": "cn.fourparty.old", "signature_digest": DIGEST.hex(), "until": "2025-11-01"},
    ],
}


@dataclass
class PhoneTerminal(Terminal):
    """A terminal whose master key came in an envelope."""

    opened: KeyHandle | None = None

    @property
    def master_key(self) -> KeyHandle:
        assert self.opened is not None
        return self.opened


class TrustingBed(Bed):
    """An acquirer that trusts the maker's phones, with randomness that does not begin anew in every turn."""

    def __init__(self, store: Store, **configuration: object) -> None:
        self.random = Random(9)
        super().__init__(store, **{**TRUST, **configuration})

    def take(self, work: Work) -> list[tuple[str, bytes]]:
        sent: list[tuple[str, bytes]] = []
        self.failures += take_turn(
            self.party, self.now, self.random, self.unit, work, lambda turn: sent.extend(self._deliver(turn))
        )
        return sent


class Phone:
    """A phone, its secure element, and the App that on-boards it."""

    def __init__(self, bed: Bed, device_id: str = "SN-0001", seed: int = 100, maker: Maker = MAKER) -> None:
        self.bed = bed
        self.module = SecurityModule(bytes(range(7, 39)), Random(seed))
        self.state = STATE
        self.device = maker.manufacture(device_id, MODEL, START, self.module)
        self.key: EcKey = self.module.generate_ec("device")
        self.link = f"monitor:{device_id}"
        self.place: str | None = PLACE
        self.signals: list[str] = []
        self.application: dict[str, Json] = {}
        self.terminal: PhoneTerminal | None = None

    # on-boarding

    def apply(self, **changes: Json) -> Json | CommandError | None:
        answer = self.bed.command("onboarding_apply", **{**APPLICANT, **changes})
        if isinstance(answer, dict):
            self.application = {"application_id": answer["application_id"], "token": answer["token"]}
        return answer

    def approve(self, **arguments: Json) -> Json | CommandError | None:
        return self.bed.command(
            "onboarding_review", application_id=self.application["application_id"], approve=True, **arguments
        )

    def challenge(self) -> bytes:
        answer = self.bed.command("onboarding_challenge", **self.application)
        assert isinstance(answer, dict), answer
        return bytes.fromhex(str(answer["challenge"]))

    def evidence(self, challenge: bytes, key: EcKey | None = None, signer: EcKey | None = None) -> dict[str, Json]:
        """What it shows for a challenge: by default a chain for its device key, signed by that."""
        attested = key or self.key
        chain = attest(self.module, self.device, self.state, attested.public_key, challenge, self.bed.now)
        signature = self.module.sign_ec(signer or attested, challenge + chain[0])
        shown: dict[str, Json] = {
            "chain": chain_text(chain),
            "signature": base64.b64encode(signature).decode(),
            "signals": list(self.signals),
        }
        if self.place is not None:
            shown["place"] = self.place
        return shown

    def bind(self, evidence: dict[str, Json] | None = None, **changes: Json) -> Json | CommandError | None:
        shown = evidence or self.evidence(self.challenge())
        answer = self.bed.command("onboarding_bind", **{**self.application, **shown, **changes})
        if isinstance(answer, dict):
            self.install(answer)
        return answer

    def install(self, answer: dict[str, Json]) -> None:
        tmk = self.module.open_envelope(self.key, bytes.fromhex(str(answer["wrapped_tmk"])))
        self.terminal = PhoneTerminal(
            str(answer["terminal_id"]),
            f"terminal:{answer['terminal_id']}",
            merchant_id=str(answer["merchant_id"]),
            module=self.module,
            opened=tmk,
        )

    def onboard(self) -> PhoneTerminal:
        self.apply()
        self.approve()
        answer = self.bind()
        assert isinstance(answer, dict), answer
        assert self.terminal is not None
        assert self.bed.sign_on(self.terminal).fields[39] == "00"
        return self.terminal

    # the monitoring link

    def pack(self, content: dict[str, Json]) -> bytes:
        assert self.terminal is not None
        assert self.terminal.keys is not None
        said = {"type": content["type"], "terminal": self.terminal.terminal_id, **content}
        return pack_monitoring(self.module, self.terminal.keys.mak, said)

    def say(self, content: dict[str, Json], **changes: str) -> list[dict[str, Json]]:
        return self.send(self.pack(content), **changes)

    def send(self, body: bytes, link: str | None = None) -> list[dict[str, Json]]:
        """What was answered on the link, its MACs checked."""
        self.bed.now += 1000
        sent = self.bed.pump(self.bed.messages((link or self.link, body)))
        return [self.read(answer) for name, answer in sent if name == (link or self.link)]

    def read(self, body: bytes) -> dict[str, Json]:
        assert self.terminal is not None
        assert self.terminal.keys is not None
        arrived = unpack_monitoring(body)
        assert arrived.is_genuine(self.module, self.terminal.keys.mak)
        assert arrived.content["terminal"] == self.terminal.terminal_id
        assert body[8:] == json.dumps(arrived.content, ensure_ascii=False, separators=(",", ":")).encode()
        return dict(arrived.content)

    def ask_challenge(self, purpose: str = TRANSACTION) -> bytes:
        (answer,) = self.say({"type": "challenge_request", "purpose": purpose})
        assert (answer["type"], answer["purpose"]) == ("challenge", purpose)
        return bytes.fromhex(str(answer["challenge"]))

    def show(self, challenge: bytes, purpose: str = TRANSACTION, **changes: Json) -> dict[str, Json]:
        """The verdict on fresh evidence: a new key attested, signed by the device key."""
        evidence = self.evidence(challenge, self.module.generate_ec("fresh"), self.key)
        (verdict,) = self.say({"type": "evidence", "purpose": purpose, **evidence, **changes})
        assert (verdict["type"], verdict["purpose"]) == ("verdict", purpose)
        return verdict

    def attest(self, purpose: str = TRANSACTION, **changes: Json) -> dict[str, Json]:
        return self.show(self.ask_challenge(purpose), purpose, **changes)

    def attest_all(self) -> None:
        for purpose in (TRANSACTION, PIN):
            assert self.attest(purpose)["accepted"] is True

    # what the acquirer has written down

    def row(self) -> Device:
        return device_row(self.bed.store, self.device.device_id)

    def records(self) -> list[AttestationRecord]:
        return records(self.bed.store, self.device.device_id)

    def changed(self, **state: object) -> None:
        self.state = replace(self.state, **state)  # type: ignore[arg-type]


def device_row(store: Store, device_id: str) -> Device:
    with store.read() as connection:
        table = store.tables[Device]
        return Device(**connection.execute(sa.select(table).where(table.c.device_id == device_id)).one()._mapping)


def records(store: Store, device_id: str) -> list[AttestationRecord]:
    with store.read() as connection:
        table = store.tables[AttestationRecord]
        query = sa.select(table).where(table.c.device_id == device_id).order_by(table.c.record_id)
        return [AttestationRecord(**row._mapping) for row in connection.execute(query)]


def applications(store: Store) -> list[Application]:
    with store.read() as connection:
        return [Application(**row._mapping) for row in connection.execute(sa.select(store.tables[Application]))]


def terminal_row(store: Store, terminal_id: str) -> TerminalRow:
    with store.read() as connection:
        table = store.tables[TerminalRow]
        return TerminalRow(
            **connection.execute(sa.select(table).where(table.c.terminal_id == terminal_id)).one()._mapping
        )
