"""The sales of a phone for its merchant: card numbers masked, nothing that was sealed or sent."""

from __future__ import annotations

from typing import Final

from merchant_device.tables import Sale
from network.party import Instant, Json, local_time
from network.store import UnitOfWork

HISTORY_LIMIT: Final = 200
"""Most sales in one answer."""


def history(store: UnitOfWork, terminal_id: str, limit: int) -> list[Json]:
    """The latest `limit` sales of a terminal, the latest first, as committed and as changed in this turn."""
    return [_shown(sale) for sale in store.latest(Sale, "terminal_id", terminal_id, limit)]


def _shown(sale: Sale) -> Json:
    return {
        "stan": sale.stan,
        "batch": sale.batch,
        "amount": sale.amount,
        "status": sale.status,
        "response_code": sale.response_code,
        "reason": sale.reason,
        "reversal_reason": sale.reversal_reason,
        "reversal_code": sale.reversal_code,
        "rrn": sale.rrn,
        "authorisation_code": sale.authorisation_code,
        "pan": sale.pan_masked,
        "cvm": sale.cvm,
        "way": sale.way,
        "offline": bool(sale.is_offline),
        "order": sale.order_number,
        "started_at": _time(sale.started_at),
        "finished_at": None if sale.finished_at is None else _time(sale.finished_at),
    }


def _time(instant: Instant) -> str:
    return local_time(instant).isoformat(timespec="milliseconds")
