"""The issuer's REST interface: cards, accounts and authorisations to look at, and the operator's commands.

A card is named by its PAN in the path, as the network's specification asks; answers show it masked. Queries read what
is committed, commands are decided in a turn of the party.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from issuer.commands import MAX_AMOUNT, MAX_COUNT
from issuer.installation import INDEX_KEY, SEAL_KEY, pan_index
from issuer.tables import Account, Authorisation, Card, StorageKey
from network.iso8583 import mask_pan
from network.keys import KeyHandle, SecurityModule
from network.ledger import LedgerAccount
from network.party import Json
from network.rest import Service
from network.store import Store

AUTHORISATIONS_LIMIT: Final = 500

Pan: TypeAlias = Annotated[str, Path(pattern=r"^\d{12,19}$", description="The card's full number.")]
AccountId: TypeAlias = Annotated[str, Path(pattern=r"^[A-Za-z0-9-]{1,40}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CardStatus(_Body):
    """The status a card shall have: active, lost, stolen, blocked or pick_up."""

    status: str = Field(max_length=20)


class CardLimits(_Body):
    """Limits to change; fen, and a number of sales."""

    sale: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    daily_amount: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    daily_count: int | None = Field(default=None, ge=0, le=MAX_COUNT)


class PaidIn(_Body):
    """Cash paid into an account, fen; the same reference is posted once."""

    amount: int = Field(gt=0, le=MAX_AMOUNT)
    reference: str = Field(min_length=1, max_length=64)


def routes(service: Service) -> APIRouter:
    """The issuer's routes; every one of them asks for the operator's token."""
    router = APIRouter(dependencies=[Depends(service.operator)])
    reader = CardReader(service.store, service.module)

    @router.get("/cards/{pan}")
    def card(pan: Pan) -> object:
        """A card and the money behind it, in fen."""
        return _found(reader.card(pan), "card")

    @router.post("/cards/{pan}/status")
    async def set_status(pan: Pan, body: CardStatus) -> object:
        """Activate or stop a card."""
        return await service.command("set_card_status", {"pan": pan, "status": body.status})

    @router.post("/cards/{pan}/pin-tries")
    async def reset_pin_tries(pan: Pan) -> object:
        """Give the card its PIN tries back."""
        return await service.command("reset_pin_tries", {"pan": pan})

    @router.post("/cards/{pan}/limits")
    async def set_limits(pan: Pan, body: CardLimits) -> object:
        """Change the card's limits; what is left out stays."""
        return await service.command("set_card_limits", {"pan": pan, **body.model_dump()})

    @router.get("/accounts/{account_id}")
    def account(account_id: AccountId) -> object:
        """An account, in fen."""
        return _found(reader.account(account_id), "account")

    @router.post("/accounts/{account_id}/credit")
    async def pay_in(account_id: AccountId, body: PaidIn) -> object:
        """Pay cash into an account."""
        return await service.command("pay_in", {"account_id": account_id, **body.model_dump()})

    @router.get("/authorisations")
    def authorisations(
        limit: Annotated[int, Query(ge=1, le=AUTHORISATIONS_LIMIT)] = 100,
        reference: Annotated[str | None, Query(max_length=64)] = None,
    ) -> object:
        """Decisions, the latest first, or that of one reference."""
        return reader.authorisations(limit, reference)

    @router.post("/sign-on")
    async def sign_on() -> object:
        """Sign on at the switch."""
        return await service.command("sign_on", {})

    @router.post("/sign-off")
    async def sign_off() -> object:
        """Sign off; the issuer stays so until it is told to sign on."""
        return await service.command("sign_off", {})

    @router.post("/echo")
    async def echo() -> object:
        """Send an echo test to the switch."""
        return await service.command("echo", {})

    return router


def _found(answer: dict[str, Json] | None, what: str) -> dict[str, Json]:
    if answer is None:
        raise HTTPException(404, f"there is no such {what}")
    return answer


