"""``fourparty proxy`` as a process: its interface, by a plain HTTP client, and its configuration."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from messages import sale, stans

from network.framing import MEMBER_FRAMING
from network.service import ConfigurationError
from scenarios.proxy.proxies import Refused, proxy_of
from scenarios.proxy.serving import read_configuration

pytestmark = pytest.mark.live
PROJECT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Upstream:
    """Accepts one connection at a time; the test itself speaks for it."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(5)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def accept(self) -> socket.socket:
        accepted, _ = self._listening.accept()
        accepted.settimeout(5)
        return accepted

    def close(self) -> None:
        self._listening.close()


def dial(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=5)


class Running:
    """The process and a client of its interface."""

    def __init__(self, *arguments: str) -> None:
        self.upstream = Upstream()
        self.api = f"127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "scenarios.cli", "proxy", "--api", self.api]
        self.process = subprocess.Popen(
            [*command, *(one.replace("UPSTREAM", self.upstream.address) for one in arguments)],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        self.http = httpx.Client(base_url=f"http://{self.api}", timeout=5, trust_env=False)
        deadline = time.monotonic() + 20
        while True:
            try:
                self.http.get("/version").raise_for_status()
                return
            except httpx.HTTPError:
                assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
                assert time.monotonic() < deadline, "it did not start in time"
                time.sleep(0.05)

    def stop(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=10)
        self.http.close()
        self.upstream.close()
        assert self.process.returncode == 0
        return said.decode()


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running(
        "--listen", "127.0.0.1:0", "--upstream", "UPSTREAM", "--dialect", "member", "--toxic", "latency,latency=1"
    )
    yield made
    if made.process.poll() is None:
        made.stop()


def test_a_proxy_and_its_toxics_are_controlled_as_toxiproxys_clients_do(running: Running) -> None:
    http = running.http
    shown = http.get("/proxies").json()["proxy"]
    latency = {
        "name": "latency_downstream",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
        "attributes": {"latency": 1, "jitter": 0},
    }
    assert shown["upstream"] == running.upstream.address
    assert shown["enabled"] is True
    assert [{name: one[name] for name in latency} for one in shown["toxics"]] == [latency]

    # bodies without a type of their own, as curl -d sends them
    made = http.post(
        "/proxies/proxy/toxics", content=b'{"type": "drop", "stream": "upstream", "attributes": {"count": 1}}'
    )
    assert (made.status_code, made.json()["name"]) == (200, "drop_upstream")
    changed = http.post("/proxies/proxy/toxics/latency_downstream", json={"attributes": {"jitter": 1}, "toxicity": 0.5})
    assert changed.json()["attributes"] == {"latency": 1, "jitter": 1}
    assert http.get("/proxies/proxy/toxics/latency_downstream").json()["toxicity"] == 0.5

    with dial(shown["listen"]) as client:
        issuer = running.upstream.accept()
        client.sendall(MEMBER_FRAMING.frame(sale(1)) + MEMBER_FRAMING.frame(sale(2)))
        assert stans(MEMBER_FRAMING.split(bytearray(issuer.recv(65_536)))) == [2]
        (strike,) = http.get("/proxies/proxy/strikes").json()
        assert (strike["toxic"], strike["mti"], strike["stream"]) == ("drop_upstream", "0200", "upstream")
        assert http.get("/proxies/proxy/toxics/drop_upstream").json()["hits"] == 1

        assert http.delete("/proxies/proxy/toxics/drop_upstream").status_code == 204
        assert http.post("/proxies/proxy", json={"enabled": False}).json()["enabled"] is False
        assert client.recv(10) == b""
        issuer.close()
    with pytest.raises(ConnectionRefusedError):
        dial(shown["listen"])
    assert http.post("/reset").status_code == 204
    after = http.get("/proxies/proxy").json()
    assert (after["enabled"], after["toxics"], after["listen"]) == (True, [], shown["listen"])
    with dial(shown["listen"]) as client:
        running.upstream.accept().close()
        assert client.recv(10) == b""
    assert "none" in running.stop()


def test_proxies_are_made_populated_moved_and_deleted(running: Running) -> None:
    http = running.http
    made = http.post("/proxies", json={"name": "other", "listen": "127.0.0.1:0", "upstream": running.upstream.address})
    assert (made.status_code, made.json()["dialect"]) == (201, "raw")
    listen = made.json()["listen"]
    again = {"name": "other", "listen": listen, "upstream": running.upstream.address}
    more = {"name": "more", "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "dialect": "terminal", "enabled": False}
    http.post("/proxies/other/toxics", json={"type": "bandwidth", "attributes": {"rate": 5.0}})
    populated = http.post("/populate", json=[again, more])
    assert populated.status_code == 201
    assert [(one["name"], one["enabled"], len(one["toxics"])) for one in populated.json()["proxies"]] == [
        ("other", True, 1),
        ("more", False, 0),
    ]
    assert http.patch("/proxies/more", json={"upstream": running.upstream.address, "enabled": True}).json()["enabled"]
    assert http.delete("/proxies/other").status_code == 204
    assert sorted(http.get("/proxies").json()) == ["more", "proxy"]
    with pytest.raises(ConnectionRefusedError):
        dial(listen)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "reason"),
    [
        ("GET", "/proxies/gone", None, 404, "no proxy gone"),
        ("POST", "/proxies", b"{", 400, "not JSON"),
        (
            "POST",
            "/proxies",
            b'{"listen": "127.0.0.1:0", "upstream": "127.0.0.1:1"}',
            400,
            "missing required field: name",
        ),
        ("POST", "/proxies", b'{"name": "proxy", "upstream": "127.0.0.1:1"}', 409, "a proxy proxy already"),
        ("POST", "/proxies", b'{"name": "x", "upstream": "nowhere"}', 400, "'nowhere' is not an address"),
        ("POST", "/proxies", b'{"name": "x", "upstream": "127.0.0.1:1", "toxic": []}', 400, "a proxy has no toxic"),
        ("POST", "/proxies", b" " * 300_000, 413, "at most"),
        ("GET", "/proxies/proxy/toxics/gone", None, 404, "no toxic gone"),
        ("DELETE", "/proxies/proxy/toxics/gone", None, 404, "no toxic gone"),
        ("POST", "/proxies/proxy/toxics", b'{"type": "latency"}', 409, "already"),
        ("POST", "/proxies/proxy/toxics", b'{"type": "lag"}', 400, "there is no toxic 'lag'"),
        (
            "POST",
            "/proxies/proxy/toxics",
            b'{"type": "drop", "attributes": {"mtis": "0200"}}',
            400,
            "no attribute mtis",
        ),
        ("POST", "/proxies/proxy/toxics/latency_downstream", b'{"attributes": {"latency": -1}}', 400, "latency"),
        ("POST", "/populate", b"{}", 400, "a list"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_status(
    shared: Running, method: str, path: str, content: bytes | None, status: int, reason: str
) -> None:
    answer = shared.http.request(method, path, content=content)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert reason in answer.json()["error"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    made = Running("--listen", "127.0.0.1:0", "--upstream", "UPSTREAM", "--dialect", "member", "--toxic", "latency")
    yield made
    with contextlib.suppress(ProcessLookupError):
        made.stop()


def test_a_browser_is_not_served(shared: Running) -> None:
    assert shared.http.get("/proxies", headers={"User-Agent": "Mozilla/5.0"}).status_code == 403


def test_several_proxies_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(
        """
api = "127.0.0.1:9999"
seed = 7

[[proxy]]
name = "issuer"
listen = "127.0.0.1:0"
upstream = "127.0.0.1:7002"
dialect = "member"

[[proxy.toxic]]
type = "hold"
toxicity = 0.5
attributes = { mti = "0210", delay = 40_000, count = 1 }

[[proxy]]
listen = "127.0.0.1:0"
upstream = "127.0.0.1:7000"
"""
    )
    api, proxies = read_configuration(path)
    assert api == "127.0.0.1:9999"
    assert [(one.name, str(one.dialect), one.seed) for one in proxies] == [
        ("issuer", "member", 7),
        ("proxy-2", "raw", 7),
    ]
    (toxic,) = proxies[0].toxics
    assert (toxic.toxicity, toxic.attributes["delay"]) == (0.5, 40_000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "needs at least one [[proxy]]"),
        ("prox = 1", "there is no setting prox;"),
        ("[[proxy]]\nlisten = '127.0.0.1:0'", "proxy 1 (proxy-1): it needs listen and upstream"),
        (
            "[[proxy]]\nlisten = '127.0.0.1:0'\nupstream = 'x:1'\nname = 'a'\ntoxics = []\nport = 5",
            "(a): there is no setting port",
        ),
        ("[[proxy]]\nlisten = '127.0.0.1:0'\nupstream = 'x:1'\ndialect = 'iso'", "(proxy-1): dialect: one of member"),
        (
            "[[proxy]]\nlisten = '127.0.0.1:0'\nupstream = 'x:1'\n[[proxy.toxic]]\ntype = 'drop'",
            "drop needs the link's dialect",
        ),
        ("[[proxy]", "is not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_configuration(path)
    assert reason in str(caught.value)


def test_a_proxy_that_is_described_wrongly_is_refused() -> None:
    with pytest.raises(Refused, match="seed: a whole number"):
        proxy_of({"upstream": "x:1", "seed": "7"})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--listen", "127.0.0.1:0"], "give --listen and --upstream, or --config"),
        (["--listen", "here", "--upstream", "x:1"], "listen: 'here' is not an address"),
        (
            ["--listen", "127.0.0.1:0", "--upstream", "x:1", "--toxic", "latency,latenci=4"],
            "latency has no attribute latenci",
        ),
        (["--config", "missing.toml", "--listen", "x:1"], "--config: it takes the place"),
        (["--config", "missing.toml"], "cannot read missing.toml"),
    ],
)
def test_wrong_arguments_are_one_line_and_code_2(
    arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scenarios import cli

    monkeypatch.setattr(sys, "argv", ["fourparty", "proxy", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert reason in said
    assert said.count("\n") == 1
