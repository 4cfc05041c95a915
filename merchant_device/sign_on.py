"""Network management over the terminal link: sign-on with its key download, sign-off, echo (docs/protocol.md)."""

from __future__ import annotations

from typing import Final

from merchant_device.tables import INSTALLED, SIGNED_OFF, SIGNED_ON, Phone
from merchant_device.terminal import Kind, Terminal
from network.iso8583 import TERMINAL, Message, TerminalHeader
from network.iso8583.message import Value
from network.keys import SecurityModule, SecurityModuleError
from network.party import Turn

SIGN_ON_REPLY: Final = "0810"
OTHER_REPLY: Final = "0830"

_CODES: Final = {Kind.SIGN_OFF: "002", Kind.ECHO: "301"}


class NetworkManagement:
    """Makes the requests and takes what the replies bring.

    Parameters
    ----------
    module : SecurityModule
    header : TerminalHeader
    key_download, operator : str
        DE60.3 of the sign-on, DE63.1.
    seconds : float
        How long a reply is waited for.
    stan_block : int
        See `Terminal.next_stan`.
    """

    def __init__(
        self,
        module: SecurityModule,
        header: TerminalHeader,
        key_download: str,
        operator: str,
        seconds: float,
        stan_block: int,
    ) -> None:
        self._module = module
        self._header = header
        self._key_download = key_download
        self._operator = operator
        self._seconds = seconds
        self._stan_block = stan_block

    def send(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        """Send a sign-on, sign-off or echo; the line must be free."""
        stan = terminal.next_stan(turn, phone, self._stan_block)
        code = self._key_download if kind is Kind.SIGN_ON else _CODES[kind]
        fields: dict[int, Value] = {
            11: stan,
            41: phone.terminal_id,
            42: phone.merchant_id,
            60: f"00{phone.batch:06d}{code}",
        }
        if kind is Kind.SIGN_ON:
            fields[63] = self._operator
            if phone.status == SIGNED_ON:
                # the acquirer changes the keys when it answers: until the answer is here, it is not known which hold
                turn.store.change(phone)
                phone.status = INSTALLED
        request, reply = ("0800", SIGN_ON_REPLY) if kind is Kind.SIGN_ON else ("0820", OTHER_REPLY)
        turn.send(terminal.acquirer_link, TERMINAL.pack(Message(request, fields, self._header)))
        terminal.open(turn, kind, reply, stan, None, self._seconds)

    def signed_on(self, turn: Turn, phone: Phone, message: Message) -> str | None:
        """Take the keys of an 0810.

        Returns
        -------
        str or None
            Why the phone is not signed on; None when it is.
        """
        code = message.get(39)
        if code != "00":
            return f"the acquirer answered the sign-on {code}" if isinstance(code, str) else "no response code"
        download = message.get(62)
        if not isinstance(download, bytes):
            return "the sign-on brought no keys"
        try:
            keys = self._module.read_de62(self._module.load(phone.tmk), download)
        except SecurityModuleError:
            return "the keys of the sign-on do not have their check values"
        turn.store.change(phone)
        phone.pik = keys.pik.block
        phone.mak = keys.mak.block
        phone.tdk = None if keys.tdk is None else keys.tdk.block
        phone.status = SIGNED_ON
        return None


def must_sign_on_again(turn: Turn, terminal: Terminal, phone: Phone) -> None:
    """The acquirer does not take the phone's keys, or the phone not the acquirer's: new ones are needed at once."""
    if phone.status != INSTALLED:
        turn.store.change(phone)
        phone.status = INSTALLED
    terminal.sign_on_at = turn.now


def signed_off(turn: Turn, phone: Phone) -> None:
    """The acquirer has signed the phone off: its keys are of no use any more."""
    turn.store.change(phone)
    phone.pik = phone.mak = phone.tdk = None
    phone.status = SIGNED_OFF
