"""What the operator does with devices, and the kills that wait for their answer."""

from __future__ import annotations

from typing import Final

from acquirer.context import Context
from acquirer.device_tables import BLOCKED, BOUND, KILLED, KILLING, REPLACED, SUSPENDED, Device
from acquirer.devices import REASON_LENGTH, device_view, forget_verdicts
from acquirer.tables import Terminal
from network.attestation.monitoring_link import pack_monitoring
from network.party import CommandError, Json, TimerKey, Turn
from network.store import UnitOfWork

TIMER: Final = "device-kill"


class DeviceControl:
    """Suspends, reactivates and kills devices."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def start(self, turn: Turn) -> None:
        """A process begins: kills that were not answered are sent again."""
        for device in turn.store.scan(Device, "status", KILLING, self._context.configuration.backlog):
            turn.timer((TIMER, device.device_id), turn.now)

    def due(self, turn: Turn, key: TimerKey) -> bool:
        """Take a timer if it is of this room; tell whether it was."""
        if key[0] != TIMER:
            return False
        device = turn.store.find(Device, "device_id", key[1])
        if (
            device is not None
            and device.status == KILLING
            and device.kills_sent < self._context.configuration.kill_tries
        ):
            self.send_kill(turn, device)
        return True

    def suspend(self, turn: Turn, device_id: str, reason: str) -> Json:
        """Block a device until the operator reactivates it."""
        device = _found(turn.store, device_id)
        if device.status not in (BOUND, SUSPENDED, BLOCKED):
            raise CommandError(f"device {device_id} is {device.status}")
        turn.store.change(device)
        device.status = BLOCKED
        device.reason = reason[:REASON_LENGTH]
        forget_verdicts(turn, device)
        return device_view(device)

    def reactivate(self, turn: Turn, device_id: str) -> Json:
        """Let a device work again; one that has wiped its keys must be bound anew first."""
        device = _found(turn.store, device_id)
        if device.status not in (SUSPENDED, BLOCKED, KILLED):
            raise CommandError(f"device {device_id} is {device.status}")
        turn.store.change(device)
        if device.status == KILLED:
            terminal = turn.store.find(Terminal, "terminal_id", device.terminal_id)
            is_its = terminal is not None and terminal.device_id == device.device_id
            device.status = SUSPENDED if is_its else REPLACED
            device.reason = "keys wiped"
        else:
            device.status = BOUND
            device.reason = None
        return device_view(device)

    def kill(self, turn: Turn, device_id: str, reason: str) -> Json:
        """Tell a device to wipe all its keys, until it says that it has. It sells nothing from now on."""
        device = _found(turn.store, device_id)
        if device.status not in (BOUND, SUSPENDED, BLOCKED, KILLING):
            raise CommandError(f"device {device_id} is {device.status}")
        turn.store.change(device)
        device.status = KILLING
        device.reason = reason[:REASON_LENGTH]
        device.kills_sent = 0
        forget_verdicts(turn, device)
        self.send_kill(turn, device)
        return device_view(device)

    def send_kill(self, turn: Turn, device: Device) -> None:
        """Send a kill where the device was heard last, and set the timer of the next."""
        context = self._context
        turn.store.change(device)
        device.kills_sent += 1
        turn.timer((TIMER, device.device_id), turn.now + context.advice_retry)
        terminal = turn.store.find(Terminal, "terminal_id", device.terminal_id)
        if device.link is None or terminal is None or terminal.mac_key is None:
            return
        content = {"type": "kill", "terminal": device.terminal_id, "reason": device.reason or ""}
        turn.send(device.link, pack_monitoring(context.module, context.module.load(terminal.mac_key), content))

    def killed(self, turn: Turn, device: Device) -> None:
        """The device says that it has wiped its keys."""
        if device.status == KILLING:
            turn.store.change(device)
            device.status = KILLED
            turn.timer((TIMER, device.device_id), None)


def _found(store: UnitOfWork, device_id: str) -> Device:
    device = store.find(Device, "device_id", device_id)
    if device is None:
        raise CommandError(f"there is no device {device_id}")
    return device
