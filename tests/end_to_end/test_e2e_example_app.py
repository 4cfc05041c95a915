"""The documents' example App, run for real: a phone fresh from its maker becomes a till and is paid in every way."""

from __future__ import annotations

import ast
import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_network import PROJECT, command, environment

from merchant_device.sdk import Phone
from scenarios import books
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import NetworkError, Processes, RunningNetwork, free_base_port
from scenarios.phones.card_server import Pull, card_of_wallet, connections_at, hold
from scenarios.phones.live_payer import LivePayer, code_on_screen, put_before_camera
from scenarios.phones.trusted_side import TrustedSide, made_phone
from scenarios.stage import Chip
from scenarios.stories.pictures import draw, read

pytestmark = pytest.mark.live

PROGRAM = PROJECT / "docs" / "example_app.py"
TIMEOUTS = demo.Timeouts(issuer=1.5, switch=2.5, acquirer=4.0, advice_retry=0.5, reversal_retry=0.5)
ANSWERS = (
    "王小明",
    "11010519491231002X",
    "13800138000",
    "6228480000000000018",
    "小明便利店",
    "上海",
    "5411",
    "+31.2304,+121.4737",
)
WAIT_SECONDS = 20.0
ECASH = 2
"""Place of the e-cash card in the wallet, behind the debit cards."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNetwork]:
    folder = tmp_path_factory.mktemp("app")
    embedded.prepare(folder, free_base_port(), timeouts=TIMEOUTS, cards=ECASH, free_terminals=1, products=("ecash",))
    processes = Processes(folder, ("issuer", "switch", "acquirer"))
    processes.start()
    yield RunningNetwork(folder)
    processes.stop()


class Field:
    """What is held to the phone: one chip at a time, at an address where its reader looks for one."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.reader = f"remote:127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def holds(self, chip: Chip) -> Iterator[None]:
        stop = threading.Event()
        connections = connections_at("127.0.0.1", self.port, stop)
        thread = threading.Thread(target=hold, args=(chip, connections, Pull(), stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(5)


class App:
    """The App as a process, and what it has said so far."""

    def __init__(self, network: RunningNetwork, side: TrustedSide, device: str, folder: Path) -> None:
        self.said = ""
        self._seen = 0
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, side.channel.resolve(), device, network.description["acquirer"]["api"]],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        for line in lines:
            self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the App says something new that matches."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (found := re.compile(pattern, re.MULTILINE).search(self.said, self._seen)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} is not in what the App said: {self.said}"
            time.sleep(0.02)
        self._seen = found.end()
        return found

    def end(self) -> int:
        code = self.process.wait(WAIT_SECONDS)
        self._thread.join(5)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        while (character := self.process.stdout.read(1)) != "":
            self.said += character


def decide(network: RunningNetwork, application: str, decision: str, **content: str) -> None:
    network.request("acquirer", "POST", f"/applications/{application}/{decision}", dict(content))


def code_shown(page: str) -> str:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return code_on_screen(page)
        except NetworkError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_it_imports_the_sdk_and_the_standard_library_only() -> None:
    tree = ast.parse(PROGRAM.read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "merchant_device.sdk" in names
    assert {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names} == {"merchant_device.sdk"}


def test_a_till_from_its_maker_to_its_history(network: RunningNetwork, tmp_path: Path) -> None:
    before = network.books()
    field, camera = Field(), tmp_path / "camera.png"
    with made_phone(network, "till-1", field.reader, camera=camera) as side:
        # the merchant applies, and the App ends before the acquirer has decided: begun again it goes on
        app = App(network, side, "till-1", tmp_path)
        app.type(*ANSWERS)
        application = app.wait_for(r"applied: (A[0-9A-F]{15})")[1]
        app.kill()
        kept = tmp_path / "till-1.application.json"
        assert kept.stat().st_mode & 0o077 == 0
        app = App(network, side, "till-1", tmp_path)
        assert app.wait_for(r"applied: (A[0-9A-F]{15})")[1] == application
        decide(network, application, "approve")
        terminal = app.wait_for(r"terminal (\d{8}) is ready")[1]
        assert not kept.exists()

        approved = _takes_every_way(app, network, field, side, camera)

        app.type("2 7.77")
        code_shown(side.page)
        app.type("1 1.00")
        app.wait_for("a payment is in progress")
        app.type("c")
        app.wait_for("cancelled while waiting for the code")
        app.wait_for("refused: cancelled")
        for wrong in ("1 0.001", "1 -1", "1 much", "2 nan"):
            app.type(wrong)
            app.wait_for("is no amount")

        app.type("h")
        lines = [app.wait_for(r"^\S+ +(\d+\.\d\d)  (\w+) +(approved|offline)$") for _ in approved]
        shown = [(line[1], line[2]) for line in reversed(lines)]
        assert shown == [(f"{fen / 100:.2f}", way) for fen, way in approved]
        app.type("q")
        assert app.end() == 0
        assert "Traceback" not in app.said
        assert network.get("acquirer", "/devices")[0]["terminal_id"] == terminal

        total = sum(fen for fen, _ in approved)
        deadline = time.monotonic() + WAIT_SECONDS
        while set(books.compare(network.books(), before).positions.values()) != {total}:
            assert time.monotonic() < deadline, books.compare(network.books(), before)
            time.sleep(0.1)

        with field.holds(card_of_wallet(network.folder, 0).chip):
            assert _first_example(side) == "thank you"

        # a second run of the App needs no second on-boarding
        app = App(network, side, "till-1", tmp_path)
        app.wait_for(f"terminal {terminal} is ready")
        network.request("acquirer", "POST", "/devices/till-1/kill", {"reason": "lost"})
        app.type("2 1.00")
        app.wait_for(r"refused: .*(killed|wiped)")
        app.type("q")
        assert app.end() == 0


def _first_example(side: TrustedSide) -> str:
    """Run the first example of the SDK's document, on this phone."""
    text = (PROJECT / "docs" / "sdk.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    program = example[1].replace("runs/network/phones/till-1/channel", str(side.channel.resolve()))
    assert program != example[1]
    return subprocess.check_output([sys.executable, "-c", program], text=True, env=environment(), timeout=30).strip()


def _takes_every_way(
    app: App, network: RunningNetwork, field: Field, side: TrustedSide, camera: Path
) -> list[tuple[int, str]]:
    """Pay in every way; gives what the receipts say."""
    with field.holds(card_of_wallet(network.folder, 0).chip):
        app.type("1 8.88")
        app.wait_for(r"approved: 8\.88 yuan by card 622848\*{6}\d{4}, reference \d{12}")
    with field.holds(card_of_wallet(network.folder, ECASH).chip):
        app.type("1 3.33")
        app.wait_for(r"approved: 3\.33 yuan by card 622848\*{6}\d{4}, offline")
    payer = LivePayer(network, 1)
    with field.holds(payer):
        # so much that the holder has to confirm on the phone
        app.type("1 1500")
        app.wait_for(r"approved: 1500\.00 yuan by phone 629900\*{6}\d{4}, reference \d{12}")
    app.type("2 12.50")
    assert payer.pay(code_shown(side.page)) == "00"
    app.wait_for(r"approved: 12\.50 yuan by merchant_code, reference \d{12}")
    for fen, with_cryptogram in ((321, True), (421, False)):
        app.type(f"3 {fen / 100:.2f}")
        put_before_camera(camera, draw(payer.code(with_cryptogram=with_cryptogram)))
        app.wait_for(rf"approved: {fen / 100:.2f} yuan by payer_code, reference \d{{12}}")
    return [
        (888, "card"),
        (333, "card"),
        (150_000, "phone"),
        (1250, "merchant_code"),
        (321, "payer_code"),
        (421, "payer_code"),
    ]


def test_an_application_that_is_refused(network: RunningNetwork, tmp_path: Path) -> None:
    with made_phone(network, "till-2", None) as side:
        app = App(network, side, "till-2", tmp_path)
        app.type(*ANSWERS)
        application = app.wait_for(r"applied: (A[0-9A-F]{15})")[1]
        decide(network, application, "refuse", reason="the id number is another's")
        app.wait_for("the id number is another's")
        assert app.end() == 1
        assert "Traceback" not in app.said
        assert not list(tmp_path.iterdir())


def test_a_payer_goes_on_after_a_pause(network: RunningNetwork) -> None:
    first = LivePayer(network, 0)
    assert first.code(with_cryptogram=True)
    again = LivePayer(network, 0)
    assert again.phone.token == first.phone.token
    assert again.phone.atc == first.phone.atc
    assert again.phone.payments_left == first.phone.payments_left


# the commands, as people type them


def test_a_phone_that_stays_on_and_its_payers(network: RunningNetwork, tmp_path: Path) -> None:
    camera = tmp_path / "camera.png"
    started = subprocess.Popen(
        command("phone", "--dir", network.folder, "--device", "till-3", "--camera", camera),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert started.stderr is not None
        lines = [started.stderr.readline() for _ in range(7)]
        assert lines[0] == "the phone till-3 is on\n"
        about = dict(line.split() for line in lines[1:6])
        assert about["acquirer"] == network.description["acquirer"]["api"]
        with Phone.start(Path(about["channel"])) as phone:
            assert phone.status() == []
        assert said("phone", "--dir", network.folder, "--device", "till-3") == (2, "phone till-3 is on already")
        scan = ("payer", "scan", "--dir", network.folder, "--card", 1, "--screen", about["screen"])
        assert said(*scan) == (1, "the screen shows no code")
        for options in ((), ("--digits",)):
            code, text = said("payer", "show", "--dir", network.folder, "--card", 1, "--camera", camera, *options)
            assert (code, "shows a code to" in text) == (0, True)
            (shown,) = read(camera.read_bytes())
            assert (len(shown) == 19) == bool(options)
    finally:
        started.send_signal(signal.SIGTERM)
        assert started.wait(WAIT_SECONDS) == 0
    assert "the phone is off" in started.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("phone", "--device", "../till"), 2, "--device: 1 to 40 letters, digits, - and _"),
        (("payer", "show", "--card", 99, "--camera", "camera.png"), 2, "--card: the wallet has 3 cards, 0 to 2"),
        (("payer", "show", "--card", 1, "--camera", "/nowhere/camera.png"), 2, "cannot write /nowhere/camera.png"),
        (("payer", "scan", "--screen", "http://127.0.0.1:1/x/"), 1, "the screen does not answer (ConnectError)"),
        (("payer", "scan", "--screen", "nonsense"), 1, "the screen does not answer (UnsupportedProtocol)"),
    ],
)
def test_what_the_commands_refuse(network: RunningNetwork, arguments: tuple[object, ...], code: int, text: str) -> None:
    ended, told = said(*arguments, "--dir", network.folder)
    assert (ended, text in told) == (code, True), told


def said(*arguments: object) -> tuple[int, str]:
    """A command's exit code and the last line that it says."""
    done = subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stderr + done.stdout).strip().splitlines()[-1].removeprefix("fourparty: ")
