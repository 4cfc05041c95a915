"""What the device remembers of a phone between turns: what it is doing, and what is on the line to the acquirer.

All of it can be lost. A sale that has left is in the store; whatever else was going on when the process died has
moved no money. `save` and `restore` undo what a turn that was not committed has changed.

A timer of what takes up to a minute (card, PIN, answer) is not stopped when that is over: the next sale sets the same
one again, and one that falls due all the same finds by the deadlines here that there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from merchant_device.kernel import Kernel, OnlineRequest, Outcome, Tap, TransactionData
from merchant_device.tables import Phone, Sale
from network.party import SECOND, Instant, LinkName, Turn


class Kind(StrEnum):
    """What travels between a phone and its acquirer; also the kind of the timer of its reply."""

    SALE = "sale"
    BALANCE = "balance"
    REVERSAL = "reversal"
    SIGN_ON = "sign_on"
    SIGN_OFF = "sign_off"
    ECHO = "echo"


class Phase(StrEnum):
    """How far the command in progress has come; also the kind of the timer of the card or the PIN pad."""

    IDLE = "idle"
    LINE = "waiting for the line"
    CARD = "waiting for the card"
    PIN = "waiting for the PIN"
    ANSWER = "waiting for the acquirer"
    AUTHENTICATION = "waiting for the card to check the answer"


class Exchange(NamedTuple):
    """A request on its way: what its reply must look like, and until when it is waited for."""

    kind: Kind
    reply: str
    stan: str
    reference: str | None
    deadline: Instant


class Approval(NamedTuple):
    """What of an approving 0210 must be kept while the card checks it."""

    response_code: str
    rrn: str | None
    authorisation_code: str | None
    balance: int | None


class Conversation:
    """A card being read. It can be taken back to an earlier answer, by playing the answers before it again.

    Attributes
    ----------
    answers : list of bytes
        The card's answers taken so far.
    """

    __slots__ = ("_kernel", "_tap", "_transaction", "answers")

    def __init__(self, kernel: Kernel, transaction: TransactionData) -> None:
        self._kernel = kernel
        self._transaction = transaction
        self.answers: list[bytes] = []
        self._tap: Tap = kernel.start(transaction)

    @property
    def command(self) -> bytes:
        """The first command APDU."""
        return self._tap.command

    def step(self, response: bytes) -> bytes | Outcome:
        """Take the card's answer (empty: the card is gone) and give the next command or the outcome."""
        self.answers.append(response)
        return self._tap.step(response) if response else self._tap.card_gone()

    def rewind(self, length: int) -> None:
        """Forget the answers after the first `length`."""
        del self.answers[length:]
        self._tap = self._kernel.start(self._transaction)
        for answer in self.answers:
            if answer:
                self._tap.step(answer)
            else:
                self._tap.card_gone()


_SAVED: Final = (
    "is_up",
    "was_up",
    "exchange",
    "reversals",
    "reversal_at",
    "refusals",
    "sign_on_at",
    "stan_last",
    "phase",
    "kind",
    "ticket",
    "amount",
    "deadline",
    "tried_sign_on",
    "tried_reversal",
    "stan",
    "batch",
    "reference",
    "conversation",
    "request",
    "approval",
)
_values: Callable[[Terminal], tuple[object, ...]] = attrgetter(*_SAVED)

Saved: TypeAlias = tuple[tuple[object, ...], int]


