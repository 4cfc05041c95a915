"""What an operator may do at the issuer's desk: cards' status, PIN tries and limits, cash paid in, e-cash loaded.

Each is a command decided in a turn, so that it never runs beside an authorisation of the same card.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from issuer.arguments import number_of, text_of
from issuer.configuration import Configuration
from issuer.ecash import EcashError, load_ecash
from issuer.installation import INDEX_KEY, pan_index, storage_key
from issuer.personalisation import PersonalisationError, pay_in
from issuer.tables import CARD_STATUSES, Card
from network.keys import SecurityModule
from network.ledger import Money, Transfer
from network.party import Command, CommandError, Json, Turn

MAX_AMOUNT: Final = 10**12 - 1
"""What DE4 can hold, fen."""

MAX_COUNT: Final = 10**6


class CardDesk:
    """Obeys the operator's commands over cards and accounts."""

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        self._configuration = configuration
        self._module = module
        self._orders: dict[str, Callable[[Turn, Mapping[str, Json]], Json]] = {
            "set_card_status": self._set_card_status,
            "reset_pin_tries": self._reset_pin_tries,
            "set_card_limits": self._set_card_limits,
            "pay_in": self._pay_in,
            "load_ecash": self._load_ecash,
        }

    def obey(self, turn: Turn, command: Command) -> Json:
        """Carry the command out in this turn.

        Raises
        ------
        CommandError
            It is not known, an argument is missing or malformed, or there is no such card or account.
        """
        order = self._orders.get(command.name)
        if order is None:
            raise CommandError(f"the issuer knows no command {command.name!r}")
        return order(turn, command.arguments)

    def _card(self, turn: Turn, arguments: Mapping[str, Json]) -> Card:
        pan = text_of(arguments, "pan")
        index = pan_index(self._module, storage_key(turn.store, self._module, INDEX_KEY), pan)
        card = turn.store.find(Card, "pan_index", index)
        if card is None:
            raise CommandError("there is no card of this number")
        return card

    def _set_card_status(self, turn: Turn, arguments: Mapping[str, Json]) -> Json:
        card = self._card(turn, arguments)
        status = text_of(arguments, "status")
        if status not in CARD_STATUSES:
            raise CommandError(f"a card's status is one of {', '.join(CARD_STATUSES)}")
        turn.store.change(card)
        card.status = status
        return {"status": card.status}

    def _reset_pin_tries(self, turn: Turn, arguments: Mapping[str, Json]) -> Json:
        card = self._card(turn, arguments)
        turn.store.change(card)
        card.pin_tries_left = self._configuration.pin_tries
        return {"pin_tries_left": card.pin_tries_left}

    def _set_card_limits(self, turn: Turn, arguments: Mapping[str, Json]) -> Json:
        card = self._card(turn, arguments)
        sale = number_of(arguments, "sale", MAX_AMOUNT, default=card.sale_limit)
        daily_amount = number_of(arguments, "daily_amount", MAX_AMOUNT, default=card.daily_amount_limit)
        daily_count = number_of(arguments, "daily_count", MAX_COUNT, default=card.daily_count_limit)
        turn.store.change(card)
        card.sale_limit, card.daily_amount_limit, card.daily_count_limit = sale, daily_amount, daily_count
        return {"sale": sale, "daily_amount": daily_amount, "daily_count": daily_count}

    def _pay_in(self, turn: Turn, arguments: Mapping[str, Json]) -> Json:
        """Pay in cash. The same reference again is answered with the balance and posts nothing."""
        account_id, reference = text_of(arguments, "account_id"), text_of(arguments, "reference")
        amount = number_of(arguments, "amount", MAX_AMOUNT)
        before = turn.store.find(Transfer, "transfer_id", f"{reference}/paid-in")
        if before is not None:
            if (before.credit_account, before.amount) != (account_id, amount):
                raise CommandError("the reference was used for another payment")
            return {"account_id": account_id, "posted": False}
        try:
            ledger = pay_in(
                turn.store,
                account_id=account_id,
                amount=Money(amount, self._configuration.currency),
                reference=reference,
                now=turn.now,
            )
        except PersonalisationError as error:
            raise CommandError(str(error)) from None
        return {"account_id": account_id, "posted": True, "ledger": ledger.balance}

    def _load_ecash(self, turn: Turn, arguments: Mapping[str, Json]) -> Json:
        """Move money from an account to what its cards carry. The same reference again posts nothing."""
        account_id = text_of(arguments, "account_id")
        try:
            ledger, posted = load_ecash(
                turn.store,
                account_id=account_id,
                amount=Money(number_of(arguments, "amount", MAX_AMOUNT), self._configuration.currency),
                reference=text_of(arguments, "reference"),
                now=turn.now,
            )
        except EcashError as error:
            raise CommandError(str(error)) from None
        return {"account_id": account_id, "posted": posted, "ecash": ledger.balance}
