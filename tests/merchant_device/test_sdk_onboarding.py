"""On-boarding from the App: the order of steps, what is repeated, what ends it, and how the acquirer is called."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from merchant_device.sdk import Application, Onboarded, PhoneError, Progress
from merchant_device.sdk.acquirer_client import MAX_ANSWER, AcquirerClient
from merchant_device.sdk.onboarding import (
    ACQUIRER_OPERATIONS,
    ASK_TRIES,
    AcquirerCall,
    Pause,
    TrustedCall,
    drive,
    onboarding,
)
from merchant_device.tee.commands import admit

TOKEN = "ab" * 32
APPLICATION = Application(
    name="王小明",
    id_number="310101199001011237",
    phone_number="13800000000",
    settlement_card="6228480000000001855",
    shop_name="王记菜摊",
    city="上海",
    category="5411",
    model="Mate 20",
    place="+31.2304,+121.4737",
    token=TOKEN,
)
ID = "A0123456789ABCDE"
WHO = {"application_id": ID, "token": TOKEN}
EVIDENCE = {"chain": ["MIIB"], "signature": "MEUC", "signals": []}
BOUND = {"terminal_id": "00000301", "merchant_id": "480254110000001", "wrapped_tmk": "00ff", "acquirer_id": "48020000"}
READY = {"terminals": [{"terminal": "00000301", "link": True, "status": "signed_on"}]}

Answer = Mapping[str, object] | PhoneError


class World:
    """Answers steps as told, the last answer again and again, and remembers them."""

    def __init__(self, **answers: list[Answer]) -> None:
        self.answers: dict[str, list[Answer]] = {
            "onboarding_apply": [{"application_id": ID, "status": "submitted", "reason": None}],
            "onboarding_status": [{"status": "submitted"}, {"status": "approved"}],
            "onboarding_challenge": [{"challenge": "00" * 32, "expires_at": 1}],
            "attest": [EVIDENCE],
            "onboarding_bind": [BOUND],
            "install": [{"terminal": "00000301"}],
            "status": [{"terminals": []}, READY],
            "download": [{"outcome": "approved"}],
            **answers,
        }
        self.steps: list[str] = []
        self.calls: dict[str, Mapping[str, object]] = {}
        self.waited = 0.0

    def ask(self, call: AcquirerCall | TrustedCall) -> Mapping[str, object]:
        name, arguments = call
        if isinstance(call, TrustedCall):
            admit(name, arguments)
        else:
            assert name in ACQUIRER_OPERATIONS
        self.steps.append(name)
        self.calls[name] = arguments
        answers = self.answers[name]
        answer = answers[0] if len(answers) == 1 else answers.pop(0)
        if isinstance(answer, PhoneError):
            raise answer
        return answer

    def wait(self, seconds: float) -> None:
        self.waited += seconds

    def play(self, **more: Any) -> Onboarded:
        return drive(onboarding(APPLICATION, "phone-1", **more), self.ask, self.ask, self.wait)


def test_a_phone_becomes_a_terminal() -> None:
    world = World()
    told: list[Progress] = []
    assert world.play(told=told.append) == Onboarded(application_id=ID, terminal="00000301", merchant="480254110000001")
    assert world.steps == [
        "onboarding_apply",
        *["onboarding_status"] * 2,
        "onboarding_challenge",
        "attest",
        "onboarding_bind",
        "install",
        *["status"] * 2,
        "download",
    ]
    assert world.calls["onboarding_apply"]["token"] == TOKEN
    assert world.calls["attest"] == {"device": "phone-1", "challenge": "00" * 32}
    assert world.calls["onboarding_bind"] == {**WHO, **EVIDENCE, "place": APPLICATION.place}
    assert world.calls["install"]["wrapped_tmk"] == "00ff"
    of_application, of_terminal = ("applied", "approved"), ("bound", "signed_on", "ready")
    assert told == [*((step, ID) for step in of_application), *((step, "00000301") for step in of_terminal)]


def test_a_failed_phone_is_replaced() -> None:
    world = World()
    world.play(terminal="00000301", place="+31.0,+121.0")
    bound = world.calls["onboarding_bind"]
    assert (bound["terminal_id"], bound["place"]) == ("00000301", "+31.0,+121.0")


@pytest.mark.parametrize(
    ("devices", "terminal"),
    [
        ([{"device_id": "phone-1", "terminal_id": "00000301", "status": "active"}], "00000301"),
        ([{"device_id": "phone-1", "terminal_id": "00000301", "status": "suspended"}], "00000301"),
        ([{"device_id": "phone-1", "terminal_id": "00000301", "status": "replaced"}], None),
        ([{"device_id": "phone-2", "terminal_id": "00000301", "status": "active"}], None),
        ([], None),
        ("none", None),
    ],
)
def test_a_phone_that_the_acquirer_knows_becomes_what_it_was(devices: object, terminal: str | None) -> None:
    """As when it died between the binding and the installation."""
    world = World(
        onboarding_apply=[{"application_id": ID, "status": "approved"}],
        onboarding_status=[{"status": "approved", "devices": devices}],
    )
    world.play()
    assert world.calls["onboarding_bind"].get("terminal_id") == terminal


@pytest.mark.parametrize(
    ("answers", "code", "said", "last"),
    [
        (
            {"onboarding_apply": [{"application_id": ID, "status": "refused", "reason": "unsupported model"}]},
            "application_refused",
            "unsupported model",
            "onboarding_apply",
        ),
        (
            {"onboarding_status": [{"status": "refused", "reason": "papers"}]},
            "application_refused",
            "papers",
            "onboarding_status",
        ),
        ({"onboarding_status": [{"status": "submitted"}]}, "review_pending", "not decided", "onboarding_status"),
        (
            {"onboarding_bind": [PhoneError("acquirer_refused", "outside the area")]},
            "acquirer_refused",
            "area",
            "onboarding_bind",
        ),
        ({"attest": [PhoneError("refused", "no such device")]}, "refused", "no such device", "attest"),
        ({"onboarding_bind": [{}]}, "acquirer_refused", "no terminal_id", "onboarding_bind"),
        ({"status": [{"terminals": []}]}, "acquirer_unreachable", "could not sign on", "status"),
        (
            {"onboarding_apply": [PhoneError("acquirer_unreachable")]},
            "acquirer_unreachable",
            "does not answer",
            "onboarding_apply",
        ),
    ],
)
def test_what_ends_it(answers: dict[str, list[Answer]], code: str, said: str, last: str) -> None:
    world = World(**answers)
    with pytest.raises(PhoneError, match=said) as refused:
        world.play(review_seconds=10)
    assert refused.value.code == code
    assert world.steps[-1] == last
    assert world.waited <= 60


def test_an_acquirer_that_does_not_answer_is_asked_again() -> None:
    lost = [PhoneError("acquirer_unreachable")] * (ASK_TRIES - 1)
    world = World(onboarding_bind=[*lost, BOUND], onboarding_challenge=[lost[0], {"challenge": "00" * 32}])
    world.play()
    assert world.steps.count("onboarding_bind") == ASK_TRIES
    assert world.steps.count("attest") == 1, "the same evidence is shown again"


def test_it_waits_between_questions() -> None:
    steps = onboarding(APPLICATION, "phone-1")
    assert isinstance(next(steps), AcquirerCall)
    assert steps.send({"application_id": ID, "status": "submitted"}) == Pause(2.0)


def test_nothing_of_the_applicant_is_told_by_repr() -> None:
    for secret in (APPLICATION.name, APPLICATION.id_number, APPLICATION.settlement_card, TOKEN):
        assert secret not in repr(APPLICATION)
    assert APPLICATION.model_copy(update={}).token == TOKEN
    fresh = {Application(**APPLICATION.model_dump(exclude={"token"})).token for _ in range(3)}
    assert len(fresh) == 3


# HTTP

Respond = Callable[[], tuple[int, bytes]]


@pytest.fixture
def acquirer() -> Iterator[tuple[ThreadingHTTPServer, list[Any], list[Respond]]]:
    seen: list[Any] = []
    respond: list[Respond] = [lambda: (200, b'{"status":"approved"}')]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            content = json.loads(body) if body else None
            seen.append((self.command, self.path, self.headers.get("authorization"), content))
            status, answer = respond[0]()
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server, seen, respond
    server.shutdown()
    server.server_close()


def test_operations_as_rest_takes_them(acquirer: Any) -> None:
    server, seen, _ = acquirer
    with AcquirerClient(f"http://127.0.0.1:{server.server_port}") as client:
        client.ask(AcquirerCall("onboarding_apply", {"name": "x", "token": TOKEN}))
        client.ask(AcquirerCall("onboarding_status", WHO))
        client.ask(AcquirerCall("onboarding_challenge", WHO))
        client.ask(AcquirerCall("onboarding_bind", {**WHO, **EVIDENCE}))
    bearer = f"Bearer {TOKEN}"
    assert seen == [
        ("POST", "/onboarding/applications", None, {"name": "x", "token": TOKEN}),
        ("GET", f"/onboarding/applications/{ID}", bearer, None),
        ("POST", f"/onboarding/applications/{ID}/challenge", bearer, {}),
        ("POST", f"/onboarding/applications/{ID}/devices", bearer, EVIDENCE),
    ]


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ((409, b'{"detail":"category is a merchant category code"}'), "acquirer_refused", "category is"),
        ((422, b'{"detail":[{"loc":["x"]}]}'), "acquirer_refused", "code 422"),
        ((401, b"nothing"), "acquirer_refused", "code 401"),
        ((503, b'{"detail":"too many"}'), "acquirer_unreachable", "503"),
        ((200, b"nothing"), "acquirer_refused", "not understood"),
        ((200, b"[]"), "acquirer_refused", "not understood"),
        ((200, b'"' + b"x" * MAX_ANSWER + b'"'), "acquirer_refused", "too long"),
    ],
)
def test_answers_that_help_nobody(acquirer: Any, answer: tuple[int, bytes], code: str, said: str) -> None:
    server, _, respond = acquirer
    respond[0] = lambda: answer
    address = f"http://127.0.0.1:{server.server_port}"
    with AcquirerClient(address) as client, pytest.raises(PhoneError, match=said) as refused:
        client.ask(AcquirerCall("onboarding_status", WHO))
    assert refused.value.code == code


def test_no_acquirer() -> None:
    with AcquirerClient("http://127.0.0.1:1") as client, pytest.raises(PhoneError, match="does not answer") as refused:
        client.ask(AcquirerCall("onboarding_status", WHO))
    assert refused.value.code == "acquirer_unreachable"
