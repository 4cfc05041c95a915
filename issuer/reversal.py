"""Reversal advices: what was approved is undone once, whatever comes how often and in which order.

The original is found by DE90. There are four answers: 00 it was undone, or was declined and there was nothing to undo;
25 it is not here, and if it still comes it will be declined, for a tombstone is kept in its place; 25 too when it
belongs to another card, or is an offline sale, which the card has promised and nobody undoes; 64 its amount is another
one. The first answer is kept and given to every further reversal of the same original, be it from the switch or
through it from the acquirer.
"""

from __future__ import annotations

from issuer.configuration import Configuration
from issuer.requests import OFFLINE, Calendar, Reversal
from issuer.tables import APPROVED, ECASH_PREFIX, REVERSED, TOMBSTONE, Authorisation, Card
from issuer.token_authorisation import give_back
from network.ledger import LedgerAccount, Money, post
from network.party import Turn


def reverse(
    reversal: Reversal, turn: Turn, calendar: Calendar, settlement: LedgerAccount, configuration: Configuration
) -> str:
    """Decide a reversal advice in this turn; gives the response code."""
    original = turn.store.find(Authorisation, "reference", reversal.reference)
    if original is None:
        turn.store.insert(_tombstone(reversal, turn, calendar, configuration))
        return "25"
    if original.pan_index != reversal.pan_index or original.mti == OFFLINE:
        return "25"
    if original.reversal_code is not None:
        return original.reversal_code
    if original.amount != reversal.amount:
        return "64"
    turn.store.change(original)
    original.reversal_code = "00"
    original.reversed_at = turn.now
    if original.status == APPROVED:
        original.status = REVERSED
        if original.amount:
            _undo(original, reversal, turn, calendar, settlement)
    return "00"


def _undo(
    original: Authorisation, reversal: Reversal, turn: Turn, calendar: Calendar, settlement: LedgerAccount
) -> None:
    """Post the opposite, and give the day's limits back while it is still the same day."""
    store = turn.store
    ledger = store.find(LedgerAccount, "account_id", original.account_id or "")
    if ledger is None:
        raise LookupError("an approved authorisation's account is not there")
    post(
        store,
        transfer_id=f"{original.reference}/reversal",
        reference=original.reference,
        debit=settlement,
        credit=ledger,
        amount=Money(original.amount, original.currency),
        settlement_date=reversal.text(15) or calendar.date,
        posted_at=turn.now,
    )
    if (original.account_id or "").startswith(ECASH_PREFIX):
        return  # offline approvals use no limits
    card = store.find(Card, "pan_index", original.pan_index)
    if card is not None and card.used_on == original.used_on:
        store.change(card)
        card.used_amount -= original.amount
        card.used_count -= 1
    if original.token_payment is not None:
        give_back(store, original.token_payment, original)


def _tombstone(reversal: Reversal, turn: Turn, calendar: Calendar, configuration: Configuration) -> Authorisation:
    return Authorisation(
        reference=reversal.reference,
        mti=reversal.original_mti,
        processing_code=reversal.text(3),
        status=TOMBSTONE,
        response_code="25",
        pan_index=reversal.pan_index,
        account_id=None,
        amount=reversal.amount,
        currency=reversal.text(49) or configuration.currency,
        auth_code=None,
        issuer_authentication=None,
        account_type=None,
        ledger_balance=None,
        available_balance=None,
        settlement_date=reversal.text(15) or calendar.date,
        used_on=calendar.day,
        rrn=reversal.text(37),
        terminal_id=reversal.text(41),
        merchant_id=reversal.text(42),
        decided_at=turn.now,
        reversed_at=turn.now,
        reversal_code="25",
    )
