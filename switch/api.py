"""The switch's REST interface for its operators: members, routes, transactions, advices."""

from __future__ import annotations

from typing import Annotated, Final

import fastapi
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from network.iso8583 import RESPONSE_CODES
from network.party import Instant, Json, local_time
from network.rest import Service
from switch.tables import Advice, Transaction

MOST: Final = 500
"""Most rows that a query gives."""

MemberId = Annotated[str, fastapi.Path(pattern=r"^\d{8}$")]
Limit = Annotated[int, fastapi.Query(ge=1, le=MOST)]


class NewMember(BaseModel):
    """An institution that shall take part.

    `master_key` is the zone master key as a key block under this switch's storage key: clear keys and components
    enter the security module only, never a network interface.
    """

    model_config = ConfigDict(extra="forbid")

    member_id: str = Field(pattern=r"^\d{8}$")
    name: str = Field(min_length=1, max_length=60)
    master_key: str = Field(min_length=16, max_length=512, repr=False)


class NewRoute(BaseModel):
    """Card numbers that shall be routed to a member."""

    model_config = ConfigDict(extra="forbid")

    prefix: str = Field(pattern=r"^\d{1,12}$")
    member_id: str = Field(pattern=r"^\d{8}$")


def routes(service: Service) -> fastapi.APIRouter:
    """The routes, all of them for whoever shows the operator's token."""
    router = fastapi.APIRouter(dependencies=[fastapi.Depends(service.operator)])

    @router.get("/members")
    async def members() -> Json:
        """Every member: its state, whether it is signed on, over which link, and whether its keys have come."""
        return await service.command("list_members", {})

    @router.post("/members", status_code=201)
    async def add_member(member: NewMember) -> Json:
        """Let an institution take part."""
        return await service.command("add_member", dict(member))

    @router.post("/routes", status_code=201)
    async def add_route(route: NewRoute) -> Json:
        """Route card numbers to a member; a route that is there already is moved."""
        return await service.command("add_route", dict(route))

    @router.post("/members/{member_id}/keys")
    async def reset_keys(member_id: MemberId) -> Json:
        """Give a member new working keys now."""
        return await service.command("reset_keys", {"member_id": member_id})

    @router.post("/members/{member_id}/suspend")
    async def suspend(member_id: MemberId) -> Json:
        """Let a member neither acquire nor issue; its reversals go on."""
        return await service.command("suspend_member", {"member_id": member_id})

    @router.post("/members/{member_id}/resume")
    async def resume(member_id: MemberId) -> Json:
        """Let a suspended member take part again."""
        return await service.command("resume_member", {"member_id": member_id})

    @router.get("/transactions")
    def transactions(
        limit: Limit = 100, reference: Annotated[str | None, fastapi.Query(max_length=64)] = None
    ) -> list[dict[str, Json]]:
        """The latest transactions, latest first, or the one with this reference. Card numbers are not shown."""
        table = service.store.tables[Transaction]
        query = sa.select(table).order_by(table.c.reference.desc()).limit(limit)
        if reference is not None:
            query = query.where(table.c.reference == reference)
        with service.store.read() as connection:
            return [_transaction(row) for row in connection.execute(query)]

    @router.get("/advices")
    def advices(limit: Limit = 100, pending: bool = False) -> list[dict[str, Json]]:
        """The latest reversal advices, latest first; only those that are still owed where `pending` is true."""
        table = service.store.tables[Advice]
        query = sa.select(table).order_by(table.c.reference.desc()).limit(limit)
        if pending:
            query = query.where(table.c.pending_for.is_not(None))
        with service.store.read() as connection:
            return [_advice(row) for row in connection.execute(query)]

    return router


_SHOWN: Final = (
    "reference",
    "status",
    "acquirer",
    "issuer",
    "processing_code",
    "amount",
    "currency",
    "settlement_date",
    "rrn",
    "terminal",
    "merchant",
    "response_code",
    "authorisation",
    "reversal_code",
    "late_code",
    "mti",
    "risk_score",
    "risk_rules",
)


def _transaction(row: sa.Row[tuple[object, ...]]) -> dict[str, Json]:
    shown = {name: row._mapping[name] for name in _SHOWN}
    shown["meaning"] = RESPONSE_CODES.get(str(row.response_code))
    shown |= {name: _time(row._mapping[name]) for name in ("received_at", "answered_at", "reversed_at")}
    return shown


def _advice(row: sa.Row[tuple[object, ...]]) -> dict[str, Json]:
    shown = {
        name: row._mapping[name] for name in ("reference", "original", "issuer", "reason", "attempts", "answer_code")
    }
    shown["pending"] = row.pending_for is not None
    shown |= {name: _time(row._mapping[name]) for name in ("created_at", "answered_at")}
    return shown


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else local_time(instant).isoformat(timespec="milliseconds")
