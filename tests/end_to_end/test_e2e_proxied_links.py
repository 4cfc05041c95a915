"""Payments through fault proxies on every link, with faults on: reversals and stored advices mend the books."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from host_process import HostProcess, until
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal

from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import Processes, RunningNetwork, address, free_base_port
from scenarios.demo_network.service_files import to_toml

pytestmark = pytest.mark.live

TIMEOUTS: Final = demo.Timeouts(issuer=0.8, switch=1.6, acquirer=5.0, advice_retry=0.3, reversal_retry=1.0)
LINKS: Final = {
    "terminal_link": ("terminals", "terminal"),
    "member_link": ("members", "member"),
    "issuer_link": ("issuers", "member"),
}


class Proxied:
    """A network each of whose links has a proxy on it."""

    def __init__(self, folder: Path) -> None:
        base = free_base_port()
        elsewhere = {link: f"127.0.0.1:{base + 20 + place}" for place, link in enumerate(LINKS)}
        api = f"127.0.0.1:{base + 29}"
        embedded.prepare(folder, base, timeouts=TIMEOUTS, cards=1, free_terminals=20, elsewhere=elsewhere)
        blocks = [
            "[[proxy]]\n"
            + to_toml(
                {"name": name, "listen": elsewhere[link], "upstream": str(address(base, link)), "dialect": dialect}
            )
            for link, (name, dialect) in LINKS.items()
        ]
        (folder / "faults.toml").write_text(f"api = {json.dumps(api)}\nseed = 3\n" + "\n".join(blocks))
        self.proxy = HostProcess(folder / "proxy.log", "proxy", "--config", folder / "faults.toml")
        self.http = httpx.Client(base_url=f"http://{api}", timeout=5.0, trust_env=False)
        self.processes = Processes(folder, ("issuer", "switch", "acquirer"))
        try:
            until(self._is_up, "the proxies start", 20)
            self.processes.start()
        except BaseException:
            self.stop()
            raise
        self.network = RunningNetwork(folder)
        self.cards = [OutsideCard.published(entry) for entry in self.network.description["cards"]]
        self._terminals = iter([entry for entry in self.network.description["terminals"] if entry["free"]])

    def _is_up(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/version").status_code == 200
        return False

    def terminal(self) -> OutsideTerminal:
        entry = next(self._terminals)
        link = self.network.description["acquirer"]["terminal_link"]
        terminal = OutsideTerminal(link, entry["terminal_id"], entry["merchant_id"], entry["tmk"])
        assert terminal.sign_on().code == "00"
        return terminal

    def add(self, proxy: str, kind: str, stream: str = "downstream", name: str = "", **attributes: Any) -> None:
        content = {"type": kind, "name": name, "stream": stream, "attributes": attributes}
        self.http.post(f"/proxies/{proxy}/toxics", json=content).raise_for_status()

    def struck(self, proxy: str) -> list[str]:
        return [one["mti"] for one in self.http.get(f"/proxies/{proxy}/strikes").json()]

    def books(self) -> set[int]:
        nets = {}
        for party, books in self.network.books().items():
            assert books.imbalance == 0
            nets |= {(party, one.account_id): one.credits - one.debits for one in books.accounts}
        acquirer = self.network.description["acquirer"]["id"]
        return {
            nets.get(("issuer", "settlement:network"), 0),
            nets.get(("switch", f"member:{acquirer}"), 0),
            -nets.get(("acquirer", "receivable:network"), 0),
        }

    def ready(self) -> bool:
        return all(one["ready"] for one in self.network.get("switch", "/members"))

    def agree(self, expected: int) -> None:
        until(lambda: self.books() == {expected}, f"the three books agree on {expected}")

    def stop(self) -> None:
        self.processes.stop()
        self.http.close()
        assert self.proxy.stop() == 0


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    made = Proxied(tmp_path_factory.mktemp("proxied"))
    yield made
    made.stop()


@pytest.fixture
def terminal(proxied: Proxied) -> Iterator[OutsideTerminal]:
    proxied.http.post("/reset").raise_for_status()
    until(proxied.ready, "the members sign on")
    one = proxied.terminal()
    yield one
    one.close()
    proxied.http.post("/reset").raise_for_status()


@pytest.fixture
def before(proxied: Proxied) -> int:
    until(lambda: len(proxied.books()) == 1, "the three books agree")
    return proxied.books().pop()


@pytest.mark.parametrize(
    ("proxy", "toxic", "code"),
    [
        ("issuers", {"kind": "drop", "mti": "0210", "count": 1}, "98"),
        ("issuers", {"kind": "drop", "stream": "upstream", "mti": "0200", "count": 1}, "98"),
        ("issuers", {"kind": "hold", "mti": "0210", "delay": 1_500, "count": 1}, "98"),
        ("issuers", {"kind": "corrupt", "mti": "0210", "element": "DE39", "value": "05", "count": 1}, "98"),
        ("issuers", {"kind": "corrupt", "stream": "upstream", "mti": "0200", "element": "DE128", "count": 1}, "96"),
        ("members", {"kind": "drop", "mti": "0210", "count": 1}, "98"),
        ("members", {"kind": "hold", "mti": "0210", "delay": 2_500, "count": 1}, "98"),
        ("members", {"kind": "corrupt", "mti": "0210", "element": "DE4", "count": 1}, "98"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(str(one) for one in value.values() if one != 1),
)
def test_a_message_that_is_lost_late_or_spoilt_between_members_costs_nobody(
    proxied: Proxied, terminal: OutsideTerminal, before: int, proxy: str, toxic: dict[str, Any], code: str
) -> None:
    proxied.add(proxy, **toxic)
    # the advices that mend it are hindered as well, on both links
    proxied.add("members", "duplicate", "upstream", mti="0420")
    proxied.add("issuers", "drop", name="unanswered", mti="0430", count=1)
    request, reply = terminal.pay(proxied.cards[0], 1_000)
    assert reply.code == code
    assert toxic["mti"] in proxied.struck(proxy)
    assert terminal.ask(terminal.reversal(request, reply)).code == "00"
    proxied.agree(before)
    until(proxied.ready, "the members are ready again")
    assert terminal.pay(proxied.cards[0], 1_000)[1].code == "00"
    proxied.agree(before + 1_000)


@pytest.mark.parametrize("proxy", ["issuers", "members"])
def test_a_request_that_comes_twice_is_paid_once(
    proxied: Proxied, terminal: OutsideTerminal, before: int, proxy: str
) -> None:
    proxied.add(proxy, "duplicate", "upstream", mti="0200", copies=2)
    proxied.add(proxy, "duplicate", "downstream", mti="0210")
    assert terminal.pay(proxied.cards[1], 1_000)[1].code == "00"
    assert proxied.struck(proxy).count("0200") >= 1
    proxied.agree(before + 1_000)


def test_an_answer_that_the_terminal_never_sees_is_taken_back(
    proxied: Proxied, terminal: OutsideTerminal, before: int
) -> None:
    proxied.add("terminals", "drop", mti="0210", terminal=terminal.terminal_id, count=1)
    request = terminal.sale(proxied.cards[2], 1_000)
    terminal.send(request.body)
    until(lambda: "0210" in proxied.struck("terminals"), "the answer is lost")
    proxied.agree(before + 1_000)
    assert terminal.ask(terminal.reversal(request, None)).code == "00"
    proxied.agree(before)


def test_a_terminal_whose_line_is_reset_and_whose_reversal_comes_twice_is_booked_right(
    proxied: Proxied, terminal: OutsideTerminal, before: int
) -> None:
    proxied.add("terminals", "hold", mti="0210")
    request = terminal.sale(proxied.cards[3], 1_000)
    terminal.send(request.body)
    until(lambda: "0210" in proxied.struck("terminals")[-1:], "the answer is held")
    proxied.http.post("/proxies/terminals/reset_connections").raise_for_status()
    with pytest.raises(ConnectionError):
        terminal.receive()
    terminal.connect()
    proxied.add("terminals", "duplicate", "upstream", mti="0400")
    answers = [terminal.ask(terminal.reversal(request, None)).code, terminal.receive().code]
    assert answers == ["00", "00"]
    proxied.agree(before)


def test_a_link_that_is_down_is_91_and_comes_back(proxied: Proxied, terminal: OutsideTerminal, before: int) -> None:
    proxied.http.post("/proxies/issuers", json={"enabled": False}).raise_for_status()
    until(lambda: not proxied.ready(), "the switch sees it")
    assert terminal.pay(proxied.cards[4], 1_000)[1].code == "91"
    proxied.http.post("/proxies/issuers", json={"enabled": True}).raise_for_status()
    until(proxied.ready, "the issuer signs on again")
    assert terminal.pay(proxied.cards[4], 1_000)[1].code == "00"
    proxied.agree(before + 1_000)


def test_slow_narrow_and_sliced_links_change_nothing(proxied: Proxied, terminal: OutsideTerminal, before: int) -> None:
    for name, _ in LINKS.values():
        for stream in ("upstream", "downstream"):
            proxied.add(name, "latency", stream, latency=10, jitter=8)
            proxied.add(name, "slicer", stream, average_size=20, size_variation=10, delay=100)
            proxied.add(name, "bandwidth", stream, rate=50)
    for _ in range(3):
        assert terminal.pay(proxied.cards[5], 1_000)[1].code == "00"
    proxied.agree(before + 3_000)


def test_nothing_that_crossed_is_in_its_log(proxied: Proxied) -> None:
    said = proxied.proxy.said()
    assert "members" in said
    assert not any(card.pan in said or card.track2 in said for card in proxied.cards)
