"""A phone on a running network: its trusted side as a process of its own, in a folder that stays.

The folder is ``phones/TERMINAL`` in the network's, or unless told otherwise ``phones/DEVICE`` of a phone as its maker
made it: settings, storage key, database, socket and log. It stays because a payment that was under way when the process
died is reversed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from merchant_device.configuration import Configuration
from merchant_device.installation import install_terminal
from merchant_device.migrations import HISTORY
from merchant_device.secure_element import manufacture
from merchant_device.tables import TABLES
from network.keys import Algorithm, KeyUsage, SecurityModule
from network.live import real_now
from network.party import SECOND
from network.service import PARENT_VARIABLE, Address, ConfigurationError, open_module
from network.store import Store, sqlite_url
from scenarios.demo_network import demo
from scenarios.demo_network.processes import NetworkError, RunningNetwork

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 5.0

ATTESTATION_SECONDS: Final = 20.0
"""How long a payment waits for the acquirer's verdict: somebody stands there with a card."""

_DEVICE: Final = re.compile(r"[0-9A-Za-z_-]{1,40}", re.ASCII)


@dataclass
class TrustedSide:
    """A phone's trusted side that runs.

    Attributes
    ----------
    terminal_id : str
        Empty where the phone is no terminal yet.
    folder : Path
        What the phone keeps.
    channel : Path
        Where an App reaches it.
    page : str
        Address of the screen's page, secret part included.
    process : subprocess.Popen
    """

    terminal_id: str
    folder: Path
    channel: Path
    page: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)


@contextlib.contextmanager
def trusted_side(
    network: RunningNetwork,
    reader: str | None,
    *,
    terminal: str | None = None,
    configuration: Configuration | None = None,
    apdu_log: Path | None = None,
    clear_log: bool = False,
    camera: Path | None = None,
) -> Iterator[TrustedSide]:
    """Start the trusted side of a phone on a free terminal of `network`, and stop it at the end.

    Parameters
    ----------
    network : RunningNetwork
    reader : str or None
        What reads cards, see `merchant_device.readers.open_reader`.
    terminal : str or None
        Which of the free terminals; None: one that nobody uses now.
    configuration : Configuration or None
        The demo network's unless given; the PIN is asked for above the limit only.
    apdu_log, clear_log
        Where to record what cards say, and whether in clear.
    camera : Path or None
        Where pictures are put before its camera.

    Raises
    ------
    ConfigurationError
        No terminal is free or not the one that is wanted, or the folder cannot be written.
    NetworkError
        The process ended, or does not answer.
    """
    configured = configuration or phone_configuration()
    with _held_terminal(network, terminal) as (folder, held):
        _install(folder, held)
        with _running(network, folder, reader, configured, apdu_log, clear_log, camera) as (page, process):
            yield TrustedSide(held["terminal_id"], folder, folder / "channel", page, process)


@contextlib.contextmanager
def made_phone(
    network: RunningNetwork,
    device: str,
    reader: str | None,
    *,
    folder: Path | None = None,
    configuration: Configuration | None = None,
    apdu_log: Path | None = None,
    clear_log: bool = False,
    camera: Path | None = None,
) -> Iterator[TrustedSide]:
    """Start the trusted side of a phone as the demo's maker makes it, and stop it at the end.

    It is no terminal until its App has gone through the on-boarding. It is made when it is started for the first time
    and stays in its folder with all that it has become.

    Parameters
    ----------
    network : RunningNetwork
    device : str
        Its id, 1 to 40 letters, digits, ``-`` and ``_``.
    folder : Path or None
        ``phones/DEVICE`` of the network unless given.
    reader, configuration, apdu_log, clear_log, camera
        See `trusted_side`; unless given otherwise it takes what cards approve offline, up to the acquirer's floor
        limit, and has itself attested anew for every payment and PIN entry.

    Raises
    ------
    ConfigurationError
        The id is malformed, the phone is on already, or the folder cannot be written.
    NetworkError
        The process ended, or does not answer.
    """
    if _DEVICE.fullmatch(device) is None:
        raise ConfigurationError("--device: 1 to 40 letters, digits, - and _")
    maker = network.description.get("maker")
    if not isinstance(maker, str):
        raise ConfigurationError(f"{network.folder} is a network without a maker of phones: prepare a new one")
    own = folder or network.folder / "phones" / device
    with _held(own) as is_free:
        if not is_free:
            raise ConfigurationError(f"phone {device} is on already")
        _make(own, device, bytes.fromhex(maker))
        configured = configuration or made_configuration()
        with _running(network, own, reader, configured, apdu_log, clear_log, camera) as (page, process):
            yield TrustedSide("", own, own / "channel", page, process)


