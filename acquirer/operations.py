"""What operators command: enrolment, suspension, what terminals download, and the session with the switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from acquirer.context import Context
from acquirer.downloads import set_ca_key, set_parameters, withdraw_ca_key
from acquirer.enrolment import (
    MAC_ALGORITHMS,
    EnrolmentError,
    add_merchant,
    add_terminal,
    set_merchant_status,
    set_terminal_status,
)
from acquirer.tables import ApplicationParameters, CaKey, Merchant, Terminal
from network.iso8583 import Message
from network.keys import MacAlgorithm, SecurityModuleError
from network.party import SECOND, Command, CommandError, Instant, Json, TimerKey, Turn

_ECHO_TIMER: Final = "switch-echo"
_ECHO_SECONDS: Final = 10
_ECHO_LIMIT: Final = 100
"""Echo commands that may wait at the same time."""


class Operations:
    """Decides commands. An echo command is answered when the switch has answered the echo.

    Parameters
    ----------
    more
        Commands of other rooms, by name.
    """

    def __init__(self, context: Context, more: Mapping[str, Callable[[Turn, Command], Json]]) -> None:
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
            "set_ca_key": self._set_ca_key,
            "withdraw_ca_key": self._withdraw_ca_key,
            "set_parameters": self._set_parameters,
            "sign_on": self._sign_on,
            "sign_off": self._sign_off,
            **more,
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

    @staticmethod
    def _set_ca_key(turn: Turn, command: Command) -> Json:
        """`block` is the download's TLV in hexadecimal."""
        try:
            block = bytes.fromhex(_text(command, "block"))
        except ValueError:
            raise CommandError("block is not hexadecimal") from None
        return ca_key_view(set_ca_key(turn.store, block, turn.now))

    @staticmethod
    def _withdraw_ca_key(turn: Turn, command: Command) -> Json:
        name = f"{_text(command, 'rid')}|{_text(command, 'index')}".upper()
        return ca_key_view(withdraw_ca_key(turn.store, name, turn.now))

    @staticmethod
    def _set_parameters(turn: Turn, command: Command) -> Json:
        row = set_parameters(
            turn.store,
            _text(command, "aid"),
            floor_limit=_fen(command, "floor_limit"),
            contactless_limit=_fen(command, "contactless_limit"),
            cvm_limit=_fen(command, "cvm_limit"),
            now=turn.now,
        )
        return parameters_view(row)


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
        "device_id": terminal.device_id,
        "enrolled_at": terminal.enrolled_at,
    }


def ca_key_view(row: CaKey) -> dict[str, Json]:
    """What operators see of a CA key: a public one."""
    rid, _, index = row.name.partition("|")
    return {
        "rid": rid,
        "index": index,
        "status": row.status,
        "expiry": row.expiry,
        "block": row.block.hex().upper(),
        "changed_at": row.changed_at,
    }


def parameters_view(row: ApplicationParameters) -> dict[str, Json]:
    """What operators see of an application's limits, in fen."""
    return {
        "aid": row.aid,
        "floor_limit": row.floor_limit,
        "contactless_limit": row.contactless_limit,
        "cvm_limit": row.cvm_limit,
        "changed_at": row.changed_at,
    }


def _text(command: Command, name: str, default: str | None = None) -> str:
    value = command.arguments.get(name, default)
    if not isinstance(value, str):
        raise CommandError(f"{name} is missing, or no text")
    return value


def _fen(command: Command, name: str) -> int:
    value = command.arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise CommandError(f"{name} is missing, or no whole number of fen")
    return value
