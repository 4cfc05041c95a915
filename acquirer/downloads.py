"""What terminals download: CA keys, the limits of applications, and the list of stopped cards (docs/protocol.md).

The layout of DE62 is this network's own usage, after JR/T 0001's downloads; tags DF02 to DF07 and DF19 to DF21 are
those of the terminals' trade [G]. 390 and 391, for the list of stopped cards, are own usage: see `network.hot_cards`.
"""

from __future__ import annotations

import re
from typing import Final

from acquirer.configuration import MOST_FEN
from acquirer.context import Context
from acquirer.enrolment import EnrolmentError
from acquirer.hot_cards import HotCards
from acquirer.numbering import Moment
from acquirer.tables import ACTIVE, SUSPENDED, ApplicationParameters, CaKey
from acquirer.terminal_link import TerminalRequest, management_code
from network.emv import tlv
from network.emv.ca_keys import CaKeyError, parse_ca_key
from network.hot_cards import HotListError, parse_page_number
from network.iso8583.message import Value
from network.party import Instant, Turn
from network.store import UnitOfWork

KEY_LIST: Final = "372"
KEY: Final = "370"
APPLICATION: Final = "380"
TERMINAL_PARAMETERS: Final = "360"
HOT_CARDS: Final = "390"
ENDS: Final = frozenset(("361", "371", "381", "391"))
"""DE60.3 of what is asked."""

MOST_KEYS: Final = 40
"""Keys of which the list fits in DE62: 23 bytes each, 999 in all."""

_AID: Final = re.compile(r"(?:[0-9A-F]{2}){5,16}", re.ASCII)

_THERE: Final = b"1"
_NOTHING: Final = b"0"
"""First byte of DE62: whether there is what was asked for."""

_LIMITS: Final = ("DF19", "DF20", "DF21")


def set_ca_key(store: UnitOfWork, block: bytes, now: Instant) -> CaKey:
    """Offer terminals a key; one of the same RID and index is replaced.

    Parameters
    ----------
    block
        The download's TLV: 9F06, 9F22, DF05, DF06, DF07, DF02, DF04, DF03.

    Raises
    ------
    EnrolmentError
        It is no such key, its hash is wrong, or there are `MOST_KEYS` already.
    """
    try:
        key = parse_ca_key(block)
    except CaKeyError as error:
        raise EnrolmentError(f"a CA key: {error}") from None
    name = key_name(key.rid, key.index)
    row = store.find(CaKey, "name", name)
    if (row is None or row.status != ACTIVE) and len(active_keys(store)) >= MOST_KEYS:
        raise EnrolmentError(f"there are {MOST_KEYS} CA keys already")
    if row is None:
        row = CaKey(name, ACTIVE, b"", None, now)
        store.insert(row)
    store.change(row)
    row.status, row.block, row.expiry, row.changed_at = ACTIVE, key.build(), key.expiry, now
    return row


def withdraw_ca_key(store: UnitOfWork, name: str, now: Instant) -> CaKey:
    """Offer a key no more.

    Parameters
    ----------
    name
        ``RID|index`` in hexadecimal.

    Raises
    ------
    EnrolmentError
        There is no such key.
    """
    row = store.find(CaKey, "name", name)
    if row is None:
        raise EnrolmentError(f"there is no CA key {name[:20]}")
    store.change(row)
    row.status, row.changed_at = SUSPENDED, now
    return row


def set_parameters(
    store: UnitOfWork, aid: str, *, floor_limit: int, contactless_limit: int, cvm_limit: int, now: Instant
) -> ApplicationParameters:
    """Give an application limits of its own.

    Parameters
    ----------
    aid
        5 to 16 bytes in hexadecimal.
    floor_limit, contactless_limit, cvm_limit
        Fen.

    Raises
    ------
    EnrolmentError
        The AID is malformed or a limit is not 0 to 12 digits of fen.
    """
    name = aid.upper()
    if not _AID.fullmatch(name):
        raise EnrolmentError("an AID has 5 to 16 bytes in hexadecimal")
    if not all(0 <= limit <= MOST_FEN for limit in (floor_limit, contactless_limit, cvm_limit)):
        raise EnrolmentError("a limit has at most 12 digits of fen")
    row = store.find(ApplicationParameters, "aid", name)
    if row is None:
        row = ApplicationParameters(name, 0, 0, 0, now)
        store.insert(row)
    store.change(row)
    row.floor_limit, row.contactless_limit, row.cvm_limit = floor_limit, contactless_limit, cvm_limit
    row.changed_at = now
    return row


def key_name(rid: bytes, index: int) -> str:
    """How a CA key's row is called: ``RID|index`` in hexadecimal."""
    return f"{rid.hex().upper()}|{index:02X}"


