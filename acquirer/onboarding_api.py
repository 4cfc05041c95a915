"""On-boarding over REST: what applicants' Apps call without the operator's token, and what the operator calls with it.

Applicants' routes are open to the world: short requests, few at a time, and after the application the applicant's own
bearer token. Everything is decided in the party's turns, by the commands of `acquirer.onboarding`.
"""

from __future__ import annotations

from typing import Annotated, Final

import fastapi
import sqlalchemy as sa
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from acquirer.applications import application_view, is_token_of
from acquirer.device_tables import Application, AttestationRecord, Device
from acquirer.devices import device_view
from network.party import Json, local_time
from network.rest import Service

PUBLIC_PREFIX: Final = "/onboarding/"
PUBLIC_AT_ONCE: Final = 16
"""Most requests of applicants that are served at a time; more are told to come back: payments come first."""

MOST: Final = 500

ApplicationId = Annotated[str, fastapi.Path(pattern=r"^A[0-9A-F]{15}$")]
DeviceId = Annotated[str, fastapi.Path(min_length=1, max_length=40)]
Limit = Annotated[int, fastapi.Query(ge=1, le=MOST)]
_Shown = Annotated[HTTPAuthorizationCredentials | None, fastapi.Depends(HTTPBearer(auto_error=False))]


class NewApplication(BaseModel):
    """What an applicant sends. `token` is drawn by the App, so that it may send again when the answer was lost."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=60, repr=False)
    id_number: str = Field(min_length=1, max_length=32, repr=False)
    phone_number: str = Field(min_length=1, max_length=32, repr=False)
    settlement_card: str = Field(min_length=1, max_length=32, repr=False)
    shop_name: str = Field(min_length=1, max_length=60)
    city: str = Field(min_length=1, max_length=60)
    category: str = Field(pattern=r"^\d{4}$")
    model: str = Field(min_length=1, max_length=40)
    place: str = Field(min_length=1, max_length=32)
    radius: int = Field(ge=1, le=2_000_000)
    token: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$", repr=False)


class NewDevice(BaseModel):
    """A phone that shall be bound: chain (base64 of DER, leaf first), the key's signature, place, tamper signals."""

    model_config = ConfigDict(extra="forbid")

    chain: list[str] = Field(min_length=1, max_length=8)
    signature: str = Field(min_length=1, max_length=200)
    place: str | None = Field(default=None, max_length=32)
    signals: list[str] = Field(default=[], max_length=16)
    terminal_id: str | None = Field(default=None, pattern=r"^[0-9A-Za-z]{8}$")


class Approval(BaseModel):
    """An approval, with how many devices the merchant may have."""

    model_config = ConfigDict(extra="forbid")

    devices: int | None = Field(default=None, ge=1, le=10_000)


class Reason(BaseModel):
    """Why something is refused or stopped."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=200)


def applicant_routes(service: Service) -> fastapi.APIRouter:
    """What applicants' Apps call; the prefix is opened in the service's guard."""
    service.public.append(PUBLIC_PREFIX)
    router = fastapi.APIRouter(prefix=PUBLIC_PREFIX.rstrip("/"))
    served = 0

    async def ask(name: str, arguments: dict[str, Json]) -> Json:
        nonlocal served
        if served >= PUBLIC_AT_ONCE:
            raise fastapi.HTTPException(503, "too many applicants at once; try again", {"Retry-After": "1"})
        served += 1
        try:
            return await service.command(name, arguments)
        finally:
            served -= 1

    def applicant(application_id: ApplicationId, shown: _Shown) -> dict[str, Json]:
        """A dependency: the caller shows the token of the application; with what names him in commands."""
        rows = service.store.tables[Application]
        query = sa.select(rows.c.token_hash).where(rows.c.application_id == application_id)
        with service.store.read() as connection:
            token_hash = connection.execute(query).scalar_one_or_none()
        if shown is None or token_hash is None or not is_token_of(token_hash, shown.credentials):
            raise fastapi.HTTPException(401, "show the token of the application as a bearer token")
        return {"application_id": application_id, "token": shown.credentials}

    known = fastapi.Depends(applicant)

    @router.post("/applications", status_code=201)
    async def apply(new: NewApplication) -> Json:
        """Apply to be a merchant."""
        return await ask("onboarding_apply", new.model_dump(exclude_none=True))

    @router.get("/applications/{application_id}")
    async def status(who: dict[str, Json] = known) -> Json:
        """How the application stands, and which devices are bound."""
        return await ask("onboarding_status", {**who})

    @router.post("/applications/{application_id}/challenge")
    async def challenge(who: dict[str, Json] = known) -> Json:
        """The challenge that the phone's key is to be attested with."""
        return await ask("onboarding_challenge", {**who})

    @router.post("/applications/{application_id}/devices", status_code=201)
    async def bind(new: NewDevice, who: dict[str, Json] = known) -> Json:
        """Bind a phone to a new terminal, or to one whose phone has failed."""
        return await ask("onboarding_bind", {**who, **new.model_dump(exclude_none=True)})

    return router


