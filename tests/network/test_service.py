"""A party's process: its settings, its REST interface, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import fastapi
import httpx
import pytest
import sqlalchemy as sa
from pydantic_settings import BaseSettings
from tiny_parties import TABLES, Echo, Note

from network import rest as rest_module
from network.framing import MEMBER_FRAMING
from network.iso8583 import INTERBANK, InterbankHeader, Message
from network.keys import SecurityModule
from network.ledger import LEDGER_TABLES, LedgerAccount, Money, post
from network.live import LiveRuntime
from network.metrics import Metrics
from network.observation import Observation
from network.rest import RestThread, Service, application
from network.service import (
    Address,
    ConfigurationError,
    ServiceSettings,
    TraceSettings,
    bind,
    load_settings,
    open_module,
    read_secret,
)
from network.store import Row, Store, sqlite_url

TOKEN = "let-me-in"
PAN = "6212345678901232"


# settings


class Limits(BaseSettings):
    """Settings of a table of their own."""

    per_day: int = 5


class Settings(ServiceSettings):
    """What the tests' service has besides."""

    link: str = "127.0.0.1:0"
    limits: Limits = Limits()


COMPLETE = {
    "database": '"sqlite:///party.db"',
    "storage_key_file": '"party.key"',
    "operator_token_file": '"operator.token"',
    "api": '"127.0.0.1:7001"',
}


def written(path: Path, **changes: str | None) -> Path:
    """A settings file with these lines changed, or left out."""
    lines = {**COMPLETE, **changes}
    path.write_text("\n".join(f"{name} = {value}" for name, value in lines.items() if value is not None))
    return path


