"""The services of a network as operating-system processes on this machine: start, watch, kill, stop.

A network lives in a folder: one TOML file, storage key, database and log per party, the operator's token, and
``network.json``, which tells an outside client all it needs.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

import httpx

from network.service import PARENT_VARIABLE, PCAP_VARIABLE, Address, ConfigurationError
from network.tls import LinkTls, Tls, TlsError
from scenarios.books import Account, PartyBooks
from scenarios.demo_network.members import ISSUERS, issuers_among

SERVICES: Final = ("issuer", "switch", "acquirer", "device")
"""The services of a network with one issuer, in the order in which they are started."""

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0

MOST_RESERVED: Final = 64
"""Base ports that one process keeps others from being given."""

_reserved: deque[socket.socket] = deque()

PORTS: Final = {
    "terminal_link": 0,
    "member_link": 1,
    "issuer_link": 2,
    "monitoring_link": 3,
    "issuer_b_link": 4,
    "issuer": 10,
    "switch": 11,
    "acquirer": 12,
    "device": 13,
    "issuer_b": 14,
}
"""What each address adds to the base port."""

_LISTENS: Final = {"terminal_link": "acquirer", "monitoring_link": "acquirer", "member_link": "switch"}
"""Which service listens on a link that has not its name."""

_CAUSES: Final = 16
"""How many errors deep the cause of a failed request is looked for."""

LINKS: Final = tuple(name for name in PORTS if name.endswith("_link"))


class NetworkError(Exception):
    """The network does not run as it should; the message says which part and what to do."""


def address(base_port: int, name: str) -> Address:
    """The address of a port of the network."""
    return Address("127.0.0.1", base_port + PORTS[name])


def free_base_port() -> int:
    """A base port whose ports are all free now, and which no other process here is given while this one lasts.

    A datagram socket on the same number says that it is taken, since whoever asked may not listen on it for seconds;
    this process keeps the last `MOST_RESERVED` of them.
    """
    bases: list[int] = [*range(21_000, 32_000, 50)]  # below what Linux gives to outgoing connections
    SystemRandom().shuffle(bases)
    for base in bases:
        reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            reservation.bind(("127.0.0.1", base))
        except OSError:
            reservation.close()
            continue
        if all(_is_free(base + offset) for offset in PORTS.values()):
            _reserved.append(reservation)
            if len(_reserved) > MOST_RESERVED:
                _reserved.popleft().close()
            return base
        reservation.close()
    raise NetworkError("no free ports on this machine")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def services(issuers: int) -> tuple[str, ...]:
    """The services of a network with so many issuers, in the order in which they are started."""
    return (*(one.party for one in ISSUERS[:issuers]), *SERVICES[1:])


def check_ports(base_port: int, services: Iterable[str]) -> None:
    """Refuse a base port of which some port is in use.

    Raises
    ------
    ConfigurationError
        Names the first such port.
    """
    wanted = set(services)
    for name, offset in PORTS.items():
        if _LISTENS.get(name, name.removesuffix("_link")) not in wanted:
            continue
        if base_port + offset > 65535 or not _is_free(base_port + offset):
            raise ConfigurationError(f"port {base_port + offset} ({name}) is in use; choose another --base-port")


def read_description(path: Path) -> dict[str, Any]:
    """The content of a ``network.json``.

    Raises
    ------
    ConfigurationError
        The file is missing, or does not describe a network.
    """
    try:
        description = json.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}; is a network running there?") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} does not describe a network: it is not JSON") from error
    if not isinstance(description, dict):
        raise ConfigurationError(f"{path} does not describe a network: it is not an object")
    for name, kind in (("operator_token", str), ("terminals", list), ("cards", list)):
        if not isinstance(description.get(name), kind):
            raise ConfigurationError(f"{path} does not describe a network: it has no {name}")
    return description


def _tls_of(folder: Path, description: Mapping[str, Any]) -> Tls | None:
    """The TLS of whoever is outside a network: its authority, and nobody's certificate."""
    if description.get("tls") is None:
        return None
    try:
        return Tls(folder / str(description["tls"]["ca"]))
    except (KeyError, TypeError) as error:
        raise ConfigurationError(f"{folder / 'network.json'} does not describe a network: tls has no ca") from error
    except TlsError as error:
        raise ConfigurationError(str(error)) from error


