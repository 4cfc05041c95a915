"""The command line, ``fourparty``: the commands that run a network and pay on it; `scenarios.commands` adds the others.

Exit codes: 0 good; 1 a payment was not approved or a run did not work out; 2 bad arguments, configuration or files;
3 a service's store failed; 4 the books do not agree; 5 a scenario found what must not be; 98 a load run is not valid;
99 an objective was missed; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.core import TyperGroup

from network.ledger import Money
from network.metrics import own_version
from network.service import PCAP_VARIABLE, ConfigurationError, configure_logging
from scenarios.commands import dissector, host, load, migrate, proxy, reports, stack, twin
from scenarios.commands.network_folder import FOLDER_VARIABLE, RunningFolder
from scenarios.stories import SCENARIOS

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

FIRST = ("run", "load", "report", "up", "pay")
"""What a newcomer types, in this order; the other commands follow."""


class NewcomersFirst(TyperGroup):
    """The commands, in the order in which people meet them."""

    def list_commands(self, ctx):  # type: ignore[no-untyped-def]  # click is private to typer
        """Tell the names of all commands, those of `FIRST` before the others."""
        return [*FIRST, *(name for name in super().list_commands(ctx) if name not in FIRST)]


app = typer.Typer(
    name="fourparty",
    cls=NewcomersFirst,
    help="A four-party payment network to run, load and break.\n\nStart with: fourparty run street_market",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

card_app = typer.Typer(help="Demo cards.", no_args_is_help=True, rich_markup_mode=None)
reader_app = typer.Typer(help="Card readers of this machine.", no_args_is_help=True, rich_markup_mode=None)
payer_app = typer.Typer(help="Payers' phones.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(card_app, name="card")
app.add_typer(reader_app, name="reader")
app.add_typer(payer_app, name="payer")

DEFAULT_FOLDER = Path("runs/network")
DEFAULT_BASE_PORT = 7000

Folder = Annotated[
    Path,
    typer.Option("--dir", metavar="DIR", envvar=FOLDER_VARIABLE, help="Folder of the network.", file_okay=False),
]
Issuers = Annotated[
    int | None, typer.Option(min=1, max=2, help="How many issuers the network has, each with a BIN of its own (1).")
]
CardNumber = Annotated[int, typer.Option("--card", min=0, metavar="N", help="Place of the card in DIR's wallet.")]
Capture = Annotated[
    Path | None, typer.Option("--pcap", metavar="FILE", help="Write what crosses the links, for Wireshark.")
]
Secured = Annotated[bool, typer.Option("--tls", help="TLS on links and REST, certificates of a demo authority.")]
Camera = Annotated[Path, typer.Option("--camera", metavar="FILE", help="Picture that the phone's camera sees.")]


class ServiceName(StrEnum):
    """A service that `serve` runs."""

    ISSUER = "issuer"
    SWITCH = "switch"
    ACQUIRER = "acquirer"
    DEVICE = "device"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"fourparty {own_version()}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version and Python's.")
    ] = False,
) -> None:
    """See `app`, whose help this one would replace."""


@app.command(
    short_help="Start a network and keep it up.", epilog="Example: fourparty up --dir runs/network --base-port 7000"
)
def up(
    directory: Folder = DEFAULT_FOLDER,
    base_port: Annotated[int, typer.Option(min=1024, max=65500, help="First of the ports it listens on.")] = (
        DEFAULT_BASE_PORT
    ),
    issuers: Issuers = None,
    database: Annotated[
        str | None,
        typer.Option(metavar="URL", help="PostgreSQL database beside which each party gets its own (SQLite files)."),
    ] = None,
    pcap: Capture = None,
    tls: Secured = False,
    without: Annotated[
        str, typer.Option(metavar="NAMES", help="Services not to run, by commas: outside parties take their places.")
    ] = "",
    only: Annotated[str, typer.Option(metavar="NAMES", help="The only services to run, by commas.")] = "",
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="LINK=HOST:PORT", help="Where others reach a link, as through a proxy; may be repeated."),
    ] = None,
) -> None:
    """Start issuer, switch, acquirer and the phones' service on 127.0.0.1 and stay up until stopped.

    A new folder is seeded with demo data: merchants, terminals, cards, keys. DIR/network.json tells an outside
    client all that it needs. Stop with Ctrl-C or SIGTERM; start again in the same folder to go on.
    """
    from scenarios.demo_network.embedded import stay_up

    elsewhere = dict(_parse_at(one) for one in at or ())
    code = stay_up(
        directory,
        base_port,
        issuers,
        database,
        pcap,
        without=_names(without),
        only=_names(only),
        elsewhere=elsewhere,
        tls=tls,
    )
    raise typer.Exit(code)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _parse_at(text: str) -> tuple[str, str]:
    link, equals, where = text.partition("=")
    if not equals:
        raise ConfigurationError(f"--at: {text!r} is not LINK=HOST:PORT, such as member_link=127.0.0.1:7101")
    return link, where


@app.command(epilog="Example: fourparty serve issuer --config runs/network/issuer.toml")
def serve(
    service: Annotated[ServiceName, typer.Argument(help="Which service.", show_default=False)],
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file with its settings.")],
    pcap: Capture = None,
) -> None:
    """Run one service from configuration, until SIGTERM."""
    if pcap is not None:
        os.environ[PCAP_VARIABLE] = str(pcap)  # the environment has the last word on settings
    raise typer.Exit(_serve(service, config))


def _serve(service: ServiceName, config: Path) -> int:
    if service is ServiceName.ISSUER:
        from issuer.__main__ import serve as serve_issuer

        return serve_issuer(config)
    if service is ServiceName.SWITCH:
        from switch.__main__ import serve as serve_switch

        return serve_switch(config)
    if service is ServiceName.ACQUIRER:
        from acquirer.__main__ import serve as serve_acquirer

        return serve_acquirer(config)
    from scenarios.phones.counter import serve_device

    return serve_device(config)


@app.command(short_help="Make one payment, show its messages.", epilog="Example: fourparty pay --amount 12.50")
def pay(
    amount: Annotated[str, typer.Option(metavar="YUAN", help="Amount, such as 12.50.", show_default=False)],
    directory: Folder = DEFAULT_FOLDER,
    pin: Annotated[
        str | None,
        typer.Option(help="What is typed as the PIN (- asks for it); the card's own if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make one payment on the running network of DIR and show each message on each hop."""
    money = _parse_amount(amount)
    from scenarios.phones.counter import pay_once

    if pin == "-":
        pin = getpass.getpass("PIN: ")
    raise typer.Exit(pay_once(directory, money, pin, as_json=as_json))


