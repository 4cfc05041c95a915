"""The SDK: what an App can do, what it is told when that fails, and that nothing of the trusted side comes with it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from merchant_device.sdk import ERRORS, Phone, PhoneError
from merchant_device.sdk import phone as phone_module
from merchant_device.tee.channel import Channel
from merchant_device.tee.commands import COMMANDS, ErrorCode
from network.party import CommandError, Json

TERMINAL = "00000129"
RECEIPT: dict[str, Json] = {
    "outcome": "approved",
    "response_code": "00",
    "terminal": TERMINAL,
    "amount": 888,
    "pan": "622848******1855",
    "at": "2026-11-23T11:45:00.000+08:00",
    "way": "card",
}
STATE: dict[str, Json] = {"terminal": TERMINAL, "link": True, "status": "signed_on", "doing": "idle", "reversals": 0}
SALE: dict[str, Json] = {"status": "approved", "amount": 888, "pan": None, "started_at": "2026-11-23T11:45:00"}
MANAGED: dict[str, Json] = {"outcome": "approved", "terminal": TERMINAL, "at": "2026-11-23T11:45:00"}

ANSWERS: dict[str, Json] = {
    "sale": RECEIPT,
    "balance": {**RECEIPT, "amount": None, "balance": 123_456},
    "cancel": {"terminal": TERMINAL, "cancelled": "waiting for the card"},
    "history": {"terminal": TERMINAL, "sales": [SALE]},
    "status": {"terminals": [STATE], "dropped": {}},
    "sign_on": MANAGED,
    "sign_off": MANAGED,
    "echo": MANAGED,
    "download": MANAGED,
    "static_code": MANAGED,
}


class TrustedSide:
    """A command channel on a thread of its own, whose party answers as it is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[str, dict[str, Json]]] = []
        self.answers: dict[str, Json | CommandError] = dict(ANSWERS)
        self.hold: dict[str, threading.Event] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._ready.wait(5)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        channel = Channel(self._carry, lambda kind, answer: None)
        await channel.listen(self.path)
        self._ready.set()
        await self._stop.wait()
        await channel.close()

    async def _carry(self, name: str, arguments: dict[str, Json]) -> Json:
        self.asked.append((name, arguments))
        held = self.hold.get(name)
        while held is not None and not held.is_set():
            await asyncio.sleep(0.005)
        answer = self.answers[name]
        if isinstance(answer, CommandError):
            raise answer
        return answer

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[TrustedSide]:
    side = TrustedSide(tmp_path / "channel")
    yield side
    side.stop()


@pytest.fixture
def phone(trusted: TrustedSide) -> Iterator[Phone]:
    with Phone.start(trusted.path) as one:
        yield one


def test_a_payment(trusted: TrustedSide, phone: Phone) -> None:
    receipt = phone.collect(888, ways=("tap", "merchant_code"))
    assert receipt.is_approved
    assert (receipt.amount, receipt.pan, receipt.way) == (888, "622848******1855", "card")
    assert trusted.asked == [
        ("status", {}),
        ("sale", {"terminal": TERMINAL, "amount": 888, "ways": ["tap", "merchant_code"]}),
    ]


@pytest.mark.parametrize("outcome", ["declined", "unknown", "refused"])
def test_a_payment_that_is_not_approved_is_a_receipt(trusted: TrustedSide, phone: Phone, outcome: str) -> None:
    trusted.answers["sale"] = {**RECEIPT, "outcome": outcome, "reason": "because"}
    receipt = phone.collect(1)
    assert not receipt.is_approved
    assert (receipt.outcome, receipt.reason) == (outcome, "because")


CALLS: dict[str, Callable[[Phone], object]] = {
    "balance": Phone.balance,
    "cancel": Phone.cancel,
    "history": Phone.history,
    "status": Phone.status,
    "sign_on": Phone.sign_on,
    "sign_off": Phone.sign_off,
    "echo": Phone.echo,
    "download": Phone.download,
    "static_code": Phone.show_static_code,
}


@pytest.mark.parametrize("name", CALLS)
def test_every_call_reaches_its_command(trusted: TrustedSide, name: str) -> None:
    with Phone.start(trusted.path, TERMINAL) as phone:
        CALLS[name](phone)
    assert [asked for asked, _ in trusted.asked] == [name]
    trusted.answers[name] = CommandError("not now")
    with Phone.start(trusted.path, TERMINAL) as phone, pytest.raises(PhoneError, match="not now") as refused:
        CALLS[name](phone)
    assert refused.value.code == "refused"


def test_history_and_state_are_typed(phone: Phone) -> None:
    (sale,) = phone.history(5)
    assert (sale.status, sale.amount, sale.pan, sale.offline) == ("approved", 888, None, False)
    (state,) = phone.status()
    assert (state.terminal, state.link, state.doing) == (TERMINAL, True, "idle")


