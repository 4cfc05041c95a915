"""The line of a phone to its acquirer: one request at a time, and what goes next when it is free.

A sign-on that is needed goes first, then the reversals that are pending, then the command in progress; so no financial
message ever leaves before a reversal has been answered. `advance` is the one place that decides it.
"""

from __future__ import annotations

from typing import Final

from merchant_device.clock import Clock
from merchant_device.keystore import Keystore
from merchant_device.receipts import APPROVED, DECLINED, REFUSED, UNKNOWN, ManagementResult
from merchant_device.reversal import Reversals
from merchant_device.sign_on import NetworkManagement, signed_off
from merchant_device.tables import SIGNED_ON, Phone
from merchant_device.tap import Payments
from merchant_device.terminal import Kind, Phase, Terminal
from network.iso8583 import Message
from network.party import SECOND, Turn

SIGN_ON_TIMER: Final = "sign-on-retry"

PAYMENTS: Final = frozenset((Kind.SALE, Kind.BALANCE))

_AT_THE_CARD: Final = frozenset((Phase.CARD, Phase.PIN, Phase.AUTHENTICATION))
_WITHOUT_KEYS: Final = frozenset((Kind.SIGN_ON, Kind.ECHO))


class Line:
    """Decides what a phone sends next, and what becomes of it.

    Parameters
    ----------
    keystore, clock, payments, reversals, management
        The rooms that make and take the messages.
    sign_on_retry : float
        Seconds between tries of the automatic sign-on.
    """

    def __init__(
        self,
        keystore: Keystore,
        clock: Clock,
        payments: Payments,
        reversals: Reversals,
        management: NetworkManagement,
        sign_on_retry: float,
    ) -> None:
        self._keystore = keystore
        self._clock = clock
        self._payments = payments
        self._reversals = reversals
        self._management = management
        self._sign_on_retry = sign_on_retry

    def advance(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Put on the line what is to go next, if it is free: sign-on, reversals, the command in progress."""
        if terminal.exchange is not None or not terminal.is_up or terminal.phase in _AT_THE_CARD:
            return
        waiting = terminal.phase is Phase.LINE
        kind = terminal.kind
        if waiting and kind in _WITHOUT_KEYS:
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
                self.refuse(turn, terminal, phone, "the phone is not signed on")
        elif terminal.reversals:
            if terminal.reversal_at <= turn.now or (waiting and not terminal.tried_reversal):
                terminal.tried_reversal = waiting
                self._reversals.send(turn, terminal, phone)
            elif waiting:
                self.refuse(turn, terminal, phone, "a reversal is pending")
        elif waiting and kind is Kind.SIGN_OFF:
            terminal.phase = Phase.ANSWER
            self._management.send(turn, terminal, phone, kind)
        elif waiting:
            self._payments.begin(turn, terminal, phone)

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        """Take what has come from the acquirer.

        Returns
        -------
        str or None
            Why it is of no use; None where it is.
        """
        exchange = terminal.exchange
        fields = message.fields
        if (
            exchange is None
            or message.mti != exchange.reply
            or fields.get(11) != exchange.stan
            or fields.get(41) != terminal.terminal_id
        ):
            return "unexpected from the acquirer"
        kind = exchange.kind
        if kind in PAYMENTS:
            self._payments.answered(turn, terminal, phone, message, body)
        elif kind is Kind.REVERSAL:
            genuine = self._keystore.is_genuine(phone, message, body)
            if not self._reversals.answered(turn, terminal, phone, message, genuine):
                return "wrong MAC"
        else:
            terminal.close()
            self._management_answered(turn, terminal, phone, kind, message)
        self.advance(turn, terminal, phone)
        return None

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        """The reply to a request has not come in time."""
        reason = "no answer from the acquirer"
        terminal.close()
        if kind in PAYMENTS:
            self._payments.unanswered(turn, terminal, phone, reason)
            return
        if kind is Kind.REVERSAL:
            if terminal.phase is Phase.LINE and terminal.kind not in _WITHOUT_KEYS:
                self.refuse(turn, terminal, phone, "a reversal is pending and was not answered")
        elif kind is Kind.SIGN_ON:
            self._sign_on_failed(turn, terminal, phone, reason)
        if terminal.phase is Phase.ANSWER and terminal.kind is kind:
            self.managed(turn, terminal, UNKNOWN, None, reason)

    def lost(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The link is down: what waits for it ends, what was on it has no answer."""
        terminal.is_up = False
        terminal.close()
        if terminal.phase is Phase.LINE:
            self.refuse(turn, terminal, phone, "the link to the acquirer broke")
        elif terminal.phase is Phase.ANSWER:
            if terminal.kind in PAYMENTS:
                self._payments.unanswered(turn, terminal, phone, "the link to the acquirer broke")
            else:
                self.managed(turn, terminal, UNKNOWN, None, "the link to the acquirer broke")

    def refuse(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """End the command in progress, of which nothing has left the phone."""
        if terminal.kind in PAYMENTS:
            self._payments.refuse(turn, terminal, phone, reason)
        else:
            self.managed(turn, terminal, REFUSED, None, reason)

    def managed(
        self, turn: Turn, terminal: Terminal, outcome: str, response_code: str | None, reason: str | None
    ) -> None:
        """Answer a sign-on, sign-off or echo."""
        result = ManagementResult(outcome, response_code, reason, terminal.terminal_id, self._clock.receipt)
        turn.answer(terminal.ticket, result.as_json())
        terminal.end()

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
            self.managed(turn, terminal, APPROVED if good else DECLINED, code, reason)

    def _sign_on_failed(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """Try again later where the phone signs on of its own accord; what waits for it does not wait longer."""
        if terminal.sign_on_at is not None or terminal.reversals:
            terminal.sign_on_at = turn.now + round(self._sign_on_retry * SECOND)
            turn.timer((SIGN_ON_TIMER, terminal.terminal_id), terminal.sign_on_at)
        if terminal.phase is Phase.LINE and terminal.kind not in _WITHOUT_KEYS:
            self.refuse(turn, terminal, phone, reason)
