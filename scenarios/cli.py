"""The command line: ``fourparty up | serve | pay | decode | run``.

Exit codes: 0 good; 1 a payment was not approved or a run did not work out; 2 bad arguments, configuration or files;
3 a service's store failed; 4 the books do not agree.
"""

from __future__ import annotations

import getpass
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from network.ledger import Money
from network.service import ConfigurationError

app = typer.Typer(
    name="fourparty",
    help="A four-party payment network to run, load and break.\n\nStart with: fourparty run street_market",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_FOLDER = Path("runs/network")
DEFAULT_BASE_PORT = 7000

Folder = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder of the network.", file_okay=False)]


class ServiceName(StrEnum):
    """A service that `serve` runs."""

    ISSUER = "issuer"
    SWITCH = "switch"
    ACQUIRER = "acquirer"
    DEVICE = "device"


@app.command(epilog="Example: fourparty up --dir runs/network --base-port 7000")
def up(
    directory: Folder = DEFAULT_FOLDER,
    base_port: Annotated[int, typer.Option(min=1024, max=65500, help="First of the ports it listens on.")] = (
        DEFAULT_BASE_PORT
    ),
) -> None:
    """Start issuer, switch, acquirer and the phones' service on 127.0.0.1 and stay up until stopped.

    A new folder is seeded with demo data: merchants, terminals, cards, keys. DIR/network.json tells an outside
    client all that it needs. Stop with Ctrl-C or SIGTERM; start again in the same folder to go on.
    """
    from scenarios.embedded import stay_up

    raise typer.Exit(stay_up(directory, base_port))


@app.command(epilog="Example: fourparty serve issuer --config runs/network/issuer.toml")
def serve(
    service: Annotated[ServiceName, typer.Argument(help="Which service.", show_default=False)],
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="TOML file with its settings.")],
) -> None:
    """Run one service from configuration, until SIGTERM."""
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
    from scenarios.counter import serve_device

    return serve_device(config)


@app.command(epilog="Example: fourparty pay --amount 12.50")
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
    try:
        money = Money.parse(amount)
    except ValueError as error:
        raise ConfigurationError(f"--amount: {error}") from error
    if not 0 < money.fen < 10**12:
        raise ConfigurationError(f"--amount: {amount} is not between 0.01 and 9999999999.99")
    from scenarios.counter import pay_once

    if pin == "-":
        pin = getpass.getpass("PIN: ")
    raise typer.Exit(pay_once(directory, money, pin, as_json=as_json))


@app.command(epilog="Example: echo 303830308220... | fourparty decode -")
def decode(
    message: Annotated[str, typer.Argument(metavar="[HEX|-]", help="The message in hex, or - for stdin.")] = "-",
    unmask: Annotated[bool, typer.Option(help="Show PAN, track, PIN block and keys.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the dialect of a message and describe it. Spaces, colons and line ends in the hex are ignored."""
    from scenarios.decoding import decode_hex

    text = sys.stdin.read(1 << 20) if message == "-" else message
    raise typer.Exit(decode_hex(text, unmask=unmask, as_json=as_json))


@app.command(epilog="Example: fourparty run street_market --virtual --seed 7 --duration 600")
def run(
    scenario: Annotated[str, typer.Argument(help="Name of a scenario, or a Python file with one.")],
    live: Annotated[bool, typer.Option("--live/--virtual", help="Real processes and time, or simulated ones.")] = True,
    seed: Annotated[int, typer.Option(help="Of everything random in the scenario, and in a virtual world.")] = 1,
    duration: Annotated[str, typer.Option(metavar="T", help="Length of the run: 30, 30s, 5m, 2h.")] = "30s",
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for report.html and result.json.")] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Use the running network of DIR (live only).")
    ] = None,
    phones: Annotated[int | None, typer.Option(min=1, max=5000, help="How many phones take part.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run a scenario and report on it.

    Live runs start issuer, switch and acquirer as processes of their own and host the phones and cards here.
    """
    from scenarios.running import run_scenario

    code = run_scenario(
        scenario,
        live=live,
        seed=seed,
        duration=parse_duration(duration),
        report_to=report,
        directory=directory,
        phones=phones,
        as_json=as_json,
    )
    raise typer.Exit(code)


def parse_duration(text: str) -> float:
    """Seconds of ``30``, ``30s``, ``5m`` or ``2h``.

    Raises
    ------
    ConfigurationError
        The text is no such duration, or not between 1 second and 7 days.
    """
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    number = text[:-1] if unit else text
    try:
        seconds = float(number) * (unit or 1)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 7 * 86_400:
        raise ConfigurationError(f"--duration: {text!r} is not a duration from 1s to 168h, such as 30s, 5m or 2h")
    return seconds


def main() -> NoReturn:
    """Run the command line; every expected error is one line on stderr."""
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        _fail("stopped", 130)
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
            hint = f" (see {context.command_path} --help)" if context is not None else ""
            _fail(" ".join(told().split()) + hint, 2)
        from scenarios.processes import NetworkError

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
