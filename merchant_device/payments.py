"""A sale or balance enquiry in progress, up to its request: the way it is paid, attestation, PIN (docs/protocol.md).

Until the 0200 leaves, nothing is stored: whatever goes wrong refuses the sale, or has it offer its next way of paying.
The row of a sale is written as `PENDING` in the turn whose commit the 0200 waits for; what becomes of it then is told
in `merchant_device.answers`. A sale that goes on because its first request was declined for want of a PIN has had a
request leave: what ends it before its second one leaves makes the receipt that of the first.

What a card approves by itself is money at once: its row, `OFFLINE`, is committed before the receipt is given, and
`merchant_device.offline` tells the acquirer.
"""

from __future__ import annotations

from merchant_device import display
from merchant_device.answers import REPLY, Answers
from merchant_device.configuration import Configuration
from merchant_device.endings import Endings
from merchant_device.kernel import ApprovedOffline, Cvm, OnlineRequest
from merchant_device.keystore import Keystore
from merchant_device.offline import Uploads
from merchant_device.pin_entry import NoPin, PinCore, account_digits
from merchant_device.receipts import APPROVED, DECLINED, REFUSED
from merchant_device.requests import Requests
from merchant_device.rooms import PIN, TRANSACTION, Trust, Way
from merchant_device.tables import SIGNED_ON, Phone, Sale
from merchant_device.terminal import CodeRequest, Kind, Phase, Terminal
from network.iso8583 import Message
from network.party import Turn


