"""The merchant device: the trusted side of any number of phones, each a terminal of its own.

Links of the phone X: ``acquirer:X`` carries ISO 8583 messages, ``reader:X`` command APDUs out and response APDUs in (an
empty body: the card is gone), ``pinpad:X`` a request out and a PIN in. Commands: ``sale``, ``balance``, ``sign_on``,
``sign_off``, ``echo``, ``cancel`` and ``status``.

A phone does one thing at a time. A command waits for the line to the acquirer until a sign-on that is needed and the
reversals that are pending have been answered; then the card is read. `_advance` is the one place that decides what
goes over a free line.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from merchant_device.clock import Clock
from merchant_device.configuration import Configuration
from merchant_device.kernel.configuration import MAX_AMOUNT
from merchant_device.keystore import Keystore
from merchant_device.receipts import APPROVED, DECLINED, REFUSED, UNKNOWN, ManagementResult, refused_receipt
from merchant_device.reversal import TERMINAL_FAULT, Reversals
from merchant_device.sign_on import NetworkManagement, signed_off
from merchant_device.tables import INSTALLED, PENDING, REVERSING, SIGNED_ON, Phone, Sale, sale_reference
from merchant_device.tap import Payments
from merchant_device.terminal import Kind, Phase, Saved, Terminal
from network.iso8583 import TERMINAL, DecodeError, Message, TerminalHeader
from network.keys import SecurityModule
from network.party import SECOND, Command, CommandError, Json, LinkChange, LinkName, TimerKey, Turn

SIGN_ON_TIMER: Final = "sign-on-retry"

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
_PAYMENTS: Final = frozenset((Kind.SALE, Kind.BALANCE))
_AT_THE_CARD: Final = frozenset((Phase.CARD, Phase.PIN, Phase.AUTHENTICATION))


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
        self._terminals: dict[str, Terminal] = {}
        self._routes: dict[LinkName, tuple[str, Terminal]] = {}
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
        self._load(turn)
        for change in turn.link_changes:
            self._link_changed(turn, change)
        for link, body in turn.inbox:
            self._received(turn, link, body)
        for command in turn.commands:
            self._command(turn, command)
        for key in turn.due:
            self._due(turn, key)

    def rolled_back(self) -> None:
        """Be again as before the last turn."""
        for terminal, saved in self._saved.items():
            terminal.restore(saved)
        self._saved.clear()

    # who is meant

    def _load(self, turn: Turn) -> None:
        """Read the rows of every phone and sale that this turn may need."""
        phones = [identifier for _, identifier in turn.due]
        for link, _ in (*turn.inbox, *turn.link_changes):
            route = self._routes.get(link)
            phones.append(link.partition(":")[2] if route is None else route[1].terminal_id)
        for command in turn.commands:
            argument = command.arguments.get("terminal")
            if isinstance(argument, str):
                phones.append(argument)
        turn.store.load(Phone, "terminal_id", phones)
        sales: list[str] = []
        for identifier in phones:
            terminal = self._terminals.get(identifier)
            if terminal is None:
                continue
            exchange = terminal.exchange
            if exchange is not None:
                if exchange.reference is not None:
                    sales.append(exchange.reference)
            elif terminal.phase is Phase.AUTHENTICATION:
                sales.append(sale_reference(identifier, terminal.batch, terminal.stan))
            if terminal.reversals:
                sales.append(terminal.reversals[0])
        if sales:
            turn.store.load(Sale, "reference", sales)

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

    @staticmethod
    def _phone(turn: Turn, terminal: Terminal) -> Phone:
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
            self._link_lost(turn, terminal, phone)
            return
        if self._configuration.sign_on_at_start and (not terminal.was_up or phone.status == INSTALLED):
            terminal.sign_on_at = turn.now
        terminal.is_up = terminal.was_up = True
        terminal.reversal_at = turn.now
        self._advance(turn, terminal, phone)

    def _link_lost(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        terminal.is_up = False
        if terminal.exchange is not None:
            terminal.close(turn)
        if terminal.phase is Phase.LINE:
            self._refuse(turn, terminal, phone, "the link to the acquirer broke")
        elif terminal.phase is Phase.ANSWER:
            if terminal.kind in _PAYMENTS:
                self._payments.unanswered(turn, terminal, phone, "the link to the acquirer broke")
            else:
                self._managed(turn, terminal, UNKNOWN, None, "the link to the acquirer broke")

    def _received(self, turn: Turn, link: LinkName, body: bytes) -> None:
        route = self._routes.get(link)
        if route is None:
            kind, _, terminal_id = link.partition(":")
            if kind not in ("acquirer", "reader", "pinpad") or self._known(turn, terminal_id) is None:
                self._drop("unknown link")
                return
            route = self._routes[link]
        kind, terminal = route
        if terminal not in self._saved:
            self._saved[terminal] = terminal.save()
        phone = self._phone(turn, terminal)
        if kind == "acquirer":
            self._answered(turn, terminal, phone, body)
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
            self._advance(turn, terminal, phone)

    def _answered(self, turn: Turn, terminal: Terminal, phone: Phone, body: bytes) -> None:
        try:
            message = TERMINAL.unpack(body)
        except DecodeError:
            self._drop("undecodable")
            return
        exchange = terminal.exchange
        fields = message.fields
        if (
            exchange is None
            or message.mti != exchange.reply
            or fields.get(11) != exchange.stan
            or fields.get(41) != terminal.terminal_id
        ):
            self._drop("unexpected from the acquirer")
            return
        kind = exchange.kind
        if kind in _PAYMENTS:
            self._payments.answered(turn, terminal, phone, message, body)
        elif kind is Kind.REVERSAL:
            genuine = self._keystore.is_genuine(phone, message, body)
            if not self._reversals.answered(turn, terminal, phone, message, genuine):
                self._drop("wrong MAC")
                return
        else:
            terminal.close(turn)
            self._management_answered(turn, terminal, phone, kind, message)
        self._advance(turn, terminal, phone)

    def _management_answered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, message: Message) -> None:
        given = message.get(39)
        code = given if isinstance(given, str) else None
        reason = None
        if kind is Kind.SIGN_ON:
            reason = self._management.signed_on(turn, phone, message)
            if reason is None:
                terminal.sign_on_at = None
            else:
                self._sign_on_failed(turn, terminal, phone, reason)
        elif kind is Kind.SIGN_OFF and code == "00":
            signed_off(turn, phone)
        if terminal.phase is Phase.ANSWER and terminal.kind is kind:
            good = code == "00" and reason is None
            self._managed(turn, terminal, APPROVED if good else DECLINED, code, reason)

    def _sign_on_failed(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """Try again later where the phone signs on of its own accord; what waits for it does not wait longer."""
        if terminal.sign_on_at is not None or terminal.reversals:
            terminal.sign_on_at = turn.now + round(self._configuration.sign_on_retry * SECOND)
            turn.timer((SIGN_ON_TIMER, terminal.terminal_id), terminal.sign_on_at)
        if terminal.phase is Phase.LINE and terminal.kind not in (Kind.SIGN_ON, Kind.ECHO):
            self._refuse(turn, terminal, phone, reason)

    # the line to the acquirer

    def _advance(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Put on the line what is to go next, if it is free: sign-on, reversals, the command in progress."""
        if terminal.exchange is not None or not terminal.is_up or terminal.phase in _AT_THE_CARD:
            return
        waiting = terminal.phase is Phase.LINE
        kind = terminal.kind
        if waiting and kind in (Kind.SIGN_ON, Kind.ECHO):
            terminal.phase = Phase.ANSWER
            self._management.send(turn, terminal, phone, kind)
            return
        sign_on_at = terminal.sign_on_at
        is_signed_on = phone.status == SIGNED_ON
        if (
            (sign_on_at is not None and sign_on_at <= turn.now)
            or (waiting and not is_signed_on and not terminal.tried_sign_on)
            or (terminal.reversals and not is_signed_on and sign_on_at is None)
        ):
            terminal.tried_sign_on = waiting
            self._management.send(turn, terminal, phone, Kind.SIGN_ON)
        elif not is_signed_on:
            if waiting:
                self._refuse(turn, terminal, phone, "the phone is not signed on")
        elif terminal.reversals:
            if terminal.reversal_at <= turn.now or (waiting and not terminal.tried_reversal):
                terminal.tried_reversal = waiting
                self._reversals.send(turn, terminal, phone)
            elif waiting:
                self._refuse(turn, terminal, phone, "a reversal is pending")
        elif waiting and kind is Kind.SIGN_OFF:
            terminal.phase = Phase.ANSWER
            self._management.send(turn, terminal, phone, kind)
        elif waiting:
            self._payments.begin(turn, terminal, phone)

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
            self._advance(turn, terminal, phone)

    def _refusal(self, phone: Phone, kind: Kind, amount: int, reason: str) -> Json:
        """The answer to a command that was not taken up."""
        if kind not in _PAYMENTS:
            return ManagementResult(REFUSED, None, reason, phone.terminal_id, self._clock.receipt).as_json()
        return refused_receipt(
            phone.terminal_id, phone.merchant_id, amount if kind is Kind.SALE else None, reason, self._clock.receipt
        ).as_json()

    def _refuse(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """End the command in progress, of which nothing has left the phone."""
        if terminal.kind in _PAYMENTS:
            self._payments.refuse(turn, terminal, phone, reason)
        else:
            self._managed(turn, terminal, REFUSED, None, reason)

    def _managed(
        self, turn: Turn, terminal: Terminal, outcome: str, response_code: str | None, reason: str | None
    ) -> None:
        result = ManagementResult(outcome, response_code, reason, terminal.terminal_id, self._clock.receipt)
        turn.answer(terminal.ticket, result.as_json())
        terminal.end()

    def _cancel(self, turn: Turn, command: Command, terminal: Terminal, phone: Phone) -> None:
        if terminal.phase is Phase.IDLE:
            turn.answer(command.ticket, CommandError("nothing is in progress"))
            return
        phase = terminal.phase.value
        if terminal.kind in _PAYMENTS:
            self._payments.cancel(turn, terminal, phone)
        else:
            self._managed(turn, terminal, REFUSED, None, "cancelled")
        turn.answer(command.ticket, {"terminal": terminal.terminal_id, "cancelled": phase})
        self._advance(turn, terminal, phone)

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
        if exchange is not None and exchange.kind.value == name:
            if exchange.deadline <= turn.now:
                self._unanswered(turn, terminal, phone, exchange.kind)
        elif terminal.phase.name == name and terminal.deadline <= turn.now:
            self._payments.timed_out(turn, terminal, phone)
        self._advance(turn, terminal, phone)

    def _unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        """The reply to a request has not come in time."""
        reason = "no answer from the acquirer"
        terminal.close(turn)
        if kind in _PAYMENTS:
            self._payments.unanswered(turn, terminal, phone, reason)
            return
        if kind is Kind.REVERSAL:
            if terminal.phase is Phase.LINE and terminal.kind is not Kind.ECHO and terminal.kind is not Kind.SIGN_ON:
                self._refuse(turn, terminal, phone, "a reversal is pending and was not answered")
        elif kind is Kind.SIGN_ON:
            self._sign_on_failed(turn, terminal, phone, reason)
        if terminal.phase is Phase.ANSWER and terminal.kind is kind:
            self._managed(turn, terminal, UNKNOWN, None, reason)
