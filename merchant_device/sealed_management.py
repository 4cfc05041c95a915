"""Network management that carries DE64: downloads and orders (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from merchant_device.configuration import Configuration
from merchant_device.keystore import Keystore
from merchant_device.reversal import SIGN_ON_CODES
from merchant_device.sale import text
from merchant_device.sign_on import must_sign_on_again
from merchant_device.tables import Phone
from merchant_device.terminal import Kind, Terminal
from network.iso8583 import Message, TerminalHeader
from network.iso8583.message import Value
from network.party import Turn

REPLIES: Final = {"0800": "0810", "0820": "0830"}

WRONG_MAC: Final = "wrong MAC"


class SealedManagement:
    """Makes the requests, and says what an answer is worth.

    Parameters
    ----------
    configuration : Configuration
    keystore : Keystore
    header : TerminalHeader
        Of every message.
    """

    def __init__(self, configuration: Configuration, keystore: Keystore, header: TerminalHeader) -> None:
        self._keystore = keystore
        self._header = header
        self._seconds = configuration.management_timeout
        self._stan_block = configuration.stan_block

    def send(
        self,
        turn: Turn,
        terminal: Terminal,
        phone: Phone,
        kind: Kind,
        mti: str,
        code: str,
        more: Mapping[int, Value],
        subject: str | None = None,
    ) -> str:
        """Send a request and wait for its reply; the line must be free and the phone signed on.

        Parameters
        ----------
        kind : Kind
            Of the exchange.
        mti, code : str
            0800 or 0820, and DE60.3.
        more : mapping
            Elements besides 11, 41, 42, 60 and 64.
        subject : str or None
            Kept with the exchange: what the request is about.

        Returns
        -------
        str
            DE11 of the request.
        """
        stan = terminal.next_stan(turn, phone, self._stan_block)
        fields: dict[int, Value] = {
            11: stan,
            41: phone.terminal_id,
            42: phone.merchant_id,
            60: f"00{phone.batch:06d}{code}",
            **more,
        }
        message = Message(mti, dict(sorted(fields.items())), self._header)
        turn.send(terminal.acquirer_link, self._keystore.pack(phone, message))
        terminal.open(turn, kind, REPLIES[mti], stan, subject, self._seconds)
        return stan

    def code_of(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        """DE39 of an answer; None where its DE64 is wrong, so that it counts as none.

        77 and A0 count without DE64, since the two may have no key in common: they bring a sign-on and nothing else.
        """
        code = text(message.fields, 39)
        if code in SIGN_ON_CODES:
            must_sign_on_again(turn, terminal, phone)
            return code
        return (code or "") if self._keystore.is_genuine(phone, message, body) else None

    def is_genuine(self, phone: Phone, message: Message, body: bytes) -> bool:
        """Whether DE64 of a message that nobody has asked for is right."""
        return self._keystore.is_genuine(phone, message, body)