def _parse_amount(text: str) -> Money:
    try:
        money = Money.parse(text)
    except ValueError as error:
        raise ConfigurationError(f"--amount: {error}") from error
    if not 0 < money.fen < 10**12:
        raise ConfigurationError(f"--amount: {text} is not between 0.01 and 9999999999.99")
    return money


@app.command(
    short_help="Take a payment from a card on a reader.",
    epilog="Example: fourparty tap --reader 'Virtual PCD 00 00' --amount 8.88",
)
def tap(
    amount: Annotated[str, typer.Option(metavar="YUAN", help="Amount, such as 8.88.", show_default=False)],
    reader: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A PC/SC reader (see reader list), or remote:HOST:PORT, a card server."),
    ] = None,
    directory: Folder = DEFAULT_FOLDER,
    pin: Annotated[
        str | None, typer.Option(help="What is typed where a PIN is asked for (- asks); else type it on the page.")
    ] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Record what the card says, masked.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Record it in clear, PAN and track included.")] = False,
    replay: Annotated[Path | None, typer.Option(metavar="FILE", help="Play a log in clear instead of a card.")] = None,
    terminal: Annotated[
        str | None, typer.Option(metavar="ID", help="A free terminal of DIR that is no attested phone.")
    ] = None,
    pcap: Capture = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take one payment with a phone on the running network of DIR, from a card held to a reader.

    The phone is DIR's attested one: it is made and on-boarded the first time and kept in DIR/phone.
    """
    money = _parse_amount(amount)
    if (reader is None) == (replay is None):
        raise ConfigurationError("tap: give either --reader or --replay")
    if clear and log is None:
        raise ConfigurationError("--clear: give --log too")
    if pin == "-":
        pin = getpass.getpass("PIN: ")
    if pin is not None and not (pin.isascii() and pin.isdigit() and 4 <= len(pin) <= 12):
        raise ConfigurationError("--pin: a PIN has 4 to 12 digits")
    from scenarios.phones.tapping import tap_once

    name = reader if replay is None else f"replay:{replay.resolve()}"
    code = tap_once(
        directory,
        name or "",
        money,
        pin,
        terminal=terminal,
        log=log,
        clear_log=clear,
        pcap=pcap,
        as_json=as_json,
    )
    raise typer.Exit(code)


@app.command(short_help="Show the phone that tap uses.", epilog="Example: fourparty device --dir runs/network")
def device(
    directory: Folder = DEFAULT_FOLDER,
    kill: Annotated[
        str | None, typer.Option(metavar="REASON", help="Have the acquirer tell it to wipe its keys.")
    ] = None,
    rebind: Annotated[
        bool, typer.Option("--rebind", help="Make it the same terminal again after its keys were wiped.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the attested phone of DIR that tap uses: terminal, attestation, and what it owes the acquirer."""
    if kill is not None and rebind:
        raise ConfigurationError("device: give either --kill or --rebind")
    from scenarios.phones.device_office import kill_device, rebind_device, show_device

    if kill is not None:
        kill_device(directory, kill)
    elif rebind:
        rebind_device(directory)
    show_device(directory, as_json=as_json)


