"""Downloads from the acquirer: keys, limits and stopped cards for the kernel (docs/protocol.md).

One after another the phone asks what keys there are (372) and for each of them (370), says that it is done (371), asks
for the limits of each application (380, 381) and of the terminal (360, 361), and page by page for the list of stopped
cards (390, 391), from its beginning where the list changes meanwhile. Nothing is stored before the last answer: a
download that breaks off leaves what was there. A key is believed by its hash; one that cannot be used is passed over
and named in the command's answer, and the one of the same name that was there before stays in force. Keys that the
acquirer does not offer any more are withdrawn.

390 and 391 are this network's own usage. What the phone gets are digests, see `network.hot_cards`: they keep card
numbers out of messages and rows, but do not stand brute force; so they are asked for with a MAC, by phones with keys.

A phone that is bound to a device downloads of its own accord once it has signed on for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from merchant_device.context import Context
from merchant_device.kernel import KernelConfiguration
from merchant_device.receipts import APPROVED, DECLINED, REFUSED, UNKNOWN, ManagementResult
from merchant_device.rooms import Room
from merchant_device.sealed_management import WRONG_MAC, SealedManagement
from merchant_device.tables import (
    IN_FORCE,
    SIGNED_ON,
    WITHDRAWN,
    CaKey,
    HotCards,
    Parameter,
    Phone,
    parameter_identifier,
)
from merchant_device.terminal import Download, Kind, Phase, Terminal
from network.emv import tlv
from network.emv.ca_keys import CaKeyError, parse_ca_key
from network.hot_cards import DIGEST_LENGTH, MOST_PAGES, HotListError, HotListPage, page_number
from network.iso8583 import Message
from network.iso8583.message import Value
from network.party import SECOND, Command, Json, Turn
from network.store import UnitOfWork

DOWNLOAD: Final = "download"
"""Name of the command."""

WATCH: Final = "download-watch"
"""Timer of a download that the phone has begun of its own accord."""

MAX_KEYS: Final = 64
"""Keys that one download takes; DE62 has room for the names of 40."""

TRIES: Final = 3
"""How often a request is sent."""

RESTARTS: Final = 3
"""How often the list of stopped cards may change while it is downloaded."""

_KEY_LIST: Final = "372"
_KEY: Final = "370"
_KEYS_DONE: Final = "371"
_APPLICATION: Final = "380"
_APPLICATIONS_DONE: Final = "381"
_TERMINAL: Final = "360"
_TERMINAL_DONE: Final = "361"
_STOPPED: Final = "390"
_STOPPED_DONE: Final = "391"

_STEPS: Final = (
    _KEY_LIST,
    _KEY,
    _KEYS_DONE,
    _APPLICATION,
    _APPLICATIONS_DONE,
    _TERMINAL,
    _TERMINAL_DONE,
    _STOPPED,
    _STOPPED_DONE,
)
_FAILED: Final = ""
"""The step of a download that has come to nothing."""

_NOTHING: Final = b""
_LIMITS: Final = ("DF19", "DF20", "DF21")
_LIMIT_LENGTH: Final = 6
_RID_LENGTH: Final = 5
_STORED: Final = 10_000
"""Keys in force that are looked at; see `merchant_device.kernels`."""


class DownloadError(ValueError):
    """An answer that a download cannot go on with; says what is wrong with it."""


class Downloads(Room):
    """Takes the command ``download``, and downloads after the first sign-on of a device."""

    timers = (WATCH,)
    commands = (DOWNLOAD,)
    kinds = (Kind.DOWNLOAD,)

    def __init__(self, context: Context) -> None:
        self._context = context
        self._retry = round(context.configuration.download_retry * SECOND)
        self._management = SealedManagement(context.configuration, context.keystore, context.header)
        self._applications = tuple(
            tlv.encode("9F06", application) for application in KernelConfiguration().applications
        )

    # when a download begins

    def command(self, turn: Turn, terminal: Terminal, phone: Phone, command: Command) -> None:
        """Take up ``download {terminal}``."""
        if terminal.phase is not Phase.IDLE:
            turn.answer(command.ticket, self._result(terminal, REFUSED, None, "the terminal is busy"))
        elif not terminal.is_up:
            turn.answer(command.ticket, self._result(terminal, REFUSED, None, "the link to the acquirer is down"))
        else:
            terminal.begin(Kind.DOWNLOAD, command.ticket, 0)

    def send(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        """The line is free for the command."""
        self._begin(turn, terminal, phone)

    def signed_on(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """A device that has never downloaded begins as soon as the line is free."""
        if phone.device_id is not None and not _has_downloaded(turn, phone):
            # one that has failed may have brought this sign-on: it is not tried again at once
            failed = terminal.download is not None
            turn.timer((WATCH, terminal.terminal_id), turn.now + (self._retry if failed else 0))

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        """Begin a download of the phone's own accord, or see whether it has come to its end."""
        if _has_downloaded(turn, phone):
            return
        turn.timer((WATCH, terminal.terminal_id), turn.now + self._retry)
        is_free = terminal.exchange is None and terminal.phase is Phase.IDLE
        if is_free and terminal.is_up and phone.status == SIGNED_ON:
            self._begin(turn, terminal, phone)

    def _begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        terminal.download = Download(_KEY_LIST, (_NOTHING,))
        self._ask(turn, terminal, phone, terminal.download)

    def _ask(self, turn: Turn, terminal: Terminal, phone: Phone, download: Download) -> None:
        """Send the request that is next, or once more."""
        terminal.download = download._replace(tries=download.tries + 1)
        more: dict[int, Value] = {62: download.wanted[0]} if download.wanted[0] else {}
        mti = "0820" if download.step == _KEY_LIST else "0800"
        self._management.send(turn, terminal, phone, Kind.DOWNLOAD, mti, download.step, more)

    # what comes

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        """Take the answer to the request on the line, and send the next."""
        download = terminal.download
        if download is None or not download.wanted:
            raise LookupError("nothing is being downloaded")
        code = self._management.code_of(turn, terminal, phone, message, body)
        if code is None:
            return WRONG_MAC
        terminal.close()
        if code != "00":
            said = f"the acquirer answered the download ({download.step}) {code}"
            self._end(turn, terminal, DECLINED, code or None, said)
            return None
        content = message.get(62)
        try:
            download = _taken(download, content if isinstance(content, bytes) else b"")
        except DownloadError as error:
            self._end(turn, terminal, DECLINED, code, str(error))
            return None
        download = download._replace(wanted=download.wanted[1:], tries=0)
        while not download.wanted:
            step = _STEPS.index(download.step) + 1
            if step == len(_STEPS):
                self._store(turn, phone, download)
                self._end(turn, terminal, APPROVED, code, None, download)
                return None
            download = self._next(download, _STEPS[step])
        self._ask(turn, terminal, phone, download)
        return None

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, reason: str) -> None:
        """Ask again, or give up where that was tried or cannot be."""
        download = terminal.download
        can_ask = terminal.is_up and phone.status == SIGNED_ON
        if download is not None and download.wanted and can_ask and download.tries < TRIES:
            self._ask(turn, terminal, phone, download)
        else:
            self._end(turn, terminal, UNKNOWN, None, reason)

    def _next(self, download: Download, step: str) -> Download:
        """The step after one that is done; one that has nothing to ask for is done at once."""
        if step == _KEY:
            return download._replace(step=step, wanted=tuple(_key_named(one) for one in download.kept))
        if step == _STOPPED:
            return download._replace(step=step, wanted=(page_number(1),))
        return download._replace(step=step, wanted=self._applications if step == _APPLICATION else (_NOTHING,))

    def _end(
        self,
        turn: Turn,
        terminal: Terminal,
        outcome: str,
        code: str | None,
        reason: str | None,
        download: Download | None = None,
    ) -> None:
        terminal.download = None if outcome == APPROVED else Download(_FAILED)
        if terminal.phase is not Phase.ANSWER or terminal.kind is not Kind.DOWNLOAD:
            return
        result = self._result(terminal, outcome, code, reason)
        if download is not None:
            result |= {
                "keys": len(download.keys),
                "applications": sum(1 for application, *_ in download.limits if application),
                "rejected": download.rejected,
                "stopped": sum(len(page.digests) for page in download.stopped) // DIGEST_LENGTH,
            }
        turn.answer(terminal.ticket, result)
        terminal.end()

    def _result(self, terminal: Terminal, outcome: str, code: str | None, reason: str | None) -> dict[str, Json]:
        return ManagementResult(outcome, code, reason, terminal.terminal_id, self._context.clock.receipt).as_json()

    # what is kept

    def _store(self, turn: Turn, phone: Phone, download: Download) -> None:
        store = turn.store
        for data in download.keys:
            key = parse_ca_key(data)
            identifier = f"{key.rid.hex().upper()}{key.index:02X}"
            row = store.find(CaKey, "identifier", identifier)
            if row is None:
                store.insert(CaKey(identifier, data, IN_FORCE))
            elif (row.data, row.status) != (data, IN_FORCE):
                store.change(row)
                row.data, row.status = data, IN_FORCE
        for row in store.scan(CaKey, "status", IN_FORCE, _STORED):
            if row.identifier not in download.kept:
                store.change(row)
                row.status = WITHDRAWN
        for application, floor, contactless, cvm in download.limits:
            name = parameter_identifier(phone.terminal_id, application)
            found = store.find(Parameter, "identifier", name)
            if found is None:
                found = Parameter(name, phone.terminal_id, application, floor, contactless, cvm, IN_FORCE)
                store.insert(found)
            else:
                store.change(found)
                found.floor_limit, found.contactless_limit, found.cvm_limit = floor, contactless, cvm
                found.status = IN_FORCE
        _store_stopped(store, download.stopped)
        self._context.kernels.changed()


