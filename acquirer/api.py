"""The acquirer's REST interface for its operators: merchants, terminals, transactions, advices, the switch.

Orders, offline sales, keys and limits are in `acquirer.payment_api`, stopped cards in `acquirer.hot_card_api`.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

import fastapi
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from acquirer.enrolment import account_of
from acquirer.hot_card_api import hot_card_routes
from acquirer.operations import merchant_view, terminal_view
from acquirer.payment_api import payment_routes
from acquirer.tables import Advice, Merchant, Terminal, Transaction
from acquirer.views import Limit, advice_view, transaction_view
from network.ledger import LedgerAccount
from network.party import Json
from network.rest import Service

MerchantId = Annotated[str, fastapi.Path(pattern=r"^[0-9A-Za-z]{15}$")]
TerminalId = Annotated[str, fastapi.Path(pattern=r"^[0-9A-Za-z]{8}$")]


class NewMerchant(BaseModel):
    """A merchant that shall be enrolled."""

    model_config = ConfigDict(extra="forbid")

    merchant_id: str = Field(pattern=r"^[0-9A-Za-z]{15}$")
    name: str = Field(min_length=1, max_length=60)
    city: str = Field(min_length=1, max_length=60)
    category: str = Field(pattern=r"^\d{4}$")
    country: str = Field(default="CHN", pattern=r"^[A-Z]{3}$")


class NewTerminal(BaseModel):
    """A terminal that shall be enrolled.

    `master_key` is the terminal master key as a key block under this acquirer's storage key.
    """

    model_config = ConfigDict(extra="forbid")

    terminal_id: str = Field(pattern=r"^[0-9A-Za-z]{8}$")
    merchant_id: str = Field(pattern=r"^[0-9A-Za-z]{15}$")
    master_key: str = Field(min_length=16, max_length=512, repr=False)
    mac_algorithm: str = "CUP ECB"


def routes(service: Service) -> fastapi.APIRouter:
    """The routes, all of them for whoever shows the operator's token."""
    router = fastapi.APIRouter(dependencies=[fastapi.Depends(service.operator)])
    merchants, terminals = service.store.tables[Merchant], service.store.tables[Terminal]
    transactions, advices = service.store.tables[Transaction], service.store.tables[Advice]
    accounts = service.store.tables[LedgerAccount]

    @router.get("/merchants")
    def list_merchants(limit: Limit = 100) -> list[Json]:
        """Merchants in order of their ids."""
        with service.store.read() as connection:
            found = connection.execute(sa.select(merchants).order_by(merchants.c.merchant_id).limit(limit))
            return [merchant_view(Merchant(**row._mapping)) for row in found]

    @router.get("/merchants/{merchant_id}")
    def merchant(merchant_id: MerchantId) -> Json:
        """A merchant, and what the acquirer owes it, in fen."""
        query = sa.select(accounts).where(accounts.c.account_id == account_of(merchant_id))
        with service.store.read() as connection:
            row = connection.execute(sa.select(merchants).where(merchants.c.merchant_id == merchant_id)).one_or_none()
            account = connection.execute(query).one_or_none()
        if row is None or account is None:
            raise fastapi.HTTPException(404, f"there is no merchant {merchant_id}")
        balance = LedgerAccount(**account._mapping).balance
        return {**merchant_view(Merchant(**row._mapping)), "balance": balance, "currency": account.currency}

    @router.post("/merchants", status_code=201)
    async def add_merchant(new: NewMerchant) -> Json:
        """Enrol a merchant."""
        return await service.command("add_merchant", dict(new))

    @router.post("/merchants/{merchant_id}/suspend")
    async def suspend_merchant(merchant_id: MerchantId) -> Json:
        """Accept nothing more from a merchant's terminals."""
        return await service.command("suspend_merchant", {"merchant_id": merchant_id})

    @router.post("/merchants/{merchant_id}/activate")
    async def activate_merchant(merchant_id: MerchantId) -> Json:
        """Let a suspended merchant accept cards again."""
        return await service.command("activate_merchant", {"merchant_id": merchant_id})

    @router.get("/terminals")
    def list_terminals(merchant: str | None = None, limit: Limit = 100) -> list[Json]:
        """Terminals in order of their ids, all or a merchant's."""
        query = sa.select(terminals).order_by(terminals.c.terminal_id).limit(limit)
        if merchant is not None:
            query = query.where(terminals.c.merchant_id == merchant)
        with service.store.read() as connection:
            return [terminal_view(Terminal(**row._mapping)) for row in connection.execute(query)]

    @router.post("/terminals", status_code=201)
    async def add_terminal(new: NewTerminal) -> Json:
        """Enrol a terminal of a merchant."""
        return await service.command("add_terminal", dict(new))

    @router.post("/terminals/{terminal_id}/suspend")
    async def suspend_terminal(terminal_id: TerminalId) -> Json:
        """Accept nothing more from a terminal."""
        return await service.command("suspend_terminal", {"terminal_id": terminal_id})

    @router.post("/terminals/{terminal_id}/activate")
    async def activate_terminal(terminal_id: TerminalId) -> Json:
        """Let a suspended terminal send again."""
        return await service.command("activate_terminal", {"terminal_id": terminal_id})

    @router.get("/transactions")
    def list_transactions(
        limit: Limit = 100,
        terminal: Annotated[str | None, fastapi.Query(pattern=r"^[0-9A-Za-z]{8}$")] = None,
        rrn: Annotated[str | None, fastapi.Query(pattern=r"^\d{12}$")] = None,
    ) -> list[Json]:
        """Transactions, the latest first: all, a terminal's, or those with a retrieval reference (DE37)."""
        query = sa.select(transactions).order_by(transactions.c.reference.desc()).limit(limit)
        if terminal is not None:
            # the index of traces leads to a terminal's. No BETWEEN: PostgreSQL takes no collation in its bounds
            trace = transactions.c.trace
            query = query.where(trace >= f"{terminal}|000000|000000", trace <= f"{terminal}|999999|999999|9999")
            query = query.where(transactions.c.terminal_id == terminal)
        with service.store.read() as connection:
            if rrn is not None:
                latest = connection.execute(sa.select(sa.func.max(transactions.c.reference))).scalar_one()
                first = _first_reference(rrn, latest or "")
                if first is None:
                    return []
                # references of one hour begin alike, and a minute with a 5 at most
                reference = transactions.c.reference
                query = query.where(reference >= first, reference <= first + "9", transactions.c.rrn == rrn)
            return [transaction_view(Transaction(**row._mapping)) for row in connection.execute(query)]

    @router.get("/advices")
    def list_advices(
        status: Annotated[str | None, fastapi.Query(pattern="^(pending|answered)$")] = None, limit: Limit = 100
    ) -> list[Json]:
        """Advices to the switch, reversals and offline sales, the latest first."""
        query = sa.select(advices).order_by(advices.c.reference.desc()).limit(limit)
        if status is not None:
            query = query.where(advices.c.status == status)
        with service.store.read() as connection:
            return [advice_view(Advice(**row._mapping)) for row in connection.execute(query)]

    @router.post("/switch/echo")
    async def echo() -> Json:
        """Send the switch an echo; the answer's code and how long it took."""
        return await service.command("echo", {})

    @router.post("/switch/sign-on")
    async def sign_on() -> Json:
        """Sign on at the switch, again if need be."""
        return await service.command("sign_on", {})

    @router.post("/switch/sign-off")
    async def sign_off() -> Json:
        """Sign off at the switch, until told to sign on."""
        return await service.command("sign_off", {})

    router.include_router(payment_routes(service))
    router.include_router(hot_card_routes(service))
    return router


def _first_reference(rrn: str, latest: str) -> str | None:
    """How the references of the hour of a retrieval reference begin: YYYYMMDDhh of the latest year it can mean."""
    if not latest:
        return None
    year = int(latest[:4])
    year -= (year - int(rrn[0])) % 10
    day = date(year, 1, 1) + timedelta(days=int(rrn[1:4]) - 1)
    return f"{day:%Y%m%d}{rrn[4:6]}" if day.year == year else None
