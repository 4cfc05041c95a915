"""Reversals: a sale whose end is not known for certain is undone, however long it takes.

A sale that must be reversed is a row in state `REVERSING` and stays one until the acquirer's 0410 ends it; the 0400 is
sent when the line is free, again every `reversal_retry`, and before the phone's next sale. It repeats the original's
DE11 and DE60.2 and carries the MAC of the keys in force when it is sent.

The 0410 ends it with 00, or with 25, which says that the acquirer has no such sale and will not take it any more. A0
and 77 mean sign on, then repeat. Every other code is a refusal that leaves the money where it is: repeat later, for as
long as it takes, after growing pauses (`merchant_device.owed`); people see the sale as reversing. Whoever could forge
an 0410 could make a reversal disappear, so one whose DE64 is not right counts as none, except that A0 and 77, which an
acquirer without a common key cannot authenticate, make the phone sign on: that harms nobody.
"""

from __future__ import annotations

from typing import Final

from merchant_device.keystore import Keystore
from merchant_device.owed import Pauses, in_order, taken, until_of
from merchant_device.sale import SALE_CODE, SALE_TYPE, private_element, text
from merchant_device.sign_on import must_sign_on_again
from merchant_device.tables import PENDING, REVERSED, REVERSING, Phone, Sale
from merchant_device.terminal import Kind, Terminal
from network.emv import TlvError, tlv
from network.iso8583 import Message, TerminalHeader
from network.iso8583.message import Value
from network.party import Instant, Turn, local_time
from network.tracing import ADDITIONAL, Attributes, attributes_of_row, with_context

NO_ANSWER: Final = "98"
TERMINAL_FAULT: Final = "96"
MAC_FAILED: Final = "A0"
OTHER: Final = "06"
"""DE39 of an 0400: why. 06 is general practice, not confirmed by a public text."""

REQUEST: Final = "0400"
REPLY: Final = "0410"
RETRY_TIMER: Final = "reversal-retry"
SIGN_ON_CODES: Final = frozenset(("A0", "77"))
"""Response codes by which the acquirer wants the phone to sign on again."""

_ENDED: Final = frozenset(("00", "25"))
# What of the chip data an 0400 carries: general practice, not confirmed by a public text.
_CHIP_TAGS: Final = ("95", "9F1E", "9F10", "9F36")