class Terminal:
    """One phone.

    Attributes
    ----------
    is_up, was_up : bool
        Whether the link to the acquirer is up, and whether it has been since the process began.
    exchange : Exchange or None
        The request that is waiting for its reply; there is one at a time.
    reversals : tuple of str
        References of the sales that must be reversed, oldest first.
    reversal_at : Instant
        When the next reversal may be sent.
    refusals : int
        How often in a row a reversal was answered that the phone must sign on again.
    sign_on_at : Instant or None
        When the phone is to sign on of its own accord.
    stan_last : int
        The last trace number used.
    phase, kind, ticket, amount, deadline
        The command in progress; `deadline` is that of the card, the PIN pad or the card's check.
    tried_sign_on, tried_reversal : bool
        Whether the command in progress has had the sign-on or reversal done that it needs.
    stan, batch, reference, conversation, request, approval
        The sale or balance enquiry in progress; `reference` is the key of the row of a sale that has left.
    row : Sale or None
        That row as it was inserted, to be changed without reading it again where the sale ends with its answer. None
        after a turn that was not committed: it may have changed the row.
    """

    __slots__ = ("acquirer_link", "pinpad_link", "reader_link", "row", "terminal_id", *_SAVED)

    def __init__(self, phone: Phone) -> None:
        self.terminal_id = phone.terminal_id
        self.acquirer_link: LinkName = f"acquirer:{phone.terminal_id}"
        self.reader_link: LinkName = f"reader:{phone.terminal_id}"
        self.pinpad_link: LinkName = f"pinpad:{phone.terminal_id}"
        self.is_up = False
        self.was_up = False
        self.exchange: Exchange | None = None
        self.reversals: tuple[str, ...] = ()
        self.reversal_at: Instant = 0
        self.refusals = 0
        self.sign_on_at: Instant | None = None
        self.stan_last = phone.stan_reserved
        self.phase = Phase.IDLE
        self.kind = Kind.ECHO
        self.ticket = 0
        self.amount = 0
        self.deadline: Instant = 0
        self.tried_sign_on = False
        self.tried_reversal = False
        self.stan = ""
        self.batch = ""
        self.reference: str | None = None
        self.conversation: Conversation | None = None
        self.request: OnlineRequest | None = None
        self.approval: Approval | None = None
        self.row: Sale | None = None

    def __repr__(self) -> str:
        return f"<Terminal {self.terminal_id} {self.phase}>"

    def begin(self, kind: Kind, ticket: int, amount: int) -> None:
        """Take up a command: it waits for the line."""
        self.phase = Phase.LINE
        self.kind = kind
        self.ticket = ticket
        self.amount = amount
        self.tried_sign_on = self.tried_reversal = False

    def end(self) -> None:
        """Be idle again and forget the card."""
        self.phase = Phase.IDLE
        self.stan = self.batch = ""
        self.reference = self.conversation = self.request = self.approval = self.row = None

    def next_stan(self, turn: Turn, phone: Phone, block: int) -> str:
        """The next trace number, DE11; `block` of them are reserved in one write."""
        stan = self.stan_last + 1
        if stan > phone.stan_reserved:
            turn.store.change(phone)
            if stan > 999_999:
                phone.batch = phone.batch % 999_999 + 1
                stan = 1
                phone.stan_reserved = 0
            phone.stan_reserved = min(phone.stan_reserved + block, 999_999)
        self.stan_last = stan
        return f"{stan:06d}"

    def open(self, turn: Turn, kind: Kind, reply: str, stan: str, reference: str | None, seconds: float) -> None:
        """A request is sent in this turn: wait for its reply."""
        self.exchange = Exchange(kind, reply, stan, reference, turn.now + round(seconds * SECOND))
        turn.timer((kind, self.terminal_id), self.exchange.deadline)

    def close(self) -> None:
        """The reply has come, or is waited for no longer."""
        self.exchange = None

    def wait(self, turn: Turn, phase: Phase, seconds: float) -> None:
        """Wait for the card, the PIN pad or the card's check."""
        self.phase = phase
        self.deadline = turn.now + round(seconds * SECOND)
        turn.timer((phase, self.terminal_id), self.deadline)

    def checked(self, turn: Turn) -> None:
        """The card's check is over. That wait is short: its timer would fall due before the next sale sets it again."""
        turn.timer((Phase.AUTHENTICATION, self.terminal_id), None)

    def save(self) -> Saved:
        """All that may change, to be given to `restore`."""
        conversation = self.conversation
        return _values(self), 0 if conversation is None else len(conversation.answers)

    def restore(self, saved: Saved) -> None:
        """Be again as when `save` was called."""
        values, length = saved
        for name, value in zip(_SAVED, values, strict=True):
            setattr(self, name, value)
        if self.conversation is not None and len(self.conversation.answers) != length:
            self.conversation.rewind(length)
        self.row = None
