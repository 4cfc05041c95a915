"""A running network, started as its users start it: ``fourparty up`` in a process of its own."""

from __future__ import annotations

import itertools
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from independent_card import OutsideCard
from independent_terminal import OutsideTerminal
from outside_rest import Rest

from scenarios.demo_network.processes import free_base_port

PROJECT: Final = Path(__file__).parents[2]
START_SECONDS: Final = 40.0
STOP_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 8.0
PARTIES: Final = ("issuer", "switch", "acquirer")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "scenarios.cli", *map(str, arguments)]


def typed(*arguments: object, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """A command of ``fourparty``, run to its end in the project's folder."""
    return subprocess.run(
        command(*arguments),
        cwd=PROJECT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT)}


class Network:
    """``fourparty up`` as a process, with TLS or without, and what ``network.json`` tells of it."""

    def __init__(self, folder: Path, *, tls: bool = False) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.base_port = 0
        self._options = ("--tls",) if tls else ()
        self.description: dict[str, Any] = {}
        self.paid_elsewhere = 0
        """Approved with cards that are not published, fen; the tests that do so count it here."""

    def start(self) -> None:
        self.base_port = free_base_port()
        with (self.folder.parent / f"{self.folder.name}.up.log").open("ab") as log:
            self.process = subprocess.Popen(
                command("up", "--dir", self.folder, "--base-port", self.base_port, *self._options),
                cwd=PROJECT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        try:
            while not self._is_up():
                assert self.process.poll() is None, f"fourparty up ended with code {self.process.returncode}"
                assert time.monotonic() < deadline, f"fourparty up took more than {START_SECONDS:.0f} s"
                time.sleep(0.1)
        except BaseException:
            self.kill()
            raise

    def _is_up(self) -> bool:
        try:
            self.description = json.loads((self.folder / "network.json").read_text())
            apis = [entry["api"] for entry in self.description.values() if isinstance(entry, dict) and "api" in entry]
            mine = all(self.base_port <= int(api.rpartition(":")[2]) < self.base_port + 20 for api in apis)
            trust = self.trust
            return len(apis) >= 4 and mine and all(Rest(api, None, trust).request("/health")[0] == 200 for api in apis)
        except (OSError, ValueError):
            return False

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit code and how long it took."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS * 3)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        return code, time.monotonic() - began

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            # its services are processes of their own sessions, which only it knows how to stop
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS * 2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @property
    def trust(self) -> ssl.SSLContext | None:
        """For whom the network's authority is to be trusted; None where it has no TLS."""
        tls = self.description.get("tls")
        return None if tls is None else ssl.create_default_context(cafile=self.folder / tls["ca"])

    def rest(self, party: str) -> Rest:
        return Rest(self.description[party]["api"], self.description["operator_token"], self.trust)

    def card(self, card: OutsideCard) -> dict[str, Any]:
        """What the issuer says of a card."""
        content: dict[str, Any] = self.rest("issuer").get(f"/cards/{card.pan}")
        return content

    def available(self, card: OutsideCard) -> int:
        """What a card can pay, fen; ledger and available are the same on a debit card."""
        content = self.card(card)
        assert content["ledger"] == content["available"]
        return int(content["available"])

    def settles(self, card: OutsideCard, expected: int) -> bool:
        """Whether a card's balance comes to be `expected` soon: reversals cross the network on their own."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.available(card) != expected:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def positions(self) -> dict[str, int]:
        """What issuer, switch and acquirer each say that the network's money comes to, fen; -1 where one disagrees
        with itself."""
        found: dict[str, int] = {}
        for party in PARTIES:
            books = self.rest(party).get("/books")
            nets = {one["account_id"]: one["credits"] - one["debits"] for one in books["accounts"]}
            if party == "issuer":
                found[party] = nets.get("settlement:network", 0)
            elif party == "switch":
                members = [net for name, net in nets.items() if name.startswith("member:")]
                found[party] = sum(net for net in members if net > 0) if sum(members) == 0 else -1
            else:
                merchants = sum(net for name, net in nets.items() if name.startswith("merchant:"))
                found[party] = merchants if merchants == -nets.get("receivable:network", 0) else -1
            if sum(nets.values()):
                found[party] = -1
        return found

    def agrees(self, expected: int) -> bool:
        """Whether all three come to say `expected` soon."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while set(self.positions().values()) != {expected}:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def spent(self) -> int:
        """What has left the published cards, fen."""
        return sum(card.balance - self.available(card) for card in self.cards())

    def cards(self) -> list[OutsideCard]:
        return [OutsideCard.published(entry) for entry in self.description["cards"]]

    def terminals(self) -> list[OutsideTerminal]:
        """The terminals that are free for outside clients."""
        link = self.description["acquirer"]["terminal_link"]
        return [
            OutsideTerminal(link, entry["terminal_id"], entry["merchant_id"], entry["tmk"])
            for entry in self.description["terminals"]
            if entry.get("free", True)
        ]


class Supply:
    """Cards and terminals of the running network; no terminal is given twice."""

    def __init__(self, network: Network) -> None:
        self.cards = network.cards()
        self.poor = next(card for card in self.cards if card.balance == 100)
        rich = [card for card in self.cards if card.balance > 1_000_000]
        self._shared = itertools.cycle(rich[:12])
        self._own = iter(rich[12:])
        self._terminals = iter(network.terminals())

    def card(self) -> OutsideCard:
        """A card with money, which other tests use at other times: leave it in working order."""
        return next(self._shared)

    def own_card(self) -> OutsideCard:
        """A card that no other test uses."""
        return next(self._own)

    def terminal(self) -> OutsideTerminal:
        return next(self._terminals)

    def signed_on(self, count: int) -> list[OutsideTerminal]:
        terminals = list(itertools.islice(self._terminals, count))
        for terminal in terminals:
            assert terminal.sign_on().code == "00"
        return terminals
