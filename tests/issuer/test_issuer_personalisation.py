"""Accounts and cards as they are made, and the REST interface over them."""

from __future__ import annotations

from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import psec
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from issuer_bed import PIN, Bed, TestCard

from issuer.api import routes
from issuer.installation import InstallationError, install, join_network
from issuer.personalisation import (
    PersonalisationError,
    add_key_set,
    chip_personalisation,
    issue_card,
    luhn_check_digit,
    open_account,
    pay_in,
)
from issuer.tables import CASH_ACCOUNT, TABLES, Card
from network.keys import Algorithm, KeyUsage, Scheme
from network.ledger import Money
from network.party import Json
from network.store import Store


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


@pytest.mark.parametrize("pan", ["6251880000051688", "4111111111111111", "79927398713", "6228480402564890018"])
def test_luhn(pan: str) -> None:
    assert luhn_check_digit(pan[:-1]) == pan[-1]


@pytest.mark.parametrize("length", [13, 16, 19])
def test_a_card_is_numbered_and_written(bed: Bed, length: int) -> None:
    bed.open("a", 100)
    card = bed.issue("a", pan_length=length)
    assert len(card.pan) == length
    assert card.pan.startswith("625188")
    assert luhn_check_digit(card.pan[:-1]) == card.pan[-1]
    assert card.track2[:-3] == f"{card.pan}=290322000000"
    assert card.chip_track2[:-3] == card.track2[:-3]
    assert len(card.track2) <= 37
    assert chip_personalisation(card).track2 == card.chip_track2


def test_cvv_and_pin_offset_are_those_of_an_independent_library(bed: Bed) -> None:
    """psec computes them from the same clear keys."""
    cvk, pvk = bytes(range(16)), bytes(range(32, 48))
    load = bed.module.import_clear
    keys = add_key_set(bed.unit, bed.module, "known")
    keys.cvk = load(KeyUsage.CARD_VERIFICATION, Algorithm.TDES_DOUBLE, cvk).block
    keys.pvk = load(KeyUsage.PIN_VERIFICATION_IBM_3624, Algorithm.TDES_DOUBLE, pvk).block
    open_account(bed.unit, account_id="a", now=bed.now)
    card = issue_card(
        bed.unit,
        bed.module,
        Random(1),
        bin_prefix="625188",
        account_id="a",
        key_set_id="known",
        expiry="3012",
        pin=PIN,
    )
    row = bed.unit.find(Card, "pan_index", card.pan_index)
    assert row is not None
    assert card.track2[-3:] == psec.cvv.generate_cvv(cvk, card.pan, "3012", "220")
    assert card.chip_track2[-3:] == psec.cvv.generate_cvv(cvk, card.pan, "3012", "999")
    offset = psec.pin.generate_ibm3624_offset(pvk, "0123456789012345", PIN, card.pan, 0, 16, "F")
    assert row.pin_offset == offset


def test_numbers_that_are_taken_are_passed_over(bed: Bed) -> None:
    bed.open("a", 0)

    class Stuck(Random):
        def randrange(self, *_: Any) -> int:
            return 7

    def issue(random: Random) -> str:
        return issue_card(
            bed.unit,
            bed.module,
            random,
            bin_prefix="625188",
            account_id="a",
            key_set_id="debit",
            expiry="2903",
            pin=PIN,
        ).pan

    first = issue(Stuck())
    assert issue(Random(1)) != first
    with pytest.raises(PersonalisationError, match="no free number"):
        issue(Stuck())


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"bin_prefix": "62518"}, "BIN prefix has 6 to 10 digits"),
        ({"expiry": "2913"}, "month"),
        ({"expiry": "0329x"}, "expiry has 4 digits"),
        ({"pan_length": 20}, "13 to 19"),
        ({"sequence": "101"}, "begins with 0"),
        ({"service_code": "101"}, "service code of a chip card"),
        ({"is_chip": False}, "service code of a chip card"),
        ({"pin_tries": 0}, "wrong PINs"),
        ({"pin": "12a4"}, "a PIN is"),
        ({"account_id": "nobody"}, "no account"),
        ({"key_set_id": "none"}, "no key set"),
        ({"pan": "6251880000051680"}, "check digit"),
        ({"pan": "4111111111111111"}, "prefix"),
    ],
)
def test_what_cannot_be_issued(bed: Bed, wanted: dict[str, Any], reason: str) -> None:
    bed.open("a", 0)
    settings: dict[str, Any] = {
        "bin_prefix": "625188",
        "account_id": "a",
        "key_set_id": "debit",
        "expiry": "2903",
        "pin": PIN,
        **wanted,
    }
    with pytest.raises(PersonalisationError, match=reason) as refused:
        issue_card(bed.unit, bed.module, Random(1), **settings)
    assert str(wanted.get("pan", "?")) not in str(refused.value)
    assert str(wanted.get("pin", "?")) not in str(refused.value)


def test_a_given_number_is_issued_once(bed: Bed) -> None:
    bed.open("a", 0)
    assert bed.issue("a", pan="6251880000051688").pan == "6251880000051688"
    with pytest.raises(PersonalisationError, match="already"):
        bed.issue("a", pan="6251880000051688")


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"account_id": "a b"}, "letters"),
        ({"account_id": ""}, "letters"),
        ({"account_id": "taken"}, "exists"),
        ({"account_type": "99"}, "one of 10, 20, 30"),
        ({"balance": -1}, "not negative"),
        ({"credit_limit": -1}, "not negative"),
    ],
)
def test_what_cannot_be_opened(bed: Bed, wanted: dict[str, Any], reason: str) -> None:
    bed.open("taken", 0)
    with pytest.raises(PersonalisationError, match=reason):
        open_account(bed.unit, **{"account_id": "new", "now": bed.now, **wanted})


