"""The device's secure element: who it is, the keys that never leave it, and what it attests.

A maker puts an attestation key and its certificates into it (`manufacture`). The device key is made in it when the
device is attested for the first time, or anew after a wipe; the acquirer binds a terminal to that key and wraps the
terminal master key for it alone. All keys are blocks under the security module's storage key, of one usage each, and
none can be exported.

Commands, each with an argument ``device``:

- ``attest``: ``challenge`` (16 to 64 bytes, hexadecimal); gives ``chain`` (the device key's certificates, base64 of
  DER, leaf first), ``signature`` (base64, by the device key over challenge and leaf) and ``signals`` (empty: a device
  that has seen any has wiped its key since).
- ``install``: ``terminal``, ``merchant``, ``wrapped_tmk`` (hexadecimal, as the acquirer's binding gives it) and, as it
  may, ``place``; the device is that terminal from now on. Gives ``links``: what the host must connect. A terminal whose
  phone was wiped, suspended or replaced is installed anew by the same command.
- ``place``: ``place``, where the phone's positioning says it is; shown with the evidence from now on.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Final

from merchant_device.context import Context
from merchant_device.device_tables import BOUND, LEAVING, MADE, WIPED, SecureElement
from merchant_device.installation import install_terminal, reinstall_terminal
from merchant_device.maker import DeviceState, MadeDevice, Maker, attest, chain_text
from merchant_device.rooms import Room
from merchant_device.tables import Phone
from merchant_device.terminal import Phase, Terminal
from network.attestation import SecurityLevel, VerifiedBootState
from network.keys import KeyHandle, SecurityModule, SecurityModuleError
from network.keys.elliptic_operations import EcKey
from network.party import Command, CommandError, Instant, Json, Turn
from network.store import UnitOfWork

_CHALLENGE: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){16,64}", re.ASCII)
_ENVELOPE: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){1,2048}", re.ASCII)
_PLACE: Final = re.compile(r"[+-]\d{1,2}(?:\.\d{1,6})?,[+-]\d{1,3}(?:\.\d{1,6})?", re.ASCII)


def manufacture(
    store: UnitOfWork,
    module: SecurityModule,
    maker: Maker,
    device_id: str,
    state: DeviceState,
    now: Instant,
) -> SecureElement:
    """Make a phone whose secure element is `module`'s part of it; the caller commits.

    Parameters
    ----------
    store : UnitOfWork
        Of the merchant device.
    module : SecurityModule
        The merchant device's own.
    maker : Maker
        Has a module of its own.
    device_id : str
        Serial number, 1 to 40 printable ASCII characters.
    state : DeviceState
        What the phone is like: its model, boot state, patch levels, App. A faulty one makes a faulty phone.
    now : Instant

    Raises
    ------
    ValueError
        The device id is malformed, or there is such a device already.
    """
    if store.find(SecureElement, "device_id", device_id) is not None:
        raise ValueError(f"device {device_id} was made already")
    made = maker.manufacture(device_id, state.model, now, module)
    chain = " ".join(chain_text(made.chain))
    element = SecureElement(device_id, made.model, made.attestation_key.block, chain, None, write_state(state), MADE)
    store.insert(element)
    return element


def evidence(
    module: SecurityModule, element: SecureElement, challenge: bytes, now: Instant, *, fresh: bool
) -> dict[str, Json]:
    """What proves what the device is: ``chain`` and ``signature``, as docs/protocol.md has them.

    Parameters
    ----------
    module : SecurityModule
    element : SecureElement
        It must have a device key.
    challenge : bytes
        What the acquirer gave.
    now : Instant
    fresh : bool
        Attest a key made for this once, as the monitoring link wants it; else the device key itself.
    """
    device_key = _device_key(module, element)
    attested = module.generate_ec("fresh") if fresh else device_key
    certificates = tuple(base64.b64decode(one) for one in element.chain.split())
    made = MadeDevice(element.device_id, element.model, module.load_ec(element.attestation_key), certificates)
    chain = attest(module, made, read_state(element.state), attested.public_key, challenge, now)
    if fresh:
        module.forget(attested.block)
    signature = module.sign_ec(device_key, challenge + chain[0])
    return {"chain": chain_text(chain), "signature": base64.b64encode(signature).decode("ascii")}


def write_state(state: DeviceState) -> str:
    """A device's state as its row has it: a JSON object."""
    return json.dumps(
        {
            name: value.hex() if isinstance(value := getattr(state, name), bytes) else value
            for name in DeviceState.__dataclass_fields__
        }
    )


def read_state(text: str) -> DeviceState:
    """What `write_state` wrote."""
    values = json.loads(text)
    for name in ("signature_digest", "verified_boot_key", "verified_boot_hash"):
        values[name] = bytes.fromhex(values[name])
    values["verified_boot_state"] = VerifiedBootState(values["verified_boot_state"])
    values["security_level"] = SecurityLevel(values["security_level"])
    return DeviceState(**values)


def device_of(store: UnitOfWork, command: Command) -> SecureElement:
    """The device that a command names.

    Raises
    ------
    CommandError
        There is none.
    """
    named = command.arguments.get("device")
    element = store.find(SecureElement, "device_id", named) if isinstance(named, str) else None
    if element is None:
        raise CommandError("device: there is no such device")
    return element


