"""Risk sensing: what fires, what it leads to, what is kept of it, and what a lost turn leaves."""

from __future__ import annotations

import asyncio
import concurrent.futures
from datetime import datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from switch_world import PAN, World

from network.iso8583.additional_data import AdditionalDataError, decode_objects, encode_objects
from network.party import CHINA_STANDARD_TIME, SECOND, Command, CommandError, instant_of
from network.rest import Service, application
from network.store import sqlite_url
from switch import risk_counters
from switch.api import routes
from switch.configuration import Configuration
from switch.risk import RiskSensing, read_device
from switch.risk_counters import SLOTS, LastPlaces, Place, WindowCounter
from switch.risk_rules import RiskRules, default_rules
from switch.service_api import service_routes
from switch.tables import BlockedDevice

SHANGHAI, BEIJING = "+31.2304,+121.4737", "+39.9042,+116.4074"
CDCVM = bytes.fromhex("9F3403010002")


def rule(kind: str, points: int = 80, name: str = "the rule", **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "points": points} | more


def rules(*some: dict[str, Any]) -> dict[str, Any]:
    return {"step_up": 50, "decline": 80, "block_device": 150, "rules": list(some)}


def phone_sale(
    world: World,
    stan: int,
    amount: int = 1250,
    *,
    device: str = "phone-1",
    place: str | None = None,
    attested: str | None = "1",
    age: str = "1",
    **changes: Any,
) -> bytes:
    about = {"01": "11", "02": device} | ({} if place is None else {"03": place})
    objects: dict[str, Any] = {"A2": about}
    if attested is not None:
        objects["A4"] = {"01": attested, "02": age}
    return world.acquirer.sale(stan, amount, **{"pin": None, "de59": encode_objects(objects)} | changes)


def outcome(world: World, body: bytes) -> tuple[object, str | None]:
    """DE39 and the rules that the acquirer is told; the issuer approves what reaches it."""
    world.exchange((world.acquirer, body))
    world.exchange(*((world.issuer, world.issuer.answer(request)) for request in world.taken(world.issuer)))
    (reply,) = world.taken(world.acquirer)
    objects = decode_objects(reply.text(59)) if 59 in reply else {}
    assert set(objects) <= {"R1"}
    return reply[39], objects.get("R1")


@pytest.fixture
def ruled(world: World) -> Any:
    """A function that puts rules in force."""

    def put(*some: dict[str, Any]) -> World:
        answer = world.command("set_risk_rules", rules=rules(*some))
        assert not isinstance(answer, CommandError), answer
        return world

    return put


@pytest.mark.parametrize(
    ("points", "pin", "chip", "expected"),
    [
        (49, None, None, "00"),
        (50, None, None, "55"),
        (79, None, None, "55"),
        (79, "135790", None, "00"),
        (79, None, CDCVM, "00"),
        (79, None, bytes.fromhex("9F34031F0302"), "55"),
        (79, None, b"\x9f", "55"),
        (80, "135790", CDCVM, "59"),
        (149, None, None, "59"),
    ],
)
def test_the_score_decides(ruled: Any, points: int, pin: str | None, chip: bytes | None, expected: str) -> None:
    world = ruled(rule("amount", points, above=1000))
    assert outcome(world, phone_sale(world, 1, 1000)) == ("00", None)
    assert outcome(world, phone_sale(world, 2, 1001, pin=pin, de55=chip)) == (expected, "the rule")
    (_, row) = world.transactions()
    assert (row.risk_score, row.risk_rules, row.response_code) == (points, "the rule", expected)
    assert row.status == ("approved" if expected == "00" else "refused")
    # a copy is told the same
    reply = world.ask(world.acquirer, phone_sale(world, 2, 1001, pin=pin, de55=chip))
    assert (reply[39], reply[59]) == (expected, "R1008the rule")


def test_points_add_up_and_every_reason_is_named(ruled: Any) -> None:
    world = ruled(*(rule("amount", 30, name, above=0) for name in ("one", "two", "three")))
    assert outcome(world, phone_sale(world, 1)) == ("59", "one,two,three")
    assert world.transactions()[0].risk_score == 90