def active_keys(store: UnitOfWork) -> list[CaKey]:
    """The keys that are offered, by name."""
    return store.scan(CaKey, "status", ACTIVE, MOST_KEYS)


class Downloads:
    """Answers what terminals ask; see the module's text."""

    def __init__(self, context: Context, hot_cards: HotCards) -> None:
        self._context = context
        self._hot_cards = hot_cards

    def request(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """Decide network management about downloads, of a terminal that may send and whose MAC is right."""
        message = request.message
        fields = message.fields
        code = management_code(fields)
        store = turn.store
        if 11 not in fields:
            self._answer(turn, moment, request, "30", None)
        elif message.mti == "0820" and code == KEY_LIST:
            self._answer(turn, moment, request, "00", _key_list(store))
        elif message.mti != "0800":
            self._answer(turn, moment, request, "40", None)
        elif code in ENDS:
            self._answer(turn, moment, request, "00", None)
        elif code == TERMINAL_PARAMETERS:
            self._answer(turn, moment, request, "00", self._terminal_parameters())
        elif code == HOT_CARDS:
            number = _asked_page(fields.get(62))
            content = None if number is None else self._hot_cards.page(store, number, turn.random)
            self._answer(turn, moment, request, "30" if content is None else "00", content)
        elif code in (KEY, APPLICATION):
            asked = _asked(fields.get(62))
            content = None
            if asked is not None:
                content = _key(store, asked) if code == KEY else self._application(store, asked)
            self._answer(turn, moment, request, "30" if content is None else "00", content)
        else:
            self._answer(turn, moment, request, "40", None)

    def _application(self, store: UnitOfWork, asked: dict[str, bytes]) -> bytes | None:
        """Limits of an application, the acquirer's where it has none of its own; None where no AID was named."""
        aid = asked.get("9F06", b"").hex().upper()
        if not _AID.fullmatch(aid):
            return None
        row = store.find(ApplicationParameters, "aid", aid)
        limits = self._defaults() if row is None else (row.floor_limit, row.contactless_limit, row.cvm_limit)
        return _THERE + tlv.encode("9F06", asked["9F06"]) + _limits(limits)

    def _terminal_parameters(self) -> bytes:
        configuration = self._context.configuration
        country, currency = (bytes.fromhex(f"0{n}") for n in (configuration.country_number, configuration.currency))
        return _limits(self._defaults()) + tlv.encode("9F1A", country) + tlv.encode("5F2A", currency)

    def _defaults(self) -> tuple[int, int, int]:
        configuration = self._context.configuration
        return configuration.floor_limit, configuration.contactless_limit, configuration.cvm_limit

    def _answer(self, turn: Turn, moment: Moment, request: TerminalRequest, code: str, content: bytes | None) -> None:
        context = self._context
        rrn = context.new_retrieval_reference(turn.store, moment)
        more: dict[int, Value] = {} if content is None else {62: content}
        context.terminals.manage(turn, moment, request, rrn, code, more)


def _key_list(store: UnitOfWork) -> bytes:
    """What keys there are: RID, index and expiry of each."""
    parts = []
    for row in active_keys(store):
        rid, _, index = row.name.partition("|")
        parts.append(tlv.encode("9F06", bytes.fromhex(rid)) + tlv.encode("9F22", bytes.fromhex(index)))
        if row.expiry is not None:
            parts.append(tlv.encode("DF05", row.expiry.encode()))
    return _THERE + b"".join(parts) if parts else _NOTHING


def _key(store: UnitOfWork, asked: dict[str, bytes]) -> bytes | None:
    """One key whole; None where none was named."""
    rid, index = asked.get("9F06", b""), asked.get("9F22", b"")
    if len(rid) != 5 or len(index) != 1:
        return None
    row = store.find(CaKey, "name", key_name(rid, index[0]))
    return _NOTHING if row is None or row.status != ACTIVE else _THERE + row.block


def _asked(element: Value | None) -> dict[str, bytes] | None:
    """The objects of a request's DE62; None where they cannot be read."""
    if not isinstance(element, bytes):
        return None
    try:
        return tlv.flat(element)
    except tlv.TlvError:
        return None


def _asked_page(element: Value | None) -> int | None:
    """The page of stopped cards that a request's DE62 names; None where it names none."""
    if not isinstance(element, bytes):
        return None
    try:
        return parse_page_number(element)
    except HotListError:
        return None


def _limits(limits: tuple[int, int, int]) -> bytes:
    return b"".join(tlv.encode(tag, bytes.fromhex(f"{fen:012d}")) for tag, fen in zip(_LIMITS, limits, strict=True))
