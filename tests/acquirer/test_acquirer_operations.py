"""Enrolment, commands and the REST interface."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import fastapi
import httpx
import pytest
from acquirer_bed import MERCHANT, PAN, SWITCH_ID, ZMK, Bed, Terminal
from further_messages import CODE, claim, claimed, new_order, offline_sale, payments, sent

from acquirer.api import routes
from acquirer.configuration import Configuration
from acquirer.enrolment import EnrolmentError, add_merchant, add_terminal, join_network
from network.emv.ca_keys import CaPublicKey
from network.keys import Algorithm, KeyHandle, KeyUsage, MacAlgorithm, SecurityModule
from network.party import Command, CommandError, Json, Work
from network.rest import application


def master_key(module: SecurityModule, usage: KeyUsage = KeyUsage.KEY_ENCRYPTION) -> KeyHandle:
    return module.load(module.generate(usage, Algorithm.TDES_DOUBLE))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"merchant_id": "123"}, "15 letters and digits"),
        ({"merchant_id": "10411004511 012"}, "15 letters and digits"),
        ({"merchant_id": MERCHANT}, "exists already"),
        ({"category": "54"}, "4 digits"),
        ({"country": "cn"}, "3 capital letters"),
        ({"name": ""}, "1 to 60"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "🍎"}, "GBK"),
        ({"city": "x" * 61}, "1 to 60"),
    ],
)
def test_merchants_that_cannot_be(bed: Bed, changes: dict[str, str], reason: str) -> None:
    good = {"merchant_id": "104110045119999", "name": "A shop", "city": "Beijing", "category": "5411"}
    with pytest.raises(EnrolmentError, match=reason):
        add_merchant(bed.unit, now=bed.now, **(good | changes))
    bed.unit.rollback()


@pytest.mark.parametrize(
    ("name", "city", "acceptor"),
    [
        ("A shop", "Beijing", "A shop                   Beijing     CHN"),
        ("一二三四五六七八九十一二三", "北京", "一二三四五六七八九十一二 北京        CHN"),
        ("x" * 60, "y" * 60, "x" * 25 + "y" * 12 + "CHN"),
    ],
)
def test_the_acceptor_has_40_bytes(bed: Bed, name: str, city: str, acceptor: str) -> None:
    merchant = add_merchant(bed.unit, merchant_id="104110045119999", name=name, city=city, category="5411", now=bed.now)
    assert merchant.acceptor == acceptor
    assert len(merchant.acceptor.encode("gbk")) == 40
    bed.unit.rollback()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"terminal_id": "T1"}, "8 letters and digits"),
        ({"terminal_id": "T000000é"}, "8 letters and digits"),
        ({"terminal_id": "T0000001"}, "exists already"),
        ({"merchant_id": "104110045119999"}, "no merchant"),
        ({"mac_algorithm": MacAlgorithm.CMAC}, "CUP ECB, X9.9, X9.19"),
    ],
)
def test_terminals_that_cannot_be(bed: Bed, changes: dict[str, object], reason: str) -> None:
    module = bed.party._context.module
    good = {"terminal_id": "T0000009", "merchant_id": MERCHANT, "master_key": master_key(module)}
    with pytest.raises(EnrolmentError, match=reason):
        add_terminal(bed.unit, module, now=bed.now, **(good | changes))  # type: ignore[arg-type]
    bed.unit.rollback()


def test_keys_of_the_wrong_kind_are_not_taken(bed: Bed) -> None:
    module = bed.party._context.module
    wrong = master_key(module, KeyUsage.PIN_ENCRYPTION)
    with pytest.raises(EnrolmentError, match="terminal master key is a key encryption key"):
        add_terminal(bed.unit, module, terminal_id="T0000009", merchant_id=MERCHANT, master_key=wrong, now=bed.now)
    with pytest.raises(EnrolmentError, match="zone master key is a key encryption key"):
        join_network(bed.unit, module, switch_id="00010001", master_key=wrong, now=bed.now)
    triple = module.load(module.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_TRIPLE))
    with pytest.raises(EnrolmentError, match="single- or double-length"):
        add_terminal(bed.unit, module, terminal_id="T0000009", merchant_id=MERCHANT, master_key=triple, now=bed.now)
    with pytest.raises(EnrolmentError, match="exists already"):
        join_network(bed.unit, module, switch_id=SWITCH_ID, master_key=master_key(module), now=bed.now)
    with pytest.raises(EnrolmentError, match="8 digits"):
        join_network(bed.unit, module, switch_id="1", master_key=master_key(module), now=bed.now)
    bed.unit.rollback()


def test_a_terminal_enrolled_by_command_works(bed: Bed) -> None:
    module = bed.party._context.module
    tmk = bytes(range(0x10, 0x20))
    block = module.block(module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, tmk))
    merchant = bed.command("add_merchant", merchant_id="104110045117777", name="Tea", city="Xian", category="5812")
    assert isinstance(merchant, dict)
    assert merchant["status"] == "active"
    made = bed.command(
        "add_terminal",
        terminal_id="T0000007",
        merchant_id="104110045117777",
        master_key=block,
        mac_algorithm="X9.19",
    )
    assert isinstance(made, dict)
    assert (made["signed_on"], made["mac_algorithm"]) == (False, "X9.19")
    assert block not in repr(made)
    terminal = Terminal(
        "T0000007", "terminal:7", tmk=tmk, merchant_id="104110045117777", mac_algorithm=MacAlgorithm.X9_19
    )
    bed.sign_on(terminal)
    assert bed.pay(terminal, terminal.sale()).fields[39] == "00"
    assert bed.balances()["merchant:104110045117777"] == 1250


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("fly", {}, "knows no command fly"),
        ("add_merchant", {"merchant_id": 5}, "merchant_id is missing"),
        ("add_terminal", {"terminal_id": "T0000009", "merchant_id": MERCHANT}, "master_key is missing"),
        ("add_terminal", {"terminal_id": "T0000009", "merchant_id": MERCHANT, "master_key": "D"}, "master_key: "),
        ("suspend_terminal", {"terminal_id": "T9999999"}, "no terminal T9999999"),
        ("activate_merchant", {"merchant_id": "x"}, "no merchant x"),
    ],
)
def test_commands_that_are_refused(bed: Bed, name: str, arguments: dict[str, Json], reason: str) -> None:
    answer = bed.command(name, **arguments)
    assert isinstance(answer, CommandError)
    assert reason in str(answer)


def test_an_unknown_mac_algorithm_is_refused(bed: Bed) -> None:
    module = bed.party._context.module
    block = module.block(master_key(module))
    arguments: dict[str, Json] = {"terminal_id": "T0000009", "merchant_id": MERCHANT, "master_key": block}
    for algorithm in ("CRC", "CMAC"):
        answer = bed.command("add_terminal", **arguments, mac_algorithm=algorithm)
        assert isinstance(answer, CommandError)
        assert "CUP ECB" in str(answer)


def test_echo_sign_off_and_sign_on(bed: Bed, terminal: Terminal) -> None:
    assert bed.command("echo") == {"response_code": "00", "microseconds": 0}
    bed.command("sign_off")
    assert not bed.party.session.ready
    assert bed.ask(terminal, terminal.sale())[0].fields[39] == "91"
    bed.command("sign_on")
    assert bed.party.session.ready
    bed.disconnect()
    for name in ("echo", "sign_on", "sign_off"):
        assert isinstance(bed.command(name), CommandError)


def test_an_echo_that_is_not_answered_ends(bed: Bed) -> None:
    bed.take(Work([], [], [Command("echo", {}, 77)], []))
    assert 77 not in bed.answers
    bed.wait(11)
    assert isinstance(bed.answers[77], CommandError)


def test_the_configuration_refuses_what_cannot_be() -> None:
    for wrong in ({"acquirer_id": "12"}, {"switch_timeout": 0}, {"advices_per_turn": 0}, {"colour": "red"}):
        with pytest.raises(ValueError, match="validation error"):
            Configuration(**wrong)
    assert Configuration().switch_timeout == 30


class Rest:
    """What `routes` and the application around them need of a service."""

    name, token, public, metrics_open, runtime = "acquirer", "token", (), False, None

    def __init__(self, bed: Bed) -> None:
        self.bed = bed
        self.store = bed.store
        self.module = bed.party._context.module

    async def command(self, name: str, arguments: dict[str, Json]) -> Json:
        answer = self.bed.command(name, **arguments)
        if isinstance(answer, CommandError):
            raise fastapi.HTTPException(409, str(answer))
        return answer

    def operator(self, authorization: str = fastapi.Header("")) -> None:
        if authorization != "Bearer token":
            raise fastapi.HTTPException(401)


class Client:
    """Asks the routes without a port."""

    def __init__(self, bed: Bed) -> None:
        app = application(Rest(bed), [routes])  # type: ignore[arg-type]
        self._transport = httpx.ASGITransport(app)

    def get(self, path: str, params: dict[str, str | int] | None = None, token: str = "token") -> httpx.Response:
        return asyncio.run(self._request("GET", path, params, None, token))

    def post(self, path: str, json: Mapping[str, str | int] | None = None, method: str = "POST") -> httpx.Response:
        return asyncio.run(self._request(method, path, None, json, "token"))

    async def _request(
        self,
        method: str,
        path: str,
        params: dict[str, str | int] | None,
        json: Mapping[str, str | int] | None,
        token: str,
    ) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://acquirer") as client:
            headers = {"Authorization": f"Bearer {token}"}
            return await client.request(method, path, params=params, json=json, headers=headers)


@pytest.fixture
def client(bed: Bed) -> Client:
    return Client(bed)


def test_rest_shows_what_happened(bed: Bed, terminal: Terminal, client: Client) -> None:
    sale = bed.pay(terminal, terminal.sale(1250))
    bed.pay(terminal, terminal.sale(900), "51")
    bed.ask(terminal, terminal.sale(800))
    bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}", 800))

    merchant = client.get(f"/merchants/{MERCHANT}").json()
    assert (merchant["name"], merchant["balance"], merchant["status"]) == ("王记水果摊", 1250, "active")
    assert [one["merchant_id"] for one in client.get("/merchants").json()] == [MERCHANT, "104110045110013"]
    (shown,) = client.get("/terminals").json()
    assert (shown["terminal_id"], shown["signed_on"], shown["sessions"]) == ("T0000001", True, 1)
    assert client.get("/terminals", params={"merchant": "104110045110013"}).json() == []

    everything = client.get("/transactions").json()
    assert [one["status"] for one in everything] == ["reversed", "declined", "approved"]
    assert client.get("/transactions", params={"limit": 1}).json() == everything[:1]
    assert client.get("/transactions", params={"terminal": "T0000001"}).json() == everything
    assert client.get("/transactions", params={"terminal": "T0000002"}).json() == []
    (found,) = client.get("/transactions", params={"rrn": sale.text(37)}).json()
    assert (found["amount"], found["stan"], found["meaning"]) == (1250, sale.text(11), "approved")
    for rrn in ("532710999999", "500010000000", "536610000000"):
        assert client.get("/transactions", params={"rrn": rrn}).json() == []
    (advice,) = client.get("/advices").json()
    assert (advice["status"], advice["reason"], advice["attempts"]) == ("pending", "98", 1)
    assert client.get("/advices", params={"status": "answered"}).json() == []
    assert "6212345678901232" not in client.get("/transactions").text


def test_rest_enrols_and_suspends(bed: Bed, client: Client) -> None:
    new = {"merchant_id": "104110045117777", "name": "Tea", "city": "Xian", "category": "5812"}
    assert client.post("/merchants", json=new).status_code == 201
    assert client.post("/merchants", json=new).status_code == 409
    module = bed.party._context.module
    block = module.block(module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, ZMK))
    terminal = {"terminal_id": "T0000007", "merchant_id": "104110045117777", "master_key": block}
    assert client.post("/terminals", json=terminal).status_code == 201
    assert client.post("/terminals", json=terminal | {"master_key": "x"}).status_code == 422
    for what, name in (("terminals", "T0000007"), ("merchants", "104110045117777")):
        assert client.post(f"/{what}/{name}/suspend").json()["status"] == "suspended"
        assert client.post(f"/{what}/{name}/activate").json()["status"] == "active"
    assert client.post("/terminals/T9999999/suspend").status_code == 409
    assert client.get("/merchants/104110045118888").status_code == 404
    assert client.get("/merchants/x").status_code == 422
    assert client.post("/switch/echo").json()["response_code"] == "00"
    assert client.post("/switch/sign-off").json() == {"sent": True}
    assert client.post("/switch/sign-on").json() == {"sent": True}


def test_rest_shows_orders_and_offline_sales(bed: Bed, terminal: Terminal, client: Client) -> None:
    paid, static = new_order(bed, terminal), new_order(bed, terminal, None)
    claimed(bed, claim(bed.switch, paid), claim(bed.switch, paid, "6200000000000000001"))
    bed.answer(bed.switch.answer(payments(bed)[0]))
    orders = client.get("/orders").json()
    assert [(one["order"], one["status"], one["static"]) for one in orders] == [
        (static, "open", True),
        (paid, "paid", False),
    ]
    assert client.get("/orders", params={"terminal": "T0000009"}).json() == []
    shown = client.get(f"/orders/{paid}").json()
    assert (shown["paid_amount"], shown["payment"]) == (1250, bed.rows()[0].reference)
    assert sorted((one["response_code"], one["payment"]) for one in shown["claims"]) == [
        ("00", shown["payment"]),
        ("94", None),
    ]
    assert client.get("/orders/48020000000000000999").status_code == 404
    assert client.get("/orders/1").status_code == 422
    (payment,) = client.get("/transactions", params={"terminal": terminal.terminal_id}).json()
    assert (payment["order"], payment["entry_mode"]) == (paid, "032")
    bed.ask(terminal, offline_sale(terminal, 700))
    (offline,) = client.get("/offline-sales").json()
    assert (offline["amount"], offline["status"], offline["kind"]) == (700, "accepted", "offline")
    (advice,) = client.get("/advices").json()
    assert (advice["kind"], advice["original"]) == ("offline sale", offline["reference"])
    bed.answer(bed.switch.answer(sent(bed, "0220")[0]))
    assert client.get("/offline-sales").json()[0]["status"] == "approved"
    for path in ("/orders", f"/orders/{paid}", "/offline-sales", "/advices", "/transactions"):
        text = client.get(path).text
        assert PAN not in text
        assert CODE not in text


def test_rest_sets_what_terminals_download(bed: Bed, client: Client) -> None:
    block = CaPublicKey(bytes.fromhex("A000000333"), 8, b"\xc1" * 128, 3, "20301231").build().hex().upper()
    made = client.post("/ca-keys", {"block": block})
    assert made.status_code == 201
    assert client.get("/ca-keys").json() == [made.json()]
    assert (made.json()["index"], made.json()["expiry"], made.json()["block"]) == ("08", "20301231", block)
    assert client.post("/ca-keys", {"block": block[:-2] + "00"}).status_code == 409
    assert client.post("/ca-keys", {"block": "xyz"}).status_code == 422
    assert client.post("/ca-keys/A000000333/08", method="DELETE").json()["status"] == "suspended"
    assert client.post("/ca-keys/A000000333/09", method="DELETE").status_code == 409
    limits = {"floor_limit": 1, "contactless_limit": 2, "cvm_limit": 3}
    assert client.post("/application-parameters/a000000333010106", limits, "PUT").json()["aid"] == "A000000333010106"
    (shown,) = client.get("/application-parameters").json()
    assert limits.items() <= shown.items()
    assert client.post("/application-parameters/A0", limits, "PUT").status_code == 422
    assert client.post("/application-parameters/A000000333010106", limits | {"cvm_limit": -1}, "PUT").status_code == 422


def test_rest_stops_cards_and_shows_them_masked(bed: Bed, client: Client) -> None:
    made = client.post("/hot-cards", {"pan": PAN, "reason": "reported stolen"})
    assert made.status_code == 201
    card = made.json()
    assert (card["pan"], card["reason"], card["status"]) == (f"{PAN[:6]}******{PAN[-4:]}", "reported stolen", "listed")
    assert client.get("/hot-cards").json() == [card]
    for body in ({"pan": PAN + "x", "reason": "x"}, {"pan": PAN}, {"pan": PAN, "reason": "x", "more": PAN}):
        refused = client.post("/hot-cards", body)
        assert refused.status_code == 422
        assert PAN not in refused.text
    refused = client.post("/hot-cards", {"pan": PAN, "reason": PAN})
    assert refused.status_code == 409
    assert PAN not in refused.text
    assert client.post(f"/hot-cards/{PAN}", method="DELETE").status_code == 422
    assert client.post(f"/hot-cards/{'0' * 32}", method="DELETE").status_code == 409
    removed = client.post(f"/hot-cards/{card['id']}", method="DELETE").json()
    assert removed["status"] == "removed"
    assert client.get("/hot-cards").json() == []
    assert client.get("/hot-cards?status=removed").json() == [removed]
    assert PAN not in str(removed)


def test_rest_asks_for_the_operators_token(client: Client) -> None:
    for path in (
        "/merchants",
        "/terminals",
        "/transactions",
        "/advices",
        f"/merchants/{MERCHANT}",
        "/orders",
        "/ca-keys",
        "/hot-cards",
    ):
        assert client.get(path, token="wrong").status_code == 401
