"""The merchant device: the trusted side of any number of phones, each a terminal of its own.

Links of the phone X: ``acquirer:X`` carries ISO 8583 messages, ``reader:X`` command APDUs out and response APDUs in (an
empty body: the card is gone), ``pinpad:X`` a request out and a PIN in. Commands: ``sale``, ``balance``, ``sign_on``,
``sign_off``, ``echo``, ``cancel`` and ``status``.

A phone does one thing at a time. A command waits for the line to the acquirer until a sign-on that is needed and the
reversals that are pending have been answered; then the card is read (`Line`, `Payments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final, TypeAlias

from merchant_device.clock import Clock
from merchant_device.configuration import Configuration
from merchant_device.kernel.configuration import MAX_AMOUNT
from merchant_device.keystore import Keystore
from merchant_device.line import PAYMENTS, Line
from merchant_device.receipts import REFUSED, ManagementResult, refused_receipt
from merchant_device.reversal import TERMINAL_FAULT, Reversals
from merchant_device.sign_on import NetworkManagement
from merchant_device.tables import INSTALLED, PENDING, REVERSING, SIGNED_ON, Phone, Sale
from merchant_device.tap import Payments
from merchant_device.terminal import Kind, Phase, Saved, Terminal
from network.iso8583 import TERMINAL, DecodeError, Message, TerminalHeader
from network.keys import SecurityModule
from network.party import Command, CommandError, Json, LinkChange, LinkName, TimerKey, Turn
from network.store import Key

SCAN_LIMIT: Final = 1_000_000
"""Sales in flight or in reversal that a start takes up: several for each phone of the largest device."""

STATUS_LIMIT: Final = 10_000
"""Terminals in one answer to ``status``."""

_COMMANDS: Final = {
    "sale": Kind.SALE,
    "balance": Kind.BALANCE,
    "sign_on": Kind.SIGN_ON,
    "sign_off": Kind.SIGN_OFF,
    "echo": Kind.ECHO,
}


_Arrived: TypeAlias = tuple[str, Terminal, bytes, Message | None]
"""The kind of link, whose it is, the body, and what it unpacks to where it is the acquirer's."""