class SecureElements(Room):
    """Takes the commands by which a device becomes a terminal.

    Parameters
    ----------
    context : Context
    """

    device_commands = ("attest", "install", "place")

    def __init__(self, context: Context) -> None:
        self._module = context.keystore.module

    def terminal_of(self, turn: Turn, command: Command) -> str | None:
        """See `Room`: the one that is to be installed, or that the device is."""
        if command.name == "place":
            named = command.arguments.get("device")
            element = turn.store.find(SecureElement, "device_id", named) if isinstance(named, str) else None
            return None if element is None else element.terminal_id
        wanted = command.arguments.get("terminal") if command.name == "install" else None
        return wanted if isinstance(wanted, str) else None

    def device_command(self, turn: Turn, command: Command, terminal: Terminal | None, phone: Phone | None) -> None:
        """See `Room`."""
        try:
            element = device_of(turn.store, command)
            if command.name == "attest":
                result = self._attest(turn, element, command.arguments)
            elif command.name == "place":
                result = _move(turn, element, command.arguments.get("place"), phone)
            else:
                result = self._install(turn, element, command.arguments, terminal, phone)
        except CommandError as error:
            turn.answer(command.ticket, error)
        else:
            turn.answer(command.ticket, result)

    def _attest(self, turn: Turn, element: SecureElement, arguments: Mapping[str, Json]) -> Json:
        challenge = arguments.get("challenge")
        if not isinstance(challenge, str) or _CHALLENGE.fullmatch(challenge) is None:
            raise CommandError("challenge: 16 to 64 bytes in hexadecimal digits")
        if element.device_key is None:
            turn.store.change(element)
            element.device_key = self._module.generate_ec("device").block
        shown = evidence(self._module, element, bytes.fromhex(challenge), turn.now, fresh=False)
        return {"device": element.device_id, "model": element.model, **shown, "signals": []}

    def _install(
        self,
        turn: Turn,
        element: SecureElement,
        arguments: Mapping[str, Json],
        terminal: Terminal | None,
        phone: Phone | None,
    ) -> Json:
        terminal_id, merchant_id = arguments.get("terminal"), arguments.get("merchant")
        if not isinstance(terminal_id, str) or not isinstance(merchant_id, str):
            raise CommandError("terminal, merchant: text is needed")
        given = arguments.get("place")
        place = None if given is None else _checked_place(given)
        if element.status == BOUND and element.terminal_id != terminal_id:
            raise CommandError(f"device {element.device_id} is terminal {element.terminal_id}")
        tmk = self._open(element, arguments.get("wrapped_tmk"))
        try:
            if terminal is None or phone is None:
                phone = install_terminal(turn.store, self._module, terminal_id, merchant_id, tmk)
            else:
                _check_free(terminal, phone)
                reinstall_terminal(turn.store, self._module, phone, merchant_id, tmk)
                _take_over(turn.store, element, phone)
                terminal.close()
                terminal.sign_on_at = turn.now
        except ValueError as error:
            raise CommandError(str(error)) from None
        turn.store.change(phone)
        phone.device_id, phone.place = element.device_id, place
        turn.store.change(element)
        element.status, element.terminal_id = BOUND, terminal_id
        # the acquirer has bound it anew: whatever the phone told it before is settled, or the phone tells it itself
        element.farewell = element.noted = None
        return {
            "device": element.device_id,
            "terminal": terminal_id,
            "merchant": merchant_id,
            "links": [f"acquirer:{terminal_id}", f"monitor:{terminal_id}"],
        }

    def _open(self, element: SecureElement, wrapped: Json) -> KeyHandle:
        if element.device_key is None:
            raise CommandError(f"device {element.device_id} has no key: attest it first")
        if not isinstance(wrapped, str) or _ENVELOPE.fullmatch(wrapped) is None:
            raise CommandError("wrapped_tmk: an envelope in hexadecimal digits")
        try:
            return self._module.open_envelope(_device_key(self._module, element), bytes.fromhex(wrapped))
        except SecurityModuleError as error:
            raise CommandError(f"wrapped_tmk: {error}") from None


def _move(turn: Turn, element: SecureElement, place: Json, phone: Phone | None) -> Json:
    if phone is None:
        raise CommandError(f"device {element.device_id} is no terminal yet")
    checked = _checked_place(place)
    turn.store.change(phone)
    phone.place = checked
    return {"device": element.device_id, "place": checked}


def _checked_place(place: Json) -> str:
    if not isinstance(place, str) or _PLACE.fullmatch(place) is None:
        raise CommandError("place: latitude and longitude in degrees, as +31.2304,+121.4737")
    return place


def _check_free(terminal: Terminal, phone: Phone) -> None:
    """A terminal may be given new keys only between its payments, and only if it is a device's."""
    if phone.device_id is None:
        raise CommandError(f"terminal {phone.terminal_id} is a conventional terminal")
    if terminal.phase is not Phase.IDLE:
        raise CommandError(f"terminal {phone.terminal_id} is busy: {terminal.phase.value}")


def _take_over(store: UnitOfWork, element: SecureElement, phone: Phone) -> None:
    """The device that was the terminal before is none any more."""
    before = None if phone.device_id is None else store.find(SecureElement, "device_id", phone.device_id)
    if before is None or before is element:
        return
    store.change(before)
    before.terminal_id = before.farewell = before.noted = None
    before.status = WIPED if before.status == LEAVING else MADE


def _device_key(module: SecurityModule, element: SecureElement) -> EcKey:
    if element.device_key is None:
        raise LookupError(f"device {element.device_id} has no device key")
    return module.load_ec(element.device_key)