class Reversals:
    """Starts, sends and ends reversals.

    Parameters
    ----------
    keystore : Keystore
    header : TerminalHeader
    currency : str
        DE49.
    retry : float
        Seconds until an 0400 is sent again.
    longest : float
        Seconds: the longest pause after refusals.
    """

    def __init__(self, keystore: Keystore, header: TerminalHeader, currency: str, retry: float, longest: float) -> None:
        self._keystore = keystore
        self._header = header
        self._currency = currency
        self._retry = retry
        self._pauses = Pauses(retry, longest)

    def start(self, turn: Turn, terminal: Terminal, sale: Sale, code: str, reason: str) -> None:
        """Mark a pending sale as one to be reversed; it is sent when the line is free."""
        if sale.status != PENDING:
            raise ValueError(f"a sale that is {sale.status} cannot be reversed")
        turn.store.change(sale)
        sale.status = REVERSING
        sale.reversal_reason = code
        sale.reason = reason
        terminal.reversals = in_order(terminal.put_off, (*terminal.reversals, sale.reference))
        terminal.reversal_at = turn.now
        if turn.tracing is not None:
            turn.tracing.go_on(turn, _part(sale), "reversal at the phone", terminal.trace, _told(sale))
        turn.note(
            "sale is reversed", sale.terminal_id, terminal=sale.terminal_id, stan=sale.stan, code=code, reason=reason
        )

    def send(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Send the 0400 of the next reversal; the line must be free and the phone signed on."""
        reference = terminal.reversals[0]
        sale = turn.store.find(Sale, "reference", reference)
        if sale is None:
            raise LookupError(f"sale {reference} is to be reversed and not there")
        turn.send(terminal.acquirer_link, self.packed(turn, phone, sale))
        terminal.open(turn, Kind.REVERSAL, REPLY, sale.stan, reference, self._retry)

    def packed(self, turn: Turn, phone: Phone, sale: Sale) -> bytes:
        """The 0400 of a sale that is to be reversed, with the MAC of the keys in force."""
        return self._keystore.pack(phone, self._message(turn, sale))

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, genuine: bool) -> bool:
        """Take an 0410 that matches the reversal on the line.

        Returns
        -------
        bool
            False if it counts as none, and the reversal is still waited for.
        """
        code = text(message.fields, 39)
        if code in SIGN_ON_CODES:
            terminal.close()
            must_sign_on_again(turn, terminal, phone)
            terminal.refusals += 1
            if terminal.refusals > 1:
                self._send_at(turn, terminal, turn.now + self._pauses.after(terminal.refusals - 1))
            return True
        if not genuine or code is None:
            return False
        terminal.close()
        terminal.refusals = 0
        reference, put_off = terminal.reversals[0], terminal.put_off
        sale = turn.store.find(Sale, "reference", reference)
        if sale is None:
            raise LookupError(f"sale {reference} was to be reversed and is not there")
        turn.store.change(sale)
        sale.reversal_code = code
        if code in _ENDED:
            terminal.put_off = taken(put_off, reference) if put_off else put_off
            terminal.reversals = terminal.reversals[1:]
            sale.status = REVERSED
            sale.finished_at = turn.now
            if turn.tracing is not None:
                turn.tracing.end(turn, _part(sale), code)
        else:
            terminal.put_off = self._pauses.put_off(put_off, reference, REQUEST, code, turn.now)
            terminal.reversals = in_order(terminal.put_off, terminal.reversals)
        if terminal.reversals:
            until = until_of(terminal.put_off, terminal.reversals[0])
            self._send_at(turn, terminal, turn.now if until is None else until)
        return True

    @staticmethod
    def _send_at(turn: Turn, terminal: Terminal, at: Instant) -> None:
        terminal.reversal_at = at
        if at > turn.now:
            turn.timer((RETRY_TIMER, terminal.terminal_id), at)

    def _message(self, turn: Turn, sale: Sale) -> Message:
        # of a sale by code the phone knows no card: the acquirer knows the sale by its DE11 and DE60.2
        pan, expiry = (None, None) if sale.card is None else self._keystore.open_card(turn.store, sale)
        fields: dict[int, Value] = {}
        if pan is not None:
            fields[2] = pan
        fields[3] = SALE_CODE
        fields[4] = f"{sale.amount:012d}"
        fields[11] = sale.stan
        if expiry is not None:
            fields[14] = expiry
        fields[22] = sale.entry_mode
        if sale.card_sequence is not None:
            fields[23] = sale.card_sequence
        fields[25] = "00"
        if sale.authorisation_code is not None:
            fields[38] = sale.authorisation_code
        fields[39] = sale.reversal_reason or NO_ANSWER
        fields[41] = sale.terminal_id
        fields[42] = sale.merchant_id
        fields[49] = self._currency
        chip = b"" if sale.chip is None else _chip_data(sale.chip)
        if chip:
            fields[55] = chip
        if turn.tracing is not None:
            additional = with_context(None, turn.tracing.context_of(turn, _part(sale)))
            if additional is not None:
                fields[ADDITIONAL] = additional
        fields[60] = private_element(SALE_TYPE, sale.batch)
        fields[61] = f"{sale.batch}{sale.stan}{local_time(sale.started_at):%m%d}"
        return Message("0400", fields, self._header)


def _part(sale: Sale) -> str:
    """By which this party's part in the reversal is known to who follows payments."""
    return f"reversal|{sale.reference}"


def _told(sale: Sale) -> Attributes:
    return attributes_of_row(
        REQUEST,
        stan=sale.stan,
        terminal=sale.terminal_id,
        amount=sale.amount,
        merchant=sale.merchant_id,
        reversal_reason=sale.reversal_reason or NO_ANSWER,
    )


def _chip_data(sent: bytes) -> bytes:
    try:
        values = tlv.flat(sent)
    except TlvError:
        return b""
    return tlv.encode_all({tag: values[tag] for tag in _CHIP_TAGS if tag in values})