def test_reasons_have_room(ruled: Any) -> None:
    names = [f"a rule with a rather long name, no. {n:03d}".replace(",", "") for n in range(64)]
    world = ruled(*(rule("amount", 1, name, above=0) for name in names))
    code, told = outcome(world, phone_sale(world, 1))
    assert (code, told is not None and len(told) <= 400) == ("55", True)


def test_a_device_is_blocked_and_unblocked(ruled: Any) -> None:
    world = ruled(rule("attestation", 150, state="failed"))
    assert outcome(world, phone_sale(world, 1, attested="0")) == ("59", "the rule")
    # whatever it says of itself from now on, also after a restart
    assert outcome(world, phone_sale(world, 2)) == ("59", "device blocked")
    world.crash()
    world.sign_on()
    assert outcome(world, phone_sale(world, 3)) == ("59", "device blocked")
    assert outcome(world, phone_sale(world, 4, device="phone-2")) == ("00", None)
    assert outcome(world, world.acquirer.sale(5, pin=None)) == ("00", None)
    named: dict[str, Any] = {"acquirer": world.acquirer.member_id, "device_id": "phone-1"}
    assert world.command("unblock_device", **named) == named | {"blocked": False}
    assert outcome(world, phone_sale(world, 6)) == ("00", None)
    assert isinstance(world.command("unblock_device", **named), CommandError)
    world.command("block_device", **named)
    assert outcome(world, phone_sale(world, 7)) == ("59", "device blocked")
    for wrong in ("", "x" * 41, "a\nb"):
        assert isinstance(world.command("block_device", **named | {"device_id": wrong}), CommandError)
    for wrong in ("", "99999999", "1" * 40, "0102000\0", "phone-1"):
        assert isinstance(world.command("block_device", **named | {"acquirer": wrong}), CommandError)


@pytest.mark.parametrize(
    ("kind", "more"),
    [("attestation", {"state": "failed"}), ("velocity", {"over": "device", "above": 1, "seconds": 60})],
)
def test_no_acquirer_has_the_device_of_another_blocked(tmp_path: Path, kind: str, more: dict[str, Any]) -> None:
    """Every acquirer names its own devices: a name that two of them use is two devices."""
    world = World(sqlite_url(tmp_path / "switch.db"), risk=rules(rule(kind, 150, **more)))
    other = world.member("01030000", "member:2")
    world.sign_on()
    content = encode_objects({"A2": {"01": "11", "02": "phone-1"}, "A4": {"01": "0", "02": "1"}})
    for stan in (1, 2):
        world.exchange((other, other.sale(stan, pin=None, de59=content)))
    assert outcome(world, phone_sale(world, 1)) == ("00", None)
    (row,) = world.rows(BlockedDevice)
    assert (row.acquirer, row.device_id) == ("01030000", "phone-1")
    world.store.close()


def test_a_sale_without_a_device_blocks_none(ruled: Any) -> None:
    world = ruled(rule("amount", 500, above=0))
    assert outcome(world, world.acquirer.sale(1)) == ("59", "the rule")
    assert outcome(world, world.acquirer.sale(2, de59=encode_objects({"A2": {"01": "11"}}))) == ("59", "the rule")


@pytest.mark.parametrize(
    ("over", "same"),
    [("device", {}), ("merchant", {"device": "other"}), ("card", {"device": "other"}), ("place", {"device": "other"})],
)
@pytest.mark.parametrize(("measure", "above"), [("count", 3), ("amount", 3750)])
def test_velocity(ruled: Any, over: str, same: dict[str, str], measure: str, above: int) -> None:
    world = ruled(rule("velocity", over=over, measure=measure, above=above, seconds=64))
    for stan in (1, 2, 3):
        assert outcome(world, phone_sale(world, stan, place=SHANGHAI, **same))[0] == "00"
        world.now += 10 * SECOND
    assert outcome(world, phone_sale(world, 4, place=SHANGHAI, **same))[0] == "59"
    # 64 seconds after the first it is forgotten, and so is the second ten seconds later
    world.now += 34 * SECOND + SECOND
    assert outcome(world, phone_sale(world, 5, place=SHANGHAI, **same))[0] == "59"
    world.now += 64 * SECOND
    assert outcome(world, phone_sale(world, 6, place=SHANGHAI, **same))[0] == "00"