class Payments:
    """Takes sales and balance enquiries to their requests.

    Parameters
    ----------
    configuration : Configuration
    keystore : Keystore
    requests : Requests
        Makes messages and rows.
    answers : Answers
        Takes what a request came to.
    uploads : Uploads
        Takes what a card approved.
    endings : Endings

    Attributes
    ----------
    ways : dict of str to Way
        The ways of paying that there are, by name; the party puts them in.
    trust : Trust or None
        Asked before a payment and before a PIN entry on a phone that is bound to a device.
    """

    def __init__(
        self,
        configuration: Configuration,
        keystore: Keystore,
        requests: Requests,
        answers: Answers,
        uploads: Uploads,
        endings: Endings,
    ) -> None:
        self.ways: dict[str, Way] = {}
        self.trust: Trust | None = None
        self._configuration = configuration
        self._keystore = keystore
        self._requests = requests
        self._answers = answers
        self._uploads = uploads
        self._endings = endings
        self._pin = PinCore(keystore, configuration.pin_minimum, configuration.pin_maximum)

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The phone is signed on and the line is free: have the device attested where it must be, then be paid."""
        if phone.device_id is None or not self._must_attest(turn, terminal, phone, TRANSACTION):
            self.ways[terminal.ways[0]].begin(turn, terminal, phone)

    def number(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Give the request its trace number and batch."""
        terminal.stan = terminal.next_stan(turn, phone, self._configuration.stan_block)
        terminal.batch = f"{phone.batch:06d}"

    def attested(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str | None) -> None:
        """The device is attested, or why it is not; counts only while a payment waits for it."""
        if terminal.phase is not Phase.ATTESTING:
            return
        if reason is not None:
            self.refuse(turn, terminal, phone, f"not attested: {reason}", final=True)
        elif terminal.attesting == PIN:
            self._open_entry(turn, terminal)
        else:
            self.ways[terminal.ways[0]].begin(turn, terminal, phone)

    # what the payer brings

    def card_read(self, turn: Turn, terminal: Terminal, phone: Phone, request: OnlineRequest) -> None:
        """The card wants the issuer asked."""
        terminal.request = request
        if not self._may_send(turn, terminal, phone):
            return
        if request.cvm is Cvm.ONLINE_PIN:
            self._ask_pin(turn, terminal, phone)
        else:
            self._send(turn, terminal, phone, request, None)

    def code_read(self, turn: Turn, terminal: Terminal, phone: Phone, request: CodeRequest) -> None:
        """The payer's code has been read; the sale must have its trace number (`number`)."""
        terminal.request = request
        if not self._may_send(turn, terminal, phone):
            return
        if terminal.refused is not None:
            self._ask_pin(turn, terminal, phone)
        else:
            self._send_code(turn, terminal, phone, request, None)

    def approved_offline(self, turn: Turn, terminal: Terminal, phone: Phone, approval: ApprovedOffline) -> None:
        """The card has paid: record it, then say so."""
        terminal.request = approval
        sale = self._requests.offline(turn, terminal, phone, approval)
        self._uploads.follow(turn, terminal, sale)
        turn.store.insert(sale)
        self._uploads.start(turn, terminal, sale)
        self._endings.finish(turn, terminal, phone, APPROVED, None, None, offline=True)

    # the PIN

    def _must_attest(self, turn: Turn, terminal: Terminal, phone: Phone, purpose: str) -> bool:
        trust = self.trust
        if trust is None or not trust.needs(turn, terminal, phone, purpose):
            return False
        terminal.attesting = purpose
        terminal.wait(turn, Phase.ATTESTING, self._configuration.attestation_timeout)
        trust.begin(turn, terminal, phone, purpose)
        return True

    def _ask_pin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        if phone.device_id is None or not self._must_attest(turn, terminal, phone, PIN):
            self._open_entry(turn, terminal)

    def _open_entry(self, turn: Turn, terminal: Terminal) -> None:
        shown = terminal.amount if terminal.kind is Kind.SALE else None
        terminal.entry, request = self._pin.open(turn.random, shown)
        turn.send(terminal.pinpad_link, request)
        terminal.wait(turn, Phase.PIN, self._configuration.pin_timeout)

    def pin_entered(self, turn: Turn, terminal: Terminal, phone: Phone, body: bytes) -> bool:
        """The PIN pad has said something; False where it is no answer to the entry in progress."""
        entry, request = terminal.entry, terminal.request
        if entry is None or request is None:
            raise LookupError("no PIN is being entered")
        account = None if isinstance(request, CodeRequest) else account_digits(request.pan)
        taken = self._pin.take(entry, phone, body, account)
        if taken is None:
            return False
        terminal.entry = None
        if isinstance(taken, NoPin):
            self.refuse(turn, terminal, phone, taken.value)
        elif self._may_send(turn, terminal, phone):
            if isinstance(request, CodeRequest):
                self._send_code(turn, terminal, phone, request, taken)
            elif isinstance(request, OnlineRequest):
                self._send(turn, terminal, phone, request, taken)
        return True

    # the request

    def _may_send(self, turn: Turn, terminal: Terminal, phone: Phone) -> bool:
        """Whether the acquirer can be asked; refuse the sale where it cannot."""
        if terminal.is_up and phone.status == SIGNED_ON and not terminal.reversals:
            return True
        if not terminal.is_up:
            reason = "the link to the acquirer is down"
        elif phone.status != SIGNED_ON:
            reason = "the phone is not signed on"
        else:
            # a sale that began while the link was down; nothing financial leaves before a reversal
            reason = "a reversal is pending"
        self.refuse(turn, terminal, phone, reason, final=True)
        return False

    def _send(
        self, turn: Turn, terminal: Terminal, phone: Phone, request: OnlineRequest, pin_block: bytes | None
    ) -> None:
        self._leave(turn, terminal, phone, *self._requests.by_card(turn, terminal, phone, request, pin_block))

    def _send_code(
        self, turn: Turn, terminal: Terminal, phone: Phone, request: CodeRequest, pin_block: bytes | None
    ) -> None:
        self._leave(turn, terminal, phone, *self._requests.by_code(turn, terminal, phone, request, pin_block))

    def _leave(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, row: Sale | None) -> None:
        """The 0200 leaves with the commit of this turn, which records the sale."""
        if row is not None:
            terminal.row = row
            terminal.reference = row.reference
            turn.store.insert(row)
        turn.send(terminal.acquirer_link, self._keystore.pack(phone, message))
        terminal.open(
            turn, terminal.kind, REPLY, terminal.stan, terminal.reference, self._configuration.acquirer_timeout
        )
        terminal.phase = Phase.ANSWER

    # how it ends

    def timed_out(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Card, payer, PIN pad or attestation have not answered in time."""
        phase = terminal.phase
        if phase is Phase.AUTHENTICATION:
            self._answers.authenticated(turn, terminal, phone, b"")
        elif phase is Phase.PIN:
            self._close_entry(turn, terminal)
            self.refuse(turn, terminal, phone, "no PIN was entered in time")
        elif phase is Phase.ATTESTING:
            self.attested(turn, terminal, phone, "no verdict came in time")
        else:
            self.ways[terminal.ways[0]].timed_out(turn, terminal, phone)

    def cancel(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str = "cancelled") -> None:
        """Stop what is in progress; a sale that has left is reversed."""
        phase = terminal.phase
        if phase in (Phase.ANSWER, Phase.AUTHENTICATION):
            self._answers.cancelled(turn, terminal, phone, reason)
        elif phase in (Phase.CARD, Phase.PAUSE, Phase.CODE):
            self.ways[terminal.ways[0]].cancel(turn, terminal, phone, reason)
        else:
            if phase is Phase.PIN:
                self._close_entry(turn, terminal)
            self.refuse(turn, terminal, phone, reason, final=True)

    def refuse(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str, *, final: bool = False) -> None:
        """End it before anything was sent; unless that is `final`, the sale's next way of paying is offered instead."""
        refused = terminal.refused
        if refused is not None:
            # the request before did leave, and was declined for want of a PIN: that is how the sale ended
            terminal.stan, terminal.batch = refused.stan, refused.batch
            self._endings.finish(turn, terminal, phone, DECLINED, refused.response_code, reason, refused.rrn)
        elif final or len(terminal.ways) == 1:
            self._endings.finish(turn, terminal, phone, REFUSED, None, reason)
        else:
            terminal.ways = terminal.ways[1:]
            display.clear(turn, terminal)
            terminal.forget()
            terminal.queue()

    def _close_entry(self, turn: Turn, terminal: Terminal) -> None:
        entry = terminal.entry
        if entry is not None:
            terminal.entry = None
            turn.send(terminal.pinpad_link, self._pin.close(entry))
