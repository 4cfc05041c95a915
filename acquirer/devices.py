"""The phones that are bound to terminals: whether one may pay, what the switch is told, what is recorded of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from acquirer.attestation_policy import Verdict
from acquirer.configuration import Configuration
from acquirer.device_tables import BOUND, SUSPENDED, AttestationRecord, Device
from acquirer.tables import Terminal
from network.party import SECOND, Instant, Json, Turn
from network.store import UnitOfWork

REASON_LENGTH: Final = 200
"""Longest reason that is kept, in characters."""


def load_devices(store: UnitOfWork, device_ids: Collection[str]) -> None:
    """Read the devices that a turn needs, with one query; they stay in memory between turns."""
    store.load(Device, "device_id", device_ids)


def refusal_of_device(
    store: UnitOfWork, terminal: Terminal, has_pin: bool, now: Instant, configuration: Configuration
) -> str | None:
    """DE39 for a terminal whose device may not take payments now; None where it may, or none is bound to it.

    Parameters
    ----------
    has_pin
        Whether the request has a PIN block (DE52), for which a verdict of its own must be fresh.
    configuration
        Of the acquirer.
    """
    if terminal.device_id is None:
        return None
    device = store.find(Device, "device_id", terminal.device_id)
    if device is None or device.status != BOUND or device.terminal_id != terminal.terminal_id:
        return "58"
    # a window that was made shorter holds at once, also for verdicts that were given before
    if now > min(device.attested_until, device.attested_at + _window(configuration.attestation_window)):
        return "58"
    return "58" if has_pin and now > device.pin_attested_until else None


def attestation_of(
    store: UnitOfWork, terminal: Terminal, now: Instant, configuration: Configuration
) -> tuple[bool, int]:
    """Whether a terminal's device is attested at `now`, and how many seconds old its last good verdict is."""
    device = None if terminal.device_id is None else store.find(Device, "device_id", terminal.device_id)
    if device is None:
        return False, 0
    return refusal_of_device(store, terminal, False, now, configuration) is None, _age(device, now)


def attestation_objects(
    store: UnitOfWork, terminal: Terminal, now: Instant, configuration: Configuration
) -> dict[str, str]:
    """What DE59 A4 says of a terminal's device: 01 attested or not, 02 the verdict's age; empty where none is bound."""
    if terminal.device_id is None:
        return {}
    attested, age = attestation_of(store, terminal, now, configuration)
    return {"01": "1" if attested else "0", "02": str(age)}


def refusal_of_order(store: UnitOfWork, terminal: Terminal, *, is_static: bool) -> str | None:
    """DE39 for the payment of an order whose terminal's device is not to be trusted any more; None where it is.

    The phone showed its code when it was attested, and is not there when the payer pays: what counts is that it is
    still in service, and that the last it proved was good, however long ago. For a static code it is enough, until it
    proves anything, that it asked for the code with a key that only the device that was bound can have.
    """
    device = None if terminal.device_id is None else store.find(Device, "device_id", terminal.device_id)
    if device is None or not is_in_service(store, terminal):
        return "58"
    is_unproved = is_static and not device.attested_at
    return None if is_unproved or device.attested_until else "58"


def standing_objects(store: UnitOfWork, terminal: Terminal, now: Instant) -> dict[str, str]:
    """What DE59 A4 says of the payment of an order that `refusal_of_order` let pass; empty where no device is bound."""
    device = None if terminal.device_id is None else store.find(Device, "device_id", terminal.device_id)
    return {} if device is None else {"01": "1", "02": str(_age(device, now))}


def is_in_service(store: UnitOfWork, terminal: Terminal) -> bool:
    """Whether a terminal has no device, or one that is bound to it and neither suspended nor told to wipe its keys."""
    device = None if terminal.device_id is None else store.find(Device, "device_id", terminal.device_id)
    if device is None:
        return terminal.device_id is None
    return device.status == BOUND and device.terminal_id == terminal.terminal_id


def record(
    turn: Turn, verdict: Verdict, *, purpose: str, device_id: str, place: str | None, **whose: str | None
) -> AttestationRecord:
    """Write down what an attestation came to.

    Parameters
    ----------
    whose
        `terminal_id` and `application_id`, as far as there are any.
    """
    description = verdict.description
    hardware = None if description is None else description.hardware
    root = None if hardware is None else hardware.root_of_trust
    application = None if description is None else description.software.application_id
    row = AttestationRecord(
        record_id=f"{turn.now:016d}-{turn.random.getrandbits(64):016x}",
        device_id=_printable(device_id, 40),
        terminal_id=whose.get("terminal_id"),
        application_id=whose.get("application_id"),
        purpose=purpose,
        accepted=int(verdict.is_accepted),
        reason=verdict.reason,
        detail=None if verdict.detail is None else _printable(verdict.detail, REASON_LENGTH),
        model=None if hardware is None else _printable(hardware.text("attestationIdModel") or "", 40),
        security_level=None if description is None else int(description.keymint_security_level),
        boot_state=None if root is None else int(root.verified_boot_state),
        os_patch_level=None if hardware is None else _bounded(hardware.number("osPatchLevel")),
        app_version=None
        if application is None or not application.packages
        else _bounded(application.packages[0].version),
        place=place,
        recorded_at=turn.now,
    )
    turn.store.insert(row)
    return row


def suspend(turn: Turn, device: Device, reason: str) -> None:
    """Let a device send no more sales until it is bound anew. What the operator or a kill has done stands."""
    if device.status == BOUND:
        turn.store.change(device)
        device.status = SUSPENDED
        device.reason = _printable(reason, REASON_LENGTH)
    forget_verdicts(turn, device)


def device_view(device: Device) -> dict[str, Json]:
    """What operators see of a device."""
    return {
        "device_id": device.device_id,
        "merchant_id": device.merchant_id,
        "terminal_id": device.terminal_id,
        "model": device.model,
        "status": device.status,
        "reason": device.reason,
        "bound_at": device.bound_at,
        "attested_at": device.attested_at or None,
    }


def forget_verdicts(turn: Turn, device: Device) -> None:
    """Let a device do nothing before its next good verdict."""
    turn.store.change(device)
    device.attested_until = device.pin_attested_until = 0


def _age(device: Device, now: Instant) -> int:
    return max(0, now - device.attested_at) // SECOND if device.attested_at else 0


def _window(seconds: float) -> Instant:
    return int(seconds * SECOND)


def _printable(text: str, most: int) -> str:
    """As much of a text as is kept; what a database may refuse, or a terminal obey, is put out of it."""
    return "".join(one if one.isprintable() else "?" for one in text[:most])


def _bounded(number: int | None) -> int | None:
    """A number that a phone has stated, where a column can hold it."""
    return number if number is not None and abs(number) < 1 << 62 else None
