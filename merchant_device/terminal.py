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

from merchant_device.kernel import ApprovedOffline, Kernel, OnlineRequest, Outcome, Tap, Torn, TransactionData
from merchant_device.owed import PutOff
from merchant_device.pin_entry import PinEntry
from merchant_device.tables import Phone, Sale
from network.hot_cards import HotListPage
from network.party import SECOND, Instant, LinkName, Turn

TAP: Final = "tap"
TAP_ONLY: Final = (TAP,)
"""The way of paying that every phone offers: hold the card, or the payer's phone, to it."""


class Kind(StrEnum):
    """What travels between a phone and its acquirer; also the kind of the timer of its reply."""

    SALE = "sale"
    BALANCE = "balance"
    REVERSAL = "reversal"
    UPLOAD = "upload"
    SIGN_ON = "sign_on"
    SIGN_OFF = "sign_off"
    ECHO = "echo"
    DOWNLOAD = "download"
    ORDER = "order"
    ORDER_STATE = "order_state"
    WITHDRAWAL = "withdrawal"
    STATIC_CODE = "static_code"
    STATIC_STATE = "static_state"


class Phase(StrEnum):
    """How far the command in progress has come; also the kind of the timer of the card or the PIN pad."""

    IDLE = "idle"
    LINE = "waiting for the line"
    ATTESTING = "waiting for the device to be attested"
    CARD = "waiting for the card"
    PAUSE = "waiting for the payer to look at their phone"
    CODE = "waiting for the code"
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
    sent_at: Instant


class Approval(NamedTuple):
    """What of an approving 0210 must be kept while the card checks it."""

    response_code: str
    rrn: str | None
    authorisation_code: str | None
    balance: int | None


class CodeRequest(NamedTuple):
    """A payer's code that was read: what a card's data are to a sale by card.

    Attributes
    ----------
    text : str
        19 digits, or the base64 of an EMVCo payer-presented code. Whoever has it can spend it: never shown.
    """

    text: str

    def __repr__(self) -> str:
        return "CodeRequest()"


class Again(NamedTuple):
    """A sale whose card could not be read at once.

    Attributes
    ----------
    tries : int
        How many taps have decided nothing.
    until : Instant or None
        Until when the payer may confirm on their phone; None where no phone has asked for it.
    """

    tries: int = 0
    until: Instant | None = None


class Refused(NamedTuple):
    """The first request of a sale, which was answered that a PIN is needed."""

    response_code: str
    stan: str
    batch: str
    rrn: str | None


class ShownOrder(NamedTuple):
    """An order whose code is on the display.

    Attributes
    ----------
    number : str
    ending : str or None
        Why it is being withdrawn; None while the payer may pay it.
    is_final : bool
        Whether the sale offers no other way of paying when it has been withdrawn.
    """

    number: str
    ending: str | None = None
    is_final: bool = False


class Download(NamedTuple):
    """Keys, limits and stopped cards being downloaded; nothing is stored before all is there.

    Attributes
    ----------
    step : str
        DE60.3 of the request on the line; empty of a download that has failed.
    wanted : tuple of bytes
        What is still to be asked for in this step: DE62 of the requests, the first of them on the line.
    keys : tuple of bytes
        The keys that came, each as it is stored.
    kept : tuple of str
        Identifiers of the keys that the acquirer has, whether they came whole or not.
    limits : tuple
        Application (hexadecimal, empty for all), floor, contactless and CVM limit in fen.
    rejected : tuple of str
        Keys that came and cannot be used, and why.
    stopped : tuple of HotListPage
        Pages of the list of stopped cards, of one version of it.
    restarts : int
        How often that list has changed while it was downloaded.
    tries : int
        How often the request on the line has been sent.
    """

    step: str
    wanted: tuple[bytes, ...] = ()
    keys: tuple[bytes, ...] = ()
    kept: tuple[str, ...] = ()
    limits: tuple[tuple[str, int, int, int], ...] = ()
    rejected: tuple[str, ...] = ()
    stopped: tuple[HotListPage, ...] = ()
    restarts: int = 0
    tries: int = 0


class TornTap(NamedTuple):
    """A card that was taken away when it may already have paid.

    Attributes
    ----------
    torn : Torn
        What the kernel needs to recover it.
    amount : int
        Fen: only a sale of that amount may take what is recovered.
    until : Instant
        How long it is kept.
    """

    torn: Torn
    amount: int
    until: Instant

    def __repr__(self) -> str:
        return f"TornTap({self.amount} fen)"


class Conversation:
    """A card being read. It can be taken back to an earlier answer, by playing the answers before it again.

    Attributes
    ----------
    answers : list of bytes
        The card's answers taken so far.
    """

    __slots__ = ("_kernel", "_tap", "_torn", "_transaction", "answers")

    def __init__(self, kernel: Kernel, transaction: TransactionData, torn: Torn | None = None) -> None:
        self._kernel = kernel
        self._transaction = transaction
        self._torn = torn
        self.answers: list[bytes] = []
        self._tap: Tap = kernel.start(transaction, torn)

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
        self._tap = self._kernel.start(self._transaction, self._torn)
        for answer in self.answers:
            if answer:
                self._tap.step(answer)
            else:
                self._tap.card_gone()


