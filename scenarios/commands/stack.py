"""``fourparty stack``: the jobs that prepare the network of ``compose.yaml``, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder with a folder for each service.")]
Secured = Annotated[bool, typer.Option("--tls", help="TLS on links and REST, certificates of a demo authority.")]
Server = Annotated[str, typer.Option("--server", metavar="HOST:PORT", help="Where PostgreSQL listens.")]

_ROOT = Path("/stack")
_SERVER = "postgres:5432"


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    group = typer.Typer(
        help="Jobs that prepare the network of compose.yaml.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command(short_help="Make the secrets that are missing.", epilog="Example: fourparty stack keys --dir /stack")(
        keys
    )
    group.command(
        short_help="Make the databases and users that are missing.",
        epilog="Example: fourparty stack databases --server postgres:5432",
    )(databases)
    group.command(
        short_help="Fill the databases with demo data, once.",
        epilog="Example: fourparty stack seed --server postgres:5432",
    )(seed)
    app.add_typer(group, name="stack")


def keys(directory: Root = _ROOT, tls: Secured = False) -> None:
    """Make the secrets that are missing: storage keys, passwords, the operator's token, with --tls certificates."""
    from scenarios.demo_network.stack import make_keys

    make_keys(directory, tls=tls)


def databases(directory: Root = _ROOT, server: Server = _SERVER) -> None:
    """Make each party's database and its user where they are missing, with the tables of this version."""
    from scenarios.demo_network.stack import make_databases

    make_databases(directory, server)


def seed(directory: Root = _ROOT, server: Server = _SERVER, tls: Secured = False) -> None:
    """Fill the databases with demo data, once, and write what services and outsiders need to know."""
    from scenarios.demo_network.stack import seed as seed_stack

    seed_stack(directory, server, tls=tls)
