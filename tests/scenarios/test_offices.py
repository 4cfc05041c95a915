"""Offices: what is asked is answered once, by the party or by the broken connection; REST routes fit the parties'."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from merchant_device.sdk.errors import PhoneError
from network.party import CommandError, Json
from scenarios.demo_network.processes import NetworkError
from scenarios.stage import Cast, Unreachable
from scenarios.worlds.offices import BROKEN, LiveOffice
from scenarios.worlds.virtual_world import VirtualWorld, virtual_world


@pytest.fixture
def world() -> Iterator[VirtualWorld]:
    with virtual_world(1, cast=Cast(phones=1, devices=1, cards=2)) as world:
        yield world


def asked(world: VirtualWorld, party: str, operation: str, **arguments: Json) -> list[object]:
    answers: list[object] = []
    world.offices[party].ask(operation, arguments, answers.append)
    return answers


def test_an_answer_and_a_refusal(world: VirtualWorld) -> None:
    good = asked(world, "merchant_device", "status")
    bad = asked(world, "merchant_device", "status", terminal="99999999")
    world.env.run(until=world.env.now + 1)
    assert len(good) == len(bad) == 1
    assert isinstance(good[0], dict)
    assert isinstance(bad[0], CommandError)
    assert not isinstance(bad[0], Unreachable)


def test_who_waits_for_a_party_that_crashes_is_told_so_once(world: VirtualWorld) -> None:
    office = world.offices["merchant_device"]
    waiting = asked(world, "merchant_device", "sale", terminal="00000001", amount=100)
    world.env.run(until=world.env.now + 0.1)
    assert waiting == []
    office.crash()
    office.crash()
    assert [str(one) for one in waiting] == [BROKEN]
    assert isinstance(waiting[0], Unreachable)
    down = asked(world, "merchant_device", "status")
    assert [type(one) for one in down] == [Unreachable]
    office.restart()
    up = asked(world, "merchant_device", "status")
    world.env.run(until=world.env.now + 90)
    assert len(waiting) == len(down) == len(up) == 1
    assert isinstance(up[0], dict)


def test_who_is_answered_may_ask_again_at_once(world: VirtualWorld) -> None:
    answers: list[object] = []

    def again(answer: object) -> None:
        answers.append(answer)
        world.offices["acquirer"].ask("onboarding_status", {}, answers.append)

    world.offices["acquirer"].ask("onboarding_status", {}, again)
    world.env.run(until=world.env.now + 1)
    assert [type(one) for one in answers] == [CommandError, CommandError]


class Recorder:
    """A running network that answers what it is told to, and remembers what it was asked."""

    description: dict[str, dict[str, str]] = {"acquirer": {"api": "http://127.0.0.1:1"}}  # noqa: RUF012
    tls = None

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, dict[str, Json]]] = []
        self.error: Exception | None = None

    def request(self, party: str, method: str, path: str, content: dict[str, Json], *, timeout: float) -> Json:
        self.asked.append((party, method, path, content))
        if self.error is not None:
            raise self.error
        return {"done": True}


def answer_of(network: Recorder, party: str, operation: str, arguments: dict[str, Json], **client: Any) -> object:
    async def ask() -> object:
        office = LiveOffice(network, party)  # type: ignore[arg-type]
        for name, value in client.items():
            setattr(office._client, name, value)
        answered = asyncio.get_running_loop().create_future()
        office.ask(operation, arguments, answered.set_result)
        async with asyncio.timeout(10):
            return await answered

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("party", "operation", "arguments", "asked"),
    [
        ("issuer", "provision_token", {"pan": "62"}, ("POST", "/tokens", {"pan": "62"})),
        ("issuer", "payments", {"limit": 3}, ("POST", "/wallet/payments", {"limit": 3})),
        (
            "acquirer",
            "onboarding_review",
            {"application_id": "A1", "approve": True},
            ("POST", "/applications/A1/approve", {}),
        ),
        (
            "acquirer",
            "onboarding_review",
            {"application_id": "A1", "approve": False, "reason": "no"},
            ("POST", "/applications/A1/refuse", {"reason": "no"}),
        ),
        ("acquirer", "device_reactivate", {"device_id": "D1"}, ("POST", "/devices/D1/reactivate", {})),
        ("acquirer", "device_kill", {"device_id": "D1", "reason": "x"}, ("POST", "/devices/D1/kill", {"reason": "x"})),
    ],
)
def test_operations_go_to_their_routes(
    party: str, operation: str, arguments: dict[str, Json], asked: tuple[str, str, dict[str, Json]]
) -> None:
    network = Recorder()
    given = dict(arguments)
    assert answer_of(network, party, operation, arguments) == {"done": True}
    assert network.asked == [(party, *asked)]
    assert arguments == given, "what was asked is the caller's"


def test_what_goes_wrong_over_rest_is_an_error_like_any_other() -> None:
    network = Recorder()
    network.error = NetworkError("issuer answered 409: the token is suspended")
    answer = answer_of(network, "issuer", "payments", {})
    assert isinstance(answer, CommandError)
    assert "suspended" in str(answer)


@pytest.mark.parametrize(("code", "kind"), [("acquirer_unreachable", Unreachable), ("acquirer_refused", CommandError)])
def test_applicants_ask_as_their_app_does(code: str, kind: type[CommandError]) -> None:
    calls: list[object] = []

    def ask(call: object) -> Json:
        calls.append(call)
        raise PhoneError(code, "so it is")

    network = Recorder()
    answer = answer_of(network, "acquirer", "onboarding_status", {"application_id": "A1"}, ask=ask)
    assert type(answer) is kind
    assert str(answer) == "so it is"
    assert len(calls) == 1
    assert network.asked == [], "no operator's token goes along with what an applicant asks"