class MerchantDevice:
    """The party.

    Parameters
    ----------
    configuration : Configuration
    module : SecurityModule
        Its storage key is the one that the store's key blocks are under.

    Attributes
    ----------
    dropped : dict of str to int
        What arrived and was not for anything in progress, by reason.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        self.name = configuration.name
        self.dropped: dict[str, int] = {}
        self._configuration = configuration
        self._clock = Clock()
        self._keystore = Keystore(module)
        header = TerminalHeader(bytes.fromhex(configuration.tpdu), configuration.head)
        self._reversals = Reversals(self._keystore, header, configuration.currency, configuration.reversal_retry)
        self._management = NetworkManagement(
            module,
            header,
            configuration.key_download,
            configuration.operator,
            configuration.management_timeout,
            configuration.stan_block,
        )
        self._payments = Payments(configuration, self._keystore, header, self._reversals, self._clock)
        self._line = Line(
            self._keystore,
            self._clock,
            self._payments,
            self._reversals,
            self._management,
            configuration.sign_on_retry,
        )
        self._terminals: dict[str, Terminal] = {}
        self._routes: dict[LinkName, tuple[str, Terminal]] = {}
        self._phones: Mapping[Key, Phone | None] = {}
        self._saved: dict[Terminal, Saved] = {}

    def start(self, turn: Turn) -> None:
        """Reverse what was pending when the process before this one ended; reversals go on where they were."""
        store = turn.store
        pending = store.scan(Sale, "status", PENDING, SCAN_LIMIT)
        reversing = store.scan(Sale, "status", REVERSING, SCAN_LIMIT)
        store.load(Phone, "terminal_id", {sale.terminal_id for sale in (*pending, *reversing)})
        for sale in reversing:
            terminal = self._terminal(turn, sale.terminal_id)
            terminal.reversals = (*terminal.reversals, sale.reference)
        for sale in pending:
            terminal = self._terminal(turn, sale.terminal_id)
            self._reversals.start(turn, terminal, sale, TERMINAL_FAULT, "the device stopped before the sale ended")

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived: links, messages, commands, timers."""
        self._saved.clear()
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
        self._phones = {}

    # who is meant

    def _load(self, turn: Turn) -> list[_Arrived]:
        """Unpack what has arrived and read the rows of every phone and sale that this turn may need."""
        phones = [identifier for _, identifier in turn.due]
        sales: list[str] = []
        for change in turn.link_changes:
            phones.append(change.link.partition(":")[2])
        for command in turn.commands:
            argument = command.arguments.get("terminal")
            if isinstance(argument, str):
                phones.append(argument)
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
            if terminal.reversals or (terminal.row is None and terminal.reference is not None):
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
            self._routes[terminal.acquirer_link] = ("acquirer", terminal)
            self._routes[terminal.reader_link] = ("reader", terminal)
            self._routes[terminal.pinpad_link] = ("pinpad", terminal)
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
        terminal = self._known(turn, terminal_id) if kind == "acquirer" else None
        if terminal is None:
            return
        phone = self._phone(turn, terminal)
        if not change.up:
            self._line.lost(turn, terminal, phone)
            return
        if self._configuration.sign_on_at_start and (not terminal.was_up or phone.status == INSTALLED):
            terminal.sign_on_at = turn.now
        terminal.is_up = terminal.was_up = True
        terminal.reversal_at = turn.now
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
            self._payments.card_answered(turn, terminal, phone, body)
        elif kind == "reader" and phase is Phase.AUTHENTICATION:
            self._payments.authenticated(turn, terminal, phone, body)
        elif kind == "pinpad" and phase is Phase.PIN:
            self._payments.pin_entered(turn, terminal, phone, body)
        else:
            self._drop(f"unexpected from the {kind}")
            return
        if terminal.phase is Phase.IDLE:
            self._line.advance(turn, terminal, phone)

    # commands

    def _command(self, turn: Turn, command: Command) -> None:
        name, arguments = command.name, command.arguments
        if name == "status":
            self._status(turn, command)
            return
        kind = _COMMANDS.get(name)
        if kind is None and name != "cancel":
            turn.answer(command.ticket, CommandError("no such command"))
            return
        terminal_id = arguments.get("terminal")
        terminal = self._known(turn, terminal_id) if isinstance(terminal_id, str) else None
        if terminal is None:
            turn.answer(command.ticket, CommandError("terminal: no such terminal is installed"))
            return
        phone = self._phone(turn, terminal)
        if kind is None:
            self._cancel(turn, command, terminal, phone)
            return
        amount = 0
        if kind is Kind.SALE:
            asked = arguments.get("amount")
            if not isinstance(asked, int) or isinstance(asked, bool) or not 1 <= asked <= MAX_AMOUNT:
                turn.answer(command.ticket, CommandError(f"amount: fen, a whole number from 1 to {MAX_AMOUNT}"))
                return
            amount = asked
        if terminal.phase is not Phase.IDLE:
            turn.answer(command.ticket, self._refusal(phone, kind, amount, "the terminal is busy"))
        elif not terminal.is_up:
            turn.answer(command.ticket, self._refusal(phone, kind, amount, "the link to the acquirer is down"))
        elif kind is Kind.SIGN_OFF and phone.status != SIGNED_ON:
            turn.answer(command.ticket, self._refusal(phone, kind, amount, "the phone is not signed on"))
        else:
            terminal.begin(kind, command.ticket, amount)
            self._line.advance(turn, terminal, phone)

    def _refusal(self, phone: Phone, kind: Kind, amount: int, reason: str) -> Json:
        """The answer to a command that was not taken up."""
        if kind not in PAYMENTS:
            return ManagementResult(REFUSED, None, reason, phone.terminal_id, self._clock.receipt).as_json()
        return refused_receipt(
            phone.terminal_id, phone.merchant_id, amount if kind is Kind.SALE else None, reason, self._clock.receipt
        ).as_json()

    def _cancel(self, turn: Turn, command: Command, terminal: Terminal, phone: Phone) -> None:
        if terminal.phase is Phase.IDLE:
            turn.answer(command.ticket, CommandError("nothing is in progress"))
            return
        phase = terminal.phase
        if terminal.kind in PAYMENTS:
            self._payments.cancel(turn, terminal, phone)
        else:
            self._line.refuse(turn, terminal, phone, "cancelled")
        turn.answer(command.ticket, {"terminal": terminal.terminal_id, "cancelled": phase.value})
        self._line.advance(turn, terminal, phone)

    def _status(self, turn: Turn, command: Command) -> None:
        wanted = command.arguments.get("terminal")
        if wanted is None:
            terminals: Iterable[Terminal] = self._terminals.values()
        else:
            terminal = self._known(turn, wanted) if isinstance(wanted, str) else None
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
        self._line.advance(turn, terminal, phone)
