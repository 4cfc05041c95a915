"""How the switch says no: a reply with a response code, or the message itself sent back with a reject code."""

from __future__ import annotations

from typing import Final, NamedTuple

from network.iso8583 import InterbankHeader, Message, interbank_mac_input
from network.iso8583.errors import Fault
from network.member import ZoneKeys
from network.party import LinkName, Turn
from switch.zones import Zones

REJECT_FORMAT: Final = "00030"
"""The message cannot be read."""

REJECT_SENDER: Final = "00058"
"""The sender named in the header is no member."""

REJECT_DESTINATION: Final = "00092"
"""The destination named in the header is not this switch."""

HEADER_LENGTH: Final = 46

_REPEATED: Final = {
    "0210": (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 37, 41, 42, 49),
    "0230": (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 37, 41, 42, 49),
    "0430": (2, 3, 4, 7, 11, 25, 32, 37, 41, 42, 49),
}
_REPEATED_OTHERWISE: Final = (2, 3, 4, 7, 11, 32, 37, 41, 42, 49)


class Clock(NamedTuple):
    """The time of a turn as messages write it, made once a turn."""

    year: int
    month: int
    transmission: str
    settlement_date: str

    @classmethod
    def of(cls, turn: Turn) -> Clock:
        """The turn's time: DE7 MMDDhhmmss and DE15 MMDD, China Standard Time."""
        local = turn.local
        transmission = local.strftime("%m%d%H%M%S")
        return cls(local.year, local.month, transmission, transmission[:4])


def reply(request: Message, code: str, switch_id: str, settlement_date: str) -> Message:
    """The switch's own reply to a request: response code `code`, and what a reply of its type repeats."""
    mti = f"{request.mti[:2]}{int(request.mti[2]) + 1}0"
    fields = {n: request[n] for n in _REPEATED.get(mti, _REPEATED_OTHERWISE) if n in request}
    fields[15] = settlement_date
    fields[33] = switch_id
    fields[39] = code
    return Message(mti, fields, header_of_reply(request))


def header_of_reply(request: Message) -> InterbankHeader | None:
    """The request's header with the ids swapped."""
    header = request.header
    return header.reply() if isinstance(header, InterbankHeader) else None


def answer(turn: Turn, zones: Zones, link: LinkName, member_id: str, message: Message) -> None:
    """Send a reply over the link its request came by, with DE128 where there is a key to make it."""
    zone = turn.store.find(ZoneKeys, "zone", member_id)
    if zone is not None:
        turn.count_answer(message.mti, message.text(39))
        turn.send(link, zones.seal(zone, message, interbank_mac_input(message)))


def header_of(body: bytes) -> InterbankHeader | None:
    """The header of a message that cannot be decoded as a whole; None when not even the header can be."""
    try:
        return InterbankHeader.from_bytes(body[:HEADER_LENGTH])
    except Fault:
        return None


def send_back(turn: Turn, link: LinkName, header: InterbankHeader, body: bytes, reject_code: str) -> None:
    """Reject a message: it goes back with the reject code in its header, the ids swapped, otherwise as it came.

    That it does so, and what the codes are, no public text confirms [G]; the codes are this network's own.
    """
    turn.send(link, header.reply(reject_code).frame(body[HEADER_LENGTH:]))
