"""The trusted side's process: the phone's party, what is at the ends of its links, and the command channel."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from random import SystemRandom

import sqlalchemy as sa
import structlog
from pydantic import Field

from merchant_device.configuration import Configuration
from merchant_device.device_tables import BOUND, SecureElement
from merchant_device.migrations import HISTORY
from merchant_device.party import MerchantDevice
from merchant_device.phone_rooms import all_rooms
from merchant_device.readers import ApduLog, Reader, ReaderEndpoint, ReaderError, RecordingReader, open_reader
from merchant_device.tables import TABLES, Phone
from merchant_device.tee.camera import PictureFile
from merchant_device.tee.channel import Channel
from merchant_device.tee.commands import CommandKind
from merchant_device.tee.page_server import page_application
from merchant_device.tee.screen import Screen
from merchant_device.tee.watch import WATCH_SECONDS, Watch, own_probes
from network.attestation.monitoring_link import MONITORING_FRAMING
from network.capture import Capture
from network.framing import TERMINAL_FRAMING
from network.live import LiveRuntime, run_loop
from network.party import CommandError, Json
from network.rest import RestThread
from network.service import (
    Address,
    ConfigurationError,
    ProcessSettings,
    await_files,
    bind,
    configure_logging,
    end_with_parent,
    ends_at_once,
    followed,
    load_settings,
    open_capture,
    open_module,
    open_store,
    open_tls,
    read_secret,
)
from network.store import Store, StoreError
from network.tracing import Tracing

log = structlog.get_logger(__name__)


class TrustedSideSettings(ProcessSettings):
    """Settings of a phone's trusted side.

    Attributes
    ----------
    channel : Path
        The socket of the command channel.
    screen : str
        Address of the screen's page, on 127.0.0.1.
    screen_token_file : Path
        The secret first part of the page's path.
    acquirer : str
        Address of the acquirer's terminal link.
    monitoring : str or None
        Address of its monitoring link, for phones that are bound to a device; None: it has none.
    reader : str or None
        What reads cards, see `merchant_device.readers.open_reader`; None: the phone has no reader.
    apdu_log : Path or None
        Where to record what cards say.
    apdu_log_clear : bool
        Whether the record holds card data in clear, so that it can be replayed.
    camera : Path or None
        Where pictures are put before the camera.
    camera_seconds : float
        How long the camera looks for a picture.
    party : Configuration
    """

    channel: Path
    screen: str
    screen_token_file: Path
    acquirer: str
    monitoring: str | None = None
    reader: str | None = None
    apdu_log: Path | None = None
    apdu_log_clear: bool = False
    camera: Path | None = None
    camera_seconds: float = Field(default=30.0, gt=0, le=600)
    party: Configuration = Configuration()


class PhoneLinks:
    """What is at the ends of the links of this phone's terminals.

    Parameters
    ----------
    runtime : LiveRuntime
    settings : TrustedSideSettings
    screen : Screen
    reader : Reader or None
        Used by all terminals: a phone has one.
    """

    def __init__(
        self, runtime: LiveRuntime, settings: TrustedSideSettings, screen: Screen, reader: Reader | None
    ) -> None:
        self._runtime = runtime
        self._acquirer = Address.parse(settings.acquirer)
        tls = open_tls(settings)
        self._tls = None if tls is None else tls.dials_anyone()
        self._screen = screen
        self._reader = None if reader is None else ReaderEndpoint(reader, settings.party.tap_timeout)
        self._camera = PictureFile(settings.camera, settings.camera_seconds)
        self._loop = asyncio.get_running_loop()
        self._monitoring = None if settings.monitoring is None else Address.parse(settings.monitoring)
        self._terminals: set[str] = set()
        self._monitored: set[str] = set()

    def connect_installed(self) -> None:
        """Connect every terminal that the store knows and that is not connected yet; the device's link as well."""
        phones = self._runtime.store.tables[Phone]
        with self._runtime.store.read() as connection:
            installed = connection.execute(
                sa.select(phones.c.terminal_id, phones.c.device_id).order_by(phones.c.terminal_id)
            ).all()
        for terminal_id, device_id in installed:
            self._connect(terminal_id)
            if device_id is not None and self._monitoring is not None and terminal_id not in self._monitored:
                self._monitored.add(terminal_id)
                self._runtime.dial(f"monitor:{terminal_id}", *self._monitoring, MONITORING_FRAMING, self._tls)

    def close(self) -> None:
        """Let go of reader and camera."""
        self._camera.close()
        if self._reader is not None:
            self._reader.close()

    def _connect(self, terminal_id: str) -> None:
        if terminal_id in self._terminals:
            return
        self._terminals.add(terminal_id)
        runtime, screen, loop = self._runtime, self._screen, self._loop
        if self._reader is not None:
            runtime.attach(f"reader:{terminal_id}", self._reader)
        # the page has a thread of its own; the party is answered on its loop
        runtime.attach(
            f"pinpad:{terminal_id}",
            lambda body, reply: screen.pin_pad(body, lambda answer: _hand_over(loop, reply, answer)),
        )
        runtime.attach(f"display:{terminal_id}", screen.display)
        runtime.attach(f"camera:{terminal_id}", self._camera)
        runtime.dial(f"acquirer:{terminal_id}", *self._acquirer, TERMINAL_FRAMING, self._tls)


