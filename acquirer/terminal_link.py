"""The terminal link: who may send, whether DE64 is right, and how an answer goes back (docs/protocol.md)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from acquirer.enrolment import MAC_ALGORITHMS
from acquirer.numbering import Moment
from acquirer.tables import ACTIVE, Merchant, Terminal
from network.iso8583 import TERMINAL, Message, TerminalHeader
from network.iso8583.message import Value
from network.keys import SecurityModule
from network.member import NO_MAC
from network.party import LinkName, Turn
from network.tracing import ADDITIONAL, attributes_of, context_in

HEADER_LENGTH: Final = 11
"""TPDU and head; the MAC covers what follows them."""

SIGN_ON_AGAIN: Final = frozenset(("77", "A0"))

SEALED_MANAGEMENT: Final = frozenset(
    ("360", "361", "370", "371", "372", "380", "381", "390", "391", "401", "402", "404")
)
"""DE60.3 of the network management (0800, 0820) that carries DE64: downloads and orders."""

ORDER_PAID: Final = "403"
"""DE60.3 of what the acquirer tells a terminal unasked."""

_ECHOED: Final = (2, 3, 4, 11, 23, 25, 41, 42, 49, 60)
"""Elements of a request that a refusal repeats where they came."""

_IDENTITY: Final = (11, 41, 42, 60)

_FOLLOWED: Final = frozenset(("0200", "0220", "0400"))
"""What has a part in a payment's trace; an 0400 never begins one."""


class TerminalRequest:
    """A terminal's message that has passed the checks of who sent it.

    Attributes
    ----------
    link : LinkName
        Where it came from and its answer goes.
    body : bytes
        As it arrived, TPDU first.
    trace : str
        ``terminal|batch|STAN`` of the transaction that it is about; empty where it has no STAN.
    """

    __slots__ = ("body", "link", "merchant", "message", "terminal", "trace")

    def __init__(
        self, link: LinkName, body: bytes, message: Message, terminal: Terminal, merchant: Merchant, trace: str
    ) -> None:
        self.link = link
        self.body = body
        self.message = message
        self.terminal = terminal
        self.merchant = merchant
        self.trace = trace


def trace_of(terminal_id: str, batch: str, stan: str) -> str:
    """A request's identity at the terminal: DE41, DE60.2, DE11."""
    return f"{terminal_id}|{batch}|{stan}"


@lru_cache(maxsize=256)
def response_mti(mti: str) -> str | None:
    """The MTI that answers `mti`; None where that is itself an answer, or no message type at all."""
    function = mti[2]
    if function not in "02468":
        return None
    return f"{mti[:2]}{int(function) + 1}{mti[3]}"


def management_code(fields: dict[int, Value]) -> str:
    """DE60.3; empty where DE60 is too short to hold it."""
    private = fields.get(60)
    return private[8:11] if isinstance(private, str) and len(private) >= 11 else ""


def is_sealed(message: Message) -> bool:
    """Whether a message of this kind and its answer carry DE64: all but sign-on, sign-off and echo."""
    return message.mti[1] != "8" or management_code(message.fields) in SEALED_MANAGEMENT


def refusal_of_sender(terminal: Terminal | None, merchant: Merchant | None, message: Message) -> str | None:
    """DE39 for a sender that may not send at all: unknown (97), suspended (58), wrong merchant (03); else None."""
    if terminal is None:
        return "97"
    if terminal.status != ACTIVE:
        return "58"
    if merchant is None or merchant.status != ACTIVE:
        return "03"
    shown = message.fields.get(42)
    if shown != merchant.merchant_id:
        return "03"
    return None


