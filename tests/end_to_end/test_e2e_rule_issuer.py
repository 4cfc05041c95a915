"""``fourparty host issuer`` in the issuer's place, met by an outside terminal over acquirer and switch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from host_process import HostProcess, document_example, until
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal, Reply, Request
from outside_rest import Rest

from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import Processes, RunningNetwork, free_base_port

pytestmark = pytest.mark.live

TIMEOUTS: Final = demo.Timeouts(issuer=0.8, switch=2.0, acquirer=6.0, advice_retry=0.4, reversal_retry=1.0)
RULES: Final = """
[[rule]]
name = "no funds"
when = { amount_min = 500_000 }
then = { decline = "51" }

[[rule]]
name = "lost"
when = { amount_ends_with = "01" }
then = { drop = true }

[[rule]]
name = "twice"
when = { amount_ends_with = "03" }
then = { duplicate = 2 }

[[rule]]
name = "spoilt"
when = { amount_ends_with = "04" }
then = { corrupt = "DE4" }

[[rule]]
name = "wrong MAC"
when = { amount_ends_with = "05" }
then = { wrong_mac = true }

[[rule]]
name = "junk"
when = { amount_ends_with = "08" }
then = { malformed_length = true }

[[rule]]
name = "broken line"
when = { amount_ends_with = "09" }
then = { close = "before" }

[[rule]]
name = "reversals come hard"
when = { mti = "0420", first = 2 }
then = { drop = true }

[[rule]]
name = "slow"
when = { amount_ends_with = "10" }
then = { delay = 300, balance = 12_345, auth_id = "ABC123" }
"""


class Hosted:
    """The network, the host in its issuer's place, and what both say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = RunningNetwork(folder)
        self.description = self.network.description
        self.host = HostProcess(
            folder / "host.log", "host", "issuer", "--rules", folder / "rules.toml", "--network", folder
        )
        self.rest = Rest(self.description["issuer"]["api"], self.description["operator_token"])
        self.cards = [OutsideCard.published(entry) for entry in self.description["cards"]]
        self._terminals = iter([entry for entry in self.description["terminals"] if entry["free"]])
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        until(lambda: all(one["ready"] for one in self.network.get("switch", "/members")), "the host signs on", 20)

    def terminal(self) -> OutsideTerminal:
        entry = next(self._terminals)
        link = self.description["acquirer"]["terminal_link"]
        terminal = OutsideTerminal(link, entry["terminal_id"], entry["merchant_id"], entry["tmk"])
        assert terminal.sign_on().code == "00"
        return terminal

    def books(self) -> tuple[int, int, int]:
        """What stands paid, fen, as host, switch and acquirer say."""
        approved = int(self.rest.get("/approved")["amount"])
        books = self.network.books()
        assert books["switch"].imbalance == books["acquirer"].imbalance == 0
        nets = {
            one.account_id: one.credits - one.debits
            for party in ("switch", "acquirer")
            for one in books[party].accounts
        }
        acquirer = self.description["acquirer"]["id"]
        return approved, nets.get(f"member:{acquirer}", 0), -nets.get("receivable:network", 0)

    def agree(self, expected: int) -> None:
        """All three come to say the same, which is this."""
        until(lambda: self.books() == (expected,) * 3, f"the books agree on {expected}")

    def matched(self) -> dict[str, int]:
        told: dict[str, Any] = self.rest.get("/rules")
        return {one["name"]: one["matched"] for one in told["rules"]}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    folder = tmp_path_factory.mktemp("rule_issuer")
    embedded.prepare(folder, free_base_port(), timeouts=TIMEOUTS, cards=1, free_terminals=20)
    (folder / "rules.toml").write_text(RULES)
    processes = Processes(folder, ("switch", "acquirer"))
    processes.start()
    made = None
    try:
        made = Hosted(folder)
        yield made
        assert made.host.stop() == 0
    finally:
        if made is not None:
            made.host.stop()
        processes.stop()


@pytest.fixture
def terminal(hosted: Hosted) -> Iterator[OutsideTerminal]:
    one = hosted.terminal()
    yield one
    one.close()


@pytest.fixture
def before(hosted: Hosted) -> int:
    """What stood paid before the test, once all agree on it."""
    until(lambda: len(set(hosted.books())) == 1, "the books agree")
    return hosted.books()[0]


def take_back(terminal: OutsideTerminal, request: Request, reply: Reply | None) -> str:
    return terminal.ask(terminal.reversal(request, reply)).code


def test_an_approval_is_complete_and_the_books_agree(hosted: Hosted, terminal: OutsideTerminal, before: int) -> None:
    # the ARPC is proved as well: the host was given the cards' issuer master key
    request, reply = terminal.pay(hosted.cards[0], 12_300)
    assert reply.code == "00"
    hosted.agree(before + 12_300)
    assert take_back(terminal, request, reply) == "00"
    hosted.agree(before)


