"""The monitoring link: phones ask for challenges, show evidence, and are told verdicts, or to wipe their keys.

What comes is junk until its MAC is right. A challenge is good once; the same evidence again gets the same verdict, a
request for a challenge again the same challenge while half of its time is left, so that doubled messages harm nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final

from acquirer.attestation_policy import (
    Area,
    Evidence,
    Expected,
    Place,
    Refusal,
    Verdict,
    judge,
    signals_of,
)
from acquirer.context import Context
from acquirer.device_control import DeviceControl
from acquirer.device_tables import BLOCKED, BOUND, KILLING, SUSPENDED, Challenge, Device
from acquirer.devices import forget_verdicts, record, suspend
from acquirer.numbering import Moment
from acquirer.reversal import Owed, Reversals
from acquirer.tables import Terminal
from network.attestation.monitoring_link import (
    PIN,
    TRANSACTION,
    MonitoringError,
    monitoring_text,
    pack_monitoring,
    unpack_monitoring,
)
from network.keys.elliptic_operations import verify_ec
from network.party import SECOND, Json, LinkName, TimerKey, Turn

LINK_PREFIX: Final = "monitor:"
"""How the names of this link begin."""

_TERMINAL: Final = re.compile(r"[0-9A-Za-z]{8}", re.ASCII)
OWED_LIMIT: Final = 100
"""Most reversals in one farewell."""

_FAREWELLS: Final = ("alarm", "killed")
_NUMBER: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_SIX_DIGITS: Final = re.compile(r"[0-9]{6}", re.ASCII)
_AMOUNT_LIMIT: Final = 10**12
_SIGNATURE_LIMIT: Final = 128
_CHALLENGE: Final = 32
_ACCEPTED: Final = ""
"""Outcome of a challenge whose evidence was accepted; otherwise the outcome is the reason."""


class Monitoring:
    """Decides what comes over the monitoring link. It remembers nothing outside its rows."""

    def __init__(self, context: Context, reversals: Reversals) -> None:
        self._context = context
        self._reversals = reversals
        self._control = DeviceControl(context)

    def start(self, turn: Turn) -> None:
        """See `Party.start`: kills that were not answered are sent again."""
        self._control.start(turn)

    def due(self, turn: Turn, key: TimerKey) -> bool:
        """Take a timer if it is of this room; tell whether it was."""
        return self._control.due(turn, key)

    def received(self, turn: Turn, moment: Moment, link: LinkName, body: bytes) -> None:
        """Decide a body; what cannot be believed is dropped and counted."""
        dropped = self._context.dropped
        try:
            arrived = unpack_monitoring(body)
        except MonitoringError:
            dropped["monitoring: undecodable"] += 1
            return
        content = arrived.content
        terminal_id = content.get("terminal")
        # nothing that is no terminal's id reaches the store: what comes here is not proved yet
        named = isinstance(terminal_id, str) and _TERMINAL.fullmatch(terminal_id) is not None
        terminal = turn.store.find(Terminal, "terminal_id", str(terminal_id)) if named else None
        if terminal is None or terminal.device_id is None or terminal.mac_key is None:
            dropped["monitoring: unknown terminal"] += 1
            return
        device = turn.store.find(Device, "device_id", terminal.device_id)
        if not arrived.is_genuine(self._context.module, self._context.module.load(terminal.mac_key)) and not (
            device is not None and _is_signed_farewell(content, device)
        ):
            dropped["monitoring: mac"] += 1
            return
        if device is None or device.terminal_id != terminal.terminal_id:
            dropped["monitoring: unknown device"] += 1
            return
        if device.link != link:
            turn.store.change(device)
            device.link = link
        if content.get("type") in _FAREWELLS:
            self._farewell(turn, moment, terminal, device, content)
        else:
            self._decide(turn, terminal, device, content)

    def _decide(self, turn: Turn, terminal: Terminal, device: Device, content: Mapping[str, Json]) -> None:
        kind, purpose = content.get("type"), content.get("purpose")
        if device.status == KILLING:
            # whatever it asks: it has not heard yet
            device.kills_sent = 0
            self._control.send_kill(turn, device)
        elif not isinstance(purpose, str) or purpose not in (TRANSACTION, PIN):
            self._context.dropped["monitoring: unexpected"] += 1
        elif kind == "challenge_request":
            self._challenge(turn, terminal, purpose)
        elif kind == "evidence":
            self._evidence(turn, terminal, device, purpose, content)
        else:
            self._context.dropped["monitoring: unexpected"] += 1

    def _challenge(self, turn: Turn, terminal: Terminal, purpose: str) -> None:
        row = new_challenge(turn, f"{terminal.terminal_id}|{purpose}", self._context.configuration.challenge_seconds)
        self._send(turn, terminal, {"type": "challenge", "purpose": purpose, "challenge": row.challenge.hex()})

    def _evidence(
        self, turn: Turn, terminal: Terminal, device: Device, purpose: str, content: Mapping[str, Json]
    ) -> None:
        evidence = Evidence.parse(content)
        digest = digest_of(evidence)
        row = turn.store.find(Challenge, "subject", f"{terminal.terminal_id}|{purpose}")
        if row is not None and row.used_at is not None and digest is not None and row.evidence == digest:
            # a copy of what was decided: the answer may have been lost
            self._verdict(turn, terminal, device, purpose, row.outcome)
            return
        verdict = self._judge(turn, device, evidence, row)
        told = content.get("place")
        record(
            turn,
            verdict,
            purpose=purpose,
            device_id=device.device_id,
            terminal_id=terminal.terminal_id,
            place=told if isinstance(told, str) and Place.parse(told) is not None else None,
        )
        if row is not None and row.used_at is None and digest is not None:
            turn.store.change(row)
            row.used_at = turn.now
            row.evidence = digest
            row.outcome = verdict.reason or _ACCEPTED
        if verdict.is_accepted:
            self._trust(turn, device, purpose)
        elif verdict.suspends:
            suspend(turn, device, f"{verdict.reason}: {verdict.detail}" if verdict.detail else f"{verdict.reason}")
        elif verdict.ends_trust:
            forget_verdicts(turn, device)
        self._verdict(turn, terminal, device, purpose, verdict.reason or _ACCEPTED)

    def _judge(self, turn: Turn, device: Device, evidence: Evidence | None, row: Challenge | None) -> Verdict:
        if device.status != BOUND:
            return Verdict(Refusal.SUSPENDED.value, device.reason)
        if evidence is None:
            return Verdict(Refusal.MALFORMED.value)
        if (fault := fault_of_challenge(row, turn.now)) is not None or row is None:
            return Verdict((fault or Refusal.NO_CHALLENGE).value)
        area = Area(Place(device.latitude, device.longitude), device.radius)
        expected = Expected(row.challenge, device.public_key, device.device_id, area)
        return judge(evidence, expected, self._context.configuration, turn.now)

    def _trust(self, turn: Turn, device: Device, purpose: str) -> None:
        configuration = self._context.configuration
        turn.store.change(device)
        if purpose == PIN:
            device.pin_attested_until = turn.now + int(configuration.pin_attestation_window * SECOND)
        # whoever may be given a PIN may be given a payment
        device.attested_at = turn.now
        device.attested_until = turn.now + int(configuration.attestation_window * SECOND)

    def _verdict(self, turn: Turn, terminal: Terminal, device: Device, purpose: str, outcome: str | None) -> None:
        until = device.pin_attested_until if purpose == PIN else device.attested_until
        left = max(0, until - turn.now) // SECOND
        accepted = outcome == _ACCEPTED and left > 0
        reason = None if accepted else (outcome or Refusal.CHALLENGE_EXPIRED.value)
        self._send(
            turn,
            terminal,
            {
                "type": "verdict",
                "purpose": purpose,
                "accepted": accepted,
                "reason": reason,
                "valid_seconds": left if accepted else 0,
            },
        )

    def _farewell(
        self, turn: Turn, moment: Moment, terminal: Terminal, device: Device, content: Mapping[str, Json]
    ) -> None:
        """The phone has wiped its keys: what it was going to take back is taken back, and the phone told so."""
        owed = _owed(content.get("reversals", []))
        if owed is None:
            self._context.dropped["monitoring: malformed"] += 1
            return
        for one in owed:
            if not self._reversals.take_back(turn, moment, terminal, one, f"terminal:{terminal.terminal_id}"):
                self._context.dropped["monitoring: reversal of another sale"] += 1
        if device.status == KILLING:
            # a phone that saw tampering before it heard of the kill has wiped its keys all the same
            self._control.killed(turn, device)
        elif content.get("type") == "alarm":
            self._alarm(turn, device, content)
        elif device.status == BOUND:
            suspend(turn, device, "keys wiped")
        number = content.get("number")
        if isinstance(number, str) and _NUMBER.fullmatch(number) is not None:
            self._send(turn, terminal, {"type": "noted", "number": number})

    def _alarm(self, turn: Turn, device: Device, content: Mapping[str, Json]) -> None:
        """The phone has seen tampering and wiped its keys: it can be bound anew."""
        signals = signals_of(content.get("signals")) or ()
        if device.status not in (BOUND, SUSPENDED, BLOCKED):
            return
        is_news = device.status == BOUND
        suspend(turn, device, f"{Refusal.SIGNALS.value}: {','.join(signals)}")
        if is_news:
            verdict = Verdict(Refusal.SIGNALS.value, ",".join(signals))
            record(
                turn,
                verdict,
                purpose="alarm",
                device_id=device.device_id,
                terminal_id=device.terminal_id,
                place=None,
            )

    def _send(self, turn: Turn, terminal: Terminal, content: dict[str, Json]) -> None:
        """Answer a terminal that has a MAC key, on the link where its device was heard last."""
        device = None if terminal.device_id is None else turn.store.find(Device, "device_id", terminal.device_id)
        if device is None or device.link is None or terminal.mac_key is None:
            return
        module = self._context.module
        said = {"type": content["type"], "terminal": terminal.terminal_id, **content}
        turn.send(device.link, pack_monitoring(module, module.load(terminal.mac_key), said))


def _is_signed_farewell(content: Mapping[str, Json], device: Device) -> bool:
    """Whether a phone says goodbye that has missed its last sign-on: by its device key, which that does not change."""
    signature = content.get("signature")
    if content.get("type") not in _FAREWELLS or not isinstance(signature, str) or len(signature) > _SIGNATURE_LIMIT:
        return False
    try:
        told = base64.b64decode(signature, validate=True)
        text = monitoring_text({name: value for name, value in content.items() if name != "signature"})
    except (ValueError, RecursionError):
        return False
    return verify_ec(device.public_key, text, told)


def _owed(value: Json) -> tuple[Owed, ...] | None:
    """The reversals that a farewell lists; None where the list is malformed."""
    if not isinstance(value, list) or len(value) > OWED_LIMIT:
        return None
    found: list[Owed] = []
    for one in value:
        if not isinstance(one, dict):
            return None
        batch, stan, amount = one.get("batch"), one.get("stan"), one.get("amount")
        if not isinstance(batch, str) or not isinstance(stan, str) or not isinstance(amount, int):
            return None
        if _SIX_DIGITS.fullmatch(batch) is None or _SIX_DIGITS.fullmatch(stan) is None:
            return None
        if isinstance(amount, bool) or not 0 < amount < _AMOUNT_LIMIT:
            return None
        found.append(Owed(batch, stan, amount))
    return tuple(found)


def new_challenge(turn: Turn, subject: str, seconds: float) -> Challenge:
    """The challenge of a subject: the one that is out while unused and half of its time is left, else a new one."""
    life = int(seconds * SECOND)
    row = turn.store.find(Challenge, "subject", subject)
    if row is not None and row.used_at is None and row.expires_at - turn.now > life // 2:
        return row
    challenge = turn.random.randbytes(_CHALLENGE)
    if row is None:
        row = Challenge(subject, challenge, turn.now + life, None, None, None)
        turn.store.insert(row)
        return row
    turn.store.change(row)
    row.challenge, row.expires_at = challenge, turn.now + life
    row.used_at = row.evidence = row.outcome = None
    return row


def fault_of_challenge(row: Challenge | None, now: int) -> Refusal | None:
    """Why a challenge cannot be used any more; None where it can."""
    if row is None:
        return Refusal.NO_CHALLENGE
    if row.used_at is not None:
        return Refusal.CHALLENGE_USED
    return Refusal.CHALLENGE_EXPIRED if now > row.expires_at else None


def digest_of(evidence: Evidence | None) -> bytes | None:
    """What tells one evidence from another."""
    if evidence is None:
        return None
    hashing = hashlib.sha256()
    for part in (evidence.signature, *evidence.chain, repr((evidence.place, evidence.signals)).encode()):
        hashing.update(len(part).to_bytes(4) + part)
    return hashing.digest()
