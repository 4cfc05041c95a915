from concurrent.futures import Future

import pytest
from device_bed import MERCHANT_ID, TERMINAL_ID, Bed
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from merchant_device.api import routes
from network.party import CommandError, Json
from network.rest import Service

OPERATOR = {"Authorization": "Bearer secret"}


@pytest.fixture
def bed(tmp_path):
    bed = Bed(f"sqlite:///{tmp_path / 'device.db'}")
    bed.settle()
    return bed


@pytest.fixture
def client(bed):
    def ask(name: str, arguments: dict[str, Json]) -> Future[Json]:
        future: Future[Json] = Future()
        ticket = bed.command(name, **arguments)
        bed.step()
        bed.settle()
        answer = bed.answers[ticket]
        if isinstance(answer, CommandError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    service = Service("device", bed.store, bed.module, "secret", ask, None)  # type: ignore[arg-type]
    app = FastAPI()
    app.include_router(routes(service))

    @app.exception_handler(CommandError)
    async def refused(_, error):
        return JSONResponse({"detail": str(error)}, 409)

    return TestClient(app)


def test_a_sale_and_what_is_left_of_it(client):
    receipt = client.post(f"/terminals/{TERMINAL_ID}/sale", json={"amount": 150_000}, headers=OPERATOR).json()
    assert (receipt["outcome"], receipt["amount"]) == ("approved", 150_000)
    (sale,) = client.get("/sales", headers=OPERATOR).json()
    assert sale["status"] == "approved"
    assert sale["pan_masked"] == "622800******1000"
    assert not {"card", "chip"} & set(sale)
    assert client.get("/sales", params={"terminal": "20000000"}, headers=OPERATOR).json() == []
    client.post(f"/terminals/{TERMINAL_ID}/sale", json={"amount": 7}, headers=OPERATOR)
    assert [one["amount"] for one in client.get("/sales?limit=1", headers=OPERATOR).json()] == [7]


def test_the_other_commands(client):
    for path in ("balance", "echo", "sign-on", "sign-off"):
        assert client.post(f"/terminals/{TERMINAL_ID}/{path}", headers=OPERATOR).json()["outcome"] == "approved"
    assert client.post(f"/terminals/{TERMINAL_ID}/cancel", headers=OPERATOR).status_code == 409
    assert client.get("/terminals", headers=OPERATOR).json() == [
        {"terminal_id": TERMINAL_ID, "merchant_id": MERCHANT_ID, "batch": 1, "status": "signed_off"}
    ]
    assert client.get("/terminals/status", headers=OPERATOR).json()["terminals"][0]["doing"] == "idle"


@pytest.mark.parametrize("body", [{}, {"amount": 0}, {"amount": "5"}, {"amount": 1.5}, {"amount": 5, "tip": 1}])
def test_wrong_orders_are_refused(client, body):
    assert client.post(f"/terminals/{TERMINAL_ID}/sale", json=body, headers=OPERATOR).status_code == 422


def test_ways_of_paying_are_passed_on(client):
    path = f"/terminals/{TERMINAL_ID}/sale"
    answer = client.post(path, json={"amount": 5, "ways": ["payer_code"]}, headers=OPERATOR)
    assert answer.status_code == 409
    assert "ways" in answer.json()["detail"]
    assert client.post(path, json={"amount": 5, "ways": []}, headers=OPERATOR).status_code == 422
    receipt = client.post(path, json={"amount": 5, "ways": ["tap"]}, headers=OPERATOR).json()
    assert (receipt["outcome"], receipt["way"]) == ("approved", "card")


def test_unknown_terminals_are_refused(client):
    answer = client.post("/terminals/99999999/sale", json={"amount": 5}, headers=OPERATOR)
    assert answer.status_code == 409
    assert "terminal" in answer.json()["detail"]


def test_every_route_wants_the_operator(client):
    for method, path in (
        ("get", "/terminals"),
        ("get", "/terminals/status"),
        ("get", "/sales"),
        *(("post", f"/terminals/{TERMINAL_ID}/{one}") for one in ("sale", "balance", "cancel", "echo")),
    ):
        assert getattr(client, method)(path).status_code == 401
