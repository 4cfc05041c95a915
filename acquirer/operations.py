"""What operators command: enrolment, suspension, and the session with the switch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from acquirer.context import Context
from acquirer.enrolment import (
    MAC_ALGORITHMS,
    EnrolmentError,
    add_merchant,
    add_terminal,
    set_merchant_status,
    set_terminal_status,
)
from acquirer.tables import Merchant, Terminal
from network.iso8583 import Message
from network.keys import MacAlgorithm, SecurityModuleError
from network.party import SECOND, Command, CommandError, Instant, Json, TimerKey, Turn

_ECHO_TIMER: Final = "switch-echo"
_ECHO_SECONDS: Final = 10
_ECHO_LIMIT: Final = 100
"""Echo commands that may wait at the same time."""


class Operations:
    """Decides commands. An echo command is answered when the switch has answered the echo."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._echoes: dict[int, Instant] = {}
        self._committed = self._echoes
        self._commands: dict[str, Callable[[Turn, Command], Json]] = {
            "add_merchant": self._add_merchant,
            "add_terminal": self._add_terminal,
            "suspend_merchant": lambda turn, command: self._set_merchant(turn, command, active=False),
            "activate_merchant": lambda turn, command: self._set_merchant(turn, command, active=True),
            "suspend_terminal": lambda turn, command: self._set_terminal(turn, command, active=False),
            "activate_terminal": lambda turn, command: self._set_terminal(turn, command, active=True),
            "sign_on": self._sign_on,
            "sign_off": self._sign_off,
        }

    def begin(self) -> None:
        """A turn begins: the last one is committed."""
        self._committed = self._echoes

    def rolled_back(self) -> None:
        """The turn was not committed."""
        self._echoes = self._committed

    def command(self, turn: Turn, command: Command) -> None:
        """Decide a command and answer it, now or when the switch has answered."""
        if command.name == "echo":
            self._echo(turn, command)
            return
        decide = self._commands.get(command.name)
        if decide is None:
            turn.answer(command.ticket, CommandError(f"the acquirer knows no command {command.name}"))
            return
        try:
            result: Json | CommandError = decide(turn, command)
        except (EnrolmentError, CommandError) as error:
            result = CommandError(str(error))
        turn.answer(command.ticket, result)

    def echoed(self, turn: Turn, message: Message) -> None:
        """The switch has answered an echo: so are the commands that wait for it."""
        code = message.fields.get(39)
        for ticket, sent_at in self._echoes.items():
            turn.timer((_ECHO_TIMER, str(ticket)), None)
            turn.answer(ticket, {"response_code": str(code), "microseconds": turn.now - sent_at})
        self._echoes = {}

    def due(self, turn: Turn, key: TimerKey) -> bool:
        """Take a timer if it is of this room; tell whether it was."""
        if key[0] != _ECHO_TIMER:
            return False
        ticket = int(key[1])
        if ticket in self._echoes:
            self._echoes = {other: at for other, at in self._echoes.items() if other != ticket}
            turn.answer(ticket, CommandError(f"the switch did not answer the echo in {_ECHO_SECONDS} s"))
        return True

    def _echo(self, turn: Turn, command: Command) -> None:
        session = self._context.switch.session
        if session.link is None:
            turn.answer(command.ticket, CommandError("the link to the switch is down"))
            return
        if len(self._echoes) >= _ECHO_LIMIT:
            turn.answer(command.ticket, CommandError(f"{_ECHO_LIMIT} echoes are waiting for the switch already"))
            return
        session.echo(turn)
        self._echoes = {**self._echoes, command.ticket: turn.now}
        turn.timer((_ECHO_TIMER, str(command.ticket)), turn.now + _ECHO_SECONDS * SECOND)

    def _sign_on(self, turn: Turn, _: Command) -> Json:
        session = self._context.switch.session
        if session.link is None:
            raise CommandError("the link to the switch is down")
        session.sign_on(turn, session.link)
        return {"sent": True}

    def _sign_off(self, turn: Turn, _: Command) -> Json:
        session = self._context.switch.session
        if session.link is None:
            raise CommandError("the link to the switch is down")
        session.sign_off(turn)
        return {"sent": True}

    def _add_merchant(self, turn: Turn, command: Command) -> Json:
        merchant = add_merchant(
            turn.store,
            merchant_id=_text(command, "merchant_id"),
            name=_text(command, "name"),
            city=_text(command, "city"),
            category=_text(command, "category"),
            country=_text(command, "country", "CHN"),
            now=turn.now,
            currency=self._context.configuration.currency,
        )
        return merchant_view(merchant)

    def _add_terminal(self, turn: Turn, command: Command) -> Json:
        """`master_key` is a key block under the module's own storage key: no clear key crosses an interface."""
        module = self._context.module
        try:
            master_key = module.load(_text(command, "master_key"))
        except SecurityModuleError as error:
            raise CommandError(f"master_key: {error}") from error
        try:
            algorithm = MacAlgorithm(_text(command, "mac_algorithm", MacAlgorithm.CUP_ECB))
        except ValueError:
            raise CommandError(f"mac_algorithm is one of {', '.join(MAC_ALGORITHMS)}") from None
        terminal = add_terminal(
            turn.store,
            module,
            terminal_id=_text(command, "terminal_id"),
            merchant_id=_text(command, "merchant_id"),
            master_key=master_key,
            mac_algorithm=algorithm,
            now=turn.now,
        )
        return terminal_view(terminal)

    @staticmethod
    def _set_merchant(turn: Turn, command: Command, *, active: bool) -> Json:
        return merchant_view(set_merchant_status(turn.store, _text(command, "merchant_id"), active=active))

    @staticmethod
    def _set_terminal(turn: Turn, command: Command, *, active: bool) -> Json:
        return terminal_view(set_terminal_status(turn.store, _text(command, "terminal_id"), active=active))


def merchant_view(merchant: Merchant) -> dict[str, Json]:
    """What operators see of a merchant."""
    return {
        "merchant_id": merchant.merchant_id,
        "name": merchant.name,
        "city": merchant.city,
        "country": merchant.country,
        "category": merchant.category,
        "status": merchant.status,
        "enrolled_at": merchant.enrolled_at,
    }


def terminal_view(terminal: Terminal) -> dict[str, Json]:
    """What operators see of a terminal: no key, sealed or not."""
    return {
        "terminal_id": terminal.terminal_id,
        "merchant_id": terminal.merchant_id,
        "status": terminal.status,
        "mac_algorithm": terminal.mac_algorithm,
        "signed_on": terminal.mac_key is not None,
        "signed_on_at": terminal.signed_on_at,
        "sessions": terminal.session,
        "enrolled_at": terminal.enrolled_at,
    }


def _text(command: Command, name: str, default: str | None = None) -> str:
    value = command.arguments.get(name, default)
    if not isinstance(value, str):
        raise CommandError(f"{name} is missing, or no text")
    return value
