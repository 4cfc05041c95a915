"""The phone's screen: what it shows, what presses become, and who may look."""

from __future__ import annotations

import io
import json
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import zxingcpp
from PIL import Image

from merchant_device.tee.page_server import draw_code, page_application
from merchant_device.tee.screen import Screen
from network.rest import RestThread

sys.path.insert(0, str(Path(__file__).parents[1] / "scenarios"))
from browser import browse

LAYOUT = "4719250638"
ENTRY = "0badcafe"
TOKEN = "a-token-that-nobody-knows"


def pin_request(entry: str = ENTRY, **changes: object) -> bytes:
    content = {"request": "pin", "entry": entry, "amount": 888, "minimum": 4, "maximum": 6, "layout": LAYOUT}
    return json.dumps({**content, **changes}).encode()


def code_request(text: str = "00020101021215316304ABCD") -> bytes:
    return json.dumps({"request": "code", "text": text, "amount": 888, "expires": 1_795_400_000_000_000}).encode()


def nothing(_: bytes) -> None:
    raise AssertionError("a display does not answer")


# state


def test_a_pin_is_taken_as_positions() -> None:
    screen, answers = Screen(), []
    screen.pin_pad(pin_request(), answers.append)
    assert screen.press(ENTRY, 0)
    assert screen.press(ENTRY, 9)
    assert screen.delete(ENTRY)
    assert screen.press(ENTRY, 3)
    assert screen.press(ENTRY, 3)
    assert not screen.finish(ENTRY), "too short yet"
    assert screen.press(ENTRY, 7)
    assert screen.state()[1].bullets == 4
    assert screen.finish(ENTRY)
    assert [json.loads(answer) for answer in answers] == [{"entry": ENTRY, "positions": [0, 3, 3, 7]}]
    assert screen.state()[1].kind == "idle"
    assert screen._pressed == []
    assert not screen.press(ENTRY, 1), "the entry is over"


def test_a_pin_has_no_more_digits_than_allowed_and_no_other_keys() -> None:
    screen = Screen()
    screen.pin_pad(pin_request(), nothing)
    assert not screen.press(ENTRY, 10)
    assert not screen.press(ENTRY, -1)
    assert not screen.press("00000000", 1), "another entry"
    assert not screen.delete(ENTRY)
    assert all(screen.press(ENTRY, 5) for _ in range(6))
    assert not screen.press(ENTRY, 5)


def test_cancel_and_close_end_an_entry() -> None:
    screen, answers = Screen(), []
    screen.pin_pad(pin_request(), answers.append)
    assert screen.cancel(ENTRY)
    assert [json.loads(answer) for answer in answers] == [{"entry": ENTRY, "cancelled": True}]
    screen.pin_pad(pin_request("11111111"), answers.append)
    screen.press("11111111", 1)
    screen.pin_pad(b'{"request":"close","entry":"22222222"}', nothing)
    assert screen.state()[1].kind == "pin", "the close of another entry"
    screen.pin_pad(b'{"request":"close","entry":"11111111"}', nothing)
    assert screen.state()[1].kind == "idle"
    assert screen._pressed == []
    assert len(answers) == 1


def test_the_pin_pad_stays_on_top_and_gives_back_what_is_behind() -> None:
    screen, answers = Screen(), []
    screen.display(b'{"request":"message","text":"hold the card to the phone"}', nothing)
    screen.pin_pad(pin_request(), answers.append)
    screen.display(code_request(), nothing)
    assert screen.state()[1].kind == "pin"
    screen.cancel(ENTRY)
    assert screen.state()[1].kind == "code"
    screen.display(b'{"request":"clear"}', nothing)
    assert screen.state()[1].kind == "idle"


def test_a_new_entry_replaces_one_that_was_forgotten() -> None:
    screen, first, second = Screen(), [], []
    screen.pin_pad(pin_request("11111111"), first.append)
    screen.press("11111111", 4)
    screen.pin_pad(pin_request("22222222"), second.append)
    assert screen.state()[1].bullets == 0
    assert not screen.cancel("11111111")
    assert screen.cancel("22222222")
    assert first == []
    assert len(second) == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        pin_request(layout="0123456788"),
        pin_request(layout=7),
        pin_request(minimum=3),
        pin_request(maximum=13),
        pin_request(minimum=6, maximum=5),
        pin_request(entry=""),
        pin_request(amount="8.88"),
        b'{"request":"message","text":""}',
        b'{"request":"message","text":7}',
        b'{"request":"code","text":"' + b"x" * 1001 + b'"}',
        b'{"request":"code","text":"x","amount":true}',
        b'{"request":"dance"}',
    ],
)
def test_what_is_no_request_changes_nothing(request_: bytes) -> None:
    screen = Screen()
    screen.display(request_, nothing)
    screen.pin_pad(request_, nothing)
    assert screen.state()[0] == 0


def test_what_is_shown_is_not_told_by_repr() -> None:
    screen = Screen()
    screen.pin_pad(pin_request(), nothing)
    assert LAYOUT not in repr(screen.state())


# page


@pytest.fixture
def served() -> Iterator[tuple[Screen, httpx.Client]]:
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    screen = Screen()
    page = RestThread(page_application(screen, TOKEN, port), listening)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/{TOKEN}/", trust_env=False) as client:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                client.get("icon.svg")
                break
            except httpx.TransportError:
                time.sleep(0.02)
        yield screen, client
    screen.close()
    page.stop()


