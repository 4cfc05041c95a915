"""What a room of the device may stand on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from merchant_device.clock import Clock
from merchant_device.configuration import Configuration
from merchant_device.endings import Endings
from merchant_device.kernels import Kernels
from merchant_device.keystore import Keystore
from merchant_device.offline import Uploads
from merchant_device.payments import Payments
from merchant_device.reversal import Reversals
from merchant_device.rooms import Room
from network.iso8583 import TerminalHeader


class Context(NamedTuple):
    """The device's own parts; `header` stands before every message to the acquirer, `endings` ends sales.

    `reversals` and `uploads` make the messages that the acquirer is still owed.
    """

    configuration: Configuration
    keystore: Keystore
    header: TerminalHeader
    clock: Clock
    kernels: Kernels
    payments: Payments
    endings: Endings
    reversals: Reversals
    uploads: Uploads


MakeRoom: TypeAlias = Callable[[Context], Room]
"""Makes a room of a device."""
