"""The merchant device: the trusted side of any number of phones, each a terminal of its own.

Links of the phone X: ``acquirer:X`` carries ISO 8583 messages, ``reader:X`` command APDUs out and response APDUs in (an
empty body: the card is gone), ``pinpad:X`` a request out and the positions touched in (`pin_entry`), ``display:X`` what
the phone shows (`display`). Commands: ``sale``, ``balance``, ``sign_on``, ``sign_off``, ``echo``, ``cancel``,
``status`` and ``history``. Further links and commands are those of its rooms (`rooms`).

A phone does one thing at a time. A command waits for the line to the acquirer until a sign-on that is needed and the
reversals that are pending have been answered; then the card is read (`Line`, `Payments`, `Taps`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, TypeAlias

from merchant_device.answers import Answers
from merchant_device.clock import Clock
from merchant_device.commands import KINDS, OTHER_COMMANDS, Commands
from merchant_device.configuration import Configuration
from merchant_device.context import Context, MakeRoom
from merchant_device.endings import Endings
from merchant_device.kernels import Kernels
from merchant_device.keystore import Keystore
from merchant_device.line import Line
from merchant_device.offline import Uploads
from merchant_device.owed import SHOWN as REFUSED_SHOWN
from merchant_device.payments import Payments
from merchant_device.requests import Requests
from merchant_device.reversal import TERMINAL_FAULT, Reversals
from merchant_device.rooms import Room, Way
from merchant_device.sign_on import NetworkManagement
from merchant_device.tables import INSTALLED, OFFLINE, PENDING, REVERSING, Phone, Sale
from merchant_device.tap import Taps
from merchant_device.terminal import Phase, Saved, Terminal
from network.iso8583 import TERMINAL, DecodeError, Message, TerminalHeader
from network.keys import SecurityModule
from network.party import Command, CommandError, Json, LinkChange, LinkName, TimerKey, Turn
from network.store import Key

SCAN_LIMIT: Final = 1_000_000
"""Sales in flight or in reversal that a start takes up: several for each phone of the largest device."""

STATUS_LIMIT: Final = 10_000
"""Terminals in one answer to ``status``."""

_TERMINAL_LENGTH: Final = 8
"""Characters of DE41."""

_Arrived: TypeAlias = tuple[str, Terminal, bytes, Message | None]
"""The kind of link, whose it is, the body, and what it unpacks to where it is the acquirer's."""


