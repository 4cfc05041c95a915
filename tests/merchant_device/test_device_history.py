"""What a merchant is told of past sales."""

import json

import pytest
from device_bed import PAN, TERMINAL_ID, Bed
from scripted_kernel import ScriptedKernel, offline, online

from merchant_device.configuration import Configuration
from network.party import CommandError


def test_the_latest_sales_first_of_this_phone_only(monkeypatch):
    bed = Bed(terminals=("10000001", "10000002"), configuration=Configuration(offline=True, fdda=True))
    bed.settle()
    ScriptedKernel.install(
        monkeypatch, bed, lambda transaction, _: (offline if transaction.amount == 100 else online)(transaction)
    )
    bed.ask("sale", amount=100)
    bed.ask("sale", "10000002", amount=200)
    bed.acquirer.code = "51"
    bed.ask("sale", amount=300)
    bed.acquirer.silent.add("0200")
    bed.command("sale", amount=400)
    bed.settle()
    answer = bed.ask("history")
    assert answer["terminal"] == TERMINAL_ID
    sales = answer["sales"]
    assert isinstance(sales, list)
    found = [(sale["amount"], sale["status"], sale["offline"], sale["response_code"]) for sale in sales]
    assert found == [(400, "pending", False, None), (300, "declined", False, "51"), (100, "approved", True, "00")]
    assert sales[1] == {
        "stan": "000003",
        "batch": "000001",
        "amount": 300,
        "status": "declined",
        "response_code": "51",
        "reason": None,
        "reversal_reason": None,
        "reversal_code": None,
        "rrn": "600210000003",
        "authorisation_code": None,
        "pan": "622800******1000",
        "cvm": "no_cvm",
        "way": "card",
        "offline": False,
        "order": None,
        "started_at": sales[1]["started_at"],
        "finished_at": sales[1]["finished_at"],
    }
    assert str(sales[1]["started_at"]).startswith("2026-01-02T10:00:00")
    assert PAN not in json.dumps(answer)
    limited = bed.ask("history", limit=1)["sales"]
    assert [sale["amount"] for sale in limited] == [400]  # type: ignore[union-attr, call-overload, index]
    assert bed.ask("history", "10000002")["sales"] != sales


def test_a_phone_without_sales():
    assert Bed().ask("history") == {"terminal": TERMINAL_ID, "sales": []}


@pytest.mark.parametrize("limit", [0, -1, 201, True, "5", 1.5, None])
def test_limits(limit):
    bed = Bed()
    ticket = bed.command("history", limit=limit)
    bed.step()
    error = bed.answers[ticket]
    assert isinstance(error, CommandError)
    assert "limit" in str(error)
