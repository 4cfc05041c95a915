"""What a request came to: its 0210, the card's check of it, or nothing.

From the moment the 0200 leaves, the sale ends in exactly one way:

- approved: the 0210 says 00, its DE64 is right, and the card does not object to the issuer's answer;
- declined: the 0210 has a code that decides otherwise, and its DE64 is right;
- reversed: everything else.

An answer whose DE64 is not right proves nothing, whether it says yes or no: a forged refusal could hide an approval as
well. So the sale is reversed (A0) and the phone signs on again first. The command is then answered ``unknown`` when
the answer said yes, and ``declined`` with its code when it said no: the reversal sees to it that no is true. A0 and 77
are no decision either, however right their DE64: the acquirer could not believe what it got and has kept nothing of
it, so a copy that is whole may still come, and be paid.

Where the answer brings issuer authentication data (tag 91) and the card checks them, they are put to the card. Only
9000 commits; any other status reverses the sale (06). A card that is gone, or does not answer in time, does not object:
a QuickPass card may leave the field after GET PROCESSING OPTIONS. While the card is asked, the row stays `PENDING`, so
that a crash in between reverses (without DE38, which is known to the memory only). Issuer scripts (71, 72) are not
carried out.

A sale without PIN that is answered 55 is over, declined; the command goes on, once, with another: the card is read
again, the PIN is asked for, and a request with its own trace number leaves.
"""

from __future__ import annotations

from typing import Final

from merchant_device import display
from merchant_device.configuration import Configuration
from merchant_device.endings import Endings
from merchant_device.kernel import OnlineRequest, check_external_authenticate, external_authenticate
from merchant_device.keystore import Keystore
from merchant_device.receipts import APPROVED, DECLINED, UNKNOWN
from merchant_device.reversal import MAC_FAILED, NO_ANSWER, OTHER, SIGN_ON_CODES, Reversals
from merchant_device.sale import CODE_WITHOUT_PIN, ENTRY_WITHOUT_PIN, approval_of, issuer_authentication_of, text
from merchant_device.sign_on import must_sign_on_again
from merchant_device.tables import APPROVED as SALE_APPROVED
from merchant_device.tables import DECLINED as SALE_DECLINED
from merchant_device.tables import Phone, Sale
from merchant_device.terminal import Approval, Kind, Phase, Refused, Terminal
from network.iso8583 import Message
from network.party import Turn

REPLY: Final = "0210"

SIGN_ON_WANTED: Final = "the acquirer wants the phone to sign on again"
PIN_NEEDED: Final = "enter the PIN: hold the card to the phone again"

_SIGN_ON_REQUIREMENT: Final = 3
_PARTIAL_APPROVAL: Final = "10"
_PIN_MISSING: Final = "55"
_WITHOUT_PIN: Final = frozenset((ENTRY_WITHOUT_PIN, CODE_WITHOUT_PIN))


class Answers:
    """Takes the answers to sales and balance enquiries.

    Parameters
    ----------
    configuration : Configuration
    keystore : Keystore
    reversals : Reversals
        Takes what must be undone.
    endings : Endings
    """

    def __init__(
        self, configuration: Configuration, keystore: Keystore, reversals: Reversals, endings: Endings
    ) -> None:
        self._configuration = configuration
        self._keystore = keystore
        self._reversals = reversals
        self._endings = endings

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> None:
        """The 0210 that matches the request on the line has come."""
        terminal.close()
        fields = message.fields
        code = text(fields, 39)
        genuine = self._keystore.is_genuine(phone, message, body)
        undecided = code in SIGN_ON_CODES
        if not genuine or undecided:
            must_sign_on_again(turn, terminal, phone)
        elif body[7] & 0x0F == _SIGN_ON_REQUIREMENT:  # the processing requirement in the head
            terminal.sign_on_at = turn.now
        if not genuine or undecided:
            said_no = code is not None and code not in ("00", _PARTIAL_APPROVAL)
            reason = SIGN_ON_WANTED if genuine else "the answer's MAC is not right"
            sale = self._sale(turn, terminal)
            if sale is not None:
                self._reverse(turn, terminal, sale, MAC_FAILED, reason, code)
            self._endings.finish(turn, terminal, phone, DECLINED if said_no else UNKNOWN, code, reason)
        elif code == "00":
            self._approved(turn, terminal, phone, message)
        elif code is None:
            # it says neither yes nor no
            reason = "the answer has no response code"
            sale = self._sale(turn, terminal)
            if sale is not None:
                self._reverse(turn, terminal, sale, OTHER, reason, None)
            self._endings.finish(turn, terminal, phone, UNKNOWN, None, reason)
        elif code == _PARTIAL_APPROVAL and terminal.kind is Kind.SALE:
            self._undo(turn, terminal, phone, code, "approved for part of the amount only")
        else:
            self._declined(turn, terminal, phone, code, text(fields, 37))

    def _declined(self, turn: Turn, terminal: Terminal, phone: Phone, code: str, rrn: str | None) -> None:
        sale = terminal.row or self._sale(turn, terminal)
        if sale is not None:
            turn.store.change(sale)
            sale.status = SALE_DECLINED
            sale.response_code = code
            sale.rrn = rrn
            sale.finished_at = turn.now
            if code == _PIN_MISSING and sale.entry_mode in _WITHOUT_PIN and terminal.refused is None:
                terminal.refused = Refused(code, terminal.stan, terminal.batch, rrn)
                display.message(turn, terminal, PIN_NEEDED)
                terminal.forget()
                terminal.queue()
                return
        self._endings.finish(turn, terminal, phone, DECLINED, code, None, rrn=rrn)

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
            if data is not None and isinstance(request, OnlineRequest) and request.issuer_authentication:
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

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """The request has left and no answer comes any more, or the link broke: a sale is reversed."""
        sale = self._sale(turn, terminal)
        if sale is not None:
            self._reverse(turn, terminal, sale, NO_ANSWER, reason, None)
        self._endings.finish(turn, terminal, phone, UNKNOWN, None, reason)

    def cancelled(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """The request has left and its end is not waited for: a sale is reversed."""
        sale = self._sale(turn, terminal)
        if terminal.phase is Phase.AUTHENTICATION:
            terminal.checked(turn)
        terminal.close()
        if sale is not None:
            self._reverse(turn, terminal, sale, OTHER, reason, None)
        self._endings.finish(turn, terminal, phone, UNKNOWN, None, reason)

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
        self._endings.finish(
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
        self._endings.finish(turn, terminal, phone, DECLINED, code, reason, rrn=sale.rrn)

    def _reverse(
        self, turn: Turn, terminal: Terminal, sale: Sale, why: str, reason: str, response_code: str | None
    ) -> None:
        sale.response_code = response_code
        self._reversals.start(turn, terminal, sale, why, reason)
