"""Serve an issuer: ``python -m issuer --config FILE``."""

from __future__ import annotations

from pathlib import Path

from issuer.api import routes
from issuer.configuration import Configuration
from issuer.migrations import HISTORY
from issuer.observation import OBSERVATION
from issuer.party import Issuer
from issuer.tables import TABLES
from issuer.wallet_api import token_routes, wallet_routes
from network.framing import MEMBER_FRAMING
from network.service import Address, Dialled, Listening, ServiceSettings, load_settings, main, run


class IssuerSettings(ServiceSettings):
    """Settings of the issuer's process.

    Attributes
    ----------
    member_link : str or None
        Address on which the switch is awaited.
    switch : str or None
        Address of the switch, where this issuer dials it.
    party : Configuration
    """

    member_link: str | None = None
    switch: str | None = None
    party: Configuration = Configuration()


def serve(path: Path) -> int:
    """Serve the issuer configured in the file `path` until it is told to stop; returns the exit code."""
    settings = load_settings(IssuerSettings, path)
    listen: list[Listening] = []
    dial: list[Dialled] = []
    switch_id = settings.party.switch_id
    if settings.member_link:
        address = Address.parse(settings.member_link)
        listen.append(Listening("switch", address, MEMBER_FRAMING, members=True, member=switch_id))
    if settings.switch:
        dial.append(Dialled("switch", Address.parse(settings.switch), MEMBER_FRAMING, switch_id))
    return run(
        lambda module: Issuer(settings.party, module),
        settings,
        rows=TABLES,
        observation=OBSERVATION,
        history=HISTORY,
        listen=listen,
        dial=dial,
        routes=[routes, token_routes, wallet_routes],
    )


if __name__ == "__main__":
    main("issuer", serve)
