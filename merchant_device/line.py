"""The line of a phone to its acquirer: one request at a time, and what goes next when it is free.

A sign-on that is needed goes first, then the reversals that are pending, then the offline sales that the acquirer does
not know of, then the command in progress; so no financial message ever leaves before a reversal has been answered. An
upload is tried before a command and does not hold it up for longer than one try. `advance` is the one place that
decides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from merchant_device.answers import Answers
from merchant_device.clock import Clock
from merchant_device.keystore import Keystore
from merchant_device.offline import Uploads
from merchant_device.payments import Payments
from merchant_device.receipts import APPROVED, DECLINED, REFUSED, UNKNOWN, ManagementResult
from merchant_device.reversal import Reversals
from merchant_device.rooms import Room
from merchant_device.sale import text
from merchant_device.sign_on import NetworkManagement, signed_off
from merchant_device.tables import SIGNED_ON, WIPED, Phone
from merchant_device.terminal import TAP, Kind, Phase, Terminal
from network.iso8583 import Message
from network.party import SECOND, Instant, Turn

SIGN_ON_TIMER: Final = "sign-on-retry"

PAYMENTS: Final = frozenset((Kind.SALE, Kind.BALANCE))

LINK_DOWN: Final = "the link to the acquirer is down"
TOO_MANY_WAIT: Final = "too many offline sales wait for the acquirer"

_AT_THE_CARD: Final = frozenset((Phase.CARD, Phase.PIN, Phase.AUTHENTICATION, Phase.PAUSE, Phase.ATTESTING, Phase.CODE))
_WITHOUT_KEYS: Final = frozenset((Kind.SIGN_ON, Kind.ECHO))


class Line:
    """Decides what a phone sends next, and what becomes of it.

    Parameters
    ----------
    keystore, clock, payments, answers, reversals, uploads, management
        What makes and takes the messages.
    sign_on_retry : float
        Seconds between tries of the automatic sign-on.
    offline_limit : int
        Offline sales that may wait while a card is read without the link to the acquirer; 0 where none is.
    rooms : sequence of Room
        Take the answers to the requests that are theirs.
    """

    def __init__(
        self,
        keystore: Keystore,
        clock: Clock,
        payments: Payments,
        answers: Answers,
        reversals: Reversals,
        uploads: Uploads,
        management: NetworkManagement,
        sign_on_retry: float,
        offline_limit: int,
        rooms: Sequence[Room],
    ) -> None:
        self._keystore = keystore
        self._clock = clock
        self._payments = payments
        self._answers = answers
        self._reversals = reversals
        self._uploads = uploads
        self._management = management
        self._sign_on_retry = sign_on_retry
        self._offline_limit = offline_limit
        self._rooms = rooms
        self._room_of = {kind: room for room in rooms for kind in room.kinds}

    def obstacle(self, terminal: Terminal, kind: Kind, way: str) -> str | None:
        """Why a command cannot be taken up now: without the link, only a sale that the card may approve itself can."""
        if terminal.is_up:
            return None
        if not self._offline_limit or kind is not Kind.SALE or way != TAP:
            return LINK_DOWN
        return None if len(terminal.uploads) < self._offline_limit else TOO_MANY_WAIT

    def advance(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Put on the line what is to go next, if it is free: sign-on, reversals, uploads, the command in progress."""
        if terminal.exchange is not None:
            return
        if terminal.phase in _AT_THE_CARD:
            if terminal.order is not None and terminal.is_up and _is_due(terminal.sign_on_at, turn.now):
                # a code is shown for minutes: without keys nobody could be asked whether it has been paid
                self._management.send(turn, terminal, phone, Kind.SIGN_ON)
            return
        waiting = terminal.phase is Phase.LINE
        kind = terminal.kind
        if phone.status == WIPED:
            # what it owed it has handed over; nothing of its own leaves before it is installed anew
            if waiting:
                self.refuse(turn, terminal, phone, "the phone's keys were wiped")
            return
        if not terminal.is_up:
            if waiting:
                self._without_link(turn, terminal, phone, LINK_DOWN)
            return
        if waiting and kind in _WITHOUT_KEYS:
            terminal.phase = Phase.ANSWER
            self._management.send(turn, terminal, phone, kind)
            return
        sign_on_at = terminal.sign_on_at
        is_signed_on = phone.status == SIGNED_ON
        if (
            _is_due(sign_on_at, turn.now)
            or (waiting and not is_signed_on and not terminal.tried_sign_on)
            or ((terminal.reversals or terminal.uploads) and not is_signed_on and sign_on_at is None)
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
        elif terminal.uploads and (
            terminal.upload_at <= turn.now
            or (waiting and not terminal.tried_upload and self._uploads.may_be_hurried(terminal))
        ):
            terminal.tried_upload = waiting
            self._uploads.send(turn, terminal, phone)
        elif waiting:
            self._begin(turn, terminal, phone)

    def _begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The command in progress has the line."""
        kind = terminal.kind
        if kind in PAYMENTS:
            self._payments.begin(turn, terminal, phone)
            # a way of paying that ended at once has made room for the next: there are few, and each goes once
            if terminal.phase is Phase.LINE:
                self.advance(turn, terminal, phone)
            return
        terminal.phase = Phase.ANSWER
        room = self._room_of.get(kind)
        if room is None:
            self._management.send(turn, terminal, phone, kind)
        else:
            room.send(turn, terminal, phone, kind)

    def _without_link(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """The command that waits for the line goes on where a card may do without it; else it ends."""
        obstacle = self.obstacle(terminal, terminal.kind, terminal.ways[0])
        if obstacle is None:
            self._begin(turn, terminal, phone)
        else:
            self.refuse(turn, terminal, phone, reason if obstacle == LINK_DOWN else obstacle)

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
            if any(room.told(turn, terminal, phone, message, body) for room in self._rooms):
                self.advance(turn, terminal, phone)
                return None
            return "unexpected from the acquirer"
        kind = exchange.kind
        turn.count_wait(exchange.reply, turn.now - exchange.sent_at)
        turn.count_answer(exchange.reply, text(fields, 39) or "")
        if kind in PAYMENTS:
            self._answers.answered(turn, terminal, phone, message, body)
        elif kind is Kind.REVERSAL:
            genuine = self._keystore.is_genuine(phone, message, body)
            if not self._reversals.answered(turn, terminal, phone, message, genuine):
                return "wrong MAC"
        elif kind is Kind.UPLOAD:
            genuine = self._keystore.is_genuine(phone, message, body)
            if not self._uploads.answered(turn, terminal, phone, message, genuine):
                return "wrong MAC"
        elif kind in self._room_of:
            useless = self._room_of[kind].answered(turn, terminal, phone, message, body)
            if useless is not None:
                return useless
        else:
            terminal.close()
            self._management_answered(turn, terminal, phone, kind, message)
        self.advance(turn, terminal, phone)
        return None

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        """The reply to a request has not come in time."""
        reason = "no answer from the acquirer"
        exchange = terminal.exchange
        if exchange is not None:
            turn.count_wait(exchange.reply, turn.now - exchange.sent_at)
        terminal.close()
        if kind in PAYMENTS:
            self._answers.unanswered(turn, terminal, phone, reason)
            return
        if kind is Kind.REVERSAL:
            if terminal.phase is Phase.LINE and terminal.kind not in _WITHOUT_KEYS:
                self.refuse(turn, terminal, phone, "a reversal is pending and was not answered")
        elif kind is Kind.UPLOAD:
            terminal.tried_upload = True
            self._uploads.retry_later(turn, terminal)
        elif kind is Kind.SIGN_ON:
            self._sign_on_failed(turn, terminal, phone, reason)
        elif kind in self._room_of:
            self._room_of[kind].unanswered(turn, terminal, phone, kind, reason)
            return
        if terminal.phase is Phase.ANSWER and terminal.kind is kind:
            self.managed(turn, terminal, UNKNOWN, None, reason)

    def lost(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The link is down: what waits for it ends, what was on it has no answer."""
        reason = "the link to the acquirer broke"
        terminal.is_up = False
        exchange = terminal.exchange
        terminal.close()
        if exchange is not None and exchange.kind in self._room_of:
            self._room_of[exchange.kind].unanswered(turn, terminal, phone, exchange.kind, reason)
        if terminal.phase is Phase.LINE:
            self._without_link(turn, terminal, phone, reason)
        elif terminal.phase is Phase.ANSWER:
            if terminal.kind in PAYMENTS:
                self._answers.unanswered(turn, terminal, phone, reason)
            else:
                self.managed(turn, terminal, UNKNOWN, None, reason)

    def refuse(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """End the command in progress, of which nothing has left the phone."""
        if terminal.kind in PAYMENTS:
            self._payments.refuse(turn, terminal, phone, reason, final=True)
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
                for room in self._rooms:
                    room.signed_on(turn, terminal, phone)
            else:
                self._sign_on_failed(turn, terminal, phone, reason)
        elif kind is Kind.SIGN_OFF and code == "00":
            signed_off(turn, phone)
        if terminal.phase is Phase.ANSWER and terminal.kind is kind:
            good = code == "00" and reason is None
            self.managed(turn, terminal, APPROVED if good else DECLINED, code, reason)

    def _sign_on_failed(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """Try again later where the phone signs on of its own accord; what waits for it does not wait longer."""
        if terminal.sign_on_at is not None or terminal.reversals or terminal.uploads:
            terminal.sign_on_at = turn.now + round(self._sign_on_retry * SECOND)
            turn.timer((SIGN_ON_TIMER, terminal.terminal_id), terminal.sign_on_at)
        if terminal.phase is Phase.LINE and terminal.kind not in _WITHOUT_KEYS:
            self.refuse(turn, terminal, phone, reason)


def _is_due(at: Instant | None, now: Instant) -> bool:
    return at is not None and at <= now