@pytest.mark.parametrize(
    ("over", "changes"),
    [
        ("device", {"device": "another"}),
        ("merchant", {"de42": "M00000000000002"}),
        ("card", {"pan": "6212345678901240"}),
        ("place", {"place": BEIJING}),
        ("place", {"place": None}),
        ("place", {"place": "somewhere"}),
        ("place", {"place": "nan,nan"}),
        ("place", {"place": "+91,+0"}),
    ],
)
def test_others_are_not_counted(ruled: Any, over: str, changes: dict[str, Any]) -> None:
    world = ruled(rule("velocity", over=over, above=1, seconds=60))
    assert outcome(world, phone_sale(world, 1, place=SHANGHAI))[0] == "00"
    assert outcome(world, phone_sale(world, 2, **{"place": SHANGHAI} | changes))[0] == "00"
    assert outcome(world, phone_sale(world, 3, place=SHANGHAI))[0] == "59"


def test_a_token_and_its_card_are_counted_apart(ruled: Any) -> None:
    world = ruled(rule("velocity", over="card", above=1, seconds=60))
    token = world.token()
    assert outcome(world, phone_sale(world, 1))[0] == "00"
    assert outcome(world, phone_sale(world, 2, pan=token))[0] == "00"
    assert outcome(world, phone_sale(world, 3, pan=token))[0] == "59"


@pytest.mark.parametrize(("over", "other"), [("device", {"pan": "6212345678901240"}), ("card", {"device": "another"})])
@pytest.mark.parametrize(("minutes", "code"), [(60, "59"), (150, "00")])
def test_impossible_travel(ruled: Any, over: str, other: dict[str, str], minutes: int, code: str) -> None:
    """Shanghai to Beijing, 1067 km."""
    world = ruled(rule("travel", over=over, kilometres_an_hour=900))
    assert outcome(world, phone_sale(world, 1, place=SHANGHAI))[0] == "00"
    world.now += minutes * 60 * SECOND
    assert outcome(world, phone_sale(world, 2, place=BEIJING, **other))[0] == code
    # it is there now
    assert outcome(world, phone_sale(world, 3, place=BEIJING, **other))[0] == "00"


def test_a_short_way_is_no_travel(ruled: Any) -> None:
    world = ruled(rule("travel", over="device", kilometres_an_hour=900))
    assert outcome(world, phone_sale(world, 1, place="+31.0,+121.0"))[0] == "00"
    assert outcome(world, phone_sale(world, 2, place="+31.4,+121.0"))[0] == "00"
    assert outcome(world, phone_sale(world, 3, place="+32.0,+121.0"))[0] == "59"


@pytest.mark.parametrize(
    ("state", "attested", "age", "fires"),
    [
        ("failed", "0", "1", True),
        ("failed", "1", "1", False),
        ("failed", None, "1", False),
        ("missing", None, "1", True),
        ("missing", "0", "1", False),
        ("old", "1", "301", True),
        ("old", "1", "300", False),
        ("old", "0", "999", False),
    ],
)
def test_attestation(ruled: Any, state: str, attested: str | None, age: str, fires: bool) -> None:
    world = ruled(rule("attestation", state=state, terminals="phone"))
    assert outcome(world, phone_sale(world, 1, attested=attested, age=age))[0] == ("59" if fires else "00")


