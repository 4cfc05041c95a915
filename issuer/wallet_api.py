"""The issuer's REST interface for tokens: the operator's routes, and those of wallets, which sign what they ask.

Which operation has which route says `issuer.wallet.OPERATIONS`. Below ``/wallet/`` no operator's token is needed: the
signature in the body is the proof, and the party checks it in its turn.
"""

from __future__ import annotations

from typing import Annotated, Final

import sqlalchemy as sa
from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from issuer.api import AccountId, CardReader, Pan
from issuer.commands import MAX_AMOUNT
from issuer.token_tables import OfflineSale, Token
from issuer.wallet import MAX_COMMANDS, MAX_PAYMENTS, OPERATIONS
from network.emv.qr import MAX_TEXT
from network.party import Json
from network.rest import Service

WALLET_PATH: Final = "/wallet/"

OFFLINE_SALES_LIMIT: Final = 500


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Provisioning(_Body):
    """A card, and the wallet that shall stand for it: its public key is base64 of DER SubjectPublicKeyInfo."""

    pan: str = Field(pattern=r"^\d{12,19}$")
    domains: list[str] = Field(min_length=1, max_length=2)
    wallet_public_key: str = Field(min_length=1, max_length=300)


class NamedToken(_Body):
    """A token, by its number or its id."""

    token: str = Field(min_length=13, max_length=32)


class LoadedCash(_Body):
    """Money moved from an account to its e-cash, fen; the same reference is posted once."""

    amount: int = Field(gt=0, le=MAX_AMOUNT)
    reference: str = Field(min_length=1, max_length=64)


class WalletCommand(_Body):
    """What a wallet asks, with its signature over all of it; which of the optional ones an operation needs it says."""

    token: StrictStr = Field(min_length=13, max_length=32)
    counter: StrictInt = Field(ge=1, le=MAX_COMMANDS)
    signature: StrictStr = Field(min_length=1, max_length=240)
    last: StrictInt | None = Field(default=None, ge=-1, le=0xFFFF)
    verified: StrictBool | None = None
    text: StrictStr | None = Field(default=None, max_length=MAX_TEXT)
    amount: StrictInt | None = Field(default=None, ge=1, le=MAX_AMOUNT)
    limit: StrictInt | None = Field(default=None, ge=1, le=MAX_PAYMENTS)


def token_routes(service: Service) -> APIRouter:
    """The operator's routes over tokens."""
    router = APIRouter(dependencies=[Depends(service.operator)])
    reader = CardReader(service.store, service.module)

    @router.post(OPERATIONS["provision_token"][1])
    async def provision_token(body: Provisioning) -> object:
        """Make a token of a card for a wallet."""
        return await service.command("provision_token", body.model_dump())

    @router.get("/cards/{pan}/tokens")
    def tokens(pan: Pan) -> object:
        """The tokens of a card, by their ids."""
        return _tokens(service, reader, pan)

    @router.get("/offline-sales/overdrawn")
    def overdrawn(limit: Annotated[int, Query(ge=1, le=OFFLINE_SALES_LIMIT)] = 100) -> object:
        """Offline sales that the e-cash did not cover when they were redeemed, the latest first."""
        return _overdrawn(service, limit)

    @router.post("/accounts/{account_id}/ecash")
    async def load_ecash(account_id: AccountId, body: LoadedCash) -> object:
        """Move money from an account to what its cards carry."""
        return await service.command("load_ecash", {"account_id": account_id, **body.model_dump()})

    @router.post(OPERATIONS["suspend_token"][1])
    async def suspend_token(body: NamedToken) -> object:
        """Suspend a token, of a lost phone for instance; the card still pays."""
        return await service.command("suspend_token", body.model_dump())

    @router.post(OPERATIONS["resume_token"][1])
    async def resume_token(body: NamedToken) -> object:
        """Let a suspended token pay again."""
        return await service.command("resume_token", body.model_dump())

    @router.post(OPERATIONS["delete_token"][1])
    async def delete_token(body: NamedToken) -> object:
        """Delete a token for good."""
        return await service.command("delete_token", body.model_dump())

    @router.post(OPERATIONS["revoke_keys"][1])
    async def revoke_keys(body: NamedToken) -> object:
        """Revoke all limited-use keys that the token's wallet has: it must be replenished."""
        return await service.command("revoke_keys", body.model_dump())

    return router


def wallet_routes(service: Service) -> APIRouter:
    """The wallets' routes."""
    router = APIRouter()
    service.public.append(WALLET_PATH)

    async def ask(operation: str, command: WalletCommand) -> object:
        # what was not sent was not signed either
        return await service.command(operation, command.model_dump(exclude_unset=True))

    @router.post(OPERATIONS["replenish"][1])
    async def replenish(command: Annotated[WalletCommand, Body()]) -> object:
        """Further limited-use keys; `last` is the number of the last one that the wallet has."""
        return await ask("replenish", command)

    @router.post(OPERATIONS["request_code"][1])
    async def request_code(command: Annotated[WalletCommand, Body()]) -> object:
        """A payer's code of 19 digits, good once and for a minute."""
        return await ask("request_code", command)

    @router.post(OPERATIONS["pay_order"][1])
    async def pay_order(command: Annotated[WalletCommand, Body()]) -> object:
        """Pay the order of a merchant's code, `text`; the amount where the code says none."""
        return await ask("pay_order", command)

    @router.post(OPERATIONS["payments"][1])
    async def payments(command: Annotated[WalletCommand, Body()]) -> object:
        """How the token's latest payments ended."""
        return await ask("payments", command)

    return router


def _tokens(service: Service, reader: CardReader, pan: str) -> list[dict[str, Json]]:
    tokens = service.store.tables[Token]
    with service.store.read() as connection:
        index = reader.index_of(connection, pan)
        query = sa.select(tokens).where(tokens.c.pan_index == index).order_by(tokens.c.issued_at)
        return [
            {
                "token_id": row.token_index,
                "domains": row.domains.split(","),
                "expiry": row.expiry,
                "status": row.status,
                "told": row.told,
                "highest_atc": row.highest_atc,
                "keys": {"first": row.first_key, "end": row.end_key, "uses": row.uses_per_key},
                "payments": row.payments,
                "paid_by_code": {"day": row.code_used_on or None, "amount": row.code_used_amount},
                "issued_at": row.issued_at,
            }
            for row in connection.execute(query)
        ]


def _overdrawn(service: Service, limit: int) -> list[dict[str, Json]]:
    sales = service.store.tables[OfflineSale]
    query = sa.select(sales).where(sales.c.overdrawn == 1).order_by(sales.c.redeemed_at.desc()).limit(limit)
    with service.store.read() as connection:
        return [
            {"reference": row.reference, "amount": row.amount, "redeemed_at": row.redeemed_at}
            for row in connection.execute(query)
        ]