def test_cancel_from_another_thread_overtakes_the_payment(trusted: TrustedSide, phone: Phone) -> None:
    trusted.hold["sale"] = threading.Event()
    receipts: list[object] = []
    payment = threading.Thread(target=lambda: receipts.append(phone.collect(888)))
    payment.start()
    while "sale" not in [name for name, _ in trusted.asked]:
        pass
    assert phone.cancel().cancelled == "waiting for the card"
    assert receipts == []
    trusted.hold["sale"].set()
    payment.join(5)
    assert len(receipts) == 1


@pytest.mark.parametrize("amount", [0, -1, 10**12])
def test_a_wrong_amount_is_told(trusted: TrustedSide, phone: Phone, amount: int) -> None:
    with pytest.raises(PhoneError, match="amount") as refused:
        phone.collect(amount)
    assert refused.value.code == "bad_arguments"
    assert [name for name, _ in trusted.asked] == ["status"]


def test_a_phone_without_terminal_says_so(trusted: TrustedSide, phone: Phone) -> None:
    for terminals in ([], [STATE, {**STATE, "terminal": "00000130"}]):
        trusted.answers["status"] = {"terminals": terminals}
        with pytest.raises(PhoneError) as refused:
            phone.collect(1)
        assert refused.value.code == "no_terminal"


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(PhoneError, match="nothing answers at") as refused:
        Phone.start(tmp_path / "channel")
    assert refused.value.code == "not_running"


def test_the_trusted_side_dies_during_a_payment(trusted: TrustedSide) -> None:
    phone = Phone.start(trusted.path, TERMINAL)
    trusted.hold["sale"] = threading.Event()
    raised: list[str] = []

    def pay() -> None:
        try:
            phone.collect(1)
        except PhoneError as error:
            raised.append(error.code)

    payment = threading.Thread(target=pay)
    payment.start()
    while not trusted.asked:
        pass
    trusted.stop()
    payment.join(5)
    assert raised == ["connection_lost"]
    with pytest.raises(PhoneError) as refused:
        phone.status()
    assert refused.value.code == "connection_lost"
    phone.close()


def test_no_answer(trusted: TrustedSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_module, "PAYMENT_SECONDS", 0.05)
    trusted.hold["sale"] = threading.Event()
    with Phone.start(trusted.path, TERMINAL) as phone:
        with pytest.raises(PhoneError, match="sale: no answer") as refused:
            phone.collect(1)
        assert refused.value.code == "no_answer"
        trusted.hold["sale"].set()
        assert phone.status(), "a late answer is nobody's"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b'{"id":1,"result":{"outcome":"maybe"}}', "failed"),
        (b'{"id":1,"result":[]}', "failed"),
        (b'{"id":1,"error":{"code":"new_code"}}', "failed"),
        (b'{"id":1}', "failed"),
        (b"[]", "connection_lost"),
        (b"x", "connection_lost"),
        (b"[" * 50_000, "connection_lost"),
    ],
)
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes, code: str) -> None:
    path = tmp_path / "channel"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def respond() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(len(answer).to_bytes(4, "big") + answer)
                connection.recv(4096)

        thread = threading.Thread(target=respond, daemon=True)
        thread.start()
        with Phone.start(path, TERMINAL) as phone, pytest.raises(PhoneError) as refused:
            phone.echo()
        assert refused.value.code == code
        thread.join(5)


def test_the_error_list_covers_what_the_channel_says() -> None:
    assert {code.value for code in ErrorCode} <= ERRORS.keys()
    for code, line in ERRORS.items():
        assert code == line.code
        assert line.meaning.endswith(".")
        assert line.advice.endswith(".")
        assert PhoneError(code).description is line


def test_every_code_that_the_sdk_raises_is_in_the_list() -> None:
    folder = Path(phone_module.__file__).parent
    raised = {code for path in folder.glob("*.py") for code in re.findall(r'PhoneError\(\s*"(\w+)"', path.read_text())}
    assert raised
    assert raised <= ERRORS.keys()


def test_the_models_on_both_sides_agree() -> None:
    pairs: dict[str, Any] = {
        "sale": phone_module.Receipt,
        "history": phone_module.History,
        "status": phone_module.State,
        "echo": phone_module.Managed,
        "cancel": phone_module.Cancelled,
    }
    for name, result in pairs.items():
        answer = COMMANDS[name].answer
        assert answer.model_fields.keys() == result.model_fields.keys(), name
        for field, about in answer.model_fields.items():
            assert about.is_required() == result.model_fields[field].is_required(), (name, field)


def test_nothing_of_the_trusted_side_comes_with_the_sdk() -> None:
    program = "import json, sys, merchant_device.sdk; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
    own = {name for name in loaded if name.partition(".")[0] in ("merchant_device", "network", "scenarios", "issuer")}
    assert {name for name in own if not name.startswith("merchant_device.sdk")} == {"merchant_device"}
    assert not {"cryptography", "sqlalchemy", "simpy", "smartcard"} & {name.partition(".")[0] for name in loaded}
