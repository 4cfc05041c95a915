"""SIGTERM to a service in the middle of a payment: the payment is answered, or mended, and the books agree.

The network has TLS everywhere, as a stack has it.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal, Reply, Request, prove_approval

from scenarios import books
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import NetworkError, Processes, RunningNetwork, free_base_port

pytestmark = pytest.mark.live

TIMEOUTS = demo.Timeouts(issuer=3.0, switch=4.0, acquirer=6.0, advice_retry=0.3, reversal_retry=0.3)
PARTIES = ("issuer", "switch", "acquirer")


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


class Till:
    """A network of three services, and terminals and cards from outside."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.network = RunningNetwork(processes.folder)
        link = self.network.description["acquirer"]["terminal_link"]
        self.terminals = [
            OutsideTerminal(link, one["terminal_id"], one["merchant_id"], one["tmk"])
            for one in self.network.description["terminals"]
            if one["free"]
        ]
        authority = self.network.folder / self.network.description["tls"]["ca"]
        self.trust = ssl.create_default_context(cafile=str(authority))
        for terminal in self.terminals:
            terminal.tls = self.trust
        self.cards = [OutsideCard.published(entry) for entry in self.network.description["cards"]]

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.processes.running[name].pid, number)

    def readiness(self, name: str) -> tuple[int, str | None]:
        response = httpx.get(self.network.url(name, "/ready"), trust_env=False, verify=self.trust)
        return response.status_code, response.json()["reason"]

    def pending(self) -> int:
        return sum(one["status"] == "pending" for one in self.network.get("switch", "/transactions"))

    def in_flight(self, terminal: OutsideTerminal, card: OutsideCard) -> Request:
        """A sale that the switch has passed on to an issuer that has been stopped."""
        self.signal("issuer", signal.SIGSTOP)
        request = terminal.sale(card, 1234)
        terminal.send(request.body)
        until(lambda: self.pending() == 1, "the sale's way to the issuer")
        return request

    def ended(self, name: str) -> int:
        return self.processes.running.pop(name).wait(15)

    def again(self, name: str) -> None:
        self.processes.start_one(name)
        until(lambda: self.answers(name), f"the {name}'s return")
        self.processes.wait_until_ready()

    def answers(self, name: str) -> bool:
        try:
            self.network.get(name, "/health")
        except NetworkError:
            return False
        return True

    def agrees(self) -> bool:
        return self.pending() == 0 and books.compare(self.network.books()).agree


@pytest.fixture(scope="module")
def till(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Till]:
    folder = tmp_path_factory.mktemp("draining")
    embedded.prepare(folder, free_base_port(), timeouts=TIMEOUTS, cards=10, free_terminals=8, tls=True)
    processes = Processes(folder, PARTIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOURPARTY_DRAIN_SECONDS", "10")
        processes.start()
        try:
            yield Till(processes)
        finally:
            processes.stop()


@pytest.mark.parametrize(("victim", "places"), [("acquirer", (0, 1)), ("switch", (2, 3))])
def test_a_payment_in_flight_is_answered_and_no_other_is_begun(
    till: Till, victim: str, places: tuple[int, int]
) -> None:
    first, second = (till.terminals[place] for place in places)
    paying, other = (till.cards[place] for place in places)
    for terminal in (first, second):
        assert terminal.sign_on().code == "00"
    assert till.readiness(victim) == (200, None)
    request = till.in_flight(first, paying)
    till.signal(victim, signal.SIGTERM)
    until(lambda: till.readiness(victim) == (503, "the process is about to end"), "the drain")
    assert second.pay(other, 500)[1].code == "91", "nothing new is begun"
    till.signal("issuer", signal.SIGCONT)
    answer = first.receive()
    assert answer.code == "00"
    prove_approval(request, answer)
    assert till.ended(victim) == 0
    if victim == "switch":
        for name in ("issuer", "acquirer"):
            until(lambda name=name: till.readiness(name)[0] == 503, f"the {name}'s notice")  # type: ignore[misc]
            assert till.readiness(name)[1] == "the link to the switch 00010000: it is not signed on"
    till.again(victim)
    for name in PARTIES:
        until(lambda name=name: till.readiness(name) == (200, None), f"the {name}'s readiness")  # type: ignore[misc]
    until(till.agrees, "agreement")
    assert balance(till, paying) == paying.balance - 1234
    assert balance(till, other) == other.balance


def test_an_issuer_that_ends_answers_what_has_reached_it_or_it_is_mended(till: Till) -> None:
    terminal, card = till.terminals[4], till.cards[4]
    assert terminal.sign_on().code == "00"
    till.in_flight(terminal, card)
    till.signal("issuer", signal.SIGTERM)
    till.signal("issuer", signal.SIGCONT)
    answer: Reply = terminal.receive()
    assert answer.code in ("00", "98")
    assert till.ended("issuer") == 0
    refused = till.readiness("acquirer"), till.readiness("switch")
    assert refused == ((200, None), (200, None)), "they serve what other issuers there are"
    till.again("issuer")
    until(till.agrees, "agreement")
    paid = 1234 if answer.code == "00" else 0
    until(lambda: balance(till, card) == card.balance - paid, "the balance")


def test_who_speaks_no_tls_hears_nothing(till: Till) -> None:
    host, _, port = till.network.description["acquirer"]["terminal_link"].rpartition(":")
    with socket.create_connection((host, int(port)), 5) as plain:
        plain.sendall(b"\0\x05hello")
        heard = b""
        while more := plain.recv(100):
            heard += more
    assert b"hello" not in heard
    address = till.network.url("switch", "/health").removeprefix("https")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http{address}", trust_env=False)
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"https{address}", trust_env=False)
    log = (till.network.folder / "acquirer.log").read_text()
    assert log.count("TLS handshake") == 1
    assert till.terminals[5].sign_on().code == "00"


def balance(till: Till, card: OutsideCard) -> int:
    return int(till.network.get("issuer", f"/cards/{card.pan}")["available"])