@contextlib.contextmanager
def _running(
    network: RunningNetwork,
    folder: Path,
    reader: str | None,
    configuration: Configuration,
    apdu_log: Path | None,
    clear_log: bool,
    camera: Path | None,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The process of the phone in `folder`, and the address of its page."""
    page = _free_address()
    token = secrets.token_urlsafe(24)
    write_private(folder / "screen.token", token)
    channel = folder / "channel"
    settings: dict[str, object] = {
        "database": sqlite_url((folder / "device.db").resolve()),
        "storage_key_file": str((folder / "device.key").resolve()),
        "channel": str(channel.resolve()),
        "screen": str(page),
        "screen_token_file": str((folder / "screen.token").resolve()),
        "acquirer": network.description["acquirer"]["terminal_link"],
        "apdu_log_clear": clear_log,
    }
    monitoring = network.description["acquirer"].get("monitoring_link")
    authority = None if network.tls is None else network.folder / network.description["tls"]["ca"]
    optional = (
        ("tls_ca_file", authority),
        ("reader", reader),
        ("apdu_log", apdu_log),
        ("camera", camera),
        ("monitoring", monitoring),
    )
    for name, value in optional:
        if value is not None:
            settings[name] = str(value.resolve()) if isinstance(value, Path) else value
    write_private(folder / "tee.toml", _toml(settings, configuration.model_dump(exclude_defaults=True)))
    process = _start(folder)
    try:
        _wait_for(channel, process, folder)
        yield f"http://{page}/{token}/", process
    finally:
        _stop(process)


def phone_configuration() -> Configuration:
    """The demo network's phones, but that they ask for the PIN only above the limit."""
    configured: Configuration = demo.configurations(demo.Timeouts())["merchant_device"]
    return configured.model_copy(update={"pin_always": False})


def made_configuration() -> Configuration:
    """The same of phones as the demo's maker makes them: what a card approves is taken, up to the acquirer's limit.

    No verdict is good for longer than the margin, so that every payment and every PIN entry has one of its own.
    """
    own = {
        "offline": True,
        "fdda": True,
        "attestation_margin": demo.ATTESTATION_WINDOW,
        "attestation_timeout": ATTESTATION_SECONDS,
    }
    return phone_configuration().model_copy(update=own)


@contextlib.contextmanager
def _held_terminal(network: RunningNetwork, wanted: str | None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A free terminal and its folder, held against other phones; one that was a phone before, if there is one."""
    free = [terminal for terminal in network.description["terminals"] if terminal["free"]]
    folder = network.folder / "phones"
    # from the middle: outside clients begin at the list's beginning, scenarios at its end
    ordered = free[len(free) // 2 :] + free[: len(free) // 2]
    ordered.sort(key=lambda terminal: not (folder / terminal["terminal_id"]).exists())
    if wanted is not None:
        ordered = [terminal for terminal in ordered if terminal["terminal_id"] == wanted]
        if not ordered:
            raise ConfigurationError(f"--terminal: {wanted} is not one of the free terminals of {network.folder}")
    for terminal in ordered:
        own = folder / terminal["terminal_id"]
        with _held(own) as is_free:
            if is_free:
                yield own, terminal
                return
    if wanted is not None:
        raise ConfigurationError(f"--terminal: another phone is terminal {wanted} now")
    raise ConfigurationError(f"no terminal of {network.folder} is free for a phone")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a phone's folder; whether nobody else holds it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise ConfigurationError(f"cannot prepare {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _install(folder: Path, terminal: dict[str, Any]) -> None:
    """Make the phone a terminal, once; its master key stays in its own store from then on."""
    with _prepared(folder) as (store, module):
        unit = store.unit_of_work()
        tmk = module.import_clear(
            KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, bytes.fromhex(terminal["tmk"]), "terminal master key"
        )
        # a batch that nobody has used on this terminal before
        batch = real_now() // SECOND % 999_999 + 1
        with contextlib.suppress(ValueError):  # it is installed already
            install_terminal(unit, module, terminal["terminal_id"], terminal["merchant_id"], tmk, batch=batch)
        unit.commit()


def _make(folder: Path, device: str, maker: bytes) -> None:
    """Let the demo's maker make the phone, once."""
    with _prepared(folder) as (store, module):
        unit, now = store.unit_of_work(), real_now()
        with contextlib.suppress(ValueError):  # it is made already
            manufacture(unit, module, demo.maker(maker), device, demo.state_of(demo.MODEL, now), now)
        unit.commit()


@contextlib.contextmanager
def _prepared(folder: Path) -> Iterator[tuple[Store, SecurityModule]]:
    """The phone's own store and security module, while no process has them."""
    key = folder / "device.key"
    if not key.exists():
        # a preparation that did not come to its end: the store's key blocks are of no use without the key
        for suffix in ("db", "db-wal", "db-shm"):
            (folder / f"device.{suffix}").unlink(missing_ok=True)
        write_private(key, secrets.token_hex(32))
    store = Store(sqlite_url((folder / "device.db").resolve()), TABLES, revision=HISTORY.head)
    try:
        yield store, open_module(key)
    finally:
        store.close()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid())}
    with (folder / "tee.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "merchant_device.tee", "--config", str(folder / "tee.toml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
        )


def _wait_for(channel: Path, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = (folder / "tee.log").read_text(errors="replace").strip().splitlines()
            raise NetworkError(f"the phone's trusted side ended: {lines[-1] if lines else 'it said nothing'}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.connect(str(channel.resolve()))
            return
        time.sleep(0.05)
    raise NetworkError(f"the phone's trusted side took more than {START_SECONDS:.0f} s; see {folder / 'tee.log'}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_address() -> Address:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", probe.getsockname()[1])


def _toml(settings: dict[str, object], party: dict[str, object]) -> str:
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    lines += ["", "[party]", *(f"{name} = {json.dumps(value)}" for name, value in party.items())]
    return "\n".join(lines) + "\n"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    draft = path.with_name(path.name + ".new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
