"""The commands of merchants: what is wrong with one, and which is taken up.

A command that is taken up waits for the line; the party lets the line advance after each command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from merchant_device.clock import Clock
from merchant_device.history import HISTORY_LIMIT
from merchant_device.history import history as latest_sales
from merchant_device.kernel.configuration import MAX_AMOUNT
from merchant_device.line import PAYMENTS, Line
from merchant_device.payments import Payments
from merchant_device.receipts import REFUSED, ManagementResult, refused_receipt
from merchant_device.tables import SIGNED_ON, Phone
from merchant_device.terminal import TAP_ONLY, Kind, Phase, Terminal
from network.party import Command, CommandError, Json, Turn
from network.tracing import Attributes

KINDS: Final[Mapping[str, Kind]] = {
    "sale": Kind.SALE,
    "balance": Kind.BALANCE,
    "sign_on": Kind.SIGN_ON,
    "sign_off": Kind.SIGN_OFF,
    "echo": Kind.ECHO,
}
"""Commands that wait for the line."""

OTHER_COMMANDS: Final = frozenset(("cancel", "history"))
"""Commands about one terminal that are answered at once."""


class Commands:
    """Takes the commands about one terminal.

    Parameters
    ----------
    clock : Clock
        Set to the turn's time by the party.
    payments : Payments
    line : Line
    """

    def __init__(self, clock: Clock, payments: Payments, line: Line) -> None:
        self._clock = clock
        self._payments = payments
        self._line = line

    def take_up(self, turn: Turn, command: Command, kind: Kind, terminal: Terminal, phone: Phone) -> None:
        """Begin a payment or a management request, or answer why not."""
        arguments = command.arguments
        amount = 0
        ways: tuple[str, ...] = TAP_ONLY
        if kind is Kind.SALE:
            asked = arguments.get("amount")
            if not isinstance(asked, int) or isinstance(asked, bool) or not 1 <= asked <= MAX_AMOUNT:
                turn.answer(command.ticket, CommandError(f"amount: fen, a whole number from 1 to {MAX_AMOUNT}"))
                return
            amount = asked
            if "ways" in arguments:
                offered = self._offered(arguments["ways"])
                if offered is None:
                    known = ", ".join(sorted(self._payments.ways))
                    turn.answer(command.ticket, CommandError(f"ways: a list of different ones of {known}"))
                    return
                ways = offered
        if terminal.phase is not Phase.IDLE:
            turn.answer(command.ticket, self._refusal(phone, kind, amount, "the terminal is busy"))
        elif (obstacle := self._line.obstacle(terminal, kind, ways[0])) is not None:
            turn.answer(command.ticket, self._refusal(phone, kind, amount, obstacle))
        elif kind is Kind.SIGN_OFF and phone.status != SIGNED_ON:
            turn.answer(command.ticket, self._refusal(phone, kind, amount, "the phone is not signed on"))
        else:
            terminal.begin(kind, command.ticket, amount, ways)
            if turn.tracing is not None and kind in PAYMENTS:
                asked_for: Attributes = {"fourparty.terminal": terminal.terminal_id, "fourparty.amount_fen": amount}
                terminal.trace = turn.tracing.begin(turn, terminal.terminal_id, f"{kind} at the phone", None, asked_for)

    def _offered(self, asked: Json) -> tuple[str, ...] | None:
        """The ways of paying that a sale is to offer, in that order; None where the argument is wrong."""
        ways = self._payments.ways
        if not isinstance(asked, list | tuple) or not 1 <= len(asked) <= len(ways):
            return None
        names = tuple(one for one in asked if isinstance(one, str) and one in ways)
        return names if len(names) == len(asked) == len(set(names)) else None

    def _refusal(self, phone: Phone, kind: Kind, amount: int, reason: str) -> Json:
        """The answer to a command that was not taken up."""
        if kind not in PAYMENTS:
            return ManagementResult(REFUSED, None, reason, phone.terminal_id, self._clock.receipt).as_json()
        return refused_receipt(
            phone.terminal_id, phone.merchant_id, amount if kind is Kind.SALE else None, reason, self._clock.receipt
        ).as_json()

    def cancel(self, turn: Turn, command: Command, terminal: Terminal, phone: Phone) -> None:
        """Stop what the phone is doing."""
        if terminal.phase is Phase.IDLE:
            turn.answer(command.ticket, CommandError("nothing is in progress"))
            return
        phase = terminal.phase
        if terminal.kind in PAYMENTS:
            self._payments.cancel(turn, terminal, phone)
        else:
            self._line.refuse(turn, terminal, phone, "cancelled")
        turn.answer(command.ticket, {"terminal": terminal.terminal_id, "cancelled": phase.value})

    def history(self, turn: Turn, command: Command, terminal: Terminal) -> None:
        """Answer with the phone's latest sales."""
        limit = command.arguments.get("limit", HISTORY_LIMIT)
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= HISTORY_LIMIT:
            turn.answer(command.ticket, CommandError(f"limit: a whole number from 1 to {HISTORY_LIMIT}"))
            return
        found = latest_sales(turn.store, terminal.terminal_id, limit)
        turn.answer(command.ticket, {"terminal": terminal.terminal_id, "sales": found})
