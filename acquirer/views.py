"""What the REST interface shows of rows: nothing that identifies a card."""

from __future__ import annotations

from typing import Annotated, Final

import fastapi

from acquirer.orders import state_of
from acquirer.tables import Advice, PaymentOrder, Transaction
from network.iso8583 import RESPONSE_CODES
from network.party import Instant, Json, local_time

MOST: Final = 500
"""Most rows that a query gives."""

Limit = Annotated[int, fastapi.Query(ge=1, le=MOST)]


def transaction_view(row: Transaction) -> dict[str, Json]:
    """A transaction without what identifies the card."""
    return {
        "reference": row.reference,
        "rrn": row.rrn,
        "terminal_id": row.terminal_id,
        "merchant_id": row.merchant_id,
        "batch": row.batch,
        "stan": row.stan,
        "kind": row.kind,
        "status": row.status,
        "amount": row.amount,
        "currency": row.currency,
        "entry_mode": row.entry_mode,
        "order": row.order_number,
        "response_code": row.response_code,
        "meaning": RESPONSE_CODES.get(row.response_code or ""),
        "authorisation_code": row.authorisation_code,
        "settlement_date": row.settlement_date,
        "created_at": row.created_at,
        "time": time_of(row.created_at),
        "answered_at": row.answered_at,
    }


def advice_view(row: Advice) -> dict[str, Json]:
    """An advice; `reason` is that of a reversal."""
    return {
        "reference": row.reference,
        "original": row.original,
        "kind": "reversal" if row.message is None else "offline sale",
        "status": row.status,
        "reason": row.reason,
        "meaning": RESPONSE_CODES.get(row.reason),
        "attempts": row.attempts,
        "response_code": row.response_code,
        "created_at": row.created_at,
        "time": time_of(row.created_at),
        "answered_at": row.answered_at,
    }


def order_view(row: PaymentOrder, now: Instant) -> dict[str, Json]:
    """An order, with what it is at `now`; the ``paid_`` values are those of its latest payment."""
    return {
        "order": row.number,
        "merchant_id": row.merchant_id,
        "terminal_id": row.terminal_id,
        "status": state_of(row, now),
        "static": row.amount is None,
        "amount": row.amount,
        "currency": row.currency,
        "created_at": row.created_at,
        "time": time_of(row.created_at),
        "expires_at": row.expires_at,
        "payment": row.payment,
        "paid_amount": row.paid_amount,
        "paid_rrn": row.paid_rrn,
        "paid_at": row.paid_at,
        "payments": row.payments,
        "payments_total": row.payments_total,
    }


def time_of(instant: Instant) -> str:
    """Local time for people."""
    return local_time(instant).isoformat(timespec="milliseconds")
