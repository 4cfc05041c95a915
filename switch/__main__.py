"""Serve the switch: ``python -m switch --config FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from network.framing import MEMBER_FRAMING
from network.service import Address, Dialled, Listening, ServiceSettings, load_settings, main, run
from switch.api import routes
from switch.configuration import Configuration
from switch.migrations import HISTORY
from switch.observation import OBSERVATION
from switch.party import Switch
from switch.service_api import service_routes
from switch.tables import TABLES


class SwitchSettings(ServiceSettings):
    """Settings of the switch's process.

    Attributes
    ----------
    member_link : str
        Address on which members are awaited.
    dial : dict
        Member id to the address at which the switch dials it; the others dial the switch.
    party : Configuration
    """

    member_link: str
    dial: Annotated[dict[str, str], Field(default_factory=dict)]
    party: Configuration = Configuration()


def serve(path: Path) -> int:
    """Serve the switch configured in the file `path` until it is told to stop; returns the exit code."""
    settings = load_settings(SwitchSettings, path)
    return run(
        lambda module: Switch(settings.party, module),
        settings,
        rows=TABLES,
        observation=OBSERVATION,
        history=HISTORY,
        listen=[Listening("member", Address.parse(settings.member_link), MEMBER_FRAMING, members=True)],
        dial=[
            Dialled(f"issuer:{member}", Address.parse(address), MEMBER_FRAMING, member)
            for member, address in settings.dial.items()
        ],
        routes=[routes, service_routes],
    )


if __name__ == "__main__":
    main("switch", serve)
