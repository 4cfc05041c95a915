"""The REST interface of a host that answers by rules: the rules, how often each decided, and what was decided."""

from __future__ import annotations

from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import APIRouter, Body, Depends, Query

from network.party import local_time
from network.rest import Service
from scenarios.host.tables import APPROVED, HostAuthorisation

AUTHORISATIONS_LIMIT: Final = 500


def routes(service: Service) -> APIRouter:
    """The host's routes; every one of them asks for the operator's token."""
    router = APIRouter(dependencies=[Depends(service.operator)])
    table = service.store.tables[HostAuthorisation]

    @router.get("/rules")
    async def rules() -> object:
        """The rules in force, how often each decided, and what was seen."""
        return await service.command("tell", {})

    @router.put("/rules")
    async def use_rules(text: Annotated[str, Body(media_type="text/plain")]) -> object:
        """Answer by other rules from now on: the text of a rules file."""
        return await service.command("use_rules", {"rules": text})

    @router.post("/session/{what}")
    async def session(what: str) -> object:
        """Sign on, sign off or send an echo: `sign_on`, `sign_off`, `echo`."""
        return await service.command(what, {})

    @router.get("/authorisations")
    def authorisations(limit: Annotated[int, Query(ge=1, le=AUTHORISATIONS_LIMIT)] = 100) -> list[dict[str, Any]]:
        """The last requests and how they were decided, cards masked."""
        query = sa.select(table).order_by(table.c.decided_at.desc(), table.c.reference.desc()).limit(limit)
        with service.store.read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [{**row, "time": local_time(row["decided_at"]).isoformat(timespec="milliseconds")} for row in rows[::-1]]

    @router.get("/cards/{pan}")
    async def card(pan: str) -> dict[str, None]:
        """What payers ask an issuer before they pay: the counter that it has seen last. A host takes any."""
        return {"highest_atc": None}

    @router.get("/approved")
    def approved() -> dict[str, int]:
        """What stands approved: fen, and how many. The books of switch and acquirer must say the same."""
        query = sa.select(sa.func.coalesce(sa.func.sum(table.c.amount), 0), sa.func.count())
        with service.store.read() as connection:
            amount, number = connection.execute(query.where(table.c.status == APPROVED)).one()
        return {"amount": int(amount), "count": int(number)}

    return router