def test_a_delay_a_balance_and_an_authorisation_code_of_the_rules(
    hosted: Hosted, terminal: OutsideTerminal, before: int
) -> None:
    began = time.monotonic()
    _, reply = terminal.pay(hosted.cards[0], 1_010)
    assert time.monotonic() - began >= 0.3
    assert (reply.code, reply[38]) == ("00", "ABC123")
    assert reply.balances["02"] == 12_345
    hosted.agree(before + 1_010)


def test_pin_and_cryptogram_are_really_checked(hosted: Hosted, terminal: OutsideTerminal, before: int) -> None:
    card = hosted.cards[1]
    assert terminal.pay(card, 5_000, pin=card.wrong_pin(2))[1].code == "55"
    other = terminal.sale(card, 5_000, tap=card.tap(6_000))
    assert terminal.ask(other).code == "00", "the cryptogram is right; what it is over is for a rule to say"
    forged = card.tap(5_000)
    forged.data["9F26"] = bytes(8)
    assert terminal.ask(terminal.sale(card, 5_000, tap=forged)).code == "05"
    hosted.agree(before + 5_000)


def test_payers_who_ask_for_a_card_s_counter_may_use_any(hosted: Hosted) -> None:
    pan = hosted.description["cards"][0]["pan"]
    assert hosted.network.get("issuer", f"/cards/{pan}") == {"highest_atc": None}


def test_a_decline_by_amount_books_nothing(hosted: Hosted, terminal: OutsideTerminal, before: int) -> None:
    assert terminal.pay(hosted.cards[0], 500_000)[1].code == "51"
    assert terminal.pay(hosted.cards[0], 499_999 - 99)[1].code == "00"
    hosted.agree(before + 499_900)


@pytest.mark.parametrize("amount", [1_001, 1_004, 1_005, 1_008, 1_009])
def test_an_answer_that_does_not_come_in_time_or_cannot_be_believed_is_98_and_is_undone(
    hosted: Hosted, terminal: OutsideTerminal, before: int, amount: int
) -> None:
    matched = hosted.matched()
    request, reply = terminal.pay(hosted.cards[2], amount)
    assert reply.code == "98"
    assert sum(hosted.matched().values()) > sum(matched.values())
    assert take_back(terminal, request, reply) == "00"
    hosted.agree(before)
    hosted.wait_until_ready()
    assert terminal.pay(hosted.cards[2], 2_000)[1].code == "00"
    hosted.agree(before + 2_000)


def test_an_answer_that_comes_three_times_is_booked_once(
    hosted: Hosted, terminal: OutsideTerminal, before: int
) -> None:
    assert terminal.pay(hosted.cards[3], 1_003)[1].code == "00"
    assert terminal.pay(hosted.cards[3], 2_000)[1].code == "00"
    hosted.agree(before + 3_003)


def test_reversals_that_were_not_answered_came_again_until_they_were(hosted: Hosted) -> None:
    matched = hosted.matched()
    assert matched["reversals come hard"] == 2
    seen = hosted.rest.get("/rules")["seen"]
    assert seen["0420"] > 2


def test_rules_change_while_it_runs_and_wrong_ones_do_not(
    hosted: Hosted, terminal: OutsideTerminal, before: int
) -> None:
    path = hosted.folder / "rules.toml"
    path.write_text('[[rule]]\nname = "nobody"\nthen = { decline = "05" }\n')
    hosted.host.hang_up()
    until(lambda: "nobody" in hosted.matched(), "the rules are read again")
    assert terminal.pay(hosted.cards[0], 1_000)[1].code == "05"
    path.write_text('[[rule]]\nname = "nobody"\nwhen = { amont = 5 }\n')
    hosted.host.hang_up()
    until(lambda: "line 1, rule 1 (nobody): when.amont: there is no such key" in hosted.host.said(), "it says why not")
    assert terminal.pay(hosted.cards[0], 1_000)[1].code == "05"
    hosted.agree(before)
    for rules, code in ((document_example("rules.toml"), "51"), (RULES, "00")):
        headers = {"Authorization": f"Bearer {hosted.rest.token}", "Content-Type": "text/plain"}
        httpx.put(f"{hosted.rest.base}/rules", content=rules, headers=headers, trust_env=False).raise_for_status()
        assert terminal.pay(hosted.cards[0], 600_000 if code == "51" else 1_000)[1].code == code
    hosted.agree(before + 1_000)


def test_what_it_tells_and_logs_shows_no_card(hosted: Hosted) -> None:
    told = str(hosted.rest.get("/authorisations")) + str(hosted.rest.get("/messages")) + hosted.host.said()
    assert "622848******" in told
    for card in hosted.cards:
        assert card.pan not in told
        assert card.track2 not in told
