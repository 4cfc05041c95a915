"""The issuer's REST routes for tokens: who may call them, and that they are the party's commands."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest
from fastapi.testclient import TestClient
from wallet_bed import TOKEN, WalletBed

from issuer.api import routes
from issuer.wallet import OPERATIONS
from issuer.wallet_api import WALLET_PATH, token_routes, wallet_routes
from network.live import LiveRuntime
from network.party import CommandError, Json
from network.rest import Service, application

OPERATOR = {"Authorization": "Bearer operator"}


@pytest.fixture
def bed(tmp_path: Path) -> WalletBed:
    return WalletBed(tmp_path)


@pytest.fixture
def client(bed: WalletBed) -> TestClient:
    def ask(name: str, arguments: dict[str, Json]) -> Future[Json]:
        future: Future[Json] = Future()
        answers = list(bed.give(name, **arguments).answers) or bed.reply(de103=TOKEN, de14="2812")
        ((_, answer),) = answers
        if isinstance(answer, CommandError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    service = Service("issuer", bed.store, bed.module, "operator", ask, cast(LiveRuntime, None))
    return TestClient(application(service, [routes, token_routes, wallet_routes]))


def test_every_operation_has_its_route_and_every_route_its_guard(client: TestClient) -> None:
    for operation, (method, path) in OPERATIONS.items():
        answer = client.request(method, path, json={})
        assert answer.status_code == (422 if path.startswith(WALLET_PATH) else 401), operation
        assert client.request(method, path, json={}, headers=OPERATOR).status_code == 422, operation
    for path in ("/cards/6251880000051688/tokens", "/offline-sales/overdrawn", "/wallet/../cards/6251880000051688"):
        assert client.get(path).status_code == 401


def test_a_phone_from_provisioning_to_its_payments(bed: WalletBed, client: TestClient) -> None:
    card, phone = bed.new_card(1_000), bed.new_phone()
    body = {"pan": card.issued.pan, "domains": ["contactless", "code"], "wallet_public_key": phone.public_key}
    made = client.post("/tokens", json=body, headers=OPERATOR)
    assert made.status_code == 200
    phone.install(made.json())
    assert bed.code(bed.token_sale(card, 100, bed.tap(phone, 100))) == "00"
    answer = client.post("/wallet/payments", json=phone.signed("payments", limit=5))
    assert [payment["amount"] for payment in answer.json()["payments"]] == [100]
    used = phone.signed("payments")
    assert client.post("/wallet/payments", json=used).status_code == 200
    refused = client.post("/wallet/payments", json=used)
    assert (refused.status_code, refused.json()) == (409, {"detail": "counter: it was used"})
    assert client.post("/wallet/payments", json={**phone.signed("payments"), "limit": 3}).status_code == 409
    assert client.post("/wallet/payments", json={**phone.signed("payments"), "more": 3}).status_code == 422
    phone.replenished(client.post("/wallet/replenish", json=phone.signed("replenish")).json())
    assert phone.payments_left == 59
    (token,) = client.get(f"/cards/{card.issued.pan}/tokens", headers=OPERATOR).json()
    assert (token["status"], token["payments"], token["keys"]) == ("active", 1, {"first": 0, "end": 6, "uses": 10})
    assert TOKEN not in str(token)
    for name, status in (("suspend", "suspended"), ("resume", "active"), ("delete", "deleted")):
        done = client.post(f"/tokens/{name}", json={"token": token["token_id"]}, headers=OPERATOR)
        assert done.json()["status"] == status
        assert bed.reply() == []
    revoked = client.post("/tokens/revoke-keys", json={"token": TOKEN}, headers=OPERATOR)
    assert revoked.json()["first_key"] == 6


def test_ecash_by_rest(bed: WalletBed, client: TestClient) -> None:
    account = bed.new_card(1_000).issued.account_id
    loaded = client.post(f"/accounts/{account}/ecash", json={"amount": 300, "reference": "r"}, headers=OPERATOR)
    assert loaded.json() == {"account_id": account, "posted": True, "ecash": 300}
    assert client.get("/offline-sales/overdrawn", headers=OPERATOR).json() == []
