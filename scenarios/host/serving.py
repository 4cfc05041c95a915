"""Test hosts as processes: a party of ours with a store and a security module that live as long as the process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import structlog
from rich.console import Console

from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.live import LiveRuntime
from network.party import CommandError, Json, Party
from network.service import Address, ConfigurationError, Dialled, Listening, ServiceSettings, read_secret, run
from network.store import sqlite_url
from scenarios.host.account import account_of, print_account
from scenarios.host.acquirer import DONE, AcquirerHost
from scenarios.host.api import routes
from scenarios.host.issuer import IssuerHost
from scenarios.host.line import HOST_FRAMING, attach_line
from scenarios.host.place import Place
from scenarios.host.rules import read_rules
from scenarios.host.script import PayingCard, Script, read_script
from scenarios.host.switch import SWITCH_TABLES, SwitchHost
from scenarios.host.tables import TABLES

log = structlog.get_logger(__name__)


def serve_issuer(place: Place, rules_file: Path, listen: Address | None, dial: Address | None) -> int:
    """Serve a host in an issuer's place until SIGTERM; returns the exit code. SIGHUP reads the rules again.

    Raises
    ------
    ConfigurationError
        The rules are wrong, or it cannot listen.
    """
    rules = read_rules(rules_file)

    def make(module: SecurityModule) -> Party:
        key = zone_key(module, place)
        return IssuerHost(place.member_id, place.switch_id, module, key, rules, place.cards, dials=dial is not None)

    def prepare(runtime: LiveRuntime) -> None:
        attach_line(runtime)
        reload_on_hangup(runtime, rules_file)

    with settings(place) as made:
        return run(
            make,
            made,
            rows=TABLES,
            listen=[Listening("switch", listen, HOST_FRAMING, members=True, member=place.switch_id)]
            if listen is not None
            else [],
            dial=[Dialled("switch", dial, HOST_FRAMING, place.switch_id)] if dial is not None else [],
            routes=[routes],
            prepare=prepare,
        )


def serve_switch(place: Place, rules_file: Path, listen: Address) -> int:
    """Serve a host in the switch's place until SIGTERM; returns the exit code. SIGHUP reads the rules again.

    Raises
    ------
    ConfigurationError
        The rules are wrong, or it cannot listen.
    """
    rules = read_rules(rules_file)

    def make(module: SecurityModule) -> Party:
        keys = {member_id: zone_key(module, replace(place, zone_key=clear)) for member_id, clear in place.zones.items()}
        return SwitchHost(place.switch_id, module, keys, rules, place.cards)

    def prepare(runtime: LiveRuntime) -> None:
        attach_line(runtime)
        reload_on_hangup(runtime, rules_file)

    with settings(place) as made:
        return run(
            make,
            made,
            rows=(*TABLES, *SWITCH_TABLES),
            listen=[Listening("member", listen, HOST_FRAMING, members=True)],
            routes=[routes],
            prepare=prepare,
        )


def serve_acquirer(place: Place, script_file: Path, dial: Address, console: Console, *, as_json: bool) -> int:
    """Pay by a script from an acquirer's place, and tell what came of it.

    Returns
    -------
    int
        0 when everything came as the script expects, else 1.

    Raises
    ------
    ConfigurationError
        The script is wrong, or names a card that there is not.
    """
    script = read_script(script_file)
    hosts: list[AcquirerHost] = []

    def make(module: SecurityModule) -> Party:
        key = zone_key(module, place)
        hosts.append(
            AcquirerHost(place.member_id, place.switch_id, module, key, script, cards_to_pay_with(place, script))
        )
        return hosts[0]

    def prepare(runtime: LiveRuntime) -> None:
        runtime.attach(DONE, lambda _body, _answer: os.kill(os.getpid(), signal.SIGTERM))

    with settings(replace(place, api="127.0.0.1:0"), log_level="warning") as made:
        code = run(
            make, made, rows=TABLES, dial=[Dialled("switch", dial, HOST_FRAMING, place.switch_id)], prepare=prepare
        )
    account = account_of(hosts[0])
    if as_json:
        print(json.dumps(account, ensure_ascii=False, indent=2))  # noqa: T201 - for scripts
    else:
        print_account(account, console)
    return code or (0 if account["passed"] else 1)


def cards_to_pay_with(place: Place, script: Script) -> list[PayingCard]:
    """The network's published cards, each with the counter that its issuer has seen last, where that tells it."""
    used = {payment.card for payment in script.payment}
    cards = []
    for card in place.description.get("cards", ()):
        if card["name"] not in used:
            continue
        api = place.description[card.get("issuer", "issuer")]["api"]
        cards.append(
            PayingCard(
                name=card["name"],
                pan=card["pan"],
                expiry=card["expiry"],
                sequence=card["sequence"],
                track2=card["track2"],
                pin=card["pin"],
                imk=card["imk_ac"],
                atc=_counter(api, place.token, card["pan"]),
            )
        )
    return cards


def _counter(api: str, token: str, pan: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = httpx.get(f"{api}/cards/{pan}", headers=headers, timeout=5.0, trust_env=False)
        return int(answer.json()["highest_atc"] or 0)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return 0  # the issuer is an outside one, or a host that takes any counter


def zone_key(module: SecurityModule, place: Place) -> KeyHandle:
    """The place's zone master key inside the host's security module."""
    clear = bytes.fromhex(place.zone_key)
    return module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, clear, "host zone")


@contextlib.contextmanager
def settings(place: Place, log_level: str = "info") -> Iterator[ServiceSettings]:
    """What the process of a host needs to know: its files are gone when it ends."""
    with tempfile.TemporaryDirectory(prefix="fourparty-host-") as folder:
        key_file, token_file = Path(folder) / "host.key", Path(folder) / "operator.token"
        # nobody else can look into the folder
        key_file.write_text(secrets.token_hex(32))
        token_file.write_text(place.token or secrets.token_urlsafe(24))
        yield ServiceSettings(
            database=sqlite_url(Path(folder) / "host.db"),
            storage_key_file=key_file,
            operator_token_file=token_file,
            api=place.api,
            log_level=log_level,
            tls_ca_file=place.tls[0],
            tls_certificate_file=place.tls[1],
            tls_key_file=place.tls[2],
        )


def reload_on_hangup(runtime: LiveRuntime, rules_file: Path) -> None:
    """Have the host answer by the rules that the file holds when SIGHUP comes; wrong ones change nothing."""

    def answered(result: Json | CommandError) -> None:
        if isinstance(result, CommandError):
            log.error("rules not taken", reason=str(result))
        else:
            log.warning("rules taken", file=str(rules_file))

    def reload() -> None:
        try:
            read_rules(rules_file)
            text = rules_file.read_text()
        except (ConfigurationError, OSError) as error:
            log.error("rules not taken", reason=str(error))
        else:
            runtime.command("use_rules", {"rules": text}, answered)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def with_options(
    place: Place,
    api: str | None,
    token_file: Path | None,
    tls: tuple[Path | None, Path | None, Path | None],
) -> Place:
    """The place with what the command line says otherwise.

    Raises
    ------
    ConfigurationError
        An address is none, or the token's file cannot be read.
    """
    place = replace(place, tls=tls)
    if api is not None:
        Address.parse(api)
        place = replace(place, api=api)
    if token_file is not None:
        place = replace(place, token=read_secret(token_file))
    return place