@app.command(
    short_help="Keep a merchant's phone on, for an App.",
    epilog="Example: fourparty phone --device till-1 --reader remote:127.0.0.1:35970",
)
def phone(
    directory: Folder = DEFAULT_FOLDER,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A phone fresh from its maker, no terminal yet; NAME again goes on with it."),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A PC/SC reader (see reader list), or remote:HOST:PORT, a card server."),
    ] = None,
    camera: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where pictures are put before its camera.")
    ] = None,
) -> None:
    """Keep the trusted side of a merchant's phone on, for an App to use, until stopped.

    Without --device it is a free terminal of DIR already; docs/sdk.md has an App that uses it.
    """
    from scenarios.phones.merchant_phone import stay_on

    raise typer.Exit(stay_on(directory, device, reader, camera))


@payer_app.command(
    "tap",
    short_help="Hold a payer's phone to remote readers.",
    epilog="Example: fourparty payer tap --card 30 --listen 35971",
)
def payer_tap(
    directory: Folder = DEFAULT_FOLDER,
    card: CardNumber = 0,
    host: Annotated[str, typer.Option(help="Where it listens.")] = "127.0.0.1",
    listen: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Where it waits for readers.")] = 35971,
) -> None:
    """Hold a payer's phone to remote readers, until stopped; its holder confirms when asked."""
    from scenarios.phones.live_payer import tap_phone

    raise typer.Exit(tap_phone(directory, card, host=host, port=listen))


@payer_app.command("show", epilog="Example: fourparty payer show --card 30 --camera camera.png")
def payer_show(
    camera: Camera,
    directory: Folder = DEFAULT_FOLDER,
    card: CardNumber = 0,
    digits: Annotated[bool, typer.Option("--digits", help="19 digits from the issuer, not one made here.")] = False,
) -> None:
    """Show the code of a payer's phone to a merchant's camera."""
    from scenarios.phones.live_payer import show_code

    raise typer.Exit(show_code(directory, card, camera, digits=digits))


@payer_app.command(
    "scan",
    short_help="Read the code on a merchant's screen, and pay.",
    epilog="Example: fourparty payer scan --card 30 --screen http://127.0.0.1:40000/TOKEN/",
)
def payer_scan(
    screen: Annotated[str, typer.Option(metavar="URL", help="The merchant's phone's screen.", show_default=False)],
    directory: Folder = DEFAULT_FOLDER,
    card: CardNumber = 0,
    amount: Annotated[str | None, typer.Option(metavar="YUAN", help="Needed for a static code only.")] = None,
) -> None:
    """Read the code on a merchant's screen with a payer's phone, and pay it."""
    from scenarios.phones.live_payer import pay_screen

    fen = None if amount is None else _parse_amount(amount).fen
    raise typer.Exit(pay_screen(directory, card, screen, fen))


@card_app.command(
    "serve", short_help="Hold a demo card to a reader.", epilog="Example: fourparty card serve --card 5 --port 35963"
)
def card_serve(
    directory: Folder = DEFAULT_FOLDER,
    card: Annotated[int, typer.Option(min=0, metavar="N", help="Place of the card in DIR's wallet.")] = 0,
    host: Annotated[str, typer.Option(help="Where the virtual reader is.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The virtual reader's port (vsmartcard-vpcd).")] = 35963,
    listen: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="Wait here for remote readers instead.")
    ] = None,
    pull_after: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Take the card away after N commands.")
    ] = None,
    lose_answer: Annotated[
        bool, typer.Option("--lose-answer", help="The last of them is carried out, its answer lost.")
    ] = False,
    back_after: Annotated[
        float | None, typer.Option(min=0, max=3600, metavar="S", help="Hold it to the reader again after S seconds.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell every command, without its data.")] = False,
) -> None:
    """Hold a demo card of DIR to a virtual PC/SC reader, until it is taken away or the command is stopped."""
    if pull_after is None and (lose_answer or back_after is not None):
        raise ConfigurationError("--lose-answer and --back-after go with --pull-after")
    if lose_answer and pull_after == 0:
        raise ConfigurationError("--lose-answer: --pull-after 0 carries out no command whose answer could be lost")
    from scenarios.phones.card_server import Pull, serve_card

    pull = Pull(pull_after, lose_answer, back_after)
    code = serve_card(
        directory, card, host=host, port=listen or port, listens=listen is not None, pull=pull, verbose=verbose
    )
    raise typer.Exit(code)