def serve(path: Path) -> int:
    """Serve the trusted side configured in the file `path` until told to stop.

    Returns
    -------
    int
        Exit code: 0 after a signal, 3 when the store failed.

    Raises
    ------
    ConfigurationError
        The settings are wrong, a file is missing, an address in use, the reader not there.
    """
    settings = load_settings(TrustedSideSettings, path)
    configure_logging(settings.log_level)
    with ends_at_once():
        await_files(settings)
    module = open_module(settings.storage_key_file)
    token = read_secret(settings.screen_token_file)
    address = Address.parse(settings.screen)
    if address.host != "127.0.0.1":
        raise ConfigurationError(f"screen: {address} is not on 127.0.0.1, and the screen is this phone's own")
    for needed in (settings.acquirer, settings.monitoring):
        if needed is not None:
            Address.parse(needed)
    reader = _open(settings)
    with ends_at_once():
        store = open_store(settings, TABLES, HISTORY)
    capture: Capture | None = None
    try:
        party = MerchantDevice(settings.party, module, all_rooms())
        capture = open_capture(settings, party.name)
        with followed(settings, party.name) as tracing:
            return run_loop(_serve(settings, party, store, reader, address, token, capture, tracing))
    finally:
        store.close()
        if capture is not None:
            capture.close()


async def _serve(
    settings: TrustedSideSettings,
    party: MerchantDevice,
    store: Store,
    reader: Reader | None,
    address: Address,
    token: str,
    capture: Capture | None,
    tracing: Tracing | None,
) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    runtime = LiveRuntime(
        party, store, random=SystemRandom(), failed=lambda _: end(3), capture=capture, tracing=tracing
    )
    screen = Screen()
    links = PhoneLinks(runtime, settings, screen, reader)

    async def carry(name: str, arguments: Mapping[str, Json]) -> Json:
        answer: asyncio.Future[Json] = loop.create_future()

        def answered(result: Json | CommandError) -> None:
            if answer.done():
                return
            if isinstance(result, CommandError):
                answer.set_exception(result)
            else:
                answer.set_result(result)

        runtime.command(name, dict(arguments), answered)
        return await answer

    def done(kind: CommandKind, _: Json) -> None:
        if kind.name == "install":
            links.connect_installed()

    channel = Channel(carry, done)
    try:
        runtime.start()
    except StoreError as error:
        raise ConfigurationError(str(error)) from error
    listening = bind(address)
    page = RestThread(page_application(screen, token, listening.getsockname()[1]), listening)
    await channel.listen(settings.channel)
    links.connect_installed()
    orphaned = loop.create_task(end_with_parent(end))
    watching = loop.create_task(_keep_watch(runtime))
    log.info("serving", party=party.name, channel=str(settings.channel), screen=str(address))
    code = await ended
    orphaned.cancel()
    watching.cancel()
    log.info("stopping", party=party.name)
    screen.close()
    await channel.close()
    settings.channel.unlink(missing_ok=True)
    await runtime.stop()
    await loop.run_in_executor(None, links.close)
    await loop.run_in_executor(None, page.stop)
    return code


async def _keep_watch(runtime: LiveRuntime) -> None:
    """Tell the party what is wrong with its own process; that wipes the keys of every device that has any."""
    watch = Watch(own_probes())
    devices = runtime.store.tables[SecureElement]
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        signals = watch.look()
        if not signals:
            continue
        log.warning("tamper signals", signals=signals)
        with runtime.store.read() as connection:
            bound = connection.execute(sa.select(devices.c.device_id).where(devices.c.status == BOUND)).scalars().all()
        for device_id in bound:
            runtime.command("signal", {"device": device_id, "signals": list(signals)}, _told)


def _told(answer: Json | CommandError) -> None:
    if isinstance(answer, CommandError):
        log.warning("tamper signals were not taken", reason=str(answer))


def _hand_over(loop: asyncio.AbstractEventLoop, reply: Callable[[bytes], None], answer: bytes) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(reply, answer)


def _open(settings: TrustedSideSettings) -> Reader | None:
    if settings.reader is None:
        return None
    try:
        reader = open_reader(settings.reader)
        if settings.apdu_log is None:
            return reader
        return RecordingReader(reader, ApduLog(settings.apdu_log, clear=settings.apdu_log_clear))
    except ReaderError as error:
        raise ConfigurationError(f"reader: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"apdu_log: cannot write {settings.apdu_log}: {error.strerror}") from error
