"""The payer's code, read by the phone's camera from the screen of the payer's phone (docs/protocol.md).

The camera is asked for picture after picture until one shows exactly one payer's code; codes of other kinds (a poster,
the merchant's own) are passed over. Two payers' codes in view decide nothing: money is never taken from the wrong one.
"""

from __future__ import annotations

from typing import Final

from merchant_device.camera import read_codes
from merchant_device.context import Context
from merchant_device.display import message
from merchant_device.rooms import Way
from merchant_device.tables import PAYER_CODE, Phone
from merchant_device.terminal import Again, CodeRequest, Phase, Terminal
from network.emv.qr import PayerCode, QrError, is_domestic_code
from network.party import SECOND, Turn

CAMERA: Final = "camera"
"""Kind of the link to the camera, and of the timer that asks for the next picture."""

SHOW_CODE: Final = "show the payment code to the camera"
NO_PAYMENT_CODE: Final = "this is no payment code"
ONE_CODE: Final = "show one payment code only"

_PICTURE: Final = b'{"request":"picture"}'


class PayerCodes(Way):
    """The way of paying ``payer_code``."""

    name = PAYER_CODE
    links = (CAMERA,)
    timers = (CAMERA,)

    def __init__(self, context: Context) -> None:
        self._configuration = context.configuration
        self._payments = context.payments

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Ask for a picture, with a new trace number for the sale."""
        self._payments.number(turn, terminal, phone)
        terminal.again = Again()
        message(turn, terminal, SHOW_CODE)
        self._ask(turn, terminal)
        terminal.wait(turn, Phase.CODE, self._configuration.camera_timeout)

    def received(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, body: bytes) -> str | None:
        """A picture has come, or the camera has given up (empty)."""
        if not self._is_reading(terminal):
            return "unexpected from the camera"
        if not body:
            self._stop(turn, terminal)
            self._payments.refuse(turn, terminal, phone, "no code was shown")
            return None
        seen = read_codes(body)
        codes = [text for text in seen if is_payer_code(text)]
        if len(codes) == 1:
            self._stop(turn, terminal)
            self._payments.code_read(turn, terminal, phone, CodeRequest(codes[0]))
            return None
        if codes or seen:
            message(turn, terminal, ONE_CODE if codes else NO_PAYMENT_CODE)
        again = terminal.again or Again()
        terminal.again = again = again._replace(tries=again.tries + 1)
        if again.tries >= self._configuration.camera_tries:
            self._stop(turn, terminal)
            self._payments.refuse(turn, terminal, phone, ONE_CODE if codes else "no code could be read")
        else:
            turn.timer((CAMERA, terminal.terminal_id), turn.now + round(self._configuration.camera_pause * SECOND))
        return None

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        """The next picture is wanted, or the one asked for has not come."""
        if self._is_reading(terminal):
            self._ask(turn, terminal)

    def timed_out(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """No code has been read in time."""
        self._stop(turn, terminal)
        self._payments.refuse(turn, terminal, phone, "no code was read in time")

    def cancel(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """Stop looking; nothing has left the phone."""
        self._stop(turn, terminal)
        self._payments.refuse(turn, terminal, phone, reason, final=True)

    def _is_reading(self, terminal: Terminal) -> bool:
        return terminal.phase is Phase.CODE and terminal.ways[0] == self.name

    def _ask(self, turn: Turn, terminal: Terminal) -> None:
        turn.send(f"{CAMERA}:{terminal.terminal_id}", _PICTURE)
        turn.timer((CAMERA, terminal.terminal_id), turn.now + round(self._configuration.camera_wait * SECOND))

    @staticmethod
    def _stop(turn: Turn, terminal: Terminal) -> None:
        turn.timer((CAMERA, terminal.terminal_id), None)


def is_payer_code(text: str) -> bool:
    """Whether a text is a payer's code: 19 digits beginning 62 (general practice), or an EMVCo payer-presented one."""
    if is_domestic_code(text):
        return True
    try:
        PayerCode.parse(text)
    except QrError:
        return False
    return True