_SAVED: Final = (
    "is_up",
    "was_up",
    "exchange",
    "trace",
    "reversals",
    "reversal_at",
    "uploads",
    "upload_at",
    "refusals",
    "put_off",
    "sign_on_at",
    "stan_last",
    "phase",
    "kind",
    "ticket",
    "amount",
    "deadline",
    "tried_sign_on",
    "tried_reversal",
    "tried_upload",
    "ways",
    "stan",
    "batch",
    "reference",
    "conversation",
    "request",
    "approval",
    "entry",
    "attesting",
    "again",
    "torn",
    "refused",
    "shows",
    "order",
    "download",
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
        References of the sales that must be reversed, in the order in which they are sent.
    reversal_at : Instant
        When the next reversal may be sent.
    uploads : tuple of str
        References of the offline sales that the acquirer must be told, in the order in which they are sent.
    upload_at : Instant
        When the next of them may be sent.
    refusals : int
        How often in a row a reversal or upload was answered that the phone must sign on again.
    put_off : tuple of PutOff
        Reversals and uploads that the acquirer has refused.
    sign_on_at : Instant or None
        When the phone is to sign on of its own accord.
    stan_last : int
        The last trace number used.
    phase, kind, ticket, amount, deadline
        The command in progress; `deadline` is that of the card, the PIN pad or the card's check.
    tried_sign_on, tried_reversal, tried_upload : bool
        Whether the command in progress has had the sign-on, reversal or upload done that it needs.
    ways : tuple of str
        The ways of paying that the sale in progress offers, the one offered now first.
    stan, batch, reference, conversation, request, approval
        The sale or balance enquiry in progress; `reference` is the key of the row of a sale that has left.
    entry : PinEntry or None
        The PIN being typed.
    attesting : str
        What the device is being attested for.
    again : Again or None
        Taps of this sale that decided nothing.
    torn : TornTap or None
        The last card that was taken away too early, also when its sale is over.
    refused : Refused or None
        The request before, where the sale goes on because that one was answered that a PIN is needed.
    shows : bool
        Whether there is something on the display to be cleared.
    order : ShownOrder or None
        The order that the payer is to pay.
    download : Download or None
        How far a download has come.
    row : Sale or None
        That row as it was inserted, to be changed without reading it again where the sale ends with its answer. None
        after a turn that was not committed: it may have changed the row.
    """

    __slots__ = ("acquirer_link", "display_link", "pinpad_link", "reader_link", "row", "terminal_id", *_SAVED)

    def __init__(self, phone: Phone) -> None:
        self.terminal_id = phone.terminal_id
        self.acquirer_link: LinkName = f"acquirer:{phone.terminal_id}"
        self.reader_link: LinkName = f"reader:{phone.terminal_id}"
        self.pinpad_link: LinkName = f"pinpad:{phone.terminal_id}"
        self.display_link: LinkName = f"display:{phone.terminal_id}"
        self.is_up = False
        self.was_up = False
        self.exchange: Exchange | None = None
        self.reversals: tuple[str, ...] = ()
        self.reversal_at: Instant = 0
        self.uploads: tuple[str, ...] = ()
        self.upload_at: Instant = 0
        self.refusals = 0
        self.put_off: tuple[PutOff, ...] = ()
        self.sign_on_at: Instant | None = None
        self.stan_last = phone.stan_reserved
        self.phase = Phase.IDLE
        self.kind = Kind.ECHO
        self.ticket = 0
        self.amount = 0
        self.deadline: Instant = 0
        self.tried_sign_on = False
        self.tried_reversal = False
        self.tried_upload = False
        self.ways: tuple[str, ...] = TAP_ONLY
        self.stan = ""
        self.batch = ""
        self.reference: str | None = None
        self.conversation: Conversation | None = None
        self.request: OnlineRequest | ApprovedOffline | CodeRequest | None = None
        self.approval: Approval | None = None
        self.entry: PinEntry | None = None
        self.attesting = ""
        self.again: Again | None = None
        self.torn: TornTap | None = None
        self.refused: Refused | None = None
        self.trace: str | None = None
        self.shows = False
        self.order: ShownOrder | None = None
        self.download: Download | None = None
        self.row: Sale | None = None

    def __repr__(self) -> str:
        return f"<Terminal {self.terminal_id} {self.phase}>"

    def begin(self, kind: Kind, ticket: int, amount: int, ways: tuple[str, ...] = TAP_ONLY) -> None:
        """Take up a command: it waits for the line."""
        self.kind = kind
        self.ticket = ticket
        self.amount = amount
        self.ways = ways
        self.queue()

    def queue(self) -> None:
        """Wait for the line, with whatever must go before."""
        self.phase = Phase.LINE
        self.tried_sign_on = self.tried_reversal = self.tried_upload = False

    def end(self) -> None:
        """Be idle again and forget the card."""
        self.phase = Phase.IDLE
        self.forget()
        self.refused = None
        self.trace = None

    def forget(self) -> None:
        """Forget card and PIN entry of the request before: the command may go on with another."""
        self.stan = self.batch = ""
        self.reference = self.conversation = self.request = self.approval = self.row = None
        self.entry = self.again = self.order = None

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
        self.exchange = Exchange(kind, reply, stan, reference, turn.now + round(seconds * SECOND), turn.now)
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
