"""The merchant device's rows of its phones as devices: their secure elements, and how far they are attested.

A device is what a maker made; a `merchant_device.tables.Phone` is the terminal that it may be.
"""

from __future__ import annotations

from typing import Final

from network.party import Instant
from network.store import Row, table

MADE: Final = "made"
BOUND: Final = "bound"
LEAVING: Final = "leaving"
WIPED: Final = "wiped"
"""States of a secure element: no terminal's, a terminal's, without keys while the acquirer is still to be told, and
without keys when it has been told, or there was nobody to be told."""

IDLE: Final = "idle"
ASKED: Final = "asked"
SHOWN: Final = "shown"
"""Steps of an attestation: none is under way; a challenge was asked for; evidence was shown."""


@table(
    "secure_element",
    key="device_id",
    indexed=("status=leaving",),
    mutable=("device_key", "state", "status", "terminal_id", "farewell", "noted", "tries"),
    cached=True,
)
class SecureElement(Row):
    """The secure element of a device.

    Attributes
    ----------
    device_id, model : str
        As the maker has made it.
    attestation_key : str
        The maker's key for this device, a key block; it survives a wipe, since it proves what the device is.
    chain : str
        Its certificates, base64 of DER, separated by spaces; its own first.
    device_key : str or None
        The key that the acquirer knows the device by, a key block; None until it is attested, and after a wipe.
    state : str
        What the device would attest of itself (`merchant_device.secure_element.write_state`).
    status : str
        `MADE`, `BOUND`, `LEAVING` or `WIPED`.
    terminal_id : str or None
        The terminal that it is or was.
    farewell : bytes or None
        The alarm, or the answer to a kill: a body of the monitoring link with the MAC of the key that was wiped. It
        stays when the acquirer has it, for one that asks again.
    noted : bytes or None
        What the acquirer answers to it, made with the same key, since afterwards nothing else could tell it from a
        forgery; None where the acquirer has answered.
    tries : int
        How often the farewell was sent.
    """

    device_id: str
    model: str
    attestation_key: str
    chain: str
    device_key: str | None
    state: str
    status: str
    terminal_id: str | None = None
    farewell: bytes | None = None
    noted: bytes | None = None
    tries: int = 0


@table(
    "attestation",
    key="subject",
    mutable=("step", "challenge", "tries", "deadline", "shown_at", "until"),
    cached=True,
)
class Attestation(Row):
    """How far a terminal's device is attested for one purpose.

    Attributes
    ----------
    subject : str
        `attestation_subject`.
    step : str
        `IDLE`, `ASKED` or `SHOWN`.
    challenge : bytes or None
        That of the evidence that was shown last.
    tries : int
        How often the acquirer was asked since the last verdict.
    deadline, shown_at, until : Instant
        Until when its answer is waited for, when evidence was shown, and until when the last good verdict counts.
    """

    subject: str
    step: str
    challenge: bytes | None
    tries: int
    deadline: Instant
    shown_at: Instant
    until: Instant


def attestation_subject(terminal_id: str, purpose: str) -> str:
    """The key of an attestation's row."""
    return f"{terminal_id}|{purpose}"


DEVICE_TABLES: Final[tuple[type[Row], ...]] = (SecureElement, Attestation)
