"""``fourparty migrate``: bring a service's database up to date, once, before the service starts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Migrated(StrEnum):
    """Whose database it is."""

    ISSUER = "issuer"
    SWITCH = "switch"
    ACQUIRER = "acquirer"
    DEVICE = "device"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        short_help="Bring a service's database to this version.",
        epilog="Example: fourparty migrate issuer --config runs/network/issuer.toml",
    )(migrate)


def migrate(
    service: Annotated[Migrated, typer.Argument(help="Whose database; device also for a phone's trusted side.")],
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file with the service's settings.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring the database of a service to the tables of this version; an empty one gets them all.

    Services that are set to migrate = false need this first. It waits for the database as the service would, changes
    all or nothing, and does no harm when it is run again or twice at once.
    """
    from network.migrating import migrate as bring_up_to_date
    from network.service import configure_logging
    from network.settings import ConfigurationError, DatabaseSettings, database_url, load_settings
    from network.store import StoreError, StoreUnavailable
    from network.waiting import wait_for
    from scenarios.cli import print_json
    from scenarios.demo_network import demo

    party = "merchant_device" if service is Migrated.DEVICE else service.value
    settings = load_settings(DatabaseSettings, config)
    configure_logging(settings.log_level)
    url = database_url(settings)
    rows, history = demo.ROWS[party], demo.HISTORIES[party]
    try:
        done = wait_for(
            "the database", lambda: bring_up_to_date(url, rows, history), settings.wait_seconds, StoreUnavailable
        )
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    if as_json:
        print_json({"service": service.value, "before": done.before, "after": done.after, "changed": done.changed})
    else:
        before = done.before or "no revision"
        typer.echo(f"{service.value}: {before} -> {done.after}" if done.changed else f"{service.value}: {done.after}")