def test_settings_from_file_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "party.toml", log_level='"error"', limits="{ per_day = 7 }")
    settings = load_settings(Settings, path)
    assert (settings.database, settings.api, settings.log_level) == ("sqlite:///party.db", "127.0.0.1:7001", "error")
    assert settings.limits.per_day == 7
    # names without the prefix belong to others, and so do ours that are no settings
    for name in ("API", "DATABASE", "LOG_LEVEL", "LINK", "FOURPARTY_PARENT"):
        monkeypatch.setenv(name, "nonsense")
    assert load_settings(Settings, path) == settings
    monkeypatch.setenv("FOURPARTY_API", "0.0.0.0:80")
    monkeypatch.setenv("FOURPARTY_LIMITS__PER_DAY", "9")
    changed = load_settings(Settings, path)
    assert (changed.api, changed.limits.per_day, changed.log_level) == ("0.0.0.0:80", 9, "error")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"database": None}, "setting database: Field required"),
        ({"api": None}, "setting api: Field required"),
        ({"databse": '"x"'}, "setting databse: Extra inputs are not permitted"),
        ({"database": "5"}, "setting database: Input should be a valid string"),
        ({"log_level": '"loud"'}, "setting log_level: String should match"),
        ({"limits": '{ per_day = "many" }'}, "setting limits.per_day: Input should be a valid integer"),
        ({"limits": "{ per_year = 1 }"}, "setting limits.per_year: Extra inputs"),
        ({"api": '"7001"'}, "setting api: Value error, '7001' is not an address such as 127.0.0.1:7001"),
        ({"api": '"host:99999"'}, "setting api: Value error, 'host:99999' is not an address"),
        ({"api": "'x"}, "party.toml is not TOML"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, changes: dict[str, str | None], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(Settings, written(tmp_path / "party.toml", **changes))
    assert words in str(caught.value)
    assert "party.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_setting_of_the_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "party.toml")
    monkeypatch.setenv("FOURPARTY_LIMITS", "{not json")
    with pytest.raises(ConfigurationError, match="limits"):
        load_settings(Settings, path)


def test_where_traces_go_may_stand_in_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TraceSettings.of_environment() == TraceSettings(traces_endpoint=None, traces_sample=1.0)
    monkeypatch.setenv("FOURPARTY_TRACES_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("FOURPARTY_TRACES_SAMPLE", "0.25")
    found = TraceSettings.of_environment()
    assert (found.traces_endpoint, found.traces_sample) == ("http://127.0.0.1:4318", 0.25)
    monkeypatch.setenv("FOURPARTY_TRACES_SAMPLE", "7")
    with pytest.raises(ConfigurationError, match=r"^the environment: setting (FOURPARTY_)?traces_sample: [^\n]+$"):
        TraceSettings.of_environment()


def test_a_settings_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read .*party\.toml: No such file"):
        load_settings(Settings, tmp_path / "party.toml")
    (tmp_path / "party.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"party\.toml is not TOML"):
        load_settings(Settings, tmp_path / "party.toml")


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1:7001", ("127.0.0.1", 7001)), ("host:0", ("host", 0)), ("::1:80", ("::1", 80))]
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert Address.parse(text) == address
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", ":", "host", "host:", ":80", "host:-1", "host:65536", "host:８０", "host:8 0"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an address such as"):
        Address.parse(text)


def test_secrets_are_files(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(ConfigurationError, match=r"cannot read .*secret: No such file"):
        read_secret(path)
    path.write_text(" \n")
    with pytest.raises(ConfigurationError, match="secret is empty"):
        read_secret(path)
    path.write_text("hush\n")
    assert read_secret(path) == "hush"
    with pytest.raises(ConfigurationError, match="does not hold a storage key") as caught:
        open_module(path)
    assert "hush" not in str(caught.value)
    path.write_text("00" * 15)
    with pytest.raises(ConfigurationError, match="does not hold a storage key"):
        open_module(path)
    path.write_text("00" * 32)
    assert isinstance(open_module(path), SecurityModule)


def test_an_address_that_cannot_be_listened_on() -> None:
    with bind(Address("127.0.0.1", 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"):
            bind(Address("127.0.0.1", port))
    with pytest.raises(ConfigurationError, match=r"cannot listen on 203\.0\.113\.1:80: Cannot assign"):
        bind(Address("203.0.113.1", 80))
    with pytest.raises(ConfigurationError, match=r"cannot listen on no-such-host\.invalid:80: ") as caught:
        bind(Address("no-such-host.invalid", 80))
    assert "Unknown error" not in str(caught.value)


# REST


@dataclass
class Rest:
    """A service with its REST interface, and a client that shows the token."""

    service: Service
    runtime: LiveRuntime
    store: Store
    client: httpx.Client
    base: str
    loop: asyncio.AbstractEventLoop


def routes(service: Service) -> fastapi.APIRouter:
    router = fastapi.APIRouter(dependencies=[fastapi.Depends(service.operator)])

    @router.post("/commands/{name}")
    async def command(name: str) -> object:
        return await service.command(name, {})

    return router


@contextmanager
def serving(rows: tuple[type[Row], ...], url: str, *, metrics_open: bool = False) -> Iterator[Rest]:
    """Runs the party on a loop of its own thread, as the process would."""
    store = Store(url, rows)
    started: list[LiveRuntime] = []
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    ended = threading.Event()

    def run() -> None:
        async def main() -> None:
            runtime = LiveRuntime(Echo(), store, random=Random(1))
            runtime.start()
            started.append(runtime)
            ready.set()
            while not ended.is_set():
                await asyncio.sleep(0.01)
            await runtime.stop()

        loop.run_until_complete(main())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(5)
    (runtime,) = started
    service = Service("echo", store, SecurityModule(bytes(16), Random(1)), TOKEN, runtime.ask, runtime)
    service.metrics, service.metrics_open = Metrics(runtime, Observation()), metrics_open
    listening = bind(Address("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    rest = RestThread(application(service, [routes]), listening)
    try:
        with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as client:
            yield Rest(service, runtime, store, client, base, loop)
    finally:
        rest.stop()
        ended.set()
        thread.join(5)
        loop.close()
        store.close()


@pytest.fixture
def rest(tmp_path: Path) -> Iterator[Rest]:
    with serving((*TABLES, *LEDGER_TABLES), sqlite_url(tmp_path / "party.db")) as made:
        yield made


def test_figures_need_the_token_unless_they_are_open(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "party.db")
    for is_open, status in ((False, 401), (True, 200)):
        with serving((*TABLES, *LEDGER_TABLES), url, metrics_open=is_open) as made:
            assert httpx.get(f"{made.base}/metrics", trust_env=False).status_code == status
            shown = made.client.get("/metrics")
            assert shown.status_code == 200
            assert shown.headers["content-type"].startswith("text/plain")
            assert 'fourparty_books_imbalance_fen{against="accounts",party="echo"} 0.0' in shown.text
            # what else is behind the token stays there
            assert httpx.get(f"{made.base}/books", trust_env=False).status_code == 401


def test_health_needs_no_token_and_everything_else_does(rest: Rest) -> None:
    health = httpx.get(f"{rest.base}/health", trust_env=False)
    assert health.status_code == 200
    assert health.json() == {
        "party": "echo",
        "status": "ok",
        "links": 0,
        "queued": 0,
        "turns": 0,
        "events": 0,
        "failures": 0,
    }
    for shown in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
    ):
        for method, path in (("GET", "/books"), ("GET", "/messages"), ("GET", "/latency"), ("POST", "/commands/count")):
            refused = httpx.request(method, f"{rest.base}{path}", headers=shown, trust_env=False)
            assert (refused.status_code, refused.json()) == (
                401,
                {"detail": "show the operator token as a bearer token"},
            )
    assert rest.runtime.turns == 0


def test_readiness_needs_no_token(rest: Rest) -> None:
    ready = httpx.get(f"{rest.base}/ready", trust_env=False)
    assert (ready.status_code, ready.json()["ready"], ready.json()["reason"]) == (200, True, None)
    asyncio.run_coroutine_threadsafe(rest.runtime.drain(1), rest.loop).result(5)
    ready = httpx.get(f"{rest.base}/ready", trust_env=False)
    assert (ready.status_code, ready.json()["reason"]) == (503, "the process is about to end")
    assert httpx.get(f"{rest.base}/health", trust_env=False).status_code == 200


def test_commands_are_decided_by_the_party(rest: Rest) -> None:
    assert rest.client.post("/commands/count").json() == 0
    refused = rest.client.post("/commands/refuse")
    assert (refused.status_code, refused.json()) == (409, {"detail": "not today"})
    failed = rest.client.post("/commands/boom")
    assert (failed.status_code, failed.json()) == (409, {"detail": "boom failed: Undecidable"})


def test_a_command_without_answer_ends(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_module, "COMMAND_SECONDS", 0.1)
    late = rest.client.post("/commands/silent")
    assert (late.status_code, late.json()) == (409, {"detail": "silent: no answer in 0 s"})


def test_books(rest: Rest) -> None:
    other = Store(rest.store.url.render_as_string(), LEDGER_TABLES)
    unit = other.unit_of_work()
    accounts = [LedgerAccount("cash", "debit", "156", 0, 0), LedgerAccount("sales", "credit", "156", 0, 0)]
    for account in accounts:
        unit.insert(account)
    post(
        unit,
        transfer_id="1",
        reference="1",
        debit=accounts[0],
        credit=accounts[1],
        amount=Money(250),
        settlement_date="1204",
        posted_at=0,
    )
    unit.commit()
    assert rest.client.get("/books").json() == {
        "accounts": [
            {"account_id": "cash", "normal": "debit", "debits": 250, "credits": 0, "balance": 250},
            {"account_id": "sales", "normal": "credit", "debits": 0, "credits": 250, "balance": 250},
        ],
        "imbalance": 0,
        "transfers": 1,
    }
    with other.read() as connection:
        connection.execute(sa.text("UPDATE transfer SET amount = 200"))
    broken = rest.client.get("/books")
    assert broken.status_code == 500
    assert broken.json() == {"detail": "account cash does not carry the sums of its transfers"}
    other.close()


def test_a_party_without_books(tmp_path: Path) -> None:
    with serving(TABLES, sqlite_url(tmp_path / "party.db")) as rest:
        none = rest.client.get("/books")
        assert (none.status_code, none.json()) == (404, {"detail": "this party keeps no books"})


def sale(stan: int, terminal: str) -> bytes:
    fields: dict[int, str | bytes] = {
        2: PAN,
        3: "000000",
        4: "000000001250",
        7: "1204160000",
        11: f"{stan:06d}",
        35: f"{PAN}=30122010000012300",
        41: terminal,
        52: b"\x13\x57\x9b\xdf\x02\x46\x8a\xce",
    }
    return INTERBANK.pack(Message("0200", fields, InterbankHeader(destination="1", source="2")))


def test_messages_are_described_and_masked(rest: Rest) -> None:
    port = asyncio.run_coroutine_threadsafe(_listen(rest.runtime), rest.loop).result(5)
    with socket.create_connection(("127.0.0.1", port)) as peer:
        frames = [sale(1, "10000001"), sale(2, "10000002"), sale(3, "10000001"), f"junk {PAN}".encode()]
        peer.sendall(b"".join(map(MEMBER_FRAMING.frame, frames)))
        deadline = time.monotonic() + 5
        # the echo puts "re:" before a body, so that its own are junk
        while len(rest.runtime.trace) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        everything = rest.client.get("/messages").json()
        assert [one["incoming"] for one in everything] == [True] * 4 + [False] * 4
        assert [one["mti"] for one in everything[:3]] == ["0200"] * 3
        assert everything[0]["link"].startswith("peer:")
        assert everything[0]["length"] == len(frames[0])
        assert "621234" in everything[0]["description"]
        assert all("error" in one for one in everything[3:])
        whole = json.dumps(everything)
        for secret in (PAN, PAN[:14], "13579BDF", "13579bdf", "30122010000012300"):
            assert secret not in whole
        of_one = rest.client.get("/messages", params={"terminal": "10000001"}).json()
        assert [one["mti"] for one in of_one] == ["0200", "0200"]
        assert ["000001" in of_one[0]["description"], "000003" in of_one[1]["description"]] == [True, True]
        last = rest.client.get("/messages", params={"limit": 2}).json()
        assert last == everything[-2:]
        assert rest.client.get("/messages", params={"since": everything[-1]["at"] + 1}).json() == []
        for limit in (0, 501, "x"):
            assert rest.client.get("/messages", params={"limit": limit}).status_code == 422
        latency = rest.client.get("/latency").json()["counts"]
        assert sum(latency.values()) == 4


async def _listen(runtime: LiveRuntime) -> int:
    await runtime.listen("peer", "127.0.0.1", 0, MEMBER_FRAMING)
    return runtime.addresses[0][1]


def test_the_token_is_in_no_repr(rest: Rest) -> None:
    assert TOKEN not in repr(rest.service)


# the process

_CHILD = """
import json, sys
from network.framing import TERMINAL_FRAMING
from network.service import Address, Listening, ServiceSettings, load_settings, main, run
from tiny_parties import TABLES, Echo

class Settings(ServiceSettings):
    link: str

def serve(path):
    settings = load_settings(Settings, path)
    listen = [Listening("peer", Address.parse(settings.link), TERMINAL_FRAMING)]
    return run(lambda module: Echo(), settings, rows=TABLES, listen=listen)

for path in json.loads(sys.argv.pop()):
    sys.argv[1:] = ["--config", path]
    try:
        main("echo", serve)
    except SystemExit as end:
        print(json.dumps(end.code), flush=True)
"""


def child(*paths: Path) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, json.dumps([str(path) for path in paths])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": f"{here}:{here.parents[1]}"},
    )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Path]:
    """Writes the settings of a service that can start, but for the changes."""
    (tmp_path / "party.key").write_text("5a" * 32)
    (tmp_path / "operator.token").write_text(TOKEN)
    usual = {
        "database": sqlite_url(tmp_path / "party.db"),
        "storage_key_file": str(tmp_path / "party.key"),
        "operator_token_file": str(tmp_path / "operator.token"),
        "api": f"127.0.0.1:{free_port()}",
        "link": f"127.0.0.1:{free_port()}",
    }

    def write(name: str = "party", **changes: str) -> Path:
        return written(
            tmp_path / f"{name}.toml", **{setting: json.dumps(value) for setting, value in {**usual, **changes}.items()}
        )

    return write


@pytest.mark.live
def test_what_cannot_start_says_why_in_one_line_and_ends_with_2(
    tmp_path: Path, configured: Callable[..., Path]
) -> None:
    (tmp_path / "other.db").write_bytes(b"Dear diary, " * 1000)
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    nowhere = sqlite_url(tmp_path / "missing" / "x.db")
    cases = [
        (tmp_path / "missing.toml", "echo: cannot read"),
        (configured("a", database=nowhere), f"cannot open {nowhere}"),
        (configured("b", database=sqlite_url(tmp_path / "other.db")), "file is not a database"),
        (configured("c", database="party.db"), "not given as a URL"),
        (configured("d", api=f"127.0.0.1:{port}"), f"cannot listen on 127.0.0.1:{port}: Address already in use"),
        (configured("e", link=f"127.0.0.1:{port}"), f"cannot listen on 127.0.0.1:{port}: Address already in use"),
        (configured("f", link="nowhere"), "'nowhere' is not an address"),
        (configured("g", operator_token_file=str(tmp_path / "none")), "none: No such file"),
        (configured("h", storage_key_file=str(tmp_path / "operator.token")), "does not hold a storage key"),
    ]
    with taken, child(*(path for path, _ in cases)) as process:
        try:
            out, err = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()  # one that serves would be waited for without end
            raise
    assert out.split() == ["2"] * len(cases), err
    lines = err.splitlines()
    assert len(lines) == len(cases), err
    for line, (_, words) in zip(lines, cases, strict=True):
        assert line.startswith("echo: ")
        assert words in line
    assert TOKEN not in err


def _await_up(api: str) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            assert httpx.get(f"http://{api}/health", trust_env=False).json()["status"] == "ok"
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the service did not come up"
            time.sleep(0.05)
        else:
            return


def _subjects(url: str) -> list[bytes]:
    store = Store(url, TABLES)
    with store.read() as connection:
        found = [row.subject for row in connection.execute(store.tables[Note].select())]
    store.close()
    return found


@pytest.mark.live
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_answers_and_ends_on_a_signal(configured: Callable[..., Path], number: signal.Signals) -> None:
    path = configured()
    settings = load_settings(Settings, path)
    with child(path) as process:
        _await_up(settings.api)
        with socket.create_connection(Address.parse(settings.link)) as peer:
            peer.settimeout(5)
            peer.sendall(b"\0\x05hello")
            assert peer.recv(100) == b"\0\x08re:hello"
            process.send_signal(number)
            began = time.monotonic()
            assert peer.recv(100) == b""
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - began < 5
    assert out.strip() == "0"
    events = [json.loads(line)["event"] for line in err.splitlines()]
    assert events == ["serving", "stopping"]
    assert _subjects(settings.database) == [b"hello"]


@pytest.mark.live
def test_a_service_whose_store_fails_ends_with_3(configured: Callable[..., Path]) -> None:
    path = configured()
    settings = load_settings(Settings, path)
    with child(path) as process:
        _await_up(settings.api)
        other = Store(settings.database, ())
        with other.read() as connection:
            connection.exec_driver_sql("DROP TABLE note")
        other.close()
        with socket.create_connection(Address.parse(settings.link)) as peer:
            peer.settimeout(5)
            peer.sendall(b"\0\x05hello")
            assert peer.recv(100) == b""
        out, err = process.communicate(timeout=10)
    assert out.strip() == "3"
    failed = [json.loads(line) for line in err.splitlines() if "store failed" in line]
    assert failed[0]["reason"] == "database failed: no such table: note"