def _taken(download: Download, content: bytes) -> Download:
    """What a download has when the answer `content` (DE62) to its request on the line is taken.

    Raises
    ------
    DownloadError
        It cannot go on with this answer.
    """
    step = download.step
    if step == _STOPPED:
        return _with_page(download, content)
    if step not in (_KEY_LIST, _KEY, _APPLICATION, _TERMINAL):
        return download
    if step == _TERMINAL:
        return download._replace(limits=(*download.limits, ("", *_limits(content, "the terminal's limits"))))
    is_there = content[:1] == b"1"
    if not is_there and content != b"0":
        raise DownloadError(f"the answer to {step} says neither that there is something nor that there is nothing")
    if step == _KEY_LIST:
        return download._replace(kept=_key_names(content[1:]) if is_there else ())
    if step == _APPLICATION:
        if not is_there:
            return download
        limits = _limits(content[1:], "an application's limits")
        application = tlv.flat(download.wanted[0])["9F06"].hex().upper()
        return download._replace(limits=(*download.limits, (application, *limits)))
    asked = tlv.flat(download.wanted[0])
    name = f"{asked['9F06'].hex().upper()}{asked['9F22'].hex().upper()}"
    if not is_there:
        # withdrawn since it was listed
        return download._replace(kept=tuple(one for one in download.kept if one != name))
    try:
        key = parse_ca_key(content[1:])
    except CaKeyError as error:
        return download._replace(rejected=(*download.rejected, f"{name}: {error}"))
    if f"{key.rid.hex().upper()}{key.index:02X}" != name:
        return download._replace(rejected=(*download.rejected, f"{name}: another key came"))
    return download._replace(keys=(*download.keys, content[1:]))