class RunningNetwork:
    """A network that answers, known by its folder: what REST tells about it.

    Parameters
    ----------
    host : str or None
        Where it runs, if not where the folder's ``network.json`` says.
    """

    def __init__(self, folder: Path, host: str | None = None) -> None:
        self.folder = folder
        self.description = read_description(folder / "network.json")
        if host is not None:
            self.description = _at_host(self.description, host)
        token = self.description["operator_token"]
        self.tls = _tls_of(folder, self.description)
        self.client = httpx.Client(
            headers={"Authorization": f"Bearer {token}"},
            timeout=10.0,
            trust_env=False,
            verify=True if self.tls is None else self.tls.client,
        )

    @property
    def terminal_tls(self) -> LinkTls | None:
        """How a phone's links to the acquirer are secured."""
        return None if self.tls is None else self.tls.dials_anyone()

    @property
    def issuers(self) -> list[str]:
        """The issuers' parties."""
        return [one.party for one in issuers_among(self.description)]

    def url(self, party: str, path: str) -> str:
        """The URL of a path of a party's REST interface."""
        return f"{self.description[party]['api']}{path}"

    def check_certificate(self, party: str) -> None:
        """Refuse a party whose certificate is not of the network's authority; one that does not answer is let pass.

        Phones dial until they are let in, and would wait for good.

        Raises
        ------
        NetworkError
            It shows another certificate, or speaks no TLS.
        """
        if self.tls is None:
            return
        try:
            self.client.get(self.url(party, "/health"))
        except httpx.HTTPError as error:
            reason = _tls_failure(error)
            if reason is not None:
                raise NetworkError(self._distrust(party, reason)) from error

    def get(self, party: str, path: str, **parameters: str | int) -> Any:
        """GET from a party's REST interface.

        Raises
        ------
        NetworkError
            It does not answer, or refuses.
        """
        return self._answer(party, lambda: self.client.get(self.url(party, path), params=parameters))

    def post(self, party: str, path: str, content: dict[str, Any], *, timeout: float = 100.0) -> Any:
        """POST to a party's REST interface; errors as `get`."""
        return self._answer(party, lambda: self.client.post(self.url(party, path), json=content, timeout=timeout))

    def request(self, party: str, method: str, path: str, content: dict[str, Any], *, timeout: float = 100.0) -> Any:
        """Any request to a party's REST interface, its content as JSON or, of a GET, in the query; errors as `get`."""
        sent: dict[str, Any] = {"params": content} if method == "GET" else {"json": content}
        return self._answer(party, lambda: self.client.request(method, self.url(party, path), timeout=timeout, **sent))

    def _answer(self, party: str, request: Any) -> Any:
        try:
            response = request()
        except httpx.HTTPError as error:
            reason = _tls_failure(error)
            if reason is not None:
                raise NetworkError(self._distrust(party, reason)) from error
            where = self.url(party, "")
            raise NetworkError(
                f"the {party} does not answer at {where} ({type(error).__name__}); is the network up?"
            ) from error
        if response.status_code >= 400:
            try:
                detail = response.json()["detail"]
            except (ValueError, KeyError, TypeError):
                detail = response.text[:200]
            raise NetworkError(f"the {party} refuses: {detail}")
        return response.json()

    def _distrust(self, party: str, reason: str) -> str:
        authority = "" if self.tls is None else f" by {self.folder / self.description['tls']['ca']}"
        return f"the {party} cannot be trusted{authority}: {reason}"

    def books(self) -> dict[str, PartyBooks]:
        """The trial balances of the parties that keep books."""
        found = {}
        for party in (*self.issuers, "switch", "acquirer"):
            try:
                books = self.get(party, "/books")
            except NetworkError as error:
                found[party] = PartyBooks([], 0, 0, str(error))
                continue
            accounts = [Account(one["account_id"], one["debits"], one["credits"]) for one in books["accounts"]]
            found[party] = PartyBooks(accounts, books["imbalance"], books["transfers"])
        return found

    def latency_counts(self, party: str) -> dict[int, int]:
        """Durations of the party's messages so far: microseconds to how often."""
        return {int(us): times for us, times in self.get(party, "/latency")["counts"].items()}


def _tls_failure(error: BaseException) -> str | None:
    """What TLS has against the other end, where that is why a request failed."""
    cause: BaseException | None = error
    for _ in range(_CAUSES):
        if cause is None:
            break
        if isinstance(cause, ssl.SSLError):
            return getattr(cause, "verify_message", None) or cause.reason or "the TLS handshake failed"
        cause = cause.__cause__ or cause.__context__
    return None


