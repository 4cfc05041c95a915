"""``fourparty dissector``: write the Wireshark dissector of the links."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from network.service import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        short_help="Write the dissector for Wireshark and tshark.",
        epilog="Example: fourparty dissector --output ~/.local/lib/wireshark/plugins/fourparty.lua",
    )(dissector)


def dissector(
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Where to write it; stdout if not given.")
    ] = None,
) -> None:
    """Write the dissector that teaches Wireshark and tshark the links: a program in Lua."""
    from scenarios.dissector import dissector as made

    program = made()
    if output is None:
        typer.echo(program, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(program, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {output}: {error.strerror}") from error
