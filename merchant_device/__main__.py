"""Serve merchants' phones: ``python -m merchant_device --config FILE``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from merchant_device.api import routes
from merchant_device.configuration import Configuration
from merchant_device.party import MerchantDevice
from merchant_device.tables import TABLES, Phone
from network.framing import TERMINAL_FRAMING
from network.live import LiveRuntime
from network.rest import Routes
from network.service import Address, ServiceSettings, load_settings, main, run


class DeviceSettings(ServiceSettings):
    """Settings of the process that hosts merchants' phones.

    Attributes
    ----------
    acquirer : str
        Address of the acquirer's terminal link.
    party : Configuration
    """

    acquirer: str
    party: Configuration = Configuration()


def dial_acquirer(runtime: LiveRuntime, acquirer: Address) -> None:
    """Keep a link of its own up for every phone that is installed."""
    phones = runtime.store.tables[Phone]
    with runtime.store.read() as connection:
        installed = connection.execute(sa.select(phones.c.terminal_id).order_by(phones.c.terminal_id)).scalars().all()
    for terminal_id in installed:
        runtime.dial(f"acquirer:{terminal_id}", *acquirer, TERMINAL_FRAMING)


def serve(path: Path) -> int:
    """Serve the phones configured in the file `path` until told to stop; returns the exit code."""
    return serve_phones(load_settings(DeviceSettings, path))


def serve_phones(settings: DeviceSettings, more_routes: Sequence[Routes] = ()) -> int:
    """Serve phones, with `more_routes` on their REST interface, until told to stop; returns the exit code."""
    acquirer = Address.parse(settings.acquirer)
    return run(
        lambda module: MerchantDevice(settings.party, module),
        settings,
        rows=TABLES,
        routes=[routes, *more_routes],
        prepare=lambda runtime: dial_acquirer(runtime, acquirer),
    )


if __name__ == "__main__":
    main("merchant_device", serve)
