"""Binding: a phone shows an attested key and becomes a terminal; its master key comes wrapped for that key only.

The key is made in the security module. Whoever lost the answer shows the same evidence again and gets the same
terminal. A terminal whose phone has failed can be bound to another phone, or to the same one with a new key, and gets
new keys then.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import replace
from typing import Final

from acquirer.applications import application_of, challenge_subject, free_number, require_approved
from acquirer.attestation_policy import Area, Evidence, Expected, Place, Refusal, Verdict, judge
from acquirer.context import Context
from acquirer.device_tables import (
    BLOCKED,
    BOUND,
    KILLED,
    KILLING,
    REPLACED,
    SUSPENDED,
    Application,
    Challenge,
    Device,
)
from acquirer.devices import record
from acquirer.enrolment import add_terminal
from acquirer.monitoring import digest_of, fault_of_challenge, new_challenge
from acquirer.tables import Merchant, Terminal
from network.attestation import public_key_of
from network.keys import Algorithm, KeyUsage
from network.party import Command, CommandError, Json, Turn
from network.store import UnitOfWork

_TERMINAL: Final = re.compile(r"[0-9A-Za-z]{8}", re.ASCII)
_DEVICE: Final = re.compile(r"[0-9A-Za-z._:-]{1,40}", re.ASCII)
"""A serial number that DE59 and paths can carry."""

_DEVICES: Final = 10_000
"""Most devices of a merchant that are looked at."""


class Binding:
    """Gives challenges to applicants who are approved, and terminals to their phones."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def challenge(self, turn: Turn, command: Command) -> Json:
        """The challenge that the phone's key is to be attested with."""
        application = application_of(turn, command)
        require_approved(application)
        seconds = self._context.configuration.binding_challenge_seconds
        row = new_challenge(turn, challenge_subject(application), seconds)
        return {"challenge": row.challenge.hex(), "expires_at": row.expires_at}

    def bind(self, turn: Turn, command: Command) -> Json:
        """Bind a phone: a new terminal, or another phone (or a new key) for one whose phone has failed."""
        application = application_of(turn, command)
        merchant_id = require_approved(application)
        wanted = command.arguments.get("terminal_id")
        if wanted is not None and (not isinstance(wanted, str) or _TERMINAL.fullmatch(wanted) is None):
            raise CommandError("terminal_id has 8 letters and digits")
        evidence = Evidence.parse(command.arguments)
        row = turn.store.find(Challenge, "subject", challenge_subject(application))
        if evidence is None:
            raise CommandError(f"not attested: {Refusal.MALFORMED.value}")
        digest = digest_of(evidence)
        if row is not None and row.used_at is not None and row.evidence == digest:
            return self._again(turn, application, row, evidence)
        fault = fault_of_challenge(row, turn.now)
        if fault is not None or row is None:
            # without a challenge that is out there is nothing to measure the evidence by
            raise CommandError(f"not attested: {(fault or Refusal.NO_CHALLENGE).value}")
        verdict = self._judge(turn, application, evidence, row.challenge)
        device_id = verdict.device_id or ""
        refusal = verdict.reason and f"not attested: {verdict.reason}"
        terminal = None if wanted is None else turn.store.find(Terminal, "terminal_id", wanted)
        if refusal is None:
            refusal = self._refusal(turn.store, application, device_id, wanted, terminal)
        record(
            turn,
            verdict if refusal is None or verdict.reason else replace(verdict, reason=refusal),
            purpose="bind",
            device_id=device_id,
            terminal_id=wanted,
            application_id=application.application_id,
            place=None if evidence.place is None else str(command.arguments["place"]),
        )
        turn.store.change(row)
        row.used_at, row.evidence, row.outcome = turn.now, digest, refusal or device_id
        if refusal is not None:
            raise CommandError(refusal)
        key = public_key_of(evidence.chain[0])
        terminal = self._terminal(turn, merchant_id, terminal, device_id)
        device = self._device(turn, application, terminal, verdict, key)
        return self._bound(turn, application, device, terminal)

    def _judge(self, turn: Turn, application: Application, evidence: Evidence, challenge: bytes) -> Verdict:
        area = Area(Place(application.latitude, application.longitude), application.radius)
        verdict = judge(evidence, Expected(challenge, None, None, area), self._context.configuration, turn.now)
        if verdict.is_accepted and _DEVICE.fullmatch(verdict.device_id or "") is None:
            return replace(verdict, reason=Refusal.OTHER_DEVICE.value)
        return verdict

    def _refusal(
        self,
        store: UnitOfWork,
        application: Application,
        device_id: str,
        wanted: str | None,
        terminal: Terminal | None,
    ) -> str | None:
        """Why a phone that is attested may not be bound so; None where it may."""
        device = store.find(Device, "device_id", device_id)
        merchant = store.find(Merchant, "merchant_id", application.merchant_id or "")
        if merchant is None:
            return "the merchant is not there"
        if device is not None and device.status in (BLOCKED, KILLING, KILLED):
            return f"device {device_id} is {device.status}"
        # a phone that the answer never reached has proved nothing since: it asks for its own terminal, and for new keys
        is_unheard = device is not None and device.terminal_id == wanted and not device.attested_at
        if device is not None and device.status == BOUND and not is_unheard:
            return f"device {device_id} is bound to a terminal"
        if wanted is None:
            bound = store.scan(Device, "merchant_id", merchant.merchant_id, _DEVICES)
            if sum(_counts(store, one) for one in bound) >= application.devices_limit:
                return f"the merchant may have {application.devices_limit} devices"
            if device is not None and device.status == SUSPENDED:
                return f"device {device_id} is suspended: bind it to its terminal {device.terminal_id}"
            return None
        if terminal is None or terminal.merchant_id != merchant.merchant_id or terminal.device_id is None:
            return f"there is no terminal {wanted} of this merchant that had a device"
        before = store.find(Device, "device_id", terminal.device_id)
        is_its_own = is_unheard and before is device
        if before is not None and before.status not in (SUSPENDED, KILLED) and not is_its_own:
            return f"terminal {wanted} has a device that is {before.status}"
        if device is not None and device.status == SUSPENDED and device is not before:
            return f"device {device_id} is suspended: bind it to its terminal {device.terminal_id}"
        return None

    def _again(self, turn: Turn, application: Application, row: Challenge, evidence: Evidence) -> Json:
        """The answer was lost: the same phone gets the same terminal and key, or the same refusal."""
        device = turn.store.find(Device, "device_id", row.outcome or "")
        terminal = None if device is None else turn.store.find(Terminal, "terminal_id", device.terminal_id)
        key = public_key_of(evidence.chain[0])
        if device is None or terminal is None or not hmac.compare_digest(device.public_key, key):
            raise CommandError(row.outcome or Refusal.CHALLENGE_USED.value)
        if device.status != BOUND or terminal.device_id != device.device_id:
            raise CommandError(f"device {device.device_id} is {device.status}")
        return self._bound(turn, application, device, terminal)

    def _terminal(self, turn: Turn, merchant_id: str, terminal: Terminal | None, device_id: str) -> Terminal:
        """A new terminal, or the one of a failed device with new keys."""
        module = self._context.module
        key = module.load(module.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, "TMK"))
        if terminal is None:
            return add_terminal(
                turn.store,
                module,
                terminal_id=free_number(turn.store, Terminal, lambda n: f"{n:08d}"),
                merchant_id=merchant_id,
                master_key=key,
                now=turn.now,
                device_id=device_id,
            )
        before = None if terminal.device_id is None else turn.store.find(Device, "device_id", terminal.device_id)
        # one that was killed stays so, whoever has its terminal: only the operator lets it come back
        if before is not None and before.device_id != device_id and before.status != KILLED:
            turn.store.change(before)
            before.status, before.reason = REPLACED, f"by {device_id}"
        turn.store.change(terminal)
        terminal.device_id, terminal.master_key = device_id, module.block(key)
        # what the phone before had in hand opens nothing any more
        terminal.pin_key = terminal.mac_key = terminal.track_key = terminal.signed_on_at = None
        return terminal

    def _device(
        self, turn: Turn, application: Application, terminal: Terminal, verdict: Verdict, public_key: bytes
    ) -> Device:
        description = verdict.description
        model = "" if description is None else description.hardware.text("attestationIdModel") or ""
        device_id = verdict.device_id or ""
        known = turn.store.find(Device, "device_id", device_id)
        fresh = Device(
            device_id=device_id,
            application_id=application.application_id,
            merchant_id=terminal.merchant_id,
            terminal_id=terminal.terminal_id,
            model=model[:40],
            public_key=public_key,
            status=BOUND,
            reason=None,
            latitude=application.latitude,
            longitude=application.longitude,
            radius=application.radius,
            link=None,
            attested_at=0,
            attested_until=0,
            pin_attested_until=0,
            bound_at=turn.now,
            kills_sent=0,
        )
        if known is None:
            turn.store.insert(fresh)
            return fresh
        turn.store.change(known)
        for column in Device.spec.mutable:
            setattr(known, column, getattr(fresh, column))
        return known

    def _bound(self, turn: Turn, application: Application, device: Device, terminal: Terminal) -> Json:
        """What the phone needs to be a terminal."""
        module = self._context.module
        merchant = turn.store.find(Merchant, "merchant_id", terminal.merchant_id)
        envelope = module.wrap_for(device.public_key, module.load(terminal.master_key))
        return {
            "device_id": device.device_id,
            "terminal_id": terminal.terminal_id,
            "merchant_id": terminal.merchant_id,
            "acquirer_id": self._context.acquirer_id,
            "merchant_name": application.shop_name,
            "merchant_city": application.city,
            "category": application.category if merchant is None else merchant.category,
            "wrapped_tmk": envelope.hex(),
        }


def _counts(store: UnitOfWork, device: Device) -> bool:
    """Whether a device is one of those that its merchant may have: not where its terminal is another's by now."""
    if device.status != KILLED:
        return device.status != REPLACED
    terminal = store.find(Terminal, "terminal_id", device.terminal_id)
    return terminal is not None and terminal.device_id == device.device_id
