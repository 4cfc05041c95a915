"""Members, routes, commands and the REST interface."""

from __future__ import annotations

import asyncio
import concurrent.futures
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from switch_world import PAN, World

from network.keys import Algorithm, KeyUsage
from network.party import CommandError
from network.rest import Service, application
from switch.api import routes
from switch.membership import MembershipError, add_member, add_route
from switch.routing import RoutingTable


@pytest.mark.parametrize(
    ("pan", "member"),
    [
        ("6212345678901232", "B"),
        ("6212340000000000", "A"),
        ("6212999999999999999", "C"),
        ("6299999999999999", "D"),
        ("621", "D"),
        ("5100000000000000", None),
        ("", None),
    ],
)
def test_the_longest_prefix_decides(pan: str, member: str | None) -> None:
    table = RoutingTable([("62", "D"), ("621234", "A"), ("6212", "C"), ("62123456", "B")])
    assert table.issuer_of(pan) == member


digits = st.text("0123456789", min_size=1, max_size=6)


@given(st.dictionaries(digits, st.sampled_from("ABC"), max_size=12), st.text("0123456789", max_size=10))
def test_routing_is_that_of_a_plain_search(routes: dict[str, str], pan: str) -> None:
    matching = [prefix for prefix in routes if pan.startswith(prefix)]
    expected = routes[max(matching, key=len)] if matching else None
    assert RoutingTable(routes.items()).issuer_of(pan) == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"member_id": "123"}, "a member id has 8 digits"),
        ({"member_id": "1234567x"}, "a member id has 8 digits"),
        ({"name": ""}, "a member's name has 1 to 60"),
        ({"name": "x" * 61}, "a member's name has 1 to 60"),
        ({"name": "a\nb"}, "a member's name has 1 to 60"),
        ({"member_id": "01020000"}, "member 01020000 exists already"),
        ({"usage": KeyUsage.PIN_ENCRYPTION}, "is a key encryption key"),
    ],
)
def test_members_that_cannot_be(world: World, changes: dict[str, object], reason: str) -> None:
    usage = changes.pop("usage", KeyUsage.KEY_ENCRYPTION)
    key = world.module.load(world.module.generate(usage, Algorithm.TDES_DOUBLE))  # type: ignore[arg-type]
    arguments: dict[str, object] = {"member_id": "07070000", "name": "A bank"} | changes
    with pytest.raises(MembershipError, match=reason):
        add_member(world.unit, world.module, master_key=key, now=world.now, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prefix", "member_id", "reason"),
    [
        ("", "03090000", "a route's prefix has 1 to 12 digits"),
        ("1" * 13, "03090000", "a route's prefix has 1 to 12 digits"),
        ("62x", "03090000", "a route's prefix has 1 to 12 digits"),
        ("62", "09990000", "there is no member 09990000"),
    ],
)
def test_routes_that_cannot_be(world: World, prefix: str, member_id: str, reason: str) -> None:
    with pytest.raises(MembershipError, match=reason):
        add_route(world.unit, prefix=prefix, member_id=member_id, now=world.now)


def test_a_member_can_be_added_and_routed_to_while_the_switch_runs(world: World) -> None:
    key = bytes(range(1, 17))
    block = world.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, key).block
    world.command("add_member", member_id="07070000", name="A new bank", master_key=block)
    world.command("add_route", prefix="62123456", member_id="07070000")
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["91"]
    assert world.taken(world.issuer) == []
    world.crash()
    assert world.switch.routing.issuer_of(PAN) == "07070000"
    world.command("add_route", prefix="62123456", member_id=world.issuer.member_id)
    assert world.switch.routing.issuer_of(PAN) == world.issuer.member_id


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("fly", {}, "knows no command 'fly'"),
        ("add_member", {"member_id": "07070000", "name": "x"}, "add_member needs a text master_key"),
        ("add_member", {"member_id": "07070000", "name": "x", "master_key": "D0144"}, "key block"),
        ("add_route", {"prefix": "62", "member_id": 7}, "add_route needs a text member_id"),
        ("reset_keys", {"member_id": "07070000"}, "there is no member 07070000"),
        ("suspend_member", {"member_id": "07070000"}, "there is no member 07070000"),
        ("resume_member", {}, "resume_member needs a text member_id"),
    ],
)
def test_commands_that_cannot_be_carried_out(world: World, name: str, arguments: dict[str, str], reason: str) -> None:
    answer = world.command(name, **arguments)
    assert isinstance(answer, CommandError)
    assert reason in str(answer)