class MerchantDevice:
    """The party.

    Parameters
    ----------
    configuration : Configuration
    module : SecurityModule
        Its storage key is the one that the store's key blocks are under.
    rooms : sequence of MakeRoom
        What the phones can do besides; a `Way` among them becomes a way of paying.

    Attributes
    ----------
    dropped : dict of str to int
        What arrived and was not for anything in progress, by reason.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule, rooms: Sequence[MakeRoom] = ()) -> None:
        self.name = configuration.name
        self.dropped: dict[str, int] = {}
        self._configuration = configuration
        self._clock = Clock()
        self._keystore = Keystore(module)
        header = TerminalHeader(bytes.fromhex(configuration.tpdu), configuration.head)
        self._reversals = Reversals(
            self._keystore,
            header,
            configuration.currency,
            configuration.reversal_retry,
            configuration.longest_pause,
        )
        self._management = NetworkManagement(
            module,
            header,
            configuration.key_download,
            configuration.operator,
            configuration.management_timeout,
            configuration.stan_block,
        )
        self._uploads = Uploads(
            self._keystore, header, configuration.currency, configuration.upload_retry, configuration.longest_pause
        )
        self._kernels = Kernels(configuration)
        endings = Endings(self._clock)
        self._answers = Answers(configuration, self._keystore, self._reversals, endings)
        requests = Requests(configuration, self._keystore, header)
        self._payments = Payments(configuration, self._keystore, requests, self._answers, self._uploads, endings)
        self._taps = Taps(configuration, self._kernels, self._clock, self._payments)
        context = Context(
            configuration,
            self._keystore,
            header,
            self._clock,
            self._kernels,
            self._payments,
            endings,
            self._reversals,
            self._uploads,
        )
        self._rooms: list[Room] = [self._taps, *(make(context) for make in rooms)]
        self._payments.ways = {room.name: room for room in self._rooms if isinstance(room, Way)}
        self._room_links = {kind: room for room in self._rooms for kind in room.links}
        self._room_timers = {kind: room for room in self._rooms for kind in room.timers}
        self._room_commands = {name: room for room in self._rooms for name in room.commands}
        self._device_commands = {name: room for room in self._rooms for name in room.device_commands}
        self._line = Line(
            self._keystore,
            self._clock,
            self._payments,
            self._answers,
            self._reversals,
            self._uploads,
            self._management,
            configuration.sign_on_retry,
            configuration.offline_limit if configuration.offline else 0,
            self._rooms[1:],
        )
        self._commands = Commands(self._clock, self._payments, self._line)
        self._terminals: dict[str, Terminal] = {}
        self._routes: dict[LinkName, tuple[str, Terminal]] = {}
        self._phones: Mapping[Key, Phone | None] = {}
        self._saved: dict[Terminal, Saved] = {}
        self._made: list[Terminal] = []

    def start(self, turn: Turn) -> None:
        """Reverse what was pending when the process before this one ended; reversals and uploads go on."""
        self._clock.set(turn)
        store = turn.store
        self._kernels.start(store)
        pending = store.scan(Sale, "status", PENDING, SCAN_LIMIT)
        reversing = store.scan(Sale, "status", REVERSING, SCAN_LIMIT)
        offline = store.scan(Sale, "status", OFFLINE, SCAN_LIMIT)
        store.load(Phone, "terminal_id", {sale.terminal_id for sale in (*pending, *reversing, *offline)})
        for sale in reversing:
            terminal = self._terminal(turn, sale.terminal_id)
            terminal.reversals = (*terminal.reversals, sale.reference)
        for sale in pending:
            terminal = self._terminal(turn, sale.terminal_id)
            self._reversals.start(turn, terminal, sale, TERMINAL_FAULT, "the device stopped before the sale ended")
        for sale in offline:
            self._uploads.start(turn, self._terminal(turn, sale.terminal_id), sale)
        for room in self._rooms:
            room.start(turn)

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived: links, messages, commands, timers."""
        self._saved.clear()
        self._made.clear()
        self._clock.set(turn)
        arrived = self._load(turn)
        for change in turn.link_changes:
            self._link_changed(turn, change)
        for one in arrived:
            self._received(turn, one)
        for command in turn.commands:
            self._command(turn, command)
        for key in turn.due:
            self._due(turn, key)

    def rolled_back(self) -> None:
        """Be again as before the last turn."""
        for terminal, saved in self._saved.items():
            terminal.restore(saved)
        self._saved.clear()
        # a phone that was heard of in the lost turn may have been installed in it
        for terminal in self._made:
            del self._terminals[terminal.terminal_id]
            for link in [link for link, (_, owner) in self._routes.items() if owner is terminal]:
                del self._routes[link]
        self._made.clear()
        self._phones = {}
        self._kernels.changed()
        for room in self._rooms:
            room.rolled_back()

    # who is meant

    def _load(self, turn: Turn) -> list[_Arrived]:
        """Unpack what has arrived and read the rows of every phone and sale that this turn may need."""
        phones = [identifier for _, identifier in turn.due]
        sales: list[str] = []
        for change in turn.link_changes:
            phones.append(change.link.partition(":")[2])
        for command in turn.commands:
            named = _named_terminal(command)
            if named is not None:
                phones.append(named)
        for identifier in phones:
            terminal = self._terminals.get(identifier)
            if terminal is not None:
                self._may_need(terminal, sales)
        arrived: list[_Arrived] = []
        routes, unpack = self._routes, TERMINAL.unpack
        for link, body in turn.inbox:
            route = routes.get(link)
            if route is None:
                # nothing has been heard of this phone since the process began, or it is none
                self._known(turn, link.partition(":")[2])
                route = routes.get(link)
            if route is None:
                self._drop("unknown link")
                continue
            kind, terminal = route
            message = None
            if kind == "acquirer":
                try:
                    message = unpack(body)
                except DecodeError:
                    self._drop("undecodable")
                    continue
            # a sale whose row is at hand ends without reading it, unless it must be reversed, which is rare
            if terminal.reversals or terminal.uploads or (terminal.row is None and terminal.reference is not None):
                self._may_need(terminal, sales)
            phones.append(terminal.terminal_id)
            arrived.append((kind, terminal, body, message))
        self._phones = turn.store.load(Phone, "terminal_id", phones)
        if sales:
            turn.store.load(Sale, "reference", sales)
        return arrived

    @staticmethod
    def _may_need(terminal: Terminal, sales: list[str]) -> None:
        if terminal.reference is not None:
            sales.append(terminal.reference)
        if terminal.reversals:
            sales.append(terminal.reversals[0])
        if terminal.uploads:
            sales.append(terminal.uploads[0])

    def _terminal(self, turn: Turn, terminal_id: str) -> Terminal:
        terminal = self._known(turn, terminal_id)
        if terminal is None:
            raise LookupError(f"terminal {terminal_id} has sales and is not installed")
        return terminal

    def _known(self, turn: Turn, terminal_id: str) -> Terminal | None:
        """The terminal, about to be changed; None where no such phone is installed."""
        terminal = self._terminals.get(terminal_id)
        if terminal is None:
            phone = turn.store.find(Phone, "terminal_id", terminal_id)
            if phone is None:
                return None
            terminal = self._terminals[terminal_id] = Terminal(phone)
            self._made.append(terminal)
            self._routes[terminal.acquirer_link] = ("acquirer", terminal)
            self._routes[terminal.reader_link] = ("reader", terminal)
            self._routes[terminal.pinpad_link] = ("pinpad", terminal)
            for kind in self._room_links:
                self._routes[f"{kind}:{terminal_id}"] = (kind, terminal)
        if terminal not in self._saved:
            self._saved[terminal] = terminal.save()
        return terminal

    def _phone(self, turn: Turn, terminal: Terminal) -> Phone:
        phone = self._phones.get(terminal.terminal_id)
        if phone is None:
            phone = turn.store.find(Phone, "terminal_id", terminal.terminal_id)
        if phone is None:
            raise LookupError(f"terminal {terminal.terminal_id} is not installed any more")
        return phone

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    # links

    def _link_changed(self, turn: Turn, change: LinkChange) -> None:
        kind, _, terminal_id = change.link.partition(":")
        room = self._room_links.get(kind)
        terminal = self._known(turn, terminal_id) if kind == "acquirer" or room is not None else None
        if terminal is None:
            return
        phone = self._phone(turn, terminal)
        if room is not None:
            room.link_changed(turn, terminal, phone, kind, change.up)
            self._line.advance(turn, terminal, phone)
            return
        if not change.up:
            self._line.lost(turn, terminal, phone)
            return
        if self._configuration.sign_on_at_start and (not terminal.was_up or phone.status == INSTALLED):
            terminal.sign_on_at = turn.now
        terminal.is_up = terminal.was_up = True
        terminal.reversal_at = terminal.upload_at = turn.now
        self._line.advance(turn, terminal, phone)

    def _received(self, turn: Turn, arrived: _Arrived) -> None:
        kind, terminal, body, message = arrived
        saved = self._saved
        if terminal not in saved:
            saved[terminal] = terminal.save()
        phone = self._phones.get(terminal.terminal_id) or self._phone(turn, terminal)
        if message is not None:
            useless = self._line.answered(turn, terminal, phone, message, body)
            if useless is not None:
                self._drop(useless)
            return
        phase = terminal.phase
        if kind == "reader" and phase is Phase.CARD:
            self._taps.card_answered(turn, terminal, phone, body)
        elif kind == "reader" and phase is Phase.AUTHENTICATION:
            self._answers.authenticated(turn, terminal, phone, body)
        elif kind == "pinpad" and phase is Phase.PIN and self._payments.pin_entered(turn, terminal, phone, body):
            pass
        elif kind in self._room_links:
            useless = self._room_links[kind].received(turn, terminal, phone, kind, body)
            if useless is not None:
                self._drop(useless)
                return
        else:
            self._drop(f"unexpected from the {kind}")
            return
        if terminal.phase is Phase.IDLE or terminal.phase is Phase.LINE:
            self._line.advance(turn, terminal, phone)

    # commands

    def _command(self, turn: Turn, command: Command) -> None:
        name = command.name
        if name == "status":
            self._status(turn, command)
            return
        kind, room = KINDS.get(name), self._room_commands.get(name)
        if kind is None and room is None and name not in OTHER_COMMANDS:
            if name in self._device_commands:
                self._device_command(turn, command, self._device_commands[name])
            else:
                turn.answer(command.ticket, CommandError("no such command"))
            return
        terminal_id = _named_terminal(command)
        terminal = None if terminal_id is None else self._known(turn, terminal_id)
        if terminal is None:
            turn.answer(command.ticket, CommandError("terminal: no such terminal is installed"))
            return
        phone = self._phone(turn, terminal)
        if room is not None:
            room.command(turn, terminal, phone, command)
        elif kind is not None:
            self._commands.take_up(turn, command, kind, terminal, phone)
        elif name == "cancel":
            self._commands.cancel(turn, command, terminal, phone)
        else:
            self._commands.history(turn, command, terminal)
        self._line.advance(turn, terminal, phone)

    def _device_command(self, turn: Turn, command: Command, room: Room) -> None:
        terminal_id = room.terminal_of(turn, command)
        terminal = None if terminal_id is None else self._known(turn, terminal_id)
        phone = None if terminal is None else self._phone(turn, terminal)
        room.device_command(turn, command, terminal, phone)
        if terminal is not None and phone is not None:
            self._line.advance(turn, terminal, phone)

    def _status(self, turn: Turn, command: Command) -> None:
        if command.arguments.get("terminal") is None:
            terminals: Iterable[Terminal] = self._terminals.values()
        else:
            terminal_id = _named_terminal(command)
            terminal = None if terminal_id is None else self._known(turn, terminal_id)
            if terminal is None:
                turn.answer(command.ticket, CommandError("terminal: no such terminal is installed"))
                return
            terminals = (terminal,)
        found: list[Json] = [
            {
                "terminal": terminal.terminal_id,
                "link": terminal.is_up,
                "status": self._phone(turn, terminal).status,
                "doing": terminal.phase.value,
                "reversals": len(terminal.reversals),
                "uploads": len(terminal.uploads),
                "refused": [one.as_json() for one in terminal.put_off[:REFUSED_SHOWN]],
            }
            for terminal in islice(terminals, STATUS_LIMIT)
        ]
        turn.answer(command.ticket, {"terminals": found, "dropped": dict(self.dropped)})

    # timers

    def _due(self, turn: Turn, key: TimerKey) -> None:
        name, terminal_id = key
        terminal = self._known(turn, terminal_id)
        if terminal is None:
            return
        phone = self._phone(turn, terminal)
        exchange = terminal.exchange
        if exchange is not None and exchange.kind == name:
            if exchange.deadline <= turn.now:
                self._line.unanswered(turn, terminal, phone, exchange.kind)
        elif terminal.phase == name and terminal.deadline <= turn.now:
            self._payments.timed_out(turn, terminal, phone)
        elif name in self._room_timers:
            self._room_timers[name].due(turn, terminal, phone, name)
        self._line.advance(turn, terminal, phone)


def _named_terminal(command: Command) -> str | None:
    """The terminal that a command names, installed or not; None where it names none that a store could hold."""
    named = command.arguments.get("terminal")
    if isinstance(named, str) and len(named) <= _TERMINAL_LENGTH and named.isascii() and named.isprintable():
        return named
    return None
