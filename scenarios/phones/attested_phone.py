"""The attested phone of a network: made by the demo's maker, on-boarded once through the SDK, kept in its folder.

It lives in ``phone`` of the network's folder. ``phone.json`` there says which device it is and with what token its
merchant has applied, so that whoever goes on after a crash applies for the same phone as the same merchant. The
acquirer's operator, who reviews applications, is played here over REST.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from merchant_device.configuration import Configuration
from merchant_device.sdk import Phone, PhoneError, Progress
from network.live import real_now
from network.service import ConfigurationError
from scenarios.demo_network import demo
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.phones.trusted_side import TrustedSide, made_phone, write_private
from scenarios.stories.corner_shop import application

FOLDER: Final = "phone"
REVIEW_SECONDS: Final = 10.0
REVIEW_PAUSE: Final = 0.1
"""The operator of the demo decides at once."""

WIPED: Final = "wiped"

Told = Callable[[str], None]


class Identity(NamedTuple):
    """Which device a phone is, and the token of its merchant's application."""

    device: str
    token: str


def read_identity(folder: Path) -> Identity | None:
    """Who the phone in `folder` is; None where there is none yet.

    Raises
    ------
    ConfigurationError
        The file does not tell it.
    """
    file = folder / "phone.json"
    try:
        content = json.loads(file.read_text())
        identity = Identity(content["device"], content["token"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{file} does not tell which phone it is") from error
    if not all(isinstance(one, str) for one in identity):
        raise ConfigurationError(f"{file} does not tell which phone it is")
    return identity


@contextlib.contextmanager
def attested_phone(
    network: RunningNetwork,
    reader: str | None,
    *,
    told: Told = lambda _: None,
    configuration: Configuration | None = None,
    apdu_log: Path | None = None,
    clear_log: bool = False,
) -> Iterator[TrustedSide]:
    """Start the network's attested phone, and stop it at the end; the first time it is made and on-boarded.

    Parameters
    ----------
    network : RunningNetwork
    reader : str or None
        What reads cards, see `merchant_device.readers.open_reader`.
    told : callable
        Told what is being done, a line each.
    configuration, apdu_log, clear_log
        See `scenarios.phones.trusted_side.made_phone`.

    Raises
    ------
    ConfigurationError
        The folder cannot be used, or another process uses the phone.
    NetworkError
        The process ended, or the acquirer does not take the phone.
    """
    folder = network.folder / FOLDER
    identity = read_identity(folder)
    if identity is None:
        told("this network has no phone yet: one is made")
        identity = _new_identity(folder)
    with made_phone(
        network,
        identity.device,
        reader,
        folder=folder,
        configuration=configuration,
        apdu_log=apdu_log,
        clear_log=clear_log,
    ) as side:
        side.terminal_id = _terminal(side) or onboard(network, side, identity, told)
        yield side


def onboard(
    network: RunningNetwork, side: TrustedSide, identity: Identity, told: Told, *, terminal: str | None = None
) -> str:
    """Make the phone a terminal as its App does, through the SDK, with the operator's approval; gives the terminal.

    Parameters
    ----------
    terminal : str or None
        The terminal that it was before its keys were wiped.

    Raises
    ------
    NetworkError
        The acquirer or the phone refuses.
    """

    def follow(progress: Progress) -> None:
        step, number = progress
        if step == "applied" and terminal is None:
            network.post("acquirer", f"/applications/{number}/approve", {})
            told(f"its merchant has applied: {number}; the demo's operator approves it at the acquirer, over REST")
        elif step == "bound":
            told(f"attested and bound: terminal {number}")
        elif step == "signed_on":
            told("signed on; CA keys and limits are downloaded")

    acquirer = network.description["acquirer"]["api"]
    with Phone.start(side.channel) as phone:
        try:
            result = phone.onboard(
                application(demo.MODEL, identity.token),
                acquirer,
                identity.device,
                terminal=terminal,
                review_seconds=REVIEW_SECONDS,
                review_pause=REVIEW_PAUSE,
                told=follow,
                tls=None if network.tls is None else network.tls.client,
            )
        except PhoneError as error:
            raise NetworkError(f"the phone could not be on-boarded: {error} ({error.code})") from error
    return result.terminal


def device_at_acquirer(network: RunningNetwork, device: str) -> dict[str, Any] | None:
    """What the acquirer's operator sees of a device; None where it was never bound."""
    found: list[dict[str, Any]] = network.get("acquirer", "/devices", limit=500)
    return next((one for one in found if one["device_id"] == device), None)


def _new_identity(folder: Path) -> Identity:
    """Draw who the phone shall be; where another process has done so meanwhile, that is who it is."""
    identity = Identity(f"{demo.MODEL}-{real_now():016d}", secrets.token_hex(32))
    draft = folder / f"{identity.device}.new"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(draft, json.dumps(identity._asdict()))
        with contextlib.suppress(FileExistsError):
            (folder / "phone.json").hardlink_to(draft)
        draft.unlink()
    except OSError as error:
        raise ConfigurationError(f"cannot prepare {folder}: {error.strerror}") from error
    return read_identity(folder) or identity


def _terminal(side: TrustedSide) -> str | None:
    """The terminal that the phone is."""
    with Phone.start(side.channel) as phone:
        states = phone.status()
    return states[0].terminal if states else None