def device_routes(service: Service) -> fastapi.APIRouter:
    """What the operator calls: review of applications, and control of devices."""
    router = fastapi.APIRouter(dependencies=[fastapi.Depends(service.operator)])
    applications, devices = service.store.tables[Application], service.store.tables[Device]
    records = service.store.tables[AttestationRecord]

    @router.get("/applications")
    def list_applications(
        status: Annotated[str | None, fastapi.Query(pattern="^(submitted|approved|refused)$")] = None,
        limit: Limit = 100,
    ) -> list[Json]:
        """Applications, the latest first."""
        query = sa.select(applications).order_by(applications.c.created_at.desc()).limit(limit)
        if status is not None:
            query = query.where(applications.c.status == status)
        with service.store.read() as connection:
            return [application_view(Application(**row._mapping)) for row in connection.execute(query)]

    @router.get("/applications/{application_id}")
    async def application(application_id: ApplicationId) -> Json:
        """An application, with what the applicant said of himself, masked."""
        return await service.command("onboarding_details", {"application_id": application_id})

    @router.post("/applications/{application_id}/approve")
    async def approve(application_id: ApplicationId, approval: Approval | None = None) -> Json:
        """Approve an application: the merchant is enrolled."""
        arguments: dict[str, Json] = {"application_id": application_id, "approve": True}
        if approval is not None and approval.devices is not None:
            arguments["devices"] = approval.devices
        return await service.command("onboarding_review", arguments)

    @router.post("/applications/{application_id}/refuse")
    async def refuse(application_id: ApplicationId, why: Reason) -> Json:
        """Refuse an application."""
        arguments: dict[str, Json] = {"application_id": application_id, "approve": False, "reason": why.reason}
        return await service.command("onboarding_review", arguments)

    @router.get("/devices")
    def list_devices(
        merchant: Annotated[str | None, fastapi.Query(pattern=r"^[0-9A-Za-z]{15}$")] = None, limit: Limit = 100
    ) -> list[Json]:
        """Devices in order of their ids, all or a merchant's."""
        query = sa.select(devices).order_by(devices.c.device_id).limit(limit)
        if merchant is not None:
            query = query.where(devices.c.merchant_id == merchant)
        with service.store.read() as connection:
            return [device_view(Device(**row._mapping)) for row in connection.execute(query)]

    @router.post("/devices/{device_id}/suspend")
    async def suspend(device_id: DeviceId, why: Reason) -> Json:
        """Block a device until it is reactivated."""
        return await service.command("device_suspend", {"device_id": device_id, "reason": why.reason})

    @router.post("/devices/{device_id}/reactivate")
    async def reactivate(device_id: DeviceId) -> Json:
        """Let a device work again."""
        return await service.command("device_reactivate", {"device_id": device_id})

    @router.post("/devices/{device_id}/kill")
    async def kill(device_id: DeviceId, why: Reason) -> Json:
        """Tell a device to wipe all its keys."""
        return await service.command("device_kill", {"device_id": device_id, "reason": why.reason})

    @router.get("/devices/{device_id}/attestations")
    def attestations(device_id: DeviceId, limit: Limit = 100) -> list[Json]:
        """What a device's attestations came to, the latest first."""
        query = (
            sa.select(records).where(records.c.device_id == device_id).order_by(records.c.record_id.desc()).limit(limit)
        )
        with service.store.read() as connection:
            return [record_view(AttestationRecord(**row._mapping)) for row in connection.execute(query)]

    return router


def record_view(row: AttestationRecord) -> dict[str, Json]:
    """What operators see of an attestation."""
    return {
        "purpose": row.purpose,
        "accepted": bool(row.accepted),
        "reason": row.reason,
        "detail": row.detail,
        "device_id": row.device_id,
        "terminal_id": row.terminal_id,
        "application_id": row.application_id,
        "model": row.model,
        "security_level": row.security_level,
        "boot_state": row.boot_state,
        "os_patch_level": row.os_patch_level,
        "app_version": row.app_version,
        "place": row.place,
        "recorded_at": row.recorded_at,
        "time": local_time(row.recorded_at).isoformat(timespec="milliseconds"),
    }
