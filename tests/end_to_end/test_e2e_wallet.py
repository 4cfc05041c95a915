"""A payer's phone, its issuer and the switch over bad wires: tokens, codes, and an issuer that dies at any moment."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
import sqlalchemy as sa

from issuer.payer_phone import PayerPhone
from issuer.token_tables import Question
from issuer.token_tables import Token as IssuedToken
from network.keys import SecurityModule
from network.party import CommandError, Json
from network.store import Row
from scenarios.demo_network.members import ISSUER_ID
from scenarios.stage import Card
from scenarios.worlds.virtual_world import VirtualWorld, virtual_world
from switch.tables import Token as SwitchToken

LINK = f"issuer:{ISSUER_ID}"
PATIENCE = 120.0


@pytest.fixture
def world() -> Iterator[VirtualWorld]:
    with virtual_world(11, phones=1, cards=1) as world:
        yield world


def ask(world: VirtualWorld, name: str, arguments: dict[str, Json], limit: float = PATIENCE) -> Json | CommandError:
    """The issuer's answer to a command; None when none came in time."""
    got: list[Json | CommandError] = []
    world.nodes["issuer"].command(name, arguments, got.append)
    world.run_until(lambda: bool(got), limit)
    return got[0] if got else None


def new_phone(world: VirtualWorld) -> PayerPhone:
    return PayerPhone(SecurityModule(bytes(range(32)), Random(1)), lambda: world.network.now)


def provisioning(world: VirtualWorld, phone: PayerPhone) -> dict[str, Json]:
    return {"pan": world.data.wallet[0].pan, "domains": ["code"], "wallet_public_key": phone.public_key}


def installed(world: VirtualWorld, phone: PayerPhone) -> None:
    """Ask until there is a token, as an App does."""
    for _ in range(20):
        answer = ask(world, "provision_token", provisioning(world, phone))
        if isinstance(answer, dict):
            phone.install(answer)
            return
        world.run_until(lambda: False, 5)
    raise AssertionError("no token was made")


def statuses(world: VirtualWorld, party: str, row: type[Row]) -> list[str]:
    store = world.stores[party]
    with store.read() as connection:
        return list(connection.execute(sa.select(store.tables[row].c.status)).scalars())


def is_quiet(world: VirtualWorld) -> bool:
    return "pending" not in statuses(world, "issuer", Question)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{}, {"loss": 0.3}, {"duplication": 0.5, "reordering": 0.5}, {"corruption": 0.3}])
def test_tokens_over_bad_wires(world: VirtualWorld, fault: dict[str, float]) -> None:
    phone = new_phone(world)
    world.network.set_wire(world.nodes["switch"], LINK, **fault)
    installed(world, phone)
    for name in ("suspend_token", "resume_token", "suspend_token", "resume_token", "suspend_token"):
        assert isinstance(ask(world, name, {"token": phone.token}), dict)
    assert world.run_until(lambda: is_quiet(world), 3_600)
    assert statuses(world, "issuer", IssuedToken) == ["suspended"]
    assert statuses(world, "switch", SwitchToken) == ["suspended"], "both parties know the last word"
    assert isinstance(ask(world, "resume_token", {"token": phone.token}), dict)
    assert world.run_until(lambda: is_quiet(world), 3_600)
    assert statuses(world, "switch", SwitchToken) == ["active"]
    for _ in range(20):
        phone.confirm()
        answer = ask(world, "request_code", phone.signed("request_code"))
        if isinstance(answer, dict):
            break
        world.run_until(lambda: False, 5)
    else:
        raise AssertionError("no code was made")
    assert str(answer["code"]).startswith("62")


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.0005, 0.001, 0.002, 0.004, 0.006, 0.01])
def test_an_issuer_that_dies_while_a_token_is_made(world: VirtualWorld, after: float) -> None:
    phone = new_phone(world)
    issuer = world.nodes["issuer"]
    issuer.command("provision_token", provisioning(world, phone), lambda _: None)
    if after:
        world.env.run(until=world.env.now + after)
    issuer.crash()
    world.run_until(lambda: False, 2)
    issuer.restart()
    installed(world, phone)
    assert world.run_until(lambda: is_quiet(world), 600)
    assert statuses(world, "issuer", IssuedToken) == ["active"]
    assert statuses(world, "switch", SwitchToken) == ["active"], "one token, not two"


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0005, 0.002, 0.004, 0.01])
def test_an_issuer_that_dies_while_a_phone_is_reported_lost(world: VirtualWorld, after: float) -> None:
    phone = new_phone(world)
    installed(world, phone)
    issuer = world.nodes["issuer"]
    got: list[Json | CommandError] = []
    issuer.command("suspend_token", {"token": phone.token}, got.append)
    world.env.run(until=world.env.now + after)
    issuer.crash()
    world.run_until(lambda: False, 2)
    issuer.restart()
    assert world.run_until(lambda: issuer.party.session.ready, 60)  # type: ignore[attr-defined]
    if statuses(world, "issuer", IssuedToken) != ["suspended"]:
        assert got == [], "who was told that it is done can rely on it"
        ask(world, "suspend_token", {"token": phone.token})
    assert world.run_until(lambda: is_quiet(world), 600)
    assert statuses(world, "switch", SwitchToken) == ["suspended"]


def test_a_phone_is_tapped_on_a_merchants_phone(world: VirtualWorld) -> None:
    """Through all four parties: see phone, confirmed, paid by token, and stopped when the phone is lost."""
    phone = new_phone(world)
    answer = ask(world, "provision_token", {**provisioning(world, phone), "domains": ["contactless"]})
    assert isinstance(answer, dict)
    phone.install(answer)
    stage = world.stage(60.0, 1)
    shopper = Card(phone, "", "payer")

    def pay(fen: int) -> tuple[Json, Json]:
        paying = stage.phones[0].collect(fen, shopper)
        world.run_until(lambda: False, 2)
        assert not paying.processed, "this merchant wants every payer verified: the phone says see phone"
        phone.confirm()
        assert world.run_until(lambda: bool(paying.processed), 90)
        return paying.value["outcome"], paying.value["response_code"]

    before = world.party_books()
    assert pay(8_88) == ("approved", "00")
    assert pay(2_000_00) == ("approved", "00"), "verified on the phone: no PIN at any amount"
    ask(world, "suspend_token", {"token": phone.token})
    assert pay(1_00) == ("declined", "62")
    assert world.run_until(world.is_settled, 300)
    books = world.books(before)
    assert (books.agree, books.positions["issuer: owed to the network"]) == (True, 2_008_88)
    payments = ask(world, "payments", phone.signed("payments"))
    assert isinstance(payments, dict)
    assert [(one["amount"], one["status"]) for one in payments["payments"]] == [
        (2_000_00, "approved"),
        (8_88, "approved"),
    ]
