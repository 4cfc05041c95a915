"""Loads and scenarios on a network of their own with TLS: what breaks things breaks secured links and processes too."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import pytest
from outside_rest import Rest
from running_network import PROJECT, command, environment

pytestmark = pytest.mark.live

START_SECONDS: Final = 40.0
HOST: Final = "127.0.0.1"
CONNECT_SECONDS: Final = 5.0
MEMBER_URN: Final = "urn:fourparty:member:"


class Play:
    """A command that starts a secured network of its own, and that network while it is there."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.report = folder / "report"
        self._temporary = folder / "temporary"
        self._temporary.mkdir()
        self._said = (folder / "said.txt").open("w+b")
        self.process = subprocess.Popen(
            command(*arguments, "--tls", "--report", self.report),
            cwd=PROJECT,
            env={**environment(), "TMPDIR": str(self._temporary)},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
        )
        try:
            self.description = self._described()
        except BaseException:
            self.close()
            raise

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read().decode()

    def _described(self) -> dict[str, Any]:
        """What ``network.json`` says, once the switch is ready."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, "the network has not come up"
            with contextlib.suppress(OSError, ValueError, KeyError):
                (path,) = self._temporary.glob("fourparty-*/network.json")
                description: dict[str, Any] = json.loads(path.read_text())
                self.trust = ssl.create_default_context(cafile=path.parent / description["tls"]["ca"])
                api = description["switch"]["api"]
                assert api.startswith("https://")
                if Rest(api, None, self.trust).request("/ready")[0] == 200:
                    return description
            time.sleep(0.1)

    def end(self) -> dict[str, Any]:
        """Its result, once it has ended well."""
        code = self.process.wait(120)
        assert code == 0, self.said()
        result: dict[str, Any] = json.loads((self.report / "result.json").read_text())
        return result

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        self._said.close()

    def certificate(self, address: str) -> dict[str, Any]:
        """The certificate that is shown at an address, to one who is of the authority and trusts it."""
        with connected(address) as line, self.trust.wrap_socket(line, server_hostname=HOST) as secured:
            shown: dict[str, Any] | None = secured.getpeercert()
            assert shown is not None
            return shown

    def is_refused(self, address: str) -> bool:
        """Whether one who trusts the authority and has no certificate is sent away at an address, or may wait there."""
        with connected(address) as line:
            try:
                with self.trust.wrap_socket(line, server_hostname=HOST) as secured:
                    # with TLS 1.3 the other end looks for the certificate when one's own handshake is over
                    return not secured.recv(1)
            except TimeoutError:
                return False
            except (ssl.SSLError, ConnectionError):
                return True


def connected(address: str) -> socket.socket:
    """A connection, as soon as somebody listens: a proxy does when the one behind it is there."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection((HOST, int(address.rpartition(":")[2])), CONNECT_SECONDS)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nobody listens at {address}"
            time.sleep(0.05)


def members(certificate: dict[str, Any]) -> list[str]:
    return [name.removeprefix(MEMBER_URN) for kind, name in certificate["subjectAltName"] if kind == "URI"]


@pytest.fixture
def play(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    def begin(*arguments: object) -> Play:
        playing = Play(tmp_path, *arguments)
        request.addfinalizer(playing.close)
        return playing

    return begin


def test_a_slow_link_to_the_issuer_is_a_secured_one(play: Any) -> None:
    """The proxy that makes it slow hands the records on as they are: TLS is between switch and issuer."""
    running = play("load", "slow_issuer", "--rate", 10, "--for", "10s", "--warm-up", "1s", "--terminals", 40)
    issuer, switch, acquirer = (running.description[name] for name in ("issuer", "switch", "acquirer"))
    # the address of the issuer's link is the proxy's
    assert members(running.certificate(acquirer["terminal_link"])) == [acquirer["id"]]
    assert running.is_refused(switch["member_link"])
    assert running.is_refused(issuer["member_link"])
    with connected(acquirer["terminal_link"]) as plain:
        plain.sendall(bytes(64))
        assert plain.recv(2)[:1] in (b"\x15", b""), "an alert, or the end"

    result = running.end()
    assert result["books"]["agree"]
    assert [window["what"] for window in result["faults"]] == [
        "switch-issuer slow by 0.2 s each way",
        "switch-issuer slow by 0.8 s each way",
    ]
    assert result["approved"] == result["attempts"]
    assert result["reversals"] == 0
    assert result["end_to_end"]["max"] >= 1_000_000, "twice a delay of half a second and more"


def test_an_issuer_that_was_killed_comes_back_with_its_certificate(play: Any) -> None:
    result = play("load", "issuer_outage", "--rate", 10, "--for", "28s", "--warm-up", "1s", "--terminals", 40).end()
    assert result["books"]["agree"]
    assert [window["what"] for window in result["faults"]] == ["issuer crashed"]
    assert result["declined"].keys() <= {"91", "98"}
    assert result["declined"]["91"] > 0


def test_a_scenario_breaks_a_network_with_tls(play: Any) -> None:
    running = play("run", "slow_issuer", "--live", "--duration", "6s", "--phones", 40)
    assert running.is_refused(running.description["issuer"]["member_link"])
    assert not running.is_refused(running.description["acquirer"]["terminal_link"])
    result = running.end()
    assert result["books"]["agree"]
    assert len(result["faults"]) == 2
    assert result["approved"] == result["attempts"] > 0
