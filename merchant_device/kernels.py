"""The phones' kernels: made of the configuration, and of what was downloaded into rows: keys, limits, stopped cards.

What was downloaded is read when the process starts and again when a turn has changed it. Terminals share a kernel
unless limits were downloaded for one of them. Where no card is stopped a kernel looks none up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from merchant_device.configuration import Configuration
from merchant_device.kernel import ApplicationParameters, Kernel, KernelConfiguration
from merchant_device.tables import IN_FORCE, CaKey, HotCards, Parameter
from network.emv.ca_keys import CaKeyError, CaPublicKey, parse_ca_key
from network.hot_cards import MOST_PAGES, HotListError, hot_list
from network.store import UnitOfWork

CA_KEY_LIMIT: Final = 1_000
"""Keys of certification authorities that are read; all networks together have a few dozen."""

PARAMETER_LIMIT: Final = 100_000
"""Parameters that are read: a few for each phone of the largest device."""


class OfTerminal(NamedTuple):
    """The kernels of a terminal.

    Attributes
    ----------
    sale : Kernel
    online : Kernel
        That of sales which the card may not approve by itself.
    balance : Kernel
        That of balance enquiries, which have a PIN whatever their amount, which is zero.
    """

    sale: Kernel
    online: Kernel
    balance: Kernel


class Kernels:
    """Gives each terminal its kernel.

    Parameters
    ----------
    configuration : Configuration
    """

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = KernelConfiguration(
            cvm_limit=configuration.pin_free_limit,
            online_pin_always=configuration.pin_always,
            interface_device_serial=configuration.serial,
            offline=configuration.offline,
            fdda=configuration.fdda,
            contactless_limit=configuration.contactless_limit,
            floor_limit=configuration.floor_limit,
        )
        self._revoked = frozenset(
            (bytes.fromhex(one[:10]), int(one[10:12], 16), bytes.fromhex(one[12:]))
            for one in configuration.revoked_certificates
        )
        self._shared: OfTerminal | None = None
        self._own: dict[str, OfTerminal] = {}

    def of(self, store: UnitOfWork, terminal_id: str) -> OfTerminal:
        """The kernels of a terminal."""
        shared = self._shared
        if shared is None:
            shared = self._load(store)
        return self._own.get(terminal_id, shared) if self._own else shared

    def start(self, store: UnitOfWork) -> None:
        """Read what was downloaded.

        Raises
        ------
        LookupError
            A key in the store is damaged, or the list of stopped cards.
        """
        self._load(store)

    def changed(self) -> None:
        """Rows of what is downloaded were written, or a turn that wrote them was not committed: read them again."""
        self._shared = None

    def _load(self, store: UnitOfWork) -> OfTerminal:
        ca_keys: dict[tuple[bytes, int], CaPublicKey] = {}
        for row in store.scan(CaKey, "status", IN_FORCE, CA_KEY_LIMIT):
            try:
                key = parse_ca_key(row.data)
            except CaKeyError as error:
                raise LookupError(f"CA key {row.identifier} in the store is damaged: {error}") from error
            ca_keys[key.rid, key.index] = key
        is_hot = _stopped_cards(store)
        of_terminals: dict[str, list[Parameter]] = {}
        for parameter in store.scan(Parameter, "status", IN_FORCE, PARAMETER_LIMIT):
            of_terminals.setdefault(parameter.terminal_id, []).append(parameter)
        self._own = {
            terminal_id: self._kernels(_with_limits(self._configuration, parameters), ca_keys, is_hot)
            for terminal_id, parameters in of_terminals.items()
        }
        self._shared = shared = self._kernels(self._configuration, ca_keys, is_hot)
        return shared

    def _kernels(
        self,
        configuration: KernelConfiguration,
        ca_keys: dict[tuple[bytes, int], CaPublicKey],
        is_hot: Callable[[str], bool] | None,
    ) -> OfTerminal:
        revoked = self._revoked
        sale = Kernel(configuration, ca_keys, revoked, is_hot)
        online = replace(configuration, offline=False)
        return OfTerminal(
            sale,
            Kernel(online, ca_keys, revoked, is_hot) if configuration.offline else sale,
            Kernel(replace(online, online_pin_always=True), ca_keys, revoked, is_hot),
        )


def _stopped_cards(store: UnitOfWork) -> Callable[[str], bool] | None:
    """Tells of a card number whether it is on the list that was downloaded; None where that is empty."""
    pages = store.scan(HotCards, "status", IN_FORCE, MOST_PAGES)
    try:
        return hot_list([(page.salt, page.digests) for page in pages])
    except HotListError as error:
        raise LookupError(f"the list of stopped cards in the store is damaged: {error}") from error


def _with_limits(configuration: KernelConfiguration, parameters: Iterable[Parameter]) -> KernelConfiguration:
    """The configuration with the limits of one terminal in it; what is None stays as configured."""
    of_applications = []
    for parameter in parameters:
        limits = {
            name: limit
            for name in ("floor_limit", "contactless_limit", "cvm_limit")
            if (limit := getattr(parameter, name)) is not None
        }
        if parameter.application:
            of_applications.append(ApplicationParameters(bytes.fromhex(parameter.application), **limits))
        else:
            configuration = replace(configuration, **limits)
    return replace(configuration, parameters=tuple(of_applications))
