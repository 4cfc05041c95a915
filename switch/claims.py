"""Orders that payers want to pay: claimed at their acquirer (0600, 950000) with a one-use code made for the order.

A claim is a row before it is sent. It is sent again every `advice_retry` until it is answered, `administrative_tries`
times in all; then the code is made good for nothing and the issuer is answered 98. Where the acquirer has used the code
meanwhile, its answer was only lost, and the issuer is answered 00.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from network.iso8583 import Message, interbank_mac_input
from network.member import ZoneKeys, reference
from network.party import SECOND, Turn
from switch.card_data import CardData
from switch.codes import Binding, Codes
from switch.configuration import Configuration
from switch.membership import is_suspended
from switch.refusal import Clock
from switch.routing import RoutingTable
from switch.sign_on import MemberLinks
from switch.stan import StanSequence
from switch.tables import ANSWERED, PENDING, Claim, Member, Token
from switch.zones import Zones

CLAIM_TIMER: Final = "claim"
CLAIM_ORDER: Final = "950000"
PENDING_LIMIT: Final = 100_000
"""Claims whose timers are set again at the start."""

_ACQUIRER_DIGITS: Final = 8
_TRY_AGAIN: Final = frozenset({"96", "A0", "77"})
_TRIES: Final = 10_000


class Claims:
    """Asks acquirers, takes their answers, and gives up in time.

    Parameters
    ----------
    dropped : callable
        Counts a message that is dropped, by the reason.
    """

    def __init__(
        self,
        configuration: Configuration,
        zones: Zones,
        links: MemberLinks,
        cards: CardData,
        codes: Codes,
        stans: StanSequence,
        dropped: Callable[[str], None],
    ) -> None:
        self._switch_id = configuration.switch_id
        self._retry = round(configuration.advice_retry * SECOND)
        self._most = configuration.administrative_tries
        self._zones = zones
        self._links = links
        self._cards = cards
        self._codes = codes
        self._stans = stans
        self._dropped = dropped

    def start(self, turn: Turn) -> None:
        """Set the timers of what was pending when the last process ended."""
        for claim in turn.store.scan(Claim, "status", PENDING, PENDING_LIMIT):
            turn.timer((CLAIM_TIMER, claim.reference), max(claim.created_at + claim.attempts * self._retry, turn.now))

    def claim(
        self, turn: Turn, clock: Clock, token: Token, order_number: str, amount: int, key: str, routing: RoutingTable
    ) -> str | None:
        """Claim an order for the issuer's request `key`.

        Returns
        -------
        str or None
            The response code where the acquirer cannot be asked: 25 there is none of that number, 91 it cannot be
            reached. None where it has been asked.
        """
        store = turn.store
        acquirer = order_number[:_ACQUIRER_DIGITS]
        if store.find(Member, "member_id", acquirer) is None:
            return "25"
        if is_suspended(store, acquirer) or self._links.ready(acquirer) is None:
            return "91"
        digits, code = self._codes.make(turn, token, routing, Binding(acquirer, order_number, amount))
        own = self._free_identity(turn, clock, acquirer)
        claim = Claim(
            reference=own,
            status=PENDING,
            asked_by=key,
            acquirer=acquirer,
            order_number=order_number,
            amount=amount,
            code_index=code.code_index,
            code=self._cards.seal_text(store, own, digits),
            created_at=turn.now,
            attempts=0,
            response_code=None,
            answered_at=None,
            late_code=None,
        )
        store.insert(claim)
        self._ask(turn, claim)
        return None

    def answer(self, turn: Turn, sender: str, message: Message, key: str | None) -> tuple[str, str] | None:
        """Decide an 0610 of an acquirer; gives the issuer's request that is answered by it, and the response code."""
        zone = turn.store.find(ZoneKeys, "zone", sender)
        if zone is None or not self._zones.verifies(zone, message, interbank_mac_input(message), turn.now):
            self._dropped("0610 with a wrong MAC")
            return None
        claim = None if key is None else turn.store.find(Claim, "reference", key)
        code = message.get(39)
        if claim is None or not isinstance(code, str) or message.get(102, claim.order_number) != claim.order_number:
            self._dropped("0610 without a request")
            return None
        if claim.status != PENDING:
            if claim.late_code is None and claim.response_code == "98":
                turn.store.change(claim)
                claim.late_code = code
            self._dropped("late or repeated 0610")
            return None
        if code in _TRY_AGAIN:
            if code == "A0":
                self._links.mac_refused(turn, sender)
            return None
        return self._end(turn, claim, code)

    def due(self, turn: Turn, key: str) -> tuple[str, str] | None:
        """A claim was not answered in time: ask again, or give up as `answer` does."""
        claim = turn.store.find(Claim, "reference", key)
        if claim is None or claim.status != PENDING:
            return None
        if claim.attempts < self._most:
            self._ask(turn, claim)
            return None
        return self._end(turn, claim, "98")

    def _end(self, turn: Turn, claim: Claim, code: str) -> tuple[str, str]:
        if code != "00" and not self._codes.withdraw(turn.store, claim.code_index, turn.now):
            # the code is in a sale already: it is that which decides whether the payer pays
            code = "00"
        turn.store.change(claim)
        claim.status = ANSWERED
        claim.response_code = code
        claim.answered_at = turn.now
        turn.timer((CLAIM_TIMER, claim.reference), None)
        return claim.asked_by, code

    def _ask(self, turn: Turn, claim: Claim) -> None:
        turn.store.change(claim)
        claim.attempts += 1
        fields: dict[int, str | bytes] = {
            3: CLAIM_ORDER,
            4: f"{claim.amount:012d}",
            7: claim.transmission,
            11: claim.stan,
            33: self._switch_id,
            102: claim.order_number,
            103: self._cards.unseal_text(turn.store, claim.reference, claim.code),
        }
        self._links.send(turn, claim.acquirer, Message("0600", fields))
        turn.timer((CLAIM_TIMER, claim.reference), turn.now + self._retry)

    def _free_identity(self, turn: Turn, clock: Clock, acquirer: str) -> str:
        for _ in range(_TRIES):
            stan = self._stans.take(turn.store)
            key = reference(clock.year, clock.month, clock.transmission, stan, acquirer)
            if turn.store.find(Claim, "reference", key) is None:
                return key
        raise LookupError(f"{_TRIES} trace numbers in a row are taken by claims of this second")