@reader_app.command(
    "list", short_help="Tell the PC/SC readers of this machine.", epilog="Example: fourparty reader list --json"
)
def reader_list(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell the PC/SC readers of this machine and whether a card is in their field."""
    from scenarios.phones.tapping import show_readers

    raise typer.Exit(show_readers(as_json=as_json))


@app.command(epilog="Example: echo 303830308220... | fourparty decode -")
def decode(
    message: Annotated[str, typer.Argument(metavar="HEX", help="The message in hex, or - for stdin.")] = "-",
    unmask: Annotated[bool, typer.Option(help="Show PAN, track, PIN block and keys.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the dialect of a message and describe it. Spaces, colons and line ends in the hex are ignored."""
    from scenarios.decoding import decode_hex

    text = sys.stdin.read(1 << 20) if message == "-" else message
    raise typer.Exit(decode_hex(text, unmask=unmask, as_json=as_json))


@app.command(epilog="Example: fourparty run street_market --virtual --seed 7 --duration 600")
def run(
    context: typer.Context,
    scenario: Annotated[str, typer.Argument(help=f"{', '.join(SCENARIOS)}; or a Python file with one.")],
    live: Annotated[bool, typer.Option("--live/--virtual", help="Real processes and time, or simulated ones.")] = True,
    seed: Annotated[int, typer.Option(help="Of everything random in the scenario, and in a virtual world.")] = 1,
    duration: Annotated[str, typer.Option(metavar="T", help="Length of the run: 30, 30s, 5m, 2h.")] = "30s",
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for report.html and result.json.")] = None,
    directory: RunningFolder = None,
    phones: Annotated[int | None, typer.Option(min=1, max=5000, help="How many phones take part.")] = None,
    issuers: Issuers = None,
    pcap: Capture = None,
    tls: Secured = False,
    slo: Annotated[
        str | None, typer.Option("--slo", metavar="TEXT", help='What it has to reach: "p99<200ms, approved>99%".')
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What turns cost in virtual time, from fourparty calibrate.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a scenario and report on it.

    Live runs start issuer, switch and acquirer as processes of their own and host the phones and cards here.
    """
    from scenarios.running import run_scenario
    from scenarios.spans import seconds_of

    source = context.get_parameter_source("directory")
    if not live and source is not None and source.name == "ENVIRONMENT":
        directory = None  # it says where the running network is, not that this run must use it
    code = run_scenario(
        scenario,
        live=live,
        seed=seed,
        duration=seconds_of("--duration", duration),
        report_to=report,
        directory=directory,
        phones=phones,
        issuers=issuers,
        pcap=pcap,
        tls=tls,
        slo=slo,
        calibration=calibration,
        as_json=as_json,
    )
    raise typer.Exit(code)


load.register(app)
migrate.register(app)
dissector.register(app)
proxy.register(app)
stack.register(app)
host.register(app)
reports.register(app)
twin.register(app)


def main() -> NoReturn:
    """Run the command line; every expected error is one line on stderr."""
    # what phones in this process note must not come among the JSON that a command prints
    configure_logging("warning")
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            _fail("stopped", INTERRUPTED)
    except (typer.Abort, KeyboardInterrupt):
        _fail("stopped", INTERRUPTED)
    except ConfigurationError as error:
        _fail(str(error), 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        # typer brings click along under a private name; what its errors have in common is how they tell themselves
        told = getattr(error, "format_message", None)
        if told is not None:
            context = getattr(error, "ctx", None)
            if context is None:
                _fail(" ".join(told().split()), 2)
            if told() == context.get_help():  # a group alone was typed: its help is the answer, not an error's reason
                print(told(), file=sys.stderr)  # noqa: T201 - the command line speaks to people
                sys.exit(2)
            _fail(" ".join(told().split()).rstrip(".") + f" (see {context.command_path} --help)", 2)
        from scenarios.demo_network.processes import NetworkError

        if isinstance(error, NetworkError):
            _fail(str(error), 1)
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _fail(reason: str, code: int) -> NoReturn:
    print(f"fourparty: {reason}", file=sys.stderr)  # noqa: T201 - the command line speaks to people
    sys.exit(code)


def print_json(content: object) -> None:
    """Print JSON for scripts."""
    print(json.dumps(content, ensure_ascii=False, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
