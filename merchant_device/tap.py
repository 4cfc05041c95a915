"""A sale or balance enquiry in progress: card, PIN, acquirer, card (docs/protocol.md, DOMAIN.md 4).

Until the 0200 leaves, nothing is stored: whatever goes wrong refuses the sale. The row of a sale is written as
`PENDING` in the turn whose commit the 0200 waits for, and from then on the sale ends in exactly one way:

- approved: the 0210 says 00, its DE64 is right, and the card does not object to the issuer's answer;
- declined: the 0210 says anything else, and its DE64 is right;
- reversed: everything else.

An answer whose DE64 is not right proves nothing, whether it says yes or no: a forged refusal could hide an approval as
well. So the sale is reversed (A0) and the phone signs on again first. The command is then answered ``unknown`` when
the answer said yes, and ``declined`` with its code when it said no: the reversal sees to it that no is true.

Where the answer brings issuer authentication data (tag 91) and the card checks them, they are put to the card. Only
9000 commits; any other status reverses the sale (06). A card that is gone, or does not answer in time, does not object:
a QuickPass card may leave the field after GET PROCESSING OPTIONS. While the card is asked, the row stays `PENDING`, so
that a crash in between reverses (without DE38, which is known to the memory only). Issuer scripts (71, 72) are not
carried out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from merchant_device.clock import Clock
from merchant_device.configuration import Configuration
from merchant_device.kernel import (
    Cvm,
    Declined,
    EndApplication,
    Kernel,
    KernelConfiguration,
    OnlineRequest,
    Outcome,
    TransactionData,
    TryAgain,
    TryAnotherInterface,
    check_external_authenticate,
    external_authenticate,
)
from merchant_device.keystore import Keystore
from merchant_device.pin_entry import CLOSE, is_pin, pin_request
from merchant_device.receipts import APPROVED, DECLINED, REFUSED, UNKNOWN, Receipt
from merchant_device.reversal import MAC_FAILED, NO_ANSWER, OTHER, SIGN_ON_CODES, Reversals
from merchant_device.sale import (
    ENTRY_WITH_PIN,
    ENTRY_WITHOUT_PIN,
    approval_of,
    issuer_authentication_of,
    request_message,
    text,
)
from merchant_device.sign_on import must_sign_on_again
from merchant_device.tables import APPROVED as SALE_APPROVED
from merchant_device.tables import DECLINED as SALE_DECLINED
from merchant_device.tables import PENDING, Phone, Sale, sale_reference
from merchant_device.terminal import Approval, Conversation, Kind, Phase, Terminal
from network.iso8583 import Message, TerminalHeader, mask_pan
from network.party import Turn

REPLY: Final = "0210"

_BALANCE_TYPE: Final = "31"
_SALE_TYPE: Final = "00"
_SIGN_ON_REQUIREMENT: Final = 3
_PARTIAL_APPROVAL: Final = "10"
_CVM_NAMES: Final = {cvm: cvm.name.lower() for cvm in Cvm}


class Payments:
    """Takes sales and balance enquiries through their phases.

    Parameters
    ----------
    configuration : Configuration
    keystore : Keystore
    header : TerminalHeader
        Of every message.
    reversals : Reversals
        Takes what must be undone.
    clock : Clock
        Set to the turn's time by the party.
    """

    def __init__(
        self,
        configuration: Configuration,
        keystore: Keystore,
        header: TerminalHeader,
        reversals: Reversals,
        clock: Clock,
    ) -> None:
        self._configuration = configuration
        self._keystore = keystore
        self._header = header
        self._reversals = reversals
        self._clock = clock
        kernel = KernelConfiguration(
            cvm_limit=configuration.pin_free_limit,
            online_pin_always=configuration.pin_always,
            interface_device_serial=configuration.serial,
        )
        self._kernel = Kernel(kernel)
        # A balance is told to the cardholder only: its enquiry has a PIN whatever its amount, which is zero.
        self._balance_kernel = Kernel(replace(kernel, online_pin_always=True))

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The phone is signed on and the line is free: read the card."""
        terminal.stan = terminal.next_stan(turn, phone, self._configuration.stan_block)
        terminal.batch = f"{phone.batch:06d}"
        is_sale = terminal.kind is Kind.SALE
        transaction = TransactionData(
            amount=terminal.amount,
            date=self._clock.card_date,
            unpredictable_number=turn.random.randbytes(4),
            currency=self._configuration.currency,
            transaction_type=_SALE_TYPE if is_sale else _BALANCE_TYPE,
            sequence_counter=terminal.stan_last,
        )
        conversation = Conversation(self._kernel if is_sale else self._balance_kernel, transaction)
        terminal.conversation = conversation
        turn.send(terminal.reader_link, conversation.command)
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
        if not isinstance(step, OnlineRequest):
            self.refuse(turn, terminal, phone, _why(step))
            return
        terminal.request = step
        if step.cvm is Cvm.ONLINE_PIN:
            settings = self._configuration
            shown = terminal.amount if terminal.kind is Kind.SALE else None
            turn.send(terminal.pinpad_link, pin_request(shown, settings.pin_minimum, settings.pin_maximum))
            terminal.wait(turn, Phase.PIN, settings.pin_timeout)
        else:
            self._send(turn, terminal, phone, step, None)

    def pin_entered(self, turn: Turn, terminal: Terminal, phone: Phone, pin: bytes) -> None:
        """The PIN pad has answered; empty: the cardholder gave up."""
        request = terminal.request
        if request is None:
            raise LookupError("no PIN is being entered")
        if is_pin(pin, self._configuration.pin_minimum, self._configuration.pin_maximum):
            self._send(turn, terminal, phone, request, self._keystore.pin_block(phone, pin, request.pan))
        else:
            self.refuse(turn, terminal, phone, "the PIN pad gave no PIN" if pin else "the PIN entry was cancelled")

    def _send(
        self, turn: Turn, terminal: Terminal, phone: Phone, request: OnlineRequest, pin_block: bytes | None
    ) -> None:
        if not terminal.is_up:
            self.refuse(turn, terminal, phone, "the link to the acquirer is down")
            return
        is_sale = terminal.kind is Kind.SALE
        message = request_message(
            self._header,
            phone.terminal_id,
            phone.merchant_id,
            terminal.stan,
            terminal.batch,
            terminal.amount if is_sale else None,
            request,
            pin_block,
            self._configuration.currency,
            self._configuration.pin_maximum,
        )
        reference = None
        if is_sale:
            terminal.reference = reference = sale_reference(turn.now, phone.terminal_id, terminal.batch, terminal.stan)
            terminal.row = row = Sale(
                reference=reference,
                terminal_id=phone.terminal_id,
                merchant_id=phone.merchant_id,
                batch=terminal.batch,
                stan=terminal.stan,
                amount=terminal.amount,
                pan_masked=mask_pan(request.pan),
                card=self._keystore.seal_card(turn.store, reference, request.pan, request.expiry),
                entry_mode=ENTRY_WITHOUT_PIN if pin_block is None else ENTRY_WITH_PIN,
                card_sequence=request.sequence,
                chip=request.field55,
                cvm=_CVM_NAMES[request.cvm],
                started_at=turn.now,
                status=PENDING,
            )
            turn.store.insert(row)
        turn.send(terminal.acquirer_link, self._keystore.pack(phone, message))
        terminal.open(turn, terminal.kind, REPLY, terminal.stan, reference, self._configuration.acquirer_timeout)
        terminal.phase = Phase.ANSWER

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> None:
        """The 0210 that matches the request on the line has come."""
        terminal.close()
        fields = message.fields
        code = text(fields, 39)
        genuine = self._keystore.is_genuine(phone, message, body)
        if not genuine or code in SIGN_ON_CODES:
            must_sign_on_again(turn, terminal, phone)
        elif body[7] & 0x0F == _SIGN_ON_REQUIREMENT:  # the processing requirement in the head
            terminal.sign_on_at = turn.now
        if not genuine:
            said_no = code is not None and code not in ("00", _PARTIAL_APPROVAL)
            reason = "the answer's MAC is not right"
            sale = self._sale(turn, terminal)
            if sale is not None:
                self._reverse(turn, terminal, sale, MAC_FAILED, reason, code)
            self._finish(turn, terminal, phone, DECLINED if said_no else UNKNOWN, code, reason)
        elif code == "00":
            self._approved(turn, terminal, phone, message)
        elif code == _PARTIAL_APPROVAL and terminal.kind is Kind.SALE:
            self._undo(turn, terminal, phone, code, "approved for part of the amount only")
        else:
            sale = terminal.row or self._sale(turn, terminal)
            if sale is not None:
                turn.store.change(sale)
                sale.status = SALE_DECLINED
                sale.response_code = code
                sale.rrn = text(fields, 37)
                sale.finished_at = turn.now
            self._finish(turn, terminal, phone, DECLINED, code, None, rrn=text(fields, 37))

    def _approved(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message) -> None:
        fields = message.fields
        terminal.approval = approval = approval_of(fields)
        if terminal.kind is not Kind.SALE:
            self._commit(turn, terminal, phone, approval)
            return
        amount = f"{terminal.amount:012d}"
        if fields.get(4, amount) != amount:
            self._undo(turn, terminal, phone, "00", "approved for another amount")
            return
        request = terminal.request
        command = None
        try:
            data = issuer_authentication_of(fields.get(55))
            if data is not None and request is not None and request.issuer_authentication:
                command = external_authenticate(data)
        except ValueError:
            self._undo(turn, terminal, phone, "00", "the answer's chip data are malformed")
            return
        if command is None:
            self._commit(turn, terminal, phone, approval)
        else:
            turn.send(terminal.reader_link, command)
            terminal.wait(turn, Phase.AUTHENTICATION, self._configuration.card_timeout)

    def authenticated(self, turn: Turn, terminal: Terminal, phone: Phone, response: bytes) -> None:
        """The card has checked the issuer's answer, or is gone (empty)."""
        terminal.checked(turn)
        approval = terminal.approval
        if approval is None:
            raise LookupError("no answer is being checked")
        if not response or check_external_authenticate(response):
            self._commit(turn, terminal, phone, approval)
        else:
            self._undo(turn, terminal, phone, "00", "the card did not accept the issuer's answer")

    def timed_out(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The card or the PIN pad has not answered in time."""
        phase = terminal.phase
        if phase is Phase.AUTHENTICATION:
            self.authenticated(turn, terminal, phone, b"")
        elif phase is Phase.PIN:
            turn.send(terminal.pinpad_link, CLOSE)
            self.refuse(turn, terminal, phone, "no PIN was entered in time")
        else:
            self.refuse(turn, terminal, phone, "no card was read in time")

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """The request has left and no answer comes any more, or the link broke: a sale is reversed."""
        sale = self._sale(turn, terminal)
        if sale is not None:
            self._reverse(turn, terminal, sale, NO_ANSWER, reason, None)
        self._finish(turn, terminal, phone, UNKNOWN, None, reason)

    def cancel(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Stop what is in progress; a sale that has left is reversed."""
        phase = terminal.phase
        reason = "cancelled"
        if phase in (Phase.ANSWER, Phase.AUTHENTICATION):
            sale = self._sale(turn, terminal)
            if phase is Phase.AUTHENTICATION:
                terminal.checked(turn)
            terminal.close()
            if sale is not None:
                self._reverse(turn, terminal, sale, OTHER, reason, None)
            self._finish(turn, terminal, phone, UNKNOWN, None, reason)
            return
        if phase is Phase.PIN:
            turn.send(terminal.pinpad_link, CLOSE)
        self.refuse(turn, terminal, phone, reason)

    def refuse(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """End it before anything was sent."""
        self._finish(turn, terminal, phone, REFUSED, None, reason)

    def _sale(self, turn: Turn, terminal: Terminal) -> Sale | None:
        """The row of the sale that has left, by the store; None of a balance enquiry.

        A sale that is to be reversed must be changed in this one: it may be sent in the same turn, from the store's.
        """
        reference = terminal.reference
        if reference is None:
            return None
        sale = turn.store.find(Sale, "reference", reference)
        if sale is None:
            raise LookupError(f"sale {reference} has left and is not there")
        return sale

    def _commit(self, turn: Turn, terminal: Terminal, phone: Phone, approval: Approval) -> None:
        sale = terminal.row or self._sale(turn, terminal)
        if sale is not None:
            turn.store.change(sale)
            sale.status = SALE_APPROVED
            sale.response_code = approval.response_code
            sale.rrn = approval.rrn
            sale.authorisation_code = approval.authorisation_code
            sale.finished_at = turn.now
        self._finish(
            turn,
            terminal,
            phone,
            APPROVED,
            approval.response_code,
            None,
            approval.rrn,
            approval.authorisation_code,
            approval.balance,
        )

    def _undo(self, turn: Turn, terminal: Terminal, phone: Phone, code: str, reason: str) -> None:
        """An approval that is not accepted: reverse it. The command's answer is no, which the reversal makes true."""
        sale = self._sale(turn, terminal)
        if sale is None:
            raise LookupError("a balance enquiry is not reversed")
        approval = terminal.approval
        if approval is not None:
            sale.rrn = approval.rrn
            sale.authorisation_code = approval.authorisation_code
        self._reverse(turn, terminal, sale, OTHER, reason, code)
        self._finish(turn, terminal, phone, DECLINED, code, reason, rrn=sale.rrn)

    def _reverse(
        self, turn: Turn, terminal: Terminal, sale: Sale, why: str, reason: str, response_code: str | None
    ) -> None:
        sale.response_code = response_code
        self._reversals.start(turn, terminal, sale, why, reason)

    def _finish(
        self,
        turn: Turn,
        terminal: Terminal,
        phone: Phone,
        outcome: str,
        response_code: str | None,
        reason: str | None,
        rrn: str | None = None,
        authorisation_code: str | None = None,
        balance: int | None = None,
    ) -> None:
        request = terminal.request
        receipt = Receipt(
            outcome,
            response_code,
            reason,
            phone.terminal_id,
            phone.merchant_id,
            terminal.stan or None,
            terminal.batch or None,
            rrn,
            authorisation_code,
            terminal.amount if terminal.kind is Kind.SALE else None,
            balance,
            None if request is None else mask_pan(request.pan),
            None if request is None else _CVM_NAMES[request.cvm],
            self._clock.receipt,
        )
        turn.answer(terminal.ticket, receipt.as_json())
        terminal.end()


def _why(outcome: Outcome) -> str:
    match outcome:
        case Declined(reason) | TryAgain(reason):
            return reason
        case EndApplication(reason, status_word):
            return reason if status_word is None else f"{reason} ({status_word})"
        case TryAnotherInterface():
            return "the card wants to be inserted or swiped"
        case OnlineRequest():
            return "online"