def test_the_page_is_told_of_changes_and_sends_presses(served: tuple[Screen, httpx.Client]) -> None:
    screen, client = served
    state = client.get("state").json()
    assert (state["version"], state["kind"]) == (0, "idle")
    answers: list[bytes] = []
    threading.Timer(0.1, screen.pin_pad, [pin_request(), answers.append]).start()
    state = client.get("state", params={"after": 0}).json()
    assert (state["kind"], state["layout"], state["bullets"], state["amount"]) == ("pin", LAYOUT, 0, 888)
    for digit in "4738":
        pressed = client.post("press", json={"entry": ENTRY, "position": LAYOUT.index(digit)})
        assert pressed.json() == {"taken": True}
    state = client.get("state").json()
    assert state["bullets"] == 4
    assert "pressed" not in state
    assert client.post("press", json={"entry": ENTRY, "key": "ok"}).json() == {"taken": True}
    assert json.loads(answers[0]) == {"entry": ENTRY, "positions": [0, 1, 8, 9]}
    assert client.post("press", json={"entry": ENTRY, "key": "ok"}).json() == {"taken": False}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b'{"entry":"0badcafe","key":"ok"}'}, 415),
        ({"content": b"x", "headers": {"content-type": "application/json"}}, 400),
        ({"content": b"[" * 200, "headers": {"content-type": "application/json"}}, 400),
        ({"content": b"1" * 300, "headers": {"content-type": "application/json"}}, 413),
        ({"json": []}, 400),
        ({"json": {"position": 1}}, 400),
        ({"json": {"entry": ENTRY}}, 400),
        ({"json": {"entry": ENTRY, "position": True}}, 400),
        ({"json": {"entry": ENTRY, "position": "1"}}, 400),
        ({"json": {"entry": ENTRY, "key": "format"}}, 400),
        ({"json": {"entry": ENTRY, "position": 77}}, 200),
    ],
)
def test_presses_that_are_none(served: tuple[Screen, httpx.Client], sent: dict[str, Any], status: int) -> None:
    screen, client = served
    screen.pin_pad(pin_request(), nothing)
    assert client.post("press", **sent).status_code == status
    assert screen.state()[1].bullets == 0


def test_nobody_else_may_look(served: tuple[Screen, httpx.Client]) -> None:
    _, client = served
    root = str(client.base_url).removesuffix(f"{TOKEN}/")
    for path in ("", "wrong/", "wrong/state", f"{TOKEN[:-1]}/state", f"{TOKEN}/../", f"{TOKEN}/other.js", "docs"):
        assert client.get(root + path).status_code == 404, path
    assert client.get("state", headers={"Host": "evil.example"}).status_code == 404
    assert client.get("code.png").status_code == 404, "no code is shown"


def test_the_page_is_its_own(served: tuple[Screen, httpx.Client]) -> None:
    _, client = served
    for path in ("", "page.js", "page.css", "icon.svg", "state"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        if path != "icon.svg":  # it names its namespace
            assert "//" not in answer.text.replace("\n//", "\n"), path


def test_a_code_is_drawn_so_that_it_can_be_read(served: tuple[Screen, httpx.Client]) -> None:
    screen, client = served
    text = "00020101021215314888880000000000000000000000000520454115303156540520.005802CN6304ABCD"
    screen.display(code_request(text), nothing)
    state = client.get("state").json()
    assert state["kind"] == "code"
    assert "text" not in state
    for picture in (client.get("code.png").content, draw_code("中国银联")):
        found = zxingcpp.read_barcodes(Image.open(io.BytesIO(picture)))
        assert [one.text for one in found] == [text if picture != draw_code("中国银联") else "中国银联"]


@pytest.mark.live
def test_a_person_can_use_the_page(served: tuple[Screen, httpx.Client], tmp_path: Path) -> None:
    executable = shutil.which("chromium")
    assert executable is not None, "the page is tested with chromium"
    screen, client = served
    answers: list[bytes] = []

    def shown(kind: str) -> bool:
        return bool(page.evaluate(f"document.getElementById('view').dataset.kind === '{kind}'"))

    def soon(condition: str) -> None:
        deadline = time.monotonic() + 5
        while not page.evaluate(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.02)

    with browse(executable, tmp_path / "profile") as page:
        page.open(str(client.base_url), 360, 640)
        assert shown("idle")
        screen.pin_pad(pin_request(), answers.append)
        soon("document.querySelectorAll('.digit').length === 10")
        assert page.evaluate("[...document.querySelectorAll('.digit')].map(key => key.textContent).join('')") == LAYOUT
        assert page.evaluate("document.getElementById('figure').textContent") == "8.88"
        assert page.evaluate("document.getElementById('ok').disabled")
        fits = (
            "document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth"
        )
        assert page.evaluate(fits)
        for digit in "47380":
            page.evaluate(
                f"[...document.querySelectorAll('.digit')].find(key => key.textContent === '{digit}').click()"
            )
        soon("document.querySelectorAll('.bullets .full').length === 5")
        page.evaluate("[...document.querySelectorAll('button')].find(key => key.textContent === 'Delete').click()")
        soon("document.querySelectorAll('.bullets .full').length === 4")
        page.evaluate("document.getElementById('ok').click()")
        soon("document.getElementById('view').dataset.kind === 'idle'")
        assert json.loads(answers[0])["positions"] == [LAYOUT.index(digit) for digit in "4738"]
        assert page.evaluate("document.querySelectorAll('.digit').length") == 0
        screen.display(code_request(), nothing)
        soon("document.getElementById('code').naturalWidth > 100")
        screen.pin_pad(pin_request("11111111"), answers.append)
        soon("document.querySelectorAll('.digit').length === 10")
        page.evaluate("document.querySelector('.cancel').click()")
        soon("document.getElementById('view').dataset.kind === 'code'")
        assert json.loads(answers[1]) == {"entry": "11111111", "cancelled": True}
        assert page.complaints() == []
        assert all(url.startswith(str(client.base_url)) for url in page.requests())
