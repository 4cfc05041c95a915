"""Administrative requests of members (0600): tokens, payers' codes, and orders that are to be paid.

DE3 says what is asked. A request is a row, so that a copy of it, however late, is answered from the record and does
nothing. These messages are this network's own; docs/protocol.md has their elements.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from network.iso8583 import Message, interbank_mac_input
from network.member import ZoneKeys, reference
from network.party import LinkName, Turn
from network.store import UnitOfWork
from switch import refusal
from switch.card_data import CardData, pan_of
from switch.claims import Claims
from switch.codes import Codes
from switch.configuration import Configuration
from switch.membership import is_suspended
from switch.refusal import Clock
from switch.routing import RoutingTable
from switch.sign_on import MemberLinks
from switch.tables import ANSWERED, CODE, PENDING, AdministrativeRequest, Token
from switch.tokens import DELETE, DOMAINS, RESUME, SUSPEND, NoFreeNumberError, Tokens, refusal_of
from switch.zones import Zones

MAKE_TOKEN: Final = "910000"  # noqa: S105 - a processing code
MAKE_CODE: Final = "930000"
PAY_ORDER: Final = "940000"
"""DE3 of the other requests."""

_STATUS_CHANGES: Final = frozenset({SUSPEND, RESUME, DELETE})
_NEEDED: Final = {
    MAKE_TOKEN: (2, 14, 48),
    SUSPEND: (103,),
    RESUME: (103,),
    DELETE: (103,),
    MAKE_CODE: (103,),
    PAY_ORDER: (4, 102, 103),
}
_REPEATED: Final = (2, 3, 4, 7, 11, 102, 103)
_ASKED: Final = (2, 3, 4, 14, 48, 102, 103)
_ORDER_LENGTH: Final = 20


class Administration:
    """What the switch does with 0600 of members."""

    def __init__(
        self,
        configuration: Configuration,
        zones: Zones,
        links: MemberLinks,
        cards: CardData,
        tokens: Tokens,
        codes: Codes,
        claims: Claims,
        routing: Callable[[], RoutingTable],
    ) -> None:
        self._switch_id = configuration.switch_id
        self._zones = zones
        self._links = links
        self._cards = cards
        self._tokens = tokens
        self._codes = codes
        self._claims = claims
        self._routing = routing

    def request(self, turn: Turn, clock: Clock, link: LinkName, sender: str, message: Message, key: str | None) -> None:
        """Decide an 0600 of a member that is signed on; `key` is its identity, see `identity_of`."""
        store = turn.store
        zone = store.find(ZoneKeys, "zone", sender)
        if zone is None or not self._zones.verifies(zone, message, interbank_mac_input(message), turn.now):
            self.refuse(turn, link, sender, message, "A0")
            return
        function = message.get(3)
        if key is None or not isinstance(function, str) or message.get(33) != sender:
            self.refuse(turn, link, sender, message, "30")
            return
        asked = self._cards.index(store, repr([message.get(number) for number in _ASKED]))
        found = store.find(AdministrativeRequest, "reference", key)
        if found is not None:
            if found.asked != asked:
                self.refuse(turn, link, sender, message, "94")
            elif found.status == ANSWERED:
                self._send(turn, link, sender, message, self._recorded_reply(store, found))
            return
        code = self._malformed(message, function)
        if code is not None:
            self.refuse(turn, link, sender, message, code)
            return
        try:
            code, result = self._decided(turn, clock, sender, message, function, key)
        except NoFreeNumberError:
            self.refuse(turn, link, sender, message, "96")
            return
        elements = {n: value for n in _REPEATED if isinstance(value := message.get(n), str)} | result
        row = AdministrativeRequest(
            reference=key,
            function=function,
            member=sender,
            status=PENDING if code is None else ANSWERED,
            asked=asked,
            reply=self._cards.seal_text(store, key, json.dumps(elements)),
            response_code=code,
            received_at=turn.now,
            answered_at=None if code is None else turn.now,
        )
        store.insert(row)
        if code is not None:
            self._send(turn, link, sender, message, self._recorded_reply(store, row))

    def settle(self, turn: Turn, key: str, code: str) -> None:
        """Answer a request that waited for an acquirer."""
        row = turn.store.find(AdministrativeRequest, "reference", key)
        if row is None or row.status == ANSWERED:
            return
        turn.store.change(row)
        row.status = ANSWERED
        row.response_code = code
        row.answered_at = turn.now
        turn.count_answer("0610", code)
        # a member that cannot be reached asks again, and is answered from the record
        self._links.send(turn, row.member, self._recorded_reply(turn.store, row))

    def refuse(self, turn: Turn, link: LinkName, sender: str, message: Message, code: str) -> None:
        """Answer a request of which nothing is recorded."""
        fields = {n: message[n] for n in _REPEATED if n in message}
        self._send(turn, link, sender, message, self._reply(fields, code))

    def _decided(
        self, turn: Turn, clock: Clock, sender: str, message: Message, function: str, key: str
    ) -> tuple[str | None, dict[int, str]]:
        """The response code, None where an acquirer is asked first, and what the reply has besides."""
        store = turn.store
        if function in _STATUS_CHANGES:
            return self._tokens.change(store, sender, message.text(103), function, turn.now), {}
        if is_suspended(store, sender):
            return "58", {}
        if function == MAKE_TOKEN:
            pan = message.text(2)
            if self._routing().issuer_of(pan) != sender or pan.startswith(self._tokens.prefix):
                return "14", {}
            number = self._tokens.make(turn, sender, pan, message.text(14), message.text(48).split(","))
            return ("65", {}) if number is None else ("00", {103: number, 14: message.text(14)})
        token = self._tokens.find(store, message.text(103))
        code = refusal_of(token, CODE, turn.local.strftime("%y%m"))
        if token is None or token.issuer != sender:
            return "14", {}
        if code is not None:
            return code, {}
        if function == MAKE_CODE:
            digits, _ = self._codes.make(turn, token, self._routing())
            return "00", {102: digits}
        return self._claim(turn, clock, token, message, key), {}

    def _claim(self, turn: Turn, clock: Clock, token: Token, message: Message, key: str) -> str | None:
        amount = int(message.text(4))
        if amount == 0:
            return "13"
        return self._claims.claim(turn, clock, token, message.text(102), amount, key, self._routing())

    def _malformed(self, message: Message, function: str) -> str | None:
        needed = _NEEDED.get(function)
        if needed is None:
            return "12"
        if any(not isinstance(message.get(number), str) for number in needed):
            return "30"
        if function == MAKE_TOKEN:
            asked = message.text(48).split(",")
            month = message.text(14)[2:]
            known = set(asked) <= set(DOMAINS) and len(set(asked)) == len(asked)
            return None if known and "01" <= month <= "12" and pan_of(message) is not None else "30"
        if function == PAY_ORDER:
            order = message.text(102)
            return None if len(order) == _ORDER_LENGTH and order.isascii() and order.isdigit() else "30"
        return None

    def _recorded_reply(self, store: UnitOfWork, row: AdministrativeRequest) -> Message:
        elements = json.loads(self._cards.unseal_text(store, row.reference, row.reply))
        return self._reply({int(number): value for number, value in elements.items()}, row.response_code or "96")

    def _reply(self, elements: dict[int, str | bytes], code: str) -> Message:
        fields = elements | {33: self._switch_id, 39: code, 100: self._switch_id}
        return Message("0610", dict(sorted(fields.items())))

    def _send(self, turn: Turn, link: LinkName, sender: str, request: Message, reply: Message) -> None:
        reply.header = refusal.header_of_reply(request)
        refusal.answer(turn, self._zones, link, sender, reply)


def identity_of(message: Message, sender: str, clock: Clock) -> str | None:
    """An administrative message's identity as a key: DE7, DE11 and the member at the other end; None without them."""
    transmission, stan = message.get(7), message.get(11)
    if not (isinstance(transmission, str) and isinstance(stan, str) and "01" <= transmission[:2] <= "12"):
        return None
    return reference(clock.year, clock.month, transmission, stan, sender)
