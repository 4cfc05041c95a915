"""On-boarding over REST: what is open to the world and what only the operator may, with the guard before both."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import cast

import fastapi
import httpx
import pytest
from acquirer_bed import PAN
from phone_bed import APPLICANT, Phone, TrustingBed

from acquirer.onboarding_api import PUBLIC_AT_ONCE, applicant_routes, device_routes
from network.live import LiveRuntime
from network.party import CommandError, Json
from network.rest import Guard, Service, application
from network.store import Store


class TurnService(Service):
    """A service whose commands are decided in a turn of the bed at once."""

    bed: TrustingBed
    held: asyncio.Event | None = None

    async def command(self, name: str, arguments: dict[str, Json]) -> Json:
        if self.held is not None:
            await self.held.wait()
        answer = self.bed.command(name, **arguments)
        if isinstance(answer, CommandError):
            raise answer
        return answer


class Rest:
    """Calls the whole application, guard and all, without a port."""

    def __init__(self, bed: TrustingBed) -> None:
        self.bed = bed
        module = bed.party._context.module
        runtime = cast("LiveRuntime", SimpleNamespace(links={}, queued=0, turns=0, events=0, failures=0))
        self.service = TurnService("acquirer", bed.store, module, "operator", lambda *_: None, runtime)
        self.service.bed = bed
        self.app: fastapi.FastAPI = application(self.service, [applicant_routes, device_routes])

    def run(self, work: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]]) -> httpx.Response:
        async def within() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://acquirer") as client:
                return await work(client)

        return asyncio.run(within())

    def post(self, path: str, json: object = None, token: str | None = None) -> httpx.Response:
        return self.run(lambda client: client.post(path, json=json, headers=_bearer(token)))

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        return self.run(lambda client: client.get(path, headers=_bearer(token)))


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@pytest.fixture
def bed(empty: Store) -> Iterator[TrustingBed]:
    made = TrustingBed(empty)
    made.connect()
    yield made
    made.unit.rollback()
    assert not made.failures


@pytest.fixture
def rest(bed: TrustingBed) -> Rest:
    return Rest(bed)


def test_from_application_to_a_phone_that_is_killed(bed: TrustingBed, rest: Rest) -> None:
    phone = Phone(bed)
    applied = rest.post("/onboarding/applications", APPLICANT)
    assert applied.status_code == 201, applied.text
    token, path = applied.json()["token"], f"/onboarding/applications/{applied.json()['application_id']}"
    phone.application = {"application_id": applied.json()["application_id"], "token": token}
    assert rest.get(path, token).json()["status"] == "submitted"
    assert rest.post(f"{path}/challenge", token=token).status_code == 409

    own = path.removeprefix("/onboarding")
    (listed,) = rest.get("/applications?status=submitted", "operator").json()
    assert listed["shop_name"] == APPLICANT["shop_name"]
    shown = rest.get(own, "operator").json()
    assert shown["applicant"]["name"] == APPLICANT["name"]
    assert PAN not in rest.get(own, "operator").text
    assert rest.post(f"{own}/approve", {"devices": 3}, "operator").json()["status"] == "approved"
    assert rest.post(f"{own}/approve", token="operator").json()["status"] == "approved"
    assert rest.post(f"{own}/refuse", {"reason": "late"}, "operator").status_code == 409

    challenge = bytes.fromhex(rest.post(f"{path}/challenge", token=token).json()["challenge"])
    bound = rest.post(f"{path}/devices", phone.evidence(challenge), token)
    assert bound.status_code == 201, bound.text
    phone.install(bound.json())
    assert phone.terminal is not None
    assert bed.sign_on(phone.terminal).fields[39] == "00"
    phone.attest_all()

    (device,) = rest.get("/devices", "operator").json()
    assert (device["device_id"], device["status"], device["merchant_id"]) == (
        "SN-0001",
        "active",
        bound.json()["merchant_id"],
    )
    assert rest.get("/devices?merchant=000000000000000", "operator").json() == []
    records = rest.get("/devices/SN-0001/attestations", "operator").json()
    assert [(one["purpose"], one["accepted"]) for one in records] == [
        ("pin", True),
        ("transaction", True),
        ("bind", True),
    ]
    assert rest.post("/devices/SN-0001/suspend", {"reason": "x"}, "operator").json()["status"] == "blocked"
    assert rest.post("/devices/SN-0001/reactivate", token="operator").json()["status"] == "active"
    assert rest.post("/devices/SN-0001/kill", {"reason": "stolen"}, "operator").json()["status"] == "killing"
    assert rest.post("/devices/SN-0002/kill", {"reason": "x"}, "operator").status_code == 409


def test_only_the_operator_reviews_and_controls(rest: Rest) -> None:
    token = rest.post("/onboarding/applications", APPLICANT).json()["token"]
    for shown in (None, "wrong", token):
        for path in ("/applications", "/devices", "/devices/X/attestations", "/applications/A000000000000000"):
            assert rest.get(path, shown).status_code == 401
        for path in ("/applications/A000000000000000/approve", "/devices/X/kill", "/devices/X/suspend"):
            assert rest.post(path, {"reason": "x"}, shown).status_code == 401


def test_only_the_tokens_holder_sees_an_application(rest: Rest) -> None:
    applied = rest.post("/onboarding/applications", APPLICANT).json()
    path = f"/onboarding/applications/{applied['application_id']}"
    for shown in (None, "wrong", "operator"):
        assert rest.get(path, shown).status_code == 401
        assert rest.post(f"{path}/challenge", token=shown).status_code == 401
        assert rest.post(f"{path}/devices", {"chain": ["AA=="], "signature": "AA=="}, shown).status_code == 401
    assert rest.get("/onboarding/applications/A000000000000000", applied["token"]).status_code == 401
    assert rest.get("/onboarding/applications/x", applied["token"]).status_code == 422
    assert rest.get("/onboarding/../devices", applied["token"]).status_code in (401, 404)
    assert rest.get("/onboarding/", applied["token"]).status_code == 404


def test_what_is_malformed_is_not_repeated(rest: Rest) -> None:
    wrong = rest.post("/onboarding/applications", {**APPLICANT, "colour": "red", "radius": "far"})
    assert wrong.status_code == 422
    refused = rest.post("/onboarding/applications", {**APPLICANT, "id_number": "110105194912310021"})
    assert refused.status_code == 409
    for text in (wrong.text, refused.text):
        assert "13800138000" not in text
        assert "1949123" not in text
    toy = rest.post("/onboarding/applications", {**APPLICANT, "model": "Toy"})
    assert (toy.status_code, toy.json()["status"], toy.json()["reason"]) == (201, "refused", "model not allowed: Toy")


def test_what_comes_from_the_world_is_short(rest: Rest) -> None:
    long = {**APPLICANT, "name": "x" * Guard.LONGEST_PUBLIC}
    assert rest.post("/onboarding/applications", long).status_code == 413

    async def in_pieces() -> object:
        async def pieces():  # type: ignore[no-untyped-def]
            for _ in range(40):
                yield b" " * 1000

        transport = httpx.ASGITransport(rest.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://acquirer") as client:
            return (await client.post("/onboarding/applications", content=pieces())).status_code

    assert asyncio.run(in_pieces()) in (400, 413)


def test_few_at_a_time(rest: Rest) -> None:
    async def crowd() -> list[int]:
        rest.service.held = asyncio.Event()
        transport = httpx.ASGITransport(rest.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://acquirer") as client:
            calls = [
                asyncio.ensure_future(client.post("/onboarding/applications", json={**APPLICANT, "model": "Toy"}))
                for _ in range(PUBLIC_AT_ONCE + 3)
            ]
            while sum(one.done() for one in calls) < 3:
                await asyncio.sleep(0.001)
            rest.service.held.set()
            return sorted([(await one).status_code for one in calls])

    assert asyncio.run(crowd()) == [201] * PUBLIC_AT_ONCE + [503] * 3
    rest.service.held = None
    assert rest.post("/onboarding/applications", APPLICANT).status_code == 201