@pytest.mark.parametrize(
    ("begins", "ends", "hour", "fires"),
    [(0, 5, 4, True), (0, 5, 5, False), (22, 6, 23, True), (22, 6, 5, True), (22, 6, 6, False), (22, 6, 12, False)],
)
def test_hours(ruled: Any, begins: int, ends: int, hour: int, fires: bool) -> None:
    world = ruled(rule("hour", begins=begins, ends=ends))
    world.now = instant_of(datetime(2026, 11, 23, hour, 59, tzinfo=CHINA_STANDARD_TIME))
    assert outcome(world, phone_sale(world, 1))[0] == ("59" if fires else "00")


@pytest.mark.parametrize(
    ("condition", "changes", "fires"),
    [
        ({"terminals": "phone"}, {}, True),
        ({"terminals": "phone"}, {"de59": encode_objects({"A2": {"01": "04", "02": "pos-1"}})}, False),
        ({"terminals": "phone"}, {"de59": None}, False),
        ({"terminals": "device"}, {"de59": encode_objects({"A2": {"01": "04", "02": "pos-1"}})}, True),
        ({"terminals": "device"}, {"de59": None}, False),
        ({"terminals": "any"}, {"de59": None}, True),
        ({"entry_modes": ["07"]}, {}, True),
        ({"entry_modes": ["02", "03"]}, {}, False),
        ({"amount_from": 1250}, {}, True),
        ({"amount_from": 1251}, {}, False),
    ],
)
def test_what_a_rule_looks_at(ruled: Any, condition: dict[str, Any], changes: dict[str, Any], fires: bool) -> None:
    world = ruled(rule("amount", above=0, **condition))
    assert outcome(world, phone_sale(world, 1, **changes))[0] == ("59" if fires else "00")


def test_a_code_of_an_order_needs_no_step_up_and_another_does(ruled: Any) -> None:
    world = ruled(rule("amount", 50, above=0))
    token = world.token()
    assert outcome(world, world.acquirer.code_sale(1, world.code(token, 5)))[0] == "55"
    order = "01020000000000000007"
    body = world.issuer.administrative(6, "940000", de4="000000001250", de102=order, de103=token)
    world.exchange((world.issuer, body))
    (claim,) = world.taken(world.acquirer)
    world.exchange((world.acquirer, world.acquirer.answer(claim)))
    world.taken(world.issuer)
    more = encode_objects({"A5": {"01": order}})
    assert outcome(world, world.acquirer.code_sale(2, claim.text(103), more=more)) == ("00", "the rule")


def test_only_new_requests_are_weighed(ruled: Any) -> None:
    world = ruled(rule("velocity", over="device", above=2, seconds=60))
    for _ in range(5):
        assert outcome(world, phone_sale(world, 1))[0] == "00"
    world.command("suspend_member", member_id=world.issuer.member_id)
    assert world.ask(world.acquirer, phone_sale(world, 2))[39] == "91"
    world.command("resume_member", member_id=world.issuer.member_id)
    assert outcome(world, phone_sale(world, 3))[0] == "00"
    assert outcome(world, phone_sale(world, 4))[0] == "59"
    # goods that are gone are not weighed
    device = encode_objects({"A2": {"01": "11", "02": "phone-1"}})
    world.exchange((world.acquirer, world.acquirer.offline_sale(5, de59=device)))
    assert len(world.taken(world.issuer)) == 1