def test_cash_paid_in_keeps_the_books_balanced(bed: Bed) -> None:
    bed.open("a", 700)
    pay_in(bed.unit, account_id="a", amount=Money(300), reference="r", now=bed.now)
    bed.unit.commit()
    assert (bed.balance("a"), bed.balance(CASH_ACCOUNT)) == (1_000, 1_000)
    for amount in (Money(0), Money(-5), Money(5, "840")):
        with pytest.raises(PersonalisationError, match="positive"):
            pay_in(bed.unit, account_id="a", amount=amount, reference="s", now=bed.now)


def test_installation_is_done_once_and_the_zone_entered_once(bed: Bed, tmp_path: Path) -> None:
    store = Store("sqlite://", TABLES)
    unit = store.unit_of_work()
    install(unit, bed.module)
    unit.commit()
    unit = store.unit_of_work()
    install(unit, bed.module)
    unit.commit()
    assert bed.unit.scan(Card, "pan_index", "none", 1) == []
    for switch_id, key, reason in (
        ("1", bed.master, "8 digits"),
        ("00010001", bed.mac_key, "key encryption key"),
        ("00010000", bed.master, "exists already"),
    ):
        with pytest.raises(InstallationError, match=reason):
            join_network(bed.unit, bed.module, switch_id=switch_id, master_key=key, now=bed.now)


def test_a_chip_of_each_scheme_pays(bed: Bed) -> None:
    card = bed.new_card()
    for scheme in (Scheme.PBOC_3DES, Scheme.PBOC_SM4):
        written = chip_personalisation(card.issued, scheme=scheme, cryptogram_version=0x17, credit=True)
        assert (written.scheme, written.label) == (scheme, "UnionPay Credit")


class Rest:
    """The issuer's routes over the bed: commands are decided in turns at once."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.token_shown = True
        service = SimpleNamespace(store=bed.store, module=bed.module, command=self.command, operator=self.operator)
        app = FastAPI()
        app.include_router(routes(service))  # type: ignore[arg-type]
        self.client = TestClient(app)

    async def command(self, name: str, arguments: dict[str, Json]) -> Json:
        return self.bed.command(name, **arguments)

    def operator(self) -> None:
        if not self.token_shown:
            raise HTTPException(401)


def test_rest_shows_a_card_masked_with_its_money(bed: Bed) -> None:
    rest = Rest(bed)
    card = bed.new_card(1_000)
    sale = card.sale(400)
    assert bed.code(sale) == "00"
    answer = rest.client.get(f"/cards/{card.issued.pan}").json()
    assert (answer["available"], answer["ledger"], answer["status"]) == (600, 600, "active")
    assert (answer["pin_tries_left"], answer["highest_atc"], answer["expiry"]) == (3, 1, "2903")
    assert answer["used"] == {"day": 20260331, "amount": 400, "count": 1}
    assert answer["pan"] == card.issued.pan[:6] + "******" + card.issued.pan[-4:]
    assert rest.client.get("/cards/6251880000051688").status_code == 404
    assert rest.client.get("/cards/62518800000x1688").status_code == 422
    (decision,) = rest.client.get("/authorisations").json()
    assert (decision["status"], decision["amount"], decision["pan"]) == ("approved", 400, answer["pan"])
    assert card.issued.pan not in rest.client.get("/authorisations").text
    assert bed.code(bed.reversal_of(sale)) == "00"
    (decision,) = rest.client.get("/authorisations", params={"reference": decision["reference"]}).json()
    assert (decision["status"], decision["reversal_code"]) == ("reversed", "00")
    assert rest.client.get("/authorisations", params={"reference": "none"}).json() == []
    assert rest.client.get("/authorisations", params={"limit": 501}).status_code == 422
    assert rest.client.get(f"/accounts/{card.issued.account_id}").json()["available"] == 1_000
    assert rest.client.get("/accounts/settlement:network").status_code == 422


def test_rest_commands(bed: Bed) -> None:
    rest = Rest(bed)
    card: TestCard = bed.new_card(1_000)
    path = f"/cards/{card.issued.pan}"
    assert rest.client.post(path + "/status", json={"status": "stolen"}).json() == {"status": "stolen"}
    assert bed.code(card.sale(1)) == "43"
    assert rest.client.post(path + "/pin-tries").json() == {"pin_tries_left": 3}
    assert rest.client.post(path + "/limits", json={"daily_count": 5}).json()["daily_count"] == 5
    credit = f"/accounts/{card.issued.account_id}/credit"
    assert rest.client.post(credit, json={"amount": 5, "reference": "x"}).json()["ledger"] == 1_005
    assert rest.client.post(credit, json={"amount": 5.5, "reference": "y"}).status_code == 422
    assert rest.client.post(path + "/limits", json={"sale": -5}).status_code == 422


def test_every_route_asks_for_the_operators_token(bed: Bed) -> None:
    rest = Rest(bed)
    rest.token_shown = False
    app = rest.client.app
    assert isinstance(app, FastAPI)
    asked = 0
    for route in app.openapi()["paths"].items():
        name, methods = route
        for method in methods:
            path = name.replace("{pan}", "6251880000051688").replace("{account_id}", "a")
            assert rest.client.request(method, path, json={}).status_code == 401, (method, name)
            asked += 1
    assert asked == 10