class CardReader:
    """Reads cards, accounts and authorisations as they are committed, for people: PANs masked, amounts in fen.

    It uses the security module for what is safe beside the party's turns: it keeps handles of the two storage keys,
    and indexing and unsealing share no state between calls.
    """

    def __init__(self, store: Store, module: SecurityModule) -> None:
        self._store = store
        self._module = module
        self._keys: dict[str, KeyHandle] = {}

    def index_of(self, connection: sa.Connection, pan: str) -> str:
        """What a card is looked up by; empty before the issuer was installed, when there is none."""
        index_key = self._key(connection, INDEX_KEY)
        return "" if index_key is None else pan_index(self._module, index_key, pan)

    def card(self, pan: str) -> dict[str, Json] | None:
        """The card of this number and the money behind it; None where there is none."""
        cards = self._store.tables[Card]
        with self._store.read() as connection:
            query = sa.select(cards).where(cards.c.pan_index == self.index_of(connection, pan))
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            return {
                "pan": mask_pan(pan),
                "sequence": row.sequence,
                "expiry": row.expiry,
                "status": row.status,
                "is_chip": bool(row.is_chip),
                "pin_tries_left": row.pin_tries_left,
                "highest_atc": None if row.highest_atc < 0 else row.highest_atc,
                "limits": {
                    "sale": row.sale_limit,
                    "daily_amount": row.daily_amount_limit,
                    "daily_count": row.daily_count_limit,
                    "pin_free": row.pin_free_limit,
                },
                "used": {"day": row.used_on or None, "amount": row.used_amount, "count": row.used_count},
                **(self._account(connection, row.account_id) or {}),
            }

    def account(self, account_id: str) -> dict[str, Json] | None:
        """An account: ledger balance, credit limit and what is available, fen."""
        with self._store.read() as connection:
            return self._account(connection, account_id)

    def authorisations(self, limit: int, reference: str | None) -> list[dict[str, Json]]:
        """The latest decisions first, at most `limit`."""
        table, cards = self._store.tables[Authorisation], self._store.tables[Card]
        query = (
            sa.select(table, cards.c.sealed_pan)
            .select_from(table.outerjoin(cards, cards.c.pan_index == table.c.pan_index))
            .order_by(table.c.reference.desc())
            .limit(limit)
        )
        if reference is not None:
            query = query.where(table.c.reference == reference)
        with self._store.read() as connection:
            seal_key = self._key(connection, SEAL_KEY)
            return [self._authorisation(row, seal_key) for row in connection.execute(query)]

    def _authorisation(self, row: sa.Row[Any], seal_key: KeyHandle | None) -> dict[str, Json]:
        pan = None
        if row.sealed_pan is not None and seal_key is not None:
            pan = mask_pan(self._module.unseal(seal_key, row.sealed_pan, row.pan_index.encode("ascii")).decode("ascii"))
        return {
            "reference": row.reference,
            "mti": row.mti,
            "processing_code": row.processing_code,
            "status": row.status,
            "response_code": row.response_code,
            "reversal_code": row.reversal_code,
            "pan": pan,
            "account_id": row.account_id,
            "amount": row.amount,
            "currency": row.currency,
            "auth_code": row.auth_code,
            "settlement_date": row.settlement_date,
            "rrn": row.rrn,
            "terminal_id": row.terminal_id,
            "merchant_id": row.merchant_id,
            "decided_at": row.decided_at,
            "reversed_at": row.reversed_at,
        }

    def _account(self, connection: sa.Connection, account_id: str) -> dict[str, Json] | None:
        accounts, ledgers = self._store.tables[Account], self._store.tables[LedgerAccount]
        query = (
            sa.select(accounts, ledgers.c.debits, ledgers.c.credits, ledgers.c.currency)
            .select_from(accounts.join(ledgers, ledgers.c.account_id == accounts.c.account_id))
            .where(accounts.c.account_id == account_id)
        )
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        ledger = row.credits - row.debits
        return {
            "account_id": row.account_id,
            "account_type": row.account_type,
            "currency": row.currency,
            "ledger": ledger,
            "credit_limit": row.credit_limit,
            "available": ledger + row.credit_limit,
        }

    def _key(self, connection: sa.Connection, purpose: str) -> KeyHandle | None:
        known = self._keys.get(purpose)
        if known is None:
            table = self._store.tables[StorageKey]
            block = connection.execute(sa.select(table.c.block).where(table.c.purpose == purpose)).scalar_one_or_none()
            if block is None:
                return None
            known = self._keys[purpose] = self._module.load(block)
        return known
