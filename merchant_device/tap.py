"""The card held to the phone: read by the kernel, and read again where nothing was decided (DOMAIN.md 4).

Nothing is stored while a card is read. A card that is taken away too early decides nothing: it is asked for again, at
most `tap_tries` times. What the kernel knows of such a card is kept for a while, also when the sale has ended, so that
a card that has already taken the money off its own balance gives its approval to the next sale of the same amount
instead of paying twice. A payer's phone that wants its holder's consent first (6986, general practice) is waited for
until `tap_timeout` has passed; the field is off in between, and the same sale goes on with the new tap.

What the card decides goes to `Payments`: a request for the issuer, or an approval of its own.
"""

from __future__ import annotations

from typing import Final

from merchant_device.clock import Clock
from merchant_device.configuration import Configuration
from merchant_device.display import message
from merchant_device.kernel import (
    ApprovedOffline,
    Declined,
    EndApplication,
    OnlineRequest,
    SeePhone,
    TransactionData,
    TryAgain,
    TryAnotherInterface,
)
from merchant_device.kernels import Kernels
from merchant_device.payments import Payments
from merchant_device.rooms import Way
from merchant_device.tables import Phone
from merchant_device.terminal import TAP, Again, Conversation, Kind, Phase, Terminal, TornTap
from network.party import SECOND, Instant, Turn

TORN_TIMER: Final = "torn"

PRESENT_AGAIN: Final = "hold the card to the phone again"
SEE_PHONE: Final = "see the payer's phone, then hold it here again"

_BALANCE_TYPE: Final = "31"
_SALE_TYPE: Final = "00"


class Taps(Way):
    """Reads cards.

    Parameters
    ----------
    configuration : Configuration
    kernels : Kernels
    clock : Clock
        Set to the turn's time by the party.
    payments : Payments
        Takes what the card decides.
    """

    name = TAP
    timers = (TORN_TIMER,)

    def __init__(self, configuration: Configuration, kernels: Kernels, clock: Clock, payments: Payments) -> None:
        self._configuration = configuration
        self._kernels = kernels
        self._clock = clock
        self._payments = payments

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Ask for a card, with a new trace number."""
        self._payments.number(turn, terminal, phone)
        self._read(turn, terminal)
        terminal.wait(turn, Phase.CARD, self._configuration.tap_timeout)

    def card_answered(self, turn: Turn, terminal: Terminal, phone: Phone, response: bytes) -> None:
        """The card has answered a command of the kernel's, or is gone (empty)."""
        conversation = terminal.conversation
        if conversation is None:
            raise LookupError("no card is being read")
        step = conversation.step(response)
        if isinstance(step, bytes):
            turn.send(terminal.reader_link, step)
            return
        terminal.conversation = None
        match step:
            case OnlineRequest():
                terminal.torn = None
                self._payments.card_read(turn, terminal, phone, step)
            case ApprovedOffline():
                terminal.torn = None
                self._payments.approved_offline(turn, terminal, phone, step)
            case TryAgain(reason, torn):
                if torn is not None:
                    until = turn.now + round(self._configuration.torn_lifetime * SECOND)
                    terminal.torn = TornTap(torn, terminal.amount, until)
                    turn.timer((TORN_TIMER, terminal.terminal_id), until)
                self._try_again(turn, terminal, phone, reason)
            case SeePhone():
                self._see_phone(turn, terminal)
            case Declined(reason):
                terminal.torn = None
                self._payments.refuse(turn, terminal, phone, reason)
            case EndApplication(reason, status_word):
                said = reason if status_word is None else f"{reason} ({status_word})"
                self._payments.refuse(turn, terminal, phone, said)
            case TryAnotherInterface():
                self._payments.refuse(turn, terminal, phone, "the card wants to be inserted or swiped")

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        """A torn card was kept long enough: what is known of it is forgotten."""
        if terminal.torn is not None and terminal.torn.until <= turn.now:
            terminal.torn = None

    def timed_out(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """No card has been read in time, or the field may be on again after the payer was asked to confirm."""
        again = terminal.again
        until = None if again is None else again.until
        if terminal.phase is Phase.CARD or until is None:
            self._payments.refuse(turn, terminal, phone, "no card was read in time")
        elif until <= turn.now:
            self._payments.refuse(turn, terminal, phone, "the payer did not confirm on their phone in time")
        else:
            self._read(turn, terminal)
            self._wait_until(turn, terminal, until)

    def cancel(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """Stop reading; nothing has left the phone."""
        self._payments.refuse(turn, terminal, phone, reason, final=True)

    def _read(self, turn: Turn, terminal: Terminal) -> None:
        """Begin a conversation with a card; each has an unpredictable number of its own."""
        is_sale = terminal.kind is Kind.SALE
        transaction = TransactionData(
            amount=terminal.amount,
            date=self._clock.card_date,
            unpredictable_number=turn.random.randbytes(4),
            currency=self._configuration.currency,
            transaction_type=_SALE_TYPE if is_sale else _BALANCE_TYPE,
            sequence_counter=terminal.stan_last,
            pin_required=terminal.refused is not None,
        )
        kernels = self._kernels.of(turn.store, terminal.terminal_id)
        kept = terminal.torn
        torn = None
        if kept is not None and is_sale and kept.amount == terminal.amount and kept.until > turn.now:
            torn = kept.torn
        kernel = kernels.sale if is_sale else kernels.balance
        # a card that may have paid already is not asked to begin anew, whatever waits
        if is_sale and torn is None and len(terminal.uploads) >= self._configuration.offline_limit:
            kernel = kernels.online
        terminal.conversation = conversation = Conversation(kernel, transaction, torn)
        turn.send(terminal.reader_link, conversation.command)

    def _try_again(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        again = terminal.again or Again()
        terminal.again = again = again._replace(tries=again.tries + 1)
        if again.tries >= self._configuration.tap_tries:
            self._payments.refuse(turn, terminal, phone, reason)
            return
        message(turn, terminal, PRESENT_AGAIN)
        self._read(turn, terminal)
        if again.until is None:
            terminal.wait(turn, Phase.CARD, self._configuration.tap_timeout)
        else:
            self._wait_until(turn, terminal, again.until)

    def _see_phone(self, turn: Turn, terminal: Terminal) -> None:
        again = terminal.again or Again()
        if again.until is None:
            again = again._replace(until=turn.now + round(self._configuration.tap_timeout * SECOND))
            message(turn, terminal, SEE_PHONE)
        terminal.again = again
        terminal.wait(turn, Phase.PAUSE, self._configuration.see_phone_pause)

    @staticmethod
    def _wait_until(turn: Turn, terminal: Terminal, until: Instant) -> None:
        terminal.phase = Phase.CARD
        terminal.deadline = until
        turn.timer((Phase.CARD, terminal.terminal_id), until)
