"""The acquirer's REST interface, further: orders, offline sales, and what terminals download."""

from __future__ import annotations

import time
from typing import Annotated

import fastapi
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from acquirer.configuration import MOST_FEN
from acquirer.operations import ca_key_view, parameters_view
from acquirer.tables import OFFLINE, ApplicationParameters, CaKey, Claim, PaymentOrder, Transaction
from acquirer.views import Limit, order_view, time_of, transaction_view
from network.iso8583 import RESPONSE_CODES
from network.party import Instant, Json
from network.rest import Service

OrderNumber = Annotated[str, fastapi.Path(pattern=r"^\d{20}$")]
Fen = Annotated[int, Field(ge=0, le=MOST_FEN)]


class NewCaKey(BaseModel):
    """A certification authority's public key: the TLV that terminals download, in hexadecimal, hash included."""

    model_config = ConfigDict(extra="forbid")

    block: str = Field(pattern=r"^(?:[0-9A-Fa-f]{2}){1,999}$")


class Limits(BaseModel):
    """Limits of an application, in fen."""

    model_config = ConfigDict(extra="forbid")

    floor_limit: Fen
    contactless_limit: Fen
    cvm_limit: Fen


def payment_routes(service: Service) -> fastapi.APIRouter:
    """The routes; whoever includes them sees to it that the operator's token is shown."""
    router = fastapi.APIRouter()
    orders, claims = service.store.tables[PaymentOrder], service.store.tables[Claim]
    transactions, keys = service.store.tables[Transaction], service.store.tables[CaKey]
    parameters = service.store.tables[ApplicationParameters]

    @router.get("/orders")
    def list_orders(
        limit: Limit = 100, terminal: Annotated[str | None, fastapi.Query(pattern=r"^[0-9A-Za-z]{8}$")] = None
    ) -> list[Json]:
        """Orders, the latest first: all, or a terminal's."""
        query = sa.select(orders).order_by(orders.c.number.desc()).limit(limit)
        if terminal is not None:
            query = query.where(orders.c.terminal_id == terminal)
        with service.store.read() as connection:
            return [order_view(PaymentOrder(**row._mapping), _now()) for row in connection.execute(query)]

    @router.get("/orders/{number}")
    def order(number: OrderNumber, limit: Limit = 100) -> Json:
        """An order, and the claims that were made to pay it, the latest first."""
        query = sa.select(claims).where(claims.c.order_number == number).order_by(claims.c.claimed_at.desc())
        with service.store.read() as connection:
            row = connection.execute(sa.select(orders).where(orders.c.number == number)).one_or_none()
            made = [_claim_view(Claim(**found._mapping)) for found in connection.execute(query.limit(limit))]
        if row is None:
            raise fastapi.HTTPException(404, f"there is no order {number}")
        return {**order_view(PaymentOrder(**row._mapping), _now()), "claims": made}

    @router.get("/offline-sales")
    def list_offline_sales(limit: Limit = 100) -> list[Json]:
        """Sales that cards approved by themselves, the latest first; accepted are those that wait for the issuer."""
        # the value as the index has it: no database uses a partial index for a parameter
        is_offline = transactions.c.kind == sa.literal_column(f"'{OFFLINE}'")
        query = sa.select(transactions).where(is_offline).order_by(transactions.c.reference.desc()).limit(limit)
        with service.store.read() as connection:
            return [transaction_view(Transaction(**row._mapping)) for row in connection.execute(query)]

    @router.get("/ca-keys")
    def list_ca_keys(limit: Limit = 100) -> list[Json]:
        """Public keys of certification authorities; terminals download the active ones."""
        with service.store.read() as connection:
            found = connection.execute(sa.select(keys).order_by(keys.c.name).limit(limit))
            return [ca_key_view(CaKey(**row._mapping)) for row in found]

    @router.post("/ca-keys", status_code=201)
    async def add_ca_key(new: NewCaKey) -> Json:
        """Offer terminals a key; one of the same RID and index is replaced."""
        return await service.command("set_ca_key", {"block": new.block})

    @router.delete("/ca-keys/{rid}/{index}")
    async def withdraw_ca_key(
        rid: Annotated[str, fastapi.Path(pattern=r"^[0-9A-Fa-f]{10}$")],
        index: Annotated[str, fastapi.Path(pattern=r"^[0-9A-Fa-f]{2}$")],
    ) -> Json:
        """Offer a key no more."""
        return await service.command("withdraw_ca_key", {"rid": rid, "index": index})

    @router.get("/application-parameters")
    def list_parameters(limit: Limit = 100) -> list[Json]:
        """Applications that have limits of their own."""
        with service.store.read() as connection:
            found = connection.execute(sa.select(parameters).order_by(parameters.c.aid).limit(limit))
            return [parameters_view(ApplicationParameters(**row._mapping)) for row in found]

    @router.put("/application-parameters/{aid}")
    async def set_parameters(
        aid: Annotated[str, fastapi.Path(pattern=r"^(?:[0-9A-Fa-f]{2}){5,16}$")], limits: Limits
    ) -> Json:
        """Give an application limits of its own."""
        return await service.command("set_parameters", {"aid": aid, **dict(limits)})

    return router


def _claim_view(row: Claim) -> dict[str, Json]:
    return {
        "amount": row.amount,
        "response_code": row.response_code,
        "meaning": RESPONSE_CODES.get(row.response_code),
        "payment": row.reference,
        "claimed_at": row.claimed_at,
        "time": time_of(row.claimed_at),
    }


def _now() -> Instant:
    return time.time_ns() // 1000