def test_keys_are_not_reset_for_a_member_that_is_not_signed_on(world: World) -> None:
    world.crash()
    answer = world.command("reset_keys", member_id="01020000")
    assert isinstance(answer, CommandError)
    assert str(answer) == "member 01020000 is not signed on"


class Client:
    """Asks the REST interface without a server."""

    def __init__(self, app: FastAPI) -> None:
        self._transport = httpx.ASGITransport(app)

    def __call__(self, method: str, path: str, token: str = "word", **content: object) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://switch") as client:
                headers = {"Authorization": f"Bearer {token}"}
                return await client.request(method, path, headers=headers, json=content or None)

        return asyncio.run(ask())

    def get(self, path: str, token: str = "word") -> httpx.Response:
        return self("GET", path, token)

    def post(self, path: str, token: str = "word", **content: object) -> httpx.Response:
        return self("POST", path, token, **content)


@pytest.fixture
def client(world: World) -> Client:
    def ask(name: str, arguments: dict[str, str]) -> concurrent.futures.Future[object]:
        future: concurrent.futures.Future[object] = concurrent.futures.Future()
        answer = world.command(name, **arguments)
        if isinstance(answer, CommandError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    service = Service("switch", world.store, world.module, "word", ask, SimpleNamespace())  # type: ignore[arg-type]
    return Client(application(service, [routes]))


def test_every_route_asks_for_the_operators_token(client: Client) -> None:
    for path in ("/members", "/transactions", "/advices"):
        assert client.get(path, "guess").status_code == 401
    for path in ("/members", "/routes", "/members/01020000/keys", "/members/01020000/suspend"):
        assert client.post(path, "guess").status_code == 401


def test_members_over_rest(world: World, client: Client) -> None:
    members = client.get("/members").json()
    assert [(one["member_id"], one["ready"]) for one in members] == [("01020000", True), ("03090000", True)]
    assert client.post("/members/03090000/suspend").json()["state"] == "suspended"
    assert client.post("/members/03090000/resume").json()["state"] == "active"
    before = world.issuer.zone.mac_key
    assert client.post("/members/03090000/keys").json() == {"member_id": "03090000", "keys": "offered"}
    assert world.issuer.zone.mac_key != before
    assert client.post("/members/09990000/keys").status_code == 409
    assert client.post("/members/x/keys").status_code == 422
    block = world.module.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE)
    new = {"member_id": "07070000", "name": "A new bank", "master_key": block}
    answer = client.post("/members", **new)
    assert (answer.status_code, answer.json()["state"]) == (201, "active")
    assert client.post("/members", **new).status_code == 409
    assert client.post("/routes", prefix="6299", member_id="07070000").status_code == 201
    assert client.post("/routes", prefix="nine", member_id="07070000").status_code == 422


def test_transactions_and_advices_over_rest(world: World, client: Client) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)), (world.acquirer, world.acquirer.sale(2)))
    first = world.taken(world.issuer)[0]
    world.exchange((world.issuer, world.issuer.answer(first)))
    world.advance(21)
    shown = client.get("/transactions").json()
    assert [(one["reference"], one["status"], one["response_code"]) for one in shown] == [
        ("20261123100000000002-1020000", "timed out", "98"),
        ("20261123100000000001-1020000", "approved", "00"),
    ]
    assert PAN not in client.get("/transactions").text
    assert shown[1]["meaning"] == "approved"
    assert shown[1]["received_at"].startswith("2026-11-23T10:00:00.000+08:00")
    assert len(client.get("/transactions?limit=1").json()) == 1
    one = client.get("/transactions?reference=20261123100000000001-1020000").json()
    assert [found["amount"] for found in one] == [1250]
    assert client.get("/transactions?limit=0").status_code == 422
    (advice,) = client.get("/advices").json()
    assert (advice["original"], advice["pending"]) == ("20261123100000000002-1020000", True)
    (message,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(message)))
    assert client.get("/advices?pending=true").json() == []
    assert client.get("/advices").json()[0]["answer_code"] == "00"
