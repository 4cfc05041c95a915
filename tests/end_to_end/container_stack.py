"""The stack of ``compose.yaml`` on a real engine, under a name and on ports of its own, gone afterwards."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from outside_rest import Rest

PROJECT: Final = Path(__file__).parents[2]
IMAGE: Final = "fourparty:test"
"""One name for all runs, so that the engine's cache is used and old images do not pile up."""

SERVICES: Final = ("issuer-a", "issuer-b", "switch", "acquirer", "device")
JOBS: Final = ("keys", "databases", "seed")
API_PORTS: Final = {"issuer-a": 10, "switch": 11, "acquirer": 12, "device": 13, "issuer-b": 14}
PUBLISHED: Final = (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)

BUILD_SECONDS: Final = 600.0
START_SECONDS: Final = 120.0
COMMAND_SECONDS: Final = 120.0


class NoEngine(Exception):
    """There is no Docker engine with compose here."""


def compose_tool() -> list[str]:
    """How compose is called on this machine."""
    if shutil.which("docker") is None:
        raise NoEngine("docker is not installed")
    if subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode:
        raise NoEngine("no Docker engine answers")
    for tool in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(tool[0]) is None:
            continue
        if subprocess.run([*tool, "version"], capture_output=True, timeout=60, check=False).returncode == 0:
            return tool
    raise NoEngine("docker compose is not installed")


def free_prefix() -> str:
    """First digits of ports of which all that the stack publishes are free."""
    for prefix in secrets.SystemRandom().sample(range(210, 320), 60):
        try:
            for port in PUBLISHED:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", prefix * 100 + port))
        except OSError:
            continue
        return str(prefix)
    raise RuntimeError("no free ports")


class Stack:
    """A stack that is up."""

    def __init__(self, runs: Path) -> None:
        self.tool = compose_tool()
        self.project = f"fourparty-test-{secrets.token_hex(4)}"
        self.ports = free_prefix()
        self.runs = runs
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "FOURPARTY_PORTS": self.ports,
            "FOURPARTY_RUNS": str(runs),
            "FOURPARTY_IMAGE": IMAGE,
            "NO_COLOR": "1",
        }
        self.description: dict[str, Any] = {}
        self.trust: ssl.SSLContext | None = None

    # compose and docker

    def compose(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        return self._ran([*self.tool, *arguments], seconds)

    def docker(self, *arguments: str, seconds: float = 60.0) -> str:
        done = self._ran(["docker", *arguments], seconds)
        assert done.returncode == 0, f"docker {arguments[0]}: {done.stderr.strip()[-500:]}"
        return done.stdout.strip()

    def scenarios(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """``docker compose run --rm scenarios ...``."""
        return self.compose("run", "--rm", "--no-deps", "-T", "scenarios", *arguments, seconds=seconds)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, going on beside."""
        command = [*self.tool, "run", "--rm", "--no-deps", "-T", "scenarios", *arguments]
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _ran(self, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=PROJECT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    # its life

    def start(self) -> None:
        before = self._image()
        built = self.compose("build", "keys", seconds=BUILD_SECONDS)
        assert built.returncode == 0, (built.stdout + built.stderr)[-2000:]
        if before and before != self._image():
            # what a run before was made of has lost its name; where somebody still uses it, it stays
            self._ran(["docker", "image", "rm", before], 60)
        up = self.compose("up", "-d", seconds=START_SECONDS)
        assert up.returncode == 0, (up.stdout + up.stderr)[-2000:]
        authority = self.seen_by("keys", "/stack/demo/ca.crt").decode()
        self.trust = ssl.create_default_context(cadata=authority)
        self.wait_until_ready()
        self.description = json.loads(self.seen_by("seed", "/stack/demo/network.json"))

    def _image(self) -> str:
        """The id of the image that the name stands for, or nothing."""
        return self.docker("image", "ls", "--quiet", "--no-trunc", IMAGE)

    def seen_by(self, service: str, path: str) -> bytes:
        """A file of a container's, also of one that has ended."""
        archive = subprocess.run(
            ["docker", "cp", f"{self.container(service)}:{path}", "-"], capture_output=True, timeout=30, check=True
        )
        done = subprocess.run(["tar", "-xO"], input=archive.stdout, capture_output=True, timeout=30, check=True)
        return done.stdout

    def container(self, service: str) -> str:
        return self.docker(
            *("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}"),
            *("--filter", f"label=com.docker.compose.service={service}"),
            *("--filter", "label=com.docker.compose.oneoff=False"),
        )

    def inspect(self, service: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.docker("inspect", self.container(service)))[0]
        return content

    def api(self, service: str, token: str | None = None) -> Rest:
        return Rest(f"https://127.0.0.1:{self.ports}{API_PORTS[service]:02d}", token, self.trust)

    def is_ready(self, service: str) -> bool:
        try:
            return self.api(service).request("/ready")[0] == 200
        except (OSError, ValueError):
            return False

    def wait_until_ready(self, *services: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        for service in services or SERVICES:
            while not self.is_ready(service):
                assert time.monotonic() < deadline, f"{service} is not ready: {self.told(service)}"
                time.sleep(0.1)

    def told(self, service: str) -> str:
        """The end of a service's log."""
        done = self._ran(["docker", "logs", "--tail", "5", self.container(service)], 30)
        return done.stdout + done.stderr

    def books(self) -> dict[str, dict[str, int]]:
        """Every party's accounts, credits less debits, fen."""
        token = self.description["operator_token"]
        found = {}
        for service in ("issuer-a", "issuer-b", "switch", "acquirer"):
            content = self.api(service, token).get("/books")
            assert content["imbalance"] == 0
            found[service] = {one["account_id"]: one["credits"] - one["debits"] for one in content["accounts"]}
        return found

    def end(self) -> None:
        """Take away containers, volumes and network; the image stays for the next run's cache."""
        # what `run` has begun is no part of `down`
        labelled = ("--filter", f"label=com.docker.compose.project={self.project}")
        for container in self.docker("ps", "--all", "--quiet", *labelled).split():
            self._ran(["docker", "rm", "--force", "--volumes", container], 60)
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "1")
        assert not self.docker("volume", "ls", "--quiet", *labelled)
        assert not self.docker("network", "ls", "--quiet", *labelled)