def test_a_lost_turn_counts_nothing(ruled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ruled(
        rule("velocity", 80, "many", over="device", above=2, seconds=600),
        rule("travel", 80, "far", over="device", kilometres_an_hour=900),
    )
    assert outcome(world, phone_sale(world, 1, place=SHANGHAI))[0] == "00"
    with monkeypatch.context() as patch:
        patch.setattr(world.unit, "commit", lambda: 1 // 0)
        for stan in range(10, 14):
            assert world.turn((world.acquirer, phone_sale(world, stan, place=BEIJING))) == []
    assert len(world.failures) == 4
    world.failures.clear()
    world.now += 60 * SECOND
    assert outcome(world, phone_sale(world, 2, place=SHANGHAI)) == ("00", None)
    assert outcome(world, phone_sale(world, 3, place=SHANGHAI)) == ("59", "many")


def test_a_block_that_was_not_committed_is_none(ruled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ruled(rule("attestation", 150, state="failed"))
    with monkeypatch.context() as patch:
        patch.setattr(world.unit, "commit", lambda: 1 // 0)
        world.turn((world.acquirer, phone_sale(world, 1, attested="0")))
    world.failures.clear()
    assert outcome(world, phone_sale(world, 2)) == ("00", None)


def test_rules_that_were_not_committed_are_not_in_force(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.unit, "commit", lambda: 1 // 0)
        assert isinstance(world.command("set_risk_rules", rules=rules(rule("amount", above=0))), CommandError)
    world.failures.clear()
    assert outcome(world, phone_sale(world, 1)) == ("00", None)
    assert world.switch.risk.rules == default_rules()


def test_rules_survive_a_restart(ruled: Any) -> None:
    world = ruled(rule("amount", above=0))
    world.crash()
    world.sign_on()
    assert outcome(world, phone_sale(world, 1)) == ("59", "the rule")


def test_rules_of_the_configuration(tmp_path: Path) -> None:
    world = World(sqlite_url(tmp_path / "switch.db"), risk=rules(rule("amount", above=1000)))
    world.sign_on()
    assert outcome(world, phone_sale(world, 1)) == ("59", "the rule")


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [rule("amount", above=0), rule("hour", begins=1, ends=2)]},
        {"rules": [rule("amount", above=-1)]},
        {"rules": [rule("amount")]},
        {"rules": [rule("weather")]},
        {"rules": [rule("amount", name="a,b", above=1)]},
        {"rules": [rule("amount", 0, above=1)]},
        {"rules": [rule("hour", begins=24, ends=1)]},
        {"rules": [rule("velocity", over="device", above=1, seconds=0)]},
        {"rules": [rule("velocity", over="weather", above=1, seconds=1)]},
        {"rules": [rule("amount", name=f"rule {n}", above=1) for n in range(65)]},
        {"rules": [rule("amount", above=1, terminals="pigeon")]},
        {"step_up": 90},
        {"decline": 151},
        {"sum": 1},
    ],
)
def test_rules_that_cannot_be(world: World, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RiskRules.model_validate(rules() | wrong)
    answer = world.command("set_risk_rules", rules=rules() | wrong)
    assert isinstance(answer, CommandError)
    assert str(answer)
    assert world.switch.risk.rules == default_rules()


def test_the_default_rules_leave_load_alone(world: World) -> None:
    """Conventional terminals at any rate, and a phone that sells every second."""
    for turn in range(20):
        bodies = [world.acquirer.sale(100 * turn + n, pin=None) for n in range(100)]
        world.exchange(*((world.acquirer, body) for body in bodies))
        world.now += SECOND // 100
    assert len(world.taken(world.issuer)) == 2000
    for stan in range(5000, 5060):
        assert outcome(world, phone_sale(world, stan, 100, place=SHANGHAI)) == ("00", None)
        world.now += SECOND


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"attested": "0"}, ("59", "attestation failed")),
        ({"attested": None}, ("00", "attestation missing")),
        ({"age": "901"}, ("00", "attestation old")),
        ({"amount": 500_000_001}, ("55", "very large amount")),
        ({"amount": 1_000_000_001}, ("55", "device turnover,very large amount")),
        ({"amount": 500_000_001, "age": "901"}, ("59", "attestation old,very large amount")),
        ({"amount": 500_000_001, "de59": None}, ("55", "very large amount")),
        ({"amount": 500_000_001, "de59": None, "pin": "135790"}, ("00", "very large amount")),
    ],
)
def test_the_default_rules(world: World, changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert outcome(world, phone_sale(world, 1, **changes)) == expected


def test_a_phone_that_jumps_is_declined_and_with_a_bad_attestation_blocked(world: World) -> None:
    assert outcome(world, phone_sale(world, 1, place=SHANGHAI)) == ("00", None)
    jumped = outcome(world, phone_sale(world, 2, place=BEIJING))
    assert jumped == ("59", "device impossible travel,card impossible travel")
    assert outcome(world, phone_sale(world, 3, place=SHANGHAI, attested="0"))[0] == "59"
    assert outcome(world, phone_sale(world, 4, place=SHANGHAI)) == ("59", "device blocked")


@pytest.mark.parametrize(
    "objects",
    [
        {"A2": {"02": "x" * 41}},
        {"A2": {"02": "a\nb"}},
        {"A4": {"01": "2"}},
        {"A4": {"01": "1", "02": "1.5"}},
        {"A4": {"01": "1", "02": "1" * 10}},
        {"A2": "x"},
    ],
)
def test_a_malformed_device_is_an_error(objects: dict[str, Any]) -> None:
    with pytest.raises(AdditionalDataError):
        read_device(decode_objects(encode_objects(objects)))


@given(st.text(max_size=60))
def test_any_place_is_a_place_or_none(text: str) -> None:
    try:
        device = read_device({"A2": encode_objects({"03": text})})
    except AdditionalDataError:
        return
    assert device.place is None or abs(device.place.latitude) <= 90


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 100), st.sampled_from("ab"), st.booleans()), max_size=80),
    st.integers(1, 128),
)
def test_a_window_is_a_sum_over_what_lies_in_it(sales: list[tuple[int, int, str, bool]], seconds: int) -> None:
    """Against the plain sum; some turns are rolled back."""
    counter, now, kept = WindowCounter(seconds), 10**15, []
    slot = seconds * SECOND // SLOTS
    for pause, amount, key, committed in sales:
        now += pause * SECOND
        counter.begin()
        found = counter.add(key, now, amount)
        inside = [a for t, a, k in kept if k == key and t // slot > now // slot - SLOTS] + [amount]
        assert found == (len(inside), sum(inside))
        if committed:
            kept.append((now, amount, key))
        else:
            counter.rolled_back()


def test_counters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(risk_counters, "MOST_KEYS", 100)
    counter, last = WindowCounter(3600), LastPlaces()
    for n in range(1000):
        counter.begin()
        last.begin()
        counter.add("used", 10**15 + n, 1)
        counter.add(n, 10**15 + n, 1)
        last.move(n, 10**15 + n, Place(0, 0))
    assert len(counter) <= 100
    assert len(last) <= 100
    # who is used is not forgotten, and one key has so many entries at most
    assert counter.add("used", 10**15 + 1000, 1)[0] == 1001
    random = Random(1)
    busy = WindowCounter(64)
    for n in range(10_000):
        busy.add("a", 10**15 + n * 50_000 + random.randrange(50_000), 1)
    assert len(busy._windows["a"].entries) <= SLOTS
    # keys whose window is over make room by and by
    idle = WindowCounter(1)
    for n in range(1000):
        idle.add(n, 10**15 + n * SECOND, 1)
    assert len(idle) < 10


def test_the_distance_is_that_on_a_sphere() -> None:
    """Shanghai to Beijing; half way round the equator."""
    assert Place(31.2304, 121.4737).kilometres_to(Place(39.9042, 116.4074)) == pytest.approx(1067, abs=2)
    assert Place(0, 0).kilometres_to(Place(0, 180)) == pytest.approx(20015, abs=1)
    assert Place(10, 20).kilometres_to(Place(10, 20)) == 0


class Client:
    """HTTP requests to the switch's REST application."""

    def __init__(self, world: World) -> None:
        def ask(name: str, arguments: dict[str, Any]) -> concurrent.futures.Future[object]:
            future: concurrent.futures.Future[object] = concurrent.futures.Future()
            answer = world.command(name, **arguments)
            if isinstance(answer, CommandError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
            return future

        service = Service("switch", world.store, world.module, "word", ask, SimpleNamespace())  # type: ignore[arg-type]
        self._app = application(service, [routes, service_routes])

    def __call__(self, method: str, path: str, token: str = "word", content: Any = None) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://switch") as client:
                headers = {"Authorization": f"Bearer {token}"}
                return await client.request(method, path, headers=headers, json=content)

        return asyncio.run(send())


ROUTES = [
    ("GET", "/tokens"),
    ("GET", "/codes"),
    ("GET", "/risk/rules"),
    ("PUT", "/risk/rules"),
    ("GET", "/risk/decisions"),
    ("GET", "/risk/devices"),
    ("POST", "/risk/devices/01020000/x/block"),
    ("POST", "/risk/devices/01020000/x/unblock"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_the_operators_token(world: World, method: str, path: str) -> None:
    assert Client(world)(method, path, "guess").status_code == 401


def test_rules_and_decisions_over_rest(world: World) -> None:
    client = Client(world)
    assert client("GET", "/risk/rules").json() == default_rules().model_dump(mode="json")
    new = rules(rule("amount", 150, above=1000))
    assert client("PUT", "/risk/rules", content=new).status_code == 200
    assert client("GET", "/risk/rules").json()["rules"][0]["above"] == 1000
    assert client("PUT", "/risk/rules", content=new | {"decline": 1}).status_code == 422
    assert outcome(world, phone_sale(world, 1))[0] == "59"
    (decision,) = client("GET", "/risk/decisions").json()
    assert (decision["score"], decision["rules"], decision["response_code"]) == (150, ["the rule"], "59")
    (device,) = client("GET", "/risk/devices").json()
    assert (device["acquirer"], device["device_id"], device["blocked"]) == ("01020000", "phone-1", True)
    assert device["reason"] == "the rule"
    assert client("POST", "/risk/devices/01020000/phone-1/unblock").status_code == 200
    assert client("POST", "/risk/devices/01020000/phone-1/unblock").status_code == 409
    assert client("POST", "/risk/devices/0102000x/phone-1/block").status_code == 422
    named = {"acquirer": "01020000", "device_id": "phone-1"}
    assert client("POST", "/risk/devices/01020000/phone-1/block").json() == named | {"blocked": True}
    assert client("GET", "/risk/devices").json()[0]["reason"] == "operator"


def test_tokens_and_codes_over_rest(world: World) -> None:
    client = Client(world)
    token = world.token()
    used = world.code(token, 5)
    world.code(token, 6)
    world.exchange((world.acquirer, world.acquirer.code_sale(1, used)))
    (shown,) = client("GET", "/tokens").json()
    assert shown["masked"] == f"{token[:6]}******{token[-4:]}"
    assert (shown["status"], shown["domains"]) == ("active", ["contactless", "code"])
    assert client("GET", "/tokens?issuer=01020000").json() == []
    everything = "".join(client("GET", path).text for path in ("/tokens", "/codes", "/transactions"))
    assert not any(secret in everything for secret in (PAN, token, used))
    assert client("GET", "/codes").json() == {"codes": 2, "used": 1, "for_orders": 0, "claims": []}


def test_a_sale_is_weighed_without_a_query(world: World) -> None:
    """A plain sale asks the store for nothing more than it did."""
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    before = world.unit.single_loads
    world.exchange(*((world.acquirer, world.acquirer.sale(stan)) for stan in range(2, 50)))
    assert world.unit.single_loads == before


def test_a_plain_sale_is_weighed_by_one_rule() -> None:
    checks = RiskSensing(Configuration())._for_any
    assert [check.name for check in checks] == ["very large amount"]


def test_rules_that_were_not_committed_leave_what_was_counted(ruled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world = ruled(rule("velocity", over="device", above=1, seconds=60))
    assert outcome(world, phone_sale(world, 1)) == ("00", None)

    def refuse() -> None:
        raise ValueError("refused")

    monkeypatch.setattr(world.unit, "commit", refuse)
    world.turn(commands=[Command("set_risk_rules", {"rules": rules(rule("amount", 30, above=0))}, 99)])
    monkeypatch.undo()
    assert len(world.failures) == 1
    world.failures.clear()
    assert outcome(world, phone_sale(world, 2)) == ("59", "the rule")
