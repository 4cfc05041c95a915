"""Reversals: a sale whose end is not known for certain is undone, however long it takes.

A sale that must be reversed is a row in state `REVERSING` and stays one until the acquirer's 0410 ends it; the 0400 is
sent when the line is free, again every `reversal_retry`, and before the phone's next sale. It repeats the original's
DE11 and DE60.2 and carries the MAC of the keys in force when it is sent.

The 0410 ends it with 00, or with 25, which says that the acquirer has no such sale and will not take it any more.
A0 and 77 mean sign on, then repeat. Every other code is a refusal that leaves the money where it is: repeat later, for
as long as it takes; people see the sale as reversing. Whoever could forge an 0410 could make a
reversal disappear, so one whose DE64 is not right counts as none, except that A0 and 77, which an acquirer without
a common key cannot authenticate, make the phone sign on: that harms nobody.
"""

from __future__ import annotations

from typing import Final

from merchant_device.keystore import Keystore
from merchant_device.sale import SALE_CODE, private_element, text
from merchant_device.sign_on import must_sign_on_again
from merchant_device.tables import PENDING, REVERSED, REVERSING, Phone, Sale
from merchant_device.terminal import Kind, Terminal
from network.emv import TlvError, tlv
from network.iso8583 import Message, TerminalHeader
from network.iso8583.message import Value
from network.party import SECOND, Turn, local_time

NO_ANSWER: Final = "98"
TERMINAL_FAULT: Final = "96"
MAC_FAILED: Final = "A0"
OTHER: Final = "06"
"""DE39 of an 0400: why. 06 is general practice, not confirmed by a public text."""

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
    """

    def __init__(self, keystore: Keystore, header: TerminalHeader, currency: str, retry: float) -> None:
        self._keystore = keystore
        self._header = header
        self._currency = currency
        self._retry = retry

    def start(self, turn: Turn, terminal: Terminal, sale: Sale, code: str, reason: str) -> None:
        """Mark a pending sale as one to be reversed; it is sent when the line is free."""
        if sale.status != PENDING:
            raise ValueError(f"a sale that is {sale.status} cannot be reversed")
        turn.store.change(sale)
        sale.status = REVERSING
        sale.reversal_reason = code
        sale.reason = reason
        terminal.reversals = (*terminal.reversals, sale.reference)
        terminal.reversal_at = turn.now

    def send(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Send the 0400 of the oldest reversal; the line must be free and the phone signed on."""
        reference = terminal.reversals[0]
        sale = turn.store.find(Sale, "reference", reference)
        if sale is None:
            raise LookupError(f"sale {reference} is to be reversed and not there")
        turn.send(terminal.acquirer_link, self._keystore.pack(phone, self._message(turn, sale)))
        terminal.open(turn, Kind.REVERSAL, REPLY, sale.stan, reference, self._retry)

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
                self.retry_later(turn, terminal)
            return True
        if not genuine or code is None:
            return False
        terminal.close()
        terminal.refusals = 0
        if code not in _ENDED:
            self.retry_later(turn, terminal)
            return True
        reference, terminal.reversals = terminal.reversals[0], terminal.reversals[1:]
        sale = turn.store.find(Sale, "reference", reference)
        if sale is not None:
            turn.store.change(sale)
            sale.status = REVERSED
            sale.reversal_code = code
            sale.finished_at = turn.now
        return True

    def retry_later(self, turn: Turn, terminal: Terminal) -> None:
        """Send the next reversal only after a pause."""
        terminal.reversal_at = turn.now + round(self._retry * SECOND)
        turn.timer((RETRY_TIMER, terminal.terminal_id), terminal.reversal_at)

    def _message(self, turn: Turn, sale: Sale) -> Message:
        pan, expiry = self._keystore.open_card(turn.store, sale)
        fields: dict[int, Value] = {
            2: pan,
            3: SALE_CODE,
            4: f"{sale.amount:012d}",
            11: sale.stan,
            14: expiry,
            22: sale.entry_mode,
        }
        if sale.card_sequence is not None:
            fields[23] = sale.card_sequence
        fields[25] = "00"
        if sale.authorisation_code is not None:
            fields[38] = sale.authorisation_code
        fields[39] = sale.reversal_reason or NO_ANSWER
        fields[41] = sale.terminal_id
        fields[42] = sale.merchant_id
        fields[49] = self._currency
        chip = _chip_data(sale.chip)
        if chip:
            fields[55] = chip
        fields[60] = private_element("22", sale.batch)
        fields[61] = f"{sale.batch}{sale.stan}{local_time(sale.started_at):%m%d}"
        return Message("0400", fields, self._header)


def _chip_data(sent: bytes) -> bytes:
    try:
        values = tlv.flat(sent)
    except TlvError:
        return b""
    return tlv.encode_all({tag: values[tag] for tag in _CHIP_TAGS if tag in values})
