"""``fourparty host``: a test host in the place of one party."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from network.service import Address, ConfigurationError

if TYPE_CHECKING:
    from scenarios.host.place import Place

host_app = typer.Typer(
    help="Test hosts in one party's place: they answer by rules, or pay.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RulesFile = Annotated[Path, typer.Option("--rules", metavar="FILE", help="TOML file with the rules.")]
Network = Annotated[
    Path | None,
    typer.Option("--network", metavar="DIR", help="Folder of the network whose party it replaces.", show_default=False),
]
Listen = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where it awaits the other side.")]
Dial = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where it dials the other side instead.")]
MemberId = Annotated[str, typer.Option("--id", metavar="ID", help="Its id, without --network.")]
SwitchId = Annotated[str, typer.Option("--switch-id", metavar="ID", help="The switch's id, without --network.")]
ZoneKey = Annotated[
    Path | None,
    typer.Option("--zone-key-file", metavar="FILE", help="Hex file with the zone master key, without --network."),
]
Api = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where its REST interface is.")]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="The token that REST callers show; the network's.")
]

PemFile = Annotated[Path | None, typer.Option(metavar="FILE", help="PEM file, where links and REST have TLS.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(host_app, name="host")


@host_app.command(epilog="Example: fourparty host issuer --rules rules.toml --network runs/network")
def issuer(
    rules: RulesFile,
    network: Network = None,
    party: Annotated[str, typer.Option("--as", metavar="NAME", help="Which of the network's issuers.")] = "issuer",
    listen: Listen = None,
    dial: Dial = None,
    member_id: MemberId = "",
    switch_id: SwitchId = "",
    zone_key_file: ZoneKey = None,
    api: Api = None,
    token_file: TokenFile = None,
    tls_ca: PemFile = None,
    tls_certificate: PemFile = None,
    tls_key: PemFile = None,
) -> None:
    """Take an issuer's place and answer by rules, until stopped.

    It signs on, takes working keys, checks and makes MACs, checks PINs and cryptograms of the cards that it knows.
    SIGHUP reads the rules again; REST tells how often each decided.
    """
    from scenarios.host.serving import serve_issuer, with_options

    tls = (tls_ca, tls_certificate, tls_key)
    place = with_options(_place(network, party, member_id, switch_id, zone_key_file), api, token_file, tls)
    if listen is not None and dial is not None:
        raise ConfigurationError("host: give either --listen or --dial")
    if listen is None and dial is None and place.link is None:
        raise ConfigurationError("host: give --listen or --dial")
    listening = Address.parse(listen) if listen is not None else (None if dial is not None else place.link)
    raise typer.Exit(serve_issuer(place, rules, listening, Address.parse(dial) if dial is not None else None))


@host_app.command(
    short_help="Take the switch's place and answer by rules.",
    epilog="Example: fourparty host switch --rules rules.toml --network runs/network",
)
def switch(
    rules: RulesFile,
    network: Network = None,
    listen: Listen = None,
    member_id: MemberId = "",
    switch_id: SwitchId = "",
    zone_key_file: ZoneKey = None,
    api: Api = None,
    token_file: TokenFile = None,
    tls_ca: PemFile = None,
    tls_certificate: PemFile = None,
    tls_key: PemFile = None,
) -> None:
    """Take the switch's place and answer an acquirer's requests by rules, until stopped: no issuer is needed.

    Without --network, --id is the one member that may sign on.
    """
    from dataclasses import replace

    from scenarios.host.serving import serve_switch, with_options

    tls = (tls_ca, tls_certificate, tls_key)
    place = with_options(_place(network, "switch", member_id, switch_id, zone_key_file), api, token_file, tls)
    if not place.zones:
        place = replace(place, zones={place.member_id: place.zone_key})
    address = Address.parse(listen) if listen is not None else place.link
    if address is None:
        raise ConfigurationError("host: give --listen")
    raise typer.Exit(serve_switch(place, rules, address))


@host_app.command(
    short_help="Take an acquirer's place and pay by a script.",
    epilog="Example: fourparty host acquirer --script payments.toml --network runs/network",
)
def acquirer(
    script: Annotated[Path, typer.Option("--script", metavar="FILE", help="TOML file with the payments.")],
    network: Network = None,
    dial: Dial = None,
    member_id: MemberId = "",
    switch_id: SwitchId = "",
    zone_key_file: ZoneKey = None,
    tls_ca: PemFile = None,
    tls_certificate: PemFile = None,
    tls_key: PemFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take an acquirer's place, pay by a script and compare the answers with what it expects.

    Exit code 0: everything came as expected; 1: something did not.
    """
    from rich.console import Console

    from scenarios.host.serving import serve_acquirer, with_options

    tls = (tls_ca, tls_certificate, tls_key)
    place = with_options(_place(network, "acquirer", member_id, switch_id, zone_key_file), None, None, tls)
    address = Address.parse(dial) if dial is not None else place.link
    if address is None:
        raise ConfigurationError("host: give --dial, the switch's address")
    raise typer.Exit(serve_acquirer(place, script, address, Console(highlight=False), as_json=as_json))


def _place(network: Path | None, party: str, member_id: str, switch_id: str, zone_key_file: Path | None) -> Place:
    from scenarios.host.place import place_in, place_of

    if network is not None:
        if member_id or switch_id or zone_key_file is not None:
            raise ConfigurationError("--network: it tells ids and key; leave out --id, --switch-id, --zone-key-file")
        return place_in(network, party)
    if zone_key_file is None:
        raise ConfigurationError("host: give --network, or --id, --switch-id and --zone-key-file")
    return place_of(member_id, switch_id, zone_key_file)
