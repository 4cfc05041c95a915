"""The merchant device's REST interface: phones and sales to look at, and what their merchants do.

Queries read what is committed; commands are decided in turns of the party and answered when they are finished: a sale
when the card has been read, the PIN typed and the acquirer has answered, or not.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from merchant_device.kernel.configuration import MAX_AMOUNT
from merchant_device.tables import Phone, Sale
from merchant_device.terminal import TAP
from network.party import Json
from network.rest import Service

SALES_LIMIT: Final = 500
TERMINALS_LIMIT: Final = 10_000

TerminalId: TypeAlias = Annotated[str, Path(min_length=8, max_length=8, description="DE41.")]


class SaleOrder(BaseModel):
    """What the cardholder is to pay, in fen, and the ways of paying that are offered, in that order."""

    model_config = ConfigDict(extra="forbid", strict=True)

    amount: int = Field(ge=1, le=MAX_AMOUNT)
    ways: list[str] = Field(default=[TAP], min_length=1, max_length=8)


def routes(service: Service) -> APIRouter:
    """The device's routes; every one of them asks for the operator's token."""
    router = APIRouter(dependencies=[Depends(service.operator)])

    @router.get("/terminals")
    def terminals() -> list[dict[str, Any]]:
        """The phones that are installed."""
        table = service.store.tables[Phone]
        columns = (table.c.terminal_id, table.c.merchant_id, table.c.batch, table.c.status)
        return _rows(service, sa.select(*columns).order_by(table.c.terminal_id).limit(TERMINALS_LIMIT))

    @router.get("/terminals/status")
    async def status() -> Json:
        """What each phone is doing now."""
        return await service.command("status", {})

    @router.get("/sales")
    def sales(
        limit: Annotated[int, Query(ge=1, le=SALES_LIMIT)] = 100,
        terminal: Annotated[str | None, Query(max_length=8)] = None,
    ) -> list[dict[str, Any]]:
        """The sales that left a phone, the latest first; PANs masked."""
        table = service.store.tables[Sale]
        columns = [column for column in table.c if column.name not in ("card", "chip")]
        query = sa.select(*columns).order_by(table.c.reference.desc()).limit(limit)
        if terminal is not None:
            query = query.where(table.c.terminal_id == terminal)
        return _rows(service, query)

    @router.post("/terminals/{terminal}/sale")
    async def sale(terminal: TerminalId, order: SaleOrder) -> Json:
        """Take a payment."""
        return await service.command("sale", {"terminal": terminal, "amount": order.amount, "ways": order.ways})

    @router.post("/terminals/{terminal}/balance")
    async def balance(terminal: TerminalId) -> Json:
        """Ask for the balance of a card."""
        return await service.command("balance", {"terminal": terminal})

    @router.post("/terminals/{terminal}/cancel")
    async def cancel(terminal: TerminalId) -> Json:
        """Stop what the phone is doing; a sale that has left it is reversed."""
        return await service.command("cancel", {"terminal": terminal})

    @router.post("/terminals/{terminal}/sign-on")
    async def sign_on(terminal: TerminalId) -> Json:
        """Sign on at the acquirer and get new keys."""
        return await service.command("sign_on", {"terminal": terminal})

    @router.post("/terminals/{terminal}/sign-off")
    async def sign_off(terminal: TerminalId) -> Json:
        """Sign off; the next sale signs on again."""
        return await service.command("sign_off", {"terminal": terminal})

    @router.post("/terminals/{terminal}/echo")
    async def echo(terminal: TerminalId) -> Json:
        """Send an echo test to the acquirer."""
        return await service.command("echo", {"terminal": terminal})

    return router


def _rows(service: Service, query: sa.Select[Any]) -> list[dict[str, Any]]:
    with service.store.read() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]
