"""The switch's REST interface to its services for its operators: tokens, payers' codes, risk sensing."""

from __future__ import annotations

from typing import Annotated, Final

import fastapi
import sqlalchemy as sa

from network.party import Instant, Json, local_time
from network.rest import Service
from switch.risk import LONGEST_DEVICE
from switch.risk_rules import RiskRules
from switch.tables import BlockedDevice, Claim, PayerCode, Token, Transaction

MOST: Final = 500
"""Most rows that a query gives."""

Limit = Annotated[int, fastapi.Query(ge=1, le=MOST)]
MemberId = Annotated[str, fastapi.Path(pattern=r"^\d{8}$")]
DeviceId = Annotated[str, fastapi.Path(min_length=1, max_length=LONGEST_DEVICE)]


def service_routes(service: Service) -> fastapi.APIRouter:
    """The routes, all of them for whoever shows the operator's token."""
    router = fastapi.APIRouter(dependencies=[fastapi.Depends(service.operator)])

    @router.get("/tokens")
    def tokens(
        limit: Limit = 100, issuer: Annotated[str | None, fastapi.Query(pattern=r"^\d{8}$")] = None
    ) -> list[dict[str, Json]]:
        """The latest tokens, latest first. Neither they nor their cards are shown in full."""
        table = service.store.tables[Token]
        query = sa.select(table).order_by(table.c.created_at.desc()).limit(limit)
        if issuer is not None:
            query = query.where(table.c.issuer == issuer)
        with service.store.read() as connection:
            return [_token(row) for row in connection.execute(query)]

    @router.get("/codes")
    def codes() -> dict[str, Json]:
        """How many payers' codes there have been, used, made for orders; and claims of orders by their state."""
        code, claim = service.store.tables[PayerCode], service.store.tables[Claim]
        with service.store.read() as connection:
            made, used, bound = connection.execute(
                sa.select(
                    sa.func.count(), sa.func.count(code.c.used_by), sa.func.count(code.c.order_number)
                ).select_from(code)
            ).one()
            states = connection.execute(
                sa.select(claim.c.status, claim.c.response_code, sa.func.count()).group_by(
                    claim.c.status, claim.c.response_code
                )
            ).all()
        claims = [{"status": status, "response_code": answer, "count": count} for status, answer, count in states]
        return {"codes": made, "used": used, "for_orders": bound, "claims": claims}

    @router.get("/risk/rules")
    async def rules() -> Json:
        """The rules in force."""
        return await service.command("risk_rules", {})

    @router.put("/risk/rules")
    async def set_rules(rules: RiskRules) -> Json:
        """Put other rules in force; what was counted for the old ones is forgotten."""
        return await service.command("set_risk_rules", {"rules": rules.model_dump(mode="json")})

    @router.get("/risk/decisions")
    def decisions(limit: Limit = 100) -> list[dict[str, Json]]:
        """The latest requests for which a rule fired, latest first: the score, the rules and the answer."""
        table = service.store.tables[Transaction]
        query = sa.select(table).where(table.c.risk_score.is_not(None))
        with service.store.read() as connection:
            return [_decision(row) for row in connection.execute(query.order_by(table.c.reference.desc()).limit(limit))]

    @router.get("/risk/devices")
    def devices(limit: Limit = 100) -> list[dict[str, Json]]:
        """Devices that are or were blocked, and why, the latest change first."""
        table = service.store.tables[BlockedDevice]
        query = sa.select(table).order_by(table.c.changed_at.desc()).limit(limit)
        with service.store.read() as connection:
            return [_device(row) for row in connection.execute(query)]

    @router.post("/risk/devices/{acquirer}/{device_id}/block")
    async def block(acquirer: MemberId, device_id: DeviceId) -> Json:
        """Decline every sale of an acquirer's device from now on."""
        return await service.command("block_device", {"acquirer": acquirer, "device_id": device_id})

    @router.post("/risk/devices/{acquirer}/{device_id}/unblock")
    async def unblock(acquirer: MemberId, device_id: DeviceId) -> Json:
        """Let a blocked device sell again."""
        return await service.command("unblock_device", {"acquirer": acquirer, "device_id": device_id})

    return router


def _token(row: sa.Row[tuple[object, ...]]) -> dict[str, Json]:
    shown: dict[str, Json] = {name: row._mapping[name] for name in ("masked", "issuer", "expiry", "status")}
    shown["domains"] = str(row.domains).split(",")
    return shown | {name: _time(row._mapping[name]) for name in ("created_at", "changed_at")}


def _decision(row: sa.Row[tuple[object, ...]]) -> dict[str, Json]:
    names = ("reference", "acquirer", "terminal", "merchant", "amount", "entry_mode", "status", "response_code")
    shown: dict[str, Json] = {name: row._mapping[name] for name in names}
    shown["score"] = row.risk_score
    shown["rules"] = str(row.risk_rules).split(",")
    return shown | {"received_at": _time(row.received_at)}


def _device(row: sa.Row[tuple[object, ...]]) -> dict[str, Json]:
    return {
        "acquirer": row.acquirer,
        "device_id": row.device_id,
        "blocked": bool(row.is_blocked),
        "reason": row.reason,
        "changed_at": _time(row.changed_at),
    }


def _time(instant: Instant | None) -> str | None:
    return None if instant is None else local_time(instant).isoformat(timespec="milliseconds")
