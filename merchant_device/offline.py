"""Sales that the card approved: the acquirer is told of them until it says that it knows.

An offline sale is money once the card has said so. Its row, `OFFLINE`, is committed before the receipt is given; the
0220 is sent when the line is free and before the phone's next financial message, again every `upload_retry`, with the
same DE11, DE60.2, chip data and DE59 at every sending and the MAC of the keys in force. An 0230 with 00 and a right
DE64 ends it: from then on the acquirer owns the sale. Every other code leaves it where it is, to be sent again after
growing pauses (`merchant_device.owed`); it is put behind the others that wait, so that none of them waits for one that
is refused. A0 and 77 mean sign on, then repeat, after such pauses too.

Nothing of this depends on the process: `start` takes up what the rows say is not told yet.
"""

from __future__ import annotations

from typing import Final

from merchant_device.keystore import Keystore
from merchant_device.owed import Pauses, in_order, taken, until_of
from merchant_device.reversal import SIGN_ON_CODES
from merchant_device.sale import offline_message, text
from merchant_device.sign_on import must_sign_on_again
from merchant_device.tables import APPROVED, OFFLINE, Phone, Sale
from merchant_device.terminal import Kind, Terminal
from network.iso8583 import Message, TerminalHeader
from network.party import SECOND, Instant, Turn
from network.tracing import attributes_of_row, with_context

REQUEST: Final = "0220"
REPLY: Final = "0230"
RETRY_TIMER: Final = "upload-retry"

_RECORDED: Final = "00"


class Uploads:
    """Sends the 0220s of offline sales and takes their answers.

    Parameters
    ----------
    keystore : Keystore
    header : TerminalHeader
    currency : str
        DE49.
    retry : float
        Seconds until an 0220 is sent again.
    longest : float
        Seconds: the longest pause after refusals.
    """

    def __init__(self, keystore: Keystore, header: TerminalHeader, currency: str, retry: float, longest: float) -> None:
        self._keystore = keystore
        self._header = header
        self._currency = currency
        self._retry = retry
        self._pauses = Pauses(retry, longest)

    @staticmethod
    def follow(turn: Turn, terminal: Terminal, sale: Sale) -> None:
        """Let all 0220s of the sale say which trace it belongs to, where it is followed: before its row is written."""
        if turn.tracing is None:
            return
        told = attributes_of_row(
            REQUEST, stan=sale.stan, terminal=sale.terminal_id, amount=sale.amount, merchant=sale.merchant_id
        )
        context = turn.tracing.go_on(turn, _part(sale), "upload at the phone", terminal.trace, told)
        # of one that is not followed nobody further on shall begin a trace
        additional = with_context(sale.additional, context or terminal.trace)
        if isinstance(additional, str):
            sale.additional = additional

    def start(self, turn: Turn, terminal: Terminal, sale: Sale) -> None:
        """The sale's row is in the store, or being written in this turn: tell the acquirer when the line is free."""
        if sale.status != OFFLINE:
            raise ValueError(f"a sale that is {sale.status} is not uploaded")
        reference = sale.reference
        terminal.uploads = in_order(terminal.put_off, (*terminal.uploads, reference))
        if terminal.uploads[0] == reference:
            terminal.upload_at = turn.now

    @staticmethod
    def may_be_hurried(terminal: Terminal) -> bool:
        """Whether a command that waits for the line has the next upload tried before its time: not one refused."""
        return until_of(terminal.put_off, terminal.uploads[0]) is None

    def send(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Send the 0220 of the sale that has waited longest; the line must be free and the phone signed on."""
        reference = terminal.uploads[0]
        sale = turn.store.find(Sale, "reference", reference)
        if sale is None:
            raise LookupError(f"sale {reference} is to be uploaded and not there")
        turn.send(terminal.acquirer_link, self.packed(turn, phone, sale))
        terminal.open(turn, Kind.UPLOAD, REPLY, sale.stan, reference, self._retry)

    def packed(self, turn: Turn, phone: Phone, sale: Sale) -> bytes:
        """The 0220 of an offline sale, with the MAC of the keys in force."""
        pan, expiry = self._keystore.open_card(turn.store, sale)
        return self._keystore.pack(phone, offline_message(self._header, sale, pan, expiry, self._currency))

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, genuine: bool) -> bool:
        """Take an 0230 that matches the upload on the line.

        Returns
        -------
        bool
            False if it counts as none, and the answer is still waited for.
        """
        fields = message.fields
        code = text(fields, 39)
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
        reference, others = terminal.uploads[0], terminal.uploads[1:]
        put_off = terminal.put_off
        sale = turn.store.find(Sale, "reference", reference)
        if sale is None:
            raise LookupError(f"sale {reference} was uploaded and is not there")
        turn.store.change(sale)
        sale.response_code = code
        if code == _RECORDED:
            terminal.put_off = taken(put_off, reference) if put_off else put_off
            terminal.uploads = others
            sale.status = APPROVED
            sale.rrn = text(fields, 37)
            sale.finished_at = turn.now
            if turn.tracing is not None:
                turn.tracing.end(turn, _part(sale), code)
        else:
            terminal.put_off = self._pauses.put_off(put_off, reference, REQUEST, code, turn.now)
            terminal.uploads = in_order(terminal.put_off, terminal.uploads)
        if terminal.uploads:
            until = until_of(terminal.put_off, terminal.uploads[0])
            self._send_at(turn, terminal, turn.now if until is None else until)
        return True

    def retry_later(self, turn: Turn, terminal: Terminal) -> None:
        """The 0220 was not answered: send the next one only after a pause."""
        self._send_at(turn, terminal, turn.now + round(self._retry * SECOND))

    @staticmethod
    def _send_at(turn: Turn, terminal: Terminal, at: Instant) -> None:
        terminal.upload_at = at
        if at > turn.now:
            turn.timer((RETRY_TIMER, terminal.terminal_id), at)


def _part(sale: Sale) -> str:
    """By which this party's part in the upload is known to who follows payments."""
    return f"upload|{sale.reference}"
