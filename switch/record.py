"""Requests as rows, and replies made of rows alone."""

from __future__ import annotations

from typing import cast

from network.iso8583 import Message
from network.party import Instant
from network.store import UnitOfWork
from switch.card_data import CardData
from switch.presented import Presented
from switch.risk import Assessment
from switch.tables import APPROVED, BALANCE, DECLINED, PENDING, REFUSED, SALE, Transaction


def recorded(
    message: Message,
    reference: str,
    *,
    acquirer: str,
    issuer: str | None,
    card: bytes,
    token_index: str | None,
    code: str | None,
    assessment: Assessment | None,
    settlement_date: str,
    now: Instant,
    deadline: Instant,
) -> Transaction:
    """The row of a request that is well formed.

    Parameters
    ----------
    card
        Sealed; empty where it is not known.
    code
        The switch's own answer; None where the request is forwarded.
    """
    fields = cast("dict[int, str]", message.fields)
    get = fields.get
    return Transaction(
        reference=reference,
        mti=message.mti,
        status=PENDING if code is None else REFUSED,
        acquirer=acquirer,
        issuer=issuer,
        forwarder=get(33),
        card=card,
        token_index=token_index,
        processing_code=fields[3],
        amount=int(get(4, "0")),
        local_time=fields[12],
        local_date=fields[13],
        settlement_date=settlement_date,
        merchant_type=get(18),
        entry_mode=fields[22],
        card_sequence=get(23),
        condition=fields[25],
        rrn=fields[37],
        terminal=fields[41],
        merchant=fields[42],
        currency=fields[49],
        received_at=now,
        deadline=deadline,
        response_code=code,
        authorisation=None,
        balances=None,
        chip_reply=None,
        answered_at=None if code is None else now,
        reversal_code=None,
        reversed_at=None,
        late_code=None,
        risk_score=None if assessment is None else assessment.score,
        risk_rules=None if assessment is None else assessment.rules,
    )


def rebuilt(
    store: UnitOfWork, cards: CardData, presented: Presented, transaction: Transaction, code: str, switch_id: str
) -> Message:
    """The reply to a recorded request, from its row alone."""
    one = transaction
    card = cards.unseal(store, one.reference, one.card) if one.card else None
    # otherwise it is the switch's own word
    answered = one.status in (APPROVED, DECLINED)
    fields: dict[int, str | bytes | None] = {
        2: None if card is None else card.shown_pan,
        3: one.processing_code,
        4: f"{one.amount:012d}" if one.amount or one.processing_code == SALE else None,
        7: one.transmission,
        11: one.stan,
        12: one.local_time,
        13: one.local_date,
        14: None if card is None else card.shown_expiry,
        15: one.settlement_date,
        18: one.merchant_type,
        23: one.card_sequence,
        25: one.condition,
        32: one.acquirer,
        33: one.issuer if answered else switch_id,
        37: one.rrn,
        38: one.authorisation if answered else None,
        39: code,
        41: one.terminal,
        42: one.merchant,
        49: one.currency,
        54: one.balances if answered else None,
        55: one.chip_reply if answered else None,
        100: one.issuer,
    }
    reply = Message(
        f"{one.mti[:2]}{int(one.mti[2]) + 1}0", {n: value for n, value in fields.items() if value is not None}
    )
    if one.risk_rules is not None:
        presented.for_acquirer(reply, None, one.risk_rules)
    return reply


def agrees(message: Message, transaction: Transaction) -> bool:
    """Whether a message has the processing code and the amount of the recorded request."""
    amount = message.get(4, "0")
    return (
        message.get(3) == transaction.processing_code
        and isinstance(amount, str)
        and (int(amount) == transaction.amount or (4 not in message and transaction.processing_code == BALANCE))
    )