class TerminalLink:
    """Checks and makes DE64, and sends answers to terminals."""

    def __init__(self, acquirer_id: str, module: SecurityModule) -> None:
        self._acquirer_id = acquirer_id
        self._module = module

    def mac_is_valid(self, terminal: Terminal, message: Message, body: bytes) -> bool:
        """Whether DE64 is right under the terminal's MAC key; it covers all from the MTI to the element before it."""
        received = message.fields.get(64)
        if terminal.mac_key is None or not isinstance(received, bytes):
            return False
        key = self._module.load(terminal.mac_key)
        return self._module.verify_mac(key, MAC_ALGORITHMS[terminal.mac_algorithm], body[HEADER_LENGTH:-8], received)

    def refuse(
        self,
        turn: Turn,
        moment: Moment,
        link: LinkName,
        message: Message,
        terminal: Terminal | None,
        code: str,
        rrn: str,
    ) -> None:
        """Answer a request with nothing but its own elements and `code`."""
        mti = response_mti(message.mti)
        if mti is None:
            return
        if turn.tracing is not None and message.mti in _FOLLOWED:
            parent = context_in(message.fields.get(ADDITIONAL))
            if parent is not None or message.mti != "0400":
                told = attributes_of(message.fields, message.mti)
                turn.tracing.brief(turn, f"{message.mti} at the acquirer", parent, told, code)
        fields: dict[int, Value] = {n: message.fields[n] for n in _ECHOED if n in message.fields}
        fields[12] = moment.time
        fields[13] = moment.date
        fields[37] = rrn
        fields[39] = code
        header = message.header
        raw = header.raw if isinstance(header, TerminalHeader) else TerminalHeader().raw
        self.answer(turn, link, raw, terminal, mti, fields, sealed=is_sealed(message))

    def manage(
        self, turn: Turn, moment: Moment, request: TerminalRequest, rrn: str, code: str, more: dict[int, Value]
    ) -> None:
        """Answer network management that carries DE64: the request's own elements, `code`, and `more`."""
        message = request.message
        mti = response_mti(message.mti)
        if mti is None:
            return
        fields: dict[int, Value] = {n: message.fields[n] for n in _IDENTITY if n in message.fields}
        fields |= {12: moment.time, 13: moment.date, 37: rrn, 39: code, **more}
        self.answer(turn, request.link, request.body[:HEADER_LENGTH], request.terminal, mti, fields)

    def tell(self, turn: Turn, link: LinkName, header: bytes, terminal: Terminal, fields: dict[int, Value]) -> None:
        """Send an 0820 that no terminal has asked for, if it has a MAC key; `header` is that of its last request."""
        if terminal.mac_key is not None:
            self._send_sealed(turn, link, Message("0820", fields, _reply_header(header, 0)), terminal, terminal.mac_key)

    def answer(
        self,
        turn: Turn,
        link: LinkName,
        header: bytes,
        terminal: Terminal | None,
        mti: str,
        fields: dict[int, Value],
        *,
        sealed: bool = True,
    ) -> None:
        """Send an answer, with DE64 where the terminal has a MAC key in force; DE32 is put in.

        There is no DE64 with 77, whose sense is that there is no key, nor where `sealed` is false.

        Parameters
        ----------
        header
            TPDU and head of the request, 11 bytes.
        fields
            The answer's elements; DE39 among them.
        sealed
            As `is_sealed` says of the request.
        """
        fields[32] = self._acquirer_id
        turn.count_answer(mti, str(fields[39]))
        again = fields[39] in SIGN_ON_AGAIN
        message = Message(mti, fields, _reply_header(header, 3 if again else 0))
        mac_key = terminal.mac_key if terminal is not None and sealed and fields[39] != "77" else None
        if terminal is None or mac_key is None:
            turn.send(link, TERMINAL.pack(message))
        else:
            self._send_sealed(turn, link, message, terminal, mac_key)

    def _send_sealed(self, turn: Turn, link: LinkName, message: Message, terminal: Terminal, mac_key: str) -> None:
        message.fields[64] = NO_MAC
        packed = TERMINAL.pack(message)[:-8]
        module = self._module
        mac = module.mac(module.load(mac_key), MAC_ALGORITHMS[terminal.mac_algorithm], packed[HEADER_LENGTH:])
        turn.send(link, packed + mac)


@lru_cache(maxsize=4096)
def _reply_header(raw: bytes, requirement: int) -> TerminalHeader:
    """TPDU with its addresses swapped; the head repeated but for the processing requirement (its 6th digit).

    Kept, since terminals send the same header again and again.
    """
    return TerminalHeader.from_bytes(
        raw[:1] + raw[3:5] + raw[1:3] + raw[5:7] + bytes((raw[7] & 0xF0 | requirement,)) + raw[8:]
    )