def _at_host(description: dict[str, Any], host: str) -> dict[str, Any]:
    """The same with the parties' addresses at another host."""
    moved = dict(description)
    for party, about in description.items():
        if isinstance(about, dict):
            moved[party] = {name: _moved(value, host) for name, value in about.items()}
    return moved


def _moved(value: Any, host: str) -> Any:
    if not isinstance(value, str):
        return value
    return re.sub(r"^(https?://)?[^/:]+(?=:\d+$)", lambda found: f"{found[1] or ''}{host}", value)


class Processes:
    """The processes of a network in a folder.

    Parameters
    ----------
    folder : Path
        Prepared by `scenarios.demo_network.demo.prepare`.
    chosen : sequence of str or None
        Which of the network's services to run; None: all.
    captures : Path or None
        Folder to which each process writes what crosses the links that others dial.
    capture_all : bool
        And those that it dials itself, since at their other end is none of these processes.

    Raises
    ------
    ConfigurationError
        The folder has no network.
    """

    def __init__(
        self,
        folder: Path,
        chosen: Iterable[str] | None = None,
        captures: Path | None = None,
        *,
        capture_all: bool = False,
    ) -> None:
        self.folder = folder
        self.captures = captures
        self._captured_links = "all" if capture_all else "accepted"
        there = services(len(issuers_among(read_description(folder / "network.json"))))
        wanted = set(there if chosen is None else chosen)
        self.services = [name for name in there if name in wanted]
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start every service and wait until all answer.

        Raises
        ------
        NetworkError
            A service ended or did not answer in time; the rest are stopped.
        """
        try:
            for name in self.services:
                self.start_one(name)
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def start_one(self, name: str) -> None:
        """Start a service, without waiting for it."""
        log = (self.folder / f"{name}.log").open("ab")
        kind = "issuer" if issuers_among([name]) else name
        command = [sys.executable, "-m", "scenarios.cli", "serve", kind, "--config", str(self.folder / f"{name}.toml")]
        try:
            self.running[name] = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._environment(name),
            )
        finally:
            log.close()

    def wait_until_ready(self) -> None:
        """Wait until every service answers and a payment can cross the network."""
        network = RunningNetwork(self.folder)
        deadline = time.monotonic() + START_SECONDS
        waiting_for = "the services"
        while time.monotonic() < deadline:
            self.check()
            try:
                for name in self.services:
                    waiting_for = f"the {name}"
                    network.get(name, "/health")
                waiting_for = "the members to sign on"
                if self._members_ready(network):
                    return
            except NetworkError:
                pass
            time.sleep(0.05)
        raise NetworkError(f"{waiting_for} took more than {START_SECONDS:.0f} s; see the logs in {self.folder}")

    def _members_ready(self, network: RunningNetwork) -> bool:
        """Whether those members that are run here can pay; others may come when they like."""
        if "switch" not in self.services:
            return True
        ours = {network.description[name].get("id") for name in self.services}
        return all(one["ready"] for one in network.get("switch", "/members") if one["member_id"] in ours)

    def check(self) -> None:
        """Raise NetworkError when a service has ended by itself."""
        for name, process in self.running.items():
            code = process.poll()
            if code is not None:
                raise NetworkError(f"the {name} ended with code {code}: {self._last_line(name)}")

    def kill(self, name: str) -> None:
        """Kill a service as ``kill -9`` does."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Stop all: SIGTERM, and after `STOP_SECONDS` the hard way."""
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time that each service has used so far (user and system)."""
        ticks = os.sysconf("SC_CLK_TCK")
        used = {}
        for name, process in self.running.items():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            used[name] = (int(fields[11]) + int(fields[12])) / ticks
        return used

    def _environment(self, name: str) -> dict[str, str]:
        environment = process_environment()
        if self.captures is not None:
            # a process that is started again does not write over what the one before it has captured
            environment[PCAP_VARIABLE] = str(self.captures / f"{name}-{time.time_ns()}.pcapng")
            environment[f"{PCAP_VARIABLE}_LINKS"] = self._captured_links
        return environment

    def _last_line(self, name: str) -> str:
        lines = (self.folder / f"{name}.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def process_environment() -> dict[str, str]:
    """The environment of a process that is to end when this one does."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", PARENT_VARIABLE: str(os.getpid())}
    # several processes cannot write one capture
    environment.pop(PCAP_VARIABLE, None)
    return environment
