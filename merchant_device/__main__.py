"""Serve merchants' phones: ``python -m merchant_device --config FILE``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from merchant_device.api import routes
from merchant_device.configuration import Configuration
from merchant_device.installation import install_ca_keys
from merchant_device.migrations import HISTORY
from merchant_device.observation import OBSERVATION
from merchant_device.party import MerchantDevice
from merchant_device.tables import TABLES, Phone
from network.emv import CaKeyError, load_ca_keys
from network.framing import TERMINAL_FRAMING
from network.live import LiveRuntime
from network.rest import Routes
from network.service import Address, ConfigurationError, ServiceSettings, load_settings, main, open_tls, run
from network.store import Store
from network.tls import Tls


class DeviceSettings(ServiceSettings):
    """Settings of the process that hosts merchants' phones.

    Attributes
    ----------
    acquirer : str
        Address of the acquirer's terminal link.
    ca_keys : Path or None
        File of certification authorities' public keys (`network.emv.load_ca_keys`), for cards that approve offline.
    party : Configuration
    """

    acquirer: str
    ca_keys: Path | None = None
    party: Configuration = Configuration()


def read_ca_keys(store: Store, path: Path | None) -> None:
    """Put the keys of a file into the store, before any party uses it.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or a key in it is not what its hash says.
    """
    if path is None:
        return
    try:
        keys = load_ca_keys(path)
    except OSError as error:
        raise ConfigurationError(f"ca_keys: cannot read {path}: {error.strerror}") from error
    except CaKeyError as error:
        raise ConfigurationError(f"ca_keys: {error}") from error
    unit = store.unit_of_work()
    install_ca_keys(unit, keys.values())
    unit.commit()


def dial_acquirer(runtime: LiveRuntime, acquirer: Address, tls: Tls | None) -> None:
    """Keep a link of its own up for every phone that is installed."""
    secured = None if tls is None else tls.dials_anyone()
    phones = runtime.store.tables[Phone]
    with runtime.store.read() as connection:
        installed = connection.execute(sa.select(phones.c.terminal_id).order_by(phones.c.terminal_id)).scalars().all()
    for terminal_id in installed:
        runtime.dial(f"acquirer:{terminal_id}", *acquirer, TERMINAL_FRAMING, secured)


def serve(path: Path) -> int:
    """Serve the phones configured in the file `path` until told to stop; returns the exit code."""
    return serve_phones(load_settings(DeviceSettings, path))


def serve_phones(settings: DeviceSettings, more_routes: Sequence[Routes] = ()) -> int:
    """Serve phones, with `more_routes` on their REST interface, until told to stop; returns the exit code."""
    acquirer = Address.parse(settings.acquirer)

    def prepare(runtime: LiveRuntime) -> None:
        read_ca_keys(runtime.store, settings.ca_keys)
        dial_acquirer(runtime, acquirer, open_tls(settings))

    return run(
        lambda module: MerchantDevice(settings.party, module),
        settings,
        rows=TABLES,
        observation=OBSERVATION,
        history=HISTORY,
        routes=[routes, *more_routes],
        prepare=prepare,
    )


if __name__ == "__main__":
    main("merchant_device", serve)