def _with_page(download: Download, content: bytes) -> Download:
    """What a download has with a page of the list of stopped cards; asks for the next, or for the first once more."""
    try:
        page = HotListPage.parse(content)
    except HotListError as error:
        raise DownloadError(str(error)) from None
    if page is None:
        # also one that has been emptied since its first page came
        return download._replace(stopped=())
    if page_number(page.number) != download.wanted[0]:
        raise DownloadError("another page of the stopped cards came than the one asked for")
    if download.stopped and page.salt != download.stopped[0].salt:
        if download.restarts == RESTARTS:
            raise DownloadError("the list of stopped cards changes faster than it can be downloaded")
        again = (download.wanted[0], page_number(1))
        return download._replace(stopped=(), restarts=download.restarts + 1, wanted=again)
    if not page.digests:
        raise DownloadError("a page of the stopped cards is empty")
    wanted = (download.wanted[0], page_number(page.number + 1)) if page.more else download.wanted
    return download._replace(stopped=(*download.stopped, page), wanted=wanted)


def _store_stopped(store: UnitOfWork, pages: Sequence[HotListPage]) -> None:
    """Have these pages, and no other, in force."""
    known = {row.number: row for row in store.scan(HotCards, "status", IN_FORCE, MOST_PAGES)}
    for page in pages:
        row = known.pop(page.number, None) or store.find(HotCards, "number", page.number)
        if row is None:
            store.insert(HotCards(page.number, page.salt, page.digests, IN_FORCE))
        elif (row.salt, row.digests, row.status) != (page.salt, page.digests, IN_FORCE):
            store.change(row)
            row.salt, row.digests, row.status = page.salt, page.digests, IN_FORCE
    for row in known.values():
        store.change(row)
        row.salt, row.digests, row.status = b"", b"", WITHDRAWN


def _key_names(content: bytes) -> tuple[str, ...]:
    """Identifiers of the keys that a list (9F06, 9F22 and perhaps DF05 of each) names."""
    names: list[str] = []
    rid: bytes | None = None
    try:
        for tag, value in tlv.objects(content):
            if tag == "9F06" and len(value) == _RID_LENGTH:
                rid = value
            elif tag == "9F22" and len(value) == 1 and rid is not None:
                names.append(f"{rid.hex().upper()}{value.hex().upper()}")
                rid = None
            elif tag in ("9F06", "9F22"):
                raise DownloadError("the list of keys is malformed")
    except tlv.TlvError as error:
        raise DownloadError(f"the list of keys is malformed: {error}") from None
    if rid is not None or not 0 < len(names) <= MAX_KEYS or len(set(names)) != len(names):
        raise DownloadError(f"the list of keys is malformed, or longer than {MAX_KEYS}")
    return tuple(names)


def _key_named(identifier: str) -> bytes:
    """DE62 of the request for a key."""
    return tlv.encode_all({"9F06": bytes.fromhex(identifier[:-2]), "9F22": bytes.fromhex(identifier[-2:])})


def _limits(content: bytes, what: str) -> tuple[int, int, int]:
    """Floor, contactless and CVM limit, fen: DF19, DF20, DF21, twelve packed digits each."""
    try:
        objects = tlv.flat(content)
    except tlv.TlvError as error:
        raise DownloadError(f"{what} are malformed: {error}") from None
    found = []
    for tag in _LIMITS:
        digits = objects.get(tag, b"").hex()
        if len(digits) != 2 * _LIMIT_LENGTH or not digits.isdigit():
            raise DownloadError(f"{what} are malformed: {tag} is not twelve digits")
        found.append(int(digits))
    return found[0], found[1], found[2]


def _has_downloaded(turn: Turn, phone: Phone) -> bool:
    return turn.store.find(Parameter, "identifier", parameter_identifier(phone.terminal_id, "")) is not None
