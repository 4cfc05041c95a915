"""Serve an acquirer: ``python -m acquirer --config FILE``."""

from __future__ import annotations

from pathlib import Path

from acquirer.api import routes
from acquirer.configuration import Configuration
from acquirer.migrations import HISTORY
from acquirer.observation import OBSERVATION
from acquirer.onboarding_api import applicant_routes, device_routes
from acquirer.party import Acquirer
from acquirer.tables import TABLES
from network.attestation.monitoring_link import MONITORING_FRAMING
from network.framing import MEMBER_FRAMING, TERMINAL_FRAMING
from network.service import Address, Dialled, Listening, ServiceSettings, load_settings, main, run


class AcquirerSettings(ServiceSettings):
    """Settings of the acquirer's process.

    Attributes
    ----------
    terminal_link : str
        Address on which terminals are awaited.
    monitoring_link : str or None
        Address on which phones are awaited to attest themselves; None where only conventional terminals are served.
    switch : str
        Address of the switch's member link.
    party : Configuration
    """

    terminal_link: str
    monitoring_link: str | None = None
    switch: str
    party: Configuration = Configuration()


def serve(path: Path) -> int:
    """Serve the acquirer configured in the file `path` until it is told to stop; returns the exit code."""
    settings = load_settings(AcquirerSettings, path)
    listen = [Listening("terminal", Address.parse(settings.terminal_link), TERMINAL_FRAMING)]
    if settings.monitoring_link is not None:
        listen.append(Listening("monitor", Address.parse(settings.monitoring_link), MONITORING_FRAMING))
    return run(
        lambda module: Acquirer(settings.party, module),
        settings,
        rows=TABLES,
        observation=OBSERVATION,
        history=HISTORY,
        listen=listen,
        dial=[Dialled("switch", Address.parse(settings.switch), MEMBER_FRAMING, settings.party.switch_id)],
        routes=[routes, applicant_routes, device_routes],
    )


if __name__ == "__main__":
    main("acquirer", serve)
